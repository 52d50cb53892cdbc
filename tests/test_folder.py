"""Clips are found by what is in the files, and nothing is found out twice."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from pipeline import folder
from pipeline.clip import open_clip
from pipeline.container import sniff_media
from pipeline.errors import MediaError
from pipeline.folder import FileIndex, find_media
from tests.toy_batch import make_video

PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + bytes(20)


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    return make_video(tmp_path_factory.mktemp("video") / "clip.mp4", 1.0)


@pytest.fixture
def videos(tmp_path, video) -> Path:
    """A folder in which names say little."""
    root = tmp_path / "videos"
    for name in ("b/clip", "a.mp4", "notes.txt.mov", ".hidden.mp4", ".cache/clip.mp4", "st/x.mp4"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(video, root / name)
    for name, content in {
        "broken.MKV": b"\x1a\x45\xdf\xa3 and no more",
        "empty.wav": b"",
        "empty": b"",
        "list.m3u8": b"#EXTM3U\n#EXTINF:3,\na.mp4\n",
        "said": "Grüße, ein Text ohne Endung\n".encode() * 40,
        "latin": "Grüße aus Köln\n".encode("latin-1"),
        "cover.png": PNG,
        "rows.parquet": b"PAR1" + bytes(range(256)) * 30 + b"PAR1",
    }.items():
        (root / name).write_bytes(content)
    os.symlink(root / "a.mp4", root / "link")
    os.symlink(root / "nowhere", root / "dangling.mp4")
    os.mkfifo(root / "pipe.mp4")
    return root


def test_files_are_found_by_content(videos):
    found, others = find_media([videos], FileIndex(), without=videos / "st")
    assert [str(path.relative_to(videos)) for path in found] == [
        "a.mp4", "b/clip", "broken.MKV", "empty.wav", "link", "notes.txt.mov",
    ]  # fmt: skip
    # empty, list.m3u8, said, latin, cover.png, rows.parquet
    assert others == 6


def test_what_is_named_is_taken_as_it_is(videos):
    given = [videos / "said", videos / "b", videos / "b" / "clip", ".", "nowhere"]
    assert find_media(given[:3], FileIndex())[0] == [videos / "said", videos / "b" / "clip"]
    with pytest.raises(FileNotFoundError, match=r"no such file or folder: .*/nowhere"):
        find_media(given[:2] + given[4:], FileIndex())


def test_durations_are_known_without_decoding(videos):
    index = FileIndex()
    assert index.duration(videos / "b" / "clip") == pytest.approx(1.0, abs=0.1)
    assert index.duration(videos / "broken.MKV") is None
    assert index.duration(videos / "gone.mp4") is None


def sniff_or_crash(path):
    """What a process that looks at files does, if a native library has its bad day."""
    if path.endswith("crash"):
        os.kill(os.getpid(), signal.SIGSEGV)
    return sniff_media(path)


def test_a_file_that_crashes_who_looks_at_it_is_media_to_be_heard_of(video, tmp_path, monkeypatch):
    for name in ("crash", "good"):
        shutil.copy(video, tmp_path / name)
    (tmp_path / "text").write_text("not this")
    monkeypatch.setattr(folder, "sniff_media", sniff_or_crash)
    found, others = find_media([tmp_path], FileIndex())
    assert [path.name for path in found] == ["crash", "good"]
    assert others == 1


def test_nothing_is_found_out_twice(videos, tmp_path, monkeypatch):
    place = tmp_path / "files.json"
    for path in videos.rglob("*"):
        if path.is_file():
            os.utime(path, (1e9, 1e9))
    index = FileIndex(place)
    found = find_media([videos], index)
    paths = [path for path in found[0] if path.stat().st_size]
    ids = [index.identify(path) for path in paths]
    assert ids[0] == open_clip(videos / "a.mp4").id
    index.save()

    def refuse(path):
        raise AssertionError(f"{path} was read again")

    monkeypatch.setattr(folder, "sniff_media", refuse)
    monkeypatch.setattr(folder, "identify_file", refuse)
    again = FileIndex(place)
    assert find_media([videos], again) == found
    assert [again.identify(path, read=False) for path in paths] == ids
    before = place.stat().st_mtime_ns
    again.save()
    assert place.stat().st_mtime_ns == before  # there was nothing to add


@pytest.mark.parametrize("how", ["edited", "replaced", "touched"])
def test_a_file_that_changed_is_looked_at_anew(video, tmp_path, how):
    path, other = tmp_path / "clip.mp4", make_video(tmp_path / "other.mp4", 1.0, flash=0.7)
    shutil.copy2(video, path)
    for each in (path, other):  # of the same size and age
        os.truncate(each, 20_000)
        os.utime(each, (1e9, 1e9))
    index = FileIndex(tmp_path / "files.json")
    first = index.identify(path)
    index.save()
    if how == "replaced":
        os.replace(other, path)
    elif how == "edited":
        path.write_bytes(other.read_bytes())
        os.utime(path, (1e9 + 1, 1e9 + 1))
    else:
        os.utime(path, (1e9 + 1, 1e9 + 1))
    again = FileIndex(tmp_path / "files.json")
    assert again.identify(path, read=False) is None
    assert (again.identify(path) == first) == (how == "touched")


def test_a_file_that_was_just_changed_is_not_trusted_next_time(video, tmp_path):
    """It could change again within what its time stamp can tell."""
    path = tmp_path / "clip.mp4"
    shutil.copy(video, path)
    index = FileIndex(tmp_path / "files.json")
    assert index.identify(path) is not None
    index.save()
    assert FileIndex(tmp_path / "files.json").identify(path, read=False) is None


def test_two_share_an_index_and_a_damaged_one_does_no_harm(video, tmp_path):
    place = tmp_path / "files.json"
    place.write_text('{"files": {"x": [1')
    indices = [FileIndex(place), FileIndex(place)]
    paths = [make_video(tmp_path / f"{n}.mp4", 1.0, flash=0.2 + n / 10) for n in (0, 1)]
    for index, path in zip(indices, paths, strict=True):
        index.identify(path)
        index.save()
    both = FileIndex(place)
    assert all(both.identify(path, read=False) for path in paths)


def test_a_file_that_vanished_is_the_clips_error(tmp_path):
    with pytest.raises(MediaError, match=r"gone\.mp4: no such file"):
        FileIndex().identify(tmp_path / "gone.mp4")
