"""Hidden conditional random fields, eight of them: chains of states that no one labelled.

Every label y of a sequence weighs all paths of a latent chain, and the label is as likely as its
paths are heavy (Quattoni, Wang, Morency, Collins & Darrell, Hidden Conditional Random Fields, IEEE
PAMI 2007):

    P(y|x) = sum_h exp(sum_t [theta(h_t).x_t + theta(y, h_t)] + sum_t theta(y, h_{t-1}, h_t)) / Z

The sum over h is exact (``rmfn.baselines.chain``); with the shared cross-entropy the loss is the
negative conditional log-likelihood. What the members of the family differ in is structure:

* **views** (Song, Morency & Davis, Multi-view latent variable discriminative models for action
  recognition, CVPR 2012): early fusion (EF) has one chain over all modalities' features side by
  side; multi-view (MV) has one chain a modality, which meet in edges. *Linked*: h_t^v - h_t^w, at
  the same frame. *Coupled* (CMV): h_{t-1}^v - h_t^w. Both are summed exactly, over the product of
  the views' states.
* **disjoint** states (LD; Morency, Quattoni & Darrell, Latent-dynamic discriminative models for
  continuous gesture recognition, CVPR 2007): no two labels share a state, theta(y, h) is minus
  infinity where h is not y's. A segment has one label here, so its chain stays in that label's
  states, and those of others need not be summed at all.
* **layers** (HSS; Song, Morency & Davis, Action recognition by hierarchical sequence summarization,
  CVPR 2013): frames in a row whose latent posteriors are alike become one, of their mean features,
  and the next layer, with weights of its own, reads the shorter sequence. Simplified: frames are
  joined where no posterior p(h_t | y, x) moves by more than ``merge`` from one to the next (in
  place of a graph segmentation with growing thresholds); a joined frame's features are plain means
  (in place of posterior-weighted outputs of a gating layer); the layers' scores log sum_h exp(..)
  of a label are added; and all layers learn together (in place of one after another). Nothing is
  learned through where frames are joined.

Regressions are levels (``rmfn.baselines.levels``). Several targets share the states and what these
read, theta(h); each target's labels have theta(y, h) and theta(y, h', h) of their own.

Letters: B sequences, P frames of the whole batch, V views, S states a view, K = S^V, Y labels of
all targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rmfn.baselines.chain import find_posteriors, sum_paths
from rmfn.baselines.levels import count_labels, make_centres, read_out
from rmfn.lsthm import Packed, pack

_EARLY: dict[str, Any] = {"views": False, "linked": False, "coupled": False}
_LINKED = {"views": True, "linked": True, "coupled": False}
_COUPLED = {"views": True, "linked": False, "coupled": True}

# The settings that make the members what their names say
FAMILY: dict[str, dict[str, Any]] = {
    "mv-hsshcrf": {**_LINKED, "disjoint": False, "layers": 3},
    "ef-hsshcrf": {**_EARLY, "disjoint": False, "layers": 3},
    "cmv-ldhcrf": {**_COUPLED, "disjoint": True, "layers": 1},
    "cmv-hcrf": {**_COUPLED, "disjoint": False, "layers": 1},
    "mv-ldhcrf": {**_LINKED, "disjoint": True, "layers": 1},
    "mv-hcrf": {**_LINKED, "disjoint": False, "layers": 1},
    "ef-ldhcrf": {**_EARLY, "disjoint": True, "layers": 1},
    "ef-hcrf": {**_EARLY, "disjoint": False, "layers": 1},
}

ALIKE = 0.001  # how far potentials of labels are from each other at first
MOST = 1024  # product states; their moves are a matrix of the square of that, for every label


@dataclass(frozen=True)
class HCRFConfig:
    """Structure and sizes.

    Attributes
    ----------
    inputs : features a frame of each modality, {modality: d_m}.
    hidden : not read; a chain has states instead.
    outputs, classes : what is predicted; ``classes`` of each target, 0 for a regression.
    views : one chain a modality, not one over all.
    linked, coupled : which edges join the views' chains.
    disjoint : every label has states of its own.
    layers : summaries of summaries; 1 = the frames themselves only.
    merge : frames whose posteriors differ by at most this become one.
    states : S; of each label if they are disjoint.
    levels : labels that a regression is cut into.
    input_dropout : of the features.
    """

    inputs: dict[str, int]
    hidden: dict[str, int]
    outputs: int = 1
    classes: tuple[int, ...] = (0,)
    views: bool = False
    linked: bool = False
    coupled: bool = False
    disjoint: bool = False
    layers: int = 1
    merge: float = 0.1
    states: int = 3
    levels: int = 5
    input_dropout: float = 0.0


class HCRF(nn.Module):
    """``model(features, lengths)``: words in, one prediction a sequence out [B, outputs]."""

    def __init__(self, config: HCRFConfig):
        super().__init__()
        self.config = config
        sizes = list(config.inputs.values())
        views = sizes if config.views else [sum(sizes)]
        if config.states ** len(views) > MOST:
            raise ValueError(
                f"{len(views)} views of {config.states} states are {config.states ** len(views)} "
                f"states together, more than {MOST}; use fewer states"
            )
        labels = sum(count_labels(config.classes, config.outputs, config.levels))
        edges = list_edges(len(views), config.linked, config.coupled)
        self.layers = nn.ModuleList(
            Chains(views, labels, config.states, edges, config.disjoint)
            for _ in range(config.layers)
        )
        self.register_buffer("centres", make_centres(config.levels))
        self.input_dropout = nn.Dropout(config.input_dropout)

    def forward(self, features: dict[str, Tensor], lengths: Tensor) -> Tensor:
        """Predict; arguments as RMFN's. Of classes the outputs are log-probabilities."""
        words = pack(features, lengths, self.config.inputs)
        dtype = next(iter(words.rows.values())).dtype
        scores = self.score({m: self.input_dropout(x) for m, x in words.rows.items()}, words)
        assert isinstance(self.centres, Tensor)
        return read_out(scores, self.config.classes, self.centres).to(dtype)

    def score(self, rows: dict[str, Tensor], words: Packed) -> Tensor:
        """log sum_h exp(..) of every label, of all layers together [B, Y]."""
        scores, last = [], len(self.layers) - 1
        for n, chains in enumerate(self.layers):
            x = list(rows.values())
            nodes, moves = chains(x if self.config.views else [torch.cat(x, dim=1)])
            scores.append(sum_paths(nodes, moves, words.sizes)[words.back])
            if n < last:
                posteriors = find_posteriors(nodes, moves, words.sizes)
                words = summarise(rows, words, posteriors, self.config.merge)
                rows = words.rows
        return torch.stack(scores).sum(0)


class Chains(nn.Module):
    """The potentials of one layer: of every label, over the product of the views' states.

    Parameters
    ----------
    views : features of each view.
    labels : Y.
    edges : of ``list_edges``.
    disjoint : every label has states of its own.
    """

    def __init__(
        self,
        views: Sequence[int],
        labels: int,
        states: int,
        edges: Sequence[tuple[int, int, int]],
        disjoint: bool,
    ):
        super().__init__()
        self.edges = tuple(edges)
        self.owners = labels if disjoint else 1
        # theta(h): states of one owner after those of another
        self.read = nn.ModuleList(nn.Linear(d, self.owners * states, bias=False) for d in views)
        # States are drawn, for alike they would stay alike. Labels begin as good as alike: what one
        # is heavier by adds up over the words, and a sequence would be sure of it before learning.
        self.label = nn.Parameter(ALIKE * torch.randn(len(views), labels, states))
        drawn = torch.randn(len(edges), 1, states, states)
        lasting = torch.tensor([float(lag and v == w) for lag, v, w in edges])
        self.edge = nn.Parameter(
            0.5 * drawn
            + lasting[:, None, None, None] * torch.eye(states)
            + ALIKE * torch.randn(len(edges), labels, states, states)
        )
        with torch.no_grad():
            for weight in self.read.parameters():
                weight.copy_(weight[:states].repeat(self.owners, 1))

    def forward(self, x: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The features of each view [P, d] -> nodes [P, Y, K] and moves [Y, K, K]."""
        V = len(x)
        # An axis for each view's state, so that what reads few of them is laid along the others.
        nodes = moves = self.edge.new_zeros((), dtype=torch.float64)
        for v, (read, rows, label) in enumerate(zip(self.read, x, self.label, strict=True)):
            state = read(rows).double().unflatten(1, (self.owners, -1)) + label.double()
            nodes = nodes + _lay(state, (v,), V)
        for (lag, v, w), table in zip(self.edges, self.edge.double(), strict=True):
            if lag:
                moves = moves + _lay(table, (v, V + w), 2 * V)
            else:
                nodes = nodes + _lay(table, (v, w), V)
        nodes = nodes.flatten(2)
        return nodes, moves.reshape(nodes.shape[1], nodes.shape[2], nodes.shape[2])


def list_edges(views: int, linked: bool, coupled: bool) -> list[tuple[int, int, int]]:
    """What a structure is: (lag, v, w) joins the state of view v, lag frames before, to that of w.

    A view's own chain is always there.
    """
    chains = [(1, v, v) for v in range(views)]
    links = [(0, v, w) for w in range(views) for v in range(w)]
    couples = [(1, v, w) for w in range(views) for v in range(views) if v != w]
    return chains + links * linked + couples * coupled


def summarise(
    rows: dict[str, Tensor], words: Packed, posteriors: Tensor, threshold: float
) -> Packed:
    """Make one frame, of mean features, of frames in a row whose posteriors are alike.

    Parameters
    ----------
    rows : {modality: [P, d_m]}, where ``words`` says.
    posteriors : [P, Y, K].
    threshold : frames between which no posterior moves by more are joined.
    """
    device, B = posteriors.device, words.sizes[0]
    sizes = torch.tensor(words.sizes)
    step = torch.arange(len(sizes)).repeat_interleave(sizes)
    row = torch.cat([torch.arange(b) for b in words.sizes])
    before = torch.arange(B, len(row)) - sizes[:-1].repeat_interleave(sizes[1:])
    moved = (posteriors[B:] - posteriors[before.to(device)]).abs().flatten(1).amax(1) > threshold
    begins = torch.zeros(len(sizes), B, dtype=torch.long)
    begins[step, row] = torch.cat([torch.ones(B, dtype=torch.bool), moved.cpu()]).long()
    groups = begins.sum(0)
    most = int(groups.max())
    back = words.back.cpu()
    place = (words.order.cpu()[row] * most + begins.cumsum(0)[step, row] - 1).to(device)
    count = torch.bincount(place, minlength=B * most).clamp_min(1)[:, None]
    means = {
        m: (x.new_zeros(B * most, x.shape[1]).index_add(0, place, x) / count).unflatten(0, (B, -1))
        for m, x in rows.items()
    }
    return pack(means, groups[back], rows)


def _lay(table: Tensor, axes: tuple[int, ...], count: int) -> Tensor:
    """Give the last axes of a table their places among ``count`` (1 elsewhere), in that order."""
    shape = [1] * count
    for axis, size in zip(axes, table.shape[-len(axes) :], strict=True):
        shape[axis] = size
    return table.reshape(*table.shape[: -len(axes)], *shape)
