"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("RMFN_SHARED", ROOT.parent / "shared"))


def shared(name: str) -> Path:
    """A file of the developers' shared data; the test skips where that folder is absent."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{name} is not at {SHARED} (set RMFN_SHARED)")
    return path
