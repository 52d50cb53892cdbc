"""The folders that a served run may use: whoever asks for a run names paths, and gets no others.

They are told by the environment, so that all processes of a run know them. Where nobody said
anything (the command line, a script) there is no limit: whoever types there may read what he may
read anyway.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from pipeline.whole import open_place

VARIABLE = "RMFN_ROOTS"
_HERE = ("file://", "local://")


def allow_roots(roots: Iterable[str | Path]) -> tuple[str, ...]:
    """From now on, and in all processes started from here, only what is below these may be used.

    Parameters
    ----------
    roots : folders, or places elsewhere such as ``s3://bucket/features``.

    Returns
    -------
    Them, as they are meant: absolute and without links.

    Raises
    ------
    ValueError : one is no folder.
    """
    known = []
    for root in map(str, roots):
        if _is_elsewhere(root):
            known.append(root.rstrip("/"))
            continue
        folder = _resolve(root)
        if not folder.is_dir():
            raise ValueError(f"--root {root}: expected a folder, found {_describe(folder)}")
        known.append(str(folder))
    os.environ[VARIABLE] = json.dumps(known)
    return tuple(known)


def list_roots() -> tuple[str, ...] | None:
    """What `allow_roots` said; None if there is no limit."""
    said = os.environ.get(VARIABLE)
    return None if said is None else tuple(json.loads(said))


def find_refusal(place: str | os.PathLike[str]) -> str | None:
    """Why a place may not be used, for people; None if it may.

    Links are followed first: what counts is where a path leads.
    """
    roots = list_roots()
    if roots is None:
        return None
    text, to = os.fspath(place), ""
    if _is_elsewhere(text):
        parts = text.split("/")
        plain = ".." not in parts and "." not in parts and "::" not in text
        inside = plain and any(
            text == root or text.startswith(f"{root}/") for root in roots if _is_elsewhere(root)
        )
    else:
        real = _resolve(text)
        inside = any(real.is_relative_to(root) for root in roots if not _is_elsewhere(root))
        to = "" if str(real) == text else f": leads to {real}, which"
    if inside:
        return None
    return (
        f"{text}{to} is outside of the folders that this `rmfn serve` may use: "
        f"{', '.join(roots)} (its --root says which)"
    )


def _is_elsewhere(place: str) -> bool:
    return "://" in place and not place.startswith(_HERE)


def _resolve(place: str) -> Path:
    return Path(os.path.realpath(os.path.expanduser(str(open_place(place)))))


def _describe(path: Path) -> str:
    return "a file" if path.exists() else "nothing there"
