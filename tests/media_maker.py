"""Clips with a flash and a click at known times, encoded on the spot."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

CLICK = 0.001  # s, how long the click lasts
MICRO = Fraction(1, 90000)


def make_clip(
    path: Path,
    *,
    flash: float | None = 1.6,
    click: float | None = 1.6,
    duration: float = 3.0,
    fps: int = 25,
    frame_times: Sequence[float] | None = None,
    video_start: float = 0.0,
    audio_start: float = 0.0,
    video_codec: str = "libx264",
    audio_codec: str = "aac",
    rate: int = 48000,
    layout: str = "stereo",
    gap: tuple[float, float] | None = None,
    size: tuple[int, int] = (64, 48),
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
) -> Path:
    """Encode a dark clip whose first picture at or after ``flash`` is white, with a click.

    All times are presentation times as given to the muxer. ``gap`` = (start, end) leaves the
    samples of that time out; ``flash`` or ``click`` None leaves the whole stream out. ``options``
    are the container's.
    """
    with av.open(str(path), "w", options=options or {}) as out:
        video = audio = None
        if flash is not None:
            video = out.add_stream(video_codec, rate=fps)
            video.width, video.height, video.pix_fmt = *size, pixels
            if frame_times is not None:
                video.codec_context.time_base = MICRO
        if click is not None:
            audio = out.add_stream(audio_codec, rate=rate, layout=layout)
        if video is not None:
            times = frame_times
            if times is None:
                times = [video_start + i / fps for i in range(round(duration * fps))]
            white = next(t for t in times if t >= flash - 1e-9)
            for time in times:
                image = np.full((size[1], size[0], 3), 235 if time == white else 16, np.uint8)
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                unit = MICRO if frame_times is not None else Fraction(1, fps)
                frame.pts, frame.time_base = round(time / unit), unit
                out.mux(video.encode(frame))
            out.mux(video.encode())
        if audio is not None:
            for frame in _sound(audio, click, duration, audio_start, rate, layout, gap):
                out.mux(audio.encode(frame))
            out.mux(audio.encode())
    return path


def _sound(audio, click, duration, start, rate, layout, gap):
    channels = audio.codec_context.channels
    block = audio.codec_context.frame_size or 1024
    to_codec = av.AudioResampler(format=audio.codec_context.format, layout=layout, rate=rate)
    for first in range(0, round((duration - start) * rate), block):
        times = start + (first + np.arange(block)) / rate
        if gap is not None and gap[0] <= times[0] < gap[1]:
            continue
        wave = 0.9 * ((times >= click - 0.5 / rate) & (times < click + CLICK - 0.5 / rate))
        frame = av.AudioFrame.from_ndarray(
            np.tile(wave.astype(np.float32), (channels, 1)), format="fltp", layout=layout
        )
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        frame.pts = round(start * rate) + first
        yield from to_codec.resample(frame)
