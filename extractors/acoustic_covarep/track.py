"""A recording through all measures, block by block.

Only numbers a frame or a closure instant are kept for the whole file; every array of samples lasts
for one block. A block is read with as much sound around it as the filters need to forget that it
has ends, so that block size changes results by rounding only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from extractors.acoustic_covarep import distortion, gci, glottal, pitch, pulses, sinusoids
from extractors.acoustic_covarep.envelope import mel_cepstrum, spread_evenly, true_envelope
from extractors.acoustic_covarep.phase import fit_rd, wrap
from extractors.acoustic_covarep.prediction import FloatArray, IntArray, lp_residual
from extractors.acoustic_covarep.sinusoids import frame_spectra
from extractors.acoustic_covarep.spectrum import maxima_dispersion, needed_span, peak_slope
from extractors.mapped import forget_pages, make_rows

RATE = 16000  # samples a second; all orders and bands below are meant for it
HOP = 160  # samples between rows
FIRST_ROW = 79  # sample (from 0) of row 0
LP_HOP = 80  # samples; residual frames start at its multiples
LP_MARGIN = 480  # samples that a residual frame reaches, in whole hops
FILTER_MARGIN = 3 * RATE  # samples in which the high-pass filters forget to 1e-15
ORDER = RATE // 1000 + 2  # of the LP residual that closures are searched in
BATCH = 4096  # frames looked at together
SILENCE = 1e-5  # of full scale, -100 dB: below the last bit of 16-bit sound
ENVELOPE_STEP = 4  # bins of the harmonic analysis to one of the envelope: 1024 points suffice


@dataclass(frozen=True)
class Knots:
    """A measure at sample positions: values [P, D] at positions [P]."""

    positions: FloatArray
    values: NDArray[np.floating]


def blocks_of(count: int, size: int) -> Iterator[tuple[int, int]]:
    """Half-open stretches of ``size`` that cover 0..count."""
    for first in range(0, count, size):
        yield first, min(first + size, count)


@dataclass(frozen=True)
class Recording:
    """Sound at 16 kHz, read block by block, with polarity corrected.

    Attributes
    ----------
    samples : float32 [n].
    block : samples a block, a multiple of the hop.
    sign : 1 or -1.
    """

    samples: NDArray[np.float32]
    block: int
    sign: float = 1.0

    def read(self, first: int, last: int) -> tuple[FloatArray, int]:
        """Samples max(first, 0) .. min(last, n) - 1 in float64, and where they start."""
        first = max(first, 0)
        return self.sign * self.samples[first : max(last, first)].astype(np.float64), first

    def residual(self, first: int, last: int, order: int) -> FloatArray:
        """LP residual of the samples first .. last - 1 (clipped to the file)."""
        x, start = self.read(first // LP_HOP * LP_HOP - LP_MARGIN, last + LP_MARGIN)
        first, last = max(first, 0), min(last, len(self.samples))
        return lp_residual(x, order, RATE)[first - start : last - start]

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Half-open stretches that cover the file; what was read of one is then forgotten."""
        for block in blocks_of(len(self.samples), self.block):
            yield block
            forget_pages(self.samples)


@dataclass(frozen=True)
class Survey:
    """What has to be known of the whole file before its voice can be measured.

    Attributes
    ----------
    polarity : 1 or -1.
    strong : samples whose residual of the right sign exceeds 0.4 of the largest magnitude.
    pitch : SRH track.
    """

    polarity: float
    strong: IntArray
    pitch: pitch.Pitch


def survey(recording: Recording) -> Survey:
    """Polarity, strongest residual samples and pitch of a recording."""
    n = len(recording.samples)
    count = pitch.count_frames(n, RATE)
    f0, strength = np.ones(count), np.zeros(count)
    silent = np.zeros(count, bool)
    moments = np.zeros((2, 4))
    largest = 0.0
    strong = np.zeros(0, np.intp)
    peaks = np.zeros(0)
    for first, last in recording.blocks():
        x, start = recording.read(first - FILTER_MARGIN, last + FILTER_MARGIN)
        high = pitch.without_glottal_formant(x, RATE)
        begin = max(0, first - LP_MARGIN)
        near = slice(begin - start, last + LP_MARGIN - start)
        core = slice(first - begin, last - begin)
        for row, model in enumerate((high[near], None)):
            residual = lp_residual(x[near], ORDER, RATE, model)[core]
            moments[row] += pitch.sums_of_powers(residual)
        largest = max(largest, float(np.abs(residual).max()))
        # How strong a sample must be is known at the end only: keep what may still be enough.
        found = np.flatnonzero(np.abs(residual) > gci.STRONG * largest)
        strong, peaks = np.r_[strong, first + found], np.r_[peaks, residual[found]]
        enough = np.abs(peaks) > gci.STRONG * largest
        strong, peaks = strong[enough], peaks[enough]
        frames = frames_of_block(first, last, count)
        if len(frames):
            end = last + pitch.frame_length(RATE)
            x, start = recording.read(first - LP_MARGIN, end + LP_MARGIN)
            before = (first - start) // HOP  # silence that reaches into the block counts too
            silent[frames] = pitch.silent_frames(x, RATE)[before : before + len(frames)]
            sounding = frames[~silent[frames]]
            f0[sounding], strength[sounding] = harmonic_sums(
                recording, first, end, sounding, pitch.F0_MIN, pitch.F0_MAX
            )
    f0_min, f0_max = pitch.narrower_range(f0, strength)
    again = ~silent & pitch.outside(f0, f0_min, f0_max)
    for first, last in recording.blocks():
        frames = frames_of_block(first, last, count)
        frames = frames[again[frames]]
        if len(frames):
            end = last + pitch.frame_length(RATE)
            f0[frames], strength[frames] = harmonic_sums(
                recording, first, end, frames, f0_min, f0_max
            )
    skewness = [pitch.skewness(row) for row in moments]
    polarity = -1.0 if skewness[1] < skewness[0] else 1.0
    track = pitch.Pitch(pitch.frame_times(count, RATE), f0, strength, pitch.voicing(strength))
    return Survey(polarity, strong[polarity * peaks > 0], track)


def frames_of_block(first: int, last: int, count: int) -> IntArray:
    """SRH frames that start in a block (which itself starts at a multiple of the hop)."""
    return np.arange(first // HOP, min(-(-last // HOP), count))


def harmonic_sums(
    recording: Recording, first: int, end: int, frames: IntArray, f0_min: int, f0_max: int
) -> tuple[FloatArray, FloatArray]:
    """SRH of some frames of a block whose frames lie in the samples first .. end - 1."""
    if not len(frames):
        return np.zeros(0), np.zeros(0)
    residual = recording.residual(first, end, pitch.ORDER)
    return pitch.harmonic_sums(residual, RATE, f0_min, f0_max, frames - first // HOP)


def closure_instants(recording: Recording, known: Survey) -> IntArray:
    """SEDREAMS over the blocks of a recording; only instants in voiced stretches."""
    f0_median = known.pitch.median
    if np.isnan(f0_median):
        return np.zeros(0, np.intp)
    minima: list[IntArray] = []
    maxima: list[IntArray] = []
    for first, last in recording.blocks():
        x, start = recording.read(first - FILTER_MARGIN, last + FILTER_MARGIN)
        for found, extrema in zip(
            (minima, maxima),
            gci.find_extrema(gci.mean_based_signal(x, f0_median, RATE)),
            strict=True,
        ):
            at = extrema + start
            found.append(at[(at >= first) & (at < last)])
    if not minima:
        return np.zeros(0, np.intp)
    low, high = gci.pair_extrema(np.concatenate(minima), np.concatenate(maxima))
    place = gci.place_in_cycle(known.strong, low, high)
    if np.isnan(place):
        return np.zeros(0, np.intp)
    begin, end = gci.search_intervals(low, high, place, len(recording.samples))
    instants: list[IntArray] = []
    for first, last in recording.blocks():
        here = slice(*np.searchsorted(begin, (first, last)))
        if here.start < here.stop:
            offset, stop = int(begin[here].min()), int(end[here].max()) + 1
            residual = recording.residual(offset, stop, ORDER)
            instants.append(
                offset + gci.strongest_sample(residual, begin[here] - offset, end[here] - offset)
            )
    every = np.unique(np.concatenate(instants)) if instants else np.zeros(0, np.intp)
    return gci.keep_voiced(every, known.pitch.times, known.pitch.voiced, RATE)


def measure_pulses(recording: Recording, instants: IntArray) -> tuple[Knots, Knots]:
    """NAQ, QOQ, H1-H2, PSP at one set of knots, and MDQ at the other."""
    n = len(recording.samples)
    periods = glottal.glottal_periods(instants, RATE)
    shape, dispersion = np.zeros((len(instants), 4)), np.zeros((len(instants), 1))
    longest_pulse = int(RATE / pulses.PULSE_F0[0]) + 1
    margin = 2 * longest_pulse  # 1.5 periods around an instant
    for first, last in recording.blocks():
        here = np.arange(*np.searchsorted(instants, (first, last)))
        if len(instants) < 2 or not len(here):
            continue
        opening = here[0] == 0
        # The first pulse of a file starts with the file.
        before = int(glottal.LONGEST_PERIOD * RATE) + 1 if opening else margin
        start = max(0, int(instants[here[0]]) - before)
        stop = min(n, int(instants[here[-1]]) + margin)
        flow, derivative = glottal.glottal_flow(
            recording.samples, instants, RATE, start, stop, recording.sign
        )
        shape[here] = pulses.voice_quality(
            flow, derivative, instants[here] - start, periods[here], RATE, opening=bool(opening)
        )
        reach = int(0.2 * periods[here].max()) + 1
        start, stop = needed_span(
            int(instants[here[0]]) - reach, int(instants[here[-1]]) + reach + 1
        )
        start = max(0, start)
        residual = recording.residual(start, stop, ORDER)
        dispersion[here, 0] = maxima_dispersion(residual, instants[here], periods[here], start, n)
    return Knots(instants + 1.0, shape), Knots(instants.astype(float), dispersion)


def measure_slopes(recording: Recording) -> Knots:
    """peakSlope every 10 ms from 20 ms on."""
    n = len(recording.samples)
    count = max(0, (n - 640) // HOP + 1)
    slopes = np.zeros((count, 1))
    for first, last in recording.blocks():
        frames = np.arange(first // HOP, min(-(-last // HOP), count))
        if len(frames):
            start, stop = needed_span(first, last + 640)
            x, start = recording.read(start, stop)
            skipped = (first - start) // HOP
            slopes[frames, 0] = peak_slope(x, RATE, start)[skipped : skipped + len(frames)]
    return Knots(320.0 + HOP * np.arange(count), slopes)


@dataclass(frozen=True)
class Frames:
    """Measures of the sinusoidal frames, every 10 ms from 50 ms on but in digital silence."""

    times: FloatArray
    spread: FloatArray  # [T] samples, from 1, at which COVAREP places the MCEP of these frames
    shape: NDArray[np.float32]  # [T, 2] Rd and its confidence
    cepstrum: NDArray[np.float32]  # [T, 25] MCEP
    mean: NDArray[np.float32]  # [T, 25] HMPDM
    deviation: NDArray[np.float32]  # [T, 13] HMPDD


def measure_frames(
    recording: Recording, track: pitch.Pitch, *, v142_sign: bool, seed: int
) -> Frames:
    """Rd, MCEP, HMPDM and HMPDD of a recording."""
    f0 = np.where(track.f0 <= 1, sinusoids.SILENT_F0, track.f0)
    inside = sinusoids.frames_inside(track.times, f0, len(recording.samples), RATE)
    spread = spread_evenly(len(inside), len(recording.samples)) + 1.0
    centres = np.floor(track.times[inside] * RATE + 0.5).astype(np.intp)
    # Digital silence has no harmonics: it is bridged by the frames around it, like any gap.
    sounding = np.zeros(len(inside), bool)
    half = sinusoids.window_halves(f0[inside], RATE)
    for first, last in blocks_of(len(inside), BATCH):
        batch = slice(first, last)
        windows = zip(centres[batch].tolist(), half[batch].tolist(), strict=True)
        sounding[batch] = [
            np.abs(recording.samples[centre - reach : centre + reach + 1]).max() > SILENCE
            for centre, reach in windows
        ]
        forget_pages(recording.samples)
    inside, centres, spread = inside[sounding], centres[sounding], spread[sounding]
    f0, times = f0[inside], track.times[inside]
    count = len(inside)
    shape, cepstrum = make_rows(count, 2), make_rows(count, 25)
    mean, deviation = make_rows(count, distortion.MEANS), make_rows(count, distortion.DEVIATIONS)
    for first, last in blocks_of(count, max(1, recording.block // HOP)):
        # The distortion is smoothed over frames: some more are needed on both sides.
        begin, end = max(0, first - distortion.REACH), min(count, last + distortion.REACH)
        angles = []
        for a, b in blocks_of(end - begin, sinusoids.BATCH):
            batch = slice(begin + a, begin + b)
            spectra = frame_spectra(
                recording.samples, centres[batch], f0[batch], RATE, recording.sign
            )
            harmonics = sinusoids.find_harmonics(spectra, f0[batch], RATE)
            angles.append(distortion.phase_distortion(harmonics, begin + a, RATE, seed))
            shape[batch] = np.stack(fit_rd(harmonics, v142_sign=v142_sign), axis=1)
            level = np.log(np.maximum(np.abs(spectra[:, ::ENVELOPE_STEP]), 1e-30))
            cepstrum[batch] = mel_cepstrum(true_envelope(level, f0[batch], RATE), 25, RATE)
        phase = np.concatenate(angles)
        del angles  # the block's arrays are the most that is held at any time
        cosine, sine = np.cos(phase), np.sin(phase)
        del phase
        core = slice(first - begin, last - begin)
        mean[first:last] = distortion.mean_distortion(cosine, sine)[core]
        deviation[first:last] = distortion.deviation_of_distortion(cosine, sine, RATE)[core]
        for mapped in (recording.samples, shape, cepstrum, mean, deviation):
            forget_pages(mapped)
    return Frames(times, spread, shape, cepstrum, mean, deviation)


def interpolate(knots: Knots, column: int, at: FloatArray) -> FloatArray:
    """One column of knots on the straight lines between them [len(at)]; 0 outside of the knots."""
    if not len(knots.positions):
        return np.zeros(len(at))
    return np.interp(at, knots.positions, knots.values[:, column], left=0, right=0)


def fill_columns(columns: NDArray[np.float32], first: int, knots: Knots, rows: FloatArray) -> None:
    """Write a measure into the columns [D, T] from ``first`` on; 0 for what is not finite."""
    for column in range(knots.values.shape[1]):
        measured = interpolate(knots, column, rows)
        columns[first + column] = np.where(np.isfinite(measured), measured, 0)
    forget_pages(columns)
    forget_pages(knots.values)


def fill_distortion(
    columns: NDArray[np.float32], first: int, knots: Knots, rows: FloatArray, *, circular: bool
) -> None:
    """Write distortion features (knots and rows in seconds) by way of COVAREP's 5 ms grid."""
    if not len(knots.positions):
        return
    grid = 0.005 * np.arange(int(np.ceil(knots.positions[-1] / 0.005 - 1e-9)) + 1)
    for column in range(knots.values.shape[1]):
        measured: FloatArray = knots.values[:, column].astype(np.float64)
        if circular:
            measured = np.unwrap(measured)
        measured = np.interp(grid, knots.positions, measured, left=0, right=0)
        if circular:
            measured = wrap(measured)
        columns[first + column] = np.interp(rows, grid, measured, left=0, right=0)
        forget_pages(columns)
    forget_pages(knots.values)
