"""The command line ``rmfn``: paths, devices and the choices a person makes each time.

Everything else is a setting of the recipe. Exit status: 0 all went well; 1 a clip was read but
could not be processed; 2 what was given cannot be used (arguments, files, recipes, models).
"""

from __future__ import annotations

import argparse
import atexit
import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NoReturn

from extractors.threads import leave_cores_to_stages
from flows.arguments import add_recipe, new_file, new_folder, refuse_replacing
from pipeline.children import begin_children
from pipeline.records import to_json, write_json

EPILOG = """\
examples:
  rmfn predict talk.mp4                            a prediction for one video
  rmfn predict talk.mp4 --transcript talk.srt      when you know what is said
  rmfn predict talk.mp4 --report talk.html         and a page to look at
  rmfn align talk.wav --transcript talk.txt        word times only
  rmfn track visual talk.mp4 --out face.parquet    frame-rate measurements
  rmfn batch videos/ --store features --predict    a folder; stops and resumes as you like
  rmfn report runs/a                               a page of a training, or of a comparison
  rmfn serve                                       then, in another terminal:
  prefect deployment run predict-video --param path=talk.mp4

exit status: 0 all went well; 1 a clip could not be processed; 2 the input cannot be used.
"""


def main(arguments: list[str] | None = None) -> int:
    """Entry point. Returns the exit status."""
    options = _build_parser().parse_args(arguments)
    if arguments is not None:
        return _run(options)
    code = _watch(options.clip) if hasattr(options, "clip") else None
    if code is None:
        _leave(_run(options))
    return code


def _run(options: argparse.Namespace) -> int:
    from pipeline.memory import share_one_heap

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for names that are no text
    share_one_heap()
    leave_cores_to_stages()
    try:
        with nullcontext() if options.debug else _only_our_words():
            refuse_replacing(options)
            code = options.run(options)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        _say("interrupted; finished stages are in the store, if one was named")
        return 130
    except BrokenPipeError:
        # The reader (head, less) has gone; there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if options.debug:
            raise
        return _explain(error)


def _leave(code: int) -> NoReturn:
    """End without taking the libraries apart: their half a million objects take half a second, and
    a thread of Arrow's that still lets a file go while Python ends would end it in a crash."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _watch(clip: str) -> int | None:
    """Of one clip too it is said if a native library crashed on it. None: go on."""
    from pipeline.isolation import outlive_crash

    code = outlive_crash()
    if code is None or code >= 0:
        return code
    _say(
        f"error: {clip}: it made the program crash (signal {-code}), most likely a native library "
        "that it is decoded or measured with; or the memory was used up, or somebody ended it"
    )
    return 1


def _explain(error: Exception) -> int:
    """One readable line for the errors a user can meet; anything else is a fault of ours."""
    from extractors.weights import WeightsMissing
    from pipeline.errors import ClipError, MediaError

    if isinstance(error, (ClipError, WeightsMissing, ValueError, OSError)):
        _say(f"error: {error}")
        return 1 if isinstance(error, ClipError) and not isinstance(error, MediaError) else 2
    _say(
        f"internal error: {type(error).__name__}: {error} (run again with --debug for a traceback)"
    )
    return 2


def _predict(options: argparse.Namespace) -> int:
    if options.store is None:  # else they may have nothing to do
        begin_children("visual", "acoustic")
    from flows.display import results, show_prediction, show_stages
    from flows.run import predict_clip

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
    if options.json == "-":
        print(to_json(record))
        return 0
    show_prediction(record, record["model"].get("scales", {}))
    if options.json:
        write_json(options.json, record)
        results.print(f"written: {options.json}")
    for made in (options.report, options.figures):
        if made:
            results.print(f"written: {made}")
    if options.store:
        results.print(f"features kept in: {options.store}")
    return 0


def _align(options: argparse.Namespace) -> int:
    from flows.display import results, show_stages, show_words
    from flows.run import describe_word, open_recipe, open_transcript
    from pipeline.clip import open_clip
    from pipeline.clip_run import ClipRun
    from pipeline.process import find_words

    with show_stages() as progress:
        said = open_transcript(options.transcript)
        run = ClipRun(open_clip(options.clip), open_recipe(options.recipe), said, progress=progress)
        words = find_words(run)
    record = {"words": [describe_word(word) for word in words]}
    if options.json == "-":
        print(to_json(record))
        return 0
    show_words(record["words"])
    if options.json:
        write_json(options.json, record)
        results.print(f"written: {options.json}")
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


def _serve(options: argparse.Namespace) -> int:
    from flows.deployments import serve_flows

    return serve_flows(options.limit, options.root) or 0


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rmfn",
        description="From a video of a person talking to word-aligned language, facial and "
        "acoustic features, and an RMFN prediction.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        made.set_defaults(run=run)
        made.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks"
        )
        return made

    predict = command("predict", _predict, "predict a video or sound file")
    predict.add_argument("clip", help="video or sound file")
    predict.add_argument(
        "--transcript",
        metavar="FILE",
        help="what is said (.txt, .srt, .vtt, .json); skips speech recognition",
    )
    predict.add_argument(
        "--model", metavar="DIR|NAME", help="checkpoint folder (default: the shipped mosi-language)"
    )
    add_recipe(predict)
    predict.add_argument(
        "--store", type=new_folder, metavar="DIR", help="keep features here and find them again"
    )
    predict.add_argument(
        "--json", type=new_file, metavar="FILE", help="write everything here; - for stdout"
    )
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
    align.add_argument("clip", help="video or sound file")
    align.add_argument(
        "--transcript",
        metavar="FILE",
        help="what is said; without it the speech is recognised first",
    )
    add_recipe(align)
    align.add_argument(
        "--json", type=new_file, metavar="FILE", help="write the words here; - for stdout"
    )

    track = command("track", _track, "measure face or voice at frame rate")
    track.add_argument("modality", choices=("acoustic", "visual"))
    track.add_argument("clip", help="video or sound file")
    track.add_argument("--out", type=new_file, required=True, metavar="FILE.parquet")
    add_recipe(track)

    from flows import (
        batch_command,
        datasets,
        experiments,
        learning,
        quality,
        recipes,
        report,
        vectors,
    )

    batch_command.add_commands(command)
    quality.add_commands(command)
    datasets.add_commands(command)
    learning.add_commands(command)
    experiments.add_commands(command)
    report.add_commands(command)
    recipes.add_commands(command)
    vectors.add_commands(command)

    serve = command("serve", _serve, "serve the Prefect deployments on this machine")
    serve.add_argument(
        "--limit", type=int, default=1, metavar="N", help="flow runs at a time (default: 1)"
    )
    serve.add_argument(
        "--root",
        action="append",
        default=[],
        metavar="DIR",
        help="runs may read and write below this folder, or place such as s3://bucket/features, "
        "and nowhere else, wherever links lead; may be given several times (default: the current "
        "folder)",
    )
    return parser


@contextmanager
def _only_our_words() -> Iterator[None]:
    """Keep native libraries' chatter off the screen.

    They write to descriptor 2 themselves, past Python; so the terminal is kept under another
    descriptor for Python's stderr, and 2 leads nowhere. ``--debug`` shows everything.
    """
    sys.stderr.flush()
    python, terminal = sys.stderr, os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    # Names of files may hold bytes that are no text.
    sys.stderr = os.fdopen(terminal, "w", buffering=1, errors="backslashreplace", closefd=False)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(terminal, 2)
        sys.stderr = python
        os.close(terminal)


def _say(line: str) -> None:
    print(line, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
