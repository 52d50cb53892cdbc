"""Slices of a resampled recording fit together, whatever the rates."""

from __future__ import annotations

import numpy as np
import pytest
import soxr

from extractors.resampling import resampled_length, resampled_slice
from extractors.types import Audio


def noise(seconds: float, rate: int) -> Audio:
    samples = np.random.default_rng(0).normal(0, 0.1, round(seconds * rate))
    return Audio(samples.astype(np.float32), rate)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22051, 44100, 48000])
def test_slices_joined_are_the_whole_recording_resampled(rate):
    audio = noise(3.217, rate)
    n = resampled_length(audio, 16000)
    whole = (
        soxr.resample(audio.samples, rate, 16000, quality="VHQ") if rate != 16000 else audio.samples
    )
    joined = np.concatenate(
        [resampled_slice(audio, 16000, i, min(i + 5003, n)) for i in range(0, n, 5003)]
    )
    assert len(joined) == n
    assert abs(len(whole) - n) <= 1
    np.testing.assert_allclose(joined[: len(whole)], whole[:n], atol=1e-6)


def test_a_slice_outside_of_the_recording_is_silence():
    audio = Audio(np.ones(100, np.float32), 16000)
    got = resampled_slice(audio, 16000, -3, 105)
    np.testing.assert_array_equal(got, np.r_[np.zeros(3), np.ones(100), np.zeros(5)])
    assert not resampled_slice(audio, 16000, 200, 210).any()
    assert not resampled_slice(Audio(np.zeros(0, np.float32), 44100), 16000, 0, 10).any()


@pytest.mark.parametrize(("n", "rate", "expected"), [(0, 8000, 0), (1, 48000, 0), (2, 48000, 1)])
def test_length_is_the_rounded_duration(n, rate, expected):
    assert resampled_length(Audio(np.zeros(n, np.float32), rate), 16000) == expected


def test_a_tone_keeps_frequency_phase_and_place():
    t = np.arange(48000 * 4) / 48000
    audio = Audio(np.sin(2 * np.pi * 440 * t).astype(np.float32), 48000)
    got = resampled_slice(audio, 16000, 20000, 30000)
    np.testing.assert_allclose(
        got, np.sin(2 * np.pi * 440 * np.arange(20000, 30000) / 16000), atol=1e-4
    )
