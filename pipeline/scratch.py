"""A folder for temporary files that goes away however the processes end that write them."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.whole import FRESH, lock_file

PREFIX, LOCK = "rmfn-scratch-", ".lock"


@contextmanager
def share_scratch() -> Iterator[Path]:
    """Processes that are started meanwhile put their temporary files in one folder.

    It is removed at the end, whatever they left in it because they were killed. If this process is
    killed too, the next one that comes here removes it: its lock is free then.
    """
    _sweep(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    before = os.environ.get("TMPDIR")
    try:
        with open(folder / LOCK, "xb") as file:
            lock_file(file)
            os.environ["TMPDIR"] = str(folder)
            yield folder
    finally:
        if before is None:
            os.environ.pop("TMPDIR", None)
        else:
            os.environ["TMPDIR"] = before
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(parent: Path) -> None:
    for lock in parent.glob(f"{PREFIX}*/{LOCK}"):
        try:
            with open(lock, "rb") as file:
                if time.time() - os.fstat(file.fileno()).st_mtime > FRESH and lock_file(file):
                    shutil.rmtree(lock.parent, ignore_errors=True)
        except OSError:
            pass  # another's, or another process was first
