"""A light acoustic track: librosa's spectral features and Praat's voice measures.

Everything is computed at 16 kHz on a 100 Hz grid: frame k is centred at (k + 0.5) * 10 ms, and a
recording has the frames whose centre lies inside of it. The constant part (DC offset) of the
recording is taken away first.

==========================  =======  ==========================================================
column                      unit     meaning
==========================  =======  ==========================================================
librosa.mfcc.0 ... 12       dB       DCT of 40 mel bands' level (32 ms transform, 25 ms Hann)
librosa.centroid            Hz       centre of gravity of the magnitude spectrum
librosa.rolloff             Hz       85 % of the magnitudes lie below
librosa.flatness            0..1     geometric over arithmetic mean of the power spectrum
librosa.rms                 1        root mean square over 25 ms, full scale is 1
librosa.level               dB FS    20 log10(rms), not below -100
praat.f0                    Hz       pitch, autocorrelation method; NaN where unvoiced
praat.voiced                0 or 1   the same tracker's decision
praat.hnr                   dB       harmonics to noise, of the pitch frame; NaN where unvoiced
praat.jitter                1        local jitter over ``window``; NaN where unvoiced
praat.shimmer               1        local shimmer over ``window``; NaN where unvoiced
==========================  =======  ==========================================================

A frame below -100 dB FS is digital silence: it is not observed, and all but rms, level and voiced
are NaN.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from extractors.resampling import resampled_length, resampled_slice
from extractors.types import Audio, FeatureTrack

RATE = 16000  # samples a second
HOP = 160  # samples from frame to frame: 10 ms
N_FFT = 512  # 32 ms
WINDOW = 400  # 25 ms
N_MELS = 40
SILENCE_DB = -100.0  # below the last bit of 16-bit sound
OVERLAP = 2 * RATE  # samples around a block that Praat sees and that are thrown away


@dataclass(frozen=True)
class Librosa:
    """Spectrum, level, pitch, jitter and shimmer at 100 Hz.

    Attributes
    ----------
    n_mfcc : cepstral coefficients, the first is 0.
    f0_min, f0_max : Hz, range of the pitch search. Praat looks at three periods of f0_min at once.
    window : seconds around a frame over which jitter and shimmer are taken.
    block : seconds of sound worked on at a time; only memory depends on it. Frame by frame measures
        are the same to rounding. Praat finds the best path of pitch through a whole block and its
        two seconds of overlap on both sides, so pitch, jitter and shimmer are the same unless a
        voiced stretch without any break goes on for more than the overlap.
    """

    n_mfcc: int = 13
    f0_min: float = 60.0
    f0_max: float = 500.0
    window: float = 0.2
    block: float = field(default=30.0, compare=False)

    def __post_init__(self) -> None:
        if not 1 <= self.n_mfcc <= N_MELS:
            raise ValueError(f"n_mfcc must be 1..{N_MELS}, got {self.n_mfcc}")
        if not 20.0 <= self.f0_min < self.f0_max <= RATE / 4:
            raise ValueError(
                f"pitch range must satisfy 20 <= f0_min < f0_max <= {RATE // 4} Hz, "
                f"got {self.f0_min}, {self.f0_max}"
            )
        if not 0 < self.window <= 2:
            raise ValueError(f"window must be in (0, 2] seconds, got {self.window}")
        if not self.block > 0:
            raise ValueError(f"block must be positive seconds, got {self.block}")

    @property
    def names(self) -> tuple[str, ...]:
        spectral = ("centroid", "rolloff", "flatness", "rms", "level")
        voice = ("f0", "voiced", "hnr", "jitter", "shimmer")
        return (
            *(f"librosa.mfcc.{i}" for i in range(self.n_mfcc)),
            *(f"librosa.{name}" for name in spectral),
            *(f"praat.{name}" for name in voice),
        )

    def __call__(self, audio: Audio) -> FeatureTrack:
        """Measure ``audio`` (any rate, any length, also none) at 100 Hz."""
        n_frames = (resampled_length(audio, RATE) + HOP // 2 - 1) // HOP
        values = np.empty((n_frames, len(self.names)), np.float32)
        offset, peak = offset_and_peak(audio.samples)
        block = max(1, round(self.block * RATE / HOP))
        for first in range(0, n_frames, block):
            last = min(first + block, n_frames)
            sound = resampled_slice(audio, RATE, first * HOP - OVERLAP, last * HOP + OVERLAP)
            inside = slice(
                max(0, OVERLAP - first * HOP),
                max(0, resampled_length(audio, RATE) - first * HOP + OVERLAP),
            )
            sound[inside] -= np.float32(offset)
            values[first:last] = np.hstack(
                [
                    spectral_frames(sound, last - first, self.n_mfcc),
                    voice_frames(sound, last - first, peak, self.f0_min, self.f0_max, self.window),
                ]
            )
        level = values[:, self.names.index("librosa.level")]
        voiced = values[:, self.names.index("praat.voiced")]
        observed = level > SILENCE_DB
        measured_in_silence = [
            name in ("librosa.rms", "librosa.level", "praat.voiced") for name in self.names
        ]
        values[np.ix_(~observed, ~np.array(measured_in_silence))] = np.nan
        return FeatureTrack(
            values,
            np.arange(0.5, n_frames) * (HOP / RATE),
            self.names,
            observed,
            {"voiced_frames": float(voiced.sum()), "silent_frames": float((~observed).sum())},
        )


def offset_and_peak(samples: NDArray[np.float32]) -> tuple[float, float]:
    """Mean of the samples and largest distance from it."""
    if not len(samples):
        return 0.0, 0.0
    mean = float(samples.mean(dtype=np.float64))
    return mean, max(float(samples.max()) - mean, mean - float(samples.min()))


def spectral_frames(sound: NDArray[np.float32], n_frames: int, n_mfcc: int) -> NDArray[np.floating]:
    """librosa's measures of ``n_frames`` frames.

    Parameters
    ----------
    sound : float32 at 16 kHz; frame 0 is centred 5 ms after the leading ``OVERLAP``.

    Returns
    -------
    [n_frames, n_mfcc + 5] : mfcc, centroid, rolloff, flatness, rms, level.
    """
    import librosa

    def frames_of(length: int) -> NDArray[np.float32]:
        start = OVERLAP + HOP // 2 - length // 2
        return sound[start : start + (n_frames - 1) * HOP + length]

    spectrum = np.abs(
        librosa.stft(frames_of(N_FFT), n_fft=N_FFT, hop_length=HOP, win_length=WINDOW, center=False)
    )
    mel = librosa.feature.melspectrogram(S=spectrum**2, sr=RATE, n_mels=N_MELS)
    rms = librosa.feature.rms(
        y=frames_of(WINDOW), frame_length=WINDOW, hop_length=HOP, center=False
    )
    level = np.maximum(20 * np.log10(np.maximum(rms, 1e-30)), SILENCE_DB)
    return np.vstack(
        [
            # top_db would clip against the loudest frame of the block
            librosa.feature.mfcc(S=librosa.power_to_db(mel, top_db=None), n_mfcc=n_mfcc),
            librosa.feature.spectral_centroid(S=spectrum, sr=RATE),
            librosa.feature.spectral_rolloff(S=spectrum, sr=RATE),
            librosa.feature.spectral_flatness(S=spectrum),
            rms,
            level,
        ]
    ).T


def voice_frames(
    sound: NDArray[np.float32],
    n_frames: int,
    peak: float,
    f0_min: float,
    f0_max: float,
    window: float,
) -> NDArray[np.floating]:
    """Praat's pitch (Boersma 1993), and jitter and shimmer (local) of its glottal pulses.

    Parameters
    ----------
    sound : at 16 kHz; frame 0 is centred 5 ms after the leading ``OVERLAP``.
    peak : largest amplitude of the whole recording, against which Praat's silence is meant.

    Returns
    -------
    [n_frames, 5] : f0 (Hz), voiced, harmonics-to-noise ratio (dB), jitter, shimmer.
    """
    import parselmouth
    from parselmouth.praat import call

    out = np.full((n_frames, 5), np.nan)
    out[:, 1] = 0
    step = HOP / RATE
    # Praat centres its frames in the sound. This margin before the first and after the last centre
    # leaves half a step over, so that their number and place do not hang on rounding.
    margin = round((3 / f0_min + step / 2) / 2 * RATE)
    before = (OVERLAP + HOP // 2 - margin) // HOP  # frames inside the overlap
    start = OVERLAP + HOP // 2 - margin - before * HOP
    heard = parselmouth.Sound(
        sound[start : start + (n_frames - 1 + 2 * before) * HOP + 2 * margin].astype(np.float64),
        RATE,
    )
    block_peak = offset_and_peak(heard.values[0])[1]
    if block_peak == 0 or peak == 0:
        return out
    pitch = heard.to_pitch_ac(
        time_step=step,
        pitch_floor=f0_min,
        pitch_ceiling=f0_max,
        # Praat compares with the loudest sample it is given; the recording's loudest is meant.
        silence_threshold=0.03 * peak / block_peak,
    )
    chosen = pitch.selected_array[before : before + n_frames]
    voiced = chosen["frequency"] > 0
    strength = np.clip(chosen["strength"][voiced], 1e-6, 1 - 1e-6)
    out[voiced, 0] = chosen["frequency"][voiced]
    out[voiced, 1] = 1
    out[voiced, 2] = 10 * np.log10(strength / (1 - strength))
    if voiced.any():
        pulses = call([heard, pitch], "To PointProcess (cc)")
        periods = (1e-4, 1.25 / f0_min, 1.3)  # shortest and longest (s), largest ratio of two
        for k in np.flatnonzero(voiced):
            centre = margin / RATE + (before + k) * step
            span = (centre - window / 2, centre + window / 2)
            out[k, 3] = call(pulses, "Get jitter (local)", *span, *periods)
            out[k, 4] = call([heard, pulses], "Get shimmer (local)", *span, *periods, 1.6)
    return out
