"""A clip's value from its utterances'."""

from __future__ import annotations

import pytest

from rmfn.predict_clip import weigh_utterances


def estimate(value, low, high):
    return {"sentiment": {"value": value, "interval": [low, high]}}


def test_one_utterance_is_the_clip():
    assert weigh_utterances([estimate(1.5, 0.0, 3.0)], [2.0]) == estimate(1.5, 0.0, 3.0)


def test_a_longer_utterance_weighs_more():
    parts = [estimate(3.0, 2.0, 3.0), estimate(-1.0, -2.0, 0.0)]
    whole = weigh_utterances(parts, [1.0, 3.0])["sentiment"]
    assert whole["value"] == pytest.approx(0.25 * 3 - 0.75)
    assert whole["interval"] == pytest.approx([0.25 * 2 - 0.75 * 2, 0.25 * 3])


def test_units_of_time_do_not_matter():
    parts = [estimate(1.0, 0.0, 2.0), estimate(2.0, 1.0, 3.0)]
    seconds = weigh_utterances(parts, [2.0, 5.0])["sentiment"]
    minutes = weigh_utterances(parts, [2.0 / 60, 5.0 / 60])["sentiment"]
    assert seconds["value"] == pytest.approx(minutes["value"])


def test_probabilities_are_weighted_like_values():
    parts = [
        {"mood": {"value": "bad", "probabilities": {"bad": 0.9, "good": 0.1}}},
        {"mood": {"value": "good", "probabilities": {"bad": 0.2, "good": 0.8}}},
    ]
    whole = weigh_utterances(parts, [1.0, 3.0])["mood"]
    assert whole["probabilities"] == pytest.approx({"bad": 0.375, "good": 0.625})
    assert whole["value"] == "good"
    binary = [{"happy": {"value": 0.1, "probabilities": {"0": 0.9, "1": 0.1}}}] * 2
    assert weigh_utterances(binary, [1.0, 2.0]) == {
        "happy": {"value": pytest.approx(0.1), "probabilities": pytest.approx({"0": 0.9, "1": 0.1})}
    }
