"""What a recipe sets, written out: every setting with its meaning, and what a change costs."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from itertools import zip_longest
from typing import Any

from extractors import BACKENDS
from pipeline.recipe import FRAMES, MANY, STEPS, Recipe

# What is kept in a store and found again, each under a key of its own (`pipeline.clip_run`): the
# words, the two tracks, and the rows made of all of it.
STAGES = ("words", "visual", "acoustic", "rows")
LOOKS = "which frames are looked at: all, or those of words and a quarter of a second around them"


@dataclass(frozen=True)
class Setting:
    """One line of a recipe, given or not.

    Attributes
    ----------
    place : the table of the recipe, such as "transcribe"; of several of a modality "language 2".
    backend : of the table; empty for the recipe's name.
    name, value : the setting.
    origin : "given", "default", or "of [transcribe]" for what another table decides.
    meaning : for people.
    stages : those whose results depend on it, which a change makes anew; none if it changes no
        number.
    """

    place: str
    backend: str
    name: str
    value: Any
    origin: str
    meaning: str
    stages: tuple[str, ...]


@dataclass(frozen=True)
class Difference:
    """What two recipes have differently: ``None`` where one does not have it."""

    place: str
    name: str
    before: Any
    after: Any
    stages: tuple[str, ...]


def list_settings(recipe: Recipe) -> list[Setting]:
    """Everything that is set, step by step; defaults too."""
    name = Setting("", "", "name", recipe.name, "given", "what people call it", ("rows",))
    found = [name]
    for step in (*STEPS, *MANY):
        for place, table, backend in _list_tables(recipe, step):
            found += _describe_table(recipe, step, place, table, backend)
    return found


def compare_recipes(before: Recipe, after: Recipe) -> list[Difference]:
    """What differs, in the order of the recipe. A backend in another's place is one difference."""
    found = []
    if before.name != after.name:
        found.append(Difference("", "name", before.name, after.name, ("rows",)))
    for step in (*STEPS, *MANY):
        stages = _join(find_stages(before, step), find_stages(after, step))
        for old, new in zip_longest(_list_tables(before, step), _list_tables(after, step)):
            place = (old or new)[0]
            tool, other = (pair[1]["backend"] if pair else None for pair in (old, new))
            if tool != other:
                found.append(Difference(place, "backend", tool, other, stages))
                continue
            pairs = zip(
                _describe_table(before, step, *old), _describe_table(after, step, *new), strict=True
            )
            found += [
                Difference(place, a.name, a.value, b.value, stages if a.stages else ())
                for a, b in pairs
                if a.value != b.value
            ]
    return found


def list_stages(differences: Sequence[Difference]) -> tuple[str, ...]:
    """The stages that any of the differences makes anew, in order."""
    return _join(*(difference.stages for difference in differences))


def find_stages(recipe: Recipe, step: str) -> tuple[str, ...]:
    """The stages whose results depend on a step."""
    if step in ("visual", "acoustic"):
        return (step, "rows")
    if step in ("transcribe", "align"):
        # Which frames are looked at is settled by the words.
        return ("words", "visual", "rows") if "words" in recipe.looks else ("words", "rows")
    return ("rows",)


def explain_settings(backend: type[Any]) -> dict[str, str]:
    """The meaning of each setting, from the Attributes of the backend's docstring."""
    text = inspect.getdoc(backend) or ""
    section = re.search(r"^Attributes\n-+\n(.*?)(?=^\w[^\n]*\n-{3,}$|\Z)", text, re.M | re.S)
    meanings: dict[str, str] = {}
    for entry in re.split(r"\n(?=\S)", section[1].strip() if section else ""):
        names, _, meaning = " ".join(entry.replace("`", "").split()).partition(" : ")
        meanings.update(dict.fromkeys(names.split(", "), meaning))
    return meanings


def _list_tables(recipe: Recipe, step: str) -> list[tuple[str, dict[str, Any], Any]]:
    """The tables of a step: what to call each, as it is written, and the backend."""
    pairs = recipe.tables(step)
    numbers = [f" {number}" if len(pairs) > 1 else "" for number in range(1, len(pairs) + 1)]
    return [(step + number, *pair) for number, pair in zip(numbers, pairs, strict=True)]


def _describe_table(
    recipe: Recipe, step: str, place: str, table: dict[str, Any], backend: Any
) -> list[Setting]:
    stages, tool = find_stages(recipe, step), table["backend"]
    meanings = explain_settings(BACKENDS[step][tool].load())
    found = []
    for entry in fields(backend):
        if entry.init:
            value = getattr(backend, entry.name)
            default = entry.default if entry.default is not MISSING else entry.default_factory
            origin = "default" if value == default else "of [transcribe]"
            found.append(
                Setting(
                    place,
                    tool,
                    entry.name,
                    value,
                    "given" if entry.name in table else origin,
                    meanings.get(entry.name, ""),
                    stages if entry.compare else (),
                )
            )
    if step == "visual":
        looks, origin = table.get("frames", FRAMES[0]), "given" if "frames" in table else "default"
        found.append(Setting(place, tool, "frames", looks, origin, LOOKS, stages))
    return found


def _join(*parts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(stage for stage in STAGES if any(stage in part for part in parts))
