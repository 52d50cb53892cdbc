"""Polarity of the recording, and pitch and voicing from the harmonics of the LP residual."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.signal import ellip, sosfiltfilt

from extractors.acoustic_covarep.prediction import FloatArray, lp_residual, matlab_round
from extractors.acoustic_covarep.transforms import rfft

F0_MIN, F0_MAX = 50, 500  # Hz, where SRH searches
SRH_HOP = 0.010  # seconds
ORDER = 12  # of the LP residual at 16 kHz


@dataclass(frozen=True)
class Pitch:
    """SRH's result.

    Attributes
    ----------
    times : [T] seconds, every 10 ms from 50 ms on.
    f0 : [T] Hz, whole numbers, also in unvoiced frames; 1 where nothing speaks for any pitch.
    strength : [T] summation of residual harmonics, 0 where there is no evidence.
    voiced : bool [T].
    """

    times: FloatArray
    f0: FloatArray
    strength: FloatArray
    voiced: NDArray[np.bool_]

    @property
    def median(self) -> float:
        """Median f0 (Hz) of the voiced frames inside of the range; NaN if there are none."""
        inside = self.f0[self.voiced & (self.f0 > F0_MIN) & (self.f0 < F0_MAX)]
        return float(np.median(inside)) if len(inside) else float("nan")


def without_glottal_formant(x: FloatArray, rate: int) -> FloatArray:
    """Signal [n] high-passed at 480 Hz, elliptic and without delay."""
    if not len(x):
        return x
    high_pass = ellip(9, 3, 60, 480 / (rate / 2), "highpass", output="sos")
    return sosfiltfilt(high_pass, x, padlen=min(27, len(x) - 1))


def find_polarity(x: FloatArray, rate: int = 16000) -> float:
    """1, or -1 for a recording that is upside down (RESKEW; Drugman, IEEE SPL 20(4), 2013).

    The residual of the signal's own predictors is more skewed to positive values than that of
    predictors of the high-passed signal, which leave the glottal formant in.
    """
    order = rate // 1000 + 2
    own = sums_of_powers(lp_residual(x, order, rate))
    other = sums_of_powers(lp_residual(x, order, rate, without_glottal_formant(x, rate)))
    return -1.0 if skewness(own) < skewness(other) else 1.0


def skewness(moments: FloatArray) -> float:
    """Skewness from the sums [4] of 1, r, r^2 and r^3; 0 for a constant."""
    n, *sums = moments
    if n == 0:
        return 0.0
    m1, m2, m3 = (s / n for s in sums)
    variance = m2 - m1**2
    return 0.0 if variance <= 0 else (m3 - 3 * m1 * m2 + 2 * m1**3) / variance**1.5


def sums_of_powers(x: FloatArray) -> FloatArray:
    """Sums [4] of 1, x, x^2 and x^3."""
    return np.array([len(x), x.sum(), np.dot(x, x), np.dot(x * x, x)])


def frame_length(rate: int) -> int:
    """Samples of an SRH frame: 100 ms less two."""
    return 2 * matlab_round((matlab_round(0.1 * rate) - 2) / 2)


def count_frames(n: int, rate: int) -> int:
    """SRH frames in ``n`` samples."""
    return max(0, (n - frame_length(rate) - 1) // matlab_round(SRH_HOP * rate) + 1)


def harmonic_sums(
    residual: FloatArray, rate: int, f0_min: int, f0_max: int, chosen: NDArray[np.intp]
) -> tuple[FloatArray, FloatArray]:
    """Best f0 by summation of residual harmonics (SRH; Drugman & Alwan, Interspeech 2011, eq. 1).

    ``SRH(f) = sum_{h=1..5} E(h f) - sum_{h=1..4} E((h + 1/2) f)``, E the amplitude spectrum of a
    100 ms frame of the residual at 1 Hz steps, with norm 1. As in COVAREP, f is looked up in the
    bin of f - 1 Hz.

    Parameters
    ----------
    residual : [n] LP residual; its level is of no importance.
    f0_min, f0_max : Hz, whole numbers.
    chosen : frames to compute; frame k starts at sample k * hop.

    Returns
    -------
    f0, strength : [len(chosen)] each; 1 Hz and 0 where no f in the range has a positive sum.
    """
    size = frame_length(rate)
    window = np.blackman(size)
    frames = sliding_window_view(residual, size)[:: matlab_round(SRH_HOP * rate)]
    f0, strength = np.ones(len(chosen)), np.zeros(len(chosen))
    f = np.arange(f0_min, f0_max + 1)
    for first in range(0, len(chosen), 16):  # 128 kB a spectrum: more of them leave the cache
        batch = slice(first, first + 16)
        segment = frames[chosen[batch]] * window
        segment -= segment.mean(axis=1, keepdims=True)
        spectrum = rfft(segment, rate)[:, : rate // 2]
        magnitude = np.abs(spectrum)
        sums = np.zeros((len(magnitude), len(f)))
        for h in range(1, 6):
            sums += magnitude[:, h * f0_min - 1 : h * f0_max : h]
        for h in range(1, 5):
            for parity in (0, 1):  # (h + 1/2) f is whole for even f, rounded up for odd f
                start = (f0_min + parity) * (2 * h + 1)
                bins = (start + 1) // 2 - 1
                columns = sums[:, parity::2]
                end = bins + (columns.shape[1] - 1) * (2 * h + 1) + 1
                columns -= magnitude[:, bins : end : 2 * h + 1]
        norm = np.linalg.norm(magnitude, axis=1)
        best = sums.argmax(axis=1)
        value = sums[np.arange(len(best)), best] / np.where(norm > 0, norm, np.inf)
        found = value > 0
        f0[batch] = np.where(found, f[best], 1)
        strength[batch] = np.where(found, value, 0)
    return f0, strength


def narrower_range(f0: FloatArray, strength: FloatArray, f0_min: int = F0_MIN) -> tuple[int, int]:
    """Range of the second pass: half to twice the median f0 of the frames with strength > 0.1."""
    if not (strength > 0.1).any():
        return f0_min, F0_MAX
    median = float(np.median(f0[strength > 0.1]))
    return max(f0_min, matlab_round(median / 2)), min(F0_MAX, matlab_round(2 * median))


def voicing(strength: FloatArray) -> NDArray[np.bool_]:
    """Voiced where the strength exceeds 0.07 (0.085 if it varies by more than 0.05)."""
    spread = strength.std(ddof=1) if len(strength) > 1 else 0.0
    return strength > (0.085 if spread > 0.05 else 0.07)


def silent_frames(x: FloatArray, rate: int) -> NDArray[np.bool_]:
    """SRH frames that touch a whole LP frame of digital silence: they say nothing of pitch."""
    size = matlab_round(0.025 * rate) + 1
    hop = matlab_round(0.005 * rate)
    count = count_frames(len(x), rate)
    silent = np.zeros(count, bool)
    if len(x) < size:
        return silent
    loud = np.r_[0, np.cumsum(x != 0)]
    starts = np.arange(0, len(x) - size - 1, hop)
    dead = starts[loud[starts + size] == loud[starts]]
    length, step = frame_length(rate), matlab_round(SRH_HOP * rate)
    for start in dead:
        first = max(0, -(-(start - length + 1) // step))
        silent[first : (start + size - 1) // step + 1] = True
    return silent


def srh_pitch(x: FloatArray, rate: int = 16000) -> Pitch:
    """Pitch and voicing of a whole signal [n] (two passes; Drugman & Alwan, Interspeech 2011)."""
    count = count_frames(len(x), rate)
    residual = lp_residual(x, matlab_round(0.75 * rate / 1000), rate)
    sounding = np.flatnonzero(~silent_frames(x, rate))
    f0, strength = np.ones(count), np.zeros(count)
    f0[sounding], strength[sounding] = harmonic_sums(residual, rate, F0_MIN, F0_MAX, sounding)
    f0_min, f0_max = narrower_range(f0, strength)
    again = sounding[outside(f0[sounding], f0_min, f0_max)]
    f0[again], strength[again] = harmonic_sums(residual, rate, f0_min, f0_max, again)
    return Pitch(frame_times(count, rate), f0, strength, voicing(strength))


def outside(f0: FloatArray, f0_min: int, f0_max: int) -> NDArray[np.bool_]:
    """Frames whose best f0 a narrower range leaves out; the others keep theirs."""
    return (f0 > 1) & ((f0 < f0_min) | (f0 > f0_max))


def frame_times(count: int, rate: int) -> FloatArray:
    """Times (s) of SRH frames, with COVAREP's one-sample delay."""
    hop = matlab_round(SRH_HOP * rate)
    return (frame_length(rate) // 2 + 1 + hop * np.arange(count)) / rate
