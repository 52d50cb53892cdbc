"""Why a prediction is what it is: as the words arrive, without a word, without a modality.

Nothing here looks inside the model but `Predictor.explain`; the model is asked again and again with
less to read, and what changes is told. So it holds for every kind of model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.types import WordFeatures
from pipeline.recipe import Recipe
from pipeline.sequence import AlignedSequence
from rmfn.predict import Attention, Predictor


@dataclass(frozen=True)
class Explained:
    """One utterance of N words, asked about with parts of it missing.

    Outputs C are those of `Predictor.predict_values`: label units of regressions, probabilities of
    classes, the mean over the members.

    Attributes
    ----------
    whole : [C] of all of it, by itself.
    prefixes : [N, C] of its first 1, 2, ... N words; the last row is ``whole``.
    without_word : [N, C] with one word left out, NaN for an utterance of a single word.
    without_modality : {modality: [C]} with all of a modality's values missing.
    attention : of every stage at every word; None of a model without HIGHLIGHT.
    """

    whole: NDArray[np.float64]
    prefixes: NDArray[np.float64]
    without_word: NDArray[np.float64]
    without_modality: dict[str, NDArray[np.float64]]
    attention: Attention | None


def explain_utterance(predictor: Predictor, recipe: Recipe, sequence: AlignedSequence) -> Explained:
    """Ask a model about an utterance and about parts of it.

    A part is what would have been there, had no more been said: the vectors of the remaining words
    are made anew without those that are missing (they depend on each other), and after the first n
    words so is the timing (its rate looks two words ahead). A word that is left out of the middle
    leaves the others' times, face and voice as they were.

    Parameters
    ----------
    recipe : the one that made the sequence.
    """
    n_words = len(sequence.words)
    prefixes = _take(predictor, recipe, sequence, [range(n + 1) for n in range(n_words - 1)], True)
    others = [[m for m in range(n_words) if m != n] for n in range(n_words)] if n_words > 1 else []
    without = _take(predictor, recipe, sequence, others, False)
    missing = [_blank(sequence, modality) for modality in predictor.columns]
    values = predictor.predict_values([*prefixes, sequence, *without, *missing])
    parts = np.split(values, np.cumsum([n_words - 1, 1, len(without)]))
    before, whole, left, blanked = parts
    try:
        attention = predictor.explain(sequence)
    except ValueError:  # a baseline
        attention = None
    return Explained(
        whole[0],
        np.concatenate([before, whole]),
        left if n_words > 1 else np.full_like(whole, np.nan),
        dict(zip(predictor.columns, blanked, strict=True)),
        attention,
    )


def _take(
    predictor: Predictor,
    recipe: Recipe,
    sequence: AlignedSequence,
    parts: Sequence[Sequence[int]],
    retime: bool,
) -> list[AlignedSequence]:
    """Some of an utterance's words as an utterance of their own, for each of several parts."""
    words = [tuple(sequence.words[n] for n in part) for part in parts]
    tokens = [[word.text for word in said] for said in words]
    remade: list[tuple[str, tuple[str, ...], list[NDArray[np.float32]]]] = [
        ("language", backend.names, backend(tokens))
        for backend in recipe.language
        if _is_read(predictor, "language", backend)
    ]
    if retime and recipe.timing is not None and _is_read(predictor, "acoustic", recipe.timing):
        remade.append(("acoustic", recipe.timing.names, recipe.timing(words)))
    taken = []
    for k, part in enumerate(parts):
        features = {
            modality: WordFeatures(rows.values[list(part)], rows.coverage[list(part)], rows.names)
            for modality, rows in sequence.features.items()
        }
        for modality, names, values in remade:
            rows = features[modality]
            rows.values[:, [rows.names.index(name) for name in names]] = values[k]
        taken.append(AlignedSequence(sequence.clip_id, words[k], features))
    return taken


def _is_read(predictor: Predictor, modality: str, backend: Any) -> bool:
    return not set(backend.names).isdisjoint(predictor.columns.get(modality, ()))


def _blank(sequence: AlignedSequence, modality: str) -> AlignedSequence:
    """The utterance as if nothing of a modality had been measured."""
    rows = sequence.features.get(modality)
    if rows is None:
        return sequence
    empty = WordFeatures(
        np.full_like(rows.values, np.nan), np.zeros_like(rows.coverage), rows.names
    )
    return replace(sequence, features={**sequence.features, modality: empty})
