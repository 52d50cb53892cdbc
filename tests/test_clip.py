from __future__ import annotations

import hashlib
import os
import socket
import struct
import subprocess
import sys
import threading
import wave
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from pipeline.clip import open_clip
from pipeline.container import sniff_media
from pipeline.errors import MediaError
from pipeline.media import read_audio
from tests.conftest import shared
from tests.media_maker import make_clip


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4")


def test_what_a_clip_says(video):
    clip = open_clip(video)
    assert clip.path == video
    assert clip.duration == pytest.approx(3.0, abs=0.05)
    assert clip.origin == 0
    (audio,), (picture,) = clip.audio, clip.video
    assert (audio.codec, audio.rate, audio.channels) == ("aac", 48000, 2)
    assert (picture.codec, picture.width, picture.height) == ("h264", 64, 48)
    assert picture.fps == pytest.approx(25)
    assert picture.aspect == 1


def test_the_id_is_that_of_the_bytes_wherever_they_are(video, tmp_path):
    copy = tmp_path / "another name.bin"
    copy.write_bytes(video.read_bytes())
    assert open_clip(copy).id == open_clip(str(video)).id
    assert open_clip(video).id == hashlib.sha256(video.read_bytes()).hexdigest()[:16]
    copy.write_bytes(video.read_bytes() + b"\0")
    assert open_clip(copy).id != open_clip(video).id


def _refused(path, match):
    """The error, found quickly: nothing may wait for a pipe or a device."""
    caught = []

    def attempt():
        try:
            caught.append(open_clip(path))
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(timeout=20)
    assert caught, f"opening {path} never ended"
    with pytest.raises(MediaError, match=match) as info:
        raise caught[0]
    assert info.value.stage == "media"
    assert info.value.clip == str(path)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize(
    "name",
    [
        "missing.mp4",
        "-x",
        "http://127.0.0.1:9/a.mp4",
        "concat:a.mp4|b.mp4",
        "pipe:0",
        "data:,a",
        "~",
    ],
)
def test_only_names_of_files_mean_anything(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    _refused(name, "no such file; expected a video or sound file")


def test_a_file_may_have_any_name(video, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("-x", "concat:a|b", "%d.png", "héllo wörld.mp4", "pipe:0", "a.m3u8"):
        (tmp_path / name).write_bytes(video.read_bytes())
        assert open_clip(name).id == open_clip(video).id


def test_what_is_not_a_file_is_named(tmp_path):
    _refused(tmp_path, "a folder; expected")
    os.mkfifo(tmp_path / "pipe")
    _refused(tmp_path / "pipe", "a named pipe; expected")
    _refused("/dev/zero", "a device; expected")
    if len(str(tmp_path)) < 90:  # a socket's path may not be longer than about 100 characters
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(tmp_path / "socket"))
            _refused(tmp_path / "socket", "a socket; expected")
    _refused("a\0b", "cannot be opened .*null")
    _refused("x" * 5000, r"x{100}\.\.\.: cannot be opened \(File name too long\)")
    (tmp_path / "loop").symlink_to("loop")
    _refused(tmp_path / "loop", "cannot be opened .*symbolic links")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(video, tmp_path):
    path = tmp_path / "secret.mp4"
    path.write_bytes(video.read_bytes())
    path.chmod(0)
    _refused(path, "no permission to read it")


def test_files_that_are_no_media(tmp_path):
    contents = {
        "empty.mp4": (b"", r"empty file \(0 bytes\)"),
        "text.mp4": (b"Dear diary,\n" * 500, "not a media file that can be read"),
        "noise.mp4": (np.random.default_rng(0).bytes(100_000), "not a media file|neither sound"),
        "lines.srt": (b"1\n00:00:01,000 --> 00:00:02,000\nhi\n", "neither sound nor picture"),
    }
    for name, (data, match) in contents.items():
        (tmp_path / name).write_bytes(data)
        _refused(tmp_path / name, match)


def test_an_mp4_without_its_index_is_called_cut_short(video, tmp_path):
    data = video.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: data.index(b"moov")])
    _refused(tmp_path / "cut.mp4", "an MP4 file without a readable index, probably cut short")


def test_a_still_picture_is_no_video(tmp_path):
    for name, codec, pixels in (("a.png", "png", "rgb24"), ("a.jpg", "mjpeg", "yuvj420p")):
        context = av.CodecContext.create(codec, "w")
        context.width, context.height, context.pix_fmt = 32, 32, pixels
        context.time_base = Fraction(1, 25)
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        (packet,) = context.encode(frame.reformat(format=pixels))
        (tmp_path / name).write_bytes(bytes(packet))
        _refused(tmp_path / name, "a still picture")


@pytest.mark.parametrize("kind", ["avif", "gif"])
def test_pictures_in_a_folder_are_not_taken_for_clips(tmp_path, kind):
    """Both look like films: AVIF is a relative of MP4, and a GIF may move."""
    path = tmp_path / f"a.{kind}"
    picture = Image.fromarray(np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3))
    picture.save(path, save_all=True, append_images=[picture.rotate(90)] if kind == "gif" else [])
    assert sniff_media(path) is None
    if kind == "avif":
        _refused(path, "a still picture")


def test_a_table_is_not_taken_for_an_animation_of_a_terminal(tmp_path):
    path = tmp_path / "export.txt"
    path.write_text("#Study : talks\t\t\t\n" + "1\t0.25\tRobert\tneutral\t\n" * 5000)
    with av.open(str(path)) as container:
        assert container.format.name == "tty"  # what FFmpeg makes of it
    assert sniff_media(path) is None


def test_playlists_open_no_other_file(video, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.mp4").write_bytes(video.read_bytes())
    make_clip(tmp_path / "other.ts")
    lists = {
        "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nother.ts\n#EXT-X-ENDLIST\n",
        "list.ffconcat": "ffconcat version 1.0\nfile other.mp4\n",
        "list.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        _refused(name, "not a media file that can be read|neither sound nor picture")


def test_sound_files_with_and_without_cover_art(tmp_path):
    plain = open_clip(make_clip(tmp_path / "a.mp3", flash=None, audio_codec="libmp3lame"))
    assert (plain.has_audio, plain.has_video) == (True, False)

    with av.open(str(tmp_path / "cover.mp3"), "w") as out:
        audio = out.add_stream("libmp3lame", rate=44100, layout="mono")
        cover = out.add_stream("mjpeg", rate=25)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        out.mux(cover.encode(picture.reformat(format="yuvj420p")))
        out.mux(cover.encode())
        for start in range(0, 44100, 1152):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.float32), "fltp", "mono")
            frame.sample_rate, frame.pts = 44100, start
            out.mux(audio.encode(frame))
        out.mux(audio.encode())
    with av.open(str(tmp_path / "cover.mp3")) as container:
        assert len(container.streams.video) == 1  # the cover is there
    covered = open_clip(tmp_path / "cover.mp3")
    assert (covered.has_audio, covered.has_video) == (True, False)


def test_huge_pictures_are_refused(tmp_path):
    # An uncompressed AVI is the simplest file that declares any size: patched in its headers.
    path = make_clip(
        tmp_path / "huge.avi", video_codec="rawvideo", click=None, flash=0, duration=0.2
    )
    data = bytearray(path.read_bytes())
    header = data.index(b"avih") + 8 + 32
    info = data.index(b"strf") + 8 + 4
    for place in (header, info):
        assert struct.unpack_from("<2i", data, place) == (64, 48)
        struct.pack_into("<2i", data, place, 15000, 10000)
    path.write_bytes(data)
    _refused(path, r"found video \(rawvideo, without a size or of more than 36 million pixels\)")


def test_pictures_whose_size_only_a_decoder_knows_are_refused_before_they_are_decoded(tmp_path):
    path = make_clip(tmp_path / "huge.gif", video_codec="gif", pixels="rgb8", click=None, flash=0)
    data = bytearray(path.read_bytes())
    struct.pack_into("<HH", data, 6, 16000, 16000)
    path.write_bytes(data)
    script = f"""
import resource
from pipeline.clip import open_clip
from pipeline.errors import MediaError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    open_clip({str(path)!r})
except MediaError as error:
    print("refused:", error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True
    )
    said, grown = done.stdout.splitlines()
    assert "million pixels" in said
    assert int(grown) < 100_000  # KB; a picture of 16000 x 16000 takes 1 GB


def test_a_recording_that_does_not_know_its_length(tmp_path):
    # What a browser records is written as it comes: Matroska to a pipe, no duration anywhere.
    class Pipe:
        def __init__(self):
            self.data = bytearray()

        def write(self, data):
            self.data += data
            return len(data)

    pipe = Pipe()
    with av.open(pipe, "w", format="matroska") as out:
        track = out.add_stream("libopus", rate=48000, layout="mono")
        for start in range(0, 3 * 48000, 960):
            frame = av.AudioFrame.from_ndarray(np.ones((1, 960), np.int16), "s16", "mono")
            frame.sample_rate, frame.pts = 48000, start
            out.mux(track.encode(frame))
        out.mux(track.encode())
    path = tmp_path / "recorded.webm"
    path.write_bytes(pipe.data)
    with av.open(str(path)) as container:
        assert container.duration is None
    clip = open_clip(path)
    assert clip.duration == pytest.approx(3.0, abs=0.01)
    assert read_audio(clip).duration == pytest.approx(3.0, abs=0.01)


def test_the_duration_of_a_bare_stream_is_measured_not_guessed(tmp_path):
    clip = open_clip(make_clip(tmp_path / "clip.aac", flash=None))  # silence first: few bits
    assert clip.duration == pytest.approx(3.0, abs=0.05)
    assert clip.audio[0].duration is None


def test_a_header_that_lies_about_the_duration_is_not_believed(tmp_path):
    path = make_clip(tmp_path / "clip.mkv")
    data = bytearray(path.read_bytes())
    struct.pack_into(">d", data, data.index(b"\x44\x89\x88") + 3, 1e10)  # ms
    path.write_bytes(data)
    with av.open(str(path)) as container:
        assert container.duration > 1e6 * av.time_base  # months in a few thousand bytes
    clip = open_clip(path)
    assert clip.duration == pytest.approx(3.0, abs=0.05)
    assert sniff_media(path) < 60  # what a batch expects, and allows, a clip to take
    assert read_audio(clip).duration == pytest.approx(3.0, abs=0.05)


def test_a_stamp_that_jumps_ahead_is_no_length(tmp_path):
    times = [n / 10 for n in range(10)] + [1e6 + n / 10 for n in range(10)]
    path = make_clip(tmp_path / "clip.mkv", frame_times=times, flash=0.0, click=None)
    assert 1.0 < open_clip(path).duration < 3.0


@pytest.mark.parametrize("channels", [1, 3, 6, 16])
def test_sound_of_any_number_of_channels(tmp_path, channels):
    path = tmp_path / "channels.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(np.full((16000, channels), 8000, "<i2").tobytes())
    clip = open_clip(path)
    assert clip.audio[0].channels == channels
    np.testing.assert_allclose(read_audio(clip).samples, 8000 / 32768, atol=1e-3)


def test_more_channels_than_can_be_mixed_are_refused(tmp_path):
    path = tmp_path / "channels.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(100)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(np.zeros((1600, 100), "<i2").tobytes())
    with pytest.raises(MediaError, match=r"channels.wav: "):
        read_audio(open_clip(path))


def test_real_clips():
    clip = open_clip(shared("clips/hamilton_rap_10s.mp4"))
    assert (clip.audio[0].rate, clip.video[0].width) == (44100, 640)
    assert clip.origin == pytest.approx(0.008, abs=1e-4)
    assert clip.video[0].start == pytest.approx(0.844, abs=1e-3)
