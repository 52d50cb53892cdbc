"""Media as bad as they come: good clips of a second, and all that can be done to them.

Every case is made of a random generator alone, so that it can be made again.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import av
import numpy as np

from tests.media_maker import make_clip

LENGTH = 1.2  # s
VIDEOS = {
    "mp4": ("libx264", "aac"), "mov": ("mjpeg", "pcm_s16le"), "mkv": ("libx264", "libopus"),
    "webm": ("libvpx", "libopus"), "avi": ("mpeg4", "libmp3lame"), "ts": ("mpeg2video", "mp2"),
    "mpg": ("mpeg1video", "mp2"), "flv": ("flv1", "libmp3lame"), "wmv": ("wmv2", "libmp3lame"),
}  # fmt: skip
SOUNDS = {
    "wav": "pcm_s16le", "flac": "flac", "mp3": "libmp3lame", "aac": "aac", "opus": "libopus",
    "ogg": "flac", "m4a": "alac", "aiff": "pcm_s16be",
}  # fmt: skip
FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
EXTREMES = (0, 1, 2, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
# ISO boxes and EBML elements that hold others.
BOXES = b"moov trak mdia minf stbl edts udta meta dinf mvex moof traf ilst stsd avc1 mp4a".split()
LISTS = (0x18538067, 0x1654AE6B, 0xAE, 0xE0, 0xE1, 0x1F43B675, 0xA0, 0x1549A966, 0x1254C367, 0x7373)

Goods = dict[str, bytes]
"""Good files by their suffix."""


def make_goods(folder: Path) -> Goods:
    """One good clip for each container."""
    for suffix, (video, audio) in VIDEOS.items():
        pixels = "yuvj420p" if video == "mjpeg" else "yuv420p"
        fps = 25 if suffix == "mpg" else 10
        # Of a size that Matroska needs two bytes for, so that another can be put there.
        size = (320, 256) if suffix in ("mkv", "webm") else (64, 48)
        encode(folder / f"good.{suffix}", fps=fps, video_codec=video, audio_codec=audio,
               pixels=pixels, size=size)  # fmt: skip
    encode(folder / "good.frag.mp4", options=FRAGMENTED)
    encode(folder / "good.gif", click=None, video_codec="gif", pixels="rgb8")
    for suffix, codec in SOUNDS.items():
        encode(folder / f"good.{suffix}", flash=None, audio_codec=codec)
    _make_book(folder / "good.m4b")
    return {path.name[5:]: path.read_bytes() for path in sorted(folder.glob("good.*"))}


def encode(path: Path, **settings: Any) -> Path:
    """A good clip, if the settings are."""
    usual = {"duration": LENGTH, "fps": 10, "flash": 0.5, "click": 0.5, "rate": 48000}
    return make_clip(path, **{**usual, **settings})


def _make_book(path: Path) -> None:
    """Sound with chapters, a title and a picture on its cover."""
    with av.open(str(path), "w", format="mp4") as out:
        sound = out.add_stream("aac", rate=16000, layout="mono")
        cover = out.add_stream("mjpeg", rate=1)
        cover.width = cover.height = 32
        cover.pix_fmt = "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        out.metadata["title"] = "a book, " * 20
        unit = Fraction(1, 1000)
        out.set_chapters([
            {"id": n, "start": n * 400, "end": n * 400 + 400, "time_base": unit,
             "metadata": {"title": f"chapter {n}"}} for n in range(3)
        ])  # fmt: skip
        picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))
        out.mux(cover.encode(picture))
        out.mux(cover.encode())
        for first in range(0, round(LENGTH * 16000), 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.sample_rate, frame.pts = 16000, first
            out.mux(sound.encode(frame))
        out.mux(sound.encode())


def find_parts(data: bytes, suffix: str) -> list[tuple[str, int, int, int]]:
    """The boxes, elements, chunks, pages or packets of a file: kind, start, start of what it holds,
    end."""
    if data[4:8] == b"ftyp" or suffix == "mov":
        return list(_find_boxes(data, 0, len(data)))
    if data[:4] == b"\x1a\x45\xdf\xa3":
        return list(_find_elements(data, 0, len(data)))
    if data[:4] == b"RIFF":
        return list(_find_chunks(data, 0, len(data)))
    mark = {"ogg": b"OggS", "opus": b"OggS", "mpg": b"\0\0\1", "wmv": b"\x82\0\0"}.get(suffix)
    if mark:
        starts = [at for at in range(len(data)) if data.startswith(mark, at)] + [len(data)]
        return [(mark.hex(), a, a + 4, b) for a, b in pairwise(starts)]
    size = 188 if suffix == "ts" else 64
    return [("block", at, at + 4, at + size) for at in range(0, len(data) - size, size)]


def _find_boxes(data: bytes, at: int, end: int) -> Iterator[tuple[str, int, int, int]]:
    while at + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, at)
        if not 8 <= size <= end - at:
            return
        yield kind.decode("latin-1"), at, at + 8, at + size
        if kind in BOXES:
            inner = {b"stsd": 16, b"meta": 12, b"avc1": 86, b"mp4a": 36}.get(kind, 8)
            yield from _find_boxes(data, at + inner, at + size)
        at += size


def _find_elements(data: bytes, at: int, end: int) -> Iterator[tuple[str, int, int, int]]:
    while at < end and data[at]:
        width = 9 - data[at].bit_length()
        kind = int.from_bytes(data[at : at + width], "big")
        first = data[at + width] if at + width < end else 0
        if not first:
            return
        length = 9 - first.bit_length()
        size = int.from_bytes(data[at + width : at + width + length], "big") ^ 1 << 7 * length
        body = at + width + length
        yield f"{kind:x}", at, body, min(body + size, end)
        if kind in LISTS:
            yield from _find_elements(data, body, min(body + size, end))
        at = body + size


def _find_chunks(data: bytes, at: int, end: int) -> Iterator[tuple[str, int, int, int]]:
    while at + 8 <= end:
        kind, size = struct.unpack_from("<4sI", data, at)
        yield kind.decode("latin-1"), at, at + 8, min(at + 8 + size, end)
        if kind in (b"RIFF", b"LIST"):
            yield from _find_chunks(data, at + 12, min(at + 8 + size, end))
        at += 8 + size + size % 2


def draw(rng: Random, goods: Goods, *suffixes: str) -> tuple[str, bytearray]:
    suffix = rng.choice(suffixes or tuple(goods))
    return suffix, bytearray(goods[suffix])


def draw_part(rng: Random, data: bytes, suffix: str) -> tuple[int, int, int]:
    """Of a kind that is drawn first: there are more packets than headers."""
    parts = find_parts(data, suffix) or [("all", 0, 0, len(data))]
    kind = rng.choice(sorted({part[0] for part in parts}))
    return rng.choice([part[1:] for part in parts if part[0] == kind])


def write(folder: Path, suffix: str, data: bytes) -> Path:
    path = folder / f"case.{suffix}"
    path.write_bytes(data)
    return path


def cut_at_part(rng: Random, goods: Goods, folder: Path) -> Path:
    suffix, data = draw(rng, goods)
    start, body, end = draw_part(rng, data, suffix)
    return write(folder, suffix, data[: rng.choice((start, body, (body + end) // 2, end))])


def cut_anywhere(rng: Random, goods: Goods, folder: Path) -> Path:
    suffix, data = draw(rng, goods)
    return write(folder, suffix, data[: rng.randrange(1, len(data))])


def flip_bytes(rng: Random, goods: Goods, folder: Path) -> Path:
    suffix, data = draw(rng, goods)
    for _ in range(rng.choice((1, 3, 10, 100, len(data) // 20 + 1))):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return write(folder, suffix, data)


def flip_header(rng: Random, goods: Goods, folder: Path) -> Path:
    suffix, data = draw(rng, goods)
    start, _, end = draw_part(rng, data, suffix)
    for _ in range(rng.choice((1, 2, 5))):
        data[rng.randrange(start, min(start + 64, end))] ^= 1 << rng.randrange(8)
    return write(folder, suffix, data)


def move_blocks(rng: Random, goods: Goods, folder: Path) -> Path:
    """A stretch is lost, doubled, all zero, noise, or of another file."""
    suffix, data = draw(rng, goods)
    first, last = sorted(rng.randrange(len(data)) for _ in range(2))
    last = min(last, first + rng.choice((1, 16, 1000, 10**6)))
    stretch = data[first:last]
    other = goods[rng.choice(tuple(goods))]
    put = (
        b"",
        stretch * 2,
        bytes(len(stretch)),
        rng.randbytes(len(stretch)),
        other[: last - first],
    )
    data[first:last] = rng.choice(put)
    return write(folder, suffix, data)


def lie_size(rng: Random, goods: Goods, folder: Path) -> Path:
    """Sizes of boxes, elements and chunks."""
    suffix, data = draw(rng, goods)
    start, body, _ = draw_part(rng, data, suffix)
    if data[:4] == b"RIFF":
        struct.pack_into("<I", data, body - 4, rng.choice(EXTREMES))
    elif data[:4] == b"\x1a\x45\xdf\xa3":
        data[body - 1] = rng.randrange(256)
    else:
        struct.pack_into(">I", data, start, rng.choice(EXTREMES))
    return write(folder, suffix, data)


def lie_fields(rng: Random, goods: Goods, folder: Path) -> Path:
    """Anything that a header says: counts, offsets, rates, sizes of pictures."""
    suffix, data = draw(rng, goods)
    for _ in range(rng.choice((1, 1, 2, 8))):
        _, body, end = draw_part(rng, data, suffix)
        place = body + 4 * rng.randrange(max(1, min(end - body, 256) // 4))
        order = "<I" if data[:4] == b"RIFF" else ">I"
        struct.pack_into(order, data, min(place, len(data) - 4), rng.choice(EXTREMES))
    return write(folder, suffix, data)


def lie_duration(rng: Random, goods: Goods, folder: Path) -> Path:
    suffix, data = draw(rng, goods, "mp4", "mov", "m4a", "m4b", "mkv", "webm", "avi", "wav", "flac")
    if suffix in ("mkv", "webm"):
        value = rng.choice((0.0, -1.0, 1e9, 1e18, 1e300, float("inf"), float("nan"), 0.1))
        at = data.find(b"\x44\x89\x88")
        data[at + 3 : at + 11] = struct.pack(">d", value)
        return write(folder, suffix, data)
    fields = {b"mvhd": 16, b"mdhd": 16, b"tkhd": 20, b"elst": 8, b"avih": 20, b"strh": 36,
              b"data": 0, b"fLaC": 18}  # fmt: skip
    for name, place in fields.items():
        if (at := data.find(name)) >= 0 and rng.random() < 0.7:
            order = "<I" if data[:4] == b"RIFF" else ">I"
            struct.pack_into(order, data, at + 4 + place, rng.choice((*EXTREMES, 10**5, 10**7)))
    return write(folder, suffix, data)


def lie_rate(rng: Random, goods: Goods, folder: Path) -> Path:
    """0 to ten thousand pictures a second, and time units of all kinds."""
    if rng.random() < 0.3:
        fps = rng.choice((1, 240, 1000, 10_000))
        times = [n / fps for n in range(12)]
        kind = rng.choice(("mp4", "mkv", "webm"))
        codecs = dict(zip(("video_codec", "audio_codec"), VIDEOS[kind], strict=True))
        return encode(folder / f"case.{kind}", frame_times=times, flash=0, fps=fps, **codecs)
    suffix, data = draw(rng, goods, "mp4", "mov", "avi", "gif", "mpg", "mkv", "webm")
    value = rng.choice((*EXTREMES, 100, 10_000, 10**6))
    if suffix in ("mkv", "webm"):  # the time unit; the duration of a picture
        mark = rng.choice((b"\x2a\xd7\xb1", b"\x23\xe3\x83"))
        at = data.find(mark) + len(mark) + 1
        data[at : at + 3] = value.to_bytes(5, "big")[-3:]
    elif suffix == "gif":
        for at in (at for at in range(len(data)) if data.startswith(b"\x21\xf9\x04", at)):
            struct.pack_into("<H", data, at + 4, value & 0xFFFF)
    elif suffix == "mpg":
        at = data.find(b"\0\0\1\xb3")
        data[at + 7] = data[at + 7] & 0xF0 | rng.randrange(16)
    else:
        name, place = {"avi": (b"strh", 24), "mp4": (b"mdhd", 12), "mov": (b"stts", 12)}[suffix]
        for at in (at for at in range(len(data)) if data.startswith(name, at)):
            order = "<I" if suffix == "avi" else ">I"
            struct.pack_into(order, data, at + 4 + place, value)
    return write(folder, suffix, data)


def break_stamps(rng: Random, goods: Goods, folder: Path) -> Path:
    """Time stamps that jump, run backwards, stand still or are missing."""
    _, data = draw(rng, goods, "mp4", "mkv", "avi", "ts", "flv")
    target = rng.choice(("mkv", "ts", "avi", "mov"))  # not nut: its writer aborts
    how = rng.choice(("ahead", "back", "still", "missing", "any", "negative", "shuffled"))
    path = folder / f"case.{target}"
    where, far = rng.randrange(20), rng.choice((1, 30, 3600, 10**5, 10**7))
    with av.open(io.BytesIO(data)) as clip, av.open(str(path), "w") as out:
        streams = copy_streams(clip, out)
        packets = [packet for packet in clip.demux(*streams) if packet.size]
        if how == "shuffled":
            rng.shuffle(packets)
        for number, packet in enumerate(packets):
            shift = round(far / packet.time_base)
            if how in ("ahead", "back", "negative") and number >= where:
                shift = shift if how == "ahead" else -shift
            elif how == "any":
                shift = rng.randrange(-shift, shift)
            else:
                shift = 0
            if how == "missing" and rng.random() < 0.5:
                packet.pts = packet.dts = None
            elif how == "still" and number >= where:
                packet.pts = packet.dts = 0
            elif packet.pts is not None:
                packet.pts += shift
                packet.dts = packet.dts + shift if packet.dts is not None else None
            packet.stream = streams[packet.stream]
            try:
                out.mux(packet)
            except (av.FFmpegError, OverflowError):  # more than this container can write
                continue
    return path


def claim_size(rng: Random, goods: Goods, folder: Path) -> Path:
    """Headers, of the container or of the pictures, that claim up to 65535 pixels a side."""
    suffix, data = draw(rng, goods, "mp4", "mov", "mkv", "webm", "avi", "gif", "flv")
    wide, high = (rng.choice((16384, 16383, 16000, 10_000, 8192, 65535, 4096, 0)) for _ in "wh")
    if suffix == "gif":
        struct.pack_into("<HH", data, 6, wide, high)
        if rng.random() < 0.5:
            for at in (at for at in range(len(data)) if data.startswith(b"\x2c\0\0\0\0", at)):
                struct.pack_into("<HH", data, at + 5, wide, high)
    elif suffix in ("mkv", "webm"):
        for mark, value in ((b"\xb0\x82\x01\x40", wide), (b"\xba\x82\x01\x00", high)):
            struct.pack_into(">H", data, data.find(mark) + 2, value)
    elif suffix == "avi":
        at = data.find(b"strf")
        struct.pack_into("<ii", data, at + 12, wide, high)
    elif suffix != "flv":
        at = data.find(b"avc1" if suffix == "mp4" else b"jpeg")
        struct.pack_into(">HH", data, at + 28, wide, high)
    marks = {"mov": (b"\xff\xc0\0\x11\x08", ">HH"), "webm": (b"\x9d\x01\x2a", "<HH")}
    if suffix in marks and rng.random() < 0.7:
        mark, order = marks[suffix]
        for at in (at for at in range(len(data)) if data.startswith(mark, at)):
            struct.pack_into(order, data, at + len(mark), high, wide)
    return write(folder, suffix, data)


def copy_streams(clip: Any, out: Any) -> dict[Any, Any]:
    """The streams of a container that another can hold -> those there."""
    streams = {}
    for stream in clip.streams:
        with suppress(ValueError, av.FFmpegError):
            streams[stream] = out.add_stream_from_template(stream)
    return streams
