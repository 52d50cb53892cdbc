"""How many processor threads torch may take: as many as help."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def few_threads(threads: int) -> Iterator[None]:
    """Let torch work on so many threads. Left alone it takes all cores, and where others use them
    too, its threads spend their time waiting for each other (ten times the work)."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
