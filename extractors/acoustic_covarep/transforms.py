"""Fourier transforms of many rows whose result for a row does not depend on the other rows.

The library transforms several rows in one go and the rest one by one, which may differ in the last
bit. Frames without energy at high frequencies (from recordings at 8 kHz) are so ill conditioned
that the last bit shows. Rows are therefore filled up to whole goes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

ROWS = 8  # float64 values in the widest vector register
LONG = 4096  # values; longer rows are few and go one by one


def fill_up(x: NDArray[Any]) -> NDArray[Any]:
    """Rows [B, L] with rows of zeros after them up to a multiple of ``ROWS``."""
    missing = -len(x) % ROWS
    return np.concatenate([x, np.zeros((missing, x.shape[1]), x.dtype)]) if missing else x


def rfft(x: NDArray[np.floating], n: int | None = None) -> NDArray[np.complexfloating]:
    """`scipy.fft.rfft` of rows [B, L]."""
    if x.shape[1] > LONG:
        return np.concatenate([scipy.fft.rfft(row[None], n) for row in x])
    return scipy.fft.rfft(fill_up(x), n)[: len(x)]


def irfft(x: NDArray[Any], n: int | None = None) -> NDArray[np.floating]:
    """`scipy.fft.irfft` of rows [B, L]."""
    if x.shape[1] > LONG // 2 + 1:
        return np.concatenate([scipy.fft.irfft(row[None], n) for row in x])
    return scipy.fft.irfft(fill_up(x), n)[: len(x)]
