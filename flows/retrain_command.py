"""The command ``rmfn retrain``: new videos with labels, and the better model stays."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from flows.arguments import (
    add_adapted,
    add_recipe,
    add_target,
    explain,
    new_folder,
    wrote_json,
)
from flows.planning import add_training, read_trainings

SEEDS = 3  # of a version, where nobody says how many: those of `rmfn train`

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


def add_command(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
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
    add_training(retrain, seeds=SEEDS)


def _retrain(options: argparse.Namespace) -> int:
    from flows.batch import Asked, run_batch
    from flows.batch_command import show_batch, show_report
    from flows.collect import find_labelled, retrain_model
    from flows.display import results, show_trainings
    from flows.run import open_recipe
    from rmfn.retrain import Rule, describe_decision

    rule = Rule(options.accept, options.margin)
    plan = read_trainings(options, SEEDS)
    open_recipe(options.recipe)  # a mistake in it is told first
    labelled = find_labelled(options.videos, options.labels, options.into, options.target)
    report: dict[str, Any] = {"clips": []}
    if labelled.clips:
        with show_batch() as told:
            report = run_batch(labelled.clips, Asked(options.recipe, options.store), on_told=told)
    records = report["clips"]
    with show_trainings() as on_progress:
        decision = retrain_model(
            labelled,
            records,
            options.store,
            options.recipe,
            options.into,
            options.target,
            plan,
            rule,
            on_progress,
            keep_adapted=options.keep_adapted,
        )
    failed = any(record["status"] == "failed" for record in records)
    if not wrote_json(options.json, {**decision, "clips": records}):
        if records:
            show_report(report)
        results.print(describe_decision(decision), markup=False)
    return int(failed)
