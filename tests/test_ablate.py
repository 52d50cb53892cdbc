"""One protocol for all models, resumed where it stopped, with spread, constants and the paper."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

import rmfn.ablate
from pipeline.errors import DatasetError
from rmfn.ablate import PUBLISHED, QUESTIONS, Answer, Answers, ablate, choose_protocol, tabulate
from rmfn.baselines import MODELS
from rmfn.dataset import Target
from tests.planted import PLAN, make_planted

FAST = replace(PLAN, settings=replace(PLAN.settings, epochs=1))


def test_every_model_is_trained_and_scored_alike(tmp_path):
    told = set()
    found = ablate(
        make_planted(),
        tmp_path / "run",
        seeds=(0, 1),
        plan=FAST,
        on_progress=lambda model, seed, now: told.add((model, seed)),
    )
    assert [answer.model for answer in found.models] == list(QUESTIONS)
    assert told == {(model, seed) for model in QUESTIONS for seed in (0, 1)}
    for answer in found.models:
        mean, deviation = answer.spread("sentiment", "mae")
        assert 0 < mean < 6
        assert deviation >= 0
        assert {report["sentiment"]["n"] for report in answer.seeds.values()} == {
            len(make_planted().of_split("test"))
        }
    text = (tmp_path / "run" / "table.md").read_text()
    assert text == tabulate(found)
    kept = json.loads((tmp_path / "run" / "table.json").read_text())
    assert [answer["model"] for answer in kept["models"]] == list(QUESTIONS)


def test_what_is_done_is_not_done_again(tmp_path, monkeypatch):
    dataset, trained = make_planted(), []
    score = rmfn.ablate._score

    def count(dataset, plan, *rest):
        if len(trained) == stop:
            raise KeyboardInterrupt
        trained.append((plan.model, *plan.seeds))
        return score(dataset, plan, *rest)

    monkeypatch.setattr(rmfn.ablate, "_score", count)
    stop = 3
    with pytest.raises(KeyboardInterrupt):
        ablate(dataset, tmp_path / "run", ("marn", "rmfn-r1"), (0, 1), FAST)
    stop = None
    resumed = ablate(dataset, tmp_path / "run", ("marn", "rmfn-r1"), (0, 1), FAST)
    assert trained == [("marn", 0), ("marn", 1), ("rmfn-r1", 0), ("rmfn-r1", 1)]
    monkeypatch.setattr(rmfn.ablate, "_score", score)
    whole = ablate(dataset, tmp_path / "other", ("marn", "rmfn-r1"), (0, 1), FAST)
    assert resumed == whole
    # More seeds and models may follow; other data and settings not.
    assert len(ablate(dataset, tmp_path / "run", ("mfn",), (0,), FAST).models) == 1
    with pytest.raises(DatasetError, match="answers with another plan"):
        ablate(dataset, tmp_path / "run", ("mfn",), (0,), PLAN)
    with pytest.raises(DatasetError, match="answers with another data"):
        ablate(make_planted(seed=1), tmp_path / "run", ("mfn",), (0,), FAST)


def test_an_unknown_model_costs_no_training(tmp_path):
    with pytest.raises(ValueError, match="there is no model 'rmfn-r9'"):
        ablate(make_planted(), tmp_path / "run", ("marn", "rmfn-r9"), plan=FAST)
    with pytest.raises(ValueError, match="at least one seed"):
        ablate(make_planted(), tmp_path / "run", ("marn",), (), plan=FAST)
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
    found = ablate(dataset, tmp_path / "run", ("rmfn-r1",), (0,), replace(FAST, folds=2))
    assert found.models[0].seeds[0]["sentiment"]["n"] == len(dataset)


def test_spread_is_mean_and_sample_deviation():
    reports = {n: {"mood": {"mae": value, "corr": None}} for n, value in enumerate((1.0, 2.0, 6.0))}
    answer = Answer("marn", reports)
    assert answer.spread("mood", "mae") == (3.0, pytest.approx(np.sqrt(7)))
    assert answer.spread("mood", "corr") is None
    assert math.isnan(Answer("marn", {0: reports[0]}).spread("mood", "mae")[1])


def test_the_table_has_the_paper_beside():
    seeds = {
        n: {"mood": {"mae": mae, "corr": 0.5, "a2": 0.75, "f1": 0.75, "a7": 0.3}}
        for n, mae in enumerate((0.9, 1.1))
    }
    constant = {"mood": {"median": {"mae": 1.5, "corr": None, "a2": 0.5, "f1": 0.3, "a7": 0.2}}}
    answers = Answers("toy", "a protocol", (Target("mood"),), (Answer("rmfn-r3", seeds),), constant)
    lines = tabulate(answers).splitlines()
    assert lines[2] == "A2 and F1 count at least 0 as positive."
    assert lines[4] == "| mood | MAE | Corr | A2 | F1 | A7 | paper: MAE / Corr / A2 / F1 / A7 |"
    assert lines[6] == (
        "| RMFN, K = 3 | 1.000 ± .141 | .500 ± .000 | .750 ± .000 | .750 ± .000 | .300 ± .000 | "
        ".922 / .681 / .784 / .780 / .383 |"
    )
    assert lines[7] == "| constant median | 1.500 | - | .500 | .300 | .200 | |"
    assert "over seeds (2)" in lines[-1]


def test_the_questions_are_models_with_published_values():
    assert set(QUESTIONS) == set(PUBLISHED) <= set(MODELS)
    from flows.experiments import QUESTIONS as OFFERED

    assert tuple(OFFERED) == QUESTIONS
