"""One training while it runs: its settings, all that changes from epoch to epoch, and how both are
kept so that a killed training goes on to the same weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn


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
    trim : columns are scaled by their values without this share of the lowest and of the highest
        ones (``rmfn.data.fit_scaler``).
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
    trim: float = 0.0
    precision: Literal["float32", "bf16"] = "float32"
    device: str = field(default="auto", compare=False)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "patience"):
            if (value := getattr(self, name)) < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        for name in ("lr", "max_norm"):
            if not (value := getattr(self, name)) > 0:  # nor is NaN
                raise ValueError(f"{name} must be above 0, got {value}")
        for name in ("weight_decay", "plateau"):
            if not (value := getattr(self, name)) >= 0:
                raise ValueError(f"{name} must be at least 0, got {value}")
        if not 0 <= self.modality_dropout < 1:
            raise ValueError(
                f"modality_dropout must be from 0 to below 1, got {self.modality_dropout}"
            )
        if not 0 <= self.trim < 0.5:
            raise ValueError(f"trim must be from 0 to below 0.5, got {self.trim}")


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


@dataclass
class Running:
    """All of a training that changes from epoch to epoch.

    Attributes
    ----------
    kept : the weights of the best epoch of this run of the loop.
    history : every epoch, those of an earlier run of the loop first.
    began : how many those are; 0 the first time.
    """

    model: nn.Module
    optimiser: torch.optim.Optimizer
    schedule: Any
    generator: torch.Generator
    kept: dict[str, Tensor]
    history: list[Epoch] = field(default_factory=list)
    began: int = 0

    @property
    def best(self) -> Epoch | None:
        return min(self.history[self.began :], key=lambda epoch: epoch.valid_loss, default=None)

    def ended(self, settings: TrainSettings) -> bool:
        number, best = len(self.history), self.best
        late = best is not None and number - best.number >= settings.patience
        return late or number - self.began >= settings.epochs

    def add(self, epoch: Epoch) -> None:
        self.history.append(epoch)
        if self.best is epoch:
            self.kept = {name: value.clone() for name, value in self.model.state_dict().items()}
        if isinstance(self.schedule, torch.optim.lr_scheduler.ReduceLROnPlateau):
            self.schedule.step(epoch.valid_loss)
        elif self.schedule is not None:
            self.schedule.step()

    def begin_again(self, settings: TrainSettings) -> None:
        """Another run of the loop, from the weights that the model has now."""
        self.optimiser, self.schedule = make_optimiser(self.model, settings)
        self.kept = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.began = len(self.history)

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
            "began": self.began,
            "groups": state["param_groups"],
            "schedule": None if self.schedule is None else self.schedule.state_dict(),
        }

    def restore(self, tensors: dict[str, Tensor], said: dict[str, Any]) -> None:
        """Go on from what `dump` gave."""
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
        self.began = said.get("began", 0)


def start_running(model: nn.Module, settings: TrainSettings, seed: int) -> Running:
    """A training before its first epoch."""
    generator = torch.Generator().manual_seed(seed)
    return Running(model, *make_optimiser(model, settings), generator, model.state_dict())


def make_optimiser(
    model: nn.Module, settings: TrainSettings
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler | None]:
    """AdamW, and the schedule of its rate if there is one."""
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay
    )
    if settings.schedule == "plateau":
        return optimiser, torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimiser, factor=0.5, patience=settings.plateau
        )
    if settings.schedule == "cosine":
        return optimiser, torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.epochs)
    return optimiser, None
