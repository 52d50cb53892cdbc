"""Tokens to phones: known pronunciations, odd tokens, and guesses against the dictionary."""

from __future__ import annotations

import random
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extractors.pronounce import PHONES, guess_phones, lexicon, look_up, pronounce, spell_out


@pytest.mark.parametrize(
    ("token", "spoken"),
    [
        ("$5.50", "five point five dollars"),
        ("$1,000,000.", "one million dollars"),
        ("€3", "three euros"),
        ("5¢", "five cents"),
        ("1984", "nineteen eighty four"),
        ("2000", "two thousand"),
        ("1990s", "nineteen nineties"),
        ("'80s", "eighties"),
        ("3rd,", "third"),
        ("21st", "twenty first"),
        ("50%", "fifty percent"),
        ("(100%!)", "one hundred percent"),
        ("10:30", "ten thirty"),
        ("-5", "negative five"),
        ("5-10", "five to ten"),
        ("½", "one half"),
        ("20°C", "twenty degrees celsius"),
        ("A&E", "a and e"),
        ("&", "and"),
        ("#1", "number one"),
        ("iPhone12", "iphone twelve"),
        ("GPT-4", "g p t four"),
        ("24/7", "twenty four seven"),
        ("vs", "versus"),
        ("www.google.com", "w w w dot google dot com"),
        ("don’t", "don't"),
        ("naïve", "naive"),
        ("“Hello,”", "hello"),
        ("No.", "no"),
    ],
)
def test_written_forms_are_spelt_out(token, spoken):
    assert " ".join(spell_out(token)) == spoken


@pytest.mark.parametrize("token", ["—", "...", "😀", "*", "'", '"', "♪", "", "\u200b", "/"])
def test_what_is_not_spoken_has_no_phones(token):
    assert pronounce(token).spoken == ()
    assert pronounce(token).variants == ()


@pytest.mark.parametrize(
    ("token", "phones"),
    [
        ("the", "DH AH"),
        ("Dr.", "D AA K T ER"),
        ("rock'n'roll", "R AA K AH N R OW L"),
        ("U.S.", "Y UW EH S"),
        ("US", "AH S"),
        ("US", "Y UW EH S"),
        ("e.g.,", "IY G IY"),
        ("'cause", "K AH Z"),
        ("3rd", "TH ER D"),
        ("FBI", "EH F B IY AY"),
    ],
)
def test_known_pronunciations_are_among_the_variants(token, phones):
    found = pronounce(token)
    assert tuple(phones.split()) in found.variants
    assert not found.guessed


def test_all_variants_of_the_dictionary_are_offered():
    assert pronounce("the").variants == (("DH", "AH"), ("DH", "IY"))
    # Independently of the code: count the lines of the dictionary.
    lines = [name for name in lexicon() if name == "tomato" or name.startswith("tomato(")]
    assert len(look_up("tomato")) == len(lines) > 1


@pytest.mark.parametrize(
    ("word", "phones"),
    [
        ("didnt", "D IH D AH N T"),  # the apostrophe comes back
        ("xyzzys'", "Z AY Z IY Z"),
        ("grokked", "G R AA K T"),
        ("covid", "K AA V IH D"),
    ],
)
def test_words_outside_the_dictionary_are_guessed(word, phones):
    assert not look_up(word)
    assert " ".join(guess_phones(word)) == phones
    assert pronounce(word).guessed


@pytest.mark.parametrize(("base", "ending"), [("xyzzy", "Z"), ("krosk", "S"), ("glorch", "IH Z")])
def test_possessives_end_as_english_does(base, ending):
    assert guess_phones(base + "'s") == guess_phones(base) + tuple(ending.split())


def edit_distance(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row, above = [i], row
        for j, y in enumerate(b, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (x != y)))
    return row[-1]


def test_guesses_agree_with_the_dictionary(capsys):
    """Phone error rate of the guesser on dictionary words, which it never sees as dictionary."""
    from extractors.pronounce import _transcribe

    names = [n for n in lexicon() if n.isalpha() and n.isascii() and 4 <= len(n) <= 12]
    sample = random.Random(0).sample(names, 800)
    errors = phones = 0
    for word in sample:
        guess = _transcribe(word)
        best = min(look_up(word), key=lambda truth: edit_distance(guess, truth))
        errors += edit_distance(guess, best)
        phones += len(best)
    rate = errors / phones
    with capsys.disabled():
        print(f"\nguessed pronunciations: phone error rate {rate:.1%} on {len(sample)} words")
    assert rate < 0.15


@given(st.text(min_size=1, max_size=12))
def test_any_token_is_spoken_in_phones_of_the_model(token):
    found = pronounce(token)
    assert bool(found.spoken) == bool(found.variants)
    for phones in found.variants:
        assert phones
        assert set(phones) <= PHONES
    assert len(set(found.variants)) == len(found.variants) <= 8


@given(st.from_regex(r"[#$£€+\-]?[0-9.,:/%'a-zA-Z&]{1,10}", fullmatch=True))
def test_any_mix_of_digits_and_signs_leaves_no_digit(token):
    assert not any(character.isdigit() for word in spell_out(token) for character in word)


def test_guessing_from_many_threads_gives_what_one_gives():
    words = [f"{a}{b}ix" for a in ("blor", "quan", "stre", "vim") for b in ("ta", "mo", "ke", "zu")]
    alone = [guess_phones(word) for word in words]
    together: dict[int, list] = {}

    def guess_all(number):
        together[number] = [guess_phones(word) for word in words]

    threads = [threading.Thread(target=guess_all, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(together.values()) == [alone] * 4
