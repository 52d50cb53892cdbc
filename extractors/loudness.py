"""How loud a recording is, and where it is quiet. Mapped recordings are read piece by piece."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from extractors.mapped_sound import forget_pages

BLOCK = 1 << 20  # samples looked at together
STEP = 0.010  # s between the moments that are compared
WIDTH = 20  # steps whose mean power is compared


def find_peak(samples: NDArray[np.float32]) -> float:
    """The largest magnitude; 0 where there are no samples."""
    peak = 0.0
    for first in range(0, len(samples), BLOCK):
        peak = max(peak, float(np.abs(samples[first : first + BLOCK]).max()))
        forget_pages(samples)
    return peak


def find_quiet(samples: NDArray[np.float32], rate: int, start: float, end: float) -> float:
    """The middle of the quietest 0.2 s between two times (s)."""
    hop = round(STEP * rate)
    bit = samples[round(start * rate) : round(end * rate)]
    power = (bit[: len(bit) // hop * hop].astype(np.float64) ** 2).reshape(-1, hop).mean(axis=1)
    smooth = np.convolve(power, np.ones(WIDTH), mode="valid")
    return start + (int(np.argmin(smooth)) + WIDTH / 2) * STEP
