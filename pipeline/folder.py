"""The clips in folders: found by what is in the files, and known again without reading them."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.clip import identify_file, sniff_media
from pipeline.whole import write_whole

if TYPE_CHECKING:
    from pipeline.whole import Place

# Of a file with such a name people expect to hear, even if it is too broken to be known by content.
NAMED = (
    *(".3gp", ".aac", ".avi", ".flac", ".flv", ".m2ts", ".m4a", ".m4v", ".mkv", ".mov", ".mp3"),
    *(".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogg", ".ogv", ".opus", ".ts", ".wav", ".webm"),
    *(".wma", ".wmv"),
)
SETTLED = 2.0  # s; a file that was changed as lately may change again within the same time stamp
SAVE_EVERY = 30.0  # s


@dataclass
class _Known:
    """What is known of a file as long as its size, time of change and inode stay as they are."""

    size: int
    changed: int  # ns
    inode: int
    media: bool
    duration: float | None = None
    id: str | None = None


@dataclass
class FileIndex:
    """What was found out about files, kept in one file so that it is found out once.

    A file that is edited or replaced is looked at anew. Several processes may share the file: each
    adds what it knows to what is there; at worst something is found out twice.

    Attributes
    ----------
    place : where it is kept; None = nowhere.
    """

    place: Place | None = None
    _files: dict[str, _Known] = field(default_factory=dict)
    _new: bool = False
    _saved: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._files = self._read()

    def is_media(self, path: Path) -> bool:
        """Whether a file holds sound or moving pictures, or is called as if it did."""
        return self._look(path).media

    def duration(self, path: Path) -> float | None:
        """Seconds that the file says it lasts; None if it does not say."""
        return self._look(path).duration

    def identify(self, path: Path, read: bool = True) -> str | None:
        """The id of the clip (`pipeline.clip.identify_file`).

        Parameters
        ----------
        read : False = only if it is known already.

        Raises
        ------
        MediaError : there is no such file, or it cannot be read.
        """
        known = self._look(path)
        if known.id is None and read:
            known.id, self._new = identify_file(path), True
            if time.monotonic() - self._saved > SAVE_EVERY:
                self.save()
        return known.id

    def save(self) -> None:
        """Keep what was found out.

        Raises
        ------
        OSError : it cannot be written.
        """
        self._saved = time.monotonic()
        if self.place is None or not self._new:
            return
        settled = (time.time() - SETTLED) * 1e9
        ours = {path: known for path, known in self._files.items() if known.changed < settled}
        merged = {**self._read(), **ours}
        rows = {path: list(vars(merged[path]).values()) for path in sorted(merged)}
        text = json.dumps({"files": rows}, ensure_ascii=False)
        write_whole(self.place, lambda file: file.write(text.encode("utf-8", "surrogateescape")))
        self._new = False

    def _look(self, path: Path) -> _Known:
        named = path.suffix.lower() in NAMED
        try:
            found = path.stat()
        except OSError:
            return _Known(0, 0, 0, named)
        key = str(path.absolute())
        known = self._files.get(key)
        marks = (found.st_size, found.st_mtime_ns, found.st_ino)
        if known is None or (known.size, known.changed, known.inode) != marks:
            is_file = stat.S_ISREG(found.st_mode) and os.access(path, os.R_OK)
            duration = sniff_media(path) if is_file else None
            known = _Known(*marks, named or duration is not None, duration or None)
            self._files[key], self._new = known, True
        return known

    def _read(self) -> dict[str, _Known]:
        if self.place is None:
            return {}
        try:
            rows: dict[str, Any] = json.loads(self.place.read_bytes())["files"]
            return {path: _Known(*row) for path, row in rows.items()}
        except (OSError, ValueError, KeyError, TypeError):
            return {}  # not there yet, or damaged: it can all be found out again


def find_media(
    paths: Iterable[str | Path], index: FileIndex, without: Path | None = None
) -> tuple[list[Path], int]:
    """Files as they are, folders as the sound and video files below them, sorted.

    In folders, what is hidden is passed over, and so is what is neither: texts, tables, pictures.

    Parameters
    ----------
    without : a folder that is passed over as well, such as the store.

    Returns
    -------
    The files, each once, and how many others the folders hold.

    Raises
    ------
    FileNotFoundError : a path does not exist.
    """
    found: dict[Path, None] = {}
    others = 0
    for path in check_places(paths):
        if path.is_dir():
            for entry in _walk(path, None if without is None else without.resolve()):
                if index.is_media(entry):
                    found[entry] = None
                else:
                    others += 1
        else:
            found[path] = None
    return list(found), others


def check_places(paths: Iterable[str | Path]) -> list[Path]:
    """See that files and folders are there.

    Raises
    ------
    FileNotFoundError : one is not.
    """
    places = [Path(path) for path in paths]
    for place in places:
        if not place.exists():
            raise FileNotFoundError(f"no such file or folder: {place.absolute()}")
    return places


def _walk(folder: Path, without: Path | None) -> Iterator[Path]:
    """The files below a folder that are not hidden, sorted; links to folders are not followed."""
    found = []
    for where, folders, files in os.walk(folder):
        at = Path(where)
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and (without is None or (at / name).resolve() != without)
        ]
        found += [at / name for name in files if not name.startswith(".")]
    return (path for path in sorted(found) if path.is_file())
