"""The commands for one clip: ``rmfn predict``, ``rmfn align`` and ``rmfn track``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from flows.arguments import add_json, add_recipe, explain, new_file, new_folder, wrote_json
from pipeline.children import begin_children

PREDICT = """\
examples:
  rmfn predict talk.mp4                            words, face and voice, and a prediction
  rmfn predict talk.mp4 --transcript talk.srt      when you know what is said
  rmfn predict talk.mp4 --json talk.json           every word, number and setting, for programs
  rmfn predict talk.mp4 --report talk.html         a page to look at
  rmfn predict talk.mp4 --store features           a second time takes seconds
  rmfn predict talk.mp4 --model runs/a             by a model of your own

Each utterance gets a value with an interval that held for 80 % of the segments a model was tried
on; what makes the numbers doubtful is said below the table. A folder of videos: rmfn batch.
"""

ALIGN = """\
examples:
  rmfn align talk.wav --transcript talk.txt        a line a word: start, end, how well it fits
  rmfn align talk.mp4                              recognised first
  rmfn align talk.mp4 --transcript talk.vtt --json words.json
  rmfn export words.json --format textgrid --out talk.TextGrid     for Praat

A transcript is plain text, subtitles (.srt, .vtt) or JSON. Every token of it gets a time; a score
near 1 says that the sound fits the word, none that the time lies between those of its neighbours.
"""

TRACK = """\
examples:
  rmfn track visual talk.mp4 --out face.parquet    action units, pose, gaze, landmarks, HOG
  rmfn track acoustic talk.wav --out voice.parquet 100 frames a second of COVAREP's columns

The file has a row a frame with its time; pandas.read_parquet reads it. What was not seen is NaN.
"""


def add_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the three commands to the parser."""
    predict = command("predict", _predict, "predict a video or sound file")
    explain(predict, PREDICT)
    predict.add_argument("clip", help="video or sound file")
    predict.add_argument(
        "--transcript",
        metavar="FILE",
        help="what is said (.txt, .srt, .vtt, .json); skips speech recognition",
    )
    predict.add_argument(
        "--model",
        metavar="DIR|NAME",
        help="a folder that rmfn train or retrain made (default: mosi-language, which ships)",
    )
    add_recipe(predict)
    predict.add_argument(
        "--store", type=new_folder, metavar="DIR", help="keep features here and find them again"
    )
    add_json(predict, "write everything here")
    predict.add_argument(
        "--report", type=new_file, metavar="FILE.html", help="write a page to look at here"
    )
    predict.add_argument(
        "--embed-video",
        action="store_true",
        help="put the video into the page (converted if browsers cannot play it), not a link to it",
    )
    predict.add_argument(
        "--figures",
        type=new_folder,
        metavar="DIR",
        help="write the main figures here as PNG and SVG",
    )

    align = command("align", _align, "find when each word is said")
    explain(align, ALIGN)
    align.add_argument("clip", help="video or sound file")
    align.add_argument(
        "--transcript",
        metavar="FILE",
        help="what is said; without it the speech is recognised first",
    )
    add_recipe(align)
    add_json(align, "write the words here")

    track = command("track", _track, "measure face or voice at frame rate")
    explain(track, TRACK)
    track.add_argument("modality", choices=("acoustic", "visual"))
    track.add_argument("clip", help="video or sound file")
    track.add_argument("--out", type=new_file, required=True, metavar="FILE.parquet")
    add_recipe(track)


def _predict(options: argparse.Namespace) -> int:
    if options.embed_video and not options.report:
        raise ValueError("--embed-video is of a page: name it with --report FILE.html")
    if options.store is None:  # else they may have nothing to do
        begin_children("visual", "acoustic")
    from flows.display import results, screen, show_prediction, show_stages
    from flows.run import predict_clip
    from pipeline.transcripts import find_transcript

    with show_stages() as progress:
        record = predict_clip(
            options.clip,
            recipe=options.recipe,
            model=options.model,
            transcript=options.transcript,
            store=options.store,
            progress=progress,
            report=options.report,
            embed_video=options.embed_video,
            figures=options.figures,
        )
    if options.json != "-":
        show_prediction(record, record["model"].get("scales", {}))
        if not options.transcript and (beside := find_transcript(options.clip)):
            note = f"note: {beside} lies beside the clip; --transcript {beside} reads it"
            screen.print(note, style="dim", markup=False, soft_wrap=True)
    if wrote_json(options.json, record):
        return 0
    for made in (options.report, options.figures):
        if made:
            results.print(f"written: {made}")
    if options.store:
        results.print(f"features kept in: {options.store}")
    return 0


def _align(options: argparse.Namespace) -> int:
    from flows.display import show_stages, show_warnings, show_words
    from flows.run import describe_word, open_recipe, open_transcript
    from pipeline.assemble import warn_of_alignment
    from pipeline.clip import open_clip
    from pipeline.clip_run import ClipRun
    from pipeline.process import find_words

    with show_stages() as progress:
        said = open_transcript(options.transcript)
        run = ClipRun(open_clip(options.clip), open_recipe(options.recipe), said, progress=progress)
        words = find_words(run)
    show_warnings(warn_of_alignment(run, words))
    record = {"words": [describe_word(word) for word in words]}
    if options.json != "-":
        show_words(record["words"])
    wrote_json(options.json, record)
    return 0


def _track(options: argparse.Namespace) -> int:
    begin_children(options.modality)
    from flows.display import results, show_stages
    from flows.run import open_recipe
    from pipeline.clip import open_clip
    from pipeline.clip_run import ClipRun
    from pipeline.errors import MediaError
    from pipeline.process import track_modality
    from pipeline.store import write_track

    recipe = open_recipe(options.recipe)
    with show_stages() as progress:
        run = ClipRun(open_clip(options.clip), recipe, progress=progress)
        tracks = track_modality(run, options.modality)
    if not tracks:
        raise MediaError(f"{options.clip}: it has no stream for {options.modality} features")
    for index, track in enumerate(tracks):
        out = Path(options.out)
        out.parent.mkdir(parents=True, exist_ok=True)
        out = out if index == 0 else out.with_stem(f"{out.stem}-{index + 1}")
        write_track(out, track, {"recipe": json.dumps(recipe.provenance)})
        results.print(
            f"written: {out} ({len(track.times)} frames, {len(track.names)} columns, "
            f"observed in {track.observed.mean():.0%} of the frames)"
        )
    return 0
