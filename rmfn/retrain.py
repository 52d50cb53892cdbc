"""Train a model again with more data, and take the new one only if it is shown to be better.

Every version is judged on the same frozen segments, from which none learns: nor from any other
segment of their videos and speakers, nor from what is given later as of the split "test". Candidate
and current model predict the same segments, so what counts is the difference segment by segment,
with an interval that redraws whole videos.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DatasetError
from rmfn.dataset import Dataset, hash_dataset
from rmfn.growing import add_segments, find_frozen, find_learnable
from rmfn.predict import Predictor
from rmfn.registry import Registry
from rmfn.runs import RECORD, RUN
from rmfn.significance import compare_models
from rmfn.splits import group_segments
from rmfn.targets import Target, describe_target, find_targets
from rmfn.tasks import lay_out, read_labels
from rmfn.train_dataset import Plan, train_dataset
from rmfn.unseen import OnProgress
from rmfn.word_features import count_adapted

MARGIN = 0.01  # of a label's scale
FEW_GROUPS = 10  # from fewer videos an interval is rough


@dataclass(frozen=True)
class Rule:
    """When a candidate takes the current model's place.

    Attributes
    ----------
    accept : "better": the whole interval of the difference in error is below 0. "not-worse": it is
        below ``margin``.
    margin : in the unit of the error; None = a hundredth of the label's scale.
    draws, coverage : of the bootstrap.
    """

    accept: Literal["better", "not-worse"] = "better"
    margin: float | None = None
    draws: int = 2000
    coverage: float = 0.95

    def __post_init__(self) -> None:
        if self.accept not in ("better", "not-worse"):
            raise ValueError(
                f"a candidate is accepted if 'better' or 'not-worse', got {self.accept!r}"
            )
        if self.margin is not None and not (
            isinstance(self.margin, int | float) and self.margin > 0
        ):
            raise ValueError(f"the margin must be a number above 0, got {self.margin!r}")


@dataclass(frozen=True)
class Comparison:
    """Two models on the same segments.

    Attributes
    ----------
    candidate, current : mean errors: absolute of a regression, share wrong of classes; the mean
        over the labels if there are several.
    difference : candidate - current; below 0 the candidate is better.
    low, high : the interval of the difference, redrawing whole groups; None = not known, as there
        is only one.
    p : two-sided, by permutation; None likewise.
    segments, groups : how many of each.
    """

    candidate: float
    current: float
    difference: float
    low: float | None
    high: float | None
    p: float | None
    segments: int
    groups: int


def compare_errors(
    candidate: NDArray[np.float64],
    current: NDArray[np.float64],
    groups: Sequence[str],
    rule: Rule | None = None,
) -> Comparison:
    """The paired difference of two models' errors.

    Parameters
    ----------
    candidate, current : [n] errors of the same segments.
    groups : [n] the speaker or video of each.
    """
    rule = rule or Rule()
    found = compare_models(
        candidate,
        current,
        np.zeros(len(candidate)),
        groups,
        lambda errors, _: {"error": float(errors.mean())},
        rule.draws,
        rule.coverage,
    )["error"]
    # JSON has no NaN.
    low, high, p = (None if math.isnan(v) else v for v in (*found["interval"], found["p"]))
    return Comparison(
        float(candidate.mean()),
        float(current.mean()),
        found["difference"],
        low,
        high,
        p,
        len(candidate),
        len(set(groups)),
    )


def measure_errors(
    predictor: Predictor, dataset: Dataset, targets: Sequence[Target]
) -> NDArray[np.float64]:
    """The error of each segment [n], the mean over its labels: absolute, or 1 for a wrong class.

    NaN where a segment has no label at all.
    """
    predicted = predictor.predict_values(dataset.sequences, dataset.videos)
    labels = read_labels(dataset, targets)
    errors = np.empty_like(labels)
    for n, (target, part) in enumerate(zip(targets, lay_out(targets), strict=True)):
        if target.kind == "regression":
            errors[:, n] = abs(predicted[:, part][:, 0] - labels[:, n])
        else:
            wrong = predicted[:, part].argmax(1) != labels[:, n]
            errors[:, n] = np.where(np.isnan(labels[:, n]), np.nan, wrong)
    given = ~np.isnan(errors)
    total = np.where(given, errors, 0).sum(1)
    return np.where(given.any(1), total / np.maximum(given.sum(1), 1), np.nan)


def list_targets(current: Path | None) -> tuple[Target, ...]:
    """What the version in use predicts; nothing if there is none."""
    return () if current is None else Predictor.load(current).manifest.labels


def reads_adapted(current: Path | None) -> bool:
    """Whether the version in use reads columns of an encoder that was adapted to labels."""
    if current is None:
        return False
    return count_adapted(Predictor.load(current).manifest.columns.get("language", ())) > 0


def choose_targets(fresh: Dataset, plan: Plan, current: Path | None) -> tuple[Target, ...]:
    """What is predicted: as the plan says, else as the current model does, else all labels.

    Raises
    ------
    DatasetError : the plan's are not those of the current model, which could not be compared.
    """
    known = list_targets(current)
    if known and plan.targets and plan.targets != known:
        names = ", ".join(f"{each.name} ({describe_target(each)})" for each in known)
        raise DatasetError(f"{current} predicts {names}; a model of other labels is another model")
    return known or plan.targets or find_targets(fresh, list(fresh.labels))


def retrain(
    registry: Registry,
    fresh: Dataset,
    plan: Plan,
    rule: Rule | None = None,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Add segments, train a candidate on all, compare it with the current model, decide.

    The first time, the frozen segments are chosen: those of the split "test" if there are any, else
    a fifth or more (``rmfn.growing.choose_frozen``), whole speakers and videos; and the candidate
    is taken, as there is nothing to compare it with.

    Parameters
    ----------
    fresh : new segments, all of them or those since the last time; none may be missing for good,
        as the registry keeps what it was given.

    Returns
    -------
    The decision, as the version's ``decision.json`` holds it: ``version``, ``promoted``, ``why``,
    ``current`` (the version before, or None), ``comparison``, ``rule``, ``segments``, ``notes``.

    Raises
    ------
    DatasetError : another retraining is running, too little is left to learn from, the registry is
        damaged.
    RecipeMismatch : the features were made in another way than those of the segments before.
    """
    rule = rule or Rule()
    with registry.alone():
        before = registry.current()
        plan = replace(plan, targets=choose_targets(fresh, plan, before))
        everything, frozen, notes = add_segments(registry, fresh)
        judged = everything.take(find_frozen(everything, frozen))
        learnable = find_learnable(everything, judged)
        rows = [n for n in learnable if everything.splits[n] != "test"]
        learned = replace(everything.take(rows), splits=("",) * len(rows))
        if aside := len(learnable) - len(rows):
            notes.append(
                f"{aside} segments are of the split test and are not learned from; nor judged on: "
                "what is frozen stays the same"
            )
        if held := len(everything) - len(judged) - len(learnable):
            notes.append(
                f"{held} segments are of videos or speakers of the frozen ones: not learned from"
            )
        if len(set(group_segments(judged.videos, judged.speakers))) < 2:
            notes.append(
                "the frozen segments are of one video or speaker, on which no later version can be "
                "shown to be better: begin in another folder once there are four or more"
            )
        candidate = registry.candidate()
        _discard_other(candidate, learned)
        # Nothing is kept aside but the frozen segments: each member stops on other videos.
        train_dataset(learned, replace(plan, rotate=True), candidate, on_progress, resume=True)
        comparison = None if before is None else _compare(candidate, before, judged, plan, rule)
        promoted, why = decide(comparison, rule, _find_margin(rule, plan), before)
        if comparison is not None and 1 < comparison.groups < FEW_GROUPS:
            notes.append(
                f"the frozen segments are of {comparison.groups} speakers or videos only: the "
                "interval is rough"
            )
        decision = {
            "version": candidate.name,
            "promoted": promoted,
            "why": why,
            "current": None if before is None else before.name,
            "comparison": None if comparison is None else asdict(comparison),
            "rule": asdict(rule),
            "segments": {
                "new": len(fresh),
                "learned": len(learned),
                "frozen": len(judged),
                "hash": hash_dataset(learned),
            },
            "notes": notes,
            "decided": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        registry.decide(candidate, decision)
        if promoted:
            registry.promote(candidate)
        return decision


def decide(
    comparison: Comparison | None, rule: Rule, margin: float, current: Path | None
) -> tuple[bool, str]:
    """Whether the candidate is taken, and why in a sentence."""
    if comparison is None or current is None:
        return True, "it is the first version: there is nothing to compare it with"
    found = (
        f"on {comparison.segments} frozen segments its error is {comparison.candidate:.3f}, that "
        f"of {current.name} {comparison.current:.3f}: a difference of {comparison.difference:+.3f} "
        f"({rule.coverage:.0%} interval {_show_interval(comparison.low, comparison.high)})"
    )
    if comparison.high is None:
        shown = "better" if rule.accept == "better" else f"not worse by {margin:g} or more"
        return False, f"it cannot be shown to be {shown} on one video or speaker: {found}"
    limit = 0.0 if rule.accept == "better" else margin
    promoted = comparison.high < limit
    if rule.accept == "better":
        verdict = "it is better" if promoted else "it is not shown to be better"
    else:
        verdict = (
            f"it is not worse by {margin:g} or more"
            if promoted
            else f"it may be worse by {margin:g} or more"
        )
    return promoted, f"{verdict}: {found}"


def describe_decision(decision: dict[str, Any]) -> str:
    """A decision as Markdown."""
    taken = "is taken" if decision["promoted"] else f"is not taken; {decision['current']} stays"
    lines = [
        f"# {decision['version']} {taken}",
        "",
        f"{decision['why'][0].upper()}{decision['why'][1:]}.",
        "",
        "| | error on the frozen segments |",
        "|---|---|",
    ]
    comparison, counts = decision["comparison"], decision["segments"]
    if comparison is None:
        lines = lines[:-2]
    else:
        interval = _show_interval(comparison["low"], comparison["high"])
        lines += [
            f"| {decision['version']} | {comparison['candidate']:.3f} |",
            f"| {decision['current']} | {comparison['current']:.3f} |",
            f"| difference | {comparison['difference']:+.3f} ({interval}) |",
            "",
        ]
    lines.append(
        f"{counts['new']} segments were given; it learned from {counts['learned']} of all that are "
        f"known, {counts['frozen']} are frozen."
    )
    if decision["notes"]:
        lines += ["", *(f"- {note}" for note in decision["notes"])]
    return "\n".join(lines) + "\n"


def _show_interval(low: float | None, high: float | None) -> str:
    return "not known" if low is None or high is None else f"{low:+.3f} to {high:+.3f}"


def _discard_other(candidate: Path, learned: Dataset) -> None:
    """Remove what a killed run left, unless it learned from the same segments."""
    record = candidate / RUN / RECORD
    try:
        same = json.loads(record.read_text())["data"]["sha256"] == hash_dataset(learned)
    except (OSError, ValueError, KeyError, TypeError):
        same = False
    if candidate.exists() and not same:
        shutil.rmtree(candidate)


def _compare(candidate: Path, current: Path, judged: Dataset, plan: Plan, rule: Rule) -> Comparison:
    errors = [
        measure_errors(Predictor.load(folder), judged, plan.targets)
        for folder in (candidate, current)
    ]
    given = np.flatnonzero(~np.isnan(errors[0]))
    groups = group_segments(judged.videos, judged.speakers)
    return compare_errors(errors[0][given], errors[1][given], [groups[n] for n in given], rule)


def _find_margin(rule: Rule, plan: Plan) -> float:
    """In the unit of the error; of several labels the mean of theirs."""
    if rule.margin is not None:
        return rule.margin
    scales = [
        target.high - target.low if target.kind == "regression" else 1.0 for target in plan.targets
    ]
    return MARGIN * sum(scales) / len(scales)
