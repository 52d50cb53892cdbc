"""How fast a folder of 720p talking clips goes through `rmfn batch --predict`, and what bounds it.

    python -m benchmarks.batch [--clips 8] [--seconds 30] [--workers 1 2]
    python -m benchmarks.batch --long [120]  peak memory of a worker: 1 minute of video and so many

The bound is what the models alone cost, their input lying ready: no decoding, no pooling, no files.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.made_clips import join_clips, make_talk
from extractors.threads import leave_cores_to_stages

ROOT = Path(__file__).resolve().parent.parent
ENTRIES = 10_000
FRAMES_SECONDS = 10  # of pictures lie ready in memory


class Tree:
    """CPU seconds and memory of this process's descendants, sampled; those that ended count on."""

    def __init__(self) -> None:
        self.cpu: dict[tuple[int, float], float] = {}
        self.peak = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(0.5):
            self.sample()

    def sample(self) -> float:
        """CPU seconds until now."""
        memory = 0
        for each in psutil.Process().children(recursive=True):
            try:
                times, memory_info = each.cpu_times(), each.memory_info()
                self.cpu[each.pid, each.create_time()] = times.user + times.system
            except psutil.NoSuchProcess:
                continue
            memory += memory_info.rss
        self.peak = max(self.peak, memory)
        return sum(self.cpu.values())

    def end(self) -> None:
        self._over.set()
        self._thread.join()


def run_warm(folder: str, store: str, workers: int) -> dict[str, float]:
    """One batch; timed from when every worker has finished a clip (models loaded) to the end."""
    from flows.batch import Asked, run_batch
    from flows.run import find_model

    tree, marks = Tree(), []

    def tell(told: Any) -> None:
        if told.record is not None:
            marks.append((time.perf_counter(), tree.sample(), told.record["duration"]))

    asked = Asked("embedded", store, str(find_model(None)))
    started = time.perf_counter()
    report = run_batch([folder], asked, workers=workers, on_told=tell)
    wall = time.perf_counter() - started
    tree.end()
    assert all(clip["status"] == "done" for clip in report["clips"]), report
    first, last = marks[workers - 1], marks[-1]
    length = sum(mark[2] for mark in marks[workers:])
    started = time.perf_counter()
    again = run_batch([folder], asked, workers=workers)
    return {
        "whole": wall,
        "speed": length / (last[0] - first[0]),
        "cpu": (last[1] - first[1]) / length,
        "peak": tree.peak / 2**20,
        "finished": statistics.mean(clip["seconds"] for clip in again["clips"]),
        "again": time.perf_counter() - started,
    }


def run_alone(folder: str, store: str) -> dict[str, float]:
    """The one clip of a folder by one worker: the largest memory of it and its children together,
    and how many times faster than it lasts it was, imports included."""
    from flows.batch import Asked, run_batch
    from flows.run import find_model

    tree = Tree()
    report = run_batch([folder], Asked("embedded", store, str(find_model(None))), workers=1)
    tree.end()
    (clip,) = report["clips"]
    assert clip["status"] == "done", clip
    return {"peak": tree.peak / 2**20, "speed": clip["duration"] / report["seconds"]}


def measure_stages(clip: str) -> dict[str, float]:
    """CPU seconds a second of video: every stage as it is, then the models with their input ready.

    The second of two runs, with everything loaded.
    """
    measure_once(clip)
    return measure_once(clip)


def measure_once(clip: str) -> dict[str, float]:
    from flows.run import _load_predictor, find_model, identify_model, open_recipe
    from pipeline.assemble import assemble
    from pipeline.clip import open_clip
    from pipeline.clip_run import ClipRun
    from pipeline.media import read_frames
    from pipeline.process import find_words, track_modality
    from rmfn.predict_clip import predict_utterances

    spent: dict[str, float] = {}

    @contextmanager
    def count(name: str) -> Iterator[None]:
        before = _count_cpu()
        yield
        spent[name] = (_count_cpu() - before) / run.clip.duration

    recipe, model = open_recipe("embedded"), find_model(None)
    run, tracks = ClipRun(open_clip(clip), recipe), {}
    with count("decode sound"):
        audio = run.decode_sound().audio
    for modality in ("visual", "acoustic"):
        with count(modality):
            tracks[modality] = track_modality(run, modality)
    with count("transcribe, align"):
        words = find_words(run)
    with count("language, pooling"):
        processed = assemble(run, words, tracks)
    predictor = _load_predictor(model, identify_model(model))
    with count("predict"):
        predict_utterances(predictor, processed.sequence, processed.utterances)

    with count("model: transcribe"):
        said = recipe.transcribe(audio)
    with count("model: align"):
        recipe.align(audio, said)
    with count("model: acoustic"):
        recipe.acoustic[0](audio)
    frames = [frame for frame in read_frames(run.clip) if frame.time < FRAMES_SECONDS]
    with count("model: visual"):
        recipe.visual[0](iter(frames))
    spent["model: visual"] *= run.clip.duration / FRAMES_SECONDS
    return spent


def _count_cpu() -> float:
    me = psutil.Process()
    times = [each.cpu_times() for each in (me, *me.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def measure_listing(folder: Path, clip: Path) -> tuple[float, float]:
    """Seconds to list 10,000 small made files, and to list them again."""
    from pipeline.folder import FileIndex, find_media

    content = clip.read_bytes()
    for number in range(ENTRIES):
        file = folder / "many" / f"{number % 100:02d}" / f"{number}"
        file.parent.mkdir(parents=True, exist_ok=True)
        # Half are clips, each of its own bytes, the others texts and tables.
        other = (b"PAR1" + bytes(200), b"a text\n")[number % 2]
        file.write_bytes(content + b"%d" % number if number % 4 < 2 else other)
    time.sleep(2.5)  # what was just changed is not trusted next time
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        index = FileIndex(folder / "files.json")
        found, _ = find_media([folder / "many"], index)
        index.save()
        seconds.append(time.perf_counter() - started)
        assert len(found) == ENTRIES // 2
    return seconds[0], seconds[1]


def measure_long(folder: Path, long: int) -> None:
    """Peak memory of a worker and its processes, for a short clip and a very long one."""
    minute = make_talk(folder / "minute.mp4", 60)
    for minutes in (1, long):
        own = folder / f"{minutes}"
        own.mkdir()
        join_clips(minute, own / "talk.mp4", minutes)
        found = _ask("alone", "--folder", str(own), "--store", str(folder / f"s{minutes}"))
        print(
            f"{minutes} min of 720p: peak of one worker {found['peak']:.0f} MB, "
            f"{found['speed']:.2f} times real time",
            flush=True,
        )


def _ask(child: str, *arguments: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.batch", "--child", child, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument(
        "--long",
        type=int,
        nargs="?",
        const=120,
        metavar="MINUTES",
        help="only the memory of a clip of so many minutes (120)",
    )
    for name in ("--child", "--folder", "--store"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    options = parser.parse_args()
    leave_cores_to_stages()
    if options.child == "warm":
        print(json.dumps(run_warm(options.folder, options.store, options.workers[0])))
        return
    if options.child == "alone":
        print(json.dumps(run_alone(options.folder, options.store)))
        return
    if options.child == "stages":
        print(json.dumps(measure_stages(options.folder)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.long:
            measure_long(folder, options.long)
            return
        talk = make_talk(folder / "talk.mp4", options.seconds)
        (folder / "clips").mkdir()
        for number in range(options.clips):
            join_clips(talk, folder / "clips" / f"{number}.mp4", title=f"clip {number}")
        stages = _ask("stages", "--folder", str(talk))
        print("| stage | CPU seconds a second of video |\n|---|---|")
        for stage, seconds in stages.items():
            print(f"| {stage} | {seconds:.3f} |")
        models = sum(seconds for stage, seconds in stages.items() if stage.startswith("model: "))
        cores = len(os.sched_getaffinity(0))
        bound = cores / models
        print(f"| the models alone | {models:.3f} |")
        print(f"\nbound of {cores} cores by the models alone: {bound:.2f} times real time\n")
        print(
            "| workers | times real time | CPU seconds a second | bound / speed "
            "| the whole run [s] | peak of all [MB] | a finished clip [ms] |\n"
            "|---|---|---|---|---|---|---|"
        )
        for workers in options.workers:
            found = _ask(
                *(
                    "warm",
                    "--folder",
                    str(folder / "clips"),
                    "--store",
                    str(folder / f"s{workers}"),
                ),
                *("--workers", str(workers)),
            )
            print(
                f"| {workers} | {found['speed']:.2f} | {found['cpu']:.3f} | "
                f"{bound / found['speed']:.2f} | {found['whole']:.1f} | {found['peak']:.0f} | "
                f"{1000 * found['finished']:.2f} |",
                flush=True,
            )
        small = make_talk(folder / "small.mp4", 0.5, 64, 48)
        first, again = measure_listing(folder, small)
    print(f"\nlisting {ENTRIES} files: {first:.1f} s, again {again:.2f} s")


if __name__ == "__main__":
    main()
