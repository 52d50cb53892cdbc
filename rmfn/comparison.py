"""What a comparison of systems found: a row each, with its interval and what it differs by."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from pipeline.errors import DatasetError
from rmfn.dataset import Dataset
from rmfn.paired_means import exchange, redraw_mean
from rmfn.splits import group_segments
from rmfn.systems import TITLES
from rmfn.targets import Target
from rmfn.tasks import lay_out, name_classes, score_target

# Of intervals and exchanges. No p is below 1 / (DRAWS + 1); Holm's correction multiplies the least
# by the number of systems, thirty-two or so.
DRAWS = 20_000
GUESSES = 200
GUESS = "random guess"


@dataclass(frozen=True)
class Row:
    """One system under the protocol.

    Attributes
    ----------
    seeds : {seed: {target: metrics}}; empty if it has none.
    intervals : {target: (low, high)}, 95 % of the mean over the seeds of the error (MAE, or the
        accuracy of classes), whole videos redrawn; NaN (read back: None) of a single video.
    against : {target: {"difference", "interval", "p", "p_holm"}} of that error, its own less the
        reference's, paired by segment, whole videos redrawn and exchanged; empty of the reference.
    parameters : learned numbers.
    train_seconds : of the processor, one training.
    predict_ms : of the processor, a segment, many of them together, one thread.
    missing : why there is nothing, or not all.
    """

    model: str
    title: str
    seeds: dict[int, dict[str, Any]] = field(default_factory=dict)
    intervals: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)
    against: dict[str, dict[str, Any]] = field(default_factory=dict)
    parameters: float | None = None
    train_seconds: float | None = None
    predict_ms: float | None = None
    missing: str = ""

    @property
    def failed(self) -> bool:
        return self.missing.startswith("failed: ")

    def spread(self, target: str, metric: str) -> tuple[float, float] | None:
        """Mean and standard deviation (ddof 1) over the seeds; None if it has no such metric."""
        found = [report[target].get(metric) for report in self.seeds.values() if target in report]
        values = np.array([value for value in found if value is not None and value == value])
        if not len(values):
            return None
        return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else math.nan


@dataclass(frozen=True)
class Comparison:
    """What was found.

    Attributes
    ----------
    papers : the data are the paper's (CMU-MOSI), so that its values stand beside.
    protocol : a line for people.
    targets : what was predicted.
    reference : the title of the system that all are compared with; "" if it is not among them.
    rows : in the order asked.
    constants : {target: {name: metrics}} of who looks at nothing.
    """

    data: str
    papers: bool
    protocol: str
    targets: tuple[Target, ...]
    reference: str
    rows: tuple[Row, ...]
    constants: dict[str, dict[str, Any]]


def load_comparison(file: str | Path) -> Comparison:
    """Read ``table.json`` back; what was undefined there is None here.

    Raises
    ------
    DatasetError : it is not there, or is none.
    """
    try:
        return TypeAdapter(Comparison).validate_json(Path(file).read_bytes())
    except (OSError, ValidationError) as e:
        raise DatasetError(f"{file} cannot be read as a comparison: {e}") from e


def adjust(p: Sequence[float]) -> list[float]:
    """p-values of which any may be the least, by Holm (1979); one that is NaN is not counted."""
    known = sorted((value, n) for n, value in enumerate(p) if value == value)
    adjusted, least = [math.nan] * len(p), 0.0
    for rank, (value, n) in enumerate(known):
        least = max(least, min(1.0, value * (len(known) - rank)))
        adjusted[n] = least
    return adjusted


@dataclass(frozen=True)
class Scored:
    """The segments that all systems predict, with their labels [n, T]."""

    dataset: Dataset
    targets: tuple[Target, ...]
    labels: NDArray[np.float64]


def make_row(
    name: str,
    runs: Mapping[int, dict[str, Any]],
    scored: Scored,
    reference: Mapping[int, dict[str, Any]],
    reason: str | None,
) -> Row:
    """What was measured of one system, beside the one that all are compared with."""
    row = Row(name, TITLES.get(name, name), missing=reason or "")
    if not runs:
        return row
    seeds: dict[int, dict[str, Any]] = {seed: {} for seed in runs}
    intervals: dict[str, tuple[float | None, float | None]] = {}
    against: dict[str, dict[str, Any]] = {}
    groups = group_segments(scored.dataset.videos, scored.dataset.speakers)
    for n, (target, part) in enumerate(zip(scored.targets, lay_out(scored.targets), strict=True)):
        given = np.flatnonzero(~np.isnan(scored.labels[:, n]))
        if not len(given):
            continue
        labels = scored.labels[given, n]
        videos = [groups[row] for row in given.tolist()]

        def stack(
            of: Mapping[int, dict[str, Any]],
            common: Sequence[int],
            given: NDArray[np.int64] = given,
            part: slice = part,
        ) -> NDArray[np.float64]:
            """[n, seeds, outputs of the target]"""
            every = [np.array(of[seed]["predictions"])[given, part] for seed in common]
            return np.stack(every, axis=1)

        for seed in runs:
            seeds[seed][target.name] = score_target(stack(runs, [seed])[:, 0], labels, target)
        errors = measure_errors(stack(runs, list(runs)), labels, target)
        intervals[target.name] = redraw_mean(errors, videos, DRAWS)
        common = [seed for seed in runs if seed in reference]
        if common and runs is not reference:
            ours, theirs = stack(runs, common), stack(reference, common)
            if not np.array_equal(ours, theirs):
                apart = measure_errors(ours, labels, target)
                apart -= measure_errors(theirs, labels, target)
                against[target.name] = {
                    "difference": float(apart.mean()),
                    "interval": redraw_mean(apart, videos, DRAWS),
                    "p": exchange(apart, videos, DRAWS),
                }
    costs: dict[str, Any] = {
        cost: float(np.mean([run[cost] for run in runs.values()]))
        for cost in ("parameters", "train_seconds", "predict_ms")
    }
    return replace(row, seeds=seeds, intervals=intervals, against=against, **costs)


def measure_errors(
    predicted: NDArray[np.float64], labels: NDArray[np.float64], target: Target
) -> NDArray[np.float64]:
    """Of each segment the mean over the seeds of what `name_error` says [n], predictions
    [n, seeds, outputs]."""
    if target.kind == "regression":
        return abs(predicted[:, :, 0] - labels[:, None]).mean(1)
    return (predicted.argmax(2) == labels[:, None]).mean(1)


def adjust_rows(rows: Sequence[Row], targets: Sequence[Target]) -> list[Row]:
    """The rows with p-values that know how many were looked at."""
    against = [{name: dict(found) for name, found in row.against.items()} for row in rows]
    for target in targets:
        some = [each[target.name] for each in against if target.name in each]
        for found, p in zip(some, adjust([found["p"] for found in some]), strict=True):
            found["p_holm"] = p
    return [replace(row, against=each) for row, each in zip(rows, against, strict=True)]


def name_error(target: Target) -> str:
    """The metric that systems are ordered by and tested on."""
    return "mae" if target.kind == "regression" else "accuracy"


def score_guess(
    learned: NDArray[np.float64], labels: NDArray[np.float64], target: Target, draws: int = GUESSES
) -> dict[str, float]:
    """What one reaches who says labels at random, as often as they were seen: the mean."""
    random = np.random.default_rng(0)
    known = learned[~np.isnan(learned)]
    classes = len(name_classes(target))
    found = []
    for _ in range(draws):
        said = random.choice(known, len(labels))
        predicted = np.eye(classes)[said.astype(int)] if classes else said[:, None]
        found.append(score_target(predicted, labels, target))
    return {name: float(np.mean([each[name] for each in found])) for name in found[0]}
