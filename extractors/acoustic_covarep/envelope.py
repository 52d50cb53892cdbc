"""Spectral envelope of a frame (true envelope) and its mel-warped cepstrum (MCEP)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from extractors.acoustic_covarep.prediction import FloatArray, IntArray, matlab_round
from extractors.acoustic_covarep.transforms import irfft, rfft

ROWS = 256  # frames worked on at a time: more leave the cache
COEFFICIENTS = 25
TOLERANCE = float(np.log(10 ** (2 / 20)))  # 2 dB, in nepers
MOST_ITERATIONS = 200
OVERSIZE = 1.2  # order of the smoother over the order asked for
EDGE = 0.25  # of an oscillation of the smoother, at DC and Nyquist


def round_up(values: FloatArray) -> IntArray:
    """Round halves up [T] (all values here are positive)."""
    return np.floor(values + 0.5).astype(np.intp)


@lru_cache(maxsize=512)
def quefrency_window(order: int, size: int) -> FloatArray:
    """Half of a Hamming window over quefrencies 0..order, zero up to ``size``."""
    window = np.zeros(size)
    window[: order + 1] = np.hamming(2 * order + 1)[order:]
    return window


def smooth_from_above(log_spectra: FloatArray, orders: IntArray) -> FloatArray:
    """Cepstrally smoothed spectra that cover the peaks (iteration of the true envelope).

    Each round smooths the larger of spectrum and last envelope, until no peak stands out by more
    than 2 dB. The step is lengthened by the share of the cepstrum that lies beyond the order
    (Roebel & Rodet, DAFx 2005, sections 3 and 4).

    Parameters
    ----------
    log_spectra : [T, N / 2 + 1], nepers.
    orders : [T] highest quefrency kept, < N / 2.

    Returns
    -------
    [T, N / 2 + 1] nepers.
    """
    half = log_spectra.shape[1] - 1
    n = 2 * half
    size = int(orders.max(initial=0)) + 1
    window = np.stack([quefrency_window(int(o), size) for o in orders])
    kept = window > 0
    target = raised = log_spectra
    cepstrum = np.zeros((len(orders), size))
    out = np.empty_like(log_spectra)
    rows = np.arange(len(orders))
    for _ in range(MOST_ITERATIONS):
        raw = irfft(raised, n)[:, : half + 1]
        raw[:, 1:half] *= 2
        inner = raw[:, :size]
        inside = np.einsum("tq,tq,tq->t", inner, inner, kept)
        beyond = np.maximum(np.einsum("tq,tq->t", raw, raw) - inside, 0)
        lengthen = 1 + np.sqrt(beyond / np.where(inside > 0, inside, np.inf))
        cepstrum = cepstrum + lengthen[:, None] * window * (inner - cepstrum)
        smooth = rfft(cepstrum, n).real
        out[rows] = smooth
        left = np.flatnonzero((target - smooth).max(axis=1) > TOLERANCE)
        if not len(left):
            break
        raised = np.maximum(raised[left], smooth[left])
        rows, target, cepstrum = rows[left], target[left], cepstrum[left]
        window, kept = window[left], kept[left]
    return out


def true_envelope(log_spectra: FloatArray, f0: FloatArray, rate: int = 16000) -> FloatArray:
    """Envelope through the harmonic peaks of spectra of known f0 (Roebel & Rodet, DAFx 2005).

    Parameters
    ----------
    log_spectra : [T, N / 2 + 1], nepers, from DC to Nyquist.
    f0 : [T] Hz. The cepstral order is half of a period.

    Returns
    -------
    [T, N / 2 + 1] nepers.
    """
    half = log_spectra.shape[1] - 1
    orders = np.minimum(round_up(OVERSIZE * round_up(0.5 * rate / f0)), half - 1)
    # DC and Nyquist have no harmonic on their far side: there a coarser envelope takes the place of
    # the spectrum.
    coarse = np.minimum(round_up(OVERSIZE * round_up(orders / 2)), half - 1)
    rough = smooth_from_above(log_spectra, coarse)
    edge = round_up(EDGE * 2 * half / orders)[:, None]
    bins = np.arange(half + 1)
    at_edge = (bins < edge) | (bins > half - edge)
    return smooth_from_above(np.where(at_edge, rough, log_spectra), orders)


@lru_cache(maxsize=8)
def mel_positions(half: int, rate: int) -> tuple[IntArray, FloatArray]:
    """Bins below, and distances from them, at which a mel axis meets a linear one (DC..Nyquist)."""
    top = np.log1p(rate / 2 / 700)
    hertz = 700 * np.expm1(top * np.arange(half + 1) / half)
    position = np.minimum(hertz / (rate / 2) * half, half)
    below = np.minimum(position.astype(np.intp), half - 1)
    return below, position - below


def mel_cepstrum(
    log_envelope: FloatArray, count: int = COEFFICIENTS, rate: int = 16000
) -> FloatArray:
    """Cepstrum of an envelope on a mel axis: mel = 1127 ln(1 + f / 700).

    Parameters
    ----------
    log_envelope : [T, N / 2 + 1] nepers.

    Returns
    -------
    [T, count] nepers; coefficients from 1 on are doubled (one-sided).
    """
    half = log_envelope.shape[1] - 1
    below, part = mel_positions(half, rate)
    cepstrum = np.empty((len(log_envelope), count))
    for first in range(0, len(log_envelope), ROWS):
        rows = slice(first, first + ROWS)
        magnitude = np.exp(log_envelope[rows])
        warped = magnitude[:, below] * (1 - part) + magnitude[:, below + 1] * part
        cepstrum[rows] = irfft(np.log(np.maximum(warped, 1e-300)), 2 * half)[:, :count]
    cepstrum[:, 1:] *= 2
    return cepstrum


def spread_evenly(count: int, n: int) -> IntArray:
    """Samples (from 0) at which COVAREP places ``count`` MCEP frames of a file of ``n`` samples.

    From the first to the last sample, though the frames cover only 50 ms .. n - 50 ms: the track is
    stretched by up to 50 ms at the ends of the file.
    """
    return np.floor(np.linspace(1, n, count) + 0.5).astype(np.intp) - 1


def envelope_order(f0: float, rate: int = 16000) -> int:
    """Cepstral order of the envelope at one f0."""
    return matlab_round(OVERSIZE * matlab_round(0.5 * rate / f0))
