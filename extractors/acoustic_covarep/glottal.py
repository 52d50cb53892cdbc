"""Glottal flow around every closure instant, by inverse filtering.

A closure instant g is COVAREP's: here it stands for sample g - 1 counted from 0, in `pulses` and
`maxima_dispersion`, where COVAREP corrects its one-sample slip, for sample g.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from scipy.signal import firls, lfilter

from extractors.acoustic_covarep.prediction import (
    FloatArray,
    IntArray,
    lpc,
    matlab_hanning,
    matlab_round,
    solve_levinson,
)
from extractors.acoustic_covarep.transforms import irfft, rfft

LEAK = 0.99  # of the lip radiation's inverse, an integrator
PADDING = 1.15  # from one size of padded frames to the next
LONGEST_PERIOD = 10.0  # seconds; bounds a frame that spans a pause


def glottal_periods(gci: IntArray, rate: int) -> IntArray:
    """Distance (samples) of each instant to the one before it, of the first to the second [G].

    Across a pause it is as long as the pause, but not longer than 10 s.
    """
    if len(gci) < 2:
        return np.zeros(len(gci), np.intp)
    distance = np.diff(gci)
    return np.minimum(np.r_[distance[0], distance], int(LONGEST_PERIOD * rate))


def similar_lengths(lengths: IntArray, most: int = 96) -> Iterator[tuple[int, IntArray]]:
    """Groups of about the same length: a size to pad them to, and the indices of up to ``most``.

    The size depends on a length alone, never on the company it is in: the same frame is worked on
    in the same way, to the last bit, wherever a block starts.
    """
    step = np.ceil(np.log(np.maximum(lengths, 32) / 32) / np.log(PADDING) - 1e-9).astype(np.intp)
    order = np.argsort(step, kind="stable")
    first = 0
    while first < len(order):
        here = step[order[first]]
        last = first + int(np.searchsorted(step[order[first : first + most]], here, "right"))
        yield int(np.ceil(32 * PADDING**here)), order[first:last]
        first = last


@lru_cache(maxsize=4)
def flow_high_pass(rate: int) -> FloatArray:
    """Linear-phase FIR high-pass by least squares: stop 0-40 Hz, pass 70 Hz - rate/2."""
    taps = 2 * matlab_round(300 * rate / 16000 / 2) + 1
    return firls(taps, [0, 40, 70, rate / 2], [0, 0, 1, 1], fs=rate)


def iaif(frames: FloatArray, lengths: IntArray, rate: int) -> tuple[FloatArray, FloatArray]:
    """Iterative adaptive inverse filtering (Alku, Speech Comm. 11, 1992) of many frames.

    Parameters
    ----------
    frames : [B, L], zero beyond each frame's length.
    lengths : [B] samples.
    rate : samples a second.

    Returns
    -------
    flow, derivative : [B, L] each, in units of the input; zero beyond each frame's length.
    """
    size = frames.shape[1]
    order_tract = 2 * matlab_round(rate / 2000) + 4
    order_glottis = 2 * matlab_round(rate / 4000)
    inside = np.arange(size) < lengths[:, None]

    kernel = flow_high_pass(rate)
    n = next_fast_len(size + len(kernel) - 1, real=True)
    filtered = irfft(rfft(frames, n) * rfft(kernel[None], n), n)
    x = filtered[:, len(kernel) // 2 :][:, :size] * inside

    # A window for each length: 0.5 (1 - cos(2 pi k / (length + 1)))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1, size + 1) / (lengths[:, None] + 1))
    window *= inside
    lead = order_tract + 1  # a ramp before the frame lets the filters settle
    signal = np.hstack([x[:, :1] * np.linspace(-1, 1, lead), x])
    n = next_fast_len(size + lead + order_tract, real=True)
    spectrum = rfft(signal, n)

    def inverse_filter(predictor: FloatArray) -> FloatArray:
        return irfft(spectrum * rfft(predictor, n), n)[:, : size + lead]

    def integrate(y: FloatArray) -> FloatArray:
        return lfilter([1.0], [1.0, -LEAK], y, axis=1)

    windowed = x * window
    lags = ((windowed**2).sum(axis=1), (windowed[:, 1:] * windowed[:, :-1]).sum(axis=1))
    tilt = solve_levinson(np.stack(lags, axis=1))
    y = signal[:, lead:] + tilt[:, 1:] * signal[:, lead - 1 : -1]
    tract = lpc(y * window, order_tract)
    y = integrate(inverse_filter(tract))[:, lead:]
    glottis = lpc(y * window, order_glottis)
    y = integrate(inverse_filter(glottis))[:, lead:]
    tract = lpc(y * window, order_tract)
    derivative = inverse_filter(tract)
    flow = integrate(derivative)
    return flow[:, lead:] * inside, derivative[:, lead:] * inside


def glottal_flow(
    x: NDArray[np.floating],
    gci: IntArray,
    rate: int,
    first: int = 0,
    last: int | None = None,
    sign: float = 1.0,
) -> tuple[FloatArray, FloatArray]:
    """Glottal flow and its derivative, inverse-filtered period by period and overlap-added.

    The frame of an instant goes one period to both sides (clipped at the ends of the file), with a
    Hann window; the frames add up without normalisation.

    Parameters
    ----------
    x : [n] the whole signal.
    gci : [G] instants of the whole signal.
    first, last : samples wanted, half-open; only the frames that touch them are computed.
    sign : -1 turns the signal over.

    Returns
    -------
    flow, derivative : [last - first] each.
    """
    last = len(x) if last is None else last
    flow, derivative = np.zeros(last - first), np.zeros(last - first)
    periods = glottal_periods(gci, rate)
    start = np.maximum(gci - 1 - periods, 0)
    stop = np.minimum(gci + periods, len(x))
    touching = np.flatnonzero(
        (start < last) & (stop > first) & (stop - start > 2 * matlab_round(rate / 2000) + 4)
    )
    for size, group in similar_lengths((stop - start)[touching]):
        chosen = touching[group]
        lengths = (stop - start)[chosen]
        frames = np.zeros((len(chosen), size))
        for row, (a, b) in enumerate(zip(start[chosen], stop[chosen], strict=True)):
            frames[row, : b - a] = sign * x[a:b] * matlab_hanning(b - a)
        flows, derivatives = iaif(frames, lengths, rate)
        for row, (a, b) in enumerate(zip(start[chosen], stop[chosen], strict=True)):
            inner_a, inner_b = max(a, first), min(b, last)
            flow[inner_a - first : inner_b - first] += flows[row, inner_a - a : inner_b - a]
            derivative[inner_a - first : inner_b - first] += derivatives[
                row, inner_a - a : inner_b - a
            ]
    return flow, derivative
