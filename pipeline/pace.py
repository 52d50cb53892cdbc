"""How long the rest of a batch may take, from what was measured so far."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

EACH = 1.0  # s of video: what a clip costs beside its length, and what one without a length counts


@dataclass
class Pace:
    """Clips weigh as much as they last.

    Attributes
    ----------
    lengths : the seconds of each clip; None = not known, such a clip counts as the others' mean.
    """

    lengths: Mapping[Path, float | None]
    _left: dict[Path, float] = field(default_factory=dict)
    _shares: dict[Path, float] = field(default_factory=dict)
    _rest: float = 0.0  # the sum of what is left
    _worked: float = 0.0
    _started: float | None = None

    def __post_init__(self) -> None:
        known = [length for length in self.lengths.values() if length is not None]
        usual = sum(known) / len(known) if known else 0.0
        self._left = {
            clip: EACH + (usual if length is None else length)
            for clip, length in self.lengths.items()
        }
        self._rest = sum(self._left.values())

    def begin(self) -> None:
        """Work begins; what was reused before did not count."""
        self._started = time.monotonic()

    def tell(self, clip: Path, share: float) -> None:
        """So much of a clip is done."""
        self._shares[clip] = max(share, self._shares.get(clip, 0.0))

    def end(self, clip: Path, worked: bool) -> None:
        """A clip is finished; one that was not worked on says nothing of the speed."""
        weight = self._left.pop(clip, 0.0)
        self._rest -= weight
        self._shares.pop(clip, None)
        if worked:
            self._worked += weight

    def estimate(self) -> float | None:
        """Seconds until all is done at the speed measured so far; None before anything is known."""
        if not self._left:
            return 0.0
        begun = sum(self._left[clip] * share for clip, share in self._shares.items())
        if self._started is None or self._worked + begun <= 0:
            return None
        spent = time.monotonic() - self._started
        # Weights that are subtracted one by one end a little below 0.
        return max(0.0, self._rest - begun) * spent / (self._worked + begun)
