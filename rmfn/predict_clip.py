"""Predictions for a clip of any length: the model sees utterances, the clip gets their mean.

The model is trained on opinion segments of about a dozen words, so a longer clip is cut into
utterances of that kind, each predicted by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.sequence import AlignedSequence
from rmfn.predict import Predictor


def predict_utterances(
    predictor: Predictor, sequence: AlignedSequence, utterances: Sequence[range]
) -> list[dict[str, dict[str, Any]]]:
    """One ``{label: {"value", "interval": [low, high]}}`` an utterance."""
    return [
        {
            label: {"value": found.value, "interval": [found.low, found.high]}
            for label, found in predictor(sequence.between(part.start, part.stop)).items()
        }
        for part in utterances
    ]


def describe_model(predictor: Predictor) -> dict[str, Any]:
    """Where a prediction comes from: the model, what it learned from, how well it does there."""
    manifest = predictor.manifest
    return {
        "name": manifest.name,
        "trained_on": manifest.trained_on,
        "weights_sha256": manifest.weights_sha256,
        "reads": {modality: len(names) for modality, names in manifest.columns.items()},
        "scales": {label.name: [label.low, label.high] for label in manifest.labels},
        "interval_coverage": manifest.conformal.coverage,
        "metrics": manifest.metrics,
    }


def weigh_utterances(
    predictions: Sequence[dict[str, dict[str, Any]]], seconds: Sequence[float]
) -> dict[str, dict[str, Any]]:
    """The clip's value: the mean of its utterances weighted by their duration.

    The interval is the weighted mean of the utterances' bounds. It is right if their errors go
    together and too wide if they do not; nothing is known of that for one clip.
    """
    weights = np.asarray(seconds) / np.sum(seconds)
    overall = {}
    for label in predictions[0]:
        values = np.array([prediction[label]["value"] for prediction in predictions])
        bounds = np.array([prediction[label]["interval"] for prediction in predictions])
        overall[label] = {
            "value": float(weights @ values),
            "interval": [float(bound) for bound in weights @ bounds],
        }
    return overall
