from __future__ import annotations

import errno
import json
import mmap
import multiprocessing
import os
import pickle
import threading
import time
import uuid
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extractors.types import FeatureTrack, Word, WordFeatures
from pipeline.errors import DatasetError
from pipeline.pooling import pool
from pipeline.sequence import AlignedSequence
from pipeline.store import Store, open_store, read_track, write_track
from pipeline.whole import open_place
from tests.conftest import measure_held

CLIP = "0123456789abcdef"
WORDS = (
    Word("Héllo,", 0.1, 0.1 + 0.2, 0.9, False),
    Word("„wörld“", 0.3, 0.70000001, None, True),
)


def make_track(frames: int = 50, columns: int = 4) -> FeatureTrack:
    rng = np.random.default_rng(frames)
    values = rng.normal(size=(frames, columns)).astype(np.float32)
    if values.size:
        values.reshape(-1)[::3] = np.nan
        values.reshape(-1)[:1] = np.array([0x7FC12345], np.uint32).view(np.float32)  # a marked NaN
    return FeatureTrack(
        values,
        np.cumsum(rng.uniform(0.01, 0.05, frames)),
        tuple(f"tool.x.{i}" for i in range(columns)),
        rng.random(frames) < 0.5,
        {"faces": 2.0, "tool": "né"},
    )


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def assert_same_track(a: FeatureTrack | None, b: FeatureTrack) -> None:
    assert a is not None
    assert same_bits(a.values, b.values)
    assert same_bits(a.times, b.times)
    assert same_bits(a.observed, b.observed)
    assert (a.names, a.notes) == (b.names, b.notes)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "new" / "store")


@pytest.mark.parametrize(("frames", "columns"), [(50, 4), (1, 1), (0, 4), (3, 0), (0, 0)])
def test_tracks_come_back_bit_by_bit(store, frames, columns):
    track = make_track(frames, columns)
    store.put_track(CLIP, "visual", "k", track)
    assert_same_track(store.get_track(CLIP, "visual", "k"), track)


@pytest.mark.parametrize("words", [WORDS, WORDS[:1], ()])
def test_words_come_back(store, words):
    store.put_words(CLIP, "k", words)
    assert store.get_words(CLIP, "k") == words


@pytest.mark.parametrize("words", [WORDS, ()])
def test_sequences_come_back_bit_by_bit(store, words):
    rng = np.random.default_rng(0)
    features = {
        name: WordFeatures(
            rng.normal(size=(len(words), width)).astype(np.float32),
            rng.random(len(words)).astype(np.float32),
            tuple(f"{name}.{i}" for i in range(width)),
        )
        for name, width in (("language", 5), ("visual", 0), ("acoustic", 2))
    }
    store.put_sequence("k", AlignedSequence(CLIP, words, features))
    back = store.get_sequence(CLIP, "k")
    assert (back.clip_id, back.words, list(back.features)) == (CLIP, words, list(features))
    for name, rows in features.items():
        assert same_bits(back.features[name].values, rows.values)
        assert same_bits(back.features[name].coverage, rows.coverage)
        assert back.features[name].names == rows.names


def test_stages_are_found_by_clip_stage_and_key(store):
    store.put_words(CLIP, "old", WORDS)
    store.put_track(CLIP, "visual", "k-0", make_track())
    assert store.get_words(CLIP, "new") is None
    assert store.get_words("f" * 16, "old") is None
    assert store.get_track(CLIP, "acoustic", "k-0") is None
    assert store.get_sequence(CLIP, "old") is None
    assert store.has(CLIP, "words", "old")
    assert not store.has(CLIP, "words", "new")
    assert store.clips() == [CLIP]
    assert store.stages(CLIP) == ["track.visual-k-0", "words-old"]


def test_another_process_finds_it_again(store):
    store.put_words(CLIP, "k", WORDS)
    assert Store(store.folder).get_words(CLIP, "k") == WORDS
    assert Store(str(store.folder)) == store


def test_pyarrow_alone_can_read_it(store):
    track = make_track(7, 3)
    store.put_track(CLIP, "visual", "k", track, {"recipe": '{"visual": "x"}'})
    table = pq.read_table(store.folder / CLIP / "track.visual-k.parquet")
    assert table.column_names == ["time", "observed", "values"]
    assert str(table.schema.field("values").type) == "fixed_size_list<element: float>[3]"
    np.testing.assert_array_equal(np.array(table["values"].to_pylist(), np.float32), track.values)
    said = {name.decode(): value.decode() for name, value in table.schema.metadata.items()}
    assert json.loads(said["names"]) == list(track.names)
    assert json.loads(said["notes"]) == track.notes
    assert said["recipe"] == '{"visual": "x"}'
    assert (said["clip_id"], said["stage"], said["key"]) == (CLIP, "track.visual", "k")
    assert "pyarrow" in said["written_by"]


def test_numpy_numbers_in_notes_are_numbers(tmp_path):
    track = FeatureTrack(np.ones((1, 1), np.float32), np.zeros(1), ("x",), None, {"n": np.int64(3)})
    write_track(tmp_path / "t.parquet", track)
    assert read_track(tmp_path / "t.parquet").notes == {"n": 3}


@pytest.mark.parametrize("damage", ["empty", "half", "no footer", "bit", "other", "text"])
def test_a_damaged_file_is_named_and_done_again(store, caplog, damage):
    track = make_track(500, 20)
    store.put_track(CLIP, "visual", "k", track)
    path = store.path(CLIP, "track.visual", "k")
    data = path.read_bytes()
    if damage == "bit":
        middle = len(data) // 3
        data = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    elif damage == "other":  # a whole file, but of another clip
        store.put_track("f" * 16, "visual", "k", track)
        data = store.path("f" * 16, "track.visual", "k").read_bytes()
    else:
        data = {"empty": b"", "half": data[: len(data) // 2], "no footer": data[:-9], "text": b"x"}[
            damage
        ]
    path.write_bytes(data)
    assert store.get_track(CLIP, "visual", "k") is None
    assert f"{path}: damaged, the stage is done again" in caplog.text
    store.put_track(CLIP, "visual", "k", track)
    assert_same_track(store.get_track(CLIP, "visual", "k"), track)


def test_every_truncation_is_noticed(tmp_path):
    path = tmp_path / "t.parquet"
    write_track(path, make_track(20, 3))
    data = path.read_bytes()
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        with pytest.raises(DatasetError, match=r"t\.parquet: not a feature track"):
            read_track(path)


kinds = st.sampled_from(("words", "track", "sequence"))
damages = st.lists(
    st.one_of(
        st.tuples(st.just("flip"), st.floats(0, 1), st.integers(1, 255)),
        st.tuples(st.just("cut"), st.floats(0, 1), st.just(0)),
        st.tuples(st.just("zero"), st.floats(0, 1), st.integers(1, 64)),
        st.tuples(st.just("double"), st.floats(0, 1), st.integers(1, 64)),
    ),
    min_size=1,
    max_size=4,
)


@given(kinds, damages)
@settings(max_examples=60)
def test_whatever_happens_to_a_file_it_is_whole_or_missing(tmp_path_factory, kind, harm):
    store, track = Store(tmp_path_factory.mktemp("store")), make_track(40, 3)
    sequence = AlignedSequence(CLIP, WORDS, {"visual": pool(track, WORDS)})

    def put() -> None:
        store.put_words(CLIP, "k", WORDS)
        store.put_track(CLIP, "visual", "k", track)
        store.put_sequence("k", sequence)

    def get() -> bytes | None:
        found = {
            "words": store.get_words(CLIP, "k"),
            "track": store.get_track(CLIP, "visual", "k"),
            "sequence": store.get_sequence(CLIP, "k"),
        }
        return None if found[kind] is None else pickle.dumps(found[kind])

    put()
    good = get()
    path = store.path(CLIP, {"track": "track.visual"}.get(kind, kind), "k")
    data = bytearray(path.read_bytes())
    for how, place, what in harm:
        at = int(place * max(len(data) - 1, 0))
        if how == "cut":
            del data[at:]
        elif how == "flip" and data:
            data[at] ^= what
        elif how == "zero":
            data[at : at + what] = bytes(len(data[at : at + what]))
        else:
            data[at:at] = data[at : at + what]
    path.write_bytes(data)
    store.read_notes(CLIP, kind, "k")
    assert get() in (good, None)
    put()
    assert get() == good


def test_a_full_disk_leaves_the_old_file_and_nothing_half_written(store, monkeypatch):
    store.put_words(CLIP, "k", WORDS)

    def fail(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=r"No space left on device: '.*words-k.parquet'"):
        store.put_words(CLIP, "k", WORDS[:1])
    assert [path.name for path in (store.folder / CLIP).iterdir()] == ["words-k.parquet"]
    assert store.get_words(CLIP, "k") == WORDS


def test_who_is_reading_the_old_file_reads_it_to_its_end(store):
    store.put_words(CLIP, "k", WORDS)
    path = store.path(CLIP, "words", "k")
    whole = path.read_bytes()
    with open(path, "rb") as reader:
        store.put_words(CLIP, "k", WORDS[:1])
        assert reader.read() == whole


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_disk_that_is_full_while_writing(tmp_path, monkeypatch):
    import builtins

    real = builtins.open
    monkeypatch.setattr(builtins, "open", lambda path, mode="r": real("/dev/full", "wb"))
    with pytest.raises(OSError, match=r"No space left on device: '.*t.parquet'"):
        write_track(tmp_path / "t.parquet", make_track())
    monkeypatch.undo()
    assert not list(tmp_path.iterdir())


def test_leftovers_of_killed_runs_are_ignored_and_cleaned(store):
    store.put_words(CLIP, "k", WORDS)
    folder = store.folder / CLIP
    old, young = folder / ".words-x.parquet.1.tmp", folder / ".words-y.parquet.2.tmp"
    for path in (old, young):
        path.write_bytes(b"PAR1 half")
    os.utime(old, (time.time() - 7200,) * 2)
    assert store.stages(CLIP) == ["words-k"]
    store.put_words(CLIP, "z", WORDS)
    assert not old.exists()
    assert young.exists()  # perhaps another process is writing it just now


def test_a_run_killed_while_it_first_made_the_store_does_no_harm(tmp_path):
    (tmp_path / ".store.json.1.tmp").write_text("{")
    Store(tmp_path).put_words(CLIP, "k", WORDS)
    assert Store(tmp_path).get_words(CLIP, "k") == WORDS


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ('{"format": "rmfn store", "version": 99}', "a store of version 99; .* up to version 1"),
        ('{"format": "zarr", "version": 1}', "expected format 'rmfn store', got 'zarr'"),
        ("[]", "expected format and version as JSON"),
        ("{", "expected format and version as JSON"),
    ],
)
def test_foreign_folders_are_refused(tmp_path, said, match):
    (tmp_path / "store.json").write_text(said)
    with pytest.raises(DatasetError, match=match):
        Store(tmp_path)


def test_a_folder_with_other_things_is_no_store(tmp_path):
    (tmp_path / "holiday.jpg").write_text("")
    with pytest.raises(DatasetError, match=r"not a store; .* found 'holiday.jpg'"):
        Store(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]
    with pytest.raises(DatasetError, match="a file; expected a folder"):
        Store(tmp_path / "holiday.jpg")


@pytest.mark.parametrize("part", ["../escape", "a/b", "", ".hidden", "a\0b"])
def test_names_cannot_leave_the_folder(store, part):
    with pytest.raises(ValueError, match="cannot be part of a file name"):
        store.put_words(part, "k", WORDS)
    with pytest.raises(ValueError, match="cannot be part of a file name"):
        store.get_words(CLIP, part)


def _write_many(folder, seed):
    store = Store(folder)
    for i in range(8):
        store.put_track(CLIP, "visual", "k", make_track(100 + seed, 5))
        store.put_words(f"{i:016x}", "k", WORDS)


def test_two_processes_share_a_store(tmp_path):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(tmp_path / "s", n)) for n in (0, 1)]
    for writer in writers:
        writer.start()
    whole = (make_track(100, 5), make_track(101, 5))
    seen = 0
    while any(writer.is_alive() for writer in writers):
        time.sleep(0.01)
        if not (tmp_path / "s" / CLIP).exists():
            continue
        track = Store(tmp_path / "s").get_track(CLIP, "visual", "k")
        if track is not None:
            assert_same_track(track, whole[len(track.times) - 100])
            seen += 1
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    store = Store(tmp_path / "s")
    assert seen > 0
    assert len(store.clips()) == 8 + 1
    assert all(store.get_words(f"{i:016x}", "k") == WORDS for i in range(8))
    assert not list(store.folder.rglob("*.tmp"))


@pytest.fixture(params=["memory", "s3"])
def away(request) -> str:
    """Where no store is yet, on a file system that is not this machine's."""
    root = "memory://tests" if request.param == "memory" else request.getfixturevalue("bucket")
    return f"{root}/{uuid.uuid4().hex}/features"


def test_elsewhere_the_same_files_lie_as_here(away, store):
    there, track = Store(away), make_track()
    assert there.clips() == []
    for each in (store, there):
        each.put_words(CLIP, "k", WORDS, {"clip": "talk.mp4"})
        each.put_track(CLIP, "visual", "k", track)
    assert there.clips() == [CLIP]
    assert there.stages(CLIP) == store.stages(CLIP) == ["track.visual-k", "words-k"]
    for stage in ("words", "track.visual"):
        assert there.has(CLIP, stage, "k")
        assert not there.has(CLIP, stage, "z")
        assert (
            there.path(CLIP, stage, "k").read_bytes() == store.path(CLIP, stage, "k").read_bytes()
        )
    assert Store(away).get_words(CLIP, "k") == WORDS
    assert_same_track(Store(away).get_track(CLIP, "visual", "k"), track)
    assert there.get_words(CLIP, "other") is None
    assert there.read_notes(CLIP, "words", "k")["clip"] == "talk.mp4"
    assert there.read_notes(CLIP, "words", "other") == {}
    assert not [name for name in there.folder.fs.find(there.folder.path) if "tmp" in name]


def test_elsewhere_what_others_write_is_seen_at_once(away):
    first, second = Store(away), Store(away)
    assert first.clips() == second.clips() == []
    second.put_words(CLIP, "k", WORDS)
    assert (first.clips(), first.stages(CLIP)) == ([CLIP], ["words-k"])
    # Another process has a connection of its own, and tells this one nothing.
    fs = first.folder.fs
    other = type(fs)(skip_instance_cache=True)
    new = first.path("f" * 16, "words", "k").path
    other.pipe_file(new, fs.cat_file(first.path(CLIP, "words", "k").path))
    assert first.clips() == [CLIP, "f" * 16]
    assert first.has("f" * 16, "words", "k")


def test_elsewhere_a_write_that_fails_leaves_what_was_there(away, monkeypatch):
    there = Store(away)
    there.put_words(CLIP, "k", WORDS)

    write = pq.ParquetWriter.write_table

    def break_off(writer, table):
        write(writer, table)
        raise OSError(errno.EIO, "the cable was pulled")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", break_off)
    for key in ("k", "new"):
        with pytest.raises(OSError, match="the cable was pulled"):
            there.put_words(CLIP, key, WORDS[:1])
    assert there.stages(CLIP) == ["words-k"]
    assert there.get_words(CLIP, "k") == WORDS


def test_elsewhere_nobody_reads_half_a_file(away, caplog):
    """A reader finds one whole file or the other, never a piece of one, never none."""
    tracks = (make_track(300, 30), make_track(301, 30))
    Store(away).put_track(CLIP, "visual", "k", tracks[0])
    over = threading.Event()

    def write() -> None:
        writer = Store(away)
        for n in range(30):
            writer.put_track(CLIP, "visual", "k", tracks[n % 2])
        over.set()

    thread = threading.Thread(target=write)
    thread.start()
    seen = 0
    while not over.is_set() or not seen:
        found = Store(away).get_track(CLIP, "visual", "k")
        assert found is not None, caplog.text
        assert_same_track(found, tracks[len(found.times) - 300])
        assert Store(away).read_notes(CLIP, "track.visual", "k")["clip_id"] == CLIP
        seen += 1
    thread.join(timeout=60)
    assert "damaged" not in caplog.text


def test_elsewhere_foreign_folders_are_refused(away):
    place = open_place(away)
    place.fs.pipe_file((place / "holiday.jpg").path, b"sea")
    with pytest.raises(DatasetError, match=rf"{away}: not a store; .* found 'holiday.jpg'"):
        Store(away)
    with pytest.raises(DatasetError, match=rf"{away}: not a store; expected a folder that rmfn"):
        open_store(away)
    place.fs.pipe_file((place / "store.json").path, b'{"format": "rmfn store", "version": 99}')
    with pytest.raises(DatasetError, match=r"a store of version 99; .* up to version 1"):
        open_store(away)


def test_two_processes_share_a_store_elsewhere(bucket):
    away = f"{bucket}/{uuid.uuid4().hex}"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(away, n)) for n in (0, 1)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=120)
        assert writer.exitcode == 0
    store = Store(away)
    assert store.clips() == sorted([*(f"{i:016x}" for i in range(8)), CLIP])
    assert all(store.get_words(f"{i:016x}", "k") == WORDS for i in range(8))
    track = store.get_track(CLIP, "visual", "k")
    assert_same_track(track, make_track(len(track.times), 5))


def test_a_file_url_is_a_folder_of_this_machine(tmp_path):
    store = Store(f"file://{tmp_path}/s")
    assert store.folder == Path(tmp_path / "s")
    store.put_words(CLIP, "k", WORDS)
    assert open_store(tmp_path / "s").get_words(CLIP, "k") == WORDS


@pytest.mark.parametrize(
    ("place", "match"),
    [
        ("gs://bucket/x", r"gs://bucket/x: no way to get there \(.*install gcsfs"),
        ("gopher://x/y", r"gopher://x/y: no way to get there \(.*'gopher'"),
    ],
)
def test_a_place_that_nothing_here_leads_to_names_what_is_missing(monkeypatch, place, match):
    import sys

    monkeypatch.setitem(sys.modules, "gcsfs", None)  # as if it were not installed
    with pytest.raises(DatasetError, match=match):
        Store(place)


def test_a_service_that_does_not_answer_is_told_in_one_line(monkeypatch):
    place = open_place(f"memory://{uuid.uuid4().hex}")

    def refuse(*args, **kwargs):
        raise RuntimeError("no route to host")

    monkeypatch.setattr(type(place.fs), "cat_file", refuse)
    monkeypatch.setattr(type(place.fs), "open", refuse)
    with pytest.raises(DatasetError, match=r"memory://.*: cannot be reached \(no route to host\)"):
        Store(place)


def test_a_long_track_comes_back_without_being_held(tmp_path):
    """20,000 rows are mapped: written, read and pooled, their pages go back."""
    track = make_track(20_000, 200)
    store = Store(tmp_path / "s")
    store.put_track(CLIP, "visual", "k", track)
    before = measure_held("(deleted)")
    kept = store.get_track(CLIP, "visual", "k")
    np.testing.assert_array_equal(kept.times, track.times)
    assert _owner(kept.values) is not None
    store.put_track(CLIP, "visual", "again", kept)
    pool(kept, [Word("all", 0.0, float(kept.times[-1]) + 1)])
    assert measure_held("(deleted)") - before < track.values.nbytes / 4
    np.testing.assert_array_equal(kept.values, track.values)
    same = store.path(CLIP, "track.visual", "again").stat().st_size
    assert same == pytest.approx(store.path(CLIP, "track.visual", "k").stat().st_size, abs=16)


def _owner(values):
    while isinstance(values, np.ndarray):
        values = values.base
    return values if isinstance(values, mmap.mmap) else None
