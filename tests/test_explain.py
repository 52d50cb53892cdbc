"""Explanations against a model that only counts, so that every answer is known by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from extractors.types import Word, WordFeatures, cover_words, join_features
from extractors.word_timing import WordTiming
from pipeline.sequence import AlignedSequence
from rmfn.explain import explain_utterance
from tests.talks import RECIPE, Toy, make_talk

GOOD = {"fine": 2.0, "great": 5.0, "bad": -3.0}


class Context:
    """A word's worth, and how many words it was read with."""

    names = ("toy.worth", "toy.count")

    def __init__(self) -> None:
        self.read: list[list[str]] = []

    def __call__(self, utterances: Any) -> list[np.ndarray]:
        self.read += [list(tokens) for tokens in utterances]
        return [
            np.array([[GOOD.get(token, 0.0), len(tokens)] for token in tokens], np.float32)
            for tokens in utterances
        ]


class Counter:
    """Says the sum of the worths, with how many words they were read, and the sum of the rates."""

    columns: ClassVar = {"language": Context.names, "acoustic": ("timing.rate",)}

    def predict_values(self, sequences: Any) -> np.ndarray:
        return np.array([self._value(sequence) for sequence in sequences])

    def _value(self, sequence: AlignedSequence) -> list[float]:
        language = sequence.features["language"]
        rate = sequence.features["acoustic"].values[
            :, list(WordTiming().names).index("timing.rate")
        ]
        said = np.nan_to_num(language.values)
        return [float(said[:, 0].sum()), float(said[:, 1].max()), float(np.nansum(rate))]

    def explain(self, sequence: AlignedSequence) -> None:
        raise ValueError("no HIGHLIGHT")


@pytest.fixture
def recipe() -> Any:
    return SimpleNamespace(language=(Context(),), timing=WordTiming())


def make_utterance(recipe: Any, text: str) -> AlignedSequence:
    # The last word comes late, so that the rate before it differs with and without it.
    tokens = text.split()
    words = tuple(
        Word(
            token,
            n + (3.0 if n == len(tokens) - 1 else 0.0),
            n + 0.5 + (3.0 if n == len(tokens) - 1 else 0.0),
            0.9,
        )
        for n, token in enumerate(tokens)
    )
    rows = recipe.language[0]([tokens])[0]
    timing = recipe.timing([words])[0]
    return AlignedSequence(
        "clip",
        words,
        {
            "language": cover_words(rows, Context.names),
            "acoustic": cover_words(timing, recipe.timing.names),
        },
    )


def test_prefixes_know_nothing_of_what_comes_later(recipe):
    sequence = make_utterance(recipe, "so great but bad")
    found = explain_utterance(Counter(), recipe, sequence)
    assert found.prefixes[:, 0].tolist() == [0, 5, 5, 2]
    assert found.prefixes[:, 1].tolist() == [1, 2, 3, 4]  # vectors made of so many words
    expected = [np.nansum(recipe.timing([sequence.words[: n + 1]])[0][:, 2]) for n in range(4)]
    assert found.prefixes[:, 2] == pytest.approx(expected)
    assert found.whole.tolist() == found.prefixes[-1].tolist()
    assert found.attention is None


def test_a_word_is_left_out_of_what_the_others_are_read_in_but_not_of_their_times(recipe):
    sequence = make_utterance(recipe, "so great but bad")
    found = explain_utterance(Counter(), recipe, sequence)
    assert found.without_word[:, 0].tolist() == [2, -3, 2, 5]
    assert found.without_word[:, 1].tolist() == [3, 3, 3, 3]
    rates = sequence.features["acoustic"].values[:, 2]
    assert found.without_word[:, 2] == pytest.approx(rates.sum() - rates)
    assert ["so", "but", "bad"] in recipe.language[0].read


def test_a_modality_is_left_out_as_if_never_measured(recipe):
    sequence = make_utterance(recipe, "so great but bad")
    before = {name: rows.values.copy() for name, rows in sequence.features.items()}
    found = explain_utterance(Counter(), recipe, sequence)
    assert found.without_modality["language"].tolist() == [0, 0, pytest.approx(found.whole[2])]
    assert found.without_modality["acoustic"].tolist() == [2, 4, 0]
    for name, rows in sequence.features.items():  # nothing was written into the given rows
        np.testing.assert_array_equal(rows.values, before[name])


def test_one_word_alone(recipe):
    found = explain_utterance(Counter(), recipe, make_utterance(recipe, "great"))
    assert found.prefixes[:, 0].tolist() == [5]
    assert np.isnan(found.without_word).all()


def test_what_the_model_does_not_read_is_not_made_anew(recipe):
    class Deaf(Counter):
        columns: ClassVar = {"acoustic": ("timing.rate",)}

    sequence = make_utterance(recipe, "so great but bad")
    recipe.language[0].read.clear()
    explain_utterance(Deaf(), recipe, sequence)
    assert recipe.language[0].read == []


def test_a_real_model_says_of_the_whole_what_it_predicts(tmp_path):
    talk = make_talk(tmp_path / "talk.mp4", members=2)
    for part, said in zip(talk.processed.utterances, talk.record["utterances"], strict=True):
        sequence = talk.processed.sequence.between(part.start, part.stop)
        found = explain_utterance(talk.predictor, RECIPE, sequence)
        assert found.whole[0] == pytest.approx(said["prediction"]["sentiment"]["value"], abs=1e-6)
        assert found.attention is not None
        # By hand, the first two words alone.
        first = sequence.words[:2]
        toy, timing = Toy(), WordTiming()
        rows = sequence.features["acoustic"]
        voice = rows.values[:2, : -len(timing.names)]
        acoustic = WordFeatures(voice, rows.coverage[:2], rows.names[: -len(timing.names)])
        alone = AlignedSequence(
            "clip",
            first,
            {
                "language": cover_words(toy([[w.text for w in first]])[0], toy.names),
                "acoustic": join_features(
                    [acoustic, cover_words(timing([first])[0], timing.names)]
                ),
            },
        )
        value = talk.predictor.predict_values([alone])[0]
        assert found.prefixes[1] == pytest.approx(value, abs=1e-6)
