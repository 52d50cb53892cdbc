"""What every aligner does around its search: stretches before it, times for all tokens after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from extractors.types import Transcript, Word

WORDS_A_SECOND = 6.0  # nobody speaks faster for long
UNSURE_TAIL = 4  # words before a cut that a search without a known end hands on to the next window
TICK = 0.001  # s, the least a token gets


@dataclass(frozen=True)
class Placed:
    """A token's place in seconds; how well it fits the sound, 0..1."""

    start: float
    end: float
    score: float


@dataclass(frozen=True)
class Stretch:
    """The tokens first..last-1 were said somewhere in [start, end)."""

    first: int
    last: int
    start: float
    end: float


def check_cutting(window: float, pad: float) -> None:
    """See that what every aligner is told of stretches makes sense (s).

    Raises
    ------
    ValueError : it does not.
    """
    if not window >= 2:
        raise ValueError(f"window must be at least 2 seconds, got {window}")
    if not pad >= 0:
        raise ValueError(f"pad must not be negative, got {pad}")


def cut_by_times(transcript: Transcript, duration: float, pad: float) -> list[Stretch]:
    """Stretches from the rough times of the segments; what has none fills the gap it stands in.

    Parameters
    ----------
    duration : of the sound, s.
    pad : seconds by which the times may be wrong; never reaches into a neighbour.
    """
    runs: list[list] = []  # first, last, start | None, end | None
    first = 0
    for segment in transcript.segments:
        last = first + len(segment.text.split())
        timed = segment.start is not None and segment.end is not None
        if last > first:
            if not timed and runs and runs[-1][2] is None:
                runs[-1][1] = last
            else:
                runs.append([first, last, segment.start if timed else None, segment.end])
        first = last
    stretches = []
    for i, (first, last, start, end) in enumerate(runs):
        before = runs[i - 1][3] if i and runs[i - 1][2] is not None else 0.0
        after = runs[i + 1][2] if i + 1 < len(runs) and runs[i + 1][2] is not None else duration
        if start is None:
            low, high = before, after
        else:
            low = max(start - pad, min(before, start))
            high = min(end + pad, max(after, end))
        low, high = min(max(low, 0.0), duration), min(max(high, 0.0), duration)
        stretches.append(Stretch(first, last, low, max(low, high)))
    return stretches


def time_words(
    tokens: Sequence[str],
    placed: Sequence[Placed | None],
    sizes: Sequence[int],
    guessed: Sequence[bool],
    stretches: Sequence[Stretch],
    duration: float,
) -> tuple[Word, ...]:
    """A word for every token: what was not aligned gets a time between its neighbours, no score.

    Parameters
    ----------
    sizes : how long each token is when spoken (its phones, its letters); 0: it is not spoken.
    guessed : whether its spelling was.
    stretches : in order, together all tokens.

    Returns
    -------
    Words of positive length, in order, without overlap, inside the sound.
    """
    spans = _settle(_interpolate(placed, sizes, stretches), duration)
    return tuple(
        Word(token, start, end, place.score if place else None, unsure)
        for token, (start, end), place, unsure in zip(tokens, spans, placed, guessed, strict=True)
    )


def _interpolate(
    placed: Sequence[Placed | None], sizes: Sequence[int], stretches: Sequence[Stretch]
) -> list[tuple[float, float]]:
    spans: list[tuple[float, float]] = []
    for stretch in stretches:
        i = stretch.first
        while i < stretch.last:
            place = placed[i]
            if place is not None:
                spans.append((place.start, place.end))
                i += 1
                continue
            j = i
            while j < stretch.last and placed[j] is None:
                j += 1
            low = max(stretch.start, spans[-1][1] if spans else 0.0)
            following = placed[j] if j < stretch.last else None
            high = max(low, following.start if following else stretch.end)
            # What is not spoken takes no time of its own.
            shares = np.array(sizes[i:j])
            edges = low + (high - low) * np.concatenate([[0], np.cumsum(shares)]) / max(
                1, shares.sum()
            )
            spans += zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
            i = j
    return spans


def _settle(spans: Sequence[tuple[float, float]], duration: float) -> list[tuple[float, float]]:
    """Make every span positive, in order, without overlap and inside the sound."""
    tick = min(TICK, duration / (2 * len(spans)))
    settled = []
    free = 0.0
    for start, end in spans:
        start = max(start, free)
        free = max(end, start + tick)
        settled.append((start, free))
    free = duration
    for i in range(len(settled) - 1, -1, -1):
        start, end = settled[i]
        if end <= free:
            break
        settled[i] = (min(start, free - tick), free)
        free = settled[i][0]
    return settled
