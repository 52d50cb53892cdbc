"""Linear prediction over many frames at once: predictors, inverse filters, residuals."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.fft import next_fast_len

from extractors.acoustic_covarep.transforms import irfft, rfft

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.intp]

FRAME = 0.025  # seconds; LP residual frames
HOP = 0.005
BATCH = 256  # frames at a time: more leave the cache


def matlab_round(value: float) -> int:
    """Round half away from zero (numpy and Python round half to even)."""
    return int(np.sign(value) * np.floor(abs(value) + 0.5))


def matlab_hanning(n: int) -> FloatArray:
    """Hann window [n] without the zeros at its ends: 0.5 (1 - cos(2 pi k / (n + 1))), k = 1..n."""
    return 0.5 * (1 - np.cos(2 * np.pi * np.arange(1, n + 1) / (n + 1)))


def solve_levinson(r: FloatArray) -> FloatArray:
    """Predictor polynomials from autocorrelations (Levinson-Durbin recursion).

    Parameters
    ----------
    r : [B, p + 1], lags 0..p.

    Returns
    -------
    [B, p + 1] : 1, a_1 .. a_p. A row without energy gives 1, 0 .. 0.
    """
    order = r.shape[1] - 1
    a = np.zeros_like(r)
    a[:, 0] = 1
    dead = r[:, 0] <= 0
    error = np.where(dead, 1.0, r[:, 0])
    for i in range(1, order + 1):
        k = -np.einsum("bj,bj->b", a[:, :i], r[:, i:0:-1]) / error
        # A frame predicted to the last bit (a constant, a pure tone) has nothing left to predict.
        k = np.where(dead | (np.abs(k) >= 1), 0.0, k)
        a[:, 1 : i + 1] += k[:, None] * a[:, i - 1 :: -1][:, :i]
        error *= 1 - k * k
    return a


def lpc(frames: FloatArray, order: int) -> FloatArray:
    """Autocorrelation method: frames [B, L] (windowed) -> predictors [B, order + 1]."""
    size = next_fast_len(frames.shape[1] + order + 1, real=True)
    spectrum = rfft(frames, size)
    power = spectrum.real**2 + spectrum.imag**2
    return solve_levinson(irfft(power, size)[:, : order + 1])


def lp_residual(
    x: FloatArray, order: int, rate: int, model: FloatArray | None = None
) -> FloatArray:
    """Residual of linear prediction, overlap-added from windowed frames.

    Frames of 25 ms + 1 sample every 5 ms are windowed, inverse-filtered with their own predictor
    and scaled back to the energy of the windowed frame; the windows are not divided out. COVAREP
    divides the whole residual by its largest magnitude; nothing here depends on its level.

    Parameters
    ----------
    x : [n] signal.
    order : of the predictor.
    rate : samples a second.
    model : [n] signal from which the predictors are taken instead of ``x``.

    Returns
    -------
    [n] : 0 where no frame lies, or where a frame is digital silence.
    """
    size, hop = matlab_round(FRAME * rate), matlab_round(HOP * rate)
    out = np.zeros(len(x))
    # COVAREP starts frames while start + size < n - 1 (0-based).
    count = max(0, -(-(len(x) - 1 - size) // hop))
    if not count:
        return out
    window = matlab_hanning(size + 1)
    length = next_fast_len(size + 2 + order, real=True)
    frames = sliding_window_view(x, size + 1)[: count * hop : hop]
    models = None if model is None else sliding_window_view(model, size + 1)[: count * hop : hop]
    for first in range(0, count, BATCH):
        batch = slice(first, first + BATCH)
        spectrum = rfft(frames[batch] * window, length)
        power = spectrum.real**2 + spectrum.imag**2
        modelled = power
        if models is not None:
            other = rfft(models[batch] * window, length)
            modelled = other.real**2 + other.imag**2
        predictor = solve_levinson(irfft(modelled, length)[:, : order + 1])
        spectrum *= rfft(predictor, length)
        residual = irfft(spectrum, length)[:, : size + 1]
        energy = (2 * power.sum(axis=1) - power[:, 0] - (length % 2 == 0) * power[:, -1]) / length
        left = np.einsum("bl,bl->b", residual, residual)
        residual *= np.sqrt(energy / np.where(left > 0, left, np.inf))[:, None]
        overlap_add(residual, hop, out[first * hop :])
    return out


def overlap_add(frames: FloatArray, hop: int, out: FloatArray) -> None:
    """Add frames [B, L] to ``out`` at 0, hop, 2 hop ..."""
    count, size = frames.shape
    # Oldest frames first, as between two calls: sums do not depend on where a batch ends.
    for first in reversed(range(0, size, hop)):
        piece = frames[:, first : first + hop]
        view = out[first : first + count * hop]
        if len(view) < count * hop:  # the last pieces are shorter than a hop
            whole = len(view) // hop
            view[: whole * hop].reshape(whole, hop)[:, : piece.shape[1]] += piece[:whole]
            for row in range(whole, count):
                start = first + row * hop
                out[start : start + piece.shape[1]] += piece[row]
        else:
            view.reshape(count, hop)[:, : piece.shape[1]] += piece
