"""What is written comes back; what was damaged, or is something else, is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.errors import DatasetError
from rmfn.baselines import build
from rmfn.checkpoint import CheckpointError, load_checkpoint, refuse_taken, save_checkpoint
from rmfn.dataset import Target
from rmfn.ensemble import Ensemble
from rmfn.runs import Run
from rmfn.train import Fitted
from tests.trained import CONFIG, SENTIMENT, folder_bytes, make_corpus, make_untrained

GENERAL = ("inputs", "hidden", "outputs", "head")


@pytest.fixture
def folder(tmp_path):
    save_checkpoint(*make_untrained(), tmp_path / "model", "# A card")
    return tmp_path / "model"


def test_a_checkpoint_comes_back_as_it_was(folder):
    manifest, ensemble = make_untrained()
    found = load_checkpoint(folder)
    sequences, _, _ = make_corpus(10, seed=5)
    assert torch.equal(found.ensemble.predict_each(sequences), ensemble.predict_each(sequences))
    assert found.manifest.config == CONFIG
    assert found.manifest.columns == manifest.columns
    assert found.manifest.conformal == manifest.conformal
    assert found.manifest.features == manifest.features
    for modality in ("language", "acoustic"):
        assert np.array_equal(found.ensemble.scaler.std[modality], ensemble.scaler.std[modality])
    assert sorted(folder_bytes(folder)) == ["README.md", "model.json", "weights.safetensors"]
    assert (folder / "README.md").read_text() == "# A card"
    # JSON that any reader takes: an undefined number is null
    text = (folder / "model.json").read_text()
    assert json.loads(text, parse_constant=lambda word: pytest.fail(word))["metrics"] == {
        "cross-validation": {"sentiment": {"corr": None}}
    }


def test_what_somebody_trained_is_not_lost(folder, tmp_path):
    refuse_taken(tmp_path / "new")
    with pytest.raises(CheckpointError, match="a finished model lies there; name another --out, "):
        refuse_taken(folder)
    with pytest.raises(CheckpointError, match="a finished model lies there"):
        refuse_taken(folder, resume=True)  # there is nothing to go on with
    refuse_taken(folder, replace=True)
    state = Run(folder / "run").training("all-seed0")  # it was being replaced
    state.save({"a": torch.zeros(1)}, {"history": [{"number": 1, "scores": {}}]})
    refuse_taken(folder, resume=True)
    for replacing in (False, True):
        with pytest.raises(DatasetError, match="an unfinished training lies there"):
            refuse_taken(folder, replace=replacing)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "cat.jpg").touch()
    with pytest.raises(CheckpointError, match="is no checkpoint"):
        refuse_taken(tmp_path / "new", replace=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"multistage": False},
        {"highlight": False},
        {"attention_gain": "learned", "fuse_start": "project"},
        {"fuse_start": "zero", "map_hidden": 4},
        {"model": "mfn"},
        {"model": "marn", "head": 5},
        {"model": "ef-lstm"},
    ],
)
def test_every_kind_of_model_comes_back(tmp_path, changes):
    manifest, ensemble = make_untrained(1)
    changes = dict(changes)
    kind = changes.pop("model", "rmfn")
    config = {k: v for k, v in CONFIG.items() if kind == "rmfn" or k in GENERAL} | changes
    model = Fitted(build(kind, **config).eval(), (SENTIMENT,), torch.zeros(1), torch.ones(1))
    ensemble = Ensemble(ensemble.scaler, (model,))
    save_checkpoint(replace(manifest, model=kind, config=config), ensemble, tmp_path / "m")
    sequences, _, _ = make_corpus(4)
    found = load_checkpoint(tmp_path / "m")
    assert found.manifest.config == config
    assert torch.equal(found.ensemble.predict_each(sequences), ensemble.predict_each(sequences))


def test_loading_does_not_move_the_dice(folder):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    load_checkpoint(folder)
    assert torch.equal(torch.rand(3), expected)


def test_the_same_models_give_the_same_bytes(folder, tmp_path):
    save_checkpoint(*make_untrained(), tmp_path / "again", "# A card")
    assert folder_bytes(folder) == folder_bytes(tmp_path / "again")


def test_a_checkpoint_is_replaced_whole_and_nothing_is_left(folder):
    save_checkpoint(*make_untrained(1, seed=9), folder, "new")
    assert load_checkpoint(folder).manifest.members == 1
    assert (folder / "README.md").read_text() == "new"
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_a_failed_write_leaves_the_old_one(folder, monkeypatch):
    before = folder_bytes(folder)
    monkeypatch.setattr("rmfn.checkpoint.to_json", lambda record: 1 / 0)
    with pytest.raises(ZeroDivisionError, match="division by zero"):
        save_checkpoint(*make_untrained(1), folder)
    assert folder_bytes(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_other_folders_are_left_alone(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    (tmp_path / "file").write_text("text")
    for name in ("photos", "file"):
        with pytest.raises(CheckpointError, match="is no checkpoint; it is left as it is"):
            save_checkpoint(*make_untrained(), tmp_path / name)
    assert (tmp_path / "photos" / "cat.jpg").read_bytes() == b"cat"
    (tmp_path / "empty").mkdir()
    save_checkpoint(*make_untrained(), tmp_path / "empty")
    assert load_checkpoint(tmp_path / "empty").manifest.name == "toy"


def edit(folder, **changes):
    manifest = json.loads((folder / "model.json").read_text())
    manifest.update(changes)
    (folder / "model.json").write_text(json.dumps(manifest))


def test_damage_is_named(folder, tmp_path):
    with pytest.raises(CheckpointError, match="no such checkpoint folder"):
        load_checkpoint(tmp_path / "nowhere")
    (tmp_path / "other").mkdir()
    with pytest.raises(CheckpointError, match=r"is no checkpoint: it has no model\.json"):
        load_checkpoint(tmp_path / "other")
    weights = folder / "weights.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[:-9] + b"\0" + good[-8:])
    with pytest.raises(CheckpointError, match=r"weights\.safetensors is damaged or belongs to"):
        load_checkpoint(folder)
    weights.write_bytes(good[:100])
    with pytest.raises(CheckpointError, match="is damaged"):
        load_checkpoint(folder)
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"weights\.safetensors cannot be read"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "rmfn-checkpoint/9"}, r"format: Input should be 'rmfn-checkpoint/1'"),
        ({"members": "many"}, "members: Input should be a valid integer"),
        ({"surprise": 1}, "surprise: Unexpected"),
        ({"members": 3}, "does not fit"),
        ({"columns": {"language": ["good"], "acoustic": ["x"]}}, "does not fit"),
        ({"model": "rnn"}, r"does not fit model\.json: there is no model 'rnn'"),
    ],
)
def test_foreign_manifests_are_refused(folder, changes, message):
    edit(folder, **changes)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)


def test_text_that_is_no_manifest(folder):
    (folder / "model.json").write_text("{")
    with pytest.raises(
        CheckpointError, match=r"model\.json is no manifest.*the file: Invalid JSON"
    ):
        load_checkpoint(folder)
    (folder / "model.json").write_text("{}")
    with pytest.raises(CheckpointError, match="name: Field required"):
        load_checkpoint(folder)


def test_a_config_of_another_size_does_not_fit(folder):
    config = json.loads((folder / "model.json").read_text())["config"]
    edit(folder, config={**config, "head": 9})
    with pytest.raises(CheckpointError, match=r"does not fit model\.json"):
        load_checkpoint(folder)


def test_a_pickle_is_not_read(folder):
    import pickle
    from hashlib import sha256

    data = pickle.dumps({"weights": 1})
    (folder / "weights.safetensors").write_bytes(data)
    edit(folder, weights_sha256=sha256(data).hexdigest())
    with pytest.raises(CheckpointError, match="does not fit"):
        load_checkpoint(folder)


def test_labels_of_before_there_were_several_are_read(folder):
    """A label was a name and a scale, the metrics were those of the only one."""
    edit(
        folder,
        labels=[{"name": "sentiment", "low": -3.0, "high": 3.0}],
        metrics={"dev": {"how": "so", "mae": 0.5}},
        conformal={"coverage": 0.8, "half_width": [1.25], "measured": [0.79], "n": 100},
    )
    manifest = json.loads((folder / "model.json").read_text())
    del manifest["model"]
    (folder / "model.json").write_text(json.dumps(manifest))
    found = load_checkpoint(folder).manifest
    assert found.labels == (Target("sentiment", "regression", -3.0, 3.0),)
    assert found.metrics == {"dev": {"sentiment": {"how": "so", "mae": 0.5}}}
    assert found.model == "rmfn"


def test_a_run_stays_with_its_checkpoint(tmp_path):
    folder = tmp_path / "model"
    run = Run(folder / "run")
    run.start({"plan": 1})
    history = [{"number": 1, "scores": {}}]
    run.training("a").save({"x": torch.zeros(1)}, {"history": history})
    save_checkpoint(*make_untrained(), folder)  # an unfinished run is no foreign folder
    assert sorted(folder_bytes(folder)) == [
        "README.md",
        "model.json",
        "run/curves/a.csv",
        "run/run.json",
        "weights.safetensors",
    ]
    load_checkpoint(folder)
