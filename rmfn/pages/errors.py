"""Where a model errs, as numbers: classes mistaken for each other, errors by length and coverage,
whether its intervals and probabilities hold, the segments it got most wrong.

Everything here is of one target: labels [n] without NaN, predictions [n, outputs of the target].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rmfn.calibrate import LEVELS, try_widths
from rmfn.metrics import bootstrap
from rmfn.segments import Segments
from rmfn.targets import Target
from rmfn.tasks import name_classes

DRAWS = 500  # of intervals
BINS = 6  # of lengths, about as many segments in each
COVERED = (0.0, 0.001, 0.5, 0.9, 0.999, 1.001)  # edges of coverage: none, ..., all
COVERED_NAMES = ("none", "up to half", "half to 90 %", "above 90 %", "all")
WORST = 20
GRID = 60  # cells a side, of the density


@dataclass(frozen=True)
class Scored:
    """The segments of which a target's label is known.

    Attributes
    ----------
    segments : all of them; ``rows`` says which these are.
    labels, predicted : [n], [n, outputs].
    """

    target: Target
    segments: Segments
    rows: NDArray[np.int64]
    labels: NDArray[np.float64]
    predicted: NDArray[np.float64]

    @property
    def groups(self) -> list[str]:
        groups = self.segments.groups or self.segments.videos
        return [groups[n] for n in self.rows.tolist()]

    @property
    def errors(self) -> NDArray[np.float64]:
        """[n] absolute errors, or 1 where the most probable class is not the true one."""
        if self.target.kind == "regression":
            return abs(self.predicted[:, 0] - self.labels)
        return (self.predicted.argmax(1) != self.labels).astype(float)


def choose_scored(segments: Segments, n: int, target: Target, part: slice) -> Scored:
    """Those of target number n, whose outputs are ``part``."""
    rows = np.flatnonzero(~np.isnan(segments.labels[:, n]))
    return Scored(target, segments, rows, segments.labels[rows, n], segments.predicted[rows, part])


@dataclass(frozen=True)
class Bin:
    """Segments alike in something.

    Attributes
    ----------
    error : their mean.
    interval : 95 %, whole videos redrawn.
    """

    name: str
    count: int
    error: float
    interval: tuple[float, float]


def count_confusion(scored: Scored) -> tuple[list[str], NDArray[np.int64]]:
    """Classes, and how often each (row) was taken for each (column); of a regression the classes
    are its values, rounded and kept on the scale."""
    target = scored.target
    if target.kind == "regression":
        low, high = round(target.low), round(target.high)
        names = [
            f"{value:+d}" if low < 0 < abs(value) else str(value) for value in range(low, high + 1)
        ]
        true, said = (
            np.clip(np.round(values), low, high).astype(int) - low
            for values in (scored.labels, scored.predicted[:, 0])
        )
    else:
        names = list(name_classes(target))
        true, said = scored.labels.astype(int), scored.predicted.argmax(1)
    counts = np.zeros((len(names), len(names)), int)
    np.add.at(counts, (true, said), 1)
    return names, counts


def bin_by_length(scored: Scored) -> list[Bin]:
    """By the number of words, about as many segments in each."""
    words = scored.segments.words[scored.rows]
    edges = np.unique(np.quantile(words, np.linspace(0, 1, BINS + 1)).round().astype(int))
    found = []
    for low, high in pairwise([*(edges[:-1] if len(edges) > 1 else edges), words.max() + 1]):
        name = str(low) if high - low == 1 else f"{low} to {high - 1}"
        found += _bin(scored, name, (words >= low) & (words < high))
    return found


def bin_by_coverage(scored: Scored, modality: str) -> list[Bin]:
    """By how much of a modality was measured, from nothing to everything."""
    covered = scored.segments.coverage[modality][scored.rows]
    found = []
    for name, (low, high) in zip(COVERED_NAMES, pairwise(COVERED), strict=True):
        found += _bin(scored, name, (covered >= low) & (covered < high))
    return found


def _bin(scored: Scored, name: str, inside: NDArray[np.bool_]) -> list[Bin]:
    if not inside.any():
        return []
    errors = scored.errors[inside]
    groups = [group for group, taken in zip(scored.groups, inside.tolist(), strict=True) if taken]

    def measure(errors: NDArray[np.float64], _: NDArray[np.float64]) -> dict[str, float]:
        return {"error": float(errors.mean())}

    interval = bootstrap(errors, np.zeros_like(errors), groups, measure, DRAWS)["error"]
    return [Bin(name, len(errors), float(errors.mean()), interval)]


def measure_coverage(scored: Scored) -> dict[float, float]:
    """{nominal: share of labels inside} of a regression's intervals, their widths set on nine
    tenths of the videos and tried on the last, in turn; without those of which there are too few
    videos or segments to tell."""
    tried = {level: try_widths(scored.errors, scored.groups, level) for level in LEVELS}
    return {level: share for level, share in tried.items() if share is not None}


def measure_reliability(scored: Scored) -> list[tuple[float, Bin]]:
    """Of classes: mean probability of the class said, and how often it was right, in tenths."""
    sure = scored.predicted.max(1)
    right = 1 - scored.errors
    found = []
    for low in np.arange(0, 1, 0.1).round(1).tolist():
        inside = (sure >= low) & ((sure < low + 0.1) | (low == 0.9))
        name = f"{low:.0%} to {low + 0.1:.0%}"
        for part in _bin(scored, name, inside):
            low_edge, high_edge = part.interval
            rate = float(right[inside].mean())
            shown = Bin(name, part.count, rate, (1 - high_edge, 1 - low_edge))
            found.append((float(sure[inside].mean()), shown))
    return found


def measure_density(scored: Scored) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of a regression: cell middles [G] on the scale, and segments a cell, smoothed [G, G]
    (predicted, true)."""
    from scipy.ndimage import gaussian_filter

    low, high = scored.target.low, scored.target.high
    edges = np.linspace(low, high, GRID + 1)
    counts, _, _ = np.histogram2d(scored.predicted[:, 0], scored.labels, bins=(edges, edges))
    return (edges[:-1] + edges[1:]) / 2, gaussian_filter(counts, GRID / 20, mode="nearest")


def find_worst(scored: Scored, count: int = WORST) -> list[dict[str, Any]]:
    """The segments farthest off, or those whose true class got the least probability."""
    target, segments = scored.target, scored.segments
    if target.kind == "regression":
        wrong = scored.errors
    else:
        wrong = 1 - scored.predicted[np.arange(len(scored.rows)), scored.labels.astype(int)]
    found = []
    for place in np.argsort(-wrong, kind="stable")[:count].tolist():
        n = int(scored.rows[place])
        found.append(
            {
                "id": segments.ids[n],
                "video": segments.videos[n],
                "start": float(segments.starts[n]),
                "end": float(segments.ends[n]),
                "text": segments.texts[n],
                "label": float(scored.labels[place]),
                "predicted": scored.predicted[place].tolist(),
                "wrong": float(wrong[place]),
            }
        )
    return found


def name_measure(target: Target) -> str:
    """What the errors are."""
    return "mean absolute error" if target.kind == "regression" else "share wrong"


def describe_label(target: Target, values: Sequence[float]) -> str:
    """A label, or a prediction [outputs], in a few characters."""
    if target.kind == "regression":
        (value,) = values
        return f"{value:+.2f}" if target.low < 0 else f"{value:.2f}"
    names = name_classes(target)
    if len(values) == 1:
        return names[int(values[0])]
    best = int(np.argmax(values))
    return f"{names[best]} ({values[best]:.0%})"
