"""A comparison of systems as a picture: each one's error with its interval, the best on top."""

from __future__ import annotations

import io
from typing import Any

from rmfn.comparison import Comparison
from rmfn.comparison_tables import title_metric
from rmfn.targets import Target

# Okabe & Ito's colours, which the colour-blind tell apart; the marks differ as well.
OURS, OTHERS, CONSTANT = "#D55E00", "#0072B2", "#555555"


def draw(found: Comparison) -> bytes:
    """A PNG with a panel for every target: mean over the seeds, 95 % interval, and each seed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width, height = 7.2 * len(found.targets), 1.6 + 0.24 * max(len(found.rows), 4)
    figure = Figure((width, height), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(found.targets), squeeze=False)[0]
    for panel, target in zip(panels, found.targets, strict=True):
        _draw_target(panel, found, target)
    figure.suptitle(f"{found.data}: {found.protocol}", fontsize=10)
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=130)
    return written.getvalue()


def _draw_target(panel: Any, found: Comparison, target: Target) -> None:
    metric = "mae" if target.kind == "regression" else "accuracy"
    less = metric == "mae"  # is better
    spreads = [(row, row.spread(target.name, metric)) for row in found.rows]
    means = [(spread[0], row) for row, spread in spreads if spread is not None]
    means.sort(key=lambda pair: pair[0], reverse=less)  # the axis grows upwards
    for height, (mean, row) in enumerate(means):
        colour, mark = (OURS, "D") if row.model.startswith("rmfn") else (OTHERS, "o")
        panel.plot(row.intervals[target.name], [height] * 2, color=colour, linewidth=1.3)
        each = [report[target.name][metric] for report in row.seeds.values()]
        panel.plot(each, [height] * len(each), "|", color=colour, markersize=9)
        panel.plot([mean], [height], mark, color=colour, markersize=5)
    scores = {name: each[metric] for name, each in found.constants.get(target.name, {}).items()}
    if scores:
        best = (min if less else max)(scores, key=scores.__getitem__)
        panel.axvline(scores[best], color=CONSTANT, linestyle="--", linewidth=1)
        above = {"fontsize": 7, "color": CONSTANT, "ha": "center", "va": "bottom"}
        panel.text(scores[best], max(len(means), 1) - 0.2, f"best constant ({best})", **above)
    panel.set_yticks(range(len(means)), [row.title for _, row in means], fontsize=8)
    panel.set_ylim(-0.8, max(len(means), 1) - 0.2)
    panel.set_xlabel(
        f"{target.name}: {title_metric(metric)}, {'less' if less else 'more'} is better\n"
        "point: mean over seeds; ticks: seeds; line: 95 % interval, videos redrawn",
        fontsize=8,
    )
    panel.grid(axis="x", linewidth=0.4, alpha=0.6)
    panel.tick_params(axis="x", labelsize=8)
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)
