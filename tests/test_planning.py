"""What a person says of a training is judged before any data are read, and means one thing."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import replace

import pytest

from flows.planning import describe_seeds, read_trainings
from rmfn.baselines import MODELS
from rmfn.plans import check_plan, load_plan
from rmfn.train_dataset import Plan

NOTHING_SAID = {"plan": None, "modalities": None, "seeds": None, "folds": None}


@pytest.mark.parametrize("model", MODELS)
def test_the_usual_plan_of_every_model_is_sound(model):
    check_plan(Plan(model=model))
    check_plan(Plan(model=model, modalities=("acoustic",)))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"model": "rmf"}, r"no model 'rmf'; did you mean 'rmfn'\? \(there are rmfn, "),
        ({"model_settings": {"stagse": 2}}, "no setting 'stagse' of rmfn; did you mean 'stages'"),
        ({"model_settings": {"hidden": 3}}, "no setting 'hidden' of rmfn"),
        ({"model_settings": {"stages": "abc"}}, "rmfn: stages: .* integer"),
        ({"model_settings": {"stages": 0}}, "at least one stage, got 0$"),
        ({"model_settings": {"attention_scale": "no"}}, "rmfn: attention_scale: .*'mean1'"),
        ({"model_settings": {"fuse": -3}}, "rmfn cannot be made with these settings: "),
        ({"model_settings": {"dropout": 5}}, "rmfn cannot be made with these settings: "),
        ({"model": "rmfn-r1", "model_settings": {"stages": 2}}, "no setting 'stages' of rmfn-r1"),
        (
            {"modalities": ("langage",)},
            r"no modality 'langage'; did you mean 'language'\? \(there are language, visual, aco",
        ),
        ({"hidden": {"visaul": 4}}, "no modality 'visaul'; did you mean 'visual'"),
        ({"hidden": {"visual": 0}}, "units must be at least 1, got 0"),
        ({"seeds": (1, 1)}, "seeds must differ"),
        ({"seeds": ()}, "there must be one"),
        ({"seeds": (-1,)}, "seeds must be at least 0, got -1"),
        ({"weights": {"mood": -2.0}}, "weights must be at least 0, got -2"),
        ({"folds": 1}, "at least 2 folds, or 0 for none, got 1"),
    ],
)
def test_what_cannot_be_is_told_without_data(said, message):
    with pytest.raises(ValueError, match=message):
        check_plan(replace(Plan(), **said))


def test_of_many_systems_one_must_know_a_setting():
    check_plan(Plan(model_settings={"stages": 2}), ("svm", "rmfn"))
    with pytest.raises(ValueError, match="no setting 'dropuot'; did you mean 'dropout'"):
        check_plan(Plan(model_settings={"dropuot": 0.5}), tuple(MODELS))


def test_numbers_of_a_plan_s_file_are_judged(tmp_path):
    file = tmp_path / "plan.json"
    file.write_text('{"settings": {"lr": -1}}')
    with pytest.raises(ValueError, match=r"plan\.json: settings: lr must be above 0, got -1\.0$"):
        load_plan(file)


def test_seeds_are_the_flag_s_else_the_plan_s_else_the_usual(tmp_path):
    file = tmp_path / "plan.json"
    with_plan = {**NOTHING_SAID, "plan": file}
    assert read_trainings(Namespace(**NOTHING_SAID), 5).seeds == (0, 1, 2, 3, 4)
    file.write_text('{"folds": 3}')
    assert read_trainings(Namespace(**with_plan), 5).seeds == (0, 1, 2, 3, 4)
    file.write_text(json.dumps({"seeds": [7]}))
    assert read_trainings(Namespace(**with_plan), 5).seeds == (7,)
    assert read_trainings(Namespace(**{**with_plan, "seeds": 2}), 5).seeds == (0, 1)
    with pytest.raises(ValueError, match="at least one seed, got 0"):
        read_trainings(Namespace(**{**with_plan, "seeds": 0}), 5)


def test_a_single_number_is_told_to_be_one_model():
    assert describe_seeds([5]) == "one model, of seed 5; for 5 models: --seeds 0 1 2 3 4"
    assert describe_seeds([1]) == "one model, of seed 1"
    assert describe_seeds([1234]) == "one model, of seed 1234"
    assert [describe_seeds(seeds) for seeds in (None, [], [0], [0, 1, 2])] == [""] * 4
