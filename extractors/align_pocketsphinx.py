"""Forced alignment with CMU Sphinx: when was each token of a transcript said?

The transcript is cut into stretches with known rough times (its segments) or, where it has none,
by a coarse first pass. Each stretch is aligned by Viterbi search over the phone models of its
words, with optional silence between them and all dictionary pronunciations side by side; then
the boundaries are moved to the nearest strong change of the spectrum.

What cannot be aligned (a stretch whose words were not said, a token that is not spoken) gets a time
between its neighbours and the score None.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from extractors.boundaries import refine_boundaries
from extractors.loudness import find_peak, find_quiet
from extractors.mapped import forget_pages
from extractors.pronounce import Pronunciation, pronounce
from extractors.resampling import resample
from extractors.spelling import without_notes
from extractors.sphinx_decoder import ANALYSIS, FRAME, RATE, STATES, Decoder
from extractors.stretches import (
    UNSURE_TAIL,
    WORDS_A_SECOND,
    Placed,
    Stretch,
    check_cutting,
    cut_by_times,
    time_words,
)
from extractors.types import Audio, Transcript, Word

# Frame i looks at [i * FRAME, i * FRAME + ANALYSIS) and speaks for its middle; the boundary between
# the frames i-1 and i lies halfway between their middles.
EDGE = ANALYSIS / 2 - FRAME / 2

# Goodness of pronunciation (Witt & Young, "Phone-level pronunciation scoring and assessment for
# interactive language learning", Speech Communication 30, 2000): the log likelihood of the frames
# under the word's phones over that under a free loop of all phones, per frame. Around 0 where the
# word was said, around -7.5 where it was not; the logistic function makes 0..1 of it.
GOODNESS_MIDDLE = -4.0  # nats a frame: as far from said as from not said
GOODNESS_SCALE = 1.0


@dataclass(frozen=True)
class _Sound:
    """Samples at the model's rate; with ``gain`` the largest is just below full scale."""

    samples: NDArray[np.float32]
    gain: float

    def cut(self, start: float, end: float) -> NDArray[np.float32]:
        """What lies between two times (s), amplified; all of it so would be one more copy."""
        return self.samples[round(start * RATE) : round(end * RATE)] * np.float32(self.gain)


@dataclass(frozen=True)
class Sphinx:
    """Align a transcript to its sound.

    Attributes
    ----------
    pad : seconds by which a segment's rough times may be wrong; never reaches into a neighbour.
    window : seconds; longer stretches are cut by a coarse pass first.
    """

    pad: float = 0.5
    window: float = 40.0

    # The median score of natural clips was .91 and more for speech in a quiet room, .78 for rap
    # over music and .75 for what an English recogniser heard in French.
    GOOD_SCORE: ClassVar[float] = 0.85

    def __post_init__(self) -> None:
        check_cutting(self.window, self.pad)

    def require_language(self, language: str) -> None:
        """See that the language can be aligned.

        Raises
        ------
        ValueError : it is not English.
        """
        if language not in ("en", "auto"):
            raise ValueError(
                f"pocketsphinx aligns English only, but the speech is {language!r}; "
                f'[align] backend = "wav2vec2" knows other languages'
            )

    def prepare(self, language: str) -> None:
        """As `require_language`, for the language that was heard."""
        self.require_language(language)

    def __call__(self, audio: Audio, transcript: Transcript) -> tuple[Word, ...]:
        """One word for each whitespace-separated token, in order, not overlapping.

        Raises
        ------
        ValueError : there are words, but no sound at all.
        WeightsMissing : the acoustic model is not installed.
        """
        tokens = transcript.tokens
        if not tokens:
            return ()
        if not len(audio.samples):
            raise ValueError(f"cannot align {len(tokens)} words to a sound of length 0")
        sound = _prepare(audio)
        said = [pronounce(token) for token in without_notes(tokens)]
        placed: list[Placed | None] = [None] * len(tokens)
        with self._lock:
            stretches = [
                part
                for stretch in cut_by_times(transcript, audio.duration, self.pad)
                for part in self._cut_long(sound, said, stretch)
            ]
            for stretch in stretches:
                placed[stretch.first : stretch.last] = self._align(sound, said, stretch)
                forget_pages(sound.samples)
        _refine(sound.samples, placed)
        sizes = [len(spoken.variants[0]) if spoken.variants else 0 for spoken in said]
        guessed = [spoken.guessed for spoken in said]
        return time_words(tokens, placed, sizes, guessed, stretches, audio.duration)

    @cached_property
    def _lock(self) -> Any:
        # A decoder holds the state of one utterance.
        return threading.Lock()

    @cached_property
    def _search(self) -> Decoder:
        """Finds the times."""
        # Wider than usual: the usual beams lose the words in noise and in badly kept rough times.
        return Decoder(beam=1e-200, pbeam=1e-200, wbeam=1e-200)

    @cached_property
    def _judge(self) -> Decoder:
        """Scores."""
        # The scores of two searches can be compared only if both weigh all senones in every frame.
        # One Gaussian a codebook is enough for that, and four times as fast.
        return Decoder(compallsen=True, topn=1, beam=1e-200, pbeam=1e-200, wbeam=1e-200)

    @cached_property
    def _last_resort(self) -> Decoder:
        """Scores, and finds the times, where the others lost their way: it never prunes."""
        return Decoder(compallsen=True, topn=1, beam=0.0, pbeam=0.0, wbeam=0.0)

    def _align(
        self, sound: _Sound, said: Sequence[Pronunciation], stretch: Stretch
    ) -> list[Placed | None]:
        """Place the tokens of a stretch; all None if it cannot be done."""
        result: list[Placed | None] = [None] * (stretch.last - stretch.first)
        spoken = [i for i in range(stretch.first, stretch.last) if said[i].variants]
        first = round(stretch.start * RATE)
        bit = sound.cut(stretch.start, stretch.end)
        least = STATES * FRAME * sum(min(map(len, said[i].variants)) for i in spoken)
        if not spoken or len(bit) / RATE < least + ANALYSIS:
            return result
        words = [said[i] for i in spoken]
        # Two grids half a frame apart: their mean is a 5 ms grid, and less depends on chance.
        shift = round(FRAME * RATE / 2)
        late = np.concatenate([np.zeros(shift, np.float32), bit])
        judged = self._judge.align(late, words) or self._last_resort.align(late, words)
        if judged is None:
            return result
        loop = self._judge.follow_phones(late)
        later = np.array(self._search.align(late, words) or judged)[:, :2] * FRAME - shift / RATE
        found = self._search.align(bit, words)
        edges = np.array(found)[:, :2] * FRAME if found else later
        edges = np.where(np.abs(edges - later) <= 2 * FRAME, (edges + later) / 2, edges) + EDGE
        edges = np.clip(edges, 0, len(bit) / RATE) + first / RATE
        for index, (start, end), (begin, stop, fit) in zip(spoken, edges, judged, strict=True):
            goodness = (fit - loop[begin:stop].sum()) / (stop - begin)
            result[index - stretch.first] = Placed(float(start), float(end), _to_score(goodness))
        return result

    def _cut_long(
        self, sound: _Sound, said: Sequence[Pronunciation], stretch: Stretch
    ) -> list[Stretch]:
        """Cut a stretch that is too long into ones that are not, from left to right.

        Each step offers a window of sound more words than it can hold, lets the search take as
        many as fit, and trusts all but the last few. A window without words (music, a long pause)
        is passed over, one with hardly any grows. A step that loses its way gives the window its
        share of the words, so that what follows can recover.
        """
        parts: list[Stretch] = []
        first, start, reach = stretch.first, stretch.start, self.window
        while stretch.end - start > reach and first < stretch.last:
            cut = find_quiet(sound.samples, RATE, start + reach / 2, start + 0.75 * reach)
            forget_pages(sound.samples)
            bit = sound.cut(start, cut)
            left = [i for i in range(first, stretch.last) if said[i].variants]
            offered = left[: int(WORDS_A_SECOND * (cut - start))]
            found = self._search.align(bit, [said[i] for i in offered], open_end=True)
            if found is None:
                share = (cut - start) / (stretch.end - start)
                last, middle = first + max(1, round(share * (stretch.last - first))), cut
            elif len(found) == len(left):
                end = min(stretch.end, start + found[-1][1] * FRAME + EDGE + self.pad)
                return [*parts, Stretch(first, stretch.last, start, end)]
            elif not found:
                start = cut
                continue
            elif len(found) <= UNSURE_TAIL:
                reach *= 2
                continue
            else:
                kept = len(found) - UNSURE_TAIL
                last = offered[kept]
                middle = start + (found[kept - 1][1] + found[kept][0]) / 2 * FRAME + EDGE
            parts.append(Stretch(first, last, start, middle))
            first, start, reach = last, middle, self.window
        if first < stretch.last:
            parts.append(Stretch(first, stretch.last, start, stretch.end))
        return parts


def _prepare(audio: Audio) -> _Sound:
    samples = resample(audio, RATE)
    peak = find_peak(samples)
    return _Sound(samples, 0.9 / peak if peak > 0 else 1.0)


def _refine(samples: NDArray[np.float32], placed: list[Placed | None]) -> None:
    """Move the starts and ends of the aligned words, in place; touching words stay touching."""
    edges = sorted({edge for place in placed if place for edge in (place.start, place.end)})
    moved = np.maximum.accumulate(refine_boundaries(samples, RATE, np.array(edges)))
    now = dict(zip(edges, moved.tolist(), strict=True))
    for i, place in enumerate(placed):
        if place and now[place.start] < now[place.end]:
            placed[i] = Placed(now[place.start], now[place.end], place.score)


def _to_score(goodness: float) -> float:
    return 1 / (1 + math.exp(min(700.0, (GOODNESS_MIDDLE - goodness) / GOODNESS_SCALE)))
