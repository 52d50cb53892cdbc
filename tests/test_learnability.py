"""RMFN learns what averages and late fusion cannot, through z and through nothing else."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from rmfn.baselines import build
from rmfn.learnability import (
    Study,
    Task,
    cut_z,
    draw_batch,
    explained,
    explained_by_averages,
    learn,
)

TASK = Task(words=(5, 6), gap=1)
STUDY = Study(steps=350, batch=32)


def draw(n: int = 500, task: Task = TASK, seed: int = 0):
    return draw_batch(task, n, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("task", [TASK, Task()])
def test_the_label_is_the_number_that_the_sign_asks_for(task):
    batch = draw(task=task)
    asked = set()
    for n, length in enumerate(batch.lengths.tolist()):
        sign = batch.features["acoustic"][n, :, 0]
        assert sign.sum() == 1
        place = int(sign.argmax()) + task.gap
        assert place < length
        assert batch.labels[n, 0] == batch.features["language"][n, place, 0]
        assert batch.observed["language"][n].sum() == length
        asked.add((length, place))
    least, most = task.words
    assert asked == {(n, q) for n in range(least, most + 1) for q in range(task.gap, n)}


def test_the_same_seed_draws_the_same():
    first, second, other = draw(), draw(), draw(seed=1)
    assert torch.equal(first.labels, second.labels)
    assert not torch.equal(first.labels, other.labels)


def test_averages_explain_one_part_in_as_many_as_there_are_words():
    assert explained_by_averages(Task((8, 8)), n=50_000) == pytest.approx(1 / 8, abs=0.01)
    # and no other use of them does better: least squares over polynomials of both averages
    batch = draw(50_000, Task((8, 8)))
    v = batch.features["language"].mean(1).double()
    assert batch.features["acoustic"].mean(1).std() < 1e-6
    basis = torch.cat([v**power for power in range(6)], dim=1)
    label = batch.labels.double()
    found = basis @ torch.linalg.lstsq(basis, label).solution
    assert float(1 - (label - found).var() / label.var()) < 1 / 8 + 0.01


def test_late_fusion_has_sequences_that_it_cannot_tell_apart():
    """Borsuk and Ulam's pair for one unit, found: v and -v leave language in the same state."""
    torch.manual_seed(0)
    sizes = {"language": 1, "acoustic": 1}
    model = build("rmfn-no-mfp", sizes, {"language": 1, "acoustic": 2}).double().eval()
    states = []
    model.head.register_forward_pre_hook(lambda _, given: states.append(float(given[0][0, 0])))
    generator = torch.Generator().manual_seed(0)
    u, w = torch.randn(2, 6, generator=generator, dtype=torch.float64)

    def predict(v, place: int = 0) -> float:
        sign = torch.zeros(1, 6, 1, dtype=torch.float64)
        sign[0, place] = 1
        with torch.no_grad():
            features = {"language": v.reshape(1, 6, 1), "acoustic": sign}
            return float(model(features, torch.tensor([6])))

    def turn(angle: float):
        """A point on a circle, and how far language's state there is from its opposite's."""
        v = math.cos(angle) * u + math.sin(angle) * w
        predict(v)
        predict(-v)
        return v, states[-2] - states[-1]

    # The difference is the opposite half a circle further, so it is 0 somewhere in between.
    low, high = 0.0, math.pi
    start = turn(low)[1]
    assert start == pytest.approx(-turn(high)[1], abs=1e-12)
    assert start != 0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if turn(middle)[1] * start > 0 else (low, middle)
    v = turn(low)[0]
    assert v.norm() > 0.5
    for place in range(6):
        assert predict(v, place) == pytest.approx(predict(-v, place), abs=1e-12)
    # Elsewhere they can be told apart.
    assert predict(u) != pytest.approx(predict(-u), abs=1e-6)


@pytest.fixture(scope="module")
def rmfn() -> torch.nn.Module:
    return learn("rmfn", TASK, STUDY, seed=0)


def test_rmfn_learns_it_and_late_fusion_does_not(rmfn):
    found = explained(rmfn, TASK)
    late = explained(learn("rmfn-no-mfp", TASK, STUDY, seed=0), TASK)
    assert found > 0.9
    assert late < 0.6
    assert explained_by_averages(TASK) < 0.25


def test_what_it_learned_went_through_z(rmfn):
    deaf = copy.deepcopy(rmfn)
    cut_z(deaf)
    assert explained(deaf, TASK) < 0.3


def test_the_same_seed_learns_the_same():
    short = Study(steps=3, batch=8)
    first, second = (learn("rmfn", TASK, short, seed=1).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_papers_formula_keeps_its_scale():
    model = learn("rmfn-literal", TASK, Study(steps=1), 0)
    assert model.config.attention_scale == "literal"
    assert learn("rmfn", TASK, Study(steps=1), 0).config.attention_scale == "mean1"
