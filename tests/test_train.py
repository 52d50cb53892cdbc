"""The training loop on a corpus of which the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rmfn.data import fit_scaler
from rmfn.train import Epoch, TrainSettings, fit, fit_ensemble, predict
from tests.trained import COLUMNS, CONFIG, make_corpus

SETTINGS = TrainSettings(epochs=8, batch=16, lr=0.03, patience=8)


@pytest.fixture(scope="module")
def prepared():
    sequences, labels, _ = make_corpus(240)
    scaler = fit_scaler(sequences[:160], COLUMNS)
    return [scaler(s, row) for s, row in zip(sequences, labels, strict=True)]


@pytest.fixture(scope="module")
def fitted(prepared):
    return fit(CONFIG, SETTINGS, prepared[:160], prepared[160:200], seed=0)


def test_it_learns_what_there_is_to_learn(prepared, fitted):
    test = prepared[200:]
    labels = torch.stack([example.labels for example in test])
    error = (fitted.predict(test) - labels).abs().mean()
    constant = (labels - labels.median()).abs().mean()
    assert error < 0.5 * constant
    assert not fitted.model.training


def test_the_best_epoch_is_kept_and_told(prepared, fitted):
    valid = prepared[160:200]
    labels = torch.stack([example.labels for example in valid])
    kept = float((fitted.predict(valid) - labels).abs().mean())
    assert kept == pytest.approx(min(epoch.valid_mae for epoch in fitted.history), abs=1e-6)
    assert [epoch.number for epoch in fitted.history] == list(range(1, 9))
    assert fitted.history[-1].train_mae < 0.7 * fitted.history[0].train_mae


def test_the_same_seed_is_the_same_model_whatever_dice_were_thrown(prepared):
    short = TrainSettings(epochs=2, batch=16, lr=0.01)
    first = fit(CONFIG, short, prepared[:40], prepared[40:60], seed=3)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    second = fit(CONFIG, short, prepared[:40], prepared[40:60], seed=3)
    assert torch.equal(torch.get_rng_state(), state)  # nor does it throw those of others
    other = fit(CONFIG, short, prepared[:40], prepared[40:60], seed=4)
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name
    assert first.history == second.history
    assert first.history != other.history


def test_it_stops_when_validation_gets_no_better(prepared):
    still = TrainSettings(epochs=30, patience=3, lr=0.0, weight_decay=0.0)
    found = fit(CONFIG, still, prepared[:20], prepared[20:30], seed=0)
    assert len(found.history) == 4


def test_the_rate_is_halved_on_a_plateau(prepared, monkeypatch):
    rates = []
    step = torch.optim.AdamW.step

    def spy(self, *args, **kwargs):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    settings = TrainSettings(epochs=4, lr=1e-30, weight_decay=0, plateau=1, batch=100)
    fit(CONFIG, settings, prepared[:20], prepared[20:30], seed=0)
    assert rates[0] == 1e-30
    assert rates[-1] == pytest.approx(5e-31)


def test_gradients_are_held_to_the_norm(prepared, monkeypatch):
    norms = []
    step = torch.optim.AdamW.step

    def spy(self, *args, **kwargs):
        grads = [p.grad.norm() for group in self.param_groups for p in group["params"]]
        norms.append(float(torch.stack(grads).norm()))
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    fit(CONFIG, TrainSettings(epochs=1, max_norm=0.01), prepared[:40], prepared[40:50], seed=0)
    assert max(norms) == pytest.approx(0.01, rel=1e-3)


def test_progress_is_told_and_may_stop_it(prepared):
    seen: list[Epoch] = []

    def stop(epoch: Epoch) -> None:
        seen.append(epoch)
        if epoch.number == 2:
            raise KeyboardInterrupt("enough")

    with pytest.raises(KeyboardInterrupt, match="enough"):
        fit(CONFIG, SETTINGS, prepared[:20], prepared[20:30], seed=0, on_epoch=stop)
    assert [epoch.number for epoch in seen] == [1, 2]


def test_order_and_batches_do_not_change_predictions(prepared, fitted):
    together = predict(fitted.model, prepared[:30], batch=7)
    turned = predict(fitted.model, prepared[:30][::-1], batch=64).flip(0)
    assert abs(together - turned).max() < 1e-6


def test_an_ensemble_stops_each_member_on_other_videos():
    sequences, labels, videos = make_corpus(90)
    seen = []
    ensemble = fit_ensemble(
        CONFIG,
        TrainSettings(epochs=1),
        COLUMNS,
        sequences,
        labels,
        videos,
        seeds=(0, 1, 2),
        on_epoch=lambda place, epoch: seen.append(place),
    )
    assert seen == [0, 1, 2]
    assert len({held for held in ensemble.held_out}) > 1
    for held in ensemble.held_out:
        share = np.mean([video in held for video in videos])
        assert 0.08 < share < 0.3
    each = ensemble.predict_each(sequences[:5])
    assert each.shape == (3, 5, 1)
    assert not torch.equal(each[0], each[1])
