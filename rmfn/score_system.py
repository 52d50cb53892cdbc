"""One system with one seed: what it predicts of unseen segments, and what that costs."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch
from torch import nn

from rmfn.baselines import MODELS
from rmfn.comparison import name_error
from rmfn.dataset import Dataset
from rmfn.ensemble import Ensemble
from rmfn.job import Plan, choose_settings
from rmfn.tasks import count_outputs, lay_out, score_target
from rmfn.train import predict
from rmfn.unseen import predict_folds, predict_test

MEASURED = 0.2  # seconds that a prediction's speed is measured for, at least


def score_system(dataset: Dataset, plan: Plan, task: tuple[str, int]) -> dict[str, Any]:
    """One system with one seed.

    Returns
    -------
    ``predictions`` [n, C] decoded, of the segments scored; ``parameters``; ``train_seconds`` (of
    the processor, mean of its trainings); ``predict_ms`` (of the processor, a segment, many of them
    in one call); ``seconds`` by the clock; ``errors`` {target: mean absolute error or accuracy}.
    """
    warm_up(hasattr(MODELS[task[0]][1], "learn"))
    began = perf_counter()
    seconds: list[float] = []
    costs: dict[str, float] = {}

    def fitted(ensemble: Ensemble, unseen: Dataset) -> None:
        seconds.extend(member.seconds for member in ensemble.members)
        if not costs:
            costs.update(_measure(ensemble, unseen))

    plan = choose_settings(plan, *task)
    ask = predict_folds if plan.folds else predict_test
    unseen = ask(dataset, plan, on_fitted=fitted)
    (predicted,) = unseen.runs
    if not np.isfinite(predicted).all():
        raise ValueError("it predicted what is no number")
    errors = {}
    for n, (target, part) in enumerate(zip(plan.targets, lay_out(plan.targets), strict=True)):
        if not np.isnan(unseen.labels[:, n]).all():
            found = score_target(predicted[:, part], unseen.labels[:, n], target)
            errors[target.name] = found[name_error(target)]
    return {
        "predictions": predicted.tolist(),
        **costs,
        "train_seconds": float(np.mean(seconds)),
        "seconds": perf_counter() - began,
        "errors": errors,
    }


@cache
def warm_up(learns: bool) -> None:
    """Load what the libraries load at their first use: it is the cost of no system's training.

    Parameters
    ----------
    learns : by itself, not by gradient steps.
    """
    if learns:
        for library in ("hmmlearn.hmm", "sklearn.cluster", "sklearn.ensemble", "sklearn.svm"):
            import_module(library)
    else:
        one = nn.Linear(1, 1)
        optimiser = torch.optim.AdamW(one.parameters())
        one(torch.ones(1)).sum().backward()
        optimiser.step()


def count_parameters(model: nn.Module) -> int:
    """Numbers that were learned: parameters, and the buffers of a model that learns by itself."""
    kept = [*model.parameters(), *(model.buffers() if hasattr(model, "learn") else ())]
    return sum(each.numel() for each in kept)


def _measure(ensemble: Ensemble, unseen: Dataset) -> dict[str, float]:
    member = ensemble.members[0]
    examples = [
        ensemble.scaler(sequence, video=video)
        for sequence, video in zip(unseen.sequences, unseen.videos, strict=True)
    ]
    outputs = count_outputs(member.targets)
    predict(member.model, examples, outputs)
    began, runs = process_time(), 0
    while (spent := process_time() - began) < MEASURED:
        predict(member.model, examples, outputs)
        runs += 1
    return {
        "parameters": count_parameters(member.model),
        "predict_ms": 1000 * spent / runs / len(examples),
    }
