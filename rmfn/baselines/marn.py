"""MARN, the Multi-attention Recurrent Network: RMFN's comparator with independent attentions.

Zadeh, Liang, Poria, Vij, Cambria & Morency, AAAI 2018. Each modality is an LSTHM; instead of stages
that build on each other, K attentions look at h_t at once (the multi-attention block):

    a^k   = softmax(A_k(h_t))                 over all H, k = 1..K
    h~^k  = h_t * a^k
    s^m   = C_m(h~^{1,m}, .., h~^{K,m})       a reduction net a modality
    z_t   = G(s^1, .., s^M)                   which every LSTHM reads at the next word
    y     = head(h_T, z_T)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rmfn.lsthm import join_recurrence, make_head, make_lsthm, pack, project_words, unroll


@dataclass(frozen=True)
class MARNConfig:
    """Sizes.

    Attributes
    ----------
    inputs : features a word of each modality, {modality: d_m}.
    hidden : LSTHM units of each modality, {modality: H_m}.
    attentions : K.
    attention_hidden : units of the ReLU layer inside A; 0 = affine.
    reduce : outputs of each C_m (one ReLU layer).
    summary : size of z.
    head, outputs, dropout, input_dropout, forget_bias : as RMFN's.
    """

    inputs: dict[str, int]
    hidden: dict[str, int]
    attentions: int = 3
    attention_hidden: int = 0
    reduce: int = 32
    summary: int = 32
    head: int = 32
    outputs: int = 1
    dropout: float = 0.0
    input_dropout: float = 0.0
    forget_bias: float = 0.0


class MARN(nn.Module):
    """``model(features, lengths)``: words in, one prediction a sequence out [B, outputs]."""

    def __init__(self, config: MARNConfig):
        super().__init__()
        self.config = config
        sizes, K = list(config.hidden.values()), config.attentions
        H = sum(sizes)
        self.W, self.U, self.V = make_lsthm(
            config.inputs, config.hidden, config.summary, config.forget_bias
        )
        if config.attention_hidden:
            self.attend: nn.Module = nn.Sequential(
                nn.Linear(H, config.attention_hidden),
                nn.ReLU(),
                nn.Dropout(config.dropout),
                nn.Linear(config.attention_hidden, K * H),
            )
        else:
            self.attend = nn.Linear(H, K * H)
        self.reduce = nn.ModuleList(
            nn.Sequential(nn.Linear(K * size, config.reduce), nn.ReLU(), nn.Dropout(config.dropout))
            for size in sizes
        )
        self.summarize = nn.Linear(len(sizes) * config.reduce, config.summary)
        self.head = make_head(H + config.summary, config.head, config.outputs, config.dropout)
        self.input_dropout = nn.Dropout(config.input_dropout)

    def forward(self, features: dict[str, Tensor], lengths: Tensor) -> Tensor:
        """Predict; arguments as RMFN's."""
        words = pack(features, lengths, self.config.inputs)
        x = project_words(self.W, {m: self.input_dropout(x) for m, x in words.rows.items()})
        R = join_recurrence(self.U, self.V, self.config.inputs)
        return self.head(unroll(x, words.sizes, R, self.fuse)[words.back])

    def fuse(self, h: Tensor) -> Tensor:
        """The multi-attention block: h_t [b, H] -> z_t [b, summary]."""
        attention = self.attend(h).unflatten(1, (self.config.attentions, -1)).softmax(dim=2)
        parts = (h[:, None] * attention).split(list(self.config.hidden.values()), dim=2)
        reduced = [net(p.flatten(1)) for net, p in zip(self.reduce, parts, strict=True)]
        return self.summarize(torch.cat(reduced, dim=1))
