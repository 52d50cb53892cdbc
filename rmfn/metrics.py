"""How good predictions are, as the literature on CMU-MOSI counts it. All are fractions.

The definitions are those with which published label files give the published baselines: A2 is
"negative or not" over all segments, zeros included, and F1 is weighted by true support.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Scores = dict[str, float]


def score(
    predictions: ArrayLike,
    labels: ArrayLike,
    threshold: float = 0.0,
    low: float = -3.0,
    high: float = 3.0,
) -> Scores:
    """Every metric of a regression, by default of sentiment from -3 to 3.

    Parameters
    ----------
    predictions, labels : [n]
    threshold : a value of at least this is the positive class.
    low, high : the scale; both sides are clipped to it before A7 rounds them.

    Returns
    -------
    n : how many.
    mae : mean absolute error.
    corr : Pearson's r; NaN where either side is constant.
    a2, f1 : accuracy and weighted F1 of "at least threshold".
    a7, a7_unclipped : share whose rounded value (half to even) is right; "a5" on a scale of five
        levels, and so on.
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
    rounded = name_rounded(low, high)
    return {
        "n": len(y),
        "mae": float(abs(p - y).mean()),
        "corr": correlation(p, y),
        "a2": float(((p >= threshold) == (y >= threshold)).mean()),
        "f1": weighted_f1(p >= threshold, y >= threshold),
        rounded: float((np.clip(p, low, high).round() == np.clip(y, low, high).round()).mean()),
        f"{rounded}_unclipped": float((np.round(p) == np.round(y)).mean()),
        "a2_nonzero": float(((p > threshold) == (y > threshold))[told].mean())
        if told.any()
        else float("nan"),
        "f1_nonzero": weighted_f1((p > threshold)[told], (y > threshold)[told]),
    }


def name_rounded(low: float, high: float) -> str:
    """What the accuracy of rounded values is called: "a7" from -3 to 3, "a5" from 1 to 5."""
    return f"a{round(high) - round(low) + 1}"


def score_classes(probabilities: ArrayLike, labels: ArrayLike) -> Scores:
    """Every metric of a classification.

    Parameters
    ----------
    probabilities : [n, classes]; of two as probable the first is said.
    labels : [n], the number of the true class.

    Returns
    -------
    n : how many.
    accuracy : share whose most probable class is right (the paper's A2 of an emotion).
    f1 : F1 of each class, weighted by how often it is true.
    f1_macro : the plain mean over the classes that are there or were said.

    Raises
    ------
    ValueError : shapes differ, nothing is there, or a value is not finite.
    """
    p, y = np.asarray(probabilities, float), np.asarray(labels, float)
    if p.ndim != 2 or y.shape != p.shape[:1]:
        raise ValueError(
            f"probabilities must be [n, classes] and labels [n], got {p.shape} and {y.shape}"
        )
    if not len(y):
        raise ValueError("there is nothing to score")
    if not (np.isfinite(p).all() and np.isfinite(y).all()):
        raise ValueError("probabilities and labels must be finite")
    said = p.argmax(1)
    kinds = np.union1d(said, y)
    return {
        "n": len(y),
        "accuracy": float((said == y).mean()),
        "f1": weighted_f1(said, y),
        "f1_macro": float(np.mean([_f1(said == kind, y == kind) for kind in kinds])),
    }


def correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Pearson's r; NaN where either side is constant."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def weighted_f1(predicted: NDArray[Any], true: NDArray[Any]) -> float:
    """F1 of every class, weighted by how often it is true; NaN if nothing is there."""
    if not len(true):
        return float("nan")
    return float(
        sum(
            _f1(predicted == kind, true == kind) * (true == kind).mean() for kind in np.unique(true)
        )
    )


def _f1(predicted: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    pairs = predicted.sum() + true.sum()
    return float(2 * (predicted & true).sum() / pairs) if pairs else 0.0


def find_constants(labels: ArrayLike, threshold: float = 0.0) -> dict[str, float]:
    """The best guesses of who looks at nothing: mean, median and mode (of rounded labels), and
    each side of the threshold."""
    y = np.asarray(labels, float)
    values, counts = np.unique(np.round(y), return_counts=True)
    return {
        "mean": float(y.mean()),
        "median": float(np.median(y)),
        "mode": float(values[counts.argmax()]),
        "negative": threshold - 1.0,
        "positive": threshold + 1.0,
    }


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
    predictions : [n] or [n, ...], as ``measure`` takes them.
    groups : [n] the video or speaker of each; segments of one video are not independent.

    Returns
    -------
    {metric: (low, high)}; NaN where a metric was never defined, and of a single group, as drawing
    the only one there is says nothing of others.
    """
    p, y = np.asarray(predictions, float), np.asarray(labels, float)
    clusters = group_rows(groups)
    if len(clusters) < 2:
        return {name: (float("nan"), float("nan")) for name in measure(p, y)}
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


def group_rows(groups: Sequence[Hashable]) -> list[NDArray[np.int64]]:
    """The rows of each group, groups in the order in which they first come."""
    members: dict[Hashable, list[int]] = {}
    for n, group in enumerate(groups):
        members.setdefault(group, []).append(n)
    return [np.array(rows) for rows in members.values()]
