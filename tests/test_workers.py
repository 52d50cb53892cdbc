"""Tasks in processes of their own: any of them may die, and none outlives its parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from pipeline.isolation import Done
from rmfn.workers import run_tasks
from tests.conftest import ROOT


def work(base: int, task):
    """What the workers are asked."""
    if task == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "fail":
        raise ValueError("no number")
    return base + task, os.getpid(), torch.get_num_threads()


def sleep(folder: str, task: int) -> None:
    (Path(folder) / f"{os.getpid()}.pid").write_text("here")
    time.sleep(120)


def test_one_may_die_or_fail_without_the_others():
    done: list[Done] = []
    run_tasks(work, (100,), [1, "die", "fail", 2, 3], 2, done.append)
    found = {each.task: each for each in done}
    assert len(done) == 5
    assert {task: found[task].result[0] for task in (1, 2, 3)} == {1: 101, 2: 102, 3: 103}
    assert found["die"].failed == "its process died (signal 9)"
    assert found["fail"].failed == "ValueError: no number"
    assert all(found[task].result[1] != os.getpid() for task in (1, 2, 3))
    assert all(found[task].result[2] == 1 for task in (1, 2, 3))  # threads


def test_alone_it_is_done_here():
    done: list[Done] = []
    threads = torch.get_num_threads()
    run_tasks(work, (5,), [1, "fail", 2], 1, done.append)
    assert [each.task for each in done] == [1, "fail", 2]
    assert done[0].result == (6, os.getpid(), 1)
    assert done[1].failed == "ValueError: no number"
    assert torch.get_num_threads() == threads


def test_workers_are_stopped_when_the_caller_is(tmp_path):
    def stop(done: Done) -> None:
        raise KeyboardInterrupt

    before = multiprocessing.active_children()  # what other tests keep for their next call
    with pytest.raises(KeyboardInterrupt):
        run_tasks(work, (5,), [1, 2, 3, 4], 2, stop)
    assert set(multiprocessing.active_children()) <= set(before)


def test_workers_go_when_their_parent_is_killed(tmp_path):
    code = (
        "from tests.test_workers import sleep\nfrom rmfn.workers import run_tasks\n"
        f"run_tasks(sleep, ({str(tmp_path)!r},), [1, 2], 2, print)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    try:
        wait_until(lambda: len(list(tmp_path.glob("*.pid"))) == 2, 120)
    finally:
        parent.kill()
        parent.wait(30)
    pids = [int(file.stem) for file in tmp_path.glob("*.pid")]
    wait_until(lambda: not any(map(is_running, pids)), 30)


def wait_until(true, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.1)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
