"""The plan and the data set of ``rmfn train --timed``: transcripts whose words have times."""

from __future__ import annotations

from pathlib import Path

from pipeline.recipe import load_recipe
from rmfn.adapt import AdaptSettings
from rmfn.dataset import Dataset
from rmfn.running import TrainSettings
from rmfn.timed import SENTIMENT, find_word_steps, make_timed_dataset
from rmfn.train_dataset import Plan

PLAN = Plan(
    targets=(SENTIMENT,),
    hidden={"language": 64, "acoustic": 16},
    model_settings={
        "attention_scale": "mean1",
        "forget_bias": 1.0,
        "dropout": 0.5,
        "input_dropout": 0.5,
    },
    settings=TrainSettings(epochs=6, patience=4, batch=64, lr=2e-3, weight_decay=0.1),
    seeds=(0, 1, 2, 3, 4),
    rotate=True,
    adapt=AdaptSettings(),
    folds=5,
)


def open_timed(timed: str | Path, plan: Plan = PLAN, recipe: str = "embedded") -> Dataset:
    """Labelled transcripts (`rmfn.timed`) as a data set; segments of the split test are left out.

    Parameters
    ----------
    recipe : whose language and timing steps make the features.
    """
    provenance = load_recipe(recipe).provenance
    features = find_word_steps(provenance)
    return make_timed_dataset(timed, features, plan.targets[0], without="test")
