"""The optional openSMILE track: openSMILE's own numbers, on our grid, in blocks."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from extractors.acoustic_opensmile import DESCRIPTORS, PITCH, OpenSmile
from extractors.types import Audio
from extractors.weights import WeightsMissing
from tests.covarep_signals import RATE, phrase, vowel


def sound(samples, rate: int = RATE) -> Audio:
    return Audio(np.asarray(samples, np.float32), rate)


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "opensmile", None)
    assert len(OpenSmile().names) == len(set(OpenSmile().names)) == 25
    with pytest.raises(WeightsMissing, match=r"pip install 'opensmile>=2.6,<3'"):
        OpenSmile()(sound(np.zeros(RATE)))


def test_settings_out_of_range():
    with pytest.raises(ValueError, match="block must be"):
        OpenSmile(block=0.0)
    assert OpenSmile(block=5.0) == OpenSmile()


@pytest.fixture(scope="module")
def smile():
    pytest.importorskip("opensmile")
    return OpenSmile()


def test_the_numbers_are_its_own(smile):
    import opensmile

    samples = phrase(3.0, seed=1).astype(np.float32)
    own = opensmile.Smile(
        feature_set=opensmile.FeatureSet.eGeMAPSv02,
        feature_level=opensmile.FeatureLevel.LowLevelDescriptors,
    )
    theirs = own.process_signal(samples, RATE)
    track = smile(sound(samples))
    assert smile.names == tuple(f"opensmile.{name}" for name in theirs.columns)
    inner = slice(0, len(theirs) - 10)  # at the end ours goes on to the last whole frame
    expected = theirs.to_numpy()[inner].copy()
    unvoiced = expected[:, PITCH] == 0
    assert unvoiced.any()
    assert not unvoiced.all()
    expected[np.ix_(unvoiced, np.arange(25) >= PITCH)] = np.nan
    np.testing.assert_array_equal(track.values[inner], expected)
    middle = theirs.index.get_level_values("start").total_seconds().to_numpy() + 0.01
    np.testing.assert_allclose(track.times[inner], middle[inner])


def test_the_same_numbers_whatever_the_block(smile):
    samples = sound(phrase(7.0, seed=1))
    whole = smile(samples)
    small = OpenSmile(block=1.3)(samples)
    np.testing.assert_array_equal(np.isnan(small.values), np.isnan(whole.values))
    scale = np.nanmax(np.abs(whole.values), axis=0)
    assert np.nanmax(np.abs(small.values - whole.values) / scale) < 1e-3


def test_planted_pitch_and_level(smile):
    voice = vowel(160.0, 1.0)[0]
    track = smile(sound(np.r_[0.1 * voice, voice]))
    semitones = track.values[20:-20, PITCH]
    assert np.nanmedian(27.5 * 2 ** (semitones / 12)) == pytest.approx(160, rel=0.01)
    loudness = track.values[:, DESCRIPTORS.index("Loudness_sma3")]
    assert loudness[110:190].mean() > 1.5 * loudness[10:90].mean()


@pytest.mark.parametrize("n", [0, 1, 319, 320, 1000, 1600])
def test_any_length_has_its_rows(smile, n):
    track = smile(sound(np.random.default_rng(0).normal(0, 0.1, n)))
    assert len(track.times) == max(0, (n - 320) // 160 + 1)
    assert np.isfinite(track.values[:, :PITCH]).all()


def test_silence_is_not_observed(smile):
    track = smile(sound(np.r_[vowel(160.0, 1.0)[0], np.zeros(RATE)]))
    assert track.observed[:95].all()
    assert not track.observed[102:].any()
    assert np.isnan(track.values[102:, 1:]).all()


def test_another_rate_gives_the_same_track(smile):
    import soxr

    samples = phrase(3.0, seed=1).astype(np.float32)
    track, other = smile(sound(samples)), smile(sound(soxr.resample(samples, RATE, 44100), 44100))
    both = np.isfinite(track.values[:, PITCH]) & np.isfinite(other.values[:, PITCH])
    assert both.mean() > 0.2
    for name in ("Loudness_sma3", "mfcc1_sma3"):
        column = DESCRIPTORS.index(name)
        assert np.corrcoef(track.values[:, column], other.values[:, column])[0, 1] > 0.99
