"""The page of a comparison: every system's error with its interval, beside the tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rmfn.comparison import Comparison, Row, name_error
from rmfn.comparison_tables import (
    describe_comparison,
    describe_target,
    list_cells,
    title_metric,
)
from rmfn.pages.page import render_page, write_page
from rmfn.targets import Target

ROW = 25  # pixels a system


def write_comparison_page(path: str | Path, found: Comparison) -> None:
    """Write the page of what `rmfn.compare.compare` found."""
    write_page(path, render_comparison_page(found))


def render_comparison_page(found: Comparison) -> str:
    """The page as text."""
    figures: dict[str, Any] = {}
    labels = []
    for n, target in enumerate(found.targets):
        rows = _sort(found, target)
        if rows:
            figures[f"errors-{n}"] = draw_errors(found, target, rows)
        if differ := [row for row in rows if target.name in row.against]:
            figures[f"differences-{n}"] = draw_differences(target, differ)
        headings, cells = list_cells(found, target)
        labels.append(
            {
                "number": n,
                "target": target,
                "metric": title_metric(name_error(target)),
                "systems": len(rows),
                "differ": len(differ) if rows else 0,
                "notes": describe_target(target),
                "headings": headings,
                "rows": cells,
            }
        )
    return render_page(
        "comparison.html",
        f"{found.data}: comparison",
        figures=figures,
        styles=("training.css",),
        comparison=found,
        labels=labels,
        drawn=set(figures),
        missing=[(row.title, row.missing) for row in found.rows if row.missing],
        lines=describe_comparison(found),
        row_height=ROW,
    )


def _sort(found: Comparison, target: Target) -> list[Row]:
    """The rows that have something, the best first."""
    metric = name_error(target)
    known = [(spread[0], row) for row in found.rows if (spread := row.spread(target.name, metric))]
    known.sort(key=lambda pair: pair[0], reverse=metric != "mae")
    return [row for _, row in known]


def draw_errors(found: Comparison, target: Target, rows: list[Row]) -> dict[str, Any]:
    """Mean over the seeds with its interval, and each seed, as a Plotly figure."""
    metric = name_error(target)
    groups: dict[str, dict[str, Any]] = {}
    for name, colour, mark in (("RMFN", "warm", "diamond"), ("others", "accent", "circle")):
        some = [row for row in rows if row.model.startswith("rmfn") == (name == "RMFN")]
        means = [(row.spread(target.name, metric) or (0.0, 0.0))[0] for row in some]
        edges = [
            row.intervals.get(target.name, (mean, mean))
            for row, mean in zip(some, means, strict=True)
        ]
        groups[name] = {
            "type": "scatter",
            "mode": "markers",
            "name": name,
            "x": [round(mean, 4) for mean in means],
            "y": [row.title for row in some],
            "error_x": {
                "type": "data",
                "symmetric": False,
                "array": [
                    _subtract(high, mean) for (_, high), mean in zip(edges, means, strict=True)
                ],
                "arrayminus": [
                    _subtract(mean, low) for (low, _), mean in zip(edges, means, strict=True)
                ],
                "color": f"var(--{colour})",
                "thickness": 1.6,
                "width": 0,
            },
            "customdata": [_describe_interval(low, high) for low, high in edges],
            "marker": {"color": f"var(--{colour})", "size": 9, "symbol": mark},
            "hovertemplate": "%{y}: %{x:.3f}<br>95 % interval %{customdata}<extra></extra>",
        }
    each = [
        (round(report[target.name][metric], 4), row.title)
        for row in rows
        for report in row.seeds.values()
    ]
    groups["seeds"] = {
        "type": "scatter",
        "mode": "markers",
        "name": "seeds",
        "x": [value for value, _ in each],
        "y": [title for _, title in each],
        "marker": {
            "symbol": "line-ns-open",
            "size": 9,
            "color": "var(--muted)",
            "line": {"width": 1.2, "color": "var(--muted)"},
        },
        "hoverinfo": "skip",
    }
    less = metric == "mae"
    layout = _lay_out(rows, f"{title_metric(metric)}: {'less' if less else 'more'} is better")
    scores = {
        name: each[metric]
        for name, each in found.constants.get(target.name, {}).items()
        if each.get(metric) is not None
    }
    if scores:
        best = (min if less else max)(scores, key=scores.__getitem__)
        layout |= {
            "shapes": [_line(scores[best], "var(--ink)")],
            "annotations": [
                {
                    "x": scores[best],
                    "yref": "paper",
                    "y": 1,
                    "yanchor": "bottom",
                    "showarrow": False,
                    "text": f"best constant ({best})",
                    "font": {"color": "var(--muted)"},
                    "xanchor": "right" if less else "left",
                }
            ],
        }
    return {"data": list(groups.values()), "layout": layout}


def draw_differences(target: Target, rows: list[Row]) -> dict[str, Any]:
    """Each system's error less the reference's, with its interval."""
    against = [row.against[target.name] for row in rows]
    middle = [round(found["difference"], 4) for found in against]
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": middle,
        "y": [row.title for row in rows],
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [
                _subtract(found["interval"][1], value)
                for found, value in zip(against, middle, strict=True)
            ],
            "arrayminus": [
                _subtract(value, found["interval"][0])
                for found, value in zip(against, middle, strict=True)
            ],
            "color": "var(--ink)",
            "thickness": 1.4,
            "width": 0,
        },
        "text": ["-" if found["p_holm"] is None else f"{found['p_holm']:.2f}" for found in against],
        "marker": {"color": "var(--ink)", "size": 7},
        "hovertemplate": "%{y}: %{x:+.3f}, p %{text}<extra></extra>",
    }
    layout = _lay_out(rows, f"difference in {title_metric(name_error(target))}")
    layout["shapes"] = [_line(0.0, "var(--warm)")]
    return {"data": [trace], "layout": layout}


def _subtract(high: float | None, low: float | None) -> float | None:
    """A bar's length; None draws none, where an interval is not known."""
    return None if high is None or low is None else round(high - low, 4)


def _describe_interval(low: float | None, high: float | None) -> str:
    known = low is not None and high is not None and low == low
    return f"{low:.3f} to {high:.3f}" if known else "not known from one video"


def _lay_out(rows: list[Row], title: str) -> dict[str, Any]:
    """The best on top, in one order for all systems."""
    names = [row.title for row in rows]
    return {
        "xaxis": {"title": {"text": title}},
        "yaxis": {
            "type": "category",
            "categoryorder": "array",
            "categoryarray": names[::-1],
            "range": [-0.6, len(names) - 0.4],
            "showgrid": True,
        },
        "margin": {"l": 60, "r": 14, "t": 24, "b": 44},
        "hovermode": "closest",
    }


def _line(at: float, colour: str) -> dict[str, Any]:
    return {
        "type": "line",
        "x0": at,
        "x1": at,
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "line": {"color": colour, "width": 1.2, "dash": "dash"},
    }
