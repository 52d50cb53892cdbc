"""Freed memory goes back to the system."""

from __future__ import annotations

import sys

import numpy as np
import psutil
import pytest

from pipeline.memory import available_memory, release_memory

MEGABYTE = 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="other C libraries keep their own counsel")
def test_what_was_freed_is_handed_back():
    process = psutil.Process()
    # Pieces too small to be mapped one by one, with every hundredth kept, so that the heap's end
    # cannot simply be cut off.
    pieces = [np.ones(2000) for _ in range(20000)]  # 320 MB
    kept = pieces[::100]
    full = process.memory_info().rss
    del pieces
    release_memory()
    assert full - process.memory_info().rss > 200 * MEGABYTE
    assert sum(piece[0] for piece in kept) == 200


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody says so")
def test_what_can_be_had_is_what_the_system_says():
    assert available_memory() == pytest.approx(psutil.virtual_memory().available, rel=0.2)
