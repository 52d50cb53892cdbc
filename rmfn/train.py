"""Training: one loop for all models (several of them averaged: ``rmfn.ensemble``)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain
from time import process_time

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.errors import DatasetError
from rmfn.data import (
    Batch,
    Example,
    collate,
    drop_modalities,
    pack_videos,
    shuffled_batches,
    shuffled_videos,
)
from rmfn.dataset import Target
from rmfn.running import Epoch, Running, TrainSettings, start_running
from rmfn.runs import Saved
from rmfn.tasks import (
    compute_loss,
    compute_losses,
    count_outputs,
    decode,
    fit_scale,
    lay_out,
    score_target,
)

Network = Callable[[], nn.Module]  # a new one with drawn weights


@dataclass(frozen=True)
class Fitted:
    """A trained model, in evaluation mode, as it was at its best epoch.

    Attributes
    ----------
    label_mean, label_std : [T] of the training labels; 0 and 1 for classes.
    seconds : of the processor, that its training took.
    """

    model: nn.Module
    targets: tuple[Target, ...]
    label_mean: Tensor
    label_std: Tensor
    history: tuple[Epoch, ...] = field(default=())
    seconds: float = field(default=0.0, compare=False)

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
    network : constructs the model; its weights are drawn here, from ``seed``. A model may have

        * ``learn(training, validation, targets, mean, std, seed)``: it learns by itself, from two
          batches of all examples with labels in their own units, and there is no loop;
        * ``reads_videos``: it is called with the batch's videos too, whole ones in order;
        * ``refine(training)``: called when the loop has ended, with the best weights, on a batch of
          all examples; then the loop runs once more;
        * ``surrogate(losses [B])``: a number to add to the loss of the batch just run, for what
          has no gradient.
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
    weighed = torch.ones(len(targets)) if weights is None else torch.tensor(weights).float()
    goal = _Goal(tuple(targets), *fit_scale(labels, targets), weighed)
    device = find_device(settings.device)
    devices = [device] if device.type == "cuda" else []
    began = process_time()
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        model = network()
        if callable(learn := getattr(model, "learn", None)):
            learn = partial(learn, seed=seed)
            history = _learn(model, learn, goal, training, validation, on_epoch, saved)
        else:
            run = start_running(model.to(device), settings, seed)
            history = _descend(run, goal, settings, training, validation, on_epoch, saved)
            model.load_state_dict(run.kept)
    seconds = process_time() - began
    return Fitted(model.cpu().eval(), goal.targets, goal.mean, goal.std, tuple(history), seconds)


@dataclass(frozen=True)
class _Goal:
    """What the labels are on the model's scale: mean, std and weights [T] of the targets."""

    targets: tuple[Target, ...]
    mean: Tensor
    std: Tensor
    weights: Tensor

    def to(self, device: torch.device) -> _Goal:
        parts = (self.mean.to(device), self.std.to(device), self.weights.to(device))
        return _Goal(self.targets, *parts)

    def measure(self, raw: Tensor, labels: Tensor) -> Tensor:
        return compute_loss(raw, labels, self.targets, self.mean, self.std, self.weights)

    def measure_each(self, raw: Tensor, labels: Tensor) -> Tensor:
        return compute_losses(raw, labels, self.targets, self.mean, self.std, self.weights)

    def score(self, raw: Tensor, truth: Tensor) -> dict[str, float]:
        """The metric that people follow, of each target that has labels."""
        decoded, scores = decode(raw, self.targets, self.mean, self.std), {}
        for n, (target, part) in enumerate(zip(self.targets, lay_out(self.targets), strict=True)):
            metric = "mae" if target.kind == "regression" else "accuracy"
            labels = truth[:, n].double().numpy()
            if not np.isnan(labels).all():
                found = score_target(decoded[:, part].double().numpy(), labels, target)
                scores[f"{target.name} {metric}"] = found[metric]
        return scores


def _learn(
    model: nn.Module,
    learn: Callable[..., None],
    goal: _Goal,
    training: Sequence[Example],
    validation: Sequence[Example],
    on_epoch: Callable[[Epoch], None] | None,
    saved: Saved | None,
) -> list[Epoch]:
    """A model that learns by itself, at once: its history is one epoch."""
    if saved is not None and (before := saved.load()) is not None:
        model.load_state_dict(before[0])
        epoch = Epoch(**before[1]["history"][0])
    else:
        seen = collate(training), collate(validation)
        learn(*seen, goal.targets, goal.mean, goal.std)
        outputs = count_outputs(goal.targets)
        found = [predict(model, part, outputs) for part in (training, validation)]
        losses = [goal.measure(raw, part.labels) for raw, part in zip(found, seen, strict=True)]
        train_loss, valid_loss = map(float, losses)
        if not math.isfinite(train_loss + valid_loss):
            raise ValueError(f"the loss became {train_loss + valid_loss}")
        epoch = Epoch(1, 0.0, train_loss, valid_loss, goal.score(found[1], seen[1].labels))
        if saved is not None:
            saved.save(model.state_dict(), {"history": [asdict(epoch)]})
    if on_epoch is not None:
        on_epoch(epoch)
    return [epoch]


def _descend(
    run: Running,
    goal: _Goal,
    settings: TrainSettings,
    training: Sequence[Example],
    validation: Sequence[Example],
    on_epoch: Callable[[Epoch], None] | None,
    saved: Saved | None,
) -> list[Epoch]:
    """The loop, twice if the model is to ``refine`` in between; the best weights are kept."""
    if saved is not None and (before := saved.load()) is not None:
        run.restore(*before)
        if on_epoch is not None:
            on_epoch(run.history[-1])
    device = next(run.model.parameters()).device
    truth = torch.stack([example.labels for example in validation])
    while True:
        while not run.ended(settings):
            lr = run.optimiser.param_groups[0]["lr"]
            train_loss = _run_epoch(run, goal.to(device), settings, training)
            raw = predict(run.model, validation, count_outputs(goal.targets))
            valid_loss = float(goal.measure(raw, truth))
            number = len(run.history) + 1
            if not math.isfinite(train_loss + valid_loss):
                if saved is not None:
                    saved.drop()
                raise ValueError(
                    f"the loss became {train_loss + valid_loss} in epoch {number}; "
                    f"try a learning rate below {lr:g}"
                )
            run.add(Epoch(number, lr, train_loss, valid_loss, goal.score(raw, truth)))
            if saved is not None:
                saved.save(*run.dump())
            if on_epoch is not None:
                on_epoch(run.history[-1])
        refine = getattr(run.model, "refine", None)
        if run.began or not callable(refine):
            return run.history
        run.model.load_state_dict(run.kept)
        refine(collate(training).to(device))
        run.begin_again(settings)


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


def _run_epoch(
    run: Running, goal: _Goal, settings: TrainSettings, training: Sequence[Example]
) -> float:
    """One pass over the training set. Returns the mean loss."""
    run.model.train()
    total, count = 0.0, 0
    shuffle = shuffled_videos if _reads_videos(run.model) else shuffled_batches
    for batch in shuffle(training, settings.batch, run.generator):
        if settings.modality_dropout:
            batch = drop_modalities(batch, settings.modality_dropout, run.generator)
        if batch.labels.isnan().all():
            continue
        run.optimiser.zero_grad()
        device = goal.mean.device
        batch = batch.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
            raw = _call(run.model, batch)
        loss = goal.measure(raw, batch.labels)
        total += float(loss.detach()) * len(batch.lengths)
        count += len(batch.lengths)
        if callable(surrogate := getattr(run.model, "surrogate", None)):
            loss = loss + surrogate(goal.measure_each(raw, batch.labels).detach())
        loss.backward()
        nn.utils.clip_grad_norm_(run.model.parameters(), settings.max_norm)
        run.optimiser.step()
    return total / count


def _reads_videos(model: nn.Module) -> bool:
    return getattr(model, "reads_videos", False)


def _call(model: nn.Module, batch: Batch) -> Tensor:
    """What the network puts out for a batch [B, C]."""
    if _reads_videos(model):
        return model(batch.features, batch.lengths, batch.videos)
    return model(batch.features, batch.lengths)


@torch.inference_mode()
def predict(model: nn.Module, examples: Sequence[Example], outputs: int, batch: int = 64) -> Tensor:
    """What the network puts out for each example [n, C]; similar lengths are run together, or whole
    videos by a model that reads those."""
    model.eval()
    place = next(chain(model.parameters(), model.buffers()), None)
    if _reads_videos(model):
        batches = pack_videos(examples, batch)
    else:
        order = sorted(range(len(examples)), key=lambda n: len(examples[n]))
        batches = [order[start : start + batch] for start in range(0, len(order), batch)]
    out = torch.empty(len(examples), outputs)
    for rows in batches:
        part = collate([examples[n] for n in rows])
        part = part if place is None else part.to(place.device)
        out[rows] = _call(model, part).float().cpu()
    return out
