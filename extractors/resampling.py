"""A recording at another sampling rate: all of it, or any stretch without the rest."""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

from extractors.types import Audio


def resampled_length(audio: Audio, rate: int) -> int:
    """Samples that ``audio`` has at ``rate`` (its duration, rounded to the nearest sample)."""
    return (2 * len(audio.samples) * rate + audio.rate) // (2 * audio.rate)


def resample(audio: Audio, rate: int) -> NDArray[np.float32]:
    """All samples at ``rate``, a minute at a time; those that are at it already as they are."""
    if audio.rate == rate:
        return audio.samples
    samples = np.empty(resampled_length(audio, rate), np.float32)
    for first in range(0, len(samples), 60 * rate):
        last = min(first + 60 * rate, len(samples))
        samples[first:last] = resampled_slice(audio, rate, first, last)
    return samples


def resampled_slice(audio: Audio, rate: int, first: int, last: int) -> NDArray[np.float32]:
    """Samples first..last-1 of ``audio`` at ``rate``; zeros outside of the recording.

    Whole seconds of sound are resampled, with at least one second to spare on both sides: a whole
    second is a whole number of samples at either rate, so the filter meets every output sample in
    the same phase wherever a slice starts. Slices therefore fit together to about 1e-7 of full
    scale, and memory is bound by the slice instead of the recording.

    Parameters
    ----------
    audio : the recording, at any rate.
    rate : wanted samples a second.
    first, last : output samples, half-open; may lie outside of the recording.

    Returns
    -------
    float32 [last - first]
    """
    out = np.zeros(last - first, np.float32)
    inner_first, inner_last = max(first, 0), min(last, resampled_length(audio, rate))
    if inner_first >= inner_last:
        return out
    if audio.rate == rate:
        piece = audio.samples[inner_first:inner_last]
    else:
        origin = max(inner_first // rate - 1, 0)  # seconds
        end = inner_last // rate + 2
        source = audio.samples[origin * audio.rate : end * audio.rate]
        piece = soxr.resample(source, audio.rate, rate, quality="VHQ")
        piece = piece[inner_first - origin * rate : inner_last - origin * rate]
    # The resampler may end a sample before the rounded duration does: that sample stays 0.
    out[inner_first - first : inner_first - first + len(piece)] = piece
    return out
