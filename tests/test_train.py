"""The training loop on a corpus of which the truth is known."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial

import pytest
import torch

from pipeline.errors import DatasetError
from rmfn.baselines import build
from rmfn.data import fit_scaler
from rmfn.ensemble import fit_ensemble
from rmfn.model import RMFN
from rmfn.running import Epoch, TrainSettings
from rmfn.runs import Run, Saved
from rmfn.train import find_device, fit, predict
from tests.conftest import ROOT
from tests.trained import COLUMNS, CONFIG, SENTIMENT, make_corpus

NETWORK = partial(build, "rmfn", **CONFIG)
SETTINGS = TrainSettings(epochs=8, batch=16, lr=0.03, patience=8)


@pytest.fixture(scope="module")
def prepared():
    sequences, labels, _ = make_corpus(240)
    scaler = fit_scaler(sequences[:160], COLUMNS)
    return [scaler(s, row) for s, row in zip(sequences, labels, strict=True)]


@pytest.fixture(scope="module")
def fitted(prepared):
    return fit(NETWORK, [SENTIMENT], SETTINGS, prepared[:160], prepared[160:200], seed=0)


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
    assert kept == pytest.approx(
        min(epoch.scores["sentiment mae"] for epoch in fitted.history), abs=1e-6
    )
    assert [epoch.number for epoch in fitted.history] == list(range(1, 9))
    assert fitted.history[-1].train_loss < 0.7 * fitted.history[0].train_loss


def test_a_batch_without_labels_does_not_count(prepared):
    still = TrainSettings(epochs=1, batch=1, lr=1e-12, weight_decay=0.0)
    some = prepared[:10]
    bare = [replace(each, labels=torch.full_like(each.labels, torch.nan)) for each in some]
    losses = [
        fit(NETWORK, [SENTIMENT], still, part, prepared[40:60], seed=0).history[0].train_loss
        for part in (some, [*some, *bare])
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_the_same_seed_is_the_same_model_whatever_dice_were_thrown(prepared):
    short = TrainSettings(epochs=2, batch=16, lr=0.01)
    first = fit(NETWORK, [SENTIMENT], short, prepared[:40], prepared[40:60], seed=3)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    second = fit(NETWORK, [SENTIMENT], short, prepared[:40], prepared[40:60], seed=3)
    assert torch.equal(torch.get_rng_state(), state)  # nor does it throw those of others
    other = fit(NETWORK, [SENTIMENT], short, prepared[:40], prepared[40:60], seed=4)
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name
    assert first.history == second.history
    assert first.history != other.history


def test_it_stops_when_validation_gets_no_better(prepared):
    still = TrainSettings(epochs=30, patience=3, lr=1e-30, weight_decay=0.0)
    found = fit(NETWORK, [SENTIMENT], still, prepared[:20], prepared[20:30], seed=0)
    assert len(found.history) == 4


def test_the_rate_is_halved_on_a_plateau(prepared, monkeypatch):
    rates = []
    step = torch.optim.AdamW.step

    def spy(self, *args, **kwargs):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    settings = TrainSettings(
        epochs=4, lr=1e-30, weight_decay=0, schedule="plateau", plateau=1, batch=100
    )
    fit(NETWORK, [SENTIMENT], settings, prepared[:20], prepared[20:30], seed=0)
    assert rates[0] == 1e-30
    assert rates[-1] == pytest.approx(5e-31)
    rates.clear()
    settings = TrainSettings(epochs=4, lr=0.01, schedule="cosine", batch=100)
    found = fit(NETWORK, [SENTIMENT], settings, prepared[:20], prepared[20:30], seed=0)
    # lr (1 + cos(pi e / 4)) / 2
    assert rates == pytest.approx([0.01, 0.0085355, 0.005, 0.0014645], rel=1e-4)
    assert [epoch.lr for epoch in found.history] == rates


def test_gradients_are_held_to_the_norm(prepared, monkeypatch):
    norms = []
    step = torch.optim.AdamW.step

    def spy(self, *args, **kwargs):
        grads = [p.grad.norm() for group in self.param_groups for p in group["params"]]
        norms.append(float(torch.stack(grads).norm()))
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    fit(
        NETWORK,
        [SENTIMENT],
        TrainSettings(epochs=1, max_norm=0.01),
        prepared[:40],
        prepared[40:50],
        seed=0,
    )
    assert max(norms) == pytest.approx(0.01, rel=1e-3)


def test_progress_is_told_and_may_stop_it(prepared):
    seen: list[Epoch] = []

    def stop(epoch: Epoch) -> None:
        seen.append(epoch)
        if epoch.number == 2:
            raise KeyboardInterrupt("enough")

    with pytest.raises(KeyboardInterrupt, match="enough"):
        fit(NETWORK, [SENTIMENT], SETTINGS, prepared[:20], prepared[20:30], seed=0, on_epoch=stop)
    assert [epoch.number for epoch in seen] == [1, 2]


def test_order_and_batches_do_not_change_predictions(prepared, fitted):
    together = predict(fitted.model, prepared[:30], 1, batch=7)
    turned = predict(fitted.model, prepared[:30][::-1], 1, batch=64).flip(0)
    assert abs(together - turned).max() < 1e-6


def test_an_ensemble_has_its_parts():
    sequences, labels, _ = make_corpus(90)
    seen = []
    parts = [(range(60), range(60, 80)), (range(20, 80), range(20))]
    ensemble = fit_ensemble(
        NETWORK,
        [SENTIMENT],
        TrainSettings(epochs=1),
        COLUMNS,
        sequences,
        labels,
        parts,
        seeds=(0, 1),
        on_epoch=lambda place, epoch: seen.append(place),
    )
    assert seen == [0, 1]
    each = ensemble.predict_each(sequences[:5])
    assert each.shape == (2, 5, 1)
    assert not torch.equal(each[0], each[1])
    # what nobody learned from has no part in the columns' scale
    scale = fit_scaler(sequences[:80], COLUMNS)
    assert ensemble.scaler.mean["language"].tolist() == scale.mean["language"].tolist()


def test_modalities_are_hidden_while_training_alone(prepared, monkeypatch):
    seen: dict[bool, list[float]] = {True: [], False: []}
    forward = RMFN.forward

    def spy(self, features, lengths):
        gone = torch.stack([(x == 0).flatten(1).all(1) for x in features.values()], 1)
        assert not gone.all(1).any()
        seen[self.training].append(float(gone.float().mean()))
        return forward(self, features, lengths)

    monkeypatch.setattr(RMFN, "forward", spy)
    settings = TrainSettings(epochs=2, modality_dropout=0.3)
    fit(NETWORK, [SENTIMENT], settings, prepared[:160], prepared[160:200], seed=0)
    # a sequence of two loses both with 9 %, and is then given one back
    assert sum(seen[True]) / len(seen[True]) == pytest.approx(0.3 - 0.045, abs=0.05)
    assert max(seen[False]) == 0


def test_bfloat16_learns_too(prepared):
    settings = TrainSettings(epochs=8, batch=16, lr=0.03, precision="bf16", device="cpu")
    found = fit(NETWORK, [SENTIMENT], settings, prepared[:160], prepared[160:200], seed=0)
    assert all(p.dtype == torch.float32 for p in found.model.parameters())
    assert found.history[-1].train_loss < 0.8 * found.history[0].train_loss


def test_devices():
    assert find_device("cpu").type == "cpu"
    assert find_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ValueError, match="no device 'abacus': expected auto, cpu or cuda"):
        find_device("abacus")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="there is no CUDA device here"):
            find_device("cuda")


def test_a_loss_that_blows_up_is_said(prepared):
    settings = TrainSettings(epochs=3, lr=1e30, max_norm=1e30)
    with pytest.raises(ValueError, match=r"the loss became .* in epoch 1; try a learning rate"):
        fit(NETWORK, [SENTIMENT], settings, prepared[:40], prepared[40:60], seed=0)


def test_what_blew_up_is_not_gone_on_with(prepared, tmp_path, monkeypatch):
    run, losses = Run(tmp_path / "m" / "run"), [1.0, float("nan")]
    run.start({})
    monkeypatch.setattr("rmfn.train._run_epoch", lambda *_: losses.pop(0))
    with pytest.raises(ValueError, match="the loss became nan in epoch 2"):
        fit(NETWORK, [SENTIMENT], SETTINGS, prepared[:40], prepared[40:60], seed=0,
            saved=run.training("all-seed0"))  # fmt: skip
    assert (run.folder / "curves" / "all-seed0.csv").is_file()
    run.start({"lr": "another"})


def test_settings_that_cannot_be():
    with pytest.raises(ValueError, match="modality_dropout must be from 0 to below 1, got 1"):
        TrainSettings(modality_dropout=1)
    for name in ("epochs", "batch", "patience"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
            TrainSettings(**{name: 0})
    for name, value in (("lr", 0.0), ("lr", -1.0), ("lr", float("nan")), ("max_norm", 0.0)):
        with pytest.raises(ValueError, match=f"{name} must be above 0, got"):
            TrainSettings(**{name: value})
    for name in ("weight_decay", "plateau"):
        with pytest.raises(ValueError, match=f"{name} must be at least 0, got -1"):
            TrainSettings(**{name: -1})
    with pytest.raises(ValueError, match=r"trim must be from 0 to below 0\.5, got 0\.5"):
        TrainSettings(trim=0.5)


def test_nothing_to_learn_from(prepared):
    blank = [replace(e, labels=torch.tensor([float("nan")])) for e in prepared[:20]]
    with pytest.raises(DatasetError, match="there is no label to learn from"):
        fit(NETWORK, [SENTIMENT], SETTINGS, blank, prepared[:20], seed=0)
    with pytest.raises(DatasetError, match="there is no label to stop on"):
        fit(NETWORK, [SENTIMENT], SETTINGS, prepared[:20], blank, seed=0)


RESUMED = TrainSettings(
    epochs=6, batch=16, lr=0.02, schedule="plateau", plateau=0, modality_dropout=0.2
)
KILLED = """
import os, signal, sys
import rmfn.train as train
from tests.test_train import RESUMED, train_once
from rmfn.model import RMFN
from rmfn.runs import Run

plain, epochs = train.shuffled_batches, 0

def batches(*arguments):
    global epochs
    epochs += 1
    for n, batch in enumerate(plain(*arguments)):
        if epochs == 4 and n == 2:  # in the middle of the fourth epoch
            os.kill(os.getpid(), signal.SIGKILL)
        yield batch

train.shuffled_batches = batches
train_once(Run(__import__("pathlib").Path(sys.argv[1])).training("toy"))
"""


def train_once(saved: Saved | None, on_epoch=None):
    sequences, labels, _ = make_corpus(90)
    scaler = fit_scaler(sequences, COLUMNS)
    examples = [scaler(s, row) for s, row in zip(sequences, labels, strict=True)]
    network = partial(build, "rmfn", **CONFIG, dropout=0.3)
    return fit(
        network,
        [SENTIMENT],
        RESUMED,
        examples[:70],
        examples[70:],
        seed=5,
        on_epoch=on_epoch,
        saved=saved,
    )


def test_a_killed_training_goes_on_to_the_same_weights(tmp_path):
    """SIGKILL in the middle of an epoch: nobody can clean up after that."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
        timeout=180,
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    saved = Run(tmp_path).training("toy")
    assert len(saved.curve.read_text().splitlines()) == 1 + 3
    told: list[Epoch] = []
    resumed, undisturbed = train_once(saved, told.append), train_once(None)
    assert [epoch.number for epoch in told] == [3, 4, 5, 6]  # where it stands, then what is new
    assert resumed.history == undisturbed.history
    assert len({epoch.lr for epoch in undisturbed.history}) > 1  # the schedule went on as well
    for name, value in undisturbed.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
    # and what is finished is not trained again
    again = train_once(saved, told.append)
    assert [epoch.number for epoch in told[4:]] == [6]
    assert again.history == undisturbed.history
