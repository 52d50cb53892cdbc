"""DF, Deep Fusion: a network a modality, and one more that reads what they say.

Nojavanasghari, Gopinath, Koushik, Baltrušaitis & Morency, Deep Multimodal Fusion for Persuasiveness
Prediction, ICMI 2016. x^m is the mean of a modality's features over the words:

    s^m = N_m(x^m)                  the unimodal scores
    y   = F(s^1, .., s^M)           late fusion

As in the paper the N_m are trained first, each to predict alone, and F afterwards on what they then
say: in the first run of the training loop every example trains the network of one modality, drawn
at random, and their mean is the prediction; ``refine`` then keeps them and turns to F.

Left open here: scores are logits and standardised labels, which hold as much as the confidences and
their complements that the paper feeds to F; every network has one hidden layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rmfn.baselines.pool import average
from rmfn.data import Batch
from rmfn.lsthm import make_head


@dataclass(frozen=True)
class DFConfig:
    """Sizes.

    Attributes
    ----------
    inputs : features a word of each modality, {modality: d_m}.
    hidden : units of the hidden layer of each N_m.
    head : units of the hidden layer of F.
    outputs, dropout, input_dropout : as RMFN's; ``input_dropout`` is on the averages.
    """

    inputs: dict[str, int]
    hidden: dict[str, int]
    head: int = 32
    outputs: int = 1
    dropout: float = 0.0
    input_dropout: float = 0.0


class DF(nn.Module):
    """``model(features, lengths)``: words in, one prediction a sequence out [B, outputs]."""

    fusing: Tensor

    def __init__(self, config: DFConfig):
        super().__init__()
        self.config = config
        C, drop = config.outputs, config.dropout
        self.unimodal = nn.ModuleDict(
            {m: make_head(d, config.hidden[m], C, drop) for m, d in config.inputs.items()}
        )
        self.fuse = make_head(len(config.inputs) * C, config.head, C, drop)
        self.input_dropout = nn.Dropout(config.input_dropout)
        self.register_buffer("fusing", torch.tensor(False))

    def forward(self, features: dict[str, Tensor], lengths: Tensor) -> Tensor:
        """Predict; arguments as RMFN's."""
        means = average(features, lengths, self.config.inputs)
        said = [self.unimodal[m](self.input_dropout(x)) for m, x in means.items()]
        scores = torch.stack(said, dim=1)  # [B, M, outputs]
        if self.fusing:
            return self.fuse(scores.detach().flatten(1))
        if self.training:
            count, M = scores.shape[:2]
            return scores[torch.arange(count), torch.randint(M, (count,))]
        return scores.mean(1)

    def refine(self, training: Batch) -> None:
        """Keep the unimodal networks; from now on F is trained."""
        self.fusing.fill_(True)
