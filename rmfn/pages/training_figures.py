"""The main figures of a training for a paper: PNG and SVG, drawn by matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rmfn.pages.errors import Bin, Scored
from rmfn.pages.figures import ACCENT, GREY, INK, WARM, Draw, open_figure, plain_name, save_figures

if TYPE_CHECKING:
    from rmfn.pages.training import Curves, Label


def write_figures(
    folder: str | Path, trainings: Mapping[str, Curves], labels: Sequence[Label]
) -> list[Path]:
    """Write ``curves`` and, of each label, ``predictions``, ``confusion``, ``errors``,
    ``calibration`` and ``modalities``, as far as they are known; of several labels the name is
    added.

    Returns
    -------
    The files.
    """
    made: dict[str, Draw] = {"curves": partial(draw_curves, trainings)} if trainings else {}
    for label in labels:
        end = f"-{plain_name(label.target.name)}" if len(labels) > 1 else ""
        if label.scored is not None and label.confusion is not None:
            if label.target.kind == "regression":
                made[f"predictions{end}"] = partial(draw_predictions, label.scored)
            made[f"confusion{end}"] = partial(draw_confusion, *label.confusion)
            made[f"errors{end}"] = partial(draw_errors, label.bins, label.measure)
        if label.calibration:
            made[f"calibration{end}"] = partial(draw_calibration, label.calibration)
        if label.ablation:
            made[f"modalities{end}"] = partial(draw_modalities, label)
    return save_figures(folder, made)


def draw_curves(trainings: Mapping[str, Curves]) -> Any:
    """Losses over the epochs, a panel a group; a ring where the kept weights are."""
    figure = open_figure((2.4 * len(trainings) + 0.4, 2.3))
    panels = figure.subplots(1, len(trainings), sharey=True, squeeze=False)[0]
    for panel, (title, some) in zip(panels, trainings.items(), strict=True):
        for epochs in some.values():
            at = [epoch["number"] for epoch in epochs]
            panel.plot(at, [e["train_loss"] for e in epochs], ":", color=WARM, linewidth=0.9)
            panel.plot(at, [e["valid_loss"] for e in epochs], color=ACCENT, linewidth=0.9)
            best = min(epochs, key=lambda epoch: epoch["valid_loss"])
            ring = {"markersize": 4, "markerfacecolor": "white", "color": ACCENT}
            panel.plot(best["number"], best["valid_loss"], "o", **ring)
        panel.set_title(title, loc="left")
        panel.set_xlabel("epoch")
    panels[0].set_ylabel("loss (dotted: training)")
    return figure


def draw_predictions(scored: Scored) -> Any:
    """Predicted over true."""
    figure = open_figure((3.3, 3.2))
    panel = figure.subplots()
    ends = [scored.target.low, scored.target.high]
    panel.plot(ends, ends, "--", color=GREY, linewidth=0.8)
    dots = {"s": 6, "alpha": 0.35, "color": ACCENT, "linewidths": 0}
    panel.scatter(scored.labels, scored.predicted[:, 0], **dots)
    panel.set_xlabel(f"{scored.target.name}: label")
    panel.set_ylabel("predicted")
    panel.set_aspect("equal")
    return figure


def draw_confusion(names: list[str], counts: list[list[int]]) -> Any:
    """How often each class (row) was taken for each (column); the shade is the share of the row."""
    size = 1.2 + 0.36 * len(names)
    figure = open_figure((size, size))
    panel = figure.subplots()
    shares = [[count / max(sum(row), 1) for count in row] for row in counts]
    panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for y, row in enumerate(counts):
        for x, count in enumerate(row):
            colour = "white" if shares[y][x] > 0.55 else INK
            panel.text(x, y, str(count or ""), ha="center", va="center", color=colour, fontsize=7)
    panel.set_xticks(range(len(names)), names)
    panel.set_yticks(range(len(names)), names)
    panel.set_xlabel("predicted")
    panel.set_ylabel("label")
    return figure


def draw_errors(bins: Mapping[str, Sequence[Bin]], measure: str) -> Any | None:
    """A mean error a bin, with its interval."""
    if not bins:
        return None
    figure = open_figure((3.2 * len(bins), 2.3))
    panels = figure.subplots(1, len(bins), sharey=True, squeeze=False)[0]
    for panel, (title, parts) in zip(panels, bins.items(), strict=True):
        means = [part.error for part in parts]
        below = [max(part.error - part.interval[0], 0) for part in parts]
        above = [max(part.interval[1] - part.error, 0) for part in parts]
        look = {"color": "#CFE3F1", "edgecolor": ACCENT, "linewidth": 0.8}
        panel.bar(range(len(parts)), means, width=0.65, **look)
        marks = {"fmt": "none", "ecolor": INK, "elinewidth": 0.9, "capsize": 2.5}
        panel.errorbar(range(len(parts)), means, yerr=[below, above], **marks)
        names = [f"{part.name.replace(' to ', '–')}\n{part.count}" for part in parts]
        panel.set_xticks(range(len(parts)), names)
        panel.set_xlabel(f"{title}; segments")
    panels[0].set_ylabel(measure)
    return figure


def draw_calibration(points: Sequence[tuple[float, float, str]]) -> Any:
    """How often what was said held."""
    figure = open_figure((2.6, 2.5))
    panel = figure.subplots()
    panel.plot([0, 1], [0, 1], "--", color=GREY, linewidth=0.8)
    panel.plot(*zip(*((said, share) for said, share, _ in points), strict=True), "o-", color=ACCENT)
    panel.set_xlabel("said")
    panel.set_ylabel("measured")
    panel.set_aspect("equal")
    return figure


def draw_modalities(label: Label) -> Any:
    """The model, and without each modality; the dashed line is the best constant."""
    head = label.main[0]
    names, values = ["all", *label.ablation], [head["value"], *label.ablation.values()]
    figure = open_figure((4.2, 0.7 + 0.28 * len(names)))
    panel = figure.subplots()
    panel.barh(names, values, color=[ACCENT, *["#CFE3F1"] * len(label.ablation)], edgecolor=ACCENT)
    panel.invert_yaxis()
    if head["constant_value"] is not None:
        panel.axvline(head["constant_value"], color=WARM, linestyle="--", linewidth=1)
    panel.set_xlabel(head["name"])
    return figure
