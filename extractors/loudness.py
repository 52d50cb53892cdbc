"""How loud a recording is, and where it is quiet. Mapped recordings are read piece by piece."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from extractors.mapped import forget_pages

BLOCK = 1 << 20  # samples looked at together
STEP = 0.010  # s between the moments that are compared
WIDTH = 20  # steps whose mean power is compared
FULL = 0.95  # of full scale. Lossy codecs and resampling leave what was clipped a little below it
FRAME = 0.020  # s, of which the level is taken
LOUD = 0.95  # of the frames are not louder than the level: it is that of speech, not of its pauses
FLOOR = -120.0  # dB, of silence


def find_peak(samples: NDArray[np.float32]) -> float:
    """The largest magnitude; 0 where there are no samples."""
    peak = 0.0
    for first in range(0, len(samples), BLOCK):
        peak = max(peak, float(np.abs(samples[first : first + BLOCK]).max()))
        forget_pages(samples)
    return peak


def measure_level(samples: NDArray[np.float32], rate: int) -> tuple[float, float]:
    """How loud the loud parts are, and how much of the sound is clipped.

    Returns
    -------
    Their mean power in dB, where a square wave at full scale has 0; and the share of samples at
    full scale, 0..1.
    """
    size = round(FRAME * rate)
    clipped, powers = 0, []
    for first in range(0, len(samples), BLOCK // size * size):
        block = samples[first : first + BLOCK // size * size]
        clipped += int(np.count_nonzero(np.abs(block) >= FULL))
        whole = block[: len(block) // size * size].reshape(-1, size)
        powers.append(np.einsum("ij,ij->i", whole, whole) / size)
        forget_pages(samples)
    power = float(np.quantile(np.concatenate(powers), LOUD)) if any(map(len, powers)) else 0.0
    level = 10 * np.log10(max(power, 10 ** (FLOOR / 10)))
    return float(level), clipped / max(len(samples), 1)


def find_quiet(samples: NDArray[np.float32], rate: int, start: float, end: float) -> float:
    """The middle of the quietest 0.2 s between two times (s)."""
    hop = round(STEP * rate)
    bit = samples[round(start * rate) : round(end * rate)]
    power = (bit[: len(bit) // hop * hop].astype(np.float64) ** 2).reshape(-1, hop).mean(axis=1)
    smooth = np.convolve(power, np.ones(WIDTH), mode="valid")
    return start + (int(np.argmin(smooth)) + WIDTH / 2) * STEP
