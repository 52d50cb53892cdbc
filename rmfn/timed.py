"""Timed transcripts as a data set: the words of a corpus that comes without its videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from extractors import BACKENDS
from pipeline.errors import DatasetError, RecipeMismatch
from rmfn.corpora import make_sequences, read_timed
from rmfn.dataset import Dataset, Target

SENTIMENT = Target("sentiment", "regression", -3.0, 3.0, threshold=0.0)
_SPLITS = {"dev": "valid", "val": "valid"}


def make_timed_dataset(
    timed: str | Path, features: dict[str, Any], target: Target = SENTIMENT, without: str = ""
) -> Dataset:
    """Read a file of timed transcripts and give its words their features.

    Parameters
    ----------
    timed : see ``rmfn.corpora.read_timed``; its split "dev" becomes "valid".
    features : the language and timing steps of ``Recipe.provenance``.
    target : what the file's labels are.
    without : a split that is left out before any work.

    Raises
    ------
    DatasetError : the file cannot be read, or nothing is left of it.
    RecipeMismatch : ``features`` has further steps, which words and their times cannot give.
    """
    segments = [s for s in read_timed(timed) if not without or s.split != without]
    if not segments:
        raise DatasetError(f"{timed}: all segments are of the split {without}, which is left out")
    return Dataset(
        name=Path(timed).name,
        ids=tuple(segment.id for segment in segments),
        videos=tuple(segment.video for segment in segments),
        speakers=("",) * len(segments),
        splits=tuple(_SPLITS.get(segment.split, segment.split) for segment in segments),
        sequences=tuple(make_sequences(segments, *load_word_backends(features))),
        # numpy's float of None is NaN, a label that nobody gave
        labels={target.name: np.array([segment.label for segment in segments], float)},
        targets=(target,),
        features=features,
        source=f"{len(segments)} segments of {Path(timed).name}",
    )


def find_word_steps(provenance: dict[str, Any]) -> dict[str, Any]:
    """Of a recipe, the steps that words and their times are enough for, to make data to learn from.

    Encoders adapted to labels are left out: they may have learned these very labels, and whatever
    is measured with them afterwards would be too good.

    Parameters
    ----------
    provenance : ``Recipe.provenance``.
    """
    steps = {step: provenance[step] for step in ("language", "timing") if provenance.get(step)}
    if "language" in steps:
        steps["language"] = [made for made in steps["language"] if not is_adapted(made)]
    return steps


def is_adapted(made: dict[str, Any]) -> bool:
    """Whether a step's encoder was adapted to labels."""
    return made.get("settings", {}).get("adapter") is not None


def load_word_backends(features: dict[str, Any]) -> tuple[list[Any], Any]:
    """The language backends and the timing backend that made a checkpoint's columns.

    Parameters
    ----------
    features : ``Manifest.features``.

    Raises
    ------
    RecipeMismatch : the columns were made by other steps too.
    """
    if set(features) != {"language", "timing"}:
        raise RecipeMismatch(
            f"the model reads features of {', '.join(sorted(features))}; timed transcripts give "
            "language and word timing only"
        )

    def construct(step: str, made: dict[str, Any]) -> Any:
        return BACKENDS[step][made["backend"]].load()(**made["settings"])

    return (
        [construct("language", made) for made in features["language"]],
        construct("timing", features["timing"]),
    )
