"""Columns for data sets of which the words are known: what a recipe makes of words and times; and
without those that know labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from extractors.language_minilm import ADAPTED
from extractors.types import WordFeatures, cover_words, join_features
from pipeline.errors import DatasetError
from rmfn.dataset import Dataset
from rmfn.timed import find_word_steps, is_adapted, load_word_backends


def add_word_features(dataset: Dataset, provenance: dict[str, Any]) -> Dataset:
    """Give a data set the language columns of a recipe, and word timing where words have times.

    Parameters
    ----------
    provenance : ``Recipe.provenance``. Its language columns replace those the data set has, its
        timing stands beside the acoustic ones.

    Raises
    ------
    DatasetError : the data set's words have no text, or the recipe has no language or timing step.
    """
    for step in ("language", "timing"):
        if not provenance.get(step):
            raise DatasetError(f"the recipe {provenance.get('name')!r} has no step {step!r}")
    spoken = [sequence.words for sequence in dataset.sequences]
    if not any(word.text for words in spoken for word in words):
        raise DatasetError(f"data set {dataset.name!r}: its words have no text, only features")
    steps = find_word_steps(provenance)
    languages, timing = load_word_backends(steps)
    tokens = [[word.text for word in words] for words in spoken]
    made = [languages_of(tokens) for languages_of in languages]
    # Times that nobody measured say nothing of how it was said.
    timed = any(word.score is not None for words in spoken for word in words)
    durations = timing(spoken) if timed else []
    sequences = []
    for n, sequence in enumerate(dataset.sequences):
        columns = dict(sequence.features)
        columns["language"] = join_features(
            [
                cover_words(rows[n], backend.names)
                for rows, backend in zip(made, languages, strict=True)
            ]
        )
        if timed:
            beside = [columns["acoustic"]] if "acoustic" in columns else []
            columns["acoustic"] = join_features([*beside, cover_words(durations[n], timing.names)])
        sequences.append(replace(sequence, features=columns))
    made_by = steps if timed else {"language": steps["language"]}
    return replace(dataset, sequences=tuple(sequences), features={**dataset.features, **made_by})


def count_adapted(columns: Sequence[str]) -> int:
    """How many columns are those of an encoder that was adapted to labels."""
    return sum(column.startswith(f"{ADAPTED}.") for column in columns)


def leave_out_adapted(dataset: Dataset) -> Dataset:
    """A data set without the columns of encoders that were adapted to labels.

    Without any other language columns it has no language modality.
    """
    names = dataset.columns.get("language", ())
    kept = [n for n, name in enumerate(names) if not count_adapted([name])]
    if len(kept) == len(names):
        return dataset
    sequences = []
    for sequence in dataset.sequences:
        columns = dict(sequence.features)
        rows = columns.pop("language", None)
        if rows is not None and kept:
            left = tuple(names[n] for n in kept)
            columns["language"] = WordFeatures(rows.values[:, kept], rows.coverage, left)
        sequences.append(replace(sequence, features=columns))
    features = dict(dataset.features)
    steps = [made for made in features.pop("language", []) if not is_adapted(made)]
    if steps:
        features["language"] = steps
    return replace(dataset, sequences=tuple(sequences), features=features)
