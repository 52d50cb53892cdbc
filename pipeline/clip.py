"""A clip: one local media file, who it is (its bytes) and what it holds (its streams)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition

from pipeline.container import (
    EXPECTED,
    LEAST_BYTES,
    MAX_PIXELS,
    identify_file,
    is_still,
    open_container,
)
from pipeline.errors import MediaError

# Bare streams have no header: FFmpeg guesses their duration from the size and the first bit rate.
_GUESSING = ("aac", "mp3")
# Containers that write the duration of each stream down; others' is measured on what is there.
_DECLARING = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "wav", "flac")
# A stamp that jumps ahead by more than this beyond the declared end is broken, not a long silence.
FARTHEST_JUMP = 10.0  # s


@dataclass(frozen=True)
class AudioStream:
    """One sound track.

    Attributes
    ----------
    index : among all streams of the container.
    rate, channels, layout : as coded: samples a second, their number, their FFmpeg name.
    start, duration : seconds on the clip's clock; None = not declared.
    language : what the container says, such as ``eng``.
    default : the container calls it the default.
    """

    index: int
    codec: str
    rate: int
    channels: int
    layout: str
    start: float | None
    duration: float | None
    language: str | None
    default: bool


@dataclass(frozen=True)
class VideoStream:
    """One picture track.

    Attributes
    ----------
    width, height : pixels as coded, before rotation and before ``aspect`` is applied.
    fps : average frame rate, None = not known.
    aspect : width of a pixel over its height.
    start, duration : seconds on the clip's clock; None = not declared.
    """

    index: int
    codec: str
    width: int
    height: int
    fps: float | None
    aspect: float
    start: float | None
    duration: float | None
    default: bool


@dataclass(frozen=True)
class Clip:
    """A media file that was opened once and found good.

    Attributes
    ----------
    id : first 16 hexadecimal digits of the sha256 of the file's bytes.
    path : the file.
    duration : seconds from the container's start to the end of its longest stream.
    format : FFmpeg's name of the container.
    origin : the container's start, the earliest time stamp of its streams, in seconds. Clip time
        is a presentation time stamp minus this, for sound and picture alike.
    audio, video : the streams that can be decoded; cover art is no video.
    """

    id: str
    path: Path
    duration: float
    format: str
    origin: float
    audio: tuple[AudioStream, ...]
    video: tuple[VideoStream, ...]

    @property
    def has_audio(self) -> bool:
        return bool(self.audio)

    @property
    def has_video(self) -> bool:
        return bool(self.video)


def open_clip(path: str | os.PathLike[str]) -> Clip:
    """Look into a media file.

    Raises
    ------
    MediaError
        There is no such file, it is a folder, a device or a pipe, may not be read, is empty, is no
        media file, holds a still picture, has neither sound nor picture that can be decoded, or
        declares a picture of more than ``MAX_PIXELS``.
    """
    clip_id = identify_file(path)
    with open_container(path) as container:
        name = container.format.name
        if is_still(container):
            raise MediaError(f"{path}: a still picture ({name}); {EXPECTED}", str(path))
        origin = (container.start_time or 0) / av.time_base
        audio = tuple(
            _audio_stream(stream, origin)
            for stream in container.streams.audio
            if stream.codec_context is not None
            and stream.codec_context.sample_rate > 0
            and stream.codec_context.channels > 0
        )
        video = tuple(
            _video_stream(stream, origin)
            for stream in container.streams.video
            if stream.codec_context is not None
            and stream.codec_context.width > 0
            and not stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails)
        )
        if not audio and not video:
            found = ", ".join(_describe(stream) for stream in container.streams) or "no stream"
            raise MediaError(
                f"{path}: neither sound nor picture to decode; {EXPECTED}, found {found} ({name})",
                str(path),
            )
        for stream in video:
            if stream.width * stream.height > MAX_PIXELS:
                raise MediaError(
                    f"{path}: pictures of {stream.width} x {stream.height} pixels; expected at "
                    f"most {MAX_PIXELS // 1_000_000} million pixels",
                    str(path),
                )
        longest = os.path.getsize(path) / LEAST_BYTES
        duration = -1.0 if container.duration is None else container.duration / av.time_base
        # Browsers write none when they record, and some headers lie: then look for the end.
        if name in _GUESSING or not 0 <= duration <= longest:
            duration = _find_end(container, origin, longest)
    return Clip(clip_id, Path(path), duration, name, origin, audio, video)


def _describe(stream: av.stream.Stream) -> str:
    context = stream.codec_context
    if context is None:
        return f"{stream.type} (unknown codec)"
    if stream.type == "video" and not getattr(
        context, "width", 0
    ):  # FFmpeg forgets what it refuses
        millions = MAX_PIXELS // 1_000_000
        return f"video ({context.name}, without a size or of more than {millions} million pixels)"
    return f"{stream.type} ({context.name})"


def _seconds(stream: av.stream.Stream, stamp: int | None) -> float | None:
    if stamp is None or stream.time_base is None:
        return None
    return float(stamp * stream.time_base)


def _start(stream: av.stream.Stream, origin: float) -> float | None:
    start = _seconds(stream, stream.start_time)
    return None if start is None else start - origin


def _duration(stream: av.stream.Stream, start: float | None) -> float | None:
    """Declared by the stream, or by Matroska's tag, which holds the stream's end."""
    if stream.container.format.name not in _DECLARING:
        return None
    duration = _seconds(stream, stream.duration)
    if duration is None and "DURATION" in stream.metadata:
        try:
            hours, minutes, seconds = stream.metadata["DURATION"].split(":")
            duration = int(hours) * 3600 + int(minutes) * 60 + float(seconds) - (start or 0.0)
        except ValueError:
            return None
    return duration


def _audio_stream(stream: av.audio.AudioStream, origin: float) -> AudioStream:
    context = stream.codec_context
    start = _start(stream, origin)
    return AudioStream(
        index=stream.index,
        codec=context.name,
        rate=context.sample_rate,
        channels=context.channels,
        layout=context.layout.name,
        start=start,
        duration=_duration(stream, start),
        language=stream.language,
        default=bool(stream.disposition & Disposition.default),
    )


def _video_stream(stream: av.video.VideoStream, origin: float) -> VideoStream:
    context = stream.codec_context
    start = _start(stream, origin)
    rate = stream.average_rate or stream.guessed_rate
    return VideoStream(
        index=stream.index,
        codec=context.name,
        width=context.width,
        height=context.height,
        fps=float(rate) if rate else None,
        aspect=float(stream.sample_aspect_ratio or 1) or 1.0,
        start=start,
        duration=_duration(stream, start),
        default=bool(stream.disposition & Disposition.default),
    )


def _find_end(container: InputContainer, origin: float, longest: float) -> float:
    """Seconds from the start to the latest end of a packet; nothing is decoded.

    As in decoding, a stamp far behind what came before, and behind what the file's bytes allow,
    is taken for the end of what came before.
    """
    ends: dict[int, float] = {}
    try:
        for packet in container.demux():
            if not packet.size:
                continue
            end = ends.get(packet.stream_index, 0.0)
            unit = float(packet.time_base or 0)
            time = end if packet.pts is None else packet.pts * unit - origin
            if time > max(end, longest) + FARTHEST_JUMP:
                time = end
            length = min(max(packet.duration or 0, 0) * unit, FARTHEST_JUMP)
            ends[packet.stream_index] = max(end, time + length)
    except av.FFmpegError:
        pass  # a broken end: what came before it counts
    return max(ends.values(), default=0.0)
