"""Creaky voice: what a trained network of the user's is asked about every 10 ms.

The twelve measures are those of Kane, Drugman & Gobl, "Improved automatic detection of creak", CSL
27(4), 2013, and of Ishi et al., "A method for automatic detection of vocal fry", IEEE TASLP 16(1),
2008. The papers leave lengths and limits open; those below are ours. The column has not been
compared with COVAREP's.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.signal import butter, lfilter, sosfiltfilt

from extractors.acoustic_covarep import pitch
from extractors.acoustic_covarep.creak_network import Network
from extractors.acoustic_covarep.prediction import FloatArray
from extractors.acoustic_covarep.sinusoids import SILENT_F0
from extractors.acoustic_covarep.track import (
    FILTER_MARGIN,
    HOP,
    ORDER,
    RATE,
    Knots,
    Recording,
    blocks_of,
    frames_of_block,
    harmonic_sums,
)
from extractors.acoustic_covarep.transforms import irfft, rfft

MEASURES = (
    "h2h1", "peak_prominence", "zero_crossings", "intra_frame_periodicity",
    "inter_pulse_similarity", "power_fall", "power_rise", "f0", "f0_median", "energy",
    "power_deviation", "creak_f0",
)  # fmt: skip
HALF = 799  # samples: everything lies within 50 ms of a frame's centre
LOWEST = 20  # Hz, where the pitch of creak is searched
BANDWIDTH = 150.0  # Hz, of the resonator at the median f0
RESONATOR_MARGIN = RATE // 2  # samples in which it forgets to 1e-100
BAND = (100.0, 1500.0)  # Hz, of the pulses' power
QUIET = 1e-10  # power, -100 dB
SMOOTHING = 11  # frames of 10 ms
BATCH = 128  # frames


def creak_posterior(recording: Recording, network: Network) -> Knots:
    """Posterior of creaky voice every 10 ms from 50 ms on."""
    inputs = creak_inputs(recording)
    posterior = np.zeros((len(inputs), 1))
    for first, last in blocks_of(len(inputs), 4096):
        begin = max(0, first - 2)  # differences of differences look two frames back
        posterior[first:last, 0] = network(with_differences(inputs[begin:last]))[first - begin :]
    return Knots(HALF + 1.0 + HOP * np.arange(len(inputs)), posterior)


def with_differences(inputs: FloatArray) -> FloatArray:
    """Measures [T, 12] with their first and second differences in time [T, 36]."""
    first = np.diff(inputs, axis=0, prepend=inputs[:1])
    return np.hstack([inputs, first, np.diff(first, axis=0, prepend=first[:1])])


def creak_inputs(recording: Recording) -> FloatArray:
    """The measures [T, 12] of a recording, named by ``MEASURES``, every 10 ms from 50 ms on."""
    count = pitch.count_frames(len(recording.samples), RATE)
    f0, median = low_pitch(recording, count)
    resonance = resonator(median)
    band_pass = butter(2, BAND, "bandpass", fs=RATE, output="sos")
    inputs = np.zeros((count, len(MEASURES)))
    for first, last in recording.blocks():
        frames = frames_of_block(first, last, count)
        if not len(frames):
            continue
        end = last + 2 * HALF
        x, start = recording.read(first - FILTER_MARGIN, end + FILTER_MARGIN)
        band = sosfiltfilt(band_pass, x, padlen=min(15, len(x) - 1))
        before = max(0, first - RESONATOR_MARGIN)
        resonated = lfilter([1.0], resonance, recording.residual(before, end, ORDER))
        signals = x[first - start :], resonated[first - before :], band[first - start :]
        sounds, resonances, bands = (
            sliding_window_view(signal, 2 * HALF)[::HOP] for signal in signals
        )
        for a, b in blocks_of(len(frames), BATCH):
            here = frames[a:b]
            inputs[here] = measure_frames(sounds[a:b], resonances[a:b], bands[a:b], f0[here])
    inputs[:, 0] = smooth(inputs[:, 0])
    inputs[:, 8] = median
    inputs[:, 9] -= inputs[:, 9].max(initial=10 * np.log10(QUIET))
    return inputs


def low_pitch(recording: Recording, count: int) -> tuple[FloatArray, float]:
    """SRH's f0 [T] searched from 20 Hz on, and its median over voiced frames (100 Hz if none)."""
    f0, strength = np.ones(count), np.zeros(count)
    chosen = np.arange(count)
    low, high = LOWEST, pitch.F0_MAX
    for _ in range(2):
        for first, last in recording.blocks():
            frames = np.intersect1d(frames_of_block(first, last, count), chosen)
            if len(frames):
                end = last + pitch.frame_length(RATE)
                f0[frames], strength[frames] = harmonic_sums(
                    recording, first, end, frames, low, high
                )
        low, high = pitch.narrower_range(f0, strength, LOWEST)
        chosen = np.flatnonzero(pitch.outside(f0, low, high))
    voiced = pitch.voicing(strength)
    return f0, float(np.median(f0[voiced])) if voiced.any() else SILENT_F0


def resonator(centre: float) -> FloatArray:
    """Denominator of a resonator at a frequency (Hz)."""
    radius = np.exp(-np.pi * BANDWIDTH / RATE)
    return np.array([1, -2 * radius * np.cos(2 * np.pi * centre / RATE), radius**2])


def measure_frames(
    x: FloatArray, resonated: FloatArray, band: FloatArray, f0: FloatArray
) -> FloatArray:
    """Measures [B, 12] of frames of 100 ms: of the sound, of its residual through the resonator,
    of its pulses' band; f0 [B] in Hz. The median f0 and the file's energy are left open."""
    fall, rise, deviation = power_movements(band)
    energy = 10 * np.log10((middle(x, 256) ** 2).mean(axis=1) + QUIET)
    crossings = np.diff(middle(x, 256) >= 0, axis=1).sum(axis=1) / 32
    return np.stack(
        [
            second_harmonic_level(resonated, f0),
            peak_prominence(resonated),
            crossings,
            intra_frame_periodicity(band),
            inter_pulse_similarity(band),
            fall,
            rise,
            f0,
            np.zeros(len(f0)),
            energy,
            deviation,
            strongest_period(resonated),
        ],
        axis=1,
    )


def middle(frames: FloatArray, half: int) -> FloatArray:
    """The 2 ``half`` samples around the centre of frames [B, L]."""
    centre = frames.shape[1] // 2
    return frames[:, centre - half : centre + half]


def second_harmonic_level(resonated: FloatArray, f0: FloatArray) -> FloatArray:
    """Second over first harmonic [B], dB, in 50 ms: large where pulses come at half the usual rate,
    since the resonator then sits on their second harmonic (Kane et al., section 3.1)."""
    spectrum = np.abs(rfft(middle(resonated, 400) * np.hanning(800), 4096))
    rows = np.arange(len(f0))
    bins = [np.floor(k * f0 * 4096 / RATE + 0.5).astype(np.intp) for k in (1, 2)]
    first, second = (spectrum[rows, at] for at in bins)
    floor = 1e-5 * spectrum.max(axis=1)
    sounding = floor > 0
    ratio = (second + floor) / np.where(sounding, first + floor, 1)
    return np.where(sounding, 20 * np.log10(np.where(sounding, ratio, 1)), 0)


def peak_prominence(resonated: FloatArray) -> FloatArray:
    """How far the largest peak in 30 ms stands out from all that is more than 6 ms away [B], 0..1:
    large where pulses come alone (Kane et al., section 3.1)."""
    centre = resonated.shape[1] // 2
    peak = centre - 240 + middle(resonated, 240).argmax(axis=1)
    offsets = np.arange(-240, 241)
    around = np.take_along_axis(resonated, peak[:, None] + offsets, axis=1)
    height = around[:, 240]
    away = around[:, np.abs(offsets) > 96].max(axis=1)
    return np.where(height > 0, np.clip(1 - away / np.where(height > 0, height, 1), 0, 1), 0)


def power_movements(band: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Fall and rise of the power (dB) within 10 ms after and before its peak, and its deviation
    over 34 ms; power over 4 ms every 2 ms (Ishi et al., section III). [B] each."""
    hops = (middle(band, 320) ** 2).reshape(len(band), 20, 32).mean(axis=2)
    power = 10 * np.log10((hops[:, 1:] + hops[:, :-1]) / 2 + QUIET)
    peak = 7 + power[:, 7:12].argmax(axis=1)
    height = np.take_along_axis(power, peak[:, None], axis=1)[:, 0]
    after = np.take_along_axis(power, peak[:, None] + np.arange(6), axis=1).min(axis=1)
    before = np.take_along_axis(power, peak[:, None] - np.arange(6), axis=1).min(axis=1)
    return height - after, height - before, power[:, 1:18].std(axis=1)


def intra_frame_periodicity(band: FloatArray) -> FloatArray:
    """Least autocorrelation at the multiples of the strongest period, in 32 ms [B]: small where
    pulses come less often than that (Ishi et al., eq. 1)."""
    size = 512
    correlation = autocorrelation(middle(band, size // 2), 256)
    correlation = correlation * size / (size - np.arange(256))
    period = 32 + correlation[:, 32:240].argmax(axis=1)
    multiples = period[:, None] * np.arange(1, 8)
    values = np.take_along_axis(correlation, np.minimum(multiples, 255), axis=1)
    return np.where(multiples <= 255, values, np.inf).min(axis=1)


def inter_pulse_similarity(band: FloatArray) -> FloatArray:
    """Largest normalised correlation of 15 ms with what was 2.5-40 ms before [B] (Ishi et al.)."""
    nearest, farthest, size = 40, 640, 240
    centre = band.shape[1] // 2
    now = middle(band, size // 2)
    past = band[:, centre - size // 2 - farthest : centre + size // 2 - nearest]
    n = 1200
    correlation = irfft(rfft(past, n) * np.conj(rfft(now, n)), n)[:, : farthest - nearest + 1]
    energy = sliding_window_view(np.cumsum(past**2, axis=1), size, axis=1)
    energies = energy[:, :, -1] - energy[:, :, 0] + past[:, : energy.shape[1]] ** 2
    scale = np.sqrt(np.maximum(energies, 0) * (now**2).sum(axis=1)[:, None])
    quiet = scale <= size * QUIET
    return np.where(quiet, 0, correlation / np.where(quiet, 1, scale)).max(axis=1)


def strongest_period(resonated: FloatArray) -> FloatArray:
    """f0 (Hz) of the largest autocorrelation over 100 ms between 20 and 500 Hz [B]."""
    shortest, longest = RATE // pitch.F0_MAX, RATE // LOWEST
    correlation = autocorrelation(resonated, longest)
    return RATE / (shortest + correlation[:, shortest:].argmax(axis=1))


def autocorrelation(frames: FloatArray, lags: int) -> FloatArray:
    """Autocorrelation [B, lags] of frames [B, L], 1 at lag 0; 0 for a frame of silence."""
    n = 2 ** int(np.ceil(np.log2(frames.shape[1] + lags)))
    spectrum = rfft(frames, n)
    correlation = irfft(spectrum.real**2 + spectrum.imag**2, n)[:, :lags]
    energy = correlation[:, :1]
    return np.where(energy > 0, correlation / np.where(energy > 0, energy, 1), 0)


def smooth(values: FloatArray) -> FloatArray:
    """Mean of each value and its neighbours over 100 ms [T]; fewer at the ends."""
    kernel = np.ones(min(SMOOTHING, max(1, 2 * len(values) - 1)))
    if not len(values):
        return values
    counts = np.convolve(np.ones(len(values)), kernel, "same")
    return np.convolve(values, kernel, "same") / counts
