"""The plots of a training's page as Plotly figures; their colours are names of ``page.css``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rmfn.pages.errors import Bin, Scored
from rmfn.pages.page import escape_tags
from rmfn.targets import Target

CONTOURS = 5
SHOWN = 60  # characters of a segment's text in a hint


def draw_curves(trainings: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, Any]:
    """Losses of several trainings over their epochs, and the epoch that each kept.

    Parameters
    ----------
    trainings : {name: epochs}, each with ``number``, ``train_loss`` and ``valid_loss``.
    """
    kept: dict[str, list[Any]] = {"x": [], "y": [], "text": []}
    lines = {"train_loss": _empty(), "valid_loss": _empty()}
    for name, epochs in trainings.items():
        for loss, line in lines.items():
            line["x"] += [*(epoch["number"] for epoch in epochs), None]
            line["y"] += [*(round(epoch[loss], 5) for epoch in epochs), None]
            line["text"] += [*[escape_tags(name)] * len(epochs), None]
        best = min(epochs, key=lambda epoch: epoch["valid_loss"])
        kept["x"].append(best["number"])
        kept["y"].append(round(best["valid_loss"], 5))
        kept["text"].append(escape_tags(name))
    last = max(int(epoch["number"]) for epochs in trainings.values() for epoch in epochs)
    dots = {"mode": "lines+markers" if last < 3 else "lines", "marker": {"size": 5}}
    hint = "%{text}, epoch %{x}: {what} %{y:.3f}<extra></extra>"
    return {
        "data": [
            {
                "type": "scatter",
                "name": "training",
                "line": {"color": "var(--second)", "width": 1.3, "dash": "dot"},
                "opacity": 0.75,
                "hovertemplate": hint.replace("{what}", "training loss"),
                **dots,
                **lines["train_loss"],
            },
            {
                "type": "scatter",
                "name": "validation",
                "line": {"color": "var(--accent)", "width": 1.6},
                "opacity": 0.8,
                "hovertemplate": hint.replace("{what}", "validation loss"),
                **dots,
                **lines["valid_loss"],
            },
            {
                "type": "scatter",
                "name": "kept",
                "mode": "markers",
                "marker": {
                    "color": "var(--card)",
                    "size": 8,
                    "line": {"color": "var(--accent)", "width": 2},
                },
                "hovertemplate": hint.replace("{what}", "kept, validation loss"),
                **kept,
            },
        ],
        "layout": {
            "xaxis": {
                "title": {"text": "epoch"},
                "tickformat": "d",
                "dtick": max(1, round(last / 6)),
                "showgrid": False,
            },
            "yaxis": {"title": {"text": "loss"}, "rangemode": "tozero"},
            "hovermode": "closest",
        },
    }


def _empty() -> dict[str, list[Any]]:
    return {"x": [], "y": [], "text": []}


def draw_scatter(
    scored: Scored, density: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> dict[str, Any]:
    """Predicted over true: every segment, and lines of equal density (``errors``)."""
    target = scored.target
    middles, cells = density
    top = float(cells.max()) or 1.0
    span = [target.low - 0.15, target.high + 0.15]
    texts = [
        f"{escape_tags(_shorten(scored.segments.texts[n]) or scored.segments.ids[n])}<br>"
        f"{escape_tags(scored.segments.videos[n])}"
        for n in scored.rows.tolist()
    ]
    axis = {"range": span, "zeroline": False, "dtick": 1}
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "lines",
                "name": "right",
                "x": [target.low, target.high],
                "y": [target.low, target.high],
                "line": {"color": "var(--muted)", "width": 1, "dash": "dash"},
                "hoverinfo": "skip",
            },
            {
                "type": "scatter",
                "mode": "markers",
                "name": "segments",
                "x": np.round(scored.labels, 4),
                "y": np.round(scored.predicted[:, 0], 4),
                "text": texts,
                "marker": {"color": "var(--accent)", "size": 5, "opacity": 0.4},
                "hovertemplate": "%{text}<br>label %{x:.2f}, predicted %{y:.2f}<extra></extra>",
            },
            {
                "type": "contour",
                "name": "density",
                "x": np.round(middles, 4),
                "y": np.round(middles, 4),
                "z": np.round(cells / top, 4),
                "contours": {
                    "coloring": "none",
                    "start": 1 / (CONTOURS + 1),
                    "end": CONTOURS / (CONTOURS + 1),
                    "size": 1 / (CONTOURS + 1),
                },
                "line": {"color": "var(--warm)", "width": 1.2},
                "showscale": False,
                "hoverinfo": "skip",
            },
        ],
        "layout": {
            "xaxis": {**axis, "title": {"text": "label"}},
            "yaxis": {**axis, "title": {"text": "predicted"}},
            "hovermode": "closest",
        },
    }


def _shorten(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1].rstrip()}…"


def draw_bins(bins: Sequence[Bin], title: str, measure: str) -> dict[str, Any]:
    """A mean error a bin, with its interval."""
    return {
        "data": [
            {
                "type": "bar",
                "x": [f"{part.name}<br>n = {part.count}" for part in bins],
                "y": [round(part.error, 4) for part in bins],
                "marker": {
                    "color": "var(--cold-fill)",
                    "line": {"color": "var(--accent)", "width": 1},
                },
                "error_y": _bars([(part.error, *part.interval) for part in bins]),
                "customdata": [
                    "not known from one video"
                    if np.isnan(part.interval).any()
                    else "{:.3f} to {:.3f}".format(*part.interval)
                    for part in bins
                ],
                "hovertemplate": f"%{{x}}: {measure} %{{y:.3f}}<br>95 % interval "
                "%{customdata}<extra></extra>",
            }
        ],
        "layout": {
            "xaxis": {
                "title": {"text": title},
                "type": "category",
                "showgrid": False,
                "tickangle": 0,
            },
            "yaxis": {"title": {"text": measure}, "rangemode": "tozero"},
            "bargap": 0.35,
        },
    }


def _bars(values: Sequence[tuple[float, float, float]]) -> dict[str, Any]:
    """Error bars from (value, low, high)."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [round(max(high - value, 0), 4) for value, _, high in values],
        "arrayminus": [round(max(value - low, 0), 4) for value, low, _ in values],
        "color": "var(--ink)",
        "thickness": 1.4,
        "width": 5,
    }


def draw_calibration(points: Sequence[tuple[float, float, str]], said: str) -> dict[str, Any]:
    """How often what was said held.

    Parameters
    ----------
    points : (said, found, hint), fractions.
    said : what the first is.
    """
    axis = {"range": [0, 1.03], "tickformat": ".0%", "dtick": 0.2}
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "lines",
                "x": [0, 1],
                "y": [0, 1],
                "line": {"color": "var(--muted)", "width": 1, "dash": "dash"},
                "hoverinfo": "skip",
            },
            {
                "type": "scatter",
                "mode": "lines+markers",
                "x": [round(x, 4) for x, _, _ in points],
                "y": [round(y, 4) for _, y, _ in points],
                "text": [hint for *_, hint in points],
                "line": {"color": "var(--accent)", "width": 2},
                "marker": {"size": 8},
                "hovertemplate": "%{text}<extra></extra>",
            },
        ],
        "layout": {
            "xaxis": {**axis, "title": {"text": said}},
            "yaxis": {**axis, "title": {"text": "measured"}},
            "hovermode": "closest",
        },
    }


def draw_ablation(
    whole: float, found: Mapping[str, float], target: Target, constant: tuple[str, float]
) -> dict[str, Any]:
    """The measure without each modality, and with each alone, beside the whole model's.

    Parameters
    ----------
    whole, found : the model's, and {what was left out: the measure}.
    constant : the best constant's name and measure.
    """
    names = ["all", *found]
    values = [whole, *found.values()]
    measure = "mean absolute error" if target.kind == "regression" else "accuracy"
    colours = ["var(--accent)", *["var(--band)"] * len(found)]
    return {
        "data": [
            {
                "type": "bar",
                "orientation": "h",
                "y": names,
                "x": [round(value, 4) for value in values],
                "marker": {"color": colours, "line": {"color": "var(--accent)", "width": 1}},
                "text": [f"{value:.3f}" for value in values],
                "textposition": "inside",
                "insidetextanchor": "start",
                "textfont": {"color": ["var(--on-accent)", *["var(--ink)"] * len(found)]},
                "hovertemplate": f"%{{y}}: {measure} %{{x:.3f}}<extra></extra>",
            }
        ],
        "layout": {
            "xaxis": {"title": {"text": measure}, "rangemode": "tozero"},
            "yaxis": {"autorange": "reversed", "showgrid": False},
            "bargap": 0.3,
            "shapes": [
                {
                    "type": "line",
                    "x0": constant[1],
                    "x1": constant[1],
                    "yref": "paper",
                    "y0": 0,
                    "y1": 1,
                    "line": {"color": "var(--warm)", "width": 2, "dash": "dash"},
                }
            ],
        },
    }
