"""Columns for data sets of which the words are known: what a recipe makes of words and times."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from extractors.types import cover_words, join_features
from pipeline.errors import DatasetError
from rmfn.dataset import Dataset
from rmfn.timed import find_word_steps, load_word_backends


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
