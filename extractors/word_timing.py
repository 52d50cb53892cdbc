"""How the words were timed: how long each was held, the pause before it, how fast speech went.

Everything is relative to the utterance itself, never to the clip: segments cut out of a video by
hand (corpora) and utterances found in a clip (prediction) then mean the same thing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from extractors.types import Word


@dataclass(frozen=True)
class WordTiming:
    """Word times to features; nothing but the words is needed.

    Attributes
    ----------
    neighbours : words on either side over which the local speech rate is taken.

    Notes
    -----
    Columns, one row a word:

    * ``timing.duration`` : seconds from the word's start to its end.
    * ``timing.pause_before`` : seconds between the end of the word before and its start, at least
      0. NaN for the first word: what was before it depends on who cut the utterance.
    * ``timing.rate`` : words a second from the start of the first to the end of the last word of
      its neighbourhood, the pauses between them included.

    A word whose time was interpolated (``score`` None) was not measured: its row is NaN and so is
    the pause after it. A neighbourhood begins and ends with measured words; what was spoken between
    them counts.
    """

    neighbours: int = 2

    @property
    def names(self) -> tuple[str, ...]:
        return ("timing.duration", "timing.pause_before", "timing.rate")

    def __call__(self, utterances: Sequence[Sequence[Word]]) -> list[NDArray[np.float32]]:
        """Measure every word of every utterance.

        Returns
        -------
        One float32 [N_i, 3] an utterance.
        """
        return [self._measure(words) for words in utterances]

    def _measure(self, words: Sequence[Word]) -> NDArray[np.float32]:
        measured = np.array([word.score is not None for word in words], bool)
        start = np.where(measured, [word.start for word in words], np.nan)
        end = np.where(measured, [word.end for word in words], np.nan)
        pause = np.full(len(words), np.nan)
        pause[1:] = np.maximum(start[1:] - end[:-1], 0)  # aligners may let neighbours overlap
        rate = np.full(len(words), np.nan)
        known = np.flatnonzero(measured)
        for n in known:
            near = known[abs(known - n) <= self.neighbours]
            rate[n] = (near[-1] - near[0] + 1) / (end[near[-1]] - start[near[0]])
        return np.column_stack([end - start, pause, rate]).astype(np.float32)
