"""The checkpoint that ships: what it reads, what it says of plain sentences, what it tells."""

from __future__ import annotations

import re

import pytest

from extractors.language_minilm import MiniLM
from extractors.types import Word
from extractors.word_timing import WordTiming
from pipeline.recipe import load_recipe
from rmfn.card import write_card
from rmfn.checkpoint import load_checkpoint
from rmfn.corpora import LabelledSegment, make_sequences
from rmfn.predict import SHIPPED, Predictor

ADAPTED = MiniLM(adapter=SHIPPED.name)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.load()


def speak(text: str) -> LabelledSegment:
    """A sentence said evenly, at about the usual rate."""
    words, now = [], 0.0
    for token in text.split():
        end = now + 0.05 + 0.06 * len(token)
        words.append(Word(token, now, end, 1.0))
        now = end
    return LabelledSegment(text, "v", tuple(words))


@pytest.fixture(scope="module")
def say(predictor):
    def predict(*texts: str) -> list[float]:
        sequences = make_sequences([speak(text) for text in texts], [ADAPTED], WordTiming())
        return [found["sentiment"].value for found in predictor.predict(sequences)]

    return predict


def test_it_is_small_and_reads_what_the_recipe_makes(predictor):
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 10e6
    assert predictor.columns == {"language": ADAPTED.names, "acoustic": WordTiming().names}
    predictor.require_recipe(load_recipe("embedded").provenance)


def test_it_says_where_it_comes_from_and_how_good_it_is(predictor):
    manifest = predictor.manifest
    measured = manifest.metrics["cross-validation"]["sentiment"]
    assert measured["mae"] < 0.7 * measured["constants"]["median"]["mae"]
    assert measured["interval"]["a2"][0] > measured["constants"]["positive"]["a2"]
    assert manifest.conformal.measured[0] == pytest.approx(manifest.conformal.coverage, abs=0.03)
    card = (SHIPPED / "README.md").read_text(encoding="utf-8")
    for said in ("CMU-MOSI", "no face and no voice", "Where it fails", "rmfn train --timed"):
        assert said in card
    assert not any("/" in value for value in manifest.versions.values())


@pytest.mark.slow
def test_plain_sentences_have_the_right_sign(say):
    good, bad, neutral = say(
        "This is the best movie I have ever seen, I loved every minute.",
        "This was a terrible film, boring and far too long, I hated it.",
        "The film is two hours long and it was shot in Canada.",
    )
    assert good > 1
    assert bad < -1
    assert abs(neutral) < 1


@pytest.mark.slow
def test_negation_turns_the_sign(say):
    plain, negated = say("I liked it a lot.", "I didn't like it at all.")
    assert plain > 0.5
    assert negated < -0.5


@pytest.mark.slow
def test_spelling_of_speech_recognition_changes_little(say):
    heard, transcribed = say(
        "I really didn't expect that, but it's great!", "i really didnt expect that but its great"
    )
    assert heard == pytest.approx(transcribed, abs=0.1)


@pytest.mark.slow
def test_sentences_on_the_card_get_what_it_says(say):
    card = " ".join((SHIPPED / "README.md").read_text(encoding="utf-8").split())
    said = re.findall(r'"([A-Z][^"]+[.!?])" (?:gets )?([+-]\d\.\d)', card)
    assert len(said) == 5
    for (text, value), found in zip(said, say(*(text for text, _ in said)), strict=True):
        assert f"{found:+.1f}" == value, text


@pytest.mark.parametrize("name", ["mosi-language", "mmmo-av"])
def test_the_numbers_in_a_card_are_those_in_the_manifest(name):
    folder = SHIPPED.parent / name
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert write_card(load_checkpoint(folder).manifest, text) == text
