"""An encoder that learns: what it learns from, what it must never see, what comes of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from extractors.language_minilm import ADAPTER, MiniLM
from extractors.types import Word, WordFeatures
from extractors.weights import WeightsDamaged, WeightsMissing, locate_weights
from pipeline.errors import DatasetError
from pipeline.recipe import build_recipe
from pipeline.sequence import AlignedSequence
from rmfn import train_dataset as training
from rmfn.adapt import AdaptSettings, adapt, average_adapters, describe_encoder, pack_adapter
from rmfn.predict import Predictor
from rmfn.running import TrainSettings
from rmfn.timed import find_word_steps
from rmfn.train_dataset import Plan, cross_validate_dataset
from rmfn.unseen import predict_folds
from tests.trained import HIDDEN, SENTIMENT, SMALL, make_dataset

QUERY = "encoder.layer.5.attention.self.query"
PLAN = Plan(
    targets=(SENTIMENT,),
    hidden=HIDDEN,
    model_settings=SMALL,
    settings=TrainSettings(epochs=1, batch=16),
    seeds=(0,),
    rotate=True,
    folds=3,
    adapt=AdaptSettings(),
)
GOOD = ("I loved it", "a wonderful film", "what a brilliant story", "great fun", "just perfect")
BAD = ("I hated it", "a terrible film", "what a stupid story", "no fun", "just awful")


def speak(text: str) -> AlignedSequence:
    words = tuple(Word(token, n, n + 1.0, 1.0) for n, token in enumerate(text.split()))
    return AlignedSequence(text, words, {})


def make_adapter(seed: int, rank: int = 2) -> dict[str, torch.Tensor]:
    dice = torch.Generator().manual_seed(seed)
    return {
        f"{QUERY}.up": torch.randn(384, rank, generator=dice) / 20,
        f"{QUERY}.down": torch.randn(rank, 384, generator=dice) / 20,
    }


@pytest.fixture
def record(monkeypatch):
    """In the place of an encoder: who learned of whom, and columns that tell it."""
    calls = []

    def stub(sequences, labels, learned, targets, settings, on_step):
        calls.append(tuple(learned))
        on_step(3, 7)
        names = MiniLM(adapter=ADAPTER).names
        told = np.float32(labels[list(learned)].sum())  # whatever was learned shows in the columns
        rows = [np.full((len(s.words), len(names)), told, np.float32) for s in sequences]
        return [
            replace(s, features={**s.features, "language": WordFeatures(r, np.ones(len(r)), names)})
            for s, r in zip(sequences, rows, strict=True)
        ], make_adapter(0)

    monkeypatch.setattr("rmfn.unseen.adapt", stub)
    return calls


def test_no_fold_is_predicted_by_an_encoder_that_saw_its_videos(record):
    dataset = make_dataset()
    cross_validate_dataset(dataset, PLAN)
    assert len(record) == 3
    everybody = set(range(len(dataset)))
    held = [everybody - set(learned) for learned in record]
    assert set.union(*held) == everybody
    assert sum(map(len, held)) == len(everybody)
    for learned, unseen in zip(record, held, strict=True):
        videos = {dataset.videos[n] for n in learned}
        assert videos.isdisjoint(dataset.videos[n] for n in unseen)


def test_the_labels_of_a_fold_do_not_change_its_predictions(record):
    dataset = make_dataset()
    runs = predict_folds(dataset, PLAN).runs
    unseen = sorted(set(range(len(dataset))) - set(record[0]))
    labels = dataset.labels["sentiment"].copy()
    labels[unseen] = -labels[unseen]
    turned = replace(dataset, labels={**dataset.labels, "sentiment": labels})
    again = predict_folds(turned, PLAN).runs
    assert np.array_equal(runs[:, unseen], again[:, unseen])
    assert not np.array_equal(runs, again)  # the other folds did learn from them


def test_a_checkpoint_holds_the_adapter_that_its_recipe_must_name(record, tmp_path):
    dataset = make_dataset()
    manifest = training.train_dataset(dataset, PLAN, tmp_path / "m")
    assert record[-1] == tuple(range(len(dataset)))
    assert manifest.columns["language"] == MiniLM(adapter=ADAPTER).names
    file = tmp_path / "m" / ADAPTER
    (made,) = manifest.features["language"]
    minilm = {"backend": "minilm"}
    steps = {
        "name": "own",
        "transcribe": {"backend": "whisperx"},
        "align": {"backend": "pocketsphinx"},
        "language": [minilm, {**minilm, "adapter": str(file)}],
        "timing": {"backend": "timing"},
    }
    assert made == build_recipe(steps).provenance["language"][1]
    predictor = Predictor.load(tmp_path / "m")
    predictor.require_recipe(build_recipe(steps).provenance)
    file.write_bytes(pack_adapter(make_adapter(1)))
    with pytest.raises(ValueError, match="minilm' weights adapter"):
        predictor.require_recipe(build_recipe(steps).provenance)


def test_the_adaptation_is_told_of_beside_the_trainings(record, tmp_path):
    told = []
    dataset = make_dataset()
    sides = tuple("valid" if video in {"v0", "v1"} else "train" for video in dataset.videos)
    dataset = replace(dataset, splits=sides)
    training.train_dataset(dataset, replace(PLAN, seeds=(0, 1)), tmp_path / "m", told.append)
    said = [(now.run, now.runs, now.describe()) for now in told if now.epoch is None]
    assert said == [
        *((n, 10, "cross-validation: adapting the encoder, step 3 of 7") for n in (0, 2, 4)),
        (6, 10, "train, for valid: adapting the encoder, step 3 of 7"),
        (8, 10, "all: adapting the encoder, step 3 of 7"),
    ]
    assert [now.run for now in told if now.epoch] == list(range(10))


def test_the_valid_split_scores_an_encoder_of_the_train_split(record, tmp_path):
    dataset = make_dataset()
    sides = tuple("valid" if video in {"v0", "v1"} else "train" for video in dataset.videos)
    training.train_dataset(replace(dataset, splits=sides), PLAN, tmp_path / "m")
    train = tuple(n for n, side in enumerate(sides) if side == "train")
    assert record[3:] == [train, tuple(range(len(dataset)))]


def test_without_folds_the_intervals_would_be_too_narrow():
    with pytest.raises(DatasetError, match="needs folds to set the intervals"):
        training.train_dataset(make_dataset(), replace(PLAN, folds=0), "nowhere")


def test_the_average_adds_the_mean_of_what_each_adds():
    adapters = [make_adapter(seed) for seed in range(3)]
    products = [a[f"{QUERY}.up"] @ a[f"{QUERY}.down"] for a in adapters]
    mean = average_adapters(adapters)
    assert mean[f"{QUERY}.up"].shape == (384, 6)
    together = mean[f"{QUERY}.up"] @ mean[f"{QUERY}.down"]
    assert together.numpy() == pytest.approx(torch.stack(products).mean(0).numpy(), abs=1e-6)


def test_a_shipped_adapter_is_named_and_another_lies_where_it_lies(tmp_path):
    from rmfn.predict import SHIPPED

    assert describe_encoder(b"", SHIPPED)["settings"]["adapter"] == SHIPPED.name
    assert describe_encoder(b"", tmp_path)["settings"]["adapter"] == str(tmp_path / ADAPTER)


def test_an_adapter_that_is_not_there(tmp_path):
    for adapter in ("nobody", str(tmp_path / "x.safetensors")):
        with pytest.raises(WeightsMissing, match=f"adapter .*{adapter}.* is missing"):
            locate_weights(MiniLM(adapter=adapter).weights[1])


@pytest.mark.slow
def test_an_adapter_is_added_to_the_weights(tmp_path):
    file = tmp_path / "own.safetensors"
    tokens = [["not", "good"]]
    (plain,) = MiniLM()(tokens)
    adapter = make_adapter(0)
    file.write_bytes(pack_adapter({**adapter, f"{QUERY}.up": adapter[f"{QUERY}.up"] * 0}))
    assert np.array_equal(MiniLM(adapter=str(file))(tokens)[0], plain)
    file.write_bytes(pack_adapter(adapter))
    encoder = MiniLM(adapter=str(file))
    layer, plain_layer = (m.load()[1].get_submodule(QUERY) for m in (encoder, MiniLM()))
    x = torch.randn(5, 384, generator=torch.Generator().manual_seed(1))
    added = layer(x) - plain_layer(x)
    expected = x @ adapter[f"{QUERY}.down"].T @ adapter[f"{QUERY}.up"].T
    assert added.detach().numpy() == pytest.approx(expected.numpy(), abs=1e-4)
    assert abs(encoder(tokens)[0] - plain).max() > 1e-3
    for content in (b"no tensors", pack_adapter({"encoder.layer.9.up": torch.zeros(3, 1)})):
        file.write_bytes(content)
        with pytest.raises(WeightsDamaged, match="no adapter of this encoder"):
            MiniLM(adapter=str(file))(tokens)


@pytest.mark.slow
def test_it_learns_to_tell_the_labels_apart_and_reads_no_others():
    sequences = [speak(text) for text in GOOD + BAD]
    labels = np.array([[2.0]] * len(GOOD) + [[-2.0]] * len(BAD))
    learned = [0, 1, 2, 3, 5, 6, 7, 8]  # the last of each kind is not learned from
    settings = AdaptSettings(epochs=8, batch=4, rank=2, lr=3e-3)
    told = []
    found, adapter = adapt(
        sequences, labels, learned, (SENTIMENT,), settings, lambda *steps: told.append(steps)
    )
    assert told == [(n, 16) for n in range(1, 17)]
    forged = labels.copy()
    forged[[4, 9]] = np.nan
    again = adapt(sequences, forged, learned, (SENTIMENT,), settings)[1]
    assert all(torch.equal(adapter[name], again[name]) for name in adapter)
    assert set(adapter) == {
        f"encoder.layer.{n}.attention.self.{part}.{side}"
        for n in range(6)
        for part in ("query", "value")
        for side in ("up", "down")
    }

    def lean(rows: list[np.ndarray]) -> np.ndarray:
        """How much nearer each is to the good ones learned from than to the bad ones."""
        pooled = np.array([row.mean(0) for row in rows])
        good, bad = pooled[:4].mean(0), pooled[5:9].mean(0)
        return (pooled - (good + bad) / 2) @ (good - bad) / np.linalg.norm(good - bad) ** 2

    rows = [sequence.features["language"].values for sequence in found]
    adapted, plain = lean(rows), lean(MiniLM()([text.split() for text in GOOD + BAD]))
    assert adapted[4] > 0 > adapted[9]
    spread = [np.r_[side[:4] - 0.5, side[5:9] + 0.5].std() for side in (adapted, plain)]
    assert spread[0] < 0.8 * spread[1]


@pytest.mark.slow
def test_steps_are_told_over_all_seeds():
    told = []
    settings = AdaptSettings(epochs=1, batch=1, rank=1, seeds=(0, 1))
    sequences, labels = [speak("fun"), speak("no fun")], np.array([[1.0], [-1.0]])
    adapt(sequences, labels, [0, 1], (SENTIMENT,), settings, lambda *steps: told.append(steps))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_words_to_learn_from_get_no_columns_that_may_know_their_labels():
    plain, adapted, timing = ({"settings": {"adapter": a}} for a in (None, "mosi-language", None))
    found = find_word_steps({"language": [plain, adapted], "timing": timing, "visual": [plain]})
    assert found == {"language": [plain], "timing": timing}
