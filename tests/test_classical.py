"""Support vector machines, the multiple kernels and the forest: what torch says is what
scikit-learn says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.svm import SVC, SVR

from rmfn.baselines import build
from rmfn.baselines.c_mkl import list_weights
from rmfn.baselines.forest import LEAVES, Trees, grow_forest
from rmfn.baselines.kernels import COSTS, Kernel, KernelMachine, scale_gamma
from rmfn.data import Batch
from rmfn.dataset import Target

CLASSICAL = ("svm", "svm-md", "rf", "c-mkl")
INPUTS = {"language": 4, "visual": 3}
HIDDEN = dict.fromkeys(INPUTS, 2)
TARGETS = (
    Target("sentiment"),
    Target("happy", "binary"),
    Target("mood", "classes", classes=("bad", "so so", "good", "unheard of")),
)
CLASSES = (0, 2, 4)
MEAN, STD = torch.tensor([0.5, 0.0, 0.0]), torch.tensor([1.5, 1.0, 1.0])


def draw_batch(n: int, seed: int) -> Batch:
    """Segments whose mean says the labels; the class "unheard of" is never given."""
    g = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 7, (n,), generator=g)
    there = torch.arange(6) < lengths[:, None]
    kind = torch.randint(0, 3, (n,), generator=g)
    features = {}
    for m, d in INPUTS.items():
        x = torch.randn(n, 6, d, generator=g)
        x[:, :, 0] += kind[:, None] - 1.0
        features[m] = x * there[:, :, None]
    labels = torch.stack([kind - 1.0, (kind > 0).float(), kind.float()], 1)
    labels[:, 0] += 0.3 * torch.randn(n, generator=g)
    labels[::9, 1] = torch.nan
    return Batch(features, lengths, dict.fromkeys(INPUTS, there), labels)


def learn(name: str, seed: int = 0, **settings) -> torch.nn.Module:
    model = build(name, INPUTS, HIDDEN, sum(k or 1 for k in CLASSES), classes=CLASSES, **settings)
    model.learn(draw_batch(80, 1), draw_batch(40, 2), TARGETS, MEAN, STD, seed)
    return model.eval()


def average_words(batch: Batch) -> np.ndarray:
    rows = []
    for n, length in enumerate(batch.lengths):
        rows.append(torch.cat([x[n, :length].mean(0) for x in batch.features.values()]).numpy())
    return np.array(rows, float)


def draw_rows(n: int = 90, d: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, d))
    return x, x[:, 0] + np.sin(2 * x[:, 1]) + 0.1 * random.normal(size=n)


def weigh(x: np.ndarray, y: np.ndarray, gamma: float) -> np.ndarray:
    return rbf_kernel(x, y, gamma=gamma) if gamma else x @ y.T


@pytest.mark.parametrize("gamma", [0.0, 0.3])
@pytest.mark.parametrize("cost", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("classes", [0, 2, 3, 4])
def test_a_machine_is_scikit_learns(gamma, cost, classes):
    x, y = draw_rows()
    new, _ = draw_rows(50, seed=1)
    if classes:
        y = np.floor((y.argsort().argsort() * classes) / len(y))
    machine, kernel = KernelMachine([5], classes), Kernel((1.0,), (gamma,))
    seen = torch.from_numpy(x)
    gram = machine.weigh_all(seen, kernel)
    np.testing.assert_allclose(gram, weigh(x, x, gamma), atol=1e-12)
    machine.learn(seen, torch.from_numpy(y), kernel, cost, gram)
    ours = machine(torch.from_numpy(new)).numpy()

    kind = SVC if classes else SVR
    extra = {"break_ties": True} if classes > 2 else {}
    theirs = kind(C=cost, kernel="precomputed", max_iter=20_000, **extra).fit(gram, y)
    between = weigh(new, x, gamma)
    if not classes:
        np.testing.assert_allclose(ours[:, 0], theirs.predict(between), atol=1e-9)
    else:
        found = theirs.decision_function(between)
        shown = ours if classes > 2 else ours[:, 1] - ours[:, 0]
        np.testing.assert_allclose(shown, found, atol=1e-9)
        assert (ours.argmax(1) == theirs.predict(between)).all()
    # With its own kernel scikit-learn stops elsewhere within the solver's tolerance.
    if gamma:
        alone = kind(C=cost, kernel="rbf", gamma=gamma, **extra).fit(x, y)
        found = alone.decision_function(new) if classes else alone.predict(new)
        np.testing.assert_allclose(ours[:, 0] if not classes else shown, found, atol=5e-3)


def test_a_sum_of_kernels_is_scikit_learns_precomputed():
    x, y = draw_rows()
    new, _ = draw_rows(50, seed=1)
    kernel = Kernel((0.25, 0.75), (0.4, 0.1))
    machine = KernelMachine([2, 3], 0)
    seen = torch.from_numpy(x)
    gram = machine.weigh_all(seen, kernel)
    expected = 0.25 * rbf_kernel(x[:, :2], gamma=0.4) + 0.75 * rbf_kernel(x[:, 2:], gamma=0.1)
    np.testing.assert_allclose(gram, expected, atol=1e-12)
    machine.learn(seen, torch.from_numpy(y), kernel, 10.0, gram)
    between = 0.25 * rbf_kernel(new[:, :2], x[:, :2], gamma=0.4)
    between += 0.75 * rbf_kernel(new[:, 2:], x[:, 2:], gamma=0.1)
    theirs = SVR(C=10.0, kernel="precomputed", max_iter=20_000).fit(gram, y).predict(between)
    np.testing.assert_allclose(machine(torch.from_numpy(new))[:, 0].numpy(), theirs, atol=1e-9)
    assert len(machine.vectors) < len(x)


def test_kernel_and_cost_are_those_that_err_least_on_validation():
    x, y = draw_rows(seed=3)
    u, v = draw_rows(60, seed=4)
    kernels = [Kernel((1.0,), (0.0,)), Kernel((1.0,), (0.2,))]
    machine = KernelMachine([5], 0)
    machine.choose(
        *((torch.from_numpy(a), torch.from_numpy(b)) for a, b in ((x, y), (u, v))), kernels
    )
    errors = {}
    for gamma in (0.0, 0.2):
        for cost in COSTS:
            kind = {"kernel": "rbf", "gamma": gamma} if gamma else {"kernel": "linear"}
            found = SVR(C=cost, **kind).fit(x, y).predict(u)
            errors[gamma, cost] = abs(found - v).mean()
    best = min(errors, key=errors.__getitem__)
    assert float(machine.gammas[0]) == best[0] == 0.2  # a sine is not linear
    ours = abs(machine(torch.from_numpy(u))[:, 0].numpy() - v).mean()
    assert ours == pytest.approx(errors[best], abs=1e-3)


@pytest.mark.parametrize("least", LEAVES)
def test_a_forest_is_scikit_learns(least):
    x, y = (each.astype(np.float32) for each in draw_rows())
    new = draw_rows(200, seed=1)[0].astype(np.float32)
    theirs = grow_forest(x, y, 0, least, 20, 0)
    assert isinstance(theirs, RandomForestRegressor)
    ours = Trees(0)
    ours.take(theirs)
    np.testing.assert_allclose(ours(torch.from_numpy(new))[:, 0], theirs.predict(new), atol=1e-12)
    # On the very edges of the splits, too
    edges = np.tile(x[:1], (len(theirs.estimators_[0].tree_.threshold), 1))
    edges[:, 0] = theirs.estimators_[0].tree_.threshold
    np.testing.assert_allclose(
        ours(torch.from_numpy(edges))[:, 0], theirs.predict(edges), atol=1e-12
    )

    many = np.floor((y.argsort().argsort() * 3) / len(y)) + 1  # classes 1 to 3 of 5
    theirs = grow_forest(x, many, 5, least, 20, 0)
    assert isinstance(theirs, RandomForestClassifier)
    ours = Trees(5)
    ours.take(theirs)
    found = ours(torch.from_numpy(new))
    share = theirs.predict_proba(new)
    np.testing.assert_allclose(found.exp()[:, 1:4], np.maximum(share, 1e-6), atol=1e-12)
    assert (found[:, [0, 4]].exp() <= 1.1e-6).all()
    assert (found.argmax(1).numpy() == theirs.predict(new)).all()


@pytest.mark.parametrize("name", CLASSICAL)
def test_it_learns_numbers_and_classes_at_once(name):
    model, new = learn(name), draw_batch(200, 3)
    found = model(new.features, new.lengths)
    assert found.shape == (200, 7)
    assert found.dtype == torch.float32
    error = (found[:, 0] * STD[0] + MEAN[0] - new.labels[:, 0]).abs().mean()
    assert error < 0.75 * (new.labels[:, 0] - new.labels[:, 0].median()).abs().mean()
    given = ~new.labels[:, 1].isnan()
    assert (found[given, 1:3].argmax(1) == new.labels[given, 1]).float().mean() > 0.75
    assert (found[:, 3:].argmax(1) == new.labels[:, 2]).float().mean() > 0.55
    # A class that no one gave is never said.
    assert (found[:, 6].softmax(0) < 0.1).all()
    assert (found[:, 3:].softmax(1)[:, 3] < 0.01).all()


@pytest.mark.parametrize("name", CLASSICAL)
def test_padding_and_company_change_nothing(name):
    model, new = learn(name), draw_batch(6, 4)
    together = model(new.features, new.lengths)
    for n, length in enumerate(new.lengths):
        alone = {m: x[n : n + 1, :length] for m, x in new.features.items()}
        np.testing.assert_allclose(model(alone, length[None])[0], together[n], atol=1e-6)
        for x in new.features.values():
            x[n, length:] = torch.nan
    np.testing.assert_array_equal(model(new.features, new.lengths), together)


@pytest.mark.parametrize("name", CLASSICAL)
def test_all_that_was_learned_is_in_the_state(name):
    model, new = learn(name), draw_batch(20, 5)
    other = build(name, INPUTS, HIDDEN, 7, classes=CLASSES)
    other.load_state_dict({key: value.clone() for key, value in model.state_dict().items()})
    assert torch.equal(other(new.features, new.lengths), model(new.features, new.lengths))
    again = learn(name)
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), again.buffers(), strict=True))


@pytest.mark.parametrize("name", ["svm", "c-mkl"])
def test_standardised_averages_are_read(name):
    model, new = learn(name), draw_batch(30, 6)
    seen = average_words(draw_batch(80, 1))
    scaled = (seen - seen.mean(0)) / seen.std(0)
    rows = (average_words(new) - seen.mean(0)) / seen.std(0)
    found = model.standard(model.describe(new.features, new.lengths))
    np.testing.assert_allclose(found, rows, atol=1e-5)
    for machine in model.machines:
        distance = abs(machine.vectors.numpy()[:, None] - scaled[None]).max(2)
        assert distance.min(1).max() < 1e-5
        for gamma, part in zip(machine.gammas.tolist(), np.split(scaled, [4], 1), strict=False):
            part = scaled if name == "svm" else part
            assert gamma in (0, pytest.approx(1 / (part.shape[1] * part.var()), rel=1e-5))


def test_the_dictionary_counts_nearest_units():
    model, train, new = learn("svm-md", seed=3), draw_batch(80, 1), draw_batch(10, 7)
    rows = torch.cat([train.features["visual"][n, :k] for n, k in enumerate(train.lengths)])
    units = KMeans(32, n_init=1, random_state=3).fit(rows.double().numpy())
    np.testing.assert_allclose(model.units_visual, units.cluster_centers_, atol=1e-9)
    found = model.describe(new.features, new.lengths)
    assert found.shape == (10, 7 + 2 * 32)
    for n, length in enumerate(new.lengths):
        nearest = units.predict(new.features["visual"][n, :length].double().numpy())
        counts = np.bincount(nearest, minlength=32) / int(length)
        np.testing.assert_allclose(found[n, 7 + 32 :], counts, atol=1e-12)


def test_weights_of_kernels_are_the_simplex_evenest_first():
    assert list_weights(1, 4) == [(1.0,)]
    weights = list_weights(3, 4)
    assert len(weights) == len(set(weights)) == 15
    assert all(sum(each) == 1 for each in weights)
    assert set(weights[:3]) == {(0.5, 0.25, 0.25), (0.25, 0.5, 0.25), (0.25, 0.25, 0.5)}
    assert set(weights[-3:]) == {(1, 0, 0), (0, 1, 0), (0, 0, 1)}


def test_multiple_kernels_leave_out_what_says_nothing():
    batches = [draw_batch(80, 1), draw_batch(60, 2)]
    noise = torch.Generator().manual_seed(0)
    for batch in batches:
        batch.features["visual"][:] = torch.randn(batch.features["visual"].shape, generator=noise)
    model = build("c-mkl", INPUTS, HIDDEN, 1, classes=(0,))
    part = [Batch(b.features, b.lengths, b.observed, b.labels[:, :1]) for b in batches]
    model.learn(*part, TARGETS[:1], MEAN[:1], STD[:1], 0)
    language, visual = model.machines[0].weights.tolist()
    assert language > visual


@pytest.mark.parametrize("name", CLASSICAL)
def test_little_to_learn_from_is_no_reason_to_fail(name):
    """One class only, or no label of one target at all, in training or validation."""
    train, valid = draw_batch(30, 1), draw_batch(10, 2)
    train.labels[:, 0] = torch.nan
    train.labels[:, 1] = 1.0
    valid.labels[:, 2] = torch.nan
    model = build(name, INPUTS, HIDDEN, 7, classes=CLASSES)
    model.learn(train, valid, TARGETS, MEAN, STD, 0)
    found = model(valid.features, valid.lengths)
    assert torch.isfinite(found).all()
    assert (found[:, 0] == 0).all()
    assert (found[:, 1:3].argmax(1) == 1).all()


def test_gamma_is_scikit_learns_scale():
    x, y = draw_rows()
    assert scale_gamma(torch.from_numpy(x)) == pytest.approx(SVR(gamma="scale").fit(x, y)._gamma)
    assert scale_gamma(torch.ones(4, 2)) == 1.0
