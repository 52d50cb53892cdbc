"""Plans as files: what ``rmfn tune`` writes and ``rmfn train --plan`` reads; and what of a plan can
be seen to be wrong before any data are read."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from extractors.types import MODALITIES
from pipeline.errors import DatasetError
from pipeline.records import read_json
from rmfn.baselines import MODELS, build, list_settings
from rmfn.running import TrainSettings
from rmfn.runs import write_whole
from rmfn.train import find_device
from rmfn.train_dataset import Plan

GIVEN = {"inputs", "hidden", "outputs", "classes"}  # of a model: what the data and a plan say of it
TRIED = 8  # columns a modality of a model that is made to see whether it can be


def save_plan(plan: Plan, file: str | Path) -> None:
    """Write a plan as JSON, whole or not at all."""
    write_whole(Path(file), (json.dumps(asdict(plan), indent=1) + "\n").encode())


def load_plan(file: str | Path, seeds: Sequence[int] = Plan.seeds) -> Plan:
    """Read a plan; what it does not say has its usual value.

    Parameters
    ----------
    seeds : those of a plan that does not say which.

    Raises
    ------
    DatasetError : it cannot be read, or says something that a plan does not have.
    """
    file = Path(file)
    try:
        said = read_json(file)
    except (OSError, ValueError) as e:
        raise DatasetError(f"{file}: cannot be read as a plan: {e}") from e
    if not isinstance(said, dict):
        raise DatasetError(f"{file}: a plan is a JSON object, got {type(said).__name__}")
    _refuse_unknown(said, Plan, file)
    if isinstance(said.get("settings"), dict):
        _refuse_unknown(said["settings"], TrainSettings, file)
    try:
        return TypeAdapter(Plan).validate_python({"seeds": seeds, **said})
    except ValidationError as e:
        raise DatasetError(f"{file}: {_describe(e)}") from e


def check_plan(plan: Plan, models: Sequence[str] = ()) -> None:
    """See that a plan can be, as far as that can be told without data.

    Parameters
    ----------
    models : the systems that it is for, each of which takes the settings that it has. By default
        the plan's own model, which must have them all.

    Raises
    ------
    ValueError : there is no such model, setting, modality or device, or a number cannot be.
    """
    for model in models or [plan.model]:
        refuse_unknown("model", [model], MODELS)
    known = set().union(*(list_settings(model) for model in models or [plan.model])) - GIVEN
    whose = "" if models else f" of {plan.model}"
    refuse_unknown("setting", plan.model_settings, known, whose)
    refuse_unknown("modality", [*plan.modalities, *plan.hidden], MODALITIES)
    for what, numbers, least in (
        ("units", plan.hidden.values(), 1),
        ("seeds", plan.seeds, 0),
        ("weights", plan.weights.values(), 0),
    ):
        if wrong := [number for number in numbers if not number >= least]:
            raise ValueError(f"{what} must be at least {least}, got {wrong[0]}")
    if not plan.seeds or len(set(plan.seeds)) < len(plan.seeds):
        raise ValueError(f"seeds must differ, and there must be one, got {list(plan.seeds)}")
    if plan.folds < 0 or plan.folds == 1:
        raise ValueError(f"there must be at least 2 folds, or 0 for none, got {plan.folds}")
    find_device(plan.settings.device)
    if not models:
        _try_model(plan)


def refuse_unknown(
    what: str, named: Collection[str], known: Collection[str], whose: str = ""
) -> None:
    """See that names are known; else say which there are, and which may have been meant.

    Raises
    ------
    ValueError : one is not.
    """
    if unknown := [name for name in named if name not in known]:
        close = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        there = ", ".join(sorted(known) if isinstance(known, set) else known)
        raise ValueError(f"there is no {what} {unknown[0]!r}{whose}{hint} (there are {there})")


def _try_model(plan: Plan) -> None:
    """Make a small one: whether the settings go together is best known by the model itself."""
    config, _, own = MODELS[plan.model]
    inputs = dict.fromkeys(plan.modalities or MODALITIES, TRIED)
    hidden = {modality: plan.hidden.get(modality, TRIED) for modality in inputs}
    try:
        TypeAdapter(config).validate_python(
            {"inputs": inputs, "hidden": hidden, **plan.model_settings, **own}
        )
        with torch.random.fork_rng(devices=[]):
            build(plan.model, inputs, hidden, **plan.model_settings)
    except ValidationError as e:
        raise ValueError(f"{plan.model}: {_describe(e)}") from e
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as e:
        raise ValueError(f"{plan.model} cannot be made with these settings: {e}") from e


def _describe(error: ValidationError) -> str:
    """The first thing that is wrong: where, what, and what was found there."""
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    place = place and f"{place}: "
    if first["type"] == "value_error":  # our own words, which say what was found
        return f"{place}{first['ctx']['error']}"
    return f"{place}{first['msg']} (found {first['input']!r})"


def _refuse_unknown(said: dict[str, Any], kind: type, file: Path) -> None:
    assert is_dataclass(kind)
    known = [field.name for field in fields(kind)]
    if unknown := [name for name in said if name not in known]:
        raise DatasetError(
            f"{file}: unknown setting {unknown[0]!r}; expected one of {', '.join(known)}"
        )
