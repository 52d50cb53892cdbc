"""The time line of a clip: predictions above, then what was measured at frame rate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.types import Audio, FeatureTrack
from rmfn.pages.page import escape_tags

BUCKETS = 1500  # of a drawn curve: each keeps its lowest and its highest value
STEP, WINDOW = 0.02, 0.05  # s, of the sound level
SILENCE = -80.0  # dB of full scale; below is drawn as this
DOTS = 300  # words; of more the dots are small
FIRST_SHARE = 0.34  # of the height, for the predictions
ROOM = 0.045  # of the height, above each row for its title


@dataclass(frozen=True)
class Curve:
    """One measurement over time.

    Attributes
    ----------
    label : what a person calls it.
    times, values : [T]; NaN where it was not measured.
    """

    label: str
    times: NDArray[np.float64]
    values: NDArray[np.float32]


@dataclass(frozen=True)
class Row:
    """Curves in one unit, drawn over each other.

    Attributes
    ----------
    source : the column names, for "where does this come from".
    unseen : [[start, end], ...] s, where the thing measured was not there.
    span : the axis, None = as the values are.
    """

    title: str
    unit: str
    modality: str
    source: str
    curves: tuple[Curve, ...]
    unseen: tuple[tuple[float, float], ...] = ()
    span: tuple[float, float] | None = None


# What is looked for in the tracks: title, unit, modality, {measure: label}, axis. A measure is a
# column's name without its tool's.
_WANTED = (
    ("Pitch", "Hz", "acoustic", {"f0": "pitch"}, None),
    ("Loudness", "dB", "acoustic", {"level": "level"}, None),
    (
        "Smile and brow",
        "0 to 1",
        "visual",
        {"au12": "AU12", "au04": "AU4"},
        (0.0, 1.0),
    ),
    ("Head °", "degrees", "visual", {"pitch": "up", "yaw": "right", "roll": "tilt"}, None),
    ("Gaze °", "degrees", "visual", {"gaze_pitch": "up", "gaze_yaw": "right"}, None),
)


def find_rows(
    tracks: Mapping[str, Sequence[FeatureTrack]], level: FeatureTrack | None = None
) -> list[Row]:
    """The rows that the tracks of a clip can fill; what was never seen has none.

    Parameters
    ----------
    level : of `measure_level`, used where no track measures loudness.
    """
    rows = []
    for title, unit, modality, measures, span in _WANTED:
        given = list(tracks.get(modality, ()))
        if title == "Loudness" and level is not None:
            given.append(level)
        for track in given:
            places = {name.partition(".")[2]: n for n, name in enumerate(track.names)}
            if not len(track.times) or not set(measures) <= set(places):
                continue
            curves = tuple(
                Curve(label, track.times, _measured(track, places, places[measure]))
                for measure, label in measures.items()
            )
            if not any(np.isfinite(curve.values).any() for curve in curves):
                continue
            source = ", ".join(track.names[places[measure]] for measure in measures)
            unseen = tuple(find_gaps(track)) if modality == "visual" else ()
            rows.append(Row(title, unit, modality, source, curves, unseen, span))
            break
    return rows


def _measured(track: FeatureTrack, places: Mapping[str, int], column: int) -> NDArray[np.float32]:
    """A column; a pitch only where there is a voice (some tools write 0, some go on guessing)."""
    values = track.values[:, column]
    if not track.names[column].endswith(".f0"):
        return values
    voiced = values > 0
    for name in ("vuv", "voiced"):
        if name in places:
            voiced &= track.values[:, places[name]] >= 0.5
    return np.where(voiced, values, np.nan).astype(np.float32)


def find_gaps(track: FeatureTrack) -> Iterator[tuple[float, float]]:
    """Where the thing a track measures was not there: [start, end) in seconds."""
    if not len(track.times):
        return
    half = float(np.median(np.diff(track.times))) / 2 if len(track.times) > 1 else 0.02
    edges = np.flatnonzero(np.diff(np.r_[False, ~track.observed, False]))
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        yield max(float(track.times[first]) - half, 0.0), float(track.times[last - 1]) + half


def measure_level(audio: Audio) -> FeatureTrack:
    """Sound level in dB of full scale: of 50 ms, every 20 ms."""
    hop, width = round(STEP * audio.rate), round(WINDOW * audio.rate)
    count = max((len(audio.samples) - width) // hop + 1, 0)
    power = np.empty(count, np.float64)
    block = 3000  # a minute at a time
    for first in range(0, count, block):
        last = min(first + block, count)
        part = audio.samples[first * hop : (last - 1) * hop + width].astype(np.float64)
        total = np.concatenate([[0.0], np.cumsum(part**2)])
        starts = np.arange(last - first) * hop
        power[first:last] = (total[starts + width] - total[starts]) / width
    times = np.arange(count) * hop / audio.rate + WINDOW / 2
    level = 10 * np.log10(np.maximum(power, 10 ** (SILENCE / 10)))
    return FeatureTrack(level[:, None].astype(np.float32), times, ("sound.level",))


def thin(
    times: NDArray[np.float64], values: NDArray[np.float32], buckets: int = BUCKETS
) -> tuple[NDArray[np.float64], NDArray[np.floating]]:
    """As few points as a screen can show: each bucket's lowest and highest, and its gap if it has
    one, in their order."""
    if len(times) <= 2 * buckets:
        return times, values
    kept_times, kept = [], []
    for part in np.array_split(np.arange(len(times)), buckets):
        bit = values[part]
        finite = np.isfinite(bit)
        if not finite.any():
            kept_times.append(times[part[0]])
            kept.append(np.nan)
            continue
        if not finite[0]:
            kept_times.append(times[part[0]])
            kept.append(np.nan)
        for place in sorted({int(np.nanargmin(bit)), int(np.nanargmax(bit))}):
            kept_times.append(times[part[place]])
            kept.append(bit[place])
        if finite[0] and not finite.all():
            kept_times.append(times[part[-1]])
            kept.append(np.nan)
    return np.array(kept_times), np.array(kept)


def draw_timeline(
    rows: Sequence[Row],
    predicted: dict[str, Any],
    words: Sequence[dict[str, Any]],
    duration: float,
) -> dict[str, Any]:
    """A Plotly figure: a row for the predictions and one for each of ``rows``, one time axis.

    Parameters
    ----------
    predicted : ``label``, ``span`` (low, high), ``unit``, ``neutral`` (a line, or None),
        ``utterances`` [{start, end, text, value, interval}], ``arriving`` [value or None a word].
    words : all words of the clip: text, start, end.
    """
    heights = [FIRST_SHARE, *[(1 - FIRST_SHARE) / max(len(rows), 1)] * len(rows)]
    traces, layout = _draw_predictions(predicted, words)
    shapes: list[dict[str, Any]] = layout.pop("shapes")
    notes: list[dict[str, Any]] = []
    top = 1.0
    for place, height in enumerate(heights):
        name = "" if place == 0 else str(place + 1)
        bottom = 0.0 if place == len(rows) else top - height
        domain = [round(max(bottom, 0.0), 4), round(top - ROOM, 4)]
        layout.setdefault(f"yaxis{name}", {})["domain"] = domain
        top = bottom
        if place == 0:
            notes += _title(escape_tags(predicted["label"]), predicted["unit"], 1.0, _KEYS)
            continue
        row = rows[place - 1]
        colours = _COLOURS[row.modality]
        keys = [(curve.label, colours[n], _DASHES[n]) for n, curve in enumerate(row.curves)]
        several = len(keys) > 1
        notes += _title(row.title, row.unit, domain[1] + ROOM, keys if several else ())
        layout[f"yaxis{name}"] |= {"nticks": 4, **({"range": list(row.span)} if row.span else {})}
        for (label, colour, dash), curve in zip(keys, row.curves, strict=True):
            times, values = thin(curve.times, curve.values)
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "name": label,
                    "x": np.round(times, 3),
                    "y": np.round(values, 4),
                    "yaxis": f"y{name}",
                    "line": {"color": colour, "width": 1.5, "dash": dash},
                    "connectgaps": False,
                    "hovertemplate": f"{label} %{{y:.3~g}}<extra></extra>",
                }
            )
        shapes += [
            {
                "type": "rect",
                "layer": "below",
                "x0": round(start, 3),
                "x1": round(end, 3),
                "yref": f"y{name} domain",
                "y0": 0,
                "y1": 1,
                "fillcolor": "var(--gap)",
                "line": {"width": 0},
                "name": "gap",
            }
            for start, end in row.unseen
        ]
    last = "" if not rows else str(len(rows) + 1)
    layout["xaxis"] = {
        "range": [0, round(duration, 3)],
        "fixedrange": False,
        "anchor": f"y{last}",
        "ticksuffix": " s",
        "hoverformat": ".2f",
        "showgrid": False,
    }
    layout |= {
        "shapes": shapes,
        "annotations": notes,
        "hovermode": "x",
        "dragmode": "pan",
        "margin": {"l": 46, "r": 14, "t": 6, "b": 34},
    }
    return {"data": traces, "layout": layout}


_COLOURS = {
    "visual": ("var(--visual)", "var(--second)", "var(--third)"),
    "acoustic": ("var(--acoustic)", "var(--second)", "var(--third)"),
}
_DASHES = ("solid", "dash", "dot")
_MARKS = {"solid": "━", "dash": "╍", "dot": "┄"}
_KEYS = (
    ("utterance", "var(--accent)", "solid"),
    ("word by word", "var(--ink)", "dot"),
)


def _title(
    title: str, unit: str, height: float, keys: Sequence[tuple[str, str, str]]
) -> list[dict[str, Any]]:
    """A row's name above it on the left, the meaning of its lines on the right."""
    at = {"xref": "paper", "yref": "paper", "y": height, "yanchor": "top", "showarrow": False}
    left = {
        **at,
        "x": 0,
        "xanchor": "left",
        "text": f"<b>{title}</b>" if keys else f"<b>{title}</b>  {unit}",
        "font": {"color": "var(--ink)"},
        "name": "title",
    }
    shift, right = 0, []
    for label, colour, dash in reversed(keys):
        text = f"{_MARKS[dash]} {label}"
        right.append(
            {
                **at,
                "x": 1,
                "xanchor": "right",
                "xshift": -shift,
                "text": text,
                "font": {"color": colour},
                "name": "key",
            }
        )
        shift += 7 * len(text) + 12
    return [left, *right]


def _draw_predictions(
    predicted: dict[str, Any], words: Sequence[dict[str, Any]]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The first row: an utterance is a line as long as it, its interval a band around it."""
    low, high = predicted["span"]
    band: dict[str, list[Any]] = {"x": [], "y": []}
    line: dict[str, list[Any]] = {"x": [], "y": [], "text": []}
    for part in predicted["utterances"]:
        start, end = round(part["start"], 3), round(part["end"], 3)
        below, above = part["interval"] or (part["value"], part["value"])
        band["x"] += [start, end, end, start, start, None]
        band["y"] += [below, below, above, above, below, None]
        line["x"] += [start, end, None]
        line["y"] += [part["value"], part["value"], None]
        line["text"] += [part["told"], part["told"], None]
    middle = [round((word["start"] + word["end"]) / 2, 3) for word in words]
    arrives: dict[str, list[Any]] = {"x": [], "y": [], "text": []}
    place = 0
    for part in predicted["utterances"]:
        for word in part["words"]:
            arrives["x"].append(round(word["end"], 3))
            arrives["y"].append(predicted["arriving"][place])
            arrives["text"].append(escape_tags(word["text"]))
            place += 1
        for values in arrives.values():
            values.append(None)
    room = (high - low) * 0.16
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "fill": "toself",
            "fillcolor": "var(--band)",
            "line": {"width": 0},
            "hoverinfo": "skip",
            "name": "interval",
            **band,
        },
        {
            "type": "scatter",
            "mode": "lines",
            "name": "utterance",
            "line": {"color": "var(--accent)", "width": 3.5},
            "hovertemplate": "%{text}<extra></extra>",
            **line,
        },
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": "arriving",
            "line": {"color": "var(--ink)", "width": 1.2, "dash": "dot"},
            "marker": {"color": "var(--ink)", "size": 4.5 if len(words) <= DOTS else 2},
            "hovertemplate": "after “%{text}”: %{y:+.2f}<extra></extra>",
            **arrives,
        },
        {
            "type": "scatter",
            "mode": "text",
            "name": "words",
            "x": middle,
            "y": [high + room * 0.55] * len(words),
            "text": [escape_tags(word["text"]) for word in words],
            "textfont": {"color": "var(--muted)", "size": 11},
            "hoverinfo": "skip",
            "visible": False,
            "cliponaxis": True,
        },
    ]
    shapes = []
    if predicted["neutral"] is not None:
        shapes.append(
            {
                "type": "line",
                "name": "neutral",
                "xref": "paper",
                "x0": 0,
                "x1": 1,
                "y0": predicted["neutral"],
                "y1": predicted["neutral"],
                "line": {"color": "var(--muted)", "width": 1},
            }
        )
    axis = {"range": [low, high + room], "nticks": 7}
    return traces, {"yaxis": axis, "shapes": shapes}
