"""The page of a folder of clips: what became of each, its prediction, and the way to its page."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

from rmfn.pages.page import render_page, write_page
from rmfn.wording import describe_spread, describe_value

INDEX = "index.html"


def write_index(folder: str | Path, report: dict[str, Any]) -> Path:
    """Write ``index.html`` into the folder of the clips' pages.

    Parameters
    ----------
    report : of `flows.batch.run_batch`: ``clips`` with ``path``, ``status``, ``duration``,
        ``quality``, ``overall``, ``page`` (a name in the folder; absent = none), ``reason``.

    Raises
    ------
    OSError : it cannot be written.
    """
    path = Path(folder) / INDEX
    write_page(path, render_index(report))
    return path


def render_index(report: dict[str, Any]) -> str:
    """The index as text; a table that is sorted by a click on a heading."""
    clips = report["clips"]
    well = [clip for clip in clips if clip["status"] != "failed"]
    labels = list(dict.fromkeys(label for clip in well for label in clip.get("overall", {})))
    return render_page(
        "folder.html",
        "Clips",
        styles=("folder.css",),
        scripts=("folder.js",),
        report=report,
        labels=labels,
        spans={label: _span(well, label) for label in labels},
        rows=[_describe(clip) for clip in well],
        failed=[clip for clip in clips if clip["status"] == "failed"],
        describe_value=describe_value,
        describe_spread=describe_spread,
    )


def _describe(clip: dict[str, Any]) -> dict[str, Any]:
    path = Path(clip["path"])
    quality = clip["quality"]
    return {
        "name": path.name,
        "folder": str(path.parent),
        "page": quote(clip["page"]) if clip.get("page") else None,
        "duration": clip["duration"],
        "words": quality["words"],
        "face": quality["face_share"],
        "warnings": quality["warnings"],
        "overall": clip.get("overall", {}),
    }


def _span(clips: list[dict[str, Any]], label: str) -> tuple[float, float] | None:
    """From the lowest to the highest bound of a number, around 0 if it is on both sides of it."""
    found = [clip["overall"][label] for clip in clips if label in clip.get("overall", {})]
    bounds = [bound for each in found for bound in each.get("interval", ())]
    if not bounds:
        return None
    low, high = min(bounds), max(bounds)
    if low < 0 < high:
        low, high = -max(-low, high), max(-low, high)
    return (low, high) if high > low else (low - 1, high + 1)
