"""True envelope and mel cepstrum against a plain version and against what they should do."""

from __future__ import annotations

import numpy as np
import pytest

from extractors.acoustic_covarep.envelope import (
    TOLERANCE,
    mel_cepstrum,
    smooth_from_above,
    spread_evenly,
    true_envelope,
)
from extractors.acoustic_covarep.sinusoids import frame_spectra
from tests.covarep_signals import RATE, vowel


@pytest.fixture(scope="module")
def voiced():
    f0 = np.array([110.0, 140.0, 200.0])
    rows = [
        frame_spectra(vowel(f, 0.3)[0], np.array([2000]), np.array([f]), RATE)[0, ::4] for f in f0
    ]
    return np.log(np.abs(np.array(rows))), f0


def smooth_one(target, order):
    n = 2 * (len(target) - 1)
    window = np.hamming(2 * order + 1)[order:]
    raised, c = target.copy(), np.zeros(order + 1)
    for _ in range(200):
        cepstrum = np.fft.irfft(raised, n)[: n // 2 + 1]
        cepstrum[1:-1] *= 2
        inside = np.linalg.norm(cepstrum[: order + 1])
        beyond = np.linalg.norm(cepstrum[order + 1 :])
        c = c + (inside + beyond) / inside * window * (cepstrum[: order + 1] - c)
        q = np.arange(order + 1)
        smooth = np.cos(2 * np.pi * np.outer(np.arange(n // 2 + 1), q) / n) @ c
        if (target - smooth).max() <= TOLERANCE:
            break
        raised = np.maximum(raised, smooth)
    return smooth


def test_smoothing_against_one_frame_at_a_time(voiced):
    level, _ = voiced
    orders = np.array([87, 40, 48])
    got = smooth_from_above(level, orders)
    for row, target, order in zip(got, level, orders, strict=True):
        np.testing.assert_allclose(row, smooth_one(target, order), atol=1e-9)


def test_envelope_covers_the_peaks_and_only_them(voiced):
    level, f0 = voiced
    envelope = true_envelope(level, f0, RATE)
    inner = slice(20, -20)
    assert ((level - envelope)[:, inner] <= TOLERANCE + 1e-9).all()
    for row, hz in enumerate(f0):
        harmonics = np.round(np.arange(2, 20) * hz / (RATE / 1024)).astype(int)
        assert np.abs(envelope[row, harmonics] - level[row, harmonics]).mean() < 0.5


def test_frames_do_not_influence_each_other(voiced):
    level, f0 = voiced
    together = true_envelope(level, f0, RATE)
    for row in range(3):
        alone = true_envelope(level[row : row + 1], f0[row : row + 1], RATE)
        np.testing.assert_allclose(together[row], alone[0], atol=1e-12)


def test_level_moves_only_the_first_coefficient(voiced):
    level, f0 = voiced
    a = mel_cepstrum(true_envelope(level, f0, RATE))
    b = mel_cepstrum(true_envelope(level, f0, RATE) + np.log(10))
    np.testing.assert_allclose(b[:, 0] - a[:, 0], np.log(10))
    np.testing.assert_allclose(b[:, 1:], a[:, 1:], atol=1e-9)


def test_mel_cepstrum_of_a_flat_spectrum_is_its_level():
    got = mel_cepstrum(np.full((2, 513), -3.0))
    np.testing.assert_allclose(got[:, 0], -3)
    np.testing.assert_allclose(got[:, 1:], 0, atol=1e-12)


@pytest.mark.parametrize("quefrency", [1, 5, 20])
def test_mel_cepstrum_of_a_planted_oscillation(quefrency):
    # A cosine over the mel axis: its cepstrum is one coefficient.
    hertz = np.arange(4097) * 8000 / 4096
    mel = np.log1p(hertz / 700) / np.log1p(8000 / 700)
    level = 0.3 * np.cos(np.pi * quefrency * mel)
    got = mel_cepstrum(level[None], 25)[0]
    expected = np.zeros(25)
    expected[quefrency] = 0.3
    np.testing.assert_allclose(got, expected, atol=2e-3)


def test_frames_are_spread_from_the_first_to_the_last_sample():
    assert spread_evenly(5, 1001).tolist() == [0, 250, 500, 750, 1000]
    assert spread_evenly(1, 1000).tolist() == [0]
    assert spread_evenly(0, 1000).tolist() == []
