"""How far are the aligner's word times from those that people set by hand?

    python benchmarks/word_times.py FOLDER

reads every ``NAME.wav`` with ``NAME.words.json`` beside it (a list of ``{"word", "start", "end"}``
in seconds), aligns the words to the sound, and prints errors a file and in total. By default the
folder is ``speech`` in the developers' shared data.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from extractors.align_pocketsphinx import Sphinx
from extractors.types import Audio, Segment, Transcript

SHARED = Path(os.environ.get("RMFN_SHARED", Path(__file__).resolve().parents[2] / "shared"))


@dataclass(frozen=True)
class Errors:
    """Signed errors in seconds, aligned minus by hand; [N] each."""

    starts: NDArray[np.float64]
    ends: NDArray[np.float64]
    scores: NDArray[np.float64]

    def describe(self) -> str:
        start, end = np.abs(self.starts) * 1000, np.abs(self.ends) * 1000
        return (
            f"{len(start):5d} {np.median(start):8.1f} {np.mean(self.starts) * 1000:+8.1f} "
            f"{np.mean(start <= 20):8.1%} {np.mean(start <= 50):8.1%} {start.max():8.1f} "
            f"{np.median(end):8.1f} {np.mean(end <= 50):8.1%} {np.nanmedian(self.scores):8.2f}"
        )


def read_wav(path: Path) -> Audio:
    """The first channel of a sound file."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler("flt", "mono", stream.rate)
        frames = [f for packet in container.decode(stream) for f in resampler.resample(packet)]
        frames += resampler.resample(None)
        samples = np.concatenate([frame.to_ndarray()[0] for frame in frames])
        return Audio(samples.astype(np.float32), stream.rate)


def measure(aligner: Sphinx, sound: Path) -> Errors:
    """Align one file with its own words."""
    by_hand = json.loads(sound.with_suffix(".words.json").read_text())
    text = " ".join(word["word"] for word in by_hand)
    words = aligner(read_wav(sound), Transcript((Segment(text),)))
    return Errors(
        np.array([w.start - h["start"] for w, h in zip(words, by_hand, strict=True)]),
        np.array([w.end - h["end"] for w, h in zip(words, by_hand, strict=True)]),
        np.array([np.nan if w.score is None else w.score for w in words]),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=SHARED / "speech")
    folder = parser.parse_args().folder
    sounds = sorted(s for s in folder.glob("*.wav") if s.with_suffix(".words.json").exists())
    if not sounds:
        parser.error(f"{folder}: no NAME.wav with NAME.words.json")
    aligner = Sphinx()
    measure(aligner, sounds[0])  # loads the model
    print(f"{'':20} {'':>5} {'---------------- start (ms)':->44} {'------- end':->17}")
    print(
        f"{'file':20} {'words':>5} {'median':>8} {'bias':>8} {'<=20':>8} {'<=50':>8} {'worst':>8} "
        f"{'median':>8} {'<=50':>8} {'score':>8}"
    )
    results, seconds, began = [], 0.0, time.process_time()
    for sound in sounds:
        results.append(measure(aligner, sound))
        seconds += read_wav(sound).duration
        print(f"{sound.stem[:20]:20} {results[-1].describe()}")
    spent = time.process_time() - began
    total = Errors(
        *(np.concatenate([getattr(r, n) for r in results]) for n in ("starts", "ends", "scores"))
    )
    print(f"{'all':20} {total.describe()}")
    print(
        f"{seconds:.1f} s of sound in {spent:.1f} s of CPU: {seconds / spent:.1f} times real time"
    )


if __name__ == "__main__":
    main()
