"""Model cards: what a person wrote of a model, and the numbers it was measured with."""

from __future__ import annotations

from typing import Any

import numpy as np

from rmfn.checkpoint import Manifest

MEASURED = "## Measured"  # what stands under this heading is written here
_SHOWN = ("mae", "corr", "a2", "f1", "a7")


def write_card(manifest: Manifest, text: str = "") -> str:
    """The text with the measured numbers after it, in the place of any it has.

    So a checkpoint's own README can be the card of the one that replaces it.
    """
    text = text.split(MEASURED)[0].rstrip()
    return f"{text}\n\n{describe(manifest)}" if text else describe(manifest)


def describe(manifest: Manifest) -> str:
    """The measured numbers as Markdown."""
    lines = [MEASURED, ""]
    for label, where in ((label, where) for label in manifest.labels for where in manifest.metrics):
        found = manifest.metrics[where]
        seeds = found["seeds"]
        lines += [
            f"{label.name}, {found['how']}: {found['n']} segments.",
            "",
            "| | MAE | Corr | A2 | F1 | A7 |",
            "|---|---|---|---|---|---|",
            _row(f"mean of {len(manifest.training['seeds'])} models", found),
            "| 95 % interval (videos redrawn) | "
            + " | ".join("{:.3f} to {:.3f}".format(*found["interval"][k]) for k in _SHOWN)
            + " |",
            "| one model, mean ± sd over seeds | "
            + " | ".join("{:.3f} ± {:.3f}".format(*seeds[k]) for k in _SHOWN)
            + " |",
            *(_row(f"constant: {k}", v) for k, v in found["constants"].items()),
            "",
        ]
    conformal = manifest.conformal
    for label, width, measured in zip(
        manifest.labels, conformal.half_width, conformal.measured, strict=True
    ):
        lines.append(
            f"Intervals: {label.name} ± {width:.2f}, nominal coverage {conformal.coverage:.0%}, "
            f"measured on held-out videos {measured:.1%} ({conformal.n} predictions)."
        )
    return "\n".join(lines) + "\n"


def _row(name: str, scores: dict[str, Any]) -> str:
    cells = ("-" if np.isnan(scores[k]) else f"{scores[k]:.3f}" for k in _SHOWN)
    return f"| {name} | " + " | ".join(cells) + " |"
