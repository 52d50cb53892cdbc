"""How long a 720p talking clip takes, cold and warm, against its stages one after another.

    python -m benchmarks.end_to_end [--seconds 50] [--repeat 3]

Every cold run is a fresh process, imports and model loading included. One after another are run
the very same stage functions: each in a process of its own, with its own imports, as tools are that
do one stage each; all in one process, which imports what they share once; and the same on a single
core, where nothing at all goes side by side (the face's stage alone uses two). The kinds alternate,
so that a busy machine slows each.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from extractors.threads import leave_cores_to_stages

ROOT = Path(__file__).resolve().parent.parent


STAGES = ("words", "visual", "acoustic", "predict")


def run_stage(stage: str, clip: str, store: str) -> None:
    """One stage of the flow `predict-video`, which finds the others' results in the store."""
    from flows.run import find_clip_words, predict_clip, track_clip

    if stage == "words":
        find_clip_words(clip, "embedded", store)
    elif stage == "predict":
        predict_clip(clip, store=store)
    else:
        track_clip(clip, stage, "embedded", store)


def run_sequential(clip: str) -> dict[str, float]:
    """One process, one stage after another: what overlapping has to beat."""
    from flows.run import find_model, open_recipe
    from pipeline.assemble import assemble
    from pipeline.clip import open_clip
    from pipeline.clip_run import ClipRun
    from pipeline.process import find_words, track_modality

    run = ClipRun(open_clip(clip), open_recipe("embedded"))
    tracks = {"visual": track_modality(run, "visual"), "acoustic": track_modality(run, "acoustic")}
    processed = assemble(run, find_words(run), tracks)
    started = time.perf_counter()
    from rmfn.predict import Predictor
    from rmfn.predict_clip import predict_utterances

    predictor = Predictor.load(find_model(None))
    predict_utterances(predictor, processed.sequence, processed.utterances)
    return {**run.seconds, "predict": time.perf_counter() - started}


def run_warm(clip: str) -> dict[str, float]:
    """The second of two predictions in one process."""
    from flows.run import predict_clip

    predict_clip(clip)
    started, cpu = time.perf_counter(), _count_cpu()
    record = predict_clip(clip)
    wall = time.perf_counter() - started
    return {**record["seconds"], "wall": wall, "cpu": _count_cpu() - cpu}


def _count_cpu() -> float:
    """CPU seconds that this process and its running children have used."""
    me = psutil.Process()
    times = [each.cpu_times() for each in (me, *me.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def time_process(*arguments: str) -> tuple[float, str]:
    started = time.perf_counter()
    done = subprocess.run([*arguments], capture_output=True, text=True, check=True, cwd=ROOT)
    return time.perf_counter() - started, done.stdout


def measure(folder: Path, seconds: float, repeat: int) -> None:
    """Make the clip, time every kind of run, and print what came out."""
    from benchmarks.made_clips import make_talk
    from pipeline.clip import open_clip

    clip = str(make_talk(folder / "talk.mp4", seconds))
    length = open_clip(clip).duration
    me = (sys.executable, "-m", "benchmarks.end_to_end", "--clip", clip, "--child")
    rmfn = (sys.executable, "-m", "flows.cli", "predict", clip, "--json", "-")
    cold, apart, together, stages, single = [], [], [], [], []
    for turn in range(repeat):
        cold.append(time_process(*rmfn)[0])
        kept = ("--store", str(folder / f"store{turn}"))
        apart.append([time_process(*me, stage, *kept)[0] for stage in STAGES])
        wall, printed = time_process(*me, "sequential")
        together.append(wall)
        stages.append(json.loads(printed.splitlines()[-1]))
        single.append(time_process(*me, "single")[0])
    warm = json.loads(time_process(*me, "warm")[1].splitlines()[-1])
    print(f"clip: {length:.1f} s, 1280 x 720, 30 frames a second; {repeat} runs each")
    print("\n| stage | cold, all in one process [s] | warm, side by side [s] |\n|---|---|---|")
    for stage in stages[0]:
        alone = statistics.median(run[stage] for run in stages)
        print(f"| {stage} | {alone:.1f} | {warm.get(stage, 0.0):.1f} |")
    one = statistics.median(cold)
    print(f"\ncold `rmfn predict`: {one:.1f} s; runs: {[round(value, 1) for value in cold]}\n")
    print("| one after another, cold | median [s] | `rmfn predict` / that | runs [s] |")
    print("|---|---|---|---|")
    for kind, runs in (
        ("each stage in a process of its own", [sum(run) for run in apart]),
        ("all in one process", together),
        ("all in one process on one core", single),
    ):
        middle = statistics.median(runs)
        listed = ", ".join(f"{value:.1f}" for value in runs)
        print(f"| {kind} | {middle:.1f} | {one / middle:.2f} | {listed} |")
    medians = [statistics.median(column) for column in zip(*apart, strict=True)]
    each = ", ".join(f"{stage} {it:.1f}" for stage, it in zip(STAGES, medians, strict=True))
    print(f"\nin a process of its own [s]: {each}")
    print(
        f"warm: {warm['wall']:.1f} s = {length / warm['wall']:.2f} times faster than real time, "
        f"{warm['cpu'] / length:.2f} CPU seconds a second"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=50.0)
    parser.add_argument("--repeat", type=int, default=3)
    kinds = (*STAGES, "sequential", "single", "warm")
    parser.add_argument("--child", choices=kinds, help=argparse.SUPPRESS)
    parser.add_argument("--clip", help=argparse.SUPPRESS)
    parser.add_argument("--store", help=argparse.SUPPRESS)
    options = parser.parse_args()
    leave_cores_to_stages()
    if options.child in STAGES:
        run_stage(options.child, options.clip, options.store)
        return
    if options.child:
        if options.child == "single":
            psutil.Process().cpu_affinity([0])  # children inherit it
        run = run_warm if options.child == "warm" else run_sequential
        print(json.dumps(run(options.clip)))
        return
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), options.seconds, options.repeat)


if __name__ == "__main__":
    main()
