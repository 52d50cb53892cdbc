"""``rmfn quality``: which clips of a store to look at again, and which to leave out."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from flows.arguments import add_json, add_limits, explain, new_file

SHOWN = 40  # clips; of more than these only those with a fault are listed
WORSE = ("ok", "unknown", "flagged", "rejected")
COLUMNS = {
    "face_share": "face",
    "speech_share": "speech",
    "aligner_score": "score",
    "level": "level",
}

QUALITY_TEXT = """\
examples:
  rmfn quality features                                  what is wrong with which clip
  rmfn quality features --reject face_share=0.5 aligner_score=0.4 --csv clips.csv
  rmfn quality features --flag other_faces=off level=-50
  rmfn train --store features --labels labels.csv --reject face_share=0.5 ... leaves segments out

No video is needed: the quality of a clip is kept with its features. Beyond its limit a measure
flags a clip, or rejects it if you say so:

  face_share          below 0.5    frames in which the speaker's face was found
  speech_share        below 0.15   of the clip that words cover
  aligner_score       below 0.4    how well words and sound agree, the median of the words
  interpolated_share  above 0.2    words that could not be aligned
  guessed_share       above 0.3    words that are not in the aligner's dictionary
  repeated_share      above 0.3    words of a phrase said again and again
  voiced_share        below 0.2    of the words' sound that is voiced
  irregular_share     above 0.05   frames out of step, or dropped
  other_faces         above 0      persons beside the speaker
  clipped_share       above 0.001  of the sound that is at full scale
  level               below -40    of the loud parts, in dB (0 is full scale)

What a clip does not have (a sound file has no face) is not judged. A clip that was processed with a
transcript and by recognition has a row each; counted is the worse one.

--quality FILE.toml holds limits for this command and for rmfn train:

  [flag]
  level = -50
  other_faces = false        # never
  [reject]
  aligner_score = 0.3
"""


def add_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    quality = command("quality", _quality, "say which clips of a store are good enough")
    explain(quality, QUALITY_TEXT)
    quality.add_argument("store", metavar="STORE", help="features of rmfn extract or rmfn batch")
    add_limits(quality, flag=True)
    add_json(quality, "write all of it here")
    quality.add_argument(
        "--csv", type=new_file, metavar="FILE", help="write the rows here, with every measure"
    )


def _quality(options: argparse.Namespace) -> int:
    from flows.arguments import open_limits, wrote_json
    from flows.display import results, show_rows
    from pipeline.limits import Limits, examine_store
    from pipeline.store import open_store

    limits = open_limits(options.quality, options.reject, options.flag) or Limits()
    clips = list(examine_store(open_store(options.store), limits))
    counts = count_clips(clips)
    if options.csv:
        write_csv(options.csv, clips)
    if options.json == "-":
        wrote_json("-", describe(clips, limits))
        return 0
    listed = clips if len(clips) <= SHOWN else [c for c in clips if c["status"] != "ok"]
    if listed:
        show_rows("clips" if listed is clips else "clips with a fault", tabulate(listed))
    said = ", ".join(f"{count} {status}" for status, count in counts.items())
    many = sum(counts.values())
    results.print(f"{many} clip{'' if many == 1 else 's'}: {said}" if counts else "no clips")
    wrote_json(options.json, describe(clips, limits))
    if options.csv:
        results.print(f"written: {options.csv}")
    return 0


def count_clips(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    """How many clips are ok, flagged, rejected or unknown; of one with several rows (with a
    transcript and as recognised, or of several recipes) the worst counts."""
    worst: dict[str, int] = {}
    for row in rows:
        worst[row["id"]] = max(worst.get(row["id"], 0), WORSE.index(row["status"]))
    counted = Counter(WORSE[place] for place in worst.values())
    order = ("ok", "flagged", "rejected", "unknown")
    return {status: counted[status] for status in order if counted[status]}


def describe(clips: Sequence[dict[str, Any]], limits: Any) -> dict[str, Any]:
    """All of it, ready for JSON."""
    return {
        "limits": {"flag": dict(limits.flag), "reject": dict(limits.reject)},
        "counts": count_clips(clips),
        "clips": list(clips),
    }


def tabulate(clips: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row a clip for people; of several rows of a clip it is said by which recipe they are, and
    where their words are from."""
    recipes = {clip["recipe"] for clip in clips}
    words = [_tell_words(clip["key"]) for clip in clips]
    told = Counter((c["id"], c["recipe"], said) for c, said in zip(clips, words, strict=True))
    if max(told.values(), default=0) > 1:  # several transcripts, or a recipe that was changed
        words = [f"{said} {clip['key']}" for clip, said in zip(clips, words, strict=True)]
    rows = []
    for clip, said in zip(clips, words, strict=True):
        row = {"clip": clip["clip"], "status": clip["status"]}
        if len(recipes) > 1:
            row["recipe"] = clip["recipe"]
        if len(set(words)) > 1:
            row["words"] = said
        for name, heading in COLUMNS.items():
            value = clip[name]
            share = name.endswith("_share")
            row[heading] = None if value is None else f"{value:.0%}" if share else f"{value:.3g}"
        row["why"] = ", ".join(clip["reasons"])
        rows.append(row)
    return rows


def _tell_words(key: str) -> str:
    """The key of rows with a transcript goes on with the transcript's."""
    return "transcript" if "-" in key else "recognised"


def write_csv(path: str, clips: Sequence[dict[str, Any]]) -> None:
    """A row a clip: what it is, its status and why, and every measure (empty: not measured).

    Raises
    ------
    OSError : it cannot be written.
    """
    import csv
    import io

    from pipeline.limits import MEASURES
    from pipeline.whole import open_place, write_whole

    columns = ("clip", "id", "key", "recipe", "status", "reasons", "rejected_for", *MEASURES)
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for clip in clips:
        told = {name: "; ".join(clip[name]) for name in ("reasons", "rejected_for")}
        writer.writerow({**clip, **told})
    write_whole(open_place(path), lambda file: file.write(text.getvalue().encode()))
