"""Word boundaries moved to where the sound changes.

A hidden Markov model places a boundary on its 10 ms grid and where its phone models meet, which is
10-15 ms away from where a person would put the cursor. People cut where the spectrum changes, so
each boundary is moved, within the spread of the model's own error, to the moment at which the
spectra of the 10 ms before and the 10 ms after differ most (the spectral-variation function of
Brugnara, Falavigna & Omologo, "Automatic segmentation and labeling of speech based on hidden Markov
models", Speech Communication 12, 1993).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from extractors.mapped import forget_pages

WINDOW = 0.005  # s, of one short-time spectrum; a change is seen no sharper than that
HOP = 0.001  # s
SIDE = 0.010  # s on either side of a boundary whose mean spectra are compared
SPREAD = 0.010  # s, standard deviation of the aligner's error: one of its frames
REACH = 3 * SPREAD
BANDS = 26
FLOOR = 1e-7  # of the loudest band: 70 dB below it all is silence


def refine_boundaries(
    samples: NDArray[np.float32], rate: int, times: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Move each boundary to the strongest spectral change near it.

    Parameters
    ----------
    samples : float32 [n], mono.
    rate : Hz.
    times : float64 [B], seconds from the first sample.

    Returns
    -------
    float64 [B], each within ``REACH`` of its input. A boundary too near to the ends of the sound to
    have both sides stays.
    """
    refined = np.array(times, dtype=np.float64)
    reach = REACH + SIDE + WINDOW
    loudest = _loudest(samples, rate)
    for number, time in enumerate(times):
        first = max(0, int((time - reach) * rate))
        bit = samples[first : int((time + reach) * rate)]
        if number % 1000 == 999:
            forget_pages(samples)
        spectra, centres = _log_spectra(bit, rate, loudest)
        side = round(SIDE / HOP)
        if len(spectra) <= 2 * side:
            continue
        summed = np.vstack([np.zeros(BANDS), np.cumsum(spectra, axis=0)])
        split = np.arange(side, len(spectra) - side + 1)  # the boundary lies before this frame
        before = (summed[split] - summed[split - side]) / side
        after = (summed[split + side] - summed[split]) / side
        change = np.linalg.norm(after - before, axis=1)
        moved = first / rate + centres[split - 1] + HOP / 2 - time
        change *= np.exp(-(moved**2) / (2 * SPREAD**2))
        change[np.abs(moved) > REACH] = -1.0
        best = int(np.argmax(change))
        if change[best] > 0:
            refined[number] = time + moved[best]
    return refined


def _log_spectra(
    samples: NDArray[np.float32], rate: int, loudest: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mel spectra in dB [F, BANDS] every ``HOP`` and their centres [F] in s."""
    length, hop = round(WINDOW * rate), round(HOP * rate)
    if len(samples) < length:
        return np.zeros((0, BANDS)), np.zeros(0)
    frames = np.lib.stride_tricks.sliding_window_view(samples, length)[::hop]
    power = _band_powers(frames, rate)
    return 10 * np.log10(power + FLOOR * loudest), np.arange(len(frames)) * hop / rate + WINDOW / 2


def _band_powers(frames: NDArray[np.float32], rate: int) -> NDArray[np.float64]:
    length = frames.shape[1]
    fft = 1 << (length - 1).bit_length()
    spectrum = np.abs(np.fft.rfft(frames * np.hanning(length), fft)) ** 2
    return spectrum @ _mel_filters(rate, fft)


def _loudest(samples: NDArray[np.float32], rate: int) -> float:
    """The largest band power of the whole sound, from windows side by side."""
    length = round(WINDOW * rate)
    block = 4000 * length  # 20 s at a time, so that an hour needs no more memory than a minute
    loudest = 0.0
    for first in range(0, len(samples) - length + 1, block):
        bit = samples[first : first + block]
        frames = bit[: len(bit) // length * length].reshape(-1, length)
        loudest = max(loudest, float(_band_powers(frames, rate).max(initial=0.0)))
        forget_pages(samples)
    return loudest or 1.0


@lru_cache(maxsize=4)
def _mel_filters(rate: int, fft: int) -> NDArray[np.float64]:
    """Triangles [fft // 2 + 1, BANDS] from 100 Hz to 7 kHz (or just below half the rate)."""
    low, high = 100.0, min(7000.0, 0.45 * rate)
    mel = np.linspace(2595 * np.log10(1 + low / 700), 2595 * np.log10(1 + high / 700), BANDS + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    bins = np.fft.rfftfreq(fft, 1 / rate)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(0.0, np.minimum(rising, falling))
