"""LSTHM, the recurrent cell that RMFN, MARN and (without z) MFN share, over words without padding.

Zadeh, Liang, Poria, Vij, Cambria & Morency, Multi-attention Recurrent Network for Human
Communication Comprehension, AAAI 2018: every modality m has an LSTM whose four gates also read z,
what the model made of all modalities at the word before:

    gates_t^m = W^m x_t^m + U^m h_{t-1}^m + V^m z_{t-1} + b^m

Letters: B sequences, P words of the whole batch without padding, H hidden units of all modalities,
Z size of z. Gates always lie in the order f, i, o, c̄.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Packed:
    """A batch step after step, without padding.

    Sequences go longest first, so that at each step those that still run are the first b rows.

    Attributes
    ----------
    rows : {modality: [P, d_m]}
    sizes : sequences that still run at each step; falls, and sums to P.
    order : [B] the sequence that each row of the first step belongs to.
    back : [B] the row of each sequence.
    """

    rows: dict[str, Tensor]
    sizes: list[int]
    order: Tensor
    back: Tensor


def pack(features: dict[str, Tensor], lengths: Tensor, modalities: Iterable[str]) -> Packed:
    """Take the words out of padded features.

    Parameters
    ----------
    features : {modality: [B, N, d_m]}; what stands after a sequence's end is not read.
    lengths : [B] words of each sequence, at least 1.

    Raises
    ------
    ValueError : a sequence has no words, or more than its features.
    """
    lengths = lengths.cpu()
    N = int(lengths.max())
    if lengths.min() < 1:
        raise ValueError("every sequence needs at least one word")
    order = torch.argsort(lengths, descending=True, stable=True)
    runs = lengths[order] > torch.arange(N)[:, None]  # [N, B]
    step, row = runs.nonzero(as_tuple=True)
    sequence = order[row]
    rows = {}
    for m in modalities:
        x = features[m]
        if len(x) != len(lengths) or x.shape[1] < N:
            raise ValueError(
                f"{len(lengths)} sequences of up to {N} words do not fit {m} features "
                f"of shape {tuple(x.shape)}"
            )
        words = (sequence * x.shape[1] + step).to(x.device)
        rows[m] = x.flatten(0, 1).index_select(0, words)
    device = next(iter(rows.values())).device
    return Packed(rows, runs.sum(1).tolist(), order.to(device), torch.argsort(order).to(device))


def make_lsthm(
    inputs: dict[str, int], hidden: dict[str, int], Z: int, forget_bias: float = 0.0
) -> tuple[nn.ModuleDict, nn.ParameterDict, nn.ParameterDict]:
    """W (with the biases), U and V of every modality, drawn as torch's LSTM does, U orthogonal."""
    W = nn.ModuleDict({m: nn.Linear(d, 4 * hidden[m]) for m, d in inputs.items()})
    U = nn.ParameterDict({m: square(size) for m, size in hidden.items()})
    V = nn.ParameterDict({m: _uniform((4 * size, Z), size) for m, size in hidden.items()})
    for m, size in hidden.items():
        reset_gates(W[m], size, forget_bias)
    return W, U, V


def project_words(
    W: nn.ModuleDict, rows: dict[str, Tensor], scale: Callable[[Tensor], Tensor] = lambda w: w
) -> Tensor:
    """The x part of all gates of all words at once, gate-major over all modalities: [P, 4H].

    ``scale`` is applied to the weights and biases first.
    """
    gates = []
    for m, x in rows.items():
        linear = W[m]
        assert isinstance(linear, nn.Linear)
        gates.append(F.linear(x, scale(linear.weight), scale(linear.bias)).unflatten(1, (4, -1)))
    return torch.cat(gates, dim=2).flatten(1)


def join_recurrence(U: nn.ParameterDict, V: nn.ParameterDict, modalities: Iterable[str]) -> Tensor:
    """All U (no modality reads another's h) and V (all read z) as one matrix [H+Z, 4H]."""
    # By name: a ParameterDict does not keep the order it was given.
    own = [U[m].unflatten(0, (4, -1)) for m in modalities]
    fused = [V[m].unflatten(0, (4, -1)) for m in modalities]
    blocks = torch.cat([torch.block_diag(*(u[gate] for u in own)) for gate in range(4)])  # [4H, H]
    return torch.cat([blocks, torch.cat(fused, dim=1).flatten(0, 1)], dim=1).T


def unroll(
    x: Tensor, sizes: list[int], R: Tensor, fuse: Callable[[Tensor], Tensor] | None
) -> Tensor:
    """Word after word: the states [h_T | z_T] at the end of each sequence, longest first [B, H+Z].

    Parameters
    ----------
    x : [P, 4H] of ``project_words``.
    R : [H+Z, 4H] of ``join_recurrence``.
    fuse : h_t [b, H] -> z_t [b, Z]; None = there is no z.
    """
    H = R.shape[1] // 4
    hz, c = x.new_zeros(sizes[0], len(R)), x.new_zeros(sizes[0], H)
    finished: list[Tensor] = []
    for b, gates in zip(sizes, x.split(sizes), strict=True):
        if b < len(hz):
            finished.append(hz[b:])
            hz, c = hz[:b], c[:b]
        h, c = lstm_cell(torch.addmm(gates, hz, R), c)
        hz = h if fuse is None else torch.cat([h, fuse(h)], dim=1)
    return torch.cat([hz, *reversed(finished)])


def lstm_cell(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """One LSTM step from summed gate inputs [..., 4H] (f, i, o, c̄) and cell [..., H]: h and c."""
    H = gates.shape[-1] // 4
    f, i, o = torch.sigmoid(gates[..., : 3 * H]).chunk(3, dim=-1)
    c = f * c + i * torch.tanh(gates[..., 3 * H :])
    return o * torch.tanh(c), c


def square(size: int) -> nn.Parameter:
    """Four recurrent blocks [4 size, size], each orthogonal."""
    return nn.Parameter(torch.cat([nn.init.orthogonal_(torch.empty(size, size)) for _ in range(4)]))


def reset_gates(gates: nn.Module, size: int, forget_bias: float) -> None:
    """Draw the input weights and biases of four gates as torch's LSTM does."""
    assert isinstance(gates, nn.Linear)
    with torch.no_grad():
        gates.weight.uniform_(-(size**-0.5), size**-0.5)
        gates.bias.uniform_(-(size**-0.5), size**-0.5)
        gates.bias[:size] += forget_bias


def make_head(read: int, hidden: int, outputs: int, dropout: float) -> nn.Sequential:
    """The network at the end of RMFN, MARN and MFN: [B, read] -> [B, outputs]."""
    return nn.Sequential(
        nn.Linear(read, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, outputs)
    )


def _uniform(shape: tuple[int, int], size: int) -> nn.Parameter:
    """torch's own draw for an LSTM of ``size`` units."""
    return nn.Parameter(torch.empty(shape).uniform_(-(size**-0.5), size**-0.5))
