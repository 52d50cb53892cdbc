"""The clip itself on its page: linked, or inside the file in a form that browsers play."""

from __future__ import annotations

import base64
import itertools
import os
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import quote

import av
import numpy as np
from numpy.typing import NDArray

from extractors.types import Frame
from pipeline.clip import Clip
from pipeline.media import read_audio, read_frames

# What browsers play as it is: container (FFmpeg's name) -> type, picture and sound codecs.
_PLAYED: dict[str, tuple[str, set[str], set[str]]] = {
    "mov,mp4,m4a,3gp,3g2,mj2": ("video/mp4", {"h264", "vp9", "av1"}, {"aac", "mp3", "opus"}),
    "matroska,webm": ("video/webm", {"vp8", "vp9", "av1"}, {"opus", "vorbis"}),
    "wav": ("audio/wav", set(), {"pcm_s16le", "pcm_u8", "pcm_f32le"}),
    "mp3": ("audio/mpeg", set(), {"mp3", "mp3float"}),
    "ogg": ("audio/ogg", set(), {"opus", "vorbis"}),
    "flac": ("audio/flac", set(), {"flac"}),
}
RATE = 32000  # samples a second of a converted sound
CLOCK = Fraction(1, 90000)  # s, of a converted picture's times
SIDE = 640  # pixels, of the longer side of a converted picture


def is_played(clip: Clip) -> bool:
    """Whether today's browsers play a file as it is."""
    if clip.format not in _PLAYED:
        return False
    _, pictures, sounds = _PLAYED[clip.format]
    return {stream.codec for stream in clip.video} <= pictures and {
        stream.codec for stream in clip.audio
    } <= sounds


def show_clip(clip: Clip, page: Path, embed: bool) -> dict[str, Any]:
    """What a page needs to play a clip.

    Parameters
    ----------
    page : where the page will be; a link is relative to it, so both can move together.
    embed : put the file into the page, converted if browsers do not play it.

    Returns
    -------
    ``kind`` (video or audio), ``played``, ``type``, and ``source`` (an address) or ``bytes``
    (base64); ``converted`` if the bytes are not those of the file.
    """
    kind = "video" if clip.has_video else "audio"
    played = is_played(clip)
    shown: dict[str, Any] = {"kind": kind, "played": played, "converted": False}
    if not embed:
        link = os.path.relpath(clip.path.absolute(), page.absolute().parent)
        return {**shown, "source": quote(Path(link).as_posix(), safe="/")}
    if played:
        content, mime = clip.path.read_bytes(), _PLAYED[clip.format][0]
    else:
        content, mime = convert(clip), f"{kind}/mp4"
        shown |= {"played": True, "converted": True}
    return {**shown, "type": mime, "bytes": base64.b64encode(content).decode()}


def convert(clip: Clip, side: int = SIDE) -> bytes:
    """A clip as MP4 with H.264 and AAC on the clip's own clock; the picture at most ``side`` long.

    Raises
    ------
    MediaError : it cannot be decoded.
    """
    with tempfile.TemporaryDirectory(prefix="rmfn-") as folder:
        out = Path(folder) / "clip.mp4"
        with av.open(out, "w", options={"movflags": "faststart"}) as target:
            # All streams must be known before the first packet.
            frames = read_frames(clip, max_side=side) if clip.has_video else iter(())
            first = next(frames, None)
            picture = None if first is None else _open_picture(target, first)
            sound = target.add_stream("aac", rate=RATE, layout="mono") if clip.has_audio else None
            if picture is not None and first is not None:
                for frame in itertools.chain([first], frames):
                    target.mux(picture.encode(_to_picture(frame, picture)))
                target.mux(picture.encode(None))
            if sound is not None:
                for block in _cut_sound(read_audio(clip, RATE).samples):
                    target.mux(sound.encode(block))
                target.mux(sound.encode(None))
        return out.read_bytes()


def _open_picture(target: Any, first: Frame) -> Any:
    height, width = first.image.shape[:2]
    stream = target.add_stream("libx264", options={"preset": "veryfast", "crf": "27"})
    stream.width, stream.height = max(width // 2, 1) * 2, max(height // 2, 1) * 2
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = CLOCK
    return stream


def _to_picture(frame: Frame, stream: Any) -> av.VideoFrame:
    image = frame.image[: stream.height, : stream.width]
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    picture.pts, picture.time_base = round(frame.time / CLOCK), CLOCK
    return picture


def _cut_sound(samples: NDArray[np.float32]) -> Iterator[av.AudioFrame]:
    for first in range(0, len(samples), 1024):
        block = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples[None, first : first + 1024]), format="fltp", layout="mono"
        )
        block.sample_rate, block.pts, block.time_base = RATE, first, Fraction(1, RATE)
        yield block
