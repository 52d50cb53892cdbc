"""One spelling for words, wherever they were written down.

Speech recognition writes "Didn't," where corpora of transcripts write "didnt" or "didn't". The
language backends read the form made here, so that the same words give the same vectors.
"""

from __future__ import annotations

import unicodedata

# Contractions that transcripts without apostrophes leave readable in one way only, and "its", which
# speech means as "it's" nearly always. Left out on purpose, because each is a word of its own:
# were, well, hell, shell, ill, id, wed.
_CONTRACTIONS = """
    don't didn't doesn't isn't wasn't aren't weren't couldn't wouldn't shouldn't mustn't needn't
    can't won't haven't hasn't hadn't ain't i'm i've you're you've you'll they're they've they'll
    we've that's that'll he's she's it's there's what's here's who's it'll it'd let's could've
    would've should've y'all
"""
_WITH_APOSTROPHE = {word.replace("'", ""): word for word in _CONTRACTIONS.split()}
_APOSTROPHES = str.maketrans("’‘ʼ`´", "'''''")


def plain_word(token: str) -> str:
    """A token of a transcript as the language backends read it.

    Lower case, compatibility forms unified, without what is not a letter or digit at either end,
    and with the apostrophe of a contraction: "dont" and "Don't" are both "don't".

    Returns
    -------
    The word; empty where the token is nothing but punctuation.
    """
    word = unicodedata.normalize("NFKC", token).translate(_APOSTROPHES).lower()
    inside = [n for n, letter in enumerate(word) if letter.isalnum()]
    if not inside:
        return ""
    word = word[inside[0] : inside[-1] + 1]
    return _WITH_APOSTROPHE.get(word, word)
