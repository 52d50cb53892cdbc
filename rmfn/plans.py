"""Plans as files: what ``rmfn tune`` writes and ``rmfn train --plan`` reads."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pipeline.errors import DatasetError
from pipeline.records import read_json
from rmfn.running import TrainSettings
from rmfn.runs import write_whole
from rmfn.train_dataset import Plan


def save_plan(plan: Plan, file: str | Path) -> None:
    """Write a plan as JSON, whole or not at all."""
    write_whole(Path(file), (json.dumps(asdict(plan), indent=1) + "\n").encode())


def load_plan(file: str | Path) -> Plan:
    """Read a plan; what it does not say has its usual value.

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
        return TypeAdapter(Plan).validate_python(said)
    except ValidationError as e:
        first = e.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise DatasetError(f"{file}: {place}: {first['msg']} (found {first['input']!r})") from e


def _refuse_unknown(said: dict[str, Any], kind: type, file: Path) -> None:
    assert is_dataclass(kind)
    known = [field.name for field in fields(kind)]
    if unknown := [name for name in said if name not in known]:
        raise DatasetError(
            f"{file}: unknown setting {unknown[0]!r}; expected one of {', '.join(known)}"
        )
