"""The columns put together: every measure on its own points, then on the 100 Hz grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from extractors.acoustic_covarep import NAMES
from extractors.acoustic_covarep import track as whole
from extractors.acoustic_covarep.creak_network import Network
from extractors.mapped import forget_pages, make_rows
from extractors.resampling import resample
from extractors.types import Audio, FeatureTrack


def measure(
    audio: Audio, *, rd: str, seed: int, block: float, creak: Network | None = None
) -> FeatureTrack:
    """What ``Covarep(rd, seed, block)`` does; ``creak`` is the network of the creak detector."""
    samples = resample(audio, whole.RATE)
    n = len(samples)
    length = max(1, round(block * 100)) * whole.HOP
    recording = whole.Recording(samples, length)
    known = whole.survey(recording)
    recording = whole.Recording(samples, length, known.polarity)
    instants = whole.closure_instants(recording, known)
    shape, dispersion = whole.measure_pulses(recording, instants)
    frames = whole.measure_frames(recording, known.pitch, v142_sign=rd == "v1.4.2", seed=seed)

    count = max(0, (n - whole.FIRST_ROW - 1) // whole.HOP + 1)
    rows = whole.FIRST_ROW + 1.0 + whole.HOP * np.arange(count)  # samples counted from 1
    seconds: NDArray[np.float64] = (rows - 1) / whole.RATE
    # Column by column, so that writing one leaves the others on the disk.
    columns = make_rows(len(NAMES), count)
    pitch_at = np.floor(known.pitch.times * whole.RATE + 0.5)
    voicing = np.stack([known.pitch.f0, known.pitch.voiced.astype(float)], axis=1)
    frame_at = np.floor(frames.times * whole.RATE + 0.5)
    slopes = whole.measure_slopes(recording)
    for first, knots in (
        (0, whole.Knots(pitch_at, voicing)),
        (2, shape),
        (6, dispersion),
        (7, slopes),
        (8, whole.Knots(frame_at, frames.shape)),
        (11, whole.Knots(frames.spread, frames.cepstrum)),
    ):
        whole.fill_columns(columns, first, knots, rows)
    columns[1] = columns[1] >= 0.5
    if creak is not None:
        from extractors.acoustic_covarep.creak import creak_posterior

        whole.fill_columns(columns, 10, creak_posterior(recording, creak), rows)
    for first, part, circular in ((36, frames.mean, True), (61, frames.deviation, False)):
        knots = whole.Knots(frames.times, part)
        whole.fill_distortion(columns, first, knots, seconds, circular=circular)
    notes: dict[str, float | str] = {
        "polarity": known.polarity,
        "f0_median": float(np.nan_to_num(known.pitch.median)),
        "voiced_share": float(columns[1].mean()) if count else 0.0,
        "glottal_closures": float(len(instants)),
        "filled_with_zero": filled_columns(
            n, len(instants), len(frames.times), creak=creak is not None
        ),
    }
    if creak is not None:
        notes["creak"] = "the network's inputs are our own definitions, not compared with COVAREP"
    values = rows_of(columns)
    return FeatureTrack(values, seconds, NAMES, sounding_rows(samples, count), notes)


def rows_of(columns: NDArray[np.float32]) -> NDArray[np.float32]:
    """Columns [D, T] as rows [T, D]."""
    width, count = columns.shape
    values = make_rows(count, width)
    for first, last in whole.blocks_of(count, whole.BATCH):
        values[first:last] = columns[:, first:last].T
        forget_pages(values)
        forget_pages(columns)
    return values


def sounding_rows(samples: NDArray[np.float32], count: int) -> NDArray[np.bool_]:
    """Rows [T] with any sound above -100 dB in their 10 ms."""
    sounding = np.zeros(count, bool)
    for first, last in whole.blocks_of(count, whole.BATCH):
        end = None if last == count else last * whole.HOP  # the last row hears to the end
        sound = np.abs(samples[first * whole.HOP : end])
        loudest = np.maximum.reduceat(sound, np.arange(last - first) * whole.HOP)
        sounding[first:last] = loudest > whole.SILENCE
        forget_pages(samples)
    return sounding


def filled_columns(n: int, instants: int, frames: int, *, creak: bool) -> str:
    """Which columns hold zeros throughout, and why."""
    reasons = [] if creak else ["creak: no model"]
    if n < 0.1 * whole.RATE:
        reasons.append("f0, vuv: shorter than 0.1 s")
    if instants < 2:
        reasons.append("naq, qoq, h1h2, psp, mdq: no voiced speech")
    if not frames:
        reasons.append("rd, rd_conf, mcep, hmpdm, hmpdd: no frame of sound")
    return "; ".join(reasons)
