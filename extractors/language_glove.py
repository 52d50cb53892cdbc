"""Word vectors from a table (GloVe, Pennington et al., EMNLP 2014; word2vec; fastText), read where
they lie on disk.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.spelling import plain_word, without_notes
from extractors.weights import SUMS, WEIGHTS, Weights, WeightsDamaged, locate_weights
from extractors.word_vectors import open_table

SIZE = 50  # of the table that ships
_ENDINGS = ("n't", "'s", "'re", "'ve", "'ll", "'d", "'m")


@dataclass(frozen=True)
class GloVe:
    """Tokens to vectors of a table, the same whatever stands around them.

    Attributes
    ----------
    path : a folder that ``rmfn vectors import`` made; None takes GloVe 6B 50d.
    size : values a vector of that table has.

    Notes
    -----
    A token has the vector of the first of its spellings that the table has; `spellings` lists them.
    Else the row is NaN, and the word is counted as one without a vector in the clip's quality.
    Vectors are memory-mapped: only those used are read.
    """

    path: str | None = None
    size: int = SIZE

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"glove.{i}" for i in range(self.size))

    @property
    def weights(self) -> tuple[Weights, ...]:
        """The table of these settings."""
        if self.path is None:
            return (WEIGHTS["glove-6b-50d"],)
        name = Path(self.path).name
        known = WEIGHTS.get(name, Weights(name, "word vectors", check=SUMS))
        make = f"rmfn vectors import TABLE.txt --out {self.path}"
        return (replace(known, path=self.path, make=make),)

    @cached_property
    def _vectors(self) -> Any:
        (table,) = self.weights
        own = locate_weights(table)
        if self.path is not None:
            if own.is_file():
                raise WeightsDamaged(
                    f"{own} is a file; make of a published table what opens fast and runs nothing: "
                    f"{table.make}"
                )
            vectors = open_table(own)
            if vectors.vector_size != self.size:
                raise ValueError(
                    f"{own} holds vectors of {vectors.vector_size} values, the recipe says "
                    f"{self.size}"
                )
            return vectors
        import pyarrow.parquet
        from gensim.models import KeyedVectors

        vectors = KeyedVectors(SIZE)
        index = pyarrow.parquet.read_table(own / "glove_6B_index.parquet")
        vectors.index_to_key = index.column(0).to_pylist()
        vectors.key_to_index = {word: n for n, word in enumerate(vectors.index_to_key)}
        vectors.vectors = np.load(own / "glove_6B_50d_emb.npy", mmap_mode="r")
        return vectors

    def __call__(self, utterances: Sequence[Sequence[str]]) -> list[NDArray[np.float32]]:
        """Look up every token.

        Returns
        -------
        One float32 [N_i, size] an utterance; NaN rows for words the table does not have, and for
        notes about sounds.

        Raises
        ------
        WeightsMissing : the table is not on this machine.
        """
        return [
            np.array([self._look_up(token) for token in without_notes(tokens)], np.float32).reshape(
                -1, self.size
            )
            for tokens in utterances
        ]

    def _look_up(self, token: str) -> NDArray[np.float32]:
        table = self._vectors
        for parts in spellings(token):
            if all(part in table for part in parts):
                return np.mean([table[part] for part in parts], axis=0)
        return np.full(self.size, np.nan, np.float32)


def spellings(token: str) -> Iterator[tuple[str, ...]]:
    """The ways in which a table may have a token, the most trusted first; of several words the mean
    is taken. A token without a letter or digit has none.

    1. As it stands; then without punctuation at its ends.
    2. Case: in lower case with the usual apostrophe (``plain_word``), Capitalised, in CAPITALS.
    3. Apostrophes: the parts of a contraction as GloVe's own tokeniser cuts it ("did", "n't"), then
       without any ("oclock").
    4. Numbers: "1,000" as "1000"; then with "#" for each digit, as word2vec's Google News table has
       them, or GloVe's "<number>".
    5. The parts of a word with hyphens or slashes, as they stand, then each as a ``plain_word``.
    """
    word, bare = plain_word(token), _strip(token)
    if not word:
        return
    yield from ((token,), (bare,), (word,), (word.capitalize(),), (word.upper(),))
    if parts := _cut_contraction(word):
        yield parts
    if "'" in word:
        yield (word.replace("'", ""),)
    if re.search(r"\d", word):
        plain = re.sub(r"(?<=\d),(?=\d{3})", "", word)
        yield from ((plain,), (re.sub(r"\d", "#", word),), (re.sub(r"\d", "#", plain),))
        if re.fullmatch(r"[\d.,:]+", plain):
            yield ("<number>",)
    pieces = [piece for piece in re.split("[-/‐–—]", bare) if piece]
    if len(pieces) > 1:
        yield from (tuple(pieces), tuple(plain_word(piece) or piece for piece in pieces))


def _strip(token: str) -> str:
    """Without what is neither letter nor digit at either end, the apostrophe straight; case is
    kept."""
    token = token.replace("’", "'")
    inside = [n for n, letter in enumerate(token) if letter.isalnum()]
    return token[inside[0] : inside[-1] + 1] if inside else ""


def _cut_contraction(word: str) -> tuple[str, ...]:
    """ "didn't" -> ("did", "n't"); empty if it is none."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) > len(ending):
            return word[: -len(ending)], ending
    return ()
