"""Word timing from planted times."""

from __future__ import annotations

import numpy as np
import pytest

from extractors.types import Word
from extractors.word_timing import WordTiming

WORDS = (
    Word("so", 1.0, 1.5, 0.9),
    Word("it", 1.5, 1.6, 0.9),
    Word("was", 2.0, 2.25, 0.9),
    Word("great", 2.2, 3.0, 0.9),
)


def test_duration_pause_and_rate_of_planted_words():
    (rows,) = WordTiming(neighbours=1)([WORDS])
    assert rows.dtype == np.float32
    assert rows[:, 0] == pytest.approx([0.5, 0.1, 0.25, 0.8])
    # what came before the first word is unknown; words that overlap have no pause between them
    assert np.isnan(rows[0, 1])
    assert rows[1:, 1] == pytest.approx([0, 0.4, 0], abs=1e-6)
    assert rows[:, 2] == pytest.approx([2 / 0.6, 3 / 1.25, 3 / 1.5, 2 / 1.0])


def test_columns_are_named():
    assert WordTiming().names == ("timing.duration", "timing.pause_before", "timing.rate")


def test_time_of_the_utterance_in_its_clip_does_not_matter():
    later = [Word(w.text, w.start + 100, w.end + 100, w.score) for w in WORDS]
    here, there = WordTiming()([WORDS, later])
    assert there == pytest.approx(here, abs=1e-4, nan_ok=True)


def test_other_utterances_do_not_matter():
    alone = WordTiming()([WORDS])[0]
    assert np.array_equal(WordTiming()([WORDS[:2], WORDS])[1], alone, equal_nan=True)


def test_interpolated_words_are_not_measured():
    words = (WORDS[0], Word("it", 1.5, 1.6), *WORDS[2:])
    (rows,) = WordTiming(neighbours=1)([words])
    assert np.isnan(rows[1]).all()
    assert np.isnan(rows[2, 1])  # the pause after it
    assert rows[2, 0] == pytest.approx(0.25)
    assert rows[0, 2] == pytest.approx(1 / 0.5)  # it is no neighbour at the edge
    (rows,) = WordTiming(neighbours=2)([words])
    assert rows[0, 2] == pytest.approx(3 / 1.25)  # but was spoken when it is between two


def test_nothing_measured_and_nothing_said():
    assert np.isnan(WordTiming()([[Word("a", 0, 1)]])[0]).all()
    empty, one = WordTiming()([[], [Word("a", 0, 0.5, 1.0)]])
    assert empty.shape == (0, 3)
    assert one[0, 0] == 0.5
    assert one[0, 2] == 2
