"""From a file of timed transcripts to a folder that predicts."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from extractors.types import Word
from extractors.word_timing import WordTiming
from flows.collect import open_data, open_scored
from pipeline.errors import DatasetError
from rmfn.card import describe
from rmfn.checkpoint import CheckpointError
from rmfn.corpora import LabelledSegment, make_sequences
from rmfn.evaluate import evaluate_dataset
from rmfn.predict import Predictor
from rmfn.running import TrainSettings
from rmfn.train_dataset import cross_validate_dataset, train_dataset
from rmfn.train_timed import PLAN

SMALL = replace(
    PLAN,
    hidden={"language": 6, "acoustic": 2},
    model_settings={"fuse": 4, "summary": 4, "head": 6, "attention_scale": "mean1"},
    settings=TrainSettings(epochs=4, batch=8, lr=0.01),
    seeds=(0, 1),
    folds=2,
    adapt=None,
)
OLD_CARD = "# Toy\n\n## Measured\nold"
VECTORS = {"good": (2.0, 0.0), "bad": (-2.0, 0.0), "film": (0.0, 1.0)}


class Toy:
    """A language backend of three words."""

    names = ("toy.0", "toy.1")

    def __init__(self, path: str | None = None, layers: int = 1):
        pass

    def __call__(self, utterances):
        return [np.array([VECTORS[t] for t in tokens], np.float32) for tokens in utterances]


@pytest.fixture(autouse=True)
def toy_language(monkeypatch):
    monkeypatch.setattr("extractors.language_minilm.MiniLM.__call__", Toy.__call__)
    adapted = tuple(name.replace("toy", "toy-adapted") for name in Toy.names)
    names = property(lambda backend: adapted if backend.adapter else Toy.names)
    monkeypatch.setattr("extractors.language_minilm.MiniLM.names", names)


@pytest.fixture
def timed(tmp_path):
    random = np.random.default_rng(0)
    lines = []
    for n in range(90):
        tokens = random.choice(list(VECTORS), size=random.integers(1, 5)).tolist()
        label = float(np.clip(tokens.count("good") - tokens.count("bad"), -3, 3))
        video = n % 12
        lines.append(
            {
                "id": f"s{n}",
                "vid": f"v{video}",
                "split": "dev" if video > 8 else "test" if video == 0 else "train",
                "label": label,
                "words": ["sp", *tokens],
                "w_start": [0.4 * i for i in range(len(tokens) + 1)],
                "w_end": [0.4 * (i + 1) for i in range(len(tokens) + 1)],
            }
        )
    path = tmp_path / "toy.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines))
    return path


def test_a_file_becomes_a_folder_that_predicts(timed, tmp_path):
    seen = []
    manifest = train_dataset(
        open_data(timed=str(timed)), SMALL, tmp_path / "toy", seen.append, card=OLD_CARD
    )
    assert manifest.name == "toy"
    assert manifest.members == 2
    assert "v0" not in manifest.splits["train"]  # the split test is not learned from
    assert manifest.columns == {"language": Toy.names, "acoustic": WordTiming().names}
    # cross-validation 2 x 2, dev 2, all 2: told in order, to the last
    assert {p.runs for p in seen} == {8}
    assert [p.run for p in seen] == sorted(p.run for p in seen)
    assert seen[-1].run == 7
    assert [p.what for p in seen if p.epoch.number == 1] == [
        *["cross-validation"] * 4,
        *["train, for valid"] * 2,
        *["all"] * 2,
    ]
    assert manifest.metrics["cross-validation"]["sentiment"]["n"] + 8 == 90
    assert manifest.metrics["valid"]["sentiment"]["n"] == 21
    assert manifest.trained_on == "82 segments of toy.jsonl"
    assert 0 < manifest.conformal.half_width[0] <= 6
    card = (tmp_path / "toy" / "README.md").read_text()
    assert card == "# Toy\n\n" + describe(manifest)
    assert "constant: median" in card

    predictor = Predictor.load(tmp_path / "toy")
    words = tuple(Word(t, 0.4 * i, 0.4 * i + 0.4, 1.0) for i, t in enumerate(["good", "film"]))
    segment = LabelledSegment("x", "v", words)
    (sequence,) = make_sequences([segment], [Toy()], WordTiming())
    found = predictor(sequence)["sentiment"]
    assert -3 <= found.low <= found.value <= found.high <= 3

    scored = open_scored(predictor.manifest, None, None, None, str(timed))
    report = evaluate_dataset(predictor, scored, draws=5)["sentiment"]
    assert report["n"] == 90
    assert report["covered"] > 0.5


def test_only_cross_validation(timed):
    found = cross_validate_dataset(open_data(timed=str(timed)), SMALL)
    assert found["sentiment"]["n"] == 82
    assert len(found["sentiment"]["seeds"]["mae"]) == 2  # mean and deviation


def test_labels_must_be_on_the_scale_and_may_be_missing(timed, tmp_path):
    lines = timed.read_text().splitlines()
    row = json.loads(lines[1])
    timed.write_text("\n".join([json.dumps({**row, "label": 5}), *lines[2:]]))
    with pytest.raises(DatasetError, match=r"'s1' has the sentiment 5, expected -3 to 3"):
        train_dataset(open_data(timed=str(timed)), SMALL, tmp_path / "m")
    assert not (tmp_path / "m").exists()
    timed.write_text("\n".join([json.dumps({**row, "label": None}), *lines[2:]]))
    found = cross_validate_dataset(open_data(timed=str(timed)), SMALL)
    assert found["sentiment"]["n"] == 81


def test_too_few_videos_are_said(timed, tmp_path):
    timed.write_text("\n".join(timed.read_text().splitlines()[1:2]))
    with pytest.raises(DatasetError, match="1 videos cannot be split into 2 parts"):
        train_dataset(open_data(timed=str(timed)), SMALL, tmp_path / "m")


def test_a_folder_that_is_something_else_is_refused_before_the_work(timed, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    seen = []
    with pytest.raises(CheckpointError, match="is no checkpoint"):
        train_dataset(open_data(timed=str(timed)), SMALL, tmp_path / "photos", seen.append)
    assert not seen


def test_the_test_split_is_not_learned_from(timed, tmp_path):
    rows = [json.loads(line) for line in timed.read_text().splitlines()]
    timed.write_text("\n".join(json.dumps({**row, "split": "test"}) for row in rows))
    with pytest.raises(DatasetError, match="all segments are of the split test"):
        train_dataset(open_data(timed=str(timed)), SMALL, tmp_path / "m")
