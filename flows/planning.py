"""The plan of a training out of what is typed: the file's or the usual one, but flags go first.

What can be known to be wrong before any data are read is told here.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flows.arguments import add_json

if TYPE_CHECKING:
    from rmfn.targets import Target
    from rmfn.train_dataset import Plan

# Flags of the same name as a field of rmfn.running.TrainSettings
SETTINGS = (
    *("epochs", "patience", "batch", "lr", "weight_decay", "schedule"),
    *("modality_dropout", "trim", "precision", "device"),
)
LISTED = 10  # seeds; of more than these nobody types a list


def add_training(made: argparse.ArgumentParser, seeds: int) -> None:
    """What `read_trainings` reads.

    Parameters
    ----------
    seeds : as `read_trainings`'s.
    """
    made.add_argument("--plan", metavar="FILE.json", help="further settings, as tune writes them")
    made.add_argument(
        "--modalities", nargs="+", metavar="NAME", help="what is read (default: all there is)"
    )
    made.add_argument(
        "--seeds", type=int, metavar="N", help=f"how many (default: the plan's, else {seeds})"
    )
    made.add_argument("--folds", type=int, metavar="N", help="of a cross-validation")
    add_json(made, "write the result here")


def read_training(options: argparse.Namespace) -> Plan:
    """The plan of ``rmfn train``, all but what is predicted.

    Raises
    ------
    ValueError : the file cannot be read, or there is something in it or in the flags that cannot
        be.
    """
    from rmfn.plans import check_plan, load_plan
    from rmfn.train_dataset import Plan
    from rmfn.train_timed import PLAN

    plan = load_plan(options.plan) if options.plan else PLAN if options.timed else Plan()
    settings = {name: getattr(options, name) for name in SETTINGS}
    changes = {
        "model": options.model_kind,
        "modalities": tuple(options.modalities or ()),
        "seeds": tuple(options.seeds or ()),
        "folds": options.folds,
        "split_seed": options.split_seed,
        "rotate": options.rotate or None,
        "weights": {**plan.weights, **_read_pairs(options.weight, float, "number")},
        "hidden": {**plan.hidden, **_read_pairs(options.hidden, int, "whole number")},
        "model_settings": {
            **plan.model_settings,
            **_read_pairs(options.set, _read_value, "setting"),
        },
        "settings": replace(
            plan.settings, **{name: said for name, said in settings.items() if said is not None}
        ),
    }
    plan = replace(plan, **{name: said for name, said in changes.items() if said not in (None, ())})
    check_plan(plan)
    return plan


def read_trainings(options: argparse.Namespace, seeds: int, models: Sequence[str] = ()) -> Plan:
    """The plan of a command that trains again and again, all but what is predicted.

    Parameters
    ----------
    seeds : how many, where neither the flag nor the file says it.
    models : the systems that are trained; by default the plan's model.

    Raises
    ------
    ValueError : as `read_training`.
    """
    from rmfn.plans import check_plan, load_plan
    from rmfn.train_dataset import Plan

    usual = tuple(range(seeds))
    plan = load_plan(options.plan, usual) if options.plan else Plan(seeds=usual)
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
    plan = replace(plan, **said)
    check_plan(plan, models)
    return plan


def find_said(options: argparse.Namespace, plan: Plan) -> tuple[Target, ...]:
    """The targets of which the scale is known before the labels are, where they are in a file.

    Raises
    ------
    DatasetError : what is said of one is no kind and no scale.
    """
    from rmfn.targets import find_scales

    return find_scales(options.target, plan.targets) if options.store else ()


def describe_seeds(seeds: Sequence[int] | None) -> str:
    """What a single number means, which elsewhere is how many; empty where it is plain."""
    if seeds is None or len(seeds) != 1 or seeds[0] < 1:
        return ""
    (seed,) = seeds
    told = f"one model, of seed {seed}"
    if 1 < seed <= LISTED:
        told += f"; for {seed} models: --seeds {' '.join(map(str, range(seed)))}"
    return told


def _read_pairs(pairs: Sequence[str], read: Callable[[str], Any], what: str) -> dict[str, Any]:
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        try:
            found[name] = read(value)
        except ValueError:
            equals = ""
        if not equals:
            raise ValueError(f"{pair!r}: expected NAME=VALUE, the value a {what}")
    return found


def _read_value(text: str) -> Any:
    """A number, true or false; anything else is text."""
    try:
        return json.loads(text)
    except ValueError:
        return text
