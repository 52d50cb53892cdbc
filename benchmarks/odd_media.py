"""Files that are good in their way, but not what anybody expects to be given as a clip."""

from __future__ import annotations

import io
import os
import socket
import struct
import tarfile
import wave
import zipfile
from fractions import Fraction
from pathlib import Path
from random import Random

import av
import numpy as np

from benchmarks.broken_media import (
    SOUNDS,
    VIDEOS,
    Goods,
    copy_streams,
    draw,
    encode,
    flip_bytes,
    write,
)

SUBTITLES = "1\n00:00:00,000 --> 00:00:01,000\n<b>words</b> & more\n\n"
DOCUMENTS = {
    "txt": b"nothing but text\n" * 50,
    "html": b"<!doctype html><video src='x.mp4'></video>",
    "pdf": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n%%EOF",
    "json": b'{"words": []}',
    "srt": SUBTITLES.encode(),
    "m3u8": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
    "sdp": b"v=0\nm=audio 5004 RTP/AVP 0\n",
    "ffconcat": b"ffconcat version 1.0\nfile '/etc/passwd'\n",
    "cue": b'FILE "/etc/passwd" WAVE\n',
    "mpd": b"<MPD xmlns='urn:mpeg:dash:schema:mpd:2011'><Period/></MPD>",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "sqlite": b"SQLite format 3\0" + bytes(500),
    "exe": b"MZ" + bytes(300) + b"PE\0\0",
    "avi": bytes(5000),
    "mp4": b"",
}
NAMES = (
    *("two\nlines", "tab\t", 'it\'s "quoted"', "emoji \U0001f3ac\U0001f469\u200d\U0001f9b0"),
    *("n" * 250, "\u00fc" * 125, "-rf", "--help", "-", "%d%s%n", "a;b|c&d$(e)`f`", "*?", "..", " "),
    *("[bold]red[bold]", "[\\]", "<script>alert(1)<", "concat:a|b", "file:x", "http:", "C:\\clip"),
    *("\u202emirrored", "\x1b[31mred", "con", "a#b?c=d", "\udcff\udcfe"),
)


def size_pictures(rng: Random, goods: Goods, folder: Path) -> Path:
    """One pixel, odd sizes, very wide and very high ones."""
    sides = (1, 2, 3, 7, 17, 63, 999)
    size = rng.choice(sides), rng.choice(sides)
    suffix, codec, pixels = rng.choice(
        (("mkv", "ffv1", "yuv420p"), ("mov", "png", "rgb24"), ("gif", "gif", "rgb8"),
         ("avi", "mjpeg", "yuvj420p"), ("mp4", "libx264", "yuv444p"), ("webm", "libvpx", "yuv420p"),
         ("mov", "qtrle", "rgb24"), ("avi", "rawvideo", "bgr24"), ("mkv", "libvpx-vp9", "yuv420p"))
    )  # fmt: skip
    if codec != "libx264" and codec != "libvpx-vp9" and rng.random() < 0.3:
        size = rng.choice(((16383, 2), (2, 16383), (8192, 1), (4096, 4096)))
    return encode(folder / f"case.{suffix}", size=size, video_codec=codec, pixels=pixels, fps=4,
                   duration=0.8, click=None)  # fmt: skip


def vary_sound(rng: Random, goods: Goods, folder: Path) -> Path:
    """1 to 8 channels, 8 to 192 kHz, every kind of sample, and samples that are no numbers."""
    layout = rng.choice(("mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1"))
    rate = rng.choice((8000, 11025, 22050, 48000, 96000, 192000))
    codec, suffix = rng.choice(
        (("pcm_u8", "wav"), ("pcm_f32le", "wav"), ("pcm_f64le", "wav"), ("pcm_s24le", "mkv"),
         ("flac", "flac"), ("flac", "mkv"), ("pcm_s16le", "avi"), ("pcm_s32le", "mov"))
    )  # fmt: skip
    path = folder / f"case.{suffix}"
    if rng.random() < 0.2:  # more than PyAV can encode
        path = path.with_suffix(".wav")
        with wave.open(str(path), "wb") as out:
            out.setparams((rng.choice((8, 9, 16, 64, 255)), 2, rate, 0, "NONE", "not compressed"))
            out.writeframes(rng.randbytes(2 * out.getnchannels() * 4000))
    else:
        encode(path, flash=None, rate=rate, layout=layout, audio_codec=codec, duration=0.5)
    data = bytearray(path.read_bytes())
    if rng.random() < 0.5 and codec.startswith("pcm"):
        for _ in range(20):
            at = rng.randrange(len(data) // 2, len(data) - 8)
            struct.pack_into("<f", data, at, rng.choice((float("nan"), float("inf"), 1e38)))
    if rng.random() < 0.3 and path.suffix == ".wav":
        at = data.find(b"fmt ") + rng.choice((8, 10, 12, 16, 20, 22))
        struct.pack_into("<H", data, at, rng.choice((0, 1, 3, 255, 65535)))
    path.write_bytes(data)
    return path


def differ_in_length(rng: Random, goods: Goods, folder: Path) -> Path:
    """Sound longer than the picture, the reverse, one of them late, or without anything in it."""
    suffix = rng.choice(("mp4", "mkv", "webm"))
    codecs = dict(zip(("video_codec", "audio_codec"), VIDEOS[suffix], strict=True))
    how = rng.choice(("sound", "picture", "late", "one picture", "no picture", "no sound"))
    settings = {
        "sound": {"frame_times": [0.0, 0.1, 0.2], "flash": 0.1, "duration": 4.0},
        "picture": {"gap": (0.3, 9.0), "duration": 4.0},
        "late": {"audio_start": 2.5, "video_start": rng.choice((0.0, 3.0)), "duration": 4.0,
                 "flash": 3.0, "click": 3.0},
        "one picture": {"frame_times": [0.0], "flash": 0.0},
        "no picture": {},
        "no sound": {"gap": (-1.0, 9.0)},
    }[how]  # fmt: skip
    path = encode(folder / f"case.{suffix}", **codecs, **settings)
    return _without_pictures(path, folder / f"bare.{suffix}") if how == "no picture" else path


def _without_pictures(path: Path, bare: Path) -> Path:
    with av.open(str(path)) as clip, av.open(str(bare), "w") as out:
        streams = copy_streams(clip, out)
        for packet in clip.demux(clip.streams.audio):
            if packet.size:
                packet.stream = streams[packet.stream]
                out.mux(packet)
    return bare


def odd_pictures(rng: Random, goods: Goods, folder: Path) -> Path:
    """Alpha, 10 and 16 bits, grey, turned, mirrored, and pixels that are not square."""
    suffix, codec, pixels = rng.choice(
        (("mp4", "libx264", "yuv420p10le"), ("mkv", "ffv1", "yuva444p16le"), ("mov", "png", "rgba"),
         ("mkv", "ffv1", "gray16le"), ("mov", "prores_ks", "yuva444p10le"),
         ("mov", "qtrle", "argb"),
         ("mkv", "libvpx-vp9", "yuva420p"), ("mkv", "ffv1", "gbrp12le"), ("mov", "png", "monob"),
         ("mov", "png", "pal8"), ("mov", "png", "rgba64be"), ("mkv", "ffv1", "yuv410p"),
         ("mkv", "ffv1", "bayer_rggb8"), ("avi", "utvideo", "gbrap"), ("mkv", "ffv1", "grayf32le"),
         ("mp4", "libx264", "gray10le"), ("avi", "rawvideo", "pal8"), ("mp4", "turned", ""))
    )  # fmt: skip
    path = folder / f"case.{suffix}"
    if codec != "turned":
        try:
            return encode(path, video_codec=codec, pixels=pixels, duration=0.5, click=None,
                          flash=0.2)  # fmt: skip
        except (av.FFmpegError, ValueError):  # not in this build: then the good clip, turned
            path = folder / "case.mp4"
    data = bytearray(goods["mp4"])
    matrix = [rng.choice((0, 0, 65536, -65536, 46341, 1, -(2**31))) for _ in range(4)]
    at = data.find(b"tkhd") + 4 + 40
    for place, value in zip((0, 4, 12, 16), matrix, strict=True):
        struct.pack_into(">i", data, at + place, value)
    path.write_bytes(data)
    return path


def odd_streams(rng: Random, goods: Goods, folder: Path) -> Path:
    """Several programmes, many tracks, subtitles only, one clip after another, covers alone."""
    how = rng.choice(("tracks", "subtitles", "joined", "cover", "chained"))
    if how == "subtitles":
        path = folder / f"case.{rng.choice(('mkv', 'mp4'))}"
        codec = "mov_text" if path.suffix == ".mp4" else "ass"
        with (
            av.open(io.BytesIO(SUBTITLES.encode()), format="srt") as text,
            av.open(str(path), "w") as out,
        ):
            if path.suffix == ".mkv":
                stream = out.add_stream_from_template(text.streams[0])
                for packet in text.demux():
                    if packet.size:
                        packet.stream = stream
                        out.mux(packet)
            else:
                out.add_stream(codec)
        return path
    if how == "tracks":
        return _join_tracks(rng, goods, folder)
    if how == "cover":
        return write(folder, "mp3", b"ID3\4\0\0\0\0\x1f\x76" + bytes(4086) + goods["mp3"][:200])
    suffixes = ("ts", "mpg", "mp3", "aac", "opus", "ogg", "flac") if how == "joined" else ()
    suffix, data = draw(rng, goods, *suffixes)
    other = draw(rng, goods, suffix if how == "joined" else rng.choice(tuple(goods)))[1]
    if how == "joined" and suffix == "ts" and rng.random() < 0.7:
        # Another size, and time that begins anew, in the middle of the stream.
        encode(folder / "next.ts", size=(96, 64), video_codec="mpeg2video", audio_codec="mp2",
               rate=32000, layout="mono")  # fmt: skip
        other = bytearray((folder / "next.ts").read_bytes())
        (folder / "next.ts").unlink()
    return write(folder, suffix, data + other)


def _join_tracks(rng: Random, goods: Goods, folder: Path) -> Path:
    """Streams of several clips in one file, as programmes of a transport stream or as tracks."""
    path = folder / f"case.{rng.choice(('ts', 'mkv', 'mov'))}"
    with av.open(str(path), "w") as out:
        packets = []
        for suffix in rng.choices(("mp4", "ts", "mp3", "aac", "mov"), k=rng.choice((2, 3, 5))):
            with av.open(io.BytesIO(goods[suffix])) as clip:
                streams = copy_streams(clip, out)
                packets += [
                    (packet, streams[packet.stream])
                    for packet in clip.demux(*streams)
                    if packet.size and packet.dts is not None
                ]
        packets.sort(key=lambda each: each[0].dts * each[0].time_base)
        for packet, stream in packets:
            packet.stream = stream
            out.mux(packet)
    return path


def stills(rng: Random, goods: Goods, folder: Path) -> Path:
    """Pictures, moving ones too, as they are, damaged, and under a video's name."""
    suffix, codec, pixels = rng.choice(
        (("png", "png", "rgb24"), ("jpg", "mjpeg", "yuvj420p"), ("bmp", "bmp", "bgr24"),
         ("tiff", "tiff", "rgb24"), ("webp", "libwebp", "yuv420p"), ("apng", "apng", "rgb24"))
    )  # fmt: skip
    context = av.CodecContext.create(codec, "w")
    context.width, context.height = rng.choice(((1, 1), (64, 48), (2000, 2)))
    context.pix_fmt, context.time_base = pixels, Fraction(1, 10)
    image = np.zeros((context.height, context.width, 3), np.uint8)
    frame = av.VideoFrame.from_ndarray(image).reformat(format=pixels)
    frame.pts = 0
    data = b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode()])
    if rng.random() < 0.4:
        return flip_bytes(rng, {suffix: data}, folder)
    return write(folder, rng.choice((suffix, "mp4", "mkv")), data)


def documents(rng: Random, goods: Goods, folder: Path) -> Path:
    """Texts, archives of clips, playlists that lead elsewhere, programs, empty files."""
    kind = rng.choice((*DOCUMENTS, "zip", "tar", "noise"))
    if kind == "zip":
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr("clip.mp4", goods["mp4"])
        data = packed.getvalue()
    elif kind == "tar":
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            entry = tarfile.TarInfo("clip.mkv")
            entry.size = len(goods["mkv"])
            archive.addfile(entry, io.BytesIO(goods["mkv"]))
        data = packed.getvalue()
    else:
        data = DOCUMENTS.get(kind, rng.randbytes(rng.choice((1, 7, 100, 5000))))
    return write(folder, rng.choice((kind, "mp4", "mpg")), data)


def no_files(rng: Random, goods: Goods, folder: Path) -> Path:
    """Devices, pipes, sockets, folders, links to nowhere and in a circle, what is gone."""
    path = folder / f"case.{rng.choice(('mp4', 'wav'))}"
    how = rng.choice(("zero", "null", "pipe", "socket", "folder", "nowhere", "circle", "gone",
                      "file/below", "link", "sparse"))  # fmt: skip
    if how in ("zero", "null"):
        path.symlink_to(f"/dev/{how}")
    elif how == "pipe":
        os.mkfifo(path)
    elif how == "socket":
        here = os.open(folder, os.O_RDONLY)
        try:  # by a short name: a socket's may not be longer than 107 bytes
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(f"/proc/self/fd/{here}/{path.name}")
        finally:
            os.close(here)
    elif how == "folder":
        path.mkdir()
    elif how == "nowhere":
        path.symlink_to(folder / "there is none")
    elif how == "circle":
        path.symlink_to(path.name)
    elif how == "file/below":
        path.write_bytes(goods["mp4"])
        path = path / "below.mp4"
    elif how == "link":
        (folder / "clip").write_bytes(goods["mp4"])
        path.symlink_to("clip")
    elif how == "sparse":
        path.write_bytes(goods["mp4"])
        os.truncate(path, 50_000_000)
    return path


def names(rng: Random, goods: Goods, folder: Path) -> Path:
    """Names with line ends, quotes, emoji, 250 letters, leading dashes, bytes that are no text."""
    suffix = rng.choice((*VIDEOS, *SOUNDS))
    name = f"{rng.choice(NAMES)}.{suffix}"
    path = folder / (name if len(os.fsencode(name)) <= 255 else name[-255:])
    data = goods[suffix] if rng.random() < 0.6 else goods[suffix][:3000]
    path.write_bytes(data)
    return path
