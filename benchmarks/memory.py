"""Peak memory of `rmfn predict` on a short and a long clip.

python -m benchmarks.memory [--minutes 1 10]
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from pathlib import Path
from subprocess import DEVNULL

import psutil

from benchmarks.made_clips import make_talk

ROOT = Path(__file__).resolve().parent.parent


def measure_peak(clip: Path) -> float:
    """Peak of the resident memory of a fresh `rmfn predict` and its children together, in MB.

    Sampled ten times a second; pages that they share are counted once for each.
    """
    command = [sys.executable, "-m", "flows.cli", "predict", str(clip)]
    process = psutil.Popen(command, stdout=DEVNULL, stderr=DEVNULL, cwd=ROOT)
    peak = 0
    while process.poll() is None:
        total = 0
        for each in [process, *_children(process)]:
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended meanwhile
                total += each.memory_info().rss
        peak = max(peak, total)
        time.sleep(0.1)
    if process.returncode:
        raise RuntimeError(f"rmfn predict ended with status {process.returncode}")
    return peak / 2**20


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, nargs="+", default=[1.0, 10.0])
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        for minutes in parser.parse_args().minutes:
            clip = make_talk(Path(folder) / f"{minutes:g}.mp4", 60 * minutes)
            peaks.append(measure_peak(clip))
            print(f"{minutes:g} min of 720p: peak {peaks[-1]:.0f} MB", flush=True)
    print(f"growth: {peaks[-1] - peaks[0]:.0f} MB")


if __name__ == "__main__":
    main()
