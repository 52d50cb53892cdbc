"""Single pictures of a clip at given times, found by seeking: the rest is not decoded."""

from __future__ import annotations

from collections.abc import Sequence

import av
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from extractors.types import Frame
from pipeline.clip import Clip, open_container
from pipeline.upright import display_matrix, to_rgb, turn_upright


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
    scaler = VideoReformatter()
    found: list[Frame] = []
    half = 0.5 / track.fps if track.fps else 0.02  # stamps are rounded
    with open_container(clip.path) as container:
        source = container.streams[track.index]
        for time in times:
            wanted = time + clip.origin + half
            container.seek(round(wanted * av.time_base), backward=True)
            shown = None
            for picture in container.decode(source):
                if not isinstance(picture, VideoFrame) or picture.time is None:
                    continue
                if picture.time > wanted:
                    break
                shown = picture
            if shown is None or shown.time is None:
                continue
            image = to_rgb(shown, scaler, track.aspect, max_side)
            upright = turn_upright(image, display_matrix(shown))
            found.append(Frame(upright, shown.time - clip.origin))
    return found
