"""Results as JSON files that any reader takes, and JSON of others, read whatever it is."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.whole import open_place, open_whole, write_whole

if TYPE_CHECKING:
    from pipeline.whole import Place

LARGEST = 64 << 20  # bytes of a file of text: a hundred times what any of ours has


def read_json(path: Place) -> Any:
    """What a JSON file holds.

    Raises
    ------
    OSError : it cannot be read, or is no file.
    ValueError : it is no JSON, or nested deeper than the parser goes, or too large.
    """
    return parse_json(read_small(path))


def read_small(path: Place) -> bytes:
    """The content of a file of text.

    Raises
    ------
    OSError : it cannot be read, or is no file.
    ValueError : it is larger than `LARGEST`.
    """
    with open_whole(path) as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"larger than {LARGEST >> 20} MB, which no such file is")
    return content


def parse_json(text: str | bytes) -> Any:
    """What a JSON text holds.

    Raises
    ------
    ValueError : it is no JSON, or nested deeper than the parser goes.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply, which no such file is") from None


def to_json(record: Any) -> str:
    """Indented JSON. It has no NaN: what is undefined (a constant's correlation) becomes null."""
    return spell(json.dumps(_finite(record), indent=1, allow_nan=False, ensure_ascii=False))


def spell(text: str) -> str:
    r"""Text with the name of a file in it as it can be written anywhere.

    Bytes of a name that are no UTF-8 become ``\udcff`` and the like, which JSON understands.
    """
    return text.encode("utf-8", "backslashreplace").decode()


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
