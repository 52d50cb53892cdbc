"""py-feat's two detectors with models that are on this machine: no network, no surprises.

py-feat fetches its models from the Hugging Face hub while a detector is made, into its own package.
Here its loading code is given files that were found before (`extractors.weights`), and its import
does without torchcodec, the reader of video files: frames come from this project's own.

What is trusted: safetensors files hold numbers alone, and ``.pth`` files are read by py-feat with
``weights_only=True``. The trees of the action units are a skops file, of which py-feat trusts
whatever types it names; they are therefore looked at first (`check_types`).
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from extractors.weights import Weights, WeightsDamaged, WeightsMissing, locate_weights

CACHE = "feat/resources"  # where py-feat itself keeps what it fetches
LICENCE_V2 = "non-commercial research"


def _describe(name: str, what: str, licence: str, repo: str, *files: str) -> Weights:
    return Weights(name, what, licence, files[0], repo=repo, files=files, cache=CACHE)


FACES = _describe(
    "pyfeat-faces", "RetinaFace-R34, finds faces, 89 MB", "MIT",
    "py-feat/retinaface_r34", "model.safetensors",
)  # fmt: skip
GAZE = _describe(
    "pyfeat-gaze", "L2CS-Net, gaze, 96 MB", "MIT (its data, Gaze360: no commercial use)",
    "py-feat/l2cs", "l2cs_gaze360_resnet50.safetensors",
)  # fmt: skip
UNITS = _describe(
    "pyfeat-units", "gradient-boosted trees, action units", "MIT (its data: research)",
    "py-feat/xgb_au", "xgb_au_classifier_v2.skops",
)  # fmt: skip
MODELS = {
    "v1": (
        FACES,
        _describe(
            "pyfeat-landmarks", "MobileFaceNet, 68 landmarks, 4 MB", "no licence stated",
            "py-feat/mobilefacenet", "mobilefacenet_model_best.pth.tar",
        ),
        UNITS,
        _describe(
            "pyfeat-emotions", "Residual Masking Network, 7 emotions, 572 MB", "MIT",
            "py-feat/resmasknet", "ResMaskNet_Z_resmasking_dropout1_rot30.pth", "config.json",
        ),
        _describe(
            "pyfeat-pose", "head pose of 68 landmarks, 1 MB", "MIT (its teacher: CC BY-NC 4.0)",
            "py-feat/pose_mlp_v2", "pose_mlp_v2.safetensors", "pose_mlp_v2.json",
        ),
        GAZE,
    ),
    "v2": (
        FACES,
        _describe(
            "pyfeat-multitask", "multi-task ConvNeXt-V2, all but finding faces, about 150 MB",
            LICENCE_V2, "py-feat/face_multitask_v2", "face_multitask_v28.safetensors",
        ),
    ),
}  # fmt: skip

# Of the skops file. Types that skops itself holds for safe (numpy's arrays, scikit-learn's
# estimators) are not asked for.
_KNOWN_TYPES = ("feat.au_detectors.", "xgboost.core.", "xgboost.sklearn.", "sklearn.")


def locate_models(models: tuple[Weights, ...]) -> dict[Weights, Path]:
    """The folder of each.

    Raises
    ------
    WeightsMissing : some are not here; the message has a line for each.
    """
    found, missing = {}, []
    for model in models:
        try:
            found[model] = locate_weights(model)
        except WeightsMissing as error:
            missing.append(f"{error} (licence: {model.licence})")
    if missing:
        raise WeightsMissing("\n".join(missing))
    return found


def load_detector(version: str, models: Mapping[Weights, Path], device: str) -> Any:
    """py-feat's ``Detectorv1`` or ``Detectorv2`` as its own code makes it, without identities.

    Parameters
    ----------
    version : "v1" or "v2".
    models : the folder of each (`locate_models`).
    device : "cpu", "cuda", "cuda:1", "mps", or "auto" for the best there is.

    Raises
    ------
    WeightsMissing : a file of a folder is not there.
    WeightsDamaged : py-feat cannot read a file, or the file is of something else.
    ImportError : py-feat cannot be imported.
    """
    import_feat()
    import torch
    from feat import Detectorv1, Detectorv2

    where = device if device == "auto" else torch.device(device)
    if UNITS in models:
        check_types(models[UNITS] / UNITS.check)
    try:
        # RetinaFace turns gradients off for the whole process, and its warning on poses is no news.
        with (
            torch.set_grad_enabled(torch.is_grad_enabled()),
            warnings.catch_warnings(),
            _local_hub(models),
        ):
            warnings.simplefilter("ignore")
            if version == "v2":
                return Detectorv2(where, identity_model=None, amp=False)
            detector = Detectorv1(identity_model=None, device=where)
            _load_pose(detector.device)
    except ImportError:
        raise
    except Exception as error:  # each format has errors of its own
        folders = ", ".join(map(str, models.values()))
        raise WeightsDamaged(f"py-feat cannot load its models ({folders}): {error}") from error
    _check_gaze(models[GAZE] / GAZE.check, detector.gaze_detector.model)
    return detector


def import_feat() -> None:
    """Import py-feat, also where torchcodec finds no FFmpeg libraries: they are not needed here.

    Raises
    ------
    ImportError : it is not installed or a package that it needs is broken.
    """
    if "feat" in sys.modules:
        return
    try:
        with _reader_if_missing(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import_module("feat")
    except Exception as error:
        raise ImportError(
            f"py-feat cannot be imported ({error}); install it with: pip install py-feat==2.1.5"
        ) from error


@contextmanager
def _reader_if_missing() -> Iterator[None]:
    """py-feat imports torchcodec's reader of video files at its top. Where that cannot be loaded,
    something of the same name that reads nothing stands in for it while py-feat is imported."""
    name = "torchcodec.decoders"
    try:
        import_module(name)
    except Exception:  # an OSError or a RuntimeError of its own, by version
        package, decoders = ModuleType("torchcodec"), ModuleType(name)
        vars(package)["decoders"] = decoders
        vars(decoders)["VideoDecoder"] = None
        sys.modules.update({"torchcodec": package, name: decoders})
        try:
            yield
        finally:
            del sys.modules["torchcodec"], sys.modules[name]
    else:
        yield


@contextmanager
def _local_hub(models: Mapping[Weights, Path]) -> Iterator[None]:
    """While a detector is made, what it asks the hub for comes from the folders of ``models``."""
    import huggingface_hub
    from feat import detector

    folders = {model.repo: folder for model, folder in models.items()}

    def find(repo_id: str, filename: str, **_: Any) -> str:
        file = folders[repo_id] / filename
        if not file.is_file():
            raise WeightsMissing(f"{repo_id}: no such file: {file}")
        return str(file)

    kept = huggingface_hub.hf_hub_download
    # The second module has taken the function when it was imported; others import it when called.
    callers: tuple[Any, ...] = (huggingface_hub, detector)
    for module in callers:
        module.hf_hub_download = find
    try:
        yield
    finally:
        for module in callers:
            module.hf_hub_download = kept


def _load_pose(device: Any) -> None:
    """py-feat loads the pose model when it sees the first face, and gives NaN without it."""
    import torch
    from feat.utils import face_pose_mlp

    key = str(torch.empty(0, device=device).device)
    face_pose_mlp._CACHE.pop(key, None)
    if face_pose_mlp._load_pose_mlp(key) is None:
        raise ValueError("the model of head pose is not whole")


def check_types(file: Path) -> None:
    """See that a skops file holds nothing but trees and what scikit-learn is made of.

    Raises
    ------
    WeightsMissing : it is not there.
    WeightsDamaged : it is none, or it names a type that the trees do not need.
    """
    from skops.io import get_untrusted_types

    if not file.is_file():
        raise WeightsMissing(f"{UNITS.name}: no such file: {file}")
    try:
        types = get_untrusted_types(file=file)
    except Exception as error:
        raise WeightsDamaged(f"{UNITS.name}: {file} is not a skops file: {error}") from error
    if foreign := [name for name in types if not name.startswith(_KNOWN_TYPES)]:
        raise WeightsDamaged(
            f"{UNITS.name}: {file} would load {', '.join(foreign)}, which trees have no use for: "
            "it is not read"
        )


def _check_gaze(file: Path, model: Any) -> None:
    """py-feat loads the network of gaze without a look at what is missing in the file."""
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        held = {name.replace("module.", "", 1) for name in opened.keys()}  # noqa: SIM118
    lacking = {name for name in model.state_dict() if "fc_finetune" not in name} - held
    if lacking := {name for name in lacking if "num_batches_tracked" not in name}:
        raise WeightsDamaged(f"{GAZE.name}: {file} lacks {min(lacking)} and others")
