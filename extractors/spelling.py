"""One spelling for words, wherever they were written down, and the words that one says for them.

Speech recognition writes "Didn't," where corpora of transcripts write "didnt" or "didn't". The
language backends read the form made here, so that the same words give the same vectors. An aligner
that hears letters wants "fünfundzwanzig" where the transcript has "25".
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any

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


# What subtitles for people who do not hear say of sounds. In round brackets words may be spoken as
# well, so there a sound must be named.
_SOUNDS = """
    applause applauding cheers cheering chuckles chuckling clapping coughs coughing crosstalk
    crying gasps inaudible indistinct laughs laughing laughter music sighs sighing silence singing
    sobbing sobs unintelligible clears
"""
_NOTE = re.compile(
    r"(?<!\S)(?:\[[^\[\]]*\]|<[^<>]*>|"
    rf"\((?=[^()]*\b(?:{'|'.join(_SOUNDS.split())})\b)[^()\s]+(?: [^()\s]+){{0,2}}\))"
    r"[.,:;!?]*(?!\S)",
    re.IGNORECASE,
)
LONGEST_NOTE = 12  # tokens; brackets that are further apart do not belong together


def without_notes(tokens: Sequence[str]) -> list[str]:
    """Tokens of a transcript as they stand, but empty where they are a note about sounds.

    Examples
    --------
    >>> without_notes("[upbeat music] Well, (Laughter) thank you (really).".split())
    ['', '', 'Well,', '', 'thank', 'you', '(really).']
    """
    left = list(tokens)
    # Where each begins in the text, and where one more would: each ends a space before the next.
    starts = list(accumulate((len(token) + 1 for token in tokens), initial=0))
    for note in _NOTE.finditer(" ".join(tokens)):
        first, last = bisect_left(starts, note.start()), bisect_right(starts, note.end() + 1) - 1
        if last - first <= LONGEST_NOTE:
            left[first:last] = [""] * (last - first)
    return left


# Read aloud, each by words that differ from language to language.
SYMBOLS = "&+=%@#$£€¢°№"
_NUMBER = re.compile(r"(\d+(?:[.,]\d+)*)([ºª]|[^\W\d_]*)")
# What makes a number the third instead of three.
_ORDINALS = {
    "fr": {"er", "re", "ère", "e", "ème", "ième", "nd", "nde"},
    "nl": {"e", "de", "ste"},
    "es": {"º", "ª", "er", "o", "a"},
    "it": {"º", "ª"},
    "pt": {"º", "ª"},
}
# Languages that write three and a half as 3.5; the others write 3,5.
_POINT = {"he", "hi", "ja", "ko", "ml", "te", "th", "ur", "zh"}
_HUNDREDS = {"da", "de", "nl", "no"}  # say nineteen hundred
_GRAMMARS = ("ja", "zh")  # of WeText, beside the English one


def spell_token(token: str, language: str) -> tuple[str, ...]:
    """Turn a written token into the words one says, lower case; none if it is not spoken.

    Numbers are spelt out: in English by `extractors.pronounce`, in Chinese and Japanese by the
    grammars of WeText, in others by num2words. Where none of them knows the language, and for
    symbols ("%") outside of these three languages, the token keeps what it was written with.

    Examples
    --------
    >>> spell_token("25%,", "de")
    ('fünfundzwanzig', '%')
    """
    if language == "en":
        from extractors.pronounce import spell_out

        return spell_out(token)
    text = re.sub(r"\d", lambda digit: str(int(digit[0])), token.translate(_APOSTROPHES))
    if language in _GRAMMARS:
        text = _read_aloud(language).normalize(text)
    text = _NUMBER.sub(lambda found: _say_number(found[1], found[2], language), text)
    text = unicodedata.normalize("NFKC", text).lower()
    spaced = (letter if _is_spoken(letter) else " " for letter in text)
    parted = "".join(f" {letter} " if letter in SYMBOLS else letter for letter in spaced)
    return tuple(word.strip("'") for word in parted.split() if word.strip("'"))


def _is_spoken(letter: str) -> bool:
    """Letters and the marks on them, digits that nobody spelt out, symbols that are read aloud."""
    return unicodedata.category(letter)[0] in "LMN" or letter == "'" or letter in SYMBOLS


def _say_number(number: str, tail: str, language: str) -> str:
    """What follows a number directly says whether it counts or puts in order."""
    point, other = (".", ",") if language in _POINT else (",", ".")
    written = number
    if re.fullmatch(rf"[1-9]\d{{0,2}}(?:\{other}\d{{3}})+(?:\{point}\d+)?", written):
        number = written.replace(other, "")
    if re.fullmatch(r"\d+", number) and tail.lower() in _ORDINALS.get(language, ()):
        return f" {_say_value(int(number), 'ordinal', language)} "
    if re.fullmatch(r"(?:0|[1-9]\d*)[.,]\d{1,6}", number):
        return f" {_say_value(float(number.replace(',', '.')), 'cardinal', language)} {tail} "
    # A date, a version, an address: part by part, and digit by digit where a part begins with 0.
    parts: list[str] = []
    for part in re.split("[.,]", number):
        parts += part if part[0] == "0" or len(part) > 15 else [part]
    year = language in _HUNDREDS and re.fullmatch(r"1[1-9]\d\d", written)
    to = "year" if year else "cardinal"
    return f" {' '.join(_say_value(int(part), to, language) for part in parts)} {tail} "


def _say_value(value: float, to: str, language: str) -> str:
    from num2words import num2words

    try:
        return num2words(value, lang=language, to=to)
    except (NotImplementedError, ValueError, KeyError, IndexError, OverflowError):
        return str(value)  # nobody here knows how to say it


@lru_cache(maxsize=len(_GRAMMARS))
def _read_aloud(language: str) -> Any:
    from wetext import Normalizer

    return Normalizer(lang=language, operator="tn")
