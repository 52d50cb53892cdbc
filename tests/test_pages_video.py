"""The clip on its page: links that hold, and conversions that keep the clock."""

from __future__ import annotations

import base64
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from pipeline.clip import open_clip
from pipeline.media import read_audio, read_frames
from rmfn.pages.video import convert, is_played, show_clip
from tests.media_maker import make_clip


def test_a_link_leads_from_the_page_to_the_clip(tmp_path):
    (tmp_path / "in put").mkdir()
    clip = open_clip(make_clip(tmp_path / "in put" / "100% #1?.mp4"))
    page = tmp_path / "pages" / "deep" / "a.html"
    shown = show_clip(clip, page, embed=False)
    assert "bytes" not in shown
    link = shown["source"]
    assert not set("#? ") & set(link)
    assert (page.parent / unquote(link)).resolve() == clip.path.resolve()


def test_what_browsers_play_is_put_in_as_it_is(tmp_path):
    clip = open_clip(make_clip(tmp_path / "a.mp4"))
    shown = show_clip(clip, tmp_path / "a.html", embed=True)
    assert base64.b64decode(shown["bytes"]) == clip.path.read_bytes()
    assert (shown["type"], shown["converted"], shown["kind"]) == ("video/mp4", False, "video")


@pytest.mark.parametrize(
    ("name", "settings", "kind"),
    [
        ("old.mpg", {"video_codec": "mpeg2video", "audio_codec": "mp2"}, "video"),
        ("a.avi", {"video_codec": "mpeg4", "audio_codec": "pcm_s16le"}, "video"),
        ("uneven.mkv", {"frame_times": [0.0, 0.1, 0.5, 1.6, 1.9, 2.9], "size": (66, 50)}, "video"),
        ("silent.mkv", {"click": None}, "video"),
        ("sound.mka", {"flash": None, "audio_codec": "aac"}, "audio"),
    ],
)
def test_what_they_do_not_play_is_converted_on_the_same_clock(tmp_path, name, settings, kind):
    clip = open_clip(make_clip(tmp_path / name, **settings))
    assert not is_played(clip)
    shown = show_clip(clip, tmp_path / "a.html", embed=True)
    assert (shown["kind"], shown["converted"]) == (kind, True)
    again = tmp_path / "again.mp4"
    again.write_bytes(base64.b64decode(shown["bytes"]))
    found = open_clip(again)
    assert is_played(found)
    if kind == "video":
        assert _flash(found) == pytest.approx(_flash(clip), abs=0.03)
    if settings.get("click", 1):
        before, after = read_audio(clip), read_audio(found)
        clicks = [np.argmax(abs(sound.samples)) / sound.rate for sound in (before, after)]
        assert clicks[1] == pytest.approx(clicks[0], abs=0.03)


def _flash(clip) -> float:
    frames = [(frame.time, frame.image.mean()) for frame in read_frames(clip)]
    return max(frames, key=lambda pair: pair[1])[0]


def test_large_pictures_are_made_smaller(tmp_path):
    clip = open_clip(
        make_clip(tmp_path / "big.mkv", size=(320, 240), duration=1.0, flash=0.5, click=0.5)
    )
    small = tmp_path / "small.mp4"
    small.write_bytes(convert(clip, side=64))
    stream = open_clip(small).video[0]
    assert (stream.width, stream.height, stream.codec) == (64, 48, "h264")
    assert Path(small).stat().st_size < 20_000
