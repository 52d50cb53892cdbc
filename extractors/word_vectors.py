"""Tables of word vectors: read in the formats they are published in, kept as one opens them fast.

The kept form is a folder that any tool can read and that nothing runs out of:

* ``vectors.npy``: float32 [words, size], memory-mapped when it is opened.
* ``words.arrow``: Arrow IPC, a row a word in the order of the vectors: ``word``, and ``sorted``,
  the rows in the order of the words' letters, so that a word is found by bisection where it lies.
* ``table.json``: what it was made from, and what was left out.
* ``SHA256SUMS``: of the first two, as ``sha256sum --check`` reads them.

Opened, it is a gensim ``KeyedVectors``. (gensim's own ``save`` writes a pickle, which could run
anything when it is loaded.)
"""

from __future__ import annotations

import gzip
import io
import itertools
import json
import re
import zipfile
import zlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from extractors.weights import SUMS, WeightsDamaged
from extractors.weights_hash import hash_file

VECTORS, WORDS, ABOUT = "vectors.npy", "words.arrow", "table.json"
LOOKED_AT = 100  # lines from which the size of vectors is found where no header says it
TOLD = 5  # broken lines that are named
ROWS = 2048  # written together
LONGEST_WORD = 10_000  # bytes

EMPTY = np.empty(0, np.float32)
LARGEST = 10_000  # values a word

Floats = NDArray[np.float32]
Row = tuple[int, bytes, Floats | str]
"""Number of a line (of a binary file: entry) from 1, the word, its vector or what is wrong."""

Progress = Callable[[int, int | None], None]
"""Called with how many bytes are read, and of how many if that is known."""


@dataclass
class Imported:
    """What became of a table.

    Attributes
    ----------
    source, form : the file's name; "GloVe text", "word2vec text" (fastText's ``.vec`` too) or
        "word2vec binary".
    words, size : vectors kept, and the values of each.
    with_spaces : words with a space in them, which GloVe 840B has; they are kept.
    repeated : lines left out because their word had come before; the first counts.
    broken : lines left out because they are not a word and as many numbers.
    first_broken : the first of those, in words.
    """

    source: str
    form: str
    words: int = 0
    size: int = 0
    with_spaces: int = 0
    repeated: int = 0
    broken: int = 0
    first_broken: list[str] = field(default_factory=list)


def import_table(
    source: Path, folder: Path, skip_broken: bool = False, progress: Progress | None = None
) -> Imported:
    """Turn a published table into the kept form.

    Parameters
    ----------
    source : GloVe's text, word2vec's text or binary, fastText's ``.vec``; also as ``.gz``, or alone
        in a ``.zip``. Which it is is read from its beginning.
    folder : an empty one, to be filled.
    skip_broken : leave broken lines out and count them.

    Raises
    ------
    ValueError : a line is broken (named with its number), there are fewer or more than the header
        says, or it is no such table.
    OSError : it cannot be read, or the folder not written.
    """
    with _open_source(source) as (stream, total):
        try:
            form, size, count, rows = _read_rows(stream)
            done = Imported(source.name, form, size=size)
            kept = _sort_out(rows, done, refuse=not skip_broken)
            with (folder / VECTORS).open("wb") as file:
                names = _write_vectors(
                    kept, file, size, lambda: progress and progress(stream.done, total)
                )
        except (ValueError, EOFError, zlib.error, zipfile.BadZipFile) as error:
            raise ValueError(f"{source}: {error}") from error
    seen = done.words + done.repeated + done.broken
    if count is not None and seen != count:
        raise ValueError(f"{source}: its header says {count} words, it has {seen}: is it whole?")
    if not done.words:
        raise ValueError(f"{source}: there is not one word with its vector in it")
    _write_words(names, folder / WORDS)
    (folder / ABOUT).write_text(json.dumps(asdict(done), indent=2) + "\n", encoding="utf-8")
    sums = [f"{hash_file(folder / name)}  {name}\n" for name in (VECTORS, WORDS)]
    (folder / SUMS).write_text("".join(sums), encoding="utf-8")
    return done


def open_table(folder: Path) -> Any:
    """A kept table as gensim's ``KeyedVectors``; nothing is read but what is looked up.

    Raises
    ------
    WeightsDamaged : the folder is not such a table.
    """
    import pyarrow
    from gensim.models import KeyedVectors

    try:
        batch = pyarrow.ipc.open_file(pyarrow.memory_map(str(folder / WORDS))).get_batch(0)
        names, order = batch["word"], batch["sorted"]
        values = np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, KeyError, pyarrow.ArrowException) as error:
        raise WeightsDamaged(
            f"{folder}: not a table of word vectors as rmfn vectors import makes it ({error})"
        ) from error
    if values.ndim != 2 or values.dtype != np.float32 or len(values) != len(names):
        raise WeightsDamaged(
            f"{folder}: {len(names)} words, but vectors {values.dtype} {list(values.shape)}"
        )
    table = KeyedVectors(values.shape[1])
    words = _Words(names)
    table.index_to_key, table.key_to_index = words, _Rows(words, order)
    table.vectors = values
    return table


class _Words(Sequence[str]):
    """The words of a table, read where they lie."""

    def __init__(self, names: Any) -> None:
        self.names = names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, at: Any) -> Any:
        found = self.names[at]
        return found.to_pylist() if isinstance(at, slice) else found.as_py()


class _Rows(Mapping[str, int]):
    """Word -> row, by bisection: no dictionary of millions of words is made."""

    def __init__(self, words: _Words, order: Any) -> None:
        self.words, self.order = words, order

    def __len__(self) -> int:
        return len(self.words)

    def __iter__(self) -> Iterator[str]:
        return iter(self.words)

    def __getitem__(self, word: Any) -> int:
        if isinstance(word, str):
            places = range(len(self.words))
            place = bisect_left(places, word, key=lambda n: self.words[self.order[n].as_py()])
            if place < len(places):
                row = self.order[place].as_py()
                if self.words[row] == word:
                    return row
        raise KeyError(word)


class _Counted:
    """A stream that knows how much of it was read."""

    def __init__(self, file: Any) -> None:
        self.file, self.done = file, 0

    def line(self) -> bytes:
        line = self.file.readline()
        self.done += len(line)
        return line

    def read(self, count: int) -> bytes:
        data = self.file.read(count)
        self.done += len(data)
        return data

    def peek(self, count: int) -> bytes:
        return self.file.peek(count)[:count]


@contextmanager
def _open_source(source: Path) -> Iterator[tuple[_Counted, int | None]]:
    """The table's bytes, unpacked, and how many there are if that is known."""
    if source.is_dir():
        raise ValueError(f"{source}: expected a table of word vectors, found a folder")
    with ExitStack() as opened:
        total: int | None = None
        if zipfile.is_zipfile(source):
            archive = opened.enter_context(zipfile.ZipFile(source))
            members = [member for member in archive.infolist() if not member.is_dir()]
            if len(members) != 1:
                names = ", ".join(member.filename for member in members)
                raise ValueError(f"{source}: it holds {names or 'nothing'}: unpack the table of it")
            file: Any = opened.enter_context(archive.open(members[0]))
            total = members[0].file_size
        elif source.suffix == ".gz":
            file = opened.enter_context(gzip.open(source))
        else:
            file = opened.enter_context(source.open("rb", buffering=1 << 20))
            total = source.stat().st_size
        yield _Counted(file), total


def _read_rows(stream: _Counted) -> tuple[str, int, int | None, Iterator[Row]]:
    """What form it has, the values a vector has, the words that a header says, and the rows.

    Raises
    ------
    ValueError : it is no table of vectors.
    """
    first = stream.line()
    if re.fullmatch(rb"\d+ \d+\s*", first):
        count, size = map(int, first.split())
        if not 0 < size <= LARGEST:
            raise ValueError(f"expected 1 to {LARGEST} values a word, its header says {size}")
        begin = stream.peek(512).partition(b"\n")[0].rstrip(b" \r").split(b" ")[1:][-size:]
        if not begin or b"".join(begin).strip(b"0123456789.eE+-naif"):
            return "word2vec binary", size, count, _read_binary(stream, size)
        return "word2vec text", size, count, _read_lines([], stream, size, 2)
    lines = [first, *itertools.islice(iter(stream.line, b""), LOOKED_AT - 1)]
    sizes = Counter(_count_numbers(line) for line in lines)
    del sizes[0]
    if not sizes:
        raise ValueError("expected a word and numbers on each line, found none")
    size = sizes.most_common(1)[0][0]
    return "GloVe text", size, None, _read_lines(lines, stream, size, 1)


def _count_numbers(line: bytes) -> int:
    """How many numbers end a line, but for its first field."""
    fields = line.split()
    return sum(1 for _ in itertools.takewhile(_is_number, reversed(fields[1:])))


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_lines(begun: list[bytes], stream: _Counted, size: int, first: int) -> Iterator[Row]:
    """Rows of text. Only a line feed ends a line and only spaces part fields: words hold the rest,
    and in GloVe 840B even spaces, so that the numbers are counted from the end."""
    for number, line in enumerate(itertools.chain(begun, iter(stream.line, b"")), first):
        word, *fields = line.rstrip(b" \r\n").rsplit(b" ", size)
        if len(fields) < size:
            yield number, word, f"a word and {len(fields)} numbers, expected {size}"
            continue
        try:
            values = [float(text) for text in fields]
        except ValueError as error:
            yield number, word, str(error)
            continue
        with np.errstate(over="ignore"):  # then it is infinite, which is told
            yield number, word, np.array(values, np.float32)


def _read_binary(stream: _Counted, size: int) -> Iterator[Row]:
    """Rows of word2vec's binary form: a word, a space, the values; some writers end with a line
    feed."""
    for number in itertools.count(1):
        word = bytearray()
        while (letter := stream.read(1)) not in (b" ", b""):
            word += letter
            if len(word) > LONGEST_WORD:
                raise ValueError(f"entry {number} is no word: it does not end")
        if not letter:
            return
        data = stream.read(4 * size)
        if len(data) < 4 * size:
            raise ValueError(f"entry {number}: the file ends within its values: is it whole?")
        yield number, bytes(word.lstrip(b"\n")), np.frombuffer(data, "<f4")


def _sort_out(rows: Iterable[Row], done: Imported, refuse: bool) -> Iterator[tuple[str, Floats]]:
    """The rows to keep; the others are counted, or the first broken one refused."""
    seen: set[str] = set()
    for number, word, values in rows:
        wrong, vector = (values, EMPTY) if isinstance(values, str) else ("", values)
        try:
            text = word.decode()
        except UnicodeDecodeError:
            text, wrong = repr(word), wrong or "the word is not UTF-8"
        if not wrong and not np.isfinite(vector).all():
            wrong = "not all values are finite"
        if not wrong and not text.strip():
            wrong = "no word before the numbers"
        if wrong:
            told = f"line {number} ({text:.40}): {wrong}"
            if refuse:
                raise ValueError(f"{told}. To leave such lines out: --skip-broken")
            done.broken += 1
            done.first_broken += [told] if done.broken <= TOLD else []
        elif text in seen:
            done.repeated += 1
        else:
            seen.add(text)
            done.words += 1
            done.with_spaces += " " in text
            yield text, vector


def _write_vectors(
    rows: Iterable[tuple[str, Floats]], file: IO[bytes], size: int, tell: Callable[[], object]
) -> list[str]:
    """Write a ``.npy`` file row by row. Returns the words in its order."""
    names: list[str] = []
    begin = _npy_header(0, size)
    file.write(begin)
    for batch in iter(lambda: list(itertools.islice(rows, ROWS)), []):
        names += [name for name, _ in batch]
        file.write(np.array([values for _, values in batch], "<f4").tobytes())
        tell()
    header = _npy_header(len(names), size)
    assert len(header) == len(begin)  # numpy leaves room for the number of rows to grow
    file.seek(0)
    file.write(header)
    return names


def _npy_header(count: int, size: int) -> bytes:
    file = io.BytesIO()
    about = {"descr": "<f4", "fortran_order": False, "shape": (count, size)}
    np.lib.format.write_array_header_1_0(file, about)
    return file.getvalue()


def _write_words(names: list[str], path: Path) -> None:
    import pyarrow
    import pyarrow.compute

    words = pyarrow.array(names, pyarrow.string())
    order = pyarrow.compute.sort_indices(words).cast(pyarrow.int32())
    batch = pyarrow.record_batch({"word": words, "sorted": order})
    with pyarrow.OSFile(str(path), "wb") as file, pyarrow.ipc.new_file(file, batch.schema) as made:
        made.write_batch(batch)
