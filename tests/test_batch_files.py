"""What a batch leaves for people: a row an utterance, values that tables can hold."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
from pyarrow import csv

from flows.batch_command import describe_time, describe_told, show_report, tabulate_clips
from flows.batch_files import tabulate_predictions, write_batch
from pipeline.store import Store

NUMBER = {"value": 1.5, "interval": [0.5, 2.5]}
CHOICE = {"value": "sad", "probabilities": {"sad": 0.75, "happy": 0.25}}
GOOD = {
    "path": "v/a.mp4", "id": "ab", "status": "done", "duration": 3.0, "stage": None,
    "overall": {"sentiment": NUMBER, "mood": CHOICE},
    "utterances": [
        {"start": 0.5, "end": 1.0, "text": 'so, "good"', "prediction": {"sentiment": NUMBER}},
        {"start": 1.5, "end": 2.0, "text": "right", "prediction": {"mood": CHOICE}},
    ],
}  # fmt: skip
BAD = {"path": "v/b.mp4", "id": None, "status": "failed", "duration": None, "stage": "media"}


def test_a_row_for_the_clip_and_for_each_utterance():
    rows = tabulate_predictions([BAD, GOOD]).to_pylist()
    assert [row["utterance"] for row in rows] == [None, 0, 1]
    assert {row["path"] for row in rows} == {"v/a.mp4"}
    assert rows[0] == {
        "path": "v/a.mp4", "id": "ab", "utterance": None, "start": 0.0, "end": 3.0, "text": None,
        "sentiment": 1.5, "sentiment.low": 0.5, "sentiment.high": 2.5,
        "mood": "sad", "mood.sad": 0.75, "mood.happy": 0.25,
    }  # fmt: skip
    assert rows[1]["mood"] is None
    assert rows[2]["mood.happy"] == 0.25


def test_people_see_what_was_predicted():
    clips = [{"seconds": 1.0, "quality": None, "same_as": None, "reason": None, **each}
             for each in (GOOD, BAD)]  # fmt: skip
    rows = tabulate_clips(clips)
    assert [(row["sentiment"], row["mood"]) for row in rows] == [("+1.50", "sad"), (None, None)]
    assert "sentiment" not in tabulate_clips(clips[1:])[0]
    # A label may be called as a column is; many labels share one.
    strange = {**clips[0], "overall": {"clip": NUMBER}}
    assert tabulate_clips([strange])[0]["clip"] == "v/a.mp4"
    many = {**clips[0], "overall": {name: NUMBER for name in "abcd"}}
    assert tabulate_clips([many])[0]["predicted"] == "a +1.50, b +1.50, c +1.50, d +1.50"


def test_the_table_fits_a_page(capsys):
    clips = [{"seconds": 1.0, "quality": None, "same_as": None, "reason": None, **each}
             for each in (GOOD, {**BAD, "reason": "it is no video"})]  # fmt: skip
    show_report({"clips": clips[:1], "seconds": 1.0, "passed_over": 0})
    shown = capsys.readouterr().out
    assert "+1.50" in shown
    assert "why" not in shown  # nothing to be said
    show_report({"clips": clips, "seconds": 1.0, "passed_over": 0})
    shown = capsys.readouterr().out
    assert "it is no video" in shown
    assert max(map(len, shown.splitlines())) <= 110


def test_files_for_people_and_programs(tmp_path):
    store = Store(tmp_path / "s")
    report = {"model": None, "clips": [BAD], "seconds": float("nan")}
    assert write_batch(store, report) == ["report.json"]
    assert json.loads((store.folder / "report.json").read_text())["seconds"] is None
    names = write_batch(store, {**report, "model": "m", "clips": [GOOD, BAD]})
    assert names == ["report.json", "predictions.csv", "predictions.parquet"]
    expected = tabulate_predictions([GOOD]).to_pylist()
    assert pq.read_table(store.folder / "predictions.parquet").to_pylist() == expected
    read = csv.read_csv(store.folder / "predictions.csv").to_pylist()
    assert [row["text"] for row in read] == ["", 'so, "good"', "right"]
    assert [row["sentiment"] for row in read] == [1.5, 1.5, None]
    # All failed: the columns that are always there.
    write_batch(store, {**report, "model": "m"})
    assert pq.read_table(store.folder / "predictions.parquet").num_rows == 0


def test_time_left_is_told_as_exactly_as_it_is_known():
    from flows.batch import Told

    assert [describe_time(s) for s in (0.4, 89, 90, 5399, 9000)] == [
        "0 s", "89 s", "2 min", "90 min", "2.5 h",
    ]  # fmt: skip
    assert describe_told(Told(1, 1, 3, None, {})) == "1 failed, time left not known yet"
    assert describe_told(Told(2, 0, 3, 600.0, {})) == "about 10 min left"
    assert describe_told(Told(3, 2, 3, 0.0, {})) == "2 failed, done"
