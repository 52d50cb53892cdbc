"""Published tables of word vectors, made small here, against gensim's own readers and by hand."""

from __future__ import annotations

import gzip
import json
import os
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from extractors.language_glove import GloVe
from extractors.weights import WeightsDamaged
from extractors.word_vectors import import_table, open_table
from flows.vectors import import_vectors

WORDS = ["the", "Paris", "New York", ". . .", "é", "at name@domain.com", "the", "a\x85b", "1 2"]


def glove(path, words=WORDS, size=3):
    """GloVe's text, as its own program writes it."""
    rows = np.arange(len(words) * size, dtype=np.float32).reshape(-1, size) / 4
    lines = [f"{word} {' '.join(map(str, row))}\n" for word, row in zip(words, rows, strict=True)]
    path.write_text("".join(lines), encoding="utf-8", newline="\n")
    return rows


def made(source, folder, **settings):
    folder.mkdir()
    return import_table(source, folder, **settings)


def test_a_glove_table_with_words_that_have_spaces_and_one_that_comes_twice(tmp_path):
    rows = glove(tmp_path / "table.txt")
    done = made(tmp_path / "table.txt", tmp_path / "out")
    assert (done.form, done.words, done.size) == ("GloVe text", 8, 3)
    assert (done.with_spaces, done.repeated, done.broken) == (4, 1, 0)
    table = open_table(tmp_path / "out")
    assert isinstance(table.vectors, np.memmap)
    assert len(table) == 8
    for word in WORDS:
        # Of a word that comes twice the first, which is the more frequent, counts.
        assert table[word].tolist() == rows[WORDS.index(word)].tolist()
    assert "the " not in table
    assert 3 not in table.key_to_index
    assert table.index_to_key[1:3] == ["Paris", "New York"]
    assert table.most_similar("Paris", topn=1)[0][0] in WORDS  # gensim's own methods work on it
    assert json.loads((tmp_path / "out/table.json").read_text())["repeated"] == 1


def test_no_word_is_lost_among_many(tmp_path):
    rng = np.random.default_rng(0)
    letters = list("abcäß€𝄞z-'")
    words = sorted({"".join(rng.choice(letters, rng.integers(1, 6))) for _ in range(5000)})
    rng.shuffle(words)
    rows = glove(tmp_path / "table.txt", words, 2)
    made(tmp_path / "table.txt", tmp_path / "out")
    table = open_table(tmp_path / "out")
    assert [table.key_to_index[word] for word in words] == list(range(len(words)))
    assert np.array_equal(table.vectors, rows)
    assert not [word for word in (f"{words[0]}q", "", "zzzzzzz", "𝄞𝄞𝄞𝄞𝄞𝄞") if word in table]


@pytest.mark.parametrize("binary", [False, True])
def test_word2vec_tables_as_gensim_writes_them(binary, tmp_path):
    from gensim.models import KeyedVectors

    vectors = KeyedVectors(4)
    rows = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    vectors.add_vectors(["</s>", "New_York", "naïve"], rows)
    vectors.save_word2vec_format(str(tmp_path / "table"), binary=binary)
    done = made(tmp_path / "table", tmp_path / "out")
    assert done.form == ("word2vec binary" if binary else "word2vec text")
    table = open_table(tmp_path / "out")
    assert list(table.index_to_key) == ["</s>", "New_York", "naïve"]
    assert np.allclose(table.vectors, rows, rtol=1e-6)


def test_google_news_has_no_line_feed_between_entries(tmp_path):
    entries = [("in", [1.0, -2.5]), ("for", [0.5, 3e10])]
    data = b"2 2\n" + b"".join(
        word.encode() + b" " + struct.pack("<2f", *row) for word, row in entries
    )
    (tmp_path / "table.bin").write_bytes(data)
    made(tmp_path / "table.bin", tmp_path / "out")
    table = open_table(tmp_path / "out")
    assert [table[word].tolist() for word, _ in entries] == [
        np.float32(row).tolist() for _, row in entries
    ]
    (tmp_path / "cut.bin").write_bytes(data[:-3])
    with pytest.raises(ValueError, match=r"cut\.bin: entry 2: the file ends within its values"):
        made(tmp_path / "cut.bin", tmp_path / "cut")


def test_fasttext_ends_its_lines_with_a_space_and_tables_come_packed(tmp_path):
    text = b"2 3\nbonjour 1 2 3 \nmonde -1 -2 -3 \n"
    (tmp_path / "cc.fr.vec").write_bytes(text)
    with gzip.open(tmp_path / "cc.fr.vec.gz", "wb") as file:
        file.write(text)
    with zipfile.ZipFile(tmp_path / "cc.fr.zip", "w") as archive:
        archive.writestr("cc.fr.vec", text)
    for number, name in enumerate(("cc.fr.vec", "cc.fr.vec.gz", "cc.fr.zip")):
        told: list = []
        out = tmp_path / str(number)
        done = made(tmp_path / name, out, progress=lambda *share, told=told: told.append(share))
        assert (done.form, done.words) == ("word2vec text", 2)
        assert open_table(out)["monde"].tolist() == [-1, -2, -3]
        assert told == [(len(text), None if name.endswith("gz") else len(text))]
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.txt", "a 1")
        archive.writestr("b.txt", "b 1")
    with pytest.raises(ValueError, match=r"two\.zip: it holds a\.txt, b\.txt: unpack"):
        made(tmp_path / "two.zip", tmp_path / "two")


GOOD = "a 1 2 3\nb 4 5 6\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{GOOD}c 7 8\n", r"line 3 \(c\): a word and 2 numbers, expected 3"),
        (f"{GOOD}c 7 x 9\n", r"line 3 \(c\): could not convert string to float: b?'x'"),
        (f"{GOOD}c 7 nan 9\n", r"line 3 \(c\): not all values are finite"),
        (f"{GOOD}c 7 1e99 9\n", r"line 3 \(c\): not all values are finite"),
        (f"{GOOD} 7 8 9\n", r"line 3 \(\): no word before the numbers"),
        (f"{GOOD}\n", r"line 3 \(\): a word and 0 numbers, expected 3"),
    ],
)
def test_a_broken_line_is_refused_by_its_number_or_counted(text, message, tmp_path):
    (tmp_path / "table.txt").write_text(text)
    with pytest.raises(ValueError, match=rf"table\.txt: {message}.*--skip-broken"):
        made(tmp_path / "table.txt", tmp_path / "out")
    done = made(tmp_path / "table.txt", tmp_path / "skipped", skip_broken=True)
    assert (done.words, done.broken, len(done.first_broken)) == (2, 1, 1)
    assert list(open_table(tmp_path / "skipped").index_to_key) == ["a", "b"]


def test_a_word_that_is_no_text(tmp_path):
    (tmp_path / "table.txt").write_bytes(b"a 1 2\n\xff\xfe 1 2\n")
    with pytest.raises(ValueError, match=r"line 2 \(b'\\xff\\xfe'\): the word is not UTF-8"):
        made(tmp_path / "table.txt", tmp_path / "out")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected a word and numbers on each line, found none"),
        (b"once upon a time\nthere was\n", "expected a word and numbers on each line, found none"),
        (b"3 2\na 1 2\nb 3 4\n", "its header says 3 words, it has 2"),
        (b"1 2\na 1 2\nb 3 4\n", "its header says 1 words, it has 2"),
        (b"1 99999999999\na 1 2\n", "its header says 99999999999"),
        (b"9 2\n" + b"x" * 20000, "entry 1 is no word"),
        (b"0 2\n", "there is not one word"),
    ],
)
def test_what_is_no_table_is_refused(data, message, tmp_path):
    (tmp_path / "table.txt").write_bytes(data)
    with pytest.raises(ValueError, match=rf"table\.txt: .*{message}"):
        made(tmp_path / "table.txt", tmp_path / "out")


def test_packed_files_that_are_damaged_are_refused(tmp_path):
    packed = gzip.compress(GOOD.encode() * 100)
    (tmp_path / "cut.gz").write_bytes(packed[:-20])
    with pytest.raises(ValueError, match=r"cut\.gz: "):
        made(tmp_path / "cut.gz", tmp_path / "out")


def test_a_kept_table_that_is_damaged_is_refused(tmp_path):
    glove(tmp_path / "table.txt")
    made(tmp_path / "table.txt", tmp_path / "out")
    with pytest.raises(WeightsDamaged, match="not a table of word vectors"):
        open_table(tmp_path)
    np.save(tmp_path / "out/vectors.npy", np.zeros((2, 3), np.float32))
    with pytest.raises(WeightsDamaged, match=r"8 words, but vectors float32 \[2, 3\]"):
        open_table(tmp_path / "out")
    np.save(tmp_path / "out/vectors.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(WeightsDamaged, match="not a table of word vectors"):
        open_table(tmp_path / "out")  # a pickle in it is not run


def test_opening_reads_next_to_nothing(tmp_path):
    """A table of 40 MB costs a twentieth of that to open and look up in: bytes, not seconds."""
    count, size = 20_000, 500
    with (tmp_path / "table.bin").open("wb") as file:
        file.write(f"{count} {size}\n".encode())
        row = struct.pack(f"<{size}f", *range(size))
        for number in range(count):
            file.write(f"word{number} ".encode() + row)
    made(tmp_path / "table.bin", tmp_path / "out")
    code = f"""
import resource, pyarrow, gensim.models
from pathlib import Path
from extractors.word_vectors import open_table
begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
table = open_table(Path({str(tmp_path / "out")!r}))
assert table["word19999"][499] == 499 and "word20000" not in table
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - begin)
"""
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True
    )
    assert int(ran.stdout) * 1024 < count * size * 4 / 20


def command(*arguments, home):
    """``rmfn vectors import`` in a process of its own, as one types it."""
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", "vectors", "import", *arguments],
        capture_output=True, text=True, timeout=300, env={**os.environ, "HOME": str(home)},
    )  # fmt: skip


def test_the_command_writes_where_the_papers_recipe_reads(tmp_path):
    from pipeline.recipe import load_recipe

    glove(tmp_path / "glove.840B.300d.txt", size=300)
    ran = command(str(tmp_path / "glove.840B.300d.txt"), home=tmp_path)
    assert (ran.returncode, ran.stdout.splitlines()[0]) == (
        0,
        "glove.840B.300d.txt: GloVe text, 8 words of 300 values, words with spaces: 4, "
        "repeated and left out: 1",
    )
    (folder,) = (tmp_path / "rmfn-weights").iterdir()  # and nothing half written beside it
    (backend,) = load_recipe("paper").language
    assert f"~/rmfn-weights/{folder.name}" == backend.path
    assert GloVe(path=str(folder), size=backend.size)([["Paris"]])[0].shape == (1, 300)


def test_a_refused_table_leaves_what_was_there(tmp_path):
    glove(tmp_path / "table.txt")
    out = tmp_path / "out"
    import_vectors(tmp_path / "table.txt", out)
    before = (out / "SHA256SUMS").read_text()
    (tmp_path / "table.txt").write_text(f"{GOOD}c 1\n")
    with pytest.raises(ValueError, match="line 3"):
        import_vectors(tmp_path / "table.txt", out)
    assert (out / "SHA256SUMS").read_text() == before
    (tmp_path / "table.txt").write_text(GOOD)
    import_vectors(tmp_path / "table.txt", out)  # another takes its place
    assert len(open_table(out)) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "table.txt"]
    (tmp_path / "thesis").mkdir()
    with pytest.raises(ValueError, match="thesis is there and is no table of word vectors"):
        import_vectors(tmp_path / "table.txt", tmp_path / "thesis")
