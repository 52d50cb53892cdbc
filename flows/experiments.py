"""The commands about many trainings: ``rmfn tune``, ``compare`` and ``ablate``; ``retrain`` is in a
file of its own."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows import retrain_command
from flows.arguments import add_adapted, add_data, add_target, explain, new_folder, wrote_json
from flows.planning import add_training, find_said, read_trainings
from rmfn.systems import GROUPS, TITLES, choose_systems

if TYPE_CHECKING:
    from rmfn.compare import Told
    from rmfn.dataset import Dataset
    from rmfn.train_dataset import Plan
    from rmfn.tune import Trial

SHOWN = 10  # trials in the table
SEEDS = 5  # of a comparison, where nobody says how many

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
  rmfn ablate data/mosi --out runs/ablation
  rmfn ablate data/mosi --out runs/ablation --seeds 3 --models rmfn-r3 marn ef-lstm
"""


def add_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the commands to the parser."""
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
    add_training(tune, seeds=1)

    compare = command("compare", _compare, "every system of the paper on your data, one protocol")
    explain(compare, COMPARE)
    _add_comparison(compare, "all", "default: all")
    compare.add_argument(
        "--out",
        type=new_folder,
        metavar="DIR",
        help="where finished parts are kept (default: DATASET-comparison)",
    )

    ablate = command("ablate", _compare, "answer the paper's questions: stages, fusion, MARN")
    explain(ablate, ABLATE)
    _add_comparison(ablate, "questions", "default: all seven")
    ablate.add_argument(
        "--out", type=new_folder, required=True, metavar="DIR", help="where finished parts are kept"
    )

    retrain_command.add_command(command)


def _add_comparison(made: argparse.ArgumentParser, models: str, usual: str) -> None:
    made.add_argument("dataset", nargs="?", metavar="DATASET", help="a data set (rmfn import)")
    add_data(made)
    add_target(made)
    add_adapted(made)
    made.add_argument(
        "--models", nargs="+", default=[models], metavar="NAME", help=f"systems or groups ({usual})"
    )
    made.add_argument(
        "--workers", type=int, metavar="N", help="trainings side by side (default: the cores)"
    )
    add_training(made, SEEDS)


def _tune(options: argparse.Namespace) -> int:
    from flows.display import results, show_bar, show_rows
    from rmfn.tune import PLAN, count_trials, tune

    # One seed, if nobody says how many: a search needs breadth more than certainty.
    dataset, plan = _open_question(options, read_trainings(options, seeds=1))
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
    from rmfn.baselines import MODELS
    from rmfn.compare import compare
    from rmfn.comparison_tables import tabulate

    if options.dataset is not None:
        if options.data is not None:
            raise ValueError("say the data set once: DATASET, or --data DATASET")
        options.data = options.dataset
    if not (options.data or options.store or options.timed):
        raise ValueError(
            "say on what data: DATASET (a folder that rmfn import made), or --store DIR with "
            "--labels FILE.csv, or --timed FILE.jsonl"
        )
    if options.workers is not None and options.workers < 1:
        raise ValueError(f"there must be at least one worker, got {options.workers}")
    choose_systems(options.models, tuple(MODELS))  # a mistake in them is told first
    dataset, plan = _open_question(options, read_trainings(options, SEEDS, tuple(MODELS)))
    out = Path(options.out or f"{options.data or dataset.name}-comparison")

    def told(now: Told) -> None:
        print(_describe_told(now), file=sys.stderr, flush=True)  # a log, not a bar

    found = compare(
        dataset,
        out,
        options.models,
        plan.seeds,
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


def _open_question(options: argparse.Namespace, plan: Plan) -> tuple[Dataset, Plan]:
    """The data, and the plan with what is predicted."""
    from flows.collect import choose_labels, open_data
    from rmfn.targets import name_columns

    dataset = open_data(
        *(options.data, options.store, options.labels, options.timed),
        columns=name_columns(options.target),
        keep_adapted=options.keep_adapted,
        targets=find_said(options, plan),
    )
    return dataset, replace(plan, targets=choose_labels(dataset, options.target, plan.targets))


def _show_error(trial: Trial) -> str:
    return "failed" if trial.error is None else f"validation error {trial.error:.3f}"


def _list(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())
