"""Decoded sound, laid out in time."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import IO

import av
import numpy as np
from numpy.typing import NDArray

from extractors.mapped import map_samples

LOUDEST = 1000.0  # times full scale; a file of floats can hold anything, and squares overflow


class SoundLine:
    """Samples laid on a line by position: silence where nothing was laid, first come stays.

    Written to a file, or to memory where none is given. Use it in a ``with`` statement; its samples
    can be had afterwards.

    Attributes
    ----------
    end : samples laid so far, gaps included.
    samples : float32 [end].
    """

    samples: NDArray[np.float32]

    def __init__(self, path: Path | None = None):
        self._path = path
        self._file: IO[bytes] = BytesIO() if path is None else path.open("wb")
        self.end = 0

    def __enter__(self) -> SoundLine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(self._file, BytesIO):
            self.samples = np.frombuffer(self._file.getbuffer(), np.float32)
            return
        self._file.close()
        if kind is None and self._path is not None and self.end:
            self.samples = map_samples(self._path)

    def lay(self, position: int, block: NDArray[np.float32]) -> None:
        """Put samples where they belong; whatever of them comes too late is left out."""
        block = block[max(0, self.end - position) :]
        if not len(block):
            return
        if position > self.end:  # silence is a hole in the file: hours of it take no room
            self._file.seek(4 * position)
            self.end = position
        self._file.write(np.ascontiguousarray(block, np.float32).data)
        self.end += len(block)

    def lay_frames(self, position: int, frames: Sequence[av.AudioFrame]) -> int:
        """Lay frames one after another; returns where the next sample goes."""
        for frame in frames:
            block = frame.to_ndarray()[0]
            if not np.isfinite(block).all():
                block = np.nan_to_num(block, nan=0.0, posinf=0.0, neginf=0.0)
            block = np.clip(block, -LOUDEST, LOUDEST)
            self.lay(position, block)
            position += len(block)
        return position
