"""Who is who among the faces of a clip, and who is its main speaker.

Faces are linked from frame to frame into tracks: same place, same size, a look that does not jump.
A cut to another face, a crossing or a pause ends a track; tracks that look alike are then joined to
a person. When in doubt two tracks stay two persons: a missing row is better than another person's.

Looks were compared on natural clips: one person from frame to frame correlates by .5 (blurred, a
hand before the face) to 1; two persons in the same studio, same place and light, by up to .83; one
person before and after a cut by .88 and more.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_NEAR = 1.0  # how far landmarks may move between two sightings, in face sizes
_GROWTH = 1.5  # how much a face may grow or shrink between two sightings
_LINK_ALIKE = 0.5  # correlation of two looks in a row, in the same place of the same shot
_CUT = 15.0  # mean change of the picture, of 255, that no movement makes: another shot
_JOIN_ALIKE = 0.85  # correlation of looks across cuts and pauses
_BRIDGE = 0.5  # seconds a face may be unseen within a track
_MOST_TRACKS = 400  # joining compares all pairs; beyond this only the longest take part
_SILENT = 0.25  # weight of a face whose mouth never moves, against 1.25 for the liveliest


@dataclass(frozen=True)
class Face:
    """One face in one frame.

    Attributes
    ----------
    points : [68, 2] landmarks in pixels.
    look : [L], mean 0, length 1.
    mouth : how far the lips are apart, in face sizes.
    row : [D], its features.
    """

    points: Floats
    look: Floats
    mouth: float
    row: Floats

    @cached_property
    def size(self) -> float:
        """Root-mean-square distance of the landmarks from their centre, pixels."""
        return float(np.sqrt(self.points.var(axis=0).sum()))


@dataclass(eq=False)
class Track:
    """One face followed without a doubt.

    Attributes
    ----------
    last : the latest sighting, seen at ``time`` seconds.
    frames, times, mouths, rows : of every sighting.
    look, size : sums over the sightings; ``size`` in picture heights.
    """

    last: Face
    time: float
    frames: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    mouths: list[float] = field(default_factory=list)
    rows: list[Floats] = field(default_factory=list)
    look: Floats | float = 0.0
    size: float = 0.0

    def is_open(self, frame: int, time: float) -> bool:
        """Whether a face in this frame may continue the track: seen in the frame before it (which
        may be long ago if few frames are looked at) or a moment ago."""
        return frame - self.frames[-1] <= 1 or time - self.time <= _BRIDGE

    def add(self, face: Face, frame: int, time: float, height: int) -> None:
        self.last, self.time = face, time
        self.frames.append(frame)
        self.times.append(time)
        self.mouths.append(face.mouth)
        self.rows.append(face.row)
        self.look = self.look + face.look
        self.size += face.size / height


def drop_twins(faces: list[Face]) -> list[Face]:
    """The detector sometimes reports one face twice: keep the first."""
    kept: list[Face] = []
    for face in faces:
        if all(_distance(face, other) > 0.3 for other in kept):
            kept.append(face)
    return kept


def shrink(image: NDArray[np.uint8]) -> NDArray[np.int16]:
    """About 32 x 18 pixels of a picture [h, w, 3], enough to see a cut."""
    height, width = image.shape[:2]
    down, right = max(height // 18, 1), max(width // 32, 1)
    return image[down // 2 :: down, right // 2 :: right].astype(np.int16)


def is_cut(before: NDArray[np.int16] | None, after: NDArray[np.int16]) -> bool:
    """Whether two shrunken pictures in a row are of different shots."""
    if before is None or before.shape != after.shape:
        return True
    return float(np.abs(after - before).mean()) > _CUT


def link_faces(
    tracks: list[Track], faces: list[Face], frame: int, time: float, height: int, cut: bool = False
) -> list[Track]:
    """Give every face of a frame to the track it continues, or begin a new one.

    Parameters
    ----------
    tracks : those still open; changed in place.
    frame, time, height : number of the frame, its time in seconds, the picture's height in pixels.
    cut : another shot begins here, so a face in the same place must look the same to be the same.

    Returns
    -------
    The tracks begun here.
    """
    alike = _JOIN_ALIKE if cut else _LINK_ALIKE
    pairs = sorted(
        (distance, t, f)
        for t, track in enumerate(tracks)
        if track.is_open(frame, time)
        for f, face in enumerate(faces)
        if (distance := _distance(track.last, face)) < _NEAR
        and 1 / _GROWTH < face.size / track.last.size < _GROWTH
        and float(track.last.look @ face.look) > alike
    )
    used_tracks: set[int] = set()
    used_faces: set[int] = set()
    for _, t, f in pairs:
        if t not in used_tracks and f not in used_faces:
            used_tracks.add(t)
            used_faces.add(f)
            tracks[t].add(faces[f], frame, time, height)
    begun = []
    for f, face in enumerate(faces):
        if f not in used_faces:
            track = Track(face, time)
            track.add(face, frame, time, height)
            begun.append(track)
    return begun


def _distance(a: Face, b: Face) -> float:
    """Mean way between the landmarks of two faces, in sizes of the smaller one."""
    way = np.hypot(*(a.points - b.points).T).mean()
    return float(way) / max(min(a.size, b.size), 1e-6)


def join_tracks(tracks: list[Track]) -> list[list[Track]]:
    """Persons: tracks that look alike and are never in the picture together, best match first."""
    tracks = sorted(tracks, key=lambda track: -len(track.frames))
    persons = [[track] for track in tracks]
    n = min(len(tracks), _MOST_TRACKS)
    if n < 2:
        return persons
    looks = np.array([track.look for track in tracks[:n]], dtype=np.float64)
    seen = [set(track.frames) for track in tracks[:n]]
    apart = np.eye(n, dtype=bool)
    for a in range(n):
        for b in range(a):
            apart[a, b] = apart[b, a] = not seen[a].isdisjoint(seen[b])

    def compare(looks: NDArray[np.float64]) -> NDArray[np.float64]:
        unit = looks / np.maximum(np.linalg.norm(looks, axis=-1, keepdims=True), 1e-9)
        return unit @ unit.T

    alike = np.where(apart, -1.0, compare(looks))
    while alike.max() > _JOIN_ALIKE:
        a, b = sorted(int(i) for i in np.unravel_index(alike.argmax(), alike.shape))
        persons[a] += persons[b]
        persons[b] = []
        looks[a] += looks[b]
        apart[a] |= apart[b]
        apart[:, a] = apart[a]
        apart[b] = apart[:, b] = True
        alike = np.where(apart, -1.0, compare(looks))
    return [person for person in persons if person]


def choose_speaker(persons: list[list[Track]]) -> int:
    """The main speaker's place in ``persons``: time on screen, times size, times mouth movement.

    Each factor is relative to the largest of the clip; a still mouth counts a fifth of the
    liveliest, so that a silent face that fills the clip still wins over a passer-by.
    """
    frames = np.array([sum(len(track.frames) for track in person) for person in persons], float)
    sizes = np.array([sum(track.size for track in person) for person in persons]) / frames
    speech = np.array([_mouth_speed(person) for person in persons])
    score = (
        frames
        / frames.max()
        * (sizes / max(sizes.max(), 1e-9))
        * (_SILENT + speech / max(speech.max(), 1e-9))
    )
    return int(score.argmax())


def _mouth_speed(person: list[Track]) -> float:
    """Mean speed of opening and closing the lips, face sizes a second."""
    moved, seconds = 0.0, 0.0
    for track in person:
        if len(track.mouths) > 3:
            # A mean of three takes the detector's jitter out.
            smooth = np.convolve(track.mouths, np.ones(3) / 3, mode="valid")
            moved += float(np.abs(np.diff(smooth)).sum())
            seconds += track.times[-2] - track.times[1]
    return moved / seconds if seconds > 0 else 0.0
