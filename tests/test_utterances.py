from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extractors.types import Word
from pipeline.utterances import cut_utterances, ends_sentence


def say(text: str, pauses: dict[str, float] | None = None) -> list[Word]:
    """Words of 0.2 s, 0.1 s apart; ``pauses`` holds the seconds after a token."""
    words, now = [], 0.0
    for token in text.split():
        words.append(Word(token, now, now + 0.2))
        now += 0.2 + (pauses or {}).get(token, 0.1)
    return words


def texts(words: list[Word], **settings) -> list[str]:
    return [" ".join(words[i].text for i in part) for part in cut_utterances(words, **settings)]


@st.composite
def transcripts(draw):
    tokens = st.sampled_from(["word", "end.", "what?", "so,", "Dr.", "U.S.", "well...", '"yes."'])
    gaps = st.sampled_from([0.0, 0.1, 0.5, 1.5, 30.0, -0.05])
    words, now = [], 0.0
    for token, gap in draw(st.lists(st.tuples(tokens, gaps), max_size=120)):
        words.append(Word(token, now, now + 0.2))
        now += 0.2 + gap
    return words


@given(transcripts(), st.integers(1, 5), st.integers(0, 20))
def test_every_word_is_in_exactly_one_utterance_of_allowed_size(words, shortest, slack):
    longest = 2 * shortest - 1 + slack
    parts = cut_utterances(words, min_words=shortest, max_words=longest)
    assert [i for part in parts for i in part] == list(range(len(words)))
    for part in parts:
        assert min(shortest, len(words)) <= len(part) <= longest
    assert parts == cut_utterances(words, min_words=shortest, max_words=longest)


def test_sentences_end_utterances():
    words = say("I really loved this film. It made me laugh! Would I see it again? Yes I would.")
    assert texts(words) == [
        "I really loved this film.",
        "It made me laugh!",
        "Would I see it again?",
        "Yes I would.",
    ]


@pytest.mark.parametrize(
    "token", ["film.", "film?", "film!", "film.”", 'film."', "film.)", "2010.", "I."]
)
def test_a_sentence_ends(token):
    assert ends_sentence(token)


@pytest.mark.parametrize(
    "token",
    [
        "film",
        "film,",
        "Dr.",
        "(Mr.",
        "U.S.",
        "U.S.A.",
        "e.g.",
        "p.m.",
        "J.",
        "etc.",
        "well...",
        ".5",
        "3.5",
    ],
)
def test_a_sentence_does_not_end(token):
    assert not ends_sentence(token)


def test_a_long_pause_ends_an_utterance_without_punctuation():
    words = say("this was fun to watch and then nothing happened", {"watch": 1.2, "then": 0.6})
    assert texts(words) == ["this was fun to watch", "and then nothing happened"]


def test_a_crumb_joins_the_neighbour_nearer_in_time():
    text = "I saw this film. Wow. It was so good."
    assert texts(say(text, {"film.": 0.2, "Wow.": 0.9})) == [
        "I saw this film. Wow.",
        "It was so good.",
    ]
    assert texts(say(text, {"film.": 0.9, "Wow.": 0.2})) == [
        "I saw this film.",
        "Wow. It was so good.",
    ]


def test_crumbs_at_both_ends_join_inwards():
    assert texts(say("Yes. I saw this film yesterday. Wow.")) == [
        "Yes. I saw this film yesterday. Wow."
    ]


def test_a_lone_word_is_an_utterance():
    assert texts(say("Wow.")) == ["Wow."]
    assert cut_utterances([]) == ()


def test_too_long_an_utterance_is_cut_at_its_longest_pause_else_at_a_comma_else_in_the_middle():
    plain = [f"w{i}" for i in range(20)]
    paused = say(" ".join(plain), {"w5": 0.7, "w12": 0.5})
    assert [len(part) for part in cut_utterances(paused, max_words=14)] == [6, 14]
    comma = [*plain[:7], "w7,", *plain[8:]]
    assert [len(part) for part in cut_utterances(say(" ".join(comma)), max_words=14)] == [8, 12]
    assert [len(part) for part in cut_utterances(say(" ".join(plain)), max_words=14)] == [10, 10]


def test_too_long_an_utterance_of_crumbs_is_cut_where_a_sentence_ends():
    long = " ".join(f"w{i}" for i in range(23)) + " end."
    assert texts(say(f"{long} Oh wow. So good.")) == [long, "Oh wow. So good."]


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="max_words must be at least twice min_words less one"):
        cut_utterances(say("a b c"), min_words=5, max_words=8)
