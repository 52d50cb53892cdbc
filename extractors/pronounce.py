"""From a written token to the phones of the Sphinx model: spell out, look up, or guess.

Three steps, each usable alone:

1. ``spell_out``: "$5.50" is spoken "five point five dollars". Numbers, money, ordinals, times and
   units are spelt out by the English grammars of WeText (weighted finite-state transducers), the
   few things it leaves over (decades, symbols standing alone) by rule.
2. The CMU pronouncing dictionary that comes with pocketsphinx, with all its variants.
3. ``guess_phones``: words outside the dictionary go to espeak-ng, whose IPA is mapped to the 39
   ARPAbet phones of the dictionary. What was guessed is marked.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from extractors.weights import locate_weights

# The phones of the CMU dictionary and of the Sphinx acoustic model (without its noises).
PHONES = frozenset({
    "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G", "HH",
    "IH", "IY", "JH", "K", "L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH", "T", "TH", "UH",
    "UW", "V", "W", "Y", "Z", "ZH",
})  # fmt: skip

# A token spoken as several words, each with several pronunciations, has the product of them; more
# than this many only slow the aligner down.
MAX_VARIANTS = 8

# espeak-ng's IPA for US English -> ARPAbet, longest match first. The flap and the glottal stop are
# written T, as the dictionary does ("butter" B AH T ER, "button" B AH T AH N).
IPA_TO_ARPABET = {
    "aɪ": "AY", "aʊ": "AW", "eɪ": "EY", "oʊ": "OW", "ɔɪ": "OY", "tʃ": "CH", "dʒ": "JH",
    "oɹ": "AO R", "n̩": "AH N", "l̩": "AH L", "m̩": "AH M",
    "ɚ": "ER", "ɜ": "ER", "ɝ": "ER", "ə": "AH", "ɐ": "AH", "ʌ": "AH", "ɪ": "IH", "ᵻ": "IH",
    "i": "IY", "y": "UW", "ɛ": "EH", "e": "EY", "æ": "AE", "ɑ": "AA", "ɒ": "AA", "a": "AA",
    "ɔ": "AO", "o": "OW", "ʊ": "UH", "u": "UW",
    "b": "B", "d": "D", "ð": "DH", "f": "F", "ɡ": "G", "g": "G", "h": "HH", "ç": "HH", "k": "K",
    "x": "K", "l": "L", "ɬ": "L", "m": "M", "n": "N", "ɲ": "N Y", "ŋ": "NG", "p": "P", "ɹ": "R",
    "r": "R", "s": "S", "ʃ": "SH", "t": "T", "ɾ": "T", "ʔ": "T", "θ": "TH", "v": "V", "w": "W",
    "j": "Y", "z": "Z", "ʒ": "ZH",
}  # fmt: skip
_IPA = re.compile("|".join(sorted(map(re.escape, IPA_TO_ARPABET), key=len, reverse=True)))

# Written short, spoken long, and not (or wrongly) in the dictionary.
ABBREVIATIONS = {
    "vs": "versus",
    "prof": "professor",
    "approx": "approximately",
    "dept": "department",
    "mins": "minutes",
    "secs": "seconds",
    "w/": "with",
    "w/o": "without",
    "24/7": "twenty four seven",
}
# Symbols that are read aloud when they stand alone or where the grammars give up.
SYMBOLS = {
    "&": "and", "+": "plus", "=": "equals", "%": "percent", "@": "at", "#": "number",
    "$": "dollar", "£": "pound", "€": "euro", "¢": "cents", "°": "degrees", "№": "number",
}  # fmt: skip

_DECADE = re.compile(r"'?(\d*\d0)'?s")
# Digits, symbols and the dots of addresses ("example.org") need a grammar; letters do not.
_GRAMMATICAL = re.compile(r"[\d" + re.escape("".join(SYMBOLS)) + r"]|[a-z]\.[a-z]{2,}")
_OUTER = '"“”„«»()[]{}<>,;:!?…¿¡*_~|\\`^♪♫'


@dataclass(frozen=True)
class Pronunciation:
    """How a token is spoken.

    Attributes
    ----------
    spoken : the words, lower case; empty for tokens that are not spoken ("—").
    variants : alternative phone sequences of the whole token, the likeliest first; empty as above.
    guessed : at least one word is not in the dictionary, so its phones come from rules.
    """

    spoken: tuple[str, ...]
    variants: tuple[tuple[str, ...], ...]
    guessed: bool


@lru_cache(maxsize=65536)
def pronounce(token: str) -> Pronunciation:
    """Find the pronunciations of one whitespace-separated token.

    Examples
    --------
    >>> pronounce("3rd,").variants[0]
    ('TH', 'ER', 'D')
    >>> pronounce("—").spoken
    ()
    """
    spoken: list[str] = []
    choices: list[list[tuple[str, ...]]] = []
    guessed = False
    for word in spell_out(token):
        variants = look_up(word)
        if not variants:
            variants = [phones] if (phones := guess_phones(word)) else []
            guessed = guessed or bool(variants)
        if variants:
            spoken.append(word)
            choices.append(variants)
    if not spoken:
        return Pronunciation((), (), False)
    if len(spoken) == 1 and _is_initialism(token):
        # "US", "IT": written like letters, found like a word. The sound decides.
        choices[0] = choices[0] + [_join_letters(spoken[0])]
    combined = []
    for parts in product(*choices):
        phones = tuple(phone for part in parts for phone in part)
        if phones not in combined:
            combined.append(phones)
        if len(combined) == MAX_VARIANTS:
            break
    return Pronunciation(tuple(spoken), tuple(combined), guessed)


def spell_out(token: str) -> tuple[str, ...]:
    """Turn a written token into the words one says, lower case; none if it is not spoken."""
    text = unicodedata.normalize("NFKC", token).replace("’", "'").replace("‘", "'")
    text = text.replace("\u2044", "/").replace("–", "-").replace("—", "-").replace("−", "-")
    text = text.strip(_OUTER)
    lower = text.lower()
    for form in (lower, lower.rstrip("."), lower.strip("-'.")):
        if form in ABBREVIATIONS:
            return tuple(ABBREVIATIONS[form].split())
        if form in lexicon() and (form[0].isalnum() or form[0] == "'"):
            return (form,)
    if not any(character.isalnum() for character in text):
        return tuple(SYMBOLS[character] for character in text if character in SYMBOLS)
    if not _GRAMMATICAL.search(text):
        return tuple(_split_words(text))
    if decade := _DECADE.fullmatch(lower):
        *head, last = _say_number(decade[1]).split()
        return (*head, last[:-1] + "ies" if last.endswith("y") else last + "s")
    return tuple(_split_words(_say_number(text.rstrip(".").lstrip("'"))))


def _say_number(text: str) -> str:
    """Let the grammars spell out what holds digits or symbols; pieces of it where they give up."""
    pieces = [text]
    for attempt in range(2):
        try:
            said = " ".join(_normaliser().normalize(piece) for piece in pieces)
        except AssertionError:  # WeText's way to say "this is not in my grammar"
            if attempt == 0:
                pieces = re.findall(r"\d+(?:[.,:]\d+)*|[^\W\d_]+(?:'[^\W\d_]+)*|[^\w\s]", text)
                pieces = [SYMBOLS.get(piece, piece) for piece in pieces]
            continue
        break
    else:
        said = text
    said = re.sub(r"\d", lambda digit: f" {_DIGITS[int(digit[0])]} ", said)
    return "".join(f" {SYMBOLS[c]} " if c in SYMBOLS else c for c in said)


_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@lru_cache(maxsize=1)
def _normaliser():
    from wetext import Normalizer

    return Normalizer(lang="en", operator="tn")


def _split_words(text: str) -> Iterator[str]:
    """Cut at everything that is not a letter or an apostrophe; spell capitals that are letters."""
    for part in re.split(r"[^\w']+|[\d_]+", text):
        word = part.strip("'")
        if not word:
            continue
        lower = word.lower()
        if lower not in lexicon() and (stripped := _strip_accents(lower)) in lexicon():
            lower = stripped
        if lower in lexicon() or not _is_initialism(word):
            # iPhone, McDonald: look up whole, else cut where a small letter meets a capital.
            humps = re.findall(r"[^\W\d_][^\WA-Z\d_]*|[A-Z]+(?![a-z])", word)
            if (
                lower not in lexicon()
                and len(humps) > 1
                and all(hump.lower() in lexicon() and len(hump) > 2 for hump in humps)
            ):
                yield from (hump.lower() for hump in humps)
            else:
                yield lower
        else:
            yield from (letter for letter in lower if letter != "'")


def _strip_accents(word: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFD", word) if not unicodedata.combining(c))


def _is_initialism(token: str) -> bool:
    letters = re.sub(r"[^A-Za-z]", "", token)
    return 2 <= len(letters) <= 4 and letters.isupper()


def _join_letters(word: str) -> tuple[str, ...]:
    return tuple(
        phone
        for letter in re.sub(r"[^a-z]", "", word)
        for phone in (look_up(letter + ".") or look_up(letter))[0]
    )


@lru_cache(maxsize=1)
def lexicon() -> dict[str, str]:
    """The dictionary as it is written: "word" and "word(2)" -> phones parted by spaces."""
    path = locate_weights("sphinx-en-us") / "cmudict-en-us.dict"
    with path.open(encoding="utf-8") as lines:
        return dict(line.rstrip("\n").split(" ", 1) for line in lines)


def look_up(word: str) -> list[tuple[str, ...]]:
    """All pronunciations the dictionary has for a lower-case word, in its order; none: []."""
    entries = lexicon()
    found = []
    name, number = word, 1
    while (phones := entries.get(name)) is not None:
        found.append(tuple(phones.split()))
        number += 1
        name = f"{word}({number})"
    return found


def guess_phones(word: str) -> tuple[str, ...]:
    """Phones of a word that is not in the dictionary; () if there is nothing to say.

    In this order: the apostrophe somebody left out ("didnt"), the possessive of a word that is
    there, and espeak-ng.
    """
    for tail in ("nt", "ve", "re", "ll", "d", "m", "s"):
        if word.endswith(tail):
            cut = -1 if tail == "nt" else -len(tail)
            if found := look_up(f"{word[:cut]}'{word[cut:]}"):
                return found[0]
    for tail in ("'s", "s'", "'"):
        if word.endswith(tail) and (base := word[: -len(tail)]):
            phones = (look_up(base) or [guess_phones(base)])[0]
            return phones + _plural(phones) if phones and tail != "'" else phones
    return _transcribe(word)


def _plural(phones: tuple[str, ...]) -> tuple[str, ...]:
    """The regular ending -s: IH Z after sibilants, S after voiceless consonants, else Z."""
    if phones[-1] in {"S", "Z", "SH", "ZH", "CH", "JH"}:
        return ("IH", "Z")
    return ("S",) if phones[-1] in {"P", "T", "K", "F", "TH"} else ("Z",)


# espeak-ng keeps its state in globals: one voice a process, one caller at a time.
_espeak_lock = threading.Lock()


@lru_cache(maxsize=1)
def _espeak():
    import espeakng_loader
    from phonemizer.backend.espeak.wrapper import EspeakWrapper

    EspeakWrapper.set_library(espeakng_loader.get_library_path())
    EspeakWrapper.set_data_path(espeakng_loader.get_data_path())
    espeak = EspeakWrapper()
    espeak.set_voice("en-us")
    return espeak


def _transcribe(word: str) -> tuple[str, ...]:
    with _espeak_lock:
        ipa = _espeak().text_to_phonemes(word)
    # A language switch is written "(fr)"; stress and length say nothing here.
    ipa = re.sub(r"\([a-z-]+\)|[ˈˌː_\s]", "", ipa)
    return tuple(phone for match in _IPA.findall(ipa) for phone in IPA_TO_ARPABET[match].split())
