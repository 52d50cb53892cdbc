"""What a label column is: a number on a scale, yes or no, one of several classes."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import DatasetError

if TYPE_CHECKING:
    from rmfn.dataset import Dataset

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Target:
    """One thing to be predicted.

    Attributes
    ----------
    name : of the label's column.
    kind : "regression" (numbers from ``low`` to ``high``), "binary" (0 or 1), "classes" (0 to
        len(classes) - 1).
    low, high : the scale of a regression.
    classes : names, of "classes" alone.
    threshold : at least this is the positive class of a regression's A2 and F1, of labels and of
        predictions; by default the middle of the scale. To count what lies above a value that
        labels have, say a little more.
    """

    name: str
    kind: Literal["regression", "binary", "classes"] = "regression"
    low: float = -3.0
    high: float = 3.0
    classes: tuple[str, ...] = ()
    threshold: float | None = None


def find_targets(dataset: Dataset, names: Sequence[str]) -> tuple[Target, ...]:
    """What is to be predicted, as a person names it.

    Parameters
    ----------
    names : label columns, each alone or with its kind or scale: ``sentiment``,
        ``sentiment:-3:3``, ``sentiment:1:5:3.501`` (with the threshold), ``happy:binary``,
        ``emotion:classes``. What is not given is what the data set says of the column; what that
        does not say is guessed from the labels, and the guess is logged as a warning.

    Raises
    ------
    DatasetError : there is no such column, it has no labels, a kind is unknown, or a label does
        not fit its kind or scale.
    """
    targets = tuple(_find_target(dataset, name) for name in names)
    for target in targets:
        check_labels(dataset.labels[target.name], target, dataset.ids, dataset.name)
    return targets


def name_columns(named: Sequence[str]) -> list[str]:
    """The label columns of targets that a person names: ``sentiment:-3:3`` is ``sentiment``."""
    return [name.partition(":")[0] for name in named]


def check_labels(
    values: NDArray[np.float64], target: Target, ids: Sequence[str], where: str
) -> None:
    """See that labels lie on their target's scale; NaN is a label that nobody gave.

    Raises
    ------
    DatasetError : one does not; it names the segment, what was expected and what was found.
    """
    wrong = np.flatnonzero(~is_on_scale(values, target))
    if len(wrong):
        raise DatasetError(
            f"{where}: segment {ids[wrong[0]]!r} has the {target.name} {values[wrong[0]]:g}, "
            f"expected {describe_scale(target)} ({len(wrong)} of {len(values)} labels are like "
            "this)"
        )


def is_on_scale(values: ArrayLike, target: Target) -> NDArray[np.bool_]:
    """Which labels a target can have; NaN is a label that nobody gave, and may be."""
    labels = np.asarray(values, float)
    if target.kind == "regression":
        good = (labels >= target.low) & (labels <= target.high)
    else:
        good = np.isin(labels, np.arange(_count_classes(target)))
    return good | np.isnan(labels)


def describe_scale(target: Target) -> str:
    """What its labels can be, for people."""
    if target.kind == "regression":
        return f"{target.low:g} to {target.high:g}"
    if target.kind == "binary":
        return "0 or 1"
    return f"a class number, 0 to {_count_classes(target) - 1}"


def _count_classes(target: Target) -> int:
    return 2 if target.kind == "binary" else len(target.classes)


def find_scales(named: Sequence[str], known: Sequence[Target] = ()) -> tuple[Target, ...]:
    """The targets whose scale is known before there are labels.

    Parameters
    ----------
    named : as `find_targets`'s.
    known : those that are predicted if none is named.

    Raises
    ------
    DatasetError : what is said of one is no kind and no scale.
    """
    if not named:
        return tuple(known)
    said = [_read_target(column, text) for column, _, text in (n.partition(":") for n in named)]
    return tuple(target for target in said if target is not None)


def _find_target(dataset: Dataset, named: str) -> Target:
    column, said = named, ""
    if named not in dataset.labels:
        column, _, said = named.partition(":")
    if column not in dataset.labels:
        raise DatasetError(
            f"data set {dataset.name!r} has no label {column!r}; it has "
            f"{', '.join(dataset.labels) or 'none'}"
        )
    values = dataset.labels[column]
    values = values[~np.isnan(values)]
    if not len(values):
        raise DatasetError(f"data set {dataset.name!r}: no segment has the label {column!r}")
    if np.isinf(values).any():
        raise DatasetError(f"data set {dataset.name!r}: a label {column!r} is infinite")
    known = next((target for target in dataset.targets if target.name == column), None)
    if not said:
        if known is not None:
            return known
        guess = _guess_target(column, values)
        _log.warning(
            "label %s: taken for %s, as its %d values lie between %g and %g; if it is another, "
            "say %s:LOW:HIGH, %s:binary or %s:classes",
            *(column, describe_target(guess), len(values), values.min(), values.max()),
            *(column, column, column),
        )
        return guess
    if said == "classes":
        if known is not None and known.kind == "classes":
            return known
        count = max(int(values.max()) + 1, 2)
        return Target(column, "classes", 0.0, count - 1.0, tuple(map(str, range(count))))
    if said == "regression":
        return known if known is not None and known.kind == said else _guess_scale(column, values)
    target = _read_target(column, said)
    assert target is not None  # all else is said
    return target


def _read_target(column: str, said: str) -> Target | None:
    """What is said of a column; None if that leaves something to its labels."""
    if said in ("", "classes", "regression"):
        return None
    if said == "binary":
        return Target(column, "binary", 0.0, 1.0)
    try:
        low, high, *more = map(float, said.split(":"))
        if not -math.inf < low < high < math.inf or len(more) > 1:
            raise ValueError
        if more and not low <= more[0] <= high:
            raise ValueError
    except ValueError:
        raise DatasetError(
            f"target {f'{column}:{said}'!r}: expected {column}, {column}:LOW:HIGH, "
            f"{column}:LOW:HIGH:THRESHOLD within them, {column}:binary, {column}:classes or "
            f"{column}:regression"
        ) from None
    return Target(column, "regression", low, high, threshold=more[0] if more else None)


def describe_target(target: Target) -> str:
    """A few words for people."""
    if target.kind == "regression":
        return f"a regression from {target.low:g} to {target.high:g}"
    if target.kind == "binary":
        return "binary (0 or 1)"
    return f"{len(target.classes)} classes ({', '.join(target.classes)})"


def _guess_target(column: str, values: NDArray[np.float64]) -> Target:
    if np.isin(values, (0, 1)).all():
        return Target(column, "binary", 0.0, 1.0)
    return _guess_scale(column, values)


def _guess_scale(column: str, values: NDArray[np.float64]) -> Target:
    """The usual scale around the labels: -1..1, -3..3, or whole numbers around them."""
    size = float(abs(values).max())
    if values.min() < 0:
        edge = next((usual for usual in (1.0, 3.0) if size <= usual), float(math.ceil(size)))
        return Target(column, "regression", -edge, edge)
    low, high = float(math.floor(values.min())), float(math.ceil(values.max()))
    return Target(column, "regression", low, max(high, low + 1))
