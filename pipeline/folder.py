"""The clips in folders: found by what is in the files, and known again without reading them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.container import identify_file, sniff_media
from pipeline.isolation import Done, run_isolated
from pipeline.records import spell
from pipeline.whole import write_whole

if TYPE_CHECKING:
    from pipeline.whole import Place

# Of a file with such a name people expect to hear, even if it is too broken to be known by content.
NAMED = (
    *(".3gp", ".aac", ".avi", ".flac", ".flv", ".m2ts", ".m4a", ".m4v", ".mkv", ".mov", ".mp3"),
    *(".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogg", ".ogv", ".opus", ".ts", ".wav", ".webm"),
    *(".wma", ".wmv"),
)
SNIFF_LIMIT = 300.0  # s to see what a file is: milliseconds, but machines can be busy
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
        """The id of the clip (`pipeline.container.identify_file`).

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
        text = spell(json.dumps({"files": rows}, ensure_ascii=False))
        write_whole(self.place, lambda file: file.write(text.encode()))
        self._new = False

    def look(self, paths: Iterable[Path]) -> None:
        """Find out what files are, of those that are not known yet, in a process of its own.

        One that is so broken that FFmpeg crashes, or never ends, is taken for media, of which
        people will hear when it is processed.
        """

        def take(done: Done) -> None:
            named = Path(done.task).suffix.lower() in NAMED
            media = named or done.result is not None or bool(done.failed)
            marks = unknown[done.task]
            self._files[done.task] = _Known(*marks, media, done.result or None)
            self._new = True

        unknown = {
            str(path.absolute()): marks
            for path in paths
            if (marks := _read_marks(path)) is not None and self._get(path, marks) is None
        }
        files = [path for path in unknown if os.path.isfile(path) and os.access(path, os.R_OK)]
        run_isolated(sniff_media, files, 1, take, limit=lambda path: SNIFF_LIMIT)
        for path in unknown.keys() - set(files):
            take(Done(path))

    def _look(self, path: Path) -> _Known:
        marks = _read_marks(path)
        if marks is None:
            return _Known(0, 0, 0, path.suffix.lower() in NAMED)
        if self._get(path, marks) is None:
            self.look([path])
        return self._files[str(path.absolute())]

    def _get(self, path: Path, marks: tuple[int, int, int]) -> _Known | None:
        """What is known of a file, if it is still the same."""
        known = self._files.get(str(path.absolute()))
        if known is None or (known.size, known.changed, known.inode) != marks:
            return None
        return known

    def _read(self) -> dict[str, _Known]:
        if self.place is None:
            return {}
        try:
            rows: dict[str, Any] = json.loads(self.place.read_bytes())["files"]
            return {path: _Known(*row) for path, row in rows.items()}
        except (OSError, ValueError, KeyError, TypeError):
            return {}  # not there yet, or damaged: it can all be found out again


def _read_marks(path: Path) -> tuple[int, int, int] | None:
    """Size, time of change and inode; None if there is no such file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino


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
    apart = None if without is None else without.resolve()
    places = {
        path: list(_walk(path, apart)) if path.is_dir() else None for path in check_places(paths)
    }
    index.look(entry for path, below in places.items() for entry in below or [path])
    found: dict[Path, None] = {}
    others = 0
    for path, below in places.items():
        if below is None:
            found[path] = None
            continue
        media = [entry for entry in below if index.is_media(entry)]
        found |= dict.fromkeys(media)
        others += len(below) - len(media)
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
