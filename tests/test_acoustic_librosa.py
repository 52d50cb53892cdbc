"""The light acoustic track against tones, planted levels and direct computation."""

from __future__ import annotations

import resource
import sys

import numpy as np
import pytest
import scipy.fft
import soxr

from extractors.acoustic_librosa import Librosa
from extractors.types import Audio, FeatureTrack
from tests.conftest import shared

RATE = 16000


def sound(samples, rate: int = RATE) -> Audio:
    return Audio(np.asarray(samples, np.float32), rate)


def tone(hz: float, seconds: float, rate: int = RATE, amplitude: float = 0.5):
    return amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)


def column(track: FeatureTrack, name: str):
    return track.values[:, track.names.index(name)]


def pulse_train(periods, rate: int = RATE, amplitudes=None):
    """Gauss bells (0.5 ms) at the cumulated periods (s), placed between samples; with
    ``amplitudes`` their second derivative, as a constant part would enter the ratio of two."""
    at = np.cumsum(periods)
    t = np.arange(round((at[-1] + 0.05) * rate)) / rate
    out = np.zeros(len(t))
    for i, centre in enumerate(at):
        near = slice(max(0, int((centre - 0.003) * rate)), int((centre + 0.003) * rate))
        u = ((t[near] - centre) / 0.0005) ** 2
        out[near] += np.exp(-u / 2) * (1 if amplitudes is None else (1 - u) * amplitudes[i])
    return 0.5 * out


def speechlike(seconds: float, seed: int = 0):
    """Voiced stretches of gliding pitch, pauses and hiss."""
    rng = np.random.default_rng(seed)
    n = round(seconds * RATE)
    t = np.arange(n) / RATE
    f0 = 150 + 40 * np.sin(2 * np.pi * 0.7 * t) + 15 * np.sin(2 * np.pi * 3.1 * t)
    phase = 2 * np.pi * np.cumsum(f0) / RATE
    voice = sum(np.sin(k * phase) / k for k in range(1, 12))
    gate = (np.sin(2 * np.pi * 1.3 * t) > -0.4) * (0.4 + 0.3 * np.sin(2 * np.pi * 0.31 * t))
    return 0.2 * voice * gate + rng.normal(0, 0.003, n)


def test_grid_and_names():
    track = Librosa()(sound(tone(200, 1.234)))
    np.testing.assert_allclose(track.times, (np.arange(123) + 0.5) * 0.01)
    assert track.values.dtype == np.float32
    assert track.names == Librosa().names
    assert track.names[:13] == tuple(f"librosa.mfcc.{i}" for i in range(13))
    assert track.observed.all()


@pytest.mark.parametrize("hz", [70.0, 101.3, 155.0, 220.0, 331.7, 480.0])
def test_pitch_of_a_tone(hz):
    track = Librosa()(sound(tone(hz, 1.0)))
    inner = slice(5, -5)
    np.testing.assert_allclose(column(track, "praat.f0")[inner], hz, rtol=0.005)
    assert (column(track, "praat.voiced")[inner] == 1).all()


def test_pitch_follows_a_glide_at_the_right_time():
    t = np.arange(2 * RATE) / RATE
    track = Librosa()(sound(0.5 * np.sin(2 * np.pi * (100 * t + 25 * t**2))))  # f = 100 + 50 t
    inner = slice(10, -10)
    expected = 100 + 50 * track.times
    np.testing.assert_allclose(column(track, "praat.f0")[inner], expected[inner], atol=0.25)


def test_noise_is_unvoiced_and_unmeasured():
    track = Librosa()(sound(np.random.default_rng(1).normal(0, 0.1, 2 * RATE)))
    voiced = column(track, "praat.voiced")
    assert voiced.mean() < 0.1
    for name in ("praat.f0", "praat.hnr", "praat.jitter", "praat.shimmer"):
        assert np.isnan(column(track, name)[voiced == 0]).all()


def local_variation(values, at, centre: float, window: float = 0.2) -> float:
    """Mean absolute difference of neighbours over the mean, of the values inside the window."""
    inside = values[(at >= centre - window / 2) & (at < centre + window / 2)]
    return np.abs(np.diff(inside)).mean() / inside.mean()


@pytest.mark.parametrize("spread", [0.0, 0.01, 0.03, 0.06])
def test_planted_jitter(spread):
    periods = 0.008 * (1 + spread * np.random.default_rng(5).uniform(-1, 1, 400))
    track = Librosa()(sound(pulse_train(periods)))
    inner = slice(30, -30)
    middles = np.cumsum(periods) - periods / 2
    planted = [local_variation(periods, middles, t) for t in track.times[inner]]
    got = column(track, "praat.jitter")[inner]
    assert np.isfinite(got).mean() > 0.9
    assert np.nanmean(got) == pytest.approx(np.mean(planted), rel=0.1, abs=0.0005)


@pytest.mark.parametrize("spread", [0.0, 0.05, 0.2])
def test_planted_shimmer(spread):
    amplitudes = 1 + spread * np.random.default_rng(6).uniform(-1, 1, 300)
    track = Librosa()(sound(pulse_train(np.full(300, 0.008), amplitudes=amplitudes)))
    inner = slice(30, -30)
    at = 0.008 * np.arange(1, 301)
    planted = [local_variation(amplitudes, at, t) for t in track.times[inner]]
    got = column(track, "praat.shimmer")[inner]
    assert np.nanmean(got) == pytest.approx(np.mean(planted), rel=0.1, abs=0.002)


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 20.0])
def test_planted_harmonics_to_noise(snr_db):
    rng = np.random.default_rng(2)
    voice = tone(150, 3.0)
    noise = rng.normal(0, 1, len(voice))
    noise *= np.sqrt((voice**2).mean() / (noise**2).mean() / 10 ** (snr_db / 10))
    track = Librosa()(sound(0.3 * (voice + noise)))
    assert np.nanmean(column(track, "praat.hnr")) == pytest.approx(snr_db, abs=1.5)


def test_planted_loudness_steps():
    steps = (-60, -40, -20, -6)
    samples = np.concatenate(
        [10 ** (db / 20) * np.sqrt(2) * tone(400, 0.5, amplitude=1.0) for db in steps]
    )
    track = Librosa()(sound(samples))
    for i, db in enumerate(steps):
        inner = slice(50 * i + 3, 50 * i + 47)
        np.testing.assert_allclose(column(track, "librosa.level")[inner], db, atol=0.02)
        np.testing.assert_allclose(column(track, "librosa.rms")[inner], 10 ** (db / 20), rtol=0.003)


def test_mfcc_of_a_frame_computed_directly():
    samples = speechlike(1.0)
    track = Librosa()(sound(samples))
    samples = samples.astype(np.float32).astype(float)
    samples -= samples.mean()
    k = 41
    window = np.zeros(512)
    window[56:456] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    centre = 160 * k + 80
    power = np.abs(np.fft.rfft(samples[centre - 256 : centre + 256] * window)) ** 2

    def hz_to_mel(hz):  # Slaney: linear below 1 kHz, 27 logarithmic steps from 1 to 6.4 kHz
        hz = np.asarray(hz, float)
        return np.where(
            hz < 1000, hz * 3 / 200, 15 + 27 * np.log(np.maximum(hz, 1) / 1000) / np.log(6.4)
        )

    grid = np.linspace(0, 8000, 800001)
    edges = np.interp(np.linspace(0, hz_to_mel(8000), 42), hz_to_mel(grid), grid)
    bins = np.arange(257) * 16000 / 512
    bands = [
        2
        / (hi - lo)
        * (power @ np.clip(np.minimum((bins - lo) / (mid - lo), (hi - bins) / (hi - mid)), 0, None))
        for lo, mid, hi in zip(edges, edges[1:], edges[2:], strict=False)
    ]
    expected = scipy.fft.dct(10 * np.log10(np.maximum(bands, 1e-10)), norm="ortho")[:13]
    np.testing.assert_allclose(track.values[k, :13], expected, atol=0.02)


@pytest.mark.parametrize("hz", [500.0, 1500.0, 4000.0])
def test_centroid_and_rolloff_of_a_tone(hz):
    track = Librosa()(sound(tone(hz, 1.0)))
    inner = slice(3, -3)
    np.testing.assert_allclose(column(track, "librosa.centroid")[inner], hz, rtol=0.02)
    np.testing.assert_allclose(column(track, "librosa.rolloff")[inner], hz, atol=2 * 31.25)
    assert (column(track, "librosa.flatness")[inner] < 1e-3).all()


def test_noise_is_flat():
    track = Librosa()(sound(np.random.default_rng(3).normal(0, 0.1, RATE)))
    assert column(track, "librosa.flatness").mean() > 0.4
    assert column(track, "librosa.centroid").mean() == pytest.approx(4000, rel=0.03)


def test_the_same_numbers_whatever_the_block():
    audio = sound(speechlike(23.0))
    whole = Librosa(block=1000.0)(audio).values
    for block in (0.01, 2.0, 5.37, 12.0):
        if block == 0.01:  # one frame at a time: only a short stretch, or it takes long
            part = sound(audio.samples[:RATE])
            got, expected = Librosa(block=block)(part).values, Librosa()(part).values
        else:
            got, expected = Librosa(block=block)(audio).values, whole
        # Sums of a vectorised transform may differ in the last bit; nothing else may.
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=5e-4)


def test_the_same_numbers_whatever_the_block_on_real_speech():
    x = np.load(shared("reference/covarep/flite_slt.npz"))["x"]
    audio = sound(soxr.resample(np.tile(x, 3), RATE, 44100), 44100)
    whole = Librosa(block=1000.0)(audio).values
    for block in (3.0, 7.77):
        got = Librosa(block=block)(audio).values
        np.testing.assert_array_equal(np.isnan(got), np.isnan(whole))
        np.testing.assert_allclose(got, whole, rtol=1e-3, atol=1e-3)


def test_a_shift_by_frames_shifts_the_track():
    samples = speechlike(3.0)
    rng = np.random.default_rng(4)
    before = rng.normal(0, 0.003, 37 * 160)
    still = Librosa()(sound(samples)).values
    moved = Librosa()(sound(np.r_[before, samples])).values[37:]
    inner = slice(40, -40)
    spectral = slice(1, 16)
    np.testing.assert_allclose(moved[inner, spectral], still[inner, spectral], rtol=0.01, atol=0.05)
    same = np.nan_to_num(moved[inner, 18]) - np.nan_to_num(still[inner, 18])
    assert (np.abs(same) < 0.5).mean() > 0.99


@pytest.mark.parametrize("rate", [22050, 44100, 48000])
def test_another_rate_gives_the_same_track(rate):
    samples = speechlike(3.0)
    at_16k = Librosa()(sound(samples)).values
    resampled = Librosa()(sound(soxr.resample(samples, RATE, rate), rate)).values
    assert resampled.shape == at_16k.shape
    np.testing.assert_allclose(resampled[5:-5, 0:5], at_16k[5:-5, 0:5], atol=3.0)
    for name, tolerance in (("librosa.rms", 1e-3), ("praat.f0", 0.5), ("praat.voiced", 0)):
        i = Librosa().names.index(name)
        close = np.isclose(resampled[5:-5, i], at_16k[5:-5, i], atol=tolerance, equal_nan=True)
        assert close.mean() > 0.99, name


def test_a_dc_offset_changes_nothing():
    samples = speechlike(2.0)
    np.testing.assert_allclose(
        Librosa()(sound(samples + 0.3)).values[:, 13:19],
        Librosa()(sound(samples)).values[:, 13:19],
        rtol=1e-2,
        atol=1e-3,
        equal_nan=True,
    )


@pytest.mark.parametrize("offset", [0.0, 0.25])
def test_digital_silence_is_not_observed(offset):
    half = speechlike(1.0)
    half -= half.mean()  # so that the pause is at the recording's mean
    track = Librosa()(sound(np.r_[half, np.zeros(RATE), half] + offset))
    np.testing.assert_array_equal(np.flatnonzero(~track.observed), np.arange(101, 199))
    for name in ("librosa.mfcc.0", "librosa.centroid", "praat.f0", "praat.jitter"):
        assert np.isnan(column(track, name)[101:199]).all()
    assert (column(track, "librosa.level")[101:199] == -100).all()
    assert not column(track, "praat.voiced")[101:199].any()


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(0),
        np.zeros(1),
        np.ones(1),
        np.zeros(79),
        np.ones(161),
        np.random.default_rng(0).normal(0, 0.1, 1600),
        np.zeros(RATE),
        np.full(RATE, 0.7),
        np.sign(tone(150, 1.0)),
        np.clip(5 * speechlike(1.0), -1, 1),
        np.r_[np.zeros(8000), 1.0, np.zeros(8000)],
        np.random.default_rng(0).normal(0, 1e-6, RATE),
        30000 * speechlike(0.5),
    ],
    ids=[
        "nothing", "one zero", "one sample", "below a frame", "a frame", "0.1 s", "silence",
        "constant", "square", "clipped", "click", "faint", "integer scale",
    ],
)  # fmt: skip
def test_any_sound_is_measured_without_complaint(samples):
    track = Librosa()(sound(samples))
    assert len(track.values) == max(0, (len(samples) + 79) // 160)
    always = [track.names.index(n) for n in ("librosa.rms", "librosa.level", "praat.voiced")]
    assert np.isfinite(track.values[:, always]).all()
    assert not np.isinf(track.values).any()
    mfcc = track.values[:, :13]
    assert np.isfinite(mfcc[track.observed]).all()
    assert np.isnan(mfcc[~track.observed]).all()
    unvoiced = column(track, "praat.voiced") == 0
    assert np.isnan(column(track, "praat.f0")[unvoiced]).all()
    assert np.isfinite(column(track, "praat.f0")[~unvoiced]).all()
    again = Librosa()(sound(samples))
    np.testing.assert_array_equal(track.values, again.values)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"f0_min": 5.0}, "pitch range"),
        ({"f0_min": 500.0, "f0_max": 100.0}, "pitch range"),
        ({"n_mfcc": 0}, "n_mfcc must be"),
        ({"window": 0.0}, "window must be"),
        ({"block": 0.0}, "block must be"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        Librosa(**settings)


def test_block_is_not_part_of_what_is_computed():
    assert Librosa(block=5.0) == Librosa()
    assert Librosa(window=0.3) != Librosa()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory in KiB is Linux's")
def test_memory_does_not_grow_with_length():
    ten_minutes = sound(np.tile(speechlike(10.0), 60))
    Librosa()(sound(ten_minutes.samples[: 70 * RATE]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    Librosa()(ten_minutes)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 60
