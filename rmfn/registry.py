"""The versions of a model that is trained again and again, as a folder.

::

    models/sentiment/
        current         the version that is in use, one line: v2
        frozen.json     the segments that every version is judged on, and never learns from
        data/           every labelled segment that was ever given
        v1/, v2/, ...   a checkpoint each, with the reason why it was taken or not: decision.json

A version is kept whether it was taken or not. ``current`` is replaced in one step, so that a reader
always finds a whole model; what a killed run left has no decision and is gone on with.
"""

from __future__ import annotations

import fcntl
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import DatasetError
from pipeline.records import read_json
from pipeline.whole import write_whole

CURRENT, FROZEN, DATA, DECISION = "current", "frozen.json", "data", "decision.json"
_VERSION = re.compile(r"v[1-9][0-9]*")


@dataclass(frozen=True)
class Registry:
    """The folder of one model's versions; made when the first is."""

    folder: Path

    @property
    def data(self) -> Path:
        return self.folder / DATA

    def current(self) -> Path | None:
        """The folder of the version in use; None before the first.

        Raises
        ------
        DatasetError : the pointer names no version.
        """
        file = self.folder / CURRENT
        if not file.exists():
            return None
        name = file.read_text(encoding="utf-8").strip()
        if not _VERSION.fullmatch(name) or not (self.folder / name).is_dir():
            raise DatasetError(f"{file}: expected the name of a version beside it, found {name!r}")
        return self.folder / name

    def candidate(self) -> Path:
        """Where the next version goes: the first number that was not decided on."""
        current = self.current()
        number = 1 if current is None else int(current.name[1:]) + 1
        while (self.folder / f"v{number}" / DECISION).exists():
            number += 1
        return self.folder / f"v{number}"

    def promote(self, version: Path) -> None:
        """Use this version from now on."""
        _write(self.folder / CURRENT, f"{version.name}\n")

    def decide(self, version: Path, decision: dict[str, Any]) -> None:
        """Keep why a version was taken or not; with it the version counts as finished."""
        _write(version / DECISION, _encode(decision))

    def decisions(self) -> dict[str, dict[str, Any]]:
        """{version: decision} of all finished versions, oldest first."""
        files = sorted(
            self.folder.glob(f"v*/{DECISION}"), key=lambda file: int(file.parent.name[1:])
        )
        return {file.parent.name: read_json(file) for file in files}

    def frozen(self) -> dict[str, Any] | None:
        """What `freeze` wrote; None before that.

        Raises
        ------
        DatasetError : the file is damaged.
        """
        file = self.folder / FROZEN
        if not file.exists():
            return None
        try:
            found = read_json(file)
            if not (isinstance(found["ids"], list) and found["ids"] and found["sha256"]):
                raise ValueError("no ids")
        except (ValueError, KeyError, TypeError) as e:
            raise DatasetError(
                f"{file}: damaged ({e}); it says which segments every version is judged on, and "
                "cannot be made again"
            ) from e
        return found

    def freeze(self, frozen: dict[str, Any]) -> None:
        """Write once which segments the versions are judged on.

        Raises
        ------
        DatasetError : that was done before.
        """
        file = self.folder / FROZEN
        if file.exists():
            raise DatasetError(f"{file}: already there, and never changed")
        _write(file, _encode(frozen))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other retrainings of this model out; the lock goes when the process does.

        Raises
        ------
        DatasetError : another one is running.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as e:
                raise DatasetError(f"{self.folder}: another retraining of it is running") from e
            yield


def _encode(record: dict[str, Any]) -> str:
    return json.dumps(record, indent=1, ensure_ascii=False) + "\n"


def _write(file: Path, text: str) -> None:
    write_whole(file, lambda opened: opened.write(text.encode()))
