"""A run of ``rmfn serve`` and the process that serves it: neither outlives the other unnoticed.

Each run is a process of its own. When it is told to stop, or when the server was killed, it ends at
once; what it was doing is begun again by the next ``rmfn serve`` (`pick_up`), and the store keeps
what was finished.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from pipeline.isolation import end_with_parent

SERVER = "RMFN_SERVER"  # process id of what serves, in the environment of its runs
TRIES = 3  # times that a run is begun before it is taken for what kills the server


def end_with_server() -> None:
    """In a run's process: be killed when the server dies, however it does.

    Not told to stop: Prefect would report a crash, patiently, and the next ``rmfn serve`` would
    hear of it after it had begun the run again. Only Linux does it; elsewhere a run ends when it
    next speaks to the server.
    """
    server = os.environ.get(SERVER)
    if server is None or "PREFECT__FLOW_RUN_ID" not in os.environ or sys.platform != "linux":
        return
    if os.getppid() == int(server):
        end_with_parent(signal.SIGKILL)
    if not _lives(int(server)):  # it died before
        os._exit(128 + signal.SIGTERM)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)  # asks only whether there is such a process
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def give_up() -> None:
    """End a served run that is told to stop, at once.

    Its stages are threads deep in native code that nothing can interrupt, and Prefect would wait
    for them until it kills the process half a minute later. Whoever told it to stop reports it.
    """
    if "PREFECT__FLOW_RUN_ID" in os.environ:
        os._exit(128 + signal.SIGTERM)


async def pick_up(client: Any, deployments: Sequence[Any]) -> int:
    """Take over what a killed ``rmfn serve`` left: its runs wait once more.

    To be called where no other process serves them. A run that was cut off so `TRIES` times is
    ended, for it may be what kills the server.

    Returns
    -------
    How many runs there were.
    """
    from prefect.client.schemas.filters import (
        DeploymentFilter,
        DeploymentFilterId,
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import State, StateType
    from prefect.states import Cancelled, Crashed, Scheduled

    cut_off = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
    found = await client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=cut_off))
        ),
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=list(deployments))),
    )
    for run in found:
        if run.state_type == StateType.CANCELLING:
            state: State[Any] = Cancelled(
                message="`rmfn serve` was killed while the run was being cancelled"
            )
        elif run.run_count >= TRIES:
            state = Crashed(
                message=f"`rmfn serve` was killed {run.run_count} times while this run was at work:"
                " it may be the reason (too little memory?); it is not begun again"
            )
        else:
            state = Scheduled(message="`rmfn serve` was killed; the run is begun again")
        await client.set_flow_run_state(run.id, state, force=True)
    return len(found)
