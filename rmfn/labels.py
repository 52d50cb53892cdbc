"""``labels.csv``: which stretch of which video has which labels; every bad row is named at once.

::

    video,start,end,sentiment,speaker,split
    talk.mp4,0.0,4.2,1.5,ann,train
    talk.mp4,4.2,9.0,-0.5,ann,train
    short.mp4,,,2,bob,test

``video`` is a file's name, its stem, its path or its clip id. ``start`` and ``end`` are seconds on
the video's clock; empty means its beginning and its end, and both columns may be left out. The
columns ``speaker``, ``split``, ``id`` and ``text`` are optional, every other one is a label: a
number, or everywhere a word, which makes it classes. A single word all over is taken for a mistake,
unless it is known what the classes are. An empty label is one that nobody gave.
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import DatasetError
from pipeline.roots import find_refusal
from rmfn.splits import ALIASES, SPLITS
from rmfn.targets import Target, describe_scale, is_on_scale

KNOWN = ("video", "start", "end", "speaker", "split", "id", "text")

Problem = tuple[int, str]
"""The row in which it is (the header is row 1), and what was expected and found there."""


@dataclass(frozen=True)
class LabelRow:
    """One segment as the file has it.

    Attributes
    ----------
    number : of the row; the header is 1.
    start, end : seconds; None = the beginning or end of the video.
    timed : False where the times are wrong and nothing more can be said about them.
    labels : {column: number, or NaN if not given}
    id : "" if the file names none.
    """

    number: int
    video: str
    start: float | None
    end: float | None
    timed: bool
    labels: dict[str, float]
    speaker: str
    split: str
    id: str


@dataclass(frozen=True)
class LabelFile:
    """The rows, and what is wrong with them as far as the file alone can tell.

    Attributes
    ----------
    columns : the labels' names.
    classes : {column: names} of those that hold words; their labels are places in names, which are
        the known ones where the file has no other.
    """

    path: Path
    columns: tuple[str, ...]
    classes: dict[str, tuple[str, ...]]
    rows: tuple[LabelRow, ...]
    problems: tuple[Problem, ...]


def read_labels(
    path: str | Path,
    columns: Sequence[str] | None = None,
    known: Mapping[str, Sequence[str]] | None = None,
    targets: Sequence[Target] = (),
) -> LabelFile:
    """Read a label file. Commas, semicolons or tabs part its columns, as the header has them.

    Parameters
    ----------
    columns : the labels wanted; by default all that there are.
    known : {column: classes} of labels that were words elsewhere, in that order.
    targets : those of which the scale is known; a number off it is a problem of its row.

    Raises
    ------
    DatasetError : it cannot be read, or its header lacks or repeats a column. What is wrong in the
        rows is in ``problems``, so that it can be told together with what the videos say of them.
    """
    path = Path(path)
    header, lines = _read_cells(path)
    columns = _check_header(path, header, columns)
    problems: list[Problem] = []
    cells: list[tuple[int, dict[str, str]]] = []
    for number, line in lines:
        if len(line) != len(header):
            problems.append(
                (number, f"expected {len(header)} fields as in the header, found {len(line)}")
            )
        cells.append((number, dict(zip(header, line, strict=False))))
    if not cells:
        raise DatasetError(f"{path}: there are no rows in it")
    elsewhere = known or {}
    classes = {
        column: names
        for column in columns
        if (names := _find_classes(cells, column, elsewhere.get(column, ())))
    }
    scales = {target.name: target for target in targets}
    rows = []
    for number, row in cells:
        read = _RowReader(number, row, problems)
        start, end = read.time("start"), read.time("end")
        timed = not (start == -math.inf or end == -math.inf)
        if timed and start is not None and end is not None and end <= start:
            read.refuse(f"expected an end after its start, found {start:g} to {end:g}")
            timed = False
        labels = {
            column: read.label(column, classes.get(column, ()), scales.get(column))
            for column in columns
        }
        if not any(row.get(column) for column in columns):
            read.refuse(f"it has no label ({', '.join(columns)})")
        rows.append(
            LabelRow(
                number,
                read.text("video", needed=True),
                start if timed else None,
                end if timed else None,
                timed,
                labels,
                read.text("speaker"),
                read.split(),
                read.text("id"),
            )
        )
    return LabelFile(path, tuple(columns), classes, tuple(rows), tuple(problems))


def find_repeats(rows: Sequence[LabelRow], videos: Sequence[str]) -> list[Problem]:
    """Segments that are there twice, and videos or speakers in two splits.

    Parameters
    ----------
    videos : of each row, one name a video whatever the row calls it.
    """
    problems: list[Problem] = []
    segments: dict[tuple[str, float | None, float | None], int] = {}
    ids: dict[str, int] = {}
    sides: dict[tuple[str, str], tuple[int, str]] = {}
    for row, video in zip(rows, videos, strict=True):
        if row.timed:
            first = segments.setdefault((video, row.start, row.end), row.number)
            if first != row.number:
                problems.append((row.number, f"the same video and times as row {first}"))
        if row.id and (first := ids.setdefault(row.id, row.number)) != row.number:
            problems.append((row.number, f"the same id as row {first}: {row.id!r}"))
        for what, name, shown in (
            ("video", video, row.video),
            ("speaker", row.speaker, row.speaker),
        ):
            if not name or row.split not in SPLITS:
                continue
            first, side = sides.setdefault((what, name), (row.number, row.split))
            if side != row.split:
                problems.append(
                    (
                        row.number,
                        f"{what} {shown!r} is in {row.split} here and in {side} in row {first}; "
                        f"a {what} must be on one side",
                    )
                )
    return problems


def refuse_rows(path: Path, problems: Sequence[Problem]) -> None:
    """Tell all problems at once, by row.

    Raises
    ------
    DatasetError : there are any.
    """
    if problems:
        lines = [f"  row {number}: {what}" for number, what in sorted(set(problems))]
        many = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
        raise DatasetError("\n".join([f"{path}: {many} (the header is row 1)", *lines]))


def _read_cells(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and each row that is not empty with its number."""
    if refusal := find_refusal(path):
        raise DatasetError(refusal)
    try:
        text = path.read_text(encoding="utf-8-sig")  # spreadsheets put a mark before the header
        first = text.splitlines()[0] if text.strip() else ""
        parting = next((mark for mark in (",", ";", "\t") if mark in first), ",")
        table = list(csv.reader(io.StringIO(text, newline=""), delimiter=parting, strict=True))
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file; expected a table of labels (CSV)") from None
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise DatasetError(f"{path}: cannot be read as a table of labels (CSV, UTF-8): {e}") from e
    if not table or not any(table[0]):
        raise DatasetError(f"{path}: row 1: expected a header (video,start,end,...), found nothing")
    rows = [(number, [cell.strip() for cell in line]) for number, line in enumerate(table[1:], 2)]
    return [name.strip() for name in table[0]], [row for row in rows if any(row[1])]


def _check_header(path: Path, header: list[str], columns: Sequence[str] | None) -> list[str]:
    found = ", ".join(repr(name) for name in header)
    missing = [name for name in ("video", *(columns or ())) if name not in header]
    if ("start" in header) != ("end" in header):
        missing.append("end" if "start" in header else "start")
    if missing:
        names = " and ".join(repr(name) for name in missing)
        raise DatasetError(f"{path}: row 1: expected the column {names}, found {found}")
    if twice := [name for name, times in Counter(header).items() if times > 1]:
        raise DatasetError(f"{path}: row 1: the column {twice[0]!r} is there twice")
    if "" in header:
        raise DatasetError(f"{path}: row 1: column {header.index('') + 1} has no name")
    labels = [name for name in header if name not in KNOWN] if columns is None else list(columns)
    if not labels:
        raise DatasetError(
            f"{path}: row 1: expected a column with labels beside {', '.join(KNOWN)}, found {found}"
        )
    return labels


def _find_classes(
    cells: Sequence[tuple[int, dict[str, str]]], column: str, known: Sequence[str]
) -> tuple[str, ...]:
    """The names of a column that holds words only; none of one with any number in it."""
    given = {row.get(column, "") for _, row in cells} - {""}
    if not given or any(_is_number(cell) for cell in given):
        return ()
    if given <= set(known):
        return tuple(known)
    return tuple(sorted(given)) if len(given) > 1 or known else ()


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class _RowReader:
    """One row's cells; what is wrong with them goes to ``problems``."""

    number: int
    cells: dict[str, str]
    problems: list[Problem]

    def refuse(self, what: str) -> None:
        self.problems.append((self.number, what))

    def text(self, column: str, needed: bool = False) -> str:
        cell = self.cells.get(column, "")
        if needed and not cell:
            self.refuse(f"expected a {column}, found nothing")
        return cell

    def time(self, column: str) -> float | None:
        """Seconds; None if empty, -inf if wrong."""
        cell = self.cells.get(column, "")
        if not cell:
            return None
        if not _is_number(cell) or not 0 <= float(cell) < math.inf:
            self.refuse(f"expected the {column} in seconds from 0 on, found {cell!r}")
            return -math.inf
        return float(cell)

    def label(self, column: str, classes: tuple[str, ...], scale: Target | None) -> float:
        cell = self.cells.get(column, "")
        if not cell:
            return math.nan
        if classes:
            return float(classes.index(cell))
        if not _is_number(cell) or not math.isfinite(float(cell)):
            comma = "," in cell and _is_number(cell.replace(",", "."))
            hint = " (write 1.5, not 1,5)" if comma else ""
            self.refuse(f"expected a number as {column}, found {cell!r}{hint}")
            return math.nan
        if scale is not None and not is_on_scale(float(cell), scale):
            self.refuse(f"expected {describe_scale(scale)} as {column}, found {cell!r}")
        return float(cell)

    def split(self) -> str:
        cell = self.cells.get("split", "")
        split = ALIASES.get(cell.lower(), cell.lower())
        if split and split not in SPLITS:
            self.refuse(f"expected {', '.join(SPLITS)} or nothing as split, found {cell!r}")
        return split
