"""Speech recognition's spelling and that of transcripts meet."""

from __future__ import annotations

import pytest

from extractors.spelling import plain_word, spell_token, without_notes


@pytest.mark.parametrize(
    ("token", "word"),
    [
        ("Didn't,", "didn't"),
        ("didnt", "didn't"),
        ("DIDN’T", "didn't"),
        ("movie!", "movie"),
        ('"Great"', "great"),
        ("(laughs)", "laughs"),
        ("its", "it's"),
        ("It's", "it's"),
        ("well", "well"),  # not "we'll"
        ("We'll", "we'll"),
        ("were", "were"),
        ("well-made.", "well-made"),
        ("3D", "3d"),
        ("$5.50", "5.50"),
        ("ﬁlm", "film"),  # a ligature
        ("Café", "café"),
        ("...", ""),
        ("-", ""),
        ("", ""),
    ],
)
def test_one_spelling(token, word):
    assert plain_word(token) == word


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("[Music] well", "_ well"),
        ("[upbeat music playing] well [Applause].", "_ _ _ well _"),
        ("(Laughter) thank you (APPLAUSE) (audience laughing)", "_ thank you _ _ _"),
        ("well (really) that (of course) is", "well (really) that (of course) is"),
        ("never closed [ goes on", "never closed [ goes on"),
        ("a[1] b", "a[1] b"),
        (f"[ {'far ' * 12}] apart", f"[ {'far ' * 12}] apart"),
        ("", ""),
    ],
)
def test_notes_about_sounds_are_not_spoken(text, read):
    assert " ".join(word or "_" for word in without_notes(text.split())) == read


def test_of_tokens_that_hold_spaces_only_whole_ones_are_notes():
    tokens = ["new [x] york", "[sad music]", "", "ok [x]", "a"]
    assert without_notes(tokens) == ["new [x] york", "", "", "ok [x]", "a"]


@pytest.mark.parametrize("token", ["Don't", "dont", "movie!", "It's", "3D", "--"])
def test_plain_words_stay(token):
    assert plain_word(plain_word(token)) == plain_word(token)


@pytest.mark.parametrize(
    ("token", "language", "words"),
    [
        ("25%,", "de", ["fünfundzwanzig", "%"]),
        ("1998", "de", ["neunzehnhundertachtundneunzig"]),
        ("1.500", "de", ["eintausendfünfhundert"]),
        ("3,5", "de", ["drei", "komma", "fünf"]),
        ("12.03.2024", "de", ["zwölf", "null", "drei", "zweitausendvierundzwanzig"]),
        ("007", "nl", ["nul", "nul", "zeven"]),
        ("1er", "fr", ["premier"]),
        ("80€", "fr", ["quatre", "vingts", "€"]),
        ("L’été,", "fr", ["l'été"]),
        ("vingt-cinq", "fr", ["vingt", "cinq"]),
        ("1º", "es", ["primero"]),
        ("1.000.000", "it", ["un", "milione"]),
        ("5km", "pl", ["pięć", "km"]),
        ("٢٥", "ar", ["خمسة", "و", "عشرون"]),  # Arabic digits
        ("हिन्दी", "hi", ["हिन्दी"]),  # vowel signs are no letters for Python
        ("25%", "zh", ["百分之二十五"]),
        ("1998年", "ja", ["千九百九十八年"]),
        ("$5.50", "en", ["five", "point", "five", "dollars"]),
        ("25", "hi", ["25"]),  # nobody here can say it
        ("", "de", []),
        ("—", "fr", []),
        ("😀", "fr", []),
    ],
)
def test_the_words_that_one_says(token, language, words):
    assert list(spell_token(token, language)) == words
