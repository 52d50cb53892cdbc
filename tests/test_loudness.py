"""Levels and clipping of signals for which they are known."""

from __future__ import annotations

import numpy as np
import pytest

from extractors.loudness import BLOCK, FLOOR, measure_level

RATE = 16000


def make_sine(seconds: float, peak: float) -> np.ndarray:
    # 500 Hz: a whole number of periods in 20 ms
    return (peak * np.sin(2 * np.pi * 500 * np.arange(int(seconds * RATE)) / RATE)).astype("f4")


@pytest.mark.parametrize("peak", [0.9, 0.1, 0.001])
def test_a_sine_is_3_db_below_its_peak(peak):
    level, clipped = measure_level(make_sine(2, peak), RATE)
    assert level == pytest.approx(20 * np.log10(peak) - 10 * np.log10(2), abs=0.01)
    assert clipped == 0


def test_the_level_is_that_of_the_loud_parts():
    pauses = np.concatenate([make_sine(2, 0.1), np.zeros(8 * RATE, np.float32)])
    assert measure_level(pauses, RATE)[0] == pytest.approx(-23.01, abs=0.01)


def test_silence_and_nothing_have_the_lowest_level():
    for samples in (np.zeros(RATE, np.float32), np.zeros(0, np.float32), np.zeros(5, np.float32)):
        assert measure_level(samples, RATE) == (pytest.approx(FLOOR), 0.0)


def test_clipped_samples_are_counted_in_every_block():
    samples = np.zeros(3 * BLOCK + 17, np.float32)
    places = [0, BLOCK - 1, BLOCK, 2 * BLOCK + 5, len(samples) - 1]
    samples[places] = [1, -1, 1.3, -0.96, 0.951]
    samples[7] = 0.94
    assert measure_level(samples, RATE)[1] == pytest.approx(5 / len(samples))


def test_a_sine_that_was_cut_off_is_clipped():
    """|sin| is above 1/2 for two thirds of its period."""
    clipped = measure_level(np.clip(make_sine(1, 2.0), -1, 1), RATE)[1]
    assert clipped == pytest.approx(2 / 3, abs=0.05)
