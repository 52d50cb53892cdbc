"""THMM against enumeration and against hmmlearn; what it learns, and from how little."""

from __future__ import annotations

import math
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from hmmlearn.hmm import GaussianHMM

from rmfn.baselines import build
from rmfn.baselines.levels import make_centres
from rmfn.baselines.thmm import (
    FEWEST,
    NARROWEST,
    RAREST,
    ROUNDS,
    THMM,
    HMMs,
    fit_hmm,
    measure,
    stack,
)
from rmfn.data import Batch, Example, collate
from rmfn.dataset import Target
from rmfn.ensemble import Ensemble
from rmfn.lsthm import pack
from rmfn.running import TrainSettings
from rmfn.tasks import fit_scale
from rmfn.train import Fitted, fit
from tests.trained import ALL_KINDS, TARGETS, keep_and_load, make_corpus, make_examples

INPUTS = {"a": 2, "b": 2}
LENGTHS = torch.tensor([3, 1, 4])


def draw_hmms(labels: int = 2, states: int = 2, size: int = 3) -> HMMs:
    torch.manual_seed(0)
    return HMMs(
        torch.randn(labels, states).double().log_softmax(1),
        torch.randn(labels, states, states).double().log_softmax(2),
        torch.randn(labels, states, size).double(),
        torch.rand(labels, states, size).double() + 0.2,
    )


def draw(size: int = 3) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    torch.manual_seed(1)
    x = torch.randn(3, 4, size).double()
    return x, {"x": x}


def make_order(count: int, seed: int) -> list[Example]:
    """Two hidden events, one in each modality; the label is which comes first."""
    dice = np.random.default_rng(seed)
    examples = []
    for _ in range(count):
        length, label = int(dice.integers(6, 11)), int(dice.integers(2))
        early, late = sorted(dice.choice(length, 2, replace=False))
        first, second = (late, early) if label else (early, late)
        x = dice.normal(0, 0.3, (length, 4)).astype(np.float32)
        x[first, 0] += 3
        x[second, 2] += 3
        rows = torch.from_numpy(x)
        seen = dict.fromkeys(INPUTS, torch.ones(length, dtype=torch.bool))
        features = {"a": rows[:, :2], "b": rows[:, 2:]}
        examples.append(Example(features, seen, torch.tensor([float(label)])))
    return examples


def relabel(batch: Batch, labels) -> Batch:
    return Batch(batch.features, batch.lengths, batch.observed, torch.tensor(labels).float())


def learn(classes, training: Batch, validation: Batch, targets, seed: int = 0, **settings) -> THMM:
    outputs = sum(count or 1 for count in classes)
    model = build("thmm", INPUTS, INPUTS, outputs, classes=classes, **settings)
    assert isinstance(model, THMM)
    model.learn(training, validation, targets, *fit_scale(training.labels, targets), seed)
    return model


def test_likelihoods_are_sums_over_all_paths():
    hmms = draw_hmms()
    x, features = draw()
    words = pack(features, LENGTHS, ["x"])
    found = measure(words.rows["x"], words, hmms)
    for n, length in enumerate(LENGTHS.tolist()):
        for y in range(2):
            total = 0.0
            for path in product(range(2), repeat=length):
                log = hmms.start[y, path[0]].item()
                log += sum(hmms.moves[y, i, j].item() for i, j in pairwise(path))
                for t, s in enumerate(path):
                    v = hmms.variances[y, s]
                    square = (x[n, t] - hmms.means[y, s]) ** 2 / v
                    log -= 0.5 * (square + v.log() + math.log(2 * math.pi)).sum().item()
                total += math.exp(log)
            assert found[n, y].item() == pytest.approx(math.log(total), abs=1e-10)


def test_states_that_no_path_is_in_change_nothing():
    hmms = draw_hmms(1)
    _, features = draw()
    words = pack(features, LENGTHS, ["x"])
    more = stack([hmms, draw_hmms(1)], 5)
    assert more.moves.shape == (2, 5, 5)
    alone = measure(words.rows["x"], words, hmms)
    together = measure(words.rows["x"], words, more)
    assert abs(together - alone).max() < 1e-10


def as_hmmlearn(model: THMM, label: int, states: int) -> GaussianHMM:
    hmm = GaussianHMM(states, "diag")
    hmm.startprob_ = model.start[label, :states].exp().numpy()
    hmm.transmat_ = model.moves[label, :states, :states].exp().numpy()
    hmm.means_ = model.means[label, :states].numpy()
    hmm.covars_ = model.variances[label, :states].numpy()
    return hmm


def test_what_was_learnt_scores_as_hmmlearn_says():
    both, target = make_order(60, 0), Target("order", "binary")
    training, validation = collate(both[:40]), collate(both[40:])
    model = learn((2,), training, validation, [target], states=(3,))
    found = model.measure(training.features, training.lengths)
    for n, example in enumerate(both[:40]):
        x = torch.cat(list(example.features.values()), 1).double() @ model.directions
        for label in range(2):
            expected = as_hmmlearn(model, label, 3).score(x.numpy())
            assert found[n, label].item() == pytest.approx(expected, rel=1e-9)


def test_baum_welch_finds_the_states_that_made_the_words():
    torch.manual_seed(0)
    truth = GaussianHMM(2, "diag", random_state=0)
    truth.startprob_, truth.transmat_ = np.array([1.0, 0.0]), np.array([[0.9, 0.1], [0.3, 0.7]])
    truth.means_, truth.covars_ = np.array([[2.0, 0], [-2.0, 1]]), np.full((2, 2), 0.25)
    sequences = [torch.from_numpy(truth.sample(20, n)[0]) for n in range(40)]
    found = fit_hmm(sequences, 2, torch.cat(sequences), 0)
    order = found.means[0, :, 0].argsort(descending=True)
    assert abs(found.means[0, order] - torch.from_numpy(truth.means_)).max() < 0.1
    assert abs(found.variances - 0.25).max() < 0.06
    moves = found.moves.exp()[0][order][:, order]
    assert abs(moves - torch.from_numpy(truth.transmat_)).max() < 0.06
    # No sequence began in the second state, which is rare and not impossible.
    assert found.start.exp()[0, order[1]].item() == pytest.approx(RAREST, rel=1e-3)


def test_learns_the_order_of_hidden_events():
    both, target = make_order(260, 0), Target("order", "binary")
    training, validation = collate(both[:120]), collate(both[120:160])
    model = learn((2,), training, validation, [target])
    unseen = collate(both[160:])
    found = model(unseen.features, unseen.lengths)
    assert (found.argmax(1) == unseen.labels[:, 0]).float().mean() > 0.9
    assert abs(found.exp().sum(1) - 1).max() < 1e-6
    assert found.dtype == torch.float32
    # One state cannot know an order: chance.
    flat = learn((2,), training, validation, [target], states=(1,))
    means = flat(unseen.features, unseen.lengths).argmax(1)
    assert (means == unseen.labels[:, 0]).float().mean() < 0.65


def test_the_number_of_states_and_the_power_are_the_best_on_validation():
    """Whatever the labels that are learned from say, those of the validation set decide."""
    both, target = make_order(120, 0), Target("order", "binary")
    training, validation = collate(both[:80]), collate(both[80:])
    for states in ((1, 3), (3, 1)):
        model = learn((2,), training, validation, [target], states=states)
        assert model.start[:, 1:].isfinite().all()  # three states
    assert model.power.min() >= 0.1
    dice = np.random.default_rng(0)
    noise = relabel(validation, dice.integers(0, 2, (40, 1)))
    unsure = learn((2,), training, noise, [target], states=(1, 3))
    assert unsure.power.max() <= 0.03
    scores = unsure.power * unsure.measure(noise.features, noise.lengths) + unsure.prior
    found = unsure(noise.features, noise.lengths)
    assert abs(found - scores.log_softmax(1)).max() < 1e-6


def test_a_number_is_the_mean_of_levels():
    both, target = make_order(200, 0), Target("order", "regression", -3, 3)
    rows = [[[-1.0, 2.0][int(e.labels)]] for e in both]
    training = relabel(collate(both[:120]), rows[:120])
    validation = relabel(collate(both[120:160]), rows[120:160])
    mean, std = fit_scale(training.labels, [target])
    model = learn((0,), training, validation, [target])
    unseen, truth = collate(both[160:]), torch.tensor(rows[160:])
    found = model(unseen.features, unseen.lengths)
    assert found.shape == (40, 1)
    assert abs(found * std + mean - truth).mean() < 0.4
    scores = model.power * model.measure(unseen.features, unseen.lengths) + model.prior
    expected = scores.softmax(1) @ make_centres(5).double()
    assert abs(found[:, 0] - expected).max() < 1e-5


def test_targets_are_learned_as_if_each_were_alone():
    both = make_order(60, 0)
    order, other = Target("order", "binary"), Target("length", "regression", 1, 12)
    rows = [[e.labels.item(), float(len(e))] for e in both]
    rows[3][0] = rows[5][1] = math.nan
    training, validation = (
        relabel(collate(both[:40]), rows[:40]),
        relabel(collate(both[40:]), rows[40:]),
    )
    model = learn((2, 0), training, validation, [order, other], states=(1, 2))
    for n, (target, classes, part) in enumerate(((order, 2, slice(0, 2)), (other, 0, slice(2, 3)))):
        one = [[row[n]] for row in rows]
        single = learn(
            (classes,),
            relabel(training, one[:40]),
            relabel(validation, one[40:]),
            [target],
            states=(1, 2),
        )
        found = model(validation.features, validation.lengths)[:, part]
        assert torch.equal(found, single(validation.features, validation.lengths))


def test_few_words_of_a_class_make_one_gaussian():
    torch.manual_seed(0)
    words = 2 * torch.randn(100, 2).double()
    words[:, 1] = 7
    few = fit_hmm([words[:2], words[2:3]], 4, words, 0)
    assert FEWEST * 4 > 3
    assert torch.allclose(few.means, words[:3].mean(0).expand(1, 4, 2))
    expected = torch.tensor([words[:, 0].var(unbiased=False), NARROWEST])
    assert torch.allclose(few.variances, expected.double().expand(1, 4, 2))
    assert torch.allclose(few.moves.exp(), torch.tensor(0.25).double())
    none = fit_hmm([], 4, words, 0)
    assert torch.allclose(none.means, words.mean(0).expand(1, 4, 2))


def test_words_far_from_every_state_do_not_undo_the_learning():
    """Their density is no number above 0, but its log is."""
    torch.manual_seed(0)
    words = 0.3 * torch.randn(100, 24).double()
    words[30], words[70] = 5, -5
    halves = [words[:50], words[50:]]
    with pytest.raises(ValueError, match="underflow"):
        GaussianHMM(2, "diag", random_state=0, implementation="scaling").fit(words.numpy())
    found = fit_hmm(halves, 2, words, 0)
    expected = GaussianHMM(2, "diag", n_iter=ROUNDS, random_state=0)
    expected.fit(words.numpy(), [50, 50])
    assert torch.allclose(found.means[0], torch.from_numpy(expected.means_))
    assert not torch.allclose(found.means[0, 0], found.means[0, 1])


def test_words_that_are_all_the_same_make_nothing_undefined():
    words = torch.zeros(40, 3).double()
    found = fit_hmm([words[:20], words[20:]], 4, words, 0)
    for part in vars(found).values():
        assert part.isfinite().all()
    assert found.variances.min() >= NARROWEST


def test_a_class_of_which_there_is_no_segment_is_improbable():
    both = make_order(50, 0)
    mood = Target("mood", "classes", classes=("bad", "so so", "good"))
    model = learn((3,), collate(both[:40]), collate(both[40:]), [mood])
    assert torch.allclose(model.prior.exp()[2], torch.tensor(1 / 43).double())
    batch = collate(both)
    found = model(batch.features, batch.lengths)
    assert found.isfinite().all()
    assert (found.argmax(1) == 2).float().mean() < 0.1


def test_padding_and_company_change_nothing():
    both = make_order(60, 0)
    target = Target("order", "binary")
    model = learn((2,), collate(both[:40]), collate(both[40:]), [target]).double()
    batch = collate(both[:6])
    features = {m: x.double() for m, x in batch.features.items()}
    together = model(features, batch.lengths)
    for n, length in enumerate(batch.lengths):
        alone = model({m: x[n : n + 1, :length] for m, x in features.items()}, length[None])
        assert abs(alone[0] - together[n]).max() < 1e-10
        for x in features.values():
            x[n, length:] = math.nan
    assert torch.equal(model(features, batch.lengths), together)


def test_components_are_the_main_directions_of_all_words():
    both, target = make_order(60, 0), Target("order", "binary")
    training = collate(both[:40])
    model = learn((2,), training, collate(both[40:]), [target], components=2)
    assert model.directions.shape == (4, 2)
    x = torch.cat([torch.cat(list(e.features.values()), 1) for e in both[:40]]).double()
    _, _, right = torch.linalg.svd(x, full_matrices=False)
    assert abs((model.directions.T @ right[:2].T).abs() - torch.eye(2)).max() < 1e-6


def test_the_same_seed_learns_the_same():
    both, target = make_order(60, 0), Target("order", "binary")
    batches = collate(both[:40]), collate(both[40:])
    one, other = (learn((2,), *batches, [target], seed=3).state_dict() for _ in range(2))
    for name, value in one.items():
        assert torch.equal(value, other[name])


def test_is_trained_and_kept_as_any_other(tmp_path):
    scaler, examples = make_examples(60)
    network = lambda: build("thmm", **ALL_KINDS)  # noqa: E731
    fitted = fit(network, TARGETS, TrainSettings(), examples[20:], examples[:20], 0)
    assert isinstance(fitted, Fitted)
    assert len(fitted.history) == 1
    labels = torch.stack([example.labels[0] for example in examples])
    error = abs(fitted.predict(examples)[:, 0] - labels).mean()
    assert error < 0.8 * abs(labels - labels.median()).mean()
    ensemble = Ensemble(scaler, (fitted,))
    again = keep_and_load("thmm", ALL_KINDS, ensemble, tmp_path / "kept")
    sequences, _, _ = make_corpus(60)
    assert torch.equal(again.predict_each(sequences), ensemble.predict_each(sequences))
