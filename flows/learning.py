"""The commands that learn and measure: ``rmfn train`` and ``rmfn evaluate``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

METRICS = ("n", "mae", "corr", "a2", "f1", "a7")


def add_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the two commands to the parser."""
    train = command("train", _train, "train RMFN on timed transcripts with labels")
    train.add_argument(
        "--timed",
        required=True,
        metavar="FILE.jsonl",
        help="a segment a line: id, vid, label, words, w_start, w_end, split",
    )
    train.add_argument("--out", metavar="DIR", help="the checkpoint's folder")
    train.add_argument(
        "--card", metavar="FILE.md", help="model card; the measured numbers are put after it"
    )
    train.add_argument("--trained-on", default="", metavar="TEXT", help="a line for people")
    train.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        metavar="N",
        help="one model each, averaged (default: 0 1 2 3 4)",
    )
    train.add_argument(
        "--cross-validate",
        action="store_true",
        help="only measure: 5-fold cross-validation by video",
    )
    train.add_argument("--json", metavar="FILE", help="write the numbers here; - for stdout")

    evaluate = command("evaluate", _evaluate, "score a checkpoint on labelled segments")
    evaluate.add_argument("model", metavar="DIR|NAME", help="checkpoint folder or shipped name")
    evaluate.add_argument(
        "--timed",
        required=True,
        metavar="FILE.jsonl",
        help="a segment a line: id, vid, label, words, w_start, w_end",
    )
    evaluate.add_argument("--json", metavar="FILE", help="write the numbers here; - for stdout")


def _train(options: argparse.Namespace) -> int:
    from rmfn.train_timed import PLAN, cross_validate_timed, train_timed

    if not options.out and not options.cross_validate:
        raise ValueError("say where the checkpoint shall go: --out DIR (or --cross-validate)")
    plan = PLAN
    if options.seeds:
        plan = replace(plan, seeds=tuple(options.seeds))
    card = Path(options.card).read_text(encoding="utf-8") if options.card else ""
    with _show_trainings() as on_progress:
        if options.cross_validate:
            report = cross_validate_timed(options.timed, plan, on_progress)
            title = "5-fold cross-validation by video"
        else:
            manifest = train_timed(
                options.timed,
                options.out,
                plan,
                trained_on=options.trained_on,
                card=card,
                on_progress=on_progress,
            )
            report = {
                f"{label}, {where}": found
                for where, labels in manifest.metrics.items()
                for label, found in labels.items()
            }
            title = f"written: {options.out}"
    return _show_report(title, report, options.json)


def _evaluate(options: argparse.Namespace) -> int:
    from flows.run import find_model
    from rmfn.evaluate import evaluate_timed

    report = evaluate_timed(find_model(options.model), options.timed)
    return _show_report(f"{options.model} on {options.timed}", report, options.json)


def _show_report(title: str, report: dict[str, Any], file: str | None) -> int:
    from flows.display import results, show_rows
    from flows.records import to_json, write_json

    if file == "-":
        print(to_json(report))
        return 0
    rows = []
    for label, found in report.items():
        rows.append({"": label, **_columns(found)})
        if found.get("interval"):
            edges = {
                name: "{:.2f}…{:.2f}".format(*found["interval"][name])
                for name in METRICS
                if name in found["interval"]
            }
            rows.append({"": "  95 % interval", **dict.fromkeys(METRICS, ""), **edges})
        if seeds := found.get("seeds"):
            spread = {
                name: "{:.3f} ±{:.3f}".format(*seeds[name]) for name in METRICS if name in seeds
            }
            rows.append({"": "  single seeds", **dict.fromkeys(METRICS, ""), **spread})
        for name, constant in found["constants"].items():
            rows.append({"": f"  constant {name}", **_columns(constant)})
    show_rows(title, rows)
    if file:
        write_json(file, report)
        results.print(f"written: {file}")
    return 0


def _columns(found: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if found.get(name) != found.get(name) else found.get(name) for name in METRICS
    }


@contextmanager
def _show_trainings() -> Iterator[Callable[[Any], None]]:
    """One bar over all trainings, with the epoch and the validation error of the running one."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from flows.display import screen

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("trainings"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=screen) as bars:
        line = bars.add_task("making features", total=None)

        def on_progress(now: Any) -> None:
            bars.update(
                line,
                total=now.runs,
                completed=now.run,
                description=f"{now.what}: epoch {now.epoch.number}, "
                + ", ".join(f"{name} {value:.3f}" for name, value in now.epoch.scores.items()),
            )

        yield on_progress
        bars.update(line, description="done")
