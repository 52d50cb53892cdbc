"""A served run reads and writes below its roots, wherever links, dots and schemes would lead."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flows.places import check_named, check_new, check_path, check_place
from pipeline.container import identify_file
from pipeline.errors import DatasetError, MediaError
from pipeline.roots import VARIABLE, allow_roots, find_refusal, list_roots
from pipeline.transcripts import read_transcript
from rmfn.labels import read_labels

OUTSIDE = "is outside of the folders that this `rmfn serve` may use"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A root as the current folder, with links to a secret beside it."""
    monkeypatch.setenv(VARIABLE, "[]")  # put back at the end
    folder = tmp_path / "root"
    (folder / "inner").mkdir(parents=True)
    (folder / "talk.mp4").write_bytes(b"talk")
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "rooted").mkdir()  # begins like the root, and is none
    (tmp_path / "rooted" / "talk.mp4").write_bytes(b"talk")
    (folder / "link.mp4").symlink_to("../secret.txt")
    (folder / "folder").symlink_to(tmp_path)
    (folder / "inside.mp4").symlink_to("talk.mp4")
    monkeypatch.chdir(folder)
    allow_roots([folder])
    return folder


def leads_out(root: Path) -> list[str]:
    return [
        "/etc/passwd",
        "..",
        "../secret.txt",
        "inner/../../secret.txt",
        "link.mp4",
        "folder",
        "folder/secret.txt",
        "folder/nothing yet",
        f"{root.parent}/rooted/talk.mp4",
        f"{root}/../secret.txt",
        "file:///etc/passwd",
        f"local://{root.parent}/secret.txt",
        "s3://bucket/talk.mp4",
        "http://127.0.0.1/talk.mp4",
        "memory://x",
        "simplecache::file:///etc/passwd",
        "~root/x",
        "/proc/self/cwd/../secret.txt",
    ]


def test_what_leads_out_is_refused_everywhere(root):
    for place in leads_out(root):
        for check in (check_path, check_place, check_new, check_named):
            with pytest.raises(ValueError, match=rf"^parameter video: .*{OUTSIDE}: {root} \(its"):
                check(place, "video")
        assert find_refusal(place)


def test_what_is_below_is_not(root):
    for place in ("talk.mp4", "inside.mp4", "inner", ".", "inner/../talk.mp4", str(root)):
        assert find_refusal(place) is None
        assert check_path(place).exists()
    assert check_new("inner/new", "store") == str(root / "inner" / "new")
    assert find_refusal(f"file://{root}/talk.mp4") is None
    link = root.parent / "way in"
    link.symlink_to(root)  # the root by another way
    assert find_refusal(link / "talk.mp4") is None


def test_a_link_is_told_with_where_it_leads(root):
    secret = root.parent / "secret.txt"
    assert find_refusal("link.mp4") == (
        f"link.mp4: leads to {secret}, which {OUTSIDE}: {root} (its --root says which)"
    )


def test_names_of_what_ships_need_no_root(root):
    for name in ("embedded", "paper", "mosi-language"):
        assert check_named(name, "recipe") == name
    for name in ("../recipe", "/etc/embedded", "a/b", ".."):
        if name != "a/b":
            with pytest.raises(ValueError, match=OUTSIDE):
                check_named(name, "recipe")
    (root / "embedded").symlink_to("/etc")
    with pytest.raises(ValueError, match="leads to /etc, which"):
        check_named("embedded", "model")


def test_files_within_a_folder_are_followed_too(root):
    """A folder is given, and in it lies a link: the clip, its transcript, the labels."""
    with pytest.raises(MediaError, match=rf"link\.mp4: leads to .*secret\.txt, which {OUTSIDE}"):
        identify_file(root / "link.mp4")
    assert identify_file(root / "inside.mp4") == identify_file(root / "talk.mp4")
    for name in ("talk.txt", "labels.csv"):
        (root / name).symlink_to("../secret.txt")
    with pytest.raises(ValueError, match=OUTSIDE):
        read_transcript(root / "talk.txt")
    with pytest.raises(DatasetError, match=OUTSIDE):
        read_labels(root / "labels.csv")


def test_several_roots_and_places_elsewhere(root):
    allow_roots([root / "inner", f"file://{root.parent}/rooted", "s3://bucket/store/"])
    assert list_roots() == (str(root / "inner"), f"{root.parent}/rooted", "s3://bucket/store")
    for place in ("inner/x", f"{root.parent}/rooted/talk.mp4"):
        assert find_refusal(place) is None
    for place in ("s3://bucket/store", "s3://bucket/store/a/b"):
        assert check_place(place, "store") == place
    for place in (
        "talk.mp4",
        "s3://bucket/storefront",
        "s3://bucket",
        "s3://bucket/store/../other",
        "s3://bucket/store/x::file:///etc/passwd",
    ):
        assert find_refusal(place)


def test_without_roots_there_is_no_limit(root, monkeypatch):
    monkeypatch.delenv(VARIABLE)
    assert list_roots() is None
    assert find_refusal("/etc/passwd") is None
    assert check_path("link.mp4") == root / "link.mp4"


def test_processes_of_a_run_know_the_roots(root):
    assert str(root) in os.environ[VARIABLE]


def test_a_strange_name_for_a_root(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, "[]")
    strange = tmp_path / 'a\n:"b'
    strange.mkdir()
    allow_roots([strange])
    assert find_refusal(strange / "x") is None
    assert find_refusal(tmp_path)
