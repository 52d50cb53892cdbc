"""COVAREP's 74 acoustic columns (Degottex et al., ICASSP 2014) in numpy and scipy.

`Covarep` makes the track; the parts stand alone, for example ``srh_pitch``, ``sedreams``,
``glottal_flow``, ``peak_slope``. README.md in this folder has the table of the columns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from typing import Any

from extractors.types import Audio, FeatureTrack
from extractors.weights import Weights, locate_weights

# Where the parts are. They are imported when they are asked for: a recipe names this package long
# before anything is measured, and scipy takes seconds.
PARTS = {
    "Harmonics": "sinusoids",
    "Pitch": "pitch",
    "creak_inputs": "creak",
    "creak_posterior": "creak",
    "deviation_of_distortion": "distortion",
    "find_harmonics": "sinusoids",
    "find_polarity": "pitch",
    "fit_rd": "phase",
    "frame_spectra": "sinusoids",
    "glottal_flow": "glottal",
    "glottal_periods": "glottal",
    "iaif": "glottal",
    "keep_voiced": "gci",
    "load_network": "creak_network",
    "lp_residual": "prediction",
    "maxima_dispersion": "spectrum",
    "mean_distortion": "distortion",
    "mel_cepstrum": "envelope",
    "peak_slope": "spectrum",
    "phase_distortion": "distortion",
    "sedreams": "gci",
    "srh_pitch": "pitch",
    "true_envelope": "envelope",
    "voice_quality": "pulses",
}
__all__ = ["NAMES", "Covarep", *PARTS]


def __getattr__(name: str) -> Any:
    if name not in PARTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{PARTS[name]}"), name)


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
    creak_model : the user's checkout of COVAREP (or the network file in it), for column creak,
        which is 0 without it. The network's inputs are computed by definitions of our own where the
        papers leave them open: the column has not been compared with COVAREP's.
    block : seconds of sound worked on at a time; it only changes memory (numbers to rounding).
    """

    rd: str = "corrected"
    seed: int = 0
    creak_model: str | None = None
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

    @property
    def weights(self) -> tuple[Weights, ...]:
        """The network of the creak detector, if there is to be one.

        Raises
        ------
        WeightsMissing : it is not where ``creak_model`` says, which is searched for it.
        """
        if self.creak_model is None:
            return ()
        from extractors.acoustic_covarep.creak_network import find_network

        network = find_network(self.creak_model)
        return (Weights("covarep-creak", "COVAREP's creak detector", "GPL-3.0", path=str(network)),)

    @cached_property
    def _creak_network(self) -> Any:
        from extractors.acoustic_covarep.creak_network import load_network

        return next((load_network(locate_weights(network)) for network in self.weights), None)

    def __call__(self, audio: Audio) -> FeatureTrack:
        """Measure ``audio`` (any rate, any length, also none).

        Raises
        ------
        WeightsMissing : there is no trained network where ``creak_model`` says.
        """
        from extractors.acoustic_covarep.measure import measure

        return measure(
            audio, rd=self.rd, seed=self.seed, block=self.block, creak=self._creak_network
        )
