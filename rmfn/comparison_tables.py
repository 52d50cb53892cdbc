"""A comparison of systems as tables: Markdown for people, CSV for programs."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from typing import Any

from rmfn.comparison import DRAWS, GUESS, Comparison, Row
from rmfn.metrics import name_rounded
from rmfn.systems import PAPER, PUBLISHED
from rmfn.targets import Target
from rmfn.tasks import find_threshold

PAPER_METRICS = ("mae", "corr", "a2", "f1", "a7")


def list_metrics(target: Target) -> list[str]:
    """What a table shows of a target."""
    if target.kind == "regression":
        return ["mae", "corr", "a2", "f1", name_rounded(target.low, target.high)]
    return ["accuracy", "f1", "f1_macro"]


def title_metric(metric: str) -> str:
    """As people write it."""
    known = {"mae": "MAE", "corr": "Corr", "f1_macro": "F1 macro", "accuracy": "accuracy"}
    return known.get(metric, metric.upper())


def tabulate(found: Comparison) -> str:
    """Mean ± standard deviation over the seeds as Markdown, constants and the paper beside."""
    lines = [f"{found.data}: {found.protocol}.", ""]
    for target in found.targets:
        heads, rows = list_cells(found, target)
        lines += [*(line for note in describe_target(target) for line in (note, ""))]
        lines += [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
        lines += [*(f"| {' | '.join(cells)} |" for cells in rows), ""]
    if missing := [row for row in found.rows if row.missing]:
        lines += [*(f"* {row.title}: {row.missing}" for row in missing), ""]
    return "\n".join([*lines, *describe_comparison(found)]) + "\n"


def describe_target(target: Target) -> list[str]:
    """What has to be known to read a target's table."""
    if target.kind != "regression":
        return []
    return [f"A2 and F1 count at least {find_threshold(target):g} as positive."]


def describe_comparison(found: Comparison) -> list[str]:
    """What has to be known to read all tables."""
    counts = sorted({len(row.seeds) for row in found.rows if row.seeds})
    seeds = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1])))) if counts else "none"
    lines = [
        f"Mean ± standard deviation over seeds ({seeds}); the same settings for all systems, none "
        "tuned. Training and prediction: seconds and milliseconds of the processor, one thread; a "
        f'training is one fold\'s where there are folds. "{GUESS}" says the labels learned from at '
        "random. A standard deviation of 0 is that of a system that draws nothing at random."
    ]
    if found.reference:
        lines.append(
            f"Beside {found.reference}: the difference of the means, its 95 % interval (whole "
            "videos redrawn), and p of a permutation test (whole videos exchanged), both of "
            f"{DRAWS:,} draws, after Holm's correction for all systems in the table. Below .05 is "
            "unlikely to be luck of the segments; the luck of the seeds is in the standard "
            "deviations."
        )
    if found.papers:
        lines.append(
            f"The paper's values are of other segments and features ({PAPER}): they show which way "
            "its answer went, and cannot be compared with ours number by number. Its row "
            f'"Majority" is no constant\'s; it stands beside "{GUESS}", which it is like.'
        )
    return lines


def list_cells(found: Comparison, target: Target) -> tuple[list[str], list[list[str]]]:
    """A target's table as text: headings, and rows that begin with a title."""
    metrics = list_metrics(target)
    heads = [target.name, *map(title_metric, metrics)]
    if found.reference:
        heads += [f"{title_metric(metrics[0])} - {found.reference}'s", "p"]
    heads += ["parameters", "training [s]", "a segment [ms]"]
    if found.papers:
        heads.append(f"paper: {' / '.join(map(title_metric, PAPER_METRICS))}")
    rows = []
    for row in found.rows:
        cells = [row.title, *(_show(row.spread(target.name, metric)) for metric in metrics)]
        if found.reference:
            cells += _show_difference(row.against.get(target.name))
        cells += _show_costs(row)
        if found.papers:
            cells.append(_show_published(row.model))
        rows.append(cells)
    for name, scores in found.constants.get(target.name, {}).items():
        title = name if name == GUESS else f"constant {name}"
        cells = [title, *(_shorten(scores.get(m)) for m in metrics)]
        cells += [""] * (len(heads) - len(cells))
        if found.papers and name == GUESS:
            cells[-1] = _show_published("majority")
        rows.append(cells)
    return heads, rows


def write_csv(found: Comparison) -> str:
    """A line a target and system, constants last; empty where there is nothing."""
    text = io.StringIO()
    metrics = dict.fromkeys(metric for target in found.targets for metric in list_metrics(target))
    names = [f"{metric}{part}" for metric in metrics for part in ("", "_sd")]
    beside = ["difference", "low", "high", "p", "p_holm"]
    costs = ["parameters", "train_seconds", "predict_ms"]
    paper = [f"paper_{metric}" for metric in PAPER_METRICS] if found.papers else []
    heads = ["target", "model", "title", "seeds", *names, "error_low", "error_high"]
    writer = csv.DictWriter(
        text, [*heads, *beside, *costs, *paper, "missing"], restval="", lineterminator="\n"
    )
    writer.writeheader()
    for target in found.targets:
        for row in found.rows:
            line: dict[str, Any] = {"target": target.name, "model": row.model, "title": row.title}
            line |= {"seeds": len(row.seeds), "missing": row.missing}
            for metric in list_metrics(target):
                if (spread := row.spread(target.name, metric)) is not None:
                    line |= {metric: spread[0], f"{metric}_sd": spread[1]}
            if edges := row.intervals.get(target.name):
                line |= {"error_low": edges[0], "error_high": edges[1]}
            if against := row.against.get(target.name):
                line |= {"low": against["interval"][0], "high": against["interval"][1]}
                line |= {name: against[name] for name in ("difference", "p", "p_holm")}
            line |= {cost: getattr(row, cost) for cost in costs}
            line |= _name_published(row.model) if found.papers else {}
            writer.writerow({name: _blank(value) for name, value in line.items()})
        for name, scores in found.constants.get(target.name, {}).items():
            title = name if name == GUESS else f"constant {name}"
            line = {"target": target.name, "title": title}
            line |= {metric: _blank(scores.get(metric)) for metric in list_metrics(target)}
            line |= _name_published("majority") if found.papers and name == GUESS else {}
            writer.writerow(line)
    return text.getvalue()


def _blank(value: Any) -> Any:
    return "" if value is None or value != value else value


def _name_published(model: str) -> dict[str, float]:
    return {f"paper_{metric}": value for metric, value in PUBLISHED.get(model, {}).items()}


def _show_published(model: str) -> str:
    published = PUBLISHED.get(model)
    return " / ".join(_shorten(published.get(m)) for m in PAPER_METRICS) if published else ""


def _show_difference(against: Mapping[str, Any] | None) -> list[str]:
    if not against:
        return ["", ""]
    low, high = (_shorten(edge, sign=True) for edge in against["interval"])
    p = against["p_holm"]
    shown = (
        "-"
        if p is None or p != p
        else "1"
        if p > 0.995
        else "< .01"
        if p < 0.01
        else f"{p:.2f}"[1:]
    )
    interval = "" if "-" in (low, high) else f" ({low} to {high})"  # of one video there is none
    return [f"{_shorten(against['difference'], sign=True)}{interval}", shown]


def _show_costs(row: Row) -> list[str]:
    if row.parameters is None or row.train_seconds is None or row.predict_ms is None:
        return ["-"] * 3
    return [f"{row.parameters:,.0f}", f"{row.train_seconds:.3g}", f"{row.predict_ms:.2g}"]


def _shorten(value: float | None, sign: bool = False) -> str:
    """Three decimals; below 1 without the zero before the point, as the literature has it."""
    if value is None or value != value:
        return "-"
    text = f"{value:{'+' if sign else ''}.3f}"
    return text.replace("0.", ".", 1) if abs(value) < 0.9995 else text


def _show(spread: tuple[float, float] | None) -> str:
    if spread is None:
        return "-"
    mean, deviation = spread
    return _shorten(mean) if math.isnan(deviation) else f"{_shorten(mean)} ± {_shorten(deviation)}"
