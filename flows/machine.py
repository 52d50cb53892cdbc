"""The machine's part of what the doctor says: processor, memory, disk, graphics, server."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pipeline.memory import find_memory

NEEDED_MEMORY = 4e9
NEEDED_DISK = 2e9
ANSWER = 3.0  # s that a server or a driver has to answer

Line = dict[str, Any]


def line(what: str, good: bool | None, found: str, mend: str = "") -> Line:
    """A record: good, wrong (False) or missing (None)."""
    state = {True: "ok", False: "wrong", None: "missing"}[good]
    return {"what": what, "state": state, "found": found, "mend": "" if good else mend}


def examine_machine(backends: Sequence[Any], models: Sequence[Line]) -> list[Line]:
    """Cores, memory, disk and write access where they are needed, graphics, Prefect's server.

    Parameters
    ----------
    models : the lines of the models; those that are missing will need room.
    """
    memory = find_memory()
    return [
        line("processor cores", True, _describe_cores()),
        line(
            "memory",
            memory >= NEEDED_MEMORY,
            f"{memory / 1e9:.1f} GB",
            f"use a machine with {NEEDED_MEMORY / 1e9:.0f} GB",
        ),
        *(_examine_folder(what, folder, need) for what, folder, need in _list_folders(models)),
        _examine_graphics([getattr(backend, "device", "cpu") for backend in backends]),
        _examine_server(os.environ.get("PREFECT_API_URL")),
    ]


def _describe_cores() -> str:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{usable} of {os.cpu_count()}"


def _list_folders(models: Sequence[Line]) -> list[tuple[str, Path, float]]:
    """Where is written: this folder, that of temporary files (decoded sound), and, while models are
    missing, where they will be."""
    folders = [
        ("this folder", Path.cwd(), NEEDED_DISK),
        ("temporary files", Path(tempfile.gettempdir()), NEEDED_DISK),
    ]
    missing = [told["model"] for told in models if told["state"] != "ok" and "model" in told]
    if any(model["repo"] for model in missing):
        from huggingface_hub import constants

        need = sum(model["size"] or 0 for model in missing if model["repo"])
        folders.append(("fetched models", Path(constants.HF_HUB_CACHE), need))
    return folders


def _examine_folder(what: str, folder: Path, need: float) -> Line:
    """Can be written to, which only writing shows, and has room."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"rmfn")
    except OSError as error:
        found = f"{folder}: cannot be written to ({error.strerror})"
        return line(f"disk, {what}", False, found, f"make {existing} writable, or free room there")
    free = shutil.disk_usage(existing).free
    return line(
        f"disk, {what}",
        free >= need,
        f"{free / 1e9:.1f} GB free, writable: {folder}",
        f"free {need / 1e9:.1f} GB in {existing}",
    )


def _examine_graphics(devices: Iterable[str]) -> Line:
    """Counts as missing only if the recipe wants it."""
    wanted = [device for device in devices if device not in ("cpu", "auto")]
    found = list_graphics()
    mend = 'install NVIDIA\'s driver, or write device = "cpu" in the recipe'
    if found or not wanted:
        return line("graphics", True, ", ".join(found) or "none: everything runs on the processor")
    return line("graphics", None, f"none, and the recipe wants {', '.join(wanted)}", mend)


def list_graphics() -> list[str]:
    """NVIDIA's cards with their memory, as their driver tells them."""
    ask = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        ran = subprocess.run(ask, capture_output=True, text=True, timeout=ANSWER, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [card.strip().replace(", ", " with ") for card in ran.stdout.splitlines()]


def _examine_server(url: str | None) -> Line:
    """Only the flows need it, and only a server that is named must be there."""
    if url is None:
        return line("Prefect server", True, "none is named; rmfn serve brings its own")
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=ANSWER) as answer:
            healthy = answer.status == 200
            found = f"{url} answers" if healthy else f"{url} answers with status {answer.status}"
    except (OSError, ValueError) as error:  # URLError is an OSError
        reason = getattr(error, "reason", error)
        healthy, found = False, f"{url} does not answer ({reason})"
    return line("Prefect server", healthy, found, "start it, or type: unset PREFECT_API_URL")
