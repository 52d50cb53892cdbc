"""A decoded picture as an RGB array: square pixels, no larger than wanted, the right way up."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray


def prepare_rgb(aspect: float, max_side: int | None) -> Callable[[VideoFrame], NDArray[np.uint8]]:
    """What gives the pictures of one track as RGB [h, w, 3]: pixels made square, scaled down by the
    mean over the area of each pixel.

    Parameters
    ----------
    aspect : width of a pixel over its height.
    max_side : of the longer side, pixels; None keeps the size.
    """
    scaler, converter = VideoReformatter(), VideoReformatter()  # each remembers its last tables

    def to_rgb(picture: VideoFrame) -> NDArray[np.uint8]:
        width, height = float(picture.width), float(picture.height)
        if 0.25 <= aspect <= 4.0:  # anything else is a broken header
            width, height = (width, height / aspect) if aspect > 1 else (width * aspect, height)
        scale = min(1.0, max_side / max(width, height)) if max_side else 1.0
        size = max(1, round(width * scale)), max(1, round(height * scale))
        if size != (picture.width, picture.height):
            # First made small, then converted: a third of the time of both in one, and no big
            # picture in between. Most have half of the colours' columns and rows anyway.
            small = "rgb24" if picture.format.is_rgb else "yuv422p"
            picture = scaler.reformat(picture, *size, format=small, interpolation="AREA", threads=1)
        image = converter.reformat(picture, format="rgb24", threads=1).to_ndarray()
        return np.asarray(image, np.uint8)

    return to_rgb


def display_matrix(picture: VideoFrame) -> tuple[int, int, int, int] | None:
    """The numbers a, b, c, d of FFmpeg's display matrix: (x, y) is shown at (ax + cy, bx + dy).

    Not to be called for every picture: one whose side data was looked at holds itself in memory
    until Python's garbage collector comes round.
    """
    matrix = picture.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return None
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()  # type: ignore[call-overload]
    return a, b, c, d


def turn_upright(
    image: NDArray[np.uint8], matrix: tuple[int, int, int, int] | None
) -> NDArray[np.uint8]:
    """Turned by quarters and mirrored as the display matrix says; other angles do not happen."""
    if matrix is None:
        return image
    a, b, c, d = matrix
    if abs(a) >= abs(c):
        across, down = a, d
    else:
        image = image.transpose(1, 0, 2)
        across, down = c, b
    if across < 0:
        image = image[:, ::-1]
    if down < 0:
        image = image[::-1]
    return np.ascontiguousarray(image)
