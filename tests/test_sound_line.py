"""Blocks laid in time: each where it belongs, silence between them, first come stays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.sound_line import SoundLine

blocks = st.lists(st.tuples(st.integers(-50, 400), st.integers(0, 60)), max_size=12)


@given(blocks)
@settings(max_examples=150)
@pytest.mark.parametrize("kept", ["memory", "file"])
def test_laying_agrees_with_a_plain_loop(tmp_path_factory, kept, laid):
    path = tmp_path_factory.mktemp("line") / "sound.f32" if kept == "file" else None
    expected: list[float] = []
    with SoundLine(path) as line:
        for number, (position, length) in enumerate(laid, 1):
            block = np.full(length, number, np.float32)
            line.lay(position, block)
            for place, sample in enumerate(block, position):
                if place >= len(expected):
                    expected += [0.0] * (place - len(expected)) + [sample]
    assert line.end == len(expected)
    if expected:
        assert line.samples.tolist() == expected
