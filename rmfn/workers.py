"""Tasks side by side in processes of their own, of which one may die without the others.

A worker is spawned (no state of the parent's threads is copied), computes with one thread, and goes
when its parent has gone, however that was.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, cast

import torch

Work = Callable[..., Any]


@dataclass(frozen=True)
class Done:
    """What came of a task: ``result``, or why there is none."""

    task: Any
    result: Any = None
    failed: str = ""


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
    if min(workers, len(tasks)) <= 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for task in tasks:
                on_done(_try(work, given, task))
        finally:
            torch.set_num_threads(threads)
        return
    left = list(tasks)[::-1]
    running: dict[Connection, tuple[SpawnProcess, Any]] = {}
    idle: list[tuple[Connection, SpawnProcess]] = []
    try:
        while left or running:
            while left and len(running) < workers:
                pipe, process = idle.pop() if idle else _start(work, given)
                task = left.pop()
                pipe.send(task)
                running[pipe] = process, task
            for ready in wait(list(running)):
                pipe = cast(Connection, ready)
                process, task = running.pop(pipe)
                try:
                    done = pipe.recv()
                    idle.append((pipe, process))
                except EOFError:  # killed, for example for want of memory
                    process.join()
                    done = Done(task, failed=f"its process died ({_say_exit(process.exitcode)})")
                    pipe.close()
                on_done(done)
    finally:
        for pipe, process in [*idle, *((p, process) for p, (process, _) in running.items())]:
            process.terminate()
            process.join()
            pipe.close()


def _start(work: Work, given: tuple[Any, ...]) -> tuple[Connection, SpawnProcess]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, work, given), daemon=True)
    process.start()
    theirs.close()
    return ours, process


def _serve(pipe: Connection, work: Work, given: tuple[Any, ...]) -> None:
    """A worker's life: tasks in, what came of them out."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to stop
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    while True:
        pipe.send(_try(work, given, pipe.recv()))


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _try(work: Work, given: tuple[Any, ...], task: Any) -> Done:
    try:
        return Done(task, work(*given, task))
    except Exception as error:  # one model's fault must not cost the others
        return Done(task, failed=f"{type(error).__name__}: {error}")


def _say_exit(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"exit status {code}"
