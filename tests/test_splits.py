"""What belongs together stays together, whether a video or a speaker links it."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from rmfn.job import prepare, rotate_parts
from rmfn.splits import check_splits, group_segments
from tests.planted import PLAN, make_planted

names = st.sampled_from(("", "a", "b", "c", "d", "e"))


def connect(segments: list[tuple[str, str]]) -> list[set[int]]:
    """Brute force: from each segment to all that share its video or speaker, until none is left."""
    found = []
    for n in range(len(segments)):
        reached = {n}
        while True:
            more = {
                m
                for m, (video, speaker) in enumerate(segments)
                for k in reached
                if (video and video == segments[k][0]) or (speaker and speaker == segments[k][1])
            }
            if more <= reached:
                break
            reached |= more
        found.append(reached)
    return found


@given(st.lists(st.tuples(names, names), max_size=12))
def test_a_group_is_all_that_videos_and_speakers_link(segments):
    groups = group_segments([v for v, _ in segments], [s for _, s in segments])
    for n, reached in enumerate(connect(segments)):
        if not any(segments[n]):
            assert groups[n] == ""
        else:
            assert {m for m, group in enumerate(groups) if group == groups[n]} == reached


def test_without_speakers_it_is_the_video_and_with_one_each_the_speaker():
    videos = ["b", "a", "b", "c"]
    assert group_segments(videos, [""] * 4) == ("b", "a", "b", "c")
    assert group_segments(videos, ["bob", "ann", "bob", "ann"]) == ("bob", "ann", "bob", "ann")
    # Two in one video bring all of their videos together; a video called as a speaker is another.
    assert group_segments(["b", "a", "b", "c"], ["bob", "ann", "ann", ""]) == (
        *("ann", "ann", "ann"),
        "c",
    )
    one, other = group_segments(["x", "ann"], ["ann", ""])
    assert one != other


def test_own_splits_do_not_leak_where_some_speakers_are_known():
    """They were dealt out by video as soon as one speaker was unknown, and then refused."""
    dataset = make_planted(120, 1, splits=False, videos=24)
    person = {video: f"p{n // 2}" for n, video in enumerate(sorted(set(dataset.videos)))}
    people = tuple("" if n % 5 == 0 else person[v] for n, v in enumerate(dataset.videos))
    dataset = replace(dataset, speakers=people)
    for seed in range(4):
        job = prepare(dataset, replace(PLAN, split_seed=seed))
        check_splits(job.dataset)
        assert {person[v] for v in job.test["test"]}.isdisjoint(
            person[v] for v in job.dataset.videos
        )
    job = prepare(dataset, replace(PLAN, rotate=True, seeds=(0, 1, 2)))
    for learned, held in rotate_parts(job, job.learned):
        sides = [{person[job.dataset.videos[n]] for n in rows} for rows in (learned, held)]
        assert sides[0].isdisjoint(sides[1])
