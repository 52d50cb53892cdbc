"""What this machine has and lacks for a recipe, each line with the command that mends it."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from extractors import BACKENDS, Backend
from extractors.weights import (
    Weights,
    WeightsDamaged,
    WeightsMissing,
    advise,
    locate_weights,
    verify_weights,
)
from pipeline.recipe import MANY, STEPS, Recipe

NEEDED_MEMORY = 4e9
NEEDED_DISK = 2e9


def examine(recipe: Recipe) -> list[dict[str, Any]]:
    """Check packages, weights and the machine.

    Returns
    -------
    Records with ``what``, ``state`` (ok, missing or wrong), ``found`` and ``mend`` (what to type).
    """
    lines = [
        _line(
            "Python",
            (3, 11) <= sys.version_info[:2] < (3, 13),
            sys.version.split()[0],
            "install Python 3.11 or 3.12",
        ),
    ]
    used = _used_backends(recipe)
    for package in dict.fromkeys(package for line, _ in used for package in line.packages):
        lines.append(_examine_package(package))
    for library, package in dict.fromkeys(pair for line, _ in used for pair in line.libraries):
        lines.append(_examine_library(library, package))
    models: list[dict[str, Any]] = []
    for line, backend in used:
        # Two backends of one kind share a model.
        models += [found for found in _examine_models(line, backend) if found not in models]
    return [*lines, *models, *_examine_machine()]


def _used_backends(recipe: Recipe) -> list[tuple[Backend, Any]]:
    """The tables' lines of all that a recipe names, each with the backend as it is set."""
    used = []
    for step in (*STEPS, *MANY):
        tables, backends = recipe.settings.get(step, []), getattr(recipe, step)
        if step in STEPS:
            tables, backends = ([tables], [backends]) if tables else ([], [])
        used += [
            (BACKENDS[step][table["backend"]], backend)
            for table, backend in zip(tables, backends, strict=True)
        ]
    return used


def _examine_package(package: str) -> dict[str, Any]:
    try:
        return _line(package, True, version(package), "")
    except PackageNotFoundError:
        return _line(package, None, "not installed", f"pip install {package}")


def _examine_library(library: str, package: str) -> dict[str, Any]:
    """A library of the system that a wheel loads by name; only Linux leaves it to the user."""
    if sys.platform != "linux":
        return _line(library, True, "part of the system", "")
    try:
        ctypes.CDLL(library)
    except OSError as error:
        return _line(library, None, str(error), f"apt-get install {package}")
    return _line(library, True, "can be loaded", "")


def _examine_models(line: Backend, backend: Any) -> list[dict[str, Any]]:
    """The table's models, and those that the settings name in their place."""
    try:
        models = line.list_weights(backend)
    except ImportError as error:  # WeightsMissing, or the package that would know
        what = f"model of {type(backend).__name__}"
        return [_line(what, None, "not on this machine", str(error))]
    return [_examine_weights(weights) for weights in models]


def _examine_weights(weights: Weights) -> dict[str, Any]:
    what = f"{weights.name}: {weights.what}"
    try:
        digest = verify_weights(weights)
    except WeightsDamaged as error:
        return _line(what, False, str(error), advise(weights))
    except WeightsMissing as error:
        return _line(what, None, str(error), advise(weights))
    return _line(what, True, f"{locate_weights(weights)}, sha256 {digest[:12]}", "")


def _examine_machine() -> list[dict[str, Any]]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    disk = shutil.disk_usage(Path.cwd()).free
    return [
        _line("memory", memory >= NEEDED_MEMORY, f"{memory / 1e9:.0f} GB", "4 GB are needed"),
        _line("free disk", disk >= NEEDED_DISK, f"{disk / 1e9:.0f} GB", "free 2 GB"),
        _line("processor cores", True, str(os.cpu_count()), ""),
        _line(
            "write access here",
            os.access(Path.cwd(), os.W_OK),
            str(Path.cwd()),
            "change to a folder that you may write to",
        ),
    ]


def _line(what: str, good: bool | None, found: str, mend: str) -> dict[str, Any]:
    state = {True: "ok", False: "wrong", None: "missing"}[good]
    return {"what": what, "state": state, "found": found, "mend": "" if good else mend}
