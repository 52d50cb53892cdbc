"""The whole COVAREP track: grid, blocks, any input, settings."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import warnings
from dataclasses import asdict

import numpy as np
import pytest
import soxr
from scipy.io import wavfile

from extractors.acoustic_covarep import NAMES, Covarep
from extractors.mapped import map_samples
from extractors.types import Audio
from pipeline.clip import open_clip
from pipeline.media import decode_sound
from tests.conftest import ROOT, measure_held
from tests.covarep_signals import RATE, phrase

LARGE = phrase(7.0, seed=1)


def sound(samples, rate: int = RATE) -> Audio:
    return Audio(np.asarray(samples, np.float32), rate)


def circular_difference(a, b):
    difference = np.abs(a - b)
    angles = slice(36, 61)
    difference[:, angles] = np.minimum(difference[:, angles], 2 * np.pi - difference[:, angles])
    return difference


@pytest.fixture(scope="module")
def whole():
    return Covarep(block=1000.0)(sound(LARGE))


def test_grid_and_names(whole):
    assert len(NAMES) == len(set(NAMES)) == 74
    assert Covarep().names == whole.names == NAMES
    assert [NAMES[i] for i in (0, 10, 11, 35, 36, 60, 61, 73)] == [
        "covarep.f0", "covarep.creak", "covarep.mcep.0", "covarep.mcep.24", "covarep.hmpdm.0",
        "covarep.hmpdm.24", "covarep.hmpdd.0", "covarep.hmpdd.12",
    ]  # fmt: skip
    assert len(whole.times) == 700
    np.testing.assert_allclose(whole.times, 79 / 16000 + 0.01 * np.arange(700))
    assert whole.values.dtype == np.float32
    assert np.isfinite(whole.values).all()
    assert whole.observed.all()


@pytest.mark.parametrize("block", [0.5, 1.234, 3.0])
def test_the_same_numbers_whatever_the_block(block, whole):
    got = Covarep(block=block)(sound(LARGE))
    assert circular_difference(got.values, whole.values).max() < 1e-5
    assert got.notes == whole.notes


@pytest.mark.parametrize("rate", [8000, 11025])
def test_blocks_do_not_matter_where_the_top_of_the_spectrum_is_empty(rate):
    # Inverse filters of such sound are so ill conditioned that the last bit of a sum shows.
    audio = sound(soxr.resample(LARGE[: 4 * RATE], RATE, rate), rate)
    small, large = Covarep(block=0.7)(audio), Covarep(block=1000.0)(audio)
    assert circular_difference(small.values, large.values).max() < 1e-5


def test_silence_across_the_border_of_two_blocks():
    samples = LARGE[:RATE].copy()
    samples[7520:8010] = 0  # the border is at 8000
    small, large = Covarep(block=0.5)(sound(samples)), Covarep(block=1000.0)(sound(samples))
    assert circular_difference(small.values, large.values).max() < 1e-5


def test_a_pause_longer_than_a_block(whole):
    samples = np.r_[LARGE[:20000], np.zeros(5 * RATE), LARGE[:20000]]
    small, large = (Covarep(block=b)(sound(samples)) for b in (1.0, 100.0))
    assert circular_difference(small.values, large.values).max() < 1e-5
    assert not small.observed[200:500].any()
    assert np.isfinite(small.values).all()
    assert np.abs(small.values[:, 11:36]).max() < 20  # silence leaves no log of zero behind


def test_polarity_does_not_matter(whole):
    turned = Covarep(block=1000.0)(sound(-LARGE))
    assert turned.notes["polarity"] == -whole.notes["polarity"]
    assert circular_difference(turned.values, whole.values).max() < 1e-5


@pytest.mark.parametrize("rate", [22050, 44100, 48000])
def test_another_rate_gives_the_same_track(rate, whole):
    got = Covarep()(sound(soxr.resample(LARGE, RATE, rate), rate)).values
    assert got.shape == whole.values.shape
    assert (got[:, 1] == whole.values[:, 1]).mean() > 0.98
    for column in (0, 2, 3, 8, 11, 12, 20):
        assert np.corrcoef(got[:, column], whole.values[:, column])[0, 1] > 0.95, NAMES[column]


def test_level_moves_only_what_it_should(whole):
    louder = Covarep(block=1000.0)(sound(np.float32(2) * LARGE.astype(np.float32))).values
    difference = circular_difference(louder, whole.values)
    first = NAMES.index("covarep.mcep.0")
    cepstrum = np.arange(first, first + 25)  # COVAREP's envelope takes longer steps at low levels
    assert np.delete(difference, cepstrum, axis=1).max() < 1e-3
    assert difference[:, cepstrum[1:]].max() < 0.05
    inner = slice(10, -10)
    change = louder[inner, first] - whole.values[inner, first]
    np.testing.assert_allclose(change, np.log(2), atol=0.05)


def test_the_seed_only_moves_the_top_of_the_spectrum(whole):
    other = Covarep(block=1000.0, seed=1)(sound(LARGE)).values
    changed = np.flatnonzero((other != whole.values).any(axis=0))
    assert len(changed)
    assert set(changed) <= set(range(36, 74))
    np.testing.assert_array_equal(Covarep(block=1000.0)(sound(LARGE)).values, whole.values)


def test_the_variants_differ_in_rd_alone(whole):
    other = Covarep(block=1000.0, rd="v1.4.2")(sound(LARGE)).values
    assert np.flatnonzero((other != whole.values).any(axis=0)).tolist() == [8, 9]


RNG = np.random.default_rng(0)
TONE = 0.5 * np.sin(2 * np.pi * 150 * np.arange(RATE) / RATE)
ANY = {
    "nothing": np.zeros(0),
    "one sample": np.ones(1),
    "one zero": np.zeros(1),
    "79": np.ones(79),
    "a row": np.ones(80),
    "0.1 s": RNG.normal(0, 0.1, 1600),
    "a frame more": RNG.normal(0, 0.1, 1760),
    "0.3 s": RNG.normal(0, 0.1, 4800),
    "silence": np.zeros(RATE),
    "constant": np.full(RATE, 0.5),
    "noise": RNG.normal(0, 0.1, RATE),
    "faint": RNG.normal(0, 1e-7, RATE),
    "tone": TONE,
    "square": np.sign(TONE),
    "click": np.r_[np.zeros(8000), 1.0, np.zeros(8000)],
    "clipped": np.clip(30 * LARGE[: 2 * RATE], -1, 1),
    "offset": LARGE[: 2 * RATE] + 0.5,
    "integer scale": 32768 * LARGE[:RATE],
    "huge": 1e15 * LARGE[:RATE],
    "alternating": np.where(np.arange(RATE) % 2, 1.0, -1.0),
    "a word": LARGE[2000:6000],
    "silence first": np.r_[np.zeros(2 * RATE), LARGE[:RATE]],
}


@pytest.mark.parametrize("name", ANY)
def test_any_sound_gives_finite_numbers(name):
    audio = sound(ANY[name])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        track = Covarep()(audio)
    assert track.values.shape == (max(0, (len(audio.samples) + 80) // 160), 74)
    assert np.isfinite(track.values).all()
    assert np.isfinite([v for v in track.notes.values() if isinstance(v, float)]).all()
    np.testing.assert_array_equal(Covarep()(audio).values, track.values)


@pytest.mark.parametrize(
    "name", ["noise", "faint", "constant", "clipped", "offset", "click", "silence first", "0.3 s"]
)
def test_any_sound_gives_the_same_numbers_whatever_the_block(name):
    small, large = (Covarep(block=b)(sound(ANY[name])) for b in (0.45, 1000.0))
    assert circular_difference(small.values, large.values).max() < 1e-5
    assert small.notes == large.notes


@pytest.mark.parametrize("rate", [8000, 11025, 96000])
def test_any_rate_gives_finite_numbers(rate):
    track = Covarep()(sound(RNG.normal(0, 0.1, rate), rate))
    assert len(track.times) == 100
    assert np.isfinite(track.values).all()


def test_what_is_filled_is_said():
    said = Covarep()(sound(np.zeros(RATE))).notes["filled_with_zero"]
    assert "no voiced speech" in said
    assert "no frame of sound" in said
    short = Covarep()(sound(np.ones(800))).notes["filled_with_zero"]
    assert "shorter than 0.1 s" in short
    assert Covarep()(sound(LARGE)).notes["filled_with_zero"] == "creak: no model"


def test_silence_is_not_observed():
    track = Covarep()(sound(np.r_[LARGE[:RATE], np.zeros(RATE)]))
    assert track.observed[:100].all()
    assert not track.observed[100:].any()


def test_only_the_affected_columns_are_filled():
    # 0.5 s: less than the 0.83 s at which COVAREP stops with an error.
    values = Covarep()(sound(LARGE[:8000])).values
    assert (values[10:-10, 11:36] != 0).any(axis=0).all()
    assert (values[10:-10, 61:] != 0).any(axis=0).all()
    noise = Covarep()(sound(RNG.normal(0, 1e-7, 8000) + 1e-3 * TONE[:8000])).values
    assert np.isfinite(noise).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rd": "v1"}, "rd must be one of"),
        ({"seed": -1}, "seed must be"),
        ({"block": 0.0}, "block must be"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        Covarep(**settings)


def test_block_is_not_part_of_what_is_computed():
    assert Covarep(block=5.0) == Covarep()
    assert Covarep(rd="v1.4.2") != Covarep()


def test_the_child_that_measures_it_starts_light(tmp_path):
    """Neither other trackers' libraries nor pandas (which Arrow would load) cost its start."""
    wavfile.write(tmp_path / "a.wav", RATE, np.float32(LARGE[:RATE]))
    clip = open_clip(tmp_path / "a.wav")
    decoded = decode_sound(clip, tmp_path / "sound.f32")
    request = {
        "backend": ["extractors.acoustic_covarep", "Covarep"],
        "settings": {},
        "clip": asdict(clip),
        "modality": "acoustic",
        "sound": str(decoded.path),
        "notes": asdict(decoded.notes),
        "out": str(tmp_path / "track.parquet"),
    }
    code = (
        "import io, json, sys; from pipeline.apart import _measure; "
        "_measure(json.loads(sys.argv[1]), io.StringIO()); print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(request, default=str)],
        capture_output=True, text=True, check=True, cwd=ROOT, timeout=120,
    )  # fmt: skip
    loaded = set(done.stdout.split())
    assert "extractors.acoustic_covarep" in loaded
    heavy = {"torch", "librosa", "numba", "parselmouth", "cv2", "mediapipe", "pandas", "sklearn"}
    assert not loaded & heavy
    assert (tmp_path / "track.parquet").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory in KiB is Linux's")
def test_memory_grows_with_the_result_alone():
    short, long = (sound(np.resize(LARGE, seconds * RATE)) for seconds in (25, 100))
    Covarep(block=5.0)(short)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    track = Covarep(block=5.0)(long)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 4 * track.values.nbytes / 2**20 + 10


def test_mapped_sound_measures_as_sound_in_memory_and_is_forgotten(tmp_path):
    """Block by block, pages of the file that were read go back."""
    samples = np.resize(np.float32(LARGE), 20 * RATE)
    samples.tofile(tmp_path / "sound.f32")
    mapped = map_samples(tmp_path / "sound.f32")
    track = Covarep(block=5.0)(Audio(mapped, RATE))
    assert measure_held("sound.f32") < samples.nbytes / 4
    np.testing.assert_array_equal(track.values, Covarep(block=5.0)(sound(samples)).values)
    assert mapped.sum() == pytest.approx(samples.sum(), abs=0.1)
    assert measure_held("sound.f32") >= samples.nbytes


def test_results_in_files_are_the_same_and_are_not_held(monkeypatch):
    samples = np.resize(np.float32(LARGE), 20 * RATE)
    expected = Covarep(block=5.0)(sound(samples)).values
    monkeypatch.setattr("extractors.mapped.LARGE", 1)
    before = measure_held("(deleted)")
    track = Covarep(block=5.0)(sound(samples))
    assert measure_held("(deleted)") - before < expected.nbytes / 4
    np.testing.assert_array_equal(track.values, expected)
