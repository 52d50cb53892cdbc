"""Data sets: kept and found again as they were, split without leaks, named targets."""

from __future__ import annotations

import json
import logging
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extractors.types import Word, WordFeatures
from pipeline.errors import DatasetError
from pipeline.sequence import AlignedSequence
from rmfn.dataset import (
    Dataset,
    Target,
    check_splits,
    find_targets,
    hash_dataset,
    load_dataset,
    make_splits,
    save_dataset,
)
from tests.datasets import make_dataset, same_dataset


def test_a_folder_gives_back_what_was_saved(tmp_path):
    dataset = make_dataset()
    hashed = save_dataset(dataset, tmp_path / "data")
    back = load_dataset(tmp_path / "data")
    same_dataset(back, dataset)
    assert hash_dataset(back) == hashed == hash_dataset(dataset)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [
        "dataset.json",
        "segments.parquet",
        "words.parquet",
    ]


def test_pandas_alone_reads_it(tmp_path):
    dataset = make_dataset()
    save_dataset(dataset, tmp_path / "data")
    segments = pandas.read_parquet(tmp_path / "data" / "segments.parquet")
    words = pandas.read_parquet(tmp_path / "data" / "words.parquet")
    names = json.loads((tmp_path / "data" / "dataset.json").read_text())["columns"]
    assert segments["id"].tolist() == list(dataset.ids)
    assert np.array_equal(segments["label.mood"], dataset.labels["mood"], equal_nan=True)
    second = words[words.segment == dataset.ids[1]]
    assert second.text.tolist() == [word.text for word in dataset.sequences[1].words]
    rows = np.stack(second.language.to_numpy())
    assert np.array_equal(rows, dataset.sequences[1].features["language"].values, equal_nan=True)
    assert tuple(names["language"]) == dataset.columns["language"]


words = st.builds(
    lambda text, start, length, score, guessed: Word(text, start, start + length, score, guessed),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    st.floats(0, 1e3),
    st.floats(1e-3, 10),
    st.none() | st.floats(0, 1),
    st.booleans(),
)


@st.composite
def datasets(draw):
    names = {
        m: tuple(f"{m}.{n}" for n in range(draw(st.integers(0, 2))))
        for m in draw(st.sets(st.sampled_from(["language", "visual", "acoustic"])))
    }
    sequences = []
    for n in range(draw(st.integers(0, 4))):
        spoken = tuple(draw(st.lists(words, max_size=3)))
        cells = st.floats(width=32, allow_nan=True)
        rows = {
            m: WordFeatures(
                np.array(
                    draw(
                        st.lists(
                            cells, min_size=len(spoken) * len(c), max_size=len(spoken) * len(c)
                        )
                    ),
                    np.float32,
                ).reshape(len(spoken), len(c)),
                np.array([draw(st.floats(0, 1, width=32)) for _ in spoken], np.float32),
                c,
            )
            for m, c in names.items()
            if draw(st.booleans())
        }
        sequences.append(AlignedSequence(f"clip{n}", spoken, rows))
    count = len(sequences)
    labels = st.lists(st.floats(), min_size=count, max_size=count)
    return Dataset(
        draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=4)),
        tuple(f"s{n}" for n in range(count)),
        tuple(draw(st.sampled_from("uvw")) for _ in range(count)),
        tuple(draw(st.sampled_from(["", "x"])) for _ in range(count)),
        tuple(draw(st.sampled_from(["", "train", "test"])) for _ in range(count)),
        tuple(sequences),
        {"a.b": np.array(draw(labels), float)},
        (Target("a.b", "classes", 0, 1, ("no", "yes")),),
        {"published": ["there"]},
    )


@settings(max_examples=25, deadline=None)
@given(dataset=datasets())
def test_nothing_is_lost(tmp_path_factory, dataset):
    folder = tmp_path_factory.mktemp("data") / "set"
    save_dataset(dataset, folder)
    same_dataset(load_dataset(folder), dataset)


def test_the_hash_tells_what_training_can_tell():
    dataset = make_dataset()
    known = hash_dataset(dataset)
    assert hash_dataset(replace(dataset, name="other", source="x", features={})) == known
    sequence = dataset.sequences[0]
    word, rows = sequence.words[0], sequence.features["language"]
    values = rows.values.copy()
    values[0, 0] = np.nextafter(values[0, 0], 9, dtype=np.float32)

    def with_first(**changes):
        return replace(dataset, sequences=(replace(sequence, **changes), *dataset.sequences[1:]))

    others = [
        replace(dataset, splits=("test", *dataset.splits[1:])),
        replace(dataset, speakers=("who", *dataset.speakers[1:])),
        replace(dataset, labels={"mood": dataset.labels["mood"] * 0.5}),
        replace(dataset, targets=(Target("mood", low=-1, high=1),)),
        with_first(words=(replace(word, end=word.end + 1e-9), *sequence.words[1:])),
        with_first(
            features={
                **sequence.features,
                "language": WordFeatures(values, rows.coverage, rows.names),
            }
        ),
        with_first(
            features={
                **sequence.features,
                "language": WordFeatures(rows.values, rows.coverage / 2, rows.names),
            }
        ),
        dataset.take(range(len(dataset) - 1)),
        dataset.take(reversed(range(len(dataset)))),
    ]
    assert len({known, *map(hash_dataset, others)}) == len(others) + 1
    bits = values.copy()
    bits.view(np.uint32)[0, 0] = 0x7FC00001  # two NaN that differ in their bits are one
    plain = values.copy()
    plain[0, 0] = np.nan
    first, second = (
        hash_dataset(
            with_first(features={"language": WordFeatures(each, rows.coverage, rows.names)})
        )
        for each in (bits, plain)
    )
    assert first == second


def test_what_is_no_data_set_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(DatasetError, match="is there and is no data set; it is left as it is"):
        save_dataset(make_dataset(), tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years of work"
    with pytest.raises(DatasetError, match=r"not a data set: it has no dataset\.json"):
        load_dataset(tmp_path / "mine")
    with pytest.raises(DatasetError, match="no such data set folder"):
        load_dataset(tmp_path / "nothing")


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    import rmfn.dataset

    save_dataset(make_dataset(), tmp_path / "data")

    def full(path, *_):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(rmfn.dataset, "write_table", full)
    with pytest.raises(OSError, match="No space left"):
        save_dataset(make_dataset(seed=1), tmp_path / "data")
    same_dataset(load_dataset(tmp_path / "data"), make_dataset())
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_damage_and_change_are_seen(tmp_path):
    folder = tmp_path / "data"
    save_dataset(make_dataset(), folder)
    good = {path.name: path.read_bytes() for path in folder.iterdir()}

    def spoil(name, content):
        for other, known in good.items():
            (folder / other).write_bytes(known)
        (folder / name).write_bytes(content)

    flipped = bytearray(good["words.parquet"])
    flipped[200] ^= 0xFF
    for content in (flipped, good["words.parquet"][:-50], b""):
        spoil("words.parquet", content)
        with pytest.raises(DatasetError, match="damaged, make it again"):
            load_dataset(folder)
    said = json.loads(good["dataset.json"])
    for changed, message in [
        ({"version": 2}, "a data set of version 2; this program reads up to 1"),
        ({"format": "rmfn store"}, "expected format 'rmfn dataset', got 'rmfn store'"),
        ({"hash": "0" * 64}, "its contents are not those"),
    ]:
        spoil("dataset.json", json.dumps({**said, **changed}).encode())
        with pytest.raises(DatasetError, match=message):
            load_dataset(folder)
    spoil("dataset.json", b"{")
    with pytest.raises(DatasetError, match="expected format and version"):
        load_dataset(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": ("s0",) * 6}, "segment 's0' is there twice"),
        ({"videos": ("v",)}, "1 videos for 6 segments"),
        ({"splits": ("dev",) * 6}, "unknown split 'dev'; expected one of train, valid, test"),
        ({"labels": {"mood": np.zeros(5)}}, r"'mood' has shape \(5,\), expected \(6,\)"),
    ],
)
def test_a_data_set_fits_together(changes, message):
    with pytest.raises(DatasetError, match=message):
        replace(make_dataset(), **changes)


def test_columns_are_the_same_everywhere():
    dataset = make_dataset()
    rows = dataset.sequences[5].features["language"]
    other = WordFeatures(rows.values, rows.coverage, ("x", "y"))
    last = replace(dataset.sequences[5], features={"language": other})
    with pytest.raises(DatasetError, match="segment 's5' has other language columns"):
        replace(dataset, sequences=(*dataset.sequences[:5], last))


@given(
    groups=st.lists(st.sampled_from("abcdefgh"), min_size=1),
    shares=st.dictionaries(
        st.sampled_from(["train", "valid", "test"]), st.floats(0.1, 1), min_size=1
    ),
    seed=st.integers(0, 9),
)
def test_groups_stay_whole_and_no_split_is_empty(groups, shares, seed):
    if len(set(groups)) < len(shares):
        with pytest.raises(DatasetError, match="cannot be split into"):
            make_splits(groups, shares, seed)
        return
    made = make_splits(groups, shares, seed)
    assert make_splits(groups, shares, seed) == made
    assert set(made) == set(shares)
    assert all(len(set(pair)) == 1 for pair in _sides(groups, made).values())


def _sides(groups, made):
    return {g: [s for h, s in zip(groups, made, strict=True) if h == g] for g in groups}


def test_splits_have_about_their_share():
    random = np.random.default_rng(0)
    groups = [f"v{n}" for n in random.integers(60, size=1000)]
    made = make_splits(groups, (0.7, 0.1, 0.2), seed=1)
    counts = Counter(made)
    for split, share in zip(("train", "valid", "test"), (0.7, 0.1, 0.2), strict=True):
        assert counts[split] == pytest.approx(1000 * share, abs=15)
    assert make_splits(groups, (0.7, 0.1, 0.2), seed=2) != made
    assert set(make_splits(groups, (1, 0, 1), seed=2)) == {"train", "test"}
    # The second group goes where nothing is, though train still lacks more.
    assert sorted(make_splits(["a", "b"], (0.9, 0, 0.1), seed=0)) == ["test", "train"]


@pytest.mark.parametrize(
    ("groups", "shares", "message"),
    [
        (["a", "b"], (0.5, -0.5), "share of -0.5 for 'valid'"),
        (["a", "b"], {"dev": 1}, "for 'dev'; expected"),
        (["a", "b"], {"train": float("nan")}, "share of nan"),
        (["a", ""], (0.5, 0.5), "segment 2 of 2 has neither speaker nor video"),
    ],
)
def test_shares_that_are_none(groups, shares, message):
    with pytest.raises(DatasetError, match=message):
        make_splits(groups, shares, 0)


def test_leaks_are_named():
    dataset = make_dataset()
    check_splits(dataset)
    check_splits(replace(dataset, speakers=("",) * 6))  # not known is not the same one
    with pytest.raises(DatasetError, match="video 'v0' is in train and test"):
        check_splits(replace(dataset, splits=("test", *dataset.splits[1:])))
    # s0 and s4 are of different videos; one speaker in both is a leak all the same.
    assert (dataset.splits[0], dataset.splits[4]) == ("train", "test")
    speakers = ("ann", "ann", "bob", "bob", "ann", "")
    with pytest.raises(DatasetError, match="speaker 'ann' is in train and test"):
        check_splits(replace(dataset, speakers=speakers))
    check_splits(replace(dataset, speakers=speakers, splits=("train",) * 4 + ("", "")))


def labelled(**labels):
    dataset = make_dataset()
    return replace(dataset, targets=(), labels={k: np.array(v, float) for k, v in labels.items()})


def test_targets_are_as_given_or_guessed_and_said(caplog):
    caplog.set_level(logging.WARNING)
    dataset = make_dataset()
    assert find_targets(dataset, ["mood"]) == dataset.targets
    assert not caplog.records
    nan = np.nan
    found = find_targets(
        labelled(
            a=[-2.4, 0, 1, 2, 3, nan],
            b=[0, 1, 1, 0, 1, nan],
            c=[-0.2, 0, 0.5, 0, 0, 0],
            d=[1, 5, 3, 2, 2, 2],
            e=[-40, 0, 0, 0, 0, 60],
        ),
        "abcde",
    )
    assert found == (
        Target("a", "regression", -3, 3),
        Target("b", "binary", 0, 1),
        Target("c", "regression", -1, 1),
        Target("d", "regression", 1, 5),
        Target("e", "regression", -60, 60),
    )
    assert len(caplog.records) == 5
    assert "label a: taken for a regression from -3 to 3" in caplog.text
    assert "5 values lie between -2.4 and 3" in caplog.text


def test_targets_can_be_said(caplog):
    dataset = labelled(**{"a": [0, 1, 2, 2, 1, 0], "b:c": [0, 1, 0, 1, 0, 1]})
    said = ["a:-7:7", "a:classes", "a:regression", "b:c:binary"]
    wide, classes, plain = find_targets(dataset, said[:3])
    assert (wide.low, wide.high) == (-7, 7)
    assert (classes.kind, classes.classes) == ("classes", ("0", "1", "2"))
    assert (plain.kind, plain.low, plain.high) == ("regression", 0, 2)
    assert not caplog.records
    assert find_targets(dataset, ["b:c"])[0].name == "b:c"
    said, usual = find_targets(dataset, ["a:-1:5:3.501", "a:-1:5"])
    assert said == Target("a", "regression", -1, 5, threshold=3.501)
    assert usual.threshold is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("b", "has no label 'b'; it has a, none"),
        ("none", "no segment has the label 'none'"),
        ("a:3:-3", "expected a, a:LOW:HIGH"),
        ("a:-3:3:4", "a:LOW:HIGH:THRESHOLD within them"),
        ("a:-3:3:0:1", "a:LOW:HIGH:THRESHOLD within them"),
        ("a:-3:3:nan", "a:LOW:HIGH:THRESHOLD within them"),
        ("a:maybe", "expected a, a:LOW:HIGH"),
        ("a:binary", "segment 's2' has the a 2, expected 0 or 1 .4 of 6"),
        ("a:0:1", "segment 's2' has the a 2, expected 0 to 1"),
        ("a:classes", "segment 's5' has the a 2.5, expected a class number, 0 to 2"),
    ],
)
def test_targets_that_do_not_fit(name, message):
    dataset = labelled(a=[0, 1, 2, 2, 2, 2.5], none=[np.nan] * 6)
    with pytest.raises(DatasetError, match=message):
        find_targets(dataset, [name])
