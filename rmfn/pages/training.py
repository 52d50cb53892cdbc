"""The page of a training: how it went, what the model says, where it errs, what it was made of."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipeline.errors import DatasetError
from rmfn.checkpoint import CARD, Manifest
from rmfn.metrics import name_rounded
from rmfn.pages.errors import (
    Scored,
    bin_by_coverage,
    bin_by_length,
    choose_scored,
    count_confusion,
    describe_label,
    find_worst,
    measure_coverage,
    measure_density,
    measure_reliability,
    name_measure,
)
from rmfn.pages.page import render_page, write_page
from rmfn.pages.training_plots import (
    draw_ablation,
    draw_bins,
    draw_calibration,
    draw_curves,
    draw_scatter,
)
from rmfn.report import describe_report, list_warnings, tabulate_report
from rmfn.runs import CURVES, RUN, UNSEEN
from rmfn.segments import Segments, load_segments
from rmfn.systems import TITLES
from rmfn.targets import Target
from rmfn.tasks import lay_out

Curves = dict[str, list[dict[str, float]]]  # {training: epochs}

CARDS = 4  # labels that get a card of their own at the top
AROUND = 0.5  # s before a segment at which its video is opened


@dataclass(frozen=True)
class Found:
    """What is known of a model's predictions.

    Attributes
    ----------
    how : on what it was measured.
    report : {label: metrics}, of the training itself or of ``rmfn.evaluate.evaluate_dataset``.
    segments : one by one; None if they were not kept.
    evaluated : the report is of an evaluation.
    """

    how: str
    report: dict[str, Any]
    segments: Segments | None
    evaluated: bool = False


@dataclass(frozen=True)
class Label:
    """All that the page shows of one label.

    Attributes
    ----------
    number : its place on the page.
    measure : what its errors are.
    scored : None without segments.
    main : of each of `list_main`: value, interval, best constant.
    confusion : (names, counts [row true, column said]), None without segments.
    bins : {title: bins} of errors.
    calibration : [(said, found, hint)].
    ablation : {what was left out: measure}.
    """

    number: int
    target: Target
    measure: str
    main: list[dict[str, Any]]
    scored: Scored | None = None
    confusion: tuple[list[str], list[list[int]]] | None = None
    bins: dict[str, Any] = field(default_factory=dict)
    calibration: list[tuple[float, float, str]] = field(default_factory=list)
    ablation: dict[str, float] = field(default_factory=dict)
    worst: list[dict[str, Any]] = field(default_factory=list)

    @property
    def held(self) -> list[tuple[str, str]]:
        """The calibration as text."""
        shown = [(100 * said, 100 * share) for said, share, _ in self.calibration]
        return [(f"{said:.0f} %", f"{share:.1f} %") for said, share in shown]


def find_kept(folder: str | Path, manifest: Manifest) -> Found:
    """What a training measured of itself: of the most segments that its models had not seen."""
    kept = load_segments(Path(folder) / RUN / UNSEEN)
    where = next(iter(manifest.metrics), "")
    report = manifest.metrics.get(where, {})
    how = next((scores.get("how", where) for scores in report.values()), where)
    return Found(how, report, kept.get(where))


def write_training_page(
    path: str | Path,
    folder: str | Path,
    manifest: Manifest,
    found: Found,
    videos: Mapping[str, Path] | None = None,
    figures: str | Path | None = None,
) -> None:
    """Write the page of a model's folder.

    Parameters
    ----------
    path : the HTML file.
    found : of `find_kept`, or of an evaluation.
    videos : {what the data call a video: its file}, for links to the moment.
    figures : folder for the main figures as PNG and SVG; None makes none.

    Raises
    ------
    DatasetError : a curve cannot be read.
    OSError : the page cannot be written.
    """
    trainings = read_curves(Path(folder) / RUN / CURVES)
    labels = describe_labels(manifest, found)
    write_page(
        path,
        render_training_page(
            Path(path), Path(folder), manifest, found, trainings, labels, videos or {}
        ),
    )
    if figures is not None:
        from rmfn.pages.training_figures import write_figures

        write_figures(figures, trainings, labels)


def read_curves(folder: str | Path) -> dict[str, Curves]:
    """{group: {training: epochs}}: the folds of a cross-validation are one group.

    Raises
    ------
    DatasetError : a curve cannot be read.
    """
    groups: dict[str, Curves] = {}
    for file in sorted(Path(folder).glob("*.csv"), key=_count_up):
        try:
            with file.open(encoding="utf-8", newline="") as lines:
                epochs = [
                    {name: float(value) for name, value in row.items() if value}
                    for row in csv.DictReader(lines)
                ]
            if not epochs or not {"number", "train_loss", "valid_loss"} <= epochs[0].keys():
                raise ValueError("no epoch is in it")
        except (OSError, ValueError, TypeError) as e:
            raise DatasetError(f"{file} cannot be read as a curve: {e}") from e
        part = file.stem.rpartition("-seed")[0]
        group = _GROUPS.get(part.rstrip("0123456789"), part)
        groups.setdefault(group, {})[file.stem.replace("-", ", ")] = epochs
    return {name: groups[name] for name in [*_GROUPS.values(), *groups] if name in groups}


# What a training's name in the run's folder means, in the order of the page.
_GROUPS = {
    "fold": "Cross-validation",
    "train": "Learned from the split train",
    "all": "Learned from all there is",
}


def _count_up(file: Path) -> list[Any]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", file.stem)]


def describe_labels(manifest: Manifest, found: Found) -> list[Label]:
    """Everything that is measured of each label."""
    labels: list[Label] = []
    parts = lay_out(manifest.labels)
    for n, (target, part) in enumerate(zip(manifest.labels, parts, strict=True)):
        if target.name not in found.report:
            continue
        report = found.report[target.name]
        heads = [_describe_headline(report, *main) for main in list_main(target)]
        metric = heads[0]["metric"]
        label = Label(
            len(labels),
            target,
            name_measure(target),
            heads,
            ablation={name: scores[metric] for name, scores in report.get("ablation", {}).items()},
        )
        scored = None
        if found.segments is not None:
            scored = choose_scored(found.segments, n, target, part)
        if scored is not None and len(scored.rows):
            label = replace(label, scored=scored, **_describe_errors(manifest, scored, report))
        labels.append(label)
    return labels


def _describe_errors(manifest: Manifest, scored: Scored, report: dict[str, Any]) -> dict[str, Any]:
    bins = {"words in a segment": bin_by_length(scored)}
    for modality in manifest.columns:
        if modality in scored.segments.coverage:
            bins[f"{modality}: how much was measured"] = bin_by_coverage(scored, modality)
    names, counts = count_confusion(scored)
    return {
        "confusion": (names, counts.tolist()),
        "bins": {title: parts for title, parts in bins.items() if len(parts) > 1},
        "calibration": _find_calibration(scored, report),
        "worst": find_worst(scored),
    }


def list_main(target: Target) -> list[tuple[str, str]]:
    """The metrics that stand first, with what they are; the very first is the one of errors."""
    if target.kind != "regression":
        return [("accuracy", "accuracy"), ("f1", "F1, weighted"), ("f1_macro", "F1, macro")]
    rounded = name_rounded(target.low, target.high)
    return [
        ("mae", "mean absolute error"),
        ("corr", "correlation"),
        ("a2", "accuracy, two classes"),
        (rounded, f"accuracy, {rounded[1:]} classes"),
    ]


def _describe_headline(report: dict[str, Any], metric: str, name: str) -> dict[str, Any]:
    found = {name: scores.get(metric) for name, scores in report["constants"].items()}
    known = {name: value for name, value in found.items() if value is not None and value == value}
    pick = min if metric == "mae" else max
    best = pick(known, key=known.__getitem__) if known else ""
    return {
        "metric": metric,
        "name": name,
        "value": report[metric],
        "interval": report["interval"].get(metric),
        "constant": best,
        "constant_value": known.get(best),
    }


def _find_calibration(scored: Scored, report: dict[str, Any]) -> list[tuple[float, float, str]]:
    if scored.target.kind != "regression":
        return [
            (
                said,
                part.error,
                f"{part.name} sure: right in {part.error:.1%} of {part.count} segments",
            )
            for said, part in measure_reliability(scored)
        ]
    measured = report.get("calibration") or measure_coverage(scored)
    return [
        (float(level), share, f"{float(level):.0%} intervals: {share:.1%} of the labels inside")
        for level, share in measured.items()
    ]


def render_training_page(
    path: Path,
    folder: Path,
    manifest: Manifest,
    found: Found,
    trainings: Mapping[str, Curves],
    labels: Sequence[Label],
    videos: Mapping[str, Path],
) -> str:
    """The page as text, from all that is on it."""
    figures: dict[str, Any] = {
        f"curves-{n}": draw_curves(some) for n, some in enumerate(trainings.values())
    }
    for label in labels:
        figures |= _draw_label(label)
    targets = [label.target for label in labels]
    card = folder / CARD
    return render_page(
        "training.html",
        f"{manifest.name}: training",
        figures=figures,
        styles=("training.css",),
        manifest=manifest,
        found=found,
        title_of=TITLES.get(manifest.model, manifest.model),
        trainings=trainings,
        labels=labels,
        cards=_choose_cards(labels),
        drawn=set(figures),
        tables=tabulate_report(_leave_out(found.report, "calibration"), targets) if labels else [],
        lines=describe_report(found.report, targets) if labels else [],
        warnings=list_warnings(found.report) if found.evaluated else [],
        links={name: _link(file, path) for name, file in videos.items()},
        moment=lambda start: f"#t={max(start - AROUND, 0):.1f}",
        describe_label=describe_label,
        settings=_list_settings(manifest),
        splits=[(name, str(len(some))) for name, some in manifest.splits.items()],
        card=card.read_text(encoding="utf-8") if card.is_file() else "",
    )


def _leave_out(report: dict[str, Any], part: str) -> dict[str, Any]:
    """What has a section of its own."""
    return {
        label: {name: value for name, value in found.items() if name != part}
        for label, found in report.items()
    }


def _choose_cards(labels: Sequence[Label]) -> list[tuple[str, dict[str, Any]]]:
    """What stands large at the top: all of one label, the first of each of a few."""
    if len(labels) == 1:
        return [(labels[0].target.name, head) for head in labels[0].main]
    return [(label.target.name, label.main[0]) for label in labels if len(labels) <= CARDS]


def _draw_label(label: Label) -> dict[str, Any]:
    n, figures = label.number, {}
    if label.scored is not None:
        if label.target.kind == "regression":
            figures[f"scatter-{n}"] = draw_scatter(label.scored, measure_density(label.scored))
        for place, (title, bins) in enumerate(label.bins.items()):
            figures[f"bins-{n}-{place}"] = draw_bins(bins, title, label.measure)
    if label.calibration:
        said = "said" if label.target.kind == "regression" else "mean probability of what was said"
        figures[f"calibration-{n}"] = draw_calibration(label.calibration, said)
    if label.ablation:
        head = label.main[0]
        constant = (head["constant"], head["constant_value"])
        figures[f"ablation-{n}"] = draw_ablation(
            head["value"], label.ablation, label.target, constant
        )
    return figures


def _link(file: Path, page: Path) -> str:
    """A file's address relative to the page, so that both can move together."""
    link = os.path.relpath(file.absolute(), page.absolute().parent)
    return quote(Path(link).as_posix(), safe="/")


def _list_settings(manifest: Manifest) -> list[tuple[str, str]]:
    """What reproduces the training, flat."""
    plan = manifest.training.get("plan", {})
    rows = []
    for group in ("config", "settings"):
        chosen = manifest.config if group == "config" else plan.get("settings", {})
        for name, value in chosen.items():
            if isinstance(value, Mapping):
                value = ", ".join(f"{key} {item}" for key, item in value.items())
            rows.append((name, str(value)))
    for name in ("rotate", "folds", "split_seed"):
        if name in plan:
            rows.append((name, str(plan[name])))
    return rows
