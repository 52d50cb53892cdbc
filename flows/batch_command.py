"""The commands for folders of videos: ``rmfn batch`` and, for features alone, ``rmfn extract``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.arguments import add_json, add_recipe, explain, new_folder
from rmfn.wording import describe_value

if TYPE_CHECKING:
    from flows.batch import Told

SHOWN = 40  # clips; of more than these only the failed ones are listed
WIDE = 3  # labels; of more than these there is no column each

BATCH_TEXT = """\
examples:
  rmfn batch videos/ --store features                features of every video in the folder
  rmfn batch videos/ --store features --predict      and predictions
  rmfn batch videos/ --store features --predict --report pages
                                                     and a page of every clip, with an index
  rmfn batch a/ b/ talk.mp4 --store features --predict --model runs/mood --workers 4
  rmfn batch /data/videos --store s3://bucket/features --dask tcp://head:8786

Videos are found by what is in the files, in folders within folders too; the same bytes under two
names are processed once. A transcript beside a video is used instead of speech recognition:
talk.srt, .vtt, .json or .txt beside talk.mp4.

Stop it whenever you like, or let the power go: the next run does what is missing. A clip that
failed is not tried again until you say --retry-failed. The store holds report.json and, with
--predict, predictions.csv and predictions.parquet of the last run.
"""


def add_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the two commands to the parser."""
    batch = command("batch", _batch, "put folders of videos through, and predict them if you like")
    explain(batch, BATCH_TEXT)
    _add_common(batch)
    batch.add_argument("--predict", action="store_true", help="predict every clip as well")
    batch.add_argument(
        "--model", metavar="DIR|NAME", help="of --predict (default: the shipped mosi-language)"
    )
    batch.add_argument(
        "--report",
        type=new_folder,
        metavar="DIR",
        help="of --predict: a page for every clip, and index.html",
    )
    extract = command("extract", _batch, "put the features of many clips into a store")
    _add_common(extract)
    extract.set_defaults(predict=False, model=None, report=None)


def _add_common(made: argparse.ArgumentParser) -> None:
    made.add_argument("paths", nargs="+", metavar="PATH", help="folders of videos, or files")
    made.add_argument(
        "--store",
        type=new_folder,
        required=True,
        metavar="DIR",
        help="a rerun does only what is missing there",
    )
    add_recipe(made)
    made.add_argument(
        "--workers", type=int, metavar="N", help="clips side by side (default: one a core)"
    )
    made.add_argument(
        "--timeout",
        type=float,
        metavar="S",
        help="give a clip up after so many seconds (default: 300, and 30 a second of video)",
    )
    made.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="spread the clips over the machines of this Dask scheduler, such as tcp://host:8786; "
        "they must see the videos and the store as this one does",
    )
    made.add_argument("--retry-failed", action="store_true", help="try again what failed before")
    add_json(made, "write the report here, too")


def _batch(options: argparse.Namespace) -> int:
    from flows.arguments import wrote_json
    from flows.batch import Asked, run_batch
    from flows.batch_files import write_batch
    from flows.display import results
    from flows.run import find_model
    from pipeline.cluster import Cluster
    from pipeline.isolation import run_isolated
    from pipeline.store import Store

    if options.model and not options.predict:
        raise ValueError(f"--model {options.model} is of use with --predict only")
    if options.report and not options.predict:
        raise ValueError(f"--report {options.report} is of use with --predict only")
    model = str(find_model(options.model)) if options.predict else None
    with show_batch() as told:
        report = run_batch(
            options.paths,
            Asked(options.recipe, options.store, model, options.report),
            workers=options.workers,
            retry_failed=options.retry_failed,
            limit=options.timeout,
            on_told=told,
            runner=Cluster(options.dask) if options.dask else run_isolated,
        )
    store = Store(options.store)
    written = write_batch(store, report, options.report)
    if options.json != "-":
        show_report(report)
        results.print(f"written: {', '.join(str(store.folder / name) for name in written)}")
        if options.report:
            results.print(f"written: {Path(options.report) / 'index.html'}")
    wrote_json(options.json, report)
    return int(any(clip["status"] == "failed" for clip in report["clips"]))


@contextmanager
def show_batch() -> Iterator[Callable[[Told], None]]:
    """A line for the whole and one for each clip at work; a log of lines where nobody watches."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.text import Text

    from flows.display import screen

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[said]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=screen, refresh_per_second=4) as bars:
        whole = bars.add_task("looking for videos", total=None, said="")
        lines: dict[str, Any] = {}

        def tell(told: Told) -> None:
            for clip in lines.keys() - told.running.keys():
                bars.remove_task(lines.pop(clip))
            for clip, stages in told.running.items():
                if clip not in lines:
                    lines[clip] = bars.add_task(f"  {Path(clip).name}", total=None, said="")
                share = stages.get("visual")
                total = None if share is None else 1.0
                said = ", ".join(stages)
                bars.update(lines[clip], total=total, completed=share or 0.0, said=said)
            said = describe_told(told)
            count = f"{told.finished} of {told.total} clips"
            bars.update(
                whole, description=count, total=told.total, completed=told.finished, said=said
            )
            if told.record is not None and told.record["status"] != "reused":
                line = f"[{told.finished}/{told.total}] {describe_record(told.record)}"
                line = line if screen.is_terminal else f"{line}; {said}"
                screen.print(Text(line), soft_wrap=True)

        yield tell


def describe_told(told: Told) -> str:
    """How many failed, and how long the rest may take."""
    failed = f"{told.failed} failed, " if told.failed else ""
    if told.finished == told.total:
        return f"{failed}done"
    if told.left is None:
        return f"{failed}time left not known yet"
    return f"{failed}about {describe_time(told.left)} left"


def describe_time(seconds: float) -> str:
    """As exactly as an estimate deserves."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def describe_record(record: dict[str, Any]) -> str:
    """What became of a clip, in one line."""
    if record["status"] == "failed":
        return f"{record['path']}: failed ({record['stage']}): {_shorten(record['reason'])}"
    return f"{record['path']}: {record['status']} in {record['seconds']:.1f} s"


def tabulate_clips(clips: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row a clip for people, with what was predicted of it as a whole."""
    labels = list(dict.fromkeys(label for clip in clips for label in clip.get("overall") or ()))
    rows = []
    for clip in clips:
        quality = clip["quality"] or {}
        face, speech = quality.get("face_share"), quality.get("speech_share")
        same = f"the same bytes as {clip['same_as']}" if clip["same_as"] else None
        before = {
            "clip": clip["path"],
            "status": clip["status"],
            "seconds": f"{clip['seconds']:.1f}",
            "words": quality.get("words"),
            "speech": None if speech is None else f"{speech:.0%}",
            "face": None if face is None else f"{face:.0%}",
        }
        after = {
            "stage": clip["stage"],
            "why": _shorten(clip["reason"]) if clip["reason"] else same,
        }
        rows.append({**before, **_tell_overall(clip, labels, {*before, *after}), **after})
    return rows


def _tell_overall(
    clip: dict[str, Any], labels: list[str], taken: set[str]
) -> dict[str, str | None]:
    """A cell a label; of many labels one cell for all, or the table would be too wide."""
    overall = clip.get("overall") or {}
    told = {label: describe_value(found) for label, found in overall.items()}
    if len(labels) > WIDE:
        text = ", ".join(f"{label} {value}" for label, value in told.items())
        return {"predicted": text or None}
    return {f"predicted {x}" if x in taken else x: told.get(x) for x in labels}


def show_report(report: dict[str, Any]) -> None:
    """The table of clips, and a line that counts them."""
    from flows.display import results, show_rows

    clips = report["clips"]
    counts = {
        status: sum(clip["status"] == status for clip in clips)
        for status in ("done", "reused", "failed")
    }
    listed = clips if len(clips) <= SHOWN else [c for c in clips if c["status"] == "failed"]
    if listed:
        root = os.path.commonpath([Path(clip["path"]).absolute().parent for clip in clips])
        rows = [
            {**row, "clip": os.path.relpath(row["clip"], root)} for row in tabulate_clips(listed)
        ]
        # Where all went well nothing is to be said of why.
        empty = {name for name in ("stage", "why") if all(row[name] is None for row in rows)}
        rows = [{name: x for name, x in row.items() if name not in empty} for row in rows]
        what = "clips" if listed is clips else "clips that failed"
        show_rows(f"{what}, below {root}", rows)
    length = sum(c["duration"] or 0.0 for c in clips if c["status"] == "done")
    took = f"{describe_time(length)} of video in {describe_time(report['seconds'])}"
    said = ", ".join(f"{count} {status}" for status, count in counts.items())
    others = report["passed_over"]
    files = "file" if others == 1 else "files"
    passed = f"; {others} other {files} passed over" if others else ""
    results.print(f"{len(clips)} clips: {said}; {took}{passed}", markup=False)
    if counts["failed"]:
        results.print("what failed is tried again with --retry-failed", style="dim")


def _shorten(reason: str) -> str:
    """A fault of the program is told with its traceback, of which people need the end."""
    return (reason.strip() or "no reason was given").splitlines()[-1].strip()
