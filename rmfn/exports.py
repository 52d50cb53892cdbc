"""Data sets and words in the formats of others."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.types import MODALITIES, Word
from pipeline.errors import DatasetError
from pipeline.records import read_json
from pipeline.store import open_store
from pipeline.whole import open_place
from rmfn.corpora_pickles import NAMES
from rmfn.csd_files import write_csd
from rmfn.dataset import SPLITS, Dataset
from rmfn.unheld import keep_unheld, name_keys


def export_csd(dataset: Dataset, folder: str | Path) -> list[Path]:
    """Write a data set as computational sequences: words, labels, and a file a modality.

    They are aligned already: each segment is an entry ``video[n]``, with a row a word. Importing
    the files gives the same data set.

    Returns
    -------
    The files.

    Raises
    ------
    DatasetError : the folder is there and holds something.
    """
    keys = name_keys(dataset, "{video}[{n}]", "/[].")
    root = "".join(c if c.isalnum() else "_" for c in dataset.name) or "dataset"
    times = {
        key: np.array([(w.start, w.end) for w in s.words], np.float64).reshape(-1, 2)
        for key, s in zip(keys, dataset.sequences, strict=True)
    }
    spans = {
        key: np.array([[t.min(initial=0.0) if not len(t) else t[0, 0], t.max(initial=0.0)]])
        for key, t in times.items()
    }
    labels = np.column_stack([*dataset.labels.values(), np.zeros((len(dataset), 0))])
    parts: dict[str, dict[str, tuple[NDArray, NDArray[np.float64]]]] = {
        "words": {
            key: (_texts(s.words), times[key])
            for key, s in zip(keys, dataset.sequences, strict=True)
        },
        "labels": {key: (labels[n : n + 1], spans[key]) for n, key in enumerate(keys)},
    }
    for modality in dataset.columns:
        parts[modality] = {
            key: (s.features[modality].values, times[key])
            for key, s in zip(keys, dataset.sequences, strict=True)
            if modality in s.features
        }
    unheld = keep_unheld(dataset, keys)
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DatasetError(f"{folder} is there and is not empty; it is left as it is")
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for role, entries in parts.items():
            name = f"{root}_{role}"
            kept = unheld if role == "words" else None
            write_csd(fresh / f"{name}.csd", name, entries, role, kept)
        fresh.chmod(0o755)
        if folder.exists():
            folder.rmdir()
        os.replace(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return sorted(folder.iterdir())


def export_mmsa(dataset: Dataset, path: str | Path, label: str | None = None) -> list[str]:
    """Write a data set as MMSA reads it: one pickle of numpy arrays, aligned to words.

    It is the only pickle that this project writes, because the layout is one; it names nothing but
    numpy and builtins.

    Parameters
    ----------
    label : the column that becomes ``regression_labels``; by default the first.

    Returns
    -------
    What the layout cannot say, for people. It is kept in an entry of its own, "rmfn", which other
    programs pass over: importing the file gives the same data set.

    Raises
    ------
    DatasetError : there is no such label.
    """
    first = label or next(iter(dataset.labels), None)
    if first is None or first not in dataset.labels:
        raise DatasetError(
            f"data set {dataset.name!r} has no label {first!r}; it has "
            f"{', '.join(dataset.labels) or 'none'}"
        )
    keys = name_keys(dataset, "{video}$_${n}", "$")
    longest = max((len(s.words) for s in dataset.sequences), default=0)
    out: dict[str, Any] = {}
    missing: dict[str, dict[str, NDArray[np.uint8]]] = {}
    for split in SPLITS:
        rows = [n for n, own in enumerate(dataset.splits) if (own or SPLITS[0]) == split]
        out[split], missing[split] = _pack_split(dataset, rows, keys, longest, first)
    out["rmfn"] = {"record": json.dumps(keep_unheld(dataset, keys).record), "missing": missing}
    out["rmfn"]["first"] = first
    data = pickle.dumps(out, protocol=4)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_bytes(data)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return _describe_losses(dataset, missing)


def _pack_split(
    dataset: Dataset, rows: Sequence[int], keys: Sequence[str], longest: int, first: str
) -> tuple[dict[str, Any], dict[str, NDArray[np.uint8]]]:
    """A split's arrays, zeros for NaN and after the end, and where the NaN were (as bits)."""
    chosen = dataset.take(rows)
    lengths = [len(sequence.words) for sequence in chosen.sequences]
    packed: dict[str, Any] = {
        "raw_text": np.array([" ".join(w.text for w in s.words) for s in chosen.sequences], object),
        "id": np.array([keys[n] for n in rows], object),
        "audio_lengths": lengths,
        "vision_lengths": list(lengths),
    }
    missing = {}
    for modality in MODALITIES:
        values = np.zeros((len(rows), longest, len(dataset.columns.get(modality, ()))), np.float32)
        for n, sequence in enumerate(chosen.sequences):
            if modality in sequence.features:
                values[n, : lengths[n]] = sequence.features[modality].values
        missing[modality] = np.packbits(np.isnan(values))
        packed[NAMES[modality]] = np.nan_to_num(values, nan=0.0, posinf=np.inf, neginf=-np.inf)
    for name, column in chosen.labels.items():
        packed["regression_labels" + ("" if name == first else f"_{name}")] = column
    target = next((t for t in dataset.targets if t.name == first), None)
    middle = 0.0 if target is None else (target.low + target.high) / 2
    side = np.sign(chosen.labels[first] - middle)
    packed["annotations"] = np.array(
        [{-1: "Negative", 0: "Neutral", 1: "Positive"}.get(each, "") for each in side.tolist()],
        object,
    )
    packed["classification_labels"] = np.nan_to_num(side + 1)
    return packed, missing


def _describe_losses(dataset: Dataset, missing: dict[str, dict[str, NDArray]]) -> list[str]:
    losses = ["word times, scores and coverage, speakers, column names and scales"]
    count = sum(
        int(np.unpackbits(bits).sum()) for each in missing.values() for bits in each.values()
    )
    if count:
        losses.append(f"{count} values that were not measured: they are written as 0")
    if without := dataset.splits.count(""):
        losses.append(f"{without} segments have no split: they are written into train")
    return losses


def export_textgrids(source: str | Path, out: str | Path) -> tuple[list[Path], list[str]]:
    """Write the words of a store's clips, or of one record of ``rmfn predict`` or ``align``.

    Parameters
    ----------
    source : a store, or a JSON file.
    out : of a store a folder, of a record a file.

    Returns
    -------
    The files, and what they cannot hold.

    Raises
    ------
    DatasetError : there are no words in it.
    """
    place, out = open_place(source), Path(out)
    if isinstance(place, Path) and not place.is_dir():
        said, duration = _read_record(place)
        return [out], write_textgrid(out, said, duration)
    store = open_store(place)
    written, losses = [], []
    for clip_id in store.clips():
        found = [s.partition("-")[2] for s in store.stages(clip_id) if s.startswith("words-")]
        # A clip may have been recognised and transcribed: the newest words are meant.
        keys = sorted(found, key=lambda key: store.path(clip_id, "words", key).stat().st_mtime)
        words = store.get_words(clip_id, keys[-1]) if keys else None
        if not words:
            losses.append(f"{clip_id}: no words of it are in the store")
            continue
        notes = store.read_notes(clip_id, "words", keys[-1])
        name = Path(notes.get("clip", clip_id)).stem
        path = out / f"{name}.TextGrid"
        if path in written:
            path = out / f"{name}-{clip_id}.TextGrid"
        end = float(notes["duration"]) if "duration" in notes else None
        losses += [f"{path.name}: {loss}" for loss in write_textgrid(path, words, end)]
        written.append(path)
    if not written:
        raise DatasetError(f"{source}: there are no words in it")
    return written, losses


def _read_record(path: Path) -> tuple[list[Word], float | None]:
    try:
        record = read_json(path)
        parts = record.get("utterances", [record])
        words = [
            Word(word["text"], word["start"], word["end"], word.get("score"))
            for part in parts
            for word in part["words"]
        ]
        end = record.get("clip", {}).get("duration")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise DatasetError(
            f"{path}: expected the JSON of rmfn predict or rmfn align, with words: {e!r}"
        ) from e
    if not words:
        raise DatasetError(f"{path}: there are no words in it")
    return words, end


def write_textgrid(path: str | Path, words: Sequence[Word], end: float | None = None) -> list[str]:
    """Write words as a Praat TextGrid: a tier with the words and one with the aligner's scores.

    Parameters
    ----------
    end : of the recording, seconds; by default the last word's.

    Returns
    -------
    What it cannot hold, for people: a tier has no overlaps, so a word starts where the one before
    it ends.
    """
    losses: list[str] = []
    intervals: list[tuple[float, float, str, str]] = []
    at = 0.0
    end = max([end or 0.0, *(word.end for word in words)])
    for word in words:
        start, stop = max(word.start, at), max(word.end, at)
        if start > word.start:
            losses.append(
                f"{word.text!r} starts at {word.start:g}, before {start:g}: cut or left out"
            )
        if stop <= start:
            continue
        if start > at:
            intervals.append((at, start, "", ""))
        score = "interpolated" if word.score is None else f"{word.score!r}"
        intervals.append((start, stop, word.text, score))
        at = stop
    if end > at or not intervals:
        intervals.append((at, max(end, at + 1e-3), "", ""))
        end = intervals[-1][1]
    if any(word.guessed for word in words):
        losses.append("which pronunciations were guessed")
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', ""]
    lines += ["0", f"{end!r}", "<exists>", "2"]
    for name in ("words", "score"):
        lines += ['"IntervalTier"', f'"{name}"', "0", f"{end!r}", f"{len(intervals)}"]
        for start, stop, text, score in intervals:
            shown = (text if name == "words" else score).replace('"', '""')
            lines += [f"{start!r}", f"{stop!r}", f'"{shown}"']
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text("\n".join(lines) + "\n", encoding="utf-8")
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return losses


def _texts(words: Sequence[Word]) -> NDArray:
    out = np.empty(len(words), dtype=object)
    out[:] = [word.text for word in words]
    return out
