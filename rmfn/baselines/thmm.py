"""THMM: a hidden Markov model over all modalities' features for every class, the likeliest wins.

Morency, Mihalcea & Doshi, Towards multimodal sentiment analysis: harvesting opinions from the web,
ICMI 2011: tri-modal HMMs. Each class has one, with Gaussian emissions of diagonal covariance,
learnt by Baum-Welch (hmmlearn) from the sequences of that class; a sequence is of the class whose
model and prior make it most probable. What is decided here:

* The features of a word, side by side, are first turned onto their ``components`` main directions
  (principal components over the training words). A diagonal Gaussian of several hundred correlated
  features would count the same evidence many times, and of the few words of a class it would not
  find the variances.
* Words in a row are not independent given the state, so likelihoods of whole sequences are far too
  sure. They are raised to a power, one of ``POWERS``, before the prior counts. That power and the
  number of states are those with the lowest loss on the validation set.
* A regression is cut into levels (``rmfn.baselines.levels``).
* A class with too few words for as many states has one Gaussian: its mean, and the variance of all
  words. Moves never seen are rare, not impossible. A class without any segment is improbable a
  priori (Laplace's rule of succession).

All that was learnt are buffers; the sums over paths are those of ``rmfn.baselines.chain``. Several
targets have nothing but the components in common.

Letters: B sequences, P words of the whole batch, L labels of all targets, S states, D components.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from rmfn.baselines.chain import sum_paths
from rmfn.baselines.levels import assign_labels, count_labels, make_centres, read_out
from rmfn.data import Batch
from rmfn.dataset import Target
from rmfn.lsthm import Packed, pack
from rmfn.tasks import compute_loss

POWERS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)  # of a sequence's likelihood
RAREST = 1e-6  # probability of a move or a start never seen
NARROWEST = 0.01  # variance of a state's component; the features' are 1
FEWEST = 5  # words a state, else a class has one Gaussian
ROUNDS = 30  # of Baum-Welch, at most


@dataclass(frozen=True)
class THMMConfig:
    """Sizes.

    Attributes
    ----------
    inputs : features a word of each modality, {modality: d_m}.
    hidden : not read.
    outputs, classes : what is predicted; ``classes`` of each target, 0 for a regression.
    states : numbers of states tried.
    components : D at most, principal components of the features.
    levels : labels that a regression is cut into.
    """

    inputs: dict[str, int]
    hidden: dict[str, int]
    outputs: int = 1
    classes: tuple[int, ...] = (0,)
    states: tuple[int, ...] = (1, 2, 4)
    components: int = 24
    levels: int = 5


@dataclass(frozen=True)
class HMMs:
    """Hidden Markov models of labels; float64.

    Attributes
    ----------
    start : [L, S] log-probabilities.
    moves : [L, S, S] log-probabilities, from a state to the next.
    means, variances : [L, S, D] of the emissions.
    """

    start: Tensor
    moves: Tensor
    means: Tensor
    variances: Tensor


class THMM(nn.Module):
    """``model(features, lengths)``: words in, one prediction a sequence out [B, outputs].

    It learns by ``learn``, not by gradients.
    """

    start: Tensor
    moves: Tensor
    means: Tensor
    variances: Tensor
    prior: Tensor
    power: Tensor
    directions: Tensor
    centres: Tensor

    def __init__(self, config: THMMConfig):
        super().__init__()
        self.config = config
        features = sum(config.inputs.values())
        L = sum(count_labels(config.classes, config.outputs, config.levels))
        S, D = max(config.states), min(config.components, features)
        flat = torch.zeros(L, S, D, dtype=torch.float64)
        # Before it has learnt, all labels are alike.
        self.register_buffer("directions", torch.eye(features, D, dtype=torch.float64))
        self.register_buffer("start", flat[:, :, 0] - math.log(S))
        self.register_buffer("moves", torch.zeros(L, S, S, dtype=torch.float64) - math.log(S))
        self.register_buffer("means", flat)
        self.register_buffer("variances", flat + 1)
        self.register_buffer("prior", flat[:, 0, 0].clone())
        self.register_buffer("power", flat[:, 0, 0] + 1)
        self.register_buffer("centres", make_centres(config.levels))

    def forward(self, features: dict[str, Tensor], lengths: Tensor) -> Tensor:
        """Predict; arguments as RMFN's. Of classes the outputs are log-probabilities."""
        scores = self.power * self.measure(features, lengths) + self.prior
        raw = read_out(scores, self.config.classes, self.centres)
        return raw.to(next(iter(features.values())).dtype)

    def measure(self, features: dict[str, Tensor], lengths: Tensor) -> Tensor:
        """Log-likelihood of each sequence under each label's model [B, L]."""
        words = pack(features, lengths, self.config.inputs)
        return measure(self._turn(words), words, self.read_models())

    def read_models(self) -> HMMs:
        """The models of all labels."""
        return HMMs(self.start, self.moves, self.means, self.variances)

    def learn(
        self,
        training: Batch,
        validation: Batch,
        targets: Sequence[Target],
        mean: Tensor,
        std: Tensor,
        seed: int,
    ) -> None:
        """Learn all labels' models from sequences with labels in their own units.

        Parameters
        ----------
        mean, std : [T] of the training labels.
        """
        config = self.config
        words = pack(training.features, training.lengths, config.inputs)
        x = _join(words)
        # The features are centred already; those of a modality that is missing are 0, its mean.
        _, directions = torch.linalg.eigh(x.T @ x)
        self.directions.copy_(directions[:, -self.directions.shape[1] :].flip(1))
        frames = self._turn(words)
        sequences = _split(frames, words)
        seen = pack(validation.features, validation.lengths, config.inputs)
        heard = self._turn(seen)

        places = count_labels(config.classes, config.outputs, config.levels)
        for n, (target, classes) in enumerate(zip(targets, config.classes, strict=True)):
            here = slice(sum(places[:n]), sum(places[: n + 1]))
            found = assign_labels((training.labels[:, n] - mean[n]) / std[n], classes, self.centres)
            rows = [torch.nonzero(found == y)[:, 0].tolist() for y in range(places[n])]
            shares = torch.tensor([len(each) + 1.0 for each in rows], dtype=torch.float64)
            prior, best = (shares / shares.sum()).log(), math.inf
            for states in config.states:
                each = [
                    fit_hmm([sequences[i] for i in some], states, frames, seed) for some in rows
                ]
                hmms = stack(each, self.start.shape[1])
                likely = measure(heard, seen, hmms)
                for power in POWERS:
                    raw = read_out(power * likely + prior, [classes], self.centres)
                    truth, one = validation.labels[:, n, None], slice(n, n + 1)
                    loss = float(
                        compute_loss(raw, truth, [target], mean[one], std[one], torch.ones(1))
                    )
                    if loss < best:
                        best = loss
                        self._keep(here, hmms, prior, power)

    def _keep(self, here: slice, hmms: HMMs, prior: Tensor, power: float) -> None:
        self.start[here], self.moves[here] = hmms.start, hmms.moves
        self.means[here], self.variances[here] = hmms.means, hmms.variances
        self.prior[here], self.power[here] = prior, power

    def _turn(self, words: Packed) -> Tensor:
        """Components of all words [P, D], float64."""
        return _join(words) @ self.directions


def fit_hmm(sequences: Sequence[Tensor], states: int, words: Tensor, seed: int) -> HMMs:
    """Learn the model of one class (L = 1).

    Parameters
    ----------
    sequences : [N_i, D] each, of that class; there may be none.
    words : [P, D] of all classes.
    """
    rows = torch.cat([words[:0], *sequences])
    if len(rows) >= FEWEST * states:
        for implementation in ("scaling", "log"):  # the same; quick, and safe from underflow
            found = _run_baum_welch(sequences, states, implementation, seed)
            if found is not None:
                return found
    center = rows.mean(0) if len(rows) else words.mean(0)
    alike = torch.full((1, states), -math.log(states), dtype=torch.float64)
    return HMMs(
        alike,
        alike[:, None].expand(1, states, states),
        center.expand(1, states, -1),
        words.var(0, unbiased=False).clamp_min(NARROWEST).expand(1, states, -1),
    )


def _run_baum_welch(
    sequences: Sequence[Tensor], states: int, implementation: str, seed: int
) -> HMMs | None:
    """A model of sequences as hmmlearn finds it; None if it finds nothing finite."""
    from hmmlearn.hmm import GaussianHMM

    hmm = GaussianHMM(
        states, "diag", n_iter=ROUNDS, random_state=seed, implementation=implementation
    )
    try:
        with _silent():
            hmm.fit(torch.cat(list(sequences)).numpy(), [len(each) for each in sequences])
    except ValueError:
        return None
    means = torch.from_numpy(hmm.means_)
    variances = torch.from_numpy(hmm.covars_).diagonal(dim1=1, dim2=2)
    if not (means.isfinite().all() and variances.isfinite().all()):
        return None
    return HMMs(
        _floor(hmm.startprob_).log()[None],
        _floor(hmm.transmat_).log()[None],
        means[None],
        variances.clamp_min(NARROWEST)[None],
    )


def stack(models: Sequence[HMMs], states: int) -> HMMs:
    """Models side by side; those with fewer states get some in which no path ever is."""
    more = states - models[0].start.shape[1]
    start = torch.cat([each.start for each in models])
    moves = torch.cat([each.moves for each in models])
    means = torch.cat([each.means for each in models])
    variances = torch.cat([each.variances for each in models])
    return HMMs(
        F.pad(start, (0, more), value=-math.inf),
        F.pad(F.pad(moves, (0, more), value=-math.inf), (0, 0, 0, more)),
        F.pad(means, (0, 0, 0, more)),
        F.pad(variances, (0, 0, 0, more), value=1.0),
    )


def measure(x: Tensor, words: Packed, hmms: HMMs) -> Tensor:
    """Log-likelihood of each sequence under each model [B, L].

    Parameters
    ----------
    x : [P, D], where ``words`` says.
    """
    # (x - m)^2 / v for all states in two matrix products
    apart = (
        x.square() @ (1 / hmms.variances).flatten(0, 1).T
        - 2 * x @ (hmms.means / hmms.variances).flatten(0, 1).T
    ).unflatten(1, hmms.start.shape) + (hmms.means.square() / hmms.variances).sum(2)
    nodes = -0.5 * (apart + (2 * math.pi * hmms.variances).log().sum(2))
    begins = torch.zeros_like(nodes)
    begins[: words.sizes[0]] = hmms.start
    return sum_paths(nodes + begins, hmms.moves, words.sizes)[words.back]


def _join(words: Packed) -> Tensor:
    """All modalities' features side by side [P, sum of d_m], float64."""
    return torch.cat(list(words.rows.values()), dim=1).double()


def _split(x: Tensor, words: Packed) -> list[Tensor]:
    """Rows of a batch as one tensor a sequence, in the order of the batch."""
    rows = torch.cat([torch.arange(b) for b in words.sizes])
    return [x[rows == row] for row in words.back.tolist()]


def _floor(shares: NDArray[np.float64]) -> Tensor:
    """Probabilities that leave something for what was never seen [.., S]."""
    kept = torch.from_numpy(shares).clamp_min(RAREST)
    return kept / kept.sum(-1, keepdim=True)


@contextmanager
def _silent() -> Iterator[None]:
    """hmmlearn and k-means tell of classes with few words; the validation set judges them."""
    logger = logging.getLogger("hmmlearn")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
