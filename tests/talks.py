"""Clips that were never recorded, with words, tracks and a small model: what a page is made of."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from extractors.acoustic_covarep import Covarep
from extractors.types import FeatureTrack, Word, WordFeatures, cover_words, join_features
from extractors.visual_mediapipe import MediaPipe
from extractors.visual_shape import normalise_landmarks
from extractors.word_timing import WordTiming
from flows.run import describe_prediction
from pipeline.assemble import ProcessedClip
from pipeline.clip import open_clip
from pipeline.pooling import pool
from pipeline.quality import measure_quality
from pipeline.sequence import AlignedSequence
from pipeline.utterances import cut_utterances
from rmfn.baselines import build
from rmfn.checkpoint import Checkpoint, Conformal, Manifest
from rmfn.data import fit_scaler
from rmfn.ensemble import Ensemble
from rmfn.predict import Predictor
from rmfn.targets import Target
from rmfn.tasks import count_outputs
from rmfn.train import Fitted
from tests.media_maker import make_clip

TEXT = (
    "I really enjoyed this movie. The acting was wonderful. "
    "It is one of the best films of the year."
)
ORIGIN = {
    "name": "made up",
    "align": {
        "backend": "none",
        "settings": {"pad": 0.5},
        "versions": {"none": "1"},
        "weights": {},
    },
    "language": [{"backend": "toy", "settings": {}, "versions": {}, "weights": {"toy": "ab" * 32}}],
}
SENTIMENT = Target("sentiment", "regression", -3.0, 3.0)


@dataclass(frozen=True)
class Toy:
    """A vector a word that depends on the word and on how many there are."""

    size: int = 6

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"toy.{n}" for n in range(self.size))

    def __call__(self, utterances: Sequence[Sequence[str]]) -> list[np.ndarray]:
        return [
            np.array([self._vector(token, len(tokens)) for token in tokens], np.float32).reshape(
                -1, self.size
            )
            for tokens in utterances
        ]

    def _vector(self, token: str, count: int) -> list[float]:
        drawn = hashlib.sha256(token.encode()).digest()[: self.size - 1]
        return [*(byte / 128 - 1 for byte in drawn), count / 10]


RECIPE: Any = SimpleNamespace(language=(Toy(),), timing=WordTiming())


@dataclass(frozen=True)
class Talk:
    """All that `rmfn.pages.clip.write_clip_page` wants."""

    record: dict[str, Any]
    processed: ProcessedClip
    predictor: Predictor


def make_talk(
    file: Path,
    text: str = TEXT,
    *,
    pace: float = 0.3,
    duration: float | None = None,
    face: bool = True,
    unseen: tuple[float, float] = (0.0, 0.0),
    labels: tuple[Target, ...] = (SENTIMENT,),
    model: str = "rmfn",
    members: int = 2,
    hidden: dict[str, int] | None = None,
) -> Talk:
    """A talk of given words, one every ``pace`` seconds.

    Parameters
    ----------
    file : where a small video is made, or a file that is there already.
    duration : s, of the clip as the record tells it; None = of the file.
    unseen : [start, end) s without the face.
    """
    if not file.exists():
        make_clip(file, duration=8.0, size=(160, 120), click=1.6)
    clip = open_clip(file)
    clip = clip if duration is None else replace(clip, duration=duration)
    words = tuple(
        # Every tenth word could not be aligned.
        Word(token, 0.2 + n * pace, 0.2 + (n + 0.8) * pace, None if n % 10 == 7 else 0.9)
        for n, token in enumerate(text.split())
    )
    utterances = tuple(cut_utterances(words))
    said = [words[part.start : part.stop] for part in utterances]
    tracks = {"acoustic": (_make_voice(clip.duration),)}
    if face:
        tracks["visual"] = (_make_face(clip.duration, unseen),)
    toy, timing = RECIPE.language[0], RECIPE.timing
    language = np.concatenate(toy([[word.text for word in part] for part in said]))
    features = {
        "language": cover_words(language, toy.names),
        "acoustic": join_features(
            [
                pool(tracks["acoustic"][0], words),
                cover_words(np.concatenate(timing(said)), timing.names),
            ]
        ),
        "visual": pool(tracks["visual"][0], words)
        if face
        else WordFeatures(
            np.full((len(words), 1), np.nan, np.float32),
            np.zeros(len(words), np.float32),
            ("mediapipe.au12",),
        ),
    }
    sequence = AlignedSequence(clip.id, words, features)
    quality = measure_quality(clip, sequence, tracks)
    processed = ProcessedClip(clip, sequence, utterances, tracks, quality, {"align": 0.1})
    predictor = make_predictor(sequence, labels, model, members, hidden)
    return Talk(describe_prediction(processed, predictor, ORIGIN), processed, predictor)


def make_predictor(
    sequence: AlignedSequence,
    labels: tuple[Target, ...],
    model: str,
    members: int,
    hidden: dict[str, int] | None,
) -> Predictor:
    """A model with drawn weights that reads the toy's vectors and the timing."""
    columns = {"language": Toy().names, "acoustic": WordTiming().names}
    config = {
        "inputs": {modality: len(names) for modality, names in columns.items()},
        "hidden": hidden or {"language": 8, "acoustic": 3},
        "outputs": count_outputs(labels),
        **({"attention_scale": "mean1"} if model == "rmfn" else {}),
    }
    fitted = []
    for seed in range(members):
        torch.manual_seed(seed)
        mean, deviation = torch.zeros(len(labels)), torch.ones(len(labels))
        fitted.append(Fitted(build(model, **config).eval(), labels, mean, deviation))
    manifest = Manifest(
        name="toy",
        trained_on="nothing",
        labels=labels,
        config=config,
        columns=columns,
        members=members,
        features={},
        conformal=Conformal(
            0.8,
            tuple(1.25 if label.kind == "regression" else None for label in labels),
            (0.79,) * len(labels),
            100,
        ),
        constants={},
        metrics={
            "test": {
                label.name: {"how": "made up", "n": 7, "mae": 0.5, "interval": {"mae": [0.4, 0.6]}}
                for label in labels
            }
        },
        model=model,
        weights_sha256="cd" * 32,
    )
    return Predictor(Checkpoint(manifest, Ensemble(fit_scaler([sequence], columns), tuple(fitted))))


def _make_voice(duration: float) -> FeatureTrack:
    names = Covarep().names
    times = np.arange(0.005, duration, 0.01)
    values = np.zeros((len(times), len(names)), np.float32)
    values[:, names.index("covarep.f0")] = 120 + 40 * np.sin(times)
    values[:, names.index("covarep.vuv")] = np.sin(3 * times) > -0.3
    return FeatureTrack(values, times, names)


def _make_face(duration: float, unseen: tuple[float, float]) -> FeatureTrack:
    names = MediaPipe(hog=False).names
    place = {name.removeprefix("mediapipe."): n for n, name in enumerate(names)}
    times = np.arange(0, duration, 0.04)
    values = np.zeros((len(times), len(names)), np.float32)
    values[:, place["au12"]] = 0.5 + 0.4 * np.sin(times)
    values[:, place["au04"]] = 0.1 + 0.1 * np.cos(2 * times)
    for n, name in enumerate(("pitch", "yaw", "gaze_pitch", "gaze_yaw")):
        values[:, place[name]] = 10 * np.sin(times + n)
    for name, value in zip(("x", "y", "width", "height"), (0.3, 0.2, 0.4, 0.6), strict=True):
        values[:, place[f"box.{name}"]] = value
    points = np.random.default_rng(0).normal(0, 20, (68, 2)).astype(np.float32)
    points[36:42, 0] -= 30
    points[42:48, 0] += 30
    first = place["landmark.0.x"]
    values[:, first : first + 136] = normalise_landmarks(points).ravel()
    values[:, place["faces"]] = 1
    values[:, place["face_present"]] = 1
    seen = ~((times >= unseen[0]) & (times < unseen[1]))
    values[~seen] = np.nan
    values[~seen, place["faces"]] = 0
    values[~seen, place["face_present"]] = 0
    return FeatureTrack(values, times, names, seen, {"other_persons": 0})
