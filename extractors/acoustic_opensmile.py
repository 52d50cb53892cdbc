"""eGeMAPS, openSMILE's 25 low-level descriptors, as an optional track.

(Eyben et al., "The Geneva minimalistic acoustic parameter set", IEEE Transactions on Affective
Computing 7(2), 2016.)

openSMILE is not installed with the rest: audEERING's licence allows research and teaching, but no
commercial use. ``pip install 'opensmile>=2.6,<3'`` adds it.

==================================== ======= =================================================
column (``opensmile.`` before it)    unit    meaning
==================================== ======= =================================================
Loudness_sma3                        sone    estimate of perceived loudness
alphaRatio_sma3                      dB      50-1000 Hz over 1-5 kHz
hammarbergIndex_sma3                 dB      strongest peak of 0-2 kHz over that of 2-5 kHz
slope0-500_sma3, slope500-1500_sma3  dB/Hz   slope of the logarithmic spectrum in two bands
spectralFlux_sma3                    1       change of the spectrum since the frame before
mfcc1_sma3 ... mfcc4_sma3            1       mel cepstrum
F0semitoneFrom27.5Hz_sma3nz          st      pitch above 27.5 Hz
jitterLocal, shimmerLocaldB          1, dB   change of period and amplitude, cycle to cycle
HNRdBACF_sma3nz                      dB      harmonics over noise
logRelF0-H1-H2, logRelF0-H1-A3       dB      first harmonic over second, over third formant's
F1 ... F3 frequency, bandwidth       Hz      formants
F1 ... F3 amplitudeLogRelF0          dB      harmonic at the formant over the first harmonic
==================================== ======= =================================================

The numbers are openSMILE's own. Columns from F0 on have a meaning in voiced speech only: openSMILE
writes 0 or -201 elsewhere, here they are NaN where its F0 is 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.resampling import resampled_length, resampled_slice
from extractors.types import Audio, FeatureTrack
from extractors.weights import WeightsMissing

RATE = 16000
HOP = 160  # 10 ms
FRAME = 320  # 20 ms
LONGEST_FRAME = 960  # 60 ms, of pitch
MARGIN = RATE  # samples before and after a block that are measured and thrown away
SILENCE = 1e-5  # of full scale: -100 dB
DESCRIPTORS = (
    "Loudness_sma3", "alphaRatio_sma3", "hammarbergIndex_sma3", "slope0-500_sma3",
    "slope500-1500_sma3", "spectralFlux_sma3", "mfcc1_sma3", "mfcc2_sma3", "mfcc3_sma3",
    "mfcc4_sma3", "F0semitoneFrom27.5Hz_sma3nz", "jitterLocal_sma3nz", "shimmerLocaldB_sma3nz",
    "HNRdBACF_sma3nz", "logRelF0-H1-H2_sma3nz", "logRelF0-H1-A3_sma3nz", "F1frequency_sma3nz",
    "F1bandwidth_sma3nz", "F1amplitudeLogRelF0_sma3nz", "F2frequency_sma3nz", "F2bandwidth_sma3nz",
    "F2amplitudeLogRelF0_sma3nz", "F3frequency_sma3nz", "F3bandwidth_sma3nz",
    "F3amplitudeLogRelF0_sma3nz",
)  # fmt: skip
PITCH = DESCRIPTORS.index("F0semitoneFrom27.5Hz_sma3nz")


@dataclass(frozen=True)
class OpenSmile:
    """eGeMAPS low-level descriptors (v02) at 100 Hz.

    Row k stands for 10 ms + k * 10 ms, the middle of openSMILE's k-th frame of 20 ms. Pitch and
    what is measured with it come from frames of 60 ms that start with the others: they describe the
    sound 20 ms later.

    Attributes
    ----------
    block : seconds of sound worked on at a time; only memory depends on it.
    """

    block: float = field(default=60.0, compare=False)

    def __post_init__(self) -> None:
        if not self.block > 0:
            raise ValueError(f"block must be positive seconds, got {self.block}")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"opensmile.{name}" for name in DESCRIPTORS)

    def __call__(self, audio: Audio) -> FeatureTrack:
        """Measure ``audio`` (any rate, any length, also none).

        Raises
        ------
        WeightsMissing : openSMILE is not installed.
        """
        smile = self._smile
        count = max(0, (resampled_length(audio, RATE) - FRAME) // HOP + 1)
        values = np.empty((count, len(DESCRIPTORS)), np.float32)
        observed = np.zeros(count, bool)
        length = max(1, round(self.block * RATE / HOP))
        for first in range(0, count, length):
            last = min(first + length, count)
            begin = max(0, first * HOP - MARGIN)
            sound = resampled_slice(audio, RATE, begin, last * HOP + LONGEST_FRAME + MARGIN)
            rows = smile.process_signal(np.clip(sound, -1, 1), RATE).to_numpy()
            skipped = first - begin // HOP
            values[first:last] = rows[skipped : skipped + last - first]
            observed[first:last] = sounding_rows(sound[skipped * HOP :], last - first)
        values[np.ix_(values[:, PITCH] == 0, np.arange(len(DESCRIPTORS)) >= PITCH)] = np.nan
        values[~observed, 1:] = np.nan  # of silence only the loudness is known
        times = np.arange(1, count + 1, dtype=np.float64) * (HOP / RATE)
        return FeatureTrack(values, times, self.names, observed)

    @cached_property
    def _smile(self) -> Any:
        try:
            import opensmile
        except ImportError as error:
            raise WeightsMissing(
                "openSMILE is not installed (it is optional: its licence forbids commercial use). "
                "Install it with: pip install 'opensmile>=2.6,<3'"
            ) from error
        smile = opensmile.Smile(
            feature_set=opensmile.FeatureSet.eGeMAPSv02,
            feature_level=opensmile.FeatureLevel.LowLevelDescriptors,
        )
        if tuple(smile.feature_names) != DESCRIPTORS:
            raise WeightsMissing(
                f"opensmile {opensmile.__version__} has other descriptors than those of eGeMAPS "
                "v02; install: pip install 'opensmile>=2.6,<3'"
            )
        return smile


def sounding_rows(sound: NDArray[np.float32], count: int) -> NDArray[np.bool_]:
    """Rows [count] with any sound above -100 dB in their 20 ms; row k starts at sample k * HOP."""
    loud = np.abs(sound[: (count + 1) * HOP]).reshape(-1, HOP).max(axis=1) > SILENCE
    return loud[:-1] | loud[1:]
