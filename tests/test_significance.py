"""Paired tests against planted truth: as often wrong as they say, and no less sharp than can be."""

from __future__ import annotations

from functools import partial
from itertools import product

import numpy as np
import pytest

from rmfn.metrics import score
from rmfn.significance import compare_models
from rmfn.tasks import score_target
from tests.trained import MOOD


def plant(seed: int, shift: float, videos: int = 20, each: int = 10):
    """Two models whose errors share a part that goes with the video; the first errs more."""
    random = np.random.default_rng(seed)
    labels = random.uniform(-3, 3, videos * each)
    groups = np.repeat(np.arange(videos), each)
    own = [np.repeat(random.normal(0, 0.5, videos), each) for _ in range(2)]
    noise = [random.normal(0, 0.5, len(labels)) for _ in range(2)]
    ours, theirs = (labels + a + b for a, b in zip(own, noise, strict=True))
    return ours + shift * np.sign(ours - labels), theirs, labels, groups.tolist()


def mae(predictions, labels):
    return {"mae": float(abs(predictions - labels).mean())}


def test_models_alike_are_called_different_as_rarely_as_said():
    ps, inside = [], []
    for seed in range(120):
        found = compare_models(*plant(seed, 0.0), mae, draws=99)["mae"]
        ps.append(found["p"])
        inside.append(found["interval"][0] <= 0 <= found["interval"][1])
    # 120 tries at 10 %: within 3 standard deviations
    assert 0.018 <= np.mean(np.array(ps) <= 0.1) <= 0.182
    assert 0.86 <= np.mean(inside) <= 1


def test_rows_drawn_one_by_one_would_be_too_sure():
    """The same segments taken as independent call models alike different far too often."""
    wrong = []
    for seed in range(40):
        ours, theirs, labels, _ = plant(seed, 0.0)
        found = compare_models(ours, theirs, labels, list(range(len(labels))), mae, draws=99)
        wrong.append(found["mae"]["p"] <= 0.1)
    assert np.mean(wrong) > 0.25


def test_a_planted_difference_is_found_and_measured():
    found = compare_models(*plant(3, 0.4), mae, draws=999)["mae"]
    assert found["p"] <= 0.01
    low, high = found["interval"]
    assert low < found["difference"] < high
    assert low > 0  # the first errs more


def test_the_p_value_is_that_of_all_exchanges():
    """With eight videos every exchange can be gone through."""
    ours, theirs, labels, groups = plant(1, 0.1, videos=8, each=3)
    each = (abs(ours - labels) - abs(theirs - labels)).reshape(8, 3).mean(1)
    signs = np.array(list(product((-1, 1), repeat=8)))
    exact = np.mean(abs((signs * each).mean(1)) >= abs(each.mean()) - 1e-12)
    found = compare_models(ours, theirs, labels, groups, mae, draws=4000)["mae"]
    assert found["p"] == pytest.approx(exact, abs=0.03)
    assert found["difference"] == pytest.approx(each.mean())


def test_a_model_does_not_differ_from_itself():
    ours, _, labels, groups = plant(0, 0.0)
    found = compare_models(ours, ours, labels, groups, score, draws=20)
    for metric in ("mae", "corr", "f1", "a7"):
        assert found[metric] == {"difference": 0.0, "interval": [0.0, 0.0], "p": 1.0}


def test_turned_round_it_says_the_opposite():
    ours, theirs, labels, groups = plant(2, 0.2)
    one = compare_models(ours, theirs, labels, groups, mae, draws=200)["mae"]
    two = compare_models(theirs, ours, labels, groups, mae, draws=200)["mae"]
    assert two["difference"] == pytest.approx(-one["difference"])
    assert two["interval"] == pytest.approx([-one["interval"][1], -one["interval"][0]])
    assert two["p"] == one["p"]


def test_probabilities_are_exchanged_whole():
    random = np.random.default_rng(0)
    labels = random.integers(3, size=90).astype(float)
    good = np.eye(3)[labels.astype(int)] * 0.5 + random.dirichlet(np.ones(3), 90) * 0.5
    bad = random.dirichlet(np.ones(3), 90)
    groups = [f"v{n // 5}" for n in range(90)]
    measure = partial(score_target, target=MOOD)
    found = compare_models(good, bad, labels, groups, measure, draws=300)
    assert found["accuracy"]["p"] < 0.01
    assert found["f1"]["interval"][0] > 0


def test_what_is_not_defined_stays_so():
    found = compare_models(np.ones(4), np.zeros(4), np.arange(4.0), list("abcd"), score, draws=5)
    assert np.isnan(found["corr"]["difference"])
    assert np.isnan(found["corr"]["p"])


def test_one_video_alone_shows_nothing():
    random = np.random.default_rng(0)
    labels = random.uniform(-3, 3, 40)
    found = compare_models(labels + 0.1, labels + 1, labels, ["v"] * 40, mae, draws=50)["mae"]
    assert found["difference"] == pytest.approx(-0.9)
    assert np.isnan([*found["interval"], found["p"]]).all()
