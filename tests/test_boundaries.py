"""Boundaries go to planted changes of the spectrum, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from extractors.boundaries import REACH, WINDOW, refine_boundaries

RATE = 16000


def tones(change_at, seconds=0.6):
    t = np.arange(int(seconds * RATE)) / RATE
    low, high = np.sin(2 * np.pi * 300 * t), np.sin(2 * np.pi * 2500 * t)
    return np.where(t < change_at, low, high).astype(np.float32)


@pytest.mark.parametrize("error", [-0.02, -0.008, 0.0, 0.011, 0.02])
def test_a_boundary_finds_the_change_near_it(error):
    found = refine_boundaries(tones(0.3), RATE, np.array([0.3 + error]))
    # As sharp as a spectrum is long.
    assert found[0] == pytest.approx(0.3, abs=WINDOW + 0.001)


def test_a_change_out_of_reach_is_left_alone():
    found = refine_boundaries(tones(0.3), RATE, np.array([0.15]))
    assert abs(found[0] - 0.15) <= REACH


def test_loudness_does_not_matter():
    times = np.array([0.29, 0.31])
    expected = refine_boundaries(tones(0.3), RATE, times)
    np.testing.assert_allclose(refine_boundaries(tones(0.3) * 1e-3, RATE, times), expected)


@pytest.mark.parametrize("samples", [np.zeros(9600), np.zeros(100), np.zeros(0)])
def test_nothing_changes_in_silence_or_at_the_ends(samples):
    times = np.array([0.0, 0.002, 0.59])
    found = refine_boundaries(samples.astype(np.float32), RATE, times)
    np.testing.assert_array_equal(found, times)
