"""Training: one loop, and several models of it averaged."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from pipeline.sequence import AlignedSequence
from rmfn.corpora import split_videos
from rmfn.data import Example, Scaler, collate, fit_scaler, shuffled_batches
from rmfn.model import RMFN, RMFNConfig

VALIDATION_PARTS = 6  # one part in so many of the videos says when to stop


@dataclass(frozen=True)
class TrainSettings:
    """How a model is fitted.

    Attributes
    ----------
    epochs : at most this many passes over the training set.
    patience : stop after this many epochs without a better validation loss.
    batch : sequences a step.
    lr, weight_decay : of AdamW.
    plateau : halve the learning rate after this many epochs without a better validation loss;
        None = never.
    max_norm : gradients are scaled down to this norm.
    """

    epochs: int = 40
    patience: int = 8
    batch: int = 32
    lr: float = 1e-3
    weight_decay: float = 1e-2
    plateau: int | None = None
    max_norm: float = 1.0


@dataclass(frozen=True)
class Epoch:
    """One line of a training's history: mean absolute errors in the units of the labels."""

    number: int
    train_mae: float
    valid_mae: float


@dataclass(frozen=True)
class Fitted:
    """A trained model, in evaluation mode, as it was at its best epoch."""

    model: RMFN
    label_mean: Tensor
    label_std: Tensor
    history: tuple[Epoch, ...] = field(default=())

    def predict(self, examples: Sequence[Example]) -> Tensor:
        """Predictions [n, outputs] in the units of the labels."""
        return predict(self.model, examples) * self.label_std + self.label_mean


def fit(
    config: RMFNConfig,
    settings: TrainSettings,
    training: Sequence[Example],
    validation: Sequence[Example],
    seed: int,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Fitted:
    """Train one model; the same seed gives the same model on the same CPU and thread count.

    The loss is L1 on labels scaled to mean 0 and standard deviation 1 (over ``training``); the
    weights kept are those of the epoch with the lowest validation error.

    Parameters
    ----------
    on_epoch : called after every epoch, for progress; what it raises stops the training.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = torch.stack([example.labels for example in training])
    mean, std = labels.mean(0), labels.std(0, unbiased=False).clamp_min(1e-6)
    target = torch.stack([example.labels for example in validation])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = RMFN(config)
        optimiser = torch.optim.AdamW(
            model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay
        )
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimiser, factor=0.5, patience=settings.plateau or settings.epochs
        )
        best, best_at, kept = math.inf, 0, model.state_dict()
        history: list[Epoch] = []
        for number in range(1, settings.epochs + 1):
            model.train()
            total = 0.0
            for batch in shuffled_batches(training, settings.batch, generator):
                optimiser.zero_grad()
                error = model(batch.features, batch.lengths) - (batch.labels - mean) / std
                error.abs().mean().backward()
                nn.utils.clip_grad_norm_(model.parameters(), settings.max_norm)
                optimiser.step()
                total += float((error.detach() * std).abs().mean(1).sum())
            valid = float((predict(model, validation) * std + mean - target).abs().mean())
            history.append(Epoch(number, total / len(training), valid))
            if on_epoch is not None:
                on_epoch(history[-1])
            if valid < best:
                best, best_at = valid, number
                kept = {name: value.clone() for name, value in model.state_dict().items()}
            elif number - best_at >= settings.patience:
                break
            plateau.step(valid)
    model.load_state_dict(kept)
    return Fitted(model.eval(), mean, std, tuple(history))


@torch.inference_mode()
def predict(model: RMFN, examples: Sequence[Example], batch: int = 64) -> Tensor:
    """What the model says of each example [n, outputs]; similar lengths are run together."""
    model.eval()
    order = sorted(range(len(examples)), key=lambda n: len(examples[n]))
    out = torch.empty(len(examples), model.config.outputs)
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        part = collate([examples[n] for n in rows])
        out[rows] = model(part.features, part.lengths)
    return out


@dataclass(frozen=True)
class Ensemble:
    """Models of different seeds that see the same columns on the same scale.

    Attributes
    ----------
    held_out : for each member, the videos on which its training was stopped.
    """

    scaler: Scaler
    members: tuple[Fitted, ...]
    held_out: tuple[tuple[str, ...], ...] = ()

    def predict_each(self, sequences: Sequence[AlignedSequence]) -> Tensor:
        """Every member's predictions [members, n, outputs] in the units of the labels."""
        examples = [self.scaler(sequence) for sequence in sequences]
        return torch.stack([member.predict(examples) for member in self.members])


def fit_ensemble(
    config: RMFNConfig,
    settings: TrainSettings,
    columns: dict[str, tuple[str, ...]],
    sequences: Sequence[AlignedSequence],
    labels: Sequence[Sequence[float]],
    videos: Sequence[str],
    seeds: Sequence[int],
    on_epoch: Callable[[int, Epoch], None] | None = None,
) -> Ensemble:
    """Train one model a seed; each stops on other videos, so that together they learn from all.

    Parameters
    ----------
    labels : [n, outputs]
    videos : [n]; a sixth of them, or one if they are few, is a member's validation set.
    on_epoch : called with the member's place and the epoch.

    Raises
    ------
    DatasetError : there is only one video.
    """
    scaler = fit_scaler(sequences, columns)
    examples = [scaler(sequence, row) for sequence, row in zip(sequences, labels, strict=True)]
    members, held_out = [], []
    parts = max(2, min(VALIDATION_PARTS, len(set(videos))))
    for place, seed in enumerate(seeds):
        inside = split_videos(videos, parts, seed)[0]
        outside = sorted(set(range(len(videos))) - set(inside))
        members.append(
            fit(
                config,
                settings,
                [examples[n] for n in outside],
                [examples[n] for n in inside],
                seed,
                None if on_epoch is None else partial(on_epoch, place),
            )
        )
        held_out.append(tuple(sorted({videos[n] for n in inside})))
    return Ensemble(scaler, tuple(members), tuple(held_out))
