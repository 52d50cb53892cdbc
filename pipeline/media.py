"""Sound and pictures of a clip, decoded by FFmpeg (PyAV), on one clock.

The clock: a presentation time stamp minus the container's start (``Clip.origin``), for sound and
picture alike. A sound track that starts half a second late therefore begins with half a second of
silence; what is missing in its middle is silence of the same length. Encoder delay (the priming
samples of AAC, Opus, MP3) is skipped by FFmpeg where the container declares it.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import av
import numpy as np
from av.container import InputContainer
from av.stream import Stream
from av.video.frame import VideoFrame

from extractors.loudness import measure_level
from extractors.types import Audio, Frame
from pipeline.clip import FARTHEST_JUMP, AudioStream, Clip, VideoStream
from pipeline.container import open_container
from pipeline.errors import MediaError
from pipeline.sound_line import SoundLine
from pipeline.upright import display_matrix, prepare_rgb, turn_upright

RATE = 16000  # Hz, what speech is taken at
# A stamp that differs by less from where the samples before it end is rounding (Matroska keeps
# milliseconds); a lost packet is 20 ms and more.
STAMP_TOLERANCE = 0.010  # s
CUT_SHORT = 0.5  # s that a stream may end before its declared end without a word
# Weights of the channels sum to 1. Left to itself, libswresample mixes floats louder than
# their parts, stereo by 3 dB, 5.1 by 11 dB.
MIXING = {"rematrix_maxval": "1.0"}
DECODER_THREADS = min(4, os.cpu_count() or 1)  # each holds a picture or two: bounds the memory


@dataclass
class MediaNotes:
    """What a person should know about how a clip was read; filled in while it is read.

    Sound and picture may be read at the same time, each in a thread of its own: they write
    different fields. The picture's are complete when its frames have been read to the end. Reading
    again starts the counts again.

    Attributes
    ----------
    audio_offset : s of silence put before the first sample of the track.
    audio_gaps, audio_gap_seconds : holes in the track, filled with silence.
    audio_overlap_seconds : sound whose time was already taken, cut.
    audio_level : dB, of the loud parts; 0 is full scale.
    audio_clipped : share of the samples that are at full scale.
    audio_errors, video_errors : packets or pictures that were broken and left out or concealed.
    audio_truncated, video_truncated : the stream ends before it should: the file is cut short.
    video_offset : s from the clip's start to the first picture.
    frames : pictures read.
    frames_dropped : pictures whose time was not later than the one before.
    frames_guessed : pictures without a time stamp, or with one far beyond the clip's end; the time
        was guessed from the frame rate.
    frames_irregular : intervals between pictures more than half off their median.
    longest_freeze : s, the longest interval between two pictures.
    """

    audio_offset: float = 0.0
    audio_gaps: int = 0
    audio_gap_seconds: float = 0.0
    audio_overlap_seconds: float = 0.0
    audio_level: float = 0.0
    audio_clipped: float = 0.0
    audio_errors: int = 0
    audio_truncated: bool = False
    video_offset: float = 0.0
    frames: int = 0
    frames_dropped: int = 0
    frames_guessed: int = 0
    frames_irregular: int = 0
    longest_freeze: float = 0.0
    video_errors: int = 0
    video_truncated: bool = False


@dataclass(frozen=True)
class Sound:
    """A clip's sound with the file that holds it, and what was noticed while it was decoded."""

    audio: Audio
    path: Path
    notes: MediaNotes


def decode_sound(clip: Clip, path: Path) -> Sound:
    """`read_audio` into a file."""
    notes = MediaNotes()
    return Sound(read_audio(clip, notes=notes, into=path), path, notes)


def read_audio(
    clip: Clip,
    rate: int = RATE,
    stream: int | None = None,
    notes: MediaNotes | None = None,
    into: Path | None = None,
) -> Audio:
    """All of a clip's sound as mono at ``rate``; sample 0 is clip time 0.

    Channels are mixed and rates converted by libswresample. The result ends where the track ends;
    it is not padded to a longer picture.

    Parameters
    ----------
    clip : the clip.
    rate : samples a second wanted.
    stream : which sound track, counted from 0 among the clip's sound tracks; by default the one
        the container calls the default, else the first.
    notes : filled with what was found on the way.
    into : file to keep the samples in, raw float32; they are then mapped instead of held in memory,
        and last as long as the file.

    Raises
    ------
    MediaError
        The clip has no sound track, or nothing of it can be decoded.
    OSError
        ``into`` cannot be written.
    ValueError
        The clip has sound tracks, but not that many.
    """
    track = _choose(clip, clip.audio, stream, "sound")
    notes = MediaNotes() if notes is None else notes
    with SoundLine(into) as line:
        _lay_track(line, clip, track, rate, notes)
    if line.end == 0:
        raise MediaError(
            f"{clip.path}: nothing of its sound track could be decoded ({track.codec}, "
            f"{notes.audio_errors} broken packets)",
            str(clip.path),
        )
    notes.audio_truncated = _cut_short(track, line.end / rate)
    notes.audio_level, notes.audio_clipped = measure_level(line.samples, rate)
    return Audio(line.samples, rate)


def _lay_track(
    line: SoundLine, clip: Clip, track: AudioStream, rate: int, notes: MediaNotes
) -> None:
    """Decode a sound track and put every stretch of it where it belongs."""
    notes.audio_offset = notes.audio_gap_seconds = notes.audio_overlap_seconds = 0.0
    notes.audio_gaps = notes.audio_errors = 0
    resampler: av.AudioResampler | None = None
    kind: tuple[int, str, str] | None = None
    run_time = 0.0  # when the unbroken run of samples began, s
    fed = 0  # samples of the track in this run
    position = 0  # where on the line the run's next sample goes

    def flush() -> None:
        if resampler is not None:
            line.lay_frames(position, resampler.resample(None))

    with open_container(clip.path) as container:
        source = container.streams[track.index]
        tolerance = max(STAMP_TOLERANCE, float(source.time_base or 0))
        for frame in _decode(container, source, notes, "audio_errors"):
            if frame.samples == 0 or not frame.sample_rate:
                continue
            expected = run_time + fed / kind[0] if kind else 0.0
            time = frame.time - clip.origin if frame.time is not None else expected
            if _is_beyond(clip, expected, time):
                time = expected
            shift = time - expected
            found = (frame.sample_rate, frame.format.name, frame.layout.name)
            if abs(shift) > tolerance or found != kind:
                flush()
                if kind is None:
                    notes.audio_offset = max(0.0, time)
                elif shift > tolerance:
                    notes.audio_gaps += 1
                    notes.audio_gap_seconds += shift
                elif shift < -tolerance:
                    notes.audio_overlap_seconds -= shift
                resampler = av.AudioResampler("flt", "mono", rate, options=MIXING)
                kind, run_time, fed, position = found, time, 0, round(time * rate)
            assert resampler is not None
            fed += frame.samples
            frame.pts = None  # its place is decided here; the resampler shall just convert
            position = line.lay_frames(position, resampler.resample(frame))
        flush()


def read_frames(
    clip: Clip,
    max_side: int | None = 640,
    stream: int | None = None,
    notes: MediaNotes | None = None,
    within: Sequence[tuple[float, float]] | None = None,
) -> Iterator[Frame]:
    """A clip's pictures one by one, upright, with square pixels, in RGB.

    Times strictly increase; frame rates need not be constant. One picture is held at a time, so
    memory does not depend on the length. Closing the iterator closes the file.

    Parameters
    ----------
    clip : the clip.
    max_side : larger pictures are scaled down until the longer side has this many pixels; None
        keeps the size.
    stream : which picture track, counted from 0; by default the container's default, else the
        first.
    notes : filled with what was found on the way.
    within : spans [start, end) in s, in order and apart; other pictures are decoded, but left out.

    Raises
    ------
    MediaError
        The clip has no picture track, or nothing of it can be decoded.
    ValueError
        The clip has picture tracks, but not that many; ``max_side`` is not positive.
    """
    if max_side is not None and max_side < 1:
        raise ValueError(f"max_side must be at least 1 pixel, got {max_side}")
    track = _choose(clip, clip.video, stream, "picture")
    return _frames(clip, track, max_side, MediaNotes() if notes is None else notes, within)


def _frames(
    clip: Clip,
    track: VideoStream,
    max_side: int | None,
    notes: MediaNotes,
    within: Sequence[tuple[float, float]] | None,
) -> Iterator[Frame]:
    notes.frames_dropped = notes.frames_guessed = notes.video_errors = 0
    to_rgb = prepare_rgb(track.aspect, max_side)
    period = 1.0 / track.fps if track.fps else 0.04
    times: list[float] = []
    angle: int | None = None
    matrix: tuple[int, int, int, int] | None = None
    try:
        with open_container(clip.path) as container:
            source = container.streams[track.index]
            source.codec_context.thread_type = "AUTO"
            source.codec_context.thread_count = DECODER_THREADS
            pictures = _decode(container, source, notes, "video_errors")
            timed = _place(pictures, clip, period, times, notes)
            for picture, time in timed if within is None else _pick(timed, within):
                if picture.rotation != angle:
                    angle, matrix = picture.rotation, display_matrix(picture)
                image = to_rgb(picture)
                yield Frame(turn_upright(image, matrix), time)
    finally:  # also when the reader stops early
        _note_frames(notes, times)
    if not times:
        raise MediaError(
            f"{clip.path}: nothing of its picture track could be decoded ({track.codec}, "
            f"{notes.video_errors} broken packets)",
            str(clip.path),
        )
    notes.video_truncated = _cut_short(track, times[-1] + period)


def _pick(
    pictures: Iterator[tuple[VideoFrame, float]], spans: Sequence[tuple[float, float]]
) -> Iterator[tuple[VideoFrame, float]]:
    """Those whose time lies in a span."""
    starts = [start for start, _ in spans]
    for picture, time in pictures:
        place = bisect_right(starts, time)
        if place and time < spans[place - 1][1]:
            yield picture, time


_Track = TypeVar("_Track", AudioStream, VideoStream)


def _choose(clip: Clip, tracks: tuple[_Track, ...], stream: int | None, kind: str) -> _Track:
    if not tracks:
        raise MediaError(f"{clip.path}: has no {kind} track", str(clip.path))
    if stream is None:
        return next((track for track in tracks if track.default), tracks[0])
    if not 0 <= stream < len(tracks):
        raise ValueError(
            f"{clip.path}: {kind} track {stream} asked for, but it has {len(tracks)}, from 0"
        )
    return tracks[stream]


def _decode(container: InputContainer, source: Stream, notes: MediaNotes, errors: str) -> Iterator:
    """Frames of one stream; what is broken is counted in ``notes.<errors>`` and passed over."""
    packets = container.demux(source)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            frames = packet.decode()
        except av.EOFError:  # a decoder asked for more after its end
            continue
        except (av.FFmpegError, OSError):
            setattr(notes, errors, getattr(notes, errors) + 1)
            continue
        yield from frames


def _is_beyond(clip: Clip, expected: float, time: float) -> bool:
    return time > max(clip.duration, expected) + FARTHEST_JUMP


def _place(
    pictures: Iterator[VideoFrame],
    clip: Clip,
    period: float,
    times: list[float],
    notes: MediaNotes,
) -> Iterator[tuple[VideoFrame, float]]:
    """Pictures with their times on the clip's clock, which are also appended to ``times``."""
    for picture in pictures:
        notes.video_errors += picture.is_corrupt
        expected = times[-1] + period if times else 0.0
        if picture.time is None or _is_beyond(clip, expected, picture.time - clip.origin):
            time = expected
            notes.frames_guessed += 1
        else:
            time = picture.time - clip.origin
        if times and not time > times[-1]:
            notes.frames_dropped += 1
            continue
        times.append(time)
        yield picture, time


def _note_frames(notes: MediaNotes, times: Sequence[float]) -> None:
    notes.frames = len(times)
    if times:
        notes.video_offset = times[0]
    if len(times) > 1:
        intervals = np.diff(times)
        median = np.median(intervals)
        notes.frames_irregular = int((abs(intervals - median) > 0.5 * median).sum())
        notes.longest_freeze = float(intervals.max())


def _cut_short(track: AudioStream | VideoStream, end: float) -> bool:
    if track.duration is None:
        return False
    return (track.start or 0.0) + track.duration - end > CUT_SHORT
