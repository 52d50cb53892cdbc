"""A native library that crashes takes a worker with it: the clip is named, and the others go on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.toy_batch import make_video, write_recipe

# The command line with a fault planted where a native library would have it. Workers of a batch
# import this file as well.
PLANTED = """
import os, signal, sys
import tests.toy_batch
from flows.cli import main
from {module} import {name} as good
import {module} as planted

def crash(first, *others, **settings):
    if "bad" in str(getattr(first, "path", first)):
        os.kill(os.getpid(), signal.SIGSEGV)
    return good(first, *others, **settings)

planted.{name} = crash

if __name__ == "__main__":
    sys.exit(main())
"""
PLACES = [("pipeline.clip", "open_container"), ("pipeline.clip_run", "decode_sound")]


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    make_video(folder / "bad.mp4", 1.0)
    make_video(folder / "good.mp4", 1.0, flash=0.7)
    return folder


def _run(folder: Path, place: tuple[str, str], *arguments: str) -> subprocess.CompletedProcess:
    script = folder / "planted.py"
    script.write_text(PLANTED.format(module=place[0], name=place[1]))
    (folder / "tmp").mkdir()
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder / "tmp")},
        cwd=folder, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stdout + done.stderr
    # A child that is still importing sees at the end of it that its parent has gone.
    deadline = time.monotonic() + 60
    while list((folder / "tmp").iterdir()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not list((folder / "tmp").iterdir())
    return done


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place[1])
def test_a_batch_sets_the_clip_aside(videos, tmp_path, place):
    done = _run(
        tmp_path, place, "batch", str(videos), "--store", "store", "--workers", "1",
        "--recipe", str(write_recipe(tmp_path)), "--json", "report.json",
    )  # fmt: skip
    assert done.returncode == 1
    clips = json.loads((tmp_path / "report.json").read_bytes())["clips"]
    assert [(Path(clip["path"]).name, clip["status"]) for clip in clips] == [
        ("bad.mp4", "failed"),
        ("good.mp4", "done"),
    ]
    assert clips[0]["reason"] == "its process died (signal 11)"


@pytest.mark.parametrize("command", ["align", "predict"])
@pytest.mark.parametrize("place", PLACES, ids=lambda place: place[1])
def test_of_a_single_clip_it_is_said_what_happened(videos, tmp_path, command, place):
    done = _run(tmp_path, place, command, str(videos / "bad.mp4"))
    assert done.returncode == 1
    assert done.stderr.count("error: ") == 1
    assert f"{videos / 'bad.mp4'}: it made the program crash (signal 11)" in done.stderr
