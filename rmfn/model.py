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

from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn

from rmfn.lsthm import (
    Packed,
    join_recurrence,
    lstm_cell,
    make_head,
    make_lsthm,
    pack,
    project_words,
    reset_gates,
    square,
    unroll,
)
from rmfn.packed import arrange, run_packed
from rmfn.packed_forward import ABSENT, Weights


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

    ``rmfn.packed`` runs it, which has no second derivatives. ``map_hidden``, ``summarize_hidden``,
    ``fuse_start="project"`` and autocast to a lower precision take the plain loop, several times
    slower.
    """

    def __init__(self, config: RMFNConfig):
        super().__init__()
        self.config = config
        H, Z = sum(config.hidden.values()), config.summary if config.multistage else 0
        self.parts = dict(zip(config.hidden, _slices(config.hidden.values()), strict=True))
        # LSTHM of each modality: x_t^m and the four gates' biases; h_{t-1}^m; z_{t-1}
        self.W, self.U, self.V = make_lsthm(config.inputs, config.hidden, Z, config.forget_bias)
        if config.multistage:
            self.fusion = MultistageFusion(config, H)
        self.head = make_head(H + Z, config.head, config.outputs, config.dropout)
        self.input_dropout = nn.Dropout(config.input_dropout)
        self.stages = config.stages if config.multistage else 0
        self._arranged: tuple[list[tuple[int, int]], list[Tensor], Weights] | None = None

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
        words = self._read(features, lengths)
        if not self._packs():
            return self._run(words)[0]
        x = project_words(self.W, words.rows, arrange)
        ended = run_packed(x, words.sizes, self.stages, self._weights())
        return self.head(ended[words.back])

    @torch.no_grad()
    def explain(self, features: dict[str, Tensor], lengths: Tensor) -> Explanation:
        """The attention of every stage at every word.

        Raises
        ------
        ValueError : the model has no HIGHLIGHT.
        """
        if not (self.config.multistage and self.config.highlight):
            raise ValueError("this model has no HIGHLIGHT, hence no attention to show")
        words = self._read(features, lengths)
        steps = self._run(words)[1]
        attention = steps[0].new_zeros(len(lengths), len(steps), *steps[0].shape[1:])
        for t, a in enumerate(steps):  # a: [b, K, H] of the b longest
            attention[words.order[: len(a)], t] = a
        return Explanation(attention, self.parts)

    def _read(self, features: dict[str, Tensor], lengths: Tensor) -> Packed:
        words = pack(features, lengths, self.config.inputs)
        return replace(words, rows={m: self.input_dropout(x) for m, x in words.rows.items()})

    def _packs(self) -> bool:
        """Whether ``rmfn.packed`` can run this model here."""
        config = self.config
        return not (
            config.map_hidden
            or config.summarize_hidden
            or config.fuse_start == "project"
            or torch.is_autocast_enabled(next(self.head.parameters()).device.type)
        )

    def _weights(self) -> Weights:
        """The recurrence's weights as ``rmfn.packed`` reads them; while no gradient is wanted they
        are made once for the same parameters."""
        if torch.is_grad_enabled():
            return self._arrange_weights()
        held = [*self.parameters(), *self.buffers()]
        if any(tensor.is_inference() for tensor in held):  # their changes are not counted
            return self._arrange_weights()
        state = [(tensor.data_ptr(), tensor._version) for tensor in held]
        if self._arranged is None or self._arranged[0] != state:
            # The parameters' memory is held too, so that no other can have the same address.
            memory = [tensor.detach() for tensor in held]
            self._arranged = state, memory, self._arrange_weights()
        return self._arranged[2]

    def _arrange_weights(self) -> Weights:
        R = arrange(join_recurrence(self.U, self.V, self.parts).T).T
        if self.config.multistage:
            return self.fusion.weights()._replace(R=R)
        return Weights(R)

    def _run(self, words: Packed) -> tuple[Tensor, list[Tensor]]:
        """The plain loop: predictions [B, outputs] and the attention [b, K, H] of every step."""
        steps: list[Tensor] = []

        def fuse(h: Tensor) -> Tensor:
            z, attention = self.fusion(h)
            steps.append(attention)
            return z

        x = project_words(self.W, words.rows)
        R = join_recurrence(self.U, self.V, self.parts)
        ended = unroll(x, words.sizes, R, fuse if self.config.multistage else None)
        return self.head(ended[words.back]), steps


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
            highlight=arrange(self.highlight.weight).T,
            highlight_bias=arrange(self.highlight.bias),
        )

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


def _slices(sizes: object) -> list[slice]:
    slices, start = [], 0
    for size in sizes:  # type: ignore[attr-defined]
        slices.append(slice(start, start + size))
        start += size
    return slices
