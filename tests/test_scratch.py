"""Temporary files go with the processes that wrote them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from pipeline.scratch import share_scratch
from pipeline.whole import sweep_folder, write_whole
from tests.conftest import ROOT

KILLED = """\
import os, sys, time
from pathlib import Path
from pipeline.scratch import share_scratch
from pipeline.whole import write_whole
def write(file):
    file.write(b"half")
    file.flush()
    with share_scratch() as folder:
        (folder / "left").touch()
        print("ready", flush=True)
        time.sleep(600)
write_whole(Path(sys.argv[1]) / "file", write)
"""


@pytest.fixture
def writer(tmp_path, monkeypatch):
    """A process in the midst of writing a file, with temporary files elsewhere."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, tmp_path],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout.readline() == b"ready\n"
        time.sleep(1.2)  # a file this old is locked if its writer lives
        yield process
    finally:
        process.kill()
        process.wait(30)
        process.stdout.close()


def count_left(folder: Path) -> tuple[int, int]:
    return len(list(folder.glob(".file.*.tmp"))), len(list((folder / "tmp").glob("rmfn-scratch-*")))


def test_what_a_living_process_writes_is_left_alone(writer, tmp_path):
    sweep_folder(tmp_path)
    with share_scratch():
        assert count_left(tmp_path) == (1, 2)
    assert count_left(tmp_path) == (1, 1)


def test_what_a_killed_process_left_is_removed_at_once(writer, tmp_path):
    writer.kill()
    writer.wait(30)
    assert count_left(tmp_path) == (1, 1)
    sweep_folder(tmp_path)
    with share_scratch():
        assert count_left(tmp_path) == (0, 1)
    assert count_left(tmp_path) == (0, 0)


def test_processes_find_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv("TMPDIR", raising=False)
    code = "import tempfile; print(tempfile.gettempdir())"
    with share_scratch() as folder:
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
        assert said.stdout.decode().strip() == str(folder)
    assert "TMPDIR" not in os.environ
    assert not folder.exists()


def test_a_new_file_needs_no_lock_yet(tmp_path):
    (tmp_path / ".file.1.tmp").touch()
    sweep_folder(tmp_path)
    assert (tmp_path / ".file.1.tmp").exists()
    write_whole(tmp_path / "file", lambda file: file.write(b"whole"))
    assert (tmp_path / "file").read_bytes() == b"whole"
