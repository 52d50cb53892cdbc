"""A data set: aligned sequences with labels, whatever they came from.

Own videos with a ``labels.csv``, and every published corpus, become this one thing; training,
evaluation and tuning know nothing else. It is kept as a folder that pandas reads::

    dataset.json       name, source, targets, features, column names, hash
    segments.parquet   a segment a row: id, video, speaker, split, clip, words (how many),
                       label.<column>, has.<modality>
    words.parquet      a word a row: segment, text, start, end, score, guessed, and for each
                       modality its values (fixed-size list) and <modality>.coverage
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from extractors.types import WordFeatures
from pipeline.errors import DatasetError
from pipeline.records import read_json
from pipeline.sequence import AlignedSequence
from pipeline.tables import (
    DAMAGED,
    matrix,
    read_table,
    table_to_words,
    vectors,
    words_to_table,
    write_table,
)
from pipeline.whole import replace_folder
from rmfn.splits import SPLITS, check_splits, make_splits
from rmfn.targets import Target, check_labels, describe_target, find_targets

__all__ = [
    "SPLITS",
    "Dataset",
    "Target",
    "check_labels",
    "check_splits",
    "describe_target",
    "find_targets",
    "hash_dataset",
    "load_dataset",
    "make_splits",
    "save_dataset",
]

FORMAT, VERSION = "rmfn dataset", 1
MANIFEST, SEGMENTS, WORDS = "dataset.json", "segments.parquet", "words.parquet"


@dataclass(frozen=True)
class Dataset:
    """Labelled segments.

    Attributes
    ----------
    name : for people.
    ids, videos, speakers, splits : [n] of each segment; a speaker or split that nobody gave is "".
        Splits are "train", "valid" and "test".
    sequences : [n]; all have the same columns in each modality they have.
    labels : {column: float64 [n]}; NaN where a segment has none.
    targets : what is known of the columns' scales.
    features : which steps of which recipe made the columns (``Recipe.provenance``'s form), or
        where they were published.
    source : a line for people.
    """

    name: str
    ids: tuple[str, ...]
    videos: tuple[str, ...]
    speakers: tuple[str, ...]
    splits: tuple[str, ...]
    sequences: tuple[AlignedSequence, ...]
    labels: dict[str, NDArray[np.float64]]
    targets: tuple[Target, ...] = ()
    features: dict[str, Any] = field(default_factory=dict)
    source: str = ""

    def __post_init__(self) -> None:
        for what in ("videos", "speakers", "splits", "sequences"):
            if len(getattr(self, what)) != len(self.ids):
                raise DatasetError(
                    f"data set {self.name!r}: {len(getattr(self, what))} {what} for "
                    f"{len(self.ids)} segments"
                )
        for column, values in self.labels.items():
            if values.shape != (len(self.ids),):
                raise DatasetError(
                    f"data set {self.name!r}: the label {column!r} has shape {values.shape}, "
                    f"expected ({len(self.ids)},)"
                )
        if len(set(self.ids)) < len(self.ids):
            twice = next(id for id, times in Counter(self.ids).items() if times > 1)
            raise DatasetError(f"data set {self.name!r}: segment {twice!r} is there twice")
        if unknown := sorted(set(self.splits) - {"", *SPLITS}):
            raise DatasetError(
                f"data set {self.name!r}: unknown split {unknown[0]!r}; expected one of "
                f"{', '.join(SPLITS)} or nothing"
            )
        columns: dict[str, tuple[str, ...]] = {}
        for id, sequence in zip(self.ids, self.sequences, strict=True):
            for modality, rows in sequence.features.items():
                if columns.setdefault(modality, rows.names) != rows.names:
                    raise DatasetError(
                        f"data set {self.name!r}: segment {id!r} has other {modality} columns "
                        f"({len(rows.names)}) than those before it ({len(columns[modality])})"
                    )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def columns(self) -> dict[str, tuple[str, ...]]:
        """{modality: names} of all modalities that any segment has."""
        return {m: rows.names for s in self.sequences for m, rows in s.features.items()}

    def of_split(self, split: str) -> list[int]:
        """Indices of a split's segments; "" = those that belong to none."""
        return [n for n, name in enumerate(self.splits) if name == split]

    def take(self, rows: Iterable[int]) -> Dataset:
        """The data set of these segments alone."""
        rows = list(rows)

        def pick(values: Sequence[Any]) -> tuple[Any, ...]:
            return tuple(values[n] for n in rows)

        return replace(
            self,
            ids=pick(self.ids),
            videos=pick(self.videos),
            speakers=pick(self.speakers),
            splits=pick(self.splits),
            sequences=pick(self.sequences),
            labels={name: values[rows] for name, values in self.labels.items()},
        )


def save_dataset(dataset: Dataset, folder: str | Path) -> str:
    """Write a data set, whole or not at all; a data set that was there is replaced.

    Returns
    -------
    Its hash, which the folder says too.

    Raises
    ------
    DatasetError : the folder holds something else.
    OSError : it cannot be written (a full disk); what was there is left.
    """
    folder = Path(folder)
    if folder.exists() and (
        not folder.is_dir() or (any(folder.iterdir()) and not (folder / MANIFEST).is_file())
    ):
        raise DatasetError(f"{folder} is there and is no data set; it is left as it is")
    hashed = hash_dataset(dataset)
    said = {
        "format": FORMAT,
        "version": VERSION,
        "name": dataset.name,
        "source": dataset.source,
        "segments": len(dataset),
        "words": sum(len(sequence.words) for sequence in dataset.sequences),
        "targets": [asdict(target) for target in dataset.targets],
        "labels": list(dataset.labels),
        "columns": dataset.columns,
        "features": dataset.features,
        "hash": hashed,
        "written_by": f"rmfn {version('rmfn')}",
    }
    with replace_folder(folder) as fresh:
        write_table(fresh / SEGMENTS, _segments_to_table(dataset), {})
        write_table(fresh / WORDS, _sequences_to_table(dataset), {})
        text = json.dumps(said, indent=1, ensure_ascii=False)
        (fresh / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return hashed


def load_dataset(folder: str | Path) -> Dataset:
    """Read a data set back, as it was: NaN, coverage, word times and scores too.

    Raises
    ------
    DatasetError : it is not there, damaged, changed since, or of a newer version.
    """
    folder = Path(folder)
    said = _read_manifest(folder)
    try:
        segments, words = read_table(folder / SEGMENTS), read_table(folder / WORDS)
        dataset = _tables_to_dataset(said, segments, words)
    except DAMAGED as e:
        reason = str(e).splitlines()[0] if str(e) else type(e).__name__
        raise DatasetError(f"{folder}: damaged, make it again ({reason})") from e
    if hash_dataset(dataset) != said["hash"]:
        raise DatasetError(
            f"{folder}: its contents are not those that {MANIFEST} was written for "
            f"(hash {hash_dataset(dataset)[:12]}, it says {said['hash'][:12]}); make it again"
        )
    return dataset


def load_targets(folder: str | Path) -> tuple[Target, ...]:
    """What the labels of a data set are, without its segments and rows.

    Raises
    ------
    DatasetError : it is not there, or of a newer version.
    """
    folder = Path(folder)
    said = _read_manifest(folder)
    try:
        return _read_targets(said)
    except DAMAGED as e:
        raise DatasetError(f"{folder}: damaged, make it again ({type(e).__name__})") from e


def hash_dataset(dataset: Dataset) -> str:
    """Sha256 of all that a training can depend on: segments, words, rows, labels and targets.

    The name, the source and how the features were made are for people and are left out.
    """
    digest = hashlib.sha256()

    def add(value: Any) -> None:
        digest.update(json.dumps(value, separators=(",", ":")).encode() + b"\n")

    def add_array(values: NDArray, kind: type) -> None:
        flat: NDArray = np.array(values, kind, order="C")
        flat[np.isnan(flat)] = np.nan  # one NaN, whatever its bits
        add(flat.shape)
        digest.update(flat.tobytes())

    add([asdict(target) for target in dataset.targets])
    add([dataset.ids, dataset.videos, dataset.speakers, dataset.splits])
    for name in sorted(dataset.labels):
        add(name)
        add_array(dataset.labels[name], np.float64)
    for sequence in dataset.sequences:
        add(
            [
                sequence.clip_id,
                [(w.text, w.start, w.end, w.score, w.guessed) for w in sequence.words],
            ]
        )
        for modality in sorted(sequence.features):
            rows = sequence.features[modality]
            add([modality, rows.names])
            add_array(rows.values, np.float32)
            add_array(rows.coverage, np.float32)
    return digest.hexdigest()


def _read_manifest(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such data set folder")
    try:
        said = read_json(folder / MANIFEST)
        form, number = said["format"], said["version"]
    except FileNotFoundError as e:
        raise DatasetError(f"{folder}: not a data set: it has no {MANIFEST}") from e
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise DatasetError(f"{folder / MANIFEST}: expected format and version, got {e!r}") from e
    if form != FORMAT or not isinstance(number, int):
        raise DatasetError(f"{folder / MANIFEST}: expected format {FORMAT!r}, got {form!r}")
    if number > VERSION:
        raise DatasetError(
            f"{folder}: a data set of version {number}; this program reads up to {VERSION}"
        )
    return said


def _read_targets(said: dict[str, Any]) -> tuple[Target, ...]:
    return tuple(
        Target(**{**target, "classes": tuple(target["classes"])}) for target in said["targets"]
    )


def _segments_to_table(dataset: Dataset) -> pa.Table:
    columns: dict[str, pa.Array] = {
        "id": pa.array(dataset.ids, pa.string()),
        "video": pa.array(dataset.videos, pa.string()),
        "speaker": pa.array(dataset.speakers, pa.string()),
        "split": pa.array(dataset.splits, pa.string()),
        "clip": pa.array([sequence.clip_id for sequence in dataset.sequences], pa.string()),
        "words": pa.array([len(sequence.words) for sequence in dataset.sequences], pa.int64()),
    }
    for name, values in dataset.labels.items():
        columns[f"label.{name}"] = pa.array(values, pa.float64())
    for modality in dataset.columns:
        present = [modality in sequence.features for sequence in dataset.sequences]
        columns[f"has.{modality}"] = pa.array(present, pa.bool_())
    return pa.table(columns)


def _sequences_to_table(dataset: Dataset) -> pa.Table:
    table = words_to_table([word for sequence in dataset.sequences for word in sequence.words])
    owners = [
        id
        for id, sequence in zip(dataset.ids, dataset.sequences, strict=True)
        for _ in sequence.words
    ]
    table = table.add_column(0, "segment", pa.array(owners, pa.string()))
    for modality, names in dataset.columns.items():
        values = np.full((len(table), len(names)), np.nan, np.float32)
        coverage = np.zeros(len(table), np.float32)
        end = 0
        for sequence in dataset.sequences:
            start, end = end, end + len(sequence.words)
            if (rows := sequence.features.get(modality)) is not None:
                values[start:end], coverage[start:end] = rows.values, rows.coverage
        if names:
            table = table.append_column(modality, vectors(values))
        table = table.append_column(f"{modality}.coverage", pa.array(coverage))
    return table


def _tables_to_dataset(said: dict[str, Any], segments: pa.Table, words: pa.Table) -> Dataset:
    columns = {modality: tuple(names) for modality, names in said["columns"].items()}
    spoken = table_to_words(words)
    values = {m: matrix(words, m, len(names)) for m, names in columns.items()}
    coverage = {m: words[f"{m}.coverage"].to_numpy() for m in columns}
    has = {m: segments[f"has.{m}"].to_pylist() for m in columns}
    sequences = []
    end = 0
    for n, (clip, count) in enumerate(
        zip(segments["clip"].to_pylist(), segments["words"].to_pylist(), strict=True)
    ):
        start, end = end, end + count
        rows = {
            m: WordFeatures(values[m][start:end], coverage[m][start:end], names)
            for m, names in columns.items()
            if has[m][n]
        }
        sequences.append(AlignedSequence(clip, spoken[start:end], rows))
    if end != len(spoken):
        raise DatasetError(f"{SEGMENTS} counts {end} words, {WORDS} has {len(spoken)}")
    return Dataset(
        said["name"],
        tuple(segments["id"].to_pylist()),
        tuple(segments["video"].to_pylist()),
        tuple(segments["speaker"].to_pylist()),
        tuple(segments["split"].to_pylist()),
        tuple(sequences),
        labels={name: segments[f"label.{name}"].to_numpy() for name in said["labels"]},
        targets=_read_targets(said),
        features=said["features"],
        source=said["source"],
    )
