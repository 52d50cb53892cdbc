"""One clip through the whole pipeline: the only path there is.

The single clip, the batch, the flow and the tests all call `process_clip`, or the two stages it is
made of (`find_words`, `track_modality`) when something else keeps the order. Words, face and voice
go side by side: the words in this process, the tracks each in a process of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from pathlib import Path

from extractors.types import Audio, FeatureTrack, Transcript, Word, WordFeatures
from extractors.weights import WeightsMissing
from pipeline.apart import Stopped, measure_apart
from pipeline.assemble import ProcessedClip, assemble, embed_words, has_rows
from pipeline.clip import open_clip
from pipeline.clip_run import ClipRun, Progress, ignore_progress
from pipeline.errors import AlignmentFailed, NoSpeech
from pipeline.memory import release_memory
from pipeline.recipe import Recipe
from pipeline.store import Store

Spans = list[tuple[float, float]]
"""Stretches [start, end) of a clip in s, in order and apart."""

GRACE = 10.0  # s in which a stage that was given up has ended its process
MARGIN = 0.25  # s around a word in which frames are looked at, where only those of words are


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
    threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="stage")
    words = threads.submit(find_words, run)
    language = threads.submit(lambda: _embed_ahead(run, words.result()))
    tracks = {
        modality: threads.submit(track_modality, run, modality, words.result)
        for modality in ("visual", "acoustic")
    }
    try:
        _wait_for_all([words, language, *tracks.values()])
    except BaseException:
        # One has failed, or somebody interrupts. What is measured is ended at once; for a
        # recognition, which may take minutes to look up, nobody waits.
        run.stopped.set()
        wait(tracks.values(), timeout=GRACE)
        raise
    finally:
        threads.shutdown(wait=False)
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
    if run.stopped.is_set():
        raise Stopped(f"{run.clip.path}: given up")
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
    keys = run.recipe.track_keys(modality)
    if modality == "visual" and get_words is not None and "words" in run.recipe.looks:
        said = find_spans(get_words(), run.clip.video[0].fps)
        for index, looks in enumerate(run.recipe.looks):
            if looks == "words":
                spans[index] = said
                keys[index] += f"-{run.key('transcribe', 'align')}"
    tracks = []
    for backend, within, key in zip(backends, spans, keys, strict=True):
        track = None if run.store is None else run.store.get_track(run.clip.id, modality, key)
        if track is None:
            sound = run.decode_sound() if modality == "acoustic" else None
            told = partial(run.progress, modality)
            with run.stage(modality):
                track = measure_apart(backend, run.clip, modality, told, run.stopped, sound, within)
            if run.store is not None:
                run.store.put_track(run.clip.id, modality, key, track, run.origin)
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


def _embed_ahead(run: ClipRun, words: tuple[Word, ...]) -> WordFeatures | None:
    """Those rows, while face and voice are measured; None if they will not be asked for."""
    wanted = run.recipe.language and not has_rows(run)
    return embed_words(run, words) if wanted else None


def _wait_for_all(futures: list[Future]) -> None:
    """Wait until all have ended, or raise the first failure."""
    done, _ = wait(futures, return_when=FIRST_EXCEPTION)
    for future in done:
        future.result()
