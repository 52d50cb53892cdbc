"""Face features of a clip with py-feat (Cheong et al., "Py-Feat", Affective Science, 2023): action
units, emotions, pose, gaze, landmarks, of one network or of several."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.pyfeat_models import MODELS, load_detector, locate_models
from extractors.threads import few_threads
from extractors.types import FeatureTrack, Frame
from extractors.visual_shape import BLENDSHAPES, cut_face, describe_look, normalise_landmarks
from extractors.visual_speaker import Face, drop_twins, is_cut, shrink
from extractors.visual_track import COUNTS, check_picking, follow_speaker, pick_frames
from extractors.weights import Weights

Floats = NDArray[np.float32]

UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 17, 20, 23, 24, 25, 26, 28, 43)
EMOTIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
# The second detector calls them otherwise.
EMOTIONS_V2 = ("Anger", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral")
BATCH_PIXELS = 8 * 640 * 640  # of the pictures looked at together

_ANGLES = {"pitch": "Pitch", "yaw": "Yaw", "roll": "Roll"}
_ANGLES |= {"gaze_pitch": "gaze_pitch", "gaze_yaw": "gaze_yaw"}
# py-feat's angles are radians, positive to the right of the person; here they are degrees, positive
# to the right of the picture, as `visual_shape` has them.
_TURN = dict.fromkeys(("Pitch", "gaze_pitch"), 180 / np.pi)
_TURN |= dict.fromkeys(("Yaw", "Roll", "gaze_yaw"), -180 / np.pi)


@dataclass(frozen=True)
class PyFeat:
    """Follow the main speaker's face through a clip.

    Attributes
    ----------
    detector : "v1" is a chain of networks, each for its own (20 action units by gradient-boosted
        trees, 7 emotions, pose, gaze, 68 landmarks); "v2" one network for all of it, which also
        gives valence, arousal and 52 blendshapes.
    fps : frames a second to look at, the nearest ones to that grid; None: every frame.
    max_faces : of a frame, the largest.
    min_face : faces lower than this share of the picture are left out.
    confidence : of detection, 0..1.
    landmarks : whether to give the 136 landmark columns.
    path : a folder with the models, each in a folder of its name; None: where ``locate_weights``
        finds them.
    batch_size, threads, device : do not change the numbers (but for rounding). ``device`` is "cpu",
        "cuda", "cuda:1" or "auto".

    Notes
    -----
    Every frame is measured on its own, several at once, by py-feat's own code; of each, all faces.
    Whose rows are given is then decided as for every other tool (`follow_speaker`).
    """

    detector: str = "v1"
    fps: float | None = None
    max_faces: int = 4
    min_face: float = 0.03
    confidence: float = 0.5
    landmarks: bool = True
    path: str | None = None
    batch_size: int = field(default=8, compare=False)
    threads: int = field(default=1, compare=False)
    device: str = field(default="cpu", compare=False)

    def __post_init__(self) -> None:
        if self.detector not in MODELS:
            raise ValueError(f"detector must be one of {', '.join(MODELS)}, got {self.detector!r}")
        check_picking(self.fps, self.max_faces)
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence must lie between 0 and 1, got {self.confidence}")
        for name in ("batch_size", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @property
    def names(self) -> tuple[str, ...]:
        """The columns: with landmarks D = 178 of the first detector, 232 of the second."""
        tool = {"v1": "pyfeat", "v2": "pyfeat2"}[self.detector]
        names = [*COUNTS, *self._sources, "position.x", "position.y", "position.z"]
        names += ["box.x", "box.y", "box.width", "box.height", "score"]
        if self.landmarks:
            names += [f"landmark.{i}.{axis}" for i in range(68) for axis in "xy"]
        return tuple(f"{tool}.{name}" for name in names)

    @property
    def _sources(self) -> dict[str, str]:
        """Column -> what py-feat calls it, of those that are taken as they are or turned."""
        sources = {f"au{unit:02}": f"AU{unit:02}" for unit in UNITS}
        theirs = EMOTIONS if self.detector == "v1" else EMOTIONS_V2
        sources |= {f"emotion.{ours}": name for ours, name in zip(EMOTIONS, theirs, strict=True)}
        if self.detector == "v2":
            sources |= {"valence": "valence", "arousal": "arousal"}
            sources |= {f"blendshape.{name}": name for name in BLENDSHAPES}
            sources["blendshape.neutral"] = "_neutral"
        return sources | _ANGLES

    @property
    def weights(self) -> tuple[Weights, ...]:
        """The models of the detector."""
        if self.path is None:
            return MODELS[self.detector]
        folder = Path(self.path)
        return tuple(replace(one, path=str(folder / one.name)) for one in MODELS[self.detector])

    def __call__(self, frames: Iterable[Frame]) -> FeatureTrack:
        """Measure every frame.

        Parameters
        ----------
        frames : in order of time, RGB, any size (it may change on the way).

        Returns
        -------
        FeatureTrack at the frames' own times, one row a frame looked at. ``faces`` and
        ``face_present`` are always finite, the rest is NaN without the speaker's face.

        Raises
        ------
        WeightsMissing, WeightsDamaged : models are not on this machine or not what they should be.
        ImportError : py-feat cannot be imported.
        """
        return follow_speaker(self._watch(pick_frames(frames, self.fps)), self.names)

    @cached_property
    def _loaded(self) -> Any:
        found = locate_models(self.weights)
        # Of the user's own only the place differs.
        known = {model.name: model for model in MODELS[self.detector]}
        models = {known[model.name]: folder for model, folder in found.items()}
        return load_detector(self.detector, models, self.device)

    def _watch(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, list[Face], bool]]:
        """Every frame with the faces in it, and whether it begins another shot."""
        before = None
        for batch in _take_batches(frames, self.batch_size):
            with few_threads(self.threads):
                found = self._look([frame.image for frame in batch])
            for frame, faces in zip(batch, found, strict=True):
                after = shrink(frame.image)
                cut, before = is_cut(before, after), after
                yield frame, drop_twins(faces), cut

    def _look(self, images: list[NDArray[np.uint8]]) -> list[list[Face]]:
        """The faces of pictures of one size, the largest first."""
        import torch

        pictures = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
        size = {"face_size": self._loaded.face_size} if self.detector == "v1" else {}
        with torch.inference_mode():
            found = self._loaded.detect_faces(
                pictures, face_detection_threshold=self.confidence, **size
            )
        single = [face for picture in found for face in self._single_out(picture)]
        faces: list[list[Face]] = [[] for _ in images]
        for face, values in self._measure(single, pictures):
            described = self._describe(images[face["face_id"]], face, values)
            if described is not None:
                faces[face["face_id"]].append(described)
        return faces

    def _single_out(self, picture: dict[str, Any]) -> list[dict[str, Any]]:
        """What py-feat found in a picture, cut into one such record a face."""
        import torch

        # A picture without a face has a row of NaN, which is no height.
        heights = (picture["boxes"][:, 3] - picture["boxes"][:, 1]).cpu().numpy()
        large = heights >= self.min_face * picture["image_size"][0]
        order = [i for i in np.argsort(-heights, kind="stable") if large[i]]
        return [
            {key: v[i : i + 1] if torch.is_tensor(v) else v for key, v in picture.items()}
            for i in order[: self.max_faces]
        ]

    def _measure(self, faces: list[dict[str, Any]], pictures: Any) -> list[tuple[Any, Any]]:
        """Each face with its row of py-feat's table. One whose landmarks lie on a line, which no
        face's do, has none: py-feat fails on it, and on all that are with it."""
        import torch
        from scipy.spatial import QhullError

        if not faces:
            return []
        none, whole = torch.zeros(len(faces)), torch.ones(len(faces))
        padding = dict.fromkeys(("Left", "Top", "Right", "Bottom"), none)
        batch = {"Image": pictures, "Padding": padding, "Scale": whole}
        try:
            table = self._loaded.forward(faces, batch)
        except (QhullError, torch.linalg.LinAlgError):
            half = len(faces) // 2
            return [
                row
                for part in (faces[:half], faces[half:])
                if len(part) < len(faces)
                for row in self._measure(part, pictures)
            ]
        needed = [*self._sources.values(), *"XYZ", *(f"{a}_{i}" for a in "xy" for i in range(68))]
        return list(zip(faces, table[needed].to_dict("records"), strict=True))

    def _describe(
        self, image: NDArray[np.uint8], face: dict[str, Any], values: dict[str, Any]
    ) -> Face | None:
        points = np.array(
            [[values[f"{axis}_{i}"] for axis in "xy"] for i in range(68)], dtype=np.float32
        )
        if not np.isfinite(points).all():
            return None
        height, width = image.shape[:2]
        low, high = points.min(axis=0) / (width, height), points.max(axis=0) / (width, height)
        shape = normalise_landmarks(points)
        row: list[Any] = [
            [values[name] * _TURN.get(name, 1) for name in self._sources.values()],
            [values[axis] for axis in "XYZ"],
            (*low, *(high - low)),  # of the landmarks, as every tool's
            [face["scores"][0].cpu()],
        ]
        if self.landmarks:
            row.append(shape.ravel())
        look = describe_look(cut_face(image, points))
        mouth = float(np.hypot(*(shape[66] - shape[62])))
        return Face(points, look, mouth, np.concatenate(row, dtype=np.float32, casting="unsafe"))


def _take_batches(frames: Iterable[Frame], most: int) -> Iterator[list[Frame]]:
    """Frames of one size in a row, at most so many, fewer if they are large."""
    batch: list[Frame] = []
    for frame in frames:
        height, width = frame.image.shape[:2]
        room = min(most, max(BATCH_PIXELS // (height * width), 1))
        if batch and (frame.image.shape != batch[0].image.shape or len(batch) >= room):
            yield batch
            batch.clear()  # nor is it kept by who asked for it
        batch.append(frame)
    if batch:
        yield batch
