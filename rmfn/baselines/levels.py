"""Labels as a model sees them that can only tell classes apart: a number becomes one of levels.

All labels of all targets lie side by side: of classes one each; of a regression ``levels`` ones,
evenly from -2 to 2 standard deviations of the training labels, and the prediction is the mean of
these centres under their probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

REACH = 2.0  # standard deviations; seven-step sentiment ends at about 2


def count_labels(classes: Sequence[int], outputs: int, levels: int) -> list[int]:
    """Labels of each target.

    Parameters
    ----------
    classes : of each target, 0 for a regression.
    outputs : of all targets, to be checked.

    Raises
    ------
    ValueError : the targets have another number of outputs, or there are fewer than two levels.
    """
    if sum(count or 1 for count in classes) != outputs:
        raise ValueError(f"targets of {list(classes)} classes do not have {outputs} outputs")
    if levels < 2:
        raise ValueError(f"levels must be at least 2, got {levels}")
    return [count or levels for count in classes]


def make_centres(levels: int) -> Tensor:
    """What the levels of a regression stand for, in standard deviations [levels]."""
    return torch.linspace(-REACH, REACH, levels)


def read_out(scores: Tensor, classes: Sequence[int], centres: Tensor) -> Tensor:
    """Scores of all labels [B, labels] -> log-probabilities of classes, or means [B, outputs]."""
    parts, sizes = [], [count or len(centres) for count in classes]
    for count, part in zip(classes, scores.split(sizes, dim=1), strict=True):
        likely = part.log_softmax(1)
        parts.append(likely if count else (likely.exp() @ centres.to(likely))[:, None])
    return torch.cat(parts, dim=1)


def assign_labels(values: Tensor, count: int, centres: Tensor) -> Tensor:
    """Which label each value is [n]: the class itself, or the level nearest to a standardised one.

    A value that was not given (NaN) is -1.
    """
    given = ~values.isnan()
    known = values.nan_to_num()
    found = known.long() if count else (known[:, None] - centres.to(known)).abs().argmin(1)
    return torch.where(given, found, -1)
