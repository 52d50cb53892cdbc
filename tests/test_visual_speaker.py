"""Who is who: planted persons who cross, vanish, cut away and come back."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from extractors.visual_speaker import (
    Face,
    Track,
    choose_speaker,
    drop_twins,
    is_cut,
    join_tracks,
    link_faces,
    shrink,
)

LOOKS = np.linalg.qr(np.random.default_rng(0).standard_normal((144, 8)))[0].T  # nobody alike


def face(person: int, x: float, size: float = 40.0, mouth: float = 0.0, y: float = 200.0) -> Face:
    """A face whose row says whose it is."""
    circle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    points = np.column_stack([np.cos(circle), np.sin(circle)]) * size + (x, y)
    noise = 0.02 * np.random.default_rng(abs(hash((person, x, size))) % 2**32).standard_normal(144)
    look = LOOKS[person] + noise
    look = look - look.mean()
    row = np.array([person], dtype=np.float32)
    return Face(
        points.astype(np.float32), (look / np.linalg.norm(look)).astype(np.float32), mouth, row
    )


def follow(frames: list[list[Face]], rate: float = 25.0) -> list[Track]:
    tracks: list[Track] = []
    for number, faces in enumerate(frames):
        tracks += link_faces(tracks, faces, number, number / rate, 480)
    return tracks


def whose(track: Track) -> set[int]:
    return {int(row[0]) for row in track.rows}


def talk(i: int) -> float:
    return 0.2 + 0.2 * np.sin(2 * np.pi * i / 6)


def test_one_face_is_one_track_with_every_frame():
    (track,) = follow([[face(0, 100 + 3 * i)] for i in range(50)])
    assert track.frames == list(range(50))


def test_the_order_in_which_the_detector_lists_faces_does_not_matter():
    frames = [[face(0, 150), face(1, 400)][:: (-1) ** i] for i in range(40)]
    tracks = follow(frames)
    assert sorted(map(sorted, map(whose, tracks))) == [[0], [1]]
    assert all(len(track.frames) == 40 for track in tracks)


def test_two_who_walk_through_each_other_are_never_mixed():
    frames = [[face(0, 100 + 10 * i), face(1, 500 - 10 * i)] for i in range(40)]
    assert all(len(whose(track)) == 1 for track in follow(frames))
    assert all(len(set().union(*map(whose, p))) == 1 for p in join_tracks(follow(frames)))


def test_a_cut_to_another_face_at_the_same_place_is_another_person():
    tracks = follow([[face(i // 20 % 2, 200)] for i in range(80)])
    assert [whose(track) for track in tracks] == [{0}, {1}, {0}, {1}]
    persons = join_tracks(tracks)
    assert sorted(len(p) for p in persons) == [2, 2]
    assert all(len(set().union(*map(whose, p))) == 1 for p in persons)


def test_a_face_that_jumps_is_found_again_by_its_look():
    tracks = follow([[face(0, 100)]] * 20 + [[face(0, 500, size=60)]] * 20)
    assert len(tracks) == 2
    assert len(join_tracks(tracks)) == 1


@pytest.mark.parametrize(("alike", "cut", "tracks"), [(0.7, False, 1), (0.7, True, 2)])
def test_a_look_may_change_within_a_shot_but_not_across_a_cut(alike, cut, tracks):
    before, after = face(0, 100), face(1, 100)
    mixed = alike * before.look + np.sqrt(1 - alike**2) * after.look
    after = Face(after.points, mixed / np.linalg.norm(mixed), 0.0, after.row)
    begun = link_faces([], [before], 0, 0.0, 480, cut=True)
    begun += link_faces(begun, [after], 1, 0.04, 480, cut=cut)
    assert len(begun) == tracks


def test_a_cut_is_a_change_of_the_whole_picture():
    rng = np.random.default_rng(0)
    room = np.kron(rng.integers(0, 256, (9, 16, 3)), np.ones((40, 40, 1))).astype(np.uint8)
    moved = room.copy()
    moved[100:260, 200:360] = np.roll(room[100:260, 200:360], 20, axis=1)
    other = np.kron(rng.integers(0, 256, (9, 16, 3)), np.ones((40, 40, 1))).astype(np.uint8)
    assert not is_cut(shrink(room), shrink(room))
    assert not is_cut(shrink(room), shrink(moved))
    assert is_cut(shrink(room), shrink(other))
    assert is_cut(shrink(room), shrink(room[:100]))
    assert is_cut(None, shrink(room))
    assert shrink(np.zeros((1, 1, 3), np.uint8)).shape == (1, 1, 3)


def test_a_short_miss_is_bridged_and_a_long_one_is_not():
    shown, hidden = [[face(0, 100)]], [[]]
    assert len(follow(shown * 10 + hidden * 10 + shown * 10)) == 1  # 0.4 s
    assert len(follow(shown * 10 + hidden * 20 + shown * 10)) == 2


def test_few_frames_a_second_are_linked_too():
    assert len(follow([[face(0, 100)]] * 20, rate=1.0)) == 1


def test_a_face_that_suddenly_grows_is_not_linked():
    assert len(follow([[face(0, 100, size=40)]] * 5 + [[face(0, 100, size=64)]] * 5)) == 2


def test_two_in_the_picture_together_are_two_even_if_they_look_alike():
    twins = [[face(0, 100), face(0, 400)] for _ in range(20)]
    assert len(join_tracks(follow(twins))) == 2


def test_together_with_either_means_together_with_both():
    """0 and 1 look alike at different times; a third that was seen beside one joins neither."""
    a = follow([[face(0, 100)]] * 10 + [[]] * 30 + [[face(0, 100), face(0, 400)]] * 10)
    persons = join_tracks(a)
    for person in persons:
        for one, other in itertools.combinations(person, 2):
            assert set(one.frames).isdisjoint(other.frames)


def test_the_one_who_speaks_is_the_speaker():
    frames = [[face(0, 150, mouth=0.05), face(1, 400, mouth=talk(i))] for i in range(50)]
    persons = join_tracks(follow(frames))
    assert whose(persons[choose_speaker(persons)][0]) == {1}


def test_of_two_who_speak_the_bigger_is_the_speaker():
    for sizes in ((60, 40), (40, 60)):
        frames = [[face(p, 150 + 250 * p, sizes[p], talk(i)) for p in (0, 1)] for i in range(50)]
        persons = join_tracks(follow(frames))
        assert whose(persons[choose_speaker(persons)][0]) == {int(np.argmax(sizes))}


def test_a_silent_face_that_fills_the_clip_wins_over_one_that_chatters_by():
    frames = [
        [face(0, 150, 80, 0.05)] + ([face(1, 400, 20, talk(i))] if i < 30 else [])
        for i in range(200)
    ]
    persons = join_tracks(follow(frames))
    assert whose(persons[choose_speaker(persons)][0]) == {0}


def test_sizes_that_swap_do_not_swap_persons():
    frames = [[face(0, 150, 40 + i, talk(i)), face(1, 420, 80 - i, 0.05)] for i in range(40)]
    tracks = follow(frames)
    assert sorted(map(sorted, map(whose, tracks))) == [[0], [1]]
    persons = join_tracks(tracks)
    assert whose(persons[choose_speaker(persons)][0]) == {0}


def test_a_face_reported_twice_counts_once():
    assert len(drop_twins([face(0, 100), face(0, 103), face(1, 300)])) == 2


def test_jitter_is_not_speech():
    """Noise that flips every frame moves more in all, but is smoothed; syllables at 4 Hz stay."""
    frames = [
        [face(0, 150, mouth=0.1 + 0.09 * (-1) ** i), face(1, 400, mouth=talk(i))] for i in range(60)
    ]
    persons = join_tracks(follow(frames))
    assert whose(persons[choose_speaker(persons)][0]) == {1}


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_track_of_few_frames_can_be_the_speaker(count):
    persons = join_tracks(follow([[face(0, 100)]] * count))
    assert choose_speaker(persons) == 0


def test_many_tracks_are_joined_in_reasonable_time():
    frames = [[face(i % 2, 100 + 300 * (i % 40))] for i in range(600)]
    persons = join_tracks(follow(frames))
    assert max(len(p) for p in persons) > 100
    assert all(len(set().union(*map(whose, p))) == 1 for p in persons)
