"""A clip: one local media file, who it is (its bytes) and what it holds (its streams).

Nothing but a regular local file is ever opened. FFmpeg gets an open file object without a name, so
a name such as ``concat:a|b`` or ``http://...`` means nothing to it, and it may use no protocol, not
even that of files, so that a playlist cannot open what it lists.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import av.logging
from av.container import InputContainer
from av.stream import Disposition

from pipeline.errors import MediaError
from pipeline.roots import find_refusal

MAX_PIXELS = 36_000_000  # 8K; a decoder may hold a dozen of them: what is larger is refused
ID_DIGITS = 16  # 64 bits of sha256: two of a million clips share an id with odds of 1 : 36 million
READ_BYTES = 1 << 18  # a block of file handed to FFmpeg; each needs the interpreter's lock
# Bare streams have no header: FFmpeg guesses their duration from the size and the first bit rate.
_GUESSING = ("aac", "mp3")
# Containers that write the duration of each stream down; others' is measured on what is there.
_DECLARING = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "wav", "flac")
LEAST_BYTES = 500  # a second; who says to last longer than this allows is measured, not believed
# A stamp that jumps ahead by more than this beyond the declared end is broken, not a long silence.
FARTHEST_JUMP = 10.0  # s
EXPECTED = "expected a video or sound file"
SNIFF_BYTES = 1 << 16  # as much as is read to see what a file is
# Decoders that look at the first pictures to see what they are take no more memory than later.
_ALONE = {"protocol_whitelist": "none", "max_pixels": str(MAX_PIXELS)}
_SNIFFING = {**_ALONE, "formatprobesize": str(SNIFF_BYTES), "probesize": str(SNIFF_BYTES)}


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
        if name.endswith("_pipe") or name == "image2":
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


def identify_file(path: str | os.PathLike[str]) -> str:
    """The id that a clip of these bytes has, whatever its name; all of the file is read.

    Raises
    ------
    MediaError : there is no such file, or it is none that can be read.
    """
    with _open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:ID_DIGITS]


def sniff_media(path: str | os.PathLike[str]) -> float | None:
    """Look whether FFmpeg knows a file for sound or moving pictures, reading little of it.

    Returns
    -------
    The seconds that it says it lasts, as far as its bytes allow; 0 if it does not say. None: it is
    nothing of the kind, or too broken to be known.
    """
    _keep_quiet()
    with open(path, "rb") as file:
        try:
            with av.open(file, "r", options=_SNIFFING, buffer_size=SNIFF_BYTES) as container:
                name = container.format.name
                if name.endswith("_pipe") or name == "image2":
                    return None
                if not (container.streams.audio or container.streams.video):
                    return None
                longest = os.fstat(file.fileno()).st_size / LEAST_BYTES
                return min(max(container.duration or 0, 0) / av.time_base, longest)
        except (av.FFmpegError, OSError, ValueError):
            return None


@contextmanager
def open_container(path: str | os.PathLike[str]) -> Iterator[InputContainer]:
    """FFmpeg's view of a regular local file; failures of file or container become MediaError."""
    _keep_quiet()
    with _open_regular(path) as file:
        try:
            container = av.open(
                file,
                "r",
                options=_ALONE,
                buffer_size=READ_BYTES,
                metadata_errors="replace",
            )
        except (av.FFmpegError, OSError, ValueError) as e:
            file.seek(4)
            if file.read(4) == b"ftyp":
                raise MediaError(
                    f"{path}: an MP4 file without a readable index, probably cut short before its "
                    f"end was written ({_reason(e)}); {EXPECTED}",
                    str(path),
                ) from e
            raise MediaError(
                f"{path}: not a media file that can be read ({_reason(e)}); {EXPECTED}", str(path)
            ) from e
        with container:
            for stream in container.streams.video:
                if stream.codec_context is not None:
                    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
            try:
                yield container
            except av.FFmpegError as e:
                raise MediaError(f"{path}: cannot be decoded ({_reason(e)})", str(path)) from e
            finally:
                _keep_quiet()


def _keep_quiet() -> None:
    """FFmpeg's messages go nowhere, whatever another library (torchvision, when it is imported)
    has set: a decoder thread that waits for Python's lock to hand a message to Python's logging,
    while the thread with the lock waits for the decoder to end, waits for ever."""
    if av.logging.get_level() is not None:
        av.logging.set_level(None)
        time.sleep(0.02)  # who is waiting for the lock already gets it now


@contextmanager
def _open_regular(path: str | os.PathLike[str]):
    """The file, opened by descriptor, so that FFmpeg learns no name from it."""
    if refusal := find_refusal(path):
        raise MediaError(refusal, str(path))
    try:
        # Looked at before it is opened: opening a pipe or a device can wait or act.
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            kind = next(
                (word for test, word in _KINDS if test(mode)), "something that is not a file"
            )
            raise MediaError(f"{path}: {kind}; {EXPECTED}", str(path))
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError as e:
        raise MediaError(f"{path}: no such file; {EXPECTED}", str(path)) from e
    except PermissionError as e:
        raise MediaError(f"{path}: no permission to read it; {EXPECTED}", str(path)) from e
    except (OSError, ValueError) as e:  # ValueError: a NUL character in the name
        shown = str(path) if len(str(path)) <= 100 else f"{str(path)[:100]}..."
        raise MediaError(f"{shown}: cannot be opened ({_reason(e)}); {EXPECTED}", str(path)) from e
    with open(descriptor, "rb") as file:
        size = os.fstat(descriptor).st_size
        if size == 0:
            raise MediaError(f"{path}: empty file (0 bytes); {EXPECTED}", str(path))
        yield file


_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


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
