"""Labelled segments that are given at different times, and those of them that are kept for judging.

All that was ever given lies in the registry's data set. The first time some segments are frozen:
every version of a model is judged on them, and none learns from them or from any other of their
videos and speakers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.errors import DatasetError
from pipeline.recipe import require_features
from rmfn.dataset import Dataset, hash_dataset, load_dataset, load_targets, save_dataset
from rmfn.registry import Registry
from rmfn.splits import group_segments, make_splits
from rmfn.targets import Target
from rmfn.tasks import match_classes

FROZEN_SHARE = 0.2
ENOUGH_FROZEN = 5  # groups: by luck one model errs less on each of five once in 32 times


def add_segments(registry: Registry, fresh: Dataset) -> tuple[Dataset, dict[str, Any], list[str]]:
    """Keep new segments beside those known; the first time, choose the frozen ones.

    Returns
    -------
    All segments known now, which are frozen, and what a person should know of it.

    Raises
    ------
    DatasetError : the registry is damaged, or too few are given to keep any aside.
    RecipeMismatch : the features were made in another way than those of the segments before.
    """
    notes: list[str] = []
    frozen = registry.frozen()
    if frozen is None:
        everything = fresh
        if registry.data.exists():
            everything = merge_datasets(load_dataset(registry.data), fresh)
        frozen = _freeze(everything)
    else:
        known = load_dataset(registry.data)
        found = hash_dataset(known.take(find_frozen(known, frozen)))
        if found != frozen["sha256"]:
            raise DatasetError(
                f"{registry.data}: the frozen segments are not those that were frozen (hash "
                f"{found[:12]}, expected {frozen['sha256'][:12]})"
            )
        everything = merge_datasets(known, fresh, keep=frozen["ids"])
        if again := len(set(frozen["ids"]) & set(fresh.ids)):
            notes.append(f"{again} of the segments given are frozen and stay as they were")
    save_dataset(everything, registry.data)
    if registry.frozen() is None:
        registry.freeze(frozen)
    return everything, frozen, notes


def merge_datasets(known: Dataset, fresh: Dataset, keep: Sequence[str] = ()) -> Dataset:
    """All segments of both; one that is in both is taken from ``fresh``, those to ``keep`` are not.

    Labels that are words are matched by the word: another file may count them otherwise.

    Raises
    ------
    RecipeMismatch : their columns were made in different ways.
    DatasetError : their columns differ; or a label has a word that is not known, or is a word in
        one and a number in the other.
    """
    require_features(known.name, known.features, fresh.features)
    fresh = _count_alike(known, fresh)
    kept = set(keep)
    new = fresh.take([n for n, id in enumerate(fresh.ids) if id not in kept])
    old = known.take([n for n, id in enumerate(known.ids) if id not in set(new.ids)])
    labels = {
        name: np.concatenate(
            [part.labels.get(name, np.full(len(part), np.nan)) for part in (old, new)]
        )
        for name in {**old.labels, **new.labels}
    }
    return replace(
        old,
        ids=old.ids + new.ids,
        videos=old.videos + new.videos,
        speakers=old.speakers + new.speakers,
        splits=old.splits + new.splits,
        sequences=old.sequences + new.sequences,
        labels=labels,
    )


def list_classes(registry: Registry) -> dict[str, tuple[str, ...]]:
    """{column: names} of the labels that were words in what was given so far."""
    if not registry.data.exists():
        return {}
    return _find_words(load_targets(registry.data))


def _find_words(targets: Sequence[Target]) -> dict[str, tuple[str, ...]]:
    return {target.name: target.classes for target in targets if target.classes}


def _count_alike(known: Dataset, fresh: Dataset) -> Dataset:
    """The new segments with their words counted as the known ones are."""
    ours, theirs = _find_words(known.targets), _find_words(fresh.targets)
    labels = dict(fresh.labels)
    for name in known.labels.keys() & fresh.labels.keys():
        some = [part for part in (known, fresh) if not np.isnan(part.labels[name]).all()]
        if len(some) == 2 and (name in ours) != (name in theirs):
            words, numbers = (known, fresh) if name in ours else (fresh, known)
            raise DatasetError(
                f"the label {name!r} is words in {words.name!r} and numbers in {numbers.name!r}"
            )
    for target in known.targets:
        if target.name in labels:
            labels[target.name] = match_classes(labels[target.name], target, fresh)
    return replace(fresh, labels=labels)


def name_by_content(dataset: Dataset) -> Dataset:
    """Segments of own videos called after the clip's bytes and their times, not after its file.

    So a file that is renamed, or another that has its name, or other labels files for the same
    video, are told apart when segments of different days are put together.
    """
    ids: list[str] = []
    taken: Counter[str] = Counter()
    for sequence in dataset.sequences:
        start, end = sequence.words[0].start, sequence.words[-1].end
        name = f"{sequence.clip_id}[{start:.2f}-{end:.2f}]"
        ids.append(f"{name}#{taken[name] + 1}" if taken[name] else name)
        taken[name] += 1
    return replace(
        dataset,
        ids=tuple(ids),
        videos=tuple(sequence.clip_id for sequence in dataset.sequences),
    )


def find_frozen(dataset: Dataset, frozen: dict[str, Any]) -> list[int]:
    """The places of the frozen segments.

    Raises
    ------
    DatasetError : some are gone.
    """
    place = {id: n for n, id in enumerate(dataset.ids)}
    if missing := [id for id in frozen["ids"] if id not in place]:
        raise DatasetError(
            f"data set {dataset.name!r}: {len(missing)} frozen segments are gone, the first is "
            f"{missing[0]!r}"
        )
    return [place[id] for id in frozen["ids"]]


def find_learnable(dataset: Dataset, judged: Dataset) -> list[int]:
    """Segments of which neither the video nor the speaker is judged on."""
    videos, speakers = set(judged.videos), {speaker for speaker in judged.speakers if speaker}
    return [
        n
        for n, (video, speaker) in enumerate(zip(dataset.videos, dataset.speakers, strict=True))
        if video not in videos and speaker not in speakers
    ]


def choose_frozen(groups: Sequence[str]) -> list[int]:
    """The segments to freeze where nobody says which: a fifth, every group whole.

    On one group nothing can ever be shown, and on two a model is the better one on both by luck
    once in four times. So of few groups more are frozen, the smallest: a third of them, of four
    at least two, until five are. Of two or three it is one, and two are left to learn from and to
    stop on where they can be: a first model, but no decisions.

    Parameters
    ----------
    groups : [n] of each segment (``rmfn.splits.group_segments``).

    Returns
    -------
    Their places.

    Raises
    ------
    DatasetError : there is only one group.
    """
    shares = {"train": 1 - FROZEN_SHARE, "test": FROZEN_SHARE}
    splits = make_splits(groups, shares, seed=0)
    frozen = {group for group, split in zip(groups, splits, strict=True) if split == "test"}
    sizes = Counter(groups)
    least = min(ENOUGH_FROZEN, max(len(sizes) // 3, 2)) if len(sizes) >= 4 else 1
    rest = sorted(set(groups) - frozen, key=lambda name: (sizes[name], name))
    frozen |= set(rest[: max(least - len(frozen), 0)])
    return [n for n, group in enumerate(groups) if group in frozen]


def _freeze(dataset: Dataset) -> dict[str, Any]:
    """What the versions will be judged on.

    Raises
    ------
    DatasetError : there are too few speakers or videos to keep any aside.
    """
    rows, how = dataset.of_split("test"), "the split test of the labels given first"
    if not rows:
        rows = choose_frozen(group_segments(dataset.videos, dataset.speakers))
        how = f"{len(rows) / len(dataset):.0%} of the segments given first, by speaker or video"
    chosen = dataset.take(rows)
    return {
        "how": how,
        "ids": list(chosen.ids),
        "videos": sorted(set(chosen.videos)),
        "speakers": sorted({speaker for speaker in chosen.speakers if speaker}),
        "sha256": hash_dataset(chosen),
    }
