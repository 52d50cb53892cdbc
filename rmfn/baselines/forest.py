"""RF: a random forest on what a segment is on the average, grown by scikit-learn, kept as tensors.

Breiman, Random forests, Machine Learning 2001. Read are the averages over a segment's words. How
many segments a leaf must hold at least is what errs least on validation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rmfn.baselines.choosing import keep_best, keep_given, split_targets
from rmfn.baselines.pool import average_all
from rmfn.baselines.shapes import take_shapes
from rmfn.data import Batch
from rmfn.dataset import Target

LEAVES = (1, 3, 10)
LEAST = 1e-6  # of a class's probability, whose logarithm is put out


@dataclass(frozen=True)
class ForestConfig:
    """Size.

    Attributes
    ----------
    inputs : features a word of each modality, {modality: d_m}.
    hidden : not read.
    outputs, classes : what is predicted; ``classes`` of each target, 0 for a regression.
    trees : of each target's forest.
    """

    inputs: dict[str, int]
    hidden: dict[str, int]
    outputs: int = 1
    classes: tuple[int, ...] = (0,)
    trees: int = 100


class Forest(nn.Module):
    """``model(features, lengths)``, after ``learn``: one prediction a sequence out [B, outputs]."""

    def __init__(self, config: ForestConfig):
        super().__init__()
        self.config = config
        self.forests = nn.ModuleList(Trees(classes) for classes in config.classes)

    def forward(self, features: dict[str, Tensor], lengths: Tensor) -> Tensor:
        """Predict; arguments as RMFN's."""
        x = self.describe(features, lengths)
        return torch.cat([trees(x) for trees in self.forests], 1).to(torch.get_default_dtype())

    def describe(self, features: dict[str, Tensor], lengths: Tensor) -> Tensor:
        """Averages over the words, float32 [B, columns]: trees are grown on that."""
        return average_all(features, lengths, self.config.inputs).float()

    def learn(
        self,
        training: Batch,
        validation: Batch,
        targets: Sequence[Target],
        mean: Tensor,
        std: Tensor,
        seed: int,
    ) -> None:
        """Grow it (``rmfn.train.fit``)."""
        x, u = (self.describe(each.features, each.lengths) for each in (training, validation))
        each = split_targets(x, u, training, validation, mean, std)
        for trees, (seen, held) in zip(self.forests, each, strict=True):
            assert isinstance(trees, Trees)
            trees.choose(seen, held, self.config.trees, seed)


class Trees(nn.Module):
    """One target's forest: ``trees(x [n, D]) -> [n, classes or 1]``.

    All nodes of all trees lie one after another; a leaf's children are itself.

    Parameters
    ----------
    classes : how many; 0 for a number. Of classes logarithms of probabilities are put out.
    """

    roots: Tensor
    left: Tensor
    right: Tensor
    column: Tensor
    threshold: Tensor
    value: Tensor

    def __init__(self, classes: int):
        super().__init__()
        self.classes = classes
        for name in ("roots", "left", "right", "column"):
            self.register_buffer(name, torch.zeros(0, dtype=torch.int64))
        self.register_buffer("threshold", torch.zeros(0, dtype=torch.float64))
        self.register_buffer("value", torch.zeros(0, classes or 1, dtype=torch.float64))
        take_shapes(self)

    def forward(self, x: Tensor) -> Tensor:
        if not len(self.roots):  # nothing was learned: the mean, or no class before another
            return x.new_zeros(len(x), self.classes or 1).double()
        x = x.float().double()
        at = self.roots.expand(len(x), -1)  # [n, trees]
        while True:
            goes_left = x.gather(1, self.column[at]) <= self.threshold[at]
            following = torch.where(goes_left, self.left[at], self.right[at])
            if torch.equal(following, at):
                break
            at = following
        found = self.value[at].mean(1)
        return found.clamp_min(LEAST).log() if self.classes else found

    def choose(
        self, seen: tuple[Tensor, Tensor], held: tuple[Tensor, Tensor], trees: int, seed: int
    ) -> None:
        """Grow with the leaves that err least on what is held out; the first if nothing is.

        Parameters
        ----------
        seen, held : x [n, D] and y [n]; NaN in y was not given.
        """
        (x, y), (u, v) = (keep_given(*pair) for pair in (seen, held))
        if len(y):
            keep_best(self, self._try_all(x, y, trees, seed), u, v)

    def _try_all(self, x: Tensor, y: Tensor, trees: int, seed: int) -> Iterator[None]:
        for least in LEAVES:
            self.take(grow_forest(x.numpy(), y.numpy(), self.classes, least, trees, seed))
            yield

    def take(self, forest: Any) -> None:
        """Bring scikit-learn's trees into tensors."""
        parts: dict[str, list[Any]] = {name: [] for name, _ in self.named_buffers()}
        start = 0
        for estimator in forest.estimators_:
            tree = estimator.tree_
            own = np.arange(tree.node_count)
            leaf = tree.children_left < 0
            parts["roots"].append([start])
            parts["left"].append(start + np.where(leaf, own, tree.children_left))
            parts["right"].append(start + np.where(leaf, own, tree.children_right))
            parts["column"].append(np.where(leaf, 0, tree.feature))
            parts["threshold"].append(tree.threshold)
            value = tree.value[:, 0]
            if self.classes:
                share = np.zeros((tree.node_count, self.classes))
                share[:, forest.classes_.astype(int)] = value / value.sum(1, keepdims=True)
                value = share
            parts["value"].append(value)
            start += tree.node_count
        for name, buffer in list(self.named_buffers()):
            setattr(self, name, torch.from_numpy(np.concatenate(parts[name])).to(buffer.dtype))


def grow_forest(x: Any, y: Any, classes: int, least: int, trees: int, seed: int) -> Any:
    """scikit-learn's random forest; a number's splits look at a third of the columns."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    if classes:
        kind = RandomForestClassifier(trees, min_samples_leaf=least, random_state=seed)
    else:
        kind = RandomForestRegressor(
            trees, min_samples_leaf=least, max_features=1 / 3, random_state=seed
        )
    return kind.fit(x, y)
