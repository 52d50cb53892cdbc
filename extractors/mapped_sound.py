"""Sound that stays in a file: hours of it cost no memory.

The file is mapped: its samples look like an array, and what is touched of them is read from the
disk. What was touched counts as memory of the process until it is forgotten.
"""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def map_samples(path: Path) -> NDArray[np.float32]:
    """The float32 samples [n] of a raw file, read only.

    Raises
    ------
    ValueError : the file is empty.
    """
    return np.asarray(np.memmap(path, np.float32, mode="r"))


def forget_pages(samples: NDArray[np.float32]) -> None:
    """Give back what was read of a mapped file; it is read again where it is needed again.

    Other arrays are left as they are.
    """
    owner: object = samples
    while isinstance(owner, np.ndarray):
        owner = owner.base
    # Not every system has the call; the pages then stay until the file is closed.
    if isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        owner.madvise(mmap.MADV_DONTNEED)
