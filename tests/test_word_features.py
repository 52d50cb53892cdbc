"""Columns that know labels already are left out of what a new model learns from, and told of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from extractors.language_minilm import MiniLM
from extractors.types import WordFeatures
from flows.cli import main
from flows.collect import Labelled, open_data, retrain_model
from pipeline.sequence import AlignedSequence
from rmfn.checkpoint import load_checkpoint
from rmfn.dataset import Dataset
from rmfn.predict import Predictor
from rmfn.train_dataset import train_dataset
from rmfn.word_features import leave_out_adapted
from tests.planted import PLAN
from tests.trained import FEATURES, LANGUAGE, SENTIMENT, make_dataset

MADE = {**LANGUAGE, "settings": {"layers": 1, "adapter": "mosi-language"}}
KEPT = ("good", "bad", "other")
ADAPTED = ("minilm-adapted.0", "minilm-adapted.1")


def add_adapted(dataset: Dataset, alone: bool = False) -> Dataset:
    """Two columns of an adapted encoder, between those that are there (or in their place)."""

    def widen(sequence: AlignedSequence) -> AlignedSequence:
        plain = sequence.features["language"]
        new = np.full((len(plain.values), 2), 7, np.float32)
        parts = [new] if alone else [plain.values[:, :1], new, plain.values[:, 1:]]
        names = ADAPTED if alone else (*KEPT[:1], *ADAPTED, *KEPT[1:])
        rows = WordFeatures(np.hstack(parts), plain.coverage, names)
        return replace(sequence, features={**sequence.features, "language": rows})

    steps = [MADE] if alone else [LANGUAGE, MADE]
    return replace(
        dataset,
        sequences=tuple(map(widen, dataset.sequences)),
        features={**FEATURES, "language": steps},
        labels={"sentiment": dataset.labels["sentiment"]},
        targets=(SENTIMENT,),
    )


@pytest.fixture
def store(monkeypatch):
    """In the place of a store: what it gives."""
    dataset = add_adapted(make_dataset(40))
    monkeypatch.setattr("rmfn.own_videos.dataset_from_store", lambda *a, **k: dataset)
    return dataset


def test_the_names_are_those_of_an_adapted_encoder():
    assert MiniLM(adapter="mosi-language").names[:2] == ADAPTED


def test_the_columns_go_with_the_step_that_made_them():
    plain = make_dataset(10)
    found = leave_out_adapted(add_adapted(plain))
    assert found.columns["language"] == KEPT
    assert found.features == FEATURES
    for ours, theirs in zip(found.sequences, plain.sequences, strict=True):
        for modality, rows in theirs.features.items():
            np.testing.assert_array_equal(ours.features[modality].values, rows.values)
    assert leave_out_adapted(plain) is plain


def test_without_other_language_columns_there_is_no_language():
    found = leave_out_adapted(add_adapted(make_dataset(10), alone=True))
    assert set(found.columns) == {"acoustic"}
    assert set(found.features) == {"timing"}


def test_a_segment_without_language_stays_without():
    dataset = add_adapted(make_dataset(10))
    first = dataset.sequences[0]
    bare = replace(first, features={"acoustic": first.features["acoustic"]})
    found = leave_out_adapted(replace(dataset, sequences=(bare, *dataset.sequences[1:])))
    assert set(found.sequences[0].features) == {"acoustic"}
    assert found.columns["language"] == KEPT


def test_a_store_is_read_with_or_without_them(store, caplog):
    whole = open_data(store="s", labels="l.csv")
    assert set(ADAPTED) < set(whole.columns["language"])
    assert not caplog.records
    assert open_data(store="s", labels="l.csv", keep_adapted=False).columns["language"] == KEPT
    assert "2 language columns are left out: their encoder has learned labels" in caplog.text


@pytest.mark.parametrize("keep", [False, True])
def test_a_new_model_reads_them_only_if_asked(store, tmp_path, keep, capfd):
    flags = ["--epochs", "1", "--seeds", "0", "--hidden", "language=3", "acoustic=2"]
    flags += ["--keep-adapted"] if keep else []
    where = ["--store", "s", "--labels", "l.csv", "--out", str(tmp_path / "m")]
    assert main(["train", *where, *flags]) == 0
    columns = load_checkpoint(tmp_path / "m").manifest.columns["language"]
    assert set(ADAPTED) < set(columns) if keep else columns == KEPT


@pytest.mark.parametrize("command", ["tune", "compare", "ablate"])
def test_nor_does_a_search_or_a_comparison(store, tmp_path, command, monkeypatch):
    seen: list[Dataset] = []

    def look(dataset: Dataset, *_: object) -> None:
        seen.append(dataset)
        raise ValueError("enough")

    module = "tune" if command == "tune" else "compare"
    monkeypatch.setattr(f"rmfn.{module}.{module}", look)
    where = [command, "--store", "s", "--labels", "l.csv", "--out", str(tmp_path / "o")]
    for keep in ([], ["--keep-adapted"]):
        assert main([*where, *keep]) != 0
    assert [set(ADAPTED) < set(dataset.columns["language"]) for dataset in seen] == [False, True]


def test_a_version_in_use_that_reads_them_keeps_them(store, tmp_path, monkeypatch):
    monkeypatch.setattr("flows.collect.read_labelled", lambda *_, **__: store)
    plan = replace(PLAN, targets=(SENTIMENT,))

    def train_next(name: str, keep: bool = False) -> tuple[str, ...]:
        """The language columns of the next version."""
        into = tmp_path / name
        arguments = (Labelled(tmp_path, {}), [], "s", "embedded", str(into), (), plan)
        made = retrain_model(*arguments, keep_adapted=keep)
        return Predictor.load(into / made["version"]).manifest.columns["language"]

    assert train_next("plain") == KEPT
    assert set(ADAPTED) < set(train_next("adapted", keep=True))
    assert set(ADAPTED) < set(train_next("adapted"))


def test_a_model_of_before_is_still_scored_on_them(store, tmp_path, capfd):
    settings = replace(PLAN.settings, epochs=1)
    train_dataset(store, replace(PLAN, targets=(SENTIMENT,), settings=settings), tmp_path / "m")
    where = ["--store", "s", "--labels", "l.csv"]
    assert main(["evaluate", str(tmp_path / "m"), *where]) == 0
