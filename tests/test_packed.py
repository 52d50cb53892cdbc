"""The packed run against a padded, masked loop with automatic differentiation, and its manners."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import rmfn.model
import rmfn.packed
from rmfn.lsthm import pack
from rmfn.model import RMFN, RMFNConfig
from rmfn.packed import arrange, run_packed
from tests.test_model import LENGTHS, build, draw

ABLATIONS = {
    "one stage": {"stages": 1},
    "two stages": {"stages": 2},
    "three stages": {},
    "four stages": {"stages": 4},
    "no multistage": {"multistage": False},
    "no highlight": {"highlight": False},
    "no highlight, one stage": {"highlight": False, "stages": 1},
    "mean1": {"attention_scale": "mean1"},
    "gain": {"attention_gain": 40.0},
    "learned gain": {"attention_gain": "learned"},
    "last stage": {"summarize": "last"},
    "c0 learned": {"fuse_start": "learned"},
    "c0 zero": {"fuse_start": "zero"},
    "learned start": {"highlight_start": "learned"},
}
PLAIN = {
    "c0 project": {"fuse_start": "project"},
    "hidden map": {"map_hidden": 7},
    "hidden summary": {"summarize_hidden": 6},
}
BATCHES = {
    "ragged": LENGTHS,
    "even": [3, 3, 3],
    "alone": [4],
    "one word each": [1, 1],
    # more rows than derivatives are prepared for at once, and steps of one row
    "many": [2] * 90 + [5] * 60 + [9],
}


def step(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    f, i, o, g = gates.split(c.shape[1], dim=1)
    c = c * f.sigmoid() + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def fuse_padded(model: RMFN, h: Tensor) -> Tensor:
    """z_t of h_t [B, H], one stage after another."""
    config, fusion = model.config, model.fusion
    B, H = h.shape
    state, s, stages = torch.zeros_like(h), h.new_zeros(B, config.fuse), []
    c_fuse = fusion.c0.expand(B, config.fuse)
    if config.highlight:
        c_high = fusion.map(h)
        a = fusion.a0.expand(B, H) if config.highlight_start == "learned" else torch.zeros_like(h)
    for _ in range(config.stages):
        read = h
        if config.highlight:
            state, c_high = step(fusion.highlight(torch.cat([a, state], dim=1)), c_high)
            logits = state * (
                fusion.gain if config.attention_gain == "learned" else config.attention_gain
            )
            a = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
            read = h * a * (H if config.attention_scale == "mean1" else 1)
        s, c_fuse = step(fusion.fuse(read) + s @ fusion.fuse_U.T, c_fuse)
        stages.append(s)
    return fusion.summarize(torch.cat(stages, dim=1) if config.summarize == "all" else s)


def run_padded(model: RMFN, features: dict[str, Tensor], lengths: Tensor) -> Tensor:
    """Every sequence runs to the end of the longest; past its own end nothing is taken over."""
    config = model.config
    some = next(iter(features.values()))
    h = {m: some.new_zeros(len(some), n) for m, n in config.hidden.items()}
    c = dict(h)
    z = some.new_zeros(len(some), config.summary if config.multistage else 0)
    for t in range(some.shape[1]):
        runs = (lengths > t)[:, None]
        for m in h:
            gates = model.W[m](features[m][:, t]) + h[m] @ model.U[m].T + z @ model.V[m].T
            new_h, new_c = step(gates, c[m])
            h[m], c[m] = torch.where(runs, new_h, h[m]), torch.where(runs, new_c, c[m])
        if config.multistage:
            z = torch.where(runs, fuse_padded(model, torch.cat(list(h.values()), dim=1)), z)
    return model.head(torch.cat([*h.values(), z], dim=1))


def differentiate(model: RMFN, run, features: dict[str, Tensor], lengths: Tensor):
    """Predictions, and the gradients of all weights and features of a weighted sum of them."""
    features = {m: x.clone().requires_grad_() for m, x in features.items()}
    names = [name for name, p in model.named_parameters() if p.numel()]
    wanted = [model.get_parameter(name) for name in names] + list(features.values())
    predictions = run(model, features, lengths)
    weight = torch.linspace(-1, 2, predictions.numel(), dtype=predictions.dtype)
    grads = torch.autograd.grad(
        (predictions.flatten() * weight).sum(), wanted, allow_unused=True, materialize_grads=True
    )
    return predictions.detach(), dict(zip([*names, *features], grads, strict=True))


@pytest.fixture
def runs(monkeypatch) -> list[int]:
    """The number of steps of every packed run."""
    seen: list[int] = []

    def counted(x, sizes, stages, weights):
        seen.append(len(sizes))
        return run_packed(x, sizes, stages, weights)

    monkeypatch.setattr(rmfn.model, "run_packed", counted)
    return seen


@pytest.mark.parametrize("lengths", BATCHES.values(), ids=BATCHES.keys())
@pytest.mark.parametrize("changes", ABLATIONS.values(), ids=ABLATIONS.keys())
def test_outputs_and_all_gradients_are_those_of_the_padded_loop(changes, lengths, runs):
    model = build(outputs=2, **changes)
    features, lengths = draw(model.config, lengths), torch.tensor(lengths)
    found, grads = differentiate(model, RMFN.__call__, features, lengths)
    assert runs
    expected, expected_grads = differentiate(model, run_padded, features, lengths)
    assert abs(found - expected).max() < 1e-12
    for name, grad in grads.items():
        # many sequences add up to larger gradients
        scale = max(1.0, float(abs(expected_grads[name]).max()))
        assert abs(grad - expected_grads[name]).max() < 1e-12 * scale, name
    with torch.inference_mode():
        assert abs(model(features, lengths) - found).max() < 1e-14


@pytest.mark.parametrize("changes", PLAIN.values(), ids=PLAIN.keys())
def test_what_is_rarely_used_takes_the_plain_loop(changes, runs):
    model = build(**changes)
    model(draw(model.config, LENGTHS), torch.tensor(LENGTHS))
    assert not runs


def test_lower_precision_takes_the_plain_loop(runs):
    model = build().float()
    features = {m: x.float() for m, x in draw(model.config, LENGTHS).items()}
    full = model(features, torch.tensor(LENGTHS))
    assert len(runs) == 1
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model(features, torch.tensor(LENGTHS))
    assert len(runs) == 1
    assert abs(half.float() - full).max() < 0.02


@pytest.mark.parametrize("changes", [{}, {"highlight": False}, {"attention_gain": "learned"}])
def test_gradients_are_those_of_finite_differences(changes):
    model = build(**changes)
    features, lengths = draw(model.config, [3, 1, 2]), torch.tensor([3, 1, 2])
    names = [name for name, p in model.named_parameters() if p.numel()]

    def run(*tensors: Tensor) -> Tensor:
        weights = dict(zip(names, tensors[len(features) :], strict=True))
        given = dict(zip(features, tensors, strict=False))
        return torch.func.functional_call(model, weights, (given, lengths))

    inputs = [x.requires_grad_() for x in features.values()]
    inputs += [model.get_parameter(name).detach().clone().requires_grad_() for name in names]
    assert torch.autograd.gradcheck(run, inputs, fast_mode=True)


def test_some_weights_may_be_frozen():
    model = build()
    features, lengths = draw(model.config, LENGTHS), torch.tensor(LENGTHS)
    _, expected = differentiate(model, RMFN.__call__, features, lengths)
    model.requires_grad_(False)
    model.fusion.fuse_U.requires_grad_(True)
    model(features, lengths).sum().backward()
    weighted = build()
    weighted(features, lengths).sum().backward()
    assert abs(model.fusion.fuse_U.grad - weighted.fusion.fuse_U.grad).max() < 1e-14
    assert model.fusion.fuse.weight.grad is None
    assert set(expected) >= {"fusion.fuse_U", "language"}


def test_nothing_given_is_changed_and_a_graph_may_be_used_twice():
    model = build()
    features, lengths = draw(model.config, LENGTHS), torch.tensor(LENGTHS)
    kept = {m: x.clone() for m, x in features.items()}
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    loss = model(features, lengths).sum()
    loss.backward(retain_graph=True)
    first = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    loss.backward()
    with torch.no_grad():
        model(features, lengths)
    model.explain(features, lengths)
    assert all(torch.equal(features[m], x) for m, x in kept.items())
    assert all(torch.equal(model.state_dict()[name], value) for name, value in weights.items())
    for name, grad in first.items():
        assert torch.equal(model.get_parameter(name).grad, 2 * grad), name


def test_memory_that_is_used_again_changes_nothing(monkeypatch):
    monkeypatch.setattr(rmfn.packed, "_spare", [])
    model = build(stages=3)
    batches = [
        (draw(model.config, lengths), torch.tensor(lengths)) for lengths in ([5, 3, 1], [2, 2])
    ]
    fresh = []
    for batch in batches:
        rmfn.packed._spare.clear()
        fresh.append(differentiate(model, RMFN.__call__, *batch))
    (kept,) = rmfn.packed._spare
    kept.fill_(torch.nan)
    # a larger batch than what is kept, a smaller one, and two at once
    runs = [differentiate(model, RMFN.__call__, *batch) for batch in (*batches, batches[1])]
    for (found, grads), (expected, expected_grads) in zip(runs, [*fresh, fresh[1]], strict=True):
        assert torch.equal(found, expected)
        assert all(torch.equal(grads[name], grad) for name, grad in expected_grads.items())
    losses = [model(*batch).sum() for batch in batches]
    model.zero_grad()
    sum(losses).backward()
    both = model.fusion.fuse_U.grad.clone()
    model.zero_grad()
    for batch in batches:
        model(*batch).sum().backward()
    assert abs(model.fusion.fuse_U.grad - both).max() < 1e-14


CHANGES = {
    "in place": lambda model: model.fusion.fuse_U.mul_(1.5),
    "a buffer": lambda model: model.fusion.c0.add_(1),
    "loaded": lambda model: model.load_state_dict(
        {name: value + 0.1 for name, value in model.state_dict().items()}
    ),
    "another tensor": lambda model: setattr(
        model.fusion.fuse_U, "data", model.fusion.fuse_U.data * 1.5
    ),
    "another parameter": lambda model: setattr(
        model.fusion, "fuse_U", torch.nn.Parameter(model.fusion.fuse_U * 1.5)
    ),
    "rounded": lambda model: model.bfloat16().double(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_weights_that_changed_are_read_anew(change, mode):
    model = build()
    features, lengths = draw(model.config, LENGTHS), torch.tensor(LENGTHS)
    with mode():
        first = model(features, lengths)
        assert torch.equal(model(features, lengths), first)
    with torch.no_grad():
        change(model)
    with mode():
        found = model(features, lengths)
        assert not torch.equal(found, first)
        assert abs(found - run_padded(model, features, lengths)).max() < 1e-12


def test_a_step_of_training_is_seen_by_the_next_prediction():
    model = build()
    features, lengths = draw(model.config, LENGTHS), torch.tensor(LENGTHS)
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.1)
    before = run_padded(model, features, lengths).detach()
    for _ in range(2):
        model(features, lengths).sum().backward()
        optimiser.step()
        with torch.inference_mode():
            found = model(features, lengths)
            assert abs(found - run_padded(model, features, lengths)).max() < 1e-12
        assert not torch.equal(found, before)
    twin = deepcopy(model)
    with torch.inference_mode():
        assert torch.equal(twin(features, lengths), found)
    with torch.no_grad():
        twin.fusion.fuse_U.mul_(2)
        assert not torch.equal(twin(features, lengths), found)
        assert torch.equal(model(features, lengths), found)


def test_a_model_made_without_gradients_predicts():
    with torch.inference_mode():
        model = build()
        features, lengths = draw(model.config, LENGTHS), torch.tensor(LENGTHS)
        first = model(features, lengths)
        model.fusion.fuse_U.mul_(2)
        assert not torch.equal(model(features, lengths), first)


def test_gradients_of_gradients_are_refused():
    model = build()
    features, lengths = draw(model.config, LENGTHS), torch.tensor(LENGTHS)
    weight = model.fusion.fuse.weight
    (grad,) = torch.autograd.grad(model(features, lengths).sum(), weight, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_single_precision_stays_near_double():
    config = RMFNConfig({"l": 30, "a": 7}, {"l": 24, "a": 8}, attention_scale="mean1")
    torch.manual_seed(0)
    model = RMFN(config).eval()
    lengths = torch.tensor([40, 3, 17])
    features = draw(config, lengths.tolist())
    with torch.no_grad():
        single = model({m: x.float() for m, x in features.items()}, lengths)
        double_precision = model.double()(features, lengths)
    assert abs(single - double_precision).max() < 1e-6


def test_large_gates_saturate_without_overflow():
    model = build(attention_gain=300.0).float()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(50)
    features = {m: 100 * x.float() for m, x in draw(model.config, LENGTHS).items()}
    predictions = model(features, torch.tensor(LENGTHS))
    predictions.sum().backward()
    assert predictions.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_gates_are_arranged_with_the_cell_before_the_output_and_doubled():
    gates = torch.arange(1.0, 9.0)  # f, i, o, c̄
    assert arrange(gates).tolist() == [1, 2, 3, 4, 14, 16, 5, 6]
    assert torch.equal(arrange(gates[:, None]), arrange(gates)[:, None])


def test_words_are_packed_step_after_step_longest_first():
    x = torch.tensor([[1, 2, -1], [3, -1, -1], [4, 5, 6]])[..., None].float()
    packed = pack({"m": x}, torch.tensor([2, 1, 3]), ["m"])
    assert packed.rows["m"].flatten().tolist() == [4, 1, 3, 5, 2, 6]
    assert packed.sizes == [3, 2, 1]
    assert packed.order.tolist() == [2, 0, 1]
    assert packed.back.tolist() == [1, 2, 0]


def test_lengths_that_do_not_fit_are_refused():
    x = {"m": torch.zeros(2, 3, 1)}
    with pytest.raises(ValueError, match="at least one word"):
        pack(x, torch.tensor([2, 0]), ["m"])
    with pytest.raises(ValueError, match="up to 4 words do not fit m features"):
        pack(x, torch.tensor([4, 1]), ["m"])
    with pytest.raises(ValueError, match="1 sequences of up to 2 words do not fit"):
        pack(x, torch.tensor([2]), ["m"])
    assert replace(pack(x, torch.tensor([1, 1]), ["m"]), rows={}).sizes == [2]
