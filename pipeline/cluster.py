"""Tasks spread over a Dask cluster: many machines that see the same folders.

A clip is done there as it is done here, in a process of its own (`pipeline.isolation`), so one that
hangs or crashes costs the cluster no worker. Every machine needs this package, the videos and the
store under the same names, and the folder in which the batch was started.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from extractors.threads import leave_cores_to_stages
from pipeline.isolation import Done, Work, do_isolated

CONNECT_SECONDS = 30
MISSING = "--dask needs the package distributed, which is not installed: make setup installs it"


@dataclass(frozen=True)
class Cluster:
    """A way to run tasks, called as `pipeline.isolation.run_isolated` is.

    Attributes
    ----------
    scheduler : the address of the Dask scheduler, ``tcp://host:8786``.
    """

    scheduler: str

    def __call__(
        self,
        work: Work,
        tasks: Iterable[Any],
        workers: int,
        on_done: Callable[[Done], None],
        on_news: Callable[..., None] | None = None,
        limit: Callable[[Any], float | None] = lambda task: None,
    ) -> None:
        """Call ``work(task)`` for every task, on the cluster.

        Parameters
        ----------
        workers : not used: as many tasks go at a time as the cluster has threads.
        on_news : there is no news of tasks before they are done; then comes the last of each kind
            (its first word).

        Raises
        ------
        ValueError : Dask is not installed.
        OSError : the scheduler does not answer, or is lost.
        """
        try:
            from distributed import Client, as_completed
        except ImportError as e:
            raise ValueError(MISSING) from e
        there = partial(_do_there, work, os.getcwd(), on_news is not None)

        def take(future: Any) -> None:
            done, news = _collect(future, running.pop(future))
            for each in news:
                assert on_news is not None
                on_news(done.task, *each)
            on_done(done)

        with Client(self.scheduler, timeout=CONNECT_SECONDS, set_as_default=False) as client:
            running: dict[Any, Any] = {}
            finished = as_completed(loop=client.loop)
            try:
                for task in tasks:
                    future = client.submit(there, task, limit(task), pure=False)
                    running[future] = task
                    finished.add(future)
                    # One more than there is room for: none waits while the next is sent.
                    while len(running) > _count_threads(client):
                        take(next(finished))
                for future in finished:
                    take(future)
            finally:
                client.cancel(list(running))


def _do_there(
    work: Work, folder: str, with_news: bool, task: Any, limit: float | None
) -> tuple[Done, list[tuple[Any, ...]]]:
    """On a machine of the cluster."""
    leave_cores_to_stages()
    news: dict[Any, tuple[Any, ...]] = {}

    def hear(task: Any, *told: Any) -> None:
        news[told[0]] = told

    done = do_isolated(partial(_do_in, folder, work), task, limit, hear if with_news else None)
    return done, list(news.values())


def _do_in(folder: str, work: Work, task: Any, *tell: Callable[..., None]) -> Any:
    os.chdir(folder)
    return work(task, *tell)


def _count_threads(client: Any) -> int:
    found = client.scheduler_info(n_workers=-1)["workers"].values()
    return sum(worker["nthreads"] for worker in found)


def _collect(future: Any, task: Any) -> tuple[Done, list[tuple[Any, ...]]]:
    """What came of a task, and the news of it; that its worker was lost is a failure."""
    if future.cancelled():
        raise OSError("the Dask scheduler was lost; what is finished is in the store")
    if (error := future.exception()) is not None:
        failed = f"the cluster could not do it: {type(error).__name__}: {error}"
        return Done(task, failed=failed), []
    return future.result()
