"""How close are the 74 columns to COVAREP's own, and what does each group cost?

    python benchmarks/covarep.py [FOLDER] [--seconds N] [--hour]

reads every ``NAME.npz`` of FOLDER (COVAREP's ``features`` [T, 74] for the signal ``x`` at 16 kHz,
made under Octave; by default ``reference/covarep`` in the developers' shared data), prints a table
of agreement, frame by frame on the 100 Hz grid, and then the CPU time of each group of columns on
one thread. Without the folder only the cost is measured, on a made voice. ``--hour`` measures an
hour of it with noise, and how much more memory than a minute it takes (some minutes of work).
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from threadpoolctl import threadpool_limits

from extractors.acoustic_covarep import (
    Covarep,
    distortion,
    gci,
    glottal,
    pitch,
    pulses,
    sinusoids,
    track,
)
from extractors.types import Audio

SHARED = Path(os.environ.get("RMFN_SHARED", Path(__file__).resolve().parents[2] / "shared"))

COLUMNS = {
    "f0": (0,), "vuv": (1,), "naq": (2,), "qoq": (3,), "h1h2": (4,), "psp": (5,), "mdq": (6,),
    "peakslope": (7,), "rd (v1.4.2)": (8,), "rd_conf (v1.4.2)": (9,), "mcep 0-24": range(11, 36),
    "hmpdm 5-23": range(41, 60), "hmpdm 24": (60,), "hmpdd 0-12": range(61, 74),
}  # fmt: skip

# What is timed: (group, module, function). Functions of one group do not call each other.
TIMED: tuple[tuple[str, ModuleType, str], ...] = (
    ("polarity", pitch, "without_glottal_formant"),
    ("LP residuals (polarity, f0, gci, mdq)", track, "lp_residual"),
    ("f0, vuv", pitch, "harmonic_sums"),
    ("closure instants", gci, "mean_based_signal"),
    ("closure instants", gci, "strongest_sample"),
    ("glottal flow", glottal, "glottal_flow"),
    ("naq, qoq, h1h2, psp", pulses, "voice_quality"),
    ("mdq", track, "maxima_dispersion"),
    ("peakslope", track, "peak_slope"),
    ("sinusoidal frames", track, "frame_spectra"),
    ("sinusoidal frames", sinusoids, "find_harmonics"),
    ("rd, rd_conf", track, "fit_rd"),
    ("mcep", track, "true_envelope"),
    ("mcep", track, "mel_cepstrum"),
    ("hmpdm, hmpdd", distortion, "phase_distortion"),
    ("hmpdm, hmpdd", distortion, "mean_distortion"),
    ("hmpdm, hmpdd", distortion, "deviation_of_distortion"),
)


@contextmanager
def cpu_time_of_groups() -> Iterator[dict[str, float]]:
    """CPU seconds of the functions above while the block runs."""
    spent: dict[str, float] = {}
    originals = [(module, name, getattr(module, name)) for _, module, name in TIMED]

    def timed(group: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                spent[group] = spent.get(group, 0) + time.process_time() - start

        return call

    for (group, _, _), (module, name, function) in zip(TIMED, originals, strict=True):
        setattr(module, name, timed(group, function))
    try:
        yield spent
    finally:
        for module, name, function in originals:
            setattr(module, name, function)


def agree(ours: NDArray[np.floating], theirs: NDArray[np.floating], column: int) -> float:
    """Share of equal frames for voicing, circular for mean phases, correlation for the rest."""
    a, b = ours[:, column].astype(float), np.nan_to_num(theirs[:, column], posinf=0, neginf=0)
    if column == 1:
        return float((a == b).mean())
    if 36 <= column < 61:
        return float(np.abs(np.exp(1j * (a - b)).mean()))
    if a.std() == 0 or b.std() == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def print_agreement(files: list[Path]) -> None:
    """Least agreement of the columns of each group, a file a column; means for HMPDD."""
    tables = {}
    for path in files:
        with np.load(path) as file:
            audio, theirs = Audio(file["x"], 16000), file["features"]
            corrected = file["rd_v141"] if "rd_v141" in file and file["rd_v141"].size else None
        ours = Covarep(rd="v1.4.2")(audio).values
        rows = {name: [agree(ours, theirs, c) for c in cs] for name, cs in COLUMNS.items()}
        if corrected is not None:
            values = Covarep()(audio).values
            rows["rd (corrected)"] = [np.corrcoef(values[:, 8], corrected[:, 0])[0, 1]]
            rows["rd_conf (corrected)"] = [np.corrcoef(values[:, 9], corrected[:, 1])[0, 1]]
        tables[path.stem] = rows
    print(f"{'least agreement (mean)':28s}" + "".join(f"{name:>20s}" for name in tables))
    for group in (*COLUMNS, "rd (corrected)", "rd_conf (corrected)"):
        line = f"{group:28s}"
        for rows in tables.values():
            values = rows.get(group, [float("nan")])
            mean = f" ({np.mean(values):.4f})" if len(values) > 1 else ""
            line += f"{f'{np.min(values):.5f}{mean}':>20s}"
        print(line)


def made_voice(seconds: float) -> NDArray[np.float32]:
    """Vowels of gliding pitch with pauses."""
    n = round(seconds * 16000)
    t = np.arange(n) / 16000
    phase = np.cumsum(150 + 40 * np.sin(2 * np.pi * 0.7 * t)) / 16000 % 1
    source = np.where(phase < 0.6, 2 * phase / 0.6 - 3 * (phase / 0.6) ** 2, 0)
    source *= np.sin(2 * np.pi * 1.1 * t) > -0.5
    for hz, width in ((600, 80), (1200, 90), (2500, 120)):
        r = np.exp(-np.pi * width / 16000)
        source = lfilter([1 - r], [1, -2 * r * np.cos(2 * np.pi * hz / 16000), r * r], source)
    noise = np.random.default_rng(0).normal(0, 1e-3, n)
    return (0.3 * source / np.abs(source).max() + noise).astype(np.float32)


def print_cost(samples: NDArray[np.float32]) -> None:
    """CPU seconds a second of audio, in total and by group, warm."""
    audio, seconds = Audio(samples, 16000), len(samples) / 16000
    Covarep()(Audio(samples[: 10 * 16000], 16000))  # tables and imports are not counted
    start = time.process_time()
    Covarep()(audio)
    total = time.process_time() - start
    with cpu_time_of_groups() as spent:
        Covarep()(audio)
    print(f"\nCPU seconds a second of audio, one thread, {seconds:.0f} s of sound")
    for group, value in sorted(spent.items(), key=lambda item: -item[1]):
        print(f"{group:40s}{value / seconds:8.4f}")
    rest = total - sum(spent.values())
    print(f"{'reading, interpolation, the rest':40s}{rest / seconds:8.4f}")
    print(f"{'all 74 columns':40s}{total / seconds:8.4f}")


def print_hour(voice: NDArray[np.float32]) -> None:
    """CPU time and growth of the peak memory of an hour: the voice again and again, with noise."""
    minute, rng = 60 * 16000, np.random.default_rng(0)
    samples = np.empty(60 * minute, np.float32)
    for first in range(0, len(samples), minute):  # the making must not be what takes the memory
        piece = samples[first : first + minute]
        piece[:] = np.resize(np.roll(voice, -first), minute)
        piece += 1e-3 * rng.standard_normal(minute, dtype=np.float32)
    Covarep()(Audio(samples[:minute], 16000))
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    found = Covarep()(Audio(samples, 16000))
    spent = time.process_time() - start
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    finite = bool(np.isfinite(found.values).all())
    print(
        f"\nan hour: {spent:.0f} CPU seconds ({spent / 3600:.4f} a second of audio), "
        f"{grown:.0f} MB more at the peak than for a minute (the result is "
        f"{found.values.nbytes / 2**20:.0f} MB), all finite: {finite}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=SHARED / "reference/covarep")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the sound timed")
    parser.add_argument("--hour", action="store_true", help="measure an hour of sound, too")
    arguments = parser.parse_args()
    files = sorted(arguments.folder.glob("*.npz"))
    samples = made_voice(arguments.seconds)
    if files:
        print_agreement(files)
        voices = [np.load(path)["x"] for path in files]
        samples = np.resize(np.concatenate(voices), round(arguments.seconds * 16000))
    else:
        print(f"no reference at {arguments.folder}")
    with threadpool_limits(1):
        print_cost(samples.astype(np.float32))
        if arguments.hour:
            print_hour(samples.astype(np.float32))


if __name__ == "__main__":
    main()
