"""SVM and SVM-MD: a support vector machine on what a segment is on the average.

Cortes & Vapnik, Support-vector networks, 1995; SVM-MD is the baseline of Zadeh, Zellers, Pincus &
Morency, Multimodal sentiment intensity analysis in videos, IEEE Intelligent Systems 2016: a
"multimodal dictionary", a bag of words beside bags of facial and vocal units.

Read are the averages over a segment's words, standardised. SVM-MD reads the dictionary too: the
words' features of each modality are clustered (k-means), and how often each cluster is the nearest
is counted. That stands in for its bag of words as well, since words come as vectors here.

The kernel (linear or RBF) and C, from 0.001 to 1000, are those that err least on validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rmfn.baselines.choosing import split_targets
from rmfn.baselines.kernels import Kernel, KernelMachine, Standard, scale_gamma
from rmfn.baselines.pool import average_all
from rmfn.data import Batch
from rmfn.dataset import Target


@dataclass(frozen=True)
class SVMConfig:
    """What is read.

    Attributes
    ----------
    inputs : features a word of each modality, {modality: d_m}.
    hidden : not read.
    outputs, classes : what is predicted; ``classes`` of each target, 0 for a regression.
    units : of each modality's dictionary; 0 = none.
    """

    inputs: dict[str, int]
    hidden: dict[str, int]
    outputs: int = 1
    classes: tuple[int, ...] = (0,)
    units: int = 0


class SVM(nn.Module):
    """``model(features, lengths)``, after ``learn``: one prediction a sequence out [B, outputs]."""

    def __init__(self, config: SVMConfig):
        super().__init__()
        self.config = config
        columns = sum(config.inputs.values()) + config.units * len(config.inputs)
        for m, size in config.inputs.items():
            centres = torch.zeros(config.units, size, dtype=torch.float64)
            self.register_buffer(f"units_{m}", centres)
        self.standard = Standard(columns)
        self.machines = nn.ModuleList(KernelMachine([columns], k) for k in config.classes)

    def forward(self, features: dict[str, Tensor], lengths: Tensor) -> Tensor:
        """Predict; arguments as RMFN's."""
        x = self.standard(self.describe(features, lengths))
        return torch.cat([machine(x) for machine in self.machines], 1).to(torch.get_default_dtype())

    def describe(self, features: dict[str, Tensor], lengths: Tensor) -> Tensor:
        """Averages, and counts of the dictionary's units, float64 [B, columns]."""
        inputs = self.config.inputs
        parts = [average_all(features, lengths, inputs)]
        if self.config.units:
            parts += [self._count(m, features[m].double(), lengths) for m in inputs]
        return torch.cat(parts, dim=1)

    def _count(self, modality: str, x: Tensor, lengths: Tensor) -> Tensor:
        """The share of words to which each unit is the nearest [B, units]."""
        centres = getattr(self, f"units_{modality}")
        # |x|² is the same for all units.
        nearest = (centres.square().sum(1) - 2 * x @ centres.T).argmin(2)
        there = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
        counts = nn.functional.one_hot(nearest, self.config.units) * there[:, :, None]
        return counts.sum(1) / lengths[:, None].double()

    def learn(
        self,
        training: Batch,
        validation: Batch,
        targets: Sequence[Target],
        mean: Tensor,
        std: Tensor,
        seed: int,
    ) -> None:
        """Fit it (``rmfn.train.fit``)."""
        if self.config.units:
            self._find_units(training, seed)
        x = self.standard.learn(self.describe(training.features, training.lengths))
        u = self.standard(self.describe(validation.features, validation.lengths))
        kernels = [Kernel((1.0,), (0.0,)), Kernel((1.0,), (scale_gamma(x),))]
        each = split_targets(x, u, training, validation, mean, std)
        for machine, (seen, held) in zip(self.machines, each, strict=True):
            assert isinstance(machine, KernelMachine)
            machine.choose(seen, held, kernels)

    def _find_units(self, training: Batch, seed: int) -> None:
        from sklearn.cluster import KMeans

        there = torch.arange(int(training.lengths.max())) < training.lengths[:, None]
        for m in self.config.inputs:
            rows = training.features[m][there].double().numpy()
            found = KMeans(min(self.config.units, len(rows)), n_init=1, random_state=seed).fit(rows)
            centres = getattr(self, f"units_{m}")
            centres.fill_(1e6)  # what is over of a dictionary larger than the corpus: far away
            centres[: len(found.cluster_centers_)] = torch.from_numpy(found.cluster_centers_)
