"""MV-LSTM, the Multi-View LSTM: LSTMs that read chosen parts of each other's states.

Rajagopalan, Morency, Baltrušaitis & Goecke, Extending Long Short-Term Memory for Multi-View
Structured Learning, ECCV 2016. Each modality (view) m has an LSTM with peepholes; what its gates
read of the states of the word before is said by α, for its own, and β, for those of the others:

    r^m = the first α H_m units of h_{t-1}^m and the last β H_n of every other h_{t-1}^n
    f^m, i^m = σ(W x_t^m + U r^m + p * c_{t-1}^m + b)
    c_t^m    = f^m * c_{t-1}^m + i^m * tanh(W x_t^m + U r^m + b)
    o^m      = σ(W x_t^m + U r^m + p * c_t^m + b)
    h_t^m    = o^m * tanh(c_t^m)
    y        = head(h_T)

    topology           α    β
    view-specific      1    0     independent LSTMs
    coupled            0    1     each reads the others alone
    fully-connected    1    1     one LSTM with block-wise inputs
    hybrid             between    some units are private, some are shared

Where α + β = 1 the two parts of a state do not overlap: a unit is read by its own view or by the
others. Left open here: which units form the parts (first and last), and the shares of "hybrid".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from rmfn.lsthm import make_head, pack, project_words, reset_gates, square


@dataclass(frozen=True)
class MVLSTMConfig:
    """Sizes, and what reads what.

    Attributes
    ----------
    inputs : features a word of each modality, {modality: d_m}.
    hidden : LSTM units of each modality, {modality: H_m}.
    topology : see above.
    alpha, beta : the shares of "hybrid"; the others have their own.
    head, outputs, dropout, input_dropout, forget_bias : as RMFN's.
    """

    inputs: dict[str, int]
    hidden: dict[str, int]
    topology: Literal["view-specific", "coupled", "fully-connected", "hybrid"] = "hybrid"
    alpha: float = 2 / 3
    beta: float = 1 / 3
    head: int = 32
    outputs: int = 1
    dropout: float = 0.0
    input_dropout: float = 0.0
    forget_bias: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.alpha <= 1 and 0 <= self.beta <= 1):
            raise ValueError(f"alpha and beta are shares, got {self.alpha} and {self.beta}")


class MVLSTM(nn.Module):
    """``model(features, lengths)``: words in, one prediction a sequence out [B, outputs]."""

    mask: Tensor

    def __init__(self, config: MVLSTMConfig):
        super().__init__()
        self.config = config
        H = sum(config.hidden.values())
        self.W = nn.ModuleDict(
            {m: nn.Linear(d, 4 * config.hidden[m]) for m, d in config.inputs.items()}
        )
        for m, size in config.hidden.items():
            reset_gates(self.W[m], size, config.forget_bias)
        self.U = square(H)
        self.peepholes = nn.Parameter(torch.empty(3, H).uniform_(-(H**-0.5), H**-0.5))  # f, i, o
        self.register_buffer("mask", find_mask(config).repeat(4, 1), persistent=False)
        self.head = make_head(H, config.head, config.outputs, config.dropout)
        self.input_dropout = nn.Dropout(config.input_dropout)

    def forward(self, features: dict[str, Tensor], lengths: Tensor) -> Tensor:
        """Predict; arguments as RMFN's."""
        words = pack(features, lengths, self.config.inputs)
        x = project_words(self.W, {m: self.input_dropout(x) for m, x in words.rows.items()})
        R, H = (self.U * self.mask).T, self.U.shape[1]
        p_f, p_i, p_o = self.peepholes
        h, c = x.new_zeros(words.sizes[0], H), x.new_zeros(words.sizes[0], H)
        finished = []
        for b, gates in zip(words.sizes, x.split(words.sizes), strict=True):
            finished.append(h[b:])
            h, c = h[:b], c[:b]
            f, i, o, new = torch.addmm(gates, h, R).chunk(4, dim=1)
            c = torch.sigmoid(f + p_f * c) * c + torch.sigmoid(i + p_i * c) * torch.tanh(new)
            h = torch.sigmoid(o + p_o * c) * torch.tanh(c)
        return self.head(torch.cat([h, *reversed(finished)])[words.back])


def find_mask(config: MVLSTMConfig) -> Tensor:
    """1 where a gate of the unit in the row reads the unit in the column, else 0: [H, H]."""
    shares = {"view-specific": (1, 0), "coupled": (0, 1), "fully-connected": (1, 1)}
    if config.topology not in {*shares, "hybrid"}:
        raise ValueError(f"no topology {config.topology!r}; there are {', '.join(shares)}, hybrid")
    alpha, beta = shares.get(config.topology, (config.alpha, config.beta))
    rows = []
    for reader, own in config.hidden.items():
        parts = []
        for view, size in config.hidden.items():
            place = torch.arange(size)
            if view == reader:
                parts.append(place < round(alpha * size))
            else:
                parts.append(place >= size - round(beta * size))
        rows.append(torch.cat(parts).expand(own, -1))
    return torch.cat(rows).float()
