"""Where a sentiment model errs: its error on kinds of segments that it had not seen.

    python -m benchmarks.slices FOLDER

``FOLDER`` is a model that ``rmfn train`` made: ``run/unseen.json`` there keeps what its
cross-validation predicted (without folds, what was predicted of "valid" or "test"). A sign is that
of "at least 0", as A2 counts it; a segment is neutral if its label is within half a step of 0.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rmfn.runs import RUN, UNSEEN
from rmfn.segments import Segments, load_segments

# Besides what ends in "n't".
NEGATING = {
    *("no", "not", "never", "nothing", "nobody", "none", "neither", "nor", "nowhere", "without"),
    *("cannot", "cant", "dont", "didnt", "doesnt", "isnt", "wasnt", "couldnt", "wont", "wouldnt"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    found = load_segments(parser.parse_args().folder / RUN / UNSEEN)
    if not found:
        raise SystemExit("there is no run/unseen.json: rmfn train writes it")
    segments = next(iter(found.values()))  # the cross-validation, if there is one
    print(f"{segments.how}: {len(segments)} segments\n")
    print("| segments | n | MAE | sign right | mean label | mean abs. prediction |")
    print("|---|---|---|---|---|---|")
    for name, chosen in slice_segments(segments).items():
        print(f"| {name} | " + " | ".join(measure(segments, chosen)) + " |")


def slice_segments(segments: Segments) -> dict[str, NDArray[np.bool_]]:
    """{kind: which segments are of it [n]}."""
    label = segments.labels[:, 0]
    negating = np.array([is_negating(text) for text in segments.texts])
    words = segments.words
    return {
        "all": np.ones(len(label), bool),
        "with a negating word": negating,
        "without": ~negating,
        "neutral, label within ±0.5": abs(label) <= 0.5,
        "label 2 or more": label >= 2,
        "label -2 or less": label <= -2,
        "up to 8 words": words <= 8,
        "9 to 14 words": (words > 8) & (words <= 14),
        "more than 14 words": words > 14,
    }


def is_negating(text: str) -> bool:
    """Whether one of its words negates."""
    words = (word.strip(".,!?;:\"()'").casefold() for word in text.split())
    return any(word in NEGATING or word.endswith("n't") for word in words)


def measure(segments: Segments, chosen: NDArray[np.bool_]) -> list[str]:
    """How many, their mean absolute error, right signs, labels, sizes of predictions."""
    label, said = segments.labels[chosen, 0], segments.predicted[chosen, 0]
    if not len(label):
        return ["0", "-", "-", "-", "-"]
    right = ((said >= 0) == (label >= 0)).mean()
    means = abs(said - label).mean(), right, label.mean(), abs(said).mean()
    shown = f"{means[0]:.2f}", f"{means[1]:.0%}", f"{means[2]:+.1f}", f"{means[3]:.1f}"
    return [str(len(label)), *shown]


if __name__ == "__main__":
    main()
