"""A data set and a folder of videos whose labels can be learned in a second."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np

from extractors.types import Word
from pipeline.clip import open_clip
from pipeline.clip_run import ClipRun
from pipeline.recipe import load_recipe
from pipeline.store import Store
from rmfn.dataset import Dataset, Target
from rmfn.running import TrainSettings
from rmfn.train_dataset import Plan
from tests.trained import make_corpus

PLAN = Plan(
    hidden={"language": 8, "acoustic": 2},
    model_settings={"fuse": 6, "summary": 5, "head": 8},
    settings=TrainSettings(epochs=3, batch=16, lr=5e-3),
    seeds=(0,),
)
RECIPE = """\
name = "timed"
[transcribe]
backend = "whisperx"
[align]
backend = "pocketsphinx"
[timing]
backend = "timing"
"""
SLOW = 0.5  # seconds a word, of what is labelled -1; the others take half


def make_planted(count: int = 60, seed: int = 0, splits: bool = True, videos: int = 12) -> Dataset:
    """Sentiment is the number of good words less that of bad ones; videos are on one side."""
    sequences, labels, names = make_corpus(count, seed, videos)
    each = sorted(set(names))
    sides = ["train"] * (len(each) - 5) + ["valid"] * 2 + ["test"] * 3
    side = dict(zip(each, sides, strict=True))
    return Dataset(
        "planted",
        tuple(f"{seed}-{n}" for n in range(count)),
        tuple(f"{seed}-{name}" for name in names),
        ("",) * count,
        tuple(side[name] if splits else "" for name in names),
        tuple(sequences),
        {"sentiment": np.array(labels)[:, 0]},
        (Target("sentiment"),),
        {},
        "made for a test",
    )


def make_videos(folder: Path, store: Path, count: int, seed: int = 0) -> Path:
    """Sound files with a labels.csv, their words in the store already; returns the recipe.

    Slow speech is labelled -1, fast speech 1: what word timing tells. Nothing is left to be
    recognised or aligned, so extraction loads no model.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder.parent / "timed.toml"
    file.write_text(RECIPE)
    recipe, kept = load_recipe(file), Store(store)
    random = np.random.default_rng(seed)
    lines = ["video,start,end,mood"]
    for n in range(count):
        path = folder / f"talk{seed}-{n}.wav"
        with wave.open(str(path), "wb") as sound:
            sound.setparams((1, 2, 16000, 0, "NONE", ""))
            sound.writeframes(random.integers(-99, 99, 16000 * 12).astype("<i2").tobytes())
        words, at = [], 0.0
        for turn in range(4):
            mood = random.choice([-1, 1])
            step = SLOW if mood < 0 else SLOW / 2
            lines.append(f"{path.name},{at:.2f},{at + 5 * step:.2f},{mood}")
            for _ in range(5):
                words.append(Word(f"w{turn}", at, at + 0.9 * step, 1.0))
                at += step
        run = ClipRun(open_clip(path), recipe, store=kept)
        kept.put_words(run.clip.id, run.key("transcribe", "align"), words, run.origin)
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return file
