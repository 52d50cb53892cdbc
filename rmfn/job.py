"""A plan together with the data set it is for: checked, and without the split "test"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from extractors.language_minilm import ADAPTER, MiniLM
from pipeline.errors import DatasetError
from rmfn.adapt import AdaptSettings
from rmfn.baselines import build, find_refusal, list_settings
from rmfn.corpora import split_videos
from rmfn.data import refuse_infinite
from rmfn.dataset import Dataset, Target, check_splits, hash_dataset, make_splits
from rmfn.running import TrainSettings
from rmfn.splits import group_segments
from rmfn.tasks import count_outputs, name_classes, read_labels
from rmfn.train import Network, find_device

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
        intervals are of its predictions, without it of the validation videos, on which training
        stopped and which so come out a little too well.
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
class Job:
    """A plan with the data set it is for; the split "test" is not in it any more.

    Attributes
    ----------
    labels : [n, T]
    groups : [n] what belongs together (``rmfn.splits.group_segments``).
    columns : what is read, {modality: names}.
    train, valid : segments of these splits.
    test : {"test": the videos that were left out}.
    clips : {video: its clip id} of the videos that are one clip and are called otherwise.
    hash : of the data set as given.
    """

    plan: Plan
    dataset: Dataset
    targets: tuple[Target, ...]
    labels: NDArray[np.float64]
    groups: tuple[str, ...]
    columns: dict[str, tuple[str, ...]]
    train: list[int]
    valid: list[int]
    test: dict[str, list[str]]
    clips: dict[str, str]
    hash: str

    @property
    def learned(self) -> list[int]:
        """Every segment: none is of the split "test"."""
        return list(range(len(self.dataset)))


def prepare(dataset: Dataset, plan: Plan) -> Job:
    """See that a plan fits a data set, before any work.

    Raises
    ------
    DatasetError : labels or features that cannot be, splits that leak, nothing to learn from.
    ValueError : there is no such model, setting or device.
    """
    targets = plan.targets or dataset.targets
    if not targets:
        known = ", ".join(dataset.labels) or "none"
        raise DatasetError(f"{dataset.name}: say what to predict; its label columns are {known}")
    if unknown := [name for name in plan.weights if name not in {t.name for t in targets}]:
        raise DatasetError(f"a loss weight is given for {unknown[0]!r}, which is not predicted")
    if unknown := [name for name in plan.hidden if name not in {*dataset.columns, *UNITS}]:
        raise DatasetError(f"units are given for {unknown[0]!r}, which is no modality")
    hashed = hash_dataset(dataset)
    groups = group_segments(dataset.videos, dataset.speakers)
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
    job = Job(
        plan,
        kept,
        tuple(targets),
        read_labels(kept, targets),
        tuple(groups[n] for n in rows),
        _choose_columns(kept, plan),
        kept.of_split("train"),
        kept.of_split("valid"),
        {"test": sorted({dataset.videos[n] for n in dataset.of_split("test")})},
        _find_clips(dataset),
        hashed,
    )
    some = (job.train if job.valid and not plan.rotate else None) or job.learned
    for n, target in enumerate(job.targets):
        if np.isnan(job.labels[some, n]).all():
            raise DatasetError(
                f"{dataset.name}: no segment to learn from has the label {target.name!r}"
            )
    if reason := find_refusal(plan.model, kept.videos, kept.speakers, tuple(job.columns)):
        raise DatasetError(f"{dataset.name}: {plan.model} is not for these data: {reason}")
    # A device or a setting that there is not is told before any work.
    find_device(plan.settings.device)
    with torch.random.fork_rng(devices=[]):
        make_network(job)()
    return job


def _find_clips(dataset: Dataset) -> dict[str, str]:
    clips: dict[str, set[str]] = {}
    for video, sequence in zip(dataset.videos, dataset.sequences, strict=True):
        clips.setdefault(video, set()).add(sequence.clip_id)
    return {
        video: next(iter(ids)) for video, ids in clips.items() if len(ids) == 1 and ids != {video}
    }


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


def choose_settings(plan: Plan, model: str, seed: int) -> Plan:
    """The plan for one system: without the settings that it does not have."""
    known = list_settings(model)
    own = {name: value for name, value in plan.model_settings.items() if name in known}
    return replace(plan, model=model, seeds=(seed,), model_settings=own)


def configure(job: Job) -> dict[str, Any]:
    """All arguments of ``build`` but the name."""
    known = list_settings(job.plan.model)
    classes = tuple(len(name_classes(target)) for target in job.targets)
    return {
        "inputs": {modality: len(names) for modality, names in job.columns.items()},
        "hidden": {m: job.plan.hidden.get(m, UNITS.get(m, 32)) for m in job.columns},
        "outputs": count_outputs(job.targets),
        **({"classes": classes} if "classes" in known else {}),
        **{k: v for k, v in USUAL.items() if k in known},
        **job.plan.model_settings,
    }


def make_network(job: Job) -> Network:
    """What constructs the model."""
    return partial(build, job.plan.model, **configure(job))


def record(job: Job) -> dict[str, Any]:
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
        "versions": list_versions(),
    }


def list_versions() -> dict[str, str]:
    """Of the packages that numbers depend on."""
    return {package: version(package) for package in ("torch", "numpy", "rmfn")}


def rotate_parts(job: Job, rows: list[int]) -> list[tuple[list[int], list[int]]]:
    """For each seed the rows it learns from, and those of other videos on which it stops."""
    parts = []
    count = max(2, min(VALIDATION_PARTS, count_groups(job, rows)))
    groups = [job.groups[n] for n in rows]
    for seed in job.plan.seeds:
        # As many seeds as there are parts have them in turn, then they are dealt anew.
        dealt = split_videos(groups, count, seed // count)[seed % count]
        inside = {rows[n] for n in dealt}
        parts.append(([n for n in rows if n not in inside], sorted(inside)))
    return parts


def count_groups(job: Job, rows: Sequence[int]) -> int:
    """How many speakers or videos some segments are of."""
    return len({job.groups[n] for n in rows})


def keep_features(
    features: Mapping[str, Any], columns: Mapping[str, tuple[str, ...]]
) -> dict[str, Any]:
    """Of how the features were made, the steps whose columns are read."""
    steps = {"language": "language", "visual": "visual", "acoustic": "acoustic"}
    unread = {step for modality, step in steps.items() if modality not in columns}
    if "acoustic" not in columns:
        unread.add("timing")
    beside = {"name", "transcribe", "align"}  # a recipe's, but they make no columns
    return {step: made for step, made in features.items() if step not in unread | beside}


def name_splits(job: Job, parts: Sequence[tuple[list[int], list[int]]]) -> dict[str, list[str]]:
    """The videos learned from (those that say when to stop too), and what was held out."""

    def name(rows: Sequence[int]) -> list[str]:
        return sorted({job.dataset.videos[n] for n in rows})

    splits = {"train": name(sorted({n for some, _ in parts for n in some}))}
    if all(held == parts[0][1] for _, held in parts):
        splits["valid"] = name(parts[0][1])
    else:
        splits |= {f"held out {n}": name(held) for n, (_, held) in enumerate(parts)}
    return {**splits, **job.test} if job.test["test"] else splits


def name_clips(job: Job, splits: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The clip ids of the videos of each split: other files may call the videos by other names."""
    return {
        split: [job.clips[video] for video in videos if video in job.clips]
        for split, videos in splits.items()
        if any(video in job.clips for video in videos)
    }
