"""Where a model errs, against segments of which the answers are written by hand."""

from __future__ import annotations

import numpy as np
import pytest

from rmfn.metrics import score
from rmfn.pages.errors import (
    Scored,
    bin_by_coverage,
    bin_by_length,
    choose_scored,
    count_confusion,
    describe_label,
    find_worst,
    measure_coverage,
    measure_density,
    measure_reliability,
)
from rmfn.segments import Segments
from rmfn.targets import Target

SENTIMENT = Target("sentiment", "regression", -3.0, 3.0)
MOOD = Target("mood", "classes", 0.0, 2.0, ("bad", "so so", "good"))


def make_segments(labels, predicted, words=None, coverage=None, videos=None) -> Segments:
    n = len(labels)
    return Segments(
        "by hand",
        tuple(f"id{k}" for k in range(n)),
        tuple(videos or (f"v{k}" for k in range(n))),
        tuple(f"text {k}" for k in range(n)),
        np.arange(n) * 1.5,
        np.arange(n) * 1.5 + 1,
        np.array(words or [5] * n),
        {"visual": np.array(coverage or [1.0] * n)},
        np.array(labels, float).reshape(n, -1),
        np.array(predicted, float).reshape(n, -1),
    )


def score_first(segments: Segments, target: Target = SENTIMENT) -> Scored:
    return choose_scored(segments, 0, target, slice(0, segments.predicted.shape[1]))


def test_confusion_counts_what_the_accuracy_counts():
    random = np.random.default_rng(0)
    labels, predicted = random.uniform(-3, 3, 500), random.uniform(-4, 4, 500)
    names, counts = count_confusion(score_first(make_segments(labels, predicted)))
    assert names == ["-3", "-2", "-1", "0", "+1", "+2", "+3"]
    assert counts.sum() == 500
    assert np.trace(counts) / 500 == pytest.approx(score(predicted, labels)["a7"])
    one = count_confusion(score_first(make_segments([2.4], [-3.7])))[1]
    assert np.argwhere(one).tolist() == [[5, 0]]  # a row is the label, a column what was said


def test_confusion_of_classes():
    segments = make_segments([0, 2, 2], [[0.1, 0.7, 0.2], [0, 0, 1], [0.5, 0.3, 0.2]])
    names, counts = count_confusion(score_first(segments, MOOD))
    assert names == ["bad", "so so", "good"]
    assert counts.tolist() == [[0, 1, 0], [0, 0, 0], [1, 0, 1]]


def test_coverage_is_left_out_where_there_are_too_few_segments_to_tell():
    random = np.random.default_rng(0)
    labels = random.uniform(-3, 3, 15)
    some = score_first(make_segments(labels, labels + random.normal(0, 1, 15)))
    assert list(measure_coverage(some)) == [0.5, 0.6, 0.7, 0.8, 0.9]  # 95 % needs 19 of others
    videos = ["v"] * 15
    assert measure_coverage(score_first(make_segments(labels, labels, videos=videos))) == {}


def test_labels_that_nobody_gave_are_passed_over():
    scored = score_first(make_segments([np.nan, 1, np.nan, 2], [9, 1.5, 9, 0]))
    assert scored.errors.tolist() == [0.5, 2.0]
    assert scored.groups == ["v1", "v3"]
    assert [one["id"] for one in find_worst(scored)] == ["id3", "id1"]


def test_bins_of_length_hold_every_segment_once():
    random = np.random.default_rng(1)
    words = random.integers(1, 40, 400)
    errors = words / 10
    labels = np.where(np.arange(400) % 4, 0.0, np.nan)  # a quarter has none
    scored = score_first(make_segments(labels, errors, words=words.tolist()))
    bins = bin_by_length(scored)
    words, errors = words[~np.isnan(labels)], errors[~np.isnan(labels)]
    assert sum(part.count for part in bins) == 300
    assert len(bins) == 6
    low, high = (int(edge) for edge in bins[0].name.split(" to "))
    inside = (words >= low) & (words <= high)
    assert (bins[0].count, low) == (inside.sum(), words.min())
    assert bins[0].error == pytest.approx(errors[inside].mean())
    assert bins[-1].name.endswith(f" to {words.max()}")
    assert all(part.interval[0] < part.error < part.interval[1] for part in bins)
    (only,) = bin_by_length(score_first(make_segments([0, 0], [1, 3])))
    assert (only.name, only.count, only.error) == ("5", 2, 2.0)


def test_bins_of_coverage_know_none_and_all():
    coverage = [0.0, 0.2, 0.6, 0.95, 1.0, 1.0]
    scored = score_first(make_segments([0] * 6, [1, 2, 3, 4, 5, 7], coverage=coverage))
    found = {part.name: (part.count, part.error) for part in bin_by_coverage(scored, "visual")}
    assert found == {
        "none": (1, 1),
        "up to half": (1, 2),
        "half to 90 %": (1, 3),
        "above 90 %": (1, 4),
        "all": (2, 6),
    }


def test_intervals_hold_as_often_as_they_say():
    random = np.random.default_rng(2)
    videos = [f"v{n}" for n in random.integers(40, size=3000)]
    noise = random.laplace(0, 0.4, 3000)
    found = measure_coverage(score_first(make_segments(np.zeros(3000), noise, videos=videos)))
    assert list(found) == [0.5, 0.6, 0.7, 0.8, 0.9, 0.95]
    for level, share in found.items():
        assert share == pytest.approx(level, abs=0.03)
    alone = make_segments([0, 0], [1, 2], videos=["v", "v"])
    assert measure_coverage(score_first(alone)) == {}


def test_probabilities_are_held_against_how_often_they_were_right():
    sure = [[0.05, 0.0, 0.95]] * 4 + [[0.6, 0.2, 0.2]] * 2
    segments = make_segments([2, 2, 2, 0, 0, 1], sure)
    (first, low), (second, high) = measure_reliability(score_first(segments, MOOD))
    assert (first, low.error, low.count) == (pytest.approx(0.6), 0.5, 2)
    assert (second, high.error, high.count) == (pytest.approx(0.95), 0.75, 4)


def test_density_is_where_the_segments_are():
    scored = score_first(make_segments([2.0] * 50, [-1.0] * 50))
    middles, cells = measure_density(scored)
    predicted, true = np.unravel_index(cells.argmax(), cells.shape)
    assert middles[predicted] == pytest.approx(-1, abs=0.1)
    assert middles[true] == pytest.approx(2, abs=0.1)
    assert cells.sum() == pytest.approx(50, abs=0.1)


def test_the_worst_come_first():
    segments = make_segments([0, 3, -3], [0.5, -1, -3])
    worst = find_worst(score_first(segments), count=2)
    assert [(one["id"], one["label"], one["predicted"]) for one in worst] == [
        ("id1", 3.0, [-1.0]),
        ("id0", 0.0, [0.5]),
    ]
    assert (worst[0]["text"], worst[0]["video"], worst[0]["start"]) == ("text 1", "v1", 1.5)
    classes = make_segments([0, 1], [[0.2, 0.5, 0.3], [0.8, 0.1, 0.1]])
    assert [one["id"] for one in find_worst(score_first(classes, MOOD))] == ["id1", "id0"]


def test_labels_in_a_few_characters():
    assert describe_label(SENTIMENT, [1.234]) == "+1.23"
    assert describe_label(Target("stars", "regression", 1, 5), [4.5]) == "4.50"
    assert describe_label(MOOD, [2.0]) == "good"
    assert describe_label(MOOD, [0.1, 0.7, 0.2]) == "so so (70%)"
    assert describe_label(Target("happy", "binary"), [1.0]) == "1"
