"""A served run and its server: what becomes of the one when the other ends."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import psutil
import pytest

from tests.conftest import ROOT

# A run that would tell of its end, as Prefect does when it is told to stop.
RUN = """
import signal, time
from pathlib import Path
from flows.served import end_with_server

signal.signal(signal.SIGTERM, lambda *_: Path("told").touch())
end_with_server()
Path("begun").touch()
time.sleep(120)
"""
SERVING = """
import os, subprocess, sys
os.environ["RMFN_SERVER"] = str(os.getpid())
subprocess.run([sys.executable, "run.py"])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of a parent's death")
def test_a_run_whose_server_is_killed_ends_without_a_word(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(RUN)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PREFECT__FLOW_RUN_ID": "one"}
    server = subprocess.Popen([sys.executable, "-c", SERVING], cwd=tmp_path, env=env)
    deadline = time.monotonic() + 60
    while not (tmp_path / "begun").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (run,) = psutil.Process(server.pid).children()
    server.kill()
    server.wait()
    assert not psutil.wait_procs([run], timeout=20)[1]
    assert not (tmp_path / "told").exists()


def test_a_run_that_was_cut_off_too_often_is_not_begun_again() -> None:
    from prefect.client.schemas.objects import StateType

    from flows.served import TRIES, pick_up

    told = {}

    class Client:
        async def read_flow_runs(self, **filters: Any) -> list[Any]:
            return [
                SimpleNamespace(id="waits", state_type=StateType.PENDING, run_count=0),
                SimpleNamespace(id="works", state_type=StateType.RUNNING, run_count=TRIES - 1),
                SimpleNamespace(id="kills", state_type=StateType.RUNNING, run_count=TRIES),
                SimpleNamespace(id="stops", state_type=StateType.CANCELLING, run_count=1),
            ]

        async def set_flow_run_state(self, run: str, state: Any, force: bool) -> None:
            told[run] = state.type.value, state.message, force

    assert asyncio.run(pick_up(Client(), [uuid4()])) == 4
    again = "SCHEDULED", "`rmfn serve` was killed; the run is begun again", True
    assert told["waits"] == told["works"] == again
    assert told["kills"][0] == "CRASHED"
    assert "killed 3 times while this run was at work" in told["kills"][1]
    assert told["stops"][0] == "CANCELLED"
