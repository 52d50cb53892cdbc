"""Who can answer across modalities: R^2 on new sequences of ``rmfn.learnability``'s task.

    python -m benchmarks.learnability [--seeds 3] [--steps 800]

Every model sees the same sequences in the same order. 1 is a right answer to all, 1/N the most that
averages over words allow.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace

import torch

from rmfn.learnability import Study, Task, cut_z, explained, explained_by_averages, learn

MODELS = (
    *("rmfn", "rmfn-literal", "rmfn-r1", "rmfn-no-highlight", "rmfn-no-mfp"),
    *("marn", "mfn", "ef-lstm"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=Study.steps)
    options = parser.parse_args()
    torch.set_num_threads(1)
    task, study = Task(), replace(Study(), steps=options.steps)
    print(f"{task.words[0]} to {task.words[1]} words, gap {task.gap}, {study.steps} steps")
    print(f"{'averages, at best':20}{explained_by_averages(task):7.3f}")
    for name in options.models:
        start = time.process_time()
        found, deaf = [], []
        for seed in range(options.seeds):
            model = learn(name, task, study, seed)
            found.append(explained(model, task))
            if name == "rmfn":
                cut_z(model)
                deaf.append(explained(model, task))
        spent = (time.process_time() - start) / options.seeds
        show(name, found, f"   {spent:.0f} s each")
        if deaf:
            show("  its z cut", deaf)


def show(name: str, values: list[float], after: str = "") -> None:
    each = "  ".join(f"{value:6.3f}" for value in values)
    print(f"{name:20}{statistics.mean(values):7.3f}   seeds: {each}{after}", flush=True)


if __name__ == "__main__":
    main()
