"""Metrics against scikit-learn, scipy and planted data."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error

from rmfn.metrics import bootstrap, find_constants, score, score_classes, weighted_f1
from rmfn.tasks import score_constants
from tests.trained import SENTIMENT


def draw(n=500, seed=0):
    random = np.random.default_rng(seed)
    labels = np.round(random.uniform(-3, 3, n) * 5) / 5
    predictions = labels + random.normal(0, 1.5, n)
    predictions[:5] = [0.0, -0.0, 3.5, -4.2, 0.5]
    return predictions, labels


def test_agrees_with_the_libraries():
    p, y = draw()
    found = score(p, y)
    assert found["n"] == 500
    assert found["mae"] == pytest.approx(mean_absolute_error(y, p))
    assert found["corr"] == pytest.approx(pearsonr(p, y)[0])
    assert found["a2"] == pytest.approx(accuracy_score(y >= 0, p >= 0))
    assert found["f1"] == pytest.approx(f1_score(y >= 0, p >= 0, average="weighted"))
    told = y != 0
    assert (~told).sum() > 0
    assert found["a2_nonzero"] == pytest.approx(accuracy_score(y[told] > 0, p[told] > 0))
    assert found["f1_nonzero"] == pytest.approx(
        f1_score(y[told] > 0, p[told] > 0, average="weighted")
    )
    clipped = accuracy_score(np.round(np.clip(y, -3, 3)) + 9, np.round(np.clip(p, -3, 3)) + 9)
    assert found["a7"] == pytest.approx(clipped)
    assert found["a7_unclipped"] == pytest.approx(accuracy_score(np.round(y) + 9, np.round(p) + 9))


def test_planted_values():
    found = score([0.0, -0.1, 3.6, 2.5, -0.4], [0.0, 0.2, 3.0, 2.4, -2.0])
    assert found["mae"] == pytest.approx((0 + 0.3 + 0.6 + 0.1 + 1.6) / 5)
    assert found["a2"] == 0.8
    assert found["a2_nonzero"] == 0.75
    # 0, -0.1 -> 0 = 0.2 -> 0; 3.6 -> 3 clipped, 4 not; 2.5 -> 2 half to even = 2.4; -0.4 != -2
    assert found["a7"] == 0.8
    assert found["a7_unclipped"] == 0.6


def test_constant_of_the_published_table():
    """379 negative, 30 zero, 277 positive test segments of CMU-MOSI: "not negative" everywhere is
    a published baseline's row, 44.75 % accuracy and 27.67 % weighted F1."""
    labels = np.repeat([-1.0, 0.0, 1.0], [379, 30, 277])
    found = score(np.ones(686), labels)
    assert found["a2"] == pytest.approx(0.4475, abs=5e-5)
    assert found["f1"] == pytest.approx(0.2767, abs=5e-5)


def test_f1_is_weighted_by_true_support():
    predicted = np.array([True] * 8 + [False] * 2)
    true = np.array([True] * 3 + [False] * 7)
    expected = f1_score(true, predicted, average="weighted")
    assert weighted_f1(predicted, true) == pytest.approx(expected)
    assert weighted_f1(true, predicted) != pytest.approx(expected)


def test_constants_have_no_correlation_and_are_the_trainings():
    constants = find_constants([-2, -2, 1, 1.2, 3])
    assert constants["mean"] == pytest.approx(0.24)
    assert constants["median"] == 1
    assert constants["mode"] == -2  # of two as frequent the lower
    found = score_constants(constants, np.array([0.24, 1.24]), SENTIMENT)
    assert found["mean"]["mae"] == pytest.approx(0.5)
    assert math.isnan(found["mean"]["corr"])
    assert found["negative"]["a2"] == 0
    assert found["positive"]["a2"] == 1


def test_threshold_and_limit_are_the_corpus():
    found = score([3.4, 3.6, 5.4], [4, 4, 5], threshold=3.5, low=1, high=5)
    assert found["a2"] == pytest.approx(2 / 3)
    assert found["a5"] == pytest.approx(2 / 3)
    assert found["a5_unclipped"] == pytest.approx(2 / 3)


def test_no_signs_to_tell():
    found = score([1.0, -1.0], [0.0, 0.0])
    assert math.isnan(found["a2_nonzero"])
    assert math.isnan(found["f1_nonzero"])


def test_bootstrap_draws_groups_not_rows():
    """Videos whose segments all err alike: rows drawn one by one would look far too certain."""
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 20)
    errors = np.repeat(random.normal(0, 1, 30), 20)
    labels = random.uniform(-3, 3, 600)
    found = bootstrap(labels + errors, labels, groups.tolist(), draws=400)
    alone = bootstrap(labels + errors, labels, list(range(600)), draws=400)
    mae = abs(errors).mean()
    spread = abs(errors)[::20].std() / np.sqrt(30)
    assert found["mae"][0] < mae < found["mae"][1]
    assert found["mae"][1] - found["mae"][0] == pytest.approx(2 * 1.96 * spread, rel=0.2)
    assert alone["mae"][1] - alone["mae"][0] < 0.4 * (found["mae"][1] - found["mae"][0])
    assert found == bootstrap(labels + errors, labels, groups.tolist(), draws=400)


def test_bootstrap_of_an_undefined_metric_is_nan():
    found = bootstrap([1.0, 1.0], [1.0, 2.0], ["a", "b"], draws=10)
    assert np.isnan(found["corr"]).all()


def test_bootstrap_of_one_video_knows_no_interval():
    """Drawing the only one there is gives the same again: a point, as if nothing were more sure."""
    found = bootstrap([1.0, 2.0, 0.0], [1.0, 3.0, 0.5], ["a", "a", "a"], draws=10)
    assert np.isnan(found["mae"]).all()
    assert set(found) == set(bootstrap([1.0, 2.0, 0.0], [1.0, 3.0, 0.5], ["a", "a", "b"], draws=3))


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="must both be"):
        score([1, 2], [1])
    with pytest.raises(ValueError, match="nothing to score"):
        score([], [])
    with pytest.raises(ValueError, match="must be finite"):
        score([float("nan")], [1])
    with pytest.raises(ValueError, match=r"must be \[n, classes\] and labels \[n\], got"):
        score_classes([0.5, 0.5], [1, 0])
    with pytest.raises(ValueError, match="nothing to score"):
        score_classes(np.empty((0, 2)), [])
    with pytest.raises(ValueError, match="must be finite"):
        score_classes([[float("nan"), 1]], [1])


def test_classes_agree_with_the_library():
    random = np.random.default_rng(0)
    for classes in (2, 3, 5):
        p, y = random.dirichlet(np.ones(classes), 80), random.integers(classes, size=80)
        found, said = score_classes(p, y), p.argmax(1)
        assert found["accuracy"] == pytest.approx(accuracy_score(y, said))
        assert found["f1"] == pytest.approx(f1_score(y, said, average="weighted"))
        assert found["f1_macro"] == pytest.approx(f1_score(y, said, average="macro"))
