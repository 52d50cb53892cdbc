"""Held-out numbers on made-up corpora, intervals that must hold, and the timed file."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from pipeline.errors import DatasetError, RecipeMismatch
from rmfn.checkpoint import Checkpoint, save_checkpoint
from rmfn.evaluate import (
    calibrate,
    cross_validate,
    evaluate,
    evaluate_timed,
    load_word_backends,
    summarise,
)
from rmfn.metrics import score
from rmfn.predict import Predictor
from rmfn.train import TrainSettings
from tests.trained import COLUMNS, CONFIG, FEATURES, make_corpus, make_untrained


def test_cross_validation_predicts_everything_unseen(monkeypatch):
    sequences, labels, videos = make_corpus(60)
    by_id = {s.clip_id: video for s, video in zip(sequences, videos, strict=True)}
    learned: list[set[str]] = []

    class Memory:
        def __init__(self, seen):
            self.seen = seen

        def predict_each(self, tests):
            assert not self.seen & {by_id[s.clip_id] for s in tests}
            import torch

            return torch.tensor([[[float(s.clip_id[1:])] for s in tests]] * 2)

    def fit(config, settings, columns, sequences, labels, videos, seeds, on_epoch):
        learned.append(set(videos))
        assert [by_id[s.clip_id] for s in sequences] == list(videos)
        on_epoch(1, None)
        return Memory(set(videos))

    monkeypatch.setattr("rmfn.evaluate.fit_ensemble", fit)
    runs = []
    found = cross_validate(
        CONFIG,
        TrainSettings(),
        COLUMNS,
        sequences,
        labels,
        videos,
        (0, 1),
        folds=4,
        on_epoch=lambda run, epoch: runs.append(run),
    )
    assert found.shape == (2, 60, 1)
    assert found[1, :, 0].tolist() == list(range(60))  # each where it belongs
    assert len(learned) == 4
    assert runs == [1, 3, 5, 7]


def test_cross_validation_learns():
    sequences, labels, videos = make_corpus(120)
    settings = TrainSettings(epochs=8, batch=16, lr=0.03)
    found = cross_validate(CONFIG, settings, COLUMNS, sequences, labels, videos, (0,), folds=3)
    y = np.array(labels)[:, 0]
    assert score(found[0, :, 0], y)["corr"] > 0.7


def test_intervals_hold_as_often_as_said():
    random = np.random.default_rng(0)
    labels = random.uniform(-3, 3, (3000, 1))
    predictions = labels + random.laplace(0, 1, (3000, 1))
    videos = [f"v{n}" for n in random.integers(50, size=3000)]
    found = calibrate(predictions, labels, videos, coverage=0.8)
    # |Laplace| is exponential: its 80 % quantile is ln 5
    assert found.half_width[0] == pytest.approx(math.log(5), rel=0.06)
    assert found.measured[0] == pytest.approx(0.8, abs=0.02)
    assert found.n == 3000


def test_the_width_is_the_conformal_rank_and_not_the_plain_quantile():
    predictions = np.arange(1, 10, dtype=float)[:, None]  # errors 1..9 of label 0
    found = calibrate(predictions, np.zeros((9, 1)), list("abcdefghi"), coverage=0.8)
    assert found.half_width == (8.0,)  # the ceil(10 * .8)-th
    few = calibrate(predictions[:3], np.zeros((3, 1)), list("abc"), coverage=0.8)
    assert few.half_width == (math.inf,)  # three errors cannot tell


def test_measured_coverage_is_of_other_videos():
    """One video errs far more than the rest: its own width must not be set by itself."""
    errors = np.r_[np.full(90, 0.1), np.full(10, 9.0)][:, None]
    videos = [f"v{n // 10}" for n in range(100)]
    found = calibrate(errors, np.zeros_like(errors), videos, coverage=0.95)
    assert found.half_width == (9.0,)
    assert found.measured[0] == pytest.approx(0.9)


def test_summary_has_spread_and_intervals():
    random = np.random.default_rng(0)
    labels = random.uniform(-3, 3, 200)
    runs = labels + random.normal(0, [[0.5], [1.0]], (2, 200))
    videos = [f"v{n}" for n in random.integers(20, size=200)]
    found = summarise(runs, labels, videos, draws=50)
    assert found["mae"] == pytest.approx(score(runs.mean(0), labels)["mae"])
    single = [score(run, labels)["mae"] for run in runs]
    assert found["seeds"]["mae"] == pytest.approx([np.mean(single), np.std(single, ddof=1)])
    assert found["interval"]["mae"][0] < found["mae"] < found["interval"]["mae"][1]
    assert summarise(runs[:1], labels, videos, draws=2)["seeds"]["mae"][1] == 0


def test_a_checkpoint_is_scored_with_constants_beside_it():
    predictor = Predictor(Checkpoint(*make_untrained()))
    sequences, labels, videos = make_corpus(40)
    found = evaluate(predictor, sequences, labels, videos, draws=20)["sentiment"]
    values = predictor.predict_values(sequences)[:, 0]
    y = np.array(labels)[:, 0]
    assert found["mae"] == pytest.approx(abs(values - y).mean())
    assert found["covered"] == pytest.approx((abs(values - y) <= 1.25).mean())
    assert found["constants"]["mean"]["mae"] == pytest.approx(abs(0.1 - y).mean())
    assert set(found["interval"]) == set(score(values, y)) - {"n"}
    assert evaluate(predictor, sequences, labels, videos, draws=0)["sentiment"]["interval"] == {}


def test_backends_are_those_of_training():
    from extractors.word_timing import WordTiming

    with pytest.raises(RecipeMismatch, match="reads features of language, timing, visual"):
        load_word_backends({**FEATURES, "visual": []})
    minilm = {"backend": "minilm", "settings": {"path": None, "layers": 2}}
    (language,), timing = load_word_backends({**FEATURES, "language": [minilm]})
    assert language.layers == 2
    assert timing == WordTiming(neighbours=2)


def test_a_segment_without_label_cannot_be_scored(tmp_path):
    manifest, ensemble = make_untrained()
    save_checkpoint(replace(manifest), ensemble, tmp_path / "model")
    line = {"id": "a", "vid": "v", "words": ["hi"], "w_start": [0], "w_end": [1]}
    (tmp_path / "t.jsonl").write_text(json.dumps(line))
    with pytest.raises(DatasetError, match="segment 'a' has no label to be scored against"):
        evaluate_timed(tmp_path / "model", tmp_path / "t.jsonl")
