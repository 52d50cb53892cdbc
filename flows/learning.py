"""The commands that learn and measure: ``rmfn train`` and ``rmfn evaluate``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from flows.arguments import (
    add_adapted,
    add_data,
    add_json,
    add_limits,
    add_target,
    explain,
    new_file,
    new_folder,
    open_limits,
    wrote_json,
)
from rmfn.systems import TITLES

# As rmfn.runs has it; but nothing is loaded to tell of an interruption: what was itself interrupted
# while it was loaded would crash.
STATE = "run/state"

TRAIN_TEXT = """\
examples:
  rmfn extract videos/ --store features            first, the features of your videos
  rmfn train --store features --labels labels.csv --target sentiment --out runs/a
  rmfn train --store features --labels labels.csv --target happy:binary --target sad:binary \\
      --weight sad=2 --out runs/b                  several labels at once
  rmfn train --data corpus --model-kind mfn --out runs/c
  rmfn train --data corpus --out runs/d --seeds 0 1 2 3 4     five models, averaged
  rmfn train --data corpus --out runs/d --resume   go on after a kill or a full disk
  rmfn train --timed words.jsonl --out runs/e      words with times, without videos

labels.csv has the columns video, start, end (seconds; empty: the whole video), any labels, and if
you like speaker and split (train, valid, test). Without splits they are made by speaker or video.
The split test is never looked at; afterwards: rmfn evaluate runs/a --store features --labels
labels.csv --split test

The folder --out becomes the model: weights, model.json, a card with what was measured, and in run/
the settings, the data's hash and a curve of every training as CSV. A finished model that lies there
is left alone unless you say --replace.
"""

EVALUATE_TEXT = """\
examples:
  rmfn evaluate runs/a --store features --labels labels.csv --split test
  rmfn evaluate runs/a --data corpus --split test --ablate --markdown report.md
  rmfn evaluate runs/a --data corpus --split test --against runs/b

It says the paper's metrics in both known conventions, 95 % intervals that redraw whole videos, what
constants reach, and how often the predicted intervals hold. --against adds the difference of the
two models with its interval and p-value (whole videos exchanged between them).
"""


def add_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the two commands to the parser."""
    train = command("train", _train, "train RMFN, or a model to compare it with, on labelled data")
    explain(train, TRAIN_TEXT)
    add_data(train, required=True)
    train.add_argument("--out", type=new_folder, metavar="DIR", help="the model's folder")
    add_target(train)
    add_adapted(train)
    add_limits(train)
    train.add_argument(
        "--weight",
        action="append",
        default=[],
        metavar="LABEL=W",
        help="weight of a label's loss (default: 1)",
    )
    model = train.add_argument_group("the model")
    model.add_argument(
        "--model-kind",
        metavar="NAME",
        help=f"rmfn (default) or another of {', '.join(TITLES)}",
    )
    model.add_argument(
        "--modalities", nargs="+", metavar="M", help="of language, visual, acoustic (default: all)"
    )
    model.add_argument(
        "--hidden", nargs="+", default=[], metavar="M=N", help="LSTM units, such as language=64"
    )
    model.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="further settings of the model, such as dropout=0.5 stages=2",
    )
    model.add_argument(
        "--plan", metavar="FILE.json", help="all of it from rmfn tune; flags go first"
    )
    how = train.add_argument_group("the training")
    how.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        metavar="N",
        help="one model each, averaged: 0 1 2 3 4 are five, 5 is one (default: 0 1 2)",
    )
    how.add_argument("--epochs", type=int, metavar="N", help="at most so many")
    how.add_argument("--patience", type=int, metavar="N", help="stop after N epochs without gain")
    how.add_argument("--batch", type=int, metavar="N", help="sequences a step")
    how.add_argument("--lr", type=float, metavar="X", help="learning rate")
    how.add_argument("--weight-decay", type=float, metavar="X")
    how.add_argument("--schedule", choices=("none", "plateau", "cosine"), help="of the rate")
    how.add_argument(
        "--modality-dropout",
        type=float,
        metavar="P",
        help="hide each modality of a sequence with this probability while training, for clips "
        "that will lack one",
    )
    how.add_argument(
        "--trim",
        type=float,
        metavar="SHARE",
        help="scale columns by their values without this share at either end, where some are "
        "saturated (default: 0)",
    )
    how.add_argument(
        "--folds", type=int, metavar="K", help="also cross-validate by speaker or video"
    )
    how.add_argument(
        "--rotate",
        action="store_true",
        help="each seed stops on other videos, so that together they learn from train and valid",
    )
    how.add_argument("--split-seed", type=int, metavar="N", help="of splits made here (default: 0)")
    how.add_argument("--device", metavar="auto|cpu|cuda", help="default: auto")
    how.add_argument("--precision", choices=("float32", "bf16"), help="of the matrix products")
    how.add_argument(
        "--resume", action="store_true", help="go on with what lies unfinished in --out"
    )
    how.add_argument(
        "--replace",
        action="store_true",
        help="a finished model in --out, and all that lies beside it there, may go",
    )
    how.add_argument(
        "--cross-validate",
        action="store_true",
        help="only measure, by 5 folds if --folds says none",
    )
    train.add_argument(
        "--card", metavar="FILE.md", help="model card; the measured numbers are put after it"
    )
    train.add_argument("--trained-on", default="", metavar="TEXT", help="a line for people")
    add_json(train, "write the numbers here")

    evaluate = command("evaluate", _evaluate, "score a model on labelled segments")
    explain(evaluate, EVALUATE_TEXT)
    evaluate.add_argument("model", metavar="DIR|NAME", help="the model's folder or a shipped name")
    add_data(evaluate, required=True)
    evaluate.add_argument(
        "--split",
        choices=("train", "valid", "test"),
        help="score these segments only (default: all); without splits in the data, those that the "
        "training made",
    )
    evaluate.add_argument("--against", metavar="DIR|NAME", help="compare with another model")
    evaluate.add_argument(
        "--ablate", action="store_true", help="score it without each modality, and with each alone"
    )
    add_json(evaluate, "write the numbers here")
    evaluate.add_argument(
        "--markdown", type=new_file, metavar="FILE.md", help="write the tables here"
    )


def _train(options: argparse.Namespace) -> int:
    try:
        return _do_train(options)
    except KeyboardInterrupt:
        begun = options.out is not None and (Path(options.out) / STATE).is_dir()
        print(_describe_interrupt(begun, options.cross_validate), file=sys.stderr)
        return 130


def _do_train(options: argparse.Namespace) -> int:
    from flows.collect import choose_labels, open_data
    from flows.display import screen, show_trainings
    from flows.planning import describe_seeds, find_said, read_training
    from rmfn.checkpoint import refuse_taken
    from rmfn.targets import name_columns
    from rmfn.train_dataset import cross_validate_dataset, train_dataset

    if not options.out and not options.cross_validate:
        raise ValueError("say where the model shall go: --out DIR (or --cross-validate)")
    if not options.cross_validate:
        refuse_taken(options.out, options.resume, options.replace)
    plan = read_training(options)
    card = Path(options.card).read_text(encoding="utf-8") if options.card else ""
    if said := describe_seeds(options.seeds):
        screen.print(said)
    with show_trainings() as on_progress:
        dataset = open_data(
            *(options.data, options.store, options.labels, options.timed),
            columns=name_columns(options.target),
            keep_adapted=options.keep_adapted,
            limits=open_limits(options.quality, options.reject),
            targets=find_said(options, plan),
        )
        targets = choose_labels(dataset, options.target, plan.targets)
        plan = replace(plan, targets=targets)
        if options.cross_validate:
            report = {"cross-validation": cross_validate_dataset(dataset, plan, on_progress)}
        else:
            report = train_dataset(
                dataset,
                plan,
                options.out,
                on_progress,
                resume=options.resume,
                trained_on=options.trained_on,
                card=card,
            ).metrics
    _show_measured(report, targets, options)
    if not options.cross_validate and options.json != "-":
        from flows.display import results

        results.print(f"written: {options.out}")
    return 0


def _describe_interrupt(begun: bool, only_measured: bool) -> str:
    if only_measured:
        return "interrupted; a cross-validation alone keeps nothing"
    if begun:
        return "interrupted; the finished epochs are kept: the same command with --resume goes on"
    return "interrupted before an epoch was finished: there is nothing to go on with"


def _evaluate(options: argparse.Namespace) -> int:
    from flows.collect import open_scored
    from flows.display import results, show_table, show_warnings
    from flows.run import find_model
    from rmfn.evaluate import evaluate_dataset
    from rmfn.predict import Predictor
    from rmfn.report import describe_report, list_warnings, tabulate_report, write_markdown

    predictor = Predictor.load(find_model(options.model))
    against = Predictor.load(find_model(options.against)) if options.against else None
    manifest = predictor.manifest
    dataset = open_scored(manifest, options.data, options.store, options.labels, options.timed)
    report = evaluate_dataset(
        predictor, dataset, options.split, against=against, ablate=options.ablate
    )
    title = f"{options.model} on {options.timed or options.data or options.labels}"
    title += f", {options.split}" if options.split else ""
    tables = tabulate_report(report, manifest.labels)
    lines, warnings = describe_report(report, manifest.labels), list_warnings(report)
    if options.markdown:
        _write_text(options.markdown, write_markdown(title, tables, lines, warnings))
    show_warnings(warnings)
    if options.json != "-":
        results.print(title, style="bold", markup=False)
        for table in tables:
            show_table(table.title, table.headings, table.rows)
        for line in lines:
            results.print(line, style="dim", markup=False)
    if not wrote_json(options.json, report) and options.markdown:
        results.print(f"written: {options.markdown}")
    return 0


def _write_text(path: str, text: str) -> None:
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")


def _show_measured(report: dict[str, Any], targets: Any, options: argparse.Namespace) -> None:
    """What a training measured of itself: {where: {label: metrics}}."""
    from flows.display import show_table
    from rmfn.report import tabulate_report

    if options.json != "-":
        for where, found in report.items():
            for table in tabulate_report(found, targets):
                show_table(f"{where}, {table.title}", table.headings, table.rows)
    wrote_json(options.json, report["cross-validation"] if options.cross_validate else report)
