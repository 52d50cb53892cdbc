"""Geometry and look of one face: landmarks, pose, gaze, action units, HOG. No detector here.

Signs are those of the picture as a viewer sees it: yaw > 0 turns to the picture's right, pitch > 0
looks up, roll > 0 tilts clockwise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# The points of MediaPipe's face mesh that make the 68 of Multi-PIE and iBUG 300-W, some the mean of
# two (the correspondence published by P. Yan, Mediapipe_2_Dlib_Landmarks; the jaw's left half is
# mirrored from its right half, so that a mirrored face gives mirrored landmarks).
_JAW_RIGHT = ((127,), (234,), (93,), (132, 58), (58, 172), (136,), (150,), (176,), (152,))
_JAW_LEFT = ((400,), (379,), (365,), (288, 397), (361, 288), (323,), (454,), (356,))
_BROWS = ((70,), (63,), (105,), (66,), (107,), (336,), (296,), (334,), (293,), (300,))
_NOSE = ((168, 6), (197, 195), (5,), (4,), (75,), (97,), (2,), (326,), (305,))
_EYE_RIGHT = ((33,), (160,), (158,), (133,), (153,), (144,))
_EYE_LEFT = ((362,), (385,), (387,), (263,), (373,), (380,))
_LIPS_OUT = ((61,), (39,), (37,), (0,), (267,), (269,), (291,), (321,), (314,), (17,), (84,), (91,))
_LIPS_IN = ((78,), (82,), (13,), (312,), (308,), (317,), (14,), (87,))
MESH_TO_68 = (
    *(*_JAW_RIGHT, *_JAW_LEFT, *_BROWS, *_NOSE),
    *(*_EYE_RIGHT, *_EYE_LEFT, *_LIPS_OUT, *_LIPS_IN),
)
_FIRST = np.array([points[0] for points in MESH_TO_68])
_LAST = np.array([points[-1] for points in MESH_TO_68])

# In the 68-point numbering. Eye corners and nose hardly move with expression.
_RIGID = np.array([*range(27, 36), 36, 39, 42, 45])
_RIGHT_EYE, _LEFT_EYE = np.arange(36, 42), np.arange(42, 48)  # of the person

# FACS action unit <- ARKit blendshapes, left and right averaged. The correspondence is the one in
# common use between ARKit's documented shapes and Ekman & Friesen's units.
ACTION_UNITS = {
    "au01": ("browInnerUp",),
    "au02": ("browOuterUpLeft", "browOuterUpRight"),
    "au04": ("browDownLeft", "browDownRight"),
    "au05": ("eyeWideLeft", "eyeWideRight"),
    "au06": ("cheekSquintLeft", "cheekSquintRight"),
    "au07": ("eyeSquintLeft", "eyeSquintRight"),
    "au09": ("noseSneerLeft", "noseSneerRight"),
    "au10": ("mouthUpperUpLeft", "mouthUpperUpRight"),
    "au12": ("mouthSmileLeft", "mouthSmileRight"),
    "au14": ("mouthDimpleLeft", "mouthDimpleRight"),
    "au15": ("mouthFrownLeft", "mouthFrownRight"),
    "au16": ("mouthLowerDownLeft", "mouthLowerDownRight"),
    "au17": ("mouthShrugLower",),
    "au18": ("mouthPucker",),
    "au20": ("mouthStretchLeft", "mouthStretchRight"),
    "au22": ("mouthFunnel",),
    "au24": ("mouthPressLeft", "mouthPressRight"),
    "au26": ("jawOpen",),
    "au28": ("mouthRollLower", "mouthRollUpper"),
    "au45": ("eyeBlinkLeft", "eyeBlinkRight"),
}

# The detector's 52 scores in its order (ARKit's names; its tongueOut is missing, neutral is new).
# fmt: off
BLENDSHAPES = (
    "neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft",
    "browOuterUpRight", "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft",
    "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight",
    "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight", "eyeSquintLeft",
    "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight",
    "mouthFunnel", "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft",
    "mouthPressRight", "mouthPucker", "mouthRight", "mouthRollLower", "mouthRollUpper",
    "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft", "mouthSmileRight", "mouthStretchLeft",
    "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight", "noseSneerLeft", "noseSneerRight",
)
# fmt: on
_UNIT_WEIGHTS = np.array(
    [
        [(shape in shapes) / len(shapes) for shape in BLENDSHAPES]
        for shapes in ACTION_UNITS.values()
    ],
    dtype=np.float32,
)

FACE_SIDE = 48  # pixels of the aligned face
_CELL, _BINS = 12, 9
HOG_SIZE = (FACE_SIDE // _CELL) ** 2 * _BINS  # 144

_EYEBALL_MM, _IRIS_MM = 12.0, 11.7  # radius; diameter, nearly the same in all people


def action_units(blendshapes: Floats) -> Floats:
    """Action units [20], 0..1, of the blendshapes [52] in the order of ``BLENDSHAPES``."""
    return _UNIT_WEIGHTS @ blendshapes


def reduce_mesh(mesh: Floats) -> Floats:
    """The 68 landmarks [68, d] of a face mesh [478, d]."""
    return (mesh[_FIRST] + mesh[_LAST]) / 2


def normalise_landmarks(points: Floats) -> Floats:
    """Take position, scale and roll out of 68 landmarks.

    Parameters
    ----------
    points : [68, 2] in pixels (x right, y down; both axes in the same unit).

    Returns
    -------
    [68, 2]: the line between the eyes lies level, the centroid of nose and eye corners is 0, and
    their root-mean-square distance from it is 1. Expression and the perspective of a turned head
    stay.
    """
    eyes = points[_LEFT_EYE].mean(axis=0) - points[_RIGHT_EYE].mean(axis=0)
    cos, sin = eyes / max(float(np.hypot(*eyes)), 1e-9)
    rigid = points[_RIGID]
    centre = rigid.mean(axis=0)
    scale = np.sqrt(((rigid - centre) ** 2).sum(axis=1).mean())
    turn = np.array([[cos, -sin], [sin, cos]], dtype=np.float32)
    return (points - centre) @ turn / max(float(scale), 1e-9)


def head_angles(rotation: Floats) -> tuple[float, float, float]:
    """Pitch, yaw and roll in degrees of a rotation [3, 3] from face to camera.

    The axes are MediaPipe's: x to the picture's right, y up, z towards the viewer. The head is
    first rolled, then pitched, then yawed, so pitch and yaw say where the nose points.
    """
    forward = rotation[:, 2]
    yaw = np.arctan2(forward[0], forward[2])
    pitch = np.arctan2(forward[1], np.hypot(forward[0], forward[2]))
    # Up and right as they would be without roll; up is forward x right, written out: numpy's cross
    # takes ten times as long.
    cos, sin = np.cos(yaw), np.sin(yaw)
    right = np.array([cos, 0.0, -sin])
    up = np.array([-forward[1] * sin, forward[2] * cos + forward[0] * sin, -forward[1] * cos])
    roll = np.arctan2(right @ rotation[:, 1], up @ rotation[:, 1])
    return float(np.degrees(pitch)), float(np.degrees(yaw)), float(np.degrees(roll))


def gaze_angles(mesh: Floats, rotation: Floats) -> tuple[float, float]:
    """Pitch and yaw of the eyes inside the head, degrees, the mean of both eyes.

    Parameters
    ----------
    mesh : [478, 3] in pixels, x right, y down, z away from the viewer, with the irises (468-477).
    rotation : [3, 3] from face to camera.

    Notes
    -----
    The mesh is turned back to a frontal head; the iris centre's way from the middle of its eye's
    corners, in millimetres by the iris's known width, over the eyeball's radius is the sine of the
    angle. It is not calibrated to the person: a constant of a few degrees of pitch remains.
    """
    head = (mesh * np.array([1, -1, -1], dtype=np.float32)) @ rotation
    angles = []
    for iris, corners, sides in ((468, (33, 133), (469, 471)), (473, (362, 263), (474, 476))):
        width = np.hypot(*(mesh[sides[0], :2] - mesh[sides[1], :2]))
        offset = (head[iris] - head[list(corners)].mean(axis=0))[:2] * (
            _IRIS_MM / max(float(width), 1e-9)
        )
        angles.append(np.degrees(np.arcsin(np.clip(offset / _EYEBALL_MM, -1, 1))))
    yaw, pitch = np.mean(angles, axis=0)
    return float(pitch), float(yaw)


def cut_face(image: NDArray[np.uint8], points: Floats) -> NDArray[Any]:
    """The face upright at one size: grey [48, 48], eyes level at a third of the height.

    Parameters
    ----------
    image : RGB [h, w, 3].
    points : the 68 landmarks in pixels.
    """
    import cv2

    right, left = points[_RIGHT_EYE].mean(axis=0), points[_LEFT_EYE].mean(axis=0)
    mouth = points[48:60].mean(axis=0)
    level = (left - right) / max(float(np.hypot(*(left - right))), 1e-9)
    down = np.array([-level[1], level[0]])
    middle = (left + right) / 2
    # The distance from eyes to mouth outlasts a turned head, the one between the eyes does not.
    side = max(2.2 * float(max((mouth - middle) @ down, np.hypot(*(left - right)))), 2.0)
    corner = middle - side * (level / 2 + down / 3)

    # Only the face's neighbourhood is made grey, and it is shrunk by area before it is turned:
    # a bilinear warp from a big face straight to 48 pixels would alias.
    reach = np.array([corner + side * (a * level + b * down) for a in (0, 1) for b in (0, 1)])
    height, width = image.shape[:2]
    x0, y0 = np.clip(np.floor(reach.min(axis=0)).astype(int), 0, (width - 1, height - 1))
    x1, y1 = np.clip(np.ceil(reach.max(axis=0)).astype(int) + 1, (x0 + 1, y0 + 1), (width, height))
    grey = cv2.cvtColor(image[y0:y1, x0:x1], cv2.COLOR_RGB2GRAY)
    shrink = max(side / (2 * FACE_SIDE), 1.0)
    small = (max(round((x1 - x0) / shrink), 1), max(round((y1 - y0) / shrink), 1))
    if shrink > 1:
        grey = cv2.resize(grey, small, interpolation=cv2.INTER_AREA)
    ratio = np.array([small[0] / (x1 - x0), small[1] / (y1 - y0)])
    step = side / FACE_SIDE
    # Target pixel (u, v) shows corner + step * ((u + .5) * level + (v + .5) * down).
    start = (corner + step / 2 * (level + down) - (x0, y0)) * ratio - 0.5
    inverse = np.column_stack([step * level * ratio, step * down * ratio, start])
    return cv2.warpAffine(
        grey,
        inverse,
        (FACE_SIDE, FACE_SIDE),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )


def describe_gradients(face: NDArray[np.uint8]) -> Floats:
    """Histogram of oriented gradients (Dalal & Triggs, 2005) of an aligned face [48, 48].

    Returns
    -------
    [144]: 4 x 4 cells of 12 pixels, 9 unsigned orientations each, one block, clipped L2 norm
    (L2-Hys).
    """
    grey = face.astype(np.float32)
    dy, dx = np.zeros_like(grey), np.zeros_like(grey)
    dy[1:-1] = grey[2:] - grey[:-2]
    dx[:, 1:-1] = grey[:, 2:] - grey[:, :-2]
    turn = np.arctan2(dy, dx) * np.float32(_BINS / np.pi)
    bins = np.floor(turn).astype(np.int64) % _BINS
    counts = np.bincount(
        (_CELL_OF * _BINS + bins).ravel(), np.hypot(dx, dy).ravel(), minlength=HOG_SIZE
    )
    histogram = counts / float(_CELL * _CELL)
    for ceiling in (0.2, None):
        histogram = histogram / np.sqrt((histogram**2).sum() + 1e-10)
        histogram = np.minimum(histogram, ceiling) if ceiling else histogram
    return histogram.astype(np.float32)


_PER_SIDE = np.arange(FACE_SIDE) // _CELL
_CELL_OF = _PER_SIDE[:, None] * (FACE_SIDE // _CELL) + _PER_SIDE[None, :]


def describe_look(face: NDArray[np.uint8]) -> Floats:
    """What an aligned face looks like, [144], mean 0 and length 1: the product of two is a
    correlation, 1 for the same picture whatever its brightness and contrast."""
    cells = face.reshape(12, 4, 12, 4).mean(axis=(1, 3), dtype=np.float32).ravel()
    cells -= cells.mean()
    return cells / max(float(np.sqrt(cells @ cells)), 1e-6)
