"""What all of the paper's neural comparators have to do: learn, be kept, read no padding."""

from __future__ import annotations

from functools import cache, partial

import pytest
import torch

from rmfn.baselines import MODELS, build, find_refusal
from rmfn.checkpoint import load_checkpoint, save_checkpoint
from rmfn.data import Example, collate, fit_scaler
from rmfn.dataset import Target
from rmfn.ensemble import Ensemble
from rmfn.running import TrainSettings
from rmfn.runs import Run
from rmfn.train import Fitted, fit
from tests.trained import COLUMNS, HIDDEN, SENTIMENT, make_corpus, make_untrained

NAMES = (
    *("df", "sal-cnn", "ef-slstm", "ef-blstm", "ef-sblstm"),
    *("mv-lstm", "bc-lstm", "tfn", "gme-lstm"),
)
INPUTS = {"language": 5, "visual": 3, "acoustic": 2}
UNITS = {"language": 6, "visual": 3, "acoustic": 4}
LENGTHS = torch.tensor([4, 1, 6, 4, 2])
TARGETS = (
    Target("sentiment", "regression", -3.0, 3.0),
    Target("happy", "binary"),
    Target("mood", "classes", classes=("bad", "so so", "good")),
)


def make(name: str, modalities=tuple(INPUTS), outputs: int = 2, **settings) -> torch.nn.Module:
    torch.manual_seed(0)
    inputs, hidden = ({m: sizes[m] for m in modalities} for sizes in (INPUTS, UNITS))
    return build(name, inputs, hidden, outputs, **settings).double().eval()


def draw(words: int = 6) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {m: torch.randn(5, words, d, dtype=torch.float64) for m, d in INPUTS.items()}


def take(features: dict[str, torch.Tensor], n: int, length: int) -> dict[str, torch.Tensor]:
    return {m: x[n : n + 1, :length] for m, x in features.items()}


def make_example(features: dict[str, torch.Tensor], labels, video="", speaker="") -> Example:
    seen = {m: torch.ones(len(x), dtype=torch.bool) for m, x in features.items()}
    return Example(features, seen, torch.tensor(labels, dtype=torch.float32), video, speaker)


def draw_eight() -> list[Example]:
    """Eight segments of three videos with labels of three kinds, one of which was not given."""
    dice = torch.Generator().manual_seed(2)
    examples = []
    for n in range(8):
        length = int(LENGTHS[n % 5])
        x = {m: torch.randn(length, d, generator=dice) for m, d in INPUTS.items()}
        labels = [3 * torch.randn((), generator=dice).item(), float(n % 3 == 0), float(n % 3)]
        examples.append(make_example(x, labels, f"v{n // 3}", f"s{n // 3}"))
    examples[3].labels[1] = float("nan")
    return examples


def network(name: str, **settings):
    hidden = {"language": 16, "visual": 8, "acoustic": 8}
    return partial(build, name, inputs=INPUTS, hidden=hidden, **settings)


@cache
def overfit(name: str) -> Fitted:
    examples = draw_eight()
    settings = TrainSettings(epochs=150, patience=150, batch=8, lr=0.02, weight_decay=0)
    return fit(network(name, outputs=6), TARGETS, settings, examples, examples, seed=0)


@pytest.mark.parametrize("name", NAMES)
def test_each_learns_eight_examples_by_heart(name):
    labels = torch.stack([example.labels for example in draw_eight()])
    found = overfit(name).predict(draw_eight())
    assert found.shape == (8, 6)
    assert (found[:, 0] - labels[:, 0]).abs().max() < 0.5  # of a spread of about 3
    given = ~labels[:, 1].isnan()
    assert torch.equal(found[given, 1:3].argmax(1), labels[given, 1].long())
    assert torch.equal(found[:, 3:].argmax(1), labels[:, 2].long())


@pytest.mark.parametrize("name", NAMES)
def test_padding_and_company_change_nothing_once_it_has_learned(name):
    model, batch = overfit(name).model, collate(draw_eight())
    model = build_like(name, model).double()
    x = {m: rows.double() for m, rows in batch.features.items()}
    together = model(x, batch.lengths)
    assert torch.equal(model(x, batch.lengths), together)  # nor are there dice
    for n, length in enumerate(batch.lengths):
        alone = model(take(x, n, length), length[None])
        assert (alone[0] - together[n]).abs().max() < 1e-10
    for rows in x.values():
        for n, length in enumerate(batch.lengths):
            rows[n, length:] = float("nan")
    assert torch.equal(model(x, batch.lengths), together)


def build_like(name: str, model: torch.nn.Module) -> torch.nn.Module:
    same = network(name, outputs=6)()
    same.load_state_dict(model.state_dict())
    return same.eval()


@pytest.mark.parametrize("name", NAMES)
def test_each_takes_any_modalities_and_a_missing_one(name):
    for modalities in (("acoustic",), ("language",), ("visual", "acoustic"), tuple(INPUTS)):
        features = {m: x for m, x in draw().items() if m in modalities}
        model = make(name, modalities, outputs=3)
        found = model(features, LENGTHS)
        assert found.shape == (5, 3)
        without = model({**features, modalities[-1]: 0 * features[modalities[-1]]}, LENGTHS)
        assert without.isfinite().all()
        assert not torch.equal(without, found)


@pytest.mark.parametrize("name", NAMES)
def test_each_comes_back_from_a_checkpoint(name, tmp_path):
    sequences, labels, videos = make_corpus(40)
    config = {"inputs": {"language": 3, "acoustic": 1}, "hidden": HIDDEN, "outputs": 1}
    scaler = fit_scaler(sequences, COLUMNS)
    examples = [
        scaler(s, row, video, video)
        for s, row, video in zip(sequences, labels, videos, strict=True)
    ]
    settings = TrainSettings(epochs=2, batch=16)
    member = fit(
        partial(build, name, **config), [SENTIMENT], settings, examples[:30], examples[30:], 0
    )
    manifest, _ = make_untrained(1)
    manifest = type(manifest)(
        **{**vars(manifest), "model": name, "config": config, "members": 1, "labels": (SENTIMENT,)}
    )
    save_checkpoint(manifest, Ensemble(scaler, (member,)), tmp_path / "model")
    found = load_checkpoint(tmp_path / "model").ensemble.predict_each(sequences, videos)
    assert torch.equal(found, Ensemble(scaler, (member,)).predict_each(sequences, videos))


@pytest.mark.parametrize("name", NAMES)
def test_each_trains_in_low_precision_without_some_modalities(name):
    settings = TrainSettings(epochs=2, batch=4, precision="bf16", modality_dropout=0.3)
    net = network(name, outputs=6, dropout=0.2, input_dropout=0.2)
    found = fit(net, TARGETS, settings, draw_eight(), draw_eight(), seed=0)
    assert len(found.history) in (2, 4)  # some are trained twice
    assert all(value.dtype != torch.bfloat16 for value in found.model.state_dict().values())


@pytest.mark.parametrize("name", ["df", "sal-cnn", "gme-lstm"])
@pytest.mark.parametrize("stop", [2, 5])  # the second run of the loop begins after 3
def test_a_stopped_training_goes_on_to_the_same_weights(name, stop, tmp_path):
    examples = draw_eight()
    settings = TrainSettings(epochs=3, batch=4, lr=0.01)
    train = partial(fit, network(name, outputs=6, dropout=0.3), TARGETS, settings)
    train = partial(train, examples, examples, seed=3)

    def interrupt(epoch):
        if epoch.number == stop:
            raise KeyboardInterrupt

    saved = Run(tmp_path).training("toy")
    undisturbed = train()
    if stop <= len(undisturbed.history):
        with pytest.raises(KeyboardInterrupt):
            train(on_epoch=interrupt, saved=saved)
    resumed = train(saved=saved)
    assert resumed.history == undisturbed.history
    for key, value in undisturbed.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[key]), key


def test_names_say_what_is_built():
    assert make("ef-slstm").config.layers == 2
    assert not make("ef-slstm").config.bidirectional
    assert make("ef-blstm").config.bidirectional
    assert (make("ef-sblstm").config.layers, make("ef-sblstm").config.bidirectional) == (2, True)
    assert MODELS.keys() >= set(NAMES)


def test_who_needs_more_than_there_is_says_so():
    everyone, nobody = ["ann", "bob", "ann"], ["", "", ""]
    twice, once = ["v0", "v1", "v0"], ["v0", "v1", "v2"]
    both = ("language", "acoustic")
    assert find_refusal("bc-lstm", twice, nobody, both) is None
    assert find_refusal("bc-lstm", once, everyone, both) == (
        "every video is one segment: there is no context"
    )
    assert "no context" in find_refusal("bc-lstm", nobody, everyone, both)
    assert find_refusal("sal-cnn", once, everyone, both) is None
    assert find_refusal("sal-cnn", twice, nobody, both) is None  # videos stand in
    assert find_refusal("sal-cnn", once, nobody, both).startswith("nobody speaks twice")
    assert find_refusal("sal-cnn", nobody, nobody, both).startswith("nobody speaks twice")
    assert all(find_refusal(n, once, nobody, ("language",)) is None for n in ("df", "tfn"))


# What each is by definition ---------------------------------------------------------------------
