"""The values that flow between extractors. Times are seconds on the clip's clock.

Dimension letters used throughout: N words, T frames, D features. Intervals are half-open,
[start, end). Missing is NaN; nothing here drops a row or writes a silent zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from extractors.mapped import forget_pages

BLOCK = 1 << 20  # samples looked at together

MODALITIES = ("language", "visual", "acoustic")


@dataclass(frozen=True)
class Audio:
    """Mono sound; sample 0 is clip time 0.

    Attributes
    ----------
    samples : float32 [n], finite, full scale is 1; of long recordings a mapped file.
    rate : samples a second.
    """

    samples: NDArray[np.float32]
    rate: int

    def __post_init__(self) -> None:
        if self.samples.ndim != 1:
            raise ValueError(f"audio must be mono [n], got shape {self.samples.shape}")
        if self.rate <= 0:
            raise ValueError(f"sampling rate must be positive, got {self.rate}")
        for first in range(0, len(self.samples), BLOCK):
            if not np.isfinite(self.samples[first : first + BLOCK]).all():
                raise ValueError("audio holds NaN or infinite samples")
            forget_pages(self.samples)

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.samples) / self.rate


@dataclass(frozen=True)
class Frame:
    """One picture: RGB uint8 [height, width, 3], shown from ``time`` seconds on."""

    image: NDArray[np.uint8]
    time: float


@dataclass(frozen=True)
class Segment:
    """A stretch of transcript and, if known, roughly when it was said (None: not known)."""

    text: str
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class Transcript:
    """What was said and roughly when; exact word times come only from an aligner.

    ``text`` of the segments keeps the tokens as they were written; the words of the transcript are
    its whitespace-separated tokens, in order.
    """

    segments: tuple[Segment, ...]
    language: str = "en"

    @property
    def tokens(self) -> list[str]:
        return [token for segment in self.segments for token in segment.text.split()]


@dataclass(frozen=True)
class Word:
    """A token of the transcript with the interval in which it was spoken.

    Attributes
    ----------
    text : the token as the transcript has it, punctuation and all.
    start, end : seconds, start < end.
    score : how well sound and pronunciation agree, 0..1; None = the time was interpolated, not
        aligned.
    guessed : the pronunciation came from rules because the dictionary has no such word.
    """

    text: str
    start: float
    end: float
    score: float | None = None
    guessed: bool = False

    def __post_init__(self) -> None:
        if not self.start < self.end:
            raise ValueError(
                f"word {self.text!r} must start before it ends: {self.start}, {self.end}"
            )


@dataclass(frozen=True)
class FeatureTrack:
    """Measurements at frame rate.

    Attributes
    ----------
    values : float32 [T, D]; NaN = not measured.
    times : float64 [T], strictly increasing, the frame centres.
    names : D stable strings ``tool.measure[.index]``.
    observed : bool [T]; True where the thing measured was there (a face, a sound). By default
        where any value of the row is finite.
    notes : facts about how the track was made that a person should read (counts, what was filled).
    """

    values: NDArray[np.float32]
    times: NDArray[np.float64]
    names: tuple[str, ...]
    observed: NDArray[np.bool_] = None  # type: ignore[assignment]
    notes: dict[str, float | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape != (len(self.times), len(self.names)):
            raise ValueError(
                f"track values must be [T={len(self.times)}, D={len(self.names)}], "
                f"got {self.values.shape}"
            )
        if len(self.times) > 1 and not (np.diff(self.times) > 0).all():
            raise ValueError("track times must strictly increase")
        if self.observed is None:
            object.__setattr__(self, "observed", np.isfinite(self.values).any(axis=1))
        elif self.observed.shape != self.times.shape:
            raise ValueError(f"observed must be [T={len(self.times)}], got {self.observed.shape}")


@dataclass(frozen=True)
class WordFeatures:
    """One row a word.

    Attributes
    ----------
    values : float32 [N, D]; NaN = not measured.
    coverage : float32 [N], the share of the word's frames in which the thing was observed.
    names : D stable strings.
    """

    values: NDArray[np.float32]
    coverage: NDArray[np.float32]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape != (len(self.coverage), len(self.names)):
            raise ValueError(
                f"word features must be [N={len(self.coverage)}, D={len(self.names)}], "
                f"got {self.values.shape}"
            )


def cover_words(values: NDArray[np.float32], names: tuple[str, ...]) -> WordFeatures:
    """Rows [N, D] of a word-level extractor; a word is covered where any of its values is there."""
    return WordFeatures(values, np.asarray(np.isfinite(values).any(axis=1), np.float32), names)


def join_features(parts: Sequence[WordFeatures]) -> WordFeatures:
    """Several extractors of one modality side by side: columns in order, coverage of the first."""
    if len(parts) == 1:
        return parts[0]
    return WordFeatures(
        np.hstack([part.values for part in parts]),
        parts[0].coverage,
        tuple(name for part in parts for name in part.names),
    )
