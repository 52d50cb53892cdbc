"""Finished stages of clips, kept in a folder that any Parquet reader understands.

::

    store.json                              format and version
    <clip id>/words-<key>.parquet           text, start, end, score, guessed
    <clip id>/track.visual-<key>.parquet    time, observed, values [D]
    <clip id>/sequence-<key>.parquet        a word a row: its times, and values [D] a modality

The clip id is the hash of the clip's bytes, so that a renamed file is known again. The key is a
hash of the part of the recipe that the stage depends on, so that a changed aligner does not cost
the faces. Vectors are fixed-size lists; the names of their columns are in the file's metadata.

A file appears whole or not at all (temporary file, then a rename), so any number of processes may
share a store: of two that write the same stage the last one stays. A file that cannot be read is
logged and counts as missing; the stage is then done again and replaces it.

The folder may be on this machine or wherever fsspec gets (``s3://bucket/features``): object stores
put a file whole or not at all by themselves.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from extractors.types import FeatureTrack, Word
from pipeline.errors import DatasetError
from pipeline.records import parse_json
from pipeline.sequence import AlignedSequence
from pipeline.tables import (
    DAMAGED,
    open_table,
    parquet_to_track,
    read_metadata,
    read_rows,
    read_text,
    sequence_to_table,
    table_to_sequence,
    table_to_words,
    track_to_table,
    words_to_table,
    write_table,
)
from pipeline.whole import open_place, open_whole, sweep_folder, write_whole

if TYPE_CHECKING:
    from pipeline.whole import Place

FORMAT = "rmfn store"
VERSION = 1
MARK = "store.json"

_log = logging.getLogger(__name__)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_STAGE = re.compile(rf"{_NAME.pattern}-{_NAME.pattern}")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Store:
    """A folder of finished stages; made if it does not exist.

    Raises
    ------
    DatasetError
        The folder holds something else, or a store of a newer version.
    """

    folder: Place

    def __init__(self, folder: str | os.PathLike[str] | Place):
        object.__setattr__(self, "folder", open_place(folder))
        _open_folder(self.folder)

    def clips(self) -> list[str]:
        """Ids of the clips that have a finished stage; other folders are passed over."""
        found = {path.parent.name for path in self.folder.glob("[!.]*/[!.]*.parquet")}
        return sorted(name for name in found if _NAME.fullmatch(name) and not self._leads_out(name))

    def stages(self, clip_id: str) -> list[str]:
        """What is finished of a clip, as ``stage-key``; other files are passed over."""
        found = [path.stem for path in (self.folder / clip_id).glob("[!.]*.parquet")]
        return sorted(name for name in found if _STAGE.fullmatch(name))

    def path(self, clip_id: str, stage: str, key: str) -> Place:
        """Where a stage is, or would be, kept.

        Raises
        ------
        ValueError : a part would be no name in this folder, or the clip's folder is a link.
        """
        for part in (clip_id, stage, key):
            if not _NAME.fullmatch(part):
                raise ValueError(
                    f"{part!r} cannot be part of a file name in a store: expected letters, digits, "
                    '"-", "_" and ".", the first a letter or digit'
                )
        if self._leads_out(clip_id):
            raise DatasetError(
                f"{self.folder / clip_id}: a link; expected a folder, for what is written there "
                "must stay in the store"
            )
        return self.folder / clip_id / f"{stage}-{key}.parquet"

    def _leads_out(self, clip_id: str) -> bool:
        folder = self.folder / clip_id
        return isinstance(folder, Path) and folder.is_symlink()

    def has(self, clip_id: str, stage: str, key: str) -> bool:
        """Whether a stage was finished; it is not read, so it might be damaged."""
        return self.path(clip_id, stage, key).is_file()

    def read_notes(self, clip_id: str, stage: str, key: str) -> dict[str, str]:
        """What is noted of a finished stage (its metadata); empty if it is missing or damaged."""
        path = self.path(clip_id, stage, key)
        try:
            return read_metadata(path)
        except FileNotFoundError:
            return {}
        except DAMAGED as e:
            _log_damage(path, e)
            return {}

    def put_words(
        self,
        clip_id: str,
        key: str,
        words: Sequence[Word],
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self._put(clip_id, "words", key, words_to_table(words), metadata)

    def get_words(self, clip_id: str, key: str) -> tuple[Word, ...] | None:
        return self._get(clip_id, "words", key, lambda rows: table_to_words(read_rows(rows)))

    def put_track(
        self,
        clip_id: str,
        modality: str,
        key: str,
        track: FeatureTrack,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        table = track_to_table(track)
        self._put(clip_id, f"track.{modality}", key, table, metadata, track.values)

    def get_track(self, clip_id: str, modality: str, key: str) -> FeatureTrack | None:
        return self._get(clip_id, f"track.{modality}", key, parquet_to_track)

    def put_sequence(
        self, key: str, sequence: AlignedSequence, metadata: Mapping[str, str] | None = None
    ) -> None:
        self._put(sequence.clip_id, "sequence", key, sequence_to_table(sequence), metadata)

    def get_sequence(self, clip_id: str, key: str) -> AlignedSequence | None:
        return self._get(clip_id, "sequence", key, lambda rows: table_to_sequence(read_rows(rows)))

    def _put(
        self,
        clip_id: str,
        stage: str,
        key: str,
        table: pa.Table,
        metadata: Mapping[str, str] | None,
        values: NDArray | None = None,
    ) -> None:
        path = self.path(clip_id, stage, key)
        if isinstance(path, Path):
            path.parent.mkdir(exist_ok=True)
            sweep_folder(path.parent)
        known = {"clip_id": clip_id, "stage": stage, "key": key}
        write_table(path, table, {**(metadata or {}), **known}, values)

    def _get(
        self, clip_id: str, stage: str, key: str, convert: Callable[[pq.ParquetFile], _T]
    ) -> _T | None:
        path = self.path(clip_id, stage, key)
        try:
            with open_table(path) as parquet:
                schema = parquet.schema_arrow
                found = [read_text(schema, name) for name in ("clip_id", "stage", "key")]
                if found != [clip_id, stage, key]:
                    raise DatasetError(f"it holds {'/'.join(found)}")
                return convert(parquet)
        except FileNotFoundError:
            return None
        except DAMAGED as e:
            _log_damage(path, e)
            return None


def _log_damage(path: Place, error: BaseException) -> None:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    _log.warning("%s: damaged, the stage is done again (%s)", path, reason)


def write_track(
    path: str | os.PathLike[str], track: FeatureTrack, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a track to a Parquet file of its own, whole or not at all.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    write_table(Path(path), track_to_table(track), metadata or {}, track.values)


def read_track(path: str | os.PathLike[str]) -> FeatureTrack:
    """Read what `write_track` or a store wrote.

    Raises
    ------
    FileNotFoundError, DatasetError
        There is no such file; it is damaged or holds no track.
    """
    try:
        with open_table(Path(path)) as parquet:
            return parquet_to_track(parquet)
    except FileNotFoundError:
        raise
    except DAMAGED as e:
        raise DatasetError(
            f"{path}: not a feature track; expected what write_track writes ({e})"
        ) from e


def open_store(folder: str | os.PathLike[str] | Place) -> Store:
    """A store that exists already.

    Raises
    ------
    DatasetError : there is none.
    """
    place = open_place(folder)
    if not (place / MARK).is_file():
        raise DatasetError(f"{place}: not a store; expected a folder that rmfn extract has made")
    return Store(place)


def _open_folder(folder: Place) -> None:
    try:
        with open_whole(folder / MARK) as file:
            said = file.read()
    except NotADirectoryError:
        raise DatasetError(f"{folder}: a file; expected a folder for the store") from None
    except FileNotFoundError:
        _make_folder(folder)
        return
    except OSError:
        raise
    except Exception as e:  # each service has errors of its own: no credentials, no connection
        raise DatasetError(f"{folder}: cannot be reached ({e})") from e
    try:
        read = parse_json(said)
        form, number = read["format"], read["version"]
    except (ValueError, KeyError, TypeError) as e:
        raise DatasetError(
            f"{folder / MARK}: expected format and version as JSON, got {e!r}"
        ) from e
    if form != FORMAT or not isinstance(number, int):
        raise DatasetError(f"{folder / MARK}: expected format {FORMAT!r}, got {form!r} {number!r}")
    if number > VERSION:
        raise DatasetError(
            f"{folder}: a store of version {number}; this program reads up to version {VERSION}"
        )


def _make_folder(folder: Place) -> None:
    if isinstance(folder, Path):
        folder.mkdir(parents=True, exist_ok=True)
    others = [entry.name for entry in folder.glob("*") if not entry.name.startswith(".")]
    if others and MARK not in others and not (folder / MARK).exists():
        raise DatasetError(  # had another process just made it, the mark would be there
            f"{folder}: not a store; expected a new or empty folder or one with {MARK}, "
            f"found {others[0]!r}"
        )
    said = json.dumps({"format": FORMAT, "version": VERSION}, indent=2) + "\n"
    write_whole(folder / MARK, lambda file: file.write(said.encode()))
