"""The second checkpoint that ships: what it reads, and its numbers on the official test split."""

from __future__ import annotations

import pytest

from pipeline.errors import RecipeMismatch
from pipeline.recipe import load_recipe
from rmfn.corpora_hdf5 import dataset_from_mfn
from rmfn.evaluate import evaluate_dataset
from rmfn.predict import SHIPPED, Predictor
from tests.conftest import shared

MMMO = SHIPPED.parent / "mmmo-av"


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.load(MMMO)


def test_it_reads_no_words(predictor):
    assert {name: len(columns) for name, columns in predictor.columns.items()} == {
        "visual": 36,
        "acoustic": 74,
    }
    assert sum(path.stat().st_size for path in MMMO.iterdir()) < 10e6
    (label,) = predictor.manifest.labels
    assert (label.name, label.low, label.high) == ("sentiment", 1.0, 5.0)
    # Labels are half steps: "at least" this is above 3.5, as the corpus is scored elsewhere.
    assert 3.5 < label.threshold < 3.51
    card = (MMMO / "README.md").read_text(encoding="utf-8")
    assert f"--target sentiment:1:5:{label.threshold} " in card


def test_no_recipe_makes_what_it_reads(predictor):
    with pytest.raises(RecipeMismatch, match="mmmo-av"):
        predictor.require_recipe(load_recipe("embedded").provenance)


def test_it_learned_from_no_test_segment(predictor):
    splits = predictor.manifest.splits
    assert len(splits["train"]) == 260
    assert not set(splits["train"]) & set(splits["test"])
    assert len(splits["test"]) == 80


def test_the_official_test_split(predictor):
    """The numbers of the card, and better than what ridge regression reaches (1.139 and .37)."""
    folder = shared("data/mmmo/y_test.h5").parent
    dataset = dataset_from_mfn(sorted(folder.glob("*.h5")))
    found = evaluate_dataset(predictor, dataset, "test", draws=0)["sentiment"]
    assert found["n"] == 80
    assert found["mae"] == pytest.approx(0.970, abs=1e-3)
    assert found["corr"] == pytest.approx(0.495, abs=1e-3)
    assert found["a2"] == pytest.approx(0.750, abs=1e-3)
    assert found["f1"] == pytest.approx(0.743, abs=1e-3)
    assert found["constants"]["median"]["a2"] == pytest.approx(51 / 80)
