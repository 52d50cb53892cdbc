"""Columns by name, one scale, no NaN, batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from extractors.types import Word, WordFeatures
from pipeline.errors import DatasetError, RecipeMismatch
from pipeline.sequence import AlignedSequence
from rmfn.data import (
    Example,
    Scaler,
    collate,
    drop_modalities,
    fit_scaler,
    refuse_infinite,
    select_columns,
    shuffled_batches,
)

NAN = float("nan")


def make(clip: str = "a", **modalities) -> AlignedSequence:
    """modality={column name: values}"""
    count = len(next(iter(next(iter(modalities.values())).values())))
    words = tuple(Word("w", n, n + 1, 1.0) for n in range(count))
    features = {}
    for modality, columns in modalities.items():
        values = np.array(list(columns.values()), np.float32).T
        features[modality] = WordFeatures(values, np.ones(count, np.float32), tuple(columns))
    return AlignedSequence(clip, words, features)


COLUMNS = {"language": ("l.0", "l.1"), "visual": ("v.0",)}


def test_scale_is_that_of_observed_values():
    sequences = [
        make(language={"l.0": [1, 3], "l.1": [5, 5]}, visual={"v.0": [NAN, 1]}),
        make(language={"l.0": [5, NAN], "l.1": [5, 5]}, visual={"v.0": [NAN, 3]}),
    ]
    scaler = fit_scaler(sequences, COLUMNS)
    assert scaler.mean["language"].tolist() == [3, 5]
    assert scaler.std["language"] == pytest.approx([np.std([1, 3, 5]), 1])  # a constant: centred
    assert scaler.mean["visual"].tolist() == [2]
    example = scaler(sequences[1], [2.5])
    assert example.features["language"][:, 0].tolist() == pytest.approx([2 / np.std([1, 3, 5]), 0])
    assert example.features["visual"].tolist() == [[0], [1]]
    assert example.observed["visual"].tolist() == [False, True]
    assert example.observed["language"].tolist() == [True, True]
    assert example.labels.tolist() == [2.5]
    assert len(example) == 2


def test_a_constant_that_rounds_is_not_blown_up():
    value = np.float32(0.1)
    sequence = make(language={"l.0": [value, np.nextafter(value, np.float32(1))]})
    scaler = fit_scaler([sequence], {"language": ("l.0",)})
    other = make(language={"l.0": [0.3]})
    assert abs(scaler(other).features["language"]).max() < 1


def test_outliers_are_clipped_and_infinities_are_missing():
    scaler = Scaler({"visual": ("v.0",)}, {"visual": np.zeros(1)}, {"visual": np.ones(1)})
    values = scaler(make(visual={"v.0": [255, -255, np.inf, 2]})).features["visual"]
    assert values[:, 0].tolist() == [5, -5, 0, 2]


def test_columns_are_taken_by_name():
    shuffled = make(language={"x": [9], "l.1": [2], "l.0": [1]}, visual={"v.0": [3]})
    assert select_columns(shuffled, "language", ("l.0", "l.1")).tolist() == [[1, 2]]
    with pytest.raises(RecipeMismatch, match=r"language column 'l\.7'.*have x, l\.1, l\.0\)"):
        select_columns(shuffled, "language", ("l.0", "l.7"))


def test_an_absent_modality_is_missing_everywhere():
    scaler = fit_scaler([make(language={"l.0": [1, 2], "l.1": [1, 2]})], COLUMNS)
    example = scaler(make(language={"l.0": [1, 2], "l.1": [1, 2]}))
    assert example.features["visual"].tolist() == [[0], [0]]
    assert not example.observed["visual"].any()
    assert all(torch.isfinite(x).all() for x in example.features.values())


def test_saturated_values_do_not_squash_the_others():
    values = np.random.default_rng(0).normal(3, 2, 100)
    values[:4] = 1000
    sequence = make(language={"l.0": values, "l.1": np.full(100, np.nan)})
    columns = {"language": ("l.0", "l.1")}
    whole, trimmed = fit_scaler([sequence], columns), fit_scaler([sequence], columns, trim=0.05)
    assert whole.std["language"][0] == pytest.approx(values.std())
    low, high = np.quantile(values, [0.05, 0.95])
    rest = values[(values >= low) & (values <= high)]
    assert trimmed.mean["language"] == pytest.approx([rest.mean(), 0])
    assert trimmed.std["language"] == pytest.approx([rest.std(), 1])
    assert 1000 not in rest
    assert trimmed(sequence).features["language"][0, 0] == 5  # still known to be far off


def test_no_words_are_refused():
    with pytest.raises(ValueError, match="'empty' has no words"):
        select_columns(AlignedSequence("empty", (), {}), "language", ("l.0",))


def examples(lengths: list[int]) -> list[Example]:
    return [
        Example(
            {"language": torch.full((n, 2), float(i + 1))},
            {"language": torch.ones(n, dtype=torch.bool)},
            torch.tensor([float(i)]),
        )
        for i, n in enumerate(lengths)
    ]


def test_collate_pads_with_zeros_at_the_end():
    batch = collate(examples([2, 1, 3]))
    assert batch.lengths.tolist() == [2, 1, 3]
    assert batch.features["language"].shape == (3, 3, 2)
    assert batch.features["language"][1, :, 0].tolist() == [2, 0, 0]
    assert batch.observed["language"].tolist() == [[1, 1, 0], [1, 0, 0], [1, 1, 1]]
    assert batch.labels.tolist() == [[0], [1], [2]]


def test_every_example_comes_once_and_batches_are_of_like_length():
    lengths = np.random.default_rng(0).integers(1, 60, 203).tolist()
    generator = torch.Generator().manual_seed(0)
    batches = list(shuffled_batches(examples(lengths), 8, generator))
    seen = torch.cat([batch.labels[:, 0] for batch in batches]).int().tolist()
    assert sorted(seen) == list(range(203))
    padded = sum(batch.lengths.max() * len(batch.lengths) for batch in batches)
    assert padded < 1.3 * sum(lengths)
    again = list(shuffled_batches(examples(lengths), 8, torch.Generator().manual_seed(0)))
    other = list(shuffled_batches(examples(lengths), 8, torch.Generator().manual_seed(1)))
    assert torch.cat([b.labels for b in again])[:, 0].int().tolist() == seen
    assert torch.cat([b.labels for b in other])[:, 0].int().tolist() != seen


def two_modalities(count: int) -> list[Example]:
    return [
        Example(
            {m: torch.ones(3, 2) for m in ("language", "visual")},
            {m: torch.ones(3, dtype=torch.bool) for m in ("language", "visual")},
            torch.tensor([1.0]),
        )
        for _ in range(count)
    ]


def test_modalities_go_missing_whole_and_never_all():
    batch = collate(two_modalities(4000))
    found = drop_modalities(batch, 0.4, torch.Generator().manual_seed(0))
    gone = torch.stack([~found.observed[m].any(1) for m in found.features], 1)
    for n, m in enumerate(found.features):
        assert (found.features[m][gone[:, n]] == 0).all()
        assert (found.features[m][~gone[:, n]] == 1).all()
        assert found.observed[m][~gone[:, n]].all()
    assert not gone.all(1).any()
    # .4 each, less the half of the .16 that lost both and were given one back
    assert gone.float().mean(0).tolist() == pytest.approx([0.32, 0.32], abs=0.03)
    assert (batch.features["visual"] == 1).all()  # the batch given is not edited
    again = drop_modalities(batch, 0.4, torch.Generator().manual_seed(0))
    assert torch.equal(again.features["visual"], found.features["visual"])


def test_an_infinite_value_is_named_and_a_missing_one_is_none():
    fine = make(language={"l.0": [1, NAN], "l.1": [1, 2]})
    broken = make(language={"l.0": [1, 2], "l.1": [1, np.inf]})
    refuse_infinite(["a"], [fine], "toy")
    said = r"toy: segment 'b' has an infinite language value in the column 'l\.1' \(word 2\)"
    with pytest.raises(DatasetError, match=said):
        refuse_infinite(["a", "b"], [fine, broken], "toy")
