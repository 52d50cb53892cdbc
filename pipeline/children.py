"""The processes in which tracks are measured: begun, asked, kept for the next clip, and ended.

What they do is `pipeline.apart`. This module imports next to nothing, so that they can be begun
before anything else is: they then import their libraries while this process imports its own.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from extractors.threads import ONE_EACH


class Child:
    """A running process, for one modality whose models it has loaded.

    It ends when its parent does, however that ends, since its input ends then.
    """

    def __init__(self) -> None:
        self.errors = tempfile.TemporaryFile("w+b")  # noqa: SIM115 (closed by `end`)
        self.folder = tempfile.TemporaryDirectory(prefix="rmfn-", ignore_cleanup_errors=True)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.apart", self.folder.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            encoding="utf-8",
            env={
                **ONE_EACH,
                **os.environ,
                "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path),
            },
        )

    def ask(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Its answers, until it has no more."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(request, default=str) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return
        for line in self.process.stdout:
            yield json.loads(line)

    def last_words(self) -> str:
        """How it ended and what it said, for an error message."""
        code = self.process.wait()
        self.errors.seek(max(0, self.errors.seek(0, os.SEEK_END) - 300))
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        return f"{how}: {lines[-1].strip()}" if lines else how

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.errors):
            if pipe is not None:
                with suppress(BrokenPipeError):  # what it was to be asked never reached it
                    pipe.close()
        self.folder.cleanup()


_idle: dict[str, list[Child]] = {}
_lock = threading.Lock()


def begin_children(*modalities: str) -> None:
    """Have one of each wait, for a clip that will soon ask for it."""
    for modality in modalities:
        if not _idle.get(modality):
            keep_child(modality, Child())


def take_child(modality: str) -> Child:
    """One that waits, with its models loaded; else a new one."""
    with _lock:
        waiting = _idle.get(modality, [])
        while waiting:
            child = waiting.pop()
            if child.process.poll() is None:
                return child
            child.end()  # it was ended from outside, for want of memory or by an interrupt
    return Child()


def keep_child(modality: str, child: Child) -> None:
    """Let it wait for the next clip."""
    with _lock:
        _idle.setdefault(modality, []).append(child)


@atexit.register
def end_children() -> None:
    """End those that wait."""
    with _lock:
        for child in list_children():
            child.end()
        _idle.clear()


def list_children() -> list[Child]:
    """Those that wait."""
    return [child for waiting in _idle.values() for child in waiting]
