"""A clip's words and tracks put together: utterances, one row a word and modality, quality."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from extractors.types import FeatureTrack, Word, WordFeatures, cover_words, join_features
from pipeline.clip import Clip
from pipeline.clip_run import ClipRun
from pipeline.pooling import pool
from pipeline.quality import (
    LOW_SCORE,
    Quality,
    describe_words,
    find_speech_share,
    measure_quality,
    warn_of_words,
)
from pipeline.recipe import Recipe
from pipeline.sequence import AlignedSequence
from pipeline.utterances import cut_utterances


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
    if run.store is not None and has_rows(run):
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
    quality = measure_quality(run.clip, sequence, tracks, find_good_score(run.recipe))
    if run.language is not None:
        quality = replace(quality, notes={**quality.notes, "language": run.language})
    if run.store is not None and kept is None:
        said = json.dumps(quality.to_json(), default=float)
        run.store.put_sequence(key, sequence, {**run.origin, "quality": said})
    return ProcessedClip(run.clip, sequence, utterances, tracks, quality, dict(run.seconds))


def warn_of_alignment(run: ClipRun, words: tuple[Word, ...]) -> list[str]:
    """What makes a person doubt an alignment, where nothing but it is known of a clip."""
    sequence = AlignedSequence(run.clip.id, words, {})
    share = find_speech_share(run.clip, sequence)
    return warn_of_words(describe_words(sequence), share, find_good_score(run.recipe))


def find_good_score(recipe: Recipe) -> float:
    """What the recipe's aligner scores in the median where clear speech fits its words."""
    return getattr(recipe.align, "GOOD_SCORE", LOW_SCORE)


def has_rows(run: ClipRun) -> bool:
    """Whether the store has the clip's rows, with their quality (making them again is cheap)."""
    if run.store is None:
        return False
    key = run.key(*run.recipe.settings)
    return "quality" in run.store.read_notes(run.clip.id, "sequence", key)


def embed_words(run: ClipRun, words: tuple[Word, ...]) -> WordFeatures:
    """The words' rows by the recipe's language backends."""
    with run.stage("language"):
        tokens = [[words[index].text for index in utterance] for utterance in cut_utterances(words)]
        return join_features([_observed_rows(backend, tokens) for backend in run.recipe.language])


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
