"""Single pictures of a clip at given times, found by seeking: the rest is not decoded."""

from __future__ import annotations

from collections.abc import Sequence

import av
from av.container import InputContainer
from av.video.frame import VideoFrame

from extractors.types import Frame
from pipeline.clip import Clip
from pipeline.container import open_container
from pipeline.upright import display_matrix, prepare_rgb, turn_upright

ROUNDED = 0.001  # s; containers round their time stamps
EARLIER = (0.0, 2.0, 20.0, float("inf"))  # s to begin before a picture, until there is one


def read_stills(clip: Clip, times: Sequence[float], max_side: int = 480) -> list[Frame]:
    """The pictures shown at some times, upright, with square pixels, in RGB.

    Parameters
    ----------
    times : seconds on the clip's clock, increasing.
    max_side : larger pictures are scaled down until the longer side has this many pixels.

    Returns
    -------
    A picture for each time that has one, each with its own time, which is the last not later than
    asked for. What cannot be decoded is left out.

    Raises
    ------
    MediaError
        The file cannot be opened.
    """
    if not clip.video or not len(times):
        return []
    track = next((stream for stream in clip.video if stream.default), clip.video[0])
    to_rgb = prepare_rgb(track.aspect, max_side)
    found: list[Frame] = []
    with open_container(clip.path) as container:
        for time in times:
            picture = _find(container, track.index, time + clip.origin + ROUNDED)
            if picture is None or picture.time is None:
                continue
            upright = turn_upright(to_rgb(picture), display_matrix(picture))
            found.append(Frame(upright, picture.time - clip.origin))
    return found


def _find(container: InputContainer, index: int, wanted: float) -> VideoFrame | None:
    """The last picture of a stream not later than ``wanted``, in the container's seconds."""
    source = container.streams[index]
    for back in EARLIER:  # containers without an index may land too late
        shown = None
        container.seek(round(max(wanted - back, 0.0) * av.time_base), backward=True)
        try:
            for picture in container.decode(source):
                if not isinstance(picture, VideoFrame) or picture.time is None:
                    continue
                if picture.time > wanted:
                    break
                shown = picture
        except (av.FFmpegError, OSError):  # broken here; what came before it counts
            pass
        if shown is not None:
            return shown
    return None
