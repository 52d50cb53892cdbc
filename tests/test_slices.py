"""Slices of unseen segments, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.slices import is_negating, main, measure, slice_segments
from rmfn.segments import Segments, save_segments

TEXTS = ("it wasn't bad", "A note of NOTHING.", "good", "a b c d e f g h i", "nothingness " * 15)


def make_segments() -> Segments:
    labels = np.array([[2.0], [-3.0], [0.4], [1.0], [-0.5]])
    predicted = np.array([[1.0], [-1.0], [-0.6], [1.0], [-0.5]])
    count = np.arange(5.0)
    words = np.array([len(text.split()) for text in TEXTS])
    ids = tuple("abcde")
    return Segments("made up", ids, ids, TEXTS, count, count, words, {}, labels, predicted)


def test_who_is_in_which_slice():
    found = {
        name: np.flatnonzero(some).tolist()
        for name, some in slice_segments(make_segments()).items()
    }
    assert found == {
        "all": [0, 1, 2, 3, 4],
        "with a negating word": [0, 1],
        "without": [2, 3, 4],
        "neutral, label within ±0.5": [2, 4],
        "label 2 or more": [0],
        "label -2 or less": [1],
        "up to 8 words": [0, 1, 2],
        "9 to 14 words": [3],
        "more than 14 words": [4],
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I don't, really", True),
        ("No!", True),
        ("knot a notion", False),
        ("", False),
        ("DONT", True),
    ],
)
def test_words_that_negate(text, expected):
    assert is_negating(text) is expected


def test_what_is_measured_of_a_slice():
    segments = make_segments()
    assert measure(segments, np.array([1, 1, 1, 0, 0], bool)) == ["3", "1.33", "67%", "-0.2", "0.9"]
    assert measure(segments, np.zeros(5, bool)) == ["0", "-", "-", "-", "-"]


def test_the_command_reads_what_a_training_kept(tmp_path, monkeypatch, capsys):
    (tmp_path / "run").mkdir()
    monkeypatch.setattr("sys.argv", ["slices", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"no run/unseen\.json"):
        main()
    save_segments(tmp_path / "run" / "unseen.json", {"cross-validation": make_segments()})
    main()
    assert "| label 2 or more | 1 | 1.00 | 100% | +2.0 | 1.0 |" in capsys.readouterr().out
