"""The packed run of RMFN, word after word; ``rmfn.packed`` says how."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

ABSENT = torch.empty(0)
_MINUS_ONE = torch.tensor(-1.0)


class Weights(NamedTuple):
    """What the recurrence reads: matrices [in, out]; gates in the order f, i, c̄, o; c̄ gates and
    cells doubled; empty = absent.

    Attributes
    ----------
    R : [H+Z, 4H] from [h|z] to the LSTHMs' gates.
    map, map_bias : [H, H], [H] from h_t to HIGHLIGHT's doubled cell after stage 1.
    o1 : [H] the output gate of stage 1.
    gain : [1] on the logits of attention; absent = 1.
    highlight : [2H, 4H] from [a|h] to HIGHLIGHT's gates; their biases stand in every row of a,
        whose sum is 1.
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

    gates: Tensor  # [P, 4H] of the LSTHMs, of all words
    c: Tensor  # [., H] and their cells
    hz: Tensor  # [., H+Z]
    high_gates: Tensor  # [., K-1, 4H]
    high_c: Tensor  # [., K, H]
    ah: Tensor  # [., K, 2H] attention and state of HIGHLIGHT
    attended: Tensor  # [., K, H]
    fuse_gates: Tensor  # [., K, 4S]
    fuse_c: Tensor  # [., K, S]
    s: Tensor
    memory: Tensor  # all of these but the first


# What no later stage reads but the next one: without a gradient all stages share its room.
SHARED = ("high_gates", "high_c", "ah", "fuse_c")


def _make_states(
    gates: Tensor, rows: int, K: int, w: Weights, keep: bool, memory: Tensor | None
) -> States:
    """Room for the activations of so many rows, in ``memory`` if that is large enough."""
    H, S, KH = w.R.shape[1] // 4, len(w.fuse_U), K if len(w.map) else 0
    shapes = {
        "c": (H,),
        "hz": (len(w.R),),
        "high_gates": (max(KH - 1, 0), 4 * H),
        "high_c": (KH, H),
        "ah": (KH, 2 * H),
        "attended": (KH, H),
        "fuse_gates": (K, 4 * S),
        "fuse_c": (K, S),
        "s": (K, S),
    }
    rooms = dict(shapes)
    if not keep:
        rooms |= {name: (min(shapes[name][0], 1), shapes[name][1]) for name in SHARED}
    sizes = [rows * math.prod(room) for room in rooms.values()]
    fits = memory is not None and memory.dtype == gates.dtype and memory.device == gates.device
    if memory is None or not fits or len(memory) < sum(sizes):
        memory = gates.new_empty(sum(sizes))
    parts = memory[: sum(sizes)].split(sizes)
    views = {
        name: part.view(rows, *rooms[name]).expand(rows, *shape)
        for (name, shape), part in zip(shapes.items(), parts, strict=True)
    }
    return States(gates=gates, memory=memory, **views)


class Step(NamedTuple):
    """Where one LSTM step writes: its gates and their parts, cell, h; in between tanh(cell)."""

    gates: Tensor
    f: Tensor
    i: Tensor
    g: Tensor
    o: Tensor
    c: Tensor
    h: Tensor
    tanh: Tensor


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

    def by_stage(self, buffer: Tensor) -> list[Sequence[Tensor]]:
        """The same of every stage of [P, K, ...]; of stages that share their room once."""
        if buffer.stride(1):
            return [self(stage) for stage in buffer.unbind(1)]
        return [self(buffer[:, 0])] * buffer.shape[1]


def _plan_steps(
    cut: Slices, gates: Tensor, c: Sequence[Tensor], h: Sequence[Tensor], tanh: Sequence[Tensor]
) -> list[Step]:
    parts = map(cut, (gates, *gates.chunk(4, dim=1)))
    return [Step(*views) for views in zip(*parts, c, h, tanh, strict=True)]


def _plan_stages(
    cut: Slices,
    gates: Tensor,
    c: Sequence[Sequence[Tensor]],
    h: Sequence[Sequence[Tensor]],
    tanh: Sequence[Tensor],
) -> list[list[Step]]:
    """Of every stage: gates [P, K, 4n]."""
    parts = map(cut.by_stage, (gates, *gates.chunk(4, dim=2)))
    return [
        [Step(*views) for views in zip(*stage, tanh, strict=True)]
        for stage in zip(*parts, c, h, strict=True)
    ]


def _advance(step: Step, c: Tensor) -> None:
    """One LSTM step from the doubled cell before; ``step.gates`` hold what goes into the gates."""
    step.gates.sigmoid_()
    torch.add(_MINUS_ONE, step.g, alpha=2, out=step.g)
    torch.mul(step.f, c, out=step.c)
    step.c.addcmul_(step.i, step.g, value=2)
    _emit(step.c, step.o, step.tanh, step.h)


def _emit(c: Tensor, o: Tensor, tanh: Tensor, h: Tensor) -> None:
    """h = o tanh(cell), from the doubled cell."""
    torch.sigmoid(c, out=tanh)
    torch.add(_MINUS_ONE, tanh, alpha=2, out=tanh)
    torch.mul(o, tanh, out=h)


def run_forward(
    x: Tensor, sizes: list[int], K: int, w: Weights, keep: bool, memory: Tensor | None = None
) -> States:
    """Run; ``keep`` every word's activations for the gradient, or the last one's.

    Parameters
    ----------
    x, sizes, K : of ``rmfn.packed.run_packed``; without ``keep`` x is overwritten.
    memory : to use again, in place of fresh memory.
    """
    gates = x.clone() if keep else x
    states = _make_states(gates, len(x) if keep else sizes[0], K, w, keep, memory)
    H = states.c.shape[1]
    cut, tanh = Slices(sizes, keep), Slices(sizes, False)(x.new_empty(sizes[0], H))
    h = cut(states.hz[:, :H])
    cells = _plan_steps(Slices(sizes, True), states.gates, cut(states.c), h, tanh)
    hz, c = cut(states.hz), x.new_zeros(sizes[0], H)
    fuse = _plan_fusion(states, K, w, cut, h, tanh) if K else None
    for t, cell in enumerate(cells):
        if t:  # before, h and z are 0
            cell.gates.addmm_(hz[t - 1][: sizes[t]], w.R)
        _advance(cell, c[: sizes[t]])
        c = cell.c
        if fuse is not None:
            fuse(t)
    return states


def _plan_fusion(
    states: States,
    K: int,
    w: Weights,
    cut: Slices,
    h: Sequence[Tensor],
    tanh: Sequence[Tensor],
) -> Callable[[int], None]:
    """What makes z_t of h_t at step t: HIGHLIGHT, FUSE, SUMMARIZE."""
    H, attends = states.c.shape[1], len(w.map) > 0
    z = cut(states.hz[:, H:])
    if attends:
        a, state = states.ah.split(H, dim=2)
        ah, a, state, c, attended = map(
            cut.by_stage, (states.ah, a, state, states.high_c, states.attended)
        )
        high = _plan_stages(cut, states.high_gates, c[1:], state[1:], tanh)
        attended_rows = cut(states.attended.flatten(0, 1), K)
    fuse_tanh = Slices(cut.sizes, False)(states.s.new_empty(cut.sizes[0], len(w.fuse_U)))
    fuse_steps = _plan_stages(
        *(cut, states.fuse_gates, cut.by_stage(states.fuse_c), cut.by_stage(states.s), fuse_tanh)
    )
    fuse_gates, fuse_rows = cut(states.fuse_gates), cut(states.fuse_gates.flatten(0, 1), K)
    read = cut(read_by_summarize(states.s, w))

    def highlight(t: int) -> None:
        torch.addmm(w.map_bias, h[t], w.map, out=c[0][t])
        _emit(c[0][t], w.o1, tanh[t], state[0][t])
        _attend(state[0][t], w.gain, h[t], a[0][t], attended[0][t])
        for k, steps in enumerate(high, 1):
            torch.mm(ah[k - 1][t], w.highlight, out=steps[t].gates)
            _advance(steps[t], c[k - 1][t])
            _attend(state[k][t], w.gain, h[t], a[k][t], attended[k][t])

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


def _attend(state: Tensor, gain: Tensor, h: Tensor, a: Tensor, attended: Tensor) -> None:
    torch.softmax(state * gain if len(gain) else state, dim=1, out=a)
    torch.mul(a, h, out=attended)


def read_by_summarize(s: Tensor, w: Weights) -> Tensor:
    """All stages' states side by side [., K S], or the last one's [., S]."""
    return s[:, -1] if len(w.summarize) < s[0].numel() else s.flatten(1)
