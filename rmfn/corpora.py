"""Corpora as they are published, read into segments; their official splits and fair new ones."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from extractors.types import Word, WordFeatures, cover_words, join_features
from pipeline.errors import DatasetError
from pipeline.sequence import AlignedSequence

PAUSE = "sp"  # how P2FA writes silence between words
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
            segments.append(_read_segment(json.loads(line)))
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
