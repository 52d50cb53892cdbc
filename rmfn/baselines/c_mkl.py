"""C-MKL: a kernel for each modality, and a machine on their weighted sum.

Poria, Cambria & Gelbukh, Deep convolutional neural network textual features and multiple kernel
learning for utterance-level multimodal sentiment analysis, EMNLP 2015.

Left open here: the multiple-kernel libraries that the paper used are no longer kept up, so the
weights of the sum are not solved for but chosen: those of a grid over the simplex that, with C,
err least on validation (one modality alone is among them). The kernels are RBF on averages over a
segment's words, standardised; the paper's text features come from a CNN trained on the labels
first, here they are the language features as given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn

from rmfn.baselines.choosing import split_targets
from rmfn.baselines.kernels import Kernel, KernelMachine, Standard, scale_gamma
from rmfn.baselines.pool import average_all
from rmfn.data import Batch
from rmfn.dataset import Target


@dataclass(frozen=True)
class CMKLConfig:
    """What is read.

    Attributes
    ----------
    inputs : features a word of each modality, {modality: d_m}.
    hidden : not read.
    outputs, classes : what is predicted; ``classes`` of each target, 0 for a regression.
    parts : a kernel's weight is a number of these.
    """

    inputs: dict[str, int]
    hidden: dict[str, int]
    outputs: int = 1
    classes: tuple[int, ...] = (0,)
    parts: int = 4


class CMKL(nn.Module):
    """``model(features, lengths)``, after ``learn``: one prediction a sequence out [B, outputs]."""

    def __init__(self, config: CMKLConfig):
        super().__init__()
        self.config = config
        sizes = list(config.inputs.values())
        self.standard = Standard(sum(sizes))
        self.machines = nn.ModuleList(KernelMachine(sizes, k) for k in config.classes)

    def forward(self, features: dict[str, Tensor], lengths: Tensor) -> Tensor:
        """Predict; arguments as RMFN's."""
        x = self.standard(self.describe(features, lengths))
        return torch.cat([machine(x) for machine in self.machines], 1).to(torch.get_default_dtype())

    def describe(self, features: dict[str, Tensor], lengths: Tensor) -> Tensor:
        """Averages over the words, float64 [B, columns]."""
        return average_all(features, lengths, self.config.inputs)

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
        x = self.standard.learn(self.describe(training.features, training.lengths))
        u = self.standard(self.describe(validation.features, validation.lengths))
        sizes = list(self.config.inputs.values())
        gammas = tuple(scale_gamma(part) for part in x.split(sizes, dim=1))
        kernels = [Kernel(w, gammas) for w in list_weights(len(sizes), self.config.parts)]
        each = split_targets(x, u, training, validation, mean, std)
        for machine, (seen, held) in zip(self.machines, each, strict=True):
            assert isinstance(machine, KernelMachine)
            machine.choose(seen, held, kernels)


def list_weights(blocks: int, parts: int) -> list[tuple[float, ...]]:
    """All weights that are numbers of ``parts`` and together 1, the most even first."""
    counts = [c for c in product(range(parts + 1), repeat=blocks) if sum(c) == parts]
    counts.sort(key=lambda c: sum(each**2 for each in c))
    return [tuple(each / parts for each in c) for c in counts]
