"""``rmfn`` with backends that load nothing, for tests of what goes on around them.

``python -m tests.toy_batch batch ...`` is the command line with these backends in the tables; the
workers import this module as well, since it is what the command runs. What a clip does is said by
how many whole seconds it lasts. Files take their time to be written.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from extractors import BACKENDS, Backend
from extractors.types import Audio, FeatureTrack, Frame, Segment, Transcript, Word
from flows.cli import main
from pipeline import whole
from tests.media_maker import make_clip

HANGS, DIES, BREAKS, CRASHES = 5, 6, 7, 8  # s; what clips of these lengths do

RECIPE = """\
name = "toy"
[transcribe]
backend = "toy"
work = {work}
[align]
backend = "toy"
step = {step}
[[language]]
backend = "toy"
[[visual]]
backend = "toy"
work = {work}
[[acoustic]]
backend = "toy"
work = {work}
"""


@dataclass(frozen=True)
class Hears:
    """A word a second."""

    work: float = 0.0

    def __call__(self, audio: Audio) -> Transcript:
        seconds = round(audio.duration)
        _note(f"transcribe {seconds}")
        time.sleep(600 if seconds == HANGS else self.work)
        if seconds == DIES:
            os.kill(os.getpid(), signal.SIGKILL)
        if seconds == BREAKS:
            raise RuntimeError("a fault of the program")
        return Transcript((Segment(" ".join(f"w{n}" for n in range(seconds))),))


@dataclass(frozen=True)
class Places:
    step: float = 1.0

    def __call__(self, audio: Audio, transcript: Transcript) -> tuple[Word, ...]:
        _note(f"align {round(audio.duration)}")
        return tuple(
            Word(token, n * self.step, (n + 0.9) * self.step, 0.9)
            for n, token in enumerate(transcript.tokens)
        )


@dataclass(frozen=True)
class Letters:
    names: tuple[str, ...] = ("toy.letters",)

    def __call__(self, utterances):
        return [np.array([[len(t)] for t in tokens], np.float32) for tokens in utterances]


@dataclass(frozen=True)
class Sees:
    work: float = 0.0
    names: tuple[str, ...] = ("toy.light",)

    def __call__(self, frames: Iterable[Frame]) -> FeatureTrack:
        rows = [(frame.time, frame.image.mean()) for frame in frames]
        seconds = round(rows[-1][0] + 0.1)
        _note(f"visual {seconds}")
        time.sleep(self.work)
        if seconds == CRASHES:
            os.kill(os.getpid(), signal.SIGSEGV)
        values = np.array([[light] for _, light in rows], np.float32)
        return FeatureTrack(values, np.array([at for at, _ in rows]), self.names)


@dataclass(frozen=True)
class Listens:
    work: float = 0.0
    names: tuple[str, ...] = ("toy.peak",)

    def __call__(self, audio: Audio) -> FeatureTrack:
        _note(f"acoustic {round(audio.duration)}")
        time.sleep(self.work)
        size = audio.rate // 100
        blocks = audio.samples[: len(audio.samples) // size * size].reshape(-1, size)
        times = (np.arange(len(blocks)) + 0.5) / 100
        return FeatureTrack(abs(blocks).max(axis=1, keepdims=True), times, self.names)


def write_recipe(folder: Path, work: float = 0.0, step: float = 1.0) -> Path:
    """``work``: seconds that every stage sleeps; ``step``: seconds a word."""
    file = folder / f"toy-{work:g}-{step:g}.toml"
    file.write_text(RECIPE.format(work=work, step=step))
    return file


def make_video(path: Path, seconds: float, flash: float = 0.5) -> Path:
    """A clip of its own for every ``flash``, long settled."""
    path.parent.mkdir(parents=True, exist_ok=True)
    make_clip(path, duration=seconds, flash=flash, click=0.5, fps=10, rate=16000, layout="mono")
    os.utime(path, (1e9, 1e9))
    return path


class SlowFile(io.FileIO):
    """Who is killed at random is often killed while one is half written."""

    def write(self, data: Any) -> int:
        time.sleep(0.02)
        return super().write(data)


def _note(line: str) -> None:
    if log := os.environ.get("TOY_LOG"):
        with open(log, "a") as file:
            file.write(f"{line}\n")


for _step, _kind in (
    *(("transcribe", "Hears"), ("align", "Places"), ("language", "Letters")),
    *(("visual", "Sees"), ("acoustic", "Listens")),
):
    BACKENDS[_step]["toy"] = Backend(f"tests.toy_batch:{_kind}", ())

if __name__ in ("__main__", "__mp_main__"):  # the command and its workers, not the tests
    whole.open = lambda path, mode: (  # type: ignore[attr-defined]
        open(path, mode) if mode == "rb" else SlowFile(path, mode[0])  # noqa: SIM115
    )

if __name__ == "__main__":
    sys.exit(main())
