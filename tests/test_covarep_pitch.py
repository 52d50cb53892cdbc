"""Polarity, pitch and voicing: planted pitch, and SRH against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import skew

from extractors.acoustic_covarep.pitch import (
    F0_MAX,
    F0_MIN,
    Pitch,
    count_frames,
    find_polarity,
    frame_times,
    harmonic_sums,
    narrower_range,
    silent_frames,
    skewness,
    srh_pitch,
    sums_of_powers,
    voicing,
)
from extractors.acoustic_covarep.prediction import lp_residual, matlab_round
from tests.covarep_signals import RATE, glottal_voice, phrase, vowel


@pytest.mark.parametrize("f0", [80.0, 100.0, 160.0, 200.0, 320.0, 400.0])
def test_planted_pitch(f0):
    track = srh_pitch(vowel(f0, 1.0)[0])
    assert track.voiced.all()
    # f0 is looked up 1 Hz low, as in COVAREP: up to 1 Hz too high, and whole.
    np.testing.assert_allclose(track.f0, f0, atol=2.5)
    assert track.median == pytest.approx(f0, abs=2.5)


def test_noise_is_unvoiced():
    track = srh_pitch(np.random.default_rng(0).normal(0, 0.1, 2 * RATE))
    assert track.voiced.mean() < 0.1


def test_times_are_frame_centres_one_sample_late():
    np.testing.assert_allclose(frame_times(3, RATE), [0.05, 0.06, 0.07])
    assert count_frames(1599, RATE) == 1
    assert count_frames(1598, RATE) == 0
    assert count_frames(1599 + 160, RATE) == 2


def test_harmonic_sums_against_the_definition():
    residual = lp_residual(phrase(0.6), 12, RATE)
    chosen = np.array([3, 17, 30])
    f0, strength = harmonic_sums(residual, RATE, 60, 300, chosen)
    for k, got_f0, got_strength in zip(chosen, f0, strength, strict=True):
        frame = residual[160 * k : 160 * k + 1598] * np.blackman(1598)
        frame -= frame.mean()
        spectrum = np.abs(np.fft.fft(frame, RATE))[: RATE // 2]
        spectrum /= np.sqrt((spectrum**2).sum())
        sums = {}
        for f in range(60, 301):
            sums[f] = sum(spectrum[h * f - 1] for h in range(1, 6))
            sums[f] -= sum(spectrum[matlab_round((h + 0.5) * f) - 1] for h in range(1, 5))
        best = max(sums, key=lambda f: sums[f])
        assert (got_f0, got_strength) == (best, pytest.approx(sums[best]))


def test_silence_speaks_for_no_pitch():
    f0, strength = harmonic_sums(np.zeros(4000), RATE, F0_MIN, F0_MAX, np.arange(5))
    assert (f0 == 1).all()
    assert not strength.any()


def test_frames_that_touch_digital_silence():
    x = np.random.default_rng(1).normal(0, 0.1, 16000)
    assert not silent_frames(x, RATE).any()
    x[8000:8500] = 0  # residual frames 8000 and 8080 lie inside
    expected = [
        k for k in range(count_frames(16000, RATE)) if 160 * k < 8481 and 160 * k + 1598 > 8000
    ]
    np.testing.assert_array_equal(np.flatnonzero(silent_frames(x, RATE)), expected)


def test_range_narrows_around_the_median():
    f0, strength = np.array([100.0, 110.0, 120.0, 480.0]), np.array([0.2, 0.2, 0.2, 0.05])
    assert narrower_range(f0, strength) == (55, 220)
    assert narrower_range(f0, np.zeros(4)) == (50, 500)
    assert narrower_range(np.array([61.0]), np.array([0.2])) == (50, 122)


def test_voicing_threshold_depends_on_the_spread():
    steady = np.full(50, 0.08)
    assert voicing(steady).all()
    moving = np.r_[steady, np.linspace(0, 0.3, 50)]
    assert not voicing(moving)[:50].any()
    assert voicing(np.zeros(0)).shape == (0,)


def test_median_of_voiced_frames_inside_of_the_range():
    track = Pitch(
        np.arange(4.0),
        np.array([50.0, 100.0, 200.0, 300.0]),
        np.ones(4),
        np.array([1, 1, 1, 0], bool),
    )
    assert track.median == 150
    silent = Pitch(np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0, bool))
    assert np.isnan(silent.median)


@pytest.mark.parametrize("open_share", [0.4, 0.6, 0.8])
@pytest.mark.parametrize("f0", [90.0, 150.0, 240.0])
def test_polarity(f0, open_share):
    voice = glottal_voice(f0, 1.0, open_share)
    assert find_polarity(voice) == 1
    assert find_polarity(-voice) == -1


def test_polarity_of_nothing():
    assert find_polarity(np.zeros(0)) == 1
    assert find_polarity(np.zeros(5000)) == 1


def test_skewness_from_sums():
    x = np.random.default_rng(2).gamma(2, size=5000)
    sums = sums_of_powers(x[:1000]) + sums_of_powers(x[1000:])
    assert skewness(sums) == pytest.approx(skew(x))
    assert skewness(np.zeros(4)) == 0
