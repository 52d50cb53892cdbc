"""Files and folders that appear whole or not at all, whatever ends the process that writes them."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any


def write_whole(path: Path, write: Callable[[Any], object]) -> None:
    """Write beside the place, force it to the disk, then put it in place in one step.

    Raises
    ------
    OSError : it cannot be written; what was there before still is.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as e:
        temporary.unlink(missing_ok=True)
        if isinstance(e, OSError):  # say which file was meant, not its temporary name
            raise OSError(e.errno, e.strerror or str(e), str(path)) from e
        raise


@contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """A new folder to be filled; then it stands where ``folder`` is, which is removed if it exists.

    If the filling fails, what was there before still is.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield fresh
        fresh.chmod(0o755)
        if folder.exists():
            old = Path(mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
            os.replace(folder, old)
            os.replace(fresh, folder)
            shutil.rmtree(old)
        else:
            os.replace(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
