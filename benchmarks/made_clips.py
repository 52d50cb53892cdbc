"""Long talking clips for the benchmarks, made of the sample clips one after another."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

SAMPLES = Path(__file__).resolve().parent.parent / "sample_videos"
RATE = 16000
FPS = 30


def make_talk(path: Path, seconds: float, width: int = 1280, height: int = 720) -> Path:
    """Write an H.264/AAC clip of at least ``seconds`` at 30 frames a second."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "23"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        sound = out.add_stream("aac", rate=RATE, layout="mono")
        fifo = av.AudioFifo()
        shown = said = 0
        for sample in _repeat():
            if shown >= seconds * FPS:
                break
            start = shown
            with av.open(str(sample)) as source:
                for frame in source.decode(video=0):
                    # 25 frames a second become 30: the frame that is due is shown again.
                    while shown < start + (frame.time + 1 / 25) * FPS - 0.5:
                        picture = frame.reformat(width, height, "yuv420p")
                        picture.pts, picture.time_base = shown, Fraction(1, FPS)
                        out.mux(video.encode(picture))
                        shown += 1
            samples = _read_sound(sample)
            length = round((shown - start) / FPS * RATE)
            samples = np.pad(samples, (0, max(0, length - len(samples))))[:length]
            block = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
            block.sample_rate, block.pts, block.time_base = RATE, said, Fraction(1, RATE)
            said += length
            fifo.write(block)
            while (frame := fifo.read(1024)) is not None:
                out.mux(sound.encode(frame))
        out.mux(video.encode(None))
        out.mux(sound.encode(None))
    return path


def _repeat() -> Iterator[Path]:
    while True:
        yield from sorted(SAMPLES.glob("*.mp4"))


def _read_sound(path: Path) -> np.ndarray:
    resampler = av.AudioResampler("fltp", "mono", RATE)
    with av.open(str(path)) as source:
        blocks = [
            block.to_ndarray()[0]
            for frame in source.decode(audio=0)
            for block in resampler.resample(frame)
        ]
    return np.concatenate(blocks)


def join_clips(source: Path, path: Path, times: int = 1, title: str = "") -> Path:
    """Write a clip several times over, one after another, nothing being encoded.

    ``title`` makes other bytes of the same clip.
    """
    with av.open(str(source)) as first, av.open(str(path), "w") as out:
        out.metadata["title"] = title
        streams = {
            stream.index: out.add_stream_from_template(stream)
            for stream in (*first.streams.video, *first.streams.audio)
        }
        # As long as the longer stream, so that sound and picture stay together.
        length = max(stream.duration * stream.time_base for stream in first.streams)
        for number in range(times):
            first.seek(0)
            for packet in first.demux(list(first.streams)):
                if packet.dts is None:
                    continue
                shift = round(number * length / packet.time_base)
                packet.dts, packet.pts = packet.dts + shift, (packet.pts or 0) + shift
                packet.stream = streams[packet.stream.index]
                out.mux(packet)
    return path
