"""Word-in-context vectors from a sentence encoder (all-MiniLM-L6-v2).

Reimers & Gurevych, Sentence-BERT, EMNLP 2019; Wang et al., MiniLM, NeurIPS 2020.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.spelling import plain_word
from extractors.weights import locate_weights

SIZE = 384


@dataclass(frozen=True)
class MiniLM:
    """Tokens to the encoder's hidden states, one vector a token.

    Attributes
    ----------
    path : folder of another encoder with 384 hidden units in the transformers format; None takes
        the one that ships.
    layers : the mean of this many last layers is taken.
    threads : CPU threads (utterances are short, more only wait); None leaves torch's setting.

    Notes
    -----
    A token's vector is the mean over its word pieces. Words are read in the spelling of
    ``plain_word`` and every utterance as a sentence that ends in a full stop, whatever punctuation
    the transcript has (the encoder learned from written sentences; measured on CMU-MOSI, the full
    stop takes a linear probe's mean absolute error from .922 to .908 and the apostrophes from .932
    to .922). A token that is nothing but punctuation is not read and its row is NaN.
    Utterances are encoded one by one, so that a vector does not depend on what else was asked for.
    """

    path: str | None = None
    layers: int = 1
    threads: int | None = field(default=1, compare=False)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"minilm.{i}" for i in range(SIZE))

    @cached_property
    def _encoder(self) -> tuple[Any, Any]:
        folder = locate_weights("minilm", self.path)
        from transformers import AutoModel, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        return tokenizer, AutoModel.from_pretrained(folder, local_files_only=True).eval()

    def __call__(self, utterances: Sequence[Sequence[str]]) -> list[NDArray[np.float32]]:
        """Encode every utterance.

        Returns
        -------
        One float32 [N_i, 384] an utterance; NaN rows where a token holds no word.

        Raises
        ------
        WeightsMissing : the encoder is not on this machine.
        """
        import torch

        before = torch.get_num_threads()
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        try:
            with torch.inference_mode():
                return [self._encode(tokens) for tokens in utterances]
        finally:
            torch.set_num_threads(before)

    def _encode(self, tokens: Sequence[str]) -> NDArray[np.float32]:
        rows = np.full((len(tokens), SIZE), np.nan, np.float32)
        words = [plain_word(token) for token in tokens]
        spoken = [n for n, word in enumerate(words) if word]
        if not spoken:
            return rows
        tokenizer, model = self._encoder
        pieces = [
            tokenizer.encode(words[n], add_special_tokens=False) or [tokenizer.unk_token_id]
            for n in spoken
        ]
        window = model.config.max_position_embeddings - 3  # room for [CLS], full stop and [SEP]
        for first, last in _windows([len(word) for word in pieces], window):
            rows[spoken[first:last]] = self._encode_window(
                [word[:window] for word in pieces[first:last]]
            )
        return rows

    def _encode_window(self, pieces: list[list[int]]) -> NDArray[np.float32]:
        """Word pieces of N words -> [N, 384]."""
        import torch

        tokenizer, model = self._encoder
        inner = [piece for word in pieces for piece in word]
        stop = tokenizer.convert_tokens_to_ids(".")
        ids = torch.tensor([[tokenizer.cls_token_id, *inner, stop, tokenizer.sep_token_id]])
        hidden = model(ids, output_hidden_states=True).hidden_states
        states = torch.stack(hidden[-self.layers :]).mean(0)[0, 1:-2].numpy()  # [pieces, 384]
        counts = np.array([len(word) for word in pieces])
        sums = np.add.reduceat(states, np.cumsum(counts) - counts, axis=0)
        return (sums / counts[:, None]).astype(np.float32)


def _windows(lengths: Sequence[int], limit: int) -> list[tuple[int, int]]:
    """Cut words into few runs of at most ``limit`` pieces, of about equal length.

    Equal runs leave no word at the very end almost without context.
    """
    sizes = np.minimum(lengths, limit)
    middles = np.cumsum(sizes) - sizes / 2
    parts = -(-int(sizes.sum()) // limit)
    while True:
        run = (middles * parts / sizes.sum()).astype(int)  # the run in which each word's middle is
        if np.bincount(run, sizes).max() <= limit:
            cuts = [0, *(np.flatnonzero(np.diff(run)) + 1).tolist(), len(sizes)]
            return list(itertools.pairwise(cuts))
        parts += 1
