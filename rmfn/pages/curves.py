"""Each label of a prediction as one number over the words, whatever kind of label it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rmfn.explain import Explained
from rmfn.pages.page import escape_tags
from rmfn.targets import Target
from rmfn.tasks import lay_out, name_classes
from rmfn.wording import describe_spread, describe_value


def describe_curve(
    record: dict[str, Any],
    explained: Sequence[Explained],
    place: int,
    targets: Sequence[Target],
) -> dict[str, Any]:
    """One label as one number over time: the value, the probability of 1, or that of the clip's
    most probable class."""
    target = targets[place]
    part = lay_out(targets)[place]
    overall = record["overall"][target.name]
    classes = name_classes(target)
    offset = 0
    if target.kind == "binary":
        offset = len(classes) - 1
    elif classes:
        offset = classes.index(overall["value"])
    column = part.start + offset
    regression = target.kind == "regression"

    def number(found: dict[str, Any]) -> float:
        return found["probabilities"][classes[offset]] if classes else found["value"]

    utterances = [
        {
            **{key: spoken[key] for key in ("start", "end", "words")},
            "value": number(spoken["prediction"][target.name]),
            "interval": spoken["prediction"][target.name].get("interval"),
            "told": _tell(spoken["text"], spoken["prediction"][target.name]),
        }
        for spoken in record["utterances"]
    ]
    wholes = [float(each.whole[column]) for each in explained]
    scale = (target.low + target.high) / 2 if regression else None
    return {
        "label": target.name,
        "curve": target.name if regression else f"probability of {classes[offset]!r}",
        "unit": f"{target.low:+g} to {target.high:+g}" if regression else "probability, 0 to 1",
        "span": [target.low, target.high] if regression else [0.0, 1.0],
        "neutral": scale if regression and target.low < 0 < target.high else None,
        "signed": regression,
        "utterances": utterances,
        "arriving": [
            round(float(value), 4) for each in explained for value in each.prefixes[:, column]
        ],
        "prefixes": [np.round(each.prefixes[:, column], 4).tolist() for each in explained],
        "effects": [
            np.round(each.whole[column] - each.without_word[:, column], 4).tolist()
            for each in explained
        ],
        "wholes": [round(whole, 4) for whole in wholes],
        "blanks": [
            {
                modality: round(float(values[column]), 4)
                for modality, values in each.without_modality.items()
            }
            for each in explained
        ],
        # A model that reads whole videos says something else of an utterance by itself.
        "agrees": all(
            abs(whole - spoken["value"]) < 1e-3
            for whole, spoken in zip(wholes, utterances, strict=True)
        ),
    }


def _tell(text: str, found: dict[str, Any]) -> str:
    short = text if len(text) <= 70 else f"{text[:67]}..."
    return f"“{escape_tags(short)}”<br>{describe_value(found)} ({describe_spread(found)})"
