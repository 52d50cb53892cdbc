"""labels.csv and a store become a data set; every bad row is named at once."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extractors.types import Word, WordFeatures
from pipeline.errors import DatasetError
from pipeline.limits import Limits
from pipeline.sequence import AlignedSequence
from pipeline.store import Store
from rmfn.dataset import load_dataset, save_dataset
from rmfn.own_videos import dataset_from_store
from tests.conftest import ROOT
from tests.datasets import same_dataset

KEY = "0123456789ab"
MADE = {
    "name": "planted",
    "transcribe": {"backend": "ears"},
    "align": {"backend": "clock"},
    "timing": {"backend": "watch"},
    "language": [{"backend": "mind"}],
    "visual": [{"backend": "eyes"}],
    "acoustic": [],
}


def put_clip(
    store, clip_id, name, words, duration=10.0, key=KEY, made=MADE, first=0.0, quality=None
):
    """A clip with a word a second from 0.25 to 0.75; its language column counts from ``first``."""
    spoken = tuple(Word(f"{name}{n}", n + 0.25, n + 0.75, 0.9) for n in range(words))
    count = np.arange(words, dtype=np.float32)[:, None] + np.float32(first)
    face = WordFeatures(
        np.full((words, 1), np.nan, np.float32), np.zeros(words, np.float32), ("f",)
    )
    rows = {
        "language": WordFeatures(count, np.ones(words, np.float32), ("count",)),
        "visual": face,
        "acoustic": WordFeatures(-count, np.ones(words, np.float32), ("minus",)),
    }
    origin = {"recipe": json.dumps(made), "clip": name, "duration": repr(duration)}
    if quality is not None:
        origin["quality"] = json.dumps(quality)
    store.put_sequence(key, AlignedSequence(clip_id, spoken, rows), origin)


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "store")
    put_clip(made, "aaaa", "talk.mp4", 10)
    put_clip(made, "bbbb", "short.mp4", 3, duration=3.0, first=100)
    return made


def write(store, text):
    path = store.folder.parent / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_segment_takes_the_words_whose_middles_lie_in_it(store):
    labels = write(
        store,
        "video,start,end,mood,speaker,split\n"
        "talk.mp4,0.5,2.5,1.5,ann,train\n"  # the middles are 0.5, 1.5, ...: from 0.5, before 2.5
        "talk,2.5,,-0.5,ann,train\n"
        "bbbb,,,,bob,test\n",
    ).read_text()
    with pytest.raises(DatasetError, match=r"row 4: it has no label \(mood\)"):
        dataset_from_store(store.folder, write(store, labels))
    found = dataset_from_store(store.folder, write(store, labels.replace("bbbb,,,,", "bbbb,,,2,")))
    assert found.ids == ("talk.mp4[0]", "talk.mp4[1]", "bbbb[0]")
    assert found.videos == ("talk.mp4", "talk.mp4", "bbbb")
    assert found.speakers == ("ann", "ann", "bob")
    assert found.splits == ("train", "train", "test")
    assert found.labels["mood"].tolist() == [1.5, -0.5, 2]
    rows = [s.features["language"].values[:, 0].tolist() for s in found.sequences]
    assert rows == [[0, 1], [2, 3, 4, 5, 6, 7, 8, 9], [100, 101, 102]]
    assert [s.features["acoustic"].values[0, 0] for s in found.sequences] == [0, -2, -100]
    assert found.sequences[1].words[0] == Word("talk.mp42", 2.25, 2.75, 0.9)
    assert found.sequences[2].features["visual"].coverage.tolist() == [0, 0, 0]


def test_one_word_alone_is_classes_where_it_is_known_to_be(store):
    labels = write(store, "video,mood\ntalk,happy\nshort,happy\n")
    with pytest.raises(DatasetError, match="row 2: expected a number as mood, found 'happy'"):
        dataset_from_store(store.folder, labels)
    known = {"mood": ("sad", "happy"), "other": ("a", "b")}
    found = dataset_from_store(store.folder, labels, classes=known)
    assert found.labels["mood"].tolist() == [1, 1]
    assert found.targets[0].classes == ("sad", "happy")
    # Of words that are not all known none is taken for another.
    labels = write(store, "video,mood\ntalk,happy\nshort,angry\n")
    found = dataset_from_store(store.folder, labels, classes=known)
    assert found.targets[0].classes == ("angry", "happy")
    assert found.labels["mood"].tolist() == [1, 0]
    assert dataset_from_store(
        store.folder, write(store, "video,mood\ntalk,2\n"), classes=known
    ).targets == ()  # fmt: skip


def test_what_made_the_columns_is_kept(store):
    labels = write(store, "video,mood\ntalk,1\n")
    assert dataset_from_store(store.folder, labels).features == {
        "language": [{"backend": "mind"}],
        "visual": [{"backend": "eyes"}],
        "timing": {"backend": "watch"},
    }
    some = dataset_from_store(store.folder, labels, modalities=["language"])
    assert list(some.columns) == ["language"]
    assert some.features == {"language": [{"backend": "mind"}]}
    with pytest.raises(DatasetError, match="no smell features; the recipe made language, visual"):
        dataset_from_store(store.folder, labels, modalities=["smell"])


def test_every_bad_row_is_named_at_once(store):
    labels = write(
        store,
        "video,start,end,mood,speaker,split\n"
        "talk.mp4,0,2,1,ann,train\n"
        "tlak.mp4,0,2,1,ann,train\n"
        "talk.mp4,2,3,good,ann,train\n"
        "talk.mp4,4,3,1,ann,train\n"
        "talk.mp4,5,5.2,1,ann,train\n"
        "talk.mp4,0.0,2.0,1,ann,train\n"
        'short.mp4,0,2.9,"1,5",bob,exam\n'
        "short.mp4,2,30,1,bob,test\n"
        "short.mp4,-1,x,nan,ann,test\n"
        "talk.mp4,6,7,1,eve,test\n"
        "short.mp4,40,,1,bob,test\n"
        "talk.mp4,8,9,1,ann\n"
        ",8,9,1,ann,train\n"
        "talk.mp4,9,10,inf,ann,train\n",
    )
    with pytest.raises(DatasetError, match="17 problems") as caught:
        dataset_from_store(store.folder, labels)
    expected = [
        "row 3: video 'tlak.mp4': not in the store (it has 2, such as short.mp4)",
        "row 4: expected a number as mood, found 'good'",
        "row 5: expected an end after its start, found 4 to 3",
        "row 6: expected words between 5 and 5.2, found none; the nearest is 'talk.mp44'",
        "row 7: the same video and times as row 2",
        "row 8: expected a number as mood, found '1,5' (write 1.5, not 1,5)",
        "row 8: expected train, valid, test or nothing as split, found 'exam'",
        "row 9: expected times within 0 to 3, found 2 to 30",
        "row 10: expected a number as mood, found 'nan'",
        "row 10: expected the end in seconds from 0 on, found 'x'",
        "row 10: expected the start in seconds from 0 on, found '-1'",
        "row 10: speaker 'ann' is in test here and in train in row 2",
        "row 11: video 'talk.mp4' is in test here and in train in row 2",
        "row 12: expected times within 0 to 3, found 40 to 3",
        "row 13: expected 6 fields as in the header, found 5",
        "row 14: expected a video, found nothing",
        "row 15: expected a number as mood, found 'inf'",
    ]
    for line, start in zip(str(caught.value).splitlines()[1:], expected, strict=True):
        assert line.strip().startswith(start)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "row 1: expected a header"),
        ("video,start,mood\nt,1,1\n", "expected the column 'end', found 'video', 'start', 'mood'"),
        ("clip,mood\nt,1\n", "expected the column 'video', found 'clip', 'mood'"),
        ("video,start,end\ntalk,1,2\n", "expected a column with labels beside video"),
        ("video,mood,mood\ntalk,1,2\n", "the column 'mood' is there twice"),
        ("video,mood,\ntalk,1,2\n", "column 3 has no name"),
        ("video,mood\n\n", "there are no rows in it"),
        ('video,mood\n"talk,1\n', "cannot be read as a table of labels"),
    ],
)
def test_headers(store, text, message):
    with pytest.raises(DatasetError, match=message):
        dataset_from_store(store.folder, write(store, text))


def test_files_that_are_none(store, tmp_path):
    with pytest.raises(DatasetError, match=r"nothing\.csv: no such file; expected a table"):
        dataset_from_store(store.folder, tmp_path / "nothing.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match="cannot be read as a table of labels"):
        dataset_from_store(store.folder, tmp_path / "binary.csv")
    with pytest.raises(DatasetError, match="not a store; expected a folder that rmfn extract"):
        dataset_from_store(tmp_path / "nowhere", write(store, "video,mood\ntalk,1\n"))
    assert not (tmp_path / "nowhere").exists()


def test_a_spreadsheet_s_file_is_read(store):
    path = write(store, "")
    path.write_bytes("\ufeffvideo;mood;split\r\ntalk;1.5;Dev\r\n\r\n;;\r\n".encode())
    found = dataset_from_store(store.folder, path)
    assert found.labels["mood"].tolist() == [1.5]
    assert found.splits == ("valid",)


def test_words_are_classes_and_several_labels_stand_side_by_side(store):
    labels = write(
        store,
        "video,start,end,feeling,happy,text\n"
        "talk,0,1,joy,1,hello\ntalk,1,2,anger,0,you\ntalk,2,3,,1,there\n",
    )
    found = dataset_from_store(store.folder, labels)
    assert [(t.name, t.kind, t.classes) for t in found.targets] == [
        ("feeling", "classes", ("anger", "joy"))
    ]
    assert np.array_equal(found.labels["feeling"], [1, 0, np.nan], equal_nan=True)
    assert found.labels["happy"].tolist() == [1, 0, 1]
    assert list(dataset_from_store(store.folder, labels, columns=["happy"]).labels) == ["happy"]
    with pytest.raises(DatasetError, match="expected the column 'sad', found 'video'"):
        dataset_from_store(store.folder, labels, columns=["sad"])


def test_two_names_of_a_clip_are_one_video(store):
    labels = write(store, "video,start,end,mood,split\naaaa,0,1,1,train\ntalk.mp4,1,2,1,test\n")
    with pytest.raises(DatasetError, match=r"row 3: video 'talk.mp4' is in test here"):
        dataset_from_store(store.folder, labels)
    labels = write(store, "video,start,end,mood\naaaa,0,1,1\ntalk.mp4,0,1,1\n")
    with pytest.raises(DatasetError, match="row 3: the same video and times as row 2"):
        dataset_from_store(store.folder, labels)
    labels = write(store, "video,start,end,mood,id\ntalk,0,1,1,x\ntalk,1,2,1,x\n")
    with pytest.raises(DatasetError, match="row 3: the same id as row 2: 'x'"):
        dataset_from_store(store.folder, labels)


def test_a_name_that_two_clips_have_needs_the_file_itself(store, tmp_path):
    from pipeline.clip import open_clip

    clip = ROOT / "sample_videos" / "happy.mp4"
    put_clip(store, open_clip(clip).id, "talk.mp4", 5)
    with pytest.raises(DatasetError, match=r"row 2: .*2 clips of the store are called so"):
        dataset_from_store(store.folder, write(store, "video,mood\ntalk.mp4,1\n"))
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "talk.mp4").symlink_to(clip)
    found = dataset_from_store(store.folder, write(store, "video,mood\nsecond/talk.mp4,1\n"))
    assert len(found.sequences[0].words) == 5
    other = ROOT / "sample_videos" / "angry.mp4"
    with pytest.raises(DatasetError, match="is there, but it was not extracted into the store"):
        dataset_from_store(store.folder, write(store, f"video,mood\n{other},1\n"))


def test_features_of_one_recipe_are_taken(store, caplog):
    labels = write(store, "video,mood\ntalk,1\nshort,2\n")
    other = {**MADE, "name": "newer"}
    put_clip(store, "aaaa", "talk.mp4", 4, key="b" * 12, made=other)
    assert len(dataset_from_store(store.folder, labels).sequences[0].words) == 10
    put_clip(store, "bbbb", "short.mp4", 2, key="b" * 12, made=other)
    with pytest.raises(DatasetError, match=r"several recipes: planted \(0123456789ab\), newer"):
        dataset_from_store(store.folder, labels)
    assert len(dataset_from_store(store.folder, labels, recipe="newer").sequences[0].words) == 4
    assert len(dataset_from_store(store.folder, labels, recipe=KEY).sequences[0].words) == 10
    with pytest.raises(DatasetError, match="has features of the recipe 'older'; found planted"):
        dataset_from_store(store.folder, labels, recipe="older")
    put_clip(store, "aaaa", "talk.mp4", 7, key=f"{KEY}-{'c' * 12}")  # with a transcript
    assert len(dataset_from_store(store.folder, labels, recipe=KEY).sequences[0].words) == 7


def test_a_clip_that_failed_is_said(store):
    store.put_words("cccc", "k", [Word("a", 0, 1)], {"clip": "broken.mp4"})
    labels = write(store, "video,mood\ntalk,1\nbroken,1\n")
    with pytest.raises(DatasetError, match="row 3: video 'broken': in the store, but without"):
        dataset_from_store(store.folder, labels)


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.floats(0, 10), min_size=1, max_size=6, unique=True))
def test_adjoining_segments_share_the_words_out(tmp_path_factory, cuts):
    """Whatever the cuts, each word is in exactly one of the segments between them."""
    store = Store(tmp_path_factory.mktemp("data") / "store")
    put_clip(store, "aaaa", "talk.mp4", 10)
    edges = [0.0, *sorted(cuts), 10.0]
    middles = np.arange(10) + 0.5
    rows = [
        (start, end)
        for start, end in pairwise(edges)
        if ((middles >= start) & (middles < end)).any()
    ]
    text = "video,start,end,mood\n" + "".join(f"talk,{a!r},{b!r},1\n" for a, b in rows)
    found = dataset_from_store(store.folder, write(store, text))
    words = [word for sequence in found.sequences for word in sequence.words]
    assert [word.start for word in words] == [n + 0.25 for n in range(10)]
    save_dataset(found, store.folder.parent / "set")
    same_dataset(load_dataset(store.folder.parent / "set"), found)


def test_words_that_overlap_keep_their_order(store):
    put_clip(store, "dddd", "over.mp4", 3)
    sequence = store.get_sequence("dddd", KEY)
    long = replace(sequence.words[0], start=0.0, end=4.0)  # its middle, 2, comes after the second's
    store.put_sequence(
        KEY,
        replace(sequence, words=(long, *sequence.words[1:])),
        {"recipe": json.dumps(MADE), "clip": "over.mp4"},
    )
    labels = write(store, "video,start,end,mood\nover,1,2,1\nover,2,3,1\n")
    first, second = dataset_from_store(store.folder, labels).sequences
    assert first.features["language"].values[:, 0].tolist() == [1]
    assert second.features["language"].values[:, 0].tolist() == [0, 2]


def test_segments_that_are_not_good_enough_are_left_out_and_counted(tmp_path, caplog):
    """One clip is rejected as a whole; of another only the segment whose own words are bad."""
    good = {"speech_share": 0.9, "face_share": 1.0, "aligner_score": 0.9, "notes": {}}
    store = Store(tmp_path / "store")
    put_clip(store, "aaaa", "fine.mp4", 10, quality=good)
    put_clip(store, "bbbb", "mute.mp4", 10, quality={**good, "speech_share": 0.1})
    put_clip(store, "cccc", "mixed.mp4", 10, quality=good)
    mixed = store.get_sequence("cccc", KEY)
    words = tuple(replace(w, score=0.1 if w.start < 5 else 0.9) for w in mixed.words)
    notes = store.read_notes("cccc", "sequence", KEY)
    store.put_sequence(KEY, replace(mixed, words=words), notes)
    labels = write(
        store,
        "video,start,end,mood,split\n"
        "mute,0,5,1,train\nfine,0,5,2,train\nmixed,0,5,3,test\nmixed,5,10,4,test\n"
        "mute,5,10,5,train\n",
    )
    whole = dataset_from_store(store.folder, labels)
    flags = dataset_from_store(store.folder, labels, limits=Limits())
    assert flags.ids == whole.ids
    assert flags.source.endswith("; none of 5 segments left out for its quality")
    assert "left out" not in whole.source
    limits = Limits().but({}, {"speech_share": 0.2, "aligner_score": 0.5})
    found = dataset_from_store(store.folder, labels, limits=limits)
    said = "3 of 5 segments left out for their quality (speech_share 2, aligner_score 1)"
    assert found.source.endswith(f"; {said}")
    assert said in caplog.text
    assert found.labels["mood"].tolist() == [2, 4]
    assert found.videos == ("fine", "mixed")
    assert found.splits == ("train", "test")
    assert [s.words[0].start for s in found.sequences] == [0.25, 5.25]
    with pytest.raises(DatasetError, match=r"no segment is good enough: aligner_score 5"):
        dataset_from_store(store.folder, labels, limits=Limits().but({}, {"aligner_score": 0.99}))


def test_videos_whose_quality_was_not_kept_are_judged_by_their_words(store, caplog):
    labels = write(store, "video,start,end,mood\ntalk,0,5,1\nshort,,,2\n")
    limits = Limits().but({}, {"speech_share": 0.99, "face_share": 0.5})
    with pytest.raises(DatasetError, match=r"no segment is good enough: face_share 2$"):
        dataset_from_store(store.folder, labels, limits=limits)
    assert "2 of 2 videos were extracted before their quality was kept" in caplog.text


def test_a_store_elsewhere_gives_the_same_data_set(store, tmp_path):
    labels = write(store, "video,start,end,mood\ntalk,0,5,1\nshort,,,2\n")
    away = Store("memory://own-videos/store")
    for clip_id in store.clips():
        notes = store.read_notes(clip_id, "sequence", KEY)
        away.put_sequence(KEY, store.get_sequence(clip_id, KEY), notes)
    same_dataset(
        dataset_from_store("memory://own-videos/store", labels),
        dataset_from_store(store.folder, labels),
    )
    with pytest.raises(DatasetError, match="memory://own-videos/none: not a store"):
        dataset_from_store("memory://own-videos/none", labels)
