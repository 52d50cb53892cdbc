"""Sums over all paths of latent chains: the forward algorithm, in log space, without padding.

A chain is in one of K states at every frame. Its paths weigh

    exp(sum_t nodes[t, h_t] + sum_t moves[h_{t-1}, h_t])

and ``sum_paths`` is the log of their sum, ``find_posteriors`` the probability of each state at each
frame (forward-backward). Gradients are autograd's.

At every step the weights are divided by their sum, whose logs add up to the result (Rabiner, A
tutorial on hidden Markov models, Proc. IEEE 1989, section V.A): the same as a log-sum-exp at every
step, in a matrix product. All is float64 inside. Then nothing is lost whatever the nodes are and
however long the sequence is, as long as the moves of one chain differ by less than 600; a move that
is farther below the likeliest, or forbidden (-inf), counts as one about 690 below.

Letters: B sequences, P frames of the whole batch, Y chains over the same frames (one a label), K
states. Frames lie as ``rmfn.lsthm.pack`` lays them: step after step, longest sequences first.
"""

from __future__ import annotations

import torch
from torch import Tensor

LEAST = 1e-300  # of a float64, before it is no longer normal


def sum_paths(nodes: Tensor, moves: Tensor, sizes: list[int]) -> Tensor:
    """Log of the sum over all paths of each sequence, for each chain [B, Y], longest first.

    Parameters
    ----------
    nodes : [P, Y, K] log weight of each state at each frame; at least one finite a frame.
    moves : [Y, K, K] log weight of going from one state to another.
    sizes : sequences that still run at each step.
    """
    weights, top = _weigh(nodes)
    steps, peak = _weigh_moves(moves)
    _, totals = _walk(weights, steps, sizes)
    logs = torch.cat(totals, dim=1).log() + top
    rows = torch.cat([torch.arange(b) for b in sizes]).to(logs.device)
    summed = logs.new_zeros(len(logs), sizes[0]).index_add(1, rows, logs[..., 0])
    lengths = torch.bincount(rows, minlength=sizes[0])
    return (summed + peak[:, 0] * (lengths - 1)).T


@torch.no_grad()
def find_posteriors(nodes: Tensor, moves: Tensor, sizes: list[int]) -> Tensor:
    """Probability of each state at each frame given the whole sequence [P, Y, K].

    Arguments as ``sum_paths``'s. Nothing is learned through it.
    """
    weights, _ = _weigh(nodes)
    steps, _ = _weigh_moves(moves)
    forward, _ = _walk(weights, steps, sizes)
    frames = weights.split(sizes, dim=1)
    after = torch.ones_like(frames[-1])
    found = [forward[-1]]
    for t in range(len(sizes) - 2, -1, -1):
        seen = torch.bmm(after * frames[t + 1], steps.transpose(1, 2))
        seen = seen / seen.sum(2, keepdim=True)
        ended = torch.ones_like(forward[t][:, sizes[t + 1] :])
        after = torch.cat([seen, ended], dim=1)
        both = forward[t] * after
        found.append(both / both.sum(2, keepdim=True))
    return torch.cat(found[::-1], dim=1).transpose(0, 1)


def _weigh(nodes: Tensor) -> tuple[Tensor, Tensor]:
    """Weights [Y, P, K] of which the largest of a frame is 1, and the log of what it was."""
    nodes = nodes.double().transpose(0, 1)
    top = nodes.detach().amax(2, keepdim=True)
    # The result does not depend on top, but the logs must be those of the same number.
    return (nodes - top).exp(), top


def _weigh_moves(moves: Tensor) -> tuple[Tensor, Tensor]:
    """The same of moves: weights [Y, K, K], and the log of the largest of each chain [Y, 1, 1]."""
    moves = moves.double()
    peak = moves.detach().amax((1, 2), keepdim=True)
    return (moves - peak).exp().clamp_min(LEAST), peak


def _walk(weights: Tensor, steps: Tensor, sizes: list[int]) -> tuple[list[Tensor], list[Tensor]]:
    """Forward: at each step the states' shares [Y, b, K], and what they were divided by."""
    frames = weights.split(sizes, dim=1)
    shares: list[Tensor] = []
    totals: list[Tensor] = []
    for t, frame in enumerate(frames):
        if t:
            frame = torch.bmm(shares[-1][:, : sizes[t]], steps) * frame
        totals.append(frame.sum(2, keepdim=True))
        shares.append(frame / totals[-1])
    return shares, totals
