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
