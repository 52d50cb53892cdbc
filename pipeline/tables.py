"""Words, tracks and sequences as Arrow tables; such tables as files, whole or not there at all.

Vectors are fixed-size lists of float32, in which NaN keeps its bits; the names of their columns are
in the table's metadata.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from extractors.mapped import forget_pages, make_rows
from extractors.types import FeatureTrack, Word, WordFeatures
from pipeline.errors import DatasetError
from pipeline.memory import refuse_bomb
from pipeline.records import parse_json
from pipeline.sequence import AlignedSequence
from pipeline.whole import open_whole, write_whole

if TYPE_CHECKING:
    from pipeline.whole import Place

# Arrow's own allocator keeps what was freed for later; the C library's hands large pieces back.
pa.set_memory_pool(pa.system_memory_pool())

ROWS = 2048  # written, and read, at a time: what that needs beside the table is a few megabytes

# What reading a damaged file, or one of another kind, can raise. OSError: Arrow's word for a broken
# footer or page.
DAMAGED = (
    *(pa.ArrowException, OSError, MemoryError),
    *(ValueError, LookupError, TypeError, AttributeError, ArithmeticError),
)


def write_table(
    path: Place, table: pa.Table, metadata: Mapping[str, str], values: NDArray | None = None
) -> None:
    """Write a table as Parquet, whole or not at all.

    ``values`` are what a column was made of, if they are mapped: they are forgotten row by row.
    """
    known = {"written_by": f"rmfn {version('rmfn')}, pyarrow {pa.__version__}"}
    merged = {**(table.schema.metadata or {}), **metadata, **known}
    table = table.replace_schema_metadata(merged)

    def write(file: IO[bytes]) -> None:
        with pq.ParquetWriter(
            file, table.schema, compression="zstd", use_dictionary=False, write_page_checksum=True
        ) as writer:
            for first in range(0, len(table), ROWS):
                writer.write_table(table.slice(first, ROWS))
                if values is not None:
                    forget_pages(values)

    write_whole(path, write)


@contextmanager
def open_table(path: Place) -> Iterator[pq.ParquetFile]:
    """What `write_table` wrote, to be read; the pages' checksums are compared.

    Raises
    ------
    DatasetError : its rows would not fit into this machine's memory, or are packed as no row of
        ours is.
    """
    with (
        open_whole(path) as file,
        pq.ParquetFile(file, page_checksum_verification=True) as parquet,
    ):
        _refuse_bomb(path, parquet)
        yield parquet


def _refuse_bomb(path: Place, parquet: pq.ParquetFile) -> None:
    """What the footer says the rows take, unpacked; a few bytes can stand for any number of rows.

    A dictionary would let one long text stand for many: `write_table` makes none.
    """
    said = parquet.metadata
    groups = [said.row_group(n) for n in range(said.num_row_groups)]
    if sum(group.num_rows for group in groups) != said.num_rows:
        raise DatasetError(f"{path}: its groups have other rows than the {said.num_rows} it counts")
    for group in groups:
        for part in map(group.column, range(group.num_columns)):
            if any("DICTIONARY" in name for name in part.encodings):
                raise DatasetError(f"{path}: {part.path_in_schema} is written with a dictionary")
    width = sum(map(_measure_width, parquet.schema_arrow.types))
    declared = sum(group.total_byte_size for group in groups)
    refuse_bomb(max(declared, width * said.num_rows), path)


def _measure_width(kind: pa.DataType) -> int:
    """Bytes of a row's value; of a text at least those of where it begins."""
    if pa.types.is_fixed_size_list(kind):
        return kind.list_size * _measure_width(kind.value_type)
    return kind.bit_width // 8 if pa.types.is_primitive(kind) else 4


def read_groups(parquet: pq.ParquetFile) -> Iterator[pa.Table]:
    """The rows of a file, some at a time."""
    return map(parquet.read_row_group, range(parquet.num_row_groups))


def read_rows(parquet: pq.ParquetFile) -> pa.Table:
    """All rows of a file."""
    return pa.concat_tables([parquet.schema_arrow.empty_table(), *read_groups(parquet)])


def read_table(path: Place) -> pa.Table:
    """All of what `write_table` wrote."""
    with open_table(path) as parquet:
        return read_rows(parquet)


def read_metadata(path: Place) -> dict[str, str]:
    """The metadata of a table's file; its rows are not read."""
    try:
        with open_whole(path) if isinstance(path, Path) else path.open("rb") as file:
            found = pq.read_schema(file).metadata or {}
    except OSError as e:
        if isinstance(path, Path) or e.errno != errno.EBUSY:
            raise
        with open_whole(path) as file:  # it was replaced between two requests
            found = pq.read_schema(file).metadata or {}
    return {name.decode(): text.decode() for name, text in found.items() if name != b"ARROW:schema"}


def read_text(schema: pa.Schema, name: str) -> str:
    """An entry of a table's metadata."""
    return (schema.metadata or {})[name.encode()].decode()


def _json(schema: pa.Schema, name: str) -> Any:
    return parse_json(read_text(schema, name))


def _names(found: Any) -> tuple[str, ...]:
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise DatasetError(f"expected the names of columns, found {found!r:.60}")
    return tuple(found)


def column(values: NDArray[Any], dtype: type[np.generic]) -> pa.Array:
    """[T] numbers or truths as an Arrow array.

    `pyarrow.array` would do, but it imports pandas: a second of work for each child that writes.
    """
    values = np.ascontiguousarray(values, dtype)
    kind = pa.from_numpy_dtype(values.dtype)
    packed = np.packbits(values, bitorder="little") if values.dtype == np.bool_ else values
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(packed)])


def vectors(values: NDArray[np.float32]) -> pa.Array:
    """[T, D] as a fixed-size list of float32; NaN keeps its bits."""
    flat = column(values.reshape(-1), np.float32)
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def matrix(table: pa.Table, column: str, width: int) -> NDArray[np.float32]:
    if width == 0:  # Parquet has no lists of size 0: such a column is not written
        return np.zeros((len(table), 0), np.float32)
    values = np.empty((len(table), width), np.float32)
    filled = 0
    for part in table[column].chunks:
        values[filled : filled + len(part)] = part.flatten().to_numpy().reshape(-1, width)
        filled += len(part)
    return values


WORDS = pa.schema(
    {
        "text": pa.string(),
        "start": pa.float64(),
        "end": pa.float64(),
        "score": pa.float64(),
        "guessed": pa.bool_(),
    }
)
MAYBE = "score"  # None of an interpolated word


def words_to_table(words: Sequence[Word]) -> pa.Table:
    columns = [[getattr(word, name) for word in words] for name in WORDS.names]
    return pa.table(columns, schema=WORDS)


def table_to_words(table: pa.Table) -> tuple[Word, ...]:
    kept = table.select(WORDS.names)
    if kept.schema.types != WORDS.types or any(
        kept[n].null_count for n in WORDS.names if n != MAYBE
    ):
        raise DatasetError(
            f"expected words as {WORDS.to_string()}, found {kept.schema.to_string()}"
        )
    columns = (kept[name].to_pylist() for name in WORDS.names)
    return tuple(Word(*fields) for fields in zip(*columns, strict=True))


def track_to_table(track: FeatureTrack) -> pa.Table:
    columns = {
        "time": column(track.times, np.float64),
        "observed": column(track.observed, np.bool_),
    }
    if track.names:
        columns["values"] = vectors(track.values)
    said = {"names": json.dumps(track.names), "notes": json.dumps(track.notes, default=float)}
    return pa.table(columns).replace_schema_metadata(said)


def parquet_to_track(parquet: pq.ParquetFile) -> FeatureTrack:
    """A track whose values are mapped, if they are many."""
    names, count = _names(_json(parquet.schema_arrow, "names")), parquet.metadata.num_rows
    values = make_rows(count, len(names))
    times, observed = np.empty(count), np.empty(count, bool)
    end = 0
    for group in read_groups(parquet):
        rows = slice(end, end + len(group))
        end = rows.stop
        values[rows] = matrix(group, "values", len(names))
        times[rows], observed[rows] = group["time"].to_numpy(), group["observed"].to_numpy()
        forget_pages(values)
    notes = _json(parquet.schema_arrow, "notes")
    if not isinstance(notes, dict):
        raise DatasetError(f"expected notes by name, found {notes!r:.60}")
    return FeatureTrack(values, times, names, observed, notes)


def sequence_to_table(sequence: AlignedSequence) -> pa.Table:
    table = words_to_table(sequence.words)
    for modality, rows in sequence.features.items():
        if rows.names:
            table = table.append_column(modality, vectors(rows.values))
        table = table.append_column(f"{modality}.coverage", pa.array(rows.coverage, pa.float32()))
    names = {modality: rows.names for modality, rows in sequence.features.items()}
    return table.replace_schema_metadata({"names": json.dumps(names)})


def table_to_sequence(table: pa.Table) -> AlignedSequence:
    features = {
        modality: WordFeatures(
            matrix(table, modality, len(names)),
            table[f"{modality}.coverage"].to_numpy(),
            _names(names),
        )
        for modality, names in _json(table.schema, "names").items()
    }
    return AlignedSequence(read_text(table.schema, "clip_id"), table_to_words(table), features)
