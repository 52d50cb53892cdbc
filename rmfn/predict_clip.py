"""Predictions for a clip of any length: the model sees utterances, the clip gets their mean.

The model is trained on opinion segments of about a dozen words, so a longer clip is cut into
utterances of that kind, each predicted by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.sequence import AlignedSequence
from rmfn.predict import Choice, Predictor


def predict_utterances(
    predictor: Predictor, sequence: AlignedSequence, utterances: Sequence[range]
) -> list[dict[str, dict[str, Any]]]:
    """What is predicted of each utterance, by label.

    Returns
    -------
    Of a regression ``{"value": number, "interval": [low, high]}``; of a binary label ``{"value":
    probability of 1, "probabilities": {class: probability}}``; of classes the same with the name
    of the most probable one as value.
    """
    kinds = {target.name: target.kind for target in predictor.manifest.labels}
    parts = [sequence.between(part.start, part.stop) for part in utterances]
    found = predictor.predict(parts, [sequence.clip_id] * len(parts))
    return [
        {
            label: _choose(said.probabilities, kinds[label] == "binary")
            if isinstance(said, Choice)
            else {"value": said.value, "interval": [said.low, said.high]}
            for label, said in each.items()
        }
        for each in found
    ]


def _choose(probabilities: dict[str, float], binary: bool) -> dict[str, Any]:
    last = list(probabilities)[-1]
    value = probabilities[last] if binary else Choice(probabilities).value
    return {"value": value, "probabilities": probabilities}


def describe_model(predictor: Predictor) -> dict[str, Any]:
    """Where a prediction comes from: the model, what it learned from, how well it does there."""
    manifest = predictor.manifest
    return {
        "name": manifest.name,
        "trained_on": manifest.trained_on,
        "weights_sha256": manifest.weights_sha256,
        "reads": {modality: len(names) for modality, names in manifest.columns.items()},
        "scales": {
            label.name: [label.low, label.high]
            for label in manifest.labels
            if label.kind == "regression"
        },
        "interval_coverage": manifest.conformal.coverage,
        "metrics": manifest.metrics,
    }


def weigh_utterances(
    predictions: Sequence[dict[str, dict[str, Any]]], seconds: Sequence[float]
) -> dict[str, dict[str, Any]]:
    """The clip's value: the mean of its utterances weighted by their duration.

    Probabilities are averaged alike. The interval is the weighted mean of the utterances' bounds:
    right if their errors go together and too wide if they do not; nothing is known of that for one
    clip.
    """
    weights = np.asarray(seconds) / np.sum(seconds)
    overall = {}
    for label, first in predictions[0].items():
        if "probabilities" in first:
            rows = [list(prediction[label]["probabilities"].values()) for prediction in predictions]
            mean = dict(
                zip(first["probabilities"], (weights @ np.array(rows)).tolist(), strict=True)
            )
            overall[label] = _choose(mean, binary=not isinstance(first["value"], str))
            continue
        values = np.array([prediction[label]["value"] for prediction in predictions])
        bounds = np.array([prediction[label]["interval"] for prediction in predictions])
        overall[label] = {
            "value": float(weights @ values),
            "interval": [float(bound) for bound in weights @ bounds],
        }
    return overall
