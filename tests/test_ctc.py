"""The path through labels against every path there is."""

from __future__ import annotations

from itertools import groupby, product

import numpy as np
import pytest

from extractors.ctc import follow_labels

BLANK = 0


def collapse(columns):
    """What a row of columns says: runs are one label, blanks are none."""
    return [column for column, _ in groupby(columns) if column != BLANK]


def spell(path, labels):
    return [BLANK if index < 0 else labels[index] for index in path]


def brute_force(heard, allowed):
    """The best row of columns that says one of the allowed texts, by trying all of them."""
    best, found = -np.inf, None
    for columns in product(range(heard.shape[1]), repeat=len(heard)):
        if collapse(columns) in allowed:
            score = sum(heard[frame, column] for frame, column in enumerate(columns))
            if score > best:
                best, found = score, columns
    return best, found


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("open_end", [False, True])
def test_no_path_is_better(seed, open_end):
    rng = np.random.default_rng(seed)
    frames, count = int(rng.integers(1, 8)), int(rng.integers(1, 5))
    heard = np.log(rng.dirichlet(np.full(3, 0.4), frames) + 1e-6).astype(np.float32)
    labels = rng.integers(1, 3, count).tolist()
    ends = [0, count // 2, count] if open_end else None
    allowed = [labels[:end] for end in ends] if ends else [labels]
    best, columns = brute_force(heard, allowed)
    path = follow_labels(heard, labels, BLANK, ends)
    if columns is None:
        assert path is None
        return
    assert spell(path, labels) == list(columns)
    assert heard[np.arange(frames), spell(path, labels)].sum() == pytest.approx(best, rel=1e-5)
    assert (np.diff(path[path >= 0]) >= 0).all()


def test_two_equal_labels_need_a_blank_between_them():
    sure = np.log(np.array([[0.1, 0.9], [0.2, 0.8], [0.1, 0.9]], np.float32))
    assert follow_labels(sure, [1, 1], BLANK).tolist() == [0, -1, 1]
    assert follow_labels(sure[:2], [1, 1], BLANK) is None


def test_nothing_said_is_blank_throughout():
    heard = np.log(np.full((4, 2), 0.5, np.float32))
    assert follow_labels(heard, [], BLANK).tolist() == [-1] * 4


def test_a_thousand_frames_with_an_unlikely_label_are_followed():
    """Nothing is pruned: what was never heard is still placed, and the others where they are."""
    heard = np.full((1000, 4), -20.0, np.float32)
    heard[:, BLANK] = -0.01
    heard[100, 1] = heard[900, 2] = 0
    path = follow_labels(heard, [1, 3, 2], BLANK)
    assert np.flatnonzero(path == 0).tolist() == [100]
    assert np.flatnonzero(path == 2).tolist() == [900]
    assert 100 < int(np.flatnonzero(path == 1)[0]) < 900
