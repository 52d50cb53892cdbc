"""Readers of published corpora: planted small files, real samples, and what is wrong in others."""

from __future__ import annotations

import csv
import json
import pickle

import h5py
import numpy as np
import pytest

from extractors.types import Word
from pipeline.errors import DatasetError
from rmfn.corpora import Wanted, read_timed
from rmfn.corpora_csd import average_overlaps, dataset_from_csd
from rmfn.corpora_hdf5 import dataset_from_mfn
from rmfn.corpora_pickles import dataset_from_misa, dataset_from_mmsa, spread_rows
from rmfn.csd_files import read_csd
from rmfn.dataset import check_splits
from tests.conftest import shared


def write_sequence(path, root, entries):
    """A .csd as the SDK writes it: (features, intervals) a video."""
    with h5py.File(path, "w") as file:
        for key, (features, intervals) in entries.items():
            features = np.array(features)
            if features.dtype.kind == "U":
                features = np.array([[text.encode()] for text in features.reshape(-1)])
            file[f"{root}/data/{key}/features"] = features
            file[f"{root}/data/{key}/intervals"] = np.array(intervals, float)
        file.create_dataset(f"{root}/metadata/root name", data=[root], dtype=h5py.string_dtype())
    return path


@pytest.fixture
def planted(tmp_path):
    """One video: words a second long with a pause, faces at 4 Hz, two opinions."""
    words = (["sp", "it", "was", "sp", "good"], [[n, n + 1] for n in range(5)])
    edges = np.arange(0, 5, 0.25)
    faces = (edges[:, None] * [1.0, -2.0], np.column_stack([edges, edges + 0.25]))
    return [
        write_sequence(tmp_path / "w.csd", "Talk_TimestampedWords", {"v": words}),
        write_sequence(tmp_path / "f.csd", "Talk_Facet", {"v": faces}),
        write_sequence(
            tmp_path / "l.csd", "Talk_Opinion_Labels", {"v": ([[2.0], [-1.0]], [[0, 3], [3, 5]])}
        ),
    ]


def test_sequences_are_aligned_to_the_words(planted):
    found = dataset_from_csd(planted)
    assert (found.name, found.ids, found.videos) == (
        "Talk_Opinion_Labels",
        ("v[0]", "v[1]"),
        ("v", "v"),
    )
    assert found.labels["sentiment"].tolist() == [2, -1]
    assert [w.text for w in found.sequences[0].words] == ["it", "was"]
    assert found.sequences[1].words == (Word("good", 4, 5, 1.0),)
    rows = found.sequences[0].features["visual"]
    # the four frames of second n start at n, n + .25, n + .5, n + .75
    assert rows.values.tolist() == [[1.375, -2.75], [2.375, -4.75]]
    assert rows.names == ("Talk_Facet.0", "Talk_Facet.1")
    assert rows.coverage.tolist() == [1, 1]
    assert found.features["visual"][0]["settings"] == {"format": "csd", "name": "Talk_Facet"}
    same = dataset_from_csd([f"visual={planted[1]}", planted[2], f"words={planted[0]}"])
    assert same.ids == found.ids


def test_a_word_is_in_one_segment_and_has_a_length(tmp_path, planted):
    """A middle on the border of two segments is in the later; what has no length is no word."""
    texts = ["it", "was", "um", "good"]
    times = [[0, 1], [2.5, 3.5], [4, 4.0005], [4, 5]]
    write_sequence(tmp_path / "w.csd", "Talk_TimestampedWords", {"v": (texts, times)})
    found = dataset_from_csd(planted)
    said = [[word.text for word in sequence.words] for sequence in found.sequences]
    assert said == [["it"], ["was", "good"]]


@pytest.mark.parametrize("spoken", [8, 9])
def test_a_tenth_of_the_segments_may_be_silent(tmp_path, planted, caplog, spoken):
    words = (["so"] * spoken, [[n, n + 1] for n in range(spoken)])
    write_sequence(tmp_path / "w.csd", "Talk_TimestampedWords", {"v": words})
    times = [[n, n + 1] for n in range(spoken)] + [[50, 51]]
    labels = {"v": ([[1.0]] * (spoken + 1), times)}
    write_sequence(tmp_path / "l.csd", "Talk_Opinion_Labels", labels)
    if spoken == 9:
        assert len(dataset_from_csd(planted)) == 9
        assert "1 of 10 segments have no words, the first is 'v[9]'" in caplog.text
    else:
        with pytest.raises(
            DatasetError, match=r"1 of 9 segments have no words, .* belong together"
        ):
            dataset_from_csd(planted)


def test_overlaps_are_weighted_by_time():
    values = np.array([[1.0], [2.0], [np.nan], [8.0]], np.float32)
    times = np.array([[0, 1], [1, 2], [2, 3], [3, 4]], float)
    words = [Word("a", 0.75, 2), Word("b", 1.5, 3.5), Word("c", 2, 3), Word("d", 9, 10)]
    words.append(Word("e", 3.5, 5.5))  # three quarters of it are after the last frame
    found = average_overlaps(values, times, words, ("x",))
    expected = [(0.25 * 1 + 1 * 2) / 1.25, (0.5 * 2 + 0.5 * 8) / 1, np.nan, np.nan, 8]
    assert found.values[:, 0] == pytest.approx(expected, nan_ok=True)
    assert found.coverage == pytest.approx([1, 0.5, 0, 0, 0.25])


def test_overlaps_are_those_of_the_plain_sum():
    random = np.random.default_rng(0)
    starts = np.sort(random.uniform(0, 20, 80))
    times = np.column_stack([starts, starts + random.choice([0.1, 0.4, 3.0], 80)])
    values = random.normal(size=(80, 3)).astype(np.float32)
    values[random.uniform(size=values.shape) < 0.2] = np.nan
    words = [Word("w", s, s + d) for s, d in random.uniform(0.05, 20, (40, 2))]
    found = average_overlaps(values, times, words, ("x", "y", "z"))
    for word, row in zip(words, found.values, strict=True):
        for column in range(3):
            weights = [
                max(min(e, word.end) - max(s, word.start), 0) * np.isfinite(v)
                for (s, e), v in zip(times, values[:, column], strict=True)
            ]
            total = np.dot(weights, np.nan_to_num(values[:, column]))
            known = total / sum(weights) if sum(weights) else np.nan
            assert row[column] == pytest.approx(known, rel=1e-5, abs=1e-6, nan_ok=True)
    assert ((found.coverage >= 0) & (found.coverage <= 1)).all()


def test_moments_count_where_nothing_longer_does():
    times = np.array([[0.2, 0.2], [0.4, 0.4], [1.0, 1.0]])
    found = average_overlaps(
        np.array([[1], [3], [9]], np.float32), times, [Word("a", 0, 1), Word("b", 1, 2)], ("x",)
    )
    assert found.values[:, 0].tolist() == [2, 9]
    assert found.coverage.tolist() == [1, 1]


def test_parts_of_a_video_are_put_together(tmp_path, planted):
    """After an alignment the SDK calls the pieces of a video v[0], v[1], ..."""
    face = np.arange(4.0)[:, None]
    write_sequence(
        tmp_path / "f.csd",
        "Talk_Facet",
        {"v[1]": (face[2:], [[2, 3], [4, 5]]), "v[0]": (face[:2], [[0, 1], [1, 2]])},
    )
    found = dataset_from_csd(planted)
    assert found.sequences[0].features["visual"].values[:, 0].tolist() == [1, 2]
    # the second opinion's word is in the part that the file has first
    assert found.sequences[1].features["visual"].values[:, 0].tolist() == [3]
    write_sequence(
        tmp_path / "f.csd", "Talk_Facet", {"other": (face, [[n, n + 1] for n in range(4)])}
    )
    rows = dataset_from_csd(planted).sequences[0].features["visual"]
    assert np.isnan(rows.values).all()
    assert rows.coverage.tolist() == [0, 0]


def test_seven_labels_are_mosei_s(tmp_path, planted):
    rows = np.array([[1.0, 0, 0, 3, 0, 0, 0], [-3, 0, 1, 0, 0, 0, 0]])
    write_sequence(tmp_path / "l.csd", "Talk_Labels", {"v": (rows, [[0, 3], [3, 5]])})
    found = dataset_from_csd(planted)
    assert list(found.labels) == [
        *("sentiment", "happy", "sad", "anger", "surprise", "disgust", "fear")
    ]
    assert [target.name for target in found.targets] == ["sentiment"]
    with pytest.raises(DatasetError, match=r"7 label columns, 1 names for them \(joy\)"):
        dataset_from_csd(planted, Wanted(labels=("joy",)))


def spoil(tmp_path, name, root, entries):
    write_sequence(tmp_path / name, root, entries)


@pytest.mark.parametrize(
    ("name", "root", "entries", "message"),
    [
        (
            "l.csd",
            "Labels",
            {"v": ([[4.0]], [[0, 3]])},
            r"'v\[0\]' has the sentiment 4, .* --scale",
        ),
        ("l.csd", "Labels", {"v": ([[np.nan]], [[0, 3]])}, "sentiment nan, expected a finite"),
        (
            "l.csd",
            "Labels",
            {"v": ([[1.0]], [[30, 33]])},
            r"1 of 1 segments have no words, .*'v\[0\]' from 30.00 to 33",
        ),
        ("l.csd", "Labels", {"u": ([[1.0]], [[0, 3]])}, "do words and labels belong together"),
        ("l.csd", "Labels", {"v": ([[1.0]], [[3, 0]])}, "l.csd: v: expected intervals with start"),
        ("l.csd", "Labels", {"v": ([[1.0]], [0, 3])}, r"expected intervals \[n, 2\] .* \[2\]"),
        ("l.csd", "Things", {"v": ([[1.0]], [[0, 3]])}, "it is not clear what 'Things' is; write"),
        ("f.csd", "Facet", {"v": ([[1.0], [2.0]], [[0, 3]])}, r"expected features \[1, D\]"),
        ("f.csd", "Facet", {"v": ([[np.inf]], [[0, 3]])}, r"f.csd: v: .* found inf at \[0, 0\]"),
        ("f.csd", "Facet", {"v": ([["x"]], [[0, 3]])}, "expected one file of words, found"),
        (
            "f.csd",
            "Facet",
            {"v": ([[1.0]], [[0, 3]]), "u": ([[1.0, 2.0]], [[0, 3]])},
            r"as many columns everywhere, found \[1\], \[2\]",
        ),
    ],
)
def test_sequences_that_are_wrong(tmp_path, planted, name, root, entries, message):
    write_sequence(tmp_path / name, root, entries)
    with pytest.raises(DatasetError, match=message):
        dataset_from_csd(planted)


def test_files_that_are_no_sequences(tmp_path, planted):
    (tmp_path / "x.csd").write_text("no HDF5")
    with pytest.raises(DatasetError, match=r"x\.csd: cannot be read as HDF5"):
        read_csd(tmp_path / "x.csd")
    with h5py.File(tmp_path / "y.csd", "w") as file:
        file["root/data/v/features"] = np.zeros((1, 1))
    with pytest.raises(DatasetError, match="v: expected features and intervals, found features"):
        read_csd(tmp_path / "y.csd")
    with h5py.File(tmp_path / "z.csd", "w") as file:
        file["root/stuff"] = np.zeros((1, 1))
    with pytest.raises(DatasetError, match="expected root/data; found stuff"):
        read_csd(tmp_path / "z.csd")
    with pytest.raises(DatasetError, match="expected one file of labels, found none"):
        dataset_from_csd(planted[:2])
    with pytest.raises(DatasetError, match="it was called visual, but it holds words"):
        dataset_from_csd([f"visual={planted[0]}", *planted[1:]])


def test_infinite_frames_can_be_taken_as_missing(tmp_path, planted):
    values = np.full((5, 1), 2.0)
    values[1] = -np.inf
    write_sequence(
        tmp_path / "f.csd", "Talk_Facet", {"v": (values, [[n, n + 1] for n in range(5)])}
    )
    with pytest.raises(DatasetError, match=r"found -inf at \[1, 0\] \(1 of 5 are not finite\)"):
        dataset_from_csd(planted)
    rows = dataset_from_csd(planted, Wanted(allow_missing=True)).sequences[0].features["visual"]
    assert rows.values[:, 0] == pytest.approx([np.nan, 2], nan_ok=True)
    assert rows.coverage.tolist() == [0, 1]


def test_the_real_words_with_the_real_segments(tmp_path, caplog):
    """The words of all of CMU-MOSI, cut by the labels' intervals, are the published segments'."""
    with shared("data/mosi_language/mosi_train_dev.csv").open() as file:
        rows = list(csv.DictReader(file))
    videos: dict[str, list] = {}
    for row in rows:
        videos.setdefault(row["vid"], []).append(row)
    labels = {
        video: (
            [[float(r["label"])] for r in own],
            [[float(r["start"]), float(r["end"])] for r in own],
        )
        for video, own in videos.items()
    }
    found = dataset_from_csd(
        [
            shared("data/mosi_language/CMU_MOSI_ModifiedTimestampedWords.csd"),
            write_sequence(tmp_path / "l.csd", "CMU_MOSI_Opinion_Labels", labels),
        ]
    )
    # Of the 1513 published segments one has no length.
    assert "1 of 1513 segments have no words, the first is '2WGyTLYerpo[43]'" in caplog.text
    assert (len(found), len(set(found.videos))) == (1512, 62)
    published = {
        s.id: s for s in read_timed(shared("data/mosi_language/mosi_words_timed_train_dev.jsonl"))
    }
    names = {
        f"{video}[{n}]": (f"{video}_{row['clipn']}", float(row["start"]))
        for video, own in videos.items()
        for n, row in enumerate(own)
    }
    for id, sequence in zip(found.ids, found.sequences, strict=True):
        name, start = names[id]
        words = published[name].words
        assert [w.text for w in sequence.words] == [w.text for w in words]
        # published from the segment's start on, rounded to 0.1 ms
        starts = [word.start - start for word in sequence.words]
        assert starts == pytest.approx([word.start for word in words], abs=1e-4)


MISA = [
    (
        (
            np.array([4, 5]),
            np.array([[1.0, 2], [0, 0]], np.float32),
            np.array([[1.0], [3]], np.float32),
            ["so", "good"],
        ),
        np.array([[2.5]]),
        "v[3]",
    )
]


def dump(path, data):
    path.write_bytes(pickle.dumps(data))
    return path


def test_misa(tmp_path):
    train, dev = (
        dump(tmp_path / "train.pkl", MISA),
        dump(tmp_path / "dev.pkl", [(*MISA[0][:2], "u[0]")]),
    )
    found = dataset_from_misa([train, dev])
    assert (found.ids, found.videos, found.splits) == (
        ("v[3]", "u[0]"),
        ("v", "u"),
        ("train", "valid"),
    )
    assert found.labels["sentiment"].tolist() == [2.5, 2.5]
    assert [w.text for w in found.sequences[0].words] == ["so", "good"]
    assert all(word.score is None for word in found.sequences[0].words)
    rows = found.sequences[0].features["visual"]
    assert rows.values[0].tolist() == [1, 2]
    assert np.isnan(rows.values[1]).all()
    assert rows.coverage.tolist() == [1, 0]
    assert found.sequences[0].features["acoustic"].coverage.tolist() == [1, 1]


def misa_with(**changes):
    parts = dict(zip(("ids", "visual", "acoustic", "words"), MISA[0][0], strict=True)) | changes
    return [(tuple(parts[k] for k in ("ids", "visual", "acoustic", "words")), MISA[0][1], "v[3]")]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"train": 1}, "expected a list of .*, found dict"),
        ([], "expected a list of .*, found list"),
        ([("a", "b")], r"segment 0: expected \(\(word ids"),
        (
            misa_with(visual=np.zeros((3, 2))),
            r"segment 0 \(v\[3\]\), visual: expected \[2, D\], found",
        ),
        (misa_with(visual=[[1, 2], [3, 4]]), r"expected \[2, D\], found list"),
        (misa_with(acoustic=np.array([[np.nan], [1]])), r"acoustic: .* found nan at \[0, 0\]"),
        (misa_with(acoustic=np.array([[1e300], [1]])), r"acoustic: .* found inf at \[0, 0\]"),
        (misa_with(acoustic=np.array([["a"], ["b"]])), "acoustic: expected numbers, found <U1"),
        (misa_with(words=[]), "expected words and an id"),
        ([(MISA[0][0], np.array([[7.0]]), "v[3]")], r"has the sentiment 7, .* --scale LOW HIGH"),
        ([(MISA[0][0], "good", "v[3]")], "expected a number as label, found str"),
        ([MISA[0], MISA[0]], r"segment 'v\[3\]' is there twice"),
    ],
)
def test_misa_that_is_wrong(tmp_path, data, message):
    with pytest.raises(DatasetError, match=message):
        dataset_from_misa([dump(tmp_path / "train.pkl", data)])


def test_the_real_misa_pickle():
    found = dataset_from_misa([shared("data/mosi_dev/dev.pkl")])
    assert (len(found), len(set(found.videos)), set(found.splits)) == (229, 10, {"valid"})
    assert {m: len(names) for m, names in found.columns.items()} == {"visual": 47, "acoustic": 74}
    with shared("data/mosi_language/mosi_train_dev.csv").open() as file:
        rows = {(r["vid"], int(r["clipn"])): r for r in csv.DictReader(file)}
    for id, video, label in zip(found.ids, found.videos, found.labels["sentiment"], strict=True):
        place = int(id.rpartition("[")[2].rstrip("]"))
        assert label == pytest.approx(float(rows[video, place + 1]["label"]), abs=1e-6)
    check_splits(found)


def mmsa(n=2, length=4, **changes):
    """Two segments of 3 and 2 words: aligned, padded with zeros."""
    text = np.zeros((n, length, 2))
    audio, vision = np.zeros((n, length, 1)), np.zeros((n, length, 1))
    for i, count in enumerate((3, 2)):
        text[i, :count] = np.arange(1, count + 1)[:, None]
        audio[i, :count] = vision[i, :count] = 10 * np.arange(1, count + 1)[:, None]
    vision[0, 1] = 0
    return {
        "raw_text": np.array(["one two three", "one two"], object),
        "id": ["v$_$4", "v$_$5"],
        "text": text,
        "audio": audio,
        "vision": vision,
        "regression_labels": np.array([1.5, -2]),
        "classification_labels": np.array([2, 0]),
        "annotations": np.array(["Positive", "Negative"]),
    } | changes


def test_mmsa_aligned(tmp_path):
    empty = {"regression_labels_T": np.array([0.5, 1])}
    data = {"train": mmsa(**empty), "test": mmsa(id=["u$_$0", "u$_$1"], **empty)}
    found = dataset_from_mmsa(dump(tmp_path / "mosi.pkl", data))
    assert found.ids == ("v$_$4", "v$_$5", "u$_$0", "u$_$1")
    assert (found.videos, found.splits) == (
        ("v", "v", "u", "u"),
        ("train", "train", "test", "test"),
    )
    assert list(found.labels) == ["sentiment", "sentiment_T"]
    first, second = found.sequences[:2]
    assert [w.text for w in first.words] == ["one", "two", "three"]
    assert first.features["language"].values[:, 0].tolist() == [1, 2, 3]
    assert second.features["acoustic"].values[:, 0].tolist() == [10, 20]
    assert first.features["visual"].coverage.tolist() == [1, 0, 1]
    assert "spread evenly" not in found.source


def test_mmsa_unaligned(tmp_path):
    audio = np.zeros((2, 9, 1))
    audio[0, :6, 0] = [1, 3, 5, 7, 9, 11]
    audio[1, :4, 0] = [1, 1, 0, 4]
    part = mmsa(audio=audio, audio_lengths=[6, 4], vision_lengths=[3, 2])
    found = dataset_from_mmsa(dump(tmp_path / "mosi.pkl", {"train": part}))
    first, second = (s.features["acoustic"] for s in found.sequences)
    assert first.values[:, 0].tolist() == [2, 6, 10]
    assert second.values[:, 0].tolist() == [1, 4]
    assert second.coverage.tolist() == [1, 0.5]
    assert "spread evenly over the words" in found.source
    assert all(word.score is None for s in found.sequences for word in s.words)


def test_a_modality_of_length_nought_was_not_seen(tmp_path):
    part = mmsa(audio_lengths=[3, 0], vision_lengths=[3, 2])
    found = dataset_from_mmsa(
        dump(tmp_path / "mosi.pkl", {"train": {**part, "audio": 0 * part["audio"]}})
    )
    for sequence in found.sequences:
        rows = sequence.features["acoustic"]
        assert np.isnan(rows.values).all()
        assert not rows.coverage.any()
    assert found.sequences[1].features["visual"].coverage.all()


def test_bert_s_marks_are_no_words(tmp_path):
    text = np.zeros((2, 6, 1))
    text[0, :5, 0], text[1, :4, 0] = [99, 1, 2, 3, 99], [99, 1, 2, 99]
    tokens = np.zeros((2, 3, 6))
    tokens[0, 0, :5], tokens[1, 0, :4] = [101, 7, 8, 9, 102], [101, 7, 8, 102]
    part = mmsa(text=text, text_bert=tokens, audio_lengths=[3, 2], vision_lengths=[3, 2])
    found = dataset_from_mmsa(dump(tmp_path / "mosi.pkl", {"train": part}))
    rows = [s.features["language"].values[:, 0].tolist() for s in found.sequences]
    assert rows == [[1, 2, 3], [1, 2]]


def test_rows_are_spread_by_time():
    values = np.arange(1, 6, dtype=np.float32)[:, None]  # 5 rows over 2 words: 2.5 each
    found = spread_rows(values, 2, ("x",))
    assert found.values[:, 0] == pytest.approx([(1 + 2 + 0.5 * 3) / 2.5, (0.5 * 3 + 4 + 5) / 2.5])
    few = spread_rows(values[:2], 4, ("x",))
    assert few.values[:, 0].tolist() == [1, 1, 2, 2]
    for rows in range(1, 12):
        for words in range(1, 12):
            found = spread_rows(np.full((rows, 1), 7, np.float32), words, ("x",))
            assert found.values[:, 0] == pytest.approx([7] * words)
            assert found.coverage == pytest.approx([1] * words)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([1], "expected a dictionary with train, valid, test, found list"),
        ({"dev": mmsa()}, "expected a dictionary with train, valid, test, found 'dev'"),
        ({"train": {"id": [1]}}, "train: expected raw_text, id, .* found id"),
        (
            {"train": mmsa(text=np.zeros((2, 4)))},
            r"train, text: expected \[2, T, D\], found float64",
        ),
        ({"train": mmsa(audio=np.full((2, 4, 1), np.nan))}, r"audio of segment 'v\$_\$4': .* nan"),
        ({"train": mmsa(regression_labels=np.zeros(3))}, r"regression_labels: expected 2 numbers"),
        ({"train": mmsa(regression_labels=np.array([0, 9.0]))}, r"'v\$_\$5' has the sentiment 9"),
        ({"train": mmsa(raw_text=["one", " "])}, r"segment 'v\$_\$5' has no words in raw_text"),
        ({"train": mmsa(id=["v$_$4", "v$_$4"])}, r"segment 'v\$_\$4' is there twice"),
        ({"train": mmsa(raw_text=["one"])}, "1 raw_text for 2 ids"),
    ],
)
def test_mmsa_that_is_wrong(tmp_path, data, message):
    with pytest.raises(DatasetError, match=message):
        dataset_from_mmsa(dump(tmp_path / "mosi.pkl", data))


def write_arrays(folder, **arrays):
    paths = []
    for name, values in arrays.items():
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file["d1"] = np.array(values, float)
        paths.append(folder / f"{name}.h5")
    return paths


def padded(*counts, size=1, steps=5):
    """Zeros, then counting rows to the end: [n, steps, size]."""
    rows = np.zeros((len(counts), steps, size))
    for n, count in enumerate(counts):
        rows[n, steps - count :] = np.arange(1, count + 1)[:, None]
    return rows


def test_mfn(tmp_path):
    text = padded(5, 2)
    text[1, 4] = 0  # a word without a vector
    video = padded(5, 1)  # no face at the second segment's first word
    found = dataset_from_mfn(
        write_arrays(
            tmp_path,
            text_test_emb=text,
            audio_test=padded(5, 2),
            video_test=video,
            y_test=[1, 5],
            audio_train=padded(3),
            video_train=padded(3),
            y_train=[2],
        ),
        Wanted(scale=(1, 5)),
    )
    assert (found.ids, found.splits) == (("train-0", "test-0", "test-1"), ("train", "test", "test"))
    assert [len(s.words) for s in found.sequences] == [3, 5, 2]
    last = found.sequences[2].features
    assert last["language"].values[:, 0] == pytest.approx([1, np.nan], nan_ok=True)
    assert last["visual"].coverage.tolist() == [0, 1]
    assert last["acoustic"].values[:, 0].tolist() == [1, 2]
    assert "language" not in found.sequences[0].features
    assert "train has no language" in found.source
    assert found.labels["sentiment"].tolist() == [2, 1, 5]


def test_mfn_side_by_side(tmp_path):
    x = padded(2, size=6)
    x[0] *= [1, 1, 10, 100, 100, 100]
    paths = write_arrays(tmp_path, X_train=x, y_train=[[1, 0]])
    with pytest.raises(DatasetError, match=r"6 columns, it is not known how .* say --sizes"):
        dataset_from_mfn(paths)
    sizes = {"language": 2, "acoustic": 1, "visual": 3}
    found = dataset_from_mfn(paths, Wanted(sizes=sizes, labels=("happy", "sad")))
    assert found.sequences[0].features["acoustic"].values.tolist() == [[10], [20]]
    assert found.sequences[0].features["visual"].values[0].tolist() == [100, 100, 100]
    assert found.labels["sad"].tolist() == [0]
    with pytest.raises(DatasetError, match="6 columns, not 7; say"):
        dataset_from_mfn(paths, Wanted(sizes={**sizes, "visual": 4}))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"audio_train": padded(2)}, r"train: expected y_train\.h5 and features"),
        ({"y_train": [1]}, r"train: expected y_train\.h5 and features, found \[\]"),
        ({"audio": padded(2), "y_train": [1]}, r"audio\.h5: expected a name such as"),
        ({"sound_train": padded(2)}, r"sound_train\.h5: expected a name such as"),
        (
            {"audio_train": padded(2), "acoustic_train": padded(2), "y_train": [1]},
            "the acoustic of train is there twice",
        ),
        ({"audio_train": padded(2), "y_train": [1, 2]}, "found 2 labels and .*audio|acoustic"),
        ({"audio_train": [[1.0]], "y_train": [1]}, r"expected \[n, T, D\], found float64 \[1, 1\]"),
        (
            {"audio_train": padded(2), "y_train": [6]},
            "'train-0' has the sentiment 6, expected 1 to 5",
        ),
        ({"audio_train": padded(2) * np.nan, "y_train": [1]}, r"audio_train\.h5: .* found nan at"),
        (
            {"audio_train": padded(2), "video_train": padded(2, steps=6), "y_train": [1]},
            "as many segments and steps in each file",
        ),
    ],
)
def test_mfn_that_is_wrong(tmp_path, arrays, message):
    with pytest.raises(DatasetError, match=message):
        dataset_from_mfn(write_arrays(tmp_path, **arrays), Wanted(scale=(1, 5)))


def test_mfn_with_other_keys(tmp_path):
    (path,) = write_arrays(tmp_path, audio_train=padded(2))
    with h5py.File(path, "a") as file:
        file["d2"] = np.zeros(1)
    with pytest.raises(DatasetError, match="expected one array, found d1, d2"):
        dataset_from_mfn([path])
    path.write_text("nothing")
    with pytest.raises(DatasetError, match="cannot be read as HDF5"):
        dataset_from_mfn([path])


def test_the_real_arrays():
    found = dataset_from_mfn(sorted(shared("data/mmmo").glob("*.h5")), Wanted(scale=(1, 5)))
    assert len(found) == 340
    assert [len(found.of_split(split)) for split in ("train", "valid", "test")] == [220, 40, 80]
    assert {m: len(names) for m, names in found.columns.items()} == {
        "language": 300,
        "acoustic": 74,
        "visual": 36,
    }
    assert not any("language" in found.sequences[n].features for n in found.of_split("train"))
    # where the language is known, padding is what its leading zeros say, or less
    with h5py.File(shared("data/mmmo/text_test_emb.h5")) as file:
        text = file["d1"][()]
    for n, row in zip(found.of_split("test"), text, strict=True):
        seen = found.sequences[n].features["language"]
        known = row[(row != 0).any(axis=1)].astype(np.float32)
        assert np.array_equal(seen.values[seen.coverage > 0], known)
    assert json.dumps(found.features)
