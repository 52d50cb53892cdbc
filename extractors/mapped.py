"""Arrays that lie in files: hours of sound and of measurements cost no memory.

A mapped array looks like any other, and what is touched of it is read from the disk. What was
touched counts as memory of the process until it is forgotten.
"""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LARGE = 1 << 22  # bytes; what is smaller is not worth a file


def map_samples(path: Path) -> NDArray[np.float32]:
    """The float32 samples [n] of a raw file, read only.

    Raises
    ------
    ValueError : the file is empty.
    """
    return np.asarray(np.memmap(path, np.float32, mode="r"))


def make_rows(*shape: int) -> NDArray[np.float32]:
    """Room for float32 values, all 0: in a temporary file without a name if it is large.

    The file's room on the disk is taken at once and given back with the last array that uses it.

    Raises
    ------
    OSError : the disk is full.
    """
    size = 4 * math.prod(shape)
    # Writing to a mapped file that has no room on the disk would end the process.
    if size < LARGE or not hasattr(os, "posix_fallocate"):
        return np.zeros(shape, np.float32)
    with tempfile.TemporaryFile(prefix="rmfn-") as file:
        os.posix_fallocate(file.fileno(), 0, size)
        return np.asarray(np.memmap(file, np.float32, mode="r+", shape=shape))


def forget_pages(values: NDArray) -> None:
    """Give back the memory of a mapped array; what is needed again is read from its file again.

    Other arrays are left as they are.
    """
    owner: object = values
    while isinstance(owner, np.ndarray):
        owner = owner.base
    # Not every system has the call; the pages then stay until the array goes.
    if isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        owner.madvise(mmap.MADV_DONTNEED)
