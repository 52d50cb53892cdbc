"""Draws by matrix say what going through all of them says, and can tell thirty systems apart."""

from __future__ import annotations

import time
from itertools import product

import numpy as np
import pytest

import rmfn.paired_means
from rmfn.comparison import DRAWS, Scored, make_row
from rmfn.paired_means import exchange, redraw_mean
from rmfn.significance import compare_models
from rmfn.targets import Target
from tests.trained import make_dataset

VIDEOS = [0, 0, 0, 1, 2, 2, 3, 3, 3, 3, 4, 5, 5]  # of several sizes


def draw_differences(seed: int, mean: float) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 1.0, len(VIDEOS))


@pytest.fixture(autouse=True, params=[1 << 20, 50])
def _cut_finely(request, monkeypatch):
    monkeypatch.setattr(rmfn.paired_means, "CELLS", request.param)


@pytest.mark.parametrize("seed", range(4))
def test_the_p_value_is_that_of_all_exchanges(seed):
    apart = draw_differences(seed, 0.3)
    means = [
        np.mean([signs[video] * each for video, each in zip(VIDEOS, apart, strict=True)])
        for signs in product((-1, 1), repeat=6)
    ]
    exact = np.mean(np.abs(means) >= abs(apart.mean()) - 1e-12)
    # 20,000 draws: four standard deviations are at most .014
    assert exchange(apart, VIDEOS, 20_000) == pytest.approx(exact, abs=0.015)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_what_exchanging_the_predictions_gives(seed):
    random = np.random.default_rng(seed)
    labels, ours, theirs = random.normal(size=(3, len(VIDEOS)))
    slow = compare_models(
        ours, theirs, labels, VIDEOS, lambda p, y: {"mae": float(abs(p - y).mean())}, draws=4000
    )["mae"]
    apart = abs(ours - labels) - abs(theirs - labels)
    assert exchange(apart, VIDEOS, 20_000) == pytest.approx(slow["p"], abs=0.04)
    assert redraw_mean(apart, VIDEOS, 20_000) == pytest.approx(slow["interval"], abs=0.06)


def test_redrawn_means_are_those_of_all_redraws():
    """With three videos all 27 redraws can be gone through."""
    values, videos = np.array([1.0, 2.0, 4.0, 8.0, 16.0]), list("abbcc")
    rows = {video: [n for n, v in enumerate(videos) if v == video] for video in "abc"}
    means = []
    for drawn in product("abc", repeat=3):
        means.append(np.mean([values[n] for video in drawn for n in rows[video]]))
    # Of 27 equal chances 2.5 % is the least one's and 97.5 % the greatest's.
    found = redraw_mean(values, videos, 20_000)
    assert found == pytest.approx((min(means), max(means)))


def test_who_differs_in_nothing_does_not_differ():
    assert exchange(np.zeros(len(VIDEOS)), VIDEOS, 99) == 1
    assert redraw_mean(np.zeros(len(VIDEOS)), VIDEOS, 99) == (0, 0)


def test_thirty_systems_can_be_told_from_one():
    """A clear difference stays clear after the correction for as many systems as there are."""
    dataset = make_dataset(240, videos=60)
    labels = np.random.default_rng(0).normal(size=(len(dataset), 1))
    cost = {"parameters": 1, "train_seconds": 1.0, "predict_ms": 1.0}
    good = {0: {"predictions": labels.tolist(), **cost}}
    bad = {0: {"predictions": (labels + 1).tolist(), **cost}}
    scored = Scored(dataset, (Target("a"),), labels)
    begun = time.process_time()
    row = make_row("marn", bad, scored, good, None)
    assert time.process_time() - begun < 5
    assert row.against["a"]["difference"] == pytest.approx(1)
    assert row.against["a"]["p"] == pytest.approx(1 / (DRAWS + 1))
    assert 32 * row.against["a"]["p"] < 0.005


def test_one_video_alone_shows_nothing():
    assert np.isnan(redraw_mean(np.ones(5), ["v"] * 5, 20)).all()
    assert np.isnan(exchange(np.ones(5), ["v"] * 5, 20))
