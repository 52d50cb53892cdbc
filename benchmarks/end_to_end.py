"""How long a 720p talking clip takes, cold and warm, against its stages one after another.

    python -m benchmarks.end_to_end [--seconds 50] [--repeat 3]

Every cold run is a fresh process, imports and model loading included. "Sequential" runs the very
same stage functions one after another, on all cores (the face's stage uses two by itself) and on a
single one, where nothing at all goes side by side. The kinds alternate, so that a busy machine
slows each.
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=50.0)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--child", choices=("sequential", "single", "warm"), help=argparse.SUPPRESS)
    parser.add_argument("--clip", help=argparse.SUPPRESS)
    options = parser.parse_args()
    leave_cores_to_stages()
    if options.child:
        if options.child == "single":
            psutil.Process().cpu_affinity([0])  # children inherit it
        run = run_warm if options.child == "warm" else run_sequential
        print(json.dumps(run(options.clip)))
        return
    from benchmarks.made_clips import make_talk
    from pipeline.clip import open_clip

    with tempfile.TemporaryDirectory() as folder:
        clip = str(make_talk(Path(folder) / "talk.mp4", options.seconds))
        length = open_clip(clip).duration
        me = (sys.executable, "-m", "benchmarks.end_to_end", "--clip", clip, "--child")
        rmfn = (sys.executable, "-m", "flows.cli", "predict", clip, "--json", "-")
        cold, sequential, stages, single = [], [], [], []
        for _ in range(options.repeat):
            cold.append(time_process(*rmfn)[0])
            wall, printed = time_process(*me, "sequential")
            sequential.append(wall)
            stages.append(json.loads(printed.splitlines()[-1]))
            single.append(time_process(*me, "single")[0])
        warm = json.loads(time_process(*me, "warm")[1].splitlines()[-1])
    print(f"clip: {length:.1f} s, 1280 x 720, 30 frames a second; {options.repeat} runs each")
    print("\n| stage | cold, one after another [s] | warm, overlapped [s] |\n|---|---|---|")
    for stage in stages[0]:
        alone = statistics.median(run[stage] for run in stages)
        print(f"| {stage} | {alone:.1f} | {warm.get(stage, 0.0):.1f} |")
    one, other = statistics.median(cold), statistics.median(sequential)
    print(f"| whole process | {other:.1f} | |")
    print(
        f"\ncold `rmfn predict`: {one:.1f} s = {one / other:.2f} of the sequential sum, "
        f"{one / statistics.median(single):.2f} of that on one core"
    )
    for kind, runs in (("cold", cold), ("sequential", sequential), ("on one core", single)):
        print(f"{kind}, runs: {[round(value, 1) for value in runs]}")
    print(
        f"warm: {warm['wall']:.1f} s = {length / warm['wall']:.2f} times faster than real time, "
        f"{warm['cpu'] / length:.2f} CPU seconds a second"
    )


if __name__ == "__main__":
    main()
