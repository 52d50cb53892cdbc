"""Pictures as a person would see them: turned, in proportion, in their colours."""

from __future__ import annotations

from dataclasses import replace

import av
import numpy as np
import pytest

from pipeline.clip import open_clip
from pipeline.media import read_frames
from tests.media_maker import make_clip

# The display matrix of an MP4 track, as 16.16 numbers (a, b, c, d), and where the picture's top
# left corner is then shown (row, column of a 2 x 2 grid).
TURNS = {
    "90 clockwise": ((0, 1, -1, 0), (0, 1)),
    "180": ((-1, 0, 0, -1), (1, 1)),
    "90 counterclockwise": ((0, -1, 1, 0), (1, 0)),
    "mirrored": ((-1, 0, 0, 1), (0, 1)),
    "transposed": ((0, 1, 1, 0), (0, 0)),
}


@pytest.mark.parametrize("turn", TURNS)
def test_a_phone_held_sideways_gives_upright_pictures(tmp_path, turn):
    (a, b, c, d), corner = TURNS[turn]
    path = tmp_path / "clip.mp4"
    _encode_bright_corner(path, width=96, height=64)
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40  # version 0: the matrix comes 40 bytes into the box
    matrix = np.array([a, b, 0, c, d, 0, 0, 0, 0x4000], ">i4") * 0x10000
    data[place : place + 36] = matrix.astype(">i4").tobytes()
    path.write_bytes(data)

    frame = next(read_frames(open_clip(path)))
    height, width = frame.image.shape[:2]
    assert (height, width) == ((96, 64) if a == 0 else (64, 96))
    quarters = frame.image.reshape(2, height // 2, 2, width // 2, 3).mean(axis=(1, 3, 4))
    assert np.unravel_index(quarters.argmax(), (2, 2)) == corner


def _encode_bright_corner(path, width, height):
    image = np.full((height, width, 3), 16, np.uint8)
    image[: height // 2, : width // 2] = 235
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for i in range(3):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = i
            out.mux(stream.encode(frame))
        out.mux(stream.encode())


def test_pictures_are_scaled_down_never_up_and_pixels_made_square(tmp_path):
    clip = open_clip(make_clip(tmp_path / "clip.mp4", size=(320, 240)))
    assert next(read_frames(clip)).image.shape == (240, 320, 3)
    assert next(read_frames(clip, max_side=100)).image.shape == (75, 100, 3)
    clip = replace(clip, video=(replace(clip.video[0], aspect=2.0),))
    assert next(read_frames(clip)).image.shape == (120, 320, 3)


def test_colours_are_in_the_order_red_green_blue(tmp_path):
    with av.open(str(tmp_path / "red.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        image = np.zeros((64, 64, 3), np.uint8)
        image[..., 0] = 255
        out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode())
    red, green, blue = next(read_frames(open_clip(tmp_path / "red.mp4"))).image.mean(axis=(0, 1))
    assert red > 200
    assert green < 40
    assert blue < 40
