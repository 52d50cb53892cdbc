"""A data set: aligned sequences with labels, whatever they came from.

Own videos with a ``labels.csv``, and every published corpus, become this one thing; training,
evaluation and tuning know nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.sequence import AlignedSequence

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Target:
    """One thing to be predicted.

    Attributes
    ----------
    name : of the label's column.
    kind : "regression" (numbers from ``low`` to ``high``), "binary" (0 or 1), "classes" (0 to
        len(classes) - 1).
    low, high : the scale of a regression.
    classes : names, of "classes" alone.
    threshold : at least this is the positive class of a regression's A2 and F1; by default the
        middle of the scale.
    """

    name: str
    kind: Literal["regression", "binary", "classes"] = "regression"
    low: float = -3.0
    high: float = 3.0
    classes: tuple[str, ...] = ()
    threshold: float | None = None


@dataclass(frozen=True)
class Dataset:
    """Labelled segments.

    Attributes
    ----------
    name : for people.
    ids, videos, speakers, splits : [n] of each segment; a speaker or split that nobody gave is "".
        Splits are "train", "valid" and "test".
    sequences : [n]; all have the same columns in each modality they have.
    labels : {column: float64 [n]}; NaN where a segment has none.
    targets : what is known of the columns' scales.
    features : which steps of which recipe made the columns (``Recipe.provenance``'s form), or
        where they were published.
    source : a line for people.
    """

    name: str
    ids: tuple[str, ...]
    videos: tuple[str, ...]
    speakers: tuple[str, ...]
    splits: tuple[str, ...]
    sequences: tuple[AlignedSequence, ...]
    labels: dict[str, NDArray[np.float64]]
    targets: tuple[Target, ...] = ()
    features: dict[str, Any] = field(default_factory=dict)
    source: str = ""

    def __len__(self) -> int:
        return len(self.ids)
