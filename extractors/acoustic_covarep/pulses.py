"""What the shape of a glottal pulse says of the voice: NAQ, QOQ, H1-H2, PSP.

A closure instant g stands for sample g counted from 0 here (see `keep_voiced` for why that needs to
be said).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.signal import ZoomFFT

from extractors.acoustic_covarep.glottal import LONGEST_PERIOD, PADDING, similar_lengths
from extractors.acoustic_covarep.prediction import FloatArray, IntArray, matlab_round
from extractors.acoustic_covarep.transforms import fill_up, rfft

PULSE_F0 = (20.0, 500.0)  # Hz; pulses outside are not measured
QUASI_OPEN = 0.5  # of the pulse's height
DERIVATIVE_LAG = 0.0005  # seconds after the closure in which the peak of the derivative may lie
PSP_BINS = 2048
PSP_ERROR = 0.01


def gather(x: FloatArray, start: IntArray, lengths: IntArray) -> FloatArray:
    """Stretches of x as rows [B, longest], zero beyond each length."""
    offsets = np.arange(lengths.max())
    at = np.clip(start[:, None] + offsets, 0, len(x) - 1)
    return x[at] * (offsets < lengths[:, None])


def pulse_shape(
    flow: FloatArray,
    derivative: FloatArray,
    start: IntArray,
    stop: IntArray,
    periods: IntArray,
    rate: int,
) -> tuple[FloatArray, FloatArray]:
    """Normalised amplitude quotient and quasi-open quotient of flow pulses.

    NAQ (Alku, Backstrom & Vilkman, JASA 112(2), 2002): height of the pulse over the largest
    magnitude of the derivative times the period. QOQ (Hacki 1989): share of the period during which
    the pulse is above half of its height. The straight line through the ends of the pulse is taken
    away first.

    Parameters
    ----------
    flow, derivative : [n].
    start, stop : [B] first and last sample of each pulse (inclusive).
    periods : [B] samples.

    Returns
    -------
    naq, qoq : [B] each, without unit.
    """
    lengths = stop - start + 1
    rows = np.arange(len(start))
    at = np.arange(lengths.max())
    inside = at < lengths[:, None]
    a, b = flow[start][:, None], flow[stop][:, None]
    line = a + (b - a) * at / np.maximum(lengths[:, None] - 1, 1)
    pulse = np.where(inside, gather(flow, start, lengths) - line, -np.inf)
    pulse[:, 0] = pulse[rows, lengths - 1] = 0  # exactly: a pulse below its line peaks at an end
    peak = pulse.argmax(axis=1)
    height = pulse[rows, peak]

    lag = matlab_round(DERIVATIVE_LAG * rate)
    extended = np.where(stop + lag < len(derivative), lengths + lag, lengths)
    steepest = np.abs(gather(derivative, start, extended)).max(axis=1)
    naq = height / np.where(steepest > 0, steepest * periods, np.inf)

    low = pulse <= height[:, None] * QUASI_OPEN
    # Leftwards the walk ends at the third sample at the latest, rightwards at the last but two.
    left_stop = (low | (at <= 2)) & (at <= peak[:, None])
    left = np.where(left_stop, at, -1).max(axis=1)
    left = np.where(left < 0, peak, left)
    right_stop = (low | (at >= lengths[:, None] - 3)) & (at >= peak[:, None])
    right = np.where(right_stop.any(axis=1), right_stop.argmax(axis=1), peak)
    return naq, (right - left) / periods


def first_harmonics(
    derivative: FloatArray, gci: IntArray, periods: IntArray, rate: int
) -> FloatArray:
    """H1 - H2 [B] in dB (Hanson 1997), of the flow derivative over three periods.

    Peaks of the spectrum (1 Hz steps) closer than half of f0 are thinned out, the higher stays;
    the ones nearest f0 and 2 f0 count.
    """
    out = np.zeros(len(gci))
    half = np.floor(1.5 * periods + 0.5).astype(np.intp)
    start = np.maximum(gci - half, 0)
    stop = np.minimum(gci + half, len(derivative) - 1)
    lengths = stop - start + 1
    for size, group in similar_lengths(lengths):
        at = np.arange(size)
        n = lengths[group][:, None]
        window = (0.54 - 0.46 * np.cos(2 * np.pi * at / np.maximum(n - 1, 1))) * (at < n)
        frames = np.zeros((len(group), size))
        gathered = gather(derivative, start[group], lengths[group])
        frames[:, : gathered.shape[1]] = gathered
        f0 = rate / periods[group]
        # Peaks beyond five times f0 cannot reach down to the second harmonic.
        bins = min(rate // 2, int(5 * 3 * rate / (size / PADDING - 4)) + 8)
        spectrum = ZoomFFT(size, [0, bins], bins, fs=rate)(fill_up(frames * window))[: len(group)]
        power = spectrum.real**2 + spectrum.imag**2
        out[group] = nearest_peaks_difference(power, f0)
    return out


def nearest_peaks_difference(power: FloatArray, f0: FloatArray) -> FloatArray:
    """Level (dB) of the peak nearest f0 less that nearest 2 f0, of spectra [B, bins of 1 Hz]."""
    width = power.shape[1]
    is_peak = (power[:, 1:-1] > power[:, :-2]) & (power[:, 1:-1] >= power[:, 2:])
    row, column = np.nonzero(is_peak)
    column += 1
    level = power[row, column]
    while True:
        near = np.flatnonzero((np.diff(row) == 0) & (np.diff(column) <= f0[row[:-1]] / 2))
        if not len(near):
            break
        lower = near + (level[near] >= level[near + 1])
        keep = np.ones(len(row), bool)
        keep[lower] = False
        row, column, level = row[keep], column[keep], level[keep]
    harmonics = []
    for multiple in (1, 2):
        # COVAREP compares the index counted from 1 with the frequency.
        distance = np.full(power.shape, np.inf)
        distance[row, column] = np.abs(column + 1 - multiple * f0[row])
        best = distance.argmin(axis=1)
        found = np.isfinite(distance[np.arange(len(power)), best])
        harmonics.append(np.where(found, power[np.arange(len(power)), best % width], 0))
    h1, h2 = harmonics
    both = (h1 > 0) & (h2 > 0)
    return np.where(both, 10 * np.log10(np.where(both, h1, 1) / np.where(both, h2, 1)), 0)


def fit_parabola(pulses: FloatArray) -> FloatArray:
    """Curvature a [B] (dB / bin^2) of the parabola a k^2 + b at the low end of pulse spectra.

    The parabola is fitted to bins 0..N-1 of 2048, N growing from 3 until its error, relative to the
    energy of the levels, exceeds 1 %.
    """
    level = 20 * np.log10(np.maximum(np.abs(rfft(pulses, PSP_BINS)[:, : PSP_BINS // 2]), 1e-15))
    out = np.zeros(len(pulses))
    left = np.arange(len(pulses))
    for width in (96, PSP_BINS // 2):  # the first is nearly always enough
        k2 = np.arange(width, dtype=float) ** 2
        n = np.arange(1, width + 1)
        y = level[left, :width]
        s2, s4 = np.cumsum(k2), np.cumsum(k2**2)
        sy, s2y, syy = np.cumsum(y, 1), np.cumsum(k2 * y, 1), np.cumsum(y * y, 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            a = (n * s2y - s2 * sy) / (n * s4 - s2**2)
            b = (sy - a * s2) / n
            error = (syy - a * s2y - b * sy) / syy
        error[:, :2] = 0
        exceeds = error >= PSP_ERROR
        done = exceeds.any(axis=1)
        if width == PSP_BINS // 2:
            done[:] = True
        at = np.where(exceeds.any(axis=1), exceeds.argmax(axis=1), width - 1)
        out[left[done]] = a[done, at[done]]
        left = left[~done]
        if not len(left):
            break
    return out


@lru_cache(maxsize=2048)
def parabola_of_constant(period: int) -> float:
    """Curvature of a constant pulse of ``period`` samples: the steepest a pulse can have."""
    return float(fit_parabola(np.full((1, period), 1 / period))[0])


def parabolic_spectral_parameter(
    flow: FloatArray, start: IntArray, stop: IntArray, periods: IntArray
) -> FloatArray:
    """PSP [B] (Alku, Strik & Vilkman, Speech Comm. 22(1), 1997), without unit."""
    lengths = stop - start + 1
    pulses = gather(flow, start, lengths)
    inside = np.arange(pulses.shape[1]) < lengths[:, None]
    pulses -= np.where(inside, pulses, np.inf).min(axis=1, keepdims=True)
    pulses *= inside
    height = pulses.max(axis=1, keepdims=True)
    pulses /= np.where(height > 0, height, 1)
    steepest = np.array([parabola_of_constant(int(period)) for period in periods])
    return np.where(height[:, 0] > 0, fit_parabola(pulses) / steepest, 0)


def voice_quality(
    flow: FloatArray,
    derivative: FloatArray,
    gci: IntArray,
    periods: IntArray,
    rate: int,
    *,
    opening: bool = True,
) -> FloatArray:
    """NAQ, QOQ, H1-H2 (dB) and PSP [G, 4] at closure instants; zeros where f0 is not 20-500 Hz.

    Parameters
    ----------
    flow, derivative : [n], covering 1.5 periods around every instant that is measured.
    gci : [G] instants, as samples of ``flow``.
    periods : [G] samples, of `glottal_periods`.
    opening : the first of the instants is the first of the file: its pulse starts with the file,
        and it has no PSP.
    """
    out = np.zeros((len(gci), 4))
    f0 = rate / np.maximum(periods, 1)
    measured = np.flatnonzero((f0 > PULSE_F0[0]) & (f0 < PULSE_F0[1]) & (periods > 0))
    if not len(measured):
        return out
    g, t0 = gci[measured], periods[measured]
    start = np.maximum(g - t0, 0)
    is_first = opening & (measured == 0)
    start = np.where(is_first, np.maximum(0, g - int(LONGEST_PERIOD * rate)), start)
    out[measured, 2] = first_harmonics(derivative, g, t0, rate)
    for _, group in similar_lengths(g - start + 1):
        at = measured[group]
        pulse = start[group], g[group]
        out[at, 0], out[at, 1] = pulse_shape(flow, derivative, *pulse, t0[group], rate)
        whole = ~is_first[group]
        if whole.any():
            begin, end = (p[whole] for p in pulse)
            out[at[whole], 3] = parabolic_spectral_parameter(flow, begin, end, t0[group][whole])
    return out
