"""A checkpoint at work: aligned words in, values with intervals out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.errors import RecipeMismatch
from pipeline.sequence import AlignedSequence
from rmfn.checkpoint import Checkpoint, Manifest, load_checkpoint
from rmfn.data import collate

SHIPPED = Path(__file__).parent / "checkpoints" / "mosi-language"


@dataclass(frozen=True)
class Estimate:
    """A prediction on the label's scale, and the interval that holds the label as often as the
    checkpoint says (``manifest.conformal``)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Attention:
    """What the fusion stages looked at.

    Attributes
    ----------
    share : {modality: [N, K]} how much of each word's attention went to each modality, the mean
        over the members; together 1.
    weights : [members, N, K, H] the attention itself. The H units of one member have nothing to
        do with those of another.
    parts : which of the H belong to which modality.
    """

    share: dict[str, NDArray[np.float32]]
    weights: NDArray[np.float32]
    parts: dict[str, slice]


@dataclass(frozen=True)
class Predictor:
    """``Predictor.load(folder)(sequence)``."""

    checkpoint: Checkpoint

    @classmethod
    def load(cls, folder: str | Path = SHIPPED) -> Predictor:
        """Read a checkpoint, by default the one that ships.

        Raises
        ------
        CheckpointError : the folder is not a checkpoint that can be used.
        """
        return cls(load_checkpoint(folder))

    @property
    def manifest(self) -> Manifest:
        return self.checkpoint.manifest

    @property
    def columns(self) -> dict[str, tuple[str, ...]]:
        """The columns a sequence must have, {modality: names}."""
        return self.manifest.columns

    def require_recipe(self, provenance: dict[str, Any]) -> None:
        """Check that a recipe makes the model's columns as they were made for its training.

        Parameters
        ----------
        provenance : ``Recipe.provenance``. Further backends beside those needed are fine, other
            package versions too.

        Raises
        ------
        RecipeMismatch : a step is missing or set otherwise; the first difference is named.
        """
        for step, needed in self.manifest.features.items():
            found = provenance.get(step) or []
            offered = found if isinstance(found, list) else [found]
            for made in needed if isinstance(needed, list) else [needed]:
                _require_backend(self.manifest.name, step, made, offered)

    def __call__(self, sequence: AlignedSequence) -> dict[str, Estimate]:
        """Predict one utterance: {label: estimate}.

        Raises
        ------
        RecipeMismatch : a modality is there without a column that the model reads.
        ValueError : the sequence has no words.
        """
        return self.predict([sequence])[0]

    def predict(self, sequences: Sequence[AlignedSequence]) -> list[dict[str, Estimate]]:
        """Predict several utterances; none depends on the others."""
        values = self.predict_values(sequences)
        return [
            {
                label.name: Estimate(
                    value, max(value - width, label.low), min(value + width, label.high)
                )
                for label, value, width in zip(
                    self.manifest.labels, row, self.manifest.conformal.half_width, strict=True
                )
            }
            for row in values.tolist()
        ]

    def predict_values(self, sequences: Sequence[AlignedSequence]) -> NDArray[np.float64]:
        """The mean over the members, kept on the labels' scales: [n, labels]."""
        if not sequences:
            return np.empty((0, len(self.manifest.labels)))
        mean = self.checkpoint.ensemble.predict_each(sequences).double().mean(0).numpy()
        return np.clip(mean, self._low, self._high)

    def explain(self, sequence: AlignedSequence) -> Attention:
        """What the stages attended to at each word of an utterance.

        Raises
        ------
        ValueError : the model has no HIGHLIGHT.
        """
        batch = collate([self.checkpoint.ensemble.scaler(sequence)])
        seen = [
            member.model.explain(batch.features, batch.lengths)
            for member in self.checkpoint.ensemble.members
        ]
        weights = torch.stack([each.attention[0] for each in seen]).numpy()
        shares = [each.share() for each in seen]
        return Attention(
            {
                modality: torch.stack([share[modality][0] for share in shares]).mean(0).numpy()
                for modality in self.columns
            },
            weights,
            seen[0].parts,
        )

    @cached_property
    def _low(self) -> NDArray[np.float64]:
        return np.array([label.low for label in self.manifest.labels])

    @cached_property
    def _high(self) -> NDArray[np.float64]:
        return np.array([label.high for label in self.manifest.labels])


def _require_backend(
    name: str, step: str, made: dict[str, Any], offered: list[dict[str, Any]]
) -> None:
    same = [backend for backend in offered if backend["backend"] == made["backend"]]
    if not same:
        names = ", ".join(backend["backend"] for backend in offered) or "nothing"
        raise RecipeMismatch(
            f"the model {name!r} was trained with {made['backend']!r} for {step}, "
            f"the recipe has {names}"
        )
    for part in ("settings", "weights"):
        wanted, got = made[part], same[0][part]
        for key in sorted({*wanted, *got}):
            if wanted.get(key) != got.get(key):
                raise RecipeMismatch(
                    f"the model {name!r} was trained with {step} backend {made['backend']!r} "
                    f"{part} {key} = {wanted.get(key)!r}, the recipe has {got.get(key)!r}"
                )
