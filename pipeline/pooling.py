"""Frames into words: one row a word, the mean of what was measured while it was spoken."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from extractors.mapped import forget_pages
from extractors.types import FeatureTrack, Word, WordFeatures

# How far, in frame spacings, the nearest frame may be from a word that holds no frame centre.
NEAREST = 1.5
BLOCK = 2048  # frames looked at together: of hours of them no more are in memory


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

    counts = np.zeros((n_words, n_columns), np.int32)
    sums = np.zeros((n_words, n_columns))
    seen = np.zeros(n_words, np.int32)
    for begin in range(0, len(track.times), BLOCK):
        end = min(begin + BLOCK, len(track.times))
        here = np.flatnonzero((first < end) & (last > begin))  # words with frames in this block
        part = first[here].clip(begin) - begin, last[here].clip(None, end) - begin
        # One row more than frames: a range may end behind the last.
        finite = np.zeros((end - begin + 1, n_columns), bool)
        np.isfinite(track.values[begin:end], out=finite[:-1])
        measured = np.zeros((end - begin + 1, n_columns), np.float32)
        np.copyto(measured[:-1], track.values[begin:end], where=finite[:-1])
        observed = np.append(track.observed[begin:end], False)[:, None]
        forget_pages(track.values)
        counts[here] += _range_sums(finite, *part, np.int32)
        sums[here] += _range_sums(measured, *part, np.float64)
        seen[here] += _range_sums(observed, *part, np.int32)[:, 0]
    means = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
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
    rows: NDArray, first: NDArray[np.intp], last: NDArray[np.intp], kind: type[np.generic]
) -> NDArray:
    """Sums of rows first..last-1, [N, D]; ``rows`` has one row that belongs to no range at its end.

    Summed range by range (differences of one running total would lose a small value that follows a
    large one). ``reduceat`` wants the bounds of adjoining ranges: every other of its results is
    what lies between two words, and is left out.
    """
    bounds = np.column_stack([first, last]).ravel()
    sums = np.add.reduceat(rows, bounds, axis=0, dtype=kind)[::2]
    sums[first == last] = 0.0
    return sums
