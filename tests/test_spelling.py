"""Speech recognition's spelling and that of transcripts meet."""

from __future__ import annotations

import pytest

from extractors.spelling import plain_word


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


@pytest.mark.parametrize("token", ["Don't", "dont", "movie!", "It's", "3D", "--"])
def test_plain_words_stay(token):
    assert plain_word(plain_word(token)) == plain_word(token)
