"""Faces on a page: which frames, and where the landmarks lay."""

from __future__ import annotations

import numpy as np
import pytest

from extractors.types import FeatureTrack, Frame
from extractors.visual_shape import normalise_landmarks
from rmfn.pages.faces import LINES, choose_moments, describe_faces, draw_units, place_landmarks

NAMES = (
    "mediapipe.faces", "mediapipe.au04", "mediapipe.au12", "mediapipe.roll",
    "mediapipe.box.x", "mediapipe.box.y", "mediapipe.box.width", "mediapipe.box.height",
    *(f"mediapipe.landmark.{n}.{axis}" for n in range(68) for axis in "xy"),
)  # fmt: skip


def draw_face(centre: tuple[float, float], scale: float, roll: float) -> np.ndarray:
    """68 points: a jaw that is a half circle, eyes, brows, nose and mouth inside it, [68, 2]."""
    jaw = np.linspace(np.pi, 0, 17)
    points = np.zeros((68, 2))
    points[:17] = np.column_stack([np.cos(jaw), np.sin(jaw)])
    inner = np.random.default_rng(1).uniform(-0.5, 0.5, (51, 2)) * [1, 0.8]
    points[17:] = inner
    points[36:42] = points[36:42] * 0.1 + [-0.4, -0.2]
    points[42:48] = points[42:48] * 0.1
    points[42:48] += [0.4, -0.2] - points[42:48].mean(0) + [0, points[36:42].mean(0)[1] + 0.2]
    angle = np.radians(roll)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return points @ turn * scale + centre


@pytest.mark.parametrize("roll", [0.0, 20.0, -35.0])
def test_landmarks_come_back_to_where_they_were(roll):
    points = draw_face((300, 200), 80, roll)
    low, high = points.min(axis=0), points.max(axis=0)
    top = low[1] - 40  # the mesh's forehead, which has no landmark
    box = [low[0] / 640, top / 480, (high[0] - low[0]) / 640, (high[1] - top) / 480]
    shape = normalise_landmarks(points.astype(np.float32))
    eyes = points[42:48].mean(0) - points[36:42].mean(0)
    angle = float(np.degrees(np.arctan2(eyes[1], eyes[0])))
    found = place_landmarks(shape, box, angle, (640, 480))
    assert found == pytest.approx(points, abs=0.05)
    # The same box in a picture of half the size.
    assert place_landmarks(shape, box, angle, (320, 240)) == pytest.approx(points / 2, abs=0.05)


def make_track(seen: np.ndarray) -> FeatureTrack:
    values = np.zeros((len(seen), len(NAMES)), np.float32)
    values[:, 1:4] = 0.1
    values[:, 4:8] = 0.25
    values[:, 8:] = normalise_landmarks(draw_face((0, 0), 1, 0).astype(np.float32)).ravel()
    values[~seen] = np.nan
    values[:, 0] = seen
    return FeatureTrack(values, np.arange(len(seen)) / 25, NAMES, seen)


def test_moments_are_spread_over_the_face_and_hold_the_strongest():
    seen = np.ones(1000, bool)
    seen[200:800] = False
    track = make_track(seen)
    track.values[150, 2] = 0.9  # AU12
    track.values[930, 1] = 0.8  # AU4
    track.values[400, 2] = 1.0  # not the face that was followed
    track.observed[400] = False
    chosen = choose_moments(track, 8)
    assert len(chosen) == 8
    assert (np.diff(chosen) > 0).all()
    assert {150, 930} <= set(chosen.tolist())
    assert (~seen[chosen]).sum() == 2
    assert seen[chosen][chosen < 200].sum() >= 2
    assert seen[chosen][chosen >= 800].sum() >= 2


def test_short_tracks_and_no_face():
    assert choose_moments(make_track(np.ones(3, bool))).tolist() == [0, 1, 2]
    assert len(choose_moments(make_track(np.zeros(100, bool)))) == 4
    assert draw_units(make_track(np.zeros(100, bool))) is None


def test_a_still_tells_its_own_frame():
    track = make_track(np.array([True, False, True]))
    track.values[2, 2] = 0.7
    image = np.zeros((100, 200, 3), np.uint8)
    first, second, third = describe_faces(
        track, [Frame(image, 0.0), Frame(image, 0.04), Frame(image, 0.081)]
    )
    assert first["box"] == [50, 25, 50, 25]
    assert len(first["lines"]) == len(LINES)
    assert first["lines"][-1].endswith("Z")
    assert second["box"] is None
    assert second["units"] == []
    assert third["units"][0] == {"unit": "AU12", "name": "smile", "value": pytest.approx(0.7)}
    assert third["picture"].startswith("data:image/jpeg;base64,")


def test_units_are_told_of_the_observed_frames_only():
    seen = np.array([True] * 50 + [False] * 50)
    track = make_track(seen)
    track.values[:50, 2] = np.linspace(0, 1, 50)
    figure = draw_units(track)
    assert figure is not None
    assert figure["data"][1]["y"] == ["AU04 brow lowered", "AU12 smile"]
    assert figure["data"][1]["x"] == pytest.approx([0.1, 0.5], abs=1e-3)
    assert figure["data"][0]["base"][1] == pytest.approx(0.05, abs=1e-3)
