"""Results as JSON files that any reader takes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.whole import open_place, write_whole

if TYPE_CHECKING:
    from pipeline.whole import Place


def to_json(record: Any) -> str:
    """Indented JSON. It has no NaN: what is undefined (a constant's correlation) becomes null."""
    return json.dumps(_finite(record), indent=1, allow_nan=False, ensure_ascii=False)


def write_json(path: str | os.PathLike[str] | Place, record: Any) -> None:
    """Write a record, whole or not at all, to any place (`pipeline.whole`)."""
    target = open_place(path)
    text = to_json(record)
    if isinstance(target, Path):
        target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(target, lambda file: file.write(f"{text}\n".encode()))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value
