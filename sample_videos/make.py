"""Make the sample clips: a portrait that speaks, smiles, frowns and turns its head.

Everything a clip shows is planted here (what is said, expression, head movement, when the mouth is
open), so tests can ask whether the features find it again. The face is NASA's portrait of Eileen
Collins out of scikit-image (public domain), bent by a thin-plate spline through the points of
MediaPipe's face mesh. The voice is CMU Flite's slt, which also says when each sound is spoken.

    apt-get install flite
    python sample_videos/make.py [NAME ...]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import wave
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from scipy.interpolate import RBFInterpolator

from extractors.weights import locate_weights

HERE = Path(__file__).parent
WIDTH, HEIGHT, FPS = 640, 480, 25
CROP = (62, 0, 322)  # of the portrait [512, 512]: left, top, width
RELIEF = 0.75  # depth of the drawn face, of the real one
PAUSE = 0.35  # seconds before, between and after sentences


@dataclass(frozen=True)
class Clip:
    """What is said and how.

    ``smile`` 1 is the portrait's own smile, 0 a resting mouth, below 0 the corners are pulled down;
    ``brow`` lowers and draws together the brows; ``turn`` is the amplitude of the head's turning in
    degrees; ``pitch`` (Hz) and ``stretch`` are the voice's.
    """

    name: str
    sentences: tuple[str, ...]
    smile: float
    brow: float
    turn: float
    pitch: float
    stretch: float


CLIPS = (
    Clip(
        "happy",
        (
            "I really enjoyed this movie.",
            "The acting was wonderful and the story made me smile.",
            "It is one of the best films of the year.",
        ),
        *(1.0, 0.0, 0.0, 185.0, 1.0),
    ),
    Clip(
        "angry",
        (
            "This movie was terrible and painfully boring.",
            "The plot made no sense and the acting was awful.",
            "It was a complete waste of my time.",
        ),
        *(-0.4, 0.65, 0.0, 160.0, 1.08),
    ),
    Clip(
        "neutral",
        (
            "The story takes place in London in the summer.",
            "A man works in an office and lives with his brother.",
        ),
        *(0.0, 0.0, 0.0, 172.0, 1.03),
    ),
    Clip(
        "turning",
        (
            "The first half was slow but the ending was great.",
            "I laughed a lot and I would recommend this film to everyone.",
        ),
        *(0.5, 0.0, 18.0, 178.0, 1.02),
    ),
)

# How wide the jaw stands and how far the lips are rounded (+) or spread (-), by Flite's phones.
VOWELS = {
    "aa": (1.0, 0.0), "ae": (0.9, -0.3), "ah": (0.65, 0.0), "ao": (0.9, 0.5), "aw": (0.9, 0.3),
    "ax": (0.45, 0.0), "ay": (0.9, -0.2), "eh": (0.65, -0.3), "er": (0.45, 0.4), "ey": (0.5, -0.5),
    "ih": (0.4, -0.3), "iy": (0.3, -0.7), "ow": (0.65, 0.8), "oy": (0.7, 0.6), "uh": (0.4, 0.6),
    "uw": (0.3, 1.0),
}  # fmt: skip
CLOSED = {"pau": -0.1, "m": -0.15, "b": -0.15, "p": -0.15, "f": 0.05, "v": 0.05}
CONSONANT = 0.2


def turn_head(clip: Clip, times: np.ndarray) -> np.ndarray:
    """Planted yaw, pitch and roll in degrees [T, 3]; yaw > 0 turns to the picture's right."""
    sway = np.array([[1.5, 1.0, 0.7], [0.9, 0.6, 0.5]])
    speed = np.array([[0.31, 0.43, 0.23], [0.71, 0.89, 0.57]])
    angles = sum(
        a * np.sin(2 * np.pi * (f * times[:, None] + [0.0, 0.3, 0.6]))
        for a, f in zip(sway, speed, strict=True)
    )
    angles[:, 0] += clip.turn * np.sin(2 * np.pi * times / 3.0)
    return angles


def blink(times: np.ndarray) -> np.ndarray:
    """How far the eyes are shut, 0..1 [T]: a fifth of a second every 2.9 seconds."""
    since = (times - 1.3) % 2.9
    return np.clip(1 - np.abs(since - 0.1) / 0.1, 0, 1) ** 0.5


def speak(clip: Clip) -> tuple[np.ndarray, int, list[tuple[float, float, str]]]:
    """Samples, their rate, and the phones (start, end, name)."""
    pieces, phones, n = [], [], 0
    with tempfile.TemporaryDirectory() as folder:
        for sentence in clip.sentences:
            file = f"{folder}/speech.wav"
            command = ["flite", "-voice", "slt", "-psdur", "-t", sentence, "-o", file]
            command += ["--setf", f"int_f0_target_mean={clip.pitch}"]
            command += ["--setf", f"duration_stretch={clip.stretch}"]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            with wave.open(file) as sound:
                rate = sound.getframerate()
                samples = np.frombuffer(sound.readframes(sound.getnframes()), np.int16) / 32768
            start = n / rate
            for entry in said.split():
                phone, end = entry.split(":")
                phones.append((start, n / rate + float(end), phone))
                start = n / rate + float(end)
            pieces.append(np.pad(samples, (0, round(PAUSE * rate))))
            n += len(pieces[-1])
    samples = np.concatenate(pieces)
    # A room, not digital silence.
    samples = samples + 0.0005 * np.random.default_rng(0).standard_normal(len(samples))
    return (0.7 * samples / np.abs(samples).max()).astype(np.float32), rate, phones


def move_mouth(
    phones: list[tuple[float, float, str]], samples: np.ndarray, rate: int, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Opening [T] (1 wide open, below 0 pressed) and rounding [T] of the mouth."""
    grid = np.arange(0, times[-1] + 0.5, 0.01)
    opening, rounding = np.full(len(grid), CLOSED["pau"]), np.zeros(len(grid))
    for start, end, phone in phones:
        at = (grid >= start) & (grid < end)
        opening[at], rounding[at] = VOWELS.get(phone, (CLOSED.get(phone, CONSONANT), 0.0))
    loud = np.array([np.sqrt(np.mean(s**2)) for s in _windows(samples, rate, grid)])
    opening = np.where(opening > 0, opening * (0.2 + 0.8 * np.minimum(loud / 0.15, 1)), opening)
    kernel = np.exp(-0.5 * (np.arange(-12, 13) / 4) ** 2)
    smooth = [np.convolve(x, kernel / kernel.sum(), "same") for x in (opening, rounding)]
    return np.interp(times, grid, smooth[0]), np.interp(times, grid, smooth[1])


def _windows(samples: np.ndarray, rate: int, times: np.ndarray) -> list[np.ndarray]:
    half = rate // 50
    padded = np.pad(samples, (half, rate))
    return [padded[(i := round(t * rate)) : i + 2 * half] for t in times]


def read_portrait() -> tuple[np.ndarray, np.ndarray]:
    """The picture [480, 640, 3] and its face mesh [478, 3] in pixels."""
    from mediapipe import Image, ImageFormat
    from mediapipe.tasks.python.vision import FaceLandmarker
    from skimage.data import astronaut

    left, top, width = CROP
    scale = WIDTH / width
    shift = np.array([[scale, 0, -scale * left], [0, scale, -scale * top]])
    image = cv2.warpAffine(astronaut(), shift, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC)
    with FaceLandmarker.create_from_model_path(str(locate_weights("face-landmarker"))) as detector:
        found = detector.detect(Image(image_format=ImageFormat.SRGB, data=image))
    mesh = np.array([(p.x, p.y, p.z) for p in found.face_landmarks[0]])
    return image, mesh * [WIDTH, HEIGHT, WIDTH]


# Mesh points by the part of the face they move with.
UPPER_OUT = [185, 40, 39, 37, 0, 267, 269, 270, 409]
LOWER_OUT = [146, 91, 181, 84, 17, 314, 405, 321, 375]
UPPER_IN = [191, 80, 81, 82, 13, 312, 311, 310, 415]
LOWER_IN = [95, 88, 178, 87, 14, 317, 402, 318, 324]
CORNERS_OUT, CORNERS_IN = [61, 291], [78, 308]
CHIN = [18, 200, 199, 175, 152, 148, 377, 176, 400, 149, 378]
JAW = [150, 379, 136, 365, 172, 397]
CHEEKS = [50, 280, 205, 425, 207, 427, 187, 411]
LIDS = (
    ([161, 160, 159, 158, 157], [163, 144, 145, 153, 154]),
    ([384, 385, 386, 387, 388], [381, 380, 374, 373, 390]),
)  # upper and lower, from left to right in the picture
BROWS_IN = [107, 55, 336, 285, 66, 65, 296, 295]
BROWS_OUT = [105, 52, 334, 282, 63, 53, 293, 283, 70, 300]
STILL = [33, 133, 263, 362, 1, 4, 5, 6, 168, 2, 98, 327, 64, 294, 10, 151, 9, 67, 297, 54, 284]
STILL += [132, 361, 129, 358, 117, 346, 122, 351, 119, 348, 227, 447]
OVER_LIDS = [27, 28, 29, 56, 257, 258, 259, 286]
LID_POINTS = [i for upper, lower in LIDS for i in upper + lower]
MOUTH = UPPER_OUT + LOWER_OUT + UPPER_IN + LOWER_IN + CORNERS_OUT + CORNERS_IN
CONTROL = [*MOUTH, *CHIN, *JAW, *CHEEKS, *LID_POINTS, *BROWS_IN, *BROWS_OUT, *OVER_LIDS, *STILL]
# The hair turns with the head; collar, shoulders and the frame do not. Pixels of the portrait.
HAIR = [(150, 60), (152, 100), (170, 30), (200, 12), (235, 8), (270, 20), (295, 45), (304, 85)]
HAIR += [(292, 115), (280, 130), (165, 125), (225, 40), (190, 55), (260, 55)]
BODY = [(120, 190), (150, 160), (300, 210), (270, 190), (215, 235), (170, 210), (255, 225)]
BODY += [(x, y) for x in (62, 142, 222, 303, 384) for y in (-25, 241)]
BODY += [(x, y) for x in (62, 384) for y in (60, 120, 180)]


def bend_face(
    mesh: np.ndarray, clip: Clip, opening: float, rounding: float, shut: float
) -> np.ndarray:
    """The mesh [478, 3] with an expression on it, head still."""
    out = mesh.copy()
    unit = np.linalg.norm(mesh[33, :2] - mesh[263, :2])  # between the outer eye corners
    middle = mesh[[61, 291]].mean(axis=0)
    half = np.abs(mesh[291, 0] - mesh[61, 0]) / 2
    side = np.sign(mesh[:, 0] - middle[0])
    # 1 in the middle of the mouth, 0 at its corners.
    centre = np.sqrt(np.clip(1 - ((mesh[:, 0] - middle[0]) / half) ** 2, 0, 1))

    # Smile: what is taken away from the portrait's own.
    less = 1 - clip.smile
    pull = np.clip(((mesh[:, 0] - middle[0]) / half) ** 2, 0, 1)
    lips = np.array(MOUTH)
    out[lips, 0] -= side[lips] * 0.085 * unit * min(less, 1.4) * pull[lips]
    out[lips, 1] += 0.075 * unit * less * pull[lips] - 0.02 * unit * less * centre[lips]
    out[CHEEKS, 1] += 0.03 * unit * less

    # Close the lips, then open them: in a smile the upper teeth stay bare.
    gap = out[LOWER_IN, 1] - out[UPPER_IN, 1]
    shown = 0.85 * max(clip.smile, 0.0)
    out[LOWER_IN, 1] -= 0.6 * (1 - shown) * gap
    out[LOWER_OUT, 1] -= 0.55 * (1 - shown) * gap
    out[UPPER_IN, 1] += 0.36 * (1 - shown) * gap
    out[UPPER_OUT, 1] += 0.25 * (1 - shown) * gap
    drop = 0.18 * unit * max(opening, -0.05)
    for points, share in ((LOWER_IN, 1.0), (LOWER_OUT, 1.0)):
        out[points, 1] += share * drop * centre[points]
    out[CORNERS_OUT + CORNERS_IN, 1] += 0.15 * drop
    out[UPPER_IN + UPPER_OUT, 1] -= 0.12 * max(drop, 0) * centre[UPPER_IN + UPPER_OUT]
    out[CHIN, 1] += drop
    out[JAW, 1] += 0.6 * drop
    out[lips, 0] -= side[lips] * 0.05 * unit * rounding * pull[lips]

    # Lips may touch but not cross: the spline would fold.
    least = 0.018 * unit
    out[LOWER_IN, 1] = np.maximum(out[LOWER_IN, 1], out[UPPER_IN, 1] + least * centre[LOWER_IN])

    for upper, lower in LIDS:
        eye = mesh[lower, 1] - mesh[upper, 1]
        out[upper, 1] += 0.72 * shut * eye
        out[lower, 1] -= 0.08 * shut * eye
        # Without the smile the lower lids relax; a frown narrows the eyes from above.
        out[upper, 1] += 0.12 * clip.brow * eye
    out[BROWS_IN, 1] += 0.19 * unit * clip.brow
    out[BROWS_OUT, 1] += 0.11 * unit * clip.brow
    out[OVER_LIDS, 1] += 0.06 * unit * clip.brow
    return out


def rotate(points: np.ndarray, pivot: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Turn points [n, 3] (x right, y down, z away) about a pivot; yaw, pitch, roll in degrees."""
    yaw, pitch, roll = np.radians(angles)
    cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    cr, sr = np.cos(roll), np.sin(roll)
    turn_y = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    turn_x = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    turn_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return (points - pivot) @ (turn_y @ turn_x @ turn_z).T + pivot


def draw(
    image: np.ndarray,
    mesh: np.ndarray,
    clip: Clip,
    opening: float,
    rounding: float,
    shut: float,
    angles: np.ndarray,
) -> np.ndarray:
    """One frame [480, 640, 3]."""
    scale = WIDTH / CROP[2]
    hair = (np.array(HAIR) - CROP[:2]) * scale
    body = (np.array(BODY) - CROP[:2]) * scale
    axis = mesh[[234, 454]].mean(axis=0)  # between the ears
    pivot = np.array([axis[0], mesh[152, 1] + 20, axis[2]])
    hair = np.column_stack([hair, np.full(len(hair), axis[2] - 20)])

    bent = bend_face(mesh, clip, opening, rounding, shut)
    # A flatter relief: a picture cannot show what was hidden behind the cheek.
    bent[:, 2] = axis[2] + RELIEF * (bent[:, 2] - axis[2])
    shown = rotate(bent, pivot, angles)
    target = np.vstack([shown[CONTROL, :2], rotate(hair, pivot, angles)[:, :2], body])
    source = np.vstack([mesh[CONTROL, :2], hair[:, :2], body])

    # Where each pixel of the frame comes from, on every fourth pixel and linear between.
    step = 4
    ys, xs = np.mgrid[0 : HEIGHT + step : step, 0 : WIDTH + step : step]
    spline = RBFInterpolator(target, source - target, kernel="thin_plate_spline", smoothing=20.0)
    grid = np.column_stack([xs.ravel(), ys.ravel()]).astype(float)
    coarse = (grid + spline(grid)).reshape(*xs.shape, 2).astype(np.float32)
    full_y, full_x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32) / step
    where = cv2.remap(coarse, full_x, full_y, cv2.INTER_LINEAR)
    frame = cv2.remap(image, where, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return hide_inside(frame, mesh, shown)


def hide_inside(frame: np.ndarray, mesh: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """An open mouth is dark below the upper teeth; lips and lids that meet hide what is behind."""
    upper, lower = shown[UPPER_IN, :2], shown[LOWER_IN, :2]
    teeth = mesh[LOWER_IN, 1] - mesh[UPPER_IN, 1]
    edge = upper.copy()
    edge[:, 1] = np.minimum(upper[:, 1] + 0.75 * teeth, lower[:, 1])
    meeting = np.clip(1.6 - 3.2 * (lower[4, 1] - upper[4, 1]) / teeth[4], 0, 1)
    frame = _paint(frame, upper, lower, (118, 58, 54), 0.9 * meeting)
    for over, under in LIDS:
        shut = 1 - (shown[under, 1] - shown[over, 1])[2] / (mesh[under, 1] - mesh[over, 1])[2]
        frame = _paint(frame, shown[over], shown[under], (96, 62, 50), 0.9 * (2.5 * shut - 1.2))
    return _paint(frame, edge, lower, (58, 22, 20), 0.9)


def _paint(
    frame: np.ndarray, top: np.ndarray, bottom: np.ndarray, colour: tuple, strength: float
) -> np.ndarray:
    strength = min(strength, 0.9)
    if strength <= 0 or (bottom[:, 1] - top[:, 1]).max() < 1:
        return frame
    hole = np.zeros(frame.shape[:2], np.uint8)
    polygon = np.round(16 * np.vstack([top, bottom[::-1]])[:, :2]).astype(np.int32)
    cv2.fillPoly(hole, [polygon], 255, lineType=cv2.LINE_AA, shift=4)
    alpha = cv2.GaussianBlur(hole, (0, 0), 1.2)[..., None] / 255.0 * strength
    return (frame * (1 - alpha) + np.array(colour) * alpha).astype(np.uint8)


def make_clip(clip: Clip, image: np.ndarray, mesh: np.ndarray) -> None:
    samples, rate, phones = speak(clip)
    times = np.arange(int(len(samples) / rate * FPS)) / FPS
    opening, rounding = move_mouth(phones, samples, rate, times)
    angles, shut = turn_head(clip, times), blink(times)
    (HERE / f"{clip.name}.txt").write_text(" ".join(clip.sentences) + "\n")
    with av.open(str(HERE / f"{clip.name}.mp4"), "w", options={"movflags": "+faststart"}) as file:
        video = file.add_stream("libx264", FPS, options={"crf": "21", "preset": "slow"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        sound = file.add_stream("aac", rate, layout="mono", bit_rate=64000)
        for i in range(len(times)):
            picture = draw(image, mesh, clip, opening[i], rounding[i], shut[i], angles[i])
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, FPS)
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
        block = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        block.sample_rate, block.pts, block.time_base = rate, 0, Fraction(1, rate)
        file.mux(sound.encode(block))
        file.mux(sound.encode(None))


def main() -> None:
    wanted = sys.argv[1:] or [clip.name for clip in CLIPS]
    image, mesh = read_portrait()
    for clip in CLIPS:
        if clip.name in wanted:
            make_clip(clip, image, mesh)


if __name__ == "__main__":
    main()
