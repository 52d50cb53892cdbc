"""Harmonics: planted amplitudes and phases."""

from __future__ import annotations

import numpy as np
import pytest

from extractors.acoustic_covarep.sinusoids import (
    find_harmonics,
    frame_spectra,
    frames_inside,
    harmonic_count,
)
from tests.covarep_signals import RATE


@pytest.mark.parametrize("f0", [87.0, 140.0, 230.0, 410.0])
def test_planted_harmonics(f0):
    rng = np.random.default_rng(int(f0))
    count = int(harmonic_count(np.array([f0]), RATE)[0])
    amplitude = rng.uniform(0.02, 0.1, count)
    phase = rng.uniform(-np.pi, np.pi, count)
    centre = 4000
    t = (np.arange(8000) - centre) / RATE
    k = np.arange(1, count + 1)
    x = (amplitude[:, None] * np.cos(2 * np.pi * f0 * k[:, None] * t + phase[:, None])).sum(axis=0)
    spectra = frame_spectra(x, np.array([centre]), np.array([f0]), RATE)
    found = find_harmonics(spectra, np.array([f0]), RATE)
    assert found.count[0] == count
    assert found.spacing[0] == pytest.approx(f0, abs=0.2)
    inner = slice(0, count - 1)
    # A cosine of amplitude a is a / 2 in a spectrum of a window with sum 1.
    np.testing.assert_allclose(
        np.exp(found.log_amplitude[0, inner]), amplitude[inner] / 2, rtol=0.03
    )
    away = np.angle(np.exp(1j * (found.phase[0, inner] - phase[inner])))
    np.testing.assert_allclose(away, 0, atol=0.05)


def test_spectra_against_a_direct_transform():
    x = np.random.default_rng(0).normal(size=3000)
    spectra = frame_spectra(x, np.array([1200]), np.array([100.0]), RATE)
    half = 240  # 1.5 periods
    window = np.blackman(2 * half + 1)
    window /= window.sum()
    n = np.arange(-half, half + 1)
    for k in (0, 17, 2048):
        expected = (x[1200 + n] * window * np.exp(-2j * np.pi * k * n / 4096)).sum()
        assert spectra[0, k] == pytest.approx(expected)
    turned = frame_spectra(x, np.array([1200]), np.array([100.0]), RATE, -1.0)
    np.testing.assert_allclose(turned, -spectra)


def test_noise_still_has_one_value_a_harmonic():
    x = np.random.default_rng(1).normal(size=4000)
    f0 = np.array([60.0, 200.0, 499.0])
    found = find_harmonics(frame_spectra(x, np.full(3, 2000), f0, RATE), f0, RATE)
    for row, count in enumerate(found.count):
        assert np.isfinite(found.log_amplitude[row, :count]).all()
        assert (found.log_amplitude[row, count:] == -np.inf).all()
        assert not found.phase[row, count:].any()
    assert np.isfinite(found.spacing).all()


def test_a_constant_spectrum_has_no_peaks_and_keeps_the_multiples():
    spectra = np.ones((1, 2049), complex)
    found = find_harmonics(spectra, np.array([100.0]), RATE)
    np.testing.assert_allclose(found.log_amplitude[0], 0, atol=1e-12)
    assert found.spacing[0] == pytest.approx(100)


def test_frames_that_stick_out_are_left_out():
    times = np.array([0.01, 0.03, 0.05, 0.09])
    kept = frames_inside(times, np.array([100.0, 50.0, 100.0, 100.0]), 1600, RATE)
    assert kept.tolist() == [1, 2] or kept.tolist() == [2]
    # 0.01 s: sample 160 - 240 < 0; 0.03 s: 480 - 480 = 0 fits; 0.09 s: 1440 + 240 > 1599
    assert kept.tolist() == [1, 2]
