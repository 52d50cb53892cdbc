"""What `rmfn.evaluate.evaluate_dataset` found, as tables for a terminal or a Markdown file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rmfn.dataset import Target
from rmfn.metrics import name_rounded
from rmfn.tasks import find_threshold

CONVENTIONS = (
    'has0: "at least {} or not", all segments (on CMU-MOSI "negative or not", zeros included: the '
    "paper's A2 and F1); non0: above or below it, labels equal to it left out. A "
    'rounded accuracy (A7) is of values clipped to the scale; "raw" does not clip. F1 is weighted '
    "by true support."
)
FEW_VIDEOS = 10
CONVENTIONS_CLASSES = (
    "accuracy: the most probable class is right (the paper's A2 of an emotion); F1: of each class, "
    "weighted by true support; macro F1: their plain mean."
)


@dataclass(frozen=True)
class Table:
    """Cells as text; the first column names the row."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tabulate_report(report: dict[str, Any], targets: Sequence[Target]) -> list[Table]:
    """For each label its metrics with what stands beside them, then differences and calibration;
    for several labels a summary first."""
    tables = [_summarise(report, targets)] if len(report) > 1 else []
    for target in targets:
        if target.name in report:
            tables += _tabulate_label(report[target.name], target)
    return tables


def describe_report(report: dict[str, Any], targets: Sequence[Target]) -> list[str]:
    """Lines under the tables: the conventions, and how far the intervals hold."""
    kinds = {target.kind == "regression" for target in targets if target.name in report}
    lines = []
    if True in kinds:
        said = {find_threshold(t) for t in targets if t.name in report and t.kind == "regression"}
        one = f"{said.pop():g}" if len(said) == 1 else "the threshold in the title"
        lines.append(CONVENTIONS.format(one))
    lines += [CONVENTIONS_CLASSES] if False in kinds else []
    for name, found in report.items():
        if "covered" in found:
            lines.append(f"{name}: {found['covered']:.0%} of the labels lie in their intervals")
    return lines


def list_warnings(report: dict[str, Any]) -> list[str]:
    """What makes the numbers worth less than they look."""
    some = next(iter(report.values()))
    lines = []
    groups, of = some["groups"], _count(some["videos"], "videos")
    if groups < some["videos"]:
        of += f", of which those that share a speaker are taken together: {groups} remain"
    if groups == 1:
        lines.append(f"the segments are of {of}; from one no interval or p-value is known")
    elif groups < FEW_VIDEOS:
        lines.append(
            f"the segments are of {of}: intervals and p-values, which redraw videos, are rough"
        )
    if (seen := some["seen"])["segments"]:
        lines.append(
            f"{seen['segments']} of the scored segments, of {seen['videos']} videos, were trained "
            "on: the numbers say nothing of new videos (choose the split that was left out: "
            "--split test)"
        )
    against = next((f["against"] for f in report.values() if "against" in f), None)
    if against and against["seen"]:
        lines.append(
            f"{against['model']} was trained on {against['seen']} of the scored videos: it has an "
            "advantage in the comparison"
        )
    return lines


def write_markdown(
    title: str, tables: Sequence[Table], lines: Sequence[str], warnings: Sequence[str] = ()
) -> str:
    """All of it as Markdown."""
    text = [f"# {title}", ""]
    for warning in warnings:
        text += [f"**Warning:** {warning}.", ""]
    for table in tables:
        text += [f"## {table.title}", "", _line(table.headings)]
        text += ["|---" * len(table.headings) + "|", *map(_line, table.rows), ""]
    return "\n".join([*text, *(line for note in lines for line in (note, ""))]).rstrip() + "\n"


def list_metrics(target: Target) -> dict[str, str]:
    """{metric: heading} of a label's table."""
    if target.kind != "regression":
        return {"accuracy": "accuracy", "f1": "F1", "f1_macro": "macro F1"}
    rounded = name_rounded(target.low, target.high)
    return {
        "mae": "MAE",
        "corr": "r",
        "a2": "A2 has0",
        "f1": "F1 has0",
        "a2_nonzero": "A2 non0",
        "f1_nonzero": "F1 non0",
        rounded: rounded.upper(),
        f"{rounded}_unclipped": f"{rounded.upper()} raw",
    }


def _tabulate_label(found: dict[str, Any], target: Target) -> list[Table]:
    shown = list_metrics(target)
    rows = [("model", *_cells(found, shown))]
    if found["interval"]:
        edges = (found["interval"][name] for name in shown)
        rows.append(("  95 % interval", *map(_show_range, edges)))
    if "seeds" in found and found["seeds"][next(iter(shown))][1] > 0:
        spread = (found["seeds"][name] for name in shown)
        rows.append(("  one seed ± sd", *(_show_spread(mean, sd) for mean, sd in spread)))
    for name, scores in found["constants"].items():
        rows.append((f"constant {name}", *_cells(scores, shown)))
    for name, scores in found.get("ablation", {}).items():
        rows.append((name, *_cells(scores, shown)))
    if against := found.get("against"):
        rows.append((f"{against['model']} (other)", *_cells(against["metrics"], shown)))
    title = f"{target.name}: {_count(found['n'], 'segments')}"
    if target.kind == "regression":
        title += f", positive from {find_threshold(target):g} on"
    tables = [Table(title, ("", *shown.values()), tuple(rows))]
    if against:
        differences = against["differences"]
        tables.append(
            Table(
                f"{target.name}: model - {against['model']}",
                ("", "difference", "95 % interval", "p (permutation)"),
                tuple(
                    (
                        heading,
                        _show(differences[name]["difference"], "+.3f"),
                        _show_range(differences[name]["interval"], "+.3f"),
                        _show(differences[name]["p"]),
                    )
                    for name, heading in shown.items()
                ),
            )
        )
    if calibration := found.get("calibration"):
        tables.append(
            Table(
                f"{target.name}: calibration of the intervals",
                ("", *(f"{float(level):.0%}" for level in calibration)),
                (("share of labels inside", *(f"{share:.1%}" for share in calibration.values())),),
            )
        )
    return tables


def _summarise(report: dict[str, Any], targets: Sequence[Target]) -> Table:
    """A row a label, and the means over labels of a kind, as the paper's tables have them."""
    wanted = ("mae", "corr", "accuracy", "f1")
    rows = []
    numbers = [target for target in targets if target.name in report]
    for target in numbers:
        rows.append((target.name, *_cells(_pick(report[target.name], target), wanted)))
    for kind, some in (
        ("numbers", [t for t in numbers if t.kind == "regression"]),
        ("classifications", [t for t in numbers if t.kind != "regression"]),
    ):
        if len(some) > 1:
            picked = [_pick(report[target.name], target) for target in some]
            mean = {
                name: sum(each[name] for each in picked) / len(picked)
                for name in wanted
                if all(name in each for each in picked)
            }
            rows.append((f"mean of {len(some)} {kind}", *_cells(mean, wanted)))
    return Table("all labels", ("", "MAE", "r", "accuracy", "F1"), tuple(rows))


def _pick(found: dict[str, Any], target: Target) -> dict[str, Any]:
    """A regression's accuracy is that of its rounded values."""
    if target.kind != "regression":
        return found
    return {**found, "accuracy": found[name_rounded(target.low, target.high)]}


def _cells(scores: dict[str, Any], shown: Sequence[str] | dict[str, str]) -> list[str]:
    return [_show(scores.get(name, math.nan)) for name in shown]


def _show(value: float | None, form: str = ".3f") -> str:
    """Undefined is NaN, or null where it was read from JSON."""
    return "-" if value is None or math.isnan(value) else format(value, form)


def _show_range(edges: Sequence[float | None], form: str = ".2f") -> str:
    low, high = edges
    return "-" if low is None or math.isnan(low) else f"{low:{form}}…{high:{form}}"


def _show_spread(mean: float | None, sd: float | None) -> str:
    return "-" if mean is None or math.isnan(mean) else f"{mean:.2f}±{sd:.2f}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number != 1 else f"one {what.removesuffix('s')}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.strip().replace("|", "\\|") for cell in cells) + " |"
