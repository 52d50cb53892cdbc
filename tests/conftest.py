"""Fixtures shared by all tests."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

from extractors.threads import leave_cores_to_stages

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("RMFN_SHARED", ROOT.parent / "shared"))


def shared(name: str) -> Path:
    """A file of the developers' shared data; the test skips where that folder is absent."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{name} is not at {SHARED} (set RMFN_SHARED)")
    return path


# Two files are tested at a time; threads that wait for each other would take three times as long.
leave_cores_to_stages()

# The same examples every time, however busy the machine is, and nothing written down.
settings.register_profile("here", derandomize=True, deadline=None, database=None)
settings.load_profile("here")


# Prefect reads its home when it is imported; no test may touch the developer's own.
if multiprocessing.parent_process() is None:  # else that of the process that began this one
    os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="rmfn-prefect-")
    atexit.register(shutil.rmtree, os.environ["PREFECT_HOME"], ignore_errors=True)
os.environ.pop("PREFECT_API_URL", None)


@dataclass(frozen=True)
class Served:
    """A running ``rmfn serve``: its process leads a group of its own."""

    process: subprocess.Popen
    home: Path
    api_url: str
    env: dict[str, str]
    log: Path


@contextmanager
def serve(home: Path, *arguments: str) -> Iterator[Served]:
    """``rmfn serve`` as a newcomer starts it, with its own home and port; gone at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    env["PREFECT_HOME"] = str(home)
    env["PREFECT_SERVER_API_PORT"] = str(port)
    env["TMPDIR"] = str(home / "tmp")
    (home / "tmp").mkdir()
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    log = home / "serve.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["rmfn", "serve", *arguments],
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 180
        while "Stop with" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield Served(process, home, f"http://127.0.0.1:{port}/api", env, log)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The one Prefect server of a test run, with the project's deployments."""
    with serve(tmp_path_factory.mktemp("prefect")) as running:
        yield running
        # What this process still has to tell the server would be tried for a minute after its end.
        if "prefect" in sys.modules:
            from prefect.events.worker import EventsWorker
            from prefect.logging.handlers import APILogWorker

            EventsWorker.drain_all(timeout=10)
            APILogWorker.drain_all(timeout=10)


@pytest.fixture
def prefect_api(served: Served) -> Iterator[Served]:
    """Prefect in this process talks to the served API."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: served.api_url}):
        yield served


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    """A bucket of a server that speaks S3, on this machine; gone at the end."""
    moto = pytest.importorskip("moto.server")
    s3fs = pytest.importorskip("s3fs")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "nobody")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("NO_PROXY", "127.0.0.1")
        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().mkdir("bucket")
        yield "s3://bucket"
        s3fs.S3FileSystem.clear_instance_cache()
        server.stop()


def group_lives(group: int) -> bool:
    """Whether a process of the group is there."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def measure_held(ending: str) -> int:
    """Bytes of mapped files that this process holds, of those whose name ends so."""
    size, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0] and ":" not in line.split()[0]:
            ours = line.endswith(ending)
        elif ours and line.startswith("Rss:"):
            size += int(line.split()[1]) * 1024
    return size
