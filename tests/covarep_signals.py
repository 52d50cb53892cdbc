"""Made voices for the COVAREP tests."""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

RATE = 16000


def pulse_train(f0: float, seconds: float, seed: int | None = None):
    """Positive impulses at f0 (Hz), and their positions in samples; jittered if there is a seed."""
    period = RATE / f0
    count = int(seconds * f0) - 1
    at = period * (0.5 + np.arange(count))
    if seed is not None:
        at = at + np.random.default_rng(seed).uniform(-0.01, 0.01, count) * period
    at = np.round(at).astype(int)
    samples = np.zeros(round(seconds * RATE))
    samples[at] = 1
    return samples, at


def vocal_tract(samples, formants=((600, 80), (1200, 90), (2500, 120), (3500, 150))):
    """Resonances (Hz, bandwidth) one after the other."""
    for hz, width in formants:
        r = np.exp(-np.pi * width / RATE)
        samples = lfilter([1 - r], [1, -2 * r * np.cos(2 * np.pi * hz / RATE), r * r], samples)
    return samples / np.abs(samples).max()


def vowel(f0: float = 120.0, seconds: float = 1.0, seed: int = 0):
    """A vowel: glottal tilt, four formants, a little noise; and the positions of its pulses."""
    pulses, at = pulse_train(f0, seconds, seed)
    source = lfilter([1], [1, -0.9], pulses)
    noise = np.random.default_rng(seed).normal(0, 1e-4, len(source))
    return 0.4 * vocal_tract(source) + noise, at


def glottal_voice(f0: float = 120.0, seconds: float = 1.0, open_share: float = 0.6):
    """A vowel from KLGLOTT88 flow derivatives: 2 t - 3 t^2 while open, then closed. The closure is
    the negative end of the open part: the recording is upright."""
    period = round(RATE / f0)
    t = np.arange(period) / (open_share * period)
    derivative = np.where(t < 1, 2 * t - 3 * t**2, 0.0)
    count = round(seconds * RATE) // period
    noise = np.random.default_rng(0).normal(0, 1e-4, count * period)
    return 0.4 * vocal_tract(np.tile(derivative, count)) + noise


def phrase(seconds: float = 6.0, seed: int = 0):
    """Vowels of changing pitch with pauses and hiss between them."""
    rng = np.random.default_rng(seed)
    pieces, total = [], 0
    while total < seconds * RATE:
        piece = glottal_voice(rng.uniform(90, 260), rng.uniform(0.2, 0.5), rng.uniform(0.4, 0.9))
        pieces += [piece, rng.normal(0, 1e-3, int(rng.uniform(0.1, 0.4) * RATE))]
        total += len(pieces[-2]) + len(pieces[-1])
    return np.concatenate(pieces)[: round(seconds * RATE)]
