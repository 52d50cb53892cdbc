"""What became of a clip, kept in its folder of the store: a finished or failed clip is known again.

``<clip id>/outcome-<key>.json`` holds ``status`` (done or failed), ``stage`` and ``reason`` of a
failure, ``duration``, ``quality``, and with a model ``utterances`` and ``overall``. The key is that
of the clip's rows, and of the model. There are no times of day, durations of work or folders in it:
whoever does the work writes the same file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.records import read_json, write_json
from pipeline.store import Store
from pipeline.whole import sweep_folder


def describe_success(clip_id: str, duration: float, quality: dict[str, Any]) -> dict[str, Any]:
    """The outcome of a clip that went well."""
    failed = {"stage": None, "reason": None}
    return {"id": clip_id, "status": "done", **failed, "duration": duration, "quality": quality}


def describe_failure(
    path: str | Path, stage: str, reason: str, clip_id: str | None = None
) -> dict[str, Any]:
    """The outcome of a clip that failed. It may have another name next time, so that its name is no
    part of the reason."""
    return {
        "id": clip_id,
        "status": "failed",
        "stage": stage,
        "reason": reason.removeprefix(f"{path}: "),
        "duration": None,
        "quality": None,
    }


def put_outcome(store: Store, clip_id: str, key: str, outcome: dict[str, Any]) -> None:
    """Keep what became of a clip, whole or not at all.

    Raises
    ------
    OSError : it cannot be written.
    """
    file = _find_file(store, clip_id, key)
    if isinstance(file, Path):
        sweep_folder(file.parent)
    write_json(file, outcome)


def get_outcome(store: Store, clip_id: str, key: str) -> dict[str, Any] | None:
    """What became of a clip; None if that is not known, or cannot be read."""
    try:
        found = read_json(_find_file(store, clip_id, key))
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) and "status" in found else None


def _find_file(store: Store, clip_id: str, key: str) -> Any:
    return store.path(clip_id, "outcome", key).with_suffix(".json")
