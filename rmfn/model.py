"""The Recurrent Multistage Fusion Network, whole.

Liang, Liu, Zadeh & Morency, Multimodal Language Analysis with Recurrent Multistage Fusion, EMNLP
2018. At every word each modality takes one step of an LSTM that also reads z, the fusion of the
word before (LSTHM); then K stages highlight parts of the new states, fuse them, and sum up into z:

    h_t^m = LSTHM_m(x_t^m, h_{t-1}^m, z_{t-1})       h_t = the h_t^m side by side
    a^k   = softmax(HIGHLIGHT(a^{k-1}))              an LSTM over stages, cell 0 from h_t
    s^k   = FUSE(h_t * a^k, s^{k-1})                 an LSTM over stages
    z_t   = SUMMARIZE(s^1 .. s^K)
    y     = head(h_T, z_T)

Letters: B batch, N words, H hidden units of all modalities, K stages, S = d_s, Z = d_z, P = words
of the whole batch without padding. Gates always lie in the order f, i, o, c̄.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence


@dataclass(frozen=True)
class RMFNConfig:
    """Sizes, and the choices that the paper leaves open.

    Attributes
    ----------
    inputs : features a word of each modality, {modality: d_m}; their order is the order in h.
    hidden : LSTHM units of each modality, {modality: H_m}.
    stages : K.
    fuse : d_s, units of FUSE.
    summary : d_z, size of z.
    head : units of the head's hidden layer.
    outputs : values predicted.
    dropout : on the head's hidden layer while training.
    input_dropout : on the features while training.
    multistage : False leaves fusion out: independent LSTMs, joined at the end ("no MFP").
    highlight : False attends to everything alike, a = 1 ("no HIGHLIGHT").
    attention_scale : "literal" is the paper's formula. Its logits are LSTM outputs in (-1, 1), so a
        is close to 1/H everywhere and what FUSE reads vanishes with H; "mean1" multiplies by H,
        the same pattern with mean 1.
    attention_gain : the logits are multiplied by it before the softmax; "learned" starts at 1.
    summarize : "all" stages' representations (eq. 4) or the "last" one's (figure 2's caption).
    fuse_start : c_0 of FUSE. "orthogonal": a fixed row of a random orthogonal matrix, kept with the
        weights; "project": a fixed semi-orthogonal image of h_t; "learned"; "zero".
    highlight_start : a^0, "zero" or a "learned" vector.
    map_hidden : units of a ReLU layer inside the map from h_t to HIGHLIGHT's cell; 0 = affine.
    summarize_hidden : units of a ReLU layer inside SUMMARIZE; 0 = affine.
    forget_bias : added to the forget gates' biases when weights are drawn.
    """

    inputs: dict[str, int]
    hidden: dict[str, int]
    stages: int = 3
    fuse: int = 32
    summary: int = 32
    head: int = 32
    outputs: int = 1
    dropout: float = 0.0
    input_dropout: float = 0.0
    multistage: bool = True
    highlight: bool = True
    attention_scale: Literal["literal", "mean1"] = "literal"
    attention_gain: float | Literal["learned"] = 1.0
    summarize: Literal["all", "last"] = "all"
    fuse_start: Literal["orthogonal", "project", "learned", "zero"] = "orthogonal"
    highlight_start: Literal["zero", "learned"] = "zero"
    map_hidden: int = 0
    summarize_hidden: int = 0
    forget_bias: float = 0.0

    def __post_init__(self) -> None:
        if not self.inputs or list(self.inputs) != list(self.hidden):
            raise ValueError(
                f"inputs and hidden must name the same modalities in the same order, got "
                f"{list(self.inputs)} and {list(self.hidden)}"
            )
        if self.stages < 1:
            raise ValueError(f"there must be at least one stage, got {self.stages}")


@dataclass(frozen=True)
class Explanation:
    """What each stage looked at, word by word.

    Attributes
    ----------
    attention : [B, N, K, H], sums to 1 over H (without ``attention_scale``); 0 after the end.
    parts : which of the H belong to which modality.
    """

    attention: Tensor
    parts: dict[str, slice] = field(default_factory=dict)

    def share(self) -> dict[str, Tensor]:
        """The attention that each modality gets: {modality: [B, N, K]}, together 1."""
        return {name: self.attention[..., part].sum(-1) for name, part in self.parts.items()}


class RMFN(nn.Module):
    """``model(features, lengths)``: words in, one prediction a sequence out.

    Padding never changes a result, and a prediction does not depend on the rest of its batch.
    """

    def __init__(self, config: RMFNConfig):
        super().__init__()
        self.config = config
        H, Z = sum(config.hidden.values()), config.summary if config.multistage else 0
        self.parts = dict(zip(config.hidden, _slices(config.hidden.values()), strict=True))
        # LSTHM of each modality: x_t^m and the four gates' biases; h_{t-1}^m; z_{t-1}
        self.W = nn.ModuleDict(
            {m: nn.Linear(d, 4 * config.hidden[m]) for m, d in config.inputs.items()}
        )
        self.U = nn.ParameterDict({m: _square(size) for m, size in config.hidden.items()})
        self.V = nn.ParameterDict(
            {m: _uniform((4 * size, Z), size) for m, size in config.hidden.items()}
        )
        for m, size in config.hidden.items():
            _reset(self.W[m], size, config.forget_bias)
        if config.multistage:
            self.fusion = MultistageFusion(config, H)
        self.head = nn.Sequential(
            nn.Linear(H + Z, config.head),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.head, config.outputs),
        )
        self.input_dropout = nn.Dropout(config.input_dropout)

    def forward(self, features: dict[str, Tensor], lengths: Tensor) -> Tensor:
        """Predict.

        Parameters
        ----------
        features : {modality: [B, N, d_m]}; what stands after a sequence's end is not read.
        lengths : [B] words of each sequence, at least 1.

        Returns
        -------
        [B, outputs]
        """
        return self._run(features, lengths)[0]

    @torch.no_grad()
    def explain(self, features: dict[str, Tensor], lengths: Tensor) -> Explanation:
        """The attention of every stage at every word.

        Raises
        ------
        ValueError : the model has no HIGHLIGHT.
        """
        if not (self.config.multistage and self.config.highlight):
            raise ValueError("this model has no HIGHLIGHT, hence no attention to show")
        steps, order = self._run(features, lengths)[1:]
        attention = steps[0].new_zeros(len(lengths), len(steps), *steps[0].shape[1:])
        for t, a in enumerate(steps):  # a: [b, K, H] of the b longest
            attention[order[: len(a)], t] = a
        return Explanation(attention, self.parts)

    def _run(
        self, features: dict[str, Tensor], lengths: Tensor
    ) -> tuple[Tensor, list[Tensor], Tensor]:
        """Predictions [B, outputs], the attention [b, K, H] of every step, and the row order."""
        if lengths.min() < 1:
            raise ValueError("every sequence needs at least one word")
        # Sequences go longest first and words lie step after step without padding, so that at each
        # step the sequences that still run are the first b rows.
        packed = {
            m: pack_padded_sequence(
                features[m], lengths.cpu(), batch_first=True, enforce_sorted=False
            )
            for m in self.config.inputs
        }
        some = next(iter(packed.values()))
        sizes, order, back = some.batch_sizes.tolist(), some.sorted_indices, some.unsorted_indices
        assert order is not None
        # The x part of the gates, of all words at once; gate-major over all modalities: [P, 4H]
        x = torch.cat(
            [self.W[m](self.input_dropout(packed[m].data)).unflatten(1, (4, -1)) for m in packed],
            dim=2,
        ).flatten(1)
        R = self._recurrence()  # [H+Z, 4H]

        H = R.shape[1] // 4
        hz = x.new_zeros(sizes[0], len(R))  # [h_t | z_t], side by side
        c = x.new_zeros(sizes[0], H)
        finished: list[Tensor] = []
        steps: list[Tensor] = []
        for b, gates in zip(sizes, x.split(sizes), strict=True):
            if b < len(hz):
                finished.append(hz[b:])
                hz, c = hz[:b], c[:b]
            h, c = lstm_cell(torch.addmm(gates, hz, R), c)
            hz = h
            if self.config.multistage:
                z, attention = self.fusion(h)
                hz = torch.cat([h, z], dim=1)
                steps.append(attention)
        ended = torch.cat([hz, *reversed(finished)])  # rows in order of length
        return self.head(ended[back]), steps, order

    def _recurrence(self) -> Tensor:
        """All modalities' U (no modality reads another's h) and V (all read z) as one matrix."""
        # By name: a ParameterDict does not keep the order it was given.
        U = [self.U[m].unflatten(0, (4, -1)) for m in self.parts]
        V = [self.V[m].unflatten(0, (4, -1)) for m in self.parts]
        own = torch.cat([torch.block_diag(*(u[gate] for u in U)) for gate in range(4)])  # [4H, H]
        return torch.cat([own, torch.cat(V, dim=1).flatten(0, 1)], dim=1).T


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
            _reset(self.highlight, H, config.forget_bias)
            with torch.no_grad():
                self.highlight.weight[:, H:] = _square(H)
            if config.highlight_start == "learned":
                self.a0 = nn.Parameter(torch.zeros(H))
            if config.attention_gain == "learned":
                self.gain = nn.Parameter(torch.ones(()))
        self.fuse = nn.Linear(H, 4 * S)
        self.fuse_U = _square(S)
        _reset(self.fuse, S, config.forget_bias)
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

    def _highlight(self, h: Tensor) -> list[Tensor]:
        """The attention of every stage, K times [B, H]."""
        H = h.shape[1]
        gain = self.gain if self.config.attention_gain == "learned" else self.config.attention_gain
        # a^0 and h^0 are the same for every row, and so are stage 1's gates: no product is needed.
        gates = self.highlight.bias
        if self.config.highlight_start == "learned":
            gates = gates + self.highlight.weight[:, :H] @ self.a0
        state, c = lstm_cell(gates, self.map(h))
        attention = [torch.softmax(gain * state, dim=1)]
        for _ in range(1, self.config.stages):
            state, c = lstm_cell(self.highlight(torch.cat([attention[-1], state], dim=1)), c)
            attention.append(torch.softmax(gain * state, dim=1))
        return attention


def lstm_cell(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """One LSTM step from summed gate inputs [..., 4H] (f, i, o, c̄) and cell [..., H]: h and c."""
    H = gates.shape[-1] // 4
    f, i, o = torch.sigmoid(gates[..., : 3 * H]).chunk(3, dim=-1)
    c = f * c + i * torch.tanh(gates[..., 3 * H :])
    return o * torch.tanh(c), c


def _affine_or_hidden(n_in: int, hidden: int, n_out: int, dropout: float) -> nn.Module:
    if not hidden:
        return nn.Linear(n_in, n_out)
    return nn.Sequential(
        nn.Linear(n_in, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, n_out)
    )


def _uniform(shape: tuple[int, int], size: int) -> nn.Parameter:
    """torch's own draw for an LSTM of ``size`` units."""
    return nn.Parameter(torch.empty(shape).uniform_(-(size**-0.5), size**-0.5))


def _square(size: int) -> nn.Parameter:
    """Four recurrent blocks [4 size, size], each orthogonal."""
    return nn.Parameter(torch.cat([nn.init.orthogonal_(torch.empty(size, size)) for _ in range(4)]))


def _reset(gates: nn.Module, size: int, forget_bias: float) -> None:
    """Draw the input weights and biases of four gates as torch's LSTM does."""
    assert isinstance(gates, nn.Linear)
    with torch.no_grad():
        gates.weight.uniform_(-(size**-0.5), size**-0.5)
        gates.bias.uniform_(-(size**-0.5), size**-0.5)
        gates.bias[:size] += forget_bias


def _slices(sizes: object) -> list[slice]:
    slices, start = [], 0
    for size in sizes:  # type: ignore[attr-defined]
        slices.append(slice(start, start + size))
        start += size
    return slices
