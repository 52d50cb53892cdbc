"""The encoder against its own library called plainly, and what must not change a vector."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from extractors.language_minilm import MiniLM, _windows
from extractors.weights import WeightsMissing, locate_weights


@pytest.fixture(scope="module")
def minilm() -> MiniLM:
    return MiniLM(threads=1)


def test_windows_hold_every_word_once_and_are_alike():
    lengths = [1, 2, 3] * 100
    windows = _windows(lengths, 50)
    assert windows[0][0] == 0
    assert windows[-1][1] == len(lengths)
    assert all(a[1] == b[0] for a, b in itertools.pairwise(windows))
    sizes = [sum(lengths[first:last]) for first, last in windows]
    assert max(sizes) <= 50
    assert min(sizes) > 30


def test_what_fits_is_not_cut_and_a_monster_word_stands_alone():
    assert _windows([1] * 50, 50) == [(0, 50)]
    assert _windows([1, 80, 1], 50) == [(0, 1), (1, 2), (2, 3)]
    assert _windows([7], 50) == [(0, 1)]


def test_names_need_no_model():
    assert MiniLM(path="/nowhere").names[-1] == "minilm.383"
    assert MiniLM() == MiniLM(threads=3)


def test_missing_weights_are_named():
    with pytest.raises(WeightsMissing, match=r"minilm .* is missing; looked at: /nowhere"):
        MiniLM(path="/nowhere")([["a"]])


@pytest.mark.slow
def test_agrees_with_the_library_called_plainly(minilm):
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = locate_weights("minilm")
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    words = ["this", "unbelievably", "watchable", "movie", "didn't", "disappoint"]
    encoded = tokenizer([*words, "."], is_split_into_words=True, return_tensors="pt")
    with torch.no_grad():
        states = model(**encoded, output_hidden_states=True).hidden_states
    place = np.array([-1 if n is None else n for n in encoded.word_ids()])
    assert (np.bincount(place[place >= 0]) > 1).any()  # some word has several pieces
    for layers in (1, 2):
        last = torch.stack(states[-layers:]).mean(0)[0].numpy()
        expected = [last[place == n].mean(0) for n in range(len(words))]
        (rows,) = MiniLM(layers=layers, threads=1)([words])
        assert rows.dtype == np.float32
        assert rows == pytest.approx(np.array(expected), abs=1e-5)


@pytest.mark.slow
def test_spelling_and_company_do_not_matter(minilm):
    written = ["I", "didn't", "—", "like", "it!", "[sad", "music]"]
    heard = ["i", "didnt", "like", "it"]
    rows, other, empty, punctuation, _ = minilm([written, heard, [], ["...", "!"], ["long"] * 40])
    assert np.isnan(rows[[2, 5, 6]]).all()
    assert np.array_equal(rows[[0, 1, 3, 4]], other)
    assert empty.shape == (0, 384)
    assert np.isnan(punctuation).all()
    assert np.array_equal(minilm([heard])[0], other)


@pytest.mark.slow
def test_context_matters_and_very_long_utterances_lose_no_word(minilm):
    good, bad = minilm([["not", "good"], ["very", "good"]])
    assert abs(good[1] - bad[1]).max() > 0.1
    (rows,) = minilm([["unbelievable", "movie"] * 400])
    assert rows.shape == (800, 384)
    assert np.isfinite(rows).all()


@pytest.mark.slow
def test_threads_are_given_back():
    import torch

    before = torch.get_num_threads()
    MiniLM(threads=before + 1)([["a"]])
    assert torch.get_num_threads() == before
