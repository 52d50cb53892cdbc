"""How good predictions are, as the literature on CMU-MOSI counts it. All are fractions.

The definitions are those with which published label files give the published baselines: A2 is
"negative or not" over all segments, zeros included, and F1 is weighted by true support.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Scores = dict[str, float]


def score(
    predictions: ArrayLike, labels: ArrayLike, threshold: float = 0.0, limit: float = 3.0
) -> Scores:
    """Every metric of a regression of sentiment.

    Parameters
    ----------
    predictions, labels : [n]
    threshold : a value of at least this is the positive class.
    limit : predictions and labels are clipped to [-limit, limit] before A7 rounds them.

    Returns
    -------
    n : how many.
    mae : mean absolute error.
    corr : Pearson's r; NaN where either side is constant.
    a2, f1 : accuracy and weighted F1 of "at least threshold".
    a7, a7_unclipped : share whose rounded value (half to even) is right.
    a2_nonzero, f1_nonzero : "above threshold" without the labels equal to it.

    Raises
    ------
    ValueError : shapes differ, nothing is there, or a value is not finite.
    """
    p, y = np.asarray(predictions, float), np.asarray(labels, float)
    if p.shape != y.shape or p.ndim != 1:
        raise ValueError(f"predictions and labels must both be [n], got {p.shape} and {y.shape}")
    if not len(y):
        raise ValueError("there is nothing to score")
    if not (np.isfinite(p).all() and np.isfinite(y).all()):
        raise ValueError("predictions and labels must be finite")
    told = y != threshold
    return {
        "n": len(y),
        "mae": float(abs(p - y).mean()),
        "corr": correlation(p, y),
        "a2": float(((p >= threshold) == (y >= threshold)).mean()),
        "f1": weighted_f1(p >= threshold, y >= threshold),
        "a7": float((_round(p, limit) == _round(y, limit)).mean()),
        "a7_unclipped": float((np.round(p) == np.round(y)).mean()),
        "a2_nonzero": float(((p > threshold) == (y > threshold))[told].mean())
        if told.any()
        else float("nan"),
        "f1_nonzero": weighted_f1((p > threshold)[told], (y > threshold)[told]),
    }


def _round(values: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    return np.clip(values, -limit, limit).round()


def correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Pearson's r; NaN where either side is constant."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def weighted_f1(predicted: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    """F1 of both classes, weighted by how often each is true; NaN if nothing is there."""
    if not len(true):
        return float("nan")
    total = 0.0
    for kind in (False, True):
        hits = ((predicted == kind) & (true == kind)).sum()
        pairs = (predicted == kind).sum() + (true == kind).sum()
        total += (2 * hits / pairs if pairs else 0.0) * (true == kind).mean()
    return float(total)


def find_constants(labels: ArrayLike) -> dict[str, float]:
    """The best guesses of who looks at nothing: mean, median and mode (of rounded labels), and
    each sign."""
    y = np.asarray(labels, float)
    values, counts = np.unique(np.round(y), return_counts=True)
    return {
        "mean": float(y.mean()),
        "median": float(np.median(y)),
        "mode": float(values[counts.argmax()]),
        "negative": -1.0,
        "positive": 1.0,
    }


def score_constants(constants: dict[str, float], labels: ArrayLike) -> dict[str, Scores]:
    """What constants reach. A model's number means little without them beside it."""
    y = np.asarray(labels, float)
    return {name: score(np.full(len(y), value), y) for name, value in constants.items()}


def bootstrap(
    predictions: ArrayLike,
    labels: ArrayLike,
    groups: Sequence[Hashable],
    measure: Callable[[NDArray[np.float64], NDArray[np.float64]], Scores] = score,
    draws: int = 1000,
    coverage: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Percentile intervals of every metric, drawing whole groups with replacement.

    Parameters
    ----------
    groups : [n] the video or speaker of each; segments of one video are not independent.

    Returns
    -------
    {metric: (low, high)}; NaN where a metric was never defined.
    """
    p, y = np.asarray(predictions, float), np.asarray(labels, float)
    members: dict[Hashable, list[int]] = {}
    for n, group in enumerate(groups):
        members.setdefault(group, []).append(n)
    clusters = [np.array(m) for m in members.values()]
    random = np.random.default_rng(seed)
    drawn = []
    for _ in range(draws):
        rows = np.concatenate(
            [clusters[c] for c in random.integers(len(clusters), size=len(clusters))]
        )
        drawn.append(measure(p[rows], y[rows]))
    edges = [(1 - coverage) / 2, (1 + coverage) / 2]
    intervals = {}
    for name in drawn[0]:
        values = np.array([scores[name] for scores in drawn])
        values = values[np.isfinite(values)]
        low, high = np.quantile(values, edges) if len(values) else (np.nan, np.nan)
        intervals[name] = (float(low), float(high))
    return intervals
