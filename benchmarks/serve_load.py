"""`rmfn serve` under many requests, some of them bad, and killed in the middle.

python -m benchmarks.serve_load [--requests 200] [--at-once 4]

A request is a second of speech with its transcript, a recipe of aligner and word timing, and an
untrained model: what is measured is the serving, not the features.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from tests.planted import RECIPE

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 600.0  # s without a run that ends


@dataclass
class Load:
    """What became of the requests.

    Attributes
    ----------
    asked : {run: what it asks for}
    ended : {run: (state, message)} of those that ended.
    cut_off : runs that were at work when the server was killed.
    memory : MB of the serving process, a sample a poll: (its life, runs ended so far, MB).
    left : processes of the killed server that are still there.
    seconds : from the first request to the last end.
    """

    asked: dict[Any, str] = field(default_factory=dict)
    ended: dict[Any, tuple[str, str]] = field(default_factory=dict)
    cut_off: set[Any] = field(default_factory=set)
    memory: list[tuple[int, int, float]] = field(default_factory=list)
    left: list[Any] = field(default_factory=list)
    seconds: float = 0.0

    def count(self) -> Counter[tuple[str, str, str]]:
        """{(what was asked, state, reason): runs}"""
        return Counter((self.asked[run], *self.ended.get(run, ("lost", ""))) for run in self.asked)


def make_requests(folder: Path) -> dict[str, dict[str, Any]]:
    """{what it is: the parameters of ``predict-video``}; every other kind but the first is bad."""
    import soundfile

    from pipeline.recipe import load_recipe

    (folder / "timed.toml").write_text(RECIPE)
    timing = load_recipe(folder / "timed.toml")
    make_model(folder / "model", timing)
    noise = np.random.default_rng(0).normal(0, 0.1, 16000)
    soundfile.write(folder / "talk.wav", noise, 16000)
    (folder / "talk.txt").write_text("one two three four")
    (folder / "broken.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(500))
    good = {
        "path": str(folder / "talk.wav"),
        "transcript": str(folder / "talk.txt"),
        "recipe": str(folder / "timed.toml"),
        "model": str(folder / "model"),
    }
    return {
        "a clip": good,
        "no such file": {**good, "path": str(folder / "nothing.mp4")},
        "broken media": {**good, "path": str(folder / "broken.mp4")},
        "outside of the root": {**good, "path": "/etc/passwd"},
        "a number for a path": {**good, "path": 2018},
    }


def make_model(folder: Path, recipe: Any) -> None:
    """An untrained model that reads the recipe's word timing."""
    import torch

    from rmfn.baselines import build
    from rmfn.checkpoint import Conformal, Manifest, save_checkpoint
    from rmfn.data import Scaler
    from rmfn.dataset import Target
    from rmfn.ensemble import Ensemble
    from rmfn.train import Fitted

    names = recipe.timing.names
    columns, count = {"acoustic": names}, len(names)
    config: dict[str, Any] = {
        "inputs": {"acoustic": count},
        "hidden": {"acoustic": 4},
        "outputs": 1,
    }
    target = Target("sentiment", "regression", -3.0, 3.0)
    model = Fitted(build("ef-lstm", **config).eval(), (target,), torch.zeros(1), torch.ones(1))
    scale = {"acoustic": np.zeros(count, np.float32)}, {"acoustic": np.ones(count, np.float32)}
    manifest = Manifest(
        name="untrained",
        trained_on="nothing",
        labels=(target,),
        config=config,
        columns=columns,
        members=1,
        features={"timing": recipe.provenance["timing"]},
        conformal=Conformal(0.8, (1.0,), (0.8,), 1),
        constants={},
        model="ef-lstm",
    )
    save_checkpoint(manifest, Ensemble(Scaler(columns, *scale), (model,)), folder)


@contextmanager
def serve(folder: Path, at_once: int, port: int) -> Iterator[subprocess.Popen]:
    """``rmfn serve`` with a home of its own; killed at the end, if it still lives."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    env |= {
        "PREFECT_HOME": str(folder / "home"),
        "PREFECT_SERVER_API_PORT": str(port),
        "TMPDIR": str(folder / "tmp"),
    }
    (folder / "tmp").mkdir(exist_ok=True)
    command = [sys.executable, "-m", "flows.cli", "serve"]
    command += ["--limit", str(at_once), "--root", str(folder)]
    log = folder / "serve.log"
    log.write_bytes(b"")
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 300
        while "Stop with" not in log.read_text():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"rmfn serve did not start: {log.read_text()}")
            time.sleep(0.1)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run_load(folder: Path, requests: int, at_once: int, kill_after: int, bad: int = 5) -> Load:
    """Ask, wait until ``kill_after`` runs have ended and others are at work, kill, serve again.

    Parameters
    ----------
    bad : every so many requests one is bad.
    """
    from prefect.settings import PREFECT_API_URL, temporary_settings

    kinds = make_requests(folder)
    wrong = [name for name in kinds if name != "a clip"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    load = Load()
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{port}/api"}):
        with serve(folder, at_once, port) as process:
            started = time.monotonic()
            for number in range(requests):
                name = wrong[number // bad % len(wrong)] if number % bad == bad - 1 else "a clip"
                load.asked[_ask(kinds[name])] = name
            at_work = _watch(load, process, 1, lambda: len(load.ended) >= kill_after)
            orphans = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            process.wait()
            load.cut_off = at_work
        with serve(folder, at_once, port) as process:
            _watch(load, process, 2, lambda: len(load.ended) >= requests)
            load.seconds = time.monotonic() - started
        # One that had just begun waits for a server, and ends when it finds another one there.
        _, load.left = psutil.wait_procs(orphans, timeout=60)
    return load


def _ask(parameters: dict[str, Any]) -> Any:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("predict-video/predict-video")
        return client.create_flow_run_from_deployment(deployment.id, parameters=parameters).id


def _watch(load: Load, process: subprocess.Popen, life: int, enough: Any) -> set[Any]:
    """Until it is enough: what has ended, and the server's memory. Returns what is at work."""
    from prefect.client.orchestration import get_client

    last, known = time.monotonic(), len(load.ended)
    with get_client(sync_client=True) as client:
        while True:
            at_work = set()
            for offset in range(0, len(load.asked), 200):
                for run in client.read_flow_runs(limit=200, offset=offset):
                    if run.state.is_final():
                        load.ended[run.id] = run.state.name, run.state.message or ""
                    elif run.state.is_running():
                        at_work.add(run.id)
            rss = psutil.Process(process.pid).memory_info().rss / 2**20
            load.memory.append((life, len(load.ended), rss))
            if enough() and (at_work or len(load.ended) == len(load.asked)):
                return at_work
            if len(load.ended) > known:
                last, known = time.monotonic(), len(load.ended)
            if time.monotonic() - last > PATIENCE:
                return at_work
            time.sleep(1)


def describe(load: Load, folder: Path) -> str:
    """The table for people."""
    lines = ["| asked for | runs | ended as | reason |", "|---|---|---|---|"]
    for (asked, state, reason), count in sorted(load.count().items()):
        short = reason.replace(str(folder), "...").splitlines()[0][:110] if reason else ""
        lines.append(f"| {asked} | {count} | {state} | {short} |")
    again = sum(load.ended.get(run, ("",))[0] == "Completed" for run in load.cut_off)
    lines += [
        "",
        f"{len(load.asked)} requests, {len(load.ended)} ended, in {load.seconds:.0f} s; "
        f"{len(load.cut_off)} were at work when the server was killed, {again} of these completed "
        f"afterwards; {len(load.left)} processes of the killed server are left.",
    ]
    for life in (1, 2):
        seen = [(ended, mb) for which, ended, mb in load.memory if which == life]
        if seen:
            (first, low), (last, high) = seen[len(seen) // 4], seen[-1]
            lines.append(
                f"Memory of the server, life {life}: {low:.0f} MB after {first} runs, "
                f"{high:.0f} MB after {last}, at most {max(mb for _, mb in seen):.0f} MB."
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rmfn-load-") as name:
        folder = Path(name)
        os.environ["PREFECT_HOME"] = str(folder / "client")  # before Prefect is imported
        load = run_load(folder, options.requests, options.at_once, options.requests // 2)
        print(describe(load, folder))
    if len(load.ended) < len(load.asked):
        sys.exit(1)


if __name__ == "__main__":
    main()
