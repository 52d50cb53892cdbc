"""Tasks side by side in processes of their own, any of which may die without the others.

A worker is spawned (no state of the parent's threads is copied) and goes when its parent has gone,
however that was. Each has a pipe of its own: one that is killed while it speaks spoils nothing for
the others, as it could with a queue that all of them share.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, cast

from pipeline.memory import share_one_heap

Work = Callable[..., Any]
PR_SET_PDEATHSIG = 1  # of Linux: the signal that a process gets when its parent ends


@dataclass(frozen=True)
class Done:
    """What came of a task.

    Attributes
    ----------
    result : what `work` returned, or
    failed : why there is none, and
    error : what `work` raised; None if its process was ended, or if it could not be sent.
    seconds : by the clock.
    """

    task: Any
    result: Any = None
    failed: str = ""
    error: Exception | None = None
    seconds: float = 0.0


@dataclass
class _Worker:
    """A process, and what it is doing."""

    process: SpawnProcess
    pipe: Connection
    task: Any = None
    started: float = 0.0
    ends: float | None = None  # when its time is up

    def ask(self, task: Any, limit: float | None) -> bool:
        """Give it a task; False if it has died meanwhile."""
        self.task, self.started = task, time.monotonic()
        self.ends = None if limit is None else self.started + limit
        try:
            self.pipe.send(task)
        except OSError:
            self.end()
            return False
        return True

    def end(self) -> int | None:
        self.process.kill()
        self.process.join()
        self.pipe.close()
        return self.process.exitcode


def run_isolated(
    work: Work,
    tasks: Iterable[Any],
    workers: int,
    on_done: Callable[[Done], None],
    on_news: Callable[..., None] | None = None,
    limit: Callable[[Any], float | None] = lambda task: None,
) -> None:
    """Call ``work(task)`` for every task; the order in which they end is not theirs.

    Parameters
    ----------
    work : of a module, so that a process can import it. What it raises is told as a failure.
    tasks : taken one by one, when there is soon somebody to do them.
    workers : processes.
    on_done : called here, one task at a time. If it raises, the workers are ended.
    on_news : called here with a task and whatever `work` tells of it; `work` is then called with a
        second argument, the function to tell it by (of any thread).
    limit : seconds that a task may take; a worker that takes longer is ended, and the task failed.
    """
    waiting, idle, busy = iter(tasks), list[_Worker](), dict[Connection, _Worker]()
    try:
        drawn = _draw(waiting)
        while drawn or busy:
            while drawn and len(busy) < workers:
                worker = idle.pop() if idle else _start(work, on_news is not None)
                if worker.ask(drawn[0], limit(drawn[0])):
                    busy[worker.pipe] = worker
                    drawn = _draw(waiting)
            for ready in wait(list(busy), _find_next_end(busy.values())):
                pipe = cast(Connection, ready)
                worker = busy[pipe]
                if (done := _hear(worker, on_news)) is not None:
                    del busy[pipe]
                    if not pipe.closed:
                        idle.append(worker)
                    on_done(done)
            for worker in [w for w in busy.values() if w.ends and w.ends < time.monotonic()]:
                del busy[worker.pipe]
                on_done(_give_up(worker))
    finally:
        for worker in [*idle, *busy.values()]:
            worker.end()


def do_isolated(
    work: Work,
    task: Any,
    limit: float | None = None,
    on_news: Callable[..., None] | None = None,
) -> Done:
    """Do one task in a process of its own, which is kept for the next call with the same work.

    For a process that gets its tasks from elsewhere, one by one: a worker of a cluster. What is
    kept goes when this process does, or when there is other work.
    """
    # Workers of clusters are daemons, which multiprocessing allows no children, for they would
    # stay when the worker goes. Ours do not.
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    named = pickle.dumps((work, on_news is not None))
    with _lock:
        for other in [name for name in _kept if name != named]:
            for worker in _kept.pop(other):
                worker.end()
        idle = _kept.setdefault(named, [])
        worker = idle.pop() if idle else _start(work, on_news is not None)
    while not worker.ask(task, limit):
        worker = _start(work, on_news is not None)
    done = None
    while done is None:
        ready = wait([worker.pipe], _find_next_end([worker]))
        done = _hear(worker, on_news) if ready else _give_up(worker)
    if not worker.pipe.closed:
        with _lock:
            _kept.setdefault(named, []).append(worker)
    return done


def outlive_crash() -> int | None:
    """Go on in a child; this process stays to tell how it ended.

    To be called before there are threads. Nothing changes for the child, but that it is ended with
    its parent.

    Returns
    -------
    None in the child. In the parent the child's exit status when it has ended, or minus the signal
    that ended it.
    """
    parent = os.getpid()
    child = os.fork()
    if not child:
        end_with_parent(signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        return None
    heard = {signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    signal.pthread_sigmask(signal.SIG_BLOCK, heard)
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        sent = signal.sigwaitinfo(heard)
        # Who wants to end this process means the child. It gets the terminal's interrupts itself.
        by_terminal = sent.si_signo == signal.SIGINT and sent.si_code > 0
        if sent.si_signo != signal.SIGCHLD and not by_terminal:
            os.kill(child, sent.si_signo)


def end_with_parent(sent: int) -> None:
    """Be sent a signal when the parent of this process ends, however it does; where the system can
    tell, which is Linux."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, sent)


_kept: dict[bytes, list[_Worker]] = {}  # idle workers of `do_isolated`, by their work
_lock = threading.Lock()


def try_task(work: Work, task: Any, *tell: Callable[..., None]) -> Done:
    """Do a task in this process."""
    started = time.monotonic()
    try:
        found = {"result": work(task, *tell)}
    except Exception as error:  # one task's fault must not cost the others
        found = {"failed": f"{type(error).__name__}: {error}", "error": error}
    return Done(task, **found, seconds=time.monotonic() - started)


def _draw(waiting: Any) -> tuple[Any, ...]:
    """The next task as a tuple of one; empty when there is none."""
    for task in waiting:
        return (task,)
    return ()


def _find_next_end(busy: Iterable[_Worker]) -> float | None:
    """Seconds until the first of the workers has no time left."""
    ends = [worker.ends for worker in busy if worker.ends is not None]
    return max(0.0, min(ends) - time.monotonic()) if ends else None


def _hear(worker: _Worker, on_news: Callable[..., None] | None) -> Done | None:
    """One message of a worker: its task is done, or there is news of it."""
    try:
        said = worker.pipe.recv()
    except (EOFError, OSError):  # killed, for example for want of memory
        seconds = time.monotonic() - worker.started
        failed = f"its process died ({_say_exit(worker)})"
        return Done(worker.task, failed=failed, seconds=seconds)
    if isinstance(said, Done):
        return said
    if on_news is not None:
        on_news(worker.task, *said)
    return None


def _give_up(worker: _Worker) -> Done:
    seconds = time.monotonic() - worker.started
    worker.end()
    failed = f"it took longer than {seconds:.0f} s and was given up"
    return Done(worker.task, failed=failed, seconds=seconds)


def _say_exit(worker: _Worker) -> str:
    worker.process.join(1)  # its own way to end, if it has closed the pipe only
    code = worker.end()
    return f"signal {-code}" if code is not None and code < 0 else f"exit status {code}"


def _start(work: Work, with_news: bool) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, work, with_news), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _serve(pipe: Connection, work: Work, with_news: bool) -> None:
    """A worker's life: tasks in, what came of them out."""
    share_one_heap()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to stop
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    lock = threading.Lock()

    def tell(*news: Any) -> None:
        with lock:
            pipe.send(news)

    while True:
        done = try_task(work, pipe.recv(), *([tell] if with_news else []))
        with lock:
            pipe.send(done if _can_be_sent(done.error) else replace(done, error=None))


def _can_be_sent(error: Exception | None) -> bool:
    """Whether an exception survives being pickled: some ask for more arguments than they keep."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return False
    return True


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
