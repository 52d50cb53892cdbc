"""The plugin against a real Prefect client and server."""

from __future__ import annotations

import asyncio
import http.server
import json
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, Served

LOGGER = logging.getLogger("test")


def make_context(version: str = "3.8.8", api_url: str | None = None):
    from prefect.plugins import HookContext

    return HookContext(prefect_version=version, api_url=api_url, logger_factory=logging.getLogger)


@pytest.fixture
def health_url() -> Iterator[str]:
    """The API address of a server that knows only one thing: it is alive."""

    class Health(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/api/health" else 404)
            self.end_headers()
            self.wfile.write(b"true")

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Health)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/api"
    server.shutdown()
    server.server_close()


@pytest.fixture
def unused_url() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/api"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    from prefect.settings import PREFECT_HOME, temporary_settings

    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with temporary_settings({PREFECT_HOME: tmp_path}):
        yield tmp_path
    # What the hook sets is set for the process; do not leave it to other tests.
    os.environ.pop("PREFECT_API_URL", None)


def announce(home: Path, api_url: str, pid: int | None = None) -> None:
    from flows.prefect_plugin import SERVED_FILE

    record = {"api_url": api_url, "pid": os.getpid() if pid is None else pid}
    (home / SERVED_FILE).write_text(json.dumps(record))


def test_announced_server_is_used(home: Path, health_url: str) -> None:
    from flows.prefect_plugin import setup_environment

    announce(home, health_url)
    setup_environment(ctx=make_context())
    assert os.environ["PREFECT_API_URL"] == health_url


def test_configured_api_wins(home: Path, health_url: str) -> None:
    from flows.prefect_plugin import setup_environment

    announce(home, health_url)
    setup_environment(ctx=make_context(api_url="http://team.example/api"))
    assert "PREFECT_API_URL" not in os.environ


def test_server_that_is_gone_is_not_used(home: Path, unused_url: str) -> None:
    from flows.prefect_plugin import setup_environment

    announce(home, unused_url)
    setup_environment(ctx=make_context())
    assert "PREFECT_API_URL" not in os.environ


def test_server_whose_serving_process_is_gone_is_not_used(home: Path, health_url: str) -> None:
    from flows.prefect_plugin import find_served

    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    announce(home, health_url, ended.pid)
    assert find_served() is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"api_url": 3, "pid": 1}', "\x00"])
def test_damaged_announcement_is_ignored(home: Path, text: str) -> None:
    from flows.prefect_plugin import SERVED_FILE, find_served

    (home / SERVED_FILE).write_text(text)
    assert find_served() is None


def test_other_prefect_versions_are_left_alone(
    home: Path, health_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.client.orchestration import PrefectClient, SyncPrefectClient

    from flows.prefect_plugin import setup_environment

    announce(home, health_url)
    for client_class in (PrefectClient, SyncPrefectClient):
        found = client_class.read_deployment_by_name
        pristine = getattr(found, "__wrapped__", found)
        monkeypatch.setattr(client_class, "read_deployment_by_name", pristine)
    untouched = PrefectClient.read_deployment_by_name, SyncPrefectClient.read_deployment_by_name
    setup_environment(ctx=make_context("4.0.0"))
    assert untouched == (
        PrefectClient.read_deployment_by_name,
        SyncPrefectClient.read_deployment_by_name,
    )
    assert "PREFECT_API_URL" not in os.environ
    setup_environment(ctx=make_context("3.9.1"))
    once = PrefectClient.read_deployment_by_name, SyncPrefectClient.read_deployment_by_name
    assert once[0] is not untouched[0]
    assert once[1] is not untouched[1]
    setup_environment(ctx=make_context("3.9.1"))
    assert once == (
        PrefectClient.read_deployment_by_name,
        SyncPrefectClient.read_deployment_by_name,
    )


@pytest.mark.slow
def test_bare_name_is_the_full_name(prefect_api: Served) -> None:
    from prefect.client.orchestration import get_client

    from flows.prefect_plugin import accept_bare_names

    accept_bare_names(LOGGER)

    async def read(name: str):
        async with get_client() as client:
            return await client.read_deployment_by_name(name)

    with get_client(sync_client=True) as client:
        full = client.read_deployment_by_name("predict-video/predict-video")
        assert client.read_deployment_by_name("predict-video").id == full.id
    assert asyncio.run(read("predict-video")).id == full.id
    assert asyncio.run(read("predict-video/predict-video")).id == full.id
    assert full.entrypoint == "flows.predict.predict_video"


@pytest.mark.slow
def test_unclear_names_say_what_to_do(prefect_api: Served) -> None:
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    from flows.prefect_plugin import accept_bare_names

    accept_bare_names(LOGGER)
    with get_client(sync_client=True) as client:
        made = [
            client.create_deployment(client.create_flow_from_name(flow), "twin")
            for flow in ("first-flow", "second-flow")
        ]
        try:
            with pytest.raises(ObjectNotFound, match=r"2 deployments are named 'twin'.*<flow>/"):
                client.read_deployment_by_name("twin")
            assert client.read_deployment_by_name("second-flow/twin").id == made[1]
        finally:
            for one in made:
                client.delete_deployment(one)
        with pytest.raises(ObjectNotFound, match=r"no deployment is named 'twin' at http"):
            client.read_deployment_by_name("twin")
        with pytest.raises(ObjectNotFound):
            client.read_deployment_by_name("second-flow/twin")


@pytest.mark.slow
def test_plugin_is_on_in_the_project_folder_and_light() -> None:
    code = (
        "import sys, prefect\n"
        "from prefect.client.orchestration import PrefectClient\n"
        "assert PrefectClient.read_deployment_by_name.accepts_bare_names\n"
        "heavy = {'torch', 'numpy', 'cv2', 'extractors', 'pipeline', 'rmfn', 'flows.predict'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    env = {name: value for name, value in os.environ.items() if "PLUGINS" not in name}
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60
    )
    assert found.returncode == 0, found.stderr
    assert not found.stderr
