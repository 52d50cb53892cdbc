"""The table against the file it was read from."""

from __future__ import annotations

import numpy as np
import pytest

from extractors.language_glove import GloVe, _cut_contraction
from extractors.weights import WeightsDamaged, WeightsMissing, locate_weights
from extractors.word_vectors import import_table


@pytest.fixture
def small_table(tmp_path):
    """Each word's vector is its place in the list, three times."""

    def make(*words):
        source = tmp_path / "table.txt"
        source.write_text("".join(f"{word} {n} {n} {n}\n" for n, word in enumerate(words)))
        folder = tmp_path / "table"
        folder.mkdir()
        import_table(source, folder)
        return GloVe(path=str(folder), size=3)

    return make


KNOWN = [
    "good", "Paris", "paris", "did", "n't", "well", "made", "NASA", "oclock", "1000", "##.#",
    "<number>", "Obama", "'90s", "i", "'s", "don't", "O'Brien", "21st", "sister",
]  # fmt: skip


@pytest.mark.parametrize(
    ("token", "parts"),
    [
        ("Good!", ["good"]),
        ("Paris", ["Paris"]),  # as it stands
        ("Paris,", ["Paris"]),  # without the comma it is still the city
        ("PARIS", ["paris"]),
        ("obama", ["Obama"]),  # only known as a name
        ("nasa.", ["NASA"]),
        ("I", ["i"]),
        ("didnt", ["did", "n't"]),
        ("Didn’t", ["did", "n't"]),
        ("don't", ["don't"]),  # a table with the whole word
        ("sister's", ["sister", "'s"]),
        ("o'clock", ["oclock"]),
        ("O’Brien", ["O'Brien"]),
        ("1,000", ["1000"]),
        ("12.5", ["##.#"]),
        ("$7", ["<number>"]),
        ("3:30", ["<number>"]),
        ("'90s", ["'90s"]),
        ("21st", ["21st"]),
        ("well-made", ["well", "made"]),
        ("good/Paris", ["good", "Paris"]),
        ("Well-Made,", ["well", "made"]),
        ("qzx", []),
        ("well-qzx", []),  # half a word is none
        ("...", []),
        ("—", []),
    ],
)
def test_spellings_in_order_of_trust(token, parts, small_table):
    ((row,),) = small_table(*KNOWN)([[token]])
    assert row.dtype == np.float32
    expected = np.mean([KNOWN.index(part) for part in parts]) if parts else np.nan
    assert row.tolist() == pytest.approx([expected] * 3, nan_ok=True)


def test_words_without_a_vector_are_counted_in_the_quality(small_table):
    from extractors.types import Word, cover_words
    from pipeline.quality import describe_words
    from pipeline.sequence import AlignedSequence

    table, tokens = small_table("good", "film"), ["A", "good", "qzx", "film", "!", "[good", "film]"]
    words = tuple(Word(token, n, n + 0.5) for n, token in enumerate(tokens))
    rows = cover_words(table([tokens])[0], table.names)
    assert describe_words(AlignedSequence("c", words, {"language": rows}))["without_vector"] == 5


def test_size_must_be_the_tables(small_table):
    table = small_table("good")
    with pytest.raises(ValueError, match="vectors of 3 values, the recipe says 50"):
        GloVe(path=table.path)([["good"]])


def test_missing_table_is_named():
    with pytest.raises(
        WeightsMissing, match=r"missing; looked at: /nowhere; .*rmfn vectors import"
    ):
        GloVe(path="/nowhere")([["good"]])


def test_a_pickle_is_not_opened(tmp_path):
    """What gensim's ``save`` writes would run whatever is in it."""
    (tmp_path / "table.kv").write_bytes(b"cos\nsystem\n(S'echo pwned > pwned'\ntR.")
    with pytest.raises(WeightsDamaged, match=r"table\.kv is a file; .* rmfn vectors import"):
        GloVe(path=str(tmp_path / "table.kv"), size=3)([["good"]])


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
