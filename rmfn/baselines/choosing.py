"""How a model that learns by itself makes its choices: each is tried, what errs least is kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import Tensor, nn

from rmfn.data import Batch

Known = tuple[Tensor, Tensor]  # x [n, D] and one target's y [n]; NaN in y was not given


def split_targets(
    x: Tensor, u: Tensor, training: Batch, validation: Batch, mean: Tensor, std: Tensor
) -> Iterator[tuple[Known, Known]]:
    """For each target what is seen and what is held out, numbers on their own scale.

    Parameters
    ----------
    x, u : descriptions of the training and of the validation segments.
    mean, std : [T] of the training labels.
    """
    seen, held = ((batch.labels - mean) / std for batch in (training, validation))
    for y, v in zip(seen.T, held.T, strict=True):
        yield (x, y), (u, v)


def keep_given(x: Tensor, y: Tensor) -> Known:
    """The rows whose label was given; labels in double precision."""
    given = ~y.isnan()
    return x[given], y[given].double()


def keep_best(model: nn.Module, tries: Iterable[None], u: Tensor, v: Tensor) -> None:
    """Leave the model as it was after the try that errs least; of several as good, the first.

    Parameters
    ----------
    model : ``model(u) -> [n, classes or 1]``, with ``classes``.
    tries : each step fits the model anew.
    u, v : what is held out, all labels given; the first try stays if there is nothing.
    """
    best, kept = float("inf"), None
    for _ in tries:
        error = measure_error(model, u, v)
        if error < best or kept is None:
            best, kept = error, {name: b.clone() for name, b in model.named_buffers()}
        if not len(v):
            break
    if kept is not None:
        model.load_state_dict(kept)


def measure_error(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """The share of wrong classes, or the mean absolute error; 0 of nothing."""
    if not len(y):
        return 0.0
    found = model(x)
    wrong = (found.argmax(1) != y).double() if model.classes else (found[:, 0] - y).abs()
    return float(wrong.mean())
