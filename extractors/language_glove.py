"""Word vectors from a table (GloVe, Pennington et al., EMNLP 2014), read where they lie on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.spelling import plain_word
from extractors.weights import locate_weights

SIZE = 50  # of the table that ships
_ENDINGS = ("n't", "'s", "'re", "'ve", "'ll", "'d", "'m")


@dataclass(frozen=True)
class GloVe:
    """Tokens to vectors of a table, the same whatever stands around them.

    Attributes
    ----------
    path : a gensim ``KeyedVectors`` file (``KeyedVectors.save``); None takes GloVe 6B 50d.
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

    @cached_property
    def _vectors(self) -> Any:
        place = locate_weights("glove-6b-50d", self.path)
        from gensim.models import KeyedVectors

        if self.path is not None:
            vectors = KeyedVectors.load(str(place), mmap="r")
            if vectors.vector_size != self.size:
                raise ValueError(
                    f"{place} holds vectors of {vectors.vector_size} values, the recipe says "
                    f"{self.size}"
                )
            return vectors
        import pyarrow.parquet

        vectors = KeyedVectors(SIZE)
        index = pyarrow.parquet.read_table(place / "glove_6B_index.parquet")
        vectors.index_to_key = index.column(0).to_pylist()
        vectors.key_to_index = {word: n for n, word in enumerate(vectors.index_to_key)}
        vectors.vectors = np.load(place / "glove_6B_50d_emb.npy", mmap_mode="r")
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
