"""Targets as outputs: their layout, loss and metrics, against torch and scikit-learn by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score
from torch.nn import functional as F

from pipeline.errors import DatasetError
from rmfn.dataset import Target
from rmfn.tasks import (
    compute_loss,
    count_outputs,
    decode,
    find_constants,
    fit_scale,
    keep_on_scale,
    lay_out,
    read_labels,
    score_constants,
    score_target,
)
from tests.trained import HAPPY, LENGTH, MOOD, SENTIMENT, make_dataset

NAN = float("nan")
TARGETS = (SENTIMENT, HAPPY, MOOD, LENGTH)


def draw(n=40, seed=0):
    torch.manual_seed(seed)
    labels = torch.stack(
        [
            torch.empty(n).uniform_(-3, 3),
            torch.randint(2, (n,)).float(),
            torch.randint(3, (n,)).float(),
            torch.empty(n).uniform_(1, 7),
        ],
        1,
    )
    return torch.randn(n, 7), labels


def test_outputs_lie_side_by_side():
    assert count_outputs(TARGETS) == 7
    assert lay_out(TARGETS) == [slice(0, 1), slice(1, 3), slice(3, 6), slice(6, 7)]


def test_the_loss_is_l1_on_standard_scores_and_cross_entropy():
    raw, labels = draw()
    mean, std = fit_scale(labels, TARGETS)
    assert mean.tolist() == pytest.approx(
        [float(labels[:, 0].mean()), 0, 0, float(labels[:, 3].mean())]
    )
    assert std.tolist() == pytest.approx(
        [float(labels[:, 0].std(unbiased=False)), 1, 1, float(labels[:, 3].std(unbiased=False))]
    )
    parts = [
        F.l1_loss(raw[:, 0], (labels[:, 0] - mean[0]) / std[0]),
        F.cross_entropy(raw[:, 1:3], labels[:, 1].long()),
        F.cross_entropy(raw[:, 3:6], labels[:, 2].long()),
        F.l1_loss(raw[:, 6], (labels[:, 3] - mean[3]) / std[3]),
    ]
    weights = torch.tensor([1.0, 2.0, 0.5, 0.0])
    expected = (parts[0] + 2 * parts[1] + 0.5 * parts[2]) / 3.5
    assert float(compute_loss(raw, labels, TARGETS, mean, std, weights)) == pytest.approx(
        float(expected), rel=1e-6
    )


def test_labels_not_given_have_no_part_in_it():
    raw, labels = draw()
    mean, std = fit_scale(labels, TARGETS)
    weights = torch.ones(4)
    blank = labels.clone()
    blank[::3, 0], blank[1::3, 1], blank[:, 2] = NAN, NAN, NAN
    raw.requires_grad_()
    loss = compute_loss(raw, blank, TARGETS, mean, std, weights)
    rows0, rows1 = ~blank[:, 0].isnan(), ~blank[:, 1].isnan()
    parts = [
        compute_loss(raw[rows, part], labels[rows, n : n + 1], [target], *scale, weights[:1])
        for n, target, part, rows in (
            (0, SENTIMENT, slice(0, 1), rows0),
            (1, HAPPY, slice(1, 3), rows1),
            (3, LENGTH, slice(6, 7), slice(None)),
        )
        for scale in [(mean[n : n + 1], std[n : n + 1])]
    ]
    assert float(loss.detach()) == pytest.approx(float(sum(parts).detach()) / 3, rel=1e-6)
    loss.backward()
    assert torch.isfinite(raw.grad).all()
    assert (raw.grad[::3, 0] == 0).all()
    assert (raw.grad[:, 3:6] == 0).all()
    # a batch in which nothing is labelled moves nothing, and is no NaN
    raw.grad = None
    nothing = compute_loss(raw, torch.full_like(labels, NAN), TARGETS, mean, std, weights)
    nothing.backward()
    assert float(nothing.detach()) == 0
    assert (raw.grad == 0).all()
    # nor in the scale
    mean, _ = fit_scale(blank, TARGETS)
    assert float(mean[0]) == pytest.approx(float(labels[rows0, 0].mean()))


def test_decoded_outputs_are_units_and_probabilities():
    raw, labels = draw()
    mean, std = fit_scale(labels, TARGETS)
    found = decode(raw, TARGETS, mean, std)
    assert torch.allclose(found[:, 0], raw[:, 0] * std[0] + mean[0])
    assert torch.allclose(found[:, 1], torch.sigmoid(raw[:, 1] - raw[:, 2]))
    assert torch.allclose(found[:, 3:6].sum(1), torch.ones(40))
    kept = keep_on_scale(np.array([[9.0, 0.2, 0.8, 0.1, 0.2, 0.7, 0.0]]), TARGETS)
    assert kept.tolist() == [[3.0, 0.2, 0.8, 0.1, 0.2, 0.7, 1.0]]


def test_metrics_are_over_what_was_given():
    random = np.random.default_rng(0)
    labels = random.integers(3, size=60).astype(float)
    labels[::4] = NAN
    p = random.dirichlet(np.ones(3), 60)
    found = score_target(p, labels, MOOD)
    given = ~np.isnan(labels)
    y, said = labels[given], p[given].argmax(1)
    assert found["n"] == 45
    assert found["accuracy"] == pytest.approx(accuracy_score(y, said))
    assert found["f1"] == pytest.approx(f1_score(y, said, average="weighted"))
    assert found["f1_macro"] == pytest.approx(f1_score(y, said, average="macro"))


def test_accuracies_are_named_after_the_scale():
    """POM: traits from 1 to 7 and from 1 to 5, rounded; the positive side is from the middle."""
    five = replace(LENGTH, high=5.0)
    p, y = np.array([[1.4], [2.6], [6.0]]), np.array([1.0, 3.0, 5.0])
    found = score_target(p, y, five)
    assert found["a5"] == 1
    assert found["a5_unclipped"] == pytest.approx(2 / 3)
    assert found["a2"] == pytest.approx(2 / 3)  # 2.6 is below 3, 3 is not
    assert "a7" in score_target(p, y, LENGTH)
    assert score_target(p, y, replace(five, threshold=2.5))["a2"] == 1


def test_majority_of_a_published_table():
    """Of happy's 938 IEMOCAP test segments 85.6 % are of one kind: always saying it is the table's
    row 85.6 / 79.0."""
    labels = np.repeat([0.0, 1.0], [803, 135])
    constants = find_constants(labels, HAPPY)
    assert constants == {"majority": 0.0}
    found = score_constants(constants, labels, HAPPY)["majority"]
    assert found["accuracy"] == pytest.approx(0.856, abs=5e-4)
    assert found["f1"] == pytest.approx(0.790, abs=5e-4)


def test_constants_come_from_the_labels_given():
    labels = np.array([NAN, 1.0, 3.0, 3.0, NAN])
    found = find_constants(labels, replace(LENGTH, threshold=3.5))
    assert found["mean"] == pytest.approx(7 / 3)
    assert (found["negative"], found["positive"]) == (2.5, 4.5)
    assert score_constants(found, labels, LENGTH)["mode"]["n"] == 3


def test_labels_are_read_in_the_order_of_the_targets():
    dataset = make_dataset(20)
    found = read_labels(dataset, (LENGTH, SENTIMENT))
    assert found[:, 0].tolist() == [len(s.words) for s in dataset.sequences]
    assert found[:, 1].tolist() == dataset.labels["sentiment"].tolist()
    with pytest.raises(DatasetError, match="'toy' has no label 'x'; it has sentiment, happy, mood"):
        read_labels(dataset, (Target("x"),))
    with pytest.raises(DatasetError, match=r"has the mood 2, expected a class number, 0 to 1"):
        read_labels(replace(dataset, targets=()), (replace(MOOD, classes=("a", "b")),))


def test_classes_are_matched_by_name():
    """Another file of the same labels may lack a class, and so number them otherwise."""
    dataset = make_dataset(20)
    expected = read_labels(dataset, [MOOD])
    backwards = replace(
        dataset,
        labels={"mood": 2 - dataset.labels["mood"]},
        targets=(replace(MOOD, classes=MOOD.classes[::-1]),),
    )
    assert read_labels(backwards, [MOOD]).tolist() == expected.tolist()
    strange = replace(dataset, targets=(replace(MOOD, classes=("bad", "so so", "furious")),))
    with pytest.raises(DatasetError, match="the mood 'furious' is none of bad, so so, good"):
        read_labels(strange, [MOOD])
