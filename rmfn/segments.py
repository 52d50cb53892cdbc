"""Predictions of single segments, with what a person wants to know of each: for looking at errors.

A training keeps those of segments that its models had not seen (``run/unseen.json``); of any other
labelled data `rmfn.evaluate.evaluate_dataset` tells them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DatasetError
from pipeline.records import read_json, write_json
from rmfn.dataset import Dataset
from rmfn.splits import group_segments

FORMAT = "rmfn-segments/1"


@dataclass(frozen=True)
class Segments:
    """What was predicted of n segments.

    Attributes
    ----------
    how : a line for people: on what, and by models that learned from what.
    ids, videos, texts : [n]; a text is the words with blanks between.
    starts, ends : [n] seconds into the video, of the first word and of the last.
    words : [n] how many.
    coverage : {modality: [n]} the mean over a segment's words of how much of each was measured.
    labels : [n, T]; NaN where not given.
    predicted : [n, C] decoded (``rmfn.tasks``).
    groups : [n] what belongs together (``rmfn.splits.group_segments``); () = the videos.
    """

    how: str
    ids: tuple[str, ...]
    videos: tuple[str, ...]
    texts: tuple[str, ...]
    starts: NDArray[np.float64]
    ends: NDArray[np.float64]
    words: NDArray[np.int64]
    coverage: dict[str, NDArray[np.float64]]
    labels: NDArray[np.float64]
    predicted: NDArray[np.float64]
    groups: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)


def describe_segments(
    how: str, dataset: Dataset, labels: NDArray[np.float64], predicted: NDArray[np.float64]
) -> Segments:
    """The segments of a data set with labels [n, T] and predictions [n, C]."""
    sequences = dataset.sequences
    coverage = {
        modality: np.array(
            [
                float(np.mean(s.features[modality].coverage)) if modality in s.features else 0.0
                for s in sequences
            ]
        )
        for modality, names in dataset.columns.items()
        if names
    }
    return Segments(
        how,
        dataset.ids,
        dataset.videos,
        tuple(" ".join(word.text for word in s.words).strip() for s in sequences),
        np.array([s.words[0].start for s in sequences], float),
        np.array([s.words[-1].end for s in sequences], float),
        np.array([len(s.words) for s in sequences]),
        coverage,
        np.asarray(labels, float),
        np.asarray(predicted, float),
        group_segments(dataset.videos, dataset.speakers),
    )


def save_segments(path: str | Path, parts: dict[str, Segments]) -> None:
    """Write {name: segments} as JSON that any reader takes."""
    kept = {
        name: {f.name: _to_lists(getattr(s, f.name)) for f in fields(s)}
        for name, s in parts.items()
    }
    write_json(path, {"format": FORMAT, "segments": kept})


def load_segments(path: str | Path) -> dict[str, Segments]:
    """Read them back; nothing if there is no such file.

    Raises
    ------
    DatasetError : it is damaged.
    """
    file = Path(path)
    if not file.is_file():
        return {}
    try:
        said = read_json(file)
        if said["format"] != FORMAT:
            raise ValueError(f"its format is {said['format']!r}, expected {FORMAT!r}")
        return {name: _from_lists(kept) for name, kept in said["segments"].items()}
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise DatasetError(f"{file} cannot be read: {e}") from e


def _to_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _to_lists(item) for name, item in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value


def _from_lists(kept: dict[str, Any]) -> Segments:
    return Segments(
        how=kept["how"],
        ids=tuple(kept["ids"]),
        videos=tuple(kept["videos"]),
        texts=tuple(kept["texts"]),
        starts=np.array(kept["starts"], float),
        ends=np.array(kept["ends"], float),
        words=np.array(kept["words"], int),
        coverage={name: np.array(values, float) for name, values in kept["coverage"].items()},
        labels=np.array(kept["labels"], float),
        predicted=np.array(kept["predicted"], float),
        groups=tuple(kept.get("groups", ())),
    )
