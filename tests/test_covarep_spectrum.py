"""Wavelet bands against direct convolution; planted dispersion and slopes."""

from __future__ import annotations

import numpy as np
import pytest

from extractors.acoustic_covarep.spectrum import maxima_dispersion, peak_slope, wavelet_bands
from tests.covarep_signals import RATE, phrase, pulse_train


def wavelet(band):
    u = np.arange(-1000, 1001) / 2**band
    return -np.cos(np.pi * u) * np.exp(-(u**2) / 2)


@pytest.mark.parametrize("n", [1, 700, 20000])
def test_bands_against_direct_convolution(n):
    x = np.random.default_rng(0).normal(size=n)
    got = wavelet_bands(x, (0, 3, 6))
    for row, band in zip(got, (0, 3, 6), strict=True):
        expected = np.convolve(x, wavelet(band))[1000 : 1000 + n]
        np.testing.assert_allclose(row, expected, atol=1e-9)


def test_slopes_against_a_loop_over_frames():
    x = phrase(0.5)
    bands = [np.abs(np.convolve(x, wavelet(i))[1000 : 1000 + len(x)]) for i in range(7)]
    got = peak_slope(x)
    assert len(got) == (len(x) - 640) // 160 + 1
    for k in (0, 7, 20, len(got) - 1):
        maxima = [band[160 * k : 160 * k + 640].max() for band in reversed(bands)]
        expected = np.polyfit(np.arange(1, 8), np.log10(maxima), 1)[0]
        assert got[k] == pytest.approx(expected, abs=1e-9)


def test_a_tilted_spectrum_has_a_steeper_slope():
    pulses, _ = pulse_train(100.0, 1.0)
    soft = np.convolve(pulses, np.hanning(40), "same")
    assert np.median(peak_slope(soft)) < np.median(peak_slope(pulses))


def test_silence_has_no_slope():
    x = np.r_[phrase(0.3), np.zeros(4000), phrase(0.3)]
    slopes = peak_slope(x)
    starts = 160 * np.arange(len(slopes))
    silent = (starts > 4808) & (starts + 640 < 8792)
    assert not slopes[silent].any()
    assert (slopes[~silent] != 0).all()
    assert peak_slope(np.zeros(0)).shape == (0,)
    assert peak_slope(np.zeros(639)).shape == (0,)


def test_dispersion_of_an_impulse_is_nearly_nothing():
    # The wavelet is negative at its centre: a negative impulse has its maxima there.
    residual = np.zeros(6000)
    gci = np.array([1000, 2200, 3500])
    residual[gci] = -1
    got = maxima_dispersion(residual, gci, np.full(3, 160), 0, 6000)
    np.testing.assert_allclose(got, 1 / 160)  # 1 counted where the distance is 0


def test_dispersion_against_a_loop():
    rng = np.random.default_rng(1)
    residual = rng.normal(size=6000)
    gci = np.sort(rng.choice(np.arange(500, 5500), 20, replace=False))
    periods = rng.integers(40, 400, 20)
    bands = [np.convolve(residual, wavelet(i))[1000:7000] for i in range(2, 7)]
    got = maxima_dispersion(residual, gci, periods, 0, 6000)
    for g, period, value in zip(gci, periods, got, strict=True):
        s = int(np.floor(0.2 * period + 0.5))
        distances = [abs(s - (int(np.argmax(b[g - s : g + s + 1])) + 1)) for b in bands]
        assert value == pytest.approx(np.mean(distances) / period)
    part = maxima_dispersion(residual[300:], gci[3:], periods[3:], 300, 6000)
    inner = gci[3:] > 300 + 1000
    np.testing.assert_allclose(part[inner], got[3:][inner])


def test_no_dispersion_at_the_ends_of_the_file():
    residual = np.random.default_rng(2).normal(size=1000)
    got = maxima_dispersion(residual, np.array([50, 500, 950]), np.full(3, 100), 0, 1000)
    assert got[0] == got[2] == 0
    assert got[1] > 0
    assert RATE == 16000
