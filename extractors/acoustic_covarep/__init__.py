"""COVAREP's 74 acoustic columns (Degottex et al., ICASSP 2014) in numpy and scipy.

`Covarep` makes the track; the parts stand alone, for example ``srh_pitch``, ``sedreams``,
``glottal_flow``, ``peak_slope``. README.md in this folder has the table of the columns.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from extractors.acoustic_covarep import track as whole
from extractors.acoustic_covarep.distortion import (
    deviation_of_distortion,
    mean_distortion,
    phase_distortion,
)
from extractors.acoustic_covarep.envelope import mel_cepstrum, true_envelope
from extractors.acoustic_covarep.gci import keep_voiced, sedreams
from extractors.acoustic_covarep.glottal import glottal_flow, glottal_periods, iaif
from extractors.acoustic_covarep.phase import fit_rd
from extractors.acoustic_covarep.pitch import Pitch, find_polarity, srh_pitch
from extractors.acoustic_covarep.prediction import lp_residual
from extractors.acoustic_covarep.pulses import voice_quality
from extractors.acoustic_covarep.sinusoids import Harmonics, find_harmonics, frame_spectra
from extractors.acoustic_covarep.spectrum import maxima_dispersion, peak_slope
from extractors.resampling import resampled_length, resampled_slice
from extractors.types import Audio, FeatureTrack

__all__ = [
    "NAMES",
    "Covarep",
    "Harmonics",
    "Pitch",
    "deviation_of_distortion",
    "find_harmonics",
    "find_polarity",
    "fit_rd",
    "frame_spectra",
    "glottal_flow",
    "glottal_periods",
    "iaif",
    "keep_voiced",
    "lp_residual",
    "maxima_dispersion",
    "mean_distortion",
    "mel_cepstrum",
    "peak_slope",
    "phase_distortion",
    "sedreams",
    "srh_pitch",
    "true_envelope",
    "voice_quality",
]

SINGLE = (
    "f0", "vuv", "naq", "qoq", "h1h2", "psp", "mdq", "peakslope", "rd", "rd_conf", "creak",
)  # fmt: skip
NAMES = (
    *(f"covarep.{name}" for name in SINGLE),
    *(f"covarep.mcep.{i}" for i in range(25)),
    *(f"covarep.hmpdm.{i}" for i in range(25)),
    *(f"covarep.hmpdd.{i}" for i in range(13)),
)
RD_VARIANTS = ("corrected", "v1.4.2")


@dataclass(frozen=True)
class Covarep:
    """All 74 columns of COVAREP at 100 Hz, row k at 4.94 ms + k * 10 ms.

    Every value is finite. As in the original, measures are straight lines between their points and
    0 before the first and after the last; nothing is masked by voicing. Sound at another rate is
    resampled to 16 kHz first.

    Attributes
    ----------
    rd : "corrected", or "v1.4.2" for the sign error that COVAREP has had since 2016.
    seed : of the random phases beyond the last harmonic.
    block : seconds of sound worked on at a time; it only changes memory (numbers to rounding).
    """

    rd: str = "corrected"
    seed: int = 0
    block: float = field(default=20.0, compare=False)

    def __post_init__(self) -> None:
        if self.rd not in RD_VARIANTS:
            raise ValueError(f"rd must be one of {RD_VARIANTS}, got {self.rd!r}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be a non-negative 63-bit number, got {self.seed}")
        if not self.block > 0:
            raise ValueError(f"block must be positive seconds, got {self.block}")

    @property
    def names(self) -> tuple[str, ...]:
        return NAMES

    def __call__(self, audio: Audio) -> FeatureTrack:
        """Measure ``audio`` (any rate, any length, also none)."""
        samples = at_16_khz(audio)
        n = len(samples)
        block = max(1, round(self.block * 100)) * whole.HOP
        recording = whole.Recording(samples, block)
        known = whole.survey(recording)
        recording = whole.Recording(samples, block, known.polarity)
        instants = whole.closure_instants(recording, known)
        shape, dispersion = whole.measure_pulses(recording, instants)
        frames = whole.measure_frames(
            recording, known.pitch, v142_sign=self.rd == "v1.4.2", seed=self.seed
        )

        count = max(0, (n - whole.FIRST_ROW - 1) // whole.HOP + 1)
        rows = whole.FIRST_ROW + 1.0 + whole.HOP * np.arange(count)  # samples counted from 1
        seconds: NDArray[np.float64] = (rows - 1) / whole.RATE
        values = np.zeros((count, len(NAMES)), np.float32)
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
            whole.fill_columns(values, first, knots, rows)
        values[:, 1] = values[:, 1] >= 0.5
        for first, part, circular in ((36, frames.mean, True), (61, frames.deviation, False)):
            knots = whole.Knots(frames.times, part)
            whole.fill_distortion(values, first, knots, seconds, circular=circular)
        return FeatureTrack(
            values,
            seconds,
            NAMES,
            sounding_rows(samples, count),
            {
                "polarity": known.polarity,
                "f0_median": float(np.nan_to_num(known.pitch.median)),
                "voiced_share": float(values[:, 1].mean()) if count else 0.0,
                "glottal_closures": float(len(instants)),
                "filled_with_zero": filled_columns(n, len(instants), len(frames.times)),
            },
        )


def at_16_khz(audio: Audio) -> NDArray[np.float32]:
    """The whole recording at 16 kHz, resampled a minute at a time."""
    if audio.rate == whole.RATE:
        return audio.samples
    samples = np.empty(resampled_length(audio, whole.RATE), np.float32)
    for first, last in whole.blocks_of(len(samples), 60 * whole.RATE):
        samples[first:last] = resampled_slice(audio, whole.RATE, first, last)
    return samples


def sounding_rows(samples: NDArray[np.float32], count: int) -> NDArray[np.bool_]:
    """Rows [T] with any sound above -100 dB in their 10 ms."""
    if not count:
        return np.zeros(0, bool)
    starts = np.arange(count) * whole.HOP
    high, low = np.maximum.reduceat(samples, starts), np.minimum.reduceat(samples, starts)
    return np.maximum(high, -low) > whole.SILENCE


def filled_columns(n: int, instants: int, frames: int) -> str:
    """Which columns hold zeros throughout, and why."""
    reasons = ["creak: no model"]
    if n < 0.1 * whole.RATE:
        reasons.append("f0, vuv: shorter than 0.1 s")
    if instants < 2:
        reasons.append("naq, qoq, h1h2, psp, mdq: no voiced speech")
    if not frames:
        reasons.append("rd, rd_conf, mcep, hmpdm, hmpdd: no frame of sound")
    return "; ".join(reasons)
