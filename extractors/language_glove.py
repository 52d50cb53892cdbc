"""Word vectors from a table (GloVe, Pennington et al., EMNLP 2014), read where they lie on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.spelling import plain_word
from extractors.weights import WEIGHTS, Weights, locate_weights

SIZE = 50  # of the table that ships
_ENDINGS = ("n't", "'s", "'re", "'ve", "'ll", "'d", "'m")


@dataclass(frozen=True)
class GloVe:
    """Tokens to vectors of a table, the same whatever stands around them.

    Attributes
    ----------
    path : a gensim ``KeyedVectors`` file (``KeyedVectors.save``, or this module's ``convert`` for
        tables in GloVe's own text format); None takes GloVe 6B 50d.
    size : values a vector of that file has.

    Notes
    -----
    Looked up, in this order: the token as it stands, its ``plain_word``, the mean of the two parts
    of a contraction as GloVe's own tokeniser cuts it ("did", "n't"), the mean of the parts of a
    hyphenated word. Else the row is NaN. Vectors are memory-mapped: only those used are read.
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
        make = f"rmfn vectors import TABLE.txt --out {self.path}"
        return (Weights(Path(self.path).stem, "word vectors", path=self.path, make=make),)

    @cached_property
    def _vectors(self) -> Any:
        (table,) = self.weights
        own = locate_weights(table)
        from gensim.models import KeyedVectors

        if self.path is not None:
            vectors = KeyedVectors.load(str(own), mmap="r")
            if vectors.vector_size != self.size:
                raise ValueError(
                    f"{own} holds vectors of {vectors.vector_size} values, the recipe says "
                    f"{self.size}"
                )
            return vectors
        import pyarrow.parquet

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
        One float32 [N_i, size] an utterance; NaN rows for words the table does not have.

        Raises
        ------
        WeightsMissing : the table is not on this machine.
        """
        return [
            np.array([self._look_up(token) for token in tokens], np.float32).reshape(-1, self.size)
            for tokens in utterances
        ]

    def count_unknown(self, utterances: Sequence[Sequence[str]]) -> int:
        """How many tokens with a letter or digit in them the table has no vector for."""
        return sum(
            bool(plain_word(token)) and bool(np.isnan(self._look_up(token)).any())
            for tokens in utterances
            for token in tokens
        )

    def _look_up(self, token: str) -> NDArray[np.float32]:
        table = self._vectors
        word = plain_word(token)
        if word:
            for parts in ((token,), (word,), _cut_contraction(word), tuple(word.split("-"))):
                if parts and all(part in table for part in parts):
                    return np.mean([table[part] for part in parts], axis=0)
        return np.full(self.size, np.nan, np.float32)


def _cut_contraction(word: str) -> tuple[str, ...]:
    """ "didn't" -> ("did", "n't"); empty if it is none."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) > len(ending):
            return word[: -len(ending)], ending
    return ()


def convert(table: Path, out: Path) -> int:
    """Turn a table in GloVe's text format (a word and its values a line) into gensim's.

    gensim's own reader stops at the few words of GloVe 840B that have spaces in them.

    Returns
    -------
    How many words the table has.

    Raises
    ------
    ValueError : a line with another number of values than the first.
    """
    from gensim.models import KeyedVectors

    with table.open(encoding="utf-8", newline="\n") as lines:
        size = len(next(lines).split(" ")) - 1
        count = 1 + sum(1 for _ in lines)
    words, values = [], np.empty((count, size), np.float32)
    with table.open(encoding="utf-8", newline="\n") as lines:
        for number, line in enumerate(lines):
            word, *numbers = line.rstrip("\n").rsplit(" ", size)
            try:
                values[number] = [float(value) for value in numbers]
            except ValueError as error:
                raise ValueError(
                    f"{table}: line {number + 1}: expected a word and {size} numbers"
                ) from error
            words.append(word)
    vectors = KeyedVectors(size)
    vectors.index_to_key = words
    # Of a word that comes twice the first, which is the more frequent, counts.
    vectors.key_to_index = {word: n for n, word in reversed(list(enumerate(words)))}
    vectors.vectors = values
    out.parent.mkdir(parents=True, exist_ok=True)
    vectors.save(str(out), separately=["vectors"])
    return count


if __name__ == "__main__":
    import sys

    if len(sys.argv) != 3:
        sys.exit("usage: python -m extractors.language_glove TABLE.txt OUT.kv")
    print(f"{convert(Path(sys.argv[1]), Path(sys.argv[2]))} words -> {sys.argv[2]}")
