"""What a model may ask of the training loop, and that every model becomes a checkpoint."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import rmfn.job
import rmfn.train_dataset
import rmfn.unseen
from pipeline.errors import DatasetError
from rmfn.baselines import MODELS, build
from rmfn.baselines.shapes import take_shapes
from rmfn.data import Example, collate, fit_scaler, number_videos, pack_videos, shuffled_videos
from rmfn.dataset import Dataset
from rmfn.ensemble import fit_ensemble
from rmfn.job import Plan, configure, prepare
from rmfn.predict import Predictor
from rmfn.predict_clip import predict_utterances
from rmfn.running import TrainSettings
from rmfn.runs import Run
from rmfn.tasks import compute_loss, compute_losses, score_target
from rmfn.train import fit, predict
from rmfn.train_dataset import train_dataset
from rmfn.unseen import predict_folds, predict_test
from tests.conftest import ROOT
from tests.planted import make_planted
from tests.trained import COLUMNS, MOOD, SENTIMENT, make_corpus
from tests.trained import make_dataset as make_several

SETTINGS = TrainSettings(epochs=3, batch=8, lr=0.02, patience=3)


def make_examples(count: int = 40, videos: int = 8) -> list[Example]:
    sequences, labels, names = make_corpus(count, videos=videos)
    scaler = fit_scaler(sequences, COLUMNS)
    rows = zip(sequences, labels, names, strict=True)
    return [scaler(s, row, name, f"speaker of {name}") for s, row, name in rows]


class Mean(nn.Module):
    """A layer on averages over words: enough to see what the loop does with it."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, features, lengths):
        words = torch.cat(list(features.values()), 2)
        return self.layer(words.sum(1) / lengths[:, None])


class Learner(nn.Module):
    """Says the mean of the labels, and what it was given."""

    def __init__(self):
        super().__init__()
        self.register_buffer("said", torch.empty(0))
        self.given: list = []
        take_shapes(self)

    def learn(self, training, validation, targets, mean, std, seed):
        self.given = [training, validation, targets, mean, std, seed]
        self.said = torch.full((3,), 0.25)

    def forward(self, features, lengths):
        return self.said[:1].expand(len(lengths), 1)


def test_what_learns_by_itself_is_asked_once(tmp_path):
    examples, told = make_examples(), []
    saved = Run(tmp_path).training("own")
    made = []

    def network():
        made.append(Learner())
        return made[-1]

    found = fit(
        network, [SENTIMENT], SETTINGS, examples[:30], examples[30:], 7, on_epoch=told.append,
        saved=saved,
    )  # fmt: skip
    training, validation, targets, mean, std, seed = made[0].given
    assert training.labels.tolist() == [e.labels.tolist() for e in examples[:30]]
    assert len(validation.lengths) == 10
    assert training.speakers == tuple(e.speaker for e in examples[:30])
    assert (targets, seed) == ((SENTIMENT,), 7)
    labels = training.labels[:, 0]
    assert float(mean[0]) == pytest.approx(float(labels.mean()))
    assert float(std[0]) == pytest.approx(float(labels.std(unbiased=False)))
    said = float(labels.mean() + 0.25 * labels.std(unbiased=False))
    assert found.predict(examples)[:, 0].tolist() == pytest.approx([said] * 40)
    (epoch,) = found.history
    assert told == [epoch]
    assert epoch.scores["sentiment mae"] == pytest.approx(
        float((validation.labels[:, 0] - said).abs().mean())
    )
    # What is finished is not learned again, but read back.
    again = fit(network, [SENTIMENT], SETTINGS, examples[:30], examples[30:], 7, saved=saved)
    assert made[1].given == []
    assert again.history == found.history
    assert torch.equal(again.predict(examples), found.predict(examples))


def test_buffers_take_the_shapes_of_what_is_loaded():
    old, new = Learner(), nn.ModuleDict({"inner": Learner()})
    old.learn(None, None, None, None, None, 0)
    new.load_state_dict({f"inner.{name}": value for name, value in old.state_dict().items()})
    assert new["inner"].said.tolist() == [0.25] * 3
    stiff = nn.Module()
    stiff.register_buffer("said", torch.empty(0))
    with pytest.raises(RuntimeError, match="size mismatch for said"):
        stiff.load_state_dict(old.state_dict())


class Watcher(Mean):
    """Remembers the videos of every batch."""

    reads_videos = True
    seen: list  # one for all, each test begins it anew

    def forward(self, features, lengths, videos):
        type(self).seen.append((self.training, videos.clone(), features["language"][:, 0].clone()))
        return super().forward(features, lengths)


def test_videos_come_whole_and_in_order():
    examples = make_examples()
    first = {tuple(e.features["language"][0].tolist()): n for n, e in enumerate(examples)}
    Watcher.seen = []
    fit(Watcher, [SENTIMENT], replace(SETTINGS, epochs=2), examples[:30], examples[30:], seed=0)
    trained = [(v, x) for training, v, x in Watcher.seen if training]
    assert len(trained) > 2 * 2
    rows = []
    for videos, x in trained:
        places = [first[tuple(each)] for each in x.tolist()]
        for video in videos.unique():
            inside = [p for p, v in zip(places, videos, strict=True) if v == video]
            names = {examples[p].video for p in inside}
            assert len(names) == 1
            assert inside == [n for n in range(30) if examples[n].video in names]  # all, in order
        rows += places
    assert sorted(rows) == sorted([*range(30)] * 2)
    together = [len(v) for v, _ in trained if len(v.unique()) > 1]
    assert max(together) <= SETTINGS.batch
    # Predicting does the same, and whatever the batch.
    Watcher.seen = []
    model = Watcher().eval()
    few, many = (predict(model, examples, 1, batch=size) for size in (3, 64))
    np.testing.assert_allclose(few, many, atol=1e-6)
    for _, videos, x in Watcher.seen:
        names = [examples[first[tuple(each)]].video for each in x.tolist()]
        assert len(set(zip(names, videos.tolist(), strict=True))) == len(set(names))


def test_videos_are_numbered_and_packed():
    names = ["a", "b", "", "a", "", "b"]
    blank = {"language": torch.zeros(1, 1)}
    examples = [Example(blank, blank, torch.tensor([float(n)]), v) for n, v in enumerate(names)]
    assert number_videos(examples).tolist() == [0, 1, 2, 0, 3, 1]
    assert pack_videos(examples, 4) == [[0, 3, 1, 5], [2, 4]]
    assert pack_videos(examples, 1) == [[0, 3], [1, 5], [2], [4]]
    generator = torch.Generator().manual_seed(0)
    batches = list(shuffled_videos(examples, 2, generator))
    rows = [batch.labels[:, 0].int().tolist() for batch in batches]
    assert sorted(map(tuple, rows)) in ([(0, 3), (1, 5), (2, 4)], [(0, 3), (1, 5), (2,), (4,)],
                                        [(0, 3), (1, 5), (4, 2)])  # fmt: skip
    orders = {
        str([b.labels[:, 0].int().tolist() for b in shuffled_videos(examples, 2, generator)])
        for _ in range(9)
    }
    assert len(orders) > 2
    assert collate(examples).speakers == ("",) * 6


class Refined(Mean):
    """Is told once to forget its first column."""

    def __init__(self):
        super().__init__()
        self.register_buffer("kept", torch.ones(4))

    def forward(self, features, lengths):
        noise = 0.01 * torch.randn(1) if self.training else 0.0
        words = torch.cat(list(features.values()), 2) * self.kept + noise
        return self.layer(words.sum(1) / lengths[:, None])

    @torch.no_grad()
    def refine(self, training):
        self.kept[0] = 0.0
        self.kept[1] = 1.0 + 0.001 * len(training.lengths) + 0.1 * torch.rand(1)
        self.layer.weight[:] += 5  # far from where the first run of the loop ended


def refine_once(saved=None, on_epoch=None):
    examples = make_examples(60)
    settings = TrainSettings(epochs=4, patience=4, batch=16, lr=0.02, schedule="cosine")
    return fit(
        Refined, [SENTIMENT], settings, examples[:45], examples[45:], 3, None, on_epoch, saved
    )


KILLED = """
import os, signal, sys
from pathlib import Path
import rmfn.train as train
from tests.test_train_hooks import refine_once
from rmfn.runs import Run

plain, epochs = train.shuffled_batches, 0

def batches(*arguments):
    global epochs
    epochs += 1
    for n, batch in enumerate(plain(*arguments)):
        if epochs == int(sys.argv[2]) and n == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        yield batch

train.shuffled_batches = batches
refine_once(Run(Path(sys.argv[1])).training("toy"))
"""


def test_a_model_is_refined_between_two_runs_of_the_loop(monkeypatch):
    seen = []
    plain = Refined.refine
    monkeypatch.setattr(
        Refined,
        "refine",
        lambda self, training: (seen.append(self.layer.weight.clone()), plain(self, training)),
    )
    found = refine_once()
    assert len(seen) == 1
    assert [epoch.number for epoch in found.history] == list(range(1, 9))
    rates = [epoch.lr for epoch in found.history]
    assert rates[:4] == rates[4:]  # the second run begins anew
    assert found.model.kept[0] == 0
    assert found.model.kept[1] > 1.045
    # The weights kept are the best of the second run, even if the first had better ones.
    valid = make_examples(60)[45:]
    labels = torch.stack([example.labels for example in valid])
    kept = float((found.predict(valid) - labels).abs().mean())
    second = [epoch.scores["sentiment mae"] for epoch in found.history[4:]]
    assert kept == pytest.approx(min(second), abs=1e-6)
    assert min(second) > min(epoch.scores["sentiment mae"] for epoch in found.history[:4])


@pytest.mark.parametrize("epoch", [5, 7])  # the first after it was refined, and a later one
def test_a_killed_refinement_goes_on_to_the_same_weights(tmp_path, epoch):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), str(epoch)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
        timeout=180,
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    told = []
    resumed = refine_once(Run(tmp_path).training("toy"), told.append)
    undisturbed = refine_once()
    assert [each.number for each in told] == list(range(epoch - 1, 9))
    assert resumed.history == undisturbed.history
    for name, value in undisturbed.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


class Gated(Mean):
    """A gate that no gradient of the loss reaches; what it costs is told by the surrogate."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(1))
        self.told: list = []

    def surrogate(self, losses):
        assert not losses.requires_grad
        self.told.append(losses.clone())
        return (self.gate - 1).square().sum() * losses.mean().sign()


def test_a_surrogate_is_added_to_the_loss():
    examples = make_examples()
    plain = fit(Mean, [SENTIMENT], SETTINGS, examples[:30], examples[30:], seed=0)
    found = fit(Gated, [SENTIMENT], SETTINGS, examples[:30], examples[30:], seed=0)
    assert found.model.gate > 0.1
    # The history tells of the loss alone.
    assert [e.number for e in found.history] == [e.number for e in plain.history]
    means = [float(each.mean()) for each in found.model.told]
    sizes = [len(each) for each in found.model.told]
    assert sum(sizes) == 30 * SETTINGS.epochs
    first = sum(m * n for m, n in zip(means[:4], sizes[:4], strict=True)) / 30
    assert found.history[0].train_loss == pytest.approx(first, rel=1e-5)


def test_each_sequences_loss_is_the_loss_of_it_alone():
    torch.manual_seed(0)
    targets, weights = (SENTIMENT, MOOD), torch.tensor([0.5, 2.0])
    raw, mean, std = torch.randn(6, 4), torch.tensor([0.3, 0.0]), torch.tensor([1.7, 1.0])
    labels = torch.stack([torch.randn(6), torch.tensor([0.0, 1, 2, 0, 1, 2])], 1)
    labels[1, 0] = labels[2, 1] = labels[3, 0] = labels[3, 1] = torch.nan
    found = compute_losses(raw, labels, targets, mean, std, weights)
    for n in range(6):
        alone = compute_loss(raw[n : n + 1], labels[n : n + 1], targets, mean, std, weights)
        assert float(found[n]) == pytest.approx(float(alone), rel=1e-5, abs=1e-7)
    assert found[3] == 0


@dataclass(frozen=True)
class WatcherConfig:
    inputs: dict[str, int]
    hidden: dict[str, int]
    outputs: int = 1
    classes: tuple[int, ...] = ()


class Configured(Watcher):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.layer = nn.Linear(4, config.outputs)

    @staticmethod
    def refuse(videos, speakers, modalities):
        return None if len(modalities) > 1 else f"{modalities[0]} alone is too little"


@pytest.fixture
def configured(monkeypatch):
    monkeypatch.setitem(MODELS, "watcher", (WatcherConfig, Configured, {}))
    Watcher.seen = []


def test_a_configuration_is_told_the_classes(configured):
    job = prepare(make_several(40), Plan(model="watcher", folds=2, rotate=True))
    assert configure(job)["classes"] == (0, 2, 3, 0)
    assert configure(job)["outputs"] == 7
    # As a checkpoint's JSON brings it back
    assert build("watcher", {"a": 4}, {"a": 1}, 7, classes=[0, 2]).config.classes == (0, 2)


def test_what_a_definition_needs_is_told_before_any_work(configured, tmp_path):
    plan = Plan(model="watcher", modalities=("language",))
    with pytest.raises(DatasetError, match="watcher is not for these data: language alone is too"):
        train_dataset(make_planted(), plan, tmp_path / "m")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("how", ["folds", "test", "checkpoint"])
def test_a_models_videos_are_those_of_the_data_everywhere(configured, tmp_path, how):
    dataset = make_planted(80)
    plan = Plan(model="watcher", settings=SETTINGS, seeds=(0,))
    if how == "folds":
        predict_folds(dataset, replace(plan, folds=3, rotate=True))
    elif how == "test":
        predict_test(dataset, plan)
    else:
        train_dataset(dataset, plan, tmp_path / "m")
        Predictor.load(tmp_path / "m").predict_values(dataset.sequences, dataset.videos)
    # A batch to predict holds the videos of a whole split or fold.
    assert all(len(v.unique()) < len(v) for training, v, _ in Watcher.seen if not training)
    several = [len(v.unique()) < len(v) for training, v, _ in Watcher.seen if training]
    assert sum(several) > 0.6 * len(several)


def test_the_test_split_is_predicted_and_nothing_else(monkeypatch):
    dataset, parts = make_planted(80), []
    plain = rmfn.unseen.fit_ensemble

    def spy(*given):
        parts.extend(given[6])
        return plain(*given)

    monkeypatch.setattr(rmfn.unseen, "fit_ensemble", spy)
    plan = Plan(model="ef-lstm", settings=SETTINGS, seeds=(0, 1))
    found = predict_test(dataset, plan)
    # What is learned from comes first, then test.
    counts = {split: len(dataset.of_split(split)) for split in ("train", "valid", "test")}
    kept = [n for n, split in enumerate(dataset.splits) if split != "test"]
    for learned, stopped in parts:
        assert [kept[n] for n in learned] == dataset.of_split("train")
        assert [kept[n] for n in stopped] == dataset.of_split("valid")
    test = dataset.take(dataset.of_split("test"))
    assert found.dataset.ids == test.ids
    assert found.labels[:, 0].tolist() == test.labels["sentiment"].tolist()
    assert found.runs.shape == (2, counts["test"], 1)
    assert len(found.learned) == counts["train"]
    with pytest.raises(DatasetError, match="has no split test"):
        predict_test(dataset.take(kept), plan)


def test_a_clips_utterances_are_one_video(configured, tmp_path):
    dataset = make_planted(80)
    train_dataset(dataset, Plan(model="watcher", settings=SETTINGS, seeds=(0,)), tmp_path / "m")
    predictor = Predictor.load(tmp_path / "m")
    clip = max(dataset.sequences, key=lambda s: len(s.words))
    parts = [range(n, n + 1) for n in range(len(clip.words))]
    Watcher.seen = []
    predict_utterances(predictor, clip, parts)
    ((_, videos, x),) = Watcher.seen
    assert videos.tolist() == [0] * len(parts)
    scaled = predictor.checkpoint.ensemble.scaler(clip).features["language"]
    assert torch.equal(x, scaled)  # in their order
    # By themselves they are videos of their own.
    Watcher.seen = []
    predictor.predict([clip.between(part.start, part.stop) for part in parts])
    assert Watcher.seen[0][1].tolist() == list(range(len(parts)))


def test_speakers_reach_the_batches():
    sequences, labels, names = make_corpus(30)
    given = []

    class Asks(Learner):
        def learn(self, training, *rest, **named):
            given.append((training.speakers, training.videos.tolist()))
            super().learn(training, *rest, **named)

    speakers = [f"who says {name}" for name in names]
    fit_ensemble(
        Asks, [SENTIMENT], SETTINGS, COLUMNS, sequences, labels, [(range(20), range(20, 30))],
        (0,), videos=names, speakers=speakers,
    )  # fmt: skip
    places = {name: n for n, name in enumerate(dict.fromkeys(names[:20]))}
    assert given == [(tuple(speakers[:20]), [places[name] for name in names[:20]])]


TINY = {
    **{"states": 2, "components": 3, "trees": 5, "fuse": 4, "summary": 4, "memory": 4, "head": 4},
    **{"reduce": 4, "attention_hidden": 4, "update_hidden": 4, "gate_hidden": 4},
}


@pytest.fixture(scope="module")
def several() -> Dataset:
    dataset = make_several(48, videos=8)
    return replace(dataset, labels={k: dataset.labels[k] for k in ("sentiment", "mood")},
                   targets=(SENTIMENT, MOOD))  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_every_model_becomes_a_checkpoint(name, several, tmp_path, monkeypatch):
    """Trained on numbers and classes at once, written, read back, and it says the same."""
    known = rmfn.job.list_settings(name)
    settings = {k: v for k, v in TINY.items() if k in known}
    if "states" in settings and name == "thmm":
        settings["states"] = (1, 2)
    plan = Plan(
        model=name,
        hidden={"language": 3, "acoustic": 2},
        model_settings=settings,
        settings=TrainSettings(epochs=1, batch=16),
        seeds=(0,),
    )
    kept = []
    write = rmfn.train_dataset.save_checkpoint

    def spy(manifest, ensemble, *rest):
        kept.append(ensemble)
        return write(manifest, ensemble, *rest)

    monkeypatch.setattr(rmfn.train_dataset, "save_checkpoint", spy)
    quick = partial(rmfn.train_dataset.summarise, draws=2)
    monkeypatch.setattr(rmfn.train_dataset, "summarise", quick)
    manifest = train_dataset(several, plan, tmp_path / "m")
    assert manifest.model == name
    predictor = Predictor.load(tmp_path / "m")
    found = predictor.predict_values(several.sequences, several.videos)
    expected = kept[0].predict_each(several.sequences, several.videos)[0].double().numpy()
    expected[:, 0] = expected[:, 0].clip(-3, 3)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(found[:, 1:].sum(1), 1, atol=1e-5)
    assert score_target(found[:, 1:], several.labels["mood"], MOOD)["n"] == len(several)
    # A clip without one of the modalities, of one word, is predicted as well.
    bare = several.sequences[0].between(0, 1)
    bare = replace(bare, features={"language": bare.features["language"]})
    assert np.isfinite(predictor(bare)["sentiment"].value)
