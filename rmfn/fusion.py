"""Multistage fusion: what RMFN makes of all modalities' states at one word.

The equations and letters are those of ``rmfn.model``. HIGHLIGHT and FUSE are LSTMs over the K
stages; their gates lie in the order f, i, o, c̄.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rmfn.lsthm import lstm_cell, reset_gates, square
from rmfn.packed import arrange
from rmfn.packed_forward import ABSENT, Weights

if TYPE_CHECKING:
    from rmfn.model import RMFNConfig


class MultistageFusion(nn.Module):
    """h_t [B, H] -> z_t [B, Z]; its state starts afresh at every word."""

    c0: Tensor

    def __init__(self, config: RMFNConfig, H: int):
        super().__init__()
        self.config = config
        S, K = config.fuse, config.stages
        if config.highlight:
            self.map = _affine_or_hidden(H, config.map_hidden, H, config.dropout)
            # input [a^{k-1} | h^{k-1}] in one matrix
            self.highlight = nn.Linear(2 * H, 4 * H)
            reset_gates(self.highlight, H, config.forget_bias)
            with torch.no_grad():
                self.highlight.weight[:, H:] = square(H)
            if config.highlight_start == "learned":
                self.a0 = nn.Parameter(torch.zeros(H))
            if config.attention_gain == "learned":
                self.gain = nn.Parameter(torch.ones(()))
        self.fuse = nn.Linear(H, 4 * S)
        self.fuse_U = square(S)
        reset_gates(self.fuse, S, config.forget_bias)
        if config.fuse_start == "learned":
            self.c0 = nn.Parameter(torch.zeros(S))
        elif config.fuse_start == "zero":
            self.register_buffer("c0", torch.zeros(S), persistent=False)
        else:
            shape = (S, S) if config.fuse_start == "orthogonal" else (H, S)
            Q = nn.init.orthogonal_(torch.empty(shape))
            self.register_buffer("c0", Q[0].clone() if config.fuse_start == "orthogonal" else Q)
        read = K * S if config.summarize == "all" else S
        self.summarize = _affine_or_hidden(
            read, config.summarize_hidden, config.summary, config.dropout
        )

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Fuse.

        Returns
        -------
        z : [B, Z]
        attention : [B, K, H], sums to 1 over H; empty without HIGHLIGHT.
        """
        config, K = self.config, self.config.stages
        # HIGHLIGHT never reads FUSE: all its stages come first and FUSE's inputs are one product.
        if config.highlight:
            attention = torch.stack(self._highlight(h))  # [K, B, H]
            scale = h.shape[1] if config.attention_scale == "mean1" else 1
            gates = self.fuse(h * attention * scale)  # [K, B, 4S]
        else:
            attention = h.new_empty(0, *h.shape)
            gates = self.fuse(h).expand(K, -1, -1)
        c = h @ self.c0 if config.fuse_start == "project" else self.c0
        s, c = lstm_cell(gates[0], c)  # s^0 = 0: nothing recurrent to add
        stages = [s]
        for k in range(1, K):
            s, c = lstm_cell(torch.addmm(gates[k], s, self.fuse_U.T), c)
            stages.append(s)
        read = torch.cat(stages, dim=1) if config.summarize == "all" else s
        return self.summarize(read), attention.transpose(0, 1)

    def weights(self) -> Weights:
        """As ``rmfn.packed`` reads them; R is empty."""
        config = self.config
        assert isinstance(self.summarize, nn.Linear)
        scaled = config.highlight and config.attention_scale == "mean1"
        scale = self.fuse.in_features if scaled else 1
        weights = Weights(
            fuse=scale * arrange(self.fuse.weight).T,
            fuse_bias=arrange(self.fuse.bias),
            fuse_U=arrange(self.fuse_U).T,
            c0=2 * self.c0,
            summarize=self.summarize.weight.T,
            summarize_bias=self.summarize.bias,
        )
        if not config.highlight:
            return weights
        assert isinstance(self.map, nn.Linear)
        # f, i, o, c̄ of stage 1 are the same for all rows: its cell is affine in M(h_t).
        f, i, o, g = self._first_gates().chunk(4)
        keep = 2 * torch.sigmoid(f)
        gain = ABSENT
        if config.attention_gain == "learned":
            gain = self.gain.reshape(1)
        elif config.attention_gain != 1:
            gain = f.new_tensor([config.attention_gain])
        return weights._replace(
            map=(keep[:, None] * self.map.weight).T,
            map_bias=keep * self.map.bias + 2 * torch.sigmoid(i) * torch.tanh(g),
            o1=torch.sigmoid(o),
            gain=gain,
            highlight=arrange(self._bias_in_attention()).T,
        )

    def _bias_in_attention(self) -> Tensor:
        """HIGHLIGHT's weights [4H, 2H] with the biases in the columns that a^k is multiplied by."""
        weight, bias = self.highlight.weight, self.highlight.bias
        H = weight.shape[1] // 2
        return torch.cat([weight[:, :H] + bias[:, None], weight[:, H:]], dim=1)

    def _first_gates(self) -> Tensor:
        """HIGHLIGHT's gates at stage 1 [4H]: a^0 and h^0 are the same for every row."""
        if self.config.highlight_start == "zero":
            return self.highlight.bias
        return self.highlight.bias + self.highlight.weight[:, : len(self.a0)] @ self.a0

    def _highlight(self, h: Tensor) -> list[Tensor]:
        """The attention of every stage, K times [B, H]."""
        gain = self.gain if self.config.attention_gain == "learned" else self.config.attention_gain
        state, c = lstm_cell(self._first_gates(), self.map(h))
        attention = [torch.softmax(gain * state, dim=1)]
        for _ in range(1, self.config.stages):
            state, c = lstm_cell(self.highlight(torch.cat([attention[-1], state], dim=1)), c)
            attention.append(torch.softmax(gain * state, dim=1))
        return attention


def _affine_or_hidden(n_in: int, hidden: int, n_out: int, dropout: float) -> nn.Module:
    if not hidden:
        return nn.Linear(n_in, n_out)
    return nn.Sequential(
        nn.Linear(n_in, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, n_out)
    )
