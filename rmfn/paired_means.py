"""The interval of a mean error and the p-value of a difference of two, many draws at once.

As ``rmfn.significance`` does for any metric: whole videos are redrawn or exchanged. A mean over
segments needs no segment to be touched again: the sums of each video are enough, and the draws
become rows of a matrix. So there can be as many as a correction for many systems asks for.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from rmfn.metrics import group_rows

CELLS = 1 << 20  # draws times videos at once


def redraw_mean(
    values: NDArray[np.float64], videos: Sequence[Hashable], draws: int, seed: int = 0
) -> tuple[float, float]:
    """95 % of the means of values [n], whole videos drawn with replacement; NaN of a single one."""
    sums, counts = _sum_videos(values, videos)
    if len(sums) < 2:
        return float("nan"), float("nan")
    random = np.random.default_rng(seed)
    even = np.full(len(sums), 1 / len(sums))
    means = []
    for size in _cut(draws, len(sums)):
        times = random.multinomial(len(sums), even, size=size)  # each video was drawn
        means.append(times @ sums / (times @ counts))
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return float(low), float(high)


def exchange(
    differences: NDArray[np.float64], videos: Sequence[Hashable], draws: int, seed: int = 0
) -> float:
    """Two-sided p-value of the mean of paired differences [n], at least 1 / (draws + 1); NaN of a
    single video.

    To exchange the two predictions of a video is to turn the sign of its sum.
    """
    sums, _ = _sum_videos(differences, videos)
    if len(sums) < 2:
        return float("nan")
    random = np.random.default_rng(seed)
    # As extreme as this up to rounding: sums in another order differ in the last bits.
    least = abs(sums.sum()) - 1e-12 * len(differences)
    extreme = 0
    for size in _cut(draws, len(sums)):
        signs = 1 - 2 * random.integers(2, size=(size, len(sums)), dtype=np.int8)
        extreme += int((abs(signs @ sums) >= least).sum())
    return (extreme + 1) / (draws + 1)


def _sum_videos(
    values: NDArray[np.float64], videos: Sequence[Hashable]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    groups = group_rows(videos)
    return np.array([values[rows].sum() for rows in groups]), np.array([len(g) for g in groups])


def _cut(draws: int, videos: int) -> Iterator[int]:
    """Numbers of draws that fit into memory together."""
    step = max(1, CELLS // videos)
    for start in range(0, draws, step):
        yield min(step, draws - start)
