"""Frames into words: one row a word, the mean of what was measured while it was spoken."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from extractors.types import FeatureTrack, Word, WordFeatures

# How far, in frame spacings, the nearest frame may be from a word that holds no frame centre.
NEAREST = 1.5


def pool(track: FeatureTrack, words: Sequence[Word]) -> WordFeatures:
    """Mean of a track's frames within each word.

    A word's frames are those whose centre lies in [start, end). A word too short to hold one takes
    the frame nearest to its middle, if that is within 1.5 frame spacings; else it has none. NaN is
    left out column by column, and a column without a finite value is NaN.

    Coverage is the share of the word's frames that were observed; a word without frames has 0, and
    so has a word without any finite value.

    Parameters
    ----------
    track : values [T, D].
    words : N words; they may overlap and come in any order.

    Returns
    -------
    WordFeatures with values float32 [N, D] and coverage float32 [N].
    """
    n_words, n_columns = len(words), len(track.names)
    if not n_words or not len(track.times):
        values = np.full((n_words, n_columns), np.nan, np.float32)
        return WordFeatures(values, np.zeros(n_words, np.float32), track.names)
    first, last = _frame_ranges(track.times, words)

    # One row more than frames: a range may end behind the last.
    shape = (len(track.times) + 1, n_columns)
    finite = np.zeros(shape, bool)
    np.isfinite(track.values, out=finite[:-1])
    measured = np.zeros(shape, np.float32)
    np.copyto(measured[:-1], track.values, where=finite[:-1])
    counts = _range_sums(finite, first, last)  # [N, D]
    means = np.full((n_words, n_columns), np.nan)
    np.divide(_range_sums(measured, first, last), counts, out=means, where=counts > 0)

    seen = _range_sums(np.append(track.observed, False)[:, None], first, last)[:, 0]  # [N]
    held = last - first
    coverage = np.divide(seen, held, out=np.zeros(n_words), where=held > 0)
    if n_columns:
        coverage[~(counts > 0).any(axis=1)] = 0.0
    return WordFeatures(means.astype(np.float32), coverage.astype(np.float32), track.names)


def _frame_ranges(
    times: NDArray[np.float64], words: Sequence[Word]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Frames first..last-1 of every word, [N] each; first == last: the word has none."""
    starts = np.array([word.start for word in words])
    ends = np.array([word.end for word in words])
    first = np.searchsorted(times, starts, side="left")
    last = np.searchsorted(times, ends, side="left")

    # The nearest frame to a middle is one of its two neighbours; of two equally near the earlier.
    middles = (starts + ends) / 2
    after = np.searchsorted(times, middles).clip(0, len(times) - 1)
    before = (after - 1).clip(0)
    nearest = np.where(abs(times[before] - middles) <= abs(times[after] - middles), before, after)
    # With a single frame the spacing is unknown: then only a word's own frame counts.
    spacing = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    borrows = (first == last) & (abs(times[nearest] - middles) <= NEAREST * spacing)
    return np.where(borrows, nearest, first), np.where(borrows, nearest + 1, last)


def _range_sums(
    rows: NDArray, first: NDArray[np.intp], last: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Sums of rows first..last-1, [N, D]; ``rows`` has one row that belongs to no range at its end.

    Summed range by range (differences of one running total would lose a small value that follows a
    large one). ``reduceat`` wants the bounds of adjoining ranges: every other of its results is
    what lies between two words, and is left out.
    """
    bounds = np.column_stack([first, last]).ravel()
    sums = np.add.reduceat(rows, bounds, axis=0, dtype=np.float64)[::2]
    sums[first == last] = 0.0
    return sums
