"""The time left, of work whose speed is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import pace
from pipeline.pace import EACH, Pace

A, B, C = Path("a"), Path("b"), Path("c")


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: now[0])
    return now


def test_clips_weigh_what_they_last(clock):
    made = Pace({A: 10 - EACH, B: 30 - EACH, C: 60 - EACH})
    assert made.estimate() is None  # nothing is known
    made.begin()
    clock[0] += 5
    made.end(A, worked=True)
    assert made.estimate() == pytest.approx(45)  # 90 s of video at twice real time
    made.tell(C, 0.5)
    assert made.estimate() == pytest.approx(60 / 8)  # 40 s were done in 5 s
    made.tell(C, 0.4)  # a later stage begins anew; what was done stays done
    assert made.estimate() == pytest.approx(60 / 8)
    clock[0] += 10
    made.end(C, worked=True)
    made.end(B, worked=True)
    assert made.estimate() == 0


def test_no_time_is_below_nothing(clock):
    """What is left of a sum is a little below 0 when its parts are taken away one by one."""
    made = Pace({A: 0.1, B: 0.2, C: 0.1})
    made.begin()
    clock[0] += 1000
    made.end(C, worked=True)
    made.end(B, worked=True)
    made.tell(A, 1.0)
    assert str(made.estimate()) == "0.0"


def test_what_was_not_worked_on_says_nothing_of_the_speed(clock):
    made = Pace({A: 1000.0, B: 9.0, C: 19.0})
    made.begin()
    clock[0] += 2
    made.end(A, worked=False)  # finished long ago
    assert made.estimate() is None
    made.end(B, worked=True)
    assert made.estimate() == pytest.approx(2 * (19 + EACH) / (9 + EACH))


def test_a_length_that_is_not_known_is_taken_as_usual(clock):
    made = Pace({A: 10.0, B: 30.0, C: None})
    made.begin()
    clock[0] += 1
    made.end(A, worked=True)
    made.end(B, worked=True)
    assert made.estimate() == pytest.approx((20 + EACH) / (40 + 2 * EACH))
