"""Pooling against a loop that says what it means, word by word and frame by frame."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extractors.types import FeatureTrack, Word
from pipeline.pooling import pool


def pool_slowly(track: FeatureTrack, words: list[Word]) -> tuple[np.ndarray, np.ndarray]:
    spacing = np.median(np.diff(track.times)) if len(track.times) > 1 else 0.0
    values = np.full((len(words), len(track.names)), np.nan)
    coverage = np.zeros(len(words))
    for i, word in enumerate(words):
        held = [t for t, time in enumerate(track.times) if word.start <= time < word.end]
        if not held and len(track.times):
            distances = abs(track.times - (word.start + word.end) / 2)
            nearest = int(distances.argmin())
            held = [nearest] if distances[nearest] <= 1.5 * spacing else []
        for d in range(len(track.names)):
            column = [float(track.values[t, d]) for t in held if np.isfinite(track.values[t, d])]
            if column:
                values[i, d] = sum(column) / len(column)
        if held and np.isfinite(values[i]).any():
            coverage[i] = sum(bool(track.observed[t]) for t in held) / len(held)
    return values, coverage


@st.composite
def tracks_and_words(draw):
    n_frames = draw(st.integers(0, 30))
    n_columns = draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # Multiples of 1/32 are exact, so that frames fall exactly on the edges of words.
    times = np.cumsum(rng.integers(1, 6, n_frames)) / 32
    values = rng.normal(size=(n_frames, n_columns)).astype(np.float32)
    values *= 10.0 ** rng.integers(-6, 7, values.shape)
    values[rng.random(values.shape) < draw(st.sampled_from([0, 0.3, 1]))] = np.nan
    observed = rng.random(n_frames) < 0.7
    track = FeatureTrack(values, times, tuple("abc"[:n_columns]), observed)
    starts = rng.integers(-20, 150, draw(st.integers(0, 12))) / 32
    lengths = rng.choice([1 / 64, 1 / 32, 0.2, 1.0, 9.0], len(starts))
    words = [Word("w", s, s + d) for s, d in zip(starts.tolist(), lengths.tolist(), strict=True)]
    return track, words


@given(tracks_and_words())
@settings(max_examples=300, deadline=None)
def test_pool_agrees_with_a_plain_loop(case):
    track, words = case
    rows = pool(track, words)
    values, coverage = pool_slowly(track, words)
    assert rows.values.dtype == rows.coverage.dtype == np.float32
    np.testing.assert_allclose(rows.values, values, rtol=1e-6)
    np.testing.assert_allclose(rows.coverage, coverage, rtol=1e-6)


@given(tracks_and_words(), st.randoms())
@settings(max_examples=50, deadline=None)
def test_a_words_row_does_not_depend_on_the_other_words(case, random):
    track, words = case
    order = list(range(len(words)))
    random.shuffle(order)
    rows, shuffled = pool(track, words), pool(track, [words[i] for i in order])
    np.testing.assert_array_equal(shuffled.values, rows.values[order])
    np.testing.assert_array_equal(shuffled.coverage, rows.coverage[order])


@given(tracks_and_words())
@settings(max_examples=50, deadline=None)
def test_a_later_clip_start_changes_nothing(case):
    track, words = case
    later = FeatureTrack(track.values, track.times + 4.0, track.names, track.observed)
    rows = pool(later, [Word(w.text, w.start + 4.0, w.end + 4.0) for w in words])
    np.testing.assert_array_equal(rows.values, pool(track, words).values)


def test_a_small_value_survives_after_a_huge_one():
    values = np.array([[1e30], [1e-3], [3e-3]], np.float32)
    track = FeatureTrack(values, np.array([0.0, 1.0, 2.0]), ("x",))
    rows = pool(track, [Word("a", 0.0, 1.0), Word("b", 1.0, 3.0)])
    np.testing.assert_allclose(rows.values[:, 0], [1e30, 2e-3], rtol=1e-6)


def test_infinite_values_count_as_not_measured():
    values = np.array([[np.inf], [4.0]], np.float32)
    rows = pool(FeatureTrack(values, np.array([0.0, 1.0]), ("x",)), [Word("a", 0.0, 2.0)])
    assert rows.values[0, 0] == 4.0
    assert rows.coverage[0] == 0.5


def test_a_short_word_takes_a_near_frame_but_not_a_far_one():
    track = FeatureTrack(np.array([[1.0], [2.0], [3.0]], np.float32), np.arange(3) / 10, ("x",))
    words = [Word("near", 0.11, 0.12), Word("behind", 0.34, 0.345), Word("far", 5.0, 5.01)]
    rows = pool(track, words)
    np.testing.assert_array_equal(rows.values[:, 0], [2.0, 3.0, np.nan])
    np.testing.assert_array_equal(rows.coverage, [1.0, 1.0, 0.0])


@pytest.mark.parametrize(("n_frames", "n_words"), [(0, 3), (3, 0), (0, 0)])
def test_nothing_to_pool_gives_missing_rows(n_frames, n_words):
    track = FeatureTrack(np.ones((n_frames, 2), np.float32), np.arange(n_frames) * 1.0, ("a", "b"))
    rows = pool(track, [Word("w", 0.0, 1.0)] * n_words)
    assert rows.values.shape == (n_words, 2)
    assert rows.names == ("a", "b")
    if n_words:
        assert np.isnan(rows.values).all()
        assert (rows.coverage == 0).all()
