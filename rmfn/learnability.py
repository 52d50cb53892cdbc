"""A task that only a model whose modalities talk to each other can learn, and a bench for it.

Language says a number at every word; sound gives one sign, and the number ``gap`` words later is
what is asked for:

    language   v_1 .. v_N         independent, standard normal
    acoustic   1 at word q, 0 elsewhere        q uniform
    label      v_{q+gap}

A model whose language LSTM hears of the sign through z needs to remember one number.

Averages cannot: the sign's average is 1/N whatever q, and given the mean of v every v_t is expected
to be that mean. So the best prediction from averages is the mean itself, with R^2 = 1/N.

Late fusion cannot: without z, language's last state is a continuous function E of v alone, from R^N
to R^H, and a prediction is a function of E(v) and of what sound says. For H < N the theorem of
Borsuk and Ulam gives on every sphere in R^N a v with E(v) = E(-v). The model must then answer the
same for v and for -v, wherever the sign stands, while the right answers are v_{q+gap} and its
opposite: one of the two is wrong by at least |v_{q+gap}|, for every q at once, whatever the weights
and the head. Only H >= N units would help. That holds for single v; how wrong a model is on average
is measured here, not proved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rmfn.baselines import build, list_settings
from rmfn.data import Batch

# The same for every model that has them.
SETTINGS: dict[str, Any] = {
    "attention_scale": "mean1",
    "fuse": 16,
    "summary": 8,
    "memory": 8,
    "forget_bias": 1.0,
}


@dataclass(frozen=True)
class Task:
    """How long and how far.

    Attributes
    ----------
    words : (least, most) of a sequence; drawn evenly.
    gap : words from the sign to the number that it asks for.
    """

    words: tuple[int, int] = (8, 10)
    gap: int = 2


@dataclass(frozen=True)
class Study:
    """How models are compared: the same sizes, steps and batches for all.

    Attributes
    ----------
    hidden : units of each modality; language's are fewer than a sequence has words.
    steps, batch, lr : of Adam, on new sequences at each step; the rate falls to 0 (half a cosine).
    """

    hidden: tuple[tuple[str, int], ...] = (("language", 4), ("acoustic", 8))
    steps: int = 800
    batch: int = 32
    lr: float = 1e-2


def draw_batch(task: Task, n: int, generator: torch.Generator) -> Batch:
    """``n`` sequences with their labels; the same generator state gives the same ones."""
    least, most = task.words
    lengths = torch.randint(least, most + 1, (n,), generator=generator)
    real = torch.arange(most) < lengths[:, None]
    v = torch.randn(n, most, generator=generator) * real
    room = lengths - task.gap
    q = (torch.rand(n, generator=generator) * room).long().clamp(max=room - 1)
    sign = torch.zeros(n, most).scatter_(1, q[:, None], 1.0)
    label = v.gather(1, (q + task.gap)[:, None])
    features = {"language": v[..., None], "acoustic": sign[..., None]}
    return Batch(features, lengths, dict.fromkeys(features, real), label)


def learn(name: str, task: Task, study: Study, seed: int, **settings: Any) -> nn.Module:
    """Train a model of ``rmfn.baselines`` on the task; the same seed gives the same model.

    RMFN's attention is scaled to mean 1 unless ``settings`` say otherwise: with the paper's formula
    FUSE reads next to nothing of h at the start, and z takes much longer to say anything.
    """
    hidden = dict(study.hidden)
    known = list_settings(name)
    settings = {k: v for k, v in SETTINGS.items() if k in known} | settings
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(name, dict.fromkeys(hidden, 1), hidden, **settings)
    optimiser = torch.optim.Adam(model.parameters(), lr=study.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, study.steps)
    for _ in range(study.steps):
        batch = draw_batch(task, study.batch, generator)
        optimiser.zero_grad()
        (model(batch.features, batch.lengths) - batch.labels).square().mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return model.eval()


@torch.no_grad()
def explained(model: nn.Module, task: Task, n: int = 4000, seed: int = 10**6) -> float:
    """R^2 on new sequences: 1 = all, 0 = no better than the labels' mean."""
    batch = draw_batch(task, n, torch.Generator().manual_seed(seed))
    return _r2(model(batch.features, batch.lengths), batch.labels)


def explained_by_averages(task: Task, n: int = 4000, seed: int = 10**6) -> float:
    """R^2 of the best prediction that averages over words allow: 1/N on the average."""
    batch = draw_batch(task, n, torch.Generator().manual_seed(seed))
    return _r2(batch.features["language"].sum(1) / batch.lengths[:, None], batch.labels)


def cut_z(model: nn.Module) -> None:
    """Make every LSTHM deaf to z."""
    assert isinstance(model.V, nn.ParameterDict)
    with torch.no_grad():
        for V in model.V.values():
            V.zero_()


def _r2(found: Tensor, label: Tensor) -> float:
    return float(1 - (found - label).square().mean() / label.var(unbiased=False))
