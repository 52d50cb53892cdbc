"""From aligned sequences to batches of tensors: columns by name, one scale, no NaN."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from pipeline.errors import DatasetError, RecipeMismatch
from pipeline.sequence import AlignedSequence

CLIP = 5.0  # standard deviations; extractors may saturate (COVAREP holds +-255)


@dataclass(frozen=True)
class Example:
    """One sequence, scaled.

    Attributes
    ----------
    features : {modality: float32 [N, D]}, finite.
    observed : {modality: bool [N]}, True where anything was measured.
    labels : float32 [targets], in the units of the corpus; NaN where not given, empty if none is.
    video, speaker : whose it is; "" where not known. A sequence without a video is one by itself.
    """

    features: dict[str, Tensor]
    observed: dict[str, Tensor]
    labels: Tensor = field(default_factory=lambda: torch.empty(0))
    video: str = ""
    speaker: str = ""

    def __len__(self) -> int:
        return len(next(iter(self.features.values())))


@dataclass(frozen=True)
class Batch:
    """Sequences of different lengths side by side; zeros after the end.

    Attributes
    ----------
    features : {modality: float32 [B, N, D]}, finite everywhere.
    lengths : int64 [B].
    observed : {modality: bool [B, N]}.
    labels : float32 [B, targets].
    videos : int64 [B], the same number the same video; empty where nobody asked.
    speakers : [B] names, "" where not known.
    """

    features: dict[str, Tensor]
    lengths: Tensor
    observed: dict[str, Tensor]
    labels: Tensor
    videos: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    speakers: tuple[str, ...] = ()

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        return replace(
            self,
            features={m: x.to(device) for m, x in self.features.items()},
            lengths=self.lengths.to(device),
            observed={m: x.to(device) for m, x in self.observed.items()},
            labels=self.labels.to(device),
            videos=self.videos.to(device),
        )


@dataclass(frozen=True)
class Scaler:
    """Which columns a model reads, and their mean and standard deviation in training.

    Attributes
    ----------
    columns : {modality: names}
    mean, std : {modality: float64 [D]}
    """

    columns: dict[str, tuple[str, ...]]
    mean: dict[str, NDArray[np.float64]]
    std: dict[str, NDArray[np.float64]]

    def __call__(
        self,
        sequence: AlignedSequence,
        labels: Sequence[float] = (),
        video: str = "",
        speaker: str = "",
    ) -> Example:
        """Take the columns out of a sequence and scale them.

        Values become standard deviations from the mean, at most 5; NaN becomes 0, the mean, and is
        remembered in ``observed``. A modality that the sequence does not have is all NaN.

        Raises
        ------
        RecipeMismatch : a modality is there without one of the columns.
        ValueError : the sequence has no words.
        """
        features, observed = {}, {}
        for modality in self.columns:
            rows = select_columns(sequence, modality, self.columns[modality])
            scaled = (rows - self.mean[modality]) / self.std[modality]
            finite = np.isfinite(scaled)
            scaled = np.where(finite, np.clip(scaled, -CLIP, CLIP), 0)
            features[modality] = torch.from_numpy(scaled.astype(np.float32))
            observed[modality] = torch.from_numpy(finite.any(axis=1))
        given = torch.tensor(labels, dtype=torch.float32)
        return Example(features, observed, given, video, speaker)


def select_columns(
    sequence: AlignedSequence, modality: str, names: Sequence[str]
) -> NDArray[np.float64]:
    """The named columns of a modality [N, D], in that order; all NaN if it is absent.

    Raises
    ------
    RecipeMismatch : it is there without one of them.
    ValueError : the sequence has no words.
    """
    if not sequence.words:
        raise ValueError(f"sequence {sequence.clip_id!r} has no words")
    rows = sequence.features.get(modality)
    if rows is None:
        return np.full((len(sequence.words), len(names)), np.nan)
    place = {name: n for n, name in enumerate(rows.names)}
    for name in names:
        if name not in place:
            raise RecipeMismatch(
                f"the model reads the {modality} column {name!r}, which these features do not have "
                f"(they have {_summary(rows.names)}); extract them with the model's recipe"
            )
    return rows.values[:, [place[name] for name in names]].astype(np.float64)


def fit_scaler(
    sequences: Sequence[AlignedSequence], columns: dict[str, tuple[str, ...]], trim: float = 0.0
) -> Scaler:
    """Mean and standard deviation of every column over the words where it was observed.

    A column that never varies, or was never observed, is only centred.

    Parameters
    ----------
    trim : of each column this share of the lowest and of the highest values is passed over: a few
        saturated ones would make all others look alike.
    """
    mean, std = {}, {}
    for modality, names in columns.items():
        rows = np.concatenate([select_columns(s, modality, names) for s in sequences])
        rows[~np.isfinite(rows)] = np.nan
        if trim:
            _trim(rows, trim)
        count = np.isfinite(rows).sum(axis=0)
        safe = np.maximum(count, 1)
        mean[modality] = np.nansum(rows, axis=0) / safe
        spread = np.sqrt(np.nansum((rows - mean[modality]) ** 2, axis=0) / safe)
        # Rounding leaves a constant column a spread of about 1e-8 of its size.
        flat = spread <= 1e-6 * np.maximum(abs(mean[modality]), 1e-6)
        std[modality] = np.where(flat, 1.0, spread)
    return Scaler(dict(columns), mean, std)


def _trim(rows: NDArray[np.float64], share: float) -> None:
    """Forget the ends of every column [N, D]."""
    for column in rows.T:
        seen = column[~np.isnan(column)]
        if len(seen):
            low, high = np.quantile(seen, [share, 1 - share])
            column[(column < low) | (column > high)] = np.nan


def collate(examples: Sequence[Example]) -> Batch:
    """Pad examples to a batch."""
    modalities = list(examples[0].features)
    return Batch(
        {m: pad_sequence([e.features[m] for e in examples], batch_first=True) for m in modalities},
        torch.tensor([len(e) for e in examples]),
        {m: pad_sequence([e.observed[m] for e in examples], batch_first=True) for m in modalities},
        torch.stack([e.labels for e in examples]),
        number_videos(examples),
        tuple(e.speaker for e in examples),
    )


def number_videos(examples: Sequence[Example]) -> Tensor:
    """A number for each video, in the order they come: int64 [B]; one without a name is its own."""
    places: dict[str | int, int] = {}
    return torch.tensor(
        [places.setdefault(e.video or n, len(places)) for n, e in enumerate(examples)]
    )


def shuffled_batches(
    examples: Sequence[Example], size: int, generator: torch.Generator
) -> Iterator[Batch]:
    """All examples once, in random batches of sequences of similar length (fewer steps to run)."""
    order = torch.randperm(len(examples), generator=generator).tolist()
    pools = [order[start : start + 8 * size] for start in range(0, len(order), 8 * size)]
    batches = []
    for pool in pools:
        pool.sort(key=lambda n: len(examples[n]))
        batches += [pool[start : start + size] for start in range(0, len(pool), size)]
    for n in torch.randperm(len(batches), generator=generator).tolist():
        yield collate([examples[i] for i in batches[n]])


def shuffled_videos(
    examples: Sequence[Example], size: int, generator: torch.Generator
) -> Iterator[Batch]:
    """All examples once, whole videos in random batches of at most ``size`` sequences, unless one
    video has more. A video's sequences stay in their order."""
    for rows in pack_videos(examples, size, generator):
        yield collate([examples[n] for n in rows])


def pack_videos(
    examples: Sequence[Example], size: int, generator: torch.Generator | None = None
) -> list[list[int]]:
    """The places of all examples in batches of whole videos; without dice in the order given."""
    numbers = number_videos(examples)
    videos: list[list[int]] = [[] for _ in range(len(numbers.unique()))]
    for n, video in enumerate(numbers.tolist()):
        videos[video].append(n)
    if generator is not None:
        order = torch.randperm(len(videos), generator=generator).tolist()
        videos = [videos[n] for n in order]
    batches: list[list[int]] = []
    for rows in videos:
        if batches and len(batches[-1]) + len(rows) <= size:
            batches[-1] += rows
        else:
            batches.append(list(rows))
    return batches


def drop_modalities(batch: Batch, share: float, generator: torch.Generator) -> Batch:
    """Make modalities missing as if a sequence never had them, each with probability ``share``.

    One of every sequence stays: that with the luckiest throw.
    """
    modalities = list(batch.features)
    count = len(batch.lengths)
    dice = torch.rand(count, len(modalities), generator=generator)
    kept = dice >= share
    kept[torch.arange(count), dice.argmax(1)] = True
    features, observed = {}, {}
    for n, m in enumerate(modalities):
        features[m] = batch.features[m] * kept[:, n, None, None]
        observed[m] = batch.observed[m] & kept[:, n, None]
    return replace(batch, features=features, observed=observed)


def refuse_infinite(
    ids: Sequence[str], sequences: Sequence[AlignedSequence], source: str = "the data"
) -> None:
    """NaN is a value that was not measured; an infinite one is a fault of what measured it.

    Raises
    ------
    DatasetError : names the first segment, modality and column with an infinite value.
    """
    for name, sequence in zip(ids, sequences, strict=True):
        for modality, rows in sequence.features.items():
            places = np.argwhere(np.isinf(rows.values))
            if len(places):
                word, column = places[0]
                raise DatasetError(
                    f"{source}: segment {name!r} has an infinite {modality} value in the column "
                    f"{rows.names[column]!r} (word {word + 1}); what was not measured is NaN"
                )


def _summary(names: Sequence[str]) -> str:
    shown = ", ".join(names[:4])
    return f"{shown}, ... {len(names)} in all" if len(names) > 4 else shown or "none"
