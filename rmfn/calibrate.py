"""How wide an interval has to be to hold the label as often as it says, and whether it does."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rmfn.checkpoint import Conformal
from rmfn.corpora import split_videos
from rmfn.dataset import Target
from rmfn.tasks import lay_out

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)  # coverages at which intervals are calibrated and tried


def calibrate(
    predictions: ArrayLike,
    labels: ArrayLike,
    groups: Sequence[str],
    targets: Sequence[Target],
    coverage: float = 0.8,
) -> Conformal:
    """The half-widths of intervals from predictions of unseen videos, and how well they hold.

    Predictions of a cross-validation are of videos that the models had not seen at all. Those of
    validation videos chose the epoch, so that their errors, and with them the widths, come out a
    little too small.

    Parameters
    ----------
    predictions : [n, C] decoded; rows of NaN were not predicted.
    labels : [n, T]
    groups : [n] the video or speaker of each.
    coverage : the share of labels that shall lie within.

    Returns
    -------
    The widths from all n, at most the scale's; ``measured`` is the coverage of widths set on nine
    tenths of the groups and tried on the last tenth, over all tenths; None of classes, and where
    there are too few groups or predictions to tell (`try_widths`).
    """
    p, y = np.asarray(predictions, float), np.asarray(labels, float)
    widths: dict[float, list[float | None]] = {level: [] for level in {coverage, *LEVELS}}
    measured: list[float | None] = []
    count = 0
    for n, (target, part) in enumerate(zip(targets, lay_out(targets), strict=True)):
        if target.kind != "regression":
            measured.append(None)
            for found in widths.values():
                found.append(None)
            continue
        rows = np.flatnonzero(~np.isnan(p[:, part.start]) & ~np.isnan(y[:, n]))
        errors = abs(p[rows, part.start] - y[rows, n])
        for level, found in widths.items():
            # Few segments give infinite widths; the whole scale says the same.
            found.append(min(_conformal_quantile(errors, level), target.high - target.low))
        measured.append(try_widths(errors, [groups[row] for row in rows.tolist()], coverage))
        count = max(count, len(rows))
    levels = {str(level): tuple(widths[level]) for level in LEVELS if level != coverage}
    return Conformal(coverage, tuple(widths[coverage]), tuple(measured), count, levels)


def try_widths(errors: NDArray[np.float64], groups: Sequence[str], coverage: float) -> float | None:
    """The share of errors [n] within widths set on nine tenths of the groups [n], over all tenths
    left out.

    None where it cannot be told: of a single group, or where nine tenths are too few errors to set
    a width by, and any would be inside.
    """
    if len(set(groups)) < 2:
        return None
    inside = np.zeros(len(errors), dtype=bool)
    for part in split_videos(groups, min(10, len(set(groups))), seed=0):
        rest = sorted(set(range(len(errors))) - set(part))
        width = _conformal_quantile(errors[rest], coverage)
        if math.isinf(width):
            return None
        inside[part] = errors[part] <= width
    return float(inside.mean())


def _conformal_quantile(errors: NDArray[np.float64], coverage: float) -> float:
    """The ceil((n+1) coverage)-th smallest; infinite if there are too few."""
    rank = math.ceil((len(errors) + 1) * coverage)
    return math.inf if rank > len(errors) else float(np.sort(errors)[rank - 1])
