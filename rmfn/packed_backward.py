"""The gradient of the packed run of RMFN, from the last word to the first; see ``rmfn.packed``."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from rmfn.packed_forward import _MINUS_ONE, Slices, States, Weights, read_by_summarize

ROWS = 128  # derivatives are prepared for about so many rows at a time, which a cache still holds
_by_sigmoid = torch.ops.aten.sigmoid_backward.grad_input  # (a, y) -> a y (1 - y)
_by_tanh = torch.ops.aten.tanh_backward.grad_input  # (a, y) -> a (1 - y^2)


def find_places(sizes: list[int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Where the word before each stands (from step 2 on), and where each sequence's last."""
    steps = torch.tensor(sizes)
    before = torch.arange(sizes[0], sum(sizes)) - steps[:-1].repeat_interleave(steps[1:])
    ends = steps.cumsum(0) - steps  # where steps start
    length = (steps[:, None] > torch.arange(sizes[0])).sum(0)
    last = ends[length - 1] + torch.arange(sizes[0])
    return before.to(device), last.to(device)


class _Slope(NamedTuple):
    """Derivatives of LSTM steps [b, ...]."""

    fig: Tensor  # [b, 3, n] of the doubled cell by what goes into f, i and c̄
    f: Tensor  # of the doubled cell by the one before
    o: Tensor  # of h by what goes into o
    c: Tensor  # of h by the doubled cell, half of it


class _Into(NamedTuple):
    """Where the gradients of an LSTM step's gates go."""

    gates: Tensor
    fig: Tensor
    o: Tensor


def _differentiate(gates: Tensor, c_before: Tensor, c: Tensor, out: Tensor) -> _Slope:
    """Of many steps at once: gates [b, 4n] -> views of ``out`` [b, 6n]."""
    f, i, g, o = gates.chunk(4, dim=1)
    n = f.shape[1]
    df, di, dg, keep, do, dc = out.chunk(6, dim=1)
    _by_sigmoid(c_before, f, grad_input=df)
    _by_sigmoid(g, i, grad_input=di).mul_(2)
    _by_tanh(i, g, grad_input=dg)
    keep.copy_(f)
    torch.sigmoid(c, out=do)
    _by_sigmoid(o, do, grad_input=dc)
    torch.add(_MINUS_ONE, do, alpha=2, out=do)  # tanh of the cell
    _by_sigmoid(do, o, grad_input=do)
    return _Slope(out[:, : 3 * n].unflatten(1, (3, n)), keep, do, dc)


def _retreat(slope: _Slope, dh: Tensor, dc: Tensor, into: _Into) -> None:
    """From the gradients of h and of the doubled cell to those of the gates and the cell before."""
    dc.addcmul_(dh, slope.c, value=2)
    torch.mul(dc.unsqueeze(1), slope.fig, out=into.fig)
    torch.mul(dh, slope.o, out=into.o)
    dc.mul_(slope.f)


def _into(gates: Tensor, cut: Slices) -> list[_Into]:
    n = gates.shape[1] // 4
    parts = (gates, gates[:, : 3 * n].unflatten(1, (3, n)), gates[:, 3 * n :])
    return [_Into(*views) for views in zip(*map(cut, parts), strict=True)]


class _Slopes:
    """Derivatives of an LSTM at one stage, step by step from the last, prepared for some at a time.

    Parameters
    ----------
    gates, c : [P, 4n], [P, n]
    c_before : the doubled cells before, of words lo to hi [hi - lo, n].
    """

    def __init__(
        self,
        sizes: list[int],
        gates: Tensor,
        c: Tensor,
        c_before: Callable[[int, int], Tensor],
    ):
        self.sizes, self.gates, self.c, self.c_before = sizes, gates, c, c_before
        self.starts = list(accumulate(sizes, initial=0))
        self.ready: dict[int, _Slope] = {}
        room = min(ROWS + sizes[0], len(c))
        self.out = c.new_empty(room, 6 * c.shape[1])

    def __getitem__(self, t: int) -> _Slope:
        if t not in self.ready:
            first = t
            while first and self.starts[t + 1] - self.starts[first] < ROWS:
                first -= 1
            lo, hi = self.starts[first], self.starts[t + 1]
            slope = _differentiate(
                self.gates[lo:hi], self.c_before(lo, hi), self.c[lo:hi], self.out[: hi - lo]
            )
            parts = [p.split(self.sizes[first : t + 1]) for p in slope]
            self.ready = {first + n: _Slope(*p) for n, p in enumerate(zip(*parts, strict=True))}
        return self.ready[t]


def run_backward(
    d_ended: Tensor, sizes: list[int], K: int, w: Weights, states: States
) -> tuple[Tensor, Weights]:
    """Gradients of x and of the weights; the gates' gradients are written over the gates."""
    B, H = sizes[0], states.c.shape[1]
    before, last = find_places(sizes, d_ended.device)
    zero = d_ended.new_zeros(B, H)

    def c_before(lo: int, hi: int) -> Tensor:
        c = states.c[before[max(lo - B, 0) : hi - B]]
        return torch.cat([zero, c]) if lo == 0 else c

    cut = Slices(sizes, keep=True)
    dgates = states.gates
    dhz = torch.zeros_like(states.hz).index_copy_(0, last, d_ended)
    dhz_steps, dh = cut(dhz), cut(dhz[:, :H])
    into, slopes = _into(dgates, cut), _Slopes(sizes, states.gates, states.c, c_before)
    fusion = _FusionBackward(sizes, K, w, states, dhz) if K else None
    dc = zero.clone()
    for t in reversed(range(len(sizes))):
        if fusion is not None:
            fusion(t)
        _retreat(slopes[t], dh[t], dc[: sizes[t]], into[t])
        if t:
            dhz_steps[t - 1][: sizes[t]].addmm_(into[t].gates, w.R.T)
    dR = states.hz[before].T @ dgates[B:]
    if fusion is None:
        return dgates, w._replace(R=dR)
    return dgates, fusion.gather()._replace(R=dR)


def _slopes_of_stage(sizes: list[int], gates: Tensor, c: Tensor, c_before: Tensor) -> _Slopes:
    return _Slopes(sizes, gates, c, lambda lo, hi: c_before[lo:hi])


class _FusionBackward:
    """From the gradient of z_t to that of h_t, step by step; then the gradients of the weights.

    Parameters
    ----------
    dhz : [P, H+Z] gradient of [h|z]; h's is added to.
    """

    def __init__(self, sizes: list[int], K: int, w: Weights, states: States, dhz: Tensor):
        H, S, P = states.c.shape[1], len(w.fuse_U), len(dhz)
        cut = Slices(sizes, keep=True)
        self.K, self.w, self.states, self.H, self.dhz = K, w, states, H, dhz
        self.attends, self.reads_all = len(w.map) > 0, len(w.summarize) == K * S
        self.dh, self.dz = cut(dhz[:, :H]), cut(dhz[:, H:])

        self.dfuse = states.fuse_gates
        self.dfuse_steps, self.dfuse_rows = cut(self.dfuse), cut(self.dfuse.flatten(0, 1), K)
        self.dc0 = dhz.new_zeros(P, S)
        self.dc0_steps = cut(self.dc0)
        self.into_fuse = [_into(self.dfuse[:, k], cut) for k in range(K)]
        starts = w.c0.expand(P, S)
        self.fuse_slopes = [
            _slopes_of_stage(sizes, states.fuse_gates[:, k], states.fuse_c[:, k], c)
            for k, c in enumerate((starts, *states.fuse_c.unbind(1)[:-1]))
        ]
        if not self.attends:
            return
        self.h, self.a = cut(states.hz[:, None, :H]), cut(states.ah[..., :H])
        self.dhigh = states.high_gates
        self.into_high = [_into(self.dhigh[:, k], cut) for k in range(K - 1)]
        self.high_slopes = [
            _slopes_of_stage(sizes, gates, c, c_before)
            for gates, c, c_before in zip(
                states.high_gates.unbind(1),
                states.high_c.unbind(1)[1:],
                states.high_c.unbind(1)[:-1],
                strict=True,
            )
        ]
        # Stage 1, whose gates are constants
        self.tanh1 = torch.sigmoid(states.high_c[:, 0]).mul_(2).sub_(1)
        self.slope1 = dhz.new_empty(P, H)
        _by_tanh(w.o1.expand(P, H), self.tanh1, grad_input=self.slope1)
        self.dh1, self.dc1 = dhz.new_empty(P, H), dhz.new_zeros(P, H)
        self.slope1_steps, self.dh1_steps, self.dc1_steps = map(
            cut, (self.slope1, self.dh1, self.dc1)
        )
        # The logits' states, for the gain's gradient
        self.state = cut(states.ah[..., H:])
        self.dgain = dhz.new_zeros(len(w.gain))

    def __call__(self, t: int) -> None:
        w = self.w
        self.unfuse(t)
        if self.attends:
            self.unhighlight(t, torch.mm(self.dfuse_rows[t], w.fuse.T).unflatten(0, (-1, self.K)))
        else:
            self.dh[t].addmm_(self.dfuse_steps[t].sum(1), w.fuse.T)

    def unfuse(self, t: int) -> None:
        """From dz to the gradient of FUSE's gates."""
        w, dc = self.w, self.dc0_steps[t]
        read = torch.mm(self.dz[t], w.summarize.T)
        ds = list(read.chunk(self.K, dim=1)) if self.reads_all else [read]
        d = ds.pop()
        for k in reversed(range(self.K)):
            into = self.into_fuse[k][t]
            _retreat(self.fuse_slopes[k][t], d, dc, into)
            if k:
                U = w.fuse_U.T
                d = ds.pop().addmm_(into.gates, U) if self.reads_all else into.gates @ U

    def unhighlight(self, t: int, dattended: Tensor) -> None:
        """From the gradient of what FUSE reads [b, K, H] to those of h and HIGHLIGHT's gates."""
        w, H, a, dh, dc = self.w, self.H, self.a[t], self.dh[t], self.dc1_steps[t]
        da = dattended * self.h[t]
        for k in range(self.K):
            dh.addcmul_(dattended[:, k], a[:, k])
        later: Tensor | None = None  # what stage k+1 reads of stage k: [a|h]
        for k in reversed(range(self.K)):
            dstate = self.unattend(t, k, da[:, k] if later is None else da[:, k].add_(later[:, :H]))
            if later is not None:
                dstate.add_(later[:, H:])
            if k:
                into = self.into_high[k - 1][t]
                _retreat(self.high_slopes[k - 1][t], dstate, dc, into)
                later = torch.mm(into.gates, w.highlight.T)
        self.dh1_steps[t].copy_(dstate)
        dc.addcmul_(dstate, self.slope1_steps[t], value=0.5)
        dh.addmm_(dc, w.map.T)

    def unattend(self, t: int, k: int, da: Tensor) -> Tensor:
        """Through the softmax: gradient of HIGHLIGHT's state after stage k+1, [b, H]."""
        a = self.a[t][:, k]
        dlogits = torch._softmax_backward_data(da, a, 1, a.dtype)
        if len(self.dgain):
            self.dgain += (dlogits * self.state[t][:, k]).sum()
            dlogits *= self.w.gain
        return dlogits

    def gather(self) -> Weights:
        """Gradients of the weights; R's is not made here."""
        w, states, H = self.w, self.states, self.H
        h, dz = states.hz[:, :H], self.dhz[:, H:]
        grads = w._replace(
            fuse_bias=self.dfuse.sum((0, 1)),
            fuse_U=_multiply(states.s[:, :-1], self.dfuse[:, 1:]),
            c0=self.dc0.sum(0),
            summarize=read_by_summarize(states.s, w).T @ dz,
            summarize_bias=dz.sum(0),
        )
        if not self.attends:
            return grads._replace(fuse=h.T @ self.dfuse.sum(1))
        return grads._replace(
            fuse=states.attended.flatten(0, 1).T @ self.dfuse.flatten(0, 1),
            map=h.T @ self.dc1,
            map_bias=self.dc1.sum(0),
            o1=(self.dh1 * self.tanh1).sum(0),
            gain=self.dgain,
            highlight=_multiply(states.ah[:, :-1], self.dhigh),
        )


def _multiply(inputs: Tensor, gates: Tensor) -> Tensor:
    """The sum over words and stages of inputs^T gates: [P, K, n], [P, K, m] -> [n, m]."""
    total = inputs.new_zeros(inputs.shape[-1], gates.shape[-1])
    for k in range(inputs.shape[1]):
        total.addmm_(inputs[:, k].T, gates[:, k])
    return total
