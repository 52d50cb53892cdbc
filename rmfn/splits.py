"""Splits by speaker or video, and the refusal of those that leak."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import DatasetError
from pipeline.records import read_json

if TYPE_CHECKING:
    from rmfn.dataset import Dataset

SPLITS = ("train", "valid", "test")
ALIASES = {"dev": "valid", "val": "valid", "validation": "valid", "training": "train"}


def group_segments(videos: Sequence[str], speakers: Sequence[str]) -> tuple[str, ...]:
    """What belongs together: segments of a video, those of a speaker, and whatever that links.

    Two speakers of one video are one group, and so are all of their videos: dealt out, redrawn or
    left out one by one, some would be on both sides.

    Parameters
    ----------
    videos, speakers : [n] of each segment; "" where nobody gave it, which links nothing.

    Returns
    -------
    [n] the group of each: its first speaker by name, or its first video where no speaker is known;
    "" of a segment that has neither.
    """
    above: dict[tuple[str, str], tuple[str, str]] = {}

    def find(node: tuple[str, str]) -> tuple[str, str]:
        while (up := above.setdefault(node, node)) != node:
            above[node] = node = above[up]
        return node

    ends = []
    for video, speaker in zip(videos, speakers, strict=True):
        # By kind and name: a speaker may be called as a video is. Speakers come first.
        nodes = [("speaker", speaker)] * bool(speaker) + [("video", video)] * bool(video)
        first, last = sorted([find(nodes[0]), find(nodes[-1])]) if nodes else [("", ""), ("", "")]
        if nodes:
            above[last] = first
        ends.append(first)
    roots = [find(end) if end[1] else end for end in ends]
    heads = {name for kind, name in roots if kind == "speaker"}
    return tuple(
        f"{name} (video)" if kind == "video" and name in heads else name for kind, name in roots
    )


def make_splits(
    groups: Sequence[str], shares: Mapping[str, float] | Sequence[float], seed: int
) -> tuple[str, ...]:
    """Deal segments out into train, valid and test, every speaker (or video) whole in one of them.

    Parameters
    ----------
    groups : [n] of each segment (`group_segments`).
    shares : of each split, in that order or by name; they need not add up to 1.

    Returns
    -------
    [n] the split of each segment. Each split with a share has at least one group, and about its
    share of the segments.

    Raises
    ------
    DatasetError : there are fewer groups than splits, or a share is not a number above 0.
    """
    if not isinstance(shares, Mapping):
        shares = dict(zip(SPLITS, shares, strict=False))
    shares = {split: share for split, share in shares.items() if share != 0}
    for split, share in shares.items():
        if split not in SPLITS or not 0 < share < math.inf:
            raise DatasetError(
                f"a share of {share} for {split!r}; expected numbers above 0 for "
                f"{', '.join(SPLITS)}"
            )
    names = sorted(set(groups))
    if "" in names:
        raise DatasetError(
            f"segment {list(groups).index('') + 1} of {len(groups)} has neither speaker nor video, "
            "and could end up on two sides"
        )
    if len(names) < len(shares) or not shares:
        raise DatasetError(
            f"{len(names)} speakers or videos cannot be split into {len(shares)} parts"
        )
    random.Random(seed).shuffle(names)
    sizes = {name: 0 for name in names}
    for name in groups:
        sizes[name] += 1
    target = {split: share / sum(shares.values()) * len(groups) for split, share in shares.items()}
    dealt = dict.fromkeys(shares, 0)
    owner: dict[str, str] = {}
    for left, name in zip(
        range(len(names), 0, -1), sorted(names, key=lambda n: -sizes[n]), strict=True
    ):
        # Towards the end a split that has nothing yet goes first.
        empty = [split for split in dealt if not dealt[split]]
        among = empty if len(empty) >= left else list(dealt)
        owner[name] = max(among, key=lambda split: target[split] - dealt[split])
        dealt[owner[name]] += sizes[name]
    return tuple(owner[name] for name in groups)


def check_splits(dataset: Dataset) -> None:
    """See that no video and no speaker is on two sides; segments without a split are on none.

    Raises
    ------
    DatasetError : one is; the first few are named.
    """
    problems = []
    for what, names in (("video", dataset.videos), ("speaker", dataset.speakers)):
        sides: dict[str, set[str]] = {}
        for name, split in zip(names, dataset.splits, strict=True):
            if name and split:
                sides.setdefault(name, set()).add(split)
        problems += [
            f"{what} {name!r} is in {' and '.join(sorted(found, key=SPLITS.index))}"
            for name, found in sides.items()
            if len(found) > 1
        ]
    if problems:
        more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
        raise DatasetError(
            f"data set {dataset.name!r}: the splits leak: {'; '.join(problems[:5])}{more}; each "
            "video and speaker must be on one side"
        )


def give_splits(path: str | Path, videos: Sequence[str]) -> tuple[str, ...]:
    """The split of each segment, from a JSON file {"train": [videos], "valid": ..., "test": ...}.

    A video that the file does not name is in none.

    Raises
    ------
    DatasetError : the file is no such thing, names a video twice, or none that is here.
    """
    try:
        said = read_json(Path(path))
        owner: dict[str, str] = {}
        for split, names in said.items():
            if ALIASES.get(split, split) not in SPLITS or not isinstance(names, list):
                raise ValueError(f"expected lists under {', '.join(SPLITS)}, found {split!r}")
            for name in names:
                if owner.setdefault(str(name), ALIASES.get(split, split)) != ALIASES.get(
                    split, split
                ):
                    raise ValueError(f"video {name!r} is in {owner[str(name)]} and {split}")
    except (OSError, ValueError, AttributeError) as e:
        raise DatasetError(f"{path}: not a file of splits: {e}") from e
    if not set(videos) & set(owner):
        raise DatasetError(f"{path}: none of its {len(owner)} videos is in the data set")
    return tuple(owner.get(video, "") for video in videos)
