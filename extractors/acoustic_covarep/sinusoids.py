"""Harmonics of 10 ms frames: what Rd, the envelope and the phase distortion start from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from extractors.acoustic_covarep.prediction import FloatArray, IntArray
from extractors.acoustic_covarep.transforms import rfft

DFT = 4096
PERIODS = 3  # length of the window
SILENT_F0 = 100.0  # Hz; stands in where SRH found no evidence of any pitch
BATCH = 128  # frames a transform


@dataclass(frozen=True)
class Harmonics:
    """Harmonics 1..K of every frame, padded to the largest K.

    Attributes
    ----------
    f0 : [T] Hz, as it was given.
    spacing : [T] Hz, median distance of the harmonics found.
    count : [T] the K of each frame, about rate / 2 / f0.
    log_amplitude : [T, max K] natural logarithm; -inf beyond each frame's count.
    phase : [T, max K] radians relative to the frame's centre, not unwrapped; 0 beyond.
    """

    f0: FloatArray
    spacing: FloatArray
    count: IntArray
    log_amplitude: FloatArray
    phase: FloatArray


@lru_cache(maxsize=1024)
def analysis_window(half: int) -> FloatArray:
    """Blackman window [2 half + 1] with sum 1."""
    window = np.blackman(2 * half + 1)
    return window / window.sum()


def window_halves(f0: FloatArray, rate: int) -> IntArray:
    """Half lengths (samples) of windows of three periods."""
    return np.floor(PERIODS * rate / f0 / 2 + 0.5).astype(np.intp)


def frames_inside(times: FloatArray, f0: FloatArray, n: int, rate: int) -> IntArray:
    """Frames whose window lies inside of a file of n samples."""
    centre = np.floor(times * rate + 0.5).astype(np.intp)
    half = window_halves(f0, rate)
    return np.flatnonzero((centre - half >= 0) & (centre + half < n))


def frame_spectra(
    x: NDArray[np.floating], centres: IntArray, f0: FloatArray, rate: int, sign: float = 1.0
) -> NDArray[np.complexfloating]:
    """Zero-phase spectra [T, DFT / 2 + 1] of windowed frames around sample positions.

    ``sign`` -1 turns the signal over.
    """
    halves = window_halves(f0, rate)
    buffer = np.zeros((len(centres), DFT))
    for row, (centre, half) in enumerate(zip(centres.tolist(), halves.tolist(), strict=True)):
        frame = x[centre - half : centre + half + 1] * (sign * analysis_window(half))
        buffer[row, : half + 1] = frame[half:]
        if half:
            buffer[row, -half:] = frame[:half]
    return rfft(buffer)


def harmonic_count(f0: FloatArray, rate: int) -> IntArray:
    """Number of harmonics below rate / 2 [T]."""
    return np.floor((rate / 2 - f0 / 2) / f0 + 0.5).astype(np.intp)


def find_harmonics(spectra: NDArray[np.complexfloating], f0: FloatArray, rate: int) -> Harmonics:
    """Amplitude and phase of the spectral peak nearest each multiple of f0.

    The peak is a parabola through the logarithm of three bins. Where none lies within f0 / 2, the
    bin nearest the multiple counts.

    Parameters
    ----------
    spectra : [T, DFT / 2 + 1], zero-phase.
    f0 : [T] Hz.
    """
    bin_width = rate / DFT
    width = spectra.shape[1]
    level = 0.5 * np.log(np.maximum(spectra.real**2 + spectra.imag**2, 1e-60))
    middle = level[:, 1:-1]
    row, column = np.nonzero((middle > level[:, :-2]) & (middle > level[:, 2:]))
    column += 1
    left, peak, right = (level[row, column + d] for d in (-1, 0, 1))
    shift = 0.5 * (left - right) / (left - 2 * peak + right)
    peak_at = column + shift  # bins
    peak_level = peak - 0.25 * (left - right) * shift

    count = harmonic_count(f0, rate)
    frame = np.repeat(np.arange(len(f0)), count)
    k = np.arange(len(frame)) - np.repeat(np.cumsum(count) - count, count) + 1
    wanted = k * f0[frame] / bin_width
    # One sorted axis for all frames: each has a stretch of its own.
    stride = 2.0 * width
    at, below = wanted.copy(), np.zeros(len(frame), np.intp)
    if len(peak_at):
        axis = row * stride + peak_at
        above = np.clip(np.searchsorted(axis, frame * stride + wanted), 1, max(1, len(axis) - 1))
        below = above - 1
        above = np.minimum(above, len(axis) - 1)
        target = frame * stride + wanted
        nearest = np.where(target - axis[below] <= axis[above] - target, below, above)
        found = np.abs(axis[nearest] - target) <= f0[frame] / 2 / bin_width
    else:
        nearest, found = below, np.zeros(len(frame), bool)
    at = wanted.copy()
    amplitude = level[frame, np.floor(wanted + 0.5).astype(np.intp)]
    at[found] = peak_at[nearest[found]]
    amplitude[found] = peak_level[nearest[found]]

    lower = np.clip(np.floor(at).astype(np.intp), 0, width - 2)
    angle = np.angle(spectra[frame, lower])
    turn = np.angle(spectra[frame, lower + 1] * np.conj(spectra[frame, lower]))
    phase = angle + (at - lower) * turn

    shape = (len(f0), int(count.max(initial=1)))
    log_amplitude, phases = np.full(shape, -np.inf), np.zeros(shape)
    log_amplitude[frame, k - 1] = amplitude
    phases[frame, k - 1] = phase
    positions = np.full(shape, np.nan)
    positions[frame, k - 1] = at * bin_width
    distances = np.diff(positions, axis=1, prepend=0.0)
    distances.sort(axis=1)  # NaN last
    middle_low = np.take_along_axis(distances, ((count - 1) // 2)[:, None], axis=1)
    middle_high = np.take_along_axis(distances, (count // 2)[:, None], axis=1)
    spacing = (middle_low + middle_high)[:, 0] / 2
    return Harmonics(f0, spacing, count, log_amplitude, phases)
