"""Tuning sees validation only, goes on where it stopped, and leaves a plan to train with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import rmfn.tune
from pipeline.errors import DatasetError
from rmfn.baselines import MODELS, build
from rmfn.job import configure, prepare
from rmfn.plans import load_plan
from rmfn.tune import PLAN as PLAN_FILE
from rmfn.tune import (
    apply_settings,
    count_trials,
    draw_settings,
    drop_test,
    measure_error,
    tune,
)
from tests.planted import PLAN, make_planted

FAST = replace(PLAN, settings=replace(PLAN.settings, epochs=1))


class Untouchable(tuple):
    """Sequences of which those of the split test may only be counted and passed over."""

    def __new__(cls, items, forbidden):
        made = super().__new__(cls, items)
        made.forbidden = forbidden
        return made

    def __getitem__(self, place):
        assert place not in self.forbidden, "a test segment was looked at"
        return super().__getitem__(place)

    def __iter__(self):
        raise AssertionError("all segments were looked at, those of test too")


def watch(dataset):
    """The data set, with sequences and labels of test that tell when they are touched."""
    test = set(dataset.of_split("test"))
    assert test
    labels = dataset.labels["sentiment"].copy()
    labels[sorted(test)] = np.inf  # no reader lets this pass
    watched = replace(dataset, labels={"sentiment": labels})
    object.__setattr__(watched, "sequences", Untouchable(dataset.sequences, test))
    return watched


@pytest.mark.parametrize("folds", [0, 2])
def test_the_split_test_is_never_touched(tmp_path, folds):
    dataset = watch(make_planted())
    with pytest.raises(AssertionError, match="looked at"):
        _ = [dataset.sequences[n] for n in range(len(dataset))]
    found = tune(dataset, tmp_path / "run", 1, replace(FAST, folds=folds))
    assert np.isfinite(found.best.error)


def test_what_is_in_test_changes_nothing(tmp_path):
    dataset = make_planted()
    labels = dataset.labels["sentiment"].copy()
    labels[dataset.of_split("test")] *= -1
    other = replace(dataset, labels={"sentiment": labels})
    first = tune(dataset, tmp_path / "a", 2, FAST)
    again = tune(other, tmp_path / "b", 2, FAST)
    assert [(t.error, t.settings) for t in first.trials] == [
        (t.error, t.settings) for t in again.trials
    ]
    # And it is the same search, which goes on although test has changed.
    assert len(tune(other, tmp_path / "a", 2, FAST).trials) == 2


def test_nothing_but_test_is_refused(tmp_path):
    dataset = make_planted()
    only = dataset.take(dataset.of_split("test"))
    with pytest.raises(DatasetError, match="settings are not chosen on it"):
        drop_test(only)
    with pytest.raises(DatasetError, match="settings are not chosen on it"):
        tune(only, tmp_path / "run", 1, FAST)
    assert not (tmp_path / "run").exists()


def test_a_search_that_was_killed_goes_on(tmp_path, monkeypatch):
    dataset, told = make_planted(), []
    monkeypatch.setattr(rmfn.tune, "_validate", lambda *_: {"sentiment": {"mae": 1.0}})

    def interrupt(trial):
        told.append(trial)
        if len(told) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(dataset, tmp_path / "run", 4, FAST, on_trial=interrupt)
    assert load_plan(tmp_path / "run" / PLAN_FILE).targets  # what was found is there
    found = tune(dataset, tmp_path / "run", 4, FAST, on_trial=told.append)
    assert len(found.trials) == 4
    assert [trial.number for trial in told] == [0, 1, 2, 3, 4]  # 0 is the plan as given, once
    drawn = [tuple(trial.settings.items()) for trial in found.trials]
    assert len(set(drawn)) == 4, "it drew what it had drawn before"
    assert len(tune(dataset, tmp_path / "run", 3, FAST, on_trial=told.append).trials) == 4
    assert len(told) == 5


def test_a_kill_within_a_trial_does_not_count(tmp_path, monkeypatch):
    dataset = make_planted()
    whole = rmfn.tune._validate

    def killed(*_):
        raise KeyboardInterrupt

    tune(dataset, tmp_path / "run", 1, FAST)
    monkeypatch.setattr(rmfn.tune, "_validate", killed)
    with pytest.raises(KeyboardInterrupt):
        tune(dataset, tmp_path / "run", 3, FAST)
    monkeypatch.setattr(rmfn.tune, "_validate", whole)
    assert count_trials(tmp_path / "run") == 1
    found = tune(dataset, tmp_path / "run", 3, FAST)
    assert sorted(trial.number for trial in found.trials) == [1, 2, 3]
    assert count_trials(tmp_path / "run") == 3
    assert count_trials(tmp_path / "none") == 0
    assert not (tmp_path / "none").exists()


def test_what_is_not_better_than_the_plan_as_given_is_not_taken(tmp_path, monkeypatch):
    def pretend(dataset, plan, folds, on_progress):
        return {"sentiment": {"mae": 1.0 if plan.model_settings == FAST.model_settings else 2.0}}

    monkeypatch.setattr(rmfn.tune, "_validate", pretend)
    found = tune(make_planted(), tmp_path / "run", 3, FAST)
    assert (found.best.number, found.best.error, found.best.settings) == (0, 1.0, {})
    assert found.best == found.given
    assert [trial.error for trial in found.trials] == [2.0] * 3
    assert found.plan == load_plan(tmp_path / "run" / PLAN_FILE)
    assert found.plan == replace(FAST, targets=found.plan.targets)


def test_the_best_is_the_least_error_and_its_plan_is_written(tmp_path, monkeypatch):
    def pretend(dataset, plan, folds, on_progress):
        return {"sentiment": {"mae": plan.settings.lr + plan.model_settings.get("dropout", 9)}}

    monkeypatch.setattr(rmfn.tune, "_validate", pretend)
    found = tune(make_planted(), tmp_path / "run", 12, FAST)
    errors = [trial.error for trial in found.trials]
    assert errors == sorted(errors)
    assert errors[0] < errors[-1]
    plan = load_plan(tmp_path / "run" / PLAN_FILE)
    assert plan == found.plan
    assert plan.settings.lr + plan.model_settings["dropout"] == found.best.error == errors[0]
    assert plan.settings.epochs == FAST.settings.epochs  # what is not searched for stays


def test_a_setting_that_explodes_is_an_answer(tmp_path, monkeypatch):
    seen = []

    def explode(dataset, plan, folds, on_progress):
        seen.append(plan)
        if len(seen) == 2:
            raise ValueError("the loss became nan in epoch 1")
        return {"sentiment": {"mae": 1.0}}

    monkeypatch.setattr(rmfn.tune, "_validate", explode)
    found = tune(make_planted(), tmp_path / "run", 2, FAST)
    assert [trial.error for trial in found.trials] == [1.0, None]
    assert found.trials[-1].failed == "the loss became nan in epoch 1"
    monkeypatch.setattr(
        rmfn.tune, "_validate", lambda *_: seen.__delitem__(slice(1, None)) or explode(*_)
    )
    with pytest.raises(DatasetError, match="no trial has succeeded: the loss became nan"):
        tune(make_planted(), tmp_path / "none", 2, FAST)


def test_another_search_is_not_continued(tmp_path):
    dataset = make_planted()
    tune(dataset, tmp_path / "run", 1, FAST)
    with pytest.raises(DatasetError, match="holds a search with another plan"):
        tune(dataset, tmp_path / "run", 1, replace(FAST, seeds=(1,)))
    with pytest.raises(DatasetError, match="holds a search with another data"):
        tune(make_planted(seed=1), tmp_path / "run", 1, FAST)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(DatasetError, match="is there and is no search"):
        tune(dataset, tmp_path / "mine", 1, FAST)


@pytest.mark.parametrize("model", MODELS)
def test_what_is_drawn_is_what_the_model_has(model):
    import optuna

    dataset = make_planted()
    plan = replace(PLAN, model=model, model_settings={})
    trial = optuna.create_study().ask()
    drawn = apply_settings(plan, draw_settings(trial, plan, dataset))
    assert drawn.hidden.keys() == {"language", "acoustic"}
    job = prepare(dataset, replace(drawn, targets=dataset.targets))
    build(model, **configure(job))  # refuses a setting that the model does not have
    if model.startswith("rmfn-r"):
        assert "stages" not in drawn.model_settings


def test_errors_of_several_labels_are_averaged():
    from rmfn.dataset import Target

    targets = (Target("a"), Target("b", "binary"))
    report = {"a": {"mae": 0.5}, "b": {"accuracy": 0.75}}
    assert measure_error(report, targets) == pytest.approx((0.5 + 0.25) / 2)
