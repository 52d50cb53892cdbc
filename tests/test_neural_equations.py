"""Each of the paper's neural comparators against its own definition."""

from __future__ import annotations

from functools import partial
from itertools import product

import pytest
import torch

from rmfn.baselines import build
from rmfn.baselines.pool import Convolution, average
from rmfn.baselines.sal_cnn import find_confounded
from rmfn.baselines.tfn import multiply
from rmfn.data import Batch, Example
from rmfn.running import TrainSettings
from rmfn.train import fit
from tests.test_neural_baselines import (
    INPUTS,
    LENGTHS,
    UNITS,
    draw,
    make,
    make_example,
    take,
)
from tests.trained import SENTIMENT


def test_averages_are_of_the_words_that_there_are():
    features = draw()
    found = average(features, LENGTHS, INPUTS)
    for m, x in features.items():
        for n, length in enumerate(LENGTHS):
            assert (found[m][n] - x[n, :length].mean(0)).abs().max() < 1e-12


def convolve(module: Convolution, words: torch.Tensor) -> torch.Tensor:
    """Every window that holds a word, one after the other: [N, D] -> [units]."""
    width, N = module.width, len(words)
    best = torch.zeros(len(module.filters.bias), dtype=words.dtype)
    for start in range(1 - width, N):
        answer = module.filters.bias.clone()
        for offset in range(width):
            if 0 <= start + offset < N:
                answer = answer + module.filters.weight[:, :, offset] @ words[start + offset]
        best = torch.maximum(best, answer)
    return best


@pytest.mark.parametrize("width", [1, 2, 3, 5])
def test_a_convolution_is_its_best_window(width):
    torch.manual_seed(0)
    module, x = Convolution(5, 7, width).double(), draw()["language"]
    found = module(x, LENGTHS)
    for n, length in enumerate(LENGTHS):
        assert (found[n] - convolve(module, x[n, :length])).abs().max() < 1e-12


def test_df_is_its_equations_before_and_after():
    model, features = make("df"), draw()
    means = {
        m: torch.stack([x[n, :length].mean(0) for n, length in enumerate(LENGTHS)])
        for m, x in features.items()
    }
    scores = [model.unimodal[m](x) for m, x in means.items()]
    assert (model(features, LENGTHS) - sum(scores) / 3).abs().max() < 1e-12
    # While training each example is for one modality's network: it gets that one's own score.
    model.train()
    runs = torch.stack([model(features, LENGTHS) for _ in range(60)])
    hits = torch.stack([(runs - score).abs().amax(2) < 1e-12 for score in scores])
    assert hits.any(0).all()
    assert (hits.double().mean((1, 2)) > 0.2).all()
    model.refine(None)
    assert (model(features, LENGTHS) - model.fuse(torch.cat(scores, 1))).abs().max() < 1e-12
    model.zero_grad()
    model(features, LENGTHS).sum().backward()
    assert all(p.grad is None for p in model.unimodal.parameters())
    assert all(p.grad is not None for p in model.fuse.parameters())


def test_tfn_is_all_products_of_all_orders():
    model, features = make("tfn", embedding=3), draw()
    found = model(features, LENGTHS)
    for n, length in enumerate(LENGTHS):
        states, _ = model.lstm(features["language"][n, :length])
        h = {"language": model.embed_last(states[-1]).relu()}
        for m in ("visual", "acoustic"):
            h[m] = model.embed[m](features[m][n, :length].mean(0)).relu()
        l, v, a = (torch.cat([h[m], torch.ones(1).double()]) for m in INPUTS)  # noqa: E741
        z = [l[i] * v[j] * a[k] for i, j, k in product(range(4), range(4), range(4))]
        assert (found[n] - model.head(torch.stack(z))).abs().max() < 1e-12


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_product_is_einsums(count):
    torch.manual_seed(0)
    vectors = [torch.randn(5, 2 + n, dtype=torch.float64) for n in range(count)]
    ones = [torch.cat([v, torch.ones(5, 1).double()], dim=1) for v in vectors]
    letters = "ijkl"[:count]
    expected = torch.einsum(",".join(f"b{x}" for x in letters) + f"->b{letters}", *ones)
    found = multiply(vectors)
    assert (found - expected.flatten(1)).abs().max() < 1e-12
    # The last entry is the product of the ones; beside it stands each vector itself.
    assert (found[:, -1] == 1).all()
    assert torch.equal(found[:, -len(vectors[-1][0]) - 1 : -1], vectors[-1])


# view: (units of its own, units of each other) that a view of 6, 3 and 4 units has read
PARTS = {
    "view-specific": {"language": (6, 0), "visual": (3, 0), "acoustic": (4, 0)},
    "coupled": {"language": (0, 6), "visual": (0, 3), "acoustic": (0, 4)},
    "fully-connected": {"language": (6, 6), "visual": (3, 3), "acoustic": (4, 4)},
    "hybrid": {"language": (4, 2), "visual": (2, 1), "acoustic": (3, 1)},
}


@pytest.mark.parametrize("topology", PARTS)
def test_mv_lstm_is_its_equations(topology):
    model, features = make("mv-lstm", topology=topology), draw()
    found = model(features, LENGTHS)
    ends = dict(zip(UNITS, torch.tensor(list(UNITS.values())).cumsum(0).tolist(), strict=True))
    place = {m: range(ends[m] - size, ends[m]) for m, size in UNITS.items()}
    f, i, o, g = range(4)
    for n, length in enumerate(LENGTHS):
        h = {m: [torch.zeros(()).double()] * size for m, size in UNITS.items()}
        c = {m: [torch.zeros(()).double()] * size for m, size in UNITS.items()}
        for t in range(length):
            new_h, new_c = {}, {}
            for m, size in UNITS.items():
                # what this view reads: pairs of a unit's place among all and its state
                read = list(zip(place[m], h[m], strict=True))[: PARTS[topology][m][0]]
                for other in UNITS.keys() - {m}:
                    shared = PARTS[topology][other][1]
                    pairs = list(zip(place[other], h[other], strict=True))
                    read += pairs[len(pairs) - shared :]
                x = model.W[m](features[m][n, t]).unflatten(0, (4, size))
                new_h[m], new_c[m] = [], []
                for unit in range(size):
                    row = place[m][unit]
                    gates = [
                        x[gate, unit] + sum(model.U[13 * gate + row, at] * s for at, s in read)
                        for gate in range(4)
                    ]
                    p, before = model.peepholes[:, row], c[m][unit]
                    keep = (gates[f] + p[0] * before).sigmoid()
                    write = (gates[i] + p[1] * before).sigmoid()
                    cell = keep * before + write * gates[g].tanh()
                    new_c[m].append(cell)
                    new_h[m].append((gates[o] + p[2] * cell).sigmoid() * cell.tanh())
            h, c = new_h, new_c
        joint = torch.stack([state for m in UNITS for state in h[m]])
        assert (found[n] - model.head(joint)).abs().max() < 1e-12


def test_mv_lstm_refuses_what_is_no_topology():
    with pytest.raises(ValueError, match="no topology 'star'; there are view-specific, coupled"):
        make("mv-lstm", topology="star")
    with pytest.raises(ValueError, match=r"alpha and beta are shares, got 1\.5 and"):
        make("mv-lstm", alpha=1.5)


def test_bc_lstm_is_its_equations_video_by_video():
    model, features = make("bc-lstm"), draw()
    videos = torch.tensor([7, 2, 7, 2, 7])
    found = model(features, LENGTHS, videos)
    for rows in ([0, 2, 4], [1, 3]):
        contexts = []
        for m, x in features.items():
            each = [convolve(model.extract[m], x[n, : LENGTHS[n]]) for n in rows]
            contexts.append(model.context[m](torch.stack(each))[0])
        fused = model.fuse(torch.cat(contexts, dim=1))[0]
        assert (found[rows] - model.head(fused)).abs().max() < 1e-12


def test_bc_lstm_never_mixes_videos():
    model, features = make("bc-lstm"), draw()
    videos = torch.tensor([0, 1, 0, 1, 0])
    before = model(features, LENGTHS, videos)
    features["language"][3] += 1
    after = model(features, LENGTHS, videos)
    assert torch.equal(after[[0, 2, 4]], before[[0, 2, 4]])
    assert (after[[1, 3]] != before[[1, 3]]).all()  # its neighbour is told by it
    alone = model(features, LENGTHS)
    for n, length in enumerate(LENGTHS):
        assert (model(take(features, n, length), length[None])[0] - alone[n]).abs().max() < 1e-12


def test_bc_lstm_learns_what_only_the_utterance_before_tells():
    dice = torch.Generator().manual_seed(0)
    examples = []
    for video in range(60):
        before = 0.0
        for _ in range(int(torch.randint(2, 7, (), generator=dice))):
            sign = float(torch.randint(2, (), generator=dice)) * 2 - 1
            words = sign * torch.ones(2, 1) + 0.1 * torch.randn(2, 1, generator=dice)
            examples.append(make_example({"language": words}, [before], f"v{video}"))
            before = sign
    split = next(n for n, e in enumerate(examples) if e.video == "v45")
    config = {"inputs": {"language": 1}, "hidden": {"language": 8}}
    settings = TrainSettings(epochs=25, batch=16, lr=0.02)
    fitted = fit(
        partial(build, "bc-lstm", **config), [SENTIMENT], settings, examples[:split],
        examples[split:], seed=0,
    )  # fmt: skip
    test = examples[split:]
    labels = torch.stack([example.labels for example in test])
    assert (fitted.predict(test) - labels).abs().mean() < 0.2
    single = [make_example(e.features, e.labels.tolist()) for e in test]
    assert (fitted.predict(single) - labels).abs().mean() > 0.5


# SAL-CNN ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_only_what_tells_identities_apart_is_found(seed):
    dice = torch.Generator().manual_seed(seed)
    who = torch.randint(8, (400,), generator=dice)
    planted = torch.zeros(8, 20)
    planted[:, [3, 11]] = torch.randn(8, 2, generator=dice) * torch.tensor([1.0, 3.0])
    g = 5 + torch.randn(400, 20, generator=dice) + planted[who]
    found = find_confounded(g, who)
    assert found.nonzero()[:, 0].tolist() == [3, 11]
    # by definition, dimension by dimension and identity by identity
    for d in (3, 11):
        effects = torch.stack([g[who == s, d].mean() for s in range(8)]) - g[:, d].mean()
        rest = g[:, d] - torch.stack([g[who == s, d].mean() for s in range(8)])[who]
        spread = (rest.square().sum() / (400 - 8)).sqrt()
        total = 0.0
        for s in range(8):
            count = (who == s).sum()
            limit = spread * (2 * torch.tensor(8.0 * 20).log() / count).sqrt()
            total += count * effects[s] ** 2 if effects[s].abs() > limit else 0
        assert found[d] == pytest.approx(float((total / 400).sqrt()), rel=1e-4)


def test_identities_that_speak_once_are_no_identities():
    g = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    assert not find_confounded(g, torch.arange(6)).any()


@pytest.mark.parametrize("speakers", [True, False])
def test_noise_goes_where_a_planted_identity_is_and_only_in_training(speakers):
    """The CNN is set to let its inputs through, so that the planted column is known."""
    dice = torch.Generator().manual_seed(0)
    model = build("sal-cnn", {"language": 4}, {"language": 4}, 4, width=1, noise=2.0).eval()
    with torch.no_grad():
        model.convolve.filters.weight.copy_(torch.eye(4)[:, :, None])
        model.convolve.filters.bias.fill_(20)  # no ReLU closes
    model.head = torch.nn.Identity()
    who = torch.arange(300) % 6
    x = torch.randn(300, 1, 4, generator=dice)
    x[:, 0, 2] += 4 * torch.randn(6, generator=dice)[who]
    names = tuple(f"s{n}" for n in who.tolist()) if speakers else ("",) * 300
    lengths = torch.ones(300, dtype=torch.int64)
    plain = model({"language": x}, lengths).detach()
    seen = {"language": torch.ones(300, 1, dtype=torch.bool)}
    model.refine(Batch({"language": x}, lengths, seen, torch.zeros(300, 1), who, names))
    again = model({"language": x}, lengths)
    assert torch.equal(again, plain)
    assert not again.requires_grad  # the CNN is kept
    torch.manual_seed(0)
    noise = torch.stack([model.train()({"language": x}, lengths) - plain for _ in range(9)])
    spread = noise.detach().flatten(0, 1).std(0)
    assert (spread[[0, 1, 3]] == 0).all()
    assert spread[2] == pytest.approx(2 * float(model.confounded[2]), rel=0.05)
    effect = torch.stack([x[who == s, 0, 2].mean() for s in range(6)])
    assert float(model.confounded[2]) == pytest.approx(float(effect.std(correction=0)), rel=0.2)


def test_sal_is_better_on_people_it_has_not_seen():
    """Few speakers, each with a mood and a code that tells it; the code of others tells nothing."""

    def speak(people: int, each: int, dice) -> list[Example]:
        examples = []
        for n in range(people):
            code, mood = torch.randn(3, generator=dice), torch.randn((), generator=dice)
            for _ in range(each):
                said = torch.randn((), generator=dice)
                words = said + 0.3 * torch.randn(1, generator=dice)
                x = torch.cat([words, code + 0.1 * torch.randn(3, generator=dice)])
                examples.append(
                    make_example({"language": x[None]}, [float(mood + said)], "", f"s{n}")
                )
        return examples

    def let_through(noise: float) -> torch.nn.Module:
        model = build("sal-cnn", {"language": 4}, {"language": 4}, width=1, noise=noise)
        with torch.no_grad():
            model.convolve.filters.weight.copy_(torch.eye(4)[:, :, None])
            model.convolve.filters.bias.fill_(6)
        return model

    settings = TrainSettings(epochs=30, batch=32, lr=0.01)
    errors = {0.0: 0.0, 3.0: 0.0}
    for seed in range(3):
        dice = torch.Generator().manual_seed(seed)
        known, new = speak(6, 50, dice), speak(60, 5, dice)
        labels = torch.stack([example.labels for example in new])
        for noise in errors:
            network = partial(let_through, noise)
            fitted = fit(network, [SENTIMENT], settings, known[::2], known[1::2], seed)
            errors[noise] += float((fitted.predict(new) - labels).abs().mean()) / 3
    assert errors[3.0] < 0.9 * errors[0.0]


# GME-LSTM(A) ------------------------------------------------------------------------------------


def test_gme_lstm_is_its_equations_with_the_likelier_gates():
    model, features = make("gme-lstm"), draw()
    for controller in model.control.values():
        controller[-1].bias.data.zero_()  # so that some are shut
    found, shut = model(features, LENGTHS), 0
    for n, length in enumerate(LENGTHS):
        words = [features["language"][n, :length]]
        for m in ("visual", "acoustic"):
            x = features[m][n, :length]
            gate = model.control[m](x).sigmoid() > 0.5
            shut += int((~gate).sum())
            words.append(x * gate)
        states, _ = model.lstm(torch.cat(words, dim=1))
        weight = model.attend(states).softmax(0)
        assert (found[n] - model.head((weight * states).sum(0))).abs().max() < 1e-12
    assert 0 < shut < 2 * int(LENGTHS.sum())


def test_reinforce_is_the_gradient_of_the_expected_loss(monkeypatch):
    """Every pattern of the gates is run once and weighed by its probability: no dice are left."""
    inputs, hidden = {"language": 2, "visual": 2, "acoustic": 1}, {"language": 3, "visual": 1}
    hidden["acoustic"] = 1
    torch.manual_seed(0)
    model = build("gme-lstm", inputs, hidden, 1, gate_hidden=3).double().train()
    lengths, labels = torch.tensor([1, 2]), torch.tensor([0.5, -1.0]).double()
    features = {m: torch.randn(2, 2, d).double() for m, d in inputs.items()}
    steps = 3  # words in all
    controllers = list(model.control.parameters())
    gradient = [torch.zeros_like(p) for p in controllers]
    expected = torch.zeros(()).double()
    for pattern in product([0.0, 1.0], repeat=2 * steps):
        parts = iter(torch.tensor(pattern).double().split(steps))
        odds = []

        def fixed(p, parts=parts, odds=odds):
            gate = next(parts)[:, None]
            odds.append((p, gate))
            return gate

        monkeypatch.setattr(torch, "bernoulli", fixed)
        losses = (model(features, lengths)[:, 0] - labels).abs().detach()
        probability = torch.stack([(p * g + (1 - p) * (1 - g)).prod() for p, g in odds]).prod()
        model.usual.fill_(0.3)  # any baseline
        found = torch.autograd.grad(model.surrogate(losses), controllers)
        for total, part in zip(gradient, found, strict=True):
            total += probability * part
        # The probability once more, now with its own derivative
        chance = torch.ones(()).double()
        for (m, controller), (_, gate) in zip(model.control.items(), odds, strict=True):
            # the longer sequence first, word after word
            p = controller(features[m][[1, 0, 1], [0, 0, 1]]).sigmoid()
            chance = chance * (p * gate + (1 - p) * (1 - gate)).prod()
        expected = expected + chance * losses.mean()
    analytic = torch.autograd.grad(expected, controllers)
    assert max(part.abs().max() for part in analytic) > 1e-4
    for found, true in zip(gradient, analytic, strict=True):
        assert (found - true).abs().max() < 1e-12


def test_gates_open_as_often_as_they_say_and_the_usual_loss_is_followed():
    torch.manual_seed(0)
    model = build("gme-lstm", {"acoustic": 1}, {"acoustic": 4}, 1).train()
    x, lengths = torch.full((4000, 1, 1), 0.7), torch.ones(4000, dtype=torch.int64)
    out = model({"acoustic": x}, lengths)[:, 0]
    model.eval()
    p = float(model.control["acoustic"](x[0]).sigmoid().detach())
    open_ = (out - model({"acoustic": x[:1]}, lengths[:1])).abs().squeeze() < 1e-6
    assert open_.float().mean() == pytest.approx(p, abs=4 * (p * (1 - p) / 4000) ** 0.5)
    losses = torch.full((4000,), 2.0)
    losses[0] = 0  # not labelled: says nothing of its gates
    log_p = model.log_probability
    found = model.surrogate(losses)
    assert found.item() == pytest.approx(log_p[1:].mean().item(), rel=1e-5)
    assert float(model.usual) == pytest.approx(0.9 * 1 + 0.1 * 2)
    with pytest.raises(AssertionError, match="no training batch that was just run"):
        model.surrogate(losses)


def test_a_gate_learns_to_shut_out_what_harms(monkeypatch):
    """An open gate costs where the column is 1, a shut one where it is -1."""
    torch.manual_seed(0)
    model = build("gme-lstm", {"acoustic": 1}, {"acoustic": 2}, 1).train()
    harms = torch.tensor([1.0, -1.0]).repeat(16)
    x, lengths = harms[:, None, None], torch.ones(32, dtype=torch.int64)
    optimiser = torch.optim.Adam(model.control.parameters(), lr=0.01)
    drawn, draw_gates = [], torch.bernoulli

    def record(p):
        drawn.append(draw_gates(p))
        return drawn[-1]

    monkeypatch.setattr(torch, "bernoulli", record)
    for _ in range(150):
        model({"acoustic": x}, lengths)
        losses = 0.1 + (drawn[-1][:, 0] == (harms > 0).float()).float()
        optimiser.zero_grad()
        model.surrogate(losses).backward()
        optimiser.step()
    chance = model.control["acoustic"](x[:2, 0]).sigmoid()
    assert chance[0] < 0.1
    assert chance[1] > 0.9
