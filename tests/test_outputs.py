"""What a command is to write is looked at before any work, and nothing that is read is lost."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from flows.cli import main
from tests.conftest import ROOT
from tests.toy_batch import make_video


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """With a file that is neither clip nor folder, read where a command expects something else."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("kept")
    (tmp_path / "inside").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("predict a.mp4 --json inside", "--json: inside: expected a file to write, found a folder"),
        (
            "predict a.mp4 --report file/a.html",
            "--report: file/a.html: .*file is a file, not a fol",
        ),
        ("predict a.mp4 --figures file", "--figures: file: expected a folder, found a file"),
        ("predict a.mp4 --store file", "--store: file: expected a folder, found a file"),
        ("align a.mp4 --json file/deep/er.json", "--json: file/deep/er.json: .* not a folder"),
        ("track visual a.mp4 --out inside", "--out: inside: expected a file to write"),
        ("batch inside --store s --predict --report file", "--report: file: expected a folder"),
        ("train --data d --out file", "--out: file: expected a folder, found a file"),
        ("train --data d --out o --json inside", "--json: inside: expected a file"),
        ("evaluate m --data d --markdown inside", "--markdown: inside: expected a file"),
        ("retrain inside --store s --into file", "--into: file: expected a folder"),
        ("report m --out inside", "--out: inside: expected a file"),
    ],
)
def test_a_place_that_cannot_be_written_is_told_at_once(arguments, said, folder, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments.split())
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert re.search(f"error: argument {said}", error), error
    assert sorted(path.name for path in folder.iterdir()) == ["file", "inside"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("predict a.mp4 --report a.mp4", "--report a.mp4: this is the clip"),
        ("predict a.mp4 --transcript a.txt --json ./a.txt", "--json ./a.txt: this is the transcri"),
        ("track acoustic a.mp4 --out link", "--out link: this is the clip"),
        ("align a.mp4 --json a.mp4", "--json a.mp4: this is the clip"),
    ],
)
def test_what_is_read_is_not_written_over(arguments, said, folder, capfd):
    make_video(folder / "a.mp4", 1.0)
    (folder / "a.txt").write_text("one two")
    (folder / "link").symlink_to("a.mp4")
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert main(arguments.split()) == 2
    assert said in capfd.readouterr().err
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_a_page_needs_a_name_before_a_video_can_go_into_it(folder, capfd):
    assert main(["predict", "a.mp4", "--embed-video"]) == 2
    assert "--embed-video is of a page" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("sent", "status", "said"),
    [(signal.SIGTERM, 143, "ended by SIGTERM"), (signal.SIGINT, 130, "interrupted")],
)
def test_a_prediction_that_is_told_to_end_does_and_says_so(sent, status, said, tmp_path):
    """The process that a person sees is told, by its number: the one that works is its child."""
    clip = make_video(tmp_path / "a.mp4", 1.0)
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "predict", str(clip)],
        stderr=subprocess.PIPE, text=True, cwd=ROOT, env=env,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    time.sleep(3)
    process.send_signal(sent)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status, errors
    assert said in errors
    assert "crash" not in errors
