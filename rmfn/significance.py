"""Whether two models differ, or one run of luck: paired tests on the segments that both predicted.

Segments of one video go together, so whole videos are redrawn or exchanged. The interval of a
difference is by the paired bootstrap (Efron & Tibshirani 1993, chapter 16); its p-value by
permutation: if the models did not differ it would not matter which of them had said what, so their
predictions are exchanged video by video at random (Noreen 1989).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rmfn.metrics import Scores, group_rows

Measure = Callable[[NDArray[np.float64], NDArray[np.float64]], Scores]


def compare_models(
    ours: NDArray[np.float64],
    theirs: NDArray[np.float64],
    labels: NDArray[np.float64],
    groups: Sequence[Hashable],
    measure: Measure,
    draws: int = 2000,
    coverage: float = 0.95,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Every metric's difference, ours - theirs, with its interval and p-value.

    Parameters
    ----------
    ours, theirs : [n, ...] predictions of the same segments.
    labels : [n]
    groups : [n] the video of each.
    measure : (predictions, labels) to metrics.

    Returns
    -------
    {metric: {"difference", "interval": [low, high], "p"}}; p is two-sided, at least
    1 / (draws + 1). NaN where a metric is not defined. Of a single group interval and p are NaN:
    redrawing the only one there is would give a point, as if the difference were certain.
    """
    clusters = group_rows(groups)
    random = np.random.default_rng(seed)
    found = _subtract(measure(ours, labels), measure(theirs, labels))
    redrawn, exchanged = [], []
    owner = np.empty(len(labels), int)
    for place, rows in enumerate(clusters):
        owner[rows] = place
    for _ in range(draws):
        rows = np.concatenate(
            [clusters[c] for c in random.integers(len(clusters), size=len(clusters))]
        )
        redrawn.append(
            _subtract(measure(ours[rows], labels[rows]), measure(theirs[rows], labels[rows]))
        )
        swap = (random.random(len(clusters)) < 0.5)[owner]
        swap = swap.reshape(-1, *[1] * (ours.ndim - 1))
        left, right = np.where(swap, theirs, ours), np.where(swap, ours, theirs)
        exchanged.append(_subtract(measure(left, labels), measure(right, labels)))
    edges = [(1 - coverage) / 2, (1 + coverage) / 2]
    report = {}
    for name, difference in found.items():
        spread = np.array([each[name] for each in redrawn])
        chance = np.array([each[name] for each in exchanged])
        spread, chance = spread[np.isfinite(spread)], chance[np.isfinite(chance)]
        known = np.isfinite(difference) and len(spread) > 0 and len(clusters) > 1
        low, high = np.quantile(spread, edges) if known else (np.nan, np.nan)
        # As extreme as this up to rounding: sums in another order differ in the last bits.
        extreme = abs(chance) >= abs(difference) - 1e-12
        report[name] = {
            "difference": difference,
            "interval": [float(low), float(high)],
            "p": float((extreme.sum() + 1) / (len(chance) + 1)) if known else float("nan"),
        }
    return report


def _subtract(ours: Scores, theirs: Scores) -> Scores:
    return {name: ours[name] - theirs[name] for name in ours if name != "n"}
