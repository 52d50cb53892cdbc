"""Forced alignment with wav2vec 2.0: when was each token of a transcript said?

The network (that of WhisperX's aligner) hears letters; the likeliest path through those of the
transcript says when each was said (`extractors.ctc`). WhisperX searches a stretch of the transcript
at a time and needs its times; here long stretches without times are followed from window to window.

Numbers are spelt out. A letter that the network does not know stands for any sound, so that its
neighbours keep theirs; a token of such letters alone gets a time between its neighbours and the
score None, like one that is not spoken or does not fit into its stretch.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from extractors.ctc import follow_labels
from extractors.loudness import find_quiet
from extractors.mapped import forget_pages
from extractors.resampling import resampled_slice
from extractors.spelling import SYMBOLS, spell_token, without_notes
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
from extractors.wav2vec2_models import MODELS, RATE, Listener, describe_model, load_model
from extractors.weights import Weights, WeightsMissing, locate_weights

# Such a network says a letter once, at some moment in it, and then nothing new until the next: a
# word's last letter lasts until the space after it is heard, but no longer than this.
TAIL = 0.1  # s
WIDEST = 8  # windows looked at together where words are few
ANY = -1  # in the place of a column: any sound
_FOLDED = {"œ": "oe", "æ": "ae", "ø": "o", "ł": "l", "đ": "d", "ß": "ss", "ı": "i"}


@dataclass(frozen=True)
class Spelt:
    """How a token is heard.

    Attributes
    ----------
    words : columns of the letters, ``ANY`` for those that the network does not know; of a token
        that is not spoken there are none.
    guessed : a letter is missing or stands for another (e for ë).
    """

    words: tuple[tuple[int, ...], ...]
    guessed: bool

    @property
    def size(self) -> int:
        return sum(map(len, self.words))

    @property
    def heard(self) -> bool:
        """Whether it has a letter of its own."""
        return any(column != ANY for word in self.words for column in word)


@dataclass(frozen=True)
class Wav2Vec2:
    """Align a transcript to its sound.

    Attributes
    ----------
    model : a repository of the Hugging Face hub that is already on this machine, or a folder, with
        a wav2vec2 model that hears letters; None: the usual one of the language.
    language : of the speech; a recipe need not name it twice, that of [transcribe] is taken.
        "auto": the one that the transcript says.
    pad : seconds by which a segment's rough times may be wrong; never reaches into a neighbour.
    window : seconds; longer stretches are followed from window to window.
    threads, device : do not change the times. ``device`` is "cpu", "cuda", "cuda:1" or "auto".
    """

    model: str | None = None
    language: str = "en"
    pad: float = 0.2
    window: float = 30.0
    threads: int = field(default=1, compare=False)
    device: str = field(default="cpu", compare=False)

    def __post_init__(self) -> None:
        check_cutting(self.window, self.pad)
        if self.language != "auto":
            describe_model(self.model, self.language)

    @property
    def weights(self) -> tuple[Weights, ...]:
        """The model; where any language may be heard, those that are here, or the English one."""
        if self.model is not None or self.language != "auto":
            return (describe_model(self.model, self.language),)
        known = (describe_model(None, language) for language in MODELS)
        return tuple(filter(_is_here, known)) or (describe_model(None, "en"),)

    def require_language(self, language: str) -> None:
        """See that there is a model for the language, here or elsewhere.

        Raises
        ------
        ValueError : no model is known for it, or these settings are for another one.
        """
        if self.language not in ("auto", language):
            raise ValueError(f"language is {self.language!r}, but the speech is {language!r}")
        if language != "auto":
            describe_model(self.model, language)

    def prepare(self, language: str) -> None:
        """Load the model for the language that was heard.

        Raises
        ------
        ValueError : as `require_language`.
        WeightsMissing : it is not on this machine.
        """
        self.require_language(language)
        self._listen(language)

    def __call__(self, audio: Audio, transcript: Transcript) -> tuple[Word, ...]:
        """One word for each whitespace-separated token, in order, not overlapping.

        Raises
        ------
        ValueError : there are words, but no sound at all; no model is known for the language.
        WeightsMissing : the model is not on this machine.
        """
        tokens = transcript.tokens
        if not tokens:
            return ()
        if not len(audio.samples):
            raise ValueError(f"cannot align {len(tokens)} words to a sound of length 0")
        language = transcript.language if self.language == "auto" else self.language
        listener = self._listen(language)
        spelt = [
            spell_letters(token, language, listener.letters) for token in without_notes(tokens)
        ]
        stretches = cut_by_times(transcript, audio.duration, self.pad)
        placed: list[Placed | None] = [None] * len(tokens)
        for stretch in stretches:
            for index, place in self._align(listener, audio, spelt, stretch).items():
                placed[index] = place
        sizes, guessed = [word.size for word in spelt], [word.guessed for word in spelt]
        return time_words(tokens, placed, sizes, guessed, stretches, audio.duration)

    @cached_property
    def _loaded(self) -> dict[str, Listener]:
        return {}

    def _listen(self, language: str) -> Listener:
        if language not in self._loaded:
            weights = describe_model(self.model, language)
            self._loaded[language] = load_model(weights, self.device, self.threads)
        return self._loaded[language]

    def _align(
        self, listener: Listener, audio: Audio, spelt: Sequence[Spelt], stretch: Stretch
    ) -> dict[int, Placed]:
        """Place the tokens of a stretch, from left to right; those that cannot be are left out.

        A window that is not the last is offered more words than it can hold, and all but the last
        few that it takes are kept. One without words (music, a long pause) is passed over, one
        with hardly any grows.
        """
        placed: dict[int, Placed] = {}
        left = [index for index in range(stretch.first, stretch.last) if spelt[index].words]
        start, reach = stretch.start, self.window
        while left:
            last = stretch.end - start <= reach
            cut = stretch.end
            if not last:
                low, high = start + reach / 2, start + 0.75 * reach
                cut = find_quiet(audio.samples, audio.rate, low, high)
            # From a whole frame of the recording on, so that the same is heard wherever it is cut.
            origin = int(start * RATE / listener.stride) * listener.stride
            samples = resampled_slice(audio, RATE, origin, round(cut * RATE))
            forget_pages(audio.samples)
            offered = left if last else left[: int(WORDS_A_SECOND * self.window)]
            found = place_words(listener, samples, [spelt[index] for index in offered], not last)
            times = [
                (index, Placed(origin / RATE + place.start, origin / RATE + place.end, place.score))
                for index, place in zip(offered, found, strict=False)
            ]
            if not (last or len(found) == len(left)):
                if not found:
                    start = cut
                    continue
                if len(found) <= UNSURE_TAIL and reach < WIDEST * self.window:
                    reach *= 2
                    continue
                if len(found) > UNSURE_TAIL:
                    times = times[:-UNSURE_TAIL]
                    following = origin / RATE + found[-UNSURE_TAIL].start
                    cut = (times[-1][1].end + following) / 2
            placed.update((index, place) for index, place in times if spelt[index].heard)
            if last:
                break
            left, start, reach = left[len(times) :], cut, self.window
        return placed


def place_words(
    listener: Listener, samples: NDArray[np.float32], words: Sequence[Spelt], open_end: bool
) -> list[Placed]:
    """Times in seconds from the first sample, of all words; none if they do not fit.

    Parameters
    ----------
    open_end : of the first words only, as many as fit the sound best.
    """
    heard = listener.hear(samples)
    labels: list[int] = []
    bounds: list[tuple[int, int]] = []  # of each word among the labels
    ends = [0] if open_end else []
    for number, word in enumerate(words):
        first = len(labels)
        for part in word.words:
            if listener.separator is not None and len(labels) > first:
                labels.append(listener.separator)
            labels += [heard.shape[1] - 1 if column == ANY else column for column in part]
        bounds.append((first, len(labels)))
        closing = open_end or number == len(words) - 1
        ends += [len(labels)] if closing else []
        if listener.separator is not None:
            labels.append(listener.separator)
            ends += [len(labels)] if closing else []
    path = follow_labels(heard, labels, listener.blank, ends)
    if path is None:
        return []
    said = path[path >= 0]
    if not len(said):
        return []
    begins = np.searchsorted(np.maximum.accumulate(path), np.arange(said[-1] + 1))
    stops = np.full(said[-1] + 1, 0)
    np.maximum.at(stops, said, np.flatnonzero(path >= 0) + 1)
    fits = np.bincount(said, heard[path >= 0, np.array(labels)[said]]) / np.bincount(said)
    step, duration = listener.stride / RATE, len(samples) / RATE
    placed = []
    for first, last in bounds:
        if last > said[-1] + 1:
            break
        limit = begins[last] * step if last <= said[-1] else duration
        own = [label for label in range(first, last) if labels[label] < heard.shape[1] - 1]
        score = float(np.exp(np.mean(fits[own]))) if own else 0.0
        start = listener.edge + begins[first] * step
        end = listener.edge + min(limit, stops[last - 1] * step + TAIL)
        placed.append(Placed(float(min(start, duration)), float(min(end, duration)), score))
    return placed


def spell_letters(token: str, language: str, letters: dict[str, int]) -> Spelt:
    """The letters of a token as a network knows them."""
    guessed = False
    words = []
    for word in spell_token(token, language):
        columns: list[int] = []
        for letter in word:
            known = _fold(letter, letters)
            guessed = guessed or known != letter
            columns += [letters[part] for part in known]
            # Apostrophes and the marks on letters make no sound of their own.
            silent = unicodedata.category(letter)[0] in "PM" and letter not in SYMBOLS
            if not (known or silent or columns[-1:] == [ANY]):
                columns.append(ANY)
        if columns:
            words.append(tuple(columns))
    return Spelt(tuple(words), guessed and bool(words))


def _fold(letter: str, letters: dict[str, int]) -> str:
    """A letter, or what stands for it among those that are known; empty: nothing does."""
    bare = unicodedata.normalize("NFD", letter)[0]
    for form in (letter, _FOLDED.get(letter, ""), bare):
        if form and all(part in letters for part in form):
            return form
    return ""


def _is_here(weights: Weights) -> bool:
    try:
        return bool(locate_weights(weights))
    except WeightsMissing:
        return False
