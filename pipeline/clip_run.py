"""What the stages of one clip share: its settings, its sound, where results are kept, the time."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from threading import Event, Lock
from typing import Any

from extractors.types import Transcript
from pipeline.clip import Clip
from pipeline.media import Sound, decode_sound
from pipeline.recipe import Recipe
from pipeline.records import spell
from pipeline.store import Store

Progress = Callable[[str, float | None], None]
"""Called with a stage's name and its share done: None when it starts, 1.0 when it ends."""


def ignore_progress(stage: str, share: float | None) -> None:
    """Tell nobody."""


@dataclass
class ClipRun:
    """What the stages of one run share.

    Attributes
    ----------
    transcript : what is said, if it is known.
    store : where finished stages are kept and found again, if anywhere.
    progress : told of every stage.
    seconds : stage -> wall seconds, of those that have ended.
    stopped : set when a stage has failed: the others give up.
    language : that was heard, where the recipe asks for it.
    """

    clip: Clip
    recipe: Recipe
    transcript: Transcript | None = None
    store: Store | None = None
    progress: Progress = ignore_progress
    seconds: dict[str, float] = field(default_factory=dict)
    stopped: Event = field(default_factory=Event)
    language: str | None = None
    _sound: Sound | None = None
    _file: Any = None
    _decoding: Lock = field(default_factory=Lock)

    def decode_sound(self) -> Sound:
        """The clip's sound, decoded when it is first asked for; its file goes when the run does.

        Raises
        ------
        MediaError : it cannot be decoded.
        """
        with self._decoding:
            if self._sound is None:
                # A file without a name is gone when this process is, however that ends; until then
                # the voice's process reaches it here.
                self._file = TemporaryFile(prefix="rmfn-")  # noqa: SIM115
                path = Path(f"/proc/{os.getpid()}/fd/{self._file.fileno()}")
                with self.stage("decode sound"):
                    self._sound = decode_sound(self.clip, path)
        return self._sound

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage and tell its start and end."""
        self.progress(name, None)
        started = time.perf_counter()
        try:
            yield
        except Exception as error:
            error.add_note(name)  # for whoever reports it
            raise
        taken = time.perf_counter() - started  # a modality's backends are one stage, in turn
        self.seconds[name] = self.seconds.get(name, 0.0) + taken
        self.progress(name, 1.0)

    def key(self, *steps: str) -> str:
        """What the named steps' numbers depend on."""
        return make_key(self.recipe, self.transcript, *steps)

    @property
    def origin(self) -> dict[str, str]:
        """How the numbers were made, for the metadata of the store's files."""
        return {
            "recipe": json.dumps(self.recipe.provenance),
            "clip": spell(self.clip.path.name),
            "duration": repr(self.clip.duration),
        }


def make_key(recipe: Recipe, transcript: Transcript | None, *steps: str) -> str:
    """What the named steps' numbers depend on: the recipe and, for words, the transcript."""
    key = recipe.key(*steps)
    if transcript is None or "align" not in steps:
        return key
    said = [(part.text, part.start, part.end) for part in transcript.segments]
    return f"{key}-{hashlib.sha256(repr(said).encode()).hexdigest()[:12]}"
