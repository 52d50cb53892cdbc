"""Word-in-context vectors from a sentence encoder (all-MiniLM-L6-v2).

Reimers & Gurevych, Sentence-BERT, EMNLP 2019; Wang et al., MiniLM, NeurIPS 2020; Hu et al., LoRA,
ICLR 2022.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.spelling import plain_word, without_notes
from extractors.threads import few_threads
from extractors.weights import WEIGHTS, Weights, WeightsDamaged, locate_weights

SIZE = 384
FRAME = 3  # pieces that ``frame_pieces`` adds
ADAPTER = "adapter.safetensors"  # its name in a checkpoint's folder
ADAPTED = "minilm-adapted"  # what its columns are called with an adapter


@dataclass(frozen=True)
class MiniLM:
    """Tokens to the encoder's hidden states, one vector a token.

    Attributes
    ----------
    path : folder of another encoder with 384 hidden units in the transformers format; None takes
        the one that ships.
    layers : the mean of this many last layers is taken.
    adapter : a low-rank adaptation: a .safetensors file (``rmfn.adapt`` makes them), or the name of
        a checkpoint that ships with one; None leaves the encoder as it is.
    threads : CPU threads (utterances are short, more only wait); None leaves torch's setting.

    Notes
    -----
    A token's vector is the mean over its word pieces. Words are read in the spelling of
    ``plain_word`` and every utterance as a sentence that ends in a full stop, whatever punctuation
    the transcript has (the encoder learned from written sentences; measured on CMU-MOSI, the full
    stop takes a linear probe's mean absolute error from .922 to .908 and the apostrophes from .932
    to .922). A token that is nothing but punctuation, or a note about sounds ("[Applause]"), is not
    read and its row is NaN.
    Utterances are encoded one by one, so that a vector does not depend on what else was asked for.
    """

    path: str | None = None
    layers: int = 1
    adapter: str | None = None
    threads: int | None = field(default=1, compare=False)

    @property
    def names(self) -> tuple[str, ...]:
        tool = "minilm" if self.adapter is None else ADAPTED
        return tuple(f"{tool}.{i}" for i in range(SIZE))

    @property
    def weights(self) -> tuple[Weights, ...]:
        """The encoder, and the adapter if there is to be one."""
        encoder = replace(WEIGHTS["minilm"], path=self.path)
        if self.adapter is None:
            return (encoder,)
        file = find_adapter(self.adapter)
        return encoder, Weights("adapter", f"adaptation of MiniLM, {self.adapter}", path=str(file))

    def load(self) -> tuple[Any, Any]:
        """The tokenizer and the model of the transformers library, read anew.

        Raises
        ------
        WeightsMissing : a file is not on this machine.
        """
        folder = locate_weights("minilm", self.path)
        from transformers import AutoModel, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
        if self.adapter is not None:
            _merge(model, locate_weights(self.weights[1]))
        return tokenizer, model

    @cached_property
    def _encoder(self) -> tuple[Any, Any]:
        return self.load()

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

        with few_threads(self.threads), torch.inference_mode():
            return [self._encode(tokens) for tokens in utterances]

    def _encode(self, tokens: Sequence[str]) -> NDArray[np.float32]:
        rows = np.full((len(tokens), SIZE), np.nan, np.float32)
        tokenizer, model = self._encoder
        spoken, pieces = split_words(tokenizer, tokens)
        if not spoken:
            return rows
        window = model.config.max_position_embeddings - FRAME
        for first, last in _windows([len(word) for word in pieces], window):
            rows[spoken[first:last]] = self._encode_window(
                [word[:window] for word in pieces[first:last]]
            )
        return rows

    def _encode_window(self, pieces: list[list[int]]) -> NDArray[np.float32]:
        """Word pieces of N words -> [N, 384]."""
        import torch

        tokenizer, model = self._encoder
        ids = torch.tensor([frame_pieces(tokenizer, list(itertools.chain(*pieces)))])
        hidden = model(ids, output_hidden_states=True).hidden_states
        states = torch.stack(hidden[-self.layers :]).mean(0)[0, 1:-2].numpy()  # [pieces, 384]
        counts = np.array([len(word) for word in pieces])
        sums = np.add.reduceat(states, np.cumsum(counts) - counts, axis=0)
        return (sums / counts[:, None]).astype(np.float32)


def split_words(tokenizer: Any, tokens: Sequence[str]) -> tuple[list[int], list[list[int]]]:
    """Which tokens are words, and the word pieces of each of these."""
    words = [plain_word(token) for token in without_notes(tokens)]
    spoken = [n for n, word in enumerate(words) if word]
    pieces = [
        tokenizer.encode(words[n], add_special_tokens=False) or [tokenizer.unk_token_id]
        for n in spoken
    ]
    return spoken, pieces


def frame_pieces(tokenizer: Any, pieces: Sequence[int]) -> list[int]:
    """Pieces as a sentence: [CLS], the pieces, a full stop, [SEP]."""
    stop = tokenizer.convert_tokens_to_ids(".")
    return [tokenizer.cls_token_id, *pieces, stop, tokenizer.sep_token_id]


def find_shipped(checkpoint: str) -> Path:
    """The folder of a checkpoint that ships, whether it is there or not."""
    # Only where the package lies is asked; nothing of it is needed here.
    return Path(str(files("rmfn"))) / "checkpoints" / checkpoint


def find_adapter(adapter: str) -> Path:
    """The file of an adaptation, named as ``MiniLM.adapter`` names it, whether there or not."""
    file = Path(adapter).expanduser()
    return file if file.suffix == ".safetensors" else find_shipped(adapter) / ADAPTER


def _merge(model: Any, file: Path) -> None:
    """Add to each adapted weight the product of its two factors."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        factors = load_file(file)
        for key in factors:
            layer, _, factor = key.rpartition(".")
            if factor == "up":
                weight = model.get_submodule(layer).weight
                weight.data += factors[key] @ factors[f"{layer}.down"]
    except (SafetensorError, KeyError, AttributeError, RuntimeError) as e:
        raise WeightsDamaged(f"{file} is no adapter of this encoder: {e}") from e


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
