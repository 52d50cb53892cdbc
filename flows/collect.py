"""From videos and a ``labels.csv`` to a data set, with what to do about clips that fail."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import DatasetError
from pipeline.folder import FileIndex, check_places, find_media

if TYPE_CHECKING:
    from pipeline.limits import Limits
    from rmfn.checkpoint import Manifest
    from rmfn.dataset import Dataset, Target
    from rmfn.retrain import Rule
    from rmfn.train_dataset import Plan
    from rmfn.unseen import OnProgress

LABELS = "labels.csv"

_log = logging.getLogger(__name__)


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


def find_labelled(
    videos: str | Path,
    labels: str | Path | None = None,
    into: str | Path | None = None,
    targets: Sequence[str] = (),
) -> Labelled:
    """The clips of a folder that have labels.

    Parameters
    ----------
    videos : the folder.
    labels : the file, by default ``labels.csv`` in the folder.
    into : the folder of a model's versions, which say which words are classes.
    targets : the labels to learn, as a person names them; by default those of the version in use.
        Other columns are not looked at.

    Raises
    ------
    DatasetError : the file cannot be read, or a name in it fits several clips.
    FileNotFoundError : there is no such folder.
    """
    from rmfn.labels import read_labels, refuse_rows
    from rmfn.targets import find_scales, name_columns

    check_places([videos])  # not "no such file: labels.csv" of a folder that is not there
    file = Path(labels) if labels else Path(videos) / LABELS
    known = _list_targets(into) if into else ()
    read = read_labels(
        file,
        name_columns(targets) or [target.name for target in known] or None,
        _list_classes(into) if into else None,
        find_scales(targets, known),
    )
    refuse_rows(file, read.problems)  # now, not after the extraction
    found = find_videos(videos, {row.video for row in read.rows})
    for name, paths in found.items():
        if len(paths) > 1:
            raise DatasetError(
                f"{file}: video {name!r} could be {paths[0]} or {paths[1]}; write its path below "
                "the folder"
            )
    return Labelled(file, {name: paths[0] for name, paths in found.items()})


def find_videos(videos: str | Path, wanted: Set[str]) -> dict[str, list[Path]]:
    """The files of a folder that may be meant: by name, stem, or path.

    Returns
    -------
    {what was wanted: the files}; what fits none is not there.

    Raises
    ------
    FileNotFoundError : there is no such folder.
    """
    found: dict[str, list[Path]] = {}
    for path in find_media([videos], FileIndex())[0]:
        below = path.name if path == Path(videos) else str(path.relative_to(videos))
        for name in wanted & {path.name, path.stem, below, str(path)}:
            found.setdefault(name, []).append(path)
    return found


def read_labelled(
    labelled: Labelled,
    records: Sequence[dict[str, Any]],
    store: str,
    recipe: str,
    columns: Sequence[str] | None = None,
    classes: Mapping[str, Sequence[str]] | None = None,
    targets: Sequence[Target] = (),
) -> Dataset:
    """The segments of the clips that did not fail.

    Parameters
    ----------
    records : ``clips`` of ``flows.batch.run_batch``.
    columns : of the labels, those to take; by default all.
    classes : {column: names} of those that were words before.
    targets : of which the scale is known.

    Raises
    ------
    DatasetError : no clip is left, or rows of the labels file are bad.
    """
    from flows.run import open_recipe
    from rmfn.own_videos import dataset_from_store

    failed = {record["path"] for record in records if record["status"] == "failed"}
    if records and len(failed) == len(records):
        raise DatasetError(f"none of the {len(records)} labelled clips could be processed")
    without = [name for name, path in labelled.names.items() if str(path) in failed]
    made = open_recipe(recipe)
    key = made.key(*made.settings)
    return dataset_from_store(
        *(store, labelled.labels),
        columns=columns or None,
        recipe=key,
        without=without,
        classes=classes,
        targets=targets,
    )


def retrain_model(
    labelled: Labelled,
    records: Sequence[dict[str, Any]],
    store: str,
    recipe: str,
    into: str,
    targets: Sequence[str] = (),
    plan: Plan | None = None,
    rule: Rule | None = None,
    on_progress: OnProgress | None = None,
    keep_adapted: bool = False,
) -> dict[str, Any]:
    """Train the next version of a model, once the clips are extracted.

    Parameters
    ----------
    into : the folder of its versions.
    targets : the labels to learn, by default those of the version in use, else all.
    keep_adapted : as ``open_data``'s; a version in use that reads such columns keeps them as well.

    Returns
    -------
    The decision (``rmfn.retrain.retrain``).

    Raises
    ------
    DatasetError, RecipeMismatch : see ``read_labelled`` and ``rmfn.retrain.retrain``.
    """
    from dataclasses import replace

    from rmfn.dataset import find_targets
    from rmfn.growing import name_by_content
    from rmfn.registry import Registry
    from rmfn.retrain import reads_adapted, retrain
    from rmfn.targets import find_scales, name_columns
    from rmfn.train_dataset import Plan

    registry, plan = Registry(Path(into)), plan or Plan()
    known = plan.targets or _list_targets(into)
    dataset = read_labelled(
        *(labelled, records, store, recipe),
        columns=name_columns(targets) or [target.name for target in known],
        classes=_list_classes(into),
        targets=find_scales(targets, known),
    )
    if not (keep_adapted or reads_adapted(registry.current())):
        dataset = _leave_out_adapted(dataset)
    if targets:
        plan = replace(plan, targets=find_targets(dataset, targets))
    return retrain(registry, name_by_content(dataset), plan, rule, on_progress)


def open_data(
    data: str | None = None,
    store: str | None = None,
    labels: str | None = None,
    timed: str | None = None,
    columns: Sequence[str] | None = None,
    keep_adapted: bool = True,
    limits: Limits | None = None,
    classes: Mapping[str, Sequence[str]] | None = None,
    targets: Sequence[Target] = (),
) -> Dataset:
    """The data set that a person names, in one of three ways.

    Parameters
    ----------
    data : a data set's folder.
    store, labels : the features of ``rmfn extract`` and the labels of them.
    timed : a file of timed transcripts.
    columns : of the labels, those to take; by default all.
    keep_adapted : False leaves out the columns of encoders that were adapted to labels, and says
        so: what is measured with them on the segments they learned from is too good.
    limits : of a store, the quality that segments must have.
    classes : of a store, {column: names} of labels that are known to be words.
    targets : of a store, those of which the scale is known: a label off it is a bad row.

    Raises
    ------
    ValueError : none is named, or several are; or there are limits without a store.
    DatasetError : it cannot be read.
    """
    if sum(name is not None for name in (data, store, timed)) != 1 or bool(store) != bool(labels):
        raise ValueError(
            "say on what data: --data DIR, or --store DIR with --labels FILE.csv, or --timed "
            "FILE.jsonl"
        )
    if limits is not None and store is None:
        raise ValueError("quality is known of a store only: --quality and --reject need --store")
    if data is not None:
        from rmfn.dataset import load_dataset

        return load_dataset(data)
    if timed is not None:
        from rmfn.train_timed import open_timed

        return open_timed(timed)
    from rmfn.own_videos import dataset_from_store

    dataset = dataset_from_store(
        *(str(store), str(labels)),
        columns=columns or None,
        limits=limits,
        classes=classes,
        targets=targets,
    )
    return dataset if keep_adapted else _leave_out_adapted(dataset)


def open_scored(
    manifest: Manifest, data: str | None, store: str | None, labels: str | None, timed: str | None
) -> Dataset:
    """The data set on which a model is to be scored; arguments as ``open_data``'s.

    Raises
    ------
    DatasetError : it cannot be read.
    RecipeMismatch : of timed words: the model reads more than words and their times can tell.
    """
    if timed is not None:
        from rmfn.timed import make_timed_dataset

        return make_timed_dataset(timed, manifest.features, manifest.labels[0])
    targets = manifest.labels
    return open_data(
        *(data, store, labels),
        columns=[target.name for target in targets],
        classes={target.name: target.classes for target in targets if target.kind == "classes"},
        targets=targets,
    )


def _list_classes(into: str | Path) -> dict[str, tuple[str, ...]]:
    from rmfn.growing import list_classes
    from rmfn.registry import Registry

    return list_classes(Registry(Path(into)))


def _list_targets(into: str | Path) -> tuple[Target, ...]:
    from rmfn.registry import Registry
    from rmfn.retrain import list_targets

    return list_targets(Registry(Path(into)).current())


def _leave_out_adapted(dataset: Dataset) -> Dataset:
    from rmfn.word_features import count_adapted, leave_out_adapted

    if count := count_adapted(dataset.columns.get("language", ())):
        _log.warning(
            "%d language columns are left out: their encoder has learned labels (minilm-adapted: "
            "those of CMU-MOSI), and on videos it learned from every number would be too good; "
            "keep_adapted (--keep-adapted) keeps them",
            count,
        )
    return leave_out_adapted(dataset)


def choose_labels(
    dataset: Dataset, named: Sequence[str], known: tuple[Target, ...] = ()
) -> tuple[Target, ...]:
    """What is predicted: as named, else as known already, else the only label there is.

    Parameters
    ----------
    named : label columns as ``rmfn.targets.find_targets`` reads them.

    Raises
    ------
    ValueError : there are several labels, and nobody says which.
    """
    from rmfn.dataset import find_targets

    if not named and known:
        return known
    if not named and len(dataset.labels) > 1:
        raise ValueError(
            f"say what to learn: --target with one or more of {', '.join(dataset.labels)}"
        )
    return find_targets(dataset, list(named) or list(dataset.labels))
