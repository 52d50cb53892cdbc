"""RMFN's recurrence as one operation on packed words, with its gradient written out.

The equations are those of ``rmfn.model``; every result and gradient is the one that automatic
differentiation of the plain loop gives, up to rounding. What makes it fast:

* A finished sequence drops out of the batch, so padding is never computed.
* Every cell is one matrix product: [h|z] at once for all modalities, [a|h] of HIGHLIGHT at once,
  FUSE's inputs of all stages at once. HIGHLIGHT's first stage needs none, for a^0 and h^0 are the
  same for all rows; its gates are folded into the map from h_t to its cell.
* tanh(u) = 2 sigmoid(2u) - 1: the c̄ gates' weights and the cells are kept doubled, so that one
  sigmoid serves all gates (torch's tanh costs a multiple of its sigmoid on a CPU).
* The loop writes into arrays that are made before it; predicting keeps one word's states only,
  training takes the memory of the step before.
* The backward pass goes through the words once with the gradients of the gates, which it writes
  over the gates, and then makes each weight's gradient by one product over all words (automatic
  differentiation adds one for each word and stage).

Letters as in ``rmfn.model``: b rows that still run, P words in all, n units of some LSTM. An array
over stages is [P, K, ...]: a word's stages lie side by side.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rmfn.packed_backward import find_places, run_backward
from rmfn.packed_forward import States, Weights, run_forward


def arrange(gates: Tensor) -> Tensor:
    """Gate weights [4n, ...] in the order f, i, c̄, o instead of f, i, o, c̄, those of c̄ doubled."""
    f, i, o, g = gates.chunk(4)
    return torch.cat([f, i, 2 * g, o])


def run_packed(x: Tensor, sizes: list[int], stages: int, weights: Weights) -> Tensor:
    """The states [h_T | z_T] at the end of each sequence, longest first: [B, H+Z].

    Parameters
    ----------
    x : [P, 4H] what words and biases give to the LSTHMs' gates, as ``arrange`` lays them out; it
        is overwritten if no gradient is wanted.
    sizes : sequences that still run at each step.
    stages : K; 0 = there is no z.
    """
    if torch.is_grad_enabled() and any(w.requires_grad for w in (x, *weights)):
        return PackedRun.apply(x, sizes, stages, *weights)
    return run_forward(x, sizes, stages, weights, keep=False).hz


# What the last backward pass has done with, for the next forward pass: a tenth of a training step
# goes into fresh pages otherwise.
_spare: list[Tensor] = []
SPARE = 2**28  # bytes that are kept at most


class PackedRun(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, sizes: list[int], stages: int, *weights: Tensor) -> Tensor:
        ctx.save_for_backward(x, *weights)
        ctx.sizes, ctx.stages = sizes, stages
        ctx.states = _run_kept(x, sizes, stages, Weights(*weights))
        return ctx.states.hz[find_places(sizes, x.device)[1]]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_ended: Tensor) -> tuple[Any, ...]:
        x, *rest = ctx.saved_tensors
        weights = Weights(*rest)
        states, ctx.states = ctx.states, None
        if states is None:  # another backward pass has used them up
            states = _run_kept(x, ctx.sizes, ctx.stages, weights)
        dx, dw = run_backward(d_ended, ctx.sizes, ctx.stages, weights, states)
        if states.memory.nbytes <= SPARE and not states.memory.is_cuda:
            _spare[:] = [states.memory]
        wanted = ctx.needs_input_grad[3:]
        return dx, None, None, *(d if want else None for d, want in zip(dw, wanted, strict=True))


def _run_kept(x: Tensor, sizes: list[int], stages: int, weights: Weights) -> States:
    try:
        memory = _spare.pop()
    except IndexError:
        memory = None
    return run_forward(x, sizes, stages, weights, keep=True, memory=memory)
