"""A small data set with every oddity, and the test that two are the same."""

from __future__ import annotations

import numpy as np

from extractors.types import Word, WordFeatures
from pipeline.sequence import AlignedSequence
from rmfn.dataset import Dataset, Target

SIZES = {"language": 2, "visual": 3, "acoustic": 1}


def make_dataset(seed: int = 0) -> Dataset:
    """Six segments of three videos: NaN, no face, interpolated words, an absent modality."""
    random = np.random.default_rng(seed)
    sequences = []
    for n in range(6):
        count = n + 1
        words = tuple(
            Word(f"w{n}.{m}", 0.5 * m, 0.5 * m + 0.3, None if m == 1 else 0.9, m == 2)
            for m in range(count)
        )
        rows = {}
        for modality, size in SIZES.items():
            if modality == "acoustic" and n == 3:
                continue
            values = random.normal(size=(count, size)).astype(np.float32)
            coverage = random.uniform(0.1, 1, count).astype(np.float32)
            if modality == "visual":
                values[0], coverage[0] = np.nan, 0
            names = tuple(f"{modality}.{m}" for m in range(size))
            rows[modality] = WordFeatures(values, coverage, names)
        sequences.append(AlignedSequence(f"clip{n}", words, rows))
    return Dataset(
        "planted",
        tuple(f"s{n}" for n in range(6)),
        ("v0", "v0", "v1", "v1", "v2", "v2"),
        ("ann", "ann", "bob", "bob", "", ""),
        ("train", "train", "valid", "valid", "test", "test"),
        tuple(sequences),
        {"mood": np.array([-1.5, 0.25, 3, -3, np.nan, 1])},
        (Target("mood", "regression", -3, 3),),
        {"language": [{"backend": "planted", "settings": {}, "versions": {}, "weights": {}}]},
        "made for a test",
    )


def same_dataset(found: Dataset, expected: Dataset) -> None:
    """Every field the same, NaN like NaN."""
    for name in ("name", "ids", "videos", "speakers", "splits", "targets", "features", "source"):
        assert getattr(found, name) == getattr(expected, name), name
    assert list(found.labels) == list(expected.labels)
    for name, values in expected.labels.items():
        assert np.array_equal(found.labels[name], values, equal_nan=True), name
    for mine, theirs in zip(found.sequences, expected.sequences, strict=True):
        assert mine.clip_id == theirs.clip_id
        assert mine.words == theirs.words
        assert mine.features.keys() == theirs.features.keys()
        for modality, rows in theirs.features.items():
            other = mine.features[modality]
            assert other.names == rows.names
            assert np.array_equal(other.values, rows.values, equal_nan=True)
            assert np.array_equal(other.coverage, rows.coverage)
