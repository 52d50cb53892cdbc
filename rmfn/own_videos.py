"""Own videos: the features of a store with the labels of a ``labels.csv`` are a data set."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from extractors.types import MODALITIES
from pipeline.errors import ClipError, DatasetError
from pipeline.limits import Limits, judge, measure_clip, measure_words, read_quality
from pipeline.records import parse_json
from pipeline.sequence import AlignedSequence
from pipeline.store import Store, open_store
from rmfn.dataset import Dataset
from rmfn.labels import LabelFile, LabelRow, Problem, find_repeats, read_labels, refuse_rows
from rmfn.targets import Target

if TYPE_CHECKING:
    from pipeline.whole import Place

ROUNDING = 0.1  # s; annotation tools round a video's end up by as much

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _StoredClip:
    """What a store knows of a clip without reading its rows.

    Attributes
    ----------
    names : of the files it was extracted from.
    duration : seconds, None if not noted.
    sequences : {key of its rows: how they were made (``Recipe.provenance``)}
    quality : {key of its rows: the quality report, where one was kept}
    """

    id: str
    names: frozenset[str]
    duration: float | None
    sequences: dict[str, dict[str, Any]]
    quality: dict[str, dict[str, Any] | None]


def dataset_from_store(
    store: str | Path,
    labels: str | Path,
    modalities: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    recipe: str | None = None,
    without: Collection[str] = (),
    limits: Limits | None = None,
    classes: Mapping[str, Sequence[str]] | None = None,
    targets: Sequence[Target] = (),
) -> Dataset:
    """Join what ``rmfn extract`` made with the labels that people gave.

    A segment takes the words whose midpoints lie in [start, end), with their rows; word times stay
    on the video's clock.

    Parameters
    ----------
    store : a folder of ``rmfn extract``, here or wherever fsspec gets.
    labels : a ``labels.csv`` (`rmfn.labels`).
    modalities : those to take; by default all that were extracted.
    columns : labels to take; by default all.
    recipe : key or name of the recipe whose rows are taken, where the store has those of several;
        by default the one that made rows of the most labelled videos.
    without : videos, as the file calls them, whose rows are passed over.
    limits : a segment is left out if its clip is rejected by them, or if its own words are. How
        many were, and for what, is logged and said in the data set's ``source``.
    classes : {column: names} of labels that were words elsewhere; a file may have some of them
        only, even one.
    targets : of which the scale is known; a label off it is a bad row.

    Returns
    -------
    Segments in the order of the file. ``features`` says which steps of the recipe made the columns,
    so that a model trained on them predicts with ``rmfn predict``.

    Raises
    ------
    DatasetError : the store or the file cannot be read, or rows of the file are bad: an unknown
        video, times outside of it, no word between them, something that is no number, a segment
        twice, a video or speaker in two splits. Every bad row is named. Or no segment is left.
    """
    file, opened = read_labels(labels, columns, classes, targets), open_store(store)
    if without:
        rest = tuple(row for row in file.rows if row.video not in without)
        file = replace(file, rows=rest)
    clips = {clip_id: _describe(opened, clip_id) for clip_id in opened.clips()}
    problems = list(file.problems)
    found = _find_clips(file, clips, problems)
    key = _choose_recipe(opened.folder, [clips[id] for id in set(found) if id is not None], recipe)
    videos = [id if id is not None else row.video for row, id in zip(file.rows, found, strict=True)]
    rows = [_fill_times(row, clips.get(id or "")) for row, id in zip(file.rows, found, strict=True)]
    problems += find_repeats(rows, videos)

    sequences: dict[str, AlignedSequence | None] = {}
    chosen: dict[str, str] = {}
    parts: list[AlignedSequence] = []
    for row, id in zip(rows, found, strict=True):
        if id is None:
            continue
        if id not in sequences:
            chosen[id] = _choose_rows(opened, clips[id], key)
            sequences[id] = opened.get_sequence(id, chosen[id]) if chosen[id] else None
        part = _cut(row, clips[id], sequences[id], problems)
        if part is not None:
            parts.append(part)
    refuse_rows(file.path, problems)
    left_out = ""
    if limits is not None:
        kept = {id: clips[id].quality.get(key) for id, key in chosen.items()}
        good, left_out = _screen(file.path, parts, kept, limits)
        rows, videos = [rows[n] for n in good], [videos[n] for n in good]
        parts = [parts[n] for n in good]

    made = next(p for c in clips.values() for k, p in c.sequences.items() if k.startswith(key))
    wanted = _choose_modalities(opened.folder, parts[0], modalities)
    return Dataset(
        name=file.path.stem,
        ids=_name_segments(rows, videos),
        videos=tuple(_name_videos(rows, videos)),
        speakers=tuple(row.speaker for row in rows),
        splits=tuple(row.split for row in rows),
        sequences=tuple(
            replace(part, features={m: part.features[m] for m in wanted}) for part in parts
        ),
        labels={name: np.array([row.labels[name] for row in rows]) for name in file.columns},
        targets=tuple(
            Target(name, "classes", 0.0, len(names) - 1.0, names)
            for name, names in file.classes.items()
        ),
        features=_made_by(made, wanted),
        source=f"{file.path.name} with the features of recipe {made.get('name', '?')!r} ({key})"
        + left_out,
    )


def _screen(
    file: Path,
    parts: Sequence[AlignedSequence],
    kept: dict[str, dict[str, Any] | None],
    limits: Limits,
) -> tuple[list[int], str]:
    """Which segments are good enough, and what to say of the others.

    Parameters
    ----------
    kept : {clip: its quality report, None if it was not kept}
    """
    clips = {
        id: judge({} if said is None else measure_clip(said), limits).rejected_for
        for id, said in kept.items()
    }
    if unknown := [id for id, said in kept.items() if said is None]:
        _log.warning(
            "%d of %d videos were extracted before their quality was kept: only their words are "
            "judged; rmfn extract keeps it now",
            len(unknown),
            len(kept),
        )
    reasons = [
        dict.fromkeys((*clips[part.clip_id], *judge(measure_words(part), limits).rejected_for))
        for part in parts
    ]
    good = [n for n, found in enumerate(reasons) if not found]
    if not good:
        raise DatasetError(f"{file}: no segment is good enough: {_count_reasons(reasons)}")
    if len(good) == len(parts):
        return good, f"; none of {len(parts)} segments left out for its quality"
    said = f"{len(parts) - len(good)} of {len(parts)} segments left out for their quality ("
    said += f"{_count_reasons(reasons)})"
    _log.warning("%s", said)
    return good, f"; {said}"


def _count_reasons(reasons: Sequence[Iterable[str]]) -> str:
    counted = Counter(name for found in reasons for name in found)
    return ", ".join(f"{name} {count}" for name, count in counted.most_common())


def _describe(store: Store, clip_id: str) -> _StoredClip:
    names, durations, sequences, quality = set(), set(), {}, {}
    for stage in store.stages(clip_id):
        kind, _, key = stage.partition("-")
        try:
            said = store.read_notes(clip_id, kind, key)
            if "clip" in said:
                names.add(said["clip"])
            if "duration" in said:
                durations.add(float(said["duration"]))
            if kind == "sequence" and said:
                sequences[key] = parse_json(said["recipe"])
                quality[key] = read_quality(said)
        except (ValueError, KeyError) as e:
            _log.warning("%s/%s: damaged, passed over (%s)", clip_id, stage, e)
    duration = max(durations, default=None)
    return _StoredClip(clip_id, frozenset(names), duration, sequences, quality)


def _find_clips(
    file: LabelFile, clips: dict[str, _StoredClip], problems: list[Problem]
) -> list[str | None]:
    """The clip of each row, None where there is none."""
    called: dict[str, set[str]] = defaultdict(set)
    for clip in clips.values():
        for name in {clip.id, *clip.names, *(Path(name).stem for name in clip.names)}:
            called[name].add(clip.id)
    known: dict[str, str | None] = {}
    answers: dict[str, str] = {}
    for row in file.rows:
        if row.video and row.video not in known:
            known[row.video], answers[row.video] = _find_clip(row.video, called, file.path.parent)
        if row.video and known[row.video] is None:
            example = min((name for clip in clips.values() for name in clip.names), default="none")
            told = (
                answers[row.video] or f"not in the store (it has {len(clips)}, such as {example})"
            )
            problems.append((row.number, f"video {row.video!r}: {told}"))
    return [known.get(row.video) for row in file.rows]


def _find_clip(video: str, called: dict[str, set[str]], beside: Path) -> tuple[str | None, str]:
    """The id of a clip by any of its names, or by the bytes of the file itself; else why not."""
    from pipeline.clip import open_clip

    named = called.get(video) or called.get(Path(video).name, set())
    if len(named) == 1:
        return next(iter(named)), ""
    for path in (beside / video, Path(video)):
        if path.is_file():
            try:
                id = open_clip(path).id
            except ClipError as e:
                return None, str(e)
            if id in called:
                return id, ""
            return None, "the file is there, but it was not extracted into the store"
    if named:
        return None, f"{len(named)} clips of the store are called so; give the path or clip id"
    return None, ""


def _choose_recipe(folder: Place, clips: Sequence[_StoredClip], recipe: str | None) -> str:
    """The key of the recipe that made rows of the most clips; keys of rows with a transcript of
    one's own begin with it."""
    if not clips:
        return ""
    counts: Counter[str] = Counter()
    names: dict[str, str] = {}
    for clip in clips:
        for key in {key.partition("-")[0] for key in clip.sequences}:
            counts[key] += 1
        for key, made in clip.sequences.items():
            names[key.partition("-")[0]] = str(made.get("name", "?"))
    if recipe is not None:
        counts = Counter({k: n for k, n in counts.items() if recipe in (k, names[k])})
    there = ", ".join(f"{names[key]} ({key})" for key in sorted(names)) or "none"
    if not counts and recipe is None:
        return ""  # told for each row
    if not counts:
        raise DatasetError(
            f"{folder}: no labelled video has features of the recipe {recipe!r}; found {there}"
        )
    best = [key for key, count in counts.items() if count == max(counts.values())]
    if len(best) > 1:
        raise DatasetError(
            f"{folder}: features of several recipes: {there}; say which is meant by its key"
        )
    return best[0]


def _fill_times(row: LabelRow, clip: _StoredClip | None) -> LabelRow:
    """A row whose times are both known: "from the beginning" and 0 are the same segment."""
    if not row.timed:
        return row
    end = row.end if row.end is not None else (clip.duration if clip else None)
    return replace(row, start=row.start or 0.0, end=end)


def _choose_rows(store: Store, clip: _StoredClip, key: str) -> str:
    """The key of the clip's rows, empty if there are none; those with a transcript of one's own
    before those of recognised speech."""
    found = sorted((k for k in clip.sequences if k.partition("-")[0] == key), key=len)
    if len(found) > 2:
        _log.warning(
            "%s: extracted with %d transcripts; the newest is taken", clip.id, len(found) - 1
        )
        found.sort(key=lambda k: (len(k), store.path(clip.id, "sequence", k).stat().st_mtime))
    return found[-1] if found else ""


def _cut(
    row: LabelRow, clip: _StoredClip, sequence: AlignedSequence | None, problems: list[Problem]
) -> AlignedSequence | None:
    if sequence is None:
        problems.append(
            (
                row.number,
                f"video {row.video!r}: in the store, but without finished features of the recipe; "
                "run rmfn extract again and see what it says of it",
            )
        )
        return None
    if not row.timed:
        return None
    start, end = row.start or 0.0, row.end if row.end is not None else np.inf
    length = clip.duration
    if length is not None and (
        start >= length or (row.end is not None and end > length + ROUNDING)
    ):
        problems.append(
            (row.number, f"expected times within 0 to {length:g}, found {start:g} to {end:g}")
        )
        return None
    if not start < end:
        problems.append(
            (row.number, f"expected an end after its start, found {start:g} to {end:g}")
        )
        return None
    middles = np.array([(word.start + word.end) / 2 for word in sequence.words])
    inside = np.flatnonzero((middles >= start) & (middles < end))
    if not len(inside):
        near = sequence.words[abs(middles - start).argmin()]
        problems.append(
            (
                row.number,
                f"expected words between {start:g} and {end:g}, found none; the nearest is "
                f"{near.text!r} at {near.start:.2f} to {near.end:.2f}",
            )
        )
        return None
    # Starts do not decrease, but overlapping words can have their middles the other way round.
    rows = {
        modality: replace(r, values=r.values[inside], coverage=r.coverage[inside])
        for modality, r in sequence.features.items()
    }
    return AlignedSequence(clip.id, tuple(sequence.words[n] for n in inside), rows)


def _choose_modalities(
    folder: Place, example: AlignedSequence, modalities: Sequence[str] | None
) -> list[str]:
    there = [m for m in MODALITIES if m in example.features]
    for modality in modalities or ():
        if modality not in there:
            raise DatasetError(
                f"{folder}: no {modality} features; the recipe made {', '.join(there)}"
            )
    return [m for m in there if modalities is None or m in modalities]


def _made_by(provenance: dict[str, Any], modalities: Sequence[str]) -> dict[str, Any]:
    """The recipe's steps that made the columns; word timing stands beside the voice."""
    steps = [m for m in modalities if provenance.get(m)]
    if "acoustic" in modalities and "timing" in provenance:
        steps.append("timing")
    return {step: provenance[step] for step in steps}


def _name_segments(rows: Sequence[LabelRow], videos: Sequence[str]) -> tuple[str, ...]:
    """The file's ids, or ``video[n]`` counted from 0 within each video, as published corpora do."""
    counted: Counter[str] = Counter()
    taken = {row.id for row in rows}
    ids = []
    for row, clip, video in zip(rows, videos, _name_videos(rows, videos), strict=True):
        name = row.id
        while not name or (not row.id and name in taken):
            name = f"{video}[{counted[clip]}]"
            counted[clip] += 1
        ids.append(name)
    return tuple(ids)


def _name_videos(rows: Sequence[LabelRow], videos: Sequence[str]) -> list[str]:
    """One name a clip: what the first row calls it."""
    names: dict[str, str] = {}
    for row, clip in zip(rows, videos, strict=True):
        names.setdefault(clip, row.video)
    return [names[clip] for clip in videos]
