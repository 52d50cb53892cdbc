"""A batch spread over a Dask cluster of two worker processes: the same as without, bit for bit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest

from pipeline.cluster import Cluster
from pipeline.isolation import Done, do_isolated
from tests.cluster_task import do
from tests.conftest import ROOT
from tests.test_batch import read_files, read_report, run
from tests.toy_batch import DIES, make_video, write_recipe

pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a scheduler with two workers; all of it is gone at the end."""
    folder = tmp_path_factory.mktemp("cluster")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.toy_cluster"],
        cwd=ROOT,
        env={**os.environ, "DASK_TEMPORARY_DIRECTORY": str(folder), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        yield process.stdout.readline().strip()
        process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=30)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def test_a_batch_on_a_cluster_is_the_same_bit_for_bit(cluster, tmp_path):
    """Good clips, one that ends its process, and a copy."""
    videos = tmp_path / "videos"
    for n in range(2):
        make_video(videos / f"clip{n}.mp4", 2, flash=0.1 + n / 5)
    shutil.copy2(videos / "clip0.mp4", videos / "twin.mp4")
    make_video(videos / "dies.mp4", DIES)
    given = ("batch", videos, "--recipe", write_recipe(tmp_path))
    here, there = tmp_path / "here", tmp_path / "there"
    status, out, error = run(tmp_path, *given, "--store", here, "--workers", 2)
    assert status == 1, out + error
    spread = (*given, "--store", there, "--dask", cluster)
    status, out, error = run(tmp_path, *spread)
    assert status == 1, out + error
    assert "Traceback" not in error

    reports = [read_report(store) for store in (here, there)]
    assert reports[0].keys() == reports[1].keys()
    for name, one in reports[0].items():
        other = reports[1][name]
        # What else was at work when the process died depends on the moment.
        free = {"seconds", "stage"} if name == "dies.mp4" else {"seconds"}
        assert {k: v for k, v in one.items() if k not in free} == {
            k: v for k, v in other.items() if k not in free
        }
    assert "transcribe" in reports[1]["dies.mp4"]["stage"]
    assert [clip["status"] for clip in reports[1].values()].count("failed") == 1
    files = [read_files(store) for store in (here, there)]
    assert files[0].keys() == files[1].keys()
    for name in files[0].keys() - {"files.json"}:
        if not (name.startswith(reports[1]["dies.mp4"]["id"]) and name.endswith(".json")):
            assert files[0][name] == files[1][name], name


def test_tasks_keep_both_workers_busy_and_one_that_hangs_is_given_up(
    cluster, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)  # the folder in which a batch is started is the tasks' as well
    done: list[Done] = []
    news: list[tuple] = []
    tasks = [*(("add", n) for n in range(12)), ("error", 0), ("sleep", 600)]
    Cluster(cluster)(
        do, tasks, 1, done.append, lambda *told: news.append(told),
        limit=lambda task: 5.0 if task == ("sleep", 600) else None,
    )  # fmt: skip
    assert sorted(news) == sorted([*((t, "half", 1.0) for t in tasks), *((t, *t) for t in tasks)])
    found = {each.task: each for each in done}
    assert found.keys() == set(tasks)
    assert found["sleep", 600].failed == "it took longer than 5 s and was given up"
    assert isinstance(found["error", 0].error, OSError)
    good = [found["add", n].result for n in range(12)]
    assert [number for number, *_ in good] == list(range(12))
    assert len({parent for _, _, parent, _ in good}) == 2
    # A worker's process is kept for its next task: the models in it stay loaded.
    assert len({pid for _, pid, _, _ in good}) <= 3
    assert {folder for *_, folder in good} == {str(tmp_path)}


def test_a_batch_that_stops_takes_its_tasks_back(cluster):
    seen: list[Done] = []

    def stop(done: Done) -> None:
        seen.append(done)
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        Cluster(cluster)(do, [("add", n) for n in range(50)], 1, stop)
    assert len(seen) == 1


def test_a_scheduler_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setattr("pipeline.cluster.CONNECT_SECONDS", 1)
    with pytest.raises(OSError, match=r"127\.0\.0\.1:9"):
        Cluster("tcp://127.0.0.1:9")(do, [("add", 1)], 1, print)


def test_without_dask_what_to_install_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ValueError, match=r"make setup installs it"):
        Cluster("tcp://127.0.0.1:9")(do, [("add", 1)], 1, print)


def test_one_task_at_a_time_in_a_process_that_is_kept():
    first, second = do_isolated(do, ("add", 1)), do_isolated(do, ("add", 2))
    assert (first.result[0], second.result[0]) == (1, 2)
    assert first.result[1] == second.result[1] != os.getpid()
    late = do_isolated(do, ("sleep", 600), limit=1.0)
    assert late.failed == "it took longer than 1 s and was given up"
    third = do_isolated(do, ("add", 3))
    assert third.result[1] != first.result[1]
    other = do_isolated(json.dumps, [1])
    assert other.result == "[1]"
    with pytest.raises(ProcessLookupError):  # other work, other processes
        os.kill(third.result[1], 0)
