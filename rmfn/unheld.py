"""What a data set has that a published format has no place for: kept beside the rest as one record.

Other programs pass it over; ours gives the data set back as it was. Features and labels are not in
it, they are where the format has them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.types import Word, WordFeatures
from pipeline.errors import DatasetError
from pipeline.records import parse_json
from pipeline.sequence import AlignedSequence
from rmfn.dataset import Dataset, Target


@dataclass(frozen=True)
class Unheld:
    """``record`` fits in JSON; ``keys`` are what the format calls the segments, in their order."""

    record: dict[str, Any]

    @property
    def keys(self) -> list[str]:
        return self.record["keys"]

    @property
    def targets(self) -> tuple[Target, ...]:
        return tuple(
            Target(**{**target, "classes": tuple(target["classes"])})
            for target in self.record["targets"]
        )

    @property
    def columns(self) -> dict[str, tuple[str, ...]]:
        return {modality: tuple(names) for modality, names in self.record["columns"].items()}

    def words(self, place: int) -> tuple[Word, ...]:
        return tuple(Word(*fields) for fields in self.record["words"][place])

    def name_labels(self, values: NDArray) -> dict[str, NDArray[np.float64]]:
        """Label columns [n, k] by their names."""
        names = self.record["labels"]
        if values.shape[1] != len(names):
            raise DatasetError(f"{values.shape[1]} label columns, {len(names)} were exported")
        return {name: values[:, n].astype(np.float64) for n, name in enumerate(names)}


def keep_unheld(dataset: Dataset, keys: Sequence[str]) -> Unheld:
    """Everything but features and labels."""
    return Unheld(
        {
            "name": dataset.name,
            "source": dataset.source,
            "features": dataset.features,
            "targets": [asdict(target) for target in dataset.targets],
            "labels": list(dataset.labels),
            "columns": dataset.columns,
            "keys": list(keys),
            "ids": dataset.ids,
            "videos": dataset.videos,
            "speakers": dataset.speakers,
            "splits": dataset.splits,
            "clips": [sequence.clip_id for sequence in dataset.sequences],
            "words": [
                [(w.text, w.start, w.end, w.score, w.guessed) for w in sequence.words]
                for sequence in dataset.sequences
            ],
            "coverage": {
                modality: [
                    rows.coverage.tolist() if (rows := s.features.get(modality)) else None
                    for s in dataset.sequences
                ]
                for modality in dataset.columns
            },
        }
    )


def read_unheld(text: str | None) -> Unheld | None:
    """The record as JSON; None for files of others, and for what is no such record."""
    try:
        record = parse_json(text or "null")
    except ValueError:
        return None
    return Unheld(record) if isinstance(record, dict) and "keys" in record else None


def restore(dataset: Dataset, unheld: Unheld, where: str) -> Dataset:
    """Give a data set read from a format back what the format did not hold.

    Parameters
    ----------
    dataset : its ids are the keys.

    Raises
    ------
    DatasetError : it is not what was exported (somebody changed the files since).
    """
    record, columns = unheld.record, unheld.columns
    places = {key: n for n, key in enumerate(dataset.ids)}
    if sorted(places) != sorted(unheld.keys):
        raise DatasetError(
            f"{where}: expected the {len(unheld.keys)} segments that were exported, found "
            f"{len(places)}; the files were changed since"
        )
    order = [places[key] for key in unheld.keys]
    sequences = []
    for place, n in enumerate(order):
        words, rows = unheld.words(place), {}
        for modality, names in columns.items():
            coverage = record["coverage"][modality][place]
            if coverage is None:
                continue
            found = dataset.sequences[n].features.get(modality)
            values = np.zeros((len(words), 0)) if found is None else found.values
            if values.shape != (len(words), len(names)):
                raise DatasetError(
                    f"{where}: segment {unheld.keys[place]!r} has {modality} features "
                    f"{list(values.shape)}, [{len(words)}, {len(names)}] were exported; the files "
                    "were changed since"
                )
            rows[modality] = WordFeatures(
                values.astype(np.float32), np.array(coverage, np.float32), names
            )
        sequences.append(AlignedSequence(record["clips"][place], words, rows))
    return Dataset(
        record["name"],
        tuple(record["ids"]),
        tuple(record["videos"]),
        tuple(record["speakers"]),
        tuple(record["splits"]),
        tuple(sequences),
        {name: values[order] for name, values in dataset.labels.items()},
        unheld.targets,
        record["features"],
        record["source"],
    )


def name_keys(dataset: Dataset, form: str, forbidden: str) -> list[str]:
    """A key a segment, ``video[n]`` or the like, as a format wants them.

    Parameters
    ----------
    form : such as "{video}[{n}]".
    forbidden : characters that a video's name may not hold there; they become "_".
    """
    names: dict[str, str] = {}
    for video in dict.fromkeys(dataset.videos):
        name = "".join("_" if c in forbidden or not c.isprintable() else c for c in video) or "_"
        while name in names.values():
            name += "_"
        names[video] = name
    counted: Counter[str] = Counter()
    keys = []
    for video in dataset.videos:
        keys.append(form.format(video=names[video], n=counted[video]))
        counted[video] += 1
    return keys
