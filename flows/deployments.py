"""``rmfn serve``: the project's flows as Prefect deployments on this machine.

One process polls for runs and, unless a Prefect API is configured or already running here, also is
that API (SQLite, loopback only), so nothing is left behind whichever way it ends. Each run is a
process of its own in the same environment. Where the server is found is written into Prefect's
home, from where the plugin of `flows.prefect_plugin` reads it for the commands typed elsewhere.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import threading
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from flows.served import SERVER, pick_up
from pipeline.roots import allow_roots, list_roots
from pipeline.scratch import share_scratch

if TYPE_CHECKING:
    from prefect.deployments.runner import RunnerDeployment

HOST = "127.0.0.1"
POLL_SECONDS = 2.0
STARTUP_SECONDS = 180.0
SERVER_LOG = "rmfn-server.log"

# No calls home; a run's log shows what our own packages say.
QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "extractors,pipeline,rmfn,flows",
}

OWN_SERVER = {
    # `prefect deployment run ... --watch` shows a run's log, and with it why the run failed.
    "PREFECT_SERVER_LOGS_STREAM_OUT_ENABLED": "true",
    "PREFECT_SERVER_LOGS_STREAM_PUBLISHING_ENABLED": "true",
    # Runs wait for their turn; marking them as late only competes for the SQLite file.
    "PREFECT_SERVER_SERVICES_LATE_RUNS_ENABLED": "false",
}


def serve_flows(limit: int = 1, roots: Sequence[str] = ()) -> int:
    """Serve until SIGTERM or Ctrl-C.

    Parameters
    ----------
    limit : flow runs at a time; one run keeps two cores busy.
    roots : folders; runs may read and write below them and nowhere else. By default the current
        one.

    Returns
    -------
    The exit status: 0 after an orderly end.

    Raises
    ------
    ValueError : the limit is below 1, a root is no folder, or another ``rmfn serve`` is running.
    ConnectionError : the configured Prefect API does not answer.
    """
    if limit < 1:
        raise ValueError(f"the limit of runs at a time must be at least 1, got {limit}")
    allow_roots(roots or [Path.cwd()])
    os.environ[SERVER] = str(os.getpid())
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    from flows.prefect_plugin import answers, find_served

    if (other := find_served()) is not None:
        raise ValueError(
            f"`rmfn serve` is already running (process {other['pid']}, {other['api_url']}); "
            "stop it first"
        )
    print("Starting (the first time takes longest) ...", flush=True)
    with share_scratch():  # the runs' files go with it, though a run may be killed
        configured = _configured_api()
        if configured is not None:
            return asyncio.run(_serve(configured, limit, own=False))
        port = choose_port()
        api_url = f"http://{HOST}:{port}/api"
        if answers(api_url):
            _use_api(api_url)
            return asyncio.run(_serve(api_url, limit, own=False))
        with _run_server(port):
            return asyncio.run(_serve(api_url, limit, own=True))


async def list_deployments() -> list[RunnerDeployment]:
    """All that is served, ready to be registered."""
    from prefect.types.entrypoint import EntrypointType

    from flows.extract import extract_dataset
    from flows.predict import predict_video
    from flows.predict_folder import predict_folder
    from flows.retrain import retrain
    from flows.train import train_model

    # Found by module path, a flow runs in the folder in which `rmfn serve` was started.
    return [
        await flow.ato_deployment(
            name=flow.name,
            entrypoint_type=EntrypointType.MODULE_PATH,
            description=flow.description,
        )
        for flow in (predict_video, predict_folder, extract_dataset, train_model, retrain)
    ]


async def _serve(api_url: str, limit: int, own: bool) -> int:
    """Register, announce, poll; returns when told to stop and all runs have ended."""
    from prefect.client.orchestration import get_client
    from prefect.runner import Runner

    async with get_client() as client:
        if (problem := await client.api_healthcheck()) is not None:
            raise ConnectionError(
                f"the configured Prefect API, {api_url}, does not answer ({problem}); start it, or "
                "unset PREFECT_API_URL and `rmfn serve` starts one itself"
            )
    # At INFO it tells every two seconds that runs are waiting for their turn.
    logging.getLogger("prefect.runner").setLevel(logging.WARNING)
    # No pausing at the end: schedules belong to the server, which mostly ends with this process.
    runner = Runner(name="rmfn", limit=limit, query_seconds=POLL_SECONDS, pause_on_shutdown=False)
    deployments = await list_deployments()
    known = [await runner.aadd_deployment(deployment) for deployment in deployments]
    if own:  # nobody else can be at work on them
        async with get_client() as client:
            if left := await pick_up(client, known):
                print(f"Left by a killed `rmfn serve`, and begun again: {left} runs.", flush=True)
    polling = asyncio.create_task(runner.start())
    while not runner.started and not polling.done():
        await asyncio.sleep(0.05)
    # Only now: the runner sets a handler of its own, which leaves in the middle of a request.
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop_on(signum: int) -> None:
        stop.set()
        loop.remove_signal_handler(signum)  # the second one ends it at once

    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop_on, signum)
    stopped = asyncio.create_task(stop.wait())
    with _announced(api_url):
        _say_what_next([one.name for one in deployments], api_url, own)
        await asyncio.wait({polling, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            print("Stopping: runs in progress are cancelled ...", flush=True)
            await runner.astop()
        stopped.cancel()
        await polling
    return 0


def _configured_api() -> str | None:
    """The API that the user's environment or profile names."""
    from prefect.settings import get_current_settings

    return get_current_settings().api.url


def _use_api(api_url: str) -> None:
    """Make this process and the runs it starts talk to this API."""
    from prefect.context import refresh_global_settings_context

    os.environ["PREFECT_API_URL"] = api_url
    refresh_global_settings_context()


def choose_port() -> int:
    """Prefect's own port if nothing or a Prefect server is there, otherwise a free one."""
    from prefect.settings import get_current_settings

    from flows.prefect_plugin import answers

    port = get_current_settings().server.api.port
    if _is_free(port) or answers(f"http://{HOST}:{port}/api"):
        return port
    with socket.socket() as free:
        free.bind((HOST, 0))
        return free.getsockname()[1]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


@contextmanager
def _run_server(port: int) -> Iterator[None]:
    """A Prefect API in a thread of this process: it cannot outlive it."""
    import uvicorn

    # A run reads whatever file it is told to, so no other site's page in a browser may ask for one.
    os.environ["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] = f"http://{HOST}:{port}"
    os.environ.update(OWN_SERVER)
    _use_api(f"http://{HOST}:{port}/api")
    from prefect.server.api.server import create_app

    app = create_app(final=True)
    _log_server_to_file()
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=HOST,
            port=port,
            log_level="error",
            timeout_graceful_shutdown=3,
        )
    )
    thread = threading.Thread(target=server.run, name="prefect-server", daemon=True)
    thread.start()
    deadline = time.monotonic() + STARTUP_SECONDS
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise RuntimeError(f"the Prefect server did not start on {HOST}:{port}")
        time.sleep(0.05)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(timeout=10)


def _log_server_to_file() -> None:
    """The terminal shows the runs. The server now and then logs a traceback that it lives through.

    (Its services meet in the SQLite file, and the one that finds it locked tries again later.)
    """
    from prefect.settings import get_current_settings

    log = logging.getLogger("prefect.server")
    for handler in list(log.handlers):
        log.removeHandler(handler)
    handler = logging.FileHandler(get_current_settings().home / SERVER_LOG, mode="w", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    log.addHandler(handler)
    log.propagate = False


@contextmanager
def _announced(api_url: str) -> Iterator[None]:
    """Leave the address where the plugin looks for it, as long as flows are served."""
    from flows.prefect_plugin import served_file

    file = served_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    draft.write_text(json.dumps({"api_url": api_url, "pid": os.getpid()}))
    os.replace(draft, file)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def _say_what_next(names: list[str], api_url: str, own: bool) -> None:
    here = Path.cwd()
    # The short name is ours; Prefect asks us for it only where plugins are enabled.
    switch = "export PREFECT_PLUGINS_ENABLED=true"
    before, elsewhere = f"    {switch}\n", ""
    if enables_plugins(here):
        before, elsewhere = "", f"From any other folder: first `{switch}`. "
    print(
        f"Serving {', '.join(names)} ({'own' if own else 'running'} Prefect server: "
        f"{api_url.removesuffix('/api')}).\n"
        f"Runs may use what is below {', '.join(list_roots() or ())}, and nothing else (--root).\n"
        f"In another terminal, in {here}:\n\n{before}"
        "    prefect deployment run predict-video --param path=clip.mp4 --watch\n\n"
        f"{elsewhere}A relative path is looked for in {here}.\n"
        "Stop with Ctrl-C.",
        flush=True,
    )


def enables_plugins(folder: Path) -> bool:
    """Whether Prefect, called in a folder, lets plugins take part."""
    if os.environ.get("PREFECT_PLUGINS_ENABLED", "").lower() in ("1", "true"):
        return True
    try:
        said = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
        return said["tool"]["prefect"]["plugins"]["enabled"] is True
    except (OSError, ValueError, KeyError, TypeError):
        return False


if __name__ == "__main__":
    raise SystemExit(serve_flows())
