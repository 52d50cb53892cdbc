"""What corpora have in common as they are published, and timed transcripts.

The readers of the formats are `rmfn.corpora_csd`, `rmfn.corpora_pickles` and
`rmfn.corpora_hdf5`; each gives a `rmfn.dataset.Dataset`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.types import Word, WordFeatures, cover_words, join_features
from pipeline.errors import DatasetError
from pipeline.records import parse_json
from pipeline.sequence import AlignedSequence
from rmfn.targets import Target, check_labels

PAUSE = "sp"  # how P2FA writes silence between words
USUAL_SCALE = (-3.0, 3.0)  # of sentiment in CMU's corpora
UNTIMED_WORD = 0.3  # seconds given to a word that was never aligned, about the usual length


@dataclass(frozen=True)
class LabelledSegment:
    """An utterance cut out of a video, with what people said of it.

    Attributes
    ----------
    id, video : names; all segments of a video stay on one side of any split.
    words : times in seconds from the start of the segment; score None where nobody aligned them.
    label : None = not given.
    split : the official one ("train", "dev", "test"), empty if there is none.
    """

    id: str
    video: str
    words: tuple[Word, ...]
    label: float | None = None
    split: str = ""


def read_timed(path: str | Path) -> list[LabelledSegment]:
    """Read timed transcripts, one JSON object a line.

    A line has ``id``, ``vid``, ``words`` with ``w_start`` and ``w_end`` (seconds from the segment's
    start; the word "sp" is a pause) and may have ``label``, ``split``, ``text``, ``start`` and
    ``end``. A segment without timed words takes those of ``text``, their times interpolated.

    Raises
    ------
    DatasetError : a line is not of that form; the message says which.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise DatasetError(f"{path}: cannot be read as timed transcripts: {e}") from e
    segments = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            segments.append(_read_segment(parse_json(line)))
        except (ValueError, KeyError, TypeError) as e:
            reason = f"no {e}" if isinstance(e, KeyError) else str(e)
            raise DatasetError(f"{path}, line {number}: not a timed transcript: {reason}") from e
    if not segments:
        raise DatasetError(f"{path}: there are no segments in it")
    ids = [segment.id for segment in segments]
    if len(set(ids)) < len(ids):
        twice = next(id for id in ids if ids.count(id) > 1)
        raise DatasetError(f"{path}: segment {twice!r} is there twice")
    return segments


def _read_segment(row: dict[str, Any]) -> LabelledSegment:
    timed = list(zip(row["words"], row["w_start"], row["w_end"], strict=True))
    words = tuple(
        Word(text, float(start), float(end), score=1.0)
        for text, start, end in timed
        if text != PAUSE
    )
    if not words:
        tokens = row.get("text", "").split()
        if not tokens:
            raise ValueError(f"segment {row['id']!r} has no words")
        length = row.get("end", 0) - row.get("start", 0)
        step = length / len(tokens) if length > 0 else UNTIMED_WORD
        words = tuple(Word(text, n * step, (n + 1) * step) for n, text in enumerate(tokens))
    label = row.get("label")
    return LabelledSegment(
        str(row["id"]),
        str(row["vid"]),
        words,
        None if label is None else float(label),
        row.get("split", ""),
    )


def make_sequences(
    segments: Sequence[LabelledSegment], languages: Sequence[Any], timing: Any
) -> list[AlignedSequence]:
    """Give segments of which only the words are known their features, as a clip would get them.

    Parameters
    ----------
    languages : language backends, side by side the language modality.
    timing : the word-level backend that is the acoustic modality.
    """
    tokens = [[word.text for word in segment.words] for segment in segments]
    spoken = [segment.words for segment in segments]
    parts = [_rows(backend, tokens) for backend in languages]
    return [
        AlignedSequence(
            segment.id, segment.words, {"language": join_features(language), "acoustic": times}
        )
        for segment, *language, times in zip(segments, *parts, _rows(timing, spoken), strict=True)
    ]


def _rows(backend: Any, utterances: Sequence[Sequence[Any]]) -> list[WordFeatures]:
    return [cover_words(values, backend.names) for values in backend(utterances)]


def split_videos(videos: Sequence[str], parts: int, seed: int) -> list[list[int]]:
    """Deal segments out into ``parts`` of about equal size, every video whole in one of them.

    Parameters
    ----------
    videos : the video of each segment.

    Returns
    -------
    For each part the indices of its segments.

    Raises
    ------
    DatasetError : there are fewer videos than parts.
    """
    names = sorted(set(videos))
    if len(names) < parts:
        raise DatasetError(f"{len(names)} videos cannot be split into {parts} parts")
    random.Random(seed).shuffle(names)
    members: dict[str, list[int]] = {name: [] for name in names}
    for n, video in enumerate(videos):
        members[video].append(n)
    dealt: list[list[int]] = [[] for _ in range(parts)]
    for name in sorted(names, key=lambda name: -len(members[name])):  # stable: shuffled within ties
        min(dealt, key=len).extend(members[name])
    return [sorted(part) for part in dealt]


@dataclass(frozen=True)
class Wanted:
    """What a person says of a corpus that its files do not say.

    Attributes
    ----------
    name : of the data set.
    labels : names of the label columns, in the files' order; by default "sentiment" for one.
    scale : on which all labels were given; None = what the format's corpora have, if it is known.
    allow_missing : whether NaN and infinite values are "not measured" and not an error.
    sizes : {modality: columns} of files that hold the modalities side by side.
    """

    name: str = ""
    labels: tuple[str, ...] = ()
    scale: tuple[float, float] | None = None
    allow_missing: bool = False
    sizes: dict[str, int] | None = None


def check_features(values: NDArray, where: str, allow_missing: bool) -> NDArray[np.float32]:
    """Features as float32, NaN where they are not finite.

    Raises
    ------
    DatasetError : they are no numbers; or, unless that is allowed, one is not finite. It names the
        first and how many there are.
    """
    if values.dtype.kind not in "fiu":
        raise DatasetError(f"{where}: expected numbers, found {values.dtype}")
    # What float32 cannot hold is infinite there: found here, and not by a model.
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    wrong = ~np.isfinite(values)
    if wrong.any() and not allow_missing:
        first = tuple(int(n) for n in np.argwhere(wrong)[0])
        raise DatasetError(
            f"{where}: expected finite values, found {values[first]} at {list(first)} "
            f"({int(wrong.sum())} of {values.size} are not finite); --allow-missing reads them as "
            "not measured"
        )
    return np.where(wrong, np.float32(np.nan), values)


def rows_seen(values: NDArray[np.float32], names: tuple[str, ...]) -> WordFeatures:
    """Rows of a corpus that writes zeros for what it did not see: they become NaN, coverage 0."""
    values = np.where((values == 0).all(axis=1, keepdims=True), np.float32(np.nan), values)
    return cover_words(values, names)


def name_columns(prefix: str, count: int) -> tuple[str, ...]:
    return tuple(f"{prefix}.{n}" for n in range(count))


def place_words(texts: Sequence[str]) -> tuple[Word, ...]:
    """Words of which nobody knows the times: one after another, of the usual length, no score."""
    return tuple(
        Word(text, n * UNTIMED_WORD, (n + 1) * UNTIMED_WORD) for n, text in enumerate(texts)
    )


def make_labels(
    values: NDArray,
    wanted: Wanted,
    usual: tuple[float, float] | None,
    ids: Sequence[str],
    where: str,
) -> tuple[dict[str, NDArray[np.float64]], tuple[Target, ...]]:
    """Name label columns [n, k] and see that they are on their scale.

    Parameters
    ----------
    usual : the scale of the corpora of this format.

    Raises
    ------
    DatasetError : there are more or fewer than named, one is not finite or off the scale.
    """
    names = wanted.labels or (("sentiment",) if values.shape[1] == 1 else ())
    names = names or name_columns("label", values.shape[1])
    if len(names) != values.shape[1]:
        raise DatasetError(
            f"{where}: {values.shape[1]} label columns, {len(names)} names for them "
            f"({', '.join(names)})"
        )
    if values.dtype.kind not in "fiub":
        raise DatasetError(f"{where}: expected numbers as labels, found {values.dtype}")
    labels = {name: values[:, n].astype(np.float64) for n, name in enumerate(names)}
    targets = []
    for name, column in labels.items():
        if len(wrong := np.flatnonzero(~np.isfinite(column))):
            raise DatasetError(
                f"{where}: segment {ids[wrong[0]]!r} has the {name} {column[wrong[0]]}, expected a "
                f"finite number ({len(wrong)} labels are like this)"
            )
        scale = wanted.scale or (usual if name == "sentiment" else None)
        if scale is not None:
            target = Target(name, "regression", *scale)
            try:
                check_labels(column, target, ids, where)
            except DatasetError as e:
                hint = "" if wanted.scale else "; give --scale LOW HIGH if it has another"
                raise DatasetError(f"{e}{hint}") from e
            targets.append(target)
    return labels, tuple(targets)


def published(form: str, name: str) -> list[dict[str, Any]]:
    """The step that made a modality's columns, in the form of a recipe's: somebody else's."""
    settings = {"format": form, "name": name}
    return [{"backend": "published", "settings": settings, "versions": {}, "weights": {}}]
