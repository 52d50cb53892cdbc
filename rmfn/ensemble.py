"""Models of different seeds that are averaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from pipeline.sequence import AlignedSequence
from rmfn.data import Scaler, fit_scaler
from rmfn.dataset import Target
from rmfn.running import Epoch, TrainSettings
from rmfn.runs import Run
from rmfn.train import Fitted, Network, fit


@dataclass(frozen=True)
class Ensemble:
    """Models of different seeds that see the same columns on the same scale."""

    scaler: Scaler
    members: tuple[Fitted, ...]

    def predict_each(
        self, sequences: Sequence[AlignedSequence], videos: Sequence[str] = ()
    ) -> Tensor:
        """Every member's decoded predictions [members, n, C].

        Parameters
        ----------
        videos : [n] the video of each, whose sequences come in their order in time; () = each is by
            itself. Only a model that reads videos makes a difference between them.
        """
        examples = [
            self.scaler(sequence, video=video)
            for sequence, video in zip(sequences, videos or [""] * len(sequences), strict=True)
        ]
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
    videos: Sequence[str] = (),
    speakers: Sequence[str] = (),
) -> Ensemble:
    """Train one model a seed.

    Parameters
    ----------
    labels : [n, T]
    parts : for each seed the places it learns from, and those it stops on. The columns' scale is
        that of all places that any learns from.
    on_epoch : called with the member's place and the epoch.
    run, name : where states and curves are kept, and under which name.
    videos, speakers : [n] of each sequence, those of a video in their order; () = not known.
    """
    learned = sorted({n for training, _ in parts for n in training})
    scaler = fit_scaler([sequences[n] for n in learned], columns, settings.trim)
    unknown = [""] * len(sequences)
    rows = zip(sequences, labels, videos or unknown, speakers or unknown, strict=True)
    examples = [scaler(*row) for row in rows]
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
