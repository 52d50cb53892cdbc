"""Peak memory of `rmfn predict` on a short and a long clip.

python -m benchmarks.memory [--minutes 1 10]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.made_clips import make_talk

ROOT = Path(__file__).resolve().parent.parent


def measure_peak(clip: Path) -> float:
    """Peak resident set of a fresh `rmfn predict`, in MB."""
    code = (
        "import resource, sys; from flows.cli import main; main(sys.argv[1:]);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    arguments = [sys.executable, "-c", code, "predict", str(clip)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, cwd=ROOT)
    return float(done.stdout.splitlines()[-1])


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
