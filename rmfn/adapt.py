"""A sentence encoder that learns what is asked of it: low-rank adaptation of MiniLM.

Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022. To the query and value
weights of every layer a product of two thin matrices is added. These alone learn, to tell the
labels from the mean of an utterance's vectors; the rest of the encoder stays as it is.

An adapter belongs to the segments that it learned from: whoever measures on other segments must
train one that never saw those (``adapt`` is given the places to learn from for this).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.rnn import pad_sequence

from extractors.language_minilm import (
    ADAPTER,
    FRAME,
    SIZE,
    MiniLM,
    find_shipped,
    frame_pieces,
    split_words,
)
from extractors.types import cover_words
from pipeline.recipe import describe_backend
from pipeline.sequence import AlignedSequence
from rmfn.targets import Target
from rmfn.tasks import compute_loss, count_outputs, fit_scale

Adapter = dict[str, Tensor]  # "<layer>.up" [out, rank] and "<layer>.down" [rank, in]
OnStep = Callable[[int, int], None]  # steps that are done, of how many
ADAPTED = ("query", "value")


@dataclass(frozen=True)
class AdaptSettings:
    """How an encoder is adapted.

    Attributes
    ----------
    rank : of what is added to a weight.
    epochs, batch : passes over the segments, and segments a step.
    lr, weight_decay : of AdamW; the rate rises over the first tenth of the steps, then falls to 0.
    dropout : on the mean vector, before it is read.
    max_norm : gradients are scaled down to this norm.
    seeds : one adapter each; what comes of it is their mean, whose rank is the sum of theirs.
    """

    rank: int = 8
    epochs: int = 3
    batch: int = 16
    lr: float = 1e-3
    weight_decay: float = 0.01
    dropout: float = 0.1
    max_norm: float = 1.0
    seeds: tuple[int, ...] = (0,)


def adapt(
    sequences: Sequence[AlignedSequence],
    labels: NDArray[np.float64],
    learned: Sequence[int],
    targets: Sequence[Target],
    settings: AdaptSettings,
    on_step: OnStep | None = None,
) -> tuple[list[AlignedSequence], Adapter]:
    """Learn from some sequences; give all of them the adapted encoder's columns.

    Parameters
    ----------
    labels : [n, T], NaN where not given; only the rows ``learned`` are read.
    learned : places of the sequences to learn from.
    on_step : called after every step, over all seeds.

    Returns
    -------
    The sequences, their language modality now that of ``MiniLM(adapter=...)``; and the adapter.
    """
    tokens = [[word.text for word in sequence.words] for sequence in sequences]
    seen, known = [tokens[n] for n in learned], torch.from_numpy(labels[list(learned)]).float()
    adapters: list[Adapter] = []
    for seed in settings.seeds:

        def tell(done: int, steps: int, before: int = len(adapters)) -> None:
            if on_step is not None:
                on_step(before * steps + done, len(settings.seeds) * steps)

        adapters.append(fit_adapter(seen, known, targets, settings, seed, tell))
    adapter = average_adapters(adapters)
    with TemporaryDirectory() as folder:  # through a file, as whoever predicts will read it
        file = Path(folder) / ADAPTER
        file.write_bytes(pack_adapter(adapter))
        encoder = MiniLM(adapter=str(file))
        rows = [cover_words(values, encoder.names) for values in encoder(tokens)]
    pairs = zip(sequences, rows, strict=True)
    return [
        replace(sequence, features={**sequence.features, "language": language})
        for sequence, language in pairs
    ], adapter


def fit_adapter(
    utterances: Sequence[Sequence[str]],
    labels: Tensor,
    targets: Sequence[Target],
    settings: AdaptSettings,
    seed: int,
    on_step: OnStep | None = None,
) -> Adapter:
    """Train one adapter; the same seed gives the same on the same kind of CPU with one thread.

    Parameters
    ----------
    utterances : tokens.
    labels : [n, T], NaN where not given.
    """
    tokenizer, model = MiniLM().load()
    window = model.config.max_position_embeddings - FRAME
    frames = [
        frame_pieces(tokenizer, list(chain(*split_words(tokenizer, tokens)[1]))[:window])
        for tokens in utterances
    ]
    mean, std = fit_scale(labels, targets)
    weights = torch.ones(len(targets))
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.requires_grad_(False)
        factors = _add_factors(model, settings.rank)
        head = nn.Linear(SIZE, count_outputs(targets))
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        learning = [*head.parameters(), *(p for f in factors.values() for p in f.parameters())]
        optimiser = torch.optim.AdamW(learning, lr=settings.lr, weight_decay=settings.weight_decay)
        steps = settings.epochs * math.ceil(len(frames) / settings.batch)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser,
            lambda step: min((step + 1) / max(1, steps // 10), (steps - step) / (0.9 * steps)),
        )
        for _ in range(settings.epochs):
            for rows in _shuffle(frames, settings.batch, generator):
                ids, inside = _pad([frames[n] for n in rows], tokenizer.pad_token_id)
                states = model(ids, attention_mask=inside).last_hidden_state
                pooled = (states * inside[..., None]).sum(1) / inside.sum(1, keepdim=True)
                raw = head(nn.functional.dropout(pooled, settings.dropout))
                loss = compute_loss(raw, labels[rows], targets, mean, std, weights)
                optimiser.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(learning, settings.max_norm)
                optimiser.step()
                schedule.step()
                if on_step is not None:
                    on_step(schedule.last_epoch, steps)
    return {
        f"{name}.{side}": getattr(factor, side).detach().clone()
        for name, factor in factors.items()
        for side in ("up", "down")
    }


def average_adapters(adapters: Sequence[Adapter]) -> Adapter:
    """What adds the mean of all that the adapters add: their factors side by side."""
    return {
        key: torch.cat([adapter[key] / len(adapters) for adapter in adapters], dim=1)
        if key.endswith(".up")
        else torch.cat([adapter[key] for adapter in adapters])
        for key in adapters[0]
    }


def pack_adapter(adapter: Adapter) -> bytes:
    """An adapter as a safetensors file."""
    return save({name: value.contiguous() for name, value in adapter.items()})


def describe_encoder(packed: bytes, folder: str | Path) -> dict[str, Any]:
    """What a recipe's provenance will say of the encoder with an adapter in a checkpoint's folder.

    Parameters
    ----------
    packed : the adapter's file.
    folder : where it will lie. A checkpoint that ships is known by its name, others by their place.
    """
    made = describe_backend("language", {"backend": "minilm"}, MiniLM())
    folder = Path(folder).resolve()
    ships = find_shipped(folder.name).resolve() == folder
    made["settings"]["adapter"] = folder.name if ships else str(folder / ADAPTER)
    made["weights"]["adapter"] = hashlib.sha256(packed).hexdigest()
    return made


class _Factors(nn.Module):
    """A parametrization: the weight and beside it the product of two thin matrices."""

    def __init__(self, weight: Tensor, rank: int):
        super().__init__()
        self.up = nn.Parameter(torch.zeros(weight.shape[0], rank))
        # The usual scale of LoRA, alpha / rank = 2, is in here.
        self.down = nn.Parameter(torch.randn(rank, weight.shape[1]) * 2 / weight.shape[1] ** 0.5)

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.up @ self.down


def _add_factors(model: nn.Module, rank: int) -> dict[str, _Factors]:
    factors = {}
    for name, layer in list(model.named_modules()):
        if name.rpartition(".")[2] in ADAPTED and isinstance(layer, nn.Linear):
            factors[name] = _Factors(layer.weight, rank)
            parametrize.register_parametrization(layer, "weight", factors[name])
    return factors


def _shuffle(
    frames: Sequence[Sequence[int]], size: int, generator: torch.Generator
) -> Iterator[list[int]]:
    """The places of all frames once, in random batches of similar length."""
    order = torch.randperm(len(frames), generator=generator).tolist()
    batches = []
    for start in range(0, len(order), 8 * size):
        pool = sorted(order[start : start + 8 * size], key=lambda n: len(frames[n]))
        batches += [pool[i : i + size] for i in range(0, len(pool), size)]
    for n in torch.randperm(len(batches), generator=generator).tolist():
        yield batches[n]


def _pad(frames: Sequence[Sequence[int]], filler: int) -> tuple[Tensor, Tensor]:
    """Ids [B, T] and which of them are there [B, T], 1 or 0."""
    rows = [torch.tensor(frame) for frame in frames]
    inside = [torch.ones(len(frame)) for frame in frames]
    return pad_sequence(rows, batch_first=True, padding_value=filler), pad_sequence(inside, True)
