"""Support vector machines on a weighted sum of kernels, fitted by scikit-learn, kept as tensors.

    f(x) = sum_s dual_s k(x, v_s) + offset        k(x, v) = sum_b weight_b k_b(x_b, v_b)

with a kernel for each block b of columns: exp(-gamma |x_b - v_b|²), or x_b · v_b where gamma is 0.
Of several classes there is one f a pair (scikit-learn's SVC); of a number a single one (SVR).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rmfn.baselines.choosing import keep_best, keep_given
from rmfn.baselines.shapes import take_shapes

COSTS = tuple(10.0**n for n in range(-3, 4))
STEPS = 20_000  # of the solver, at most: with a high cost it may creep
UNSEEN = -30.0  # the score of a class that no one learned


@dataclass(frozen=True)
class Kernel:
    """What is tried: of each block the weight and gamma (0 = linear)."""

    weights: tuple[float, ...]
    gammas: tuple[float, ...]


class KernelMachine(nn.Module):
    """One target's: ``machine(x [n, D]) -> [n, classes or 1]``.

    A number is on the scale that it was fitted on. The scores of two classes are ∓f / 2; of more,
    scikit-learn's one-versus-rest decision: pairs won, ties broken by how clearly. Their softmax
    is no calibrated probability.

    Parameters
    ----------
    sizes : columns of each block.
    classes : how many; 0 for a number.
    """

    vectors: Tensor
    dual: Tensor
    offset: Tensor
    present: Tensor
    weights: Tensor
    gammas: Tensor

    def __init__(self, sizes: Sequence[int], classes: int):
        super().__init__()
        self.sizes, self.classes = list(sizes), classes
        blocks = len(self.sizes)
        for name, shape in {
            "vectors": (0, sum(sizes)),  # [S, D]
            "dual": (0, 0),  # [pairs or 1, S]
            "offset": (0,),  # [pairs or 1]
            "weights": (blocks,),
            "gammas": (blocks,),
        }.items():
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("present", torch.zeros(0, dtype=torch.int64))  # classes learned
        take_shapes(self)

    def forward(self, x: Tensor) -> Tensor:
        found = self._weigh(x.double(), self.vectors) @ self.dual.T + self.offset
        return self._read_classes(found) if self.classes else found

    def _weigh(self, x: Tensor, y: Tensor) -> Tensor:
        """k of all pairs [n, S]."""
        total = x.new_zeros(len(x), len(y))
        parts = zip(x.split(self.sizes, 1), y.split(self.sizes, 1), strict=True)
        for (a, b), weight, gamma in zip(parts, self.weights, self.gammas, strict=True):
            if gamma > 0:
                square = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T
                total = total + weight * (-gamma * square.clamp_min(0)).exp()
            else:
                total = total + weight * (a @ b.T)
        return total

    def _read_classes(self, found: Tensor) -> Tensor:
        """Of the pairs' decisions [n, pairs] the classes' scores [n, classes]."""
        scores = found.new_full((len(found), self.classes), UNSEEN)
        known = len(self.present)
        if known == 1:
            scores[:, self.present] = 0.0
        elif known == 2:
            scores[:, self.present] = torch.cat([-found, found], 1) / 2
        else:
            votes, sure = found.new_zeros(len(found), known), found.new_zeros(len(found), known)
            for n, (a, b) in enumerate(combinations(range(known), 2)):
                votes[:, a] += found[:, n] >= 0
                votes[:, b] += found[:, n] < 0
                sure[:, a] += found[:, n]
                sure[:, b] -= found[:, n]
            scores[:, self.present] = votes + sure / (3 * (sure.abs() + 1))
        return scores

    def learn(self, x: Tensor, y: Tensor, kernel: Kernel, cost: float, gram: NDArray[Any]) -> None:
        """Fit to n examples.

        Parameters
        ----------
        x : float64 [n, D]
        y : [n] classes or numbers, all given.
        gram : k of all pairs of x under this kernel [n, n] (`weigh_all`).
        """
        self._set_kernel(kernel)
        if self.classes:
            self.present = y.unique().long()
        if not len(y) or (self.classes and len(self.present) == 1):
            self.vectors, self.dual = x[:0], x.new_zeros(1, 0)
            self.offset = x.new_zeros(1)
            return
        fitted = fit_machine(gram, y.numpy(), cost, bool(self.classes))
        self.vectors = x[torch.from_numpy(fitted.support_).long()]
        dual = fitted.dual_coef_
        if len(self.present) > 2:
            dual = spread_duals(dual, fitted.n_support_)
        self.dual = torch.from_numpy(np.ascontiguousarray(dual))
        self.offset = torch.from_numpy(np.array(fitted.intercept_))

    def weigh_all(self, x: Tensor, kernel: Kernel) -> NDArray[Any]:
        """k of all pairs [n, n]."""
        self._set_kernel(kernel)
        return self._weigh(x, x).numpy()

    def _set_kernel(self, kernel: Kernel) -> None:
        self.weights = torch.tensor(kernel.weights, dtype=torch.float64)
        self.gammas = torch.tensor(kernel.gammas, dtype=torch.float64)

    def choose(
        self, seen: tuple[Tensor, Tensor], held: tuple[Tensor, Tensor], kernels: Iterable[Kernel]
    ) -> None:
        """Learn with the kernel and the cost that err least on what is held out; of several as
        good, the first kernel and the least cost. Nothing held out: the first, at cost 1.

        Parameters
        ----------
        seen, held : x [n, D] and y [n]; NaN in y was not given.
        """
        (x, y), (u, v) = (keep_given(*pair) for pair in (seen, held))
        keep_best(self, self._try_all(x, y, kernels, COSTS if len(v) else (1.0,)), u, v)

    def _try_all(
        self, x: Tensor, y: Tensor, kernels: Iterable[Kernel], costs: Iterable[float]
    ) -> Iterator[None]:
        for kernel in kernels:
            gram = self.weigh_all(x, kernel)
            for cost in costs:
                self.learn(x, y, kernel, cost, gram)
                yield


def fit_machine(gram: NDArray[Any], y: NDArray[Any], cost: float, classes: bool) -> Any:
    """scikit-learn's SVC or SVR on a kernel's matrix."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import SVC, SVR

    kind = SVC(C=cost, kernel="precomputed", max_iter=STEPS)
    if not classes:
        kind = SVR(C=cost, kernel="precomputed", max_iter=STEPS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # validation says if it is any good
        return kind.fit(gram, y)


def spread_duals(dual: NDArray[Any], counts: Sequence[int]) -> NDArray[np.float64]:
    """libsvm's coefficients [classes - 1, S], the support vectors by class: now a row a pair."""
    edges = np.concatenate([[0], np.cumsum(counts)])
    rows = []
    for a, b in combinations(range(len(counts)), 2):
        row = np.zeros(dual.shape[1])
        row[edges[a] : edges[a + 1]] = dual[b - 1, edges[a] : edges[a + 1]]
        row[edges[b] : edges[b + 1]] = dual[a, edges[b] : edges[b + 1]]
        rows.append(row)
    return np.stack(rows)


def scale_gamma(x: Tensor) -> float:
    """scikit-learn's "scale": 1 / (columns * variance)."""
    variance = float(x.var(unbiased=False)) if x.numel() else 0.0
    return 1.0 / (x.shape[1] * variance) if variance > 0 else 1.0


class Standard(nn.Module):
    """Columns to mean 0 and standard deviation 1 of what was learned from; float64."""

    mean: Tensor
    std: Tensor

    def __init__(self, columns: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(columns, dtype=torch.float64))
        self.register_buffer("std", torch.ones(columns, dtype=torch.float64))

    def learn(self, x: Tensor) -> Tensor:
        """Take the scale from x [n, D]; returns it scaled."""
        x = x.double()
        self.mean = x.mean(0)
        spread = x.std(0, unbiased=False)
        self.std = torch.where(spread > 1e-8, spread, torch.ones_like(spread))
        return self(x)

    def forward(self, x: Tensor) -> Tensor:
        return (x.double() - self.mean) / self.std
