"""The face track of a clip in pictures: some frames with the face that was followed, and its units.

The track keeps the box of the followed face and its landmarks without place, size and roll
(`extractors.visual_shape.normalise_landmarks`); both together give back where the landmarks were.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.types import FeatureTrack, Frame

STILLS = 8
QUALITY = 78  # of the JPEGs

# The 68 points of Multi-PIE and iBUG 300-W as lines: first, last, whether closed.
LINES = (
    (0, 16, False),  # jaw
    (17, 21, False),  # brows
    (22, 26, False),
    (27, 30, False),  # nose
    (31, 35, False),
    (36, 41, True),  # eyes
    (42, 47, True),
    (48, 59, True),  # lips
    (60, 67, True),
)

UNIT_NAMES = {
    "au01": "inner brow up",
    "au02": "outer brow up",
    "au04": "brow lowered",
    "au05": "lids wide",
    "au06": "cheeks up",
    "au07": "lids tight",
    "au09": "nose wrinkled",
    "au10": "upper lip up",
    "au12": "smile",
    "au14": "dimples",
    "au15": "mouth corners down",
    "au16": "lower lip down",
    "au17": "chin up",
    "au18": "lips puckered",
    "au20": "lips stretched",
    "au22": "lips funnelled",
    "au24": "lips pressed",
    "au26": "jaw open",
    "au28": "lips rolled in",
    "au45": "blink",
}


def choose_moments(track: FeatureTrack, count: int = STILLS) -> NDArray[np.intp]:
    """Rows to be shown: the strongest smile, the lowest brow, others spread over the frames with
    the face, and two over those without it, if there are any. Without any face, half as many."""
    names = {name.partition(".")[2]: n for n, name in enumerate(track.names)}
    seen, unseen = np.flatnonzero(track.observed), np.flatnonzero(~track.observed)
    chosen = set(_spread(unseen, 2 if len(seen) else count // 2))
    for unit in ("au12", "au04"):
        if unit in names and len(seen):
            chosen.add(int(seen[np.nanargmax(track.values[seen, names[unit]])]))
    rest = np.setdiff1d(seen, list(chosen))
    return np.array(sorted({*chosen, *_spread(rest, count - len(chosen))}), np.intp)


def _spread(rows: NDArray[np.intp], count: int) -> list[int]:
    """So many of the rows, evenly, from the middle of the first part to that of the last."""
    places = (np.arange(count) + 0.5) * len(rows) / max(count, 1)
    return np.unique(rows[places.astype(int)]).tolist() if len(rows) else []


def place_landmarks(
    shape: NDArray[np.float32], box: Sequence[float], roll: float, size: tuple[int, int]
) -> NDArray[np.float64]:
    """Where normalised landmarks lay in the picture.

    Parameters
    ----------
    shape : [68, 2], of `normalise_landmarks`.
    box : x, y, width and height of the whole mesh, in shares of the picture.
    roll : degrees, clockwise as seen.
    size : width and height of the picture in pixels.

    Returns
    -------
    [68, 2] pixels. Cheeks and chin bound the mesh to the sides and below; its forehead has no
    landmark. So width and lower edge of the box say how large and where.
    """
    width, height = size
    angle = np.radians(roll)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    turned = np.asarray(shape, np.float64) @ turn
    low, high = turned.min(axis=0), turned.max(axis=0)
    scale = box[2] * width / max(high[0] - low[0], 1e-9)
    corner = np.array([box[0] * width, (box[1] + box[3]) * height])
    return (turned - [low[0], high[1]]) * scale + corner


def describe_faces(track: FeatureTrack, stills: Sequence[Frame]) -> list[dict[str, Any]]:
    """What the page shows of each still: the picture, the box, the landmarks, the units."""
    names = {name.partition(".")[2]: n for n, name in enumerate(track.names)}
    shown = []
    for still in stills:
        row = int(np.abs(track.times - still.time).argmin())
        values = track.values[row]
        height, width = still.image.shape[:2]
        found: dict[str, Any] = {
            "time": float(track.times[row]),
            "picture": _encode(still.image),
            "width": width,
            "height": height,
            "observed": bool(track.observed[row]),
            "faces": int(values[names["faces"]]) if "faces" in names else None,
            "box": None,
            "lines": [],
            "units": [],
        }
        if found["observed"] and "box.x" in names:
            box = [float(values[names[f"box.{side}"]]) for side in ("x", "y", "width", "height")]
            found["box"] = [box[0] * width, box[1] * height, box[2] * width, box[3] * height]
            if "landmark.0.x" in names and "roll" in names:
                first = names["landmark.0.x"]
                shape = values[first : first + 136].reshape(68, 2)
                points = place_landmarks(shape, box, float(values[names["roll"]]), (width, height))
                found["lines"] = [_line(points, *line) for line in LINES]
        if found["observed"]:
            units = [(unit, float(values[names[unit]])) for unit in UNIT_NAMES if unit in names]
            units.sort(key=lambda pair: -pair[1])
            found["units"] = [
                {"unit": unit.upper(), "name": UNIT_NAMES[unit], "value": value}
                for unit, value in units[:5]
            ]
        shown.append(found)
    return shown


def draw_units(track: FeatureTrack) -> dict[str, Any] | None:
    """Each action unit over the clip as a Plotly figure: median, and 5th to 95th percentile."""
    names = {name.partition(".")[2]: n for n, name in enumerate(track.names)}
    units = [unit for unit in UNIT_NAMES if unit in names]
    if not units or not track.observed.any():
        return None
    seen = track.values[track.observed][:, [names[unit] for unit in units]]
    low, middle, high = np.nanpercentile(seen, [5, 50, 95], axis=0)
    titles = [f"{unit.upper()} {UNIT_NAMES[unit]}" for unit in units]
    return {
        "data": [
            {
                "type": "bar",
                "orientation": "h",
                "y": titles,
                "x": np.round(high - low, 4),
                "base": np.round(low, 4),
                "marker": {"color": "var(--band)", "line": {"width": 0}},
                "customdata": np.round(np.column_stack([low, middle, high]), 3),
                "hovertemplate": "%{y}: median %{customdata[1]}, 5 to 95 % of the frames "
                "%{customdata[0]} to %{customdata[2]}<extra></extra>",
            },
            {
                "type": "scatter",
                "mode": "markers",
                "cliponaxis": False,
                "y": titles,
                "x": np.round(middle, 4),
                "marker": {"color": "var(--visual)", "size": 9, "symbol": "diamond"},
                "hoverinfo": "skip",
            },
        ],
        "layout": {
            "xaxis": {"range": [0, 1], "side": "top", "nticks": 6},
            "yaxis": {"autorange": "reversed", "showgrid": False, "ticksuffix": "  "},
            "bargap": 0.45,
            "margin": {"l": 10, "r": 14, "t": 30, "b": 10},
        },
    }


def _line(points: NDArray[np.float64], first: int, last: int, closed: bool) -> str:
    """Points as an SVG path."""
    steps = " L".join(f"{x:.1f} {y:.1f}" for x, y in points[first : last + 1])
    return f"M{steps}{'Z' if closed else ''}"


def _encode(image: NDArray[np.uint8]) -> str:
    """A picture as the text of a data address."""
    import cv2

    good, written = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not good:
        raise ValueError(f"a picture of shape {image.shape} could not be written as JPEG")
    return f"data:image/jpeg;base64,{base64.b64encode(written.tobytes()).decode()}"
