"""prefect.yaml as a team uses it: a work pool, its deployments, a worker that takes one run."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipeline.store import Store
from tests.conftest import ROOT, Served
from tests.planted import make_videos

FILE = ROOT / "prefect.yaml"


def read_names() -> list[str]:
    return re.findall(r"^  - name: (\S+)$", FILE.read_text(), re.MULTILINE)


def type_in(served: Served, *command: str, **variables: str) -> str:
    """Type a command as on a machine of the pool; returns what it said."""
    typed = subprocess.run(
        command,
        cwd=ROOT,
        env={**served.env, "PREFECT_API_URL": served.api_url, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert typed.returncode == 0, typed.stdout + typed.stderr
    return typed.stdout


def test_every_flow_that_is_served_can_be_pooled() -> None:
    import asyncio

    from flows.deployments import list_deployments

    assert read_names() == [each.name for each in asyncio.run(list_deployments())]


@pytest.mark.slow
def test_a_worker_of_the_pool_takes_a_run(prefect_api: Served, tmp_path: Path) -> None:
    from prefect.client.orchestration import get_client

    videos, store = tmp_path / "videos", tmp_path / "store"
    recipe = make_videos(videos, store, 2)
    # The server's own deployments, which other tests call, keep their names.
    renamed = tmp_path / "prefect.yaml"
    renamed.write_text(re.sub(r"(?m)^(  - name: \S+)$", r"\1-pool", FILE.read_text()))
    type_in(prefect_api, "prefect", "work-pool", "create", "rmfn", "--type", "process")
    type_in(
        prefect_api,
        *("prefect", "deploy", "--all", "--no-prompt", "--prefect-file", str(renamed)),
        RMFN_FOLDER=str(ROOT),
    )
    asked: dict[str, Any] = {"videos": str(videos), "store": str(store), "recipe": str(recipe)}
    with get_client(sync_client=True) as client:
        made = {each.name: each for each in client.read_deployments()}
        assert made.keys() >= {f"{name}-pool" for name in read_names()}
        assert all(made[f"{name}-pool"].work_pool_name == "rmfn" for name in read_names())
        deployment = made["extract-dataset-pool"]
        flow_run = client.create_flow_run_from_deployment(deployment.id, parameters=asked)
        type_in(
            prefect_api,
            *("prefect", "worker", "start", "--pool", "rmfn", "--run-once", "--limit", "1"),
            TMPDIR=str(tmp_path),
        )
        flow_run = client.read_flow_run(flow_run.id)
    assert flow_run.state.is_completed(), flow_run.state.message
    assert {clip["status"] for clip in flow_run.state.result()["clips"]} == {"done"}
    kept = Store(store)
    assert len(kept.clips()) == 2
    assert all(any(s.startswith("sequence-") for s in kept.stages(id)) for id in kept.clips())
