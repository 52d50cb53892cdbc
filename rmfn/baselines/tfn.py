"""TFN, the Tensor Fusion Network: all products of the modalities' features, of every order.

Zadeh, Chen, Poria, Cambria & Morency, Tensor Fusion Network for Multimodal Sentiment Analysis,
EMNLP 2017:

    h^l = ReLU(D(LSTM(x_1^l .. x_N^l)))        language keeps its order
    h^m = ReLU(D(ReLU(D(mean_t x_t^m))))       the others are averaged over the words
    z   = [h^1; 1] ⊗ .. ⊗ [h^M; 1]
    y   = head(z)

z has (E + 1)^M entries, among them every h^m itself, every product of two, and so on. The paper's
E is 128 for language and 32 for the others; here ``embedding`` is the same for all and small.
Without a modality of the name "language" all are averaged. The output is linear: the paper's
sigmoid onto the scale of its corpus would not fit others.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from rmfn.baselines.pool import average
from rmfn.lsthm import make_head, pack

RECURRENT = "language"


@dataclass(frozen=True)
class TFNConfig:
    """Sizes.

    Attributes
    ----------
    inputs : features a word of each modality, {modality: d_m}.
    hidden : units of each modality's network, the LSTM or the hidden layer.
    embedding : E, what each modality comes to before the product.
    head, outputs, dropout, input_dropout : as RMFN's.
    """

    inputs: dict[str, int]
    hidden: dict[str, int]
    embedding: int = 16
    head: int = 32
    outputs: int = 1
    dropout: float = 0.0
    input_dropout: float = 0.0


class TFN(nn.Module):
    """``model(features, lengths)``: words in, one prediction a sequence out [B, outputs]."""

    def __init__(self, config: TFNConfig):
        super().__init__()
        self.config = config
        E, drop = config.embedding, config.dropout
        self.averaged = [m for m in config.inputs if m != RECURRENT]
        if RECURRENT in config.inputs:
            units = config.hidden[RECURRENT]
            self.lstm = nn.LSTM(config.inputs[RECURRENT], units)
            self.embed_last = nn.Linear(units, E)
        self.embed = nn.ModuleDict(
            {m: make_head(config.inputs[m], config.hidden[m], E, drop) for m in self.averaged}
        )
        self.head = make_head((E + 1) ** len(config.inputs), config.head, config.outputs, drop)
        self.input_dropout = nn.Dropout(config.input_dropout)
        self.dropout = nn.Dropout(drop)

    def forward(self, features: dict[str, Tensor], lengths: Tensor) -> Tensor:
        """Predict; arguments as RMFN's."""
        return self.head(multiply(list(self.embed_each(features, lengths).values())))

    def embed_each(self, features: dict[str, Tensor], lengths: Tensor) -> dict[str, Tensor]:
        """h of every modality [B, E], in the order of the configuration."""
        means = average(features, lengths, self.averaged)
        embedded = {m: self.embed[m](self.input_dropout(x)) for m, x in means.items()}
        if RECURRENT in self.config.inputs:
            words = pack(features, lengths, [RECURRENT])
            rows = self.input_dropout(words.rows[RECURRENT])
            _, (h, _) = self.lstm(PackedSequence(rows, torch.tensor(words.sizes)))
            embedded[RECURRENT] = self.embed_last(self.dropout(h[0]))[words.back]
        return {m: embedded[m].relu() for m in self.config.inputs}


def multiply(vectors: list[Tensor]) -> Tensor:
    """[v^1; 1] ⊗ .. ⊗ [v^M; 1] of every row: M times [B, E] -> [B, (E + 1)^M], the last fastest."""
    z = vectors[0].new_ones(len(vectors[0]), 1)
    for v in vectors:
        v = torch.cat([v, v.new_ones(len(v), 1)], dim=1)
        z = (z[:, :, None] * v[:, None]).flatten(1)
    return z
