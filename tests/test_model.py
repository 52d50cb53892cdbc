"""RMFN against its equations written out word by word, and what must never change a result."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from rmfn.model import RMFN, RMFNConfig

CONFIG = RMFNConfig(
    inputs={"language": 5, "visual": 3, "acoustic": 2},
    hidden={"language": 4, "visual": 2, "acoustic": 3},
    stages=3,
    fuse=5,
    summary=4,
    head=6,
)
H = 9
LENGTHS = [4, 1, 6, 4, 2]
VARIANTS = {
    "paper": {},
    "one stage": {"stages": 1},
    "two stages": {"stages": 2},
    "four stages": {"stages": 4},
    "no fusion": {"multistage": False},
    "no highlight": {"highlight": False},
    "mean1": {"attention_scale": "mean1"},
    "gain": {"attention_gain": 2.5},
    "learned gain": {"attention_gain": "learned"},
    "last stage": {"summarize": "last"},
    "c0 project": {"fuse_start": "project"},
    "c0 learned": {"fuse_start": "learned"},
    "c0 zero": {"fuse_start": "zero"},
    "learned start": {"highlight_start": "learned"},
    "hidden maps": {"map_hidden": 7, "summarize_hidden": 6},
    "one modality": {"inputs": {"language": 5}, "hidden": {"language": 4}},
    "two modalities": {
        "inputs": {"language": 5, "acoustic": 2},
        "hidden": {"language": 4, "acoustic": 3},
    },
}


def build(seed: int = 0, **changes) -> RMFN:
    torch.manual_seed(seed)
    model = RMFN(replace(CONFIG, **changes)).double().eval()
    for name, parameter in model.named_parameters():
        # Zero starts would hide a wrong use of them.
        if name.endswith(("a0", "c0")):
            torch.nn.init.normal_(parameter)
    return model


def draw(config: RMFNConfig, lengths: list[int], seed: int = 1) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        m: torch.randn(len(lengths), max(lengths), d, generator=generator, dtype=torch.float64)
        for m, d in config.inputs.items()
    }


def sigmoid(x):
    return 1 / (1 + torch.exp(-x))


def softmax(x):
    return torch.exp(x) / torch.exp(x).sum()


def lstm(gates: list, c):
    """Gates f, i, o, c̄ and the cell, one vector each -> h, c."""
    f, i, o, g = gates
    c = sigmoid(f) * c + sigmoid(i) * torch.tanh(g)
    return sigmoid(o) * torch.tanh(c), c


def naive_predict(model: RMFN, rows: dict[str, torch.Tensor]):
    """One sample, one word after another, gate by gate, straight from the paper's equations.

    Parameters
    ----------
    rows : {modality: [N, d_m]}

    Returns
    -------
    The prediction [outputs], the attention of every word and stage, and every z.
    """
    config = model.config
    names = list(config.inputs)
    words = len(rows[names[0]])
    size = sum(config.hidden.values())
    h = {m: torch.zeros(config.hidden[m], dtype=torch.float64) for m in names}
    c = {m: torch.zeros(config.hidden[m], dtype=torch.float64) for m in names}
    z = torch.zeros(config.summary if config.multistage else 0, dtype=torch.float64)
    attention, zs = [], []

    def block(matrix, gate):
        rows_a_gate = len(matrix) // 4
        return matrix[gate * rows_a_gate : (gate + 1) * rows_a_gate]

    for t in range(words):
        for m in names:
            gates = []
            for gate in range(4):
                total = block(model.W[m].weight, gate) @ rows[m][t] + block(model.W[m].bias, gate)
                total = total + block(model.U[m], gate) @ h[m]
                if config.multistage:
                    total = total + block(model.V[m], gate) @ z
                gates.append(total)
            h[m], c[m] = lstm(gates, c[m])
        if not config.multistage:
            continue
        fusion = model.fusion
        joint = torch.cat([h[m] for m in names])
        # HIGHLIGHT
        if config.highlight:
            cell = fusion.map(joint)
            state = torch.zeros(size, dtype=torch.float64)
            a = fusion.a0 if config.highlight_start == "learned" else torch.zeros_like(state)
            gain = fusion.gain if config.attention_gain == "learned" else config.attention_gain
        # FUSE
        s = torch.zeros(config.fuse, dtype=torch.float64)
        memory = joint @ fusion.c0 if config.fuse_start == "project" else fusion.c0
        representations = []
        for _ in range(config.stages):
            if config.highlight:
                gates = []
                for gate in range(4):
                    weight = block(fusion.highlight.weight, gate)
                    total = weight[:, :size] @ a + weight[:, size:] @ state
                    gates.append(total + block(fusion.highlight.bias, gate))
                state, cell = lstm(gates, cell)
                a = softmax(gain * state)
                attention.append(a)
                attended = joint * a * (size if config.attention_scale == "mean1" else 1)
            else:
                attended = joint
            gates = []
            for gate in range(4):
                total = block(fusion.fuse.weight, gate) @ attended + block(fusion.fuse.bias, gate)
                gates.append(total + block(fusion.fuse_U, gate) @ s)
            s, memory = lstm(gates, memory)
            representations.append(s)
        read = torch.cat(representations) if config.summarize == "all" else s
        z = fusion.summarize(read)
        zs.append(z)
    ended = torch.cat([*(h[m] for m in names), z])
    hidden = torch.relu(model.head[0].weight @ ended + model.head[0].bias)
    return model.head[3].weight @ hidden + model.head[3].bias, attention, zs


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())
def test_packed_batches_agree_with_the_equations(changes):
    model = build(**changes)
    features = draw(model.config, LENGTHS)
    weight = torch.randn(len(LENGTHS), 1, dtype=torch.float64)

    model.zero_grad()
    predictions = model(features, torch.tensor(LENGTHS))
    (predictions * weight).sum().backward()
    # None: not read at all, as HIGHLIGHT's matrix is not by a single stage
    gradients = {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in model.named_parameters()
    }

    model.zero_grad()
    expected = torch.stack(
        [
            naive_predict(model, {m: x[n, :length] for m, x in features.items()})[0]
            for n, length in enumerate(LENGTHS)
        ]
    )
    (expected * weight).sum().backward()

    assert abs(predictions - expected).max() < 1e-12
    for name, parameter in model.named_parameters():
        if parameter.numel():
            assert abs(gradients[name] - parameter.grad).max() < 1e-12, name


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())
def test_padding_and_company_change_nothing(changes):
    model = build(**changes)
    features = draw(model.config, LENGTHS)
    together = model(features, torch.tensor(LENGTHS))
    for n, length in enumerate(LENGTHS):
        alone = model(
            {m: x[n : n + 1, :length] for m, x in features.items()}, torch.tensor([length])
        )
        assert abs(alone[0] - together[n]).max() < 1e-12
    polluted = {m: x.clone() for m, x in features.items()}
    for x in polluted.values():
        for n, length in enumerate(LENGTHS):
            x[n, length:] = float("nan")
    assert torch.equal(model(polluted, torch.tensor(LENGTHS)), together)


def test_attention_is_the_equations_and_sums_to_one():
    model = build()
    features = draw(model.config, LENGTHS)
    found = model.explain(features, torch.tensor(LENGTHS))
    assert found.attention.shape == (len(LENGTHS), max(LENGTHS), 3, H)
    for n, length in enumerate(LENGTHS):
        _, expected, _ = naive_predict(model, {m: x[n, :length] for m, x in features.items()})
        expected = torch.stack(expected).reshape(length, 3, H)
        assert abs(found.attention[n, :length] - expected).max() < 1e-12
        assert not found.attention[n, length:].any()
        assert abs(found.attention[n, :length].sum(-1) - 1).max() < 1e-12
    share = found.share()
    assert list(share) == ["language", "visual", "acoustic"]
    assert abs(share["visual"][2] - found.attention[2, :, :, 4:6].sum(-1)).max() == 0
    assert abs(sum(share.values())[2] - 1).max() < 1e-12


def test_first_stage_needs_no_product():
    """With a^0 = h^0 = 0 the cell after stage 1 is sigmoid(b_f) M(h) + sigmoid(b_i) tanh(b_c)."""
    model = build(stages=1)
    h = torch.randn(3, H, dtype=torch.float64)
    fusion = model.fusion
    f, i, o, g = fusion.highlight.bias.chunk(4)
    cell = sigmoid(f) * fusion.map(h) + sigmoid(i) * torch.tanh(g)
    expected = torch.softmax(sigmoid(o) * torch.tanh(cell), dim=1)
    _, attention = fusion(h)
    assert abs(attention[:, 0] - expected).max() < 1e-12
    with torch.no_grad():
        fusion.highlight.weight.normal_()
    assert torch.equal(fusion(h)[1], attention)


@pytest.mark.parametrize("scale", ["literal", "mean1"])
def test_gradient_through_z_reaches_h(scale):
    model = build(attention_scale=scale)
    h = torch.randn(2, H, dtype=torch.float64, requires_grad=True)
    model.fusion(h)[0].sum().backward()
    assert (h.grad != 0).all()


@pytest.mark.parametrize("scale", ["literal", "mean1"])
def test_z_depends_on_every_modality_and_carries_on(scale):
    """The fusion of a word must move the hidden states of the next, from whatever modality."""
    model = build(attention_scale=scale)
    rows = {m: x[0] for m, x in draw(model.config, [3]).items()}
    _, _, before = naive_predict(model, rows)
    with torch.no_grad():
        for m in rows:
            other = {k: v.clone() for k, v in rows.items()}
            other[m][0] += 1
            _, _, after = naive_predict(model, other)
            assert abs(after[0] - before[0]).max() > 1e-6
            # and the packed model follows
            expected = naive_predict(model, other)[0]
            found = model({k: v[None] for k, v in other.items()}, torch.tensor([3]))[0]
            assert abs(found - expected).max() < 1e-12


def test_mean1_keeps_the_pattern_and_enlarges_what_fuse_reads():
    literal, mean1 = build(), build(attention_scale="mean1")
    h = torch.randn(64, H, dtype=torch.float64)
    with torch.no_grad():
        z, attention = literal.fusion(h)
        z_scaled, attention_scaled = mean1.fusion(h)
    assert torch.equal(attention, attention_scaled)
    assert z_scaled.std(0).mean() > 3 * z.std(0).mean()


def test_evaluation_is_deterministic_and_training_drops_out():
    torch.manual_seed(0)
    model = RMFN(replace(CONFIG, dropout=0.5, input_dropout=0.5)).double()
    features, lengths = draw(model.config, LENGTHS), torch.tensor(LENGTHS)
    model.eval()
    assert torch.equal(model(features, lengths), model(features, lengths))
    model.train()
    assert not torch.equal(model(features, lengths), model(features, lengths))


def test_start_of_fuse_is_a_unit_vector_kept_with_the_weights():
    model = build()
    assert float(model.fusion.c0.norm()) == pytest.approx(1, abs=1e-6)
    assert "fusion.c0" in model.state_dict()
    projected = build(fuse_start="project").fusion.c0
    assert abs(projected.T @ projected - torch.eye(5)).max() < 1e-6


def test_recurrent_blocks_start_orthogonal():
    model = build()
    for block in model.fusion.fuse_U.chunk(4):
        assert abs(block @ block.T - torch.eye(5)).max() < 1e-6
    for block in model.fusion.highlight.weight[:, H:].chunk(4):
        assert abs(block @ block.T - torch.eye(H)).max() < 1e-6


def test_forget_bias_is_added_to_forget_gates_only():
    plain, biased = build(), build(forget_bias=1.0)
    difference = biased.W["language"].bias - plain.W["language"].bias
    assert difference.tolist() == pytest.approx([1] * 4 + [0] * 12)


def count(model: RMFN) -> int:
    return sum(p.numel() for p in model.parameters())


def test_parameters_are_those_of_the_equations():
    S, Z, K, d, hidden = 5, 4, 3, (5, 3, 2), (4, 2, 3)
    lsthm = sum(4 * h * (x + h + Z + 1) for x, h in zip(d, hidden, strict=True))
    highlight = H * (H + 1) + 4 * H * (2 * H + 1)
    fuse = 4 * S * (H + S + 1)
    head = 6 * (H + Z + 1) + 7
    assert count(build()) == lsthm + highlight + fuse + Z * (K * S + 1) + head
    assert count(build(stages=1)) == count(build()) - 2 * Z * S
    assert count(build(summarize="last")) == count(build(stages=1))
    assert count(build(highlight=False)) == count(build()) - highlight
    without = sum(4 * h * (x + h + 1) for x, h in zip(d, hidden, strict=True)) + 6 * (H + 1) + 7
    assert count(build(multistage=False)) == without


def test_overfits_eight_examples():
    torch.manual_seed(0)
    model = RMFN(replace(CONFIG, attention_scale="mean1"))
    lengths = torch.tensor([3, 5, 2, 4, 6, 1, 5, 3])
    features = {m: x.float() for m, x in draw(CONFIG, lengths.tolist()).items()}
    labels = torch.tensor(np.linspace(-3, 3, 8)[[3, 0, 6, 1, 7, 5, 2, 4]], dtype=torch.float32)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(300):
        optimiser.zero_grad()
        loss = (model(features, lengths)[:, 0] - labels).abs().mean()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.1


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="same modalities in the same order"):
        replace(CONFIG, hidden={"language": 4})
    with pytest.raises(ValueError, match="at least one stage"):
        replace(CONFIG, stages=0)
    with pytest.raises(ValueError, match="at least one word"):
        build()(draw(CONFIG, [2, 2]), torch.tensor([2, 0]))
    features, lengths = draw(CONFIG, [2]), torch.tensor([2])
    for changes in ({"multistage": False}, {"highlight": False}):
        with pytest.raises(ValueError, match="no HIGHLIGHT"):
            build(**changes).explain(features, lengths)
