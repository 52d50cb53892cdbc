"""From a data set to a checkpoint folder, whatever the data set came from.

Every number is of segments that the predicting models had not seen; the split "test" is not looked
at here at all. A kill, or a full disk, costs the running epoch: the run's folder keeps the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.language_minilm import ADAPTER
from rmfn.adapt import describe_encoder, pack_adapter
from rmfn.calibrate import calibrate
from rmfn.card import write_card
from rmfn.checkpoint import Manifest, refuse_foreign, save_checkpoint
from rmfn.dataset import Dataset
from rmfn.ensemble import Ensemble
from rmfn.evaluate import summarise
from rmfn.job import (
    Job,
    Plan,
    configure,
    count_groups,
    keep_features,
    list_versions,
    name_clips,
    name_splits,
    prepare,
    record,
    rotate_parts,
)
from rmfn.runs import RUN, UNSEEN, Run
from rmfn.segments import Segments, describe_segments, save_segments
from rmfn.tasks import count_outputs, find_constants, keep_on_scale, lay_out, score_constants
from rmfn.unseen import OnProgress, Steps, adapt_columns, cross_validate, fit_job, predict_each


def train_dataset(
    dataset: Dataset,
    plan: Plan | None = None,
    out: str | Path = "model",
    on_progress: OnProgress | None = None,
    *,
    resume: bool = False,
    name: str | None = None,
    trained_on: str = "",
    card: str = "",
) -> Manifest:
    """Measure, calibrate the intervals, train, write the checkpoint.

    Parameters
    ----------
    out : the checkpoint's folder; it also becomes the name. What reproduces the training is kept
        in its folder ``run`` (``rmfn.runs``).
    resume : go on with the unfinished training that lies in ``out``, if one does.
    trained_on : a line for people, by default what the data set says of itself.
    card : a model card; the measured numbers are put after it, in the place of any it has.

    Returns
    -------
    The manifest written.

    Raises
    ------
    DatasetError : labels or features that cannot be, splits that leak, too few videos, or an
        unfinished training in ``out`` that is not to be resumed.
    CheckpointError : ``out`` holds something that is no checkpoint.
    OSError : the disk is full; the last finished epoch is kept.
    """
    plan = plan or Plan()
    refuse_foreign(out)  # now, not after the training
    job = prepare(dataset, plan)
    run = Run(Path(out) / RUN)
    run.start(record(job), resume)
    learned, scored = ("train", "valid") if job.valid and not plan.rotate else ("all", "")
    if plan.rotate and job.valid and count_groups(job, job.train) > 1:
        scored = "valid"
    steps = [(plan.folds * len(plan.seeds), "cross-validation")] if plan.folds else []
    steps += [(len(plan.seeds), "train, for valid")] if learned == "all" and scored else []
    steps += [(len(plan.seeds), learned)]
    progress = Steps(steps, on_progress)

    metrics: dict[str, Any] = {}
    kept: dict[str, Segments] = {}
    unseen = np.full((len(job.dataset), count_outputs(job.targets)), np.nan)
    if plan.folds:
        runs = cross_validate(job, progress, run)
        metrics["cross-validation"], kept["cross-validation"] = _report_folds(job, runs)
        unseen = runs.mean(0)
    if learned == "all" and scored:
        parts = rotate_parts(job, job.train)
        seen, _ = adapt_columns(job, job.train, progress.adapting())
        ensemble = fit_job(seen, parts, progress, run, "train")
        progress.advance()
        how = "trained on the split train alone, scored on valid"
        metrics["valid"], kept["valid"] = _report(seen, how, ensemble, job.valid, job.train)
    if learned == "all":
        parts = rotate_parts(job, job.learned)
    else:
        parts = [(job.train, job.valid)] * len(plan.seeds)
    learns_from = job.learned if learned == "all" else job.train
    seen, adapter = adapt_columns(job, learns_from, progress.adapting())
    ensemble = fit_job(seen, parts, progress, run, learned)
    if learned == "train":
        how = "trained on the split train, stopped and scored on valid"
        metrics["valid"], kept["valid"] = _report(seen, how, ensemble, job.valid, job.train)
    if not plan.folds:
        unseen = _predict_held_out(seen, ensemble, parts)
    conformal = calibrate(unseen, job.labels, job.groups, job.targets, plan.coverage)
    splits = name_splits(job, parts)
    manifest = Manifest(
        name=name or Path(out).name,
        trained_on=trained_on or dataset.source or f"{len(job.learned)} segments of {dataset.name}",
        labels=job.targets,
        model=plan.model,
        config=configure(job),
        columns=job.columns,
        members=len(plan.seeds),
        features=keep_features(dataset.features, job.columns),
        conformal=conformal,
        constants={
            target.name: find_constants(job.labels[job.learned, n], target)
            for n, target in enumerate(job.targets)
        },
        splits=splits,
        clips=name_clips(job, splits),
        training=record(job),
        metrics=metrics,
        versions=list_versions(),
    )
    beside = {}
    if adapter is not None:
        beside[ADAPTER] = pack_adapter(adapter)
        made = describe_encoder(beside[ADAPTER], out)
        manifest = replace(manifest, features={**manifest.features, "language": [made]})
    save_segments(run.folder / UNSEEN, kept)
    manifest = save_checkpoint(manifest, ensemble, out, write_card(manifest, card), beside)
    run.finish()
    return manifest


def cross_validate_dataset(
    dataset: Dataset, plan: Plan | None = None, on_progress: OnProgress | None = None
) -> dict[str, Any]:
    """Only the cross-validation, {target: metrics}: over train, valid and what has no split.

    Returns
    -------
    For each target ``how``, the metrics of the mean over the seeds, ``interval``, ``seeds`` and
    ``constants`` (``rmfn.evaluate.summarise``).

    Raises
    ------
    DatasetError : as `train_dataset`.
    """
    plan = plan or Plan()
    plan = replace(plan, folds=plan.folds or 5)
    job = prepare(dataset, plan)
    progress = Steps([(plan.folds * len(plan.seeds), "cross-validation")], on_progress)
    return _report_folds(job, cross_validate(job, progress))[0]


def _predict_held_out(
    job: Job, ensemble: Ensemble, parts: Sequence[tuple[list[int], list[int]]]
) -> NDArray[np.float64]:
    """Decoded predictions [n, C] of each segment by the members that stopped on it; else NaN."""
    total = np.zeros((len(job.dataset), count_outputs(job.targets)))
    count = np.zeros((len(job.dataset), 1))
    for member, (_, held) in zip(ensemble.members, parts, strict=True):
        examples = [
            ensemble.scaler(job.dataset.sequences[n], video=job.dataset.videos[n]) for n in held
        ]
        total[held] += keep_on_scale(member.predict(examples).double().numpy(), job.targets)
        count[held] += 1
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _report_folds(job: Job, runs: NDArray[np.float64]) -> tuple[dict[str, Any], Segments]:
    people = job.dataset.speakers
    by = "speaker" if all(people) else "speaker and video" if any(people) else "video"
    how = f"{job.plan.folds}-fold cross-validation by {by} over all segments"
    return _summarise(job, how, runs, job.learned, job.learned)


def _report(
    job: Job, how: str, ensemble: Ensemble, scored: list[int], learned: list[int]
) -> tuple[dict[str, Any], Segments]:
    runs = predict_each(job, ensemble, scored).double().numpy()
    return _summarise(job, how, keep_on_scale(runs, job.targets), scored, learned)


def _summarise(
    job: Job,
    how: str,
    runs: NDArray[np.float64],
    scored: list[int],
    learned: Sequence[int],
) -> tuple[dict[str, Any], Segments]:
    """{target: metrics} of predictions [seeds, n, C], and the segments one by one."""
    groups = [job.groups[n] for n in scored]
    found = {}
    for n, (target, part) in enumerate(zip(job.targets, lay_out(job.targets), strict=True)):
        labels = job.labels[scored, n]
        if np.isnan(labels).all():
            continue
        known = find_constants(job.labels[list(learned), n], target)
        found[target.name] = {
            "how": how,
            **summarise(runs[:, :, part], labels, groups, target),
            "constants": score_constants(known, labels, target),
        }
    segments = job.dataset.take(scored)
    return found, describe_segments(how, segments, job.labels[scored], runs.mean(0))
