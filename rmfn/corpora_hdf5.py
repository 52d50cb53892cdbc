"""Corpora published as MFN reads them (Zadeh et al. 2018, AAAI): HDF5 arrays of 20 steps.

A file holds one array ``[n, T, D]``, or ``[n]`` or ``[n, k]`` labels; its name says which and of
what split: ``text_train_emb.h5``, ``audio_train.h5``, ``video_train.h5``, ``y_train.h5``; or
``X_train.h5`` with the modalities side by side in the order language, acoustic, visual. Segments
shorter than T have zeros before them. There are neither words, times nor videos.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DatasetError
from pipeline.sequence import AlignedSequence
from rmfn.corpora import (
    Wanted,
    check_features,
    make_labels,
    name_columns,
    place_words,
    published,
    rows_seen,
)
from rmfn.corpora_pickles import split_in_name
from rmfn.csd_files import read_values, refuse_links
from rmfn.dataset import SPLITS, Dataset

_HOLDS = {
    "text": "language",
    "language": "language",
    "audio": "acoustic",
    "acoustic": "acoustic",
    "video": "visual",
    "visual": "visual",
    "x": "all",
    "y": "labels",
}
ORDER = ("language", "acoustic", "visual")  # of the columns of X
# Their sums are different, so that the number of columns tells which.
_SIZES = ((300, 5, 20), (300, 74, 36), (300, 74, 35), (300, 74, 43), (300, 74, 47))


def dataset_from_mfn(paths: Sequence[str | Path], wanted: Wanted | None = None) -> Dataset:
    """Read MFN's files of one or more splits; a split may lack a modality.

    Only steps before a segment in which every modality is zero are padding. A row of zeros within
    it (a word without a vector, no face) was not seen. Each segment is taken for a video of its
    own.

    Raises
    ------
    DatasetError : what a file holds is not clear, or its shape is another; says what, where,
        expected, found.
    """
    wanted = wanted or Wanted()
    splits: dict[str, dict[str, NDArray]] = {}
    for path in map(Path, paths):
        split, holds = split_in_name(path), _find_holding(path)
        if not split or holds is None:
            raise DatasetError(
                f"{path}: expected a name such as audio_train.h5: text, audio, video, X or y, and "
                f"one of {', '.join(SPLITS)}"
            )
        found = splits.setdefault(split, {})
        parts = {holds: _read_array(path)}
        if holds == "all":
            parts = _part_columns(path, parts["all"], wanted.sizes)
        for name, array in parts.items():
            if name in found:
                raise DatasetError(f"{path}: the {name} of {split} is there twice")
            if name != "labels":
                array = check_features(array, str(path), wanted.allow_missing)
            found[name] = array

    ids, owners, sequences, labels = [], [], [], []
    for split in (each for each in SPLITS if each in splits):
        arrays = splits[split]
        values = arrays.pop("labels", None)
        if values is None or not arrays:
            raise DatasetError(
                f"{split}: expected y_{split}.h5 and features, found {sorted(arrays)}"
            )
        shapes = {name: array.shape[:2] for name, array in arrays.items()}
        if len(set(shapes.values())) > 1 or next(iter(shapes.values()))[0] != len(values):
            raise DatasetError(
                f"{split}: expected as many segments and steps in each file, found {len(values)} "
                f"labels and {shapes}"
            )
        for n in range(len(values)):
            id = f"{split}-{n}"
            ids.append(id)
            owners.append(split)
            sequences.append(_cut_padding(id, {m: array[n] for m, array in arrays.items()}))
        labels.append(values.reshape(len(values), -1))
    if len({array.shape[1] for array in labels}) > 1:
        raise DatasetError(f"{paths[0]}: expected as many labels in each split")
    named, targets = make_labels(
        np.concatenate(labels), wanted, None, ids, str(Path(paths[0]).parent)
    )
    name = wanted.name or Path(paths[0]).resolve().parent.name
    present = {m for each in sequences for m in each.features}
    without = [
        f"{split} has no {m}"
        for split in splits
        for m in ORDER
        if m in present and m not in splits[split]
    ]
    return Dataset(
        name,
        tuple(ids),
        tuple(ids),
        ("",) * len(ids),
        tuple(owners),
        tuple(sequences),
        named,
        targets,
        {m: published("mfn", name) for m in ORDER if m in present},
        "MFN arrays; neither words, times nor videos are known, each segment counts as a video"
        + "".join(f"; {each}" for each in without),
    )


def _find_holding(path: Path) -> str | None:
    return next((_HOLDS[part] for part in path.stem.lower().split("_") if part in _HOLDS), None)


def _read_array(path: Path) -> NDArray:
    try:
        with h5py.File(path, "r") as file:
            refuse_links(file, str(path))
            found = [name for name in file if isinstance(file[name], h5py.Dataset)]
            if len(found) != 1 or len(file) != 1:
                raise DatasetError(
                    f"{path}: expected one array, found {', '.join(file) or 'nothing'}"
                )
            array = read_values(file[found[0]], str(path))
    except (OSError, RuntimeError, KeyError) as e:
        raise DatasetError(f"{path}: cannot be read as HDF5: {e}") from e
    is_labels = _find_holding(path) == "labels"
    if array.ndim not in ((1, 2) if is_labels else (3,)) or not array.size:
        expected = "labels [n] or [n, k]" if is_labels else "[n, T, D]"
        raise DatasetError(f"{path}: expected {expected}, found {array.dtype} {list(array.shape)}")
    return array


def _part_columns(path: Path, array: NDArray, sizes: dict[str, int] | None) -> dict[str, NDArray]:
    """The columns of X by modality."""
    total = array.shape[2]
    chosen = [sizes.get(m, 0) for m in ORDER] if sizes else None
    chosen = chosen or next((list(each) for each in _SIZES if sum(each) == total), None)
    if chosen is None or sum(chosen) != total:
        said = "it is not known how they are shared out" if chosen is None else f"not {sum(chosen)}"
        raise DatasetError(
            f"{path}: {total} columns, {said}; say --sizes LANGUAGE ACOUSTIC VISUAL, in their order"
        )
    edges = np.cumsum([0, *chosen])
    return {m: array[:, :, edges[n] : edges[n + 1]] for n, m in enumerate(ORDER) if chosen[n]}


def _cut_padding(id: str, rows: dict[str, NDArray]) -> AlignedSequence:
    held = np.any([(np.nan_to_num(v, nan=1) != 0).any(axis=1) for v in rows.values()], axis=0)
    first = int(held.argmax()) if held.any() else len(held) - 1
    return AlignedSequence(
        id,
        place_words([""] * (len(held) - first)),
        {m: rows_seen(v[first:], name_columns(f"mfn.{m}", v.shape[1])) for m, v in rows.items()},
    )
