"""Many clips, one after another: a clip that cannot be processed is reported, the others go on."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline.errors import ClipError
from pipeline.process import Progress, ignore_progress, process_clip
from pipeline.recipe import Recipe
from pipeline.store import Store

BESIDE = (".csv", ".json", ".md", ".py", ".srt", ".txt", ".vtt")


def extract_clips(
    paths: Iterable[Path], recipe: Recipe, store: Store, progress: Progress = ignore_progress
) -> list[dict[str, Any]]:
    """Put every clip's words, tracks and rows into the store.

    Returns
    -------
    A record a clip: ``path``, ``id``, ``status`` (done or failed), ``stage`` and ``reason`` of a
    failure, ``seconds``, ``words``, ``face_share``.
    """
    records = []
    for path in paths:
        started = time.perf_counter()
        try:
            processed = process_clip(path, recipe, store=store, progress=progress)
            outcome = {
                "id": processed.clip.id,
                "status": "done",
                "stage": None,
                "reason": None,
                "words": len(processed.sequence.words),
                "face_share": processed.quality.face_share,
            }
        except ClipError as error:
            outcome = {
                "id": None,
                "status": "failed",
                "stage": error.stage,
                "reason": str(error),
                "words": None,
                "face_share": None,
            }
        seconds = time.perf_counter() - started
        records.append({"path": str(path), **outcome, "seconds": seconds})
    return records


def list_files(paths: Iterable[str | Path]) -> list[Path]:
    """Files as they are, folders as the files below them, sorted.

    In folders, hidden files are passed over, and texts and tables that lie beside videos.

    Raises
    ------
    FileNotFoundError : a path does not exist.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            found += sorted(
                entry
                for entry in path.rglob("*")
                if entry.is_file()
                and entry.suffix.lower() not in BESIDE
                and not any(part.startswith(".") for part in entry.relative_to(path).parts)
            )
        elif path.exists():
            found.append(path)
        else:
            raise FileNotFoundError(f"no such file or folder: {path.absolute()}")
    return found
