"""The packed run of RMFN, word after word; ``rmfn.packed`` says how."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

ABSENT = torch.empty(0)
_MINUS_ONE = torch.tensor(-1.0)


class Weights(NamedTuple):
    """What the recurrence reads: c̄ gates and cells doubled, matrices [in, out]; empty = absent.

    Attributes
    ----------
    R : [H+Z, 4H] from [h|z] to the LSTHMs' gates.
    map, map_bias : [H, H], [H] from h_t to HIGHLIGHT's doubled cell after stage 1.
    o1 : [H] the output gate of stage 1.
    gain : [1] on the logits of attention; absent = 1.
    highlight, highlight_bias : [2H, 4H], [4H] from [a|h] to HIGHLIGHT's gates.
    fuse, fuse_bias, fuse_U : [H, 4S], [4S], [S, 4S] to FUSE's gates.
    c0 : [S] FUSE's doubled cell before stage 1.
    summarize, summarize_bias : [K S, Z] or, if the last stage alone is read, [S, Z]; [Z].
    """

    R: Tensor = ABSENT
    map: Tensor = ABSENT
    map_bias: Tensor = ABSENT
    o1: Tensor = ABSENT
    gain: Tensor = ABSENT
    highlight: Tensor = ABSENT
    highlight_bias: Tensor = ABSENT
    fuse: Tensor = ABSENT
    fuse_bias: Tensor = ABSENT
    fuse_U: Tensor = ABSENT  # noqa: N815
    c0: Tensor = ABSENT
    summarize: Tensor = ABSENT
    summarize_bias: Tensor = ABSENT


class States(NamedTuple):
    """Activations, of all words [P, ...] or of the last one [B, ...]; gates after their sigmoid.

    HIGHLIGHT's stage 1 has no gates. What a model does not have is empty.
    """

    gates: Tensor  # [., 4H] of the LSTHMs, with their cells and the cells' tanh
    c: Tensor
    tanh: Tensor
    hz: Tensor  # [., H+Z]
    high_gates: Tensor  # [., K-1, 4H]
    high_c: Tensor  # [., K, H]
    high_tanh: Tensor
    ah: Tensor  # [., K, 2H] attention and state of HIGHLIGHT
    attended: Tensor  # [., K, H]
    fuse_gates: Tensor  # [., K, 4S]
    fuse_c: Tensor  # [., K, S]
    fuse_tanh: Tensor
    s: Tensor


class Step(NamedTuple):
    """Where one LSTM step writes: its gates and their parts, cell, tanh of the cell, h."""

    gates: Tensor
    f: Tensor
    i: Tensor
    o: Tensor
    g: Tensor
    c: Tensor
    tanh: Tensor
    h: Tensor


class Slices:
    """Cuts a buffer into the rows of every step (``keep``), or gives every step the same rows."""

    def __init__(self, sizes: list[int], keep: bool):
        self.sizes, self.keep = sizes, keep

    def __call__(self, buffer: Tensor, stages: int = 1) -> Sequence[Tensor]:
        """``stages`` : rows of the buffer a word."""
        if self.keep:
            return buffer.split([b * stages for b in self.sizes])
        cut = {b: buffer[: b * stages] for b in dict.fromkeys(self.sizes)}
        return [cut[b] for b in self.sizes]

    def steps(self, gates: Tensor, c: Tensor, tanh: Tensor, h: Tensor) -> list[Step]:
        parts = (gates, *gates.chunk(4, dim=1), c, tanh, h)
        return [Step(*views) for views in zip(*map(self, parts), strict=True)]


def _advance(step: Step, c: Tensor) -> None:
    """One LSTM step from the doubled cell before; ``step.gates`` hold what goes into the gates."""
    torch.sigmoid(step.gates, out=step.gates)
    torch.add(_MINUS_ONE, step.g, alpha=2, out=step.g)
    torch.mul(step.f, c, out=step.c)
    step.c.addcmul_(step.i, step.g, value=2)
    _emit(step.c, step.o, step.tanh, step.h)


def _emit(c: Tensor, o: Tensor, tanh: Tensor, h: Tensor) -> None:
    """h = o tanh(cell), from the doubled cell."""
    torch.sigmoid(c, out=tanh)
    torch.add(_MINUS_ONE, tanh, alpha=2, out=tanh)
    torch.mul(o, tanh, out=h)


def run_forward(x: Tensor, sizes: list[int], K: int, w: Weights, keep: bool) -> States:
    """Run; ``keep`` every word's activations for the gradient, or the last one's."""
    rows = len(x) if keep else sizes[0]
    H, S = w.R.shape[1] // 4, len(w.fuse_U)
    KH = K if len(w.map) else 0

    def new(*shape: int) -> Tensor:
        return x.new_empty(rows, *shape)

    states = States(
        *(new(4 * H), new(H), new(H), new(len(w.R))),
        *(new(max(KH - 1, 0), 4 * H), new(KH, H), new(KH, H), new(KH, 2 * H), new(KH, H)),
        *(new(K, 4 * S), new(K, S), new(K, S), new(K, S)),
    )
    cut = Slices(sizes, keep)
    cells = cut.steps(states.gates, states.c, states.tanh, states.hz[:, :H])
    hz, c = cut(states.hz), x.new_zeros(sizes[0], H)
    fuse = _plan_fusion(states, K, w, cut) if K else None
    for t, (b, gates) in enumerate(zip(sizes, x.split(sizes), strict=True)):
        if t:
            torch.addmm(gates, hz[t - 1][:b], w.R, out=cells[t].gates)
        else:  # h and z are 0
            cells[t].gates.copy_(gates)
        _advance(cells[t], c[:b])
        c = cells[t].c
        if fuse is not None:
            fuse(t)
    return states


def _plan_fusion(states: States, K: int, w: Weights, cut: Slices) -> Callable[[int], None]:
    """What makes z_t of h_t at step t: HIGHLIGHT, FUSE, SUMMARIZE."""
    H, attends = states.c.shape[1], len(w.map) > 0
    h, z = cut(states.hz[:, :H]), cut(states.hz[:, H:])
    if attends:
        ah, a = states.ah, states.ah[..., :H]
        c1, tanh1, h1 = (cut(p[:, 0]) for p in (states.high_c, states.high_tanh, ah[..., H:]))
        high = [
            cut.steps(
                states.high_gates[:, k - 1],
                states.high_c[:, k],
                states.high_tanh[:, k],
                ah[:, k, H:],
            )
            for k in range(1, K)
        ]
        ah_stages, a_stages = [cut(ah[:, k]) for k in range(K)], [cut(a[:, k]) for k in range(K)]
        a_all, attended = cut(a), cut(states.attended)
        attended_rows = cut(states.attended.flatten(0, 1), K)
    fuse_steps = [
        cut.steps(
            states.fuse_gates[:, k], states.fuse_c[:, k], states.fuse_tanh[:, k], states.s[:, k]
        )
        for k in range(K)
    ]
    fuse_gates, fuse_rows = cut(states.fuse_gates), cut(states.fuse_gates.flatten(0, 1), K)
    read = cut(read_by_summarize(states.s, w))

    def highlight(t: int) -> None:
        torch.addmm(w.map_bias, h[t], w.map, out=c1[t])
        _emit(c1[t], w.o1, tanh1[t], h1[t])
        _attend(h1[t], w.gain, a_stages[0][t])
        c = c1[t]
        for k, steps in enumerate(high):
            torch.addmm(w.highlight_bias, ah_stages[k][t], w.highlight, out=steps[t].gates)
            _advance(steps[t], c)
            _attend(steps[t].h, w.gain, a_stages[k + 1][t])
            c = steps[t].c
        torch.mul(a_all[t], h[t].unsqueeze(1), out=attended[t])

    def fuse(t: int) -> None:
        if attends:
            highlight(t)
            torch.addmm(w.fuse_bias, attended_rows[t], w.fuse, out=fuse_rows[t])
        else:  # every stage reads h_t
            fuse_gates[t].copy_(torch.addmm(w.fuse_bias, h[t], w.fuse).unsqueeze(1))
        _advance(fuse_steps[0][t], w.c0)
        for before, steps in pairwise(fuse_steps):
            steps[t].gates.addmm_(before[t].h, w.fuse_U)
            _advance(steps[t], before[t].c)
        torch.addmm(w.summarize_bias, read[t], w.summarize, out=z[t])

    return fuse


def _attend(h: Tensor, gain: Tensor, a: Tensor) -> None:
    torch.softmax(h * gain if len(gain) else h, dim=1, out=a)


def read_by_summarize(s: Tensor, w: Weights) -> Tensor:
    """All stages' states side by side [., K S], or the last one's [., S]."""
    return s[:, -1] if len(w.summarize) < s[0].numel() else s.flatten(1)
