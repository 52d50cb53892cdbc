"""Tracks are measured in a process of their own.

Three reasons: the libraries of speech, face and voice each hold Python's lock for seconds at a time
while they are imported or search, and side by side in one process they would wait for each other;
a crash in a native library ends the child and names the clip, nothing more; and what they print
stays off the screen.

The child is this module run by ``python -m pipeline.apart``. Requests and answers are lines of
JSON, the track itself comes as a Parquet file. A child is kept for the next clip, with its models
loaded (`pipeline.children`).
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, fields, replace
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

from pydantic import TypeAdapter

from extractors.mapped import map_samples
from extractors.types import Audio, FeatureTrack, Frame
from extractors.weights import WeightsDamaged, WeightsMissing
from pipeline.children import Child, keep_child, take_child
from pipeline.clip import Clip
from pipeline.errors import ClipError, MediaError
from pipeline.media import RATE, MediaNotes, Sound, read_frames
from pipeline.memory import release_memory, share_one_heap
from pipeline.store import read_track, write_track

# Errors that mean the same here as there; anything else is a defect of ours.
KNOWN = {
    error.__name__: error
    for error in (
        MediaError,
        WeightsDamaged,
        WeightsMissing,
        ImportError,
        MemoryError,
        OSError,
    )
}

_CLIP = TypeAdapter(Clip)
NEWS_EVERY = 0.1  # s between two messages about progress
# Niceness. One thread of the parent finds the words, after imports that take as long as itself: it
# must not share its core with the face's threads and the voice's.
PATIENCE = 8


class Stopped(Exception):
    """The measurement was given up because another stage of the clip failed."""


def measure_apart(
    backend: Any,
    clip: Clip,
    modality: str,
    on_share: Callable[[float], None],
    stopped: threading.Event,
    sound: Sound | None = None,
    within: Sequence[tuple[float, float]] | None = None,
) -> FeatureTrack:
    """Measure one track of a clip in a child.

    Parameters
    ----------
    backend : a track backend: a dataclass of plain settings (the child makes another like it).
    modality : "visual" (it gets the frames) or "acoustic" (it gets the sound).
    on_share : told the share done, 0..1, while the frames go by.
    stopped : when set, the child is ended.
    sound : the clip's sound, where it is the voice that is measured.
    within : of the frames, those to look at (`pipeline.media.read_frames`); by default all.

    Returns
    -------
    The track; its notes also tell what was noticed while decoding (`pipeline.media.MediaNotes`).

    Raises
    ------
    ClipError : the clip cannot be decoded, or it made a native library crash.
    WeightsMissing : as the backend does.
    Stopped : ``stopped`` was set.
    """
    child = take_child(modality)
    finished = False
    over = threading.Event()
    threading.Thread(target=_kill_if_stopped, args=(child, stopped, over), daemon=True).start()
    try:
        out = Path(child.folder.name) / "track.parquet"
        request = {
            "backend": [type(backend).__module__, type(backend).__qualname__],
            "settings": {
                entry.name: getattr(backend, entry.name) for entry in fields(backend) if entry.init
            },
            "clip": asdict(replace(clip, path=clip.path.absolute())),
            "modality": modality,
            "sound": None if sound is None else str(sound.path),
            "notes": asdict(MediaNotes() if sound is None else sound.notes),
            "within": within,
            "out": str(out),
        }
        for answer in child.ask(request):
            if "share" in answer:
                on_share(answer["share"])
            elif "error" in answer:
                finished = True
                _raise(answer, clip, modality)
            else:
                finished = True
                return read_track(out)
        if stopped.is_set():
            raise Stopped(f"{clip.path}: given up")
        raise ClipError(
            f"{clip.path}: the process that measured the {modality} features crashed "
            f"({child.last_words()})",
            str(clip.path),
            modality,
        )
    finally:
        over.set()
        if finished and not stopped.is_set():
            keep_child(modality, child)
        else:
            child.end()


def _kill_if_stopped(child: Child, stopped: threading.Event, over: threading.Event) -> None:
    """The child may be deep in native code and say nothing for a long time."""
    while not over.wait(0.1):
        if stopped.is_set():
            child.process.kill()
            return


def _raise(answer: dict[str, Any], clip: Clip, modality: str) -> None:
    kind = next((KNOWN[name] for name in answer["error"] if name in KNOWN), None)
    if kind is None:
        raise RuntimeError(f"{modality} features of {clip.path}: {answer['trace']}")
    # The child was given the absolute path; the user's own spelling is what helps.
    message = answer["message"].replace(str(clip.path.absolute()), str(clip.path))
    raise kind(message, str(clip.path)) if issubclass(kind, ClipError) else kind(message)


def main() -> None:
    """The child: one request a line until there are no more."""
    share_one_heap()
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)  # whatever libraries print must not be taken for an answer
    requests: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_read_requests, args=(requests, sys.argv[1]), daemon=True).start()
    while True:
        request = json.loads(requests.get())
        try:
            answer = _measure(request, answers)
        except BrokenPipeError:
            return
        except Exception as error:
            import traceback

            answer = {
                "error": [kind.__name__ for kind in type(error).__mro__],
                "message": str(error),
                "trace": traceback.format_exc(),
            }
        print(json.dumps(answer), file=answers)


def _read_requests(requests: SimpleQueue[str], folder: str) -> None:
    """Pass requests on; when there can be no more, leave whatever is being done, and no trace."""
    for line in sys.stdin:
        requests.put(line)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def _measure(request: dict[str, Any], answers: IO[str]) -> dict[str, Any]:
    clip, notes = _CLIP.validate_python(request["clip"]), MediaNotes(**request["notes"])
    backend = _make_backend(*request["backend"], json.dumps(request["settings"]))
    visual = request["modality"] == "visual"
    # Who was begun with less priority may not ask for more.
    os.setpriority(os.PRIO_PROCESS, 0, max(PATIENCE, os.getpriority(os.PRIO_PROCESS, 0)))

    def told(frames: Iterator[Frame]) -> Iterator[Frame]:
        last = 0.0
        for frame in frames:
            if (now := time.monotonic()) - last > NEWS_EVERY:
                last = now
                share = min(frame.time / max(clip.duration, 1e-9), 0.999)
                print(json.dumps({"share": round(share, 4)}), file=answers)
            yield frame

    if visual:
        track = backend(told(read_frames(clip, notes=notes, within=request["within"])))
    else:
        track = backend(Audio(map_samples(Path(request["sound"])), RATE))
    noticed = {
        name: value
        for name, value in asdict(notes).items()
        if value and name.startswith("audio_") != visual
    }
    write_track(request["out"], replace(track, notes={**noticed, **track.notes}))
    del track
    release_memory()
    return {"done": True}


@lru_cache(maxsize=4)
def _make_backend(module: str, name: str, settings: str) -> Any:
    """One backend a setting, so that its model stays loaded."""
    # JSON makes lists of tuples.
    plain = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in json.loads(settings).items()
    }
    return getattr(import_module(module), name)(**plain)


if __name__ == "__main__":
    main()
