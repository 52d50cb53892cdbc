"""The sample clips show what was planted in them, by the project's own decoder and features."""

from __future__ import annotations

import importlib.util
import re
import sys
from functools import cache
from types import ModuleType

import numpy as np
import pytest

from extractors.types import Audio, FeatureTrack
from extractors.visual_mediapipe import MediaPipe
from pipeline.clip import open_clip
from pipeline.media import read_audio, read_frames
from tests.conftest import ROOT

FOLDER = ROOT / "sample_videos"
NAMES = ("happy", "angry", "neutral", "turning")


@cache
def maker() -> ModuleType:
    """The script that made them (it knows what it planted)."""
    spec = importlib.util.spec_from_file_location("sample_videos_make", FOLDER / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@cache
def face(name: str) -> FeatureTrack:
    return MediaPipe()(read_frames(open_clip(FOLDER / f"{name}.mp4")))


@cache
def sound(name: str) -> Audio:
    return read_audio(open_clip(FOLDER / f"{name}.mp4"))


def column(name: str, measure: str) -> np.ndarray:
    return face(name).values[:, face(name).names.index(f"mediapipe.{measure}")]


def correlate(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def test_the_script_and_the_folder_name_the_same_clips():
    assert tuple(clip.name for clip in maker().CLIPS) == NAMES
    assert {file.stem for file in FOLDER.glob("*.mp4")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_clip_is_short_small_and_has_its_transcript(name):
    (clip,) = [clip for clip in maker().CLIPS if clip.name == name]
    assert (FOLDER / f"{name}.txt").read_text().split() == " ".join(clip.sentences).split()
    assert all(5 <= len(sentence.split()) <= 14 for sentence in clip.sentences)
    assert (FOLDER / f"{name}.mp4").stat().st_size < 500_000
    opened = open_clip(FOLDER / f"{name}.mp4")
    assert 5 < opened.duration < 12
    assert opened.has_audio
    assert opened.has_video


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_face_is_in_every_frame(name):
    track = face(name)
    assert track.observed.all()
    assert np.isfinite(track.values).all()
    assert (column(name, "faces") == 1).all()
    np.testing.assert_allclose(np.diff(track.times), 0.04, atol=1e-6)


@pytest.mark.slow
def test_the_smile_shows():
    means = {name: column(name, "au12").mean() for name in NAMES}
    assert means["happy"] > 0.8
    assert means["neutral"] < 0.3
    assert means["angry"] < 0.1
    assert means["neutral"] < means["turning"] < means["happy"]


@pytest.mark.slow
def test_the_frown_shows():
    means = {name: column(name, "au04").mean() for name in NAMES}
    others = [means[name] for name in NAMES if name != "angry"]
    assert means["angry"] > 2 * max(others)
    assert means["angry"] > max(others) + 0.05


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_jaw_opens_with_the_sound(name):
    audio, times = sound(name), face(name).times
    half = round(0.04 * audio.rate)
    padded = np.pad(audio.samples, (half, 4 * half))
    level = np.array(
        [np.sqrt(np.mean(padded[(i := round(t * audio.rate)) : i + 2 * half] ** 2)) for t in times]
    )
    jaw = column(name, "au26")
    at_lag = {lag: correlate(np.roll(level, lag)[5:-5], jaw[5:-5]) for lag in range(-5, 6)}
    assert at_lag[0] > 0.4
    # In step with it, too: not a frame and a half early or late.
    assert abs(max(at_lag, key=at_lag.__getitem__)) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_head_moves_as_planted(name):
    (clip,) = [clip for clip in maker().CLIPS if clip.name == name]
    yaw, pitch, roll = maker().turn_head(clip, face(name).times).T
    assert correlate(yaw, column(name, "yaw")) > 0.85
    assert correlate(pitch, column(name, "pitch")) > 0.3  # a fraction of a degree, while speaking
    assert correlate(roll, column(name, "roll")) > 0.85
    assert np.ptp(column(name, "roll")) == pytest.approx(np.ptp(roll), rel=0.35)


@pytest.mark.slow
def test_only_the_turning_head_turns():
    spread = {name: column(name, "yaw").std() for name in NAMES}
    assert spread["turning"] > 4
    assert max(spread[name] for name in NAMES if name != "turning") < 1.5
    (clip,) = [clip for clip in maker().CLIPS if clip.name == "turning"]
    yaw = maker().turn_head(clip, face("turning").times)[:, 0]
    assert correlate(yaw, column("turning", "yaw")) > 0.98


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_eyes_blink_as_planted(name):
    assert correlate(maker().blink(face(name).times), column(name, "au45")) > 0.7


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_word_is_understood(name):
    """By the recogniser the project ships with, without any of the project's own steps."""
    faster_whisper = pytest.importorskip("faster_whisper")
    from extractors.weights import locate_weights

    model = faster_whisper.WhisperModel(
        str(locate_weights("whisper-tiny.en")), device="cpu", compute_type="int8", cpu_threads=1
    )
    segments, _ = model.transcribe(str(FOLDER / f"{name}.mp4"), language="en")
    heard = "".join(segment.text for segment in segments)
    said = (FOLDER / f"{name}.txt").read_text()
    assert re.findall(r"[a-z']+", heard.lower()) == re.findall(r"[a-z']+", said.lower())
