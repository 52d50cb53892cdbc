"""Held-out numbers on made-up corpora, intervals that must hold, and the timed file."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from flows.collect import open_scored
from pipeline.errors import DatasetError, RecipeMismatch
from rmfn.calibrate import calibrate
from rmfn.checkpoint import Checkpoint, Conformal
from rmfn.evaluate import (
    _ablate,
    choose_split,
    evaluate,
    evaluate_dataset,
    find_seen,
    summarise,
)
from rmfn.metrics import score
from rmfn.pages.errors import choose_scored
from rmfn.predict import Predictor
from rmfn.segments import Segments
from rmfn.timed import load_word_backends
from tests.trained import FEATURES, MOOD, SENTIMENT, make_corpus, make_dataset, make_untrained


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(Checkpoint(*make_untrained()))


def test_intervals_hold_as_often_as_said():
    random = np.random.default_rng(0)
    labels = random.uniform(-3, 3, (3000, 1))
    predictions = labels + random.laplace(0, 1, (3000, 1))
    videos = [f"v{n}" for n in random.integers(50, size=3000)]
    found = calibrate(predictions, labels, videos, [SENTIMENT], coverage=0.8)
    # |Laplace| is exponential: its 80 % quantile is ln 5, its 50 % quantile ln 2
    assert found.half_width[0] == pytest.approx(math.log(5), rel=0.06)
    assert found.levels["0.5"][0] == pytest.approx(math.log(2), rel=0.06)
    assert "0.8" not in found.levels
    assert found.measured[0] == pytest.approx(0.8, abs=0.02)
    assert found.n == 3000


def test_the_width_is_the_conformal_rank_and_not_the_plain_quantile():
    wide = replace(SENTIMENT, low=0.0, high=100.0)
    predictions = np.arange(1, 10, dtype=float)[:, None]  # errors 1..9 of label 0
    found = calibrate(predictions, np.zeros((9, 1)), list("abcdefghi"), [wide], coverage=0.8)
    assert found.half_width == (8.0,)  # the ceil(10 * .8)-th
    few = calibrate(predictions[:3], np.zeros((3, 1)), list("abc"), [wide], coverage=0.8)
    assert few.half_width == (100.0,)  # three errors cannot tell: the whole scale


def test_measured_coverage_is_of_other_videos():
    """One video errs far more than the rest: its own width must not be set by itself."""
    wide = replace(SENTIMENT, low=0.0, high=100.0)
    errors = np.r_[np.full(90, 0.1), np.full(10, 9.0)][:, None]
    videos = [f"v{n // 10}" for n in range(100)]
    found = calibrate(errors, np.zeros_like(errors), videos, [wide], coverage=0.95)
    assert found.half_width == (9.0,)
    assert found.measured[0] == pytest.approx(0.9)


def test_coverage_that_nothing_measured_is_not_told():
    """Too few errors set an infinite width, in which every label lies: 100 %, of nothing."""
    errors = np.linspace(0, 1, 40)[:, None]
    found = calibrate(errors, np.zeros_like(errors), ["v"] * 40, [SENTIMENT], coverage=0.8)
    assert found.measured == (None,)
    pairs = [f"v{n // 2}" for n in range(40)]
    for count, known in ((8, True), (4, False)):
        found = calibrate(errors[:count], np.zeros((count, 1)), pairs, [SENTIMENT], coverage=0.8)
        assert (found.measured[0] is not None) is known, count
        assert found.half_width[0] is not None


def test_classes_and_missing_labels_have_no_part_in_intervals():
    predictions = np.array([[1.0, 0.1, 0.2, 0.7]] * 9 + [[np.nan] * 4])
    labels = np.array([[2.0, 1.0]] * 8 + [[np.nan, 0.0]] + [[0.0, 0.0]])
    found = calibrate(predictions, labels, list("abcdefghij"), [SENTIMENT, MOOD], coverage=0.8)
    assert found.half_width == (1.0, None)
    assert found.measured[1] is None
    assert found.n == 8
    assert set(found.levels["0.5"]) == {1.0, None}


def test_summary_has_spread_and_intervals():
    random = np.random.default_rng(0)
    labels = random.uniform(-3, 3, 200)
    runs = (labels + random.normal(0, [[0.5], [1.0]], (2, 200)))[:, :, None]
    videos = [f"v{n}" for n in random.integers(20, size=200)]
    found = summarise(runs, labels, videos, SENTIMENT, draws=50)
    assert found["mae"] == pytest.approx(score(runs.mean(0)[:, 0], labels)["mae"])
    single = [score(run[:, 0], labels)["mae"] for run in runs]
    assert found["seeds"]["mae"] == pytest.approx([np.mean(single), np.std(single, ddof=1)])
    assert found["interval"]["mae"][0] < found["mae"] < found["interval"]["mae"][1]
    assert summarise(runs[:1], labels, videos, SENTIMENT, draws=2)["seeds"]["mae"][1] == 0
    blank = np.where(np.arange(200) % 2, labels, np.nan)
    assert summarise(runs, blank, videos, SENTIMENT, draws=2)["n"] == 100


def test_a_checkpoint_is_scored_with_constants_beside_it(predictor):
    sequences, labels, videos = make_corpus(40)
    predicted = predictor.predict_values(sequences)
    found = evaluate(predictor.manifest, predicted, labels, videos, draws=20)["sentiment"]
    values = predicted[:, 0]
    y = np.array(labels)[:, 0]
    assert found["mae"] == pytest.approx(abs(values - y).mean())
    assert found["covered"] == pytest.approx((abs(values - y) <= 1.25).mean())
    assert found["constants"]["mean"]["mae"] == pytest.approx(abs(0.1 - y).mean())
    assert set(found["interval"]) == set(score(values, y)) - {"n"}
    without = evaluate(predictor.manifest, predicted, labels, videos, draws=0)["sentiment"]
    assert without["interval"] == {}


def test_calibration_is_told_at_every_level_that_is_known():
    manifest, ensemble = make_untrained()
    levels = {"0.5": (0.4,), "0.95": (2.5,)}
    manifest = replace(manifest, conformal=Conformal(0.8, (1.25,), (0.8,), 9, levels))
    sequences, labels, videos = make_corpus(40)
    predicted = Predictor(Checkpoint(manifest, ensemble)).predict_values(sequences)
    found = evaluate(manifest, predicted, labels, videos, draws=0)["sentiment"]["calibration"]
    errors = abs(predicted[:, 0] - np.array(labels)[:, 0])
    assert list(found) == ["0.5", "0.8", "0.95"]
    for level, width in (("0.5", 0.4), ("0.8", 1.25), ("0.95", 2.5)):
        assert found[level] == pytest.approx((errors <= width).mean())


def test_ablation_is_what_the_model_says_without(predictor):
    dataset = make_dataset(30)
    found = evaluate_dataset(predictor, dataset, ablate=True, draws=0)["sentiment"]["ablation"]
    assert list(found) == ["without language", "without acoustic"]
    blind = [replace(s, features={"acoustic": s.features["acoustic"]}) for s in dataset.sequences]
    y = dataset.labels["sentiment"]
    expected = score(predictor.predict_values(blind)[:, 0], y)
    assert found["without language"]["mae"] == pytest.approx(expected["mae"])
    assert found["without acoustic"] != found["without language"]


def test_of_three_modalities_each_is_tried_alone():

    manifest, _ = make_untrained(1)
    manifest = replace(manifest, columns={**manifest.columns, "visual": ("v",)})
    names = [name for name, _ in _ablate(make_corpus(2)[0], manifest)]
    assert names == [
        "without language",
        "without acoustic",
        "without visual",
        "only language",
        "only acoustic",
        "only visual",
    ]


def test_two_models_are_compared_on_the_same_segments(predictor):
    dataset = make_dataset(60)
    other = Predictor(Checkpoint(*make_untrained(seed=5)))
    found = evaluate_dataset(predictor, dataset, against=other, draws=50)["sentiment"]
    y = dataset.labels["sentiment"]
    errors = [
        abs(each.predict_values(dataset.sequences)[:, 0] - y).mean() for each in (predictor, other)
    ]
    mae = found["against"]["differences"]["mae"]
    assert mae["difference"] == pytest.approx(errors[0] - errors[1])
    assert found["against"]["metrics"]["mae"] == pytest.approx(errors[1])
    assert 0 < mae["p"] <= 1
    manifest, ensemble = make_untrained()
    stranger = replace(
        manifest, labels=(replace(SENTIMENT, name="anger"),), constants={"anger": {}}
    )
    with pytest.raises(DatasetError, match="'toy' and 'toy' predict nothing alike"):
        evaluate_dataset(predictor, dataset, against=Predictor(Checkpoint(stranger, ensemble)))


def test_intervals_redraw_whole_speakers(predictor):
    """Videos of one speaker are not independent: as if they were one."""
    dataset = make_dataset(60)
    speakers = tuple(f"p{int(video[1:]) // 4}" for video in dataset.videos)
    known = replace(dataset, speakers=speakers)
    merged = replace(dataset, videos=speakers)
    other = Predictor(Checkpoint(*make_untrained(seed=5)))
    found, same, plain = (
        evaluate_dataset(predictor, each, against=other, draws=50)["sentiment"]
        for each in (known, merged, dataset)
    )
    assert found["interval"] == same["interval"] != plain["interval"]
    ours, theirs, videos = (e["against"]["differences"]["mae"] for e in (found, same, plain))
    assert ours == theirs != videos
    assert (found["videos"], found["groups"], plain["groups"]) == (12, 3, 12)
    told: list[Segments] = []
    evaluate_dataset(predictor, known, draws=0, on_predicted=told.append)
    scored = choose_scored(told[0], 0, SENTIMENT, slice(0, 1))
    assert set(scored.groups) == {"p0", "p1", "p2"}


def test_what_was_trained_on_is_told(predictor):
    manifest, ensemble = make_untrained()
    splits = {"train": ["v0", "v1"], "valid": ["v2"], "test": ["v3"]}
    knowing = Predictor(Checkpoint(replace(manifest, splits=splits), ensemble))
    dataset = make_dataset(60)
    assert find_seen(knowing.manifest, dataset) == {"v0", "v1", "v2"}
    found = evaluate_dataset(knowing, dataset, draws=0)["sentiment"]
    known = sum(video in ("v0", "v1", "v2") for video in dataset.videos)
    assert found["seen"] == {"segments": known, "videos": 3}
    assert found["videos"] == len(set(dataset.videos))
    found = evaluate_dataset(knowing, dataset, "test", draws=0)["sentiment"]
    assert found["seen"]["segments"] == 0
    assert found["n"] == dataset.videos.count("v3")


@pytest.mark.parametrize(
    ("then", "now", "same"),
    [
        ("talk.mp4", "talk", True),
        ("talk", "talk.mp4", True),
        ("one/talk.mp4", "talk", True),
        ("one/talk.mp4", "one/talk", True),
        ("talk.mp4", "one/talk.mp4", True),
        ("one/talk.mp4", "two/talk.mp4", False),
        ("talk.1", "talk.2", False),
        ("3f2a", "talk.mp4", True),  # a model that was retrained knows clip ids alone
        ("other", "3f2a", False),
    ],
)
def test_a_video_is_the_same_by_any_of_its_names(then, now, same):
    manifest, _ = make_untrained()
    dataset = make_dataset(20)
    clips = tuple(replace(sequence, clip_id="3f2a") for sequence in dataset.sequences)
    dataset = replace(dataset, videos=(now,) * 20, sequences=clips)
    manifest = replace(manifest, splits={"train": [then], "test": ["other"]})
    assert find_seen(manifest, dataset) == ({now} if same else set())
    if same:
        assert len(choose_split(dataset, manifest, "train")) == 20
    else:
        with pytest.raises(DatasetError, match="no segments of the split 'train'"):
            choose_split(dataset, manifest, "train")
    by_id = replace(manifest, splits={"train": ["x"]}, clips={"train": ["3f2a"], "test": ["4"]})
    assert find_seen(by_id, dataset) == {now}


def test_a_split_is_the_data_sets_before_the_models(predictor):
    dataset = make_dataset(20)
    splits = tuple("test" if n < 5 else "train" for n in range(20))
    assert (
        choose_split(replace(dataset, splits=splits), predictor.manifest, "test").ids
        == (dataset.ids[:5])
    )
    assert choose_split(dataset, predictor.manifest, None) is dataset
    with pytest.raises(DatasetError, match="'toy' has no segments of the split 'valid'"):
        choose_split(replace(dataset, splits=splits), predictor.manifest, "valid")
    with pytest.raises(DatasetError, match="has no splits and the training of 'toy' has no segm"):
        choose_split(dataset, predictor.manifest, "test")


def test_backends_are_those_of_training():
    from extractors.word_timing import WordTiming

    with pytest.raises(RecipeMismatch, match="reads features of language, timing, visual"):
        load_word_backends({**FEATURES, "visual": []})
    minilm = {"backend": "minilm", "settings": {"path": None, "layers": 2}}
    (language,), timing = load_word_backends({**FEATURES, "language": [minilm]})
    assert language.layers == 2
    assert timing == WordTiming(neighbours=2)


def test_a_file_without_labels_is_refused(tmp_path, monkeypatch):
    sequence = make_corpus(1)[0][0]
    monkeypatch.setattr("rmfn.timed.load_word_backends", lambda features: ([], None))
    monkeypatch.setattr("rmfn.timed.make_sequences", lambda *given: [sequence])
    predictor = Predictor(Checkpoint(*make_untrained()))
    line = {"id": "a", "vid": "v", "words": ["hi"], "w_start": [0], "w_end": [1]}
    (tmp_path / "t.jsonl").write_text(json.dumps(line))
    scored = open_scored(predictor.manifest, None, None, None, str(tmp_path / "t.jsonl"))
    with pytest.raises(DatasetError, match="no segment has the label 'sentiment'"):
        evaluate_dataset(predictor, scored)
