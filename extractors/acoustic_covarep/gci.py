"""Glottal closure instants (SEDREAMS; Drugman & Dutoit, Interspeech 2009; Drugman et al., IEEE TASL
20(3), 2012): where the vocal folds close, cycle by cycle."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import ellip, oaconvolve, sosfiltfilt

from extractors.acoustic_covarep.prediction import FloatArray, IntArray, lp_residual, matlab_round

STRONG = 0.4  # of the largest residual: the samples whose place in the cycle is looked at
SPREAD = 0.35  # of the half cycle, searched on both sides of the usual place


def mean_based_signal(x: FloatArray, f0_median: float, rate: int) -> FloatArray:
    """Weighted mean over 1.7 periods, high-passed at 50 Hz: one oscillation a glottal cycle [n].

    (SEDREAMS 2009, eq. 1, with a Blackman window.) Only its extrema are used, so that it is not
    scaled to its largest magnitude.
    """
    half = matlab_round(1.7 * matlab_round(rate / f0_median) / 2)
    if len(x) <= 2 * half + 1:
        return np.zeros(len(x))
    kernel = np.blackman(2 * half + 1) / (2 * half + 1)
    mean = oaconvolve(x, kernel, mode="same")
    mean[:half] = 0
    mean[-half:] = 0
    high_pass = ellip(5, 3, 60, 50 / (rate / 2), "highpass", output="sos")
    return sosfiltfilt(high_pass, mean, padlen=min(15, len(x) - 1))


def find_extrema(signal: FloatArray) -> tuple[IntArray, IntArray]:
    """Positions of the strict local minima and maxima."""
    step = np.diff(signal)
    minima = np.flatnonzero((step[:-1] < 0) & (step[1:] > 0)) + 1
    maxima = np.flatnonzero((step[:-1] > 0) & (step[1:] < 0)) + 1
    return minima, maxima


def pair_extrema(minima: IntArray, maxima: IntArray) -> tuple[IntArray, IntArray]:
    """Each minimum with the maximum that follows it before the next minimum."""
    following = np.searchsorted(maxima, minima)
    has_one = following < len(maxima)
    minima, following = minima[has_one], following[has_one]
    rises = np.r_[maxima[following[:-1]] < minima[1:], np.ones(min(1, len(minima)), bool)]
    return minima[rises], maxima[following[rises]]


def place_in_cycle(strong: IntArray, minima: IntArray, maxima: IntArray) -> float:
    """Median place of strong residual samples: 0 at the nearest minimum, 1 at its maximum."""
    if not len(strong) or not len(minima):
        return float("nan")
    after = np.clip(np.searchsorted(minima, strong), 1, max(1, len(minima) - 1))
    before = after - 1
    after = np.minimum(after, len(minima) - 1)
    nearest = np.where(strong - minima[before] <= minima[after] - strong, before, after)
    place = (strong - minima[nearest]) / (maxima[nearest] - minima[nearest])
    return float(np.median(place))


def search_intervals(
    minima: IntArray, maxima: IntArray, place: float, n: int
) -> tuple[IntArray, IntArray]:
    """First and last sample in which the closure of each cycle is searched, within [0, n)."""
    length = maxima - minima

    def at(place: float) -> IntArray:
        offset = place * length
        return minima + (np.sign(offset) * np.floor(np.abs(offset) + 0.5)).astype(np.intp)

    first, last = at(place - SPREAD), at(place + SPREAD)
    inside = (first < n) & (last > 0)
    return np.maximum(first[inside], 0), np.minimum(last[inside], n - 1)


def strongest_sample(residual: FloatArray, first: IntArray, last: IntArray) -> IntArray:
    """Position of the largest residual in each interval first..last (inclusive)."""
    if not len(first):
        return np.zeros(0, np.intp)
    offsets = np.arange((last - first).max() + 1)
    at = first[:, None] + offsets
    inside = at <= last[:, None]
    values = np.where(inside, residual[np.minimum(at, len(residual) - 1)], -np.inf)
    return first + values.argmax(axis=1)


def sedreams(x: FloatArray, f0_median: float, rate: int = 16000) -> IntArray:
    """Closure instants of a signal [n] of right polarity: sample indices (from 0), in order.

    Voicing is not looked at: drop those in unvoiced stretches (`keep_voiced`).
    """
    residual = lp_residual(x, rate // 1000 + 2, rate)
    minima, maxima = pair_extrema(*find_extrema(mean_based_signal(x, f0_median, rate)))
    strong = np.flatnonzero(residual > STRONG * np.abs(residual).max(initial=0))
    place = place_in_cycle(strong, minima, maxima)
    if np.isnan(place):
        return np.zeros(0, np.intp)
    return np.unique(strongest_sample(residual, *search_intervals(minima, maxima, place, len(x))))


def keep_voiced(gci: IntArray, times: FloatArray, voiced: NDArray[np.bool_], rate: int) -> IntArray:
    """The instants at which the linearly interpolated voicing is at least 0.5.

    As in COVAREP an instant at sample i (from 0) is looked up, and from here on used, as if it were
    sample i counted from 1. Voicing is 0 before the first frame and after the last.
    """
    if not len(times):
        return gci[:0]
    knots = np.floor(times * rate + 0.5)
    voicing = np.interp(gci, knots, voiced.astype(float), left=0, right=0)
    return gci[voicing >= 0.5]
