"""Files and folders that appear whole or not at all, whatever ends the process that writes them.

A place is a path of this machine or, with a scheme (``s3://bucket/features``, ``memory://x``), one
of any file system that fsspec knows.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import IO, TYPE_CHECKING, Any

from pipeline.errors import DatasetError

if TYPE_CHECKING:
    from upath import UPath

    Place = Path | UPath

# s; a temporary file as young as this may not be locked yet, one as old belongs to nobody, even
# where files cannot be locked: writing one takes a second.
FRESH, STALE = 1.0, 3600.0


def open_place(place: str | os.PathLike[str] | UPath) -> Place:
    """A path of this machine as it always was; what has a scheme through fsspec.

    Raises
    ------
    DatasetError : nothing here speaks that scheme; the message names the package that does.
    """
    text = str(place)
    if "://" not in text:
        return Path(text)
    from upath import UPath

    if text.startswith(("file://", "local://")):
        return Path(UPath(text).path)
    try:
        # What others write meanwhile must be seen: no listing is kept.
        found = UPath(text, use_listings_cache=False)
        _ = found.fs
    except (ImportError, ValueError) as e:
        raise DatasetError(f"{text}: no way to get there ({e})") from e
    return found


def open_whole(path: Place) -> IO[bytes]:
    """Open to read; what replaces the file meanwhile makes no difference to the reader.

    Raises
    ------
    FileNotFoundError
    OSError : it is no file: opening a pipe would wait for ever, a device never end.
    """
    if isinstance(path, Path):
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.close()
            raise OSError(errno.EINVAL, "not a file", str(path))
        return file
    # In one request: between two, an object store may get another file of that name.
    return io.BytesIO(path.fs.cat_file(path.path))


def write_whole(path: Place, write: Callable[[Any], object]) -> None:
    """Write beside the place, force it to the disk, then put it in place in one step.

    Other file systems than that of this machine get the whole file in one request, after which it
    is there or not.

    Raises
    ------
    OSError : it cannot be written; what was there before still is.
    """
    if not isinstance(path, Path):
        whole = io.BytesIO()
        write(whole)
        path.fs.pipe_file(path.path, whole.getvalue())
        return
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "xb") as file:
            lock_file(file)  # as long as its writer lives
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as e:
        temporary.unlink(missing_ok=True)
        if isinstance(e, OSError):  # say which file was meant, not its temporary name
            raise OSError(e.errno, e.strerror or str(e), str(path)) from e
        raise


def sweep_folder(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder; what is being written stays."""
    for path in folder.glob(".*.tmp"):
        with suppress(FileNotFoundError):  # finished meanwhile, or another process was first
            age = time.time() - path.stat().st_mtime
            with open(path, "rb") as file:
                if age > STALE or (age > FRESH and lock_file(file)):
                    path.unlink()


def lock_file(file: Any) -> bool:
    """Lock an open file until it is closed; False if another has, or if there are no locks here."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


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
