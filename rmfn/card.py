"""Model cards: what a person wrote of a model, and the numbers it was measured with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rmfn.checkpoint import Manifest
from rmfn.dataset import Target
from rmfn.metrics import name_rounded

MEASURED = "## Measured"  # what stands under this heading is written here
_NUMBERS = {"mae": "MAE", "corr": "Corr", "a2": "A2", "f1": "F1"}
_CLASSES = {"accuracy": "accuracy", "f1": "weighted F1"}


def write_card(manifest: Manifest, text: str = "") -> str:
    """The text with the measured numbers after it, in the place of any it has.

    So a checkpoint's own README can be the card of the one that replaces it.
    """
    text = text.split(MEASURED)[0].rstrip()
    return f"{text}\n\n{describe(manifest)}" if text else describe(manifest)


def describe(manifest: Manifest) -> str:
    """The measured numbers as Markdown."""
    lines = [MEASURED, ""]
    for target in manifest.labels:
        shown = show_metrics(target)
        everywhere = [
            where[target.name] for where in manifest.metrics.values() if target.name in where
        ]
        for found in everywhere:
            lines += [
                f"{target.name}, {found['how']}: {found['n']} segments.",
                "",
                "| | " + " | ".join(shown.values()) + " |",
                "|---" * (len(shown) + 1) + "|",
                _row(f"mean of {manifest.members} models", found, shown),
                "| 95 % interval (videos redrawn) | "
                + " | ".join(_show_interval(found["interval"][k]) for k in shown)
                + " |",
                "| one model, mean ± sd over seeds | "
                + " | ".join("{:.3f} ± {:.3f}".format(*found["seeds"][k]) for k in shown)
                + " |",
                *(_row(f"constant: {k}", v, shown) for k, v in found["constants"].items()),
                "",
            ]
    conformal = manifest.conformal
    for target, width, measured in zip(
        manifest.labels, conformal.half_width, conformal.measured, strict=True
    ):
        if width is not None:
            found = "not measured: too few videos"
            if measured is not None:
                found = f"measured on {_name_measured(manifest)} {measured:.1%}"
            lines.append(
                f"Intervals: {target.name} ± {width:.2f}, nominal coverage "
                f"{conformal.coverage:.0%}, {found} ({conformal.n} predictions)."
            )
    return "\n".join(lines).rstrip() + "\n"


def _name_measured(manifest: Manifest) -> str:
    """The videos whose errors set the intervals."""
    if manifest.training.get("plan", {}).get("folds"):
        return "held-out videos"
    return "the validation videos on which training stopped"


def show_metrics(target: Target) -> dict[str, str]:
    """The metrics that a table shows of a target, with their headings."""
    if target.kind != "regression":
        return _CLASSES
    rounded = name_rounded(target.low, target.high)
    return {**_NUMBERS, rounded: rounded.upper()}


def _show_interval(edges: Sequence[float | None]) -> str:
    known = [edge for edge in edges if edge is not None and not np.isnan(edge)]
    return "{:.3f} to {:.3f}".format(*known) if len(known) == 2 else "-"


def _row(name: str, scores: dict[str, Any], shown: dict[str, str]) -> str:
    # An undefined number is NaN, or None once it was read back from JSON.
    known = [np.nan if scores[k] is None else scores[k] for k in shown]
    cells = ("-" if np.isnan(value) else f"{value:.3f}" for value in known)
    return f"| {name} | " + " | ".join(cells) + " |"
