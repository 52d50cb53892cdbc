"""Closure instants: planted pulses, and the steps of SEDREAMS against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from extractors.acoustic_covarep.gci import (
    find_extrema,
    keep_voiced,
    mean_based_signal,
    pair_extrema,
    place_in_cycle,
    search_intervals,
    sedreams,
    strongest_sample,
)
from tests.covarep_signals import RATE, vowel


@pytest.mark.parametrize("f0", [90.0, 130.0, 210.0])
def test_planted_instants(f0):
    samples, planted = vowel(f0, 1.5)
    found = sedreams(samples, f0)
    inner = planted[(planted > 1600) & (planted < len(samples) - 1600)]
    distance = np.abs(found[:, None] - inner).min(axis=0)
    assert (distance <= 2).mean() > 0.98
    near = found[(found > 1600) & (found < len(samples) - 1600)]
    assert abs(len(near) - len(inner)) <= 2


def test_mean_based_signal_is_one_oscillation_a_cycle():
    samples, _ = vowel(125.0, 1.0)
    minima, maxima = find_extrema(mean_based_signal(samples, 125.0, RATE))
    inner = minima[(minima > 3000) & (minima < 13000)]
    np.testing.assert_allclose(np.diff(inner), 128, atol=8)
    assert abs(len(minima) - len(maxima)) <= 1
    assert not mean_based_signal(np.ones(50), 125.0, RATE).any()


def test_extrema_are_strict():
    minima, maxima = find_extrema(np.array([0, 1, 0, -1, 0, 0, 1, 1, 0, -2, 3.0]))
    assert minima.tolist() == [3, 9]
    assert maxima.tolist() == [1]


def test_pairs_are_a_minimum_and_the_next_maximum():
    minima, maxima = pair_extrema(np.array([5, 20, 30, 50]), np.array([2, 10, 25, 26, 40]))
    assert minima.tolist() == [5, 20, 30]
    assert maxima.tolist() == [10, 25, 40]
    minima, _ = pair_extrema(np.array([5, 7]), np.array([9]))  # 5 has none of its own
    assert minima.tolist() == [7]
    assert pair_extrema(np.zeros(0, int), np.array([3]))[0].tolist() == []
    assert pair_extrema(np.array([3]), np.zeros(0, int))[0].tolist() == []


def test_place_is_taken_in_the_cycle_of_the_nearest_minimum():
    minima, maxima = np.array([0, 100, 200]), np.array([50, 150, 250])
    strong = np.array([10, 90, 110, 140, 151])
    expected = []
    for p in strong:
        k = int(np.argmin(np.abs(minima - p)))
        expected.append((p - minima[k]) / (maxima[k] - minima[k]))
    assert place_in_cycle(strong, minima, maxima) == pytest.approx(np.median(expected))
    assert np.isnan(place_in_cycle(np.zeros(0, int), minima, maxima))
    assert place_in_cycle(np.array([5]), np.array([0]), np.array([50])) == pytest.approx(0.1)


def test_intervals_stay_inside_of_the_file():
    first, last = search_intervals(np.array([0, 100, 190]), np.array([50, 150, 240]), 0.25, 200)
    assert first.tolist() == [0, 95, 185]
    assert last.tolist() == [30, 130, 199]


def test_strongest_sample_of_each_interval():
    residual = np.random.default_rng(0).normal(size=300)
    first, last = np.array([0, 40, 250]), np.array([30, 40, 299])
    expected = [a + int(np.argmax(residual[a : b + 1])) for a, b in zip(first, last, strict=True)]
    assert strongest_sample(residual, first, last).tolist() == expected
    assert strongest_sample(residual, first[:0], last[:0]).tolist() == []


def test_only_voiced_instants_stay():
    times = np.array([0.05, 0.06, 0.07])  # samples 800, 960, 1120
    voiced = np.array([True, True, False])
    kept = keep_voiced(np.array([0, 700, 800, 900, 1040, 1041, 1120]), times, voiced, RATE)
    assert kept.tolist() == [800, 900, 1040]
    assert len(keep_voiced(np.array([5]), times[:0], voiced[:0], RATE)) == 0


def test_silence_and_short_signals_have_none():
    assert len(sedreams(np.zeros(5000), 100.0)) == 0
    assert len(sedreams(np.ones(20), 100.0)) == 0
