"""Numbers one can trust: intervals that redraw videos, constants beside them, what each modality
is worth, and whether another model is any different."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import DatasetError
from pipeline.sequence import AlignedSequence
from rmfn.checkpoint import Manifest
from rmfn.data import refuse_infinite
from rmfn.dataset import Dataset, Target
from rmfn.metrics import bootstrap
from rmfn.predict import Predictor
from rmfn.segments import Segments, describe_segments
from rmfn.significance import compare_models
from rmfn.splits import group_segments
from rmfn.tasks import lay_out, read_labels, score_constants, score_target


def evaluate_dataset(
    model: str | Path | Predictor,
    dataset: Dataset,
    split: str | None = None,
    *,
    against: str | Path | Predictor | None = None,
    ablate: bool = False,
    draws: int = 1000,
    on_predicted: Callable[[Segments], None] | None = None,
) -> dict[str, Any]:
    """Score a checkpoint on labelled segments.

    Parameters
    ----------
    model : a checkpoint's folder, or one loaded.
    split : "train", "valid" or "test": of the data set, or, if it has none, of the videos that the
        checkpoint was trained with or without. None = all segments.
    against : another checkpoint, on the same segments.
    ablate : score it without each modality, and with each alone, too: what is left out is as if it
        had not been measured.
    draws : of the bootstrap; 0 leaves the intervals out.
    on_predicted : called with the segments one by one, before anything is made of them.

    Returns
    -------
    {label: report}, fractions. A report has

    * the metrics of ``rmfn.tasks.score_target``, ``n`` labels of them;
    * ``interval`` {metric: [low, high]}, 95 %, redrawing groups: videos, and all of a speaker's;
    * ``constants`` {predictor: metrics};
    * ``covered``, the share of labels inside the predicted intervals, and ``calibration``
      {coverage: share inside}, of regressions;
    * ``ablation`` {"without visual": metrics, "only language": metrics, ...};
    * ``against`` {"model", "metrics", "differences" of ``rmfn.significance.compare_models``};
    * ``videos``, of how many the segments are, and ``groups`` (``rmfn.splits.group_segments``): as
      videos where no speakers are known;
    * ``seen`` {"segments", "videos"}: how many of those scored were trained on. Such numbers say
      nothing of new videos.

    Raises
    ------
    CheckpointError : a folder is no checkpoint.
    DatasetError : a label is missing or off its scale, or the split has no segments.
    RecipeMismatch : a modality is there without a column that the model reads.
    """
    predictor = model if isinstance(model, Predictor) else Predictor.load(model)
    manifest = predictor.manifest
    dataset = choose_split(dataset, manifest, split)
    refuse_infinite(dataset.ids, dataset.sequences, dataset.name)
    labels = read_labels(dataset, manifest.labels)
    predicted = predictor.predict_values(dataset.sequences, dataset.videos)
    if on_predicted is not None:
        how = f"{dataset.name}, {split}" if split else dataset.name
        on_predicted(describe_segments(how, dataset, labels, predicted))
    groups = group_segments(dataset.videos, dataset.speakers)
    report = evaluate(manifest, predicted, labels, groups, draws)
    seen = find_seen(manifest, dataset)
    for found in report.values():
        found["videos"] = len(set(dataset.videos))
        found["groups"] = len(set(groups))
        found["seen"] = {
            "segments": sum(video in seen for video in dataset.videos),
            "videos": len(seen),
        }
    if ablate:
        for name, sequences in _ablate(dataset.sequences, manifest):
            values = predictor.predict_values(sequences, dataset.videos)
            for n, target, part in _each(manifest.labels):
                found = report[target.name].setdefault("ablation", {})
                found[name] = score_target(values[:, part], labels[:, n], target)
    if against is not None:
        other = against if isinstance(against, Predictor) else Predictor.load(against)
        _compare(predictor, other, dataset, labels, report, draws)
    return report


def choose_split(dataset: Dataset, manifest: Manifest, split: str | None) -> Dataset:
    """The segments of a split: as the data set says, else as the checkpoint remembers its videos.

    Raises
    ------
    DatasetError : there are none.
    """
    if split is None:
        return dataset
    if any(dataset.splits):
        rows = dataset.of_split(split)
        where = f"data set {dataset.name!r}"
    else:
        rows = _find_rows(dataset, manifest, [split])
        where = f"data set {dataset.name!r} has no splits and the training of {manifest.name!r}"
    if not rows:
        raise DatasetError(f"{where} has no segments of the split {split!r}")
    return dataset.take(rows)


def find_seen(manifest: Manifest, dataset: Dataset) -> set[str]:
    """The videos of a data set that a checkpoint was trained on, or stopped on."""
    rows = _find_rows(dataset, manifest, [name for name in manifest.splits if name != "test"])
    return {dataset.videos[n] for n in rows}


def _find_rows(dataset: Dataset, manifest: Manifest, splits: Sequence[str]) -> list[int]:
    """The segments whose videos were in some splits of a training.

    A labels file may call a video by its path, its name, its stem or its clip id, another file
    otherwise; one that is called the same by either is taken for the same.
    """
    known = {
        name
        for called in (manifest.splits, manifest.clips)
        for split in splits
        for name in called.get(split, ())
    }
    shorter = {form for name in known for form in _shorten(name)}
    same = {
        video
        for video in set(dataset.videos)
        if video in shorter or not known.isdisjoint(_shorten(video))
    }
    return [
        n
        for n, (video, sequence) in enumerate(zip(dataset.videos, dataset.sequences, strict=True))
        if video in same or sequence.clip_id in known
    ]


def _shorten(name: str) -> set[str]:
    """What a path may be called too."""
    path = Path(name)
    return {name, path.name, path.stem, str(path.parent / path.stem)}


def evaluate(
    manifest: Manifest,
    predicted: NDArray[np.float64],
    labels: ArrayLike,
    groups: Sequence[str],
    draws: int = 1000,
) -> dict[str, Any]:
    """The plain part of `evaluate_dataset`, of predictions [n, C] and labels [n, T] of segments of
    these groups [n]; NaN ones are passed over."""
    y = np.asarray(labels, float)
    conformal = manifest.conformal
    report = {}
    for n, target, part in _each(manifest.labels):
        values, known = predicted[:, part], manifest.constants[target.name]
        report[target.name] = {
            **score_target(values, y[:, n], target),
            "interval": find_intervals(values, y[:, n], groups, target, draws),
            "constants": score_constants(known, y[:, n], target),
        }
        if conformal.half_width[n] is not None:
            given = ~np.isnan(y[:, n])
            errors = abs(values[given, 0] - y[given, n])
            levels = {str(conformal.coverage): conformal.half_width, **conformal.levels}
            report[target.name] |= {
                "covered": float((errors <= conformal.half_width[n]).mean()),
                "calibration": {
                    level: float((errors <= levels[level][n]).mean())
                    for level in sorted(levels, key=float)
                },
            }
    return report


def _each(targets: Sequence[Target]) -> list[tuple[int, Target, slice]]:
    return [(n, *pair) for n, pair in enumerate(zip(targets, lay_out(targets), strict=True))]


def _ablate(
    sequences: Sequence[AlignedSequence], manifest: Manifest
) -> Iterable[tuple[str, list[AlignedSequence]]]:
    """The same sequences with modalities missing, under a name that says which."""
    modalities = list(manifest.columns)
    if len(modalities) < 2:
        return
    choices = {f"without {m}": [other for other in modalities if other != m] for m in modalities}
    if len(modalities) > 2:  # of two, "only language" is "without acoustic"
        choices |= {f"only {m}": [m] for m in modalities}
    for name, kept in choices.items():
        yield (
            name,
            [
                replace(s, features={m: rows for m, rows in s.features.items() if m in kept})
                for s in sequences
            ],
        )


def _compare(
    ours: Predictor,
    theirs: Predictor,
    dataset: Dataset,
    labels: NDArray[np.float64],
    report: dict[str, Any],
    draws: int,
) -> None:
    """Put the comparison with another model into the report of every label that both predict."""
    places = {target.name: (target, part) for _, target, part in _each(theirs.manifest.labels)}
    groups = group_segments(dataset.videos, dataset.speakers)
    left, right = (
        each.predict_values(dataset.sequences, dataset.videos) for each in (ours, theirs)
    )
    for n, target, part in _each(ours.manifest.labels):
        other, place = places.get(target.name, (None, slice(0)))
        if other is None or (other.kind, other.classes) != (target.kind, target.classes):
            continue
        given = ~np.isnan(labels[:, n])
        y = labels[given, n]
        rows = np.flatnonzero(given)
        report[target.name]["against"] = {
            "model": theirs.manifest.name,
            "metrics": score_target(right[given][:, place], y, target),
            "differences": compare_models(
                left[given][:, part],
                right[given][:, place],
                y,
                [groups[row] for row in rows.tolist()],
                partial(score_target, target=target),
                draws or 1000,
            ),
            "seen": len(find_seen(theirs.manifest, dataset)),
        }
    if not any("against" in found for found in report.values()):
        raise DatasetError(
            f"the models {ours.manifest.name!r} and {theirs.manifest.name!r} predict nothing alike"
        )


def summarise(
    runs: ArrayLike, labels: ArrayLike, groups: Sequence[str], target: Target, draws: int = 1000
) -> dict[str, Any]:
    """One label's numbers from predictions of several seeds.

    Parameters
    ----------
    runs : [seeds, n, outputs of the target], decoded.
    labels : [n]
    groups : [n] (``rmfn.splits.group_segments``)

    Returns
    -------
    The metrics of the mean over the seeds, with ``interval`` {metric: [low, high]} (95 %, drawing
    groups) and ``seeds`` {metric: [mean, standard deviation over single seeds]}.
    """
    runs, labels = np.asarray(runs, float), np.asarray(labels, float)
    together = runs.mean(0)
    single = [score_target(run, labels, target) for run in runs]
    return {
        **score_target(together, labels, target),
        "interval": find_intervals(together, labels, groups, target, draws),
        "seeds": {
            name: [
                float(np.mean([s[name] for s in single])),
                float(np.std([s[name] for s in single], ddof=1)) if len(single) > 1 else 0.0,
            ]
            for name in single[0]
            if name != "n"
        },
    }


def find_intervals(
    predicted: NDArray[np.float64],
    labels: NDArray[np.float64],
    groups: Sequence[str],
    target: Target,
    draws: int = 1000,
) -> dict[str, list[float]]:
    """{metric: [low, high]}, 95 %, redrawing groups; empty without draws.

    Parameters
    ----------
    predicted : [n, outputs of the target]
    labels : [n]; NaN ones are passed over.
    """
    if not draws:
        return {}
    given = np.flatnonzero(~np.isnan(labels)).tolist()
    found = bootstrap(
        predicted[given],
        labels[given],
        [groups[row] for row in given],
        partial(score_target, target=target),
        draws=draws,
    )
    return {name: list(edges) for name, edges in found.items() if name != "n"}
