"""Comparators against their equations, and what every model that can be trained must keep."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch

from rmfn.baselines import MODELS, build
from rmfn.model import RMFN

INPUTS = {"language": 5, "visual": 3, "acoustic": 2}
HIDDEN = {"language": 4, "visual": 2, "acoustic": 3}
LENGTHS = torch.tensor([4, 1, 6, 4, 2])
# What learns by itself puts nothing out before it has; what reads videos is tested by itself, too.
TRAINED = [
    name
    for name, (_, model, _) in MODELS.items()
    if not hasattr(model, "learn") and not getattr(model, "reads_videos", False)
]
# ReLUs on so few units, maxima and closed gates may leave a word out.
SMOOTH = [name for name in TRAINED if name not in {"gme-lstm", "tfn", "sal-cnn", "df"}]


def make(name: str, outputs: int = 2, **settings) -> torch.nn.Module:
    if "classes" in {f.name for f in fields(MODELS[name][0])}:
        settings["classes"] = (0,) * outputs
    torch.manual_seed(0)
    return build(name, INPUTS, HIDDEN, outputs, **settings).double().eval()


def draw(words: int = 6) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {m: torch.randn(5, words, d, dtype=torch.float64) for m, d in INPUTS.items()}


def cell(gates, c):
    f, i, o, g = gates.chunk(4)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def lsthm(model, x, h, c, z):
    """All modalities' LSTHMs at one word, each by itself: x, h, c {modality: vector}."""
    new_h, new_c = {}, {}
    for m in x:
        gates = model.W[m](x[m]) + model.U[m] @ h[m] + model.V[m] @ z
        new_h[m], new_c[m] = cell(gates, c[m])
    return new_h, new_c


def zeros():
    return {m: torch.zeros(n, dtype=torch.float64) for m, n in HIDDEN.items()}


@pytest.mark.parametrize("name", TRAINED)
def test_padding_and_company_change_nothing(name):
    model, features = make(name), draw()
    together = model(features, LENGTHS)
    assert together.shape == (5, 2)
    assert together.std(0).min() > 0
    for n, length in enumerate(LENGTHS):
        alone = model({m: x[n : n + 1, :length] for m, x in features.items()}, length[None])
        assert abs(alone[0] - together[n]).max() < 1e-12
    for x in features.values():
        for n, length in enumerate(LENGTHS):
            x[n, length:] = float("nan")
    assert torch.equal(model(features, LENGTHS), together)


@pytest.mark.parametrize("name", SMOOTH)
def test_every_modality_and_word_counts_and_every_weight_learns(name):
    model = make(name)
    features = {m: x.requires_grad_() for m, x in draw().items()}
    model(features, LENGTHS).square().sum().backward()
    for x in features.values():
        for n, length in enumerate(LENGTHS):
            assert (x.grad[n, :length].abs().sum(-1) > 0).all()
            assert not x.grad[n, length:].any()
    for key, parameter in model.named_parameters():
        # What leads from stage to stage is not read by a single one.
        between = ("fusion.highlight.weight", "fusion.fuse_U")
        if parameter.numel() and not (name == "rmfn-r1" and key in between):
            assert parameter.grad is not None, key
            assert parameter.grad.any(), key


@pytest.mark.parametrize("name", TRAINED)
def test_all_have_what_a_training_loop_sets(name):
    known = {f.name for f in fields(MODELS[name][0])}
    wanted = {"dropout": 0.5, "input_dropout": 0.5, "head": 7}
    model = make(name, **{k: v for k, v in wanted.items() if k in known})
    assert model.config.inputs == INPUTS
    assert model.config.outputs == 2
    features = draw()
    assert torch.equal(model(features, LENGTHS), model(features, LENGTHS))
    model.train()
    assert not torch.equal(model(features, LENGTHS), model(features, LENGTHS))
    with pytest.raises(AttributeError, match="cannot assign"):
        model.config.outputs = 3


def test_names_say_what_is_built():
    for stages in range(1, 5):
        assert make(f"rmfn-r{stages}").config.stages == stages
    assert make("rmfn").config.stages == 3
    assert not make("rmfn-no-mfp").config.multistage
    assert not make("rmfn-no-highlight").config.highlight
    assert isinstance(make("rmfn-no-mfp"), RMFN)
    for _, (config, _, said) in MODELS.items():
        assert {f.name for f in fields(config)} >= {"inputs", "hidden", "outputs", *said}


def test_what_cannot_be_built_is_told():
    with pytest.raises(ValueError, match="no model 'gru'; there are rmfn, "):
        build("gru", INPUTS, HIDDEN)
    with pytest.raises(ValueError, match=r"mfn has no setting 'stages'; it has .*memory"):
        build("mfn", INPUTS, HIDDEN, stages=2)
    with pytest.raises(ValueError, match="rmfn-r1 has no setting 'stages'"):
        build("rmfn-r1", INPUTS, HIDDEN, stages=2)
    with pytest.raises(ValueError, match="same modalities in the same order"):
        build("ef-lstm", INPUTS, dict(reversed(HIDDEN.items())))


@pytest.mark.parametrize("attention_hidden", [0, 5])
def test_marn_is_its_equations(attention_hidden):
    model, features = make("marn", attentions=2, attention_hidden=attention_hidden), draw()
    found = model(features, LENGTHS)
    parts = list(HIDDEN)
    for n, length in enumerate(LENGTHS):
        h, c, z = zeros(), zeros(), torch.zeros(32, dtype=torch.float64)
        for t in range(length):
            h, c = lsthm(model, {m: x[n, t] for m, x in features.items()}, h, c, z)
            joint = torch.cat(list(h.values()))
            logits = model.attend(joint)
            attended = [joint * block.softmax(0) for block in logits.chunk(2)]
            reduced, start = [], 0
            for net, m in zip(model.reduce, parts, strict=True):
                stop = start + HIDDEN[m]
                reduced.append(net(torch.cat([a[start:stop] for a in attended])))
                start = stop
            z = model.summarize(torch.cat(reduced))
        expected = model.head(torch.cat([*h.values(), z]))
        assert abs(found[n] - expected).max() < 1e-12


def test_mfn_is_its_equations():
    model, features = make("mfn", memory=6), draw()
    found = model(features, LENGTHS)
    nothing = torch.zeros(0, dtype=torch.float64)
    for n, length in enumerate(LENGTHS):
        h, c, u = zeros(), zeros(), torch.zeros(6, dtype=torch.float64)
        for t in range(length):
            before = c
            h, c = lsthm(model, {m: x[n, t] for m, x in features.items()}, h, c, nothing)
            window = torch.cat([*before.values(), *c.values()])
            attended = window * model.attend(window).softmax(0)
            both = torch.cat([attended, u])
            keep, write = model.keep(both).sigmoid(), model.write(both).sigmoid()
            u = keep * u + write * model.update(attended).tanh()
        expected = model.head(torch.cat([*h.values(), u]))
        assert abs(found[n] - expected).max() < 1e-12


@pytest.mark.parametrize(
    "settings",
    [{}, {"layers": 2}, {"bidirectional": True}, {"layers": 2, "bidirectional": True}],
)
def test_ef_lstm_is_torchs_lstm_of_each_sequence(settings):
    model, features = make("ef-lstm", **settings), draw()
    found = model(features, LENGTHS)
    for n, length in enumerate(LENGTHS):
        x = torch.cat([x[n, :length] for x in features.values()], dim=1)
        states, _ = model.lstm(x)
        units = sum(HIDDEN.values())
        last = states[-1, :units]
        if settings.get("bidirectional"):
            last = torch.cat([last, states[0, units:]])
        assert abs(found[n] - model.head(last)).max() < 1e-12


def test_no_mfp_is_independent_lstms_joined_at_the_end():
    model, features = make("rmfn-no-mfp"), draw()
    found = model(features, LENGTHS)
    nothing = torch.zeros(0, dtype=torch.float64)
    for n, length in enumerate(LENGTHS):
        h, c = zeros(), zeros()
        for t in range(length):
            h, c = lsthm(model, {m: x[n, t] for m, x in features.items()}, h, c, nothing)
        assert abs(found[n] - model.head(torch.cat(list(h.values())))).max() < 1e-12
