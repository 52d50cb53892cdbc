"""Predictions of segments that the predicting models had not seen: of a split "test", or of all by
cross-validation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import DatasetError
from rmfn.adapt import Adapter, OnStep, adapt
from rmfn.corpora import split_videos
from rmfn.dataset import Dataset
from rmfn.ensemble import Ensemble, fit_ensemble
from rmfn.job import Job, Plan, make_network, prepare, rotate_parts
from rmfn.running import Epoch
from rmfn.runs import Run
from rmfn.splits import SPLITS
from rmfn.tasks import count_outputs, keep_on_scale, read_labels


@dataclass(frozen=True)
class Progress:
    """Where a long training stands.

    Attributes
    ----------
    run, runs : which of all trainings, from 0, and how many there are.
    what : what they are for.
    epoch : the one just finished; None while the encoder of the next trainings is adapted.
    step, steps : of that adaptation, those that are done and all.
    """

    run: int
    runs: int
    what: str
    epoch: Epoch | None
    step: int = 0
    steps: int = 0

    def describe(self) -> str:
        """A line for people."""
        if self.epoch is None:
            return f"{self.what}: adapting the encoder, step {self.step} of {self.steps}"
        scores = list(self.epoch.scores.items())
        said = ", ".join(f"{name} {value:.3f}" for name, value in scores[:2])
        said += f" and {len(scores) - 2} more" if len(scores) > 2 else ""
        return f"{self.what}: epoch {self.epoch.number}, validation {said}"


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class Unseen:
    """Predictions of segments that the predicting models had not seen, for who compares models pair
    by pair.

    Attributes
    ----------
    runs : [seeds, n, C] decoded.
    labels : [n, T]
    dataset : the n segments.
    learned : [m, T] labels of what was learned from, of which constants may be made.
    """

    runs: NDArray[np.float64]
    labels: NDArray[np.float64]
    dataset: Dataset
    learned: NDArray[np.float64]


OnFitted = Callable[[Ensemble, Dataset], None]


def predict_folds(
    dataset: Dataset,
    plan: Plan | None = None,
    on_progress: OnProgress | None = None,
    on_fitted: OnFitted | None = None,
) -> Unseen:
    """The predictions behind `cross_validate_dataset`.

    Parameters
    ----------
    on_fitted : called after each fold's trainings with its models and the segments they predict.
    """
    plan = plan or Plan()
    plan = replace(plan, folds=plan.folds or 5)
    job = prepare(dataset, plan)
    progress = Steps([(plan.folds * len(plan.seeds), "cross-validation")], on_progress)
    runs = cross_validate(job, progress, None, on_fitted)
    return Unseen(runs, job.labels, job.dataset, job.labels)


def predict_test(
    dataset: Dataset,
    plan: Plan | None = None,
    on_progress: OnProgress | None = None,
    on_fitted: OnFitted | None = None,
) -> Unseen:
    """Predictions of the split "test" by models that learned from "train" and stopped on "valid".

    Raises
    ------
    DatasetError : a split is not there; or as `train_dataset`.
    """
    plan = replace(plan or Plan(), rotate=False)
    job = prepare(dataset, plan)
    if missing := [split for split in SPLITS if split not in dataset.splits]:
        raise DatasetError(f"{dataset.name} has no split {missing[0]}")
    # Test goes behind what is learned from, so that an adapted encoder's columns are there as well.
    kept = [n for n, split in enumerate(dataset.splits) if split != "test"]
    both = dataset.take([*kept, *dataset.of_split("test")])
    test = list(range(len(kept), len(both)))
    whole = replace(job, dataset=both, labels=read_labels(both, job.targets))
    progress = Steps([(len(plan.seeds), "train")], on_progress)
    seen, _ = adapt_columns(whole, job.train, progress.adapting())
    ensemble = fit_job(seen, [(job.train, job.valid)] * len(plan.seeds), progress, None, "train")
    if on_fitted is not None:
        on_fitted(ensemble, seen.dataset.take(test))
    runs = keep_on_scale(predict_each(seen, ensemble, test).double().numpy(), job.targets)
    return Unseen(runs, whole.labels[test], both.take(test), job.labels[job.train])


class Steps:
    """Turns the (place, epoch) of one step's trainings into a running number over all steps."""

    def __init__(self, steps: Sequence[tuple[int, str]], on_progress: OnProgress | None):
        self.steps, self.on_progress, self.step = list(steps), on_progress, 0

    def __call__(self, place: int, epoch: Epoch | None, step: int = 0, steps: int = 0) -> None:
        if self.on_progress is not None:
            before = sum(count for count, _ in self.steps[: self.step])
            total = sum(count for count, _ in self.steps)
            what = self.steps[self.step][1]
            self.on_progress(Progress(before + place, total, what, epoch, step, steps))

    def adapting(self, place: int = 0) -> OnStep:
        """What is told of the adaptation before the training at this place."""
        return lambda step, steps: self(place, None, step, steps)

    def advance(self) -> None:
        self.step += 1


def fit_job(
    job: Job,
    parts: Sequence[tuple[list[int], list[int]]],
    on_epoch: Callable[[int, Epoch], None],
    run: Run | None,
    name: str,
) -> Ensemble:
    """One model a seed, as the plan says; arguments as ``rmfn.ensemble.fit_ensemble``'s."""
    return fit_ensemble(
        make_network(job),
        job.targets,
        job.plan.settings,
        job.columns,
        job.dataset.sequences,
        job.labels,
        parts,
        job.plan.seeds,
        [job.plan.weights.get(target.name, 1.0) for target in job.targets],
        on_epoch,
        run,
        name,
        job.dataset.videos,
        job.dataset.speakers,
    )


def adapt_columns(job: Job, learned: list[int], on_step: OnStep) -> tuple[Job, Adapter | None]:
    """The job with the language columns of an encoder that learned from these rows alone."""
    if job.plan.adapt is None:
        return job, None
    sequences, adapter = adapt(
        job.dataset.sequences, job.labels, learned, job.targets, job.plan.adapt, on_step
    )
    return replace(job, dataset=replace(job.dataset, sequences=tuple(sequences))), adapter


def cross_validate(
    job: Job, progress: Steps, run: Run | None = None, on_fitted: OnFitted | None = None
) -> NDArray[np.float64]:
    """Decoded predictions of every segment by models that saw nothing of its video or speaker, not
    even to stop: [seeds, n, C]."""
    out = np.full((len(job.plan.seeds), len(job.dataset), count_outputs(job.targets)), np.nan)
    seeds = len(job.plan.seeds)
    for fold, test in enumerate(split_videos(job.groups, job.plan.folds, seed=0)):
        inside = set(test)
        rest = [n for n in job.learned if n not in inside]

        def report(place: int, epoch: Epoch, fold: int = fold) -> None:
            progress(fold * seeds + place, epoch)

        seen, _ = adapt_columns(job, rest, progress.adapting(fold * seeds))
        parts = rotate_parts(job, rest)
        ensemble = fit_job(seen, parts, report, run, f"fold{fold}")
        if on_fitted is not None:
            on_fitted(ensemble, seen.dataset.take(test))
        out[:, test] = predict_each(seen, ensemble, test).numpy()
    progress.advance()
    return keep_on_scale(out, job.targets)


def predict_each(job: Job, ensemble: Ensemble, rows: list[int]) -> Tensor:
    """Every member's decoded predictions of these segments [members, n, C]."""
    data = job.dataset
    return ensemble.predict_each([data.sequences[n] for n in rows], [data.videos[n] for n in rows])
