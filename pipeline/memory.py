"""Memory that was freed goes back to the system.

The C library keeps what was freed for later, in a heap for each few threads. A process would stay
as large as its largest moment was, while others of the same clip reach theirs. What is done here is
done where the C library can (glibc).
"""

from __future__ import annotations

import ctypes
import gc
import os
from pathlib import Path

from pipeline.errors import DatasetError

M_ARENA_MAX = -8  # of mallopt


def share_one_heap() -> None:
    """One heap for all threads; to be said before there are any.

    A hundred megabytes less for three minutes of speech, and no slower: the threads of one clip
    seldom allocate at the same time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 1)


def available_memory() -> float:
    """Bytes that can be had without taking them from others; infinite where nobody says so."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return float("inf")
    found = {name: rest for name, _, rest in (line.partition(":") for line in lines)}
    return 1024.0 * int(found["MemAvailable"].split()[0])


def find_memory() -> float:
    """Bytes that this process may use: the machine's, or its container's if that has fewer."""
    total = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            return min(total, float(Path(limit).read_text()))
        except (OSError, ValueError):  # no such limit, or "max"
            continue
    return total


def refuse_bomb(size: int, where: object, what: str = "") -> None:
    """See that what a file says it holds can be held, before it is read: a small file can say that
    it holds anything.

    Raises
    ------
    DatasetError : it would take more than half of this machine's memory.
    """
    whole = find_memory()
    if size > whole / 2:
        raise DatasetError(
            f"{where}: {what}says that it holds {size / 1e9:.3g} GB, which is more than half of "
            f"this machine's memory ({whole / 1e9:.3g} GB); it is not read"
        )


def release_memory() -> None:
    """Hand freed memory back."""
    import pyarrow as pa  # half a second that a command's help can do without

    gc.collect()
    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
