"""Tasks of one thread each, side by side; a process of them may die without the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from extractors.threads import few_threads
from pipeline.isolation import Done, Work, run_isolated, try_task


def run_tasks(
    work: Work,
    given: tuple[Any, ...],
    tasks: Sequence[Any],
    workers: int,
    on_done: Callable[[Done], None],
) -> None:
    """Call ``work(*given, task)`` for every task; the order in which they end is not theirs.

    Parameters
    ----------
    work : of a module, so that a process can import it. What it raises is told as a failure.
    given : sent to each worker once.
    workers : processes; with one (or one task) all is done in this process.
    on_done : called here, one task at a time. If it raises, the workers are stopped.
    """
    work = partial(_with_one_thread, work, given)
    if min(workers, len(tasks)) <= 1:
        for task in tasks:
            on_done(try_task(work, task))
    else:
        run_isolated(work, tasks, workers, on_done)


def _with_one_thread(work: Work, given: tuple[Any, ...], task: Any) -> Any:
    with few_threads(1):
        return work(*given, task)
