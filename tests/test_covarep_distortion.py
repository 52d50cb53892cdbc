"""Phase distortion: filters against scipy's, groups, planted phases, fixed randomness."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import filtfilt, freqz, medfilt

from extractors.acoustic_covarep.distortion import (
    deviation_of_distortion,
    mean_distortion,
    mean_groups,
    median_of_nine,
    moving_sum,
    phase_distortion,
    random_phases,
    smooth_hann,
    smooth_twice,
)
from extractors.acoustic_covarep.sinusoids import Harmonics


@pytest.mark.parametrize("length", [9, 25])
@pytest.mark.parametrize("frames", [80, 200])
def test_moving_mean_is_filtfilt(length, frames):
    values = np.random.default_rng(0).normal(size=(frames, 6))
    expected = filtfilt(np.ones(length) / length, 1, values, axis=0, padlen=3 * (length - 1))
    np.testing.assert_allclose(smooth_twice(values, length), expected, atol=1e-12)


@pytest.mark.parametrize("length", [1, 2, 9, 25])
def test_moving_sum_is_a_convolution_and_does_not_depend_on_the_start(length):
    values = np.random.default_rng(5).normal(size=(90, 3))
    got = moving_sum(values, length)
    expected = np.stack([np.convolve(v, np.ones(length), "valid") for v in values.T], axis=1)
    np.testing.assert_allclose(got, expected, atol=1e-12)
    np.testing.assert_array_equal(moving_sum(values[7:80], length), got[7 : 80 - length + 1])


def test_hann_mean_is_filtfilt():
    values = np.random.default_rng(1).normal(size=(60, 4))
    window = np.hanning(9) / np.hanning(9).sum()
    expected = filtfilt(window, 1, values, axis=0, padlen=24)
    np.testing.assert_allclose(smooth_hann(values, 9), expected, atol=1e-12)


@pytest.mark.parametrize("frames", [1, 3, 8, 40])
def test_median_of_nine_is_medfilt(frames):
    values = np.random.default_rng(2).normal(size=(frames, 5))
    padded = np.pad(values, ((8, 8), (0, 0)))
    np.testing.assert_array_equal(median_of_nine(values), medfilt(padded, (9, 1))[8:-8])


@pytest.mark.parametrize("frames", [1, 2, 5, 20])
def test_few_frames_are_smoothed_too(frames):
    values = np.random.default_rng(3).normal(size=(frames, 3))
    for smoothed in (smooth_twice(values, 25), smooth_hann(values, 9)):
        assert smoothed.shape == values.shape
        assert np.isfinite(smoothed).all()
    np.testing.assert_allclose(smooth_twice(np.ones((frames, 3)), 25), 1)


def test_random_phases_belong_to_their_frame():
    whole = random_phases(0, 1000, 7, seed=5)
    np.testing.assert_array_equal(random_phases(250, 530, 7, seed=5), whole[250:530])
    np.testing.assert_array_equal(random_phases(512, 513, 7, seed=5), whole[512:513])
    assert np.abs(whole).max() <= np.pi
    assert whole.std() == pytest.approx(np.pi / np.sqrt(3), rel=0.05)
    assert (random_phases(0, 10, 7, seed=6) != whole[:10]).all()
    assert random_phases(3, 3, 7, seed=5).shape == (0, 7)


def test_groups_are_means_and_cover_every_bin_once():
    groups = mean_groups()
    assert groups.shape == (512, 25)
    np.testing.assert_allclose(groups.sum(axis=0), 1)
    assert ((groups > 0).sum(axis=1) == 1).all()
    np.testing.assert_array_equal(groups[:8, :8], np.eye(8))
    widths = (groups > 0).sum(axis=0)
    assert (np.diff(widths[8:]) >= 0).all()


def made(f0, phase, level=None):
    count = phase.shape[1]
    level = np.zeros_like(phase) if level is None else level
    spacing = np.full(len(phase), float(f0))
    return Harmonics(spacing, spacing, np.full(len(phase), count), level, phase)


def test_a_delayed_minimum_phase_voice_has_no_distortion():
    count, f0 = 79, 100.0
    k = np.arange(1, count + 1)
    _, tract = freqz([1, -0.3], [1, -1.3, 0.7], worN=2 * np.pi * k * f0 / 16000)
    delays = np.array([0.0, 0.5, 1.1])[:, None]
    phase = np.angle(tract)[None] - k * delays
    level = np.tile(np.log(np.abs(tract)), (3, 1))
    got = phase_distortion(made(f0, phase, level))
    inner = got[:, : int(7000 / 15.625)]
    np.testing.assert_allclose(inner, 0, atol=0.05)


def test_a_planted_distortion_appears_at_its_harmonic():
    count, f0 = 39, 200.0
    phase = np.zeros((1, count))
    phase[0, 9:] = 0.8  # between harmonics 9 and 10: the value of the tenth
    got = phase_distortion(made(f0, phase))[0]
    bins = np.arange(513) * 15.625
    np.testing.assert_allclose(got[bins <= 1800], 0, atol=1e-9)
    assert np.interp(2000, bins, got) == pytest.approx(0.8, abs=0.05)
    np.testing.assert_allclose(got[(bins >= 2200) & (bins < 7500)], 0, atol=1e-9)
    assert got[bins > 7850].std() > 0.1  # random beyond the last harmonic


def test_there_is_no_distortion_below_the_first_harmonic():
    phase = np.zeros((1, 39))
    phase[0, 1:] = 0.9  # between the first and the second harmonic
    got = phase_distortion(made(200.0, phase))[0]
    bins = np.arange(513) * 15.625
    np.testing.assert_allclose(got[bins <= 200], 0, atol=1e-9)
    assert np.interp(300, bins, got) == pytest.approx(0.45, abs=0.05)


def test_constant_distortion_is_its_mean_and_has_the_least_spread():
    cosine, sine = np.full((100, 513), np.cos(0.7)), np.full((100, 513), np.sin(0.7))
    np.testing.assert_allclose(mean_distortion(cosine, sine), 0.7)
    deviation = deviation_of_distortion(cosine, sine)
    np.testing.assert_allclose(deviation[1:-1, 0], np.log(0.001), atol=1e-6)
    np.testing.assert_allclose(deviation[[0, -1], 0], np.log(2e-6), atol=1e-6)
    np.testing.assert_allclose(deviation[:, 1:], 0, atol=1e-6)


def test_without_a_phase_nothing_is_rounded_at_the_ends():
    still = np.ones((100, 513)), np.zeros((100, 513))
    deviation = deviation_of_distortion(*still)
    np.testing.assert_allclose(deviation[:, 0], np.log(0.001), atol=1e-6)


def test_spread_grows_with_the_spread_of_the_phases():
    rng = np.random.default_rng(4)
    levels = []
    for spread in (0.1, 0.4, 1.5):
        phase = rng.normal(0, spread, (200, 513))
        levels.append(deviation_of_distortion(np.cos(phase), np.sin(phase))[20:-20, 0].mean())
    assert levels[0] < levels[1] < levels[2]
    assert np.exp(levels[0]) == pytest.approx(0.1, rel=0.4)
