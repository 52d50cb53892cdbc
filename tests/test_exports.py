"""What is exported comes back as it was, and other programs find what they look for."""

from __future__ import annotations

import pickle
import pickletools
from dataclasses import replace

import h5py
import numpy as np
import parselmouth
import pytest
from hypothesis import given, settings

from extractors.types import Word, WordFeatures
from pipeline.errors import DatasetError
from rmfn.corpora_csd import dataset_from_csd
from rmfn.corpora_pickles import dataset_from_mmsa
from rmfn.dataset import hash_dataset
from rmfn.exports import export_csd, export_mmsa, write_textgrid
from rmfn.safe_pickle import load_pickle
from tests.datasets import make_dataset, same_dataset
from tests.test_dataset import datasets


def odd():
    """Names that a format cannot hold, splits that nobody gave, segments out of order."""
    dataset = make_dataset()
    return replace(
        dataset,
        name="opinion/labels",
        videos=("a/b[1].mp4", "a/b[1].mp4", "a_b_1__mp4", "a_b_1__mp4", "$_$", "$_$"),
        splits=("test", "", "train", "valid", "", "train"),
        labels={**dataset.labels, "more": np.arange(6) / 7},
    ).take([5, 0, 3, 1, 4, 2])


@pytest.mark.parametrize("make", [make_dataset, odd])
def test_sequences_come_back(tmp_path, make):
    files = export_csd(make(), tmp_path / "csd")
    assert {path.stem.rpartition("_")[2] for path in files} == {
        *("words", "labels", "language", "visual", "acoustic"),
    }
    same_dataset(dataset_from_csd(files), make())
    same_dataset(dataset_from_csd(list(reversed(files))), make())
    assert [path.name for path in tmp_path.iterdir()] == ["csd"]


@pytest.mark.parametrize("make", [make_dataset, odd])
def test_a_pickle_comes_back(tmp_path, make):
    export_mmsa(make(), tmp_path / "data.pkl")
    same_dataset(dataset_from_mmsa(tmp_path / "data.pkl"), make())
    assert [path.name for path in tmp_path.iterdir()] == ["data.pkl"]


@settings(max_examples=20, deadline=None)
@given(dataset=datasets())
def test_nothing_is_lost(tmp_path_factory, dataset):
    folder = tmp_path_factory.mktemp("data")
    if dataset.ids:  # an HDF5 file without any entry is no computational sequence
        columns = {m for s in dataset.sequences for m in s.features}
        same_values(dataset_from_csd(export_csd(dataset, folder / "csd")), dataset)
        assert columns == set(dataset.columns)
    export_mmsa(dataset, folder / "data.pkl")
    same_values(dataset_from_mmsa(folder / "data.pkl"), dataset)


def same_values(found, expected):
    """Infinite features, which no data set of ours has, may come back as "not measured"."""
    if all(
        not np.isinf(rows.values).any()
        for sequence in expected.sequences
        for rows in sequence.features.values()
    ):
        same_dataset(found, expected)
        assert hash_dataset(found) == hash_dataset(expected)


def test_the_sdk_finds_its_layout(tmp_path):
    dataset = make_dataset()
    for path in export_csd(dataset, tmp_path / "csd"):
        with h5py.File(path) as file:
            (root,) = file
            assert root == path.stem
            assert file[root]["metadata"]["root name"][0].decode() == root
            for key, entry in file[root]["data"].items():
                assert key.rpartition("[")[0] in dataset.videos
                assert len(entry["features"].shape) == len(entry["intervals"].shape) == 2
                assert len(entry["features"]) == len(entry["intervals"])
    with h5py.File(tmp_path / "csd" / "planted_words.csd") as file:
        entry = file["planted_words/data/v0[1]"]
        assert entry["features"][()].tolist() == [[b"w1.0"], [b"w1.1"]]
        assert entry["intervals"][()].tolist() == [[0.0, 0.3], [0.5, 0.8]]
    with h5py.File(tmp_path / "csd" / "planted_labels.csd") as file:
        entry = file["planted_labels/data/v0[1]"]
        assert entry["features"][()].tolist() == [[0.25]]
        assert entry["intervals"][()].tolist() == [[0.0, 0.8]]


def test_mmsa_finds_its_layout(tmp_path):
    dataset = make_dataset()
    losses = export_mmsa(dataset, tmp_path / "data.pkl")
    assert losses[1:] == ["18 values that were not measured: they are written as 0"]
    content = (tmp_path / "data.pkl").read_bytes()
    data = pickle.loads(content)
    assert [len(data[split]["id"]) for split in ("train", "valid", "test")] == [2, 2, 2]
    valid = data["valid"]
    assert valid["id"].tolist() == ["v1$_$0", "v1$_$1"]
    assert valid["raw_text"].tolist() == ["w2.0 w2.1 w2.2", "w3.0 w3.1 w3.2 w3.3"]
    assert [valid[name].shape for name in ("text", "vision", "audio")] == [
        (2, 6, 2),
        (2, 6, 3),
        (2, 6, 1),
    ]
    rows = dataset.sequences[2].features["language"].values
    assert np.array_equal(valid["text"][0, :3], rows)
    assert not valid["text"][0, 3:].any()
    assert all(np.isfinite(valid[name]).all() for name in ("text", "vision", "audio"))
    assert valid["regression_labels"].tolist() == [3, -3]
    assert valid["annotations"].tolist() == ["Positive", "Negative"]
    assert valid["classification_labels"].tolist() == [2, 0]
    assert valid["audio_lengths"] == [3, 4]
    named = {arg.split()[0] for op, arg, _ in pickletools.genops(content) if op.name == "GLOBAL"}
    assert named <= {"numpy", "numpy.core.multiarray", "numpy._core.multiarray", "_codecs"}
    load_pickle(tmp_path / "data.pkl")


def test_changed_files_are_refused(tmp_path):
    files = export_csd(make_dataset(), tmp_path / "csd")
    with h5py.File(tmp_path / "csd" / "planted_visual.csd", "r+") as file:
        entry = file["planted_visual/data/v1[0]"]
        del entry["features"], entry["intervals"]
        entry["features"], entry["intervals"] = np.zeros((1, 3)), np.array([[0.0, 9.0]])
    found = dataset_from_csd(files)  # averaged over the words again: the values are the file's
    assert not found.sequences[2].features["visual"].values.any()
    with h5py.File(tmp_path / "csd" / "planted_labels.csd", "r+") as file:
        del file["planted_labels/data/v1[0]"]
    with pytest.raises(DatasetError, match="the 6 segments that were exported, found 5"):
        dataset_from_csd(files)


def test_what_is_there_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(DatasetError, match="is not empty; it is left as it is"):
        export_csd(make_dataset(), tmp_path / "mine")
    with pytest.raises(DatasetError, match="has no label 'joy'; it has mood"):
        export_mmsa(make_dataset(), tmp_path / "x.pkl", "joy")
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "thesis.tex"]


def read_textgrid(path):
    """The tiers as Praat itself reads them: {name: [(start, end, text)]}."""
    call = parselmouth.praat.call
    grid = call("Read from file...", str(path))
    grid = grid[0] if isinstance(grid, list) else grid
    tiers = {}
    for n in range(1, call(grid, "Get number of tiers") + 1):
        count = call(grid, "Get number of intervals", n)
        tiers[call(grid, "Get tier name", n)] = [
            (
                call(grid, "Get start time of interval", n, k),
                call(grid, "Get end time of interval", n, k),
                call(grid, "Get label of interval", n, k),
            )
            for k in range(1, count + 1)
        ]
    return tiers, call(grid, "Get end time")


def test_praat_reads_the_words(tmp_path):
    words = [
        Word("it's", 0.25, 1 / 3, 0.987654321),
        Word('"größe"', 1 / 3, 0.5),
        Word("two words", 1.0, 1.25, 1.0),
    ]
    assert write_textgrid(tmp_path / "a.TextGrid", words, 2.0) == []
    tiers, end = read_textgrid(tmp_path / "a.TextGrid")
    assert end == 2.0
    assert [each for each in tiers["words"] if each[2]] == [
        (word.start, word.end, word.text) for word in words
    ]
    assert [text for *_, text in tiers["score"] if text] == ["0.987654321", "interpolated", "1.0"]
    assert tiers["words"][0] == (0, 0.25, "")
    assert tiers["words"][-1] == (1.25, 2, "")


def test_overlaps_are_cut_and_said(tmp_path):
    words = [Word("a", 0, 1, 1.0), Word("b", 0.5, 1.5, 1.0, True), Word("c", 0.6, 1.2, 1.0)]
    losses = write_textgrid(tmp_path / "a.TextGrid", words)
    assert losses == [
        "'b' starts at 0.5, before 1: cut or left out",
        "'c' starts at 0.6, before 1.5: cut or left out",
        "which pronunciations were guessed",
    ]
    tiers, end = read_textgrid(tmp_path / "a.TextGrid")
    assert tiers["words"] == [(0, 1, "a"), (1, 1.5, "b")]
    assert end == 1.5
    write_textgrid(tmp_path / "none.TextGrid", [], 3.0)
    assert read_textgrid(tmp_path / "none.TextGrid")[0]["words"] == [(0, 3, "")]


def test_word_features_of_no_columns(tmp_path):
    dataset = make_dataset()
    sequences = tuple(
        replace(
            s,
            features={
                "language": WordFeatures(
                    np.zeros((len(s.words), 0), np.float32), np.zeros(len(s.words), np.float32), ()
                )
            },
        )
        for s in dataset.sequences
    )
    bare = replace(dataset, sequences=sequences)
    same_dataset(dataset_from_csd(export_csd(bare, tmp_path / "csd")), bare)
    export_mmsa(bare, tmp_path / "data.pkl")
    same_dataset(dataset_from_mmsa(tmp_path / "data.pkl"), bare)
