"""Training: one loop, and several models of it averaged."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.errors import DatasetError
from pipeline.sequence import AlignedSequence
from rmfn.data import Example, Scaler, collate, drop_modalities, fit_scaler, shuffled_batches
from rmfn.dataset import Target
from rmfn.runs import Run, Saved
from rmfn.tasks import compute_loss, count_outputs, decode, fit_scale, lay_out, score_target

Network = Callable[[], nn.Module]  # a new one with drawn weights


@dataclass(frozen=True)
class TrainSettings:
    """How a model is fitted.

    Attributes
    ----------
    epochs : at most this many passes over the training set.
    patience : stop after this many epochs without a better validation loss.
    batch : sequences a step.
    lr, weight_decay : of AdamW.
    schedule : of the learning rate. "none"; "plateau": halved after ``plateau`` epochs without a
        better validation loss; "cosine": from ``lr`` down to 0 over ``epochs``.
    plateau : see ``schedule``.
    max_norm : gradients are scaled down to this norm.
    modality_dropout : while training, a sequence's modality is as if it were missing with this
        probability; one always stays.
    precision : "bf16" runs the matrix products in bfloat16 (autocast); weights stay float32.
    device : "auto" is CUDA where there is one.
    """

    epochs: int = 40
    patience: int = 8
    batch: int = 32
    lr: float = 1e-3
    weight_decay: float = 1e-2
    schedule: Literal["none", "plateau", "cosine"] = "none"
    plateau: int = 3
    max_norm: float = 1.0
    modality_dropout: float = 0.0
    precision: Literal["float32", "bf16"] = "float32"
    device: str = field(default="auto", compare=False)

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1:
            raise ValueError(
                f"epochs and batch must be at least 1, got {self.epochs} and {self.batch}"
            )
        if not 0 <= self.modality_dropout < 1:
            raise ValueError(
                f"modality_dropout must be from 0 to below 1, got {self.modality_dropout}"
            )


@dataclass(frozen=True)
class Epoch:
    """One line of a training's history.

    Attributes
    ----------
    number : from 1.
    lr : with which it was run.
    train_loss, valid_loss : on standardised labels; the lowest ``valid_loss`` is kept.
    scores : on the validation set, {"<target> mae" or "<target> accuracy": value}, label units.
    """

    number: int
    lr: float
    train_loss: float
    valid_loss: float
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Fitted:
    """A trained model, in evaluation mode, as it was at its best epoch.

    Attributes
    ----------
    label_mean, label_std : [T] of the training labels; 0 and 1 for classes.
    """

    model: nn.Module
    targets: tuple[Target, ...]
    label_mean: Tensor
    label_std: Tensor
    history: tuple[Epoch, ...] = field(default=())

    def predict(self, examples: Sequence[Example]) -> Tensor:
        """Decoded predictions [n, C]: label units of regressions, probabilities of classes."""
        raw = predict(self.model, examples, count_outputs(self.targets))
        return decode(raw, self.targets, self.label_mean, self.label_std)


def fit(
    network: Network,
    targets: Sequence[Target],
    settings: TrainSettings,
    training: Sequence[Example],
    validation: Sequence[Example],
    seed: int,
    weights: Sequence[float] | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    saved: Saved | None = None,
) -> Fitted:
    """Train one model; the same seed gives the same model on the same CPU and thread count.

    The weights kept are those of the epoch with the lowest validation loss.

    Parameters
    ----------
    network : constructs the model; its weights are drawn here, from ``seed``.
    weights : of the targets' losses; by default all alike.
    on_epoch : called after every epoch, for progress; what it raises stops the training.
    saved : where the state is kept after every epoch. If one is there the training goes on from it
        and gives exactly the weights that it would have given undisturbed.

    Raises
    ------
    DatasetError : no label to learn from or to stop on.
    ValueError : the loss became infinite or undefined.
    OSError : the state cannot be written.
    """
    labels = torch.stack([example.labels for example in training])
    truth = torch.stack([example.labels for example in validation])
    for name, part in (("learn from", labels), ("stop on", truth)):
        if part.isnan().all():
            raise DatasetError(f"there is no label to {name}")
    mean, std = fit_scale(labels, targets)
    weighed = torch.ones(len(targets)) if weights is None else torch.tensor(weights).float()
    device = find_device(settings.device)
    place = (mean.to(device), std.to(device), weighed.to(device))
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        run = _start(network().to(device), settings, seed)
        if saved is not None and (before := saved.load()) is not None:
            run.restore(*before)
            if on_epoch is not None:
                on_epoch(run.history[-1])
        while not run.ended(settings):
            lr = run.optimiser.param_groups[0]["lr"]
            train_loss = _run_epoch(run, targets, settings, training, place)
            raw = predict(run.model, validation, count_outputs(targets))
            valid_loss = float(compute_loss(raw, truth, targets, mean, std, weighed))
            number = len(run.history) + 1
            if not math.isfinite(train_loss + valid_loss):
                raise ValueError(
                    f"the loss became {train_loss + valid_loss} in epoch {number}; "
                    f"try a learning rate below {lr:g}"
                )
            scores = _name_scores(decode(raw, targets, mean, std), truth, targets)
            run.add(Epoch(number, lr, train_loss, valid_loss, scores))
            if saved is not None:
                saved.save(*run.dump())
            if on_epoch is not None:
                on_epoch(run.history[-1])
    run.model.load_state_dict(run.kept)
    model = run.model.cpu().eval()
    return Fitted(model, tuple(targets), mean, std, tuple(run.history))


def find_device(name: str) -> torch.device:
    """A device by its name; "auto" is CUDA where there is one, else the CPU.

    Raises
    ------
    ValueError : no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as e:
        raise ValueError(f"no device {name!r}: expected auto, cpu or cuda") from e
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("there is no CUDA device here; use the device cpu or auto")
    return device


@dataclass
class _Running:
    """All of a training that changes from epoch to epoch."""

    model: nn.Module
    optimiser: torch.optim.Optimizer
    schedule: Any
    generator: torch.Generator
    kept: dict[str, Tensor]
    history: list[Epoch] = field(default_factory=list)

    @property
    def best(self) -> Epoch | None:
        return min(self.history, key=lambda epoch: epoch.valid_loss, default=None)

    def ended(self, settings: TrainSettings) -> bool:
        number, best = len(self.history), self.best
        late = best is not None and number - best.number >= settings.patience
        return late or number >= settings.epochs

    def add(self, epoch: Epoch) -> None:
        self.history.append(epoch)
        if self.best is epoch:
            self.kept = {name: value.clone() for name, value in self.model.state_dict().items()}
        if isinstance(self.schedule, torch.optim.lr_scheduler.ReduceLROnPlateau):
            self.schedule.step(epoch.valid_loss)
        elif self.schedule is not None:
            self.schedule.step()

    def dump(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything, as tensors and as what JSON can say."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"kept.{name}": value for name, value in self.kept.items()}
        state = self.optimiser.state_dict()
        for place, moments in state["state"].items():
            tensors |= {f"optimiser.{place}.{name}": value for name, value in moments.items()}
        tensors["dice.batches"] = self.generator.get_state()
        tensors["dice.cpu"] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors["dice.cuda"] = torch.cuda.get_rng_state()
        return {name: value.clone() for name, value in tensors.items()}, {
            "history": [asdict(epoch) for epoch in self.history],
            "groups": state["param_groups"],
            "schedule": None if self.schedule is None else self.schedule.state_dict(),
        }

    def restore(self, tensors: dict[str, Tensor], said: dict[str, Any]) -> None:
        device = next(self.model.parameters()).device
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "kept": {}, "optimiser": {}, "dice": {}}
        for key, value in tensors.items():
            part, _, name = key.partition(".")
            parts[part][name] = value
        self.model.load_state_dict(parts["model"])
        self.kept = {name: value.to(device) for name, value in parts["kept"].items()}
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in parts["optimiser"].items():
            place, _, name = key.partition(".")
            moments.setdefault(int(place), {})[name] = value
        self.optimiser.load_state_dict({"state": moments, "param_groups": said["groups"]})
        if self.schedule is not None:
            self.schedule.load_state_dict(said["schedule"])
        self.generator.set_state(parts["dice"]["batches"])
        torch.set_rng_state(parts["dice"]["cpu"])
        if "cuda" in parts["dice"] and torch.cuda.is_available():
            torch.cuda.set_rng_state(parts["dice"]["cuda"])
        self.history = [Epoch(**line) for line in said["history"]]


def _start(model: nn.Module, settings: TrainSettings, seed: int) -> _Running:
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay
    )
    schedule: Any = None
    if settings.schedule == "plateau":
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimiser, factor=0.5, patience=settings.plateau
        )
    elif settings.schedule == "cosine":
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.epochs)
    generator = torch.Generator().manual_seed(seed)
    return _Running(model, optimiser, schedule, generator, model.state_dict())


def _run_epoch(
    run: _Running,
    targets: Sequence[Target],
    settings: TrainSettings,
    training: Sequence[Example],
    place: tuple[Tensor, Tensor, Tensor],
) -> float:
    """One pass over the training set. Returns the mean loss."""
    run.model.train()
    total, count = 0.0, 0
    for batch in shuffled_batches(training, settings.batch, run.generator):
        if settings.modality_dropout:
            batch = drop_modalities(batch, settings.modality_dropout, run.generator)
        if batch.labels.isnan().all():
            continue
        run.optimiser.zero_grad()
        device = place[0].device
        batch = batch.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
            raw = run.model(batch.features, batch.lengths)
        loss = compute_loss(raw, batch.labels, targets, *place)
        loss.backward()
        nn.utils.clip_grad_norm_(run.model.parameters(), settings.max_norm)
        run.optimiser.step()
        total += float(loss.detach()) * len(batch.lengths)
        count += len(batch.lengths)
    return total / count


def _name_scores(decoded: Tensor, truth: Tensor, targets: Sequence[Target]) -> dict[str, float]:
    """The metric that people follow, of each target that has labels."""
    scores = {}
    for n, (target, part) in enumerate(zip(targets, lay_out(targets), strict=True)):
        metric = "mae" if target.kind == "regression" else "accuracy"
        labels = truth[:, n].double().numpy()
        if not np.isnan(labels).all():
            found = score_target(decoded[:, part].double().numpy(), labels, target)
            scores[f"{target.name} {metric}"] = found[metric]
    return scores


@torch.inference_mode()
def predict(model: nn.Module, examples: Sequence[Example], outputs: int, batch: int = 64) -> Tensor:
    """What the network puts out for each example [n, C]; similar lengths are run together."""
    model.eval()
    device = next(model.parameters()).device
    order = sorted(range(len(examples)), key=lambda n: len(examples[n]))
    out = torch.empty(len(examples), outputs)
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        part = collate([examples[n] for n in rows]).to(device)
        out[rows] = model(part.features, part.lengths).float().cpu()
    return out


@dataclass(frozen=True)
class Ensemble:
    """Models of different seeds that see the same columns on the same scale."""

    scaler: Scaler
    members: tuple[Fitted, ...]

    def predict_each(self, sequences: Sequence[AlignedSequence]) -> Tensor:
        """Every member's decoded predictions [members, n, C]."""
        examples = [self.scaler(sequence) for sequence in sequences]
        return torch.stack([member.predict(examples) for member in self.members])


def fit_ensemble(
    network: Network,
    targets: Sequence[Target],
    settings: TrainSettings,
    columns: dict[str, tuple[str, ...]],
    sequences: Sequence[AlignedSequence],
    labels: Sequence[Sequence[float]] | np.ndarray,
    parts: Sequence[tuple[Sequence[int], Sequence[int]]],
    seeds: Sequence[int],
    weights: Sequence[float] | None = None,
    on_epoch: Callable[[int, Epoch], None] | None = None,
    run: Run | None = None,
    name: str = "model",
) -> Ensemble:
    """Train one model a seed.

    Parameters
    ----------
    labels : [n, T]
    parts : for each seed the places it learns from, and those it stops on. The columns' scale is
        that of all places that any learns from.
    on_epoch : called with the member's place and the epoch.
    run, name : where states and curves are kept, and under which name.
    """
    learned = sorted({n for training, _ in parts for n in training})
    scaler = fit_scaler([sequences[n] for n in learned], columns)
    examples = [scaler(sequence, row) for sequence, row in zip(sequences, labels, strict=True)]
    members = [
        fit(
            network,
            targets,
            settings,
            [examples[n] for n in training],
            [examples[n] for n in validation],
            seed,
            weights,
            None if on_epoch is None else partial(on_epoch, place),
            None if run is None else run.training(f"{name}-seed{seed}"),
        )
        for place, (seed, (training, validation)) in enumerate(zip(seeds, parts, strict=True))
    ]
    return Ensemble(scaler, tuple(members))
