"""Face features of a clip with MediaPipe FaceLandmarker: action units, pose, gaze, shape, HOG."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.types import FeatureTrack, Frame
from extractors.visual_detector import Found, Watcher
from extractors.visual_shape import (
    ACTION_UNITS,
    BLENDSHAPES,
    HOG_SIZE,
    action_units,
    cut_face,
    describe_gradients,
    describe_look,
    gaze_angles,
    head_angles,
    normalise_landmarks,
    reduce_mesh,
)
from extractors.visual_speaker import Face, drop_twins, is_cut, shrink
from extractors.visual_track import COUNTS, check_picking, follow_speaker, pick_frames
from extractors.weights import locate_weights

Floats = NDArray[np.float32]
IN_WORK = 3  # frames: one at each of two detectors, one that waits or is measured


@dataclass(frozen=True)
class MediaPipe:
    """Follow the main speaker's face through a clip.

    Attributes
    ----------
    fps : frames a second to look at, the nearest ones to that grid; None: every frame.
    max_faces : faces looked for in a frame.
    look_around : s between two searches for other faces while one alone is followed.
    min_face : faces lower than this share of the picture are left out.
    confidence : of detection, presence and tracking, 0..1.
    landmarks, hog : whether to give the 136 landmark and the 144 gradient columns.
    path : the model file; None: where ``locate_weights`` finds it.

    Notes
    -----
    The detector runs in video mode: it looks for a face in the neighbourhood of the last one, and
    everywhere now and then (`Watcher`). Landmarks are not smoothed over time, so every row depends
    on its picture alone but for where the face was looked for.

    After the last frame one person is chosen (``choose_speaker``); the other faces only count in
    ``mediapipe.faces``. While that person is not to be seen, the row is NaN, face_present is 0 and
    ``observed`` False, whoever else is in the picture. A cut to another face ends the track; the
    speaker is found again by the look of the face, and where that is not sure, stays missing.

    What is kept until the end is one row of features a face and frame (1.5 kB), never a picture.
    """

    fps: float | None = None
    max_faces: int = 4
    look_around: float = 0.5
    min_face: float = 0.03
    confidence: float = 0.5
    landmarks: bool = True
    hog: bool = True
    path: str | None = None

    def __post_init__(self) -> None:
        check_picking(self.fps, self.max_faces)
        if not self.look_around >= 0:
            raise ValueError(f"look_around must not be negative, got {self.look_around}")

    @property
    def names(self) -> tuple[str, ...]:
        """The columns, D = 366 with landmarks and HOG."""
        return tuple(f"mediapipe.{name}" for name in (*COUNTS, *self._face_names))

    @property
    def _face_names(self) -> tuple[str, ...]:
        names = [*ACTION_UNITS, "pitch", "yaw", "roll", "gaze_pitch", "gaze_yaw"]
        names += ["position.x", "position.y", "position.z"]
        names += ["box.x", "box.y", "box.width", "box.height"]
        names += [f"blendshape.{name}" for name in BLENDSHAPES]
        if self.landmarks:
            names += [f"landmark.{i}.{axis}" for i in range(68) for axis in "xy"]
        if self.hog:
            names += [f"hog.{i}" for i in range(HOG_SIZE)]
        return tuple(names)

    def __call__(self, frames: Iterable[Frame]) -> FeatureTrack:
        """Measure every frame.

        Parameters
        ----------
        frames : in order of time, RGB, any size (it may change on the way).

        Returns
        -------
        FeatureTrack at the frames' own times, one row a frame looked at. ``mediapipe.faces`` and
        ``mediapipe.face_present`` are always finite, the rest is NaN without the speaker's face.
        """
        return follow_speaker(self._watch(pick_frames(frames, self.fps)), self.names)

    def _watch(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, list[Face], bool]]:
        """Every frame with the faces in it, and whether it begins another shot.

        The detectors work on some frames while the next is decoded and an earlier one is measured;
        they run outside of Python, so all cores are used.
        """
        watcher = before = None
        waiting: deque[tuple[Frame, Callable[[], list[Found]], bool]] = deque()
        try:
            for frame in frames:
                watcher = watcher or self._open_watcher()
                after = shrink(frame.image)
                cut, before = is_cut(before, after), after
                waiting.append((frame, watcher.look(frame.image, frame.time, cut), cut))
                if len(waiting) == IN_WORK:
                    yield self._describe_all(*waiting.popleft())
            while waiting:
                yield self._describe_all(*waiting.popleft())
        finally:
            if watcher is not None:
                watcher.close()

    def _open_watcher(self) -> Watcher:
        path = locate_weights("face-landmarker", self.path)
        return Watcher(path, self.max_faces, self.confidence, self.look_around)

    def _describe_all(
        self, frame: Frame, look: Callable[[], list[Found]], cut: bool
    ) -> tuple[Frame, list[Face], bool]:
        faces = (self._describe(frame.image, *one) for one in look())
        return frame, drop_twins([face for face in faces if face is not None]), cut

    def _describe(
        self, image: NDArray[np.uint8], mesh: Floats, blendshapes: Floats, matrix: Floats
    ) -> Face | None:
        height, width = image.shape[:2]
        # z is in picture widths, like x.
        pixels = mesh * np.array([width, height, width], dtype=np.float32)
        low, high = mesh[:, :2].min(axis=0), mesh[:, :2].max(axis=0)
        if high[1] - low[1] < self.min_face:
            return None
        points = reduce_mesh(pixels[:, :2])
        shape = normalise_landmarks(points)
        rotation = matrix[:3, :3]
        rotation = rotation / np.maximum(np.linalg.norm(rotation, axis=0), 1e-9)
        face = cut_face(image, points)
        row: list[Any] = [
            action_units(blendshapes),
            head_angles(rotation),
            gaze_angles(pixels, rotation),
            matrix[:3, 3],
            (*low, *(high - low)),
            blendshapes,
        ]
        if self.landmarks:
            row.append(shape.ravel())
        if self.hog:
            row.append(describe_gradients(face))
        mouth = float(np.hypot(*(shape[66] - shape[62])))
        return Face(points, describe_look(face), mouth, np.concatenate(row, dtype=np.float32))
