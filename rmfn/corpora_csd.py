"""Corpora of the CMU Multimodal SDK: several computational sequences (`rmfn.csd_files`).

They are the words, the labels, whose intervals are the segments, and one or more a modality.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from extractors.types import MODALITIES, Word, WordFeatures, cover_words, join_features
from pipeline.errors import DatasetError
from pipeline.sequence import AlignedSequence
from rmfn.corpora import (
    PAUSE,
    USUAL_SCALE,
    Wanted,
    check_features,
    make_labels,
    name_columns,
    published,
)
from rmfn.csd_files import CompSequence, read_csd
from rmfn.dataset import Dataset
from rmfn.unheld import restore

_log = logging.getLogger(__name__)
ROLES = ("words", "labels", *MODALITIES)
SHORTEST = 1e-3  # s; the SDK leaves out shorter words too
_MOSEI = ("sentiment", "happy", "sad", "anger", "surprise", "disgust", "fear")
# How published sequences are called.
_CALLED = {
    "labels": r"label|opinion|sentiment|emotion",
    "acoustic": r"covarep|opensmile|acoustic|audio",
    "visual": r"facet|openface|visual|vision",
    "language": r"vector|glove|word2vec|bert|language",
}


def dataset_from_csd(paths: Sequence[str | Path], wanted: Wanted | None = None) -> Dataset:
    """Read sequences and align them to the words.

    A word's row is the mean of the frames that overlap it, weighted by how long they do; its
    coverage is the share of it that they fill with anything finite. A segment takes the words whose
    midpoints lie in its interval; the SDK's "sp" is a pause. A segment without words is left out,
    and said in a warning.

    Parameters
    ----------
    paths : files; what each holds is told by its name, or said before it: ``visual=FILE``.

    Returns
    -------
    Segments in the order of the labels' file, ids ``video[n]``, times on the videos' clocks.

    Raises
    ------
    DatasetError : a file is none, its arrays do not fit together, it is not clear what it holds,
        words or labels are missing, values are not finite, a label is off the scale.
    """
    wanted = wanted or Wanted()
    roles = _assign([_split_role(str(path)) for path in paths])
    for role in ("words", "labels"):
        if len(roles[role]) != 1:
            names = ", ".join(each.path.name for each in roles[role]) or "none"
            raise DatasetError(f"expected one file of {role}, found {names}; write {role}=FILE")
    words, labels = roles["words"][0], roles["labels"][0]
    unheld = words.unheld
    whole = _Timeline(words, keep_pauses=unheld is not None)
    every = _list_segments(labels)
    spoken = {segment.id: whole.words_of(segment) for segment in every}
    segments = [segment for segment in every if spoken[segment.id] or unheld is not None]
    _refuse_silence(every, segments, words.path)
    ids = tuple(segment.id for segment in segments)
    values = np.concatenate([segment.labels for segment in segments])
    if unheld is not None:
        named, targets = unheld.name_labels(values), unheld.targets
    else:
        if not wanted.labels and values.shape[1] == len(_MOSEI):
            wanted = replace(wanted, labels=_MOSEI)
        named, targets = make_labels(values, wanted, USUAL_SCALE, ids, str(labels.path))

    allow = wanted.allow_missing or unheld is not None
    tracks = {
        m: [_Timeline(file, allow_missing=allow) for file in roles[m]]
        for m in MODALITIES
        if roles[m]
    }
    sequences = tuple(
        AlignedSequence(
            segment.video,
            spoken[segment.id],
            {
                m: join_features([t.average(segment, spoken[segment.id]) for t in parts])
                for m, parts in tracks.items()
            },
        )
        for segment in segments
    )
    dataset = Dataset(
        wanted.name or labels.root,
        ids,
        tuple(segment.video for segment in segments),
        ("",) * len(ids),
        ("",) * len(ids),
        sequences,
        named,
        targets,
        {m: [published("csd", file.root)[0] for file in roles[m]] for m in tracks},
        "computational sequences " + ", ".join(file.root for role in ROLES for file in roles[role]),
    )
    return dataset if unheld is None else restore(dataset, unheld, str(words.path))


def _split_role(path: str) -> tuple[str, str]:
    role, mark, rest = path.partition("=")
    return (role, rest) if mark and role in ROLES else ("", path)


def _assign(named: Sequence[tuple[str, str]]) -> dict[str, list[CompSequence]]:
    """What each file holds: as said, or as its root is called and what is in it."""
    roles: dict[str, list[CompSequence]] = {role: [] for role in ROLES}
    for said, path in named:
        file = read_csd(path)
        known = said or file.role or ("words" if file.holds_words else "")
        found = (
            [known]
            if known
            else [
                role
                for role, called in _CALLED.items()
                if re.search(called, file.root, re.IGNORECASE)
            ]
        )
        if len(found) != 1:
            raise DatasetError(
                f"{file.path}: it is not clear what {file.root!r} is; write one of "
                f"{', '.join(f'{role}=FILE' for role in ROLES)}"
            )
        if (found[0] == "words") != file.holds_words:
            what = "words" if file.holds_words else "numbers"
            raise DatasetError(f"{file.path}: it was called {found[0]}, but it holds {what}")
        roles[found[0]].append(file)
    return roles


@dataclass(frozen=True)
class _Segment:
    """``key`` is the part of the video it comes from in the labels' file."""

    id: str
    key: str
    video: str
    start: float
    end: float
    labels: NDArray[np.float64]


def _list_segments(labels: CompSequence) -> list[_Segment]:
    segments = []
    for key, times in labels.intervals.items():
        video = key.split("[")[0]
        for n, (start, end) in enumerate(times.tolist()):
            id = key if key != video and len(times) == 1 else f"{key}[{n}]"
            segments.append(_Segment(id, key, video, start, end, labels.features[key][n : n + 1]))
    return segments


def _refuse_silence(every: list[_Segment], spoken: list[_Segment], words: Path) -> None:
    """See that nearly all segments have words; published labels have a few of no length.

    Raises
    ------
    DatasetError : more than a tenth has none: the files do not belong together.
    """
    if len(every) == len(spoken):
        return
    silent = [segment for segment in every if segment not in spoken]
    first = silent[0]
    told = (
        f"{words}: {len(silent)} of {len(every)} segments have no words, the first is {first.id!r} "
        f"from {first.start:.2f} to {first.end:.2f}"
    )
    if len(silent) > len(every) / 10:
        raise DatasetError(f"{told}; do words and labels belong together?")
    _log.warning("%s; they are left out", told)


class _Timeline:
    """A file's rows, by part and by whole video, in order of time."""

    def __init__(self, file: CompSequence, allow_missing: bool = False, keep_pauses: bool = False):
        self.file = file
        self.keep_pauses = keep_pauses
        self.rows: dict[str, tuple[NDArray, NDArray[np.float64]]] = {}
        videos: dict[str, list[str]] = {}
        for key, values in file.features.items():
            if values.dtype != object:
                values = check_features(values, f"{file.path}: {key}", allow_missing)
            self.rows[key] = values, file.intervals[key]
            videos.setdefault(key.split("[")[0], []).append(key)
        for video, keys in videos.items():
            if keys != [video]:
                values = np.concatenate([self.rows[key][0] for key in keys])
                times = np.concatenate([self.rows[key][1] for key in keys])
                order = np.argsort(times[:, 0], kind="stable")
                self.rows.setdefault(video, (values[order], times[order]))

    def find(self, segment: _Segment) -> tuple[NDArray, NDArray[np.float64]] | None:
        """The part of the same name, else the whole video."""
        return self.rows.get(segment.key) or self.rows.get(segment.video)

    def words_of(self, segment: _Segment) -> tuple[Word, ...]:
        found = self.find(segment)
        own_part = segment.key in self.rows and segment.key != segment.video
        words = []
        if found is not None:
            middles = found[1].mean(axis=1)
            for text, (start, end), middle in zip(*found, middles, strict=True):
                inside = own_part or segment.start <= middle < segment.end
                pause = not self.keep_pauses and (text == PAUSE or end - start < SHORTEST)
                if inside and not pause:
                    words.append(Word(text, float(start), float(end), score=1.0))
        return tuple(words)

    def average(self, segment: _Segment, words: Sequence[Word]) -> WordFeatures:
        """The mean of what overlaps each word, weighted by the time of overlap."""
        size = next(iter(self.file.features.values())).shape[1]
        names = name_columns(self.file.root, size)
        found = self.find(segment)
        if found is None:
            missing = np.full((len(words), size), np.nan, np.float32)
            return WordFeatures(missing, np.zeros(len(words), np.float32), names)
        values, times = found
        if np.array_equal(times, [(word.start, word.end) for word in words]):
            return cover_words(values, names)  # aligned already
        return average_overlaps(values, times, words, names)


def average_overlaps(
    values: NDArray[np.float32],
    times: NDArray[np.float64],
    words: Sequence[Word],
    names: tuple[str, ...],
) -> WordFeatures:
    """Mean of rows over words, weighted by overlap; NaN is left out column by column.

    Parameters
    ----------
    values : [T, D].
    times : [T, 2], in order of start.

    Returns
    -------
    Rows [N, D]; coverage is the share of the word's time in which anything was measured.
    """
    out = np.full((len(words), len(names)), np.nan)
    coverage = np.zeros(len(words))
    finite = np.isfinite(values)
    known = np.where(finite, values, 0).astype(np.float64)
    # Rows may overlap and differ in length: those that start too late are cut off by their starts,
    # those that end too early by the latest end so far.
    ends = np.maximum.accumulate(times[:, 1]) if len(times) else times[:, 1]
    for n, word in enumerate(words):
        part = slice(
            np.searchsorted(ends, word.start, side="left"),
            np.searchsorted(times[:, 0], word.end, side="left"),
        )
        start = np.maximum(times[part, 0], word.start)
        end = np.minimum(times[part, 1], word.end)
        weights = np.maximum(end - start, 0)
        points = (times[part, 0] == times[part, 1]) & (start == end)
        if points.any() and not weights.any():  # moments count where nothing longer does
            weights, share = points.astype(float), float(points.sum())
        else:
            share = word.end - word.start
        total = weights @ finite[part]  # [D]
        np.divide(weights @ known[part], total, out=out[n], where=total > 0)
        coverage[n] = min(weights @ finite[part].any(axis=1) / share, 1.0)
    return WordFeatures(out.astype(np.float32), coverage.astype(np.float32), names)
