"""Phase distortion: how the phases of a voice differ from those of a pulse through its envelope,
on average and in spread (HMPD; Degottex & Erro, EURASIP JASMP 2014, sections 2 and 3)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from extractors.acoustic_covarep.envelope import mel_cepstrum
from extractors.acoustic_covarep.phase import minimum_phase, wrap
from extractors.acoustic_covarep.prediction import FloatArray
from extractors.acoustic_covarep.sinusoids import Harmonics

HALF = 512  # bins from DC to Nyquist, less one
MEANS, DEVIATIONS = 25, 13  # columns of HMPDM, HMPDD
MEAN_FRAMES, TREND_FRAMES = 25, 9  # lengths of the smoothers
REACH = MEAN_FRAMES - 1  # frames on either side that a result depends on
SMALLEST = 0.001  # deviation (rad); what lies below is rounding
AT_ENDS = 2e-6  # deviation (rad) of the first and last frame of a file
BINS = 64  # bins worked on at a time: more leave the cache
RANDOM_FRAMES = 256  # frames whose random phases are drawn at a time


def random_phases(first: int, last: int, width: int, seed: int) -> FloatArray:
    """Uniform phases [last - first, width] in [-pi, pi]; frame k's are always the same."""
    rows = []
    for chunk in range(first // RANDOM_FRAMES, -(-last // RANDOM_FRAMES)):
        generator = np.random.Generator(np.random.Philox(key=[seed, chunk]))
        drawn = generator.uniform(-np.pi, np.pi, (RANDOM_FRAMES, width))
        start = chunk * RANDOM_FRAMES
        rows.append(drawn[max(first - start, 0) : last - start])
    return np.concatenate(rows) if rows else np.zeros((0, width))


def phase_distortion(
    harmonics: Harmonics, first: int = 0, rate: int = 16000, seed: int = 0
) -> FloatArray:
    """Phase distortion of every frame on a linear frequency axis.

    The minimum phase of the amplitude envelope is taken from the phases; what is left of each
    harmonic is compared with that of its neighbour and of the first (eqs. 5-9). It is 0 up to f0.
    Frequencies beyond the last harmonic get random phases.

    Parameters
    ----------
    harmonics : of T frames.
    first : number of the first frame in its file (it chooses the random phases).

    Returns
    -------
    [T, 513] radians, from DC to Nyquist; not wrapped.
    """
    f0, count = harmonics.f0[:, None], harmonics.count[:, None]
    total, most = harmonics.phase.shape
    rows = np.arange(total)[:, None]
    bin_width = rate / 2 / HALF
    position = np.arange(HALF + 1) * bin_width / f0  # in harmonics
    below = np.minimum(position.astype(np.intp), most)
    part = position - below

    k = np.arange(most + 2)
    # DC takes the first harmonic's amplitude, everything beyond the last one that of the last.
    of = np.clip(k, 1, count) - 1
    amplitude = harmonics.log_amplitude[rows, of]
    low = amplitude[rows, below]
    envelope = low + part * (amplitude[rows, below + 1] - low)
    removed = minimum_phase(envelope)
    at = np.minimum(np.arange(1, most + 1) * f0 / bin_width, HALF)
    under = np.minimum(at.astype(np.intp), HALF - 1)
    low = removed[rows, under]
    phase = harmonics.phase - (low + (at - under) * (removed[rows, under + 1] - low))

    distortion = np.empty((total, most + 2))
    distortion[:, 0] = 0
    distortion[:, 1:most] = wrap(np.diff(phase, axis=1) - phase[:, :1])
    width = int(np.ceil(rate / 2 / 50)) + 2
    beyond = np.arange(most + 2) >= count
    noise = random_phases(first, first + total, width, seed)[:, : most + 2]
    distortion = np.where(beyond, noise, distortion)
    # The value of harmonic k + 1 sits at (k + 1) f0; below f0 there is none.
    left = np.maximum(below - 1, 0)
    low = distortion[rows, left]
    value = low + part * wrap(distortion[rows, left + 1] - low)
    return np.where(below < 1, 0, value)


def reflect_oddly(values: NDArray[np.floating], margin: int) -> NDArray[np.floating]:
    """Frames [T, ...] extended at both ends, point-symmetric to the end points."""
    margin_inside = min(margin, len(values) - 1)
    before = 2 * values[:1] - values[margin_inside:0:-1]
    after = 2 * values[-1:] - values[-2 : -2 - margin_inside : -1]
    extended = np.concatenate([before, values, after])
    missing = margin - margin_inside
    if missing:  # less than the reach of the filter: the extension goes on as it ends
        padding = [(missing, missing)] + [(0, 0)] * (values.ndim - 1)
        extended = np.pad(extended, padding, mode="edge")
    return extended


def smooth_twice(values: FloatArray, length: int) -> FloatArray:
    """Moving mean over ``length`` frames, forwards and backwards (filtfilt)."""
    extended = reflect_oddly(values, length - 1)
    return moving_sum(moving_sum(extended, length), length) / length**2


def moving_sum(values: FloatArray, length: int) -> FloatArray:
    """Sums [T - length + 1, ...] over ``length`` frames, from sums over 1, 2, 4 ... of them.

    Unlike a running sum, each is added up in the same order wherever the track starts.
    """
    count = len(values) - length + 1
    total, used = np.zeros((count, *values.shape[1:])), 0
    power, span = values, 1
    while span <= length:
        if length & span:
            total += power[used : used + count]
            used += span
        if 2 * span <= length:
            power = power[:-span] + power[span:]
        span *= 2
    return total


def smooth_hann(values: NDArray[np.floating], length: int) -> FloatArray:
    """Hann-weighted mean over ``length`` frames, forwards and backwards."""
    window = np.hanning(length)
    kernel = np.convolve(window, window) / window.sum() ** 2
    margin = length - 1
    extended = reflect_oddly(values, margin)
    out = np.zeros(values.shape)
    for i, weight in enumerate(kernel):
        if weight:
            out += weight * extended[i : i + len(values)]
    return out


# Exchanges that leave the median of nine in place 4 (Paeth, Graphics Gems, 1990; Devillard 1998).
MEDIAN_OF_NINE = (
    (1, 2), (4, 5), (7, 8), (0, 1), (3, 4), (6, 7), (1, 2), (4, 5), (7, 8), (0, 3),
    (5, 8), (4, 7), (3, 6), (1, 4), (2, 5), (4, 7), (4, 2), (6, 4), (4, 2),
)  # fmt: skip


def median_of_nine(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Running median over nine frames, zeros beyond the ends."""
    padded = np.pad(values, ((4, 4), (0, 0)))
    nine = [padded[i : i + len(values)] for i in range(9)]
    for low, high in MEDIAN_OF_NINE:
        nine[low], nine[high] = np.minimum(nine[low], nine[high]), np.maximum(nine[low], nine[high])
    return nine[4]


@lru_cache(maxsize=1)
def mean_groups() -> FloatArray:
    """Weights [512, 25] of the means over bins: the first eight alone, then ever wider groups.

    The group of bin j (from 1) is j up to 8 and then follows a quadratic Bezier curve through
    (8, 8), (25, 25), (512, 25), rounded. The code this comes from takes the bins for harmonics:
    the first groups are therefore single bins of 15.6 Hz below f0, where the distortion is 0.
    """
    j = np.arange(1, HALF + 1)
    t = np.linspace(0, 1, 100001)
    x = (1 - t) ** 2 * 8 + 2 * t * (1 - t) * 25 + t**2 * HALF
    y = (1 - t) ** 2 * 8 + (1 - (1 - t) ** 2) * 25
    group = np.where(j <= 8, j, np.floor(np.interp(j, x, y) + 0.5))
    weights = (group[:, None] == np.arange(1, MEANS + 1)).astype(float)
    return weights / weights.sum(axis=0)


def mean_distortion(cosine: FloatArray, sine: FloatArray) -> FloatArray:
    """HMPDM [T, 25] radians: circular means of the smoothed distortion over groups of bins."""
    unit = np.empty((2, len(cosine), HALF))
    for first in range(0, HALF, BINS):  # the last bin of 513 is left out
        bins = slice(first, first + BINS)
        c, s = smooth_twice(cosine[:, bins], MEAN_FRAMES), smooth_twice(sine[:, bins], MEAN_FRAMES)
        length = np.hypot(c, s)
        length[length == 0] = 1
        unit[0, :, bins], unit[1, :, bins] = c / length, s / length
    groups = mean_groups()
    return np.arctan2(unit[1] @ groups, unit[0] @ groups)


def deviation_of_distortion(cosine: FloatArray, sine: FloatArray, rate: int = 16000) -> FloatArray:
    """HMPDD [T, 13] : mel cepstrum of the local spread of the distortion around its trend.

    The spread is sqrt(-2 ln z), z the length of the mean resultant over nine frames, and at least
    0.001. In the first and the last frame the smoothing gives back what it got, z is 1 up to
    rounding, and COVAREP's spread is 1e-8 or 0.001 by chance in every bin with a phase: here it is
    about their geometric mean. Below f0, where there is no phase, nothing is rounded: 0.001.
    """
    spread = np.empty(cosine.shape)
    for first in range(0, cosine.shape[1], BINS):  # each bin is smoothed over time by itself
        bins = slice(first, first + BINS)
        spread[:, bins] = squared_deviation(cosine[:, bins], sine[:, bins])
    np.maximum(spread, SMALLEST**2, out=spread)
    ends = [0, -1]
    spread[ends] = np.where(sine[ends] == 0, SMALLEST, AT_ENDS) ** 2
    np.log(spread, out=spread)
    spread *= 0.5
    return mel_cepstrum(spread, DEVIATIONS, rate)


def squared_deviation(cosine: FloatArray, sine: FloatArray) -> FloatArray:
    """Squared spread [T, B] of phases around their trend, -2 ln z over nine frames."""
    # A median only chooses: single precision halves its cost.
    c = smooth_hann(median_of_nine(cosine.astype(np.float32)), TREND_FRAMES)
    s = smooth_hann(median_of_nine(sine.astype(np.float32)), TREND_FRAMES)
    length = np.hypot(c, s)
    nowhere = length < 1e-12
    length[nowhere] = 1
    c[nowhere] = 1
    c /= length
    s /= length
    away_c = smooth_twice(cosine * c + sine * s, TREND_FRAMES)
    away_s = smooth_twice(sine * c - cosine * s, TREND_FRAMES)
    return -np.log(np.maximum(away_c**2 + away_s**2, 1e-300))
