"""The shape of the glottal pulse from phases (Rd), and the phase distortion features (HMPD)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from extractors.acoustic_covarep.prediction import FloatArray, IntArray
from extractors.acoustic_covarep.sinusoids import Harmonics
from extractors.acoustic_covarep.transforms import irfft, rfft

RD_RANGE = (0.3, 2.5)
RD_STEP = 0.01
RD_HARMONICS = 8
MOST_HARMONICS = 160  # below 8 kHz, of the lowest f0, 50 Hz
BAND = 8000.0  # Hz
RD_TOLERANCE, RD_ITERATIONS = 0.01, 32


def wrap(phase: FloatArray) -> FloatArray:
    """Phase in [-pi, pi]."""
    return phase - 2 * np.pi * np.round(phase / (2 * np.pi))


def minimum_phase(log_magnitude: FloatArray) -> FloatArray:
    """Phase of the minimum-phase spectrum with the given log magnitudes [B, N + 1] (DC .. Nyquist).

    Folded real cepstrum (Oppenheim & Schafer).
    """
    n = 2 * (log_magnitude.shape[1] - 1)
    cepstrum = irfft(log_magnitude, n)
    cepstrum[:, 1 : n // 2] *= 2
    cepstrum[:, n // 2 + 1 :] = 0
    return rfft(cepstrum).imag


def solve_lf(rd: FloatArray) -> dict[str, FloatArray]:
    """Liljencrants-Fant pulse of period 1 for shapes Rd (Fant, Liljencrants & Lin 1985; Fant 1995).

    Returns
    -------
    te, tp, ta (shares of the period), growth ``a`` and decay ``e`` (per period), each like ``rd``.
    """
    rap = (-1 + 4.8 * rd) / 100
    rkp = (22.4 + 11.8 * rd) / 100
    rgp = 1 / (4 * (0.11 * rd / (0.5 + 1.2 * rkp) - rap) / rkp)
    tp = 1 / (2 * rgp)
    te = tp * (1 + rkp)
    ta = rap
    closed = 1 - te
    # 1 - exp(-e (1 - te)) = e ta: fixed point, then Newton
    e = 1 / ta
    for _ in range(50):
        decay = np.exp(-e * closed)
        e = e - (1 - decay - e * ta) / (closed * decay - ta)
    decay = np.exp(-e * closed)
    area = (1 - decay) / (e**2 * ta) - closed * decay / (e * ta)
    w = np.pi / tp
    sine, cosine = np.sin(w * te), np.cos(w * te)

    def open_minus_return(a: FloatArray) -> FloatArray:
        return (a**2 + w**2) * sine * area + w * np.exp(-a * te) + a * sine - w * cosine

    # Zero net flow over the period. Bisection: the sought root is bracketed for the whole Rd range.
    low, high = np.full_like(rd, -50.0), np.full_like(rd, 50.0)
    sign_low = np.sign(open_minus_return(low))
    for _ in range(80):
        middle = (low + high) / 2
        same = np.sign(open_minus_return(middle)) == sign_low
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return {"te": te, "tp": tp, "ta": ta, "a": (low + high) / 2, "e": e}


def lf_spectrum(rd: FloatArray, harmonics: FloatArray) -> NDArray[np.complex128]:
    """Spectrum [R, K] of the LF flow derivative at multiples of f0 (Doval & d'Alessandro 1997).

    The Fourier integral of one pulse of period 1 with closing slope 1, which depends on Rd only.
    """
    p = {name: value[:, None] for name, value in solve_lf(rd).items()}
    te, ta, a, e = p["te"], p["ta"], p["a"], p["e"]
    w = np.pi / p["tp"]
    s = 2j * np.pi * harmonics[None, :]
    scale = -1 / (np.exp(a * te) * np.sin(w * te))
    opening = (w + np.exp((a - s) * te) * ((a - s) * np.sin(w * te) - w * np.cos(w * te))) / (
        (a - s) ** 2 + w**2
    )
    closed = 1 - te
    returning = (1 - np.exp(-(e + s) * closed)) / (e + s) - np.exp(-e * closed) * (
        1 - np.exp(-s * closed)
    ) / s
    return scale * opening - np.exp(-s * te) * returning / (e * ta)


@lru_cache(maxsize=1)
def lf_pulses() -> tuple[FloatArray, FloatArray]:
    """Log magnitude and phase [R, most] of the LF pulse at every step of Rd."""
    rd = np.arange(RD_RANGE[0], RD_RANGE[1] + RD_STEP / 2, RD_STEP)
    spectrum = lf_spectrum(rd, np.arange(1.0, MOST_HARMONICS + 1))
    return np.log(np.abs(spectrum)), np.angle(spectrum)


@lru_cache(maxsize=MOST_HARMONICS * 2)
def lf_differences(count: int, conjugated: bool) -> FloatArray:
    """Second phase differences [R, 7] of the LF pulse without its minimum-phase part, over Rd.

    Neither phase nor minimum phase depends on f0, only on the number of harmonics.
    """
    level, phase = lf_pulses()
    removed = minimum_phase(half_spectrum(level[:, :count]))[:, 1 : RD_HARMONICS + 1]
    phase = phase[:, :RD_HARMONICS]
    differences = phase_differences((-phase if conjugated else phase) - removed)
    return np.unwrap(differences, axis=0)


def half_spectrum(log_magnitude: FloatArray) -> FloatArray:
    """Harmonics 1..K [B, K] as a spectrum from DC to Nyquist: DC is the first, K that of K - 1."""
    return np.hstack([log_magnitude[:, :1], log_magnitude[:, :-1], log_magnitude[:, -2:-1]])


def phase_differences(phase: FloatArray) -> FloatArray:
    """P_{k+1} - P_k - P_1 for k = 1..7 of phases P_1..P_8 [B, 8]."""
    return np.diff(phase, axis=1) - phase[:, :1]


def by_count(count: IntArray) -> Iterator[tuple[int, IntArray]]:
    """Frames with the same number of harmonics."""
    order = np.argsort(count, kind="stable")
    values, starts = np.unique(count[order], return_index=True)
    for value, first, last in zip(values, starts, [*starts[1:], len(order)], strict=False):
        yield int(value), order[first:last]


def fit_rd(harmonics: Harmonics, *, v142_sign: bool = False) -> tuple[FloatArray, FloatArray]:
    """Rd, the shape of the glottal pulse, and how well it explains the phases.

    Mean squared phase of the second differences (MSPD2; Degottex, Roebel & Rodet, IEEE TASL 19(5),
    2011): the Rd whose LF pulse leaves a residual with the flattest phase.

    Parameters
    ----------
    harmonics : of T frames.
    v142_sign : use the phase of the LF pulse with the wrong sign, as COVAREP does since 2016
        (v1.4.2); the versions before have it right.

    Returns
    -------
    rd [T] : 0.3 (tense) .. 2.5 (lax).
    confidence [T] : 1 - sqrt(error) / pi, from 0 to 1.
    """
    # Harmonics sit at multiples of the measured spacing, up to 8 kHz.
    below = np.floor(BAND / harmonics.spacing).astype(np.intp)
    counts = np.minimum(np.minimum(harmonics.count, below), MOST_HARMONICS)
    counts = np.maximum(counts, RD_HARMONICS + 1)  # fewer cannot be at 50-500 Hz
    speech = np.zeros((len(counts), RD_HARMONICS - 1))
    table_of = np.zeros(len(counts), np.intp)
    tables: list[FloatArray] = []
    for count, frames in by_count(counts):
        level = half_spectrum(harmonics.log_amplitude[frames, :count])
        removed = minimum_phase(level)[:, 1 : RD_HARMONICS + 1]
        speech[frames] = phase_differences(harmonics.phase[frames, :RD_HARMONICS] - removed)
        table_of[frames] = len(tables)
        tables.append(lf_differences(count, v142_sign))
    if not tables:
        return np.zeros(0), np.zeros(0)
    steps = len(tables[0])
    stacked = np.concatenate(tables)
    row_of = table_of * steps

    def mean_squared_phase(shape: FloatArray) -> FloatArray:
        at = np.clip((shape - RD_RANGE[0]) / RD_STEP, 0, steps - 1 - 1e-9)
        low = at.astype(np.intp)
        before = stacked[row_of + low]
        lf = before + (at - low)[:, None] * (stacked[row_of + low + 1] - before)
        return (wrap(speech - lf) ** 2).mean(axis=1)

    rd, error = minimize_bounded(mean_squared_phase, *RD_RANGE, len(counts))
    return rd, 1 - np.sqrt(error) / np.pi


def minimize_bounded(
    function: Callable[[FloatArray], FloatArray], low: float, high: float, count: int
) -> tuple[FloatArray, FloatArray]:
    """Brent's bounded minimisation (fminbnd) of ``count`` functions side by side."""
    golden = 0.5 * (3 - np.sqrt(5))
    root_eps = np.sqrt(np.finfo(float).eps)
    a, b = np.full(count, low), np.full(count, high)
    v = a + golden * (b - a)
    w, x = v.copy(), v.copy()
    d, e = np.zeros(count), np.zeros(count)
    fx = function(x)
    fv, fw = fx.copy(), fx.copy()
    active = np.ones(count, bool)
    for _ in range(RD_ITERATIONS):
        middle = 0.5 * (a + b)
        tol1 = root_eps * np.abs(x) + RD_TOLERANCE / 3
        tol2 = 2 * tol1
        active &= np.abs(x - middle) > tol2 - 0.5 * (b - a)
        if not active.any():
            break
        r = (x - w) * (fx - fv)
        q = (x - v) * (fx - fw)
        p = (x - v) * q - (x - w) * r
        q = 2 * (q - r)
        p = np.where(q > 0, -p, p)
        q = np.abs(q)
        parabola = (
            (np.abs(e) > tol1)
            & (np.abs(p) < np.abs(0.5 * q * e))
            & (p > q * (a - x))
            & (p < q * (b - x))
        )
        step = np.divide(p, q, out=np.zeros(count), where=parabola)
        u = x + step
        near_end = ((u - a) < tol2) | ((b - u) < tol2)
        direction = np.where(middle - x >= 0, 1.0, -1.0)
        step = np.where(near_end, tol1 * direction, step)
        e_golden = np.where(x >= middle, a - x, b - x)
        e_new = np.where(parabola, d, e_golden)
        d_new = np.where(parabola, step, golden * e_golden)
        u = x + np.where(d_new >= 0, 1.0, -1.0) * np.maximum(np.abs(d_new), tol1)
        fu = function(u)
        e, d = np.where(active, e_new, e), np.where(active, d_new, d)

        better = active & (fu <= fx)
        worse = active & ~better
        a = np.where(better & (u >= x), x, np.where(worse & (u < x), u, a))
        b = np.where(better & (u < x), x, np.where(worse & (u >= x), u, b))
        second = worse & ((fu <= fw) | (w == x))
        third = worse & ~second & ((fu <= fv) | (v == x) | (v == w))
        v = np.where(better | second, w, np.where(third, u, v))
        fv = np.where(better | second, fw, np.where(third, fu, fv))
        w = np.where(better, x, np.where(second, u, w))
        fw = np.where(better, fx, np.where(second, fu, fw))
        x, fx = np.where(better, u, x), np.where(better, fu, fx)
    return x, fx
