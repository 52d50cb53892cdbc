"""Files of computational sequences (``.csd``) of the CMU Multimodal SDK (Zadeh et al. 2018).

An HDF5 file is one sequence::

    <root name>/data/<video>/features     [n, D] numbers, or [n, 1] words
    <root name>/data/<video>/intervals    [n, 2] seconds, start and end
    <root name>/metadata/...

A name ``<video>[3]`` is a part of a video.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DatasetError
from pipeline.memory import refuse_bomb
from rmfn.unheld import Unheld, read_unheld


@dataclass(frozen=True)
class CompSequence:
    """One file.

    Attributes
    ----------
    features : {video or part of one: [n, D], or [n] of str}
    intervals : {the same: float64 [n, 2]}
    role : what it holds, if an export said so.
    unheld : what a data set had that these files have no place for, if they were exported.
    """

    path: Path
    root: str
    features: dict[str, NDArray]
    intervals: dict[str, NDArray[np.float64]]
    role: str = ""
    unheld: Unheld | None = None

    @property
    def holds_words(self) -> bool:
        return any(values.dtype == object for values in self.features.values())


def read_values(entry: Any, where: str) -> NDArray:
    """What an entry of an HDF5 file holds, if the file itself holds it.

    An entry can lie in other files, which are none of the sender's business, and can say that it is
    of any size while nothing of it was written.

    Raises
    ------
    DatasetError : it does, or it is no array.
    """
    if not isinstance(entry, h5py.Dataset):
        raise DatasetError(f"{where}: expected an array, found {type(entry).__name__}")
    if entry.external or entry.is_virtual:
        raise DatasetError(f"{where}: its values lie in another file, which is not read")
    refuse_bomb(entry.nbytes or 0, where)
    return np.asarray(entry[()])


def refuse_links(group: h5py.Group, where: str) -> None:
    """See that nothing in a group leads to elsewhere.

    Raises
    ------
    DatasetError : something does.
    """
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise DatasetError(f"{where}: {name} is a link, which is not followed")


def read_csd(path: str | Path) -> CompSequence:
    """Read one file.

    Raises
    ------
    DatasetError : it is no computational sequence; says what, where, expected, found.
    """
    path = Path(path)
    try:
        with h5py.File(path, "r") as file:
            return _read(path, file)
    except (OSError, RuntimeError, KeyError) as e:  # HDF5's words for damage
        raise DatasetError(f"{path}: cannot be read as HDF5: {e}") from e


def _read(path: Path, file: h5py.File) -> CompSequence:
    roots = list(file)
    refuse_links(file, str(path))
    if len(roots) != 1 or not isinstance(file[roots[0]], h5py.Group):
        raise DatasetError(f"{path}: expected one group, the root name; found {_show(roots)}")
    root = file[roots[0]]
    refuse_links(root, str(path))
    if not isinstance(root.get("data"), h5py.Group):
        raise DatasetError(f"{path}: expected {roots[0]}/data; found {_show(list(root))}")
    features, intervals = {}, {}
    refuse_links(root["data"], str(path))
    for video, entry in root["data"].items():
        where = f"{path}: {video}"
        keys = list(entry) if isinstance(entry, h5py.Group) else []
        if not {"features", "intervals"} <= set(keys):
            raise DatasetError(f"{where}: expected features and intervals, found {_show(keys)}")
        refuse_links(entry, where)
        times = read_values(entry["intervals"], where)
        if times.dtype.kind not in "fiu" or times.ndim != 2 or times.shape[1] != 2:
            raise DatasetError(
                f"{where}: expected intervals [n, 2] of numbers, found {times.dtype} "
                f"{list(times.shape)}"
            )
        times = times.astype(np.float64)
        wrong = ~np.isfinite(times).all(axis=1) | (times[:, 1] < times[:, 0])
        if wrong.any():
            start, end = times[wrong.argmax()]
            raise DatasetError(
                f"{where}: expected intervals with start <= end, all of them finite; found "
                f"{start:g} to {end:g} in row {wrong.argmax()}"
            )
        values = read_values(entry["features"], where)
        if values.ndim != 2 or len(values) != len(times):
            raise DatasetError(
                f"{where}: expected features [{len(times)}, D] as there are intervals, found "
                f"{list(values.shape)}"
            )
        features[video] = _decode(values, where) if values.dtype.kind in "SUO" else values
        intervals[video] = times
    if not features:
        raise DatasetError(f"{path}: there are no videos in it")
    if len(sizes := {values.shape[1:] for values in features.values()}) > 1:
        found = ", ".join(str(list(size)) for size in sorted(sizes))
        raise DatasetError(f"{path}: expected as many columns everywhere, found {found}")
    said = root.get("metadata", {})
    if isinstance(said, h5py.Group):
        refuse_links(said, f"{path}: metadata")
    role, unheld = (
        _text(said.get("rmfn role"), f"{path}: metadata"),
        read_unheld(_text(said.get("rmfn"), f"{path}: metadata")),
    )
    return CompSequence(path, roots[0], features, intervals, role or "", unheld)


def _text(entry: Any, where: str) -> str | None:
    if entry is None:
        return None
    value = read_values(entry, where).reshape(-1)[0]
    return value.decode() if isinstance(value, bytes) else str(value)


def _decode(values: NDArray, where: str) -> NDArray:
    """Words [n] of str."""
    if values.shape[1] != 1:
        raise DatasetError(f"{where}: expected words [n, 1], found {list(values.shape)}")
    try:
        texts = [w.decode() if isinstance(w, bytes) else str(w) for w in values[:, 0].tolist()]
    except UnicodeDecodeError as e:
        raise DatasetError(f"{where}: its words are not UTF-8: {e}") from e
    out = np.empty(len(texts), dtype=object)
    out[:] = texts
    return out


def _show(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") if names else "nothing"


def write_csd(
    path: str | Path,
    root: str,
    entries: Mapping[str, tuple[NDArray, NDArray[np.float64]]],
    role: str,
    unheld: Unheld | None = None,
) -> None:
    """Write one file as the SDK does.

    Parameters
    ----------
    entries : {video or part of one: (features [n, D], or words [n] of str; intervals [n, 2])}
    """
    said = {
        "root name": root,
        "computational sequence description": f"{role}, aligned to words",
        "computational sequence version": "1.0",
        "dataset name": root,
        "dataset version": "1.0",
        "alignment compatible": "True",
        "creator": "rmfn",
        "contact": "",
        "dataset bib citation": "",
        "featureset bib citation": "",
        "md5": "None",
        "uuid": "",
        "rmfn role": role,
        **({} if unheld is None else {"rmfn": json.dumps(unheld.record)}),
    }
    with h5py.File(path, "w") as file:
        for key, (values, times) in entries.items():
            if values.dtype == object:
                encoded = [text.encode() for text in values]
                values = np.array(encoded, f"S{max(map(len, encoded), default=1) or 1}")[:, None]
            group = file.create_group(f"{root}/data/{key}")
            group.create_dataset("features", data=values)
            group.create_dataset("intervals", data=times)
        for name, text in said.items():
            kind = h5py.string_dtype()
            file.create_dataset(f"{root}/metadata/{name}", data=[text], dtype=kind)
