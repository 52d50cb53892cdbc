"""The processes that measure tracks: begun ahead, used, and kept."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from flows.cli import main
from pipeline.apart import measure_apart
from pipeline.children import begin_children, end_children, list_children, take_child
from pipeline.clip import open_clip
from pipeline.errors import ClipError
from tests.conftest import ROOT
from tests.media_maker import make_clip
from tests.test_process import Brightness


@pytest.fixture(autouse=True)
def nobody_waits():
    end_children()
    yield
    end_children()


def list_processes() -> list[int]:
    return [child.process.pid for child in list_children()]


def test_one_that_was_begun_ahead_measures_and_waits_for_the_next(tmp_path):
    clip = open_clip(make_clip(tmp_path / "a.mp4"))
    begin_children("visual")
    begun = list_processes()
    assert len(begun) == 1
    for _ in range(2):
        track = measure_apart(Brightness(), clip, "visual", lambda share: None, threading.Event())
        assert len(track.times) > 1
        assert list_processes() == begun


def test_no_more_are_begun_than_wait_already():
    begin_children("visual", "acoustic")
    begun = list_processes()
    begin_children("visual", "acoustic")
    assert list_processes() == begun
    assert len(begun) == 2
    child = take_child("acoustic")
    assert list_processes() == begun[:1]
    child.end()


def test_one_that_nobody_needed_leaves_nothing():
    begin_children("visual")
    (child,) = list_children()
    end_children()
    assert child.process.returncode is not None
    assert not Path(child.folder.name).exists()


def test_one_that_was_ended_while_it_waited_is_replaced(tmp_path):
    clip = open_clip(make_clip(tmp_path / "a.mp4"))
    begin_children("visual")
    (child,) = list_children()
    child.process.kill()
    child.process.wait()
    track = measure_apart(Brightness(), clip, "visual", lambda share: None, threading.Event())
    assert len(track.times) > 1
    assert not Path(child.folder.name).exists()


def test_one_that_ends_as_soon_as_it_is_asked_is_told_of_by_its_last_words(tmp_path, monkeypatch):
    clip = open_clip(make_clip(tmp_path / "a.mp4"))
    (tmp_path / "sitecustomize.py").write_text("raise SystemExit('no library')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ClipError, match=r"a\.mp4: the process .* visual .* crashed \(exit status"):
        measure_apart(Brightness(), clip, "visual", lambda share: None, threading.Event())


@pytest.mark.parametrize(
    ("arguments", "begun"),
    [
        (["predict", "none.mp4"], 2),
        (["predict", "none.mp4", "--store", "features"], 0),
        (["track", "acoustic", "none.mp4", "--out", "a.parquet"], 1),
        (["align", "none.wav"], 0),
    ],
)
def test_a_command_begins_those_that_it_will_surely_need(arguments, begun, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert len(list_processes()) == begun


def test_they_are_begun_before_anything_that_takes_long_is_imported():
    slow = ("numpy", "pydantic", "pyarrow", "av", "rich")
    code = f"import sys, flows.cli; print(*[name for name in {slow!r} if name in sys.modules])"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert loaded.stdout.split() == []
