"""Timed transcripts and splits by video."""

from __future__ import annotations

import json

import numpy as np
import pytest

from extractors.word_timing import WordTiming
from pipeline.errors import DatasetError
from rmfn.corpora import make_sequences, read_timed, rows_seen, split_videos
from tests.conftest import shared

LINE = {
    "id": "v_1",
    "vid": "v",
    "clip": 1,
    "split": "train",
    "label": -1.2,
    "start": 10.0,
    "end": 12.0,
    "text": "um it was bad",
    "words": ["sp", "it", "was", "sp", "bad"],
    "w_start": [0.0, 0.5, 0.75, 1.0, 1.5],
    "w_end": [0.5, 0.75, 1.0, 1.5, 2.0],
}


def write(path, *lines):
    path.write_text(
        "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    )
    return path


def test_pauses_are_no_words_but_are_heard(tmp_path):
    (segment,) = read_timed(write(tmp_path / "t.jsonl", LINE))
    assert (segment.id, segment.video, segment.label, segment.split) == ("v_1", "v", -1.2, "train")
    assert [word.text for word in segment.words] == ["it", "was", "bad"]
    (rows,) = WordTiming()([segment.words])
    assert rows[:, 0] == pytest.approx([0.25, 0.25, 0.5])
    assert rows[1:, 1] == pytest.approx([0, 0.5])


def test_a_segment_without_times_takes_its_text(tmp_path):
    untimed = {**LINE, "words": [], "w_start": [], "w_end": []}
    at_once = {**untimed, "id": "v_2", "end": 10.0}
    timed, instant = read_timed(write(tmp_path / "t.jsonl", untimed, "", at_once))
    assert [word.text for word in timed.words] == ["um", "it", "was", "bad"]
    assert [word.start for word in timed.words] == [0, 0.5, 1, 1.5]
    assert all(word.score is None for word in timed.words)
    assert len(instant.words) == 4
    assert np.isnan(WordTiming()([instant.words])[0]).all()


def test_label_and_split_may_be_unknown(tmp_path):
    bare = {k: LINE[k] for k in ("id", "vid", "words", "w_start", "w_end")}
    (segment,) = read_timed(write(tmp_path / "t.jsonl", bare))
    assert segment.label is None
    assert segment.split == ""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not a timed transcript: Expecting"),
        ("[1]", "line 2: not a timed transcript"),
        ({k: v for k, v in LINE.items() if k != "vid"}, "line 2: .* no 'vid'"),
        ({**LINE, "w_end": [1.0]}, "line 2: .*zip"),
        ({**LINE, "w_end": [0.5, 0.4, 1, 1, 1]}, "line 2: .*'it' must start before it ends"),
        ({**LINE, "words": ["sp"] * 5, "text": " "}, "line 2: .*'v_1' has no words"),
        ({**LINE, "label": "good"}, "line 2: .*could not convert"),
        (LINE, "segment 'v_1' is there twice"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path, line, message):
    path = write(tmp_path / "t.jsonl", LINE, line)
    with pytest.raises(DatasetError, match=message):
        read_timed(path)


def test_files_that_are_none(tmp_path):
    with pytest.raises(DatasetError, match="cannot be read as timed transcripts"):
        read_timed(tmp_path / "nothing.jsonl")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match="cannot be read as timed transcripts"):
        read_timed(tmp_path / "binary")
    with pytest.raises(DatasetError, match="there are no segments in it"):
        read_timed(write(tmp_path / "empty.jsonl", ""))


class Letters:
    """Stands in for a language backend: one column, the length of the token."""

    names = ("letters.0",)

    def __call__(self, utterances):
        return [np.array([[len(t)] for t in tokens], np.float32) for tokens in utterances]


def test_features_stand_side_by_side(tmp_path):
    segments = read_timed(write(tmp_path / "t.jsonl", LINE, {**LINE, "id": "v_2"}))
    first, second = make_sequences(segments, [Letters(), Letters()], WordTiming())
    assert first.clip_id == "v_1"
    assert first.features["language"].values.tolist() == [[2, 2], [3, 3], [3, 3]]
    assert first.features["acoustic"].names == WordTiming().names
    assert first.features["acoustic"].coverage.tolist() == [1, 1, 1]
    assert np.array_equal(
        first.features["acoustic"].values, second.features["acoustic"].values, equal_nan=True
    )


def test_only_a_row_of_nothing_but_zeros_was_not_seen():
    found = rows_seen(np.array([[0, 1], [0, 0], [2, 0]], np.float32), ("x", "y"))
    np.testing.assert_array_equal(found.values, [[0, 1], [np.nan, np.nan], [2, 0]])
    assert found.coverage.tolist() == [1, 0, 1]


def test_videos_stay_whole_and_parts_are_even():
    random = np.random.default_rng(0)
    videos = [f"v{n}" for n in random.integers(40, size=600)]
    parts = split_videos(videos, 5, seed=3)
    assert sorted(n for part in parts for n in part) == list(range(600))
    owners = [{videos[n] for n in part} for part in parts]
    assert sum(len(owner) for owner in owners) == len(set(videos))
    assert max(len(part) for part in parts) - min(len(part) for part in parts) < 20
    assert split_videos(videos, 5, seed=3) == parts
    assert split_videos(videos, 5, seed=4) != parts
    with pytest.raises(DatasetError, match="1 videos cannot be split into 2 parts"):
        split_videos(["v", "v"], 2, seed=0)


def test_the_published_corpus():
    segments = read_timed(shared("data/mosi_language/mosi_words_timed_train_dev.jsonl"))
    assert len(segments) == 1513
    assert len({segment.video for segment in segments}) == 62
    assert sum(segment.split == "dev" for segment in segments) == 229
    assert all(-3 <= segment.label <= 3 for segment in segments)
    assert not any(word.text == "sp" for segment in segments for word in segment.words)
    untimed = [s.id for s in segments if all(word.score is None for word in s.words)]
    assert untimed == ["2WGyTLYerpo_44"]
