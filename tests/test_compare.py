"""Every system under one protocol: resumed where it stopped, side by side, with whatever fails or
is not for the data in its row."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

import rmfn.compare
from pipeline.errors import DatasetError
from rmfn.baselines import MODELS, make_config
from rmfn.compare import choose_protocol, compare, estimate_rest, find_twin
from rmfn.job import Plan, choose_settings, configure, prepare
from rmfn.metrics import score
from rmfn.score_system import score_system
from rmfn.significance import compare_models
from rmfn.systems import GROUPS, QUESTIONS, TITLES, choose_systems
from rmfn.tasks import find_constants
from tests.planted import PLAN, make_planted
from tests.trained import make_dataset

FAST = replace(PLAN, settings=replace(PLAN.settings, epochs=1))
SOME = ("ef-lstm", "marn", "rmfn")


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared") / "run"
    told = []
    found = compare(make_planted(), folder, ("questions", "rmfn"), (0, 1), FAST, 1, told.append)
    return found, folder, told


def read_predictions(folder, model, seed):
    return np.array(json.loads((folder / model / f"{seed}.json").read_text())["predictions"])[:, 0]


def test_every_system_is_trained_and_scored_alike(compared):
    found, folder, told = compared
    assert [row.model for row in found.rows] == [*QUESTIONS, "rmfn"]
    assert found.reference == "RMFN"
    dataset = make_planted()
    test = dataset.of_split("test")
    labels = dataset.labels["sentiment"][test]
    for row in found.rows:
        assert set(row.seeds) == {0, 1}
        assert not row.missing
        model = "rmfn" if row.model == "rmfn-r3" else row.model
        for seed, report in row.seeds.items():
            assert report["sentiment"] == score(read_predictions(folder, model, seed), labels)
        assert row.parameters > 100
        assert row.train_seconds > 0
        assert row.predict_ms > 0
    # All systems once before any twice; RMFN is its own K = 3 and is not trained again for that.
    assert [(each.model, each.seed) for each in told] == [
        (model, seed)
        for seed in (0, 1)
        for model in [name.replace("rmfn-r3", "rmfn") for name in QUESTIONS]
    ]
    assert [each.done for each in told] == list(range(1, 15))
    assert told[0].untimed == 6
    assert told[-1].left == 0
    assert told[0].errors == {
        "sentiment": pytest.approx(found.rows[0].seeds[0]["sentiment"]["mae"])
    }


def test_spread_is_mean_and_sample_deviation(compared):
    for row in compared[0].rows:
        values = [report["sentiment"]["mae"] for report in row.seeds.values()]
        mean, deviation = row.spread("sentiment", "mae")
        assert mean == pytest.approx(sum(values) / 2)
        assert deviation == pytest.approx(abs(values[0] - values[1]) / np.sqrt(2))
        assert row.spread("sentiment", "accuracy") is None


def test_differences_are_paired_with_rmfn(compared):
    found, folder, _ = compared
    dataset = make_planted()
    test = dataset.of_split("test")
    labels = dataset.labels["sentiment"][test]
    rows = {row.model: row for row in found.rows}
    assert rows["rmfn"].against == rows["rmfn-r3"].against == {}

    def errors(model):
        every = [abs(read_predictions(folder, model, seed) - labels) for seed in (0, 1)]
        return np.mean(every, axis=0)

    ours, theirs = errors("marn"), errors("rmfn")
    against = rows["marn"].against["sentiment"]
    assert against["difference"] == pytest.approx((ours - theirs).mean())
    videos = [dataset.videos[n] for n in test]
    expected = compare_models(
        ours, theirs, labels, videos, lambda p, y: {"mae": float(p.mean())}, draws=4000
    )["mae"]
    assert against["interval"] == pytest.approx(expected["interval"], abs=0.01)
    assert against["p"] == pytest.approx(expected["p"], abs=0.04)
    others = [row.against["sentiment"] for row in found.rows if row.against]
    assert len(others) == 6
    # Holm: the least p times their number, and none below what a lesser p has
    least = min(others, key=lambda each: each["p"])
    assert least["p_holm"] == min(1, 6 * least["p"])
    ordered = sorted(others, key=lambda each: each["p"])
    assert all(a["p_holm"] <= b["p_holm"] for a, b in pairwise(ordered))


def test_tables_and_the_picture_are_written(compared):
    found, folder, _ = compared
    rows = list(csv.DictReader(io.StringIO((folder / "table.csv").read_text())))
    assert [row["model"] for row in rows if row["model"]] == [row.model for row in found.rows]
    for row, line in zip(found.rows, rows, strict=False):
        assert float(line["mae"]) == row.spread("sentiment", "mae")[0]
        assert line["seeds"] == "2"
    assert (folder / "plot.png").read_bytes().startswith(b"\x89PNG")
    kept = json.loads((folder / "table.json").read_text())
    assert [row["model"] for row in kept["rows"]] == [row.model for row in found.rows]
    assert "NaN" not in (folder / "table.json").read_text()


def test_constants_are_of_what_was_learned_from(compared):
    dataset = make_planted()
    labels = dataset.labels["sentiment"]
    known = find_constants(labels[dataset.of_split("train")], dataset.targets[0])
    truth = labels[dataset.of_split("test")]
    found = compared[0].constants["sentiment"]
    assert set(found) == {*known, "random guess"}
    for name in ("mean", "median"):
        assert found[name]["mae"] == pytest.approx(abs(truth - known[name]).mean())
    # Who draws from the labels learned from errs by this much on the average.
    learned = labels[dataset.of_split("train")]
    expected = abs(learned[:, None] - truth[None]).mean()
    assert found["random guess"]["mae"] == pytest.approx(expected, rel=0.1)


def test_what_is_done_is_not_done_again(tmp_path, monkeypatch):
    dataset, trained = make_planted(), []

    def count(dataset, plan, task):
        if len(trained) == stop:
            raise KeyboardInterrupt
        trained.append(task)
        return score_system(dataset, plan, task)

    monkeypatch.setattr(rmfn.compare, "score_system", count)
    stop, models = 3, ("marn", "rmfn-r1")
    with pytest.raises(KeyboardInterrupt):
        compare(dataset, tmp_path / "run", models, (0, 1), FAST)
    stop = None
    resumed = compare(dataset, tmp_path / "run", models, (0, 1), FAST)
    assert trained == [("marn", 0), ("rmfn-r1", 0), ("marn", 1), ("rmfn-r1", 1)]
    whole = compare(dataset, tmp_path / "other", models, (0, 1), FAST)
    for ours, theirs in zip(resumed.rows, whole.rows, strict=True):
        assert (ours.seeds, ours.intervals) == (theirs.seeds, theirs.intervals)
    # More seeds and models may follow; other data and settings not.
    assert len(compare(dataset, tmp_path / "run", ("mfn",), (0,), FAST).rows) == 1
    with pytest.raises(DatasetError, match="answers with another plan"):
        compare(dataset, tmp_path / "run", ("mfn",), (0,), PLAN)
    with pytest.raises(DatasetError, match="answers with another data"):
        compare(make_planted(seed=1), tmp_path / "run", ("mfn",), (0,), FAST)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    with pytest.raises(DatasetError, match="holds something else"):
        compare(dataset, tmp_path / "mine", ("mfn",), (0,), FAST)


def test_one_that_fails_costs_itself_alone(tmp_path, monkeypatch):
    def fail(dataset, plan, task):
        if task == ("marn", 1):
            raise ValueError("the loss became nan in epoch 1")
        return score_system(dataset, plan, task)

    monkeypatch.setattr(rmfn.compare, "score_system", fail)
    found = compare(make_planted(), tmp_path / "run", SOME, (0, 1), FAST)
    rows = {row.model: row for row in found.rows}
    assert rows["marn"].failed
    assert rows["marn"].missing == "failed: seed 1: ValueError: the loss became nan in epoch 1"
    assert set(rows["marn"].seeds) == {0}
    assert not rows["rmfn"].failed
    assert "* MARN: failed: seed 1" in (tmp_path / "run" / "table.md").read_text()
    # It is tried again.
    monkeypatch.undo()
    found = compare(make_planted(), tmp_path / "run", SOME, (0, 1), FAST)
    assert not any(row.failed for row in found.rows)


def test_what_is_not_for_the_data_is_left_out_with_the_reason(tmp_path):
    dataset = make_planted()
    alone = replace(dataset, videos=dataset.ids, splits=dataset.splits)
    found = compare(alone, tmp_path / "run", ("bc-lstm", "ef-lstm"), (0,), FAST)
    bc_lstm, ef_lstm = found.rows
    assert bc_lstm.missing == "every video is one segment: there is no context"
    assert not bc_lstm.failed
    assert not bc_lstm.seeds
    assert ef_lstm.seeds
    text = (tmp_path / "run" / "table.md").read_text()
    assert "* BC-LSTM: every video is one segment" in text
    assert "| BC-LSTM | - | - |" in text


def test_side_by_side_is_the_same(tmp_path):
    dataset = make_planted()
    told = []
    alone = compare(dataset, tmp_path / "one", ("ef-lstm", "rmfn-no-mfp"), (0,), FAST)
    both = compare(
        dataset, tmp_path / "two", ("ef-lstm", "rmfn-no-mfp"), (0,), FAST, 2, told.append
    )
    assert sorted(each.model for each in told) == ["ef-lstm", "rmfn-no-mfp"]
    for ours, theirs in zip(alone.rows, both.rows, strict=True):
        assert ours.seeds == theirs.seeds


def test_an_unknown_system_costs_no_training(tmp_path):
    with pytest.raises(ValueError, match="there is no system 'rmfn-r9'; there are rmfn, "):
        compare(make_planted(), tmp_path / "run", ("marn", "rmfn-r9"), plan=FAST)
    with pytest.raises(ValueError, match="at least one seed"):
        compare(make_planted(), tmp_path / "run", ("marn",), (), plan=FAST)
    joy = replace(FAST, targets=(replace(make_planted().targets[0], name="joy"),))
    with pytest.raises(DatasetError, match="no label 'joy'"):
        compare(make_planted(), tmp_path / "run", ("marn",), plan=joy)
    assert not (tmp_path / "run").exists()


def test_the_protocol_is_the_official_splits_or_cross_validation():
    dataset = make_planted()
    sizes = {split: len(dataset.of_split(split)) for split in ("train", "valid", "test")}

    found, folds, how = choose_protocol(dataset, PLAN)
    assert (found, folds) == (dataset, 0)
    assert how == (
        f"official splits: {sizes['train']} segments to learn from, {sizes['valid']} to stop on, "
        f"{sizes['test']} scored"
    )
    # Asked for, cross-validation keeps off test.
    found, folds, how = choose_protocol(dataset, replace(PLAN, folds=3))
    assert (len(found), folds) == (sizes["train"] + sizes["valid"], 3)
    assert how == f"3-fold cross-validation by video over {len(found)} segments"
    # What has no split train has nothing else to learn from than valid and test.
    some = dataset.take([*dataset.of_split("valid"), *dataset.of_split("test")])
    found, folds, _ = choose_protocol(some, PLAN)
    assert (len(found), folds) == (len(some), 5)
    assert set(found.splits) == {""}


def test_cross_validation_scores_every_segment_once(tmp_path):
    dataset = make_planted(splits=False)
    found = compare(dataset, tmp_path / "run", ("rmfn-r1",), (0,), replace(FAST, folds=2))
    assert found.rows[0].seeds[0]["sentiment"]["n"] == len(dataset)


def test_several_labels_of_all_kinds(tmp_path):
    dataset = make_dataset(60)
    plan = Plan(settings=FAST.settings, hidden={"language": 4, "acoustic": 2})
    found = compare(dataset, tmp_path / "run", ("ef-lstm", "rmfn"), (0,), replace(plan, folds=2))
    report = found.rows[0].seeds[0]
    assert set(report) == {"sentiment", "happy", "mood", "length"}
    assert report["happy"]["n"] == np.isfinite(dataset.labels["happy"]).sum()
    assert set(found.rows[0].against) == set(report)
    for target in ("happy", "mood"):
        low, high = found.rows[0].intervals[target]
        assert low <= report[target]["accuracy"] <= high
        # a guess is right as often as two draws of the labels agree
        given = dataset.labels[target][np.isfinite(dataset.labels[target])]
        shares = np.unique(given, return_counts=True)[1] / len(given)
        guess = found.constants[target]["random guess"]["accuracy"]
        assert guess == pytest.approx((shares**2).sum(), abs=0.02)


def test_twins_are_the_same_model_under_the_plan():
    job = prepare(make_planted(), PLAN)
    assert find_twin("rmfn-r3", job) == "rmfn"
    assert find_twin("rmfn-r2", job) == "rmfn-r2"
    other = replace(job, plan=replace(PLAN, model_settings={**PLAN.model_settings, "stages": 2}))
    assert find_twin("rmfn-r3", other) == "rmfn-r3"
    assert find_twin("rmfn-r2", other) == "rmfn"


def test_the_papers_formula_is_a_system_of_its_own():
    """Whatever the plan says of the attention's scale, "rmfn-literal" has none."""
    job = prepare(make_planted(), PLAN)
    scaled = replace(job, plan=replace(PLAN, model_settings={"attention_scale": "mean1"}))
    assert find_twin("rmfn", scaled) == "rmfn"
    assert find_twin("rmfn-literal", scaled) == "rmfn-literal"
    said = configure(replace(scaled, plan=choose_settings(scaled.plan, "rmfn-literal", 0)))
    assert make_config("rmfn-literal", **said).attention_scale == "literal"
    plain = replace(job, plan=replace(PLAN, model_settings={"attention_scale": "literal"}))
    assert find_twin("rmfn-literal", plain) == "rmfn"


def test_systems_and_groups():
    known = tuple(MODELS)
    assert choose_systems(["all"], known) == tuple(name for name in TITLES if name in known)
    assert choose_systems(["marn", "questions"], known) == ("marn", *QUESTIONS[:-1])
    assert choose_systems(["all"], (*known, "mine"))[-1] == "mine"
    assert set(MODELS) <= set(TITLES)
    assert not set(GROUPS) & set(TITLES)
    assert {name for group in GROUPS.values() for name in group} <= set(TITLES)


def test_the_estimate_knows_what_it_does_not_know():
    assert estimate_rest({}, [("a", 0)], 2) == (None, 1)
    times = {("a", 0): 10.0, ("a", 1): 20.0, ("b", 0): 5.0}
    assert estimate_rest(times, [("a", 2), ("b", 1), ("c", 0)], 2) == ((15 + 5 + 10) / 2, 1)
    assert estimate_rest(times, [], 2) == (0, 0)
