"""Limits on a clip's quality: which clips a person should look at, and which to leave out.

A limits file is TOML or JSON with the tables ``flag`` and ``reject``, each ``{measure: limit}``;
``false`` in place of a number takes a usual limit away. Nothing is rejected unless a limit says so.
What a clip does not have (a sound file has no face to be found) is not judged.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.quality import (
    HIGH_GUESSED,
    HIGH_INTERPOLATED,
    HIGH_REPEATED,
    LOW_FACE,
    LOW_LEVEL,
    LOW_SCORE,
    LOW_SPEECH,
    LOW_VOICED,
    describe_words,
)
from pipeline.records import parse_json
from pipeline.sequence import AlignedSequence
from pipeline.store import Store


@dataclass(frozen=True)
class Measure:
    """What can be judged.

    Attributes
    ----------
    text : for people.
    low : whether too little of it is bad; else too much.
    usual : the limit beyond which a clip is flagged.
    """

    text: str
    low: bool
    usual: float


MEASURES = {
    "face_share": Measure("frames in which the speaker's face was found", True, LOW_FACE),
    "speech_share": Measure("of the clip that words cover", True, LOW_SPEECH),
    "aligner_score": Measure(
        "how well words and sound agree, the median of the words", True, LOW_SCORE
    ),
    "interpolated_share": Measure("words that could not be aligned", False, HIGH_INTERPOLATED),
    "guessed_share": Measure("words that are not in the aligner's dictionary", False, HIGH_GUESSED),
    "repeated_share": Measure("words of a phrase said again and again", False, HIGH_REPEATED),
    "voiced_share": Measure("of the words' sound that is voiced", True, LOW_VOICED),
    "irregular_share": Measure("frames out of step, or dropped", False, 0.05),
    "other_faces": Measure("persons beside the speaker", False, 0.0),
    "clipped_share": Measure("of the sound that is at full scale", False, 0.001),
    "level": Measure("of the loud parts, in dB (0 is full scale)", True, LOW_LEVEL),
}


@dataclass(frozen=True)
class Limits:
    """Beyond which values clips are flagged, and beyond which they are rejected.

    Raises
    ------
    ValueError : a measure that there is not, or a limit that is no number.
    """

    flag: Mapping[str, float] = field(
        default_factory=lambda: {name: measure.usual for name, measure in MEASURES.items()}
    )
    reject: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, limit in (*self.flag.items(), *self.reject.items()):
            if name not in MEASURES:
                close = difflib.get_close_matches(name, MEASURES, n=1)
                hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(MEASURES)}"
                raise ValueError(f"no measure of quality is called {name!r}; {hint}")
            if isinstance(limit, bool) or not isinstance(limit, int | float) or math.isnan(limit):
                raise ValueError(f"the limit of {name} must be a number, got {limit!r}")

    def but(self, flag: Mapping[str, Any], reject: Mapping[str, Any]) -> Limits:
        """These limits with some set otherwise; False takes one away."""
        return Limits(_change(self.flag, flag), _change(self.reject, reject))


@dataclass(frozen=True)
class Verdict:
    """Attributes
    ----------
    status : ``ok``, ``flagged`` or ``rejected``.
    reasons : the measures beyond their limits, in words; of a rejected clip those first for which
        it is rejected.
    rejected_for : the names of those.
    """

    status: str
    reasons: tuple[str, ...]
    rejected_for: tuple[str, ...]


def read_limits(path: str | Path) -> Limits:
    """The usual limits with what a file says otherwise.

    Raises
    ------
    ValueError : the file cannot be read, or holds something else.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        said = parse_json(text) if str(path).endswith(".json") else tomllib.loads(text)
    except (OSError, ValueError) as e:
        raise ValueError(f"{path}: cannot be read as limits ({e})") from e
    if not isinstance(said, dict) or not said.keys() <= {"flag", "reject"}:
        raise ValueError(f"{path}: expected the tables flag and reject, found {said!r:.100}")
    for table in said.values():
        if not isinstance(table, dict):
            raise ValueError(f"{path}: expected a limit a measure, found {table!r:.100}")
    try:
        return Limits().but(said.get("flag", {}), said.get("reject", {}))
    except ValueError as e:
        raise ValueError(f"{path}: {e}") from e


def read_pairs(pairs: Iterable[str]) -> dict[str, Any]:
    """Limits as they are typed: ``face_share=0.6``, or ``other_faces=off``.

    Raises
    ------
    ValueError : one is no such pair.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        try:
            found[name.strip()] = False if value.strip() == "off" else float(value)
        except ValueError:
            raise ValueError(
                f"{pair!r}: expected MEASURE=NUMBER or MEASURE=off, such as face_share=0.6"
            ) from None
    return found


def measure_clip(quality: Mapping[str, Any]) -> dict[str, float | None]:
    """What is judged of a clip, out of its quality report (`pipeline.quality.Quality.to_json`)."""
    notes = quality.get("notes", {})
    frames = notes.get("frames")
    irregular = notes.get("frames_irregular", 0) + notes.get("frames_dropped", 0)
    return {
        "face_share": quality.get("face_share"),
        "speech_share": quality.get("speech_share"),
        "aligner_score": quality.get("aligner_score"),
        "interpolated_share": _share(quality, "interpolated"),
        "guessed_share": _share(quality, "guessed"),
        "repeated_share": _share(quality, "repeated"),
        "voiced_share": quality.get("voiced_share"),
        "irregular_share": irregular / frames if frames else None,
        "other_faces": notes.get("other_persons"),
        "clipped_share": notes.get("audio_clipped", 0.0) if "audio_level" in notes else None,
        "level": notes.get("audio_level"),
    }


def measure_words(sequence: AlignedSequence) -> dict[str, float | None]:
    """What can be judged of some words of a clip by themselves."""
    spoken = describe_words(sequence)
    return {
        "face_share": spoken["face_share"],
        "aligner_score": spoken["aligner_score"],
        "interpolated_share": _share(spoken, "interpolated"),
        "guessed_share": _share(spoken, "guessed"),
        "repeated_share": _share(spoken, "repeated"),
        "voiced_share": spoken["voiced_share"],
    }


def judge(measured: Mapping[str, float | None], limits: Limits) -> Verdict:
    """Hold what was measured against the limits; None is beyond no limit."""
    rejected = _find_beyond(measured, limits.reject)
    flagged = {
        name: why
        for name, why in _find_beyond(measured, limits.flag).items()
        if name not in rejected
    }
    status = "rejected" if rejected else "flagged" if flagged else "ok"
    return Verdict(status, (*rejected.values(), *flagged.values()), tuple(rejected))


def examine_store(store: Store, limits: Limits) -> Iterator[dict[str, Any]]:
    """Judge every clip that has rows in a store; no video is needed.

    Yields
    ------
    A record a clip, or several where there are rows of several recipes or transcripts: ``clip``
    (its file's name), ``id``, ``key`` of the rows, ``recipe``, ``status`` (that of `Verdict`, or
    ``unknown`` if the rows were made before their quality was kept), ``reasons``,
    ``rejected_for``, and the `MEASURES`.
    """
    for clip_id in store.clips():
        for stage in store.stages(clip_id):
            kind, _, key = stage.partition("-")
            if kind != "sequence":
                continue
            notes = store.read_notes(clip_id, kind, key)
            quality = read_quality(notes)
            measured = dict.fromkeys(MEASURES) if quality is None else measure_clip(quality)
            found = judge(measured, limits)
            unknown = ("not kept by what made these rows: run rmfn extract again",)
            yield {
                "clip": notes.get("clip", clip_id),
                "id": clip_id,
                "key": key,
                "recipe": read_note(notes, "recipe").get("name"),
                "status": "unknown" if quality is None else found.status,
                "reasons": list(unknown if quality is None else found.reasons),
                "rejected_for": list(found.rejected_for),
                **measured,
            }


def read_quality(notes: Mapping[str, str]) -> dict[str, Any] | None:
    """The quality report among the notes of a clip's rows; None if there is none."""
    return read_note(notes, "quality") or None


def read_note(notes: Mapping[str, str], name: str) -> dict[str, Any]:
    """A record among the notes of a clip's rows; empty if there is none, or if it is damaged."""
    try:
        found = parse_json(notes.get(name, "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _change(limits: Mapping[str, float], changes: Mapping[str, Any]) -> dict[str, float]:
    changed = {**limits, **changes}
    # A limit of a measure that there is not stays, and is refused.
    return {name: x for name, x in changed.items() if x is not False or name not in MEASURES}


def _share(spoken: Mapping[str, Any], kind: str) -> float | None:
    """Of the words; None where they were not counted, as before there was that measure."""
    words, counted = spoken.get("words"), spoken.get(kind)
    return counted / words if words and counted is not None else None


def _find_beyond(
    measured: Mapping[str, float | None], limits: Mapping[str, float]
) -> dict[str, str]:
    beyond = {}
    for name, limit in limits.items():
        value = measured.get(name)
        if value is not None and (value < limit if MEASURES[name].low else value > limit):
            beyond[name] = f"{name} {value:.3g} {'<' if MEASURES[name].low else '>'} {limit:g}"
    return beyond
