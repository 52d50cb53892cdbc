"""From a file of timed transcripts to a checkpoint folder: what ``rmfn train --timed`` does."""

from __future__ import annotations

from pathlib import Path

from pipeline.recipe import load_recipe
from rmfn.adapt import AdaptSettings
from rmfn.checkpoint import Manifest, refuse_foreign
from rmfn.dataset import Dataset
from rmfn.running import TrainSettings
from rmfn.timed import SENTIMENT, find_word_steps, make_timed_dataset
from rmfn.train_dataset import Plan, train_dataset
from rmfn.unseen import OnProgress

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


def train_timed(
    timed: str | Path,
    out: str | Path,
    plan: Plan = PLAN,
    name: str | None = None,
    trained_on: str = "",
    card: str = "",
    on_progress: OnProgress | None = None,
    recipe: str = "embedded",
    resume: bool = False,
) -> Manifest:
    """Cross-validate, calibrate the intervals, train on all segments, write the checkpoint.

    Parameters
    ----------
    timed : labelled transcripts (``rmfn.corpora.read_timed``); segments of the split "test" are
        left out.
    recipe : whose language and timing steps make the features.

    The rest, what comes back and what is raised are those of ``rmfn.train_dataset.train_dataset``.
    """
    refuse_foreign(out)  # now, not after the words have their features
    return train_dataset(
        open_timed(timed, plan, recipe),
        plan,
        out,
        on_progress,
        resume=resume,
        name=name,
        trained_on=trained_on,
        card=card,
    )


def open_timed(timed: str | Path, plan: Plan = PLAN, recipe: str = "embedded") -> Dataset:
    """The data set that `train_timed` trains on."""
    provenance = load_recipe(recipe).provenance
    features = find_word_steps(provenance)
    return make_timed_dataset(timed, features, plan.targets[0], without="test")
