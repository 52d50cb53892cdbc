"""A training's own folder: what reproduces it, its curves, and what it needs to go on after a kill.

::

    run/run.json                what was asked for: plan, data hash, versions
    run/curves/<training>.csv   a line an epoch
    run/unseen.json             what was predicted of segments that the models had not seen
    run/state/<training>.safetensors   the last finished epoch; removed when all is done

Every file appears whole or not at all, and a state's tensors and numbers are one file (the numbers
are JSON in the header of the tensors), so whatever kills a training, the last epoch it finished is
there. No pickle is written or read.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from pipeline import whole
from pipeline.errors import DatasetError
from pipeline.records import parse_json, read_json

RUN, RECORD, CURVES, STATE = "run", "run.json", "curves", "state"
UNSEEN = "unseen.json"


@dataclass(frozen=True)
class Run:
    """The folder ``run`` in a checkpoint's."""

    folder: Path

    @property
    def unfinished(self) -> bool:
        return (self.folder / STATE).is_dir()

    def refuse_unfinished(self) -> NoReturn:
        """Say what can be done about what lies here.

        Raises
        ------
        DatasetError : always.
        """
        raise DatasetError(
            f"{self.folder.parent}: an unfinished training lies there; go on with it (--resume), "
            f"or remove {self.folder / STATE} to begin anew"
        )

    def start(self, record: Mapping[str, Any], resume: bool = False) -> None:
        """Begin, or go on with what was begun.

        Parameters
        ----------
        record : what makes the numbers; a run goes on only with an equal one.
        resume : go on if there is something to go on with.

        Raises
        ------
        DatasetError : an unfinished run lies here and ``resume`` was not said, or it is another.
        OSError : the folder cannot be written.
        """
        wanted = json.loads(json.dumps(record))
        if self.unfinished:
            if not resume:
                self.refuse_unfinished()
            if difference := _differ(self._read_record(), wanted):
                raise DatasetError(
                    f"{self.folder.parent}: the unfinished training there is another: {difference}"
                )
            return
        shutil.rmtree(self.folder / CURVES, ignore_errors=True)
        write_whole(self.folder / RECORD, (json.dumps(wanted, indent=1) + "\n").encode())
        # No folder for the state before there is one: what fails before its first epoch, for its
        # settings mostly, leaves nothing to go on with.

    def training(self, name: str) -> Saved:
        """Where one training of this run keeps its state and its curve."""
        return Saved(self.folder / STATE / f"{name}.safetensors", self._curve(name))

    def finish(self) -> None:
        """All is done: nothing is left to go on with."""
        shutil.rmtree(self.folder / STATE, ignore_errors=True)

    def _curve(self, name: str) -> Path:
        return self.folder / CURVES / f"{name}.csv"

    def _read_record(self) -> Any:
        try:
            return read_json(self.folder / RECORD)
        except (OSError, ValueError) as e:
            raise DatasetError(f"{self.folder / RECORD} cannot be read: {e}") from e


@dataclass(frozen=True)
class Saved:
    """One training's state, a file, and its curve, another."""

    state: Path
    curve: Path

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The tensors and numbers of the last finished epoch; None if there is none.

        Raises
        ------
        DatasetError : the file is damaged.
        """
        if not self.state.is_file():
            return None
        data = self.state.read_bytes()
        try:
            (size,) = struct.unpack("<Q", data[:8])
            said = parse_json(data[8 : 8 + size])["__metadata__"]["said"]
            return load(data), parse_json(said)
        except (SafetensorError, ValueError, KeyError, struct.error) as e:
            raise DatasetError(f"{self.state} is damaged ({e}); remove it to train it anew") from e

    def save(self, tensors: Mapping[str, Tensor], said: Mapping[str, Any]) -> None:
        """Replace the state, then the curve.

        Raises
        ------
        OSError : it cannot be written (a full disk); what was there before still is.
        """
        kept = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        write_whole(self.state, save(kept, {"said": json.dumps(said)}))
        write_whole(self.curve, _to_csv(said["history"]).encode())

    def drop(self) -> None:
        """There is nothing to go on with: it would come to the same bad end."""
        self.state.unlink(missing_ok=True)
        with suppress(OSError):  # other trainings' states
            self.state.parent.rmdir()


def begin_or_go_on(file: Path, asked: Mapping[str, Any], what: str, foreign: str) -> None:
    """Say in a new folder what is asked, or see that it is what was asked there before.

    Parameters
    ----------
    file : of that folder, JSON.
    asked : {part: what JSON can say}
    what, foreign : for the errors: the folder holds ``what`` with another part; it is there and
        ``foreign``.

    Raises
    ------
    DatasetError : it holds something else, or what another question was answered with; or the file
        is damaged.
    """
    folder, wanted = file.parent, json.loads(json.dumps(asked))
    if not file.exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise DatasetError(f"{folder} is there and {foreign}; it is left as it is")
        write_whole(file, (json.dumps(wanted, indent=1) + "\n").encode())
        return
    try:
        found = read_json(file)
    except ValueError as e:
        raise DatasetError(f"{file}: damaged ({e})") from e
    for part in wanted:
        if found.get(part) != wanted[part]:
            raise DatasetError(
                f"{folder} holds {what} with another {part}; say another folder, or remove it"
            )


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, and its folder if there is none.

    Raises
    ------
    OSError : it cannot be written; what was there before still is.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        whole.write_whole(path, lambda file: file.write(data))
    except OSError as e:
        reason = e.strerror or str(e)
        raise OSError(
            e.errno, f"{reason}; the last finished epoch is kept (--resume)", str(path)
        ) from e


def _to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    flat = [{**row, **row["scores"]} for row in rows]
    for row in flat:
        del row["scores"]
    writer = csv.DictWriter(text, list(flat[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def _differ(old: Any, new: Any, where: str = "") -> str:
    """The first difference in words; empty if there is none."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            if found := _differ(old.get(key), new.get(key), f"{where}.{key}" if where else key):
                return found
        return ""
    return "" if old == new else f"its {where} is {old!r}, now {new!r}"
