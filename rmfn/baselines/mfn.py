"""MFN, the Memory Fusion Network: independent LSTMs beside a gated memory of what changes in them.

Zadeh, Liang, Mazumder, Poria, Cambria & Morency, Memory Fusion Network for Multi-view Sequential
Learning, AAAI 2018. c_t are the LSTMs' cells side by side, u_t the memory:

    a      = softmax(N_a([c_{t-1}, c_t]))            over both
    ĉ      = a * [c_{t-1}, c_t]
    u_t    = g1 * u_{t-1} + g2 * tanh(N_u(ĉ))        g1, g2 = sigmoid(N_1, N_2([ĉ, u_{t-1}]))
    y      = head(h_T, u_T)

No LSTM reads the memory: modalities meet in it only.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rmfn.lsthm import join_recurrence, lstm_cell, make_head, make_lsthm, pack, project_words


@dataclass(frozen=True)
class MFNConfig:
    """Sizes.

    Attributes
    ----------
    inputs : features a word of each modality, {modality: d_m}.
    hidden : LSTM units of each modality, {modality: H_m}.
    memory : units of u.
    attention_hidden, update_hidden, gate_hidden : units of the ReLU layer in N_a, N_u, N_1 and N_2.
    head, outputs, dropout, input_dropout, forget_bias : as RMFN's; ``dropout`` is in every net.
    """

    inputs: dict[str, int]
    hidden: dict[str, int]
    memory: int = 32
    attention_hidden: int = 32
    update_hidden: int = 32
    gate_hidden: int = 32
    head: int = 32
    outputs: int = 1
    dropout: float = 0.0
    input_dropout: float = 0.0
    forget_bias: float = 0.0


class MFN(nn.Module):
    """``model(features, lengths)``: words in, one prediction a sequence out [B, outputs]."""

    def __init__(self, config: MFNConfig):
        super().__init__()
        self.config = config
        H, memory, drop = sum(config.hidden.values()), config.memory, config.dropout
        self.W, self.U, self.V = make_lsthm(config.inputs, config.hidden, 0, config.forget_bias)
        self.attend = make_head(2 * H, config.attention_hidden, 2 * H, drop)
        self.update = make_head(2 * H, config.update_hidden, memory, drop)
        self.keep = make_head(2 * H + memory, config.gate_hidden, memory, drop)
        self.write = make_head(2 * H + memory, config.gate_hidden, memory, drop)
        self.head = make_head(H + memory, config.head, config.outputs, drop)
        self.input_dropout = nn.Dropout(config.input_dropout)

    def forward(self, features: dict[str, Tensor], lengths: Tensor) -> Tensor:
        """Predict; arguments as RMFN's."""
        words = pack(features, lengths, self.config.inputs)
        x = project_words(self.W, {m: self.input_dropout(x) for m, x in words.rows.items()})
        R = join_recurrence(self.U, self.V, self.config.inputs)
        H, sizes = len(R), words.sizes
        h, c = x.new_zeros(sizes[0], H), x.new_zeros(sizes[0], H)
        finished, windows = [], []
        for b, gates in zip(sizes, x.split(sizes), strict=True):
            finished.append(h[b:])
            before = c[:b]
            h, c = lstm_cell(torch.addmm(gates, h[:b], R), before)
            windows.append(torch.cat([before, c], dim=1))
        ended = torch.cat([h, *reversed(finished)])
        memory = self.remember(torch.cat(windows), sizes)
        return self.head(torch.cat([ended, memory], dim=1)[words.back])

    def remember(self, window: Tensor, sizes: list[int]) -> Tensor:
        """[c_{t-1}, c_t] of all words [P, 2H] -> u_T, longest sequences first [B, memory]."""
        # Attention and candidate do not read the memory: all words at once.
        attended = window * self.attend(window).softmax(dim=1)
        candidate = torch.tanh(self.update(attended))
        u = window.new_zeros(sizes[0], self.config.memory)
        finished = []
        for b, seen, new in zip(sizes, attended.split(sizes), candidate.split(sizes), strict=True):
            finished.append(u[b:])
            both = torch.cat([seen, u[:b]], dim=1)
            keep, write = torch.sigmoid(self.keep(both)), torch.sigmoid(self.write(both))
            u = keep * u[:b] + write * new
        return torch.cat([u, *reversed(finished)])
