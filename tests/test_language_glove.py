"""The table against the file it was read from."""

from __future__ import annotations

import numpy as np
import pytest

from extractors.language_glove import GloVe, _cut_contraction, convert
from extractors.weights import WeightsMissing, locate_weights


@pytest.fixture
def small_table(tmp_path):
    from gensim.models import KeyedVectors

    vectors = KeyedVectors(3)
    words = ["good", "Paris", "paris", "did", "n't", "well", "made"]
    vectors.add_vectors(words, np.arange(21, dtype=np.float32).reshape(7, 3))
    path = tmp_path / "table.kv"
    vectors.save(str(path))
    return path


def test_words_are_looked_up_in_order_of_trust(small_table):
    table = GloVe(path=str(small_table), size=3)
    (rows,) = table([["Good!", "Paris", "PARIS", "didnt", "well-made", "qzx", "..."]])
    assert rows.dtype == np.float32
    assert rows[0].tolist() == [0, 1, 2]
    assert rows[1].tolist() == [3, 4, 5]  # as it stands
    assert rows[2].tolist() == [6, 7, 8]
    assert rows[3].tolist() == [10.5, 11.5, 12.5]  # did + n't
    assert rows[4].tolist() == [16.5, 17.5, 18.5]
    assert np.isnan(rows[5:]).all()


def test_unknown_words_are_counted_and_punctuation_is_not(small_table):
    table = GloVe(path=str(small_table), size=3)
    assert table.count_unknown([["Good!", "qzx", "..."], ["qzx"], []]) == 2


def test_size_must_be_the_files(small_table):
    with pytest.raises(ValueError, match="vectors of 3 values, the recipe says 50"):
        GloVe(path=str(small_table))([["good"]])


def test_missing_table_is_named():
    with pytest.raises(WeightsMissing, match=r"missing; looked at: /nowhere\.kv.*vectors import TABLE"):
        GloVe(path="/nowhere.kv")([["good"]])


def test_a_table_in_text_format_is_converted(tmp_path):
    """With words that have spaces in them, and one that comes twice, as in GloVe 840B."""
    lines = ["good 1 2.5 -3", ". . . 4 5 6", "at name@domain.com 7 8 9", "good 0 0 0", "é 1e-3 0 0"]
    (tmp_path / "table.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    out = tmp_path / "new" / "table.kv"
    assert convert(tmp_path / "table.txt", out) == 5
    table = GloVe(path=str(out), size=3)
    (rows,) = table([["Good", "é", "unqzx"]])
    np.testing.assert_allclose(rows[:2], [[1, 2.5, -3], [1e-3, 0, 0]], rtol=1e-6)
    assert np.isnan(rows[2]).all()
    assert table._vectors[". . ."].tolist() == [4, 5, 6]
    assert isinstance(table._vectors.vectors, np.memmap)
    (tmp_path / "table.txt").write_text("good 1 2\nbad 1 x\n")
    with pytest.raises(ValueError, match=r"line 2: expected a word and 2 numbers"):
        convert(tmp_path / "table.txt", out)


def test_contractions_are_cut_as_the_tables_tokeniser_does():
    assert _cut_contraction("didn't") == ("did", "n't")
    assert _cut_contraction("they're") == ("they", "'re")
    assert _cut_contraction("good") == ()
    assert _cut_contraction("n't") == ()


@pytest.mark.slow
def test_the_shipped_table_is_read_where_it_lies():
    import pyarrow.parquet

    table = GloVe()
    rows, empty = table([["The", "movie", "wasn't", "unqzx"], []])
    assert rows.shape == (4, 50)
    assert empty.shape == (0, 50)
    folder = locate_weights("glove-6b-50d")
    words = pyarrow.parquet.read_table(folder / "glove_6B_index.parquet").column(0).to_pylist()
    values = np.load(folder / "glove_6B_50d_emb.npy", mmap_mode="r")
    assert np.array_equal(rows[1], values[words.index("movie")])
    assert rows[2] == pytest.approx(values[[words.index("was"), words.index("n't")]].mean(0))
    assert np.isnan(rows[3]).all()
    assert isinstance(table._vectors.vectors, np.memmap)
