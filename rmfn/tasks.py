"""What a model is asked for: targets as columns of its outputs, their loss and their metrics.

A regression is one output; "binary" and "classes" are one output a class, whose softmax is the
probability (the paper's emotions are two classes each). A label that is NaN was not given: it takes
no part in the loss nor in any metric.

Letters: n or B segments, T targets, C outputs of all targets side by side.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pipeline.errors import DatasetError
from rmfn import metrics
from rmfn.dataset import Dataset, Target, check_labels
from rmfn.metrics import Scores

FLAT = 1e-6  # labels that vary less have no scale


def name_classes(target: Target) -> tuple[str, ...]:
    """The classes in the order of the outputs; empty for a regression."""
    if target.kind == "regression":
        return ()
    if target.kind == "binary":
        return target.classes or ("0", "1")
    return target.classes


def count_outputs(targets: Sequence[Target]) -> int:
    """C."""
    return sum(len(name_classes(target)) or 1 for target in targets)


def lay_out(targets: Sequence[Target]) -> list[slice]:
    """Which of the C outputs are each target's."""
    slices, start = [], 0
    for target in targets:
        stop = start + (len(name_classes(target)) or 1)
        slices.append(slice(start, stop))
        start = stop
    return slices


def read_labels(dataset: Dataset, targets: Sequence[Target]) -> NDArray[np.float64]:
    """The labels of the targets [n, T]; NaN where not given.

    Raises
    ------
    DatasetError : a column is not there, holds nothing, or holds what its target cannot be.
    """
    columns = []
    for target in targets:
        if target.name not in dataset.labels:
            known = ", ".join(dataset.labels) or "none"
            raise DatasetError(
                f"data set {dataset.name!r} has no label {target.name!r}; it has {known}"
            )
        values = np.asarray(dataset.labels[target.name], float)
        if np.isnan(values).all():
            raise DatasetError(
                f"data set {dataset.name!r}: no segment has the label {target.name!r}"
            )
        values = match_classes(values, target, dataset)
        check_labels(values, target, dataset.ids, dataset.name)
        columns.append(values)
    return np.stack(columns, axis=1)


def match_classes(
    values: NDArray[np.float64], target: Target, dataset: Dataset
) -> NDArray[np.float64]:
    """Classes by name: another file may lack some, or have them in another order.

    Parameters
    ----------
    values : [n] labels as the data set counts its classes.

    Returns
    -------
    [n] as the target counts them.

    Raises
    ------
    DatasetError : some are none of the target's.
    """
    theirs = next((t.classes for t in dataset.targets if t.name == target.name), ())
    if target.kind != "classes" or not theirs or theirs == target.classes:
        return values
    used = {int(value) for value in values[~np.isnan(values)]}
    if unknown := [theirs[n] for n in sorted(used) if theirs[n] not in target.classes]:
        names = ", ".join(map(repr, unknown))
        raise DatasetError(
            f"data set {dataset.name!r}: the {target.name} {names} is none of "
            f"{', '.join(target.classes)}"
        )
    places = {n: float(target.classes.index(theirs[n])) for n in used}
    return np.array([value if np.isnan(value) else places[int(value)] for value in values])


def fit_scale(labels: Tensor, targets: Sequence[Target]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [T] of the labels given; 0 and 1 for classes.

    Parameters
    ----------
    labels : [n, T]
    """
    mean, std = torch.zeros(len(targets)), torch.ones(len(targets))
    for n, target in enumerate(targets):
        given = labels[:, n][~labels[:, n].isnan()]
        if target.kind == "regression" and len(given):
            mean[n] = given.mean()
            std[n] = given.std(unbiased=False).clamp_min(FLAT)
    return mean, std


def compute_loss(
    raw: Tensor,
    labels: Tensor,
    targets: Sequence[Target],
    mean: Tensor,
    std: Tensor,
    weights: Tensor,
) -> Tensor:
    """The weighted mean over the targets of L1 on standardised labels, or of cross-entropy.

    Parameters
    ----------
    raw : [B, C], what the network put out.
    labels : [B, T]
    mean, std, weights : [T]

    Returns
    -------
    A number; 0 where no label is given at all.
    """
    total, weighed = raw.sum() * 0, weights.new_zeros(())
    for n, (target, part) in enumerate(zip(targets, lay_out(targets), strict=True)):
        given = ~labels[:, n].isnan()
        if not given.any():
            continue
        loss = _measure(raw[given, part], labels[given, n], target, mean[n], std[n]).mean()
        total, weighed = total + weights[n] * loss, weighed + weights[n]
    return total / weighed if weighed > 0 else total


def compute_losses(
    raw: Tensor,
    labels: Tensor,
    targets: Sequence[Target],
    mean: Tensor,
    std: Tensor,
    weights: Tensor,
) -> Tensor:
    """Each sequence's own loss [B], the weighted mean over the targets that it has labels of; 0 if
    it has none. Arguments as `compute_loss`, of which this is the mean where all labels are given.
    """
    total, weighed = weights.new_zeros(len(raw)), weights.new_zeros(len(raw))
    for n, (target, part) in enumerate(zip(targets, lay_out(targets), strict=True)):
        given = (~labels[:, n].isnan()).nonzero()[:, 0]
        loss = _measure(raw[given, part], labels[given, n], target, mean[n], std[n])
        total = total.index_add(0, given, weights[n] * loss)
        weighed = weighed.index_add(0, given, weights[n].expand(len(given)))
    return total / torch.where(weighed > 0, weighed, 1)


def _measure(raw: Tensor, labels: Tensor, target: Target, mean: Tensor, std: Tensor) -> Tensor:
    """One target's loss of each sequence."""
    if target.kind == "regression":
        return (raw[:, 0].float() - (labels - mean) / std).abs()
    return F.cross_entropy(raw.float(), labels.long(), reduction="none")


def decode(raw: Tensor, targets: Sequence[Target], mean: Tensor, std: Tensor) -> Tensor:
    """Outputs as people read them [n, C]: label units of a regression, probabilities of classes."""
    decoded = raw.clone()
    for n, (target, part) in enumerate(zip(targets, lay_out(targets), strict=True)):
        if target.kind == "regression":
            decoded[:, part] = raw[:, part] * std[n] + mean[n]
        else:
            decoded[:, part] = raw[:, part].softmax(1)
    return decoded


def keep_on_scale(decoded: NDArray[np.float64], targets: Sequence[Target]) -> NDArray[np.float64]:
    """Decoded predictions [..., C] with those of regressions inside their scales."""
    kept = np.array(decoded, float)
    for target, part in zip(targets, lay_out(targets), strict=True):
        if target.kind == "regression":
            kept[..., part] = np.clip(kept[..., part], target.low, target.high)
    return kept


def find_threshold(target: Target) -> float:
    """From where on a regression counts as positive."""
    middle = (target.low + target.high) / 2
    return middle if target.threshold is None else target.threshold


def score_target(
    predicted: NDArray[np.float64], labels: NDArray[np.float64], target: Target
) -> Scores:
    """The paper's metrics of one target, over the segments that have a label.

    Parameters
    ----------
    predicted : [n, outputs of this target], decoded.
    labels : [n]

    Raises
    ------
    ValueError : no segment has a label.
    """
    given = ~np.isnan(labels)
    if target.kind == "regression":
        return metrics.score(
            predicted[given, 0], labels[given], find_threshold(target), target.low, target.high
        )
    return metrics.score_classes(predicted[given], labels[given])


def find_constants(labels: NDArray[np.float64], target: Target) -> dict[str, float]:
    """What one would always say after seeing these labels [n] alone; NaN ones are passed over."""
    given = labels[~np.isnan(labels)]
    if target.kind == "regression":
        return metrics.find_constants(given, find_threshold(target))
    values, counts = np.unique(given, return_counts=True)
    return {"majority": float(values[counts.argmax()])}


def score_constants(
    constants: dict[str, float], labels: NDArray[np.float64], target: Target
) -> dict[str, Scores]:
    """What constants reach. A model's number means little without them beside it."""
    found = {}
    for name, value in constants.items():
        if target.kind == "regression":
            said = np.full((len(labels), 1), value)
        else:
            said = np.eye(len(name_classes(target)))[np.full(len(labels), int(value))]
        found[name] = score_target(said, labels, target)
    return found
