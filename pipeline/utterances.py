"""A long clip cut into stretches of the size that the model was trained on.

Models of opinion are trained on segments that annotators cut by hand, one opinion each; in CMU-MOSI
they have 12 words on average, and nine of ten have between 4 and 27. So a transcript is cut where a
sentence or a long silence ends, and what is still too long where it can best be cut.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from extractors.types import Word

MIN_WORDS = 3
MAX_WORDS = 24
LONG_PAUSE = 1.0  # s of silence that ends an utterance, whatever the punctuation says

# What punctuation is worth, in seconds of pause, where a long utterance must be cut somewhere.
SENTENCE_BONUS = 1.0
CLAUSE_BONUS = 0.3
CENTRING = 0.01  # a word farther from the middle weighs as much as a pause shorter by 10 ms

_CLOSING = "\"'”’)]}»"
_SENTENCE_END = (".", "?", "!", "。", "？", "！")
_CLAUSE_END = (",", ";", ":", "—", "–", "…", "...", "，", "；", "、")
_ABBREVIATIONS = frozenset(
    """
    mr mrs ms dr prof sr jr st mt vs etc inc ltd co corp dept est approx no nos vol fig ave blvd gen
    col maj capt lt sgt cpl gov sen rep rev hon pres supt messrs mme mlle bros ph.d ed eds al jan
    feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thurs fri sat sun
    """.split()  # noqa: SIM905
)
_INITIALS = re.compile(r"(?:[^\W\d_]\.)+")  # J. / U.S. / e.g. / p.m.


def cut_utterances(
    words: Sequence[Word],
    min_words: int = MIN_WORDS,
    max_words: int = MAX_WORDS,
    long_pause: float = LONG_PAUSE,
) -> tuple[range, ...]:
    """Cut words into utterances.

    Sentences and long pauses end an utterance. One of fewer than ``min_words`` joins the neighbour
    that is nearer in time; one of more than ``max_words`` is cut again, at the longest pause or the
    best punctuation, near its middle if all places are alike.

    Parameters
    ----------
    words : N words in order of start.
    min_words, max_words : every utterance has at least and at most so many words (fewer only if
        the whole transcript has fewer).
    long_pause : seconds.

    Returns
    -------
    Ranges of word indices that together are 0..N-1, in order.
    """
    if not 1 <= min_words <= (max_words + 1) // 2:
        raise ValueError(
            f"max_words must be at least twice min_words less one, got {min_words} and {max_words}"
        )
    if not words:
        return ()
    pauses = [after.start - before.end for before, after in pairwise(words)]
    ends = [
        i + 1
        for i, pause in enumerate(pauses)
        if pause >= long_pause or ends_sentence(words[i].text)
    ]
    bounds = [0, *ends, len(words)]
    pieces = [range(a, b) for a, b in pairwise(bounds)]
    whole = _join_short(pieces, pauses, min_words)
    return tuple(
        part for piece in whole for part in _split(piece, words, pauses, min_words, max_words)
    )


def ends_sentence(token: str) -> bool:
    """Whether a sentence ends here: after "it." and "it?)", not after "Dr.", "U.S." or "so..."."""
    bare = token.rstrip(_CLOSING)
    if not bare.endswith(_SENTENCE_END) or bare.endswith("..."):
        return False
    if not bare.endswith("."):
        return True
    word = bare.lstrip("([{\"'“‘«")
    if word.lower().rstrip(".") in _ABBREVIATIONS:
        return False
    return word == "I." or not _INITIALS.fullmatch(word)


def _join_short(pieces: list[range], pauses: list[float], min_words: int) -> list[range]:
    """Short pieces join the neighbour across the shorter pause, from the first to the last."""
    joined: list[range] = []
    waiting: range | None = None  # a short piece that belongs to what follows it
    for k, piece in enumerate(pieces):
        if waiting is not None:
            piece, waiting = range(waiting.start, piece.stop), None
        if len(piece) < min_words:
            is_last = k == len(pieces) - 1
            if joined and (is_last or pauses[piece.start - 1] <= pauses[piece.stop - 1]):
                joined[-1] = range(joined[-1].start, piece.stop)
                continue
            if not is_last:
                waiting = piece
                continue
        joined.append(piece)
    return joined


def _split(
    piece: range, words: Sequence[Word], pauses: list[float], min_words: int, max_words: int
) -> list[range]:
    if len(piece) <= max_words:
        return [piece]
    middle = (piece.start + piece.stop) / 2

    def worth(cut: int) -> float:  # of a cut before word ``cut``
        text = words[cut - 1].text
        bonus = 0.0
        if ends_sentence(text):
            bonus = SENTENCE_BONUS
        elif text.rstrip(_CLOSING).endswith(_CLAUSE_END):
            bonus = CLAUSE_BONUS
        return pauses[cut - 1] + bonus - CENTRING * abs(cut - middle)

    cut = max(range(piece.start + min_words, piece.stop - min_words + 1), key=worth)
    return [
        part
        for half in (range(piece.start, cut), range(cut, piece.stop))
        for part in _split(half, words, pauses, min_words, max_words)
    ]
