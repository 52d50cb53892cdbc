"""Broken media through the pipeline: each must end in a result or in one of the typed errors.

python -m benchmarks.fuzz [--cases 5000] [--seed 1] [--workers 1] [--timeout 60] [--memory 2000]
                          [--minutes 15]            as many of them as can be begun in that time
python -m benchmarks.fuzz --seed 1 --case 1234      one of them again, its file being kept
python -m benchmarks.fuzz --batch 60                some through `rmfn batch`, with real models

A case is a damage and a random generator, both told by seed and number. It goes the way of every
clip (`pipeline.process.process_clip`, all frames and all sound decoded), with backends that cost
nothing. Whatever else happens counts as failed: any other error, a process that dies, more time or
memory than allowed, a file or an open descriptor that is left behind.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from random import Random
from typing import Any

import av
import numpy as np
import psutil

from benchmarks import broken_media, odd_media
from benchmarks.broken_media import Goods, make_goods
from extractors import BACKENDS, Backend
from extractors.types import Audio, FeatureTrack, Frame, Segment, Transcript
from pipeline.assemble import assemble
from pipeline.children import list_children
from pipeline.clip import open_clip
from pipeline.clip_run import ClipRun
from pipeline.container import sniff_media
from pipeline.errors import ClipError
from pipeline.isolation import Done, run_isolated
from pipeline.process import find_words, process_clip, track_modality
from pipeline.recipe import build_recipe
from pipeline.scratch import share_scratch
from pipeline.stills import read_stills
from tests import toy_batch  # noqa: F401 (its backends are in the tables)

ROOT = Path(__file__).resolve().parent.parent
KINDS: tuple[Callable[[Random, Goods, Path], Path], ...] = (
    broken_media.cut_at_part, broken_media.cut_anywhere, broken_media.flip_bytes,
    broken_media.flip_header, broken_media.move_blocks, broken_media.lie_size,
    broken_media.lie_fields, broken_media.lie_duration, broken_media.lie_rate,
    broken_media.break_stamps, odd_media.size_pictures, broken_media.claim_size,
    odd_media.vary_sound, odd_media.differ_in_length, odd_media.odd_pictures,
    odd_media.odd_streams, odd_media.stills, odd_media.documents, odd_media.no_files,
    odd_media.names,
)  # fmt: skip
TIMEOUT, MEMORY = 60.0, 2000.0  # s; MB resident of a worker and its children together
FENCE = 12 << 30  # bytes of addresses a process may ask for, so that the machine survives
RESULT, WARNED = "result", "with warnings"
# What the record of a batch says of a clip for which there is no typed error.
UNTYPED = re.compile(r"\w+(\.\w+)*(Error|Exception)?: |its process died|it took longer|Traceback")


@dataclass(frozen=True)
class Hears:
    """Three words, whatever the sound is."""

    def __call__(self, audio: Audio) -> Transcript:
        return Transcript((Segment("three words only"),))


@dataclass(frozen=True)
class Sees:
    """How light each picture is."""

    names: tuple[str, ...] = ("fuzz.light",)

    def __call__(self, frames: Iterable[Frame]) -> FeatureTrack:
        rows = [(frame.time, frame.image.mean()) for frame in frames]
        values = np.array([[light] for _, light in rows], np.float32).reshape(-1, 1)
        return FeatureTrack(values, np.array([at for at, _ in rows], np.float64), self.names)


for _step, _kind in (("transcribe", "Hears"), ("visual", "Sees")):
    BACKENDS[_step]["fuzz"] = Backend(f"benchmarks.fuzz:{_kind}", ())
RECIPE = build_recipe({
    "name": "fuzz", "transcribe": {"backend": "fuzz"}, "align": {"backend": "toy", "step": 0.3},
    "language": [{"backend": "toy"}], "visual": [{"backend": "fuzz"}],
    "acoustic": [{"backend": "toy"}],
})  # fmt: skip


@dataclass(frozen=True)
class Case:
    """What a worker is asked: to make a file in a folder of ``home`` and to put it through."""

    seed: int
    number: int
    home: str
    memory: float = MEMORY

    @property
    def kind(self) -> str:
        return KINDS[self.number % len(KINDS)].__name__.replace("_", " ")

    @property
    def command(self) -> str:
        return f"python -m benchmarks.fuzz --seed {self.seed} --case {self.number}"


@dataclass
class Tally:
    """What came of the cases of one kind."""

    cases: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    largest: float = 0.0


def make_case(case: Case) -> Path:
    """The broken file of a case."""
    folder = Path(case.home) / f"case-{case.number}"
    folder.mkdir()
    make, rng = KINDS[case.number % len(KINDS)], Random(f"{case.seed}-{case.number}")
    try:
        return make(rng, _read_goods(case.home), folder)
    except av.FFmpegError:  # a container that cannot be closed properly is a broken one
        return next(folder.iterdir(), folder / "nothing")


@lru_cache(maxsize=1)
def _read_goods(home: str) -> Goods:
    return {path.name[5:]: path.read_bytes() for path in sorted(Path(home).glob("good.*"))}


def try_case(case: Case) -> dict[str, Any]:
    """Make the file, put it through, see what is left behind. Returns outcome and peak memory."""
    _prepare_worker()
    path = make_case(case)
    before = _list_open()
    for process in _family():
        with suppress(OSError):
            Path(f"/proc/{process}/clear_refs").write_text("5")  # the peak counts from now
    outcome, detail = _put_through(path, as_one=case.number % 50 == 0)
    gc.collect()
    peak = sum(map(_read_peak, _family())) / 2**20
    shutil.rmtree(path.parent if path.parent.is_dir() else path.parent.parent)
    if peak > case.memory:
        outcome, detail = f"more than {case.memory:.0f} MB", f"{peak:.0f} MB; {detail}"
    if left := _list_left():
        outcome, detail = "files left", ", ".join(left)
    if len(after := _list_open()) > len(before):
        outcome, detail = "left open", f"{sorted(after - before)}"
    return {"outcome": outcome, "detail": detail, "peak": peak}


def _put_through(path: Path, as_one: bool) -> tuple[str, str]:
    """All stages of a clip, or one after another: then one that fails does not end the others,
    whose processes need not be started anew, and the pictures of silent films are looked at."""
    try:
        if path.is_file():
            sniff_media(path)
        if as_one:
            processed = process_clip(path, RECIPE)
        else:
            run = ClipRun(open_clip(path), RECIPE)
            read_stills(run.clip, [0.0, run.clip.duration / 2, run.clip.duration])
            tracks = {name: track_modality(run, name) for name in ("visual", "acoustic")}
            processed = assemble(run, find_words(run), tracks)
    except ClipError as error:
        crashed = "crashed" in str(error)
        return "crash" if crashed else type(error).__name__, str(error)
    except Exception as error:
        return f"defect: {type(error).__name__}", traceback.format_exc()
    json.dumps(processed.quality.to_json(), allow_nan=False, default=float)
    warnings = processed.quality.warnings
    return (WARNED if warnings else RESULT), "; ".join(warnings)


@lru_cache(maxsize=1)
def _prepare_worker() -> None:
    """A folder of its own for temporary files, and no more addresses than there is room for."""
    resource.setrlimit(resource.RLIMIT_AS, (FENCE, FENCE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.environ["TMPDIR"] = tempfile.tempdir = tempfile.mkdtemp()
    gc.freeze()  # what is imported need not be gone through after every stage of every case


def _family() -> list[int]:
    return [os.getpid(), *(each.pid for each in psutil.Process().children())]


def _read_peak(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM")), 0)


def _list_left() -> set[str]:
    """Temporary files, those of the children that wait left out."""
    kept = {Path(child.folder.name).name for child in list_children()}
    return set(os.listdir(tempfile.gettempdir())) - kept


def _list_open() -> set[str]:
    """What is open, the pipes and files of the children that wait left out."""
    theirs = {
        str(pipe.fileno())
        for child in list_children()
        for pipe in (child.process.stdin, child.process.stdout, child.errors)
    }
    found = set(os.listdir("/proc/self/fd")) - theirs
    return {name for name in found if os.path.lexists(f"/proc/self/fd/{name}")}


def run_cases(
    numbers: Iterable[int],
    seed: int = 1,
    workers: int = 1,
    timeout: float = TIMEOUT,
    memory: float = MEMORY,
    on_failure: Callable[[Case, str, str], None] = lambda case, outcome, detail: None,
    work: Callable[[Case], dict[str, Any]] = try_case,
) -> dict[str, Tally]:
    """Make and try cases in processes that may die. Returns what came of each kind.

    Parameters
    ----------
    on_failure : told of each that ends in neither a result nor a typed error.
    """
    tallies = {kind.__name__.replace("_", " "): Tally() for kind in KINDS}

    def take(done: Done) -> None:
        found = done.result or {"outcome": "died or hung", "detail": done.failed, "peak": 0.0}
        tally = tallies[done.task.kind]
        tally.cases += 1
        tally.outcomes[found["outcome"]] += 1
        tally.slowest = max(tally.slowest, done.seconds)
        tally.largest = max(tally.largest, found["peak"])
        if found["outcome"] not in (RESULT, WARNED, *list_typed()):
            on_failure(done.task, found["outcome"], found["detail"])

    with share_scratch() as scratch:
        make_goods(scratch)
        cases = (Case(seed, number, str(scratch), memory) for number in numbers)
        run_isolated(work, cases, workers, take, limit=lambda case: timeout)
    return tallies


def list_typed() -> list[str]:
    """The errors that say what is wrong with a clip."""
    return [ClipError.__name__, *(error.__name__ for error in ClipError.__subclasses__())]


def format_table(tallies: dict[str, Tally]) -> str:
    """Markdown: a row a kind of damage, and one for all."""
    whole = Tally()
    for tally in tallies.values():
        whole.cases += tally.cases
        whole.outcomes += tally.outcomes
        whole.slowest = max(whole.slowest, tally.slowest)
        whole.largest = max(whole.largest, tally.largest)
    order = [RESULT, WARNED, *list_typed()]
    columns = sorted(whole.outcomes, key=lambda each: (each not in order, each))
    head = ["damage", "cases", *columns, "slowest [s]", "largest [MB]"]
    lines = [head, ["---"] * len(head)]
    for kind, tally in {**tallies, "**all**": whole}.items():
        counts = [str(tally.outcomes[column] or "") for column in columns]
        found = [f"{tally.slowest:.1f}", f"{tally.largest:.0f}"]
        lines.append([kind, str(tally.cases), *counts, *found])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def run_batch(count: int, seed: int = 1, recipe: str = "embedded") -> dict[str, Any]:
    """Some cases in one folder through the command ``rmfn batch``, models and all.

    Returns
    -------
    ``files``, ``done``, ``failed`` (their reasons), ``defects`` (reasons that no typed error gives,
    and whatever the command did wrong), ``seconds``.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rmfn-fuzz-") as name:
        home, scratch = Path(name), Path(name) / "tmp"
        scratch.mkdir()
        make_goods(home)
        for number in range(count):
            make_case(Case(seed, number, str(home)))
        videos = home / "videos"
        videos.mkdir()
        for folder in home.glob("case-*"):
            folder.rename(videos / folder.name)
        report = home / "report.json"
        command = [sys.executable, "-m", "flows.cli", "batch", str(videos), "--recipe", recipe,
                   "--store", str(home / "store"), "--json", str(report)]  # fmt: skip
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, "TMPDIR": str(scratch)}, capture_output=True,
            timeout=60 + 30 * count, check=False,
        )  # fmt: skip
        said = (done.stdout + done.stderr).decode(errors="replace")
        clips = json.loads(report.read_bytes())["clips"] if report.exists() else []
        failed = [clip["reason"] for clip in clips if clip["status"] == "failed"]
        defects = [reason for reason in failed if UNTYPED.match(reason)]
        if done.returncode not in (0, 1) or "Traceback" in said or not clips:
            defects.append(f"rmfn batch ended with status {done.returncode}: {said[-2000:]}")
        defects += [f"left behind: {left}" for left in os.listdir(scratch)]
        counts = {"files": len(clips), "done": len(clips) - len(failed)}
        return {
            **counts,
            "failed": failed,
            "defects": defects,
            "seconds": time.monotonic() - started,
        }


def show_case(seed: int, number: int) -> bool:
    """One case again, in full; its file is kept. Returns whether it went well."""
    home = tempfile.mkdtemp(prefix="rmfn-fuzz-")
    make_goods(Path(home))
    print(f"{Case(seed, number, home).kind}: {make_case(Case(seed, number, home))}")
    seen: list[str] = []
    run_cases([number], seed, on_failure=lambda *found: seen.extend(map(str, found)))
    print("\n".join(seen) or "it ends in a result or a typed error")
    return not seen


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=math.inf, help="no case begins later")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=TIMEOUT, help="s a case")
    parser.add_argument("--memory", type=float, default=MEMORY, help="MB, of all its processes")
    parser.add_argument("--case", type=int, help="this one again, and keep its file")
    parser.add_argument("--batch", type=int, metavar="N", help="N cases through rmfn batch")
    options = parser.parse_args()
    if options.case is not None:
        return int(not show_case(options.seed, options.case))
    if options.batch is not None:
        found = run_batch(options.batch, options.seed)
        print(json.dumps(found, indent=1, ensure_ascii=False))
        return int(bool(found["defects"]))
    failures = 0

    def tell(case: Case, outcome: str, detail: str) -> None:
        nonlocal failures
        failures += 1
        print(f"FAILED {case.kind}: {outcome}: {detail}\n  {case.command}", flush=True)

    started = time.monotonic()
    begun = takewhile(
        lambda _: time.monotonic() - started < 60 * options.minutes, range(options.cases)
    )
    tallies = run_cases(begun, options.seed, options.workers, options.timeout, options.memory, tell)
    cases = sum(tally.cases for tally in tallies.values())
    print(format_table(tallies))
    print(f"\n{cases} cases, {failures} failed, {time.monotonic() - started:.0f} s")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
