"""A batch whose store is on an object store: the same files as in a folder, and known again."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.store import Store
from tests.test_batch import read_files, run
from tests.toy_batch import make_video, write_recipe


def test_a_batch_into_s3_is_that_into_a_folder(bucket, tmp_path: Path) -> None:
    make_video(tmp_path / "videos" / "clip.mp4", 2)
    (tmp_path / "videos" / "text.mp4").write_text("this is no video")
    given = ("batch", tmp_path / "videos", "--recipe", write_recipe(tmp_path), "--workers", 1)
    away = f"{bucket}/batch/features"
    for store in (tmp_path / "here", away):
        status, out, error = run(tmp_path, *given, "--store", store)
        assert status == 1, out + error
        assert "Traceback" not in error
    there = Store(away)
    root = f"{there.folder.path}/"  # type: ignore[union-attr]
    found = there.folder.fs.find(root)  # type: ignore[union-attr]
    files = {each.removeprefix(root): there.folder.fs.cat_file(each) for each in found}  # type: ignore[union-attr]
    here = read_files(tmp_path / "here")
    assert files.keys() == {*here, "report.json"}
    assert {name: files[name] for name in here if name != "files.json"} == {
        name: data for name, data in here.items() if name != "files.json"
    }
    status, out, error = run(tmp_path, *given, "--store", away, "--json", "-")
    assert status == 1, out + error
    clips = {Path(clip["path"]).name: clip["status"] for clip in json.loads(out)["clips"]}
    assert clips == {"clip.mp4": "reused", "text.mp4": "failed"}

    status, out, error = run(tmp_path, "quality", away, "--json", "-")
    assert status == 0, error
    assert json.loads(out)["counts"] == {"flagged": 1}


def test_a_place_that_cannot_be_reached_is_one_line(tmp_path: Path) -> None:
    make_video(tmp_path / "videos" / "clip.mp4", 2)
    given = ("batch", tmp_path / "videos", "--recipe", write_recipe(tmp_path))
    status, out, error = run(tmp_path, *given, "--store", "gs://bucket/features")
    assert status == 2
    assert "error: gs://bucket/features: no way to get there (" in error
    assert "gcsfs" in error
    assert "Traceback" not in out + error
