"""Tasks in processes: news of them, a time for each, and errors that keep their kind."""

from __future__ import annotations

import os
import threading
import time

import pytest

from pipeline.errors import MediaError
from pipeline.isolation import Done, run_isolated


class Stubborn(Exception):
    """Can be pickled, but not unpickled."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def work(task, tell=None):
    """What the workers are asked."""
    kind, number = task
    if kind == "sleep":
        time.sleep(number)
    if kind == "error":
        raise MediaError("broken", "clip.mp4")
    if kind == "stubborn":
        raise Stubborn(1, 2)
    if kind == "tell":
        telling = [threading.Thread(target=tell, args=("count", n)) for n in range(number)]
        for thread in telling:
            thread.start()
        for thread in telling:
            thread.join()
    return number, os.getpid()


def test_each_task_tells_its_news():
    news: list[tuple] = []
    done: list[Done] = []
    tasks = [("tell", 5), ("tell", 7), ("tell", 3)]
    run_isolated(work, tasks, 2, done.append, lambda *told: news.append(told))
    assert {each.task: each.result[0] for each in done} == {task: task[1] for task in tasks}
    for task in tasks:
        assert sorted(n for of, what, n in news if of == task) == list(range(task[1]))
    assert {what for _, what, _ in news} == {"count"}


def test_one_that_takes_too_long_is_ended_and_the_others_go_on():
    done: list[Done] = []
    tasks = [("sleep", 0), ("sleep", 600), ("sleep", 0.1)]
    run_isolated(
        work, tasks, 1, done.append,
        limit=lambda task: 3.0 if task == ("sleep", 600) else None,
    )  # fmt: skip
    assert [each.task for each in done] == tasks
    assert done[1].result is None
    assert done[1].failed == "it took longer than 3 s and was given up"
    assert 3 <= done[1].seconds < 60
    first, last = done[0].result[1], done[2].result[1]
    assert first != last  # its process is gone
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


def test_errors_keep_their_kind_if_they_can_be_sent():
    done: list[Done] = []
    run_isolated(work, [("error", 0), ("stubborn", 0), ("sleep", 0)], 1, done.append)
    error = done[0].error
    assert isinstance(error, MediaError)
    assert (str(error), error.clip, error.stage) == ("broken", "clip.mp4", "media")
    assert done[1].error is None
    assert done[1].failed == "Stubborn: 1 and 2"
    assert done[2].failed == ""


def test_tasks_are_drawn_when_there_is_soon_somebody_to_do_them():
    drawn: list[int] = []
    done: list[int] = []

    def draw():
        for n in range(6):
            drawn.append(n)
            assert len(drawn) - len(done) <= 3  # one each, and one that waits
            yield ("sleep", 0)

    run_isolated(work, draw(), 2, lambda each: done.append(1))
    assert len(done) == 6


def test_nothing_to_do_starts_nobody():
    run_isolated(work, [], 2, print)
