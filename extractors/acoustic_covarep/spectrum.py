"""Octave bands of a wavelet, and the two measures taken from them: MDQ and peakSlope."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.fft import irfft, rfft

from extractors.acoustic_covarep.glottal import similar_lengths
from extractors.acoustic_covarep.prediction import FloatArray, IntArray, matlab_round

SUPPORT = 8  # standard deviations of the Gauss bell that count: 1e-14 of its peak is left out
LONGEST = 1000  # samples, where COVAREP cuts a wavelet at the latest
FFT = 8192
MARGIN = SUPPORT * 2**6  # samples to both sides of the largest wavelet
STEP = 7040  # samples transformed at a time, a multiple of 10 ms; STEP + 2 MARGIN <= FFT
MDQ_BANDS = (2, 3, 4, 5, 6)
SLOPE_BANDS = (0, 1, 2, 3, 4, 5, 6)
SLOPE_FRAME, SLOPE_HOP = 0.040, 0.010  # seconds


@lru_cache(maxsize=8)
def wavelet_spectra(bands: tuple[int, ...]) -> FloatArray:
    """Spectra [bands, FFT / 2 + 1] of the wavelets, centred on sample 0 (so they are real).

    ``h_i(t) = -cos(pi t / 2^i) exp(-(t / 2^i)^2 / 2)``, t in samples: band i lies at rate / 2^(i+1)
    (Kane & Gobl, IEEE TASLP 21(6), 2013, eq. 1).
    """
    t = np.arange(-LONGEST, LONGEST + 1)
    rows = []
    for band in bands:
        u = t / 2**band
        h = -np.cos(np.pi * u) * np.exp(-(u**2) / 2)
        rows.append(rfft(np.r_[h[LONGEST:], np.zeros(FFT - len(h)), h[:LONGEST]]).real)
    return np.array(rows)


def needed_span(first: int, last: int) -> tuple[int, int]:
    """Samples to read (they may lie outside of the file) for the bands of first .. last - 1.

    Whole steps are transformed, counted from the start of the file: then a sample's value is the
    same to the last bit, whatever is asked for beside it.
    """
    lead = -(-MARGIN // 160) * 160  # whole frames of peakSlope
    return first // STEP * STEP - lead, -(-last // STEP) * STEP + MARGIN


def wavelet_bands(x: FloatArray, bands: tuple[int, ...], first: int = 0) -> FloatArray:
    """Wavelet transform [len(bands), n] of a signal [n], taken as zero outside.

    Parameters
    ----------
    x : [n], the samples from ``first`` of a file on.
    bands : numbers, 6 at most.
    """
    lead = first % STEP
    count = -(-(lead + len(x)) // STEP)
    padded = np.zeros(count * STEP + 2 * MARGIN)
    padded[MARGIN + lead : MARGIN + lead + len(x)] = x
    out = np.empty((len(bands), count * STEP))
    spectra = wavelet_spectra(bands)
    for i in range(count):
        start = i * STEP
        piece = irfft(rfft(padded[start : start + STEP + 2 * MARGIN], FFT) * spectra, FFT)
        out[:, start : start + STEP] = piece[:, MARGIN : MARGIN + STEP]
    return out[:, lead : lead + len(x)]


def maxima_dispersion(
    residual: FloatArray, gci: IntArray, periods: IntArray, first: int, n: int
) -> FloatArray:
    """Maxima dispersion quotient [G] (Kane & Gobl, IEEE TASLP 21(6), 2013), without unit.

    How far, on average over five octaves of the LP residual, the maximum lies from the closure
    instant, over the period. Tense voice has its maxima together (small), breathy voice apart. The
    distance is COVAREP's: 1 where the maximum is exactly at the instant.

    Parameters
    ----------
    residual : [m], the samples first .. first + m - 1 of the file.
    gci : [G] instants, samples of the file; their search range (a fifth of a period on both sides)
        must lie inside of ``residual``.
    periods : [G] samples.
    n : samples of the file. An instant within a period of its ends gets 0.
    """
    out = np.zeros(len(gci))
    bands = wavelet_bands(residual, MDQ_BANDS, first)
    reach = np.floor(0.2 * periods + 0.5).astype(np.intp)
    measured = np.flatnonzero((gci - periods >= 0) & (gci + periods < n) & (reach > 0))
    for _, group in similar_lengths(reach[measured]):
        chosen = measured[group]
        s = reach[chosen][:, None]
        offsets = np.arange(2 * s.max() + 1)
        at = np.clip(gci[chosen][:, None] - first - s + offsets, 0, len(residual) - 1)
        values = np.where(offsets <= 2 * s, bands[:, at], -np.inf)
        distance = np.abs(s[:, 0] - (values.argmax(axis=2) + 1))
        out[chosen] = distance.mean(axis=0) / periods[chosen]
    return out


def peak_slope(x: FloatArray, rate: int = 16000, first: int = 0) -> FloatArray:
    """Slope of the wavelet maxima over seven octaves (Kane & Gobl, Interspeech 2011).

    Parameters
    ----------
    x : [n] speech, frame k starts at sample k * 10 ms and is 40 ms long.
    first : where ``x`` starts in its file.

    Returns
    -------
    [T] : decades an octave, more negative for lax voice; 0 where a band is silent.
    """
    size, hop = matlab_round(SLOPE_FRAME * rate), matlab_round(SLOPE_HOP * rate)
    count = max(0, (len(x) - size) // hop + 1)
    if not count:
        return np.zeros(0)
    pieces = -(-size // hop)
    magnitude = np.abs(wavelet_bands(x, SLOPE_BANDS, first))[:, : (count + pieces - 1) * hop]
    of_hops = magnitude.reshape(len(SLOPE_BANDS), -1, hop).max(axis=2)
    peaks = np.max([of_hops[:, i : i + count] for i in range(pieces)], axis=0)
    abscissa = np.arange(len(SLOPE_BANDS)) - (len(SLOPE_BANDS) - 1) / 2
    # What the wavelets bring from afar into digital silence is rounding, not sound.
    sounding = np.r_[np.zeros(SUPPORT + 1), np.cumsum(x != 0)]
    sounding = np.r_[sounding, np.full(SUPPORT, sounding[-1])]
    starts = np.arange(count) * hop
    silent = sounding[starts + size + 2 * SUPPORT] == sounding[starts]
    silent |= (peaks <= 0).any(axis=0)
    level = np.log10(np.where(silent, 1, peaks))[::-1]  # from low to high frequency
    return np.where(silent, 0, abscissa @ level / (abscissa @ abscissa))
