"""Predictions of single segments: what a training keeps, what an evaluation tells, and the file."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import numpy as np
import pytest

from pipeline.errors import DatasetError
from rmfn.checkpoint import Checkpoint
from rmfn.evaluate import evaluate_dataset
from rmfn.predict import Predictor
from rmfn.segments import describe_segments, load_segments, save_segments
from rmfn.train_dataset import train_dataset
from tests.planted import PLAN, make_planted
from tests.trained import make_dataset, make_untrained


def is_same(one, other) -> bool:
    found = [(getattr(one, f.name), getattr(other, f.name)) for f in fields(one)]
    assert [type(a) for a, _ in found] == [type(b) for _, b in found]
    return all(
        np.array_equal(a, b, equal_nan=True) if isinstance(a, np.ndarray) else str(a) == str(b)
        for a, b in found
    )


def test_an_evaluation_tells_every_segment():
    dataset = make_dataset(40)
    predictor, told = Predictor(Checkpoint(*make_untrained())), []
    report = evaluate_dataset(predictor, dataset, draws=0, on_predicted=told.append)
    (found,) = told
    assert found.ids == dataset.ids
    assert found.how == dataset.name
    assert found.labels[:, 0].tolist() == dataset.labels["sentiment"].tolist()
    assert found.predicted == pytest.approx(predictor.predict_values(dataset.sequences))
    error = np.nanmean(abs(found.predicted[:, 0] - found.labels[:, 0]))
    assert report["sentiment"]["mae"] == pytest.approx(error)
    first = dataset.sequences[0].words
    assert found.texts[0] == " ".join(word.text for word in first)
    assert (found.words[0], found.starts[0]) == (len(first), first[0].start)
    assert found.ends[0] == first[-1].end


def test_coverage_is_the_mean_over_the_words():
    dataset = make_dataset(2)
    half = dataset.sequences[0]
    rows = half.features["acoustic"]
    cover = np.linspace(0, 1, len(half.words), dtype=np.float32)
    without = replace(half, features={"language": half.features["language"]})
    changed = replace(
        dataset,
        sequences=(
            replace(half, features={**half.features, "acoustic": replace(rows, coverage=cover)}),
            without,
        ),
    )
    found = describe_segments("x", changed, np.zeros((2, 1)), np.zeros((2, 1)))
    assert found.coverage["acoustic"].tolist() == pytest.approx([float(cover.mean()), 0.0])
    assert found.coverage["language"].tolist() == [1.0, 1.0]


def test_the_file_comes_back_as_it_was(tmp_path):
    dataset = make_dataset(5)
    labels = np.array([[1.5], [np.nan], [0.0], [-3.0], [2.0]])
    found = describe_segments("some <how>", dataset, labels, labels / 3)
    save_segments(tmp_path / "s.json", {"valid": found})
    ((name, again),) = load_segments(tmp_path / "s.json").items()
    assert name == "valid"
    assert is_same(again, found)
    assert load_segments(tmp_path / "none.json") == {}


@pytest.mark.parametrize("text", ["", "{}", '{"format": "other", "segments": {}}', "[]"])
def test_a_damaged_file_is_named(tmp_path, text):
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(DatasetError, match=r"s\.json cannot be read"):
        load_segments(tmp_path / "s.json")


def test_a_training_keeps_what_its_models_had_not_seen(tmp_path):
    dataset = make_planted()
    quick = replace(PLAN.settings, epochs=1)
    manifest = train_dataset(
        dataset, replace(PLAN, folds=2, settings=quick), tmp_path / "run", None
    )
    found = load_segments(tmp_path / "run" / "run" / "unseen.json")
    assert list(found) == ["cross-validation", "valid"] == list(manifest.metrics)
    for where, segments in found.items():
        (scores,) = manifest.metrics[where].values()
        assert segments.how == scores["how"]
        assert len(segments) == scores["n"]
        assert abs(segments.predicted - segments.labels).mean() == pytest.approx(scores["mae"])
        known = dict(zip(dataset.ids, dataset.labels["sentiment"], strict=True))
        assert [known[id] for id in segments.ids] == segments.labels[:, 0].tolist()
    test = {dataset.ids[n] for n in dataset.of_split("test")}
    assert not test & set(found["cross-validation"].ids)
    text = (tmp_path / "run" / "run" / "unseen.json").read_text()
    assert json.loads(text)["format"] == "rmfn-segments/1"
