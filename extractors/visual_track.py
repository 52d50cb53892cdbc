"""From the faces of every picture to the track of the main speaker, whatever found the faces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from extractors.mapped import forget_pages, make_rows
from extractors.types import FeatureTrack, Frame
from extractors.visual_speaker import Face, Track, choose_speaker, join_tracks, link_faces

Floats = NDArray[np.float32]

COUNTS = ("face_present", "faces")  # the first columns of every track of faces
ROWS = 4096  # in a block
BATCH = 512  # rows written together


def check_picking(fps: float | None, max_faces: int) -> None:
    """See that what every tool for faces is told makes sense.

    Raises
    ------
    ValueError : it does not.
    """
    if fps is not None and not fps > 0:
        raise ValueError(f"fps must be positive or none for every frame, got {fps}")
    if max_faces < 1:
        raise ValueError(f"max_faces must be at least 1, got {max_faces}")


def pick_frames(frames: Iterable[Frame], fps: float | None) -> Iterator[Frame]:
    """The frames nearest to the grid 0, 1/fps, 2/fps, ..., each once; all of them without ``fps``.

    A frame that is not later than the one before it (a broken time stamp) is left out.
    """
    previous: Frame | None = None
    grid = 0
    for frame in frames:
        if previous is not None and frame.time <= previous.time:
            continue
        if fps is None:
            yield frame
        elif previous is not None:
            middle = (previous.time + frame.time) / 2
            if grid / fps < middle:
                yield previous
                grid = int(np.ceil(middle * fps))
        previous = frame
    if fps is not None and previous is not None and (grid == 0 or grid / fps <= previous.time):
        yield previous


def follow_speaker(
    seen: Iterable[tuple[Frame, list[Face], bool]], names: tuple[str, ...]
) -> FeatureTrack:
    """The rows of the one person who is the clip's main speaker.

    Parameters
    ----------
    seen : every frame in order of time, the faces in it, and whether it begins another shot.
    names : of the columns: ``COUNTS``, then those of a face's row.

    Returns
    -------
    One row a frame: whether the speaker is to be seen, how many faces are, and the speaker's row,
    NaN while he or she is not there, whoever else is. ``observed`` is that of the speaker.
    """
    times: list[float] = []
    counts: list[int] = []
    tracks: list[Track] = []
    open_tracks: list[Track] = []
    rows = _Rows()
    for frame, faces, cut in seen:
        faces = [replace(face, row=rows.keep(face.row)) for face in faces]
        height = frame.image.shape[0]
        begun = link_faces(open_tracks, faces, len(times), frame.time, height, cut)
        tracks += begun
        open_tracks = [t for t in open_tracks if t.is_open(len(times), frame.time)] + begun
        times.append(frame.time)
        counts.append(len(faces))
    return _assemble(times, counts, tracks, names)


def _assemble(
    times: list[float], counts: list[int], tracks: list[Track], names: tuple[str, ...]
) -> FeatureTrack:
    values = make_rows(len(times), len(names))
    seen = np.zeros(len(times), dtype=bool)
    others, pieces = 0, 0
    if tracks:
        persons = join_tracks(tracks)
        speaker = persons.pop(choose_speaker(persons))
        others, pieces = sum(map(_stays, persons)), len(speaker)
        for track in speaker:
            seen[track.frames] = True
            for number, (frame, row) in enumerate(zip(track.frames, track.rows, strict=True)):
                values[frame, len(COUNTS) :] = row
                if number % BATCH == 0:
                    forget_pages(values)
                    forget_pages(row)
    for first in range(0, len(values), BATCH):
        part = slice(first, first + BATCH)
        values[part][~seen[part]] = np.nan
        values[part, 0], values[part, 1] = seen[part], counts[part]
        forget_pages(values)
    notes: dict[str, float | str] = {
        "frames_looked_at": len(times),
        "frames_with_speaker": int(seen.sum()),
        "frames_with_faces": sum(count > 0 for count in counts),
        "other_persons": others,
        "speaker_found_again": max(pieces - 1, 0),
    }
    return FeatureTrack(values, np.array(times, dtype=np.float64), names, seen, notes)


def _stays(person: list[Track]) -> bool:
    """Whether a person is there for a fifth of a second in all: no false alarm, no passing blur."""
    return sum(track.times[-1] - track.times[0] for track in person) >= 0.2


class _Rows:
    """Rows side by side in blocks, which lie in files."""

    def __init__(self) -> None:
        self._used = ROWS
        self._block = np.empty((0, 0), np.float32)

    def keep(self, row: Floats) -> Floats:
        """The same row [D], in a block."""
        if self._used == ROWS:
            forget_pages(self._block)
            self._used, self._block = 0, make_rows(ROWS, len(row))
        kept = self._block[self._used]
        kept[:] = row
        self._used += 1
        return kept
