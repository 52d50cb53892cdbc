"""When was each label said? The best path through what a CTC network heard, by Viterbi search.

Graves, Fernández, Gomez & Schmidhuber, "Connectionist temporal classification", ICML 2006: between
labels, before the first and after the last the network may say blank; two equal labels in a row
have a blank between them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_NEVER = np.float32(-np.inf)


def follow_labels(
    heard: NDArray[np.float32],
    labels: Sequence[int],
    blank: int,
    ends: Sequence[int] | None = None,
) -> NDArray[np.intp] | None:
    """The likeliest path through all labels, or through as many of them as fit the sound best.

    Parameters
    ----------
    heard : float32 [T, C], log probabilities.
    labels : columns of ``heard``, L of them, in the order in which they were said; none is blank.
    blank : the column of the blank.
    ends : how many labels may have been said when the sound ends; None: all of them. With 0 in it
        the sound may hold none.

    Returns
    -------
    int [T], for each frame the index of the label said in it, -1 for blank; None if the labels do
    not fit into so few frames.
    """
    frames, count = len(heard), len(labels)
    # The states 2i + 1 are the labels, the even ones the blank before, between and after them.
    columns = np.full(2 * count + 1, blank)
    columns[1::2] = labels
    skips = np.full(len(columns), _NEVER)  # from the state two before: only past a blank
    skips[3::2] = np.where(columns[3::2] != columns[1:-2:2], np.float32(0), _NEVER)
    best = np.full(len(columns), _NEVER)
    best[0] = 0  # a state before the first frame, from which blank or the first label follow
    came = np.zeros((frames, len(columns)), np.int8)
    for frame in range(frames):
        ways = np.full((3, len(columns)), _NEVER)
        ways[0] = best
        ways[1, 1:] = best[:-1]
        ways[2, 2:] = best[:-2] + skips[2:]
        came[frame] = ways.argmax(axis=0)
        best = ways.max(axis=0) + heard[frame, columns]
    allowed = {state for end in ends or () for state in (2 * end - 1, 2 * end) if state >= 0}
    if ends is None:
        allowed = {2 * count - 1, 2 * count} if count else {0}
    state = max(allowed, key=lambda last: best[last])
    if best[state] == _NEVER:
        return None
    path = np.empty(frames, np.intp)
    for frame in range(frames - 1, -1, -1):
        path[frame] = state
        state -= int(came[frame, state])
    return np.where(path % 2 == 1, path // 2, -1)
