"""What a clip's page tells in tables and bars: quality, and where every number comes from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.assemble import ProcessedClip
from rmfn.predict import Predictor
from rmfn.targets import Target
from rmfn.wording import describe_spread, describe_value


def describe_reading(processed: ProcessedClip, predictor: Predictor) -> dict[str, Any]:
    """Which columns the model reads, and what was measured that it does not read."""
    read = {modality: _count_tools(names) for modality, names in predictor.columns.items() if names}
    unread = {
        modality: counts
        for modality, rows in processed.sequence.features.items()
        if rows.coverage.any()
        and (counts := _count_tools(set(rows.names) - set(predictor.columns.get(modality, ()))))
    }
    return {"read": read, "unread": unread}


def _count_tools(names: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in names:
        tool = name.partition(".")[0]
        counts[tool] = counts.get(tool, 0) + 1
    return dict(sorted(counts.items()))


def describe_measured(record: dict[str, Any], processed: ProcessedClip) -> list[dict[str, Any]]:
    """Shares of measured, filled-in and missing, for bars: of words and of frames."""
    quality = record["quality"]
    words = quality["words"]
    aligned, vectors = words - quality["interpolated"], words - quality["without_vector"]
    bars = [
        _bar(
            "Word times",
            ("aligned to the sound", aligned, "measured"),
            ("interpolated between neighbours", quality["interpolated"], "filled"),
        ),
        _bar(
            "Word vectors",
            ("words have one", vectors, "measured"),
            ("have none", quality["without_vector"], "missing"),
        ),
    ]
    for modality, name, here in (
        ("visual", "Face", "with the followed face"),
        ("acoustic", "Voice", "measured"),
    ):
        for track in processed.tracks.get(modality, ())[:1]:
            seen = int(track.observed.sum())
            bars.append(
                _bar(
                    f"{name}, frames",
                    (here, seen, "measured"),
                    ("without", len(track.times) - seen, "missing"),
                )
            )
        rows = processed.sequence.features.get(modality)
        if rows is not None and len(rows.coverage):
            full, none = int((rows.coverage >= 0.999).sum()), int((rows.coverage <= 0.0).sum())
            bars.append(
                _bar(
                    f"{name}, words",
                    ("in all their frames", full, "measured"),
                    ("in some of them", len(rows.coverage) - full - none, "filled"),
                    ("in none", none, "missing"),
                )
            )
    return bars


def _bar(name: str, *parts: tuple[str, int, str]) -> dict[str, Any]:
    total = sum(count for _, count, _ in parts) or 1
    return {
        "name": name,
        "parts": [
            {"label": label, "count": count, "share": count / total, "state": state}
            for label, count, state in parts
        ],
    }


def describe_origins(recipe: dict[str, Any]) -> list[dict[str, Any]]:
    """Each step of a recipe with its tool, settings, versions and weights."""
    found = []
    for step, backends in recipe.items():
        for backend in backends if isinstance(backends, list) else [backends]:
            if isinstance(backend, dict):
                found.append({"step": step, **backend})
    return found


def describe_scores(model: dict[str, Any], targets: Sequence[Target]) -> list[dict[str, Any]]:
    """Where a model was measured, and how well it did there."""
    shown = {"mae": "MAE", "corr": "Corr", "a2": "A2", "f1": "F1", "accuracy": "accuracy"}
    found = []
    for where in model["metrics"].values():
        for target in targets:
            scores = where.get(target.name)
            if scores is None:
                continue
            found.append(
                {
                    "label": target.name,
                    "how": scores["how"],
                    "n": scores["n"],
                    "rows": [
                        (
                            title,
                            f"{scores[key]:.3f}",
                            _show_interval(scores.get("interval", {}).get(key)),
                        )
                        for key, title in shown.items()
                        if scores.get(key) is not None
                    ],
                }
            )
    return found


def tabulate(record: dict[str, Any], attention: dict[str, Any] | None) -> dict[str, Any]:
    """Cells of the page's tables."""
    quality = record["quality"]
    tables: dict[str, list[tuple[str, ...]]] = {
        "utterance_rows": [
            (
                part["text"],
                f"{part['start']:.2f}",
                f"{part['end']:.2f}",
                *(describe_value(found) for found in part["prediction"].values()),
                "; ".join(describe_spread(found) for found in part["prediction"].values()),
            )
            for part in record["utterances"]
        ],
        "quality_rows": [
            (name.replace("_", " "), _show(value))
            for name, value in quality.items()
            if name not in ("notes", "warnings")
        ],
        "note_rows": [
            (name.replace("_", " "), _show(value)) for name, value in quality["notes"].items()
        ],
        "second_rows": [(stage, f"{seconds:.1f}") for stage, seconds in record["seconds"].items()],
    }
    if attention is not None:
        stages = range(attention["stages"])
        headings = [
            "Modality",
            *(f"Stage {k + 1}" for k in stages),
            "Even spread",
            "Over all words",
        ]
        entropy = (f"{attention['entropy'][k]:.2%}" for k in stages)
        tables["share_headings"] = [tuple(headings)]
        tables["share_rows"] = [
            *(
                (
                    f"{row['modality']} ({row['units']} units)",
                    *(f"{row['mean'][k]:.1%}" for k in stages),
                    f"{row['even']:.1%}",
                    f"{row['low']:.1%} to {row['high']:.1%}",
                )
                for row in attention["rows"]
            ),
            ("entropy, of an even spread's", *entropy, "100.00%", ""),
        ]
    return tables


def _show_interval(edges: list[float | None] | None) -> str:
    """Nothing where none was asked for, "-" where it is not known (null in JSON)."""
    if edges is None:
        return ""
    low, high = edges
    return "-" if low is None or high is None else f"{low:.3f} to {high:.3f}"


def _show(value: Any) -> str:
    """A measure as text."""
    if value is None:
        return "does not apply"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)
