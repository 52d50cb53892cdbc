"""Corpora published as pickles: MISA's (Hazarika et al. 2020) and MMSA's (Yu et al. 2020, 2021).

Read by `rmfn.safe_pickle`, which runs nothing. MISA's is a list, a file a split::

    ((word ids [N], visual [N, 47], acoustic [N, 74], N words), label [1, k], "video[3]")

MMSA's is {"train" | "valid" | "test": {"raw_text", "audio", "vision", "text": [n, T, D],
"regression_labels": [n], "id", ...}}; with ``audio_lengths`` and ``vision_lengths`` the modalities
have rates of their own. Neither has word times.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.types import WordFeatures, cover_words
from pipeline.errors import DatasetError
from pipeline.sequence import AlignedSequence
from rmfn.corpora import (
    USUAL_SCALE,
    Wanted,
    check_features,
    make_labels,
    name_columns,
    place_words,
    published,
    rows_seen,
)
from rmfn.dataset import SPLITS, Dataset
from rmfn.safe_pickle import load_pickle
from rmfn.splits import ALIASES
from rmfn.unheld import Unheld, read_unheld, restore

NAMES = {"language": "text", "visual": "vision", "acoustic": "audio"}
_CLS, _SEP = 101, 102  # BERT's marks of a sentence's beginning and end
UNTIMED = "its words have no times: they stand one after another"


def dataset_from_misa(paths: Sequence[str | Path], wanted: Wanted | None = None) -> Dataset:
    """Read MISA's pickles; the split is in the file's name (train, dev, valid, test).

    The word ids lead into a table of vectors that is not in the file: there is no language
    modality. A row of zeros was not seen.

    Raises
    ------
    DatasetError : a file is none of these; says what, where, expected, found.
    """
    wanted = wanted or Wanted()
    ids, splits, sequences, labels = [], [], [], []
    for path in map(Path, paths):
        segments = load_pickle(path)
        if not isinstance(segments, list) or not segments:
            raise DatasetError(
                f"{path}: expected a list of ((word ids, visual, acoustic, words), label, id), "
                f"found {_kind(segments)}"
            )
        for n, segment in enumerate(segments):
            sequence, label = _read_misa(segment, f"{path}: segment {n}", wanted.allow_missing)
            ids.append(sequence.clip_id)
            sequences.append(sequence)
            labels.append(label)
            splits.append(split_in_name(path))
    if len({len(label) for label in labels}) > 1:
        raise DatasetError(f"{paths[0]}: expected as many labels in each segment")
    named, targets = make_labels(np.stack(labels), wanted, USUAL_SCALE, ids, str(paths[0]))
    videos = tuple(id.rpartition("[")[0] or id for id in ids)
    return Dataset(
        wanted.name or Path(paths[0]).stem,
        tuple(ids),
        videos,
        ("",) * len(ids),
        tuple(splits),
        tuple(sequences),
        named,
        targets,
        {m: published("misa", Path(paths[0]).name) for m in ("visual", "acoustic")},
        f"MISA pickles ({', '.join(Path(path).name for path in paths)}); {UNTIMED}; no word "
        "vectors, for the ids lead outside of the files",
    )


def split_in_name(path: str | Path) -> str:
    """The split that a file's name says, "" if none."""
    parts = Path(path).stem.lower().replace("-", "_").replace(".", "_").split("_")
    found = [ALIASES.get(part, part) for part in parts]
    return next((part for part in found if part in SPLITS), "")


def _read_misa(segment: Any, where: str, allow: bool) -> tuple[AlignedSequence, NDArray]:
    try:
        (_, visual, acoustic, words), label, id = segment
    except (TypeError, ValueError) as e:
        raise DatasetError(
            f"{where}: expected ((word ids, visual, acoustic, words), label, id), found "
            f"{_kind(segment)}"
        ) from e
    if not isinstance(id, str) or not isinstance(words, list | tuple) or not words:
        raise DatasetError(f"{where}: expected words and an id, found {_kind(words)}, {_kind(id)}")
    rows = {}
    for modality, values in (("visual", visual), ("acoustic", acoustic)):
        place = f"{where} ({id}), {modality}"
        if not isinstance(values, np.ndarray) or values.ndim != 2 or len(values) != len(words):
            raise DatasetError(f"{place}: expected [{len(words)}, D], found {_kind(values)}")
        known = check_features(values, place, allow)
        rows[modality] = rows_seen(known, name_columns(f"misa.{modality}", values.shape[1]))
    value = np.asarray(label)
    if value.dtype.kind not in "fiub" or not value.size:
        raise DatasetError(f"{where} ({id}): expected a number as label, found {_kind(label)}")
    return AlignedSequence(id, place_words([str(word) for word in words]), rows), value.reshape(-1)


def dataset_from_mmsa(path: str | Path, wanted: Wanted | None = None) -> Dataset:
    """Read an MMSA pickle.

    Where a modality has no row a word (its own rate, or pieces of words) its rows are spread evenly
    over the words, each word taking the mean of those that overlap it. Rows of zeros before and
    after a segment are padding, others were not seen.

    Raises
    ------
    DatasetError : keys or shapes are others; says what, where, expected, found.
    """
    wanted = wanted or Wanted()
    data = load_pickle(path)
    if not isinstance(data, dict) or not set(data) & set(SPLITS):
        found = ", ".join(map(repr, list(data)[:5])) if isinstance(data, dict) else _kind(data)
        raise DatasetError(
            f"{path}: expected a dictionary with {', '.join(SPLITS)}, found {found or 'nothing'}"
        )
    own = data.get("rmfn")
    unheld = read_unheld(own.get("record")) if isinstance(own, dict) else None
    if unheld is not None:
        return _restore(path, data, unheld)
    ids: list[str] = []
    splits: list[str] = []
    sequences: list[AlignedSequence] = []
    labels = []
    spread = False
    for split in SPLITS:
        if split in data:
            part = _Part(f"{path}: {split}", data[split], wanted.allow_missing)
            segments, uneven = part.read()
            spread |= uneven
            ids += part.ids
            splits += [split] * len(part.ids)
            sequences += segments
            labels.append(part.labels)
    if len({tuple(each) for each in labels}) > 1:
        raise DatasetError(f"{path}: expected the same labels in each split")
    columns = [np.concatenate([each[name] for each in labels]) for name in labels[0]]
    suffixes = [name.removeprefix("regression_labels") for name in labels[0]]
    if not wanted.labels:
        wanted = Wanted(
            wanted.name,
            tuple(f"sentiment{s}" for s in suffixes),
            wanted.scale,
            wanted.allow_missing,
        )
    named, targets = make_labels(np.column_stack(columns), wanted, USUAL_SCALE, ids, str(path))
    how = "; rows without a word of their own are spread evenly over the words" if spread else ""
    return Dataset(
        wanted.name or Path(path).stem,
        tuple(ids),
        tuple(id.rpartition("$_$")[0] or id for id in ids),
        ("",) * len(ids),
        tuple(splits),
        tuple(sequences),
        named,
        targets,
        {m: published("mmsa", Path(path).name) for m in NAMES if m in sequences[0].features},
        f"MMSA pickle ({Path(path).name}); {UNTIMED}{how}",
    )


class _Part:
    """A split's arrays, checked."""

    def __init__(self, where: str, part: Any, allow_missing: bool):
        self.where, self.allow = where, allow_missing
        keys = set(part) if isinstance(part, dict) else set()
        needed = {"raw_text", "id", "regression_labels"}
        if not needed <= keys or not keys & set(NAMES.values()):
            raise DatasetError(
                f"{where}: expected raw_text, id, regression_labels and some of "
                f"{', '.join(NAMES.values())}; found "
                f"{', '.join(map(str, part)) if keys else _kind(part)}"
            )
        self.part = part
        self.ids = [str(id) for id in part["id"]]
        self.texts = [str(text) for text in part["raw_text"]]
        self.arrays = {m: self.array(name) for m, name in NAMES.items() if name in part}
        self.lengths = {
            m: self.column(f"{name}_lengths").astype(int)
            for m, name in NAMES.items()
            if f"{name}_lengths" in part
        }
        self.labels = {
            name: self.column(name)
            for name in part
            if isinstance(name, str) and name.startswith("regression_labels")
        }
        if len(self.texts) != len(self.ids):
            raise DatasetError(f"{where}: {len(self.texts)} raw_text for {len(self.ids)} ids")

    def array(self, name: str) -> NDArray:
        values = np.asarray(self.part[name])
        if values.ndim != 3 or len(values) != len(self.ids):
            raise DatasetError(
                f"{self.where}, {name}: expected [{len(self.ids)}, T, D], found {_kind(values)}"
            )
        return values

    def column(self, name: str) -> NDArray:
        values = np.asarray(self.part[name])
        if values.shape != (len(self.ids),) or values.dtype.kind not in "fiub":
            raise DatasetError(
                f"{self.where}, {name}: expected {len(self.ids)} numbers, found {_kind(values)}"
            )
        return values

    def read(self) -> tuple[list[AlignedSequence], bool]:
        """The segments, and whether any rows had to be spread."""
        sequences: list[AlignedSequence] = []
        spread = False
        for n, (id, text) in enumerate(zip(self.ids, self.texts, strict=True)):
            words = place_words(text.split())
            if not words:
                raise DatasetError(f"{self.where}: segment {id!r} has no words in raw_text")
            rows = {}
            for modality, values in self.find_rows(n).items():
                names = name_columns(f"mmsa.{NAMES[modality]}", values.shape[1])
                spread |= len(values) != len(words)
                rows[modality] = spread_rows(values, len(words), names)
            sequences.append(AlignedSequence(id, words, rows))
        return sequences, spread

    def find_rows(self, n: int) -> dict[str, NDArray[np.float32]]:
        """A segment's rows without padding and without BERT's marks, each [T, D]."""
        values = {
            m: check_features(
                array[n], f"{self.where}, {NAMES[m]} of segment {self.ids[n]!r}", self.allow
            )
            for m, array in self.arrays.items()
        }
        if self.lengths:
            ranges = {m: _own_range(v, self.lengths.get(m), n) for m, v in values.items()}
        else:  # aligned: a row is padding where all modalities are 0
            same = min(len(v) for v in values.values())
            held = np.any(
                [(np.nan_to_num(v[:same], nan=1) != 0).any(1) for v in values.values()], 0
            )
            ranges = dict.fromkeys(values, _between(held))
        if (tokens := self.part.get("text_bert")) is not None and "language" in values:
            ids = np.asarray(tokens)[n, 0]
            marks = np.flatnonzero(np.isin(ids, (_CLS, _SEP)))
            if len(marks) == 2 and len(ids) == len(values["language"]):
                inner = slice(int(marks[0]) + 1, int(marks[1]))
                ranges = (
                    {**ranges, "language": inner} if self.lengths else dict.fromkeys(values, inner)
                )
        return {m: v[ranges[m]] for m, v in values.items()}


def _own_range(values: NDArray, lengths: NDArray | None, n: int) -> slice:
    if lengths is None:
        return _between((np.nan_to_num(values, nan=1) != 0).any(axis=1))
    return slice(0, max(int(lengths[n]), 1))


def _between(held: NDArray[np.bool_]) -> slice:
    """From the first to the last row that holds anything; one row if none does."""
    found = np.flatnonzero(held)
    return slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(0, 1)


def spread_rows(values: NDArray[np.float32], count: int, names: tuple[str, ...]) -> WordFeatures:
    """Rows [T, D] over ``count`` words that share the time evenly; [count, D]."""
    seen = rows_seen(values, names).values
    if len(seen) == count:
        return cover_words(seen, names)
    edges = np.linspace(0, len(seen), count + 1)
    out = np.full((count, len(names)), np.nan, np.float32)
    coverage = np.zeros(count, np.float32)
    for n in range(count):
        first, last = int(edges[n]), max(int(np.ceil(edges[n + 1] - 1e-9)), int(edges[n]) + 1)
        places = np.arange(first, min(last, len(seen)))
        weights = np.minimum(places + 1, edges[n + 1]) - np.maximum(places, edges[n])
        finite = np.isfinite(seen[places])
        total = weights @ finite
        known = np.where(finite, seen[places], 0)
        np.divide(weights @ known, total, out=out[n], where=total > 0, casting="same_kind")
        coverage[n] = weights @ finite.any(axis=1) / weights.sum()
    return WordFeatures(out, np.minimum(coverage, 1), names)


def _restore(path: str | Path, data: dict, unheld: Unheld) -> Dataset:
    """A file that we exported."""
    columns = unheld.columns
    counts = {key: len(unheld.record["words"][n]) for n, key in enumerate(unheld.keys)}
    ids, sequences, labels = [], [], []
    first = data["rmfn"]["first"]
    for split in SPLITS:
        part = _Part(f"{path}: {split}", data[split], allow_missing=True)
        arrays = {}
        for modality, array in part.arrays.items():
            bits = data["rmfn"]["missing"][split][modality]
            holes = np.unpackbits(bits, count=array.size).astype(bool).reshape(array.shape)
            arrays[modality] = np.where(holes, np.float32(np.nan), array)
        for n, key in enumerate(part.ids):
            count = counts.get(key, 0)
            rows = {
                m: cover_words(arrays[m][n, :count].astype(np.float32), names)
                for m, names in columns.items()
            }
            sequences.append(AlignedSequence(key, place_words([""] * count), rows))
        ids += part.ids
        order = [
            "regression_labels" + ("" if name == first else f"_{name}")
            for name in unheld.record["labels"]
        ]
        labels.append(np.column_stack([part.labels[name] for name in order]))
    dataset = Dataset(
        unheld.record["name"],
        tuple(ids),
        *(("",) * len(ids),) * 3,
        sequences=tuple(sequences),
        labels=unheld.name_labels(np.concatenate(labels)),
    )
    return restore(dataset, unheld, str(path))


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    return type(value).__name__
