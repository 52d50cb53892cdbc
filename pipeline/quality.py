"""What a person should know about a clip before trusting its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from extractors.types import FeatureTrack, WordFeatures
from pipeline.clip import Clip
from pipeline.sequence import AlignedSequence

# Below these a warning is given. The aligner's score separates the right transcript from another
# recording's (tests/test_align_pocketsphinx.py); the others are the points at which a typical
# utterance of a dozen words has only a few words left to stand on.
LOW_SCORE = 0.4
LOW_FACE = 0.5
HIGH_INTERPOLATED = 0.2
LOW_SPEECH = 0.15
HIGH_GUESSED = 0.3
HIGH_REPEATED = 0.3
LOW_VOICED = 0.2
LOW_LEVEL = -40.0  # dB; 0 is full scale
TIMES = 3  # a phrase said so often on end is repeated
PHRASE = 20  # words, the longest phrase that is looked for
LONG_GAP = 0.2  # s
LONG_FREEZE = 1.0  # s


@dataclass(frozen=True)
class Quality:
    """Shares are 0..1; None = does not apply.

    Attributes
    ----------
    spoken : what `describe_words` says of all words (the aligner's score is the median).
    speech_share : share of the clip covered by words.
    face_share : share of frames in which the followed face was found.
    notes : what the decoder and the extractors reported.
    warnings : sentences for a person.
    """

    spoken: dict[str, Any]
    speech_share: float
    face_share: float | None
    notes: dict[str, float | str]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            **self.spoken,
            "speech_share": self.speech_share,
            "face_share": self.face_share,
            "notes": self.notes,
            "warnings": list(self.warnings),
        }


def measure_quality(
    clip: Clip,
    sequence: AlignedSequence,
    tracks: Mapping[str, Sequence[FeatureTrack]],
    good_score: float = LOW_SCORE,
) -> Quality:
    """Summarise one clip: its words, how it was decoded, what the tracks saw.

    Parameters
    ----------
    good_score : what the aligner's median score exceeds where clear speech of its language is
        aligned with what was said.
    """
    face = next(iter(tracks.get("visual", ())), None)
    face_share = float(face.observed.mean()) if face is not None and len(face.times) else None
    spoken, speech_share = describe_words(sequence), find_speech_share(clip, sequence)
    notes = {
        name: value
        for modality in tracks.values()
        for track in modality
        for name, value in track.notes.items()
    }
    return Quality(
        spoken,
        speech_share,
        face_share,
        notes,
        (
            *warn_of_words(spoken, speech_share, good_score),
            *_warn_of_face(clip, face_share, notes),
            *_warn_of_media(clip, notes),
        ),
    )


def find_speech_share(clip: Clip, sequence: AlignedSequence) -> float:
    """Share of the clip that its words cover."""
    covered = sum(word.end - word.start for word in sequence.words)
    return min(covered / clip.duration, 1.0) if clip.duration > 0 else 0.0


def describe_words(sequence: AlignedSequence) -> dict[str, Any]:
    """The counts and shares that make sense for any run of words (an utterance, a clip)."""
    scores = [word.score for word in sequence.words if word.score is not None]
    return {
        "words": len(sequence.words),
        "interpolated": sum(word.score is None for word in sequence.words),
        "guessed": sum(word.guessed for word in sequence.words),
        "repeated": count_repeated([word.text for word in sequence.words]),
        "without_vector": _count_empty(sequence.features.get("language")),
        "aligner_score": float(np.median(scores)) if scores else None,
        "voiced_share": _mean_column(sequence.features.get("acoustic"), "voiced", "vuv"),
        "face_share": _mean_coverage(sequence.features.get("visual")),
    }


def count_repeated(texts: Sequence[str]) -> int:
    """How many words are of a phrase of at most `PHRASE` words that is said at least `TIMES` times
    on end: what a recogniser writes down that has lost itself in music or noise.

    Capitals and punctuation make no difference.
    """
    plain = ["".join(filter(str.isalnum, text.casefold())) or text for text in texts]
    repeated = np.zeros(len(plain), bool)
    for length in range(1, min(PHRASE, len(plain) // TIMES) + 1):
        first = 0  # of a run of words each of which is that of one phrase before
        for place in range(length, len(plain) + 1):
            if place < len(plain) and plain[place] == plain[place - length]:
                continue
            if place - first >= TIMES * length:
                repeated[first:place] = True
            first = place - length + 1
    return int(repeated.sum())


def warn_of_words(spoken: dict[str, Any], speech_share: float, good_score: float) -> list[str]:
    """What makes a person doubt that these words were said then (`measure_quality`)."""
    found = []
    score, words = spoken["aligner_score"], spoken["words"]
    if score is not None and score < LOW_SCORE:
        found.append(
            f"the words fit the sound badly (aligner score {score:.2f}, good clips have more than "
            f"{LOW_SCORE}): is this the transcript of this clip, and is it clear speech?"
        )
    elif score is not None and score < good_score:
        found.append(
            f"the words fit the sound less well than clear speech (aligner score {score:.2f}, not "
            f"{good_score} or more): is there music, or another language, and was it heard rightly?"
        )
    if spoken["interpolated"] > HIGH_INTERPOLATED * words:
        found.append(
            f"{spoken['interpolated']} of {words} words could not be aligned; their times are "
            "interpolated between their neighbours"
        )
    if spoken["guessed"] > HIGH_GUESSED * words:
        found.append(
            f"{spoken['guessed']} of {words} words are not in the aligner's dictionary: are they "
            "of the recipe's language?"
        )
    if spoken["repeated"] > HIGH_REPEATED * words:
        found.append(
            f"{spoken['repeated']} of {words} words are a phrase said again and again: was that "
            "said, or written down by a speech recogniser that heard music or noise?"
        )
    voiced = spoken["voiced_share"]
    if voiced is not None and voiced < LOW_VOICED:
        found.append(
            f"only {voiced:.0%} of the words' sound is voiced (speech has more than "
            f"{LOW_VOICED:.0%}): is it speech, and not noise?"
        )
    if speech_share < LOW_SPEECH:
        found.append(f"only {speech_share:.0%} of the clip is speech")
    return found


def _warn_of_face(
    clip: Clip, face_share: float | None, notes: Mapping[str, float | str]
) -> list[str]:
    if not clip.has_video:
        return ["no picture: predicted without the visual modality"]
    if face_share == 0:
        return ["no face was found: predicted without the visual modality"]
    found = []
    if face_share is not None and face_share < LOW_FACE:
        found.append(f"the speaker's face was found in only {face_share:.0%} of the frames")
    if others := int(notes.get("other_persons", 0)):
        found.append(
            f"{others} other {'faces were' if others > 1 else 'face was'} seen; the visual rows "
            "are those of the main speaker, chosen by size, persistence and mouth movement"
        )
    return found


def _warn_of_media(clip: Clip, notes: Mapping[str, float | str]) -> list[str]:
    """Of what the decoder noticed (`pipeline.media.MediaNotes`; absent = 0)."""
    found = []
    if len(clip.audio) > 1:
        found.append(f"one of {len(clip.audio)} sound tracks was taken: the default, or the first")
    if notes.get("audio_truncated") or notes.get("video_truncated"):
        found.append("the file ends before its declared end: it was probably cut short")
    if (level := notes.get("audio_level")) is not None and float(level) < LOW_LEVEL:
        found.append(
            f"the sound is very quiet: its loud parts are {-float(level):.0f} dB below full scale"
        )
    if broken := int(notes.get("audio_errors", 0)) + int(notes.get("video_errors", 0)):
        found.append(f"{broken} broken packets were left out")
    if (gaps := float(notes.get("audio_gap_seconds", 0))) > LONG_GAP:
        found.append(f"{gaps:.1f} s of sound are missing (taken as silence)")
    overlap = float(notes.get("audio_overlap_seconds", 0))
    if overlap > LONG_GAP:
        found.append(
            f"{overlap:.1f} s of sound claim a time that was already taken, and were cut: is this "
            "several recordings in one file?"
        )
    if dropped := int(notes.get("frames_dropped", 0)):
        found.append(f"{dropped} pictures were not later than the one before, and were left out")
    if (freeze := float(notes.get("longest_freeze", 0))) > LONG_FREEZE:
        found.append(f"the picture stands still for up to {freeze:.1f} s")
    return found


def _count_empty(rows: WordFeatures | None) -> int:
    return 0 if rows is None else int((~np.isfinite(rows.values).any(axis=1)).sum())


def _mean_coverage(rows: WordFeatures | None) -> float | None:
    return None if rows is None or not len(rows.coverage) else float(rows.coverage.mean())


def _mean_column(rows: WordFeatures | None, *measures: str) -> float | None:
    """Mean of the first column called ``tool.measure``; None where no tool measured it."""
    if rows is None:
        return None
    for index, name in enumerate(rows.names):
        if name.split(".")[-1] in measures:
            values = rows.values[:, index]
            return float(np.nanmean(values)) if np.isfinite(values).any() else None
    return None
