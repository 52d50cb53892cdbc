"""A checkpoint at work: aligned words in, values with intervals out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.recipe import require_features
from pipeline.sequence import AlignedSequence
from rmfn.checkpoint import Checkpoint, Manifest, load_checkpoint
from rmfn.data import collate
from rmfn.dataset import Target
from rmfn.model import RMFN
from rmfn.tasks import count_outputs, keep_on_scale, lay_out, name_classes

SHIPPED = Path(__file__).parent / "checkpoints" / "mosi-language"


@dataclass(frozen=True)
class Estimate:
    """A prediction on the label's scale, and the interval that holds the label as often as the
    checkpoint says (``manifest.conformal``)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Choice:
    """A prediction of one of several classes.

    Attributes
    ----------
    probabilities : {class: probability}, together 1.
    """

    probabilities: dict[str, float]

    @property
    def value(self) -> str:
        """The most probable class."""
        return max(self.probabilities, key=self.probabilities.__getitem__)


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
        require_features(self.manifest.name, self.manifest.features, provenance)

    def __call__(self, sequence: AlignedSequence) -> dict[str, Estimate | Choice]:
        """Predict one utterance: {label: estimate}.

        Raises
        ------
        RecipeMismatch : a modality is there without a column that the model reads.
        ValueError : the sequence has no words.
        """
        return self.predict([sequence])[0]

    def predict(
        self, sequences: Sequence[AlignedSequence], videos: Sequence[str] = ()
    ) -> list[dict[str, Estimate | Choice]]:
        """Predict several utterances; none depends on the others, but for a model that reads whole
        videos, whose utterances come in their order (``videos`` as `predict_values`)."""
        return [
            {
                target.name: _read(row[part], target, width)
                for target, part, width in zip(
                    self.manifest.labels,
                    lay_out(self.manifest.labels),
                    self.manifest.conformal.half_width,
                    strict=True,
                )
            }
            for row in self.predict_values(sequences, videos).tolist()
        ]

    def predict_values(
        self, sequences: Sequence[AlignedSequence], videos: Sequence[str] = ()
    ) -> NDArray[np.float64]:
        """The mean over the members [n, C] (``rmfn.tasks``): label units of regressions, kept on
        their scales, and probabilities of classes.

        Parameters
        ----------
        videos : [n] of which video each utterance is; () = each is by itself.
        """
        if not sequences:
            return np.empty((0, count_outputs(self.manifest.labels)))
        mean = self.checkpoint.ensemble.predict_each(sequences, videos).double().mean(0).numpy()
        return keep_on_scale(mean, self.manifest.labels)

    def explain(self, sequence: AlignedSequence) -> Attention:
        """What the stages attended to at each word of an utterance.

        Raises
        ------
        ValueError : the model has no HIGHLIGHT.
        """
        batch = collate([self.checkpoint.ensemble.scaler(sequence)])
        models = [
            member.model
            for member in self.checkpoint.ensemble.members
            if isinstance(member.model, RMFN)
        ]
        if not models:
            raise ValueError(f"a model of the kind {self.manifest.model!r} has no HIGHLIGHT")
        seen = [model.explain(batch.features, batch.lengths) for model in models]
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


def _read(row: list[float], target: Target, width: float | None) -> Estimate | Choice:
    if target.kind != "regression":
        return Choice(dict(zip(name_classes(target), row, strict=True)))
    (value,) = row
    width = target.high - target.low if width is None else width
    return Estimate(value, max(value - width, target.low), min(value + width, target.high))
