"""Curves over time: what is kept of long ones, gaps, levels, and the rows that tracks can fill."""

from __future__ import annotations

import numpy as np
import pytest

from extractors.types import Audio, FeatureTrack
from rmfn.pages.timeline import find_gaps, find_rows, measure_level, thin


def test_thinning_keeps_the_extremes_their_times_and_the_order():
    random = np.random.default_rng(0)
    times = np.cumsum(random.uniform(0.01, 0.05, 50_000))
    values = random.normal(0, 1, 50_000).astype(np.float32)
    values[31_234], values[8_765] = 40.0, -40.0
    kept_times, kept = thin(times, values, buckets=500)
    assert len(kept) <= 1000
    assert (np.diff(kept_times) >= 0).all()
    assert kept_times[np.argmax(kept)] == times[31_234]
    assert kept_times[np.argmin(kept)] == times[8_765]
    place = {time: value for time, value in zip(times, values, strict=True)}
    assert all(place[time] == value for time, value in zip(kept_times, kept, strict=True))


def test_thinning_keeps_gaps():
    times = np.arange(40_000) / 100
    values = np.sin(times).astype(np.float32)
    values[10_000:14_000] = np.nan  # 100 to 140 s
    values[20_003] = np.nan  # a single frame
    kept_times, kept = thin(times, values, buckets=1000)
    missing = kept_times[np.isnan(kept)]
    assert missing[0] == pytest.approx(100, abs=0.4)
    assert any(199.6 <= time <= 200.4 for time in missing)
    inside = (kept_times >= 100) & (kept_times < 140)
    assert np.isnan(kept[inside]).all()
    assert np.isfinite(kept[~inside]).sum() > 1000


def test_short_curves_are_left_alone():
    times, values = np.arange(10.0), np.arange(10, dtype=np.float32)
    assert thin(times, values)[1] is values


def test_gaps_are_where_nothing_was_observed():
    times = np.arange(10) * 0.1
    seen = np.array([0, 0, 1, 1, 0, 1, 1, 1, 1, 0], bool)
    track = FeatureTrack(np.zeros((10, 1), np.float32), times, ("a.b",), seen)
    assert list(find_gaps(track)) == [
        (0.0, pytest.approx(0.15)),
        (pytest.approx(0.35), pytest.approx(0.45)),
        (pytest.approx(0.85), pytest.approx(0.95)),
    ]
    empty = FeatureTrack(np.zeros((0, 1), np.float32), np.zeros(0), ("a.b",))
    assert list(find_gaps(empty)) == []


def test_the_level_of_a_sine_is_3_db_below_its_peak():
    rate = 16000
    times = np.arange(rate * 130) / rate  # more than two of its blocks
    sound = np.sin(2 * np.pi * 400 * times)
    sound[: rate * 65] *= 0.1
    sound[-rate:] = 0
    track = measure_level(Audio(sound.astype(np.float32), rate))
    level = dict(zip(track.times.round(3), track.values[:, 0], strict=True))
    assert level[30.025] == pytest.approx(-23.01, abs=0.05)
    assert level[100.025] == pytest.approx(-3.01, abs=0.05)
    assert track.values[-1, 0] == -80
    assert np.diff(track.times) == pytest.approx(0.02)
    assert len(measure_level(Audio(np.zeros(10, np.float32), rate)).times) == 0


def test_pitch_is_shown_where_there_is_a_voice():
    values = np.array([[100, 1], [110, 0], [0, 1], [120, 1]], np.float32)
    track = FeatureTrack(values, np.arange(4) / 100, ("covarep.f0", "covarep.vuv"))
    (row,) = find_rows({"acoustic": [track]})
    assert row.title == "Pitch"
    np.testing.assert_array_equal(row.curves[0].values, [100, np.nan, np.nan, 120])


def test_a_tools_own_level_goes_first_and_what_was_never_seen_has_no_row():
    own = FeatureTrack(np.ones((4, 1), np.float32), np.arange(4.0), ("librosa.level",))
    measured = FeatureTrack(np.zeros((4, 1), np.float32), np.arange(4.0), ("sound.level",))
    names = ("mediapipe.au12", "mediapipe.au04", "mediapipe.face_present")
    unseen = np.full((4, 3), np.nan, np.float32)
    unseen[:, 2] = 0
    face = FeatureTrack(unseen, np.arange(4.0), names, np.zeros(4, bool))
    rows = find_rows({"acoustic": [own], "visual": [face]}, measured)
    assert [row.source for row in rows] == ["librosa.level"]
    assert [row.source for row in find_rows({}, measured)] == ["sound.level"]
