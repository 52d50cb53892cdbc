"""What this machine has and lacks for a recipe, each line with the one thing that mends it."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from extractors import BACKENDS, Backend
from extractors.weights import (
    Weights,
    WeightsDamaged,
    WeightsMissing,
    advise,
    list_places,
    locate_weights,
)
from extractors.weights_hash import verify_weights
from flows.machine import Line, examine_machine, line
from flows.packages import examine_packages, examine_presence
from pipeline.recipe import MANY, STEPS, Recipe


def examine(recipe: Recipe, name: str) -> list[Line]:
    """Check everything that a recipe needs, and the machine.

    Parameters
    ----------
    name : the recipe as a person named it, for the commands.

    Returns
    -------
    Records with ``what``, ``state`` (ok, missing or wrong), ``found`` and ``mend`` (what to type or
    do; empty if all is well); of models also ``model`` (size, licence, hash, places looked at).
    """
    backends = list_backends(recipe)
    models = examine_models(recipe, name)
    return [
        _examine_python(),
        *examine_packages(list_packages(backends)),
        *examine_libraries(backends),
        *models,
        *examine_machine([backend for _, backend in backends], models),
    ]


def require(recipe: Recipe, name: str) -> None:
    """See in less than a second, before any work, that what a recipe needs is there.

    Nothing is hashed and no package is imported; `examine` looks closely.

    Raises
    ------
    WeightsMissing : something is not; the message has the doctor's lines.
    """
    backends = list_backends(recipe)
    lines = [
        *examine_presence(list_packages(backends)),
        *examine_libraries(backends),
        *examine_models(recipe, name, whole=False),
    ]
    if lacking := [told for told in lines if told["state"] != "ok"]:
        raise WeightsMissing(
            "\n".join([
                f"this machine is not ready for the recipe {name}",
                *(f"  {told['state']}: {told['what']}: {told['found']}" for told in lacking),
                *(f"what mends it: {mend}" for mend in list_mends(lacking)),
                f"everything that it needs: rmfn doctor --recipe {name}",
            ])
        )  # fmt: skip


def list_mends(lines: list[Line]) -> dict[str, list[str]]:
    """What to type or do, each once, and what it mends."""
    mends: dict[str, list[str]] = {}
    for told in lines:
        if told["state"] != "ok":
            mends.setdefault(told["mend"], []).append(told["what"])
    return mends


def list_backends(recipe: Recipe) -> list[tuple[Backend, Any]]:
    """The tables' lines of all that a recipe names, each with the backend as it is set."""
    return [
        (BACKENDS[step][table["backend"]], backend)
        for step in (*STEPS, *MANY)
        for table, backend in recipe.tables(step)
    ]


def list_packages(backends: list[tuple[Backend, Any]]) -> list[str]:
    """The distributions that they need, each once."""
    return list(dict.fromkeys(package for entry, _ in backends for package in entry.packages))


def list_models(recipe: Recipe) -> Iterator[Weights | tuple[Any, ImportError]]:
    """The models of all backends, each once; or, where a backend cannot name its own, the backend
    and what it says."""
    seen = set()
    for entry, backend in list_backends(recipe):
        try:
            models = entry.list_weights(backend)
        except ImportError as error:  # WeightsMissing, or the package that would know
            yield backend, error
            continue
        for weights in models:
            if weights not in seen:
                seen.add(weights)
                yield weights


def _examine_python() -> Line:
    good = (3, 11) <= sys.version_info[:2] < (3, 13)
    return line("Python", good, sys.version.split()[0], "install Python 3.11 or 3.12")


def examine_libraries(backends: list[tuple[Backend, Any]]) -> list[Line]:
    """Libraries of the system that wheels load by name; only Linux leaves them to the user."""
    lines = []
    pairs = [pair for entry, _ in backends for pair in entry.libraries]
    for library, package in dict.fromkeys(pairs):
        if sys.platform != "linux":
            lines.append(line(library, True, "part of the system"))
            continue
        try:
            ctypes.CDLL(library)
            lines.append(line(library, True, "can be loaded"))
        except OSError as error:
            lines.append(line(library, None, str(error), f"apt-get install {package}"))
    return lines


def examine_models(recipe: Recipe, name: str, whole: bool = True) -> list[Line]:
    """A line for every model: is it there and, if the ``whole`` of it is looked at, is it what it
    should be?"""
    lines = []
    for weights in list_models(recipe):
        if isinstance(weights, tuple):
            backend, error = weights
            what = f"model of {type(backend).__name__}"
            lines.append(line(what, None, str(error), f"change it in the recipe {name}"))
        else:
            lines.append(_examine_model(weights, name, whole))
    return lines


def _examine_model(weights: Weights, name: str, whole: bool) -> Line:
    about, mend, digest, place = describe_model(weights), advise(weights, name), "", None
    places = list_places(weights)
    try:
        place = locate_weights(weights)
        digest = verify_weights(weights) if whole else ""
        found = f"{about}, sha256 {digest[:12]}; {_shorten(place)}"
        told = line(weights.name, True, found)
    except WeightsDamaged as error:
        if (own := os.environ.get("RMFN_WEIGHTS")) and place and Path(own) in place.parents:
            mend = f"remove {place}, which is found before all others"
        told = line(weights.name, False, str(error).partition("; ")[0], mend)
    except WeightsMissing:
        looked = "; ".join(map(_shorten, places))
        told = line(weights.name, None, f"{about}; looked at: {looked}", mend)
    told["model"] = {
        "what": weights.what,
        "size": weights.size,
        "licence": weights.licence,
        "repo": weights.repo,
        "sha256": digest or weights.sha256,
        "place": None if place is None else str(place),
        "looked_at": places,
    }
    return told


def _shorten(place: str | Path) -> str:
    """A path as a person would write it: from here, or from home."""
    path = Path(place)
    for start, shown in ((Path.cwd(), ""), (Path.home(), "~/")):
        if start in path.parents:
            return f"{shown}{path.relative_to(start)}"
    return str(place)


def describe_model(weights: Weights) -> str:
    """What it is, its size and licence, as far as they are known."""
    parts = [weights.what, weights.licence or "licence: its page tells"]
    if weights.size:
        parts.insert(1, describe_size(weights.size))
    return ", ".join(parts)


def describe_size(size: float) -> str:
    """Bytes in words: "4 MB", "3.1 GB"."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(round(size / 1e6), 1)} MB"
