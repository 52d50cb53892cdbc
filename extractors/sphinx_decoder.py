"""CMU Sphinx as this project uses it: words or phones along a sound, in frames and nats.

The one file that calls pocketsphinx, with what must be known about it: which of its numbers are in
which unit, what it keeps from one sound to the next, and how it says that it found nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.pronounce import Pronunciation, look_up
from extractors.weights import locate_weights

RATE = 16000  # Hz, of the acoustic model
FRAME = 0.010  # s, its hop
ANALYSIS = 0.025625  # s, its window
STATES = 3  # emitting states of a phone: it lasts at least that many frames
SCORE_UNIT = 1024  # the searches report scores shifted right by 10 bits (SENSCR_SHIFT)


class Decoder:
    """pocketsphinx, its dictionary extended as words come."""

    def __init__(self, **settings: Any) -> None:
        import pocketsphinx

        folder = locate_weights("sphinx-en-us")
        self._decoder = pocketsphinx.Decoder(
            hmm=str(folder / "en-us"),
            dict=str(folder / "cmudict-en-us.dict"),
            lm=None,
            loglevel="FATAL",
            # The lattice that a second best-path search would build loses last words.
            bestpath=False,
            **settings,
        )
        self._names: dict[tuple[tuple[str, ...], ...], str] = {}
        self._decoder.add_allphone_file("phones", None)

    def align(
        self, samples: NDArray[np.float32], words: Sequence[Pronunciation], open_end: bool = False
    ) -> list[tuple[int, int, float]] | None:
        """First frame, frame after the last, and log likelihood (nats) of each word.

        Parameters
        ----------
        samples : float32 [n] at ``RATE``.
        words : all are spoken.
        open_end : the sound may end after any of the words; what comes later is not returned.

        Returns
        -------
        One triple a word; None if the search lost its way.
        """
        names = [self._name(word) for word in words]
        if open_end:
            count = len(names)
            arcs: list[tuple] = [(i, i + 1, 1.0, name) for i, name in enumerate(names)]
            arcs += [(i, count, 1.0) for i in range(count)]
            self._decoder.add_fsg("open", self._decoder.create_fsg("open", 0, count, arcs))
            self._decoder.activate_search("open")
        else:
            self._decoder.set_align_text(" ".join(names))
        segments = self._run(samples)
        found = [
            (s.start_frame, s.end_frame + 1, _log(s.ascore))
            for s in segments
            if s.word[0] not in "<[("
        ]
        if open_end:
            self._decoder.activate_search("phones")
            self._decoder.remove_search("open")
        if not segments:
            return None
        # A search that never reached the last word reports the words it got to.
        return found if open_end or len(found) == len(names) else None

    def follow_phones(self, samples: NDArray[np.float32]) -> NDArray[np.float64]:
        """Log likelihood (nats) of each frame on the best path through a free loop of phones."""
        self._decoder.activate_search("phones")
        segments = self._run(samples)
        likelihood = np.zeros(self._decoder.n_frames() + 1)
        for segment in segments:
            frames = slice(segment.start_frame, segment.end_frame + 1)
            count = segment.end_frame + 1 - segment.start_frame
            likelihood[frames] = _log(segment.ascore) / count
        return likelihood

    def _run(self, samples: NDArray[np.float32]) -> list[Any]:
        pcm = (samples * 32767).astype(np.int16).tobytes()
        self._decoder.reinit_feat()  # forget the noise of the sound before
        self._decoder.start_utt()
        self._decoder.process_raw(pcm, full_utt=True)
        try:
            self._decoder.end_utt()
        except RuntimeError:  # no path survived the beam
            return []
        segments = self._decoder.seg()
        return list(segments) if segments is not None else []

    def _name(self, word: Pronunciation) -> str:
        """The dictionary's name for it, or a new one under which its phones are added."""
        if len(word.spoken) == 1 and tuple(look_up(word.spoken[0])) == word.variants:
            return word.spoken[0]
        if word.variants not in self._names:
            name = f"token{len(self._names)}"
            for number, phones in enumerate(word.variants, 1):
                variant = name if number == 1 else f"{name}({number})"
                self._decoder.add_word(variant, " ".join(phones), update=False)
            self._names[word.variants] = name
        return self._names[word.variants]


def _log(likelihood: float) -> float:
    """A segment's likelihood as pocketsphinx gives it -> nats."""
    return SCORE_UNIT * math.log(likelihood) if likelihood > 0 else -math.inf
