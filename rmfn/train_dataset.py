"""From a data set to a checkpoint folder, whatever the data set came from.

Every number is of segments that the predicting models had not seen; the split "test" is not looked
at here at all. A kill, or a full disk, costs the running epoch: the run's folder keeps the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from extractors.language_minilm import ADAPTER, MiniLM
from pipeline.errors import DatasetError
from rmfn.adapt import Adapter, AdaptSettings, adapt, describe_encoder, pack_adapter
from rmfn.baselines import MODELS, build
from rmfn.card import write_card
from rmfn.checkpoint import Manifest, refuse_foreign, save_checkpoint
from rmfn.corpora import split_videos
from rmfn.data import refuse_infinite
from rmfn.dataset import Dataset, Target, check_splits, hash_dataset, make_splits
from rmfn.evaluate import calibrate, summarise
from rmfn.runs import RUN, Run
from rmfn.tasks import (
    count_outputs,
    find_constants,
    keep_on_scale,
    lay_out,
    read_labels,
    score_constants,
)
from rmfn.train import Ensemble, Epoch, Network, TrainSettings, find_device, fit_ensemble

VALIDATION_PARTS = 6  # one part in so many of the videos says when to stop
SHARES = (0.7, 0.15, 0.15)  # train, valid and test of splits that are made here
USUAL = {"attention_scale": "mean1", "forget_bias": 1.0, "dropout": 0.3}
UNITS = {"language": 64, "visual": 16, "acoustic": 16}


@dataclass(frozen=True)
class Plan:
    """What is learned and how.

    Attributes
    ----------
    targets : what is predicted; () = all that the data set says of its columns.
    weights : {target: weight of its loss}; those not named weigh 1.
    model : a name that ``rmfn.baselines.build`` knows.
    modalities : what is read, in this order; () = all that the data set has.
    hidden : LSTM units of each modality, {modality: units}; those not named get the usual number.
    model_settings : further settings of the model; those not named are ``USUAL`` where the model
        has them, else its own defaults.
    settings : of every training.
    seeds : one model each; the checkpoint is their mean.
    rotate : False: all models learn from the split "train" and stop on "valid". True: each learns
        from all of train and valid (and what has no split) but some videos, others for each, on
        which it stops.
    adapt : the language columns are those of a sentence encoder that learns the targets too
        (``rmfn.adapt``), from no segment but those that the models learn from.
    folds : of a cross-validation by speaker or video over train and valid; 0 = none. With it the
        intervals are of its predictions, without it of the validation sets'.
    coverage : of the prediction intervals.
    split_seed : of the splits made where the data set has none.
    """

    targets: tuple[Target, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)
    model: str = "rmfn"
    modalities: tuple[str, ...] = ()
    hidden: Mapping[str, int] = field(default_factory=dict)
    model_settings: Mapping[str, Any] = field(default_factory=dict)
    settings: TrainSettings = field(default_factory=TrainSettings)
    seeds: tuple[int, ...] = (0, 1, 2)
    rotate: bool = False
    adapt: AdaptSettings | None = None
    folds: int = 0
    coverage: float = 0.8
    split_seed: int = 0


@dataclass(frozen=True)
class Progress:
    """Where a long training stands: the epoch of which of all trainings."""

    run: int
    runs: int
    what: str
    epoch: Epoch


OnProgress = Callable[[Progress], None]


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
    job = _prepare(dataset, plan)
    run = Run(Path(out) / RUN)
    run.start(_record(job), resume)
    learned, scored = ("train", "valid") if job.valid and not plan.rotate else ("all", "")
    if plan.rotate and job.valid and _groups_of(job, job.train) > 1:
        scored = "valid"
    steps = [(plan.folds * len(plan.seeds), "cross-validation")] if plan.folds else []
    steps += [(len(plan.seeds), "train, for valid")] if learned == "all" and scored else []
    steps += [(len(plan.seeds), learned)]
    progress = _Counter(steps, on_progress)

    metrics: dict[str, Any] = {}
    unseen = np.full((len(job.dataset), count_outputs(job.targets)), np.nan)
    if plan.folds:
        runs = _cross_validate(job, progress, run)
        metrics["cross-validation"] = _report_folds(job, runs)
        unseen = runs.mean(0)
    if learned == "all" and scored:
        parts = _rotate(job, job.train)
        seen, _ = _adapt(job, job.train)
        ensemble = _fit(seen, parts, progress, run, "train")
        how = "trained on the split train alone, scored on valid"
        metrics["valid"] = _report(seen, how, ensemble, job.valid, job.train)
    if learned == "all":
        parts = _rotate(job, job.learned)
    else:
        parts = [(job.train, job.valid)] * len(plan.seeds)
    seen, adapter = _adapt(job, job.learned if learned == "all" else job.train)
    ensemble = _fit(seen, parts, progress, run, learned)
    if learned == "train":
        how = "trained on the split train, stopped and scored on valid"
        metrics["valid"] = _report(seen, how, ensemble, job.valid, job.train)
    if not plan.folds:
        unseen = _predict_held_out(seen, ensemble, parts)
    conformal = calibrate(unseen, job.labels, job.groups, job.targets, plan.coverage)
    manifest = Manifest(
        name=name or Path(out).name,
        trained_on=trained_on or dataset.source or f"{len(job.learned)} segments of {dataset.name}",
        labels=job.targets,
        model=plan.model,
        config=_configure(job),
        columns=job.columns,
        members=len(plan.seeds),
        features=_keep_features(dataset.features, job.columns),
        conformal=conformal,
        constants={
            target.name: find_constants(job.labels[job.learned, n], target)
            for n, target in enumerate(job.targets)
        },
        splits=_name_splits(job, parts),
        training=_record(job),
        metrics=metrics,
        versions=_versions(),
    )
    beside = {}
    if adapter is not None:
        beside[ADAPTER] = pack_adapter(adapter)
        made = describe_encoder(beside[ADAPTER], out)
        manifest = replace(manifest, features={**manifest.features, "language": [made]})
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
    job = _prepare(dataset, plan)
    progress = _Counter([(plan.folds * len(plan.seeds), "cross-validation")], on_progress)
    return _report_folds(job, _cross_validate(job, progress))


def predict_folds(
    dataset: Dataset, plan: Plan | None = None, on_progress: OnProgress | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64], Dataset]:
    """The predictions behind `cross_validate_dataset`, for who compares models pair by pair.

    Returns
    -------
    Decoded predictions [seeds, n, C], labels [n, T], and the n segments that they are of.
    """
    plan = plan or Plan()
    plan = replace(plan, folds=plan.folds or 5)
    job = _prepare(dataset, plan)
    progress = _Counter([(plan.folds * len(plan.seeds), "cross-validation")], on_progress)
    return _cross_validate(job, progress), job.labels, job.dataset


@dataclass(frozen=True)
class _Job:
    """A plan with the data set it is for; the split "test" is not in it any more."""

    plan: Plan
    dataset: Dataset
    targets: tuple[Target, ...]
    labels: NDArray[np.float64]  # [n, T]
    groups: tuple[str, ...]  # speakers, or videos where speakers are not known
    columns: dict[str, tuple[str, ...]]
    train: list[int]
    valid: list[int]
    test: dict[str, list[str]]  # what was left out: videos
    hash: str  # of the data set as given

    @property
    def learned(self) -> list[int]:
        return list(range(len(self.dataset)))


class _Counter:
    """Turns the (place, epoch) of one step's trainings into a running number over all steps."""

    def __init__(self, steps: Sequence[tuple[int, str]], on_progress: OnProgress | None):
        self.steps, self.on_progress, self.step = list(steps), on_progress, 0

    def __call__(self, place: int, epoch: Epoch) -> None:
        if self.on_progress is not None:
            before = sum(count for count, _ in self.steps[: self.step])
            total = sum(count for count, _ in self.steps)
            self.on_progress(Progress(before + place, total, self.steps[self.step][1], epoch))

    def advance(self) -> None:
        self.step += 1


def _prepare(dataset: Dataset, plan: Plan) -> _Job:
    targets = plan.targets or dataset.targets
    if not targets:
        known = ", ".join(dataset.labels) or "none"
        raise DatasetError(f"{dataset.name}: say what to predict; its label columns are {known}")
    if unknown := [name for name in plan.weights if name not in {t.name for t in targets}]:
        raise DatasetError(f"a loss weight is given for {unknown[0]!r}, which is not predicted")
    hashed = hash_dataset(dataset)
    groups = dataset.speakers if all(dataset.speakers) else dataset.videos
    if not any(dataset.splits) and not plan.rotate:
        dataset = replace(dataset, splits=make_splits(groups, SHARES, plan.split_seed))
    check_splits(dataset)
    refuse_infinite(dataset.ids, dataset.sequences, dataset.name)
    read_labels(dataset, targets)
    rows = [n for n, split in enumerate(dataset.splits) if split != "test"]
    if not rows:
        raise DatasetError(
            f"{dataset.name}: all segments are of the split test, which is not learned from"
        )
    kept = dataset.take(rows)
    job = _Job(
        plan,
        kept,
        tuple(targets),
        read_labels(kept, targets),
        tuple(groups[n] for n in rows),
        _choose_columns(kept, plan),
        kept.of_split("train"),
        kept.of_split("valid"),
        {"test": sorted({dataset.videos[n] for n in dataset.of_split("test")})},
        hashed,
    )
    # A device or a setting that there is not is told before any work.
    find_device(plan.settings.device)
    with torch.random.fork_rng(devices=[]):
        _make_network(job)()
    return job


def _choose_columns(dataset: Dataset, plan: Plan) -> dict[str, tuple[str, ...]]:
    columns = dataset.columns
    if plan.adapt is not None:
        if plan.rotate and not plan.folds:
            raise DatasetError(
                "an adapted encoder has seen what the models stop on; it needs folds to set the "
                "intervals by"
            )
        columns = {**columns, "language": MiniLM(adapter=ADAPTER).names}
    for modality in plan.modalities:
        if modality not in columns:
            raise DatasetError(
                f"{dataset.name} has no modality {modality!r}; it has {', '.join(columns)}"
            )
    chosen = {m: columns[m] for m in plan.modalities or columns if columns[m]}
    if not chosen:
        raise DatasetError(f"{dataset.name} has no features")
    return chosen


def _configure(job: _Job) -> dict[str, Any]:
    """All arguments of ``build`` but the name."""
    kind, _, said = MODELS.get(job.plan.model, (None, None, {}))
    known = {each.name for each in fields(kind)} - said.keys() if kind else set()
    return {
        "inputs": {modality: len(names) for modality, names in job.columns.items()},
        "hidden": {m: job.plan.hidden.get(m, UNITS.get(m, 32)) for m in job.columns},
        "outputs": count_outputs(job.targets),
        **{k: v for k, v in USUAL.items() if k in known},
        **job.plan.model_settings,
    }


def _make_network(job: _Job) -> Network:
    return partial(build, job.plan.model, **_configure(job))


def _record(job: _Job) -> dict[str, Any]:
    """What makes a run's numbers, ready for JSON."""
    plan = asdict(job.plan)
    plan["targets"] = [asdict(target) for target in job.targets]
    return {
        "plan": plan,
        "seeds": list(job.plan.seeds),
        "data": {
            "name": job.dataset.name,
            "source": job.dataset.source,
            "sha256": job.hash,
            "segments": {"train": len(job.train), "valid": len(job.valid), "all": len(job.dataset)},
        },
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    return {package: version(package) for package in ("torch", "numpy", "rmfn")}


def _fit(
    job: _Job,
    parts: Sequence[tuple[list[int], list[int]]],
    progress: _Counter,
    run: Run | None,
    name: str,
) -> Ensemble:
    ensemble = fit_ensemble(
        _make_network(job),
        job.targets,
        job.plan.settings,
        job.columns,
        job.dataset.sequences,
        job.labels,
        parts,
        job.plan.seeds,
        [job.plan.weights.get(target.name, 1.0) for target in job.targets],
        progress,
        run,
        name,
    )
    progress.advance()
    return ensemble


def _adapt(job: _Job, learned: list[int]) -> tuple[_Job, Adapter | None]:
    """The job with the language columns of an encoder that learned from these rows alone."""
    if job.plan.adapt is None:
        return job, None
    sequences, adapter = adapt(
        job.dataset.sequences, job.labels, learned, job.targets, job.plan.adapt
    )
    return replace(job, dataset=replace(job.dataset, sequences=tuple(sequences))), adapter


def _rotate(job: _Job, rows: list[int]) -> list[tuple[list[int], list[int]]]:
    """For each seed the rows it learns from, and those of other videos on which it stops."""
    parts = []
    count = max(2, min(VALIDATION_PARTS, _groups_of(job, rows)))
    groups = [job.groups[n] for n in rows]
    for seed in job.plan.seeds:
        # As many seeds as there are parts have them in turn, then they are dealt anew.
        dealt = split_videos(groups, count, seed // count)[seed % count]
        inside = {rows[n] for n in dealt}
        parts.append(([n for n in rows if n not in inside], sorted(inside)))
    return parts


def _groups_of(job: _Job, rows: Sequence[int]) -> int:
    return len({job.groups[n] for n in rows})


def _cross_validate(job: _Job, progress: _Counter, run: Run | None = None) -> NDArray[np.float64]:
    """Decoded predictions of every segment by models that saw nothing of its video or speaker, not
    even to stop: [seeds, n, C]."""
    out = np.full((len(job.plan.seeds), len(job.dataset), count_outputs(job.targets)), np.nan)
    seeds = len(job.plan.seeds)
    for fold, test in enumerate(split_videos(job.groups, job.plan.folds, seed=0)):
        inside = set(test)
        rest = [n for n in job.learned if n not in inside]

        def report(place: int, epoch: Epoch, fold: int = fold) -> None:
            progress(fold * seeds + place, epoch)

        seen, _ = _adapt(job, rest)
        ensemble = fit_ensemble(
            _make_network(job),
            job.targets,
            job.plan.settings,
            job.columns,
            seen.dataset.sequences,
            job.labels,
            _rotate(job, rest),
            job.plan.seeds,
            [job.plan.weights.get(target.name, 1.0) for target in job.targets],
            report,
            run,
            f"fold{fold}",
        )
        out[:, test] = ensemble.predict_each([seen.dataset.sequences[n] for n in test]).numpy()
    progress.advance()
    return keep_on_scale(out, job.targets)


def _predict_held_out(
    job: _Job, ensemble: Ensemble, parts: Sequence[tuple[list[int], list[int]]]
) -> NDArray[np.float64]:
    """Decoded predictions [n, C] of each segment by the members that stopped on it; else NaN."""
    total = np.zeros((len(job.dataset), count_outputs(job.targets)))
    count = np.zeros((len(job.dataset), 1))
    for member, (_, held) in zip(ensemble.members, parts, strict=True):
        examples = [ensemble.scaler(job.dataset.sequences[n]) for n in held]
        total[held] += keep_on_scale(member.predict(examples).double().numpy(), job.targets)
        count[held] += 1
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _report_folds(job: _Job, runs: NDArray[np.float64]) -> dict[str, Any]:
    by = "speaker" if all(job.dataset.speakers) else "video"
    how = f"{job.plan.folds}-fold cross-validation by {by} over all segments"
    return _summarise(job, how, runs, job.learned, job.learned)


def _report(
    job: _Job, how: str, ensemble: Ensemble, scored: list[int], learned: list[int]
) -> dict[str, Any]:
    runs = ensemble.predict_each([job.dataset.sequences[n] for n in scored]).double().numpy()
    return _summarise(job, how, keep_on_scale(runs, job.targets), scored, learned)


def _summarise(
    job: _Job,
    how: str,
    runs: NDArray[np.float64],
    scored: Sequence[int],
    learned: Sequence[int],
) -> dict[str, Any]:
    videos = [job.dataset.videos[n] for n in scored]
    found = {}
    for n, (target, part) in enumerate(zip(job.targets, lay_out(job.targets), strict=True)):
        labels = job.labels[list(scored), n]
        if np.isnan(labels).all():
            continue
        known = find_constants(job.labels[list(learned), n], target)
        found[target.name] = {
            "how": how,
            **summarise(runs[:, :, part], labels, videos, target),
            "constants": score_constants(known, labels, target),
        }
    return found


def _keep_features(
    features: Mapping[str, Any], columns: Mapping[str, tuple[str, ...]]
) -> dict[str, Any]:
    """Of how the features were made, the steps whose columns are read."""
    steps = {"language": "language", "visual": "visual", "acoustic": "acoustic"}
    unread = {step for modality, step in steps.items() if modality not in columns}
    if "acoustic" not in columns:
        unread.add("timing")
    beside = {"name", "transcribe", "align"}  # a recipe's, but they make no columns
    return {step: made for step, made in features.items() if step not in unread | beside}


def _name_splits(job: _Job, parts: Sequence[tuple[list[int], list[int]]]) -> dict[str, list[str]]:
    """The videos learned from (those that say when to stop too), and what was held out."""

    def name(rows: Sequence[int]) -> list[str]:
        return sorted({job.dataset.videos[n] for n in rows})

    splits = {"train": name(sorted({n for some, _ in parts for n in some}))}
    if all(held == parts[0][1] for _, held in parts):
        splits["valid"] = name(parts[0][1])
    else:
        splits |= {f"held out {n}": name(held) for n, (_, held) in enumerate(parts)}
    return {**splits, **job.test} if job.test["test"] else splits
