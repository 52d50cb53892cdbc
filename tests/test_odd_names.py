"""Files may be called anything that a file system allows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.odd_media import NAMES
from flows.batch_files import tabulate_predictions
from pipeline.folder import FileIndex, find_media
from pipeline.transcripts import find_transcript
from rmfn.pages.page import write_page
from tests.conftest import ROOT
from tests.toy_batch import make_video, write_recipe

NO_TEXT = "\udcff\udcfe.mp4"  # two bytes that are no UTF-8


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    good = make_video(folder / "good.mp4", 1.0)
    for number, name in enumerate((*NAMES[::3], NAMES[-1])):
        name = f"{name}.mp4"
        # A byte more behind the end makes another clip.
        path = folder / (name if len(os.fsencode(name)) <= 255 else name[-255:])
        path.write_bytes(good.read_bytes() + bytes(8 * number + 8))
    good.unlink()
    return folder


def test_a_batch_of_them_ends_well(videos, tmp_path):
    command = [sys.executable, "-m", "tests.toy_batch", "batch", str(videos), "--store",
               str(tmp_path / "store"), "--recipe", str(write_recipe(tmp_path)), "--json", "-",
               "--workers", "1"]  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, timeout=300, check=False,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
    clips = json.loads(done.stdout)["clips"]
    names = {Path(clip["path"]).name for clip in clips}
    # A name that begins with a dot is hidden.
    assert names == {path.name for path in videos.iterdir() if not path.name.startswith(".")}
    assert len(names) > 8
    assert {clip["status"] for clip in clips} == {"done"}


def test_a_name_that_is_no_text_is_told_of(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "align", str(tmp_path / NO_TEXT)],
        cwd=ROOT, capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert rb"\udcff\udcfe.mp4: no such file" in done.stderr
    assert b"Traceback" not in done.stderr


def test_such_a_name_is_written_wherever_names_are(videos, tmp_path):
    told = {"value": 1.0, "interval": [0.0, 2.0]}
    clip = {"path": NO_TEXT, "id": "1", "status": "done", "duration": 1.0, "utterances": [],
            "overall": {"sentiment": told}}  # fmt: skip
    assert tabulate_predictions([clip])["path"].to_pylist() == [r"\udcff\udcfe.mp4"]
    write_page(tmp_path / "a.html", f"<title>{NO_TEXT}</title>")
    assert (tmp_path / "a.html").read_bytes() == rb"<title>\udcff\udcfe.mp4</title>"
    for path in videos.iterdir():
        os.utime(path, (1e9, 1e9))
    index = FileIndex(tmp_path / "files.json")
    found = find_media([videos], index)
    (clip_id,) = (index.identify(path) for path in found[0] if path.name == NO_TEXT)
    index.save()
    assert FileIndex(tmp_path / "files.json").identify(videos / NO_TEXT, read=False) == clip_id


def test_a_name_as_long_as_they_may_be_has_no_transcript_beside_it(tmp_path):
    assert find_transcript(tmp_path / ("n" * 251 + ".mp4")) is None
