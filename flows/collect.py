"""From videos and a ``labels.csv`` to a data set, with what to do about clips that fail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.batch import list_files
from pipeline.errors import DatasetError

if TYPE_CHECKING:
    from rmfn.dataset import Dataset

LABELS = "labels.csv"
BESIDE = (".csv", ".json", ".md", ".srt", ".txt", ".vtt")  # lie beside videos, and are none


@dataclass(frozen=True)
class Labelled:
    """The clips that a labels file speaks of.

    Attributes
    ----------
    labels : the file.
    names : {what the file calls it: the clip below the folder}; what it calls otherwise may be in
        the store already.
    """

    labels: Path
    names: dict[str, Path]

    @property
    def clips(self) -> list[Path]:
        return sorted(set(self.names.values()))


def find_labelled(videos: str | Path, labels: str | Path | None = None) -> Labelled:
    """The clips of a folder that have labels.

    Parameters
    ----------
    videos : the folder.
    labels : the file, by default ``labels.csv`` in the folder.

    Raises
    ------
    DatasetError : the file cannot be read, or a name in it fits several clips.
    FileNotFoundError : there is no such folder.
    """
    from rmfn.labels import read_labels

    file = Path(labels) if labels else Path(videos) / LABELS
    wanted = {row.video for row in read_labels(file).rows if row.video}
    found: dict[str, Path] = {}
    for path in list_files([videos]):
        if path.suffix.lower() in BESIDE:
            continue
        below = path.name if path == Path(videos) else str(path.relative_to(videos))
        for name in wanted & {path.name, path.stem, below, str(path)}:
            if found.setdefault(name, path) != path:
                raise DatasetError(
                    f"{file}: video {name!r} could be {found[name]} or {path}; write its path "
                    "below the folder"
                )
    return Labelled(file, found)


def read_labelled(
    labelled: Labelled, records: Sequence[dict[str, Any]], store: str, recipe: str
) -> Dataset:
    """The segments of the clips that did not fail, called by content.

    Parameters
    ----------
    records : of ``flows.batch.extract_clips``.

    Raises
    ------
    DatasetError : no clip is left, or rows of the labels file are bad.
    """
    from flows.run import open_recipe
    from rmfn.own_videos import dataset_from_store
    from rmfn.retrain import name_by_content

    failed = {record["path"] for record in records if record["status"] == "failed"}
    without = [name for name, path in labelled.names.items() if str(path) in failed]
    if labelled.names and len(failed) == len(records):
        raise DatasetError(f"none of the {len(records)} labelled clips could be processed")
    made = open_recipe(recipe)
    key = made.key(*made.settings)
    return name_by_content(dataset_from_store(store, labelled.labels, recipe=key, without=without))


def open_data(
    data: str | None,
    store: str | None,
    labels: str | None,
    targets: Sequence[str] | None = None,
) -> Dataset:
    """The data set that a person names, with what is to be predicted as its targets.

    Parameters
    ----------
    data : a data set's folder; or, in its place,
    store, labels : the features of ``rmfn extract`` and the labels of them.
    targets : label columns, as ``rmfn.targets.find_targets`` reads them; by default those whose
        scale the data set knows, else all.

    Raises
    ------
    ValueError : neither is named, or both are.
    DatasetError : it cannot be read.
    """
    from dataclasses import replace

    from rmfn.dataset import find_targets, load_dataset
    from rmfn.own_videos import dataset_from_store

    if (data is None) == (store is None) or (store is None) != (labels is None):
        raise ValueError("say on what data: --data DIR, or --store DIR with --labels FILE.csv")
    if data is not None:
        dataset = load_dataset(data)
    else:
        assert store is not None
        assert labels is not None
        dataset = dataset_from_store(store, labels)
    if targets or not dataset.targets:
        dataset = replace(dataset, targets=find_targets(dataset, targets or list(dataset.labels)))
    return dataset
