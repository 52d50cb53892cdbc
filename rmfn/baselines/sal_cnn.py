"""SAL-CNN, Select-Additive Learning: a CNN that is made to forget who speaks.

Wang, Meghawat, Morency & Xing, Select-Additive Learning: Improving Generalization in Multimodal
Sentiment Analysis, ICME 2017. g is a CNN over the words of all modalities' features side by side, f
the network above it:

    y = f(g(x))                                first training
    δ = argmin Σ (g(x) - δ[identity])², sparse selection: what of g only tells who it is
    y = f(g(x) + σ |δ| * ε),  ε ~ N(0, 1)      addition: f is trained again, under noise there

A few speakers of whom most segments are alike let a network take a voice or a face for a
sentiment; noise in those dimensions leaves it the others.

Left open here: identities are one-hot, so δ is the mean of g of each identity, less that of all. It
is sparse by the universal threshold of Donoho & Johnstone (1994): what may be chance is 0, that is,
up to s_j √(2 log(identities · dimensions) / segments of the identity), with s_j the spread of
dimension j within identities. The noise in a dimension is the same for all segments, and its size
is the root mean square of δ over them. Identities are speakers, or videos where speakers are not
known. As in the authors' code only f is trained again: g could outgrow the noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rmfn.baselines.pool import Convolution
from rmfn.data import Batch
from rmfn.lsthm import make_head


@dataclass(frozen=True)
class SALCNNConfig:
    """Sizes.

    Attributes
    ----------
    inputs : features a word of each modality, {modality: d_m}.
    hidden : {modality: filters}; the one CNN gets their sum, so that sizes compare with RMFN's.
    width : words that a filter sees.
    noise : σ.
    head, outputs, dropout, input_dropout : as RMFN's.
    """

    inputs: dict[str, int]
    hidden: dict[str, int]
    width: int = 3
    noise: float = 3.0
    head: int = 32
    outputs: int = 1
    dropout: float = 0.0
    input_dropout: float = 0.0


class SALCNN(nn.Module):
    """``model(features, lengths)``: words in, one prediction a sequence out [B, outputs]."""

    confounded: Tensor
    selected: Tensor

    def __init__(self, config: SALCNNConfig):
        super().__init__()
        self.config = config
        units = sum(config.hidden.values())
        self.convolve = Convolution(sum(config.inputs.values()), units, config.width)
        self.head = make_head(units, config.head, config.outputs, config.dropout)
        self.input_dropout = nn.Dropout(config.input_dropout)
        self.register_buffer("selected", torch.tensor(False))
        self.register_buffer("confounded", torch.zeros(units))  # rms of δ

    def forward(self, features: dict[str, Tensor], lengths: Tensor) -> Tensor:
        """Predict; arguments as RMFN's."""
        g = self.represent(features, lengths)
        if self.selected:
            g = g.detach()
            if self.training:
                g = g + self.config.noise * self.confounded * torch.randn_like(g)
        return self.head(g)

    def represent(self, features: dict[str, Tensor], lengths: Tensor) -> Tensor:
        """g [B, units]."""
        words = torch.cat([features[m] for m in self.config.inputs], dim=2)
        return self.convolve(self.input_dropout(words), lengths)

    @torch.no_grad()
    def refine(self, training: Batch) -> None:
        """Select the dimensions that tell identities apart; from now on f is trained under noise.

        Parameters
        ----------
        training : all segments, with their ``speakers`` and ``videos``.
        """
        was_training = self.training
        g = self.eval().represent(training.features, training.lengths)
        self.train(was_training)
        known = all(training.speakers)
        names = training.speakers if known else training.videos.tolist()
        places = {name: n for n, name in enumerate(dict.fromkeys(names))}
        who = torch.tensor([places[name] for name in names], device=g.device)
        self.confounded.copy_(find_confounded(g, who))
        self.selected.fill_(True)

    @staticmethod
    def refuse(
        videos: Sequence[str], speakers: Sequence[str], modalities: Sequence[str]
    ) -> str | None:
        """Why it cannot be used with such data."""
        names = [name for name in (speakers if all(speakers) else videos) if name]
        if len(set(names)) == len(names):
            return "nobody speaks twice: no identity can be told from its segments"
        return None


def find_confounded(g: Tensor, who: Tensor) -> Tensor:
    """The root mean square over segments of δ, as above.

    Parameters
    ----------
    g : [n, D]
    who : int [n], identities from 0.

    Returns
    -------
    [D], 0 in dimensions that say nothing of the identity.
    """
    identities, free = int(who.max()) + 1, len(g) - int(who.max()) - 1
    count = torch.bincount(who, minlength=identities).to(g)[:, None]
    centred = g - g.mean(0)
    effect = centred.new_zeros(identities, g.shape[1]).index_add_(0, who, centred) / count
    if free == 0:
        return torch.zeros_like(g[0])
    within = ((centred - effect[who]).square().sum(0) / free).sqrt()
    chance = within * (2 * math.log(identities * g.shape[1]) / count).sqrt()
    delta = effect.where(effect.abs() > chance, 0)
    return (count * delta.square()).sum(0).div(len(g)).sqrt()
