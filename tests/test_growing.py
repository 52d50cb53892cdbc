"""Segments given at different times, put together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.errors import DatasetError, RecipeMismatch
from rmfn.dataset import Dataset
from rmfn.growing import add_segments, choose_frozen, merge_datasets, name_by_content
from rmfn.registry import Registry
from tests.planted import make_planted
from tests.trained import MOOD


def test_merging_takes_the_newer_and_refuses_other_features():
    known, fresh = make_planted(40, 1), make_planted(40, 1)
    labels = fresh.labels["sentiment"] + 0.5
    fresh = replace(fresh, labels={"sentiment": labels, "fun": labels})
    fresh = fresh.take([0, 1, 2])
    both = merge_datasets(known, fresh, keep=[known.ids[1]])
    place = {id: n for n, id in enumerate(both.ids)}
    assert set(both.ids) == set(known.ids)
    for n, expected in ((0, 0.5), (1, 0.0), (2, 0.5), (3, 0.0)):
        found = both.labels["sentiment"][place[known.ids[n]]] - known.labels["sentiment"][n]
        assert found == expected
    assert np.isnan(both.labels["fun"][place[known.ids[3]]])
    made = {"backend": "minilm", "settings": {"layer": 1}, "weights": {}, "versions": {}}
    other = {**made, "settings": {"layer": 2}}
    with pytest.raises(RecipeMismatch, match="layer = 1, the recipe has 2"):
        merge_datasets(
            replace(known, features={"language": [made]}),
            replace(fresh, features={"language": [other]}),
        )


def test_own_videos_are_called_by_content():
    dataset = make_planted(40)
    named = name_by_content(dataset)
    renamed = name_by_content(
        replace(dataset, ids=tuple(f"x{n}" for n in range(40)), videos=("talk.mp4",) * 40)
    )
    assert named.ids == renamed.ids
    assert named.videos == renamed.videos
    first = dataset.sequences[0]
    assert named.ids[0] == f"{first.clip_id}[0.00-{first.words[-1].end:.2f}]"
    assert named.videos[0] == first.clip_id


def test_the_same_turn_said_twice_has_two_names():
    dataset = make_planted(40)
    first = dataset.sequences[0]
    twice = replace(dataset, sequences=(first, first, *dataset.sequences[2:]))
    one, two = name_by_content(twice).ids[:2]
    assert two == f"{one}#2"


def test_a_video_is_frozen_whole_even_if_its_speaker_is_not_always_named(tmp_path):
    dataset = make_planted(60, 1, splits=False)
    people = tuple("" if n % 3 else f"of {video}" for n, video in enumerate(dataset.videos))
    dataset = replace(dataset, speakers=people)
    _, frozen, _ = add_segments(Registry(tmp_path), dataset)
    inside = {id for id, video in zip(dataset.ids, dataset.videos, strict=True)
              if video in frozen["videos"]}  # fmt: skip
    assert inside == set(frozen["ids"])


WORDS = replace(MOOD, classes=("angry", "calm", "happy"))


def give_words(words: list[str], classes: tuple[str, ...], first: int = 0) -> Dataset:
    """Segments of which each is labelled with a word, numbered as in a file of its own."""
    some = make_planted(40, first).take(range(len(words)))
    numbers = np.array([float(classes.index(word)) for word in words])
    return replace(some, labels={"mood": numbers}, targets=(replace(WORDS, classes=classes),))


def test_words_of_another_file_are_matched_by_name():
    known = give_words(["angry", "happy", "calm"], WORDS.classes, 1)
    fresh = give_words(["happy", "calm", "happy"], ("calm", "happy"), 2)
    both = merge_datasets(known, fresh)
    assert [WORDS.classes[int(n)] for n in both.labels["mood"]] == [
        *("angry", "happy", "calm"),
        *("happy", "calm", "happy"),
    ]
    assert both.targets == known.targets


def test_words_that_are_not_known_are_named():
    known = give_words(["angry", "happy"], WORDS.classes, 1)
    strange = give_words(["sad", "happy", "shy"], ("happy", "sad", "shy"), 2)
    with pytest.raises(DatasetError, match="the mood 'sad', 'shy' is none of angry, calm, happy"):
        merge_datasets(known, strange)
    numbers = replace(give_words(["angry"], WORDS.classes, 2), targets=())
    for one, other in ((known, numbers), (numbers, known)):
        with pytest.raises(DatasetError, match=r"'mood' is words in .* and numbers in"):
            merge_datasets(one, other)


@pytest.mark.parametrize(
    ("videos", "frozen"), [(2, 1), (3, 1), (4, 2), (6, 2), (9, 3), (12, 4), (15, 5), (40, 8)]
)
def test_of_few_videos_more_are_frozen_so_that_something_can_be_shown(videos, frozen):
    groups = [f"v{n % videos}" for n in range(6 * videos)]
    rows = choose_frozen(groups)
    chosen = {groups[n] for n in rows}
    assert len(chosen) == frozen
    assert rows == [n for n, group in enumerate(groups) if group in chosen]


def test_one_long_video_does_not_leave_a_single_frozen_one():
    groups = ["long"] * 20 + ["a", "b", "c", "d"]
    chosen = {groups[n] for n in choose_frozen(groups)}
    assert len(chosen) >= 2
    assert "long" not in chosen
