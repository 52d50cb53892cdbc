"""One clip through the whole pipeline: the only path there is.

The single clip, the batch, the flow and the tests all call `process_clip`, or the two stages it is
made of (`find_words`, `track_modality`) when something else keeps the order. Words, face and voice
go side by side: the words in this process, the tracks each in a process of their own.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from threading import Event, Lock
from typing import Any

import numpy as np

from extractors.types import (
    Audio,
    FeatureTrack,
    Transcript,
    Word,
    WordFeatures,
    cover_words,
    join_features,
)
from extractors.weights import WeightsMissing
from pipeline.apart import measure_apart
from pipeline.clip import Clip, open_clip
from pipeline.errors import AlignmentFailed, NoSpeech
from pipeline.media import Sound, decode_sound
from pipeline.memory import release_memory
from pipeline.pooling import pool
from pipeline.quality import LOW_SCORE, Quality, measure_quality
from pipeline.recipe import Recipe
from pipeline.records import spell
from pipeline.sequence import AlignedSequence
from pipeline.store import Store
from pipeline.utterances import cut_utterances

Progress = Callable[[str, float | None], None]
"""Called with a stage's name and its share done: None when it starts, 1.0 when it ends."""


Spans = list[tuple[float, float]]
"""Stretches [start, end) of a clip in s, in order and apart."""

MARGIN = 0.25  # s around a word in which frames are looked at, where only those of words are


def ignore_progress(stage: str, share: float | None) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class ProcessedClip:
    """All that is known of a clip before a model sees it.

    Attributes
    ----------
    sequence : words with their rows.
    utterances : index ranges that partition the words.
    tracks : modality -> the frame-rate measurements that the rows were pooled from.
    quality : what a person should know before trusting the numbers.
    seconds : stage -> wall seconds (stages overlap; a stage found in the store costs nearly none).
    """

    clip: Clip
    sequence: AlignedSequence
    utterances: tuple[range, ...]
    tracks: dict[str, tuple[FeatureTrack, ...]]
    quality: Quality
    seconds: dict[str, float]


@dataclass
class ClipRun:
    """What the stages of one run share."""

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
        self.seconds[name] = time.perf_counter() - started
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


def process_clip(
    path: str | Path,
    recipe: Recipe,
    transcript: Transcript | None = None,
    store: Store | None = None,
    progress: Progress = ignore_progress,
) -> ProcessedClip:
    """Take a video or sound file to words with one row of features a modality.

    Parameters
    ----------
    transcript : what is said, if known; speech recognition is then skipped.
    store : where finished stages are kept and found again.

    Raises
    ------
    MediaError : the file cannot be read.
    NoSpeech : there is neither speech nor a transcript.
    AlignmentFailed : not one word could be placed.
    WeightsMissing : a model of the recipe is not on this machine.
    """
    run = ClipRun(open_clip(path), recipe, transcript, store, progress)
    with ThreadPoolExecutor(max_workers=4, thread_name_prefix="stage") as threads:
        words = threads.submit(find_words, run)
        language = threads.submit(lambda: _embed_ahead(run, words.result()))
        tracks = {
            modality: threads.submit(track_modality, run, modality, words.result)
            for modality in ("visual", "acoustic")
        }
        _wait_for_all([words, language, *tracks.values()], run.stopped)
        measured = {modality: track.result() for modality, track in tracks.items()}
        return assemble(run, words.result(), measured, language.result())


def find_words(run: ClipRun) -> tuple[Word, ...]:
    """Recognise (unless a transcript is given) and align: the clip's words with their times."""
    recipe, store, transcript = run.recipe, run.store, run.transcript
    key = run.key("transcribe", "align")
    if store is not None and (kept := store.get_words(run.clip.id, key)) is not None:
        run.language = store.read_notes(run.clip.id, "words", key).get("language")
        return kept
    if not run.clip.has_audio:
        raise NoSpeech(
            f"{run.clip.path}: there is no audio track, so no word can be heard or timed",
            str(run.clip.path),
        )
    audio = run.decode_sound().audio
    language = _detect_language(run, audio)
    if transcript is None:
        with run.stage("transcribe"):
            transcript = recipe.transcribe(audio, *language)
        release_memory()
    elif language:
        transcript = replace(transcript, language=language[0])
    if not transcript.tokens:
        raise NoSpeech(
            f"{run.clip.path}: no speech was found in {run.clip.duration:.1f} s of sound; "
            "a transcript can be given instead",
            str(run.clip.path),
        )
    with run.stage("align"):
        words = recipe.align(audio, transcript)
    if all(word.score is None for word in words):
        raise AlignmentFailed(
            f"{run.clip.path}: none of the {len(words)} words of the transcript could be placed in "
            "the sound; is it the transcript of this clip?",
            str(run.clip.path),
        )
    if store is not None:
        heard = {"language": language[0]} if language else {}
        store.put_words(run.clip.id, key, words, {**run.origin, **heard})
    return words


def _detect_language(run: ClipRun, audio: Audio) -> tuple[str, ...]:
    """The language that is heard, where the recipe asks for it; else nothing.

    One that cannot be aligned is refused here, before it is written down at length.

    Raises
    ------
    NoSpeech, AlignmentFailed : there is none, or none that can be aligned.
    """
    recipe, path = run.recipe, run.clip.path
    if getattr(recipe.transcribe, "language", "") != "auto":
        return ()
    with run.stage("detect language"):
        try:
            language = recipe.transcribe.detect_language(audio)
            if language is None:
                raise NoSpeech(f"{path}: no speech was found to hear its language from", str(path))
            recipe.align.prepare(language)
        except (ValueError, WeightsMissing) as e:
            raise AlignmentFailed(f"{path}: {e}", str(path)) from e
    run.language = language
    return (language,)


def track_modality(
    run: ClipRun, modality: str, get_words: Callable[[], tuple[Word, ...]] | None = None
) -> tuple[FeatureTrack, ...]:
    """The frame-rate measurements of each of the recipe's backends of one modality.

    Empty where the clip does not have it (a sound file has no picture).

    Parameters
    ----------
    get_words : waits for the clip's words; called if the recipe wants only their frames looked at
        (``frames = "words"``). Without it all frames are.
    """
    present = run.clip.has_video if modality == "visual" else run.clip.has_audio
    backends = getattr(run.recipe, modality)
    if not present or not backends:
        return ()
    spans: list[Spans | None] = [None] * len(backends)
    key = run.recipe.key(modality)
    if modality == "visual" and get_words is not None and "words" in run.recipe.looks:
        said = find_spans(get_words(), run.clip.video[0].fps)
        spans = [said if looks == "words" else None for looks in run.recipe.looks]
        key = run.key(modality, "transcribe", "align")
    if run.store is not None:
        kept = [
            run.store.get_track(run.clip.id, modality, f"{key}-{index}")
            for index in range(len(backends))
        ]
        if None not in kept:
            return tuple(track for track in kept if track is not None)
    sound = run.decode_sound() if modality == "acoustic" else None
    tracks = []
    for index, (backend, within) in enumerate(zip(backends, spans, strict=True)):
        told = partial(run.progress, modality)
        with run.stage(modality):
            track = measure_apart(backend, run.clip, modality, told, run.stopped, sound, within)
        if run.store is not None:
            run.store.put_track(run.clip.id, modality, f"{key}-{index}", track, run.origin)
        tracks.append(track)
    release_memory()
    return tuple(tracks)


def find_spans(words: tuple[Word, ...], fps: float | None) -> Spans:
    """When anybody speaks: the words, and a little before and after each, joined where they meet.

    So much that a word without a frame of its own finds its neighbours (`pipeline.pooling`), and
    that a face is followed when the word begins.
    """
    margin = max(MARGIN, 2 / fps if fps else 0.0)
    spans: list[tuple[float, float]] = []
    for start, end in sorted((word.start - margin, word.end + margin) for word in words):
        if spans and start <= spans[-1][1]:
            spans[-1] = spans[-1][0], max(end, spans[-1][1])
        else:
            spans.append((start, end))
    return spans


def embed_words(run: ClipRun, words: tuple[Word, ...]) -> WordFeatures:
    """The words' rows by the recipe's language backends."""
    with run.stage("language"):
        tokens = [[words[index].text for index in utterance] for utterance in cut_utterances(words)]
        return join_features([_observed_rows(backend, tokens) for backend in run.recipe.language])


def _embed_ahead(run: ClipRun, words: tuple[Word, ...]) -> WordFeatures | None:
    """Those rows, while face and voice are measured; None if they will not be asked for."""
    wanted = run.recipe.language and not _has_rows(run)
    return embed_words(run, words) if wanted else None


def assemble(
    run: ClipRun,
    words: tuple[Word, ...],
    tracks: dict[str, tuple[FeatureTrack, ...]],
    language: WordFeatures | None = None,
) -> ProcessedClip:
    """Put words and tracks together: utterances, one row a word and modality, quality.

    Parameters
    ----------
    language : the words' rows, if they are made already.
    """
    utterances = tuple(cut_utterances(words))
    key = run.key(*run.recipe.settings)
    kept = None
    if run.store is not None and _has_rows(run):
        kept = run.store.get_sequence(run.clip.id, key)
    if kept is not None:
        sequence = kept
    else:
        features: dict[str, WordFeatures] = {}
        if run.recipe.language:
            features["language"] = embed_words(run, words) if language is None else language
        for modality in ("visual", "acoustic"):
            if parts := _pool_modality(run.recipe, modality, words, utterances, tracks[modality]):
                features[modality] = join_features(parts)
        sequence = AlignedSequence(run.clip.id, words, features)
    good_score = getattr(run.recipe.align, "GOOD_SCORE", LOW_SCORE)
    quality = measure_quality(run.clip, sequence, tracks, good_score)
    if run.language is not None:
        quality = replace(quality, notes={**quality.notes, "language": run.language})
    if run.store is not None and kept is None:
        said = json.dumps(quality.to_json(), default=float)
        run.store.put_sequence(key, sequence, {**run.origin, "quality": said})
    return ProcessedClip(run.clip, sequence, utterances, tracks, quality, dict(run.seconds))


def _has_rows(run: ClipRun) -> bool:
    """Whether the store has the clip's rows, with their quality (making them again is cheap)."""
    if run.store is None:
        return False
    key = run.key(*run.recipe.settings)
    return "quality" in run.store.read_notes(run.clip.id, "sequence", key)


def _pool_modality(
    recipe: Recipe,
    modality: str,
    words: tuple[Word, ...],
    utterances: tuple[range, ...],
    tracks: tuple[FeatureTrack, ...],
) -> list[WordFeatures]:
    """The rows of each of a modality's backends; word timing stands beside the voice."""
    backends = getattr(recipe, modality)
    parts = [pool(track, words) for track in tracks]
    if backends and not parts:
        names = tuple(name for backend in backends for name in backend.names)
        parts = [_missing_rows(len(words), names)]
    if modality == "acoustic" and recipe.timing is not None:
        spoken = [[words[index] for index in utterance] for utterance in utterances]
        parts.append(_observed_rows(recipe.timing, spoken))
    return parts


def _observed_rows(backend: Any, utterances: list[list[Any]]) -> WordFeatures:
    """Rows of a word-level backend, all utterances one after another."""
    names = tuple(backend.names)
    values = np.concatenate([np.empty((0, len(names)), np.float32), *backend(utterances)])
    return cover_words(values, names)


def _missing_rows(count: int, names: tuple[str, ...]) -> WordFeatures:
    return WordFeatures(
        np.full((count, len(names)), np.nan, np.float32), np.zeros(count, np.float32), names
    )


def _wait_for_all(futures: list[Future], stopped: Event) -> None:
    """Wait; on the first failure tell the others to give up, and raise it."""
    done, _ = wait(futures, return_when=FIRST_EXCEPTION)
    for future in done:
        if future.exception() is not None:
            stopped.set()
            future.result()
