"""A run's folder: whole files only, states that come back bit for bit, curves for a spreadsheet."""

from __future__ import annotations

import csv
import errno
import json
import os

import pytest
import torch

from pipeline.errors import DatasetError
from rmfn.runs import Run, begin_or_go_on, write_whole

HISTORY = [
    {"number": 1, "lr": 0.1, "train_loss": 2.5, "valid_loss": 2.0, "scores": {"a mae": 0.7}},
    {"number": 2, "lr": 0.1, "train_loss": 0.1 + 0.2, "valid_loss": 1.0, "scores": {"a mae": 0.6}},
]


def test_a_state_comes_back_bit_for_bit(tmp_path):
    saved = Run(tmp_path / "run").training("all-seed0")
    assert saved.load() is None
    tensors = {
        "a": torch.tensor([1e-45, float("nan"), -0.0]),
        "b.turned": torch.arange(6).reshape(2, 3).T,
        "dice": torch.get_rng_state(),
    }
    said = {"history": HISTORY, "schedule": {"best": float("inf")}, "groups": [{"betas": [0.9]}]}
    saved.save(tensors, said)
    found, numbers = saved.load()
    assert numbers == said
    for name, value in tensors.items():
        assert found[name].dtype == value.dtype
        assert found[name].contiguous().numpy().tobytes() == value.contiguous().numpy().tobytes()
    with saved.curve.open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["number", "lr", "train_loss", "valid_loss", "a mae"]
    assert [float(row["train_loss"]) for row in rows] == [2.5, 0.1 + 0.2]


def test_a_damaged_state_is_named(tmp_path):
    saved = Run(tmp_path).training("x")
    saved.save({"a": torch.zeros(2)}, {"history": HISTORY})
    whole = saved.state.read_bytes()
    for broken in (whole[:-3], b"", b"\0" * 40):
        saved.state.write_bytes(broken)
        with pytest.raises(DatasetError, match=r"x\.safetensors is damaged .*; remove it"):
            saved.load()


def test_a_run_goes_on_only_with_the_same(tmp_path):
    run = Run(tmp_path / "m" / "run")
    run.start({"plan": {"lr": 0.1, "targets": ("a",)}}, resume=True)  # nothing there: begin
    run.start({"plan": {"lr": 0.2}})  # nor is there before the first epoch
    run.start({"plan": {"lr": 0.1, "targets": ("a",)}})
    run.training("first").save({"a": torch.zeros(1)}, {"history": HISTORY})
    run.start({"plan": {"lr": 0.1, "targets": ["a"]}}, resume=True)
    with pytest.raises(
        DatasetError, match=r"an unfinished training lies there; go on with it \(--"
    ):
        run.start({"plan": {"lr": 0.1, "targets": ["a"]}})
    with pytest.raises(DatasetError, match=r"is another: its plan\.lr is 0\.1, now 0\.2"):
        run.start({"plan": {"lr": 0.2, "targets": ["a"]}}, resume=True)
    with pytest.raises(DatasetError, match=r"is another: its plan\.more is None, now 1"):
        run.start({"plan": {"lr": 0.1, "targets": ["a"], "more": 1}}, resume=True)
    run.training("old").save({"a": torch.zeros(1)}, {"history": HISTORY})
    run.training("first").drop()
    assert run.unfinished
    run.training("old").drop()
    assert not run.unfinished
    run.training("old").save({"a": torch.zeros(1)}, {"history": HISTORY})
    run.finish()
    assert sorted(path.name for path in run.folder.iterdir()) == ["curves", "run.json"]
    run.start({"plan": {"lr": 0.2}})  # what is finished is replaced, curves too
    assert json.loads((run.folder / "run.json").read_text()) == {"plan": {"lr": 0.2}}
    assert not (run.folder / "curves").exists()


@pytest.mark.parametrize("when", ["os.fsync", "os.replace"])
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, when):
    file = tmp_path / "deep" / "file"
    write_whole(file, b"good")

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(when, full)
    with pytest.raises(OSError, match="No space left on device; the last finished epoch") as caught:
        write_whole(file, b"bad")
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(file)
    assert file.read_bytes() == b"good"
    assert [path.name for path in file.parent.iterdir()] == ["file"]


def test_a_folder_goes_on_only_with_the_question_it_was_begun_with(tmp_path):
    file = tmp_path / "run" / "question.json"
    begin_or_go_on(file, {"data": "a", "plan": (1, 2)}, "answers", "holds something else")
    begin_or_go_on(file, {"data": "a", "plan": (1, 2)}, "answers", "holds something else")
    with pytest.raises(DatasetError, match="holds answers with another plan"):
        begin_or_go_on(file, {"data": "a", "plan": (1, 3)}, "answers", "holds something else")
    file.write_text("{")
    with pytest.raises(DatasetError, match=r"question\.json: damaged"):
        begin_or_go_on(file, {"data": "a"}, "answers", "holds something else")
