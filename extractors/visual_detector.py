"""MediaPipe's FaceLandmarker in video mode, giving arrays: quiet, fast, and without a network."""

from __future__ import annotations

import ctypes
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from extractors.weights import WeightsMissing

FOLLOWERS = 2  # detectors that follow a single face, the pictures in turn
STEP = 1_000_000  # ms that a detector is told lie between two pictures, see `Watcher`

Floats = NDArray[np.float32]
Found = tuple[Floats, Floats, Floats]  # mesh [478, 3], blendshapes [52], pose [4, 4]


class Library(NamedTuple):
    """MediaPipe's modules for faces and for pictures, and the options of a detector."""

    vision: Any
    images: Any
    options: Any


def load_library(path: Path, max_faces: int, confidence: float) -> Library:
    """Import MediaPipe and say how it is to look for faces.

    Raises
    ------
    ImportError : a system library is missing; the message names it and how to install it.
    """
    try:
        from mediapipe.tasks.python.core import base_options, mediapipe_c_bindings
        from mediapipe.tasks.python.vision import face_landmarker
        from mediapipe.tasks.python.vision.core import image, vision_task_running_mode

        mediapipe_c_bindings.load_raw_library()
    except OSError as e:
        raise ImportError(
            f"MediaPipe needs a system library that is not installed ({e}); on Debian or "
            "Ubuntu: apt-get install libegl1 libgles2 (no GPU is needed)"
        ) from e

    class QuietOptions(base_options.BaseOptions):
        """MediaPipe reports its use to its maker over the network. Faces are private and this
        project works offline, so it is given no certificate to trust."""

        def to_ctypes(self) -> Any:
            options = super().to_ctypes()
            options.ca_bundle_path = os.devnull.encode()
            return options

    options = face_landmarker.FaceLandmarkerOptions(
        base_options=QuietOptions(model_asset_path=str(path)),
        running_mode=vision_task_running_mode.VisionTaskRunningMode.VIDEO,
        num_faces=max_faces,
        min_face_detection_confidence=confidence,
        min_face_presence_confidence=confidence,
        min_tracking_confidence=confidence,
        output_face_blendshapes=True,
        output_facial_transformation_matrixes=True,
    )
    return Library(face_landmarker, image, options)


def open_detector(library: Library) -> Any:
    """A detector for one clip (it remembers where faces were); ``close`` it at the end.

    Raises
    ------
    WeightsMissing : the file is not a face model.
    """
    try:
        with _without_chatter():
            return library.vision.FaceLandmarker.create_from_options(library.options)
    except (ValueError, RuntimeError) as e:
        raise WeightsMissing(
            f"face-landmarker: {library.options.base_options.model_asset_path} cannot be read as a "
            f"MediaPipe face model: {e}"
        ) from e


def detect_faces(
    library: Library, detector: Any, image: NDArray[np.uint8], stamp: int
) -> list[Found]:
    """Mesh [478, 3] in picture sizes, blendshapes [52] and pose [4, 4] of each face.

    This is ``FaceLandmarker.detect_for_video`` without the 478 Python objects a face that it makes
    of its result: they cost a tenth of the whole detection.
    """
    picture = library.images.Image(
        image_format=library.images.ImageFormat.SRGB, data=np.ascontiguousarray(image)
    )
    result = library.vision.MpFaceLandmarkerResultC()
    detector._lib.MpFaceLandmarkerDetectForVideo(
        detector._handle, picture._image_ptr, None, stamp, ctypes.byref(result)
    )
    try:
        found = []
        for i in range(result.face_landmarks_count):
            mesh, shapes = result.face_landmarks[i], result.face_blendshapes[i]
            found.append(
                (
                    _copy_columns(mesh.landmarks, mesh.landmarks_count, ("x", "y", "z")),
                    _copy_columns(shapes.categories, shapes.categories_count, ("score",))[:, 0],
                    result.facial_transformation_matrixes[i].to_numpy(),
                )
            )
        return found
    finally:
        detector._lib.MpFaceLandmarkerCloseResult(ctypes.byref(result))


def _copy_columns(structs: Any, count: int, fields: tuple[str, ...]) -> Floats:
    """Some float fields of an array of C structs: [count, fields]."""
    struct = structs._type_
    layout = np.dtype(
        {
            "names": fields,
            "formats": ["f4"] * len(fields),
            "offsets": [getattr(struct, name).offset for name in fields],
            "itemsize": ctypes.sizeof(struct),
        }
    )
    table = np.frombuffer(ctypes.string_at(structs, count * layout.itemsize), layout)
    return np.stack([table[name] for name in fields], axis=-1)


class Watcher:
    """Finds the faces in a clip's pictures, one after another, on two cores.

    Searching the whole picture for faces costs a fifth of all the work, and is needless while there
    is one face that is followed. So some detectors follow a single face, and search only when they
    have none: they take the pictures in turn, so that two work at once. One more searches every
    picture for up to ``max_faces``. It is asked on the first picture, after a cut and every
    ``look_around`` seconds; once it has seen several faces it has every picture, until it sees no
    more than one for as long.

    A detector that follows one face would smooth it over time (MediaPipe's one-euro filter, Casiez
    et al. 2012), so that mouths close a frame late. There is no setting against that, but the
    filter weighs by time: with ``STEP`` between two pictures nothing of the picture before is left.

    Parameters
    ----------
    path : of the model.
    look_around : s.
    """

    def __init__(self, path: Path, max_faces: int, confidence: float, look_around: float):
        followed = load_library(path, 1, confidence)
        self._followers = [_Detector(followed) for _ in range(FOLLOWERS)]
        self._searcher = _Detector(load_library(path, max_faces, confidence))
        self._alone = max_faces == 1
        self._look_around = look_around
        self._count = 0
        self._looked = -np.inf  # s, when all faces were last searched
        self._several = -np.inf  # s, when more than one was last seen

    def look(self, image: NDArray[np.uint8], time: float, cut: bool) -> Callable[[], list[Found]]:
        """Begin to look for faces in the next picture.

        Parameters
        ----------
        image : [h, w, 3]
        time : s, of the picture.
        cut : whether it begins another shot.

        Returns
        -------
        What waits for them. To be called for one picture after another, each a fixed number of
        pictures later: what was seen decides how the next pictures are looked at.
        """
        if cut:
            for follower in self._followers:
                follower.forget(image)
        follower = self._followers[self._count % FOLLOWERS]
        self._count += 1
        if self._alone:
            return follower.look(image).result
        watched = time - self._several <= self._look_around
        searched = None
        if cut or watched or time - self._looked >= self._look_around:
            searched, self._looked = self._searcher.look(image), time
        followed = None if watched else follower.look(image)

        def wait() -> list[Found]:
            everywhere = [] if searched is None else searched.result()
            if len(everywhere) > 1:
                self._several = time
            if followed is None or len(everywhere) > 1:
                return everywhere
            return followed.result() or everywhere

        return wait

    def close(self) -> None:
        """Free the detectors."""
        for detector in (*self._followers, self._searcher):
            detector.close()


class _Detector:
    """MediaPipe's, in a thread of its own. It remembers faces, so every clip gets its own."""

    def __init__(self, library: Library):
        self._library = library
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="faces")
        self._opened: Any = None
        self._seen = 0

    def look(self, image: NDArray[np.uint8]) -> Future[list[Found]]:
        self._seen += 1
        return self._thread.submit(self._detect, image, self._seen * STEP)

    def forget(self, image: NDArray[np.uint8]) -> None:
        """Lose the face, so that the next picture is searched: in another shot, or in a picture of
        another size, it would be looked for in a place that means nothing there."""
        if self._seen:
            self.look(np.zeros_like(image))

    def close(self) -> None:
        self._thread.submit(self._close)
        self._thread.shutdown()

    def _detect(self, image: NDArray[np.uint8], stamp: int) -> list[Found]:
        self._opened = self._opened or open_detector(self._library)
        return detect_faces(self._library, self._opened, image, stamp)

    def _close(self) -> None:
        if self._opened is not None:
            self._opened.close()


_CHATTER = re.compile(rb"^([IW]\d{4} .*|INFO: .*|WARNING: Logging before .*)\n", re.MULTILINE)
_STDERR = threading.Lock()


@contextmanager
def _without_chatter() -> Iterator[None]:
    """Keep MediaPipe's start-up notes off the terminal: it has no setting for that.

    What anything else writes to the error stream meanwhile appears a moment later.
    """
    with _STDERR, tempfile.TemporaryFile() as kept:
        try:
            screen = os.dup(2)
        except OSError:  # there is no error stream
            yield
            return
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(screen, 2)
            kept.seek(0)
            os.write(screen, _CHATTER.sub(b"", kept.read()))
            os.close(screen)
