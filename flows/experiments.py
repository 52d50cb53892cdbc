"""The commands about many trainings: ``rmfn tune``, ``compare``, ``ablate`` and ``retrain``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.arguments import (
    add_adapted,
    add_data,
    add_recipe,
    add_target,
    explain,
    new_file,
    new_folder,
    wrote_json,
)
from rmfn.systems import GROUPS, TITLES

if TYPE_CHECKING:
    from rmfn.compare import Told
    from rmfn.dataset import Dataset
    from rmfn.train_dataset import Plan
    from rmfn.tune import Trial

SHOWN = 10  # trials in the table

TUNE = """\
Every setting is drawn from the ranges of the published random searches (units, stages, fusion,
dropout, learning rate, ...), by Optuna. Only the validation error is looked at: segments of the
split test are dropped before anything sees them. Where the data have the splits train and valid,
each setting is trained on the one and scored on the other; else by cross-validation.

The plan as given (--plan, or the usual settings) is measured first: what is drawn has to be better
than that. A search that was interrupted goes on with the same command; --trials counts all.

examples:
  rmfn tune --data data/mosi --out runs/tuned --trials 50
  rmfn tune --data data/mosi --out runs/tuned --trials 200 --timeout 3600     150 more, for an hour
  rmfn train --data data/mosi --plan runs/tuned/plan.json --out runs/best
"""
PROTOCOL = """\
All are trained with the same settings (of --plan; what a system does not have is left out) and
scored under one protocol: the official splits where the data have train, valid and test, else, or
with --folds, cross-validation by speaker or video. The table has mean and standard deviation over
the seeds, the difference from RMFN with its interval and p-value (whole videos redrawn and
exchanged, corrected for the number of systems), parameters, training and prediction time, what
constants and a random guess reach, and the paper's values if the data are CMU-MOSI. A system that
asks for more than the data have (videos of several segments, speakers) is left out with the reason.

What is finished is kept in --out and not done again: add seeds or systems with the same command.
There lie table.md, table.csv, table.json and plot.png in the end. Exit status 1: a system failed;
its row says why.
"""
COMPARE = f"""\
{PROTOCOL}
systems: {", ".join(TITLES)}
groups:  {", ".join(name for name in GROUPS)}

examples:
  rmfn compare data/mosi                                        all systems, five seeds
  rmfn compare data/mosi --seeds 1 --out runs/first             a first look; then
  rmfn compare data/mosi --seeds 5 --out runs/first             the other four seeds
  rmfn compare data/mosi --models classical hcrf rmfn --folds 5
  rmfn compare --store features --labels labels.csv --target mood:classes --models ef-lstm rmfn svm
"""
ABLATE = f"""\
How many stages (rmfn-r1 to rmfn-r4, K = 1 to 4)? Is multistage fusion needed (rmfn-no-mfp), is
HIGHLIGHT (rmfn-no-highlight), does MARN do as well (marn)? It is rmfn compare with these systems.

{PROTOCOL}
examples:
  rmfn ablate --data data/mosi --out runs/ablation
  rmfn ablate --data data/mosi --out runs/ablation --seeds 3 --models rmfn-r3 marn ef-lstm
"""
RETRAIN = """\
Extracts what is missing, adds the labelled segments to all that were given before, trains a
candidate and compares it with the model in use, on frozen segments from which no version learns
(nor from any other of their videos or speakers). The candidate is taken only if it is better: the
whole 95 % interval of the paired difference in error is below 0. With --accept not-worse it is
enough that it is below a margin. Every version is kept, with the reason.

  MODELS/current        the version in use; write another's name into it to go back
  MODELS/frozen.json    the segments that all versions are judged on, chosen the first time
  MODELS/v2/            a checkpoint, with decision.json

The model in use is found by the folder's name: rmfn predict talk.mp4 --model models/mood.

examples:
  rmfn retrain new_videos/ --store features --into models/mood          reads new_videos/labels.csv
  rmfn retrain more/ --store features --into models/mood --accept not-worse --margin 0.05
"""


def add_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the four commands to the parser."""
    tune = command("tune", _tune, "search for the settings with the lowest validation error")
    explain(tune, TUNE)
    add_data(tune)
    add_target(tune)
    add_adapted(tune)
    tune.add_argument(
        "--out", type=new_folder, required=True, metavar="DIR", help="the search's folder"
    )
    tune.add_argument("--trials", type=int, default=50, metavar="N", help="in all (default: 50)")
    tune.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="begin no new trial after so long"
    )
    tune.add_argument("--model-kind", metavar="NAME", help="what is trained (default: rmfn)")
    _add_training(tune)

    compare = command("compare", _compare, "every system of the paper on your data, one protocol")
    explain(compare, COMPARE)
    compare.add_argument("dataset", nargs="?", metavar="DATASET", help="a data set (rmfn import)")
    add_data(compare)
    add_target(compare)
    add_adapted(compare)
    _add_comparison(compare, "all", "default: all")
    compare.add_argument(
        "--out",
        type=new_folder,
        metavar="DIR",
        help="where finished parts are kept (default: DATASET-comparison)",
    )

    ablate = command("ablate", _compare, "answer the paper's questions: stages, fusion, MARN")
    explain(ablate, ABLATE)
    add_data(ablate)
    add_target(ablate)
    add_adapted(ablate)
    _add_comparison(ablate, "questions", "default: all seven")
    ablate.add_argument(
        "--out", type=new_folder, required=True, metavar="DIR", help="where finished parts are kept"
    )

    retrain = command("retrain", _retrain, "train a model again with new videos; keep the better")
    explain(retrain, RETRAIN)
    retrain.add_argument("videos", metavar="VIDEOS", help="folder of clips")
    retrain.add_argument(
        "--labels", metavar="FILE.csv", help="their labels (default: labels.csv in the folder)"
    )
    retrain.add_argument(
        "--store", type=new_folder, required=True, metavar="DIR", help="where features are kept"
    )
    retrain.add_argument(
        "--into",
        type=new_folder,
        required=True,
        metavar="MODELS",
        help="the folder of this model's versions",
    )
    add_recipe(retrain)
    retrain.add_argument(
        "--accept",
        choices=("better", "not-worse"),
        default="better",
        help="when the candidate is taken (default: better)",
    )
    retrain.add_argument(
        "--margin",
        type=float,
        metavar="X",
        help="what counts as worse, in the error's unit (default: a hundredth of the scale)",
    )
    add_target(retrain)
    add_adapted(retrain)
    retrain.add_argument("--model-kind", metavar="NAME", help="what is trained (default: rmfn)")
    _add_training(retrain)


def _add_comparison(made: argparse.ArgumentParser, models: str, usual: str) -> None:
    made.add_argument(
        "--models", nargs="+", default=[models], metavar="NAME", help=f"systems or groups ({usual})"
    )
    made.add_argument(
        "--workers", type=int, metavar="N", help="trainings side by side (default: the cores)"
    )
    _add_training(made)


def _add_training(made: argparse.ArgumentParser) -> None:
    made.add_argument("--plan", metavar="FILE.json", help="further settings, as tune writes them")
    made.add_argument(
        "--modalities", nargs="+", metavar="NAME", help="what is read (default: all there is)"
    )
    made.add_argument("--seeds", type=int, metavar="N", help="how many (default: the plan's)")
    made.add_argument("--folds", type=int, metavar="N", help="of a cross-validation")
    made.add_argument(
        "--json", type=new_file, metavar="FILE", help="write the result here; - for stdout"
    )


def _tune(options: argparse.Namespace) -> int:
    from flows.display import results, show_bar, show_rows
    from rmfn.tune import PLAN, count_trials, tune

    dataset, plan = _read_question(options)
    if options.seeds is None and not options.plan:
        plan = replace(plan, seeds=(0,))  # a search needs breadth more than certainty
    done = count_trials(options.out)
    with show_bar("trials", options.trials) as tell:
        tell(done, "making ready")

        def told(trial: Trial) -> None:
            nonlocal done
            done = trial.number
            name = f"trial {done}" if done else "as given"
            tell(done, f"{name}: {_show_error(trial)}")

        found = tune(
            dataset,
            options.out,
            options.trials,
            plan,
            options.timeout,
            told,
            lambda now: tell(done, now.describe()),
        )
    record = {**asdict(found), "file": str(Path(options.out) / PLAN)}
    if wrote_json(options.json, record):
        return 0
    rows = [
        {
            "trial": trial.number or "-",
            "error": trial.error,
            "seconds": f"{trial.seconds:.1f}",
            "settings": trial.failed or _list(trial.settings) or "as given",
        }
        for trial in (*found.trials[:SHOWN], found.given)
    ]
    show_rows(f"the best of {len(found.trials)} settings: {found.how}", rows)
    if not found.best.number:
        results.print("None was better than the plan as given, which is what is written.")
    results.print(f"written: {record['file']}")
    results.print("The least error of many is too low: measure it anew, with rmfn train --plan.")
    return 0


def _compare(options: argparse.Namespace) -> int:
    from flows.display import results
    from rmfn.compare import compare
    from rmfn.comparison_tables import tabulate

    if (positional := getattr(options, "dataset", None)) is not None:
        if options.data is not None:
            raise ValueError("say the data set once: rmfn compare DATASET, or --data DATASET")
        options.data = positional
    if options.workers is not None and options.workers < 1:
        raise ValueError(f"there must be at least one worker, got {options.workers}")
    dataset, plan = _read_question(options)
    out = Path(options.out or f"{options.data or dataset.name}-comparison")

    def told(now: Told) -> None:
        print(_describe_told(now), file=sys.stderr, flush=True)  # a log, not a bar

    found = compare(
        dataset,
        out,
        options.models,
        range(5 if options.seeds is None else options.seeds),
        plan,
        options.workers or len(os.sched_getaffinity(0)),
        told,
    )
    failed = any(row.failed for row in found.rows)
    if not wrote_json(options.json, asdict(found)):
        results.print(tabulate(found), markup=False, soft_wrap=True)
        results.print(f"written: {out}/table.md, table.csv, table.json, plot.png")
    return int(failed)


def _describe_told(now: Told) -> str:
    """A line of the log: what is done, and how long the rest may take."""
    errors = ", ".join(f"{name} {value:.3f}" for name, value in list(now.errors.items())[:3])
    text = now.failed or f"{errors}, {now.seconds:.0f} s"
    text = f"[{now.done}/{now.total}] {now.model}, seed {now.seed}: {text}"
    if now.done == now.total:
        return text
    if now.left is None:
        return f"{text}; how long the rest takes is not known yet"
    rest = f"{now.left / 60:.0f} min" if now.left >= 90 else f"{now.left:.0f} s"
    rough = f" ({now.untimed} systems not timed yet)" if now.untimed else ""
    return f"{text}; about {rest} left{rough}"


def _retrain(options: argparse.Namespace) -> int:
    from flows.batch import Asked, run_batch
    from flows.batch_command import show_batch, show_report
    from flows.collect import find_labelled, retrain_model
    from flows.display import results, show_bar
    from flows.run import open_recipe
    from rmfn.retrain import Rule, describe_decision

    rule = Rule(options.accept, options.margin)
    plan = _read_plan(options)
    open_recipe(options.recipe)  # a mistake in it is told first
    labelled = find_labelled(options.videos, options.labels, options.into)
    report: dict[str, Any] = {"clips": []}
    if labelled.clips:
        with show_batch() as told:
            report = run_batch(labelled.clips, Asked(options.recipe, options.store), on_told=told)
    records = report["clips"]
    with show_bar("trainings", None) as tell:
        decision = retrain_model(
            labelled,
            records,
            options.store,
            options.recipe,
            options.into,
            options.target,
            plan,
            rule,
            lambda now: tell(now.run, now.describe(), now.runs),
            keep_adapted=options.keep_adapted,
        )
    failed = any(record["status"] == "failed" for record in records)
    if not wrote_json(options.json, {**decision, "clips": records}):
        if records:
            show_report(report)
        results.print(describe_decision(decision), markup=False)
    return int(failed)


def _read_question(options: argparse.Namespace) -> tuple[Dataset, Plan]:
    """The data, and the plan with what is predicted."""
    from flows.collect import choose_labels, open_data
    from rmfn.targets import name_columns

    plan = _read_plan(options)
    columns = name_columns(options.target)
    dataset = open_data(
        *(options.data, options.store, options.labels, options.timed, columns),
        keep_adapted=options.keep_adapted,
    )
    return dataset, replace(plan, targets=choose_labels(dataset, options.target, plan.targets))


def _read_plan(options: argparse.Namespace) -> Plan:
    """The plan of the file, or the usual one, with what the options say."""
    from rmfn.plans import load_plan
    from rmfn.train_dataset import Plan

    plan = load_plan(options.plan) if options.plan else Plan()
    said: dict[str, Any] = {}
    if getattr(options, "model_kind", None):
        said["model"] = options.model_kind
    if options.modalities:
        said["modalities"] = tuple(options.modalities)
    if options.seeds is not None:
        if options.seeds < 1:
            raise ValueError(f"there must be at least one seed, got {options.seeds}")
        said["seeds"] = tuple(range(options.seeds))
    if options.folds is not None:
        said["folds"] = options.folds
    return replace(plan, **said)


def _show_error(trial: Trial) -> str:
    return "failed" if trial.error is None else f"validation error {trial.error:.3f}"


def _list(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())
