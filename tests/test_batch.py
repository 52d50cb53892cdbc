"""Folders of clips, as a person has them put through: what fails, what stays, what is done again.

The backends are toys (`tests.toy_batch`); stages, processes and files are the real ones.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.conftest import ROOT
from tests.test_folder import PNG
from tests.toy_batch import BREAKS, CRASHES, DIES, HANGS, make_video, write_recipe

PASSING = ("report.json",)  # it tells of one run


def start(folder: Path, *arguments: Any, limit: str = "", **options: Any) -> subprocess.Popen:
    """The command line with toys, leading a group of its own; ``limit`` is of the shell."""
    command = [sys.executable, "-m", "tests.toy_batch", *map(str, arguments)]
    if limit:
        command = ["bash", "-c", f'{limit} && exec "$@"', "bash", *command]
    (folder / "tmp").mkdir(exist_ok=True)
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "TOY_LOG": str(folder / "log"), "TMPDIR": str(folder / "tmp")},
        start_new_session=True,
        text=True,
        # Where the tests themselves run in the background, Ctrl-C would be ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        **options,
    )


def run(folder: Path, *arguments: Any, **options: Any) -> tuple[int, str, str]:
    """Status, stdout, stderr of a command that ends by itself; nothing of it is left."""
    process = start(folder, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    try:
        out, error = process.communicate(timeout=300)
        return process.returncode, out, error
    finally:
        end(process)


def end(process: subprocess.Popen) -> None:
    """The power fails, for one process and all of its."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def read_files(store: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(store)): path.read_bytes()
        for path in store.rglob("*")
        if path.is_file() and path.name not in PASSING
    }


def read_report(store: Path) -> dict[str, dict[str, Any]]:
    clips = json.loads((store / "report.json").read_text())["clips"]
    return {Path(clip["path"]).name: clip for clip in clips}


def count_calls(folder: Path) -> dict[str, int]:
    """How often each stage was called since it was last asked."""
    log = folder / "log"
    lines = log.read_text().split("\n")[:-1] if log.exists() else []
    log.unlink(missing_ok=True)
    stages = [line.split()[0] for line in lines]
    return {stage: stages.count(stage) for stage in sorted(set(stages))}


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Six good clips of two seconds, each another."""
    folder = tmp_path_factory.mktemp("clips")
    for n in range(6):
        make_video(folder / f"clip{n}.mp4", 2, flash=0.1 + n / 5)
    return folder


@pytest.fixture(scope="module")
def undisturbed(clips, tmp_path_factory) -> tuple[Path, dict[str, bytes], float]:
    """The recipe, the store that one worker makes of the clips, and how long it takes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    recipe = write_recipe(folder, work=0.1)
    started = time.monotonic()
    status, out, error = run(
        folder, "batch", clips, "--store", folder / "s", "--recipe", recipe, "--workers", 1
    )
    assert status == 0, out + error
    files = read_files(folder / "s")
    assert len(files) == 6 * 5 + 2
    assert not list((folder / "tmp").iterdir())
    return recipe, files, time.monotonic() - started


def test_a_folder_of_good_bad_and_strange_files(clips, tmp_path):
    videos = tmp_path / "videos"
    shutil.copytree(clips, videos / "deep" / "er")
    for n in (1, 2, 3, 4, 5):
        (videos / "deep" / "er" / f"clip{n}.mp4").unlink()
    shutil.copy2(clips / "clip0.mp4", videos / "twin of clip0")
    shutil.copy2(clips / "clip1.mp4", videos / "told.mp4")
    (videos / "told.srt").write_text("1\n00:00:00,100 --> 00:00:01,900\nalpha beta gamma\n")
    shutil.copy2(clips / "clip2.mp4", videos / "mistold.mp4")
    (videos / "mistold.txt").write_bytes(b"\xff\xff\x00")
    for name, seconds in (("dies", DIES), ("breaks", BREAKS), ("crashes", CRASHES)):
        make_video(videos / f"{name}.mp4", seconds)
    whole = (clips / "clip3.mp4").read_bytes()
    (videos / "half.mp4").write_bytes(whole[: len(whole) // 2])
    (videos / "text.mp4").write_text("this is no video")
    (videos / "cover.png").write_bytes(PNG)
    (videos / "notes").write_text("not even called a video")
    recipe = write_recipe(tmp_path)
    given = ("batch", videos, "--recipe", recipe, "--workers", 2)
    status, out, error = run(tmp_path, *given, "--store", videos / "store", "--json", "-")
    assert status == 1, out + error
    assert "Traceback" not in error

    found = read_report(videos / "store")
    assert json.loads(out)["clips"] == list(found.values())
    assert json.loads(out)["passed_over"] == 4
    failed = {name: clip["stage"] for name, clip in found.items() if clip["status"] == "failed"}
    assert failed.pop("dies.mp4").split(", ").count("transcribe") == 1
    assert failed == {
        "crashes.mp4": "visual",
        "breaks.mp4": "transcribe",
        "half.mp4": "media",
        "text.mp4": "media",
        "mistold.mp4": "transcript",
    }
    reasons = {name: found[name]["reason"] for name in found}
    assert "its process died (signal 9)" in reasons["dies.mp4"]
    assert reasons["breaks.mp4"] == "RuntimeError: a fault of the program"
    assert "crashed (signal 11" in reasons["crashes.mp4"]
    assert "expected a video or sound file" in reasons["half.mp4"]
    assert "mistold.txt" in reasons["mistold.mp4"]
    twins = found["clip0.mp4"], found["twin of clip0"]
    assert sorted(clip["status"] for clip in twins) == ["done", "reused"]
    assert twins[0]["id"] == twins[1]["id"]
    assert {clip["same_as"] for clip in twins} == {None, str(videos / "deep/er/clip0.mp4")}
    assert found["told.mp4"]["quality"]["words"] == 3
    assert found["clip0.mp4"]["quality"]["words"] == 2
    assert found["clip0.mp4"]["quality"]["face_share"] == 1.0
    assert found["clip0.mp4"]["seconds"] > 0
    # transcribe: not told.mp4, whose words are known; not the twin; dies and breaks began to
    calls = count_calls(tmp_path)
    assert calls["transcribe"] == 1 + 3
    assert calls["align"] == 2 + 1
    assert not list((tmp_path / "tmp").iterdir())

    # Once more: nothing is done, and what failed is told again.
    status, out, error = run(tmp_path, *given, "--store", videos / "store")
    assert status == 1, out + error
    assert count_calls(tmp_path) == {}
    again = read_report(videos / "store")
    for name, clip in found.items():
        same = ("status", "seconds", "same_as")
        assert {k: v for k, v in again[name].items() if k not in same} == {
            k: v for k, v in clip.items() if k not in same
        }
        assert again[name]["status"] == clip["status"].replace("done", "reused")
    assert "0 done, 3 reused, 6 failed" in out
    assert f"{videos}/dies.mp4: failed (" in error

    # What failed is tried again when a person says so; half.mp4 has been copied anew.
    (videos / "half.mp4").write_bytes(whole)
    status, out, error = run(tmp_path, *given, "--store", videos / "store", "--retry-failed")
    assert status == 1, out + error
    assert "1 done, 3 reused, 5 failed" in out
    assert count_calls(tmp_path)["transcribe"] == 3  # dies, breaks, half.mp4


def test_a_clip_that_hangs_is_given_up(tmp_path, clips):
    videos, recipe = tmp_path / "videos", write_recipe(tmp_path)
    videos.mkdir()
    shutil.copy2(clips / "clip0.mp4", videos)
    given = ("extract", videos, "--store", tmp_path / "s", "--recipe", recipe, "--workers", 1)
    assert run(tmp_path, *given)[0] == 0
    make_video(videos / "hangs.mp4", HANGS)
    status, out, error = run(tmp_path, *given, "--timeout", 6)
    assert status == 1, out + error
    found = read_report(tmp_path / "s")
    assert found["clip0.mp4"]["status"] == "reused"
    assert found["hangs.mp4"]["reason"].startswith("it took longer than ")
    assert 6 <= found["hangs.mp4"]["seconds"] < 60
    assert not list((tmp_path / "tmp").iterdir())


def test_a_changed_recipe_does_only_what_depends_on_the_change(tmp_path, clips):
    given = ("extract", clips / "clip0.mp4", "--store", tmp_path / "s", "--recipe")
    assert run(tmp_path, *given, write_recipe(tmp_path))[0] == 0
    assert set(count_calls(tmp_path)) == {"transcribe", "align", "visual", "acoustic"}
    assert run(tmp_path, *given, write_recipe(tmp_path, step=0.5))[0] == 0
    assert set(count_calls(tmp_path)) == {"transcribe", "align"}
    assert read_report(tmp_path / "s")["clip0.mp4"]["status"] == "done"
    assert run(tmp_path, *given, write_recipe(tmp_path))[0] == 0
    assert count_calls(tmp_path) == {}
    assert read_report(tmp_path / "s")["clip0.mp4"]["status"] == "reused"


def test_rows_that_were_removed_are_made_again(tmp_path, clips):
    given = ("extract", clips / "clip0.mp4", "--store", tmp_path / "s")
    given = (*given, "--recipe", write_recipe(tmp_path))
    assert run(tmp_path, *given)[0] == 0
    before = read_files(tmp_path / "s")
    next((tmp_path / "s").rglob("sequence-*")).unlink()
    assert run(tmp_path, *given)[0] == 0
    assert read_files(tmp_path / "s") == before


def test_two_batches_on_one_store_do_not_spoil_each_other(tmp_path, clips, undisturbed):
    """Nor does it matter how many workers there are."""
    recipe, expected, _ = undisturbed
    given = ("batch", clips, "--store", tmp_path / "s", "--recipe", recipe, "--workers", 2)
    both = [start(tmp_path, *given, stdout=subprocess.DEVNULL) for _ in range(2)]
    try:
        assert [process.wait(300) for process in both] == [0, 0]
    finally:
        for process in both:
            end(process)
    assert read_files(tmp_path / "s") == expected
    assert {clip["status"] for clip in read_report(tmp_path / "s").values()} <= {"done", "reused"}


def test_killed_at_any_moment_it_goes_on_where_it_was(tmp_path, clips, undisturbed):
    recipe, expected, usual = undisturbed
    store = tmp_path / "s"
    given = ("batch", clips, "--store", store, "--recipe", recipe, "--workers", 2)
    chance, log = random.Random(0), tmp_path / "log"
    log.touch()
    kills, done, until = 0, 0, time.monotonic() + 40
    while time.monotonic() < until:
        size = log.stat().st_size
        process = start(tmp_path, *given, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            if kills % 3:  # while there is work; else somewhere while it starts
                while process.poll() is None and log.stat().st_size == size:
                    time.sleep(0.01)
                status = process.wait(chance.uniform(0, 1.0))
            else:
                status = process.wait(chance.uniform(0, 0.5) * usual)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            end(process)
        if status is not None:
            assert status == 0
            break
        kills += 1
        finished = len(read_files(store)) if store.exists() else 0
        for path in store.rglob("*.parquet"):
            if not path.name.startswith("."):
                pq.read_table(path)  # whole
        for path in store.rglob("outcome-*.json"):
            assert json.loads(path.read_text())["status"] == "done"
        done = max(done, finished)
    status, out, error = run(tmp_path, *given)
    assert status == 0, out + error
    assert kills >= 3
    assert done > 1
    # To the bit, and nothing else lies about.
    assert read_files(store) == expected
    assert not list((tmp_path / "tmp").iterdir())
    # A stage that was finished was not done again: at most one a worker was lost with each kill.
    calls = count_calls(tmp_path)
    for stage in ("transcribe", "visual", "acoustic"):
        assert 6 <= calls[stage] <= 6 + 2 * kills


def test_stopped_by_a_person_it_blames_no_clip(tmp_path, clips):
    """Ctrl-C reaches every process of the terminal; those that measure must not look crashed."""
    (tmp_path / "log").touch()
    given = ("batch", clips, "--store", tmp_path / "s", "--workers", 2, "--recipe")
    process = start(tmp_path, *given, write_recipe(tmp_path, work=20), stderr=subprocess.PIPE)
    try:
        until = time.monotonic() + 120
        while (tmp_path / "log").read_text().count("acoustic") < 2:
            assert time.monotonic() < until
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) == 130
        assert "interrupted; finished stages are in the store" in process.stderr.read()
        until = time.monotonic() + 60
        while len(list((tmp_path / "tmp").iterdir())):
            assert time.monotonic() < until
            time.sleep(0.1)
    finally:
        end(process)
    assert not list((tmp_path / "s").rglob("outcome-*"))
    assert not list((tmp_path / "s").rglob("*.tmp"))


def test_as_many_workers_as_there_are_cores_and_memory(monkeypatch):
    from flows import batch

    cores = len(os.sched_getaffinity(0))
    for free, expected in ((float("inf"), cores), (2 * batch.WORKER_MEMORY, min(cores, 2)), (1, 1)):
        monkeypatch.setattr(batch, "available_memory", lambda free=free: free)
        assert batch.choose_workers() == expected


@pytest.mark.parametrize("what", ["file size", "file system"])
def test_a_full_disk_stops_it_and_spoils_nothing(tmp_path, clips, undisturbed, what):
    recipe, expected, _ = undisturbed
    store = tmp_path / "s"
    given = ("batch", clips, "--store", store, "--recipe", recipe, "--workers", 2)
    if what == "file size":  # the sound of a clip takes 128 kB
        status, out, error = run(tmp_path, *given, limit="ulimit -f 64")
    else:
        store.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", store]
        if subprocess.run(mount, capture_output=True, timeout=30).returncode:
            pytest.skip("no file system can be mounted here")
        try:
            status, out, error = run(tmp_path, *given)
            kept = read_files(store)
        finally:
            subprocess.run(["umount", "-l", store], check=True, timeout=30)
        # The worker that was ended with the other may have been writing; the next run clears that.
        whole = {name for name in kept if not name.endswith(".tmp")}
        assert whole <= set(expected)
        assert all(kept[name] == expected[name] for name in whole if name != "files.json")
        for name, content in kept.items():
            (store / name).parent.mkdir(exist_ok=True)
            (store / name).write_bytes(content)
    assert status == 2, out + error
    assert ("File too large" if what == "file size" else "No space left on device") in error
    assert "Traceback" not in error
    assert not list((tmp_path / "tmp").iterdir())
    assert run(tmp_path, *given)[0] == 0
    assert read_files(store) == expected


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["nowhere"], "no such file or folder: "),
        (["empty"], "empty: expected video or sound files, found none (1 other files)"),
        (["clip0.mp4", "--workers", "0"], "there must be at least one worker, got 0"),
        (["clip0.mp4", "--timeout", "0"], "the time limit must be above 0 s, got 0"),
        (["clip0.mp4", "--recipe", "none"], "no recipe 'none'"),
        (["clip0.mp4", "--model", "mosi-language"], "is of use with --predict only"),
        (["clip0.mp4", "--predict", "--model", "none"], "none: no checkpoint"),
    ],
)
def test_what_cannot_be_used_is_told_before_any_work(
    tmp_path, clips, capsys, monkeypatch, arguments, match
):
    from flows.cli import main

    shutil.copy2(clips / "clip0.mp4", tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes").write_text("text")
    monkeypatch.chdir(tmp_path)
    assert main(["batch", *arguments, "--store", "s"]) == 2
    assert match in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.parquet"))
