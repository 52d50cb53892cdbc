"""Where the libraries work: on how many threads, and on which device."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

ONE_EACH = {
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # A face is so small a picture that OpenCV's threads cost more than what they share out.
    "OPENCV_FOR_THREADS_NUM": "1",
}


def leave_cores_to_stages() -> None:
    """Ask the libraries that this process and its children will import for one thread each, unless
    the user asks for more: stages and clips run side by side and share the cores."""
    for name, value in ONE_EACH.items():
        os.environ.setdefault(name, value)


@contextmanager
def few_threads(threads: int | None) -> Iterator[None]:
    """Let torch work on so many threads (None: as many as it does now).

    Left alone it takes all cores, and where others use them too, its threads spend their time
    waiting for each other (ten times the work).
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def pick_device(device: str) -> str:
    """A device of torch; "auto" is the graphics card, if there is one that torch can use."""
    if device != "auto":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
