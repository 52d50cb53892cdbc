"""The HCRF family against enumeration of all paths, and what its structures do and do not see."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch.nn import functional as F

from rmfn.baselines import MODELS, build
from rmfn.baselines.chain import find_posteriors, sum_paths
from rmfn.baselines.hcrf import HCRF, HCRFConfig, list_edges, summarise
from rmfn.baselines.levels import assign_labels, make_centres, read_out
from rmfn.ensemble import Ensemble
from rmfn.lsthm import pack
from rmfn.running import TrainSettings
from rmfn.train import fit
from tests.trained import ALL_KINDS, TARGETS, keep_and_load, make_corpus, make_examples

NAMES = [name for name, (_, model, _) in MODELS.items() if model is HCRF]
FLAT = [name for name in NAMES if "hss" not in name]
BOTH = {"views": True, "linked": True, "coupled": True}
INPUTS = {"language": 3, "visual": 2, "acoustic": 2}
LENGTHS = torch.tensor([2, 1, 3, 2])


def make(name: str, modalities: int = 3, classes=(2, 0), **settings) -> HCRF:
    torch.manual_seed(0)
    inputs = dict(list(INPUTS.items())[:modalities])
    outputs = sum(count or 1 for count in classes)
    settings = {"states": 2, "levels": 3, "classes": classes} | settings
    model = build(name, inputs, dict.fromkeys(inputs, 1), outputs, **settings)
    assert isinstance(model, HCRF)
    return model.double().eval()


def draw(model: HCRF, lengths=LENGTHS, seed: int = 1) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    shape = len(lengths), int(max(lengths))
    return {m: torch.randn(*shape, d).double() for m, d in model.config.inputs.items()}


def score(model: HCRF, features, lengths=LENGTHS) -> torch.Tensor:
    words = pack(features, lengths, model.config.inputs)
    return model.score(words.rows, words)


def views_of(model: HCRF, features, n: int, length: int) -> list[torch.Tensor]:
    x = [x[n, :length] for x in features.values()]
    return x if model.config.views else [torch.cat(x, dim=1)]


def spread(model: HCRF, layer: int):
    """All potentials as tables over all states of all labels, -inf where a state is not y's."""
    chains, S = model.layers[layer], model.config.states
    Y = chains.label.shape[1]
    read = [linear.weight.tolist() for linear in chains.read]
    if not model.config.disjoint:
        return read, chains.label.tolist(), chains.edge.tolist()
    label = torch.full((len(read), Y, Y * S), -math.inf)
    edge = torch.full((len(chains.edges), Y, Y * S, Y * S), 1e3)  # is never read
    for y in range(Y):
        own = slice(y * S, (y + 1) * S)
        label[:, y, own] = chains.label[:, y].float()
        edge[:, y, own, own] = chains.edge[:, y].float()
    return read, label.tolist(), edge.tolist()


def enumerate_paths(model: HCRF, x: list[torch.Tensor], layer: int = 0):
    """log sum_h exp(..) of each label, and p(h_t | y, x) as {(t, y, joint state): probability}."""
    read, label, edge = spread(model, layer)
    edges, N, S = model.layers[layer].edges, len(x[0]), len(label[0][0])
    emitted = [
        [
            [sum(w * f for w, f in zip(read[v][s], row, strict=True)) for s in range(S)]
            for row in seq
        ]
        for v, seq in enumerate(each.tolist() for each in x)
    ]
    totals, posteriors = [], {}
    for y in range(len(label[0])):
        own = [s for s in range(S) if label[0][y][s] > -math.inf]
        weights = {}
        for path in product(product(own, repeat=len(x)), repeat=N):
            log = 0.0
            for t, states in enumerate(path):
                for v, s in enumerate(states):
                    log += emitted[v][t][s] + label[v][y][s]
                for table, (lag, v, w) in zip(edge, edges, strict=True):
                    if t >= lag:
                        log += table[y][path[t - lag][v]][states[w]]
            weights[path] = math.exp(log)
        total = sum(weights.values())
        totals.append(math.log(total))
        for path, weight in weights.items():
            for t, states in enumerate(path):
                key = t, y, states
                posteriors[key] = posteriors.get(key, 0.0) + weight / total
    return totals, posteriors


def join_alike(x: list[torch.Tensor], posteriors, threshold: float) -> list[torch.Tensor]:
    """The next layer's frames, one after another."""
    groups = [[0]]
    for t in range(1, len(x[0])):
        pairs = [(p, posteriors[t - 1, y, h]) for (u, y, h), p in posteriors.items() if u == t]
        if max(abs(now - before) for now, before in pairs) > threshold:
            groups.append([])
        groups[-1].append(t)
    return [torch.stack([each[rows].mean(0) for rows in groups]) for each in x]


@pytest.mark.parametrize("modalities", [1, 2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_scores_are_sums_over_all_paths(name, modalities):
    big = modalities == 3
    model = make(name, modalities, merge=0.15)
    features = draw(model)
    found = score(model, features)
    for n, length in enumerate(LENGTHS.tolist()):
        if big and length > 2:
            continue
        x, expected = views_of(model, features, n, length), torch.zeros(5)
        for layer in range(model.config.layers):
            totals, posteriors = enumerate_paths(model, x, layer)
            expected += torch.tensor(totals)
            x = join_alike(x, posteriors, 0.15)
        assert abs(found[n] - expected).max() < 1e-5


def test_linked_and_coupled_edges_together_are_summed_too():
    torch.manual_seed(0)
    sizes = {"a": 2, "b": 1}
    model = HCRF(HCRFConfig(sizes, sizes, states=2, levels=2, **BOTH)).double()
    features = draw(model)
    for n, length in enumerate(LENGTHS.tolist()):
        totals, _ = enumerate_paths(model, views_of(model, features, n, length))
        assert abs(score(model, features)[n] - torch.tensor(totals)).max() < 1e-5


@pytest.mark.parametrize("name", FLAT)
def test_posteriors_are_those_of_all_paths_and_the_gradient_of_their_sum(name):
    model = make(name, 2)
    features = draw(model)
    words = pack(features, LENGTHS, model.config.inputs)
    x = list(words.rows.values())
    nodes, moves = model.layers[0](x if model.config.views else [torch.cat(x, 1)])
    nodes = nodes.detach().requires_grad_()
    found = find_posteriors(nodes, moves, words.sizes)
    assert abs(found.sum(2) - 1).max() < 1e-12
    sum_paths(nodes, moves, words.sizes).sum().backward()
    assert abs(found - nodes.grad).max() < 1e-12
    # The first sequence in order of length is the third.
    _, posteriors = enumerate_paths(model, views_of(model, features, 2, 3))
    states = sorted({h for _, y, h in posteriors if y == 1})
    for t, place in enumerate([0, 4, 7]):
        for k, h in enumerate(states):
            assert found[place, 1, k] == pytest.approx(posteriors[t, 1, h], abs=1e-5)


def test_outputs_are_probabilities_and_their_mean():
    model = make("mv-hcrf", classes=(2, 0, 4))
    features = draw(model)
    found, scores = model(features, LENGTHS), score(model, features)
    for part, own in ((slice(0, 2), slice(0, 2)), (slice(3, 7), slice(5, 9))):
        assert abs(found[:, part].exp().sum(1) - 1).max() < 1e-12
        assert abs(found[:, part] - scores[:, own].log_softmax(1)).max() < 1e-12
        # What the loss takes for logits are log-probabilities already.
        assert abs(found[:, part].softmax(1) - found[:, part].exp()).max() < 1e-12
    mean = scores[:, 2:5].softmax(1) @ torch.tensor([-2.0, 0.0, 2.0]).double()
    assert abs(found[:, 2] - mean).max() < 1e-12


def test_levels_are_the_nearest_of_even_ones():
    centres = make_centres(5)
    assert centres.tolist() == [-2, -1, 0, 1, 2]
    values = torch.tensor([-9.0, -1.4, 0.6, math.nan, 2.2])
    assert assign_labels(values, 0, centres).tolist() == [0, 1, 3, -1, 4]
    assert assign_labels(torch.tensor([2.0, math.nan, 0.0]), 3, centres).tolist() == [2, -1, 0]
    sure = torch.tensor([[0.0, 0, 0, 50, 0, 50, 0]])
    assert abs(read_out(sure, (0, 2), centres) - torch.tensor([[1.0, 0, -50]])).max() < 1e-6


def test_structures_are_lists_of_edges():
    assert list_edges(1, True, True) == [(1, 0, 0)]
    chains = {(1, 0, 0), (1, 1, 1), (1, 2, 2)}
    assert set(list_edges(3, False, False)) == chains
    assert set(list_edges(3, True, False)) == chains | {(0, 0, 1), (0, 0, 2), (0, 1, 2)}
    crossed = {(1, v, w) for v in range(3) for w in range(3)}
    assert set(list_edges(3, False, True)) == crossed
    for name in NAMES:
        edges = make(name).layers[0].edges
        if name.startswith("ef"):
            assert edges == ((1, 0, 0),)
        else:
            assert any(lag == 0 for lag, _, _ in edges) == name.startswith("mv")
            assert any(lag and v != w for lag, v, w in edges) == name.startswith("cmv")
        assert model_is_disjoint(name) == ("ld" in name)
        assert len(make(name).layers) == (3 if "hss" in name else 1)


def model_is_disjoint(name: str) -> bool:
    model = make(name)
    return model.layers[0].read[0].out_features == 5 * model.config.states


def test_linked_edges_join_words_and_coupled_ones_what_follows():
    """Which edges a single word sees; without edges between them views are models of their own."""
    for name in ("mv-hcrf", "cmv-hcrf"):
        model = make(name)
        chains, features = model.layers[0], draw(model)
        one = score(model, features, torch.tensor([1, 1, 1, 1])).sum()
        (grads,) = torch.autograd.grad(one, chains.edge, materialize_grads=True)
        seen = [edge for edge, grad in zip(chains.edges, grads, strict=True) if grad.any()]
        assert seen == ([(0, 0, 1), (0, 0, 2), (0, 1, 2)] if name == "mv-hcrf" else [])
        with torch.no_grad():
            for n, (_, v, w) in enumerate(chains.edges):
                if v != w:
                    chains.edge[n] = 0
        alone = torch.zeros(4, 5).double()
        for v, x in enumerate(features.values()):
            nodes = chains.read[v](pack({"x": x}, LENGTHS, ["x"]).rows["x"])[:, None]
            own = chains.edge[chains.edges.index((1, v, v))]
            words = pack({"x": x}, LENGTHS, ["x"])
            alone += sum_paths(nodes + chains.label[v], own, words.sizes)[words.back]
        assert abs(score(model, features) - alone).max() < 1e-12


@pytest.mark.parametrize("name", ["ef-ldhcrf", "mv-ldhcrf", "cmv-ldhcrf"])
def test_no_label_reads_another_ones_states(name):
    model = make(name)
    features, chains = draw(model), model.layers[0]
    before, S = score(model, features), model.config.states
    with torch.no_grad():
        for linear in chains.read:
            linear.weight[3 * S : 4 * S] += 1
        chains.label[:, 3] -= 2
        chains.edge[:, 3] *= 3
    after = score(model, features)
    others = [0, 1, 2, 4]
    assert torch.equal(after[:, others], before[:, others])
    assert abs(after[:, 3] - before[:, 3]).min() > 1e-3


def test_labels_share_what_states_read_unless_they_are_disjoint():
    model = make("ef-hcrf")
    features = draw(model)
    before = score(model, features)
    with torch.no_grad():
        model.layers[0].read[0].weight[0] += 1
    assert abs(score(model, features) - before).min() > 1e-4


def test_one_modality_has_one_chain():
    for early, views in (("ef-hcrf", "mv-hcrf"), ("ef-ldhcrf", "cmv-ldhcrf")):
        one, other = make(early, 1), make(views, 1)
        assert torch.equal(one(draw(one), LENGTHS), other(draw(one), LENGTHS))


@pytest.mark.parametrize("name", NAMES)
def test_padding_and_company_change_nothing(name):
    model = make(name, classes=(0, 3))
    lengths = torch.tensor([4, 1, 6, 4, 2])
    features = draw(model, lengths)
    together = model(features, lengths)
    assert together.shape == (5, 4)
    assert together.std(0).min() > 0
    for n, length in enumerate(lengths):
        alone = model({m: x[n : n + 1, :length] for m, x in features.items()}, length[None])
        assert abs(alone[0] - together[n]).max() < 1e-12
    for x in features.values():
        for n, length in enumerate(lengths):
            x[n, length:] = float("nan")
    assert torch.equal(model(features, lengths), together)


@pytest.mark.parametrize("name", [*FLAT, "ef-hsshcrf"])
def test_gradients_are_right(name):
    # Where frames are joined nothing has a gradient; so none are, and few weights are enough.
    model = make(name, 1, merge=0.0, classes=(2,)) if "hss" in name else make(name, 2)
    features = draw(model)
    keys = [key for key, _ in model.named_parameters()]

    def run(*values):
        weights = dict(zip(keys, values, strict=True))
        return torch.func.functional_call(model, weights, (features, LENGTHS))

    assert torch.autograd.gradcheck(run, tuple(model.parameters()))


def test_long_sequences_and_heavy_potentials_lose_nothing():
    torch.manual_seed(0)
    sizes = [2] * 1500 + [1] * 500
    nodes = (300 * torch.randn(3500, 2, 3)).requires_grad_()
    moves = (20 * torch.randn(2, 3, 3)).requires_grad_()
    found = sum_paths(nodes, moves, sizes)
    logs, rows = nodes[:2].double(), nodes.double().split(sizes)
    for t in range(1, 2000):
        if t == 1500:
            short, logs = logs[1], logs[:1]
        logs = (logs[..., None] + moves.double()).logsumexp(2) + rows[t]
    expected = torch.stack([logs[0].logsumexp(1), short.logsumexp(1)])
    assert abs(found / expected - 1).max() < 1e-12
    grads = torch.autograd.grad(found.sum(), (nodes, moves))
    naive = torch.autograd.grad(expected.sum(), (nodes, moves))
    for one, other in zip(grads, naive, strict=True):
        assert abs(one - other).max() < 1e-4 * max(1, other.abs().max())


def test_forbidden_moves_are_not_made_and_make_nothing_undefined():
    moves = torch.tensor([[[0.0, -math.inf], [-math.inf, 0.0]]])
    nodes = torch.tensor([[[1.0, 2.0]], [[3.0, -math.inf]], [[0.5, 0.25]]]).requires_grad_()
    found = sum_paths(nodes, moves, [1, 1, 1])
    assert found.item() == pytest.approx(4.5)
    found.backward()
    assert nodes.grad[:, 0].tolist() == [[1, 0], [1, 0], [1, 0]]
    # Where no path is left the least forbidden one is taken.
    nowhere = torch.tensor([[[0.0, -math.inf]], [[-math.inf, 0.0]], [[0.0, 2.0]]])
    assert sum_paths(nowhere, moves, [1, 1, 1]).item() == pytest.approx(math.log(1e-300) + 2)


def test_frames_alike_become_their_mean():
    posteriors = torch.tensor([0.5, 0.0, 0.52, 0.3, 0.6, 0.31, 0.1])[:, None, None]
    rows = {"x": torch.tensor([1.0, 10, 3, 20, 5, 7, 9])[:, None]}
    # Rows: the second sequence [1, 3, 5, 9], the first [10, 20, 7].
    words = pack({"x": torch.zeros(2, 4, 1)}, torch.tensor([3, 4]), ["x"])
    assert words.sizes == [2, 2, 2, 1]
    joined = summarise(rows, words, posteriors, 0.1)
    assert joined.sizes == [2, 2]
    assert joined.back.tolist() == [0, 1]
    assert joined.rows["x"][:, 0].tolist() == [10, 3, 13.5, 9]
    whole = summarise(rows, words, posteriors, 1.0)
    assert whole.sizes == [2]
    assert whole.rows["x"][whole.back, 0].tolist() == pytest.approx([37 / 3, 4.5])
    none = summarise(rows, words, posteriors, 0.0)
    assert none.sizes == [2, 2, 2, 1]
    assert torch.equal(none.rows["x"], rows["x"])


def make_order(count: int, seed: int):
    """Two events in words of their own; the label is which comes first, so no mean tells it."""
    dice = torch.Generator().manual_seed(seed)
    features = {m: 0.3 * torch.randn(count, 10, 2, generator=dice) for m in ("a", "b")}
    lengths = torch.randint(6, 11, (count,), generator=dice)
    labels = torch.randint(0, 2, (count,), generator=dice)
    for n, (length, label) in enumerate(zip(lengths.tolist(), labels.tolist(), strict=True)):
        early, late = sorted(torch.randperm(length, generator=dice)[:2].tolist())
        first, second = (late, early) if label else (early, late)
        features["a"][n, first, 0] += 3
        features["b"][n, second, 0] += 3
    return features, lengths, labels


@pytest.mark.parametrize("name", NAMES)
def test_learns_the_order_of_hidden_events(name):
    features, lengths, labels = make_order(192, 0)
    unseen, ends, truth = make_order(200, 1)
    inputs = {"a": 2, "b": 2}
    torch.manual_seed(0)
    model = build(name, inputs, inputs, 2, classes=(2,))
    optimiser = torch.optim.AdamW(model.parameters(), 0.04)
    for step in range(100 if "hss" in name else 180):
        rows = torch.arange(32) + 32 * (step % 6)
        raw = model({m: x[rows] for m, x in features.items()}, lengths[rows])
        optimiser.zero_grad()
        F.cross_entropy(raw, labels[rows]).backward()
        optimiser.step()
    assert (model(unseen, ends).argmax(1) == truth).float().mean() > 0.9
    # The best that means can do is chance.
    means = [
        torch.cat([x.sum(1) / each[:, None] for x in f.values()], 1)
        for f, each in ((features, lengths), (unseen, ends))
    ]
    line = torch.linalg.lstsq(means[0], labels[:, None] * 2.0 - 1).solution
    assert (((means[1] @ line)[:, 0] > 0) == truth).float().mean() < 0.62


@pytest.mark.parametrize(
    ("name", "classes"), [(name, 0) for name in NAMES] + [(name, 4) for name in FLAT[::2]]
)
def test_overfits_eight(name, classes):
    torch.manual_seed(1)
    lengths = torch.tensor([3, 1, 6, 4, 2, 5, 6, 3])
    features = {m: torch.randn(8, 6, 8) for m in ("a", "b")}
    inputs = dict.fromkeys(features, 8)
    model = build(name, inputs, inputs, classes or 1, classes=(classes,))
    optimiser = torch.optim.Adam(model.parameters(), 0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 250)
    numbers, kinds = torch.linspace(-1.8, 1.8, 8), torch.tensor([0, 1, 2, 3, 0, 2, 1, 0])
    for _ in range(250):
        raw = model(features, lengths)
        loss = F.cross_entropy(raw, kinds) if classes else F.l1_loss(raw[:, 0], numbers)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    assert loss.item() < 0.08


@pytest.mark.parametrize("name", NAMES)
def test_is_trained_and_kept_as_any_other(name, tmp_path):
    scaler, examples = make_examples(40)
    config = {**ALL_KINDS, "states": 2}
    settings = TrainSettings(epochs=2, batch=16, lr=0.01, precision="bf16")
    fitted = fit(lambda: build(name, **config), TARGETS, settings, examples[8:], examples[:8], 0)
    ensemble = Ensemble(scaler, (fitted,))
    again = keep_and_load(name, config, ensemble, tmp_path / "kept")
    sequences, _, _ = make_corpus(40)
    assert torch.equal(again.predict_each(sequences), ensemble.predict_each(sequences))


def test_what_cannot_be_is_told():
    with pytest.raises(ValueError, match=r"targets of \[2\] classes do not have 3 outputs"):
        build("ef-hcrf", INPUTS, INPUTS, 3, classes=(2,))
    with pytest.raises(ValueError, match="levels must be at least 2, got 1"):
        build("ef-hcrf", INPUTS, INPUTS, levels=1)
    with pytest.raises(ValueError, match="3 views of 11 states are 1331 states together"):
        build("mv-hcrf", INPUTS, INPUTS, states=11)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_sure_before_it_has_learnt(name):
    """Else a long sequence of what was not learned yet has no gradient: its softmax is flat."""
    model = make(name, classes=(2, 0))
    lengths = torch.tensor([300, 200])
    found = model(draw(model, lengths), lengths)
    assert found[:, :2].exp().max() < 0.95
    assert abs(found[:, 2]).max() < 1.8
