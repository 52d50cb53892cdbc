"""Pictures at given times, found by seeking, are those that reading all of the clip gives."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.clip import open_clip
from pipeline.media import read_frames
from pipeline.stills import read_stills
from tests.media_maker import make_clip


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("a.mp4", {}),
        ("late.mp4", {"audio_start": 0.5}),
        ("uneven.mp4", {"frame_times": [0.0, 0.11, 0.5, 0.52, 1.6, 2.4, 2.9]}),
        ("a.mkv", {}),
        ("old.mpg", {"video_codec": "mpeg2video", "audio_codec": "mp2"}),
    ],
)
def test_stills_are_frames_of_the_clip(tmp_path, name, settings):
    clip = open_clip(make_clip(tmp_path / name, **settings))
    frames = list(read_frames(clip))
    wanted = [0, 2, 3, len(frames) - 2, len(frames) - 1]
    if len(frames) > 20:
        white = next(n for n, frame in enumerate(frames) if frame.image.mean() > 200)
        wanted = sorted({*wanted, white - 1, white, white + 1})
    found = read_stills(clip, [frames[n].time for n in wanted])
    # MPEG stamps few of its pictures; the times between are guessed from where reading began.
    near = 0.03 if name.endswith(".mpg") else 1e-6
    assert [s.time for s in found] == pytest.approx([frames[n].time for n in wanted], abs=near)
    for n, still in zip(wanted, found, strict=True):
        np.testing.assert_array_equal(still.image, frames[n].image)


def test_between_two_pictures_the_earlier_is_shown_and_sizes_are_bounded(tmp_path):
    clip = open_clip(make_clip(tmp_path / "a.mp4", size=(640, 360)))
    (still,) = read_stills(clip, [1.014], max_side=100)
    assert still.time == pytest.approx(1.0)
    assert still.image.shape == (56, 100, 3)


def test_sound_has_no_stills(tmp_path):
    clip = open_clip(make_clip(tmp_path / "a.mp4", flash=None))
    assert read_stills(clip, [1.0]) == []
