"""A media file, opened as safely as can be.

Nothing but a regular local file is ever opened. FFmpeg gets an open file object without a name, so
a name such as ``concat:a|b`` or ``http://...`` means nothing to it, and it may use no protocol, not
even that of files, so that a playlist cannot open what it lists.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager

import av
import av.logging
from av.container import InputContainer

from pipeline.errors import MediaError
from pipeline.roots import find_refusal

MAX_PIXELS = 36_000_000  # 8K; a decoder may hold a dozen of them: what is larger is refused
ID_DIGITS = 16  # 64 bits of sha256: two of a million clips share an id with odds of 1 : 36 million
READ_BYTES = 1 << 18  # a block of file handed to FFmpeg; each needs the interpreter's lock
LEAST_BYTES = 500  # a second; who says to last longer than this allows is measured, not believed
EXPECTED = "expected a video or sound file"
SNIFF_BYTES = 1 << 16  # as much as is read to see what a file is
# What MP4's relatives for still pictures, and for bursts of them, call themselves.
STILLS = ("avif", "avis", "heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "msf1")
# Moving pictures that never have sound, in which nobody keeps talks. "tty" is text: FFmpeg takes
# some tables for animations of a terminal.
SILENT = ("apng", "gif", "tty")
# Decoders that look at the first pictures to see what they are take no more memory than later.
_ALONE = {"protocol_whitelist": "none", "max_pixels": str(MAX_PIXELS)}
_SNIFFING = {**_ALONE, "formatprobesize": str(SNIFF_BYTES), "probesize": str(SNIFF_BYTES)}


def identify_file(path: str | os.PathLike[str]) -> str:
    """The id that a clip of these bytes has, whatever its name; all of the file is read.

    Raises
    ------
    MediaError : there is no such file, or it is none that can be read.
    """
    with _open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:ID_DIGITS]


def sniff_media(path: str | os.PathLike[str]) -> float | None:
    """Look whether FFmpeg knows a file for sound or moving pictures, reading little of it.

    Returns
    -------
    The seconds that it says it lasts, as far as its bytes allow; 0 if it does not say. None: it is
    nothing of the kind, or too broken to be known.
    """
    _keep_quiet()
    with open(path, "rb") as file:
        try:
            with av.open(file, "r", options=_SNIFFING, buffer_size=SNIFF_BYTES) as container:
                if is_still(container) or container.format.name in SILENT:
                    return None
                if not (container.streams.audio or container.streams.video):
                    return None
                longest = os.fstat(file.fileno()).st_size / LEAST_BYTES
                return min(max(container.duration or 0, 0) / av.time_base, longest)
        except (av.FFmpegError, OSError, ValueError):
            return None


def is_still(container: InputContainer) -> bool:
    """Whether it holds a still picture. Some are films of one picture by format (AVIF, HEIC)."""
    name = container.format.name
    brand = container.metadata.get("major_brand", "").strip()
    return name.endswith("_pipe") or name == "image2" or brand in STILLS


@contextmanager
def open_container(path: str | os.PathLike[str]) -> Iterator[InputContainer]:
    """FFmpeg's view of a regular local file; failures of file or container become MediaError."""
    _keep_quiet()
    with _open_regular(path) as file:
        try:
            container = av.open(
                file,
                "r",
                options=_ALONE,
                buffer_size=READ_BYTES,
                metadata_errors="replace",
            )
        except (av.FFmpegError, OSError, ValueError) as e:
            file.seek(4)
            if file.read(4) == b"ftyp":
                raise MediaError(
                    f"{path}: an MP4 file without a readable index, probably cut short before its "
                    f"end was written ({_reason(e)}); {EXPECTED}",
                    str(path),
                ) from e
            raise MediaError(
                f"{path}: not a media file that can be read ({_reason(e)}); {EXPECTED}", str(path)
            ) from e
        with container:
            for stream in container.streams.video:
                if stream.codec_context is not None:
                    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
            try:
                yield container
            except av.FFmpegError as e:
                raise MediaError(f"{path}: cannot be decoded ({_reason(e)})", str(path)) from e
            finally:
                _keep_quiet()


def _keep_quiet() -> None:
    """FFmpeg's messages go nowhere, whatever another library (torchvision, when it is imported)
    has set: a decoder thread that waits for Python's lock to hand a message to Python's logging,
    while the thread with the lock waits for the decoder to end, waits for ever."""
    if av.logging.get_level() is not None:
        av.logging.set_level(None)
        time.sleep(0.02)  # who is waiting for the lock already gets it now


@contextmanager
def _open_regular(path: str | os.PathLike[str]):
    """The file, opened by descriptor, so that FFmpeg learns no name from it."""
    if refusal := find_refusal(path):
        raise MediaError(refusal, str(path))
    try:
        # Looked at before it is opened: opening a pipe or a device can wait or act.
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            kind = next(
                (word for test, word in _KINDS if test(mode)), "something that is not a file"
            )
            raise MediaError(f"{path}: {kind}; {EXPECTED}", str(path))
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError as e:
        raise MediaError(f"{path}: no such file; {EXPECTED}", str(path)) from e
    except PermissionError as e:
        raise MediaError(f"{path}: no permission to read it; {EXPECTED}", str(path)) from e
    except (OSError, ValueError) as e:  # ValueError: a NUL character in the name
        shown = str(path) if len(str(path)) <= 100 else f"{str(path)[:100]}..."
        raise MediaError(f"{shown}: cannot be opened ({_reason(e)}); {EXPECTED}", str(path)) from e
    with open(descriptor, "rb") as file:
        size = os.fstat(descriptor).st_size
        if size == 0:
            raise MediaError(f"{path}: empty file (0 bytes); {EXPECTED}", str(path))
        yield file


_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
