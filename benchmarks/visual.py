"""What a frame costs: processor milliseconds of decoding, finding faces and measuring them.

    python benchmarks/visual.py CLIP [CLIP ...]

Processor time, not wall time: decoding and measuring overlap with the detector on a second core.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any

import extractors.visual_mediapipe as backend
import extractors.visual_track as following
from extractors.types import Frame
from pipeline.clip import open_clip
from pipeline.media import read_frames

MEASURED = ("cut_face", "describe_gradients", "describe_look", "gaze_angles", "head_angles")
MEASURED += ("normalise_landmarks", "reduce_mesh", "action_units", "link_faces", "drop_twins")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="+")
    parser.add_argument("--max-side", type=int, nargs="+", default=[640, 960])
    options = parser.parse_args()
    print("clip  max side  frames  face share | ms a frame: decode  detect  measure  all  wall")
    for path in options.clips:
        for side in options.max_side:
            print(path, side, *run(path, side))


def run(path: str, side: int) -> Iterator[str]:
    """One clip at one picture size, warm."""
    spent = dict.fromkeys(("decode", *MEASURED), 0.0)

    def timed(name: str, work: Callable) -> Callable:
        def call(*args: Any) -> Any:
            start = time.thread_time()
            try:
                return work(*args)
            finally:
                spent[name] += time.thread_time() - start

        return call

    def frames() -> Iterator[Frame]:
        source = iter(read_frames(open_clip(path), max_side=side))
        while (frame := timed("decode", next)(source, None)) is not None:
            yield frame

    homes = {name: following if hasattr(following, name) else backend for name in MEASURED}
    kept = {name: getattr(home, name) for name, home in homes.items()}
    for name, work in kept.items():
        setattr(homes[name], name, timed(name, work))
    try:
        faces = backend.MediaPipe()
        faces(frame for frame, _ in zip(frames(), range(5), strict=False))
        spent.update(dict.fromkeys(spent, 0.0))
        start, clock = time.process_time(), time.perf_counter()
        track = faces(frames())
        total, wall = time.process_time() - start, time.perf_counter() - clock
    finally:
        for name, work in kept.items():
            setattr(homes[name], name, work)
    count = max(len(track.times), 1)
    measure = sum(spent[name] for name in MEASURED)
    # The detector works in threads of its own: what is left of the process's time.
    detect = total - measure - spent["decode"]
    yield f"{len(track.times)}  {track.observed.mean():.3f} |"
    for value in (spent["decode"], detect, measure, total, wall):
        yield f"{1000 * value / count:.2f}"


if __name__ == "__main__":
    main()
