"""From any data set to a folder that predicts, and what is refused on the way."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from extractors.types import WordFeatures
from pipeline.errors import DatasetError
from rmfn.checkpoint import CheckpointError
from rmfn.dataset import Dataset, hash_dataset
from rmfn.evaluate import evaluate_dataset
from rmfn.predict import Choice, Estimate, Predictor
from rmfn.running import TrainSettings
from rmfn.train_dataset import Plan, cross_validate_dataset, train_dataset
from rmfn.unseen import predict_folds
from tests.trained import (
    COLUMNS,
    HAPPY,
    HIDDEN,
    LENGTH,
    MOOD,
    SENTIMENT,
    SMALL,
    folder_bytes,
    make_dataset,
)

PLAN = Plan(
    targets=(SENTIMENT,),
    hidden=HIDDEN,
    model_settings=SMALL,
    settings=TrainSettings(epochs=3, batch=16, lr=0.03),
    seeds=(0,),
)


def split(dataset: Dataset) -> Dataset:
    """Videos v0 to v7 train, v8 and v9 valid, v10 and v11 test."""
    sides = ["train"] * 8 + ["valid"] * 2 + ["test"] * 2
    return replace(dataset, splits=tuple(sides[int(video[1:])] for video in dataset.videos))


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return split(make_dataset())


def test_several_kinds_of_target_at_once(dataset, tmp_path):
    """Each is learned: far better than the best constant, on videos nobody had seen."""
    targets = (SENTIMENT, HAPPY, MOOD, LENGTH)
    settings = TrainSettings(epochs=15, batch=8, lr=0.03, patience=15)
    plan = replace(PLAN, targets=targets, settings=settings)
    manifest = train_dataset(dataset, plan, tmp_path / "m")
    assert manifest.labels == targets
    assert manifest.config["outputs"] == 1 + 2 + 3 + 1
    assert [width is None for width in manifest.conformal.half_width] == [False, True, True, False]
    found = evaluate_dataset(tmp_path / "m", dataset, "test", draws=5)
    assert list(found) == ["sentiment", "happy", "mood", "length"]
    for name in ("sentiment", "length"):
        constants = found[name]["constants"].values()
        assert found[name]["mae"] < 0.75 * min(scores["mae"] for scores in constants)
    for name in ("happy", "mood"):
        wrong = 1 - found[name]["constants"]["majority"]["accuracy"]
        assert 1 - found[name]["accuracy"] < 0.75 * wrong
    # labels that nobody gave are not counted
    given = [not np.isnan(dataset.labels["happy"][n]) for n in dataset.of_split("test")]
    assert found["happy"]["n"] == sum(given) < found["mood"]["n"] == len(given)
    said = Predictor.load(tmp_path / "m")(dataset.sequences[0])
    assert isinstance(said["sentiment"], Estimate)
    assert isinstance(said["mood"], Choice)
    assert sum(said["mood"].probabilities.values()) == pytest.approx(1)
    assert list(said["mood"].probabilities) == list(MOOD.classes)
    assert said["mood"].value in MOOD.classes
    assert list(said["happy"].probabilities) == ["0", "1"]


def test_the_test_split_is_never_looked_at(dataset, tmp_path):
    """Nonsense in it, features and labels, changes nothing that is learned or measured."""
    rows = set(dataset.of_split("test"))
    sequences = list(dataset.sequences)
    for n in rows:
        features = {
            m: WordFeatures(rows.values * 50 + 7, rows.coverage, rows.names)
            for m, rows in sequences[n].features.items()
        }
        sequences[n] = replace(sequences[n], features=features)
    labels = dataset.labels["sentiment"].copy()
    labels[sorted(rows)] = 3
    other = replace(dataset, sequences=tuple(sequences), labels={"sentiment": labels})
    plan = replace(PLAN, folds=2, seeds=(0, 1))
    one = train_dataset(dataset, plan, tmp_path / "a")
    two = train_dataset(other, plan, tmp_path / "b")
    assert one.weights_sha256 == two.weights_sha256
    assert json.dumps(one.metrics) == json.dumps(two.metrics)
    assert one.conformal == two.conformal
    assert one.constants == two.constants
    assert one.splits == {
        "train": sorted(f"v{n}" for n in range(8)),
        "valid": ["v8", "v9"],
        "test": ["v10", "v11"],
    }


def test_a_run_says_what_reproduces_it(dataset, tmp_path):
    manifest = train_dataset(dataset, replace(PLAN, folds=2), tmp_path / "m")
    run = tmp_path / "m" / "run"
    said = json.loads((run / "run.json").read_text())
    assert said["plan"]["settings"]["lr"] == 0.03
    assert said["plan"]["targets"][0]["name"] == "sentiment"
    assert said["seeds"] == [0]
    assert said["data"]["sha256"] == hash_dataset(dataset)
    assert said["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert said == json.loads(json.dumps(manifest.training))
    names = sorted(path.name for path in (run / "curves").iterdir())
    assert names == ["fold0-seed0.csv", "fold1-seed0.csv", "train-seed0.csv"]
    lines = (run / "curves" / "train-seed0.csv").read_text().splitlines()
    assert lines[0] == "number,lr,train_loss,valid_loss,sentiment mae"
    assert [line.split(",")[0] for line in lines[1:]] == ["1", "2", "3"]
    assert not (run / "state").exists()  # nothing is left to go on with
    # and it does: the same plan and data give the same bytes
    train_dataset(dataset, replace(PLAN, folds=2), tmp_path / "again" / "m")
    assert folder_bytes(tmp_path / "m") == folder_bytes(tmp_path / "again" / "m")


def test_an_interrupted_run_goes_on_to_the_same_bytes(dataset, tmp_path):
    plan = replace(PLAN, folds=2, seeds=(0, 1))
    train_dataset(dataset, plan, tmp_path / "whole" / "m")

    def stop(now):
        if now.run == 3 and now.epoch.number == 2:
            raise KeyboardInterrupt("enough")

    out = tmp_path / "m"
    with pytest.raises(KeyboardInterrupt, match="enough"):
        train_dataset(dataset, plan, out, stop)
    assert not (out / "model.json").exists()
    with pytest.raises(DatasetError, match=r"an unfinished training lies there; .*--resume"):
        train_dataset(dataset, plan, out)
    other = replace(plan, settings=replace(plan.settings, lr=0.02))
    with pytest.raises(DatasetError, match=r"another: its plan\.settings\.lr is 0\.03, now 0\.02"):
        train_dataset(dataset, other, out, resume=True)
    seen = []
    train_dataset(dataset, plan, out, seen.append, resume=True)
    assert [(now.run, now.epoch.number) for now in seen[:4]] == [(0, 3), (1, 3), (2, 3), (3, 2)]
    assert folder_bytes(out) == folder_bytes(tmp_path / "whole" / "m")


def test_a_former_model_stays_until_the_new_one_is_there(dataset, tmp_path):
    out = tmp_path / "m"
    train_dataset(dataset, PLAN, out)
    before = {k: v for k, v in folder_bytes(out).items() if not k.startswith("run")}

    def stop(now):
        raise KeyboardInterrupt("enough")

    with pytest.raises(KeyboardInterrupt, match="enough"):
        train_dataset(dataset, replace(PLAN, seeds=(7,)), out, stop)
    after = folder_bytes(out)
    assert {k: after[k] for k in before} == before
    Predictor.load(out)


def test_a_full_disk_ends_in_one_line_and_the_last_epoch_stays(dataset, tmp_path, monkeypatch):
    out, plain, writes = tmp_path / "m", os.fsync, []

    def full(descriptor):
        writes.append(descriptor)
        if len(writes) > 5:  # run.json, then state and curve of two epochs
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return plain(descriptor)

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"No space left on device; the last finished epoch is kept"):
        train_dataset(dataset, PLAN, out)
    monkeypatch.undo()
    state = out / "run" / "state"
    assert [path.name for path in state.iterdir()] == ["train-seed0.safetensors"]  # no drafts
    seen = []
    train_dataset(dataset, PLAN, out, seen.append, resume=True)
    assert [now.epoch.number for now in seen] == [2, 3]
    train_dataset(dataset, PLAN, tmp_path / "whole" / "m")
    assert folder_bytes(out) == folder_bytes(tmp_path / "whole" / "m")


def test_splits_are_made_by_video_and_remembered(tmp_path):
    dataset = make_dataset()
    manifest = train_dataset(dataset, PLAN, tmp_path / "m")
    sides = manifest.splits
    assert sorted(sides) == ["test", "train", "valid"]
    assert sorted(v for side in sides.values() for v in side) == sorted(set(dataset.videos))
    other = train_dataset(dataset, replace(PLAN, split_seed=1), tmp_path / "n")
    assert other.splits != sides
    # evaluation of the same unsplit data finds them again
    found = evaluate_dataset(tmp_path / "m", dataset, "test", draws=0)["sentiment"]
    assert found["n"] == sum(video in sides["test"] for video in dataset.videos)
    assert found["seen"] == {"segments": 0, "videos": 0}
    everything = evaluate_dataset(tmp_path / "m", dataset, draws=0)["sentiment"]
    assert everything["seen"]["videos"] == 12 - len(sides["test"])


def test_a_model_knows_its_videos_by_other_names(tmp_path):
    """Labels files call a video by name, stem or clip id, whatever that of the training did."""
    dataset = make_dataset()
    clips = tuple(
        replace(sequence, clip_id=f"id of {video}")
        for video, sequence in zip(dataset.videos, dataset.sequences, strict=True)
    )
    dataset = replace(dataset, sequences=clips)
    splits = train_dataset(dataset, PLAN, tmp_path / "m").splits
    for rename in ("id of {}", "else/{}.mp4"):
        other = replace(dataset, videos=tuple(rename.format(video) for video in dataset.videos))
        found = evaluate_dataset(tmp_path / "m", other, "test", draws=0)["sentiment"]
        assert found["n"] == sum(video in splits["test"] for video in dataset.videos)
        assert found["seen"]["segments"] == 0
        everything = evaluate_dataset(tmp_path / "m", other, draws=0)["sentiment"]
        assert everything["seen"]["videos"] == 12 - len(splits["test"])


def test_speakers_stay_on_one_side_where_they_are_known(tmp_path):
    plain = make_dataset()
    speakers = tuple(f"p{int(video[1:]) // 2}" for video in plain.videos)
    dataset = replace(plain, speakers=speakers)
    manifest = train_dataset(dataset, PLAN, tmp_path / "m")
    for side, videos in manifest.splits.items():
        for video in videos:  # v0 and v1 are one speaker's, and so on
            assert f"v{int(video[1:]) ^ 1}" in videos, side


def test_intervals_of_a_training_redraw_whole_speakers(tmp_path):
    plain = make_dataset()
    speakers = tuple(f"p{int(video[1:]) // 2}" for video in plain.videos)
    found = cross_validate_dataset(replace(plain, speakers=speakers), replace(PLAN, folds=2))
    same = cross_validate_dataset(replace(plain, videos=speakers), replace(PLAN, folds=2))
    assert found["sentiment"]["interval"] == same["sentiment"]["interval"]
    assert "by speaker" in found["sentiment"]["how"]


def test_leaks_are_refused(dataset, tmp_path):
    first = next(n for n in dataset.of_split("train"))
    splits = list(dataset.splits)
    splits[first] = "test"
    with pytest.raises(DatasetError, match=r"the splits leak: video 'v\d+' is in train and test"):
        train_dataset(replace(dataset, splits=tuple(splits)), PLAN, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_infinite_features_are_refused_and_missing_ones_are_not(dataset, tmp_path):
    sequences = list(dataset.sequences)
    rows = sequences[4].features["acoustic"]
    values = rows.values.copy()
    values[0] = np.nan
    bare = {"language": sequences[5].features["language"]}
    sequences[4] = replace(
        sequences[4],
        features={**sequences[4].features, "acoustic": replace(rows, values=values)},
    )
    sequences[5] = replace(sequences[5], features=bare)
    train_dataset(replace(dataset, sequences=tuple(sequences)), PLAN, tmp_path / "m")
    values = values.copy()
    values[0] = -np.inf
    sequences[4] = replace(
        sequences[4],
        features={**sequences[4].features, "acoustic": replace(rows, values=values)},
    )
    broken = replace(dataset, sequences=tuple(sequences))
    said = (
        r"segment 's4' has an infinite acoustic value in the column 'timing\.duration' \(word 1\)"
    )
    with pytest.raises(DatasetError, match=said):
        train_dataset(broken, PLAN, tmp_path / "n")
    with pytest.raises(DatasetError, match=said):
        evaluate_dataset(tmp_path / "m", broken)


def test_labels_must_fit(dataset, tmp_path):
    labels = {**dataset.labels, "sentiment": dataset.labels["sentiment"] * 2}
    with pytest.raises(DatasetError, match=r"has the sentiment -?\d, expected -3 to 3"):
        train_dataset(replace(dataset, labels=labels), PLAN, tmp_path / "m")
    with pytest.raises(DatasetError, match=r"has no label 'anger'; it has sentiment, happy, mood"):
        train_dataset(dataset, replace(PLAN, targets=(replace(HAPPY, name="anger"),)), tmp_path)
    with pytest.raises(DatasetError, match="a loss weight is given for 'mood', which is not pred"):
        train_dataset(dataset, replace(PLAN, weights={"mood": 2.0}), tmp_path / "m")
    labels = {"sentiment": np.full(len(dataset), np.nan)}
    with pytest.raises(DatasetError, match="no segment has the label 'sentiment'"):
        train_dataset(replace(dataset, labels=labels), PLAN, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_a_label_that_is_on_the_other_side_only_is_told_before_any_work(dataset, tmp_path):
    values = dataset.labels["sentiment"].copy()
    values[dataset.of_split("train")] = np.nan
    here = replace(dataset, labels={"sentiment": values})
    with pytest.raises(DatasetError, match="no segment to learn from has the label 'sentiment'"):
        train_dataset(here, PLAN, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_what_the_model_does_not_have_is_told_before_any_work(dataset, tmp_path):
    with pytest.raises(ValueError, match="there is no model 'rnn'; there are rmfn"):
        train_dataset(dataset, replace(PLAN, model="rnn"), tmp_path / "m")
    plan = replace(PLAN, model="mfn", model_settings={"stages": 2})
    with pytest.raises(ValueError, match="mfn has no setting 'stages'"):
        train_dataset(dataset, plan, tmp_path / "m")
    with pytest.raises(DatasetError, match="toy has no modality 'visual'; it has language, acous"):
        train_dataset(dataset, replace(PLAN, modalities=("visual",)), tmp_path / "m")
    with pytest.raises(DatasetError, match="units are given for 'langage', which is no modality"):
        train_dataset(dataset, replace(PLAN, hidden={"langage": 4}), tmp_path / "m")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    with pytest.raises(CheckpointError, match="is there and is no checkpoint"):
        train_dataset(dataset, PLAN, tmp_path / "photos")
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


@pytest.mark.parametrize("model", ["rmfn-no-mfp", "rmfn-r1", "marn", "mfn", "ef-lstm"])
def test_every_kind_of_model_goes_the_same_way(dataset, tmp_path, model):
    settings = replace(PLAN.settings, epochs=1)
    plan = replace(PLAN, model=model, model_settings={"head": 8}, settings=settings)
    manifest = train_dataset(dataset, plan, tmp_path / "m")
    assert manifest.model == model
    found = Predictor.load(tmp_path / "m")(dataset.sequences[0])["sentiment"]
    assert -3 <= found.low <= found.value <= found.high <= 3


def test_one_modality_alone(dataset, tmp_path):
    manifest = train_dataset(dataset, replace(PLAN, modalities=("language",)), tmp_path / "m")
    assert manifest.columns == {"language": COLUMNS["language"]}
    assert list(manifest.features) == ["language"]  # timing makes acoustic columns
    sequence = dataset.sequences[0]
    bare = replace(sequence, features={"language": sequence.features["language"]})
    predictor = Predictor.load(tmp_path / "m")
    assert predictor(bare) == predictor(sequence)


def test_weights_of_losses_matter(dataset, tmp_path):
    """With nearly all the weight on one of two, the other is not learned."""
    settings = TrainSettings(epochs=10, batch=8, lr=0.02, patience=10)
    found = {}
    for weight in (0.001, 1000.0):
        plan = replace(
            PLAN, targets=(SENTIMENT, LENGTH), weights={"length": weight}, settings=settings
        )
        manifest = train_dataset(dataset, plan, tmp_path / f"m{weight}")
        found[weight] = manifest.metrics["valid"]
    assert found[0.001]["sentiment"]["mae"] < 0.8 * found[1000.0]["sentiment"]["mae"]
    assert found[1000.0]["length"]["mae"] < 0.8 * found[0.001]["length"]["mae"]


def test_without_folds_the_intervals_are_of_the_mean_on_what_was_held_out(dataset, tmp_path):
    plan = replace(PLAN, seeds=(0, 1), folds=0, coverage=0.8)
    manifest = train_dataset(dataset, plan, tmp_path / "m")
    held = dataset.take(dataset.of_split("valid"))
    values = Predictor.load(tmp_path / "m").predict_values(held.sequences)[:, 0]
    errors = np.sort(abs(values - held.labels["sentiment"]))
    rank = int(np.ceil((len(errors) + 1) * 0.8))
    assert rank <= len(errors)
    assert manifest.conformal.half_width[0] == pytest.approx(errors[rank - 1], abs=1e-5)


def test_folds_predict_everything_unseen(dataset, monkeypatch):
    import rmfn.unseen as module

    plain, learned = module.fit_ensemble, []

    def spy(network, targets, settings, columns, sequences, labels, parts, *rest):
        learned.append({n for some, held in parts for n in [*some, *held]})
        return plain(network, targets, settings, columns, sequences, labels, parts, *rest)

    monkeypatch.setattr(module, "fit_ensemble", spy)
    seen = []
    plan = replace(PLAN, folds=4, seeds=(0, 1), settings=replace(PLAN.settings, epochs=1))
    found = predict_folds(dataset, plan, seen.append)
    runs, labels, kept = found.runs, found.labels, found.dataset
    assert runs.shape == (2, len(kept), 1)
    assert not np.isnan(runs).any()
    assert "test" not in kept.splits
    assert labels[:, 0].tolist() == kept.labels["sentiment"].tolist()
    assert [now.run for now in seen] == list(range(8))
    unseen = [set(range(len(kept))) - rows for rows in learned]
    assert sorted(n for rows in unseen for n in rows) == list(range(len(kept)))
    for rows in unseen:
        videos = {kept.videos[n] for n in rows}
        assert rows == {n for n, video in enumerate(kept.videos) if video in videos}


def test_cross_validation_tells_spread_and_constants(dataset):
    found = cross_validate_dataset(dataset, replace(PLAN, folds=2, seeds=(0, 1)))["sentiment"]
    assert found["how"] == "2-fold cross-validation by video over all segments"
    assert found["n"] == len(dataset) - len(dataset.of_split("test"))
    assert found["interval"]["mae"][0] < found["mae"] < found["interval"]["mae"][1]
    assert found["seeds"]["mae"][1] > 0
    assert {"mean", "median", "mode", "negative", "positive"} == set(found["constants"])


def test_seeds_that_rotate_stop_on_other_videos(dataset, tmp_path):
    plan = replace(PLAN, rotate=True, seeds=(0, 1, 2))
    manifest = train_dataset(dataset, plan, tmp_path / "m")
    held = [tuple(manifest.splits[f"held out {n}"]) for n in range(3)]
    assert len({video for videos in held for video in videos}) == sum(map(len, held))
    assert manifest.splits["train"] == sorted(f"v{n}" for n in range(10))
    assert manifest.splits["test"] == ["v10", "v11"]
    assert manifest.metrics["valid"]["sentiment"]["how"].startswith("trained on the split train al")


def test_the_ends_that_scaling_passes_over_are_the_plans(dataset, tmp_path):
    """One word of 1000 is the scale of its column, unless the ends are passed over."""
    first = next(n for n, split in enumerate(dataset.splits) if split == "train")
    sequence = dataset.sequences[first]
    rows = sequence.features["acoustic"]
    values = rows.values.copy()
    values[0, 0] = 1000
    changed = replace(rows, values=values)
    sequences = list(dataset.sequences)
    sequences[first] = replace(sequence, features={**sequence.features, "acoustic": changed})
    dataset = replace(dataset, sequences=tuple(sequences))
    std = {}
    for trim in (0.0, 0.05):
        settings = replace(PLAN.settings, epochs=1, trim=trim)
        train_dataset(dataset, replace(PLAN, settings=settings), tmp_path / str(trim))
        scaler = Predictor.load(tmp_path / str(trim)).checkpoint.ensemble.scaler
        std[trim] = float(scaler.std["acoustic"][0])
    assert std[0.0] > 10
    assert std[0.05] < 1
