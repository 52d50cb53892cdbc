"""A made-up corpus of which the truth is known, and models of it, for several tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from extractors.types import Word, WordFeatures
from pipeline.sequence import AlignedSequence
from rmfn.baselines import build
from rmfn.checkpoint import Conformal, Manifest, load_checkpoint, save_checkpoint
from rmfn.data import Example, Scaler, fit_scaler
from rmfn.dataset import Dataset, Target
from rmfn.ensemble import Ensemble
from rmfn.train import Fitted

COLUMNS = {"language": ("good", "bad", "other"), "acoustic": ("timing.duration",)}
CONFIG = {
    "inputs": {"language": 3, "acoustic": 1},
    "hidden": {"language": 8, "acoustic": 2},
    "outputs": 1,
    "fuse": 6,
    "summary": 5,
    "head": 8,
    "attention_scale": "mean1",
}
SENTIMENT = Target("sentiment", "regression", -3.0, 3.0)
HAPPY = Target("happy", "binary")
MOOD = Target("mood", "classes", classes=("bad", "so so", "good"))
LENGTH = Target("length", "regression", 1.0, 7.0)
SMALL = {"fuse": 6, "summary": 5, "head": 8}
HIDDEN = {"language": 8, "acoustic": 2}
LANGUAGE = {"backend": "toy", "settings": {"layers": 1}, "weights": {"toy": "abc"}, "versions": {}}
FEATURES = {
    "language": [LANGUAGE],
    "timing": {"backend": "timing", "settings": {"neighbours": 2}, "weights": {}, "versions": {}},
}


def make_corpus(
    count: int, seed: int = 0, videos: int = 12
) -> tuple[list[AlignedSequence], list[list[float]], list[str]]:
    """Sentiment is the number of good words less the number of bad ones, from -3 to 3."""
    random = np.random.default_rng(seed)
    sequences, labels, names = [], [], []
    for n in range(count):
        words = int(random.integers(1, 7))
        kind = random.choice(3, size=words, p=[0.3, 0.3, 0.4])
        language = np.eye(3, dtype=np.float32)[kind] + random.normal(0, 0.05, (words, 3))
        language = language.astype(np.float32)
        timing = random.uniform(0.1, 0.6, (words, 1)).astype(np.float32)
        cover = np.ones(words, np.float32)
        sequences.append(
            AlignedSequence(
                f"s{n}",
                tuple(Word("w", i * 0.5, i * 0.5 + 0.4, 1.0) for i in range(words)),
                {
                    "language": WordFeatures(language, cover, COLUMNS["language"]),
                    "acoustic": WordFeatures(timing, cover, COLUMNS["acoustic"]),
                },
            )
        )
        labels.append([float(np.clip((kind == 0).sum() - (kind == 1).sum(), -3, 3))])
        names.append(f"v{random.integers(videos)}")
    return sequences, labels, names


def make_untrained(members: int = 2, seed: int = 0) -> tuple[Manifest, Ensemble]:
    """A checkpoint's contents with drawn weights: enough for all but what it predicts."""
    sequences, _, _ = make_corpus(20)
    models = []
    for n in range(members):
        torch.manual_seed(seed + n)
        mean, std = torch.tensor([0.2 * n]), torch.tensor([1.5 + n])
        models.append(Fitted(build("rmfn", **CONFIG).eval(), (SENTIMENT,), mean, std))
    manifest = Manifest(
        name="toy",
        trained_on="nothing",
        labels=(SENTIMENT,),
        config=CONFIG,
        columns=COLUMNS,
        members=members,
        features=FEATURES,
        conformal=Conformal(0.8, (1.25,), (0.79,), 100),
        constants={"sentiment": {"mean": 0.1, "median": 0.0, "mode": 0.0}},
        metrics={"cross-validation": {"sentiment": {"corr": float("nan")}}},
    )
    return manifest, Ensemble(fit_scaler(sequences, COLUMNS), tuple(models))


def folder_bytes(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def make_dataset(count: int = 120, seed: int = 0, videos: int = 12) -> Dataset:
    """The corpus with four kinds of label: a number, its sign as yes or no (some not given), as one
    of three classes, and the number of words, which says nothing of the sentiment."""
    sequences, labels, names = make_corpus(count, seed, videos)
    value = np.array(labels)[:, 0]
    happy = (value > 0).astype(float)
    happy[::7] = np.nan
    return Dataset(
        "toy",
        tuple(f"s{n}" for n in range(count)),
        tuple(names),
        ("",) * count,
        ("",) * count,
        tuple(sequences),
        {
            "sentiment": value,
            "happy": happy,
            "mood": np.sign(value) + 1,
            "length": np.array([float(len(sequence.words)) for sequence in sequences]),
        },
        (SENTIMENT, HAPPY, MOOD, LENGTH),
        FEATURES,
        "made up",
    )


TARGETS = (SENTIMENT, HAPPY, MOOD, LENGTH)
# What a model of all four kinds of label in `make_examples` is built with.
ALL_KINDS = {
    "inputs": {"language": 3, "acoustic": 1},
    "hidden": HIDDEN,
    "outputs": 7,
    "classes": (0, 2, 3, 0),
}


def make_examples(count: int) -> tuple[Scaler, list[Example]]:
    """The corpus, scaled, with a label of every kind (``TARGETS``)."""
    sequences, labels, _ = make_corpus(count)
    scaler = fit_scaler(sequences, COLUMNS)
    rows = [[y[0], float(y[0] > 0), 1 + (y[0] > 0) - (y[0] < 0), 3.0] for y in labels]
    return scaler, [scaler(*pair) for pair in zip(sequences, rows, strict=True)]


def keep_and_load(name: str, config: dict, ensemble: Ensemble, folder: Path) -> Ensemble:
    """A model of ``TARGETS`` as it comes back from its checkpoint."""
    manifest, _ = make_untrained()
    manifest = replace(manifest, model=name, config=config, labels=TARGETS, members=1)
    save_checkpoint(manifest, ensemble, folder)
    return load_checkpoint(folder).ensemble
