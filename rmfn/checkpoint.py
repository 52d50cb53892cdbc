"""A trained model as a folder: ``weights.safetensors``, ``model.json``, ``README.md``. No pickle.

The folder holds all that a prediction needs and says what it was made from; it is written whole or
not at all, and what was not written so is refused when it is read.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pipeline.errors import DatasetError
from pipeline.memory import refuse_bomb
from pipeline.records import read_small, to_json
from pipeline.whole import open_whole, replace_folder
from rmfn.baselines import build
from rmfn.data import Scaler
from rmfn.dataset import Target
from rmfn.ensemble import Ensemble
from rmfn.runs import RUN, STATE, Run
from rmfn.train import Fitted

WEIGHTS, MANIFEST, CARD = "weights.safetensors", "model.json", "README.md"

# Values that a model may make for each that its weights' file holds (all of its members together).
# What it makes besides its weights is small: matrices from which orthogonal ones are drawn.
ROOM = 8
LARGEST_HEADER = 16 << 20  # bytes; a name and a place a tensor
_MAKERS = (
    *(torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn),
    *(torch.eye, torch.linspace),
)


class CheckpointError(ValueError):
    """A folder is not a checkpoint that can be used; the message says why."""


@dataclass(frozen=True)
class Conformal:
    """Prediction intervals by split conformal prediction (Vovk et al. 2005; Lei et al. 2018).

    Attributes
    ----------
    coverage : the share of labels that shall lie within.
    half_width : of the interval around each label's prediction, the ceil((n+1) coverage)-th
        smallest absolute error on videos that the predicting models had not seen; None of classes,
        whose probabilities say how sure they are.
    measured : the share found inside when the widths come from other videos than those scored;
        None of classes, and where there were too few to tell.
    n : predictions it was calibrated on.
    levels : {coverage: half widths} for further coverages.
    """

    coverage: float
    half_width: tuple[float | None, ...]
    measured: tuple[float | None, ...]
    n: int
    levels: dict[str, tuple[float | None, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """``model.json``.

    Attributes
    ----------
    name, trained_on : for people.
    labels : what the outputs are, in order; predictions of regressions are kept on their scale.
    config : of every member, with ``model`` the arguments of ``rmfn.baselines.build``.
    columns : {modality: the names of the columns read}
    members : how many models are averaged.
    features : how the columns were made: of a recipe's provenance the steps that made them.
    conformal : the interval.
    constants : {label: {"mean" | "median" | "mode" | ...: value}} of the labels learned from.
    splits : {"train": videos, "valid" or "held out 0": the videos on which all members, or member
        0, stopped, "test": those that were left out}
    clips : {split: clip ids} of those videos that are called otherwise (``rmfn.job.name_clips``).
    training : the plan, the seeds, and what the data were.
    metrics : what was measured, and how: {where: {label: metrics}}.
    versions : of the packages that made it.
    weights_sha256 : of the weights' file.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    name: str
    trained_on: str
    labels: tuple[Target, ...]
    config: dict[str, Any]
    columns: dict[str, tuple[str, ...]]
    members: int
    features: dict[str, Any]
    conformal: Conformal
    constants: dict[str, dict[str, float]]
    splits: dict[str, list[str]] = field(default_factory=dict)
    clips: dict[str, list[str]] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    weights_sha256: str = ""
    model: str = "rmfn"
    format: Literal["rmfn-checkpoint/1"] = "rmfn-checkpoint/1"


@dataclass(frozen=True)
class Checkpoint:
    """A manifest with the models it describes."""

    manifest: Manifest
    ensemble: Ensemble


def save_checkpoint(
    manifest: Manifest,
    ensemble: Ensemble,
    folder: str | Path,
    card: str = "",
    beside: Mapping[str, bytes] | None = None,
) -> Manifest:
    """Write a checkpoint; a checkpoint that was there is replaced, anything else is left alone.

    The record and the curves of a run in the folder (``rmfn.runs``) stay.

    Parameters
    ----------
    card : the model card, Markdown.
    beside : further files, {name: content}.

    Returns
    -------
    The manifest with the weights' hash.

    Raises
    ------
    CheckpointError : the folder holds something else.
    """
    folder = Path(folder)
    refuse_foreign(folder)
    weights = save(_pack(ensemble))
    manifest = replace(manifest, weights_sha256=hashlib.sha256(weights).hexdigest())
    with replace_folder(folder) as fresh:
        (fresh / WEIGHTS).write_bytes(weights)
        text = to_json(asdict(manifest))
        (fresh / MANIFEST).write_text(text + "\n", encoding="utf-8")
        (fresh / CARD).write_text(card, encoding="utf-8")
        for name, content in (beside or {}).items():
            (fresh / name).write_bytes(content)
        if (folder / RUN).is_dir():
            shutil.copytree(folder / RUN, fresh / RUN, ignore=shutil.ignore_patterns(STATE))
    return manifest


def refuse_foreign(folder: str | Path) -> None:
    """See that a checkpoint may be written there: nothing, an empty folder, a checkpoint or
    an unfinished run is.

    Raises
    ------
    CheckpointError : it is something else.
    """
    folder = Path(folder)
    if folder.exists() and (
        not folder.is_dir()
        or (
            any(folder.iterdir()) and not ((folder / MANIFEST).is_file() or (folder / RUN).is_dir())
        )
    ):
        raise CheckpointError(f"{folder} is there and is no checkpoint; it is left as it is")


def refuse_taken(folder: str | Path, resume: bool = False, replace: bool = False) -> None:
    """As `refuse_foreign`, and see that nothing is lost that somebody trained.

    Parameters
    ----------
    resume : what lies there unfinished is gone on with, also if it is to take a finished one's
        place.
    replace : a finished checkpoint may be replaced, and all that lies beside it.

    Raises
    ------
    CheckpointError : a finished checkpoint lies there, or something else.
    DatasetError : an unfinished run does, and it is not gone on with.
    """
    folder = Path(folder)
    refuse_foreign(folder)
    run = Run(folder / RUN)
    if run.unfinished:
        if not resume:
            run.refuse_unfinished()
    elif (folder / MANIFEST).is_file() and not replace:
        raise CheckpointError(
            f"{folder}: a finished model lies there; name another --out, or --replace"
        )


def load_checkpoint(folder: str | Path) -> Checkpoint:
    """Read a checkpoint back.

    Raises
    ------
    CheckpointError : it is not there, damaged, or of a form this version cannot read.
    """
    folder = Path(folder)
    manifest = _read_manifest(folder)
    try:
        with open_whole(folder / WEIGHTS) as opened:
            refuse_bomb(os.fstat(opened.fileno()).st_size, folder / WEIGHTS)
            data = opened.read()
    except (OSError, DatasetError) as e:
        raise CheckpointError(f"{folder}: its {WEIGHTS} cannot be read: {e}") from e
    found = hashlib.sha256(data).hexdigest()
    if found != manifest.weights_sha256:
        raise CheckpointError(
            f"{folder}: {WEIGHTS} is damaged or belongs to another model "
            f"(sha256 {found[:12]}..., {MANIFEST} says {manifest.weights_sha256[:12]}...)"
        )
    try:
        if (size := int.from_bytes(data[:8], "little")) > LARGEST_HEADER:
            raise ValueError(f"its header says that it has {size} bytes")
        return Checkpoint(manifest, _unpack(manifest, load(data)))
    except (SafetensorError, LookupError, RuntimeError, ValueError, TypeError, AttributeError) as e:
        raise CheckpointError(f"{folder}: {WEIGHTS} does not fit {MANIFEST}: {e}") from e


def _read_manifest(folder: Path) -> Manifest:
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such checkpoint folder")
    file = folder / MANIFEST
    if not file.is_file():
        raise CheckpointError(f"{folder} is no checkpoint: it has no {MANIFEST}")
    try:
        manifest = TypeAdapter(Manifest).validate_json(read_small(file))
    except ValidationError as e:
        first = e.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise CheckpointError(
            f"{file} is no manifest that this version reads: {place}: {first['msg']}"
        ) from e
    except (OSError, ValueError) as e:
        raise CheckpointError(f"{file} cannot be read: {e}") from e
    if not manifest.labels:
        raise CheckpointError(f"{file} is no manifest that this version reads: it has no labels")
    # Before there could be several labels their names were left out.
    only = manifest.labels[0].name
    metrics = {
        where: {only: found} if "how" in found else found
        for where, found in manifest.metrics.items()
    }
    return replace(manifest, metrics=metrics)


def _pack(ensemble: Ensemble) -> dict[str, Tensor]:
    tensors = {}
    for modality in ensemble.scaler.columns:
        tensors[f"scaler.{modality}.mean"] = torch.from_numpy(ensemble.scaler.mean[modality])
        tensors[f"scaler.{modality}.std"] = torch.from_numpy(ensemble.scaler.std[modality])
    for n, member in enumerate(ensemble.members):
        tensors[f"{n}.label_mean"], tensors[f"{n}.label_std"] = member.label_mean, member.label_std
        for name, value in member.model.state_dict().items():
            tensors[f"{n}.model.{name}"] = value
    return {name: value.contiguous() for name, value in tensors.items()}


class _Room(TorchFunctionMode):
    """While it lasts, tensors of so many values can be made: a line of settings could ask for any
    number of them."""

    def __init__(self, room: int):
        super().__init__()
        self.room = self.left = room

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _MAKERS:
            self.left -= _count_values(func, args, kwargs or {})
            if self.left < 0:
                raise ValueError(f"its settings ask for more than {self.room} values")
        return func(*args, **(kwargs or {}))


def _count_values(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    """How many a call of one of ``_MAKERS`` makes; of what it would refuse itself, anything."""
    if func is torch.linspace:
        sizes = [args[2] if len(args) > 2 else kwargs.get("steps", 0)]
    elif func is torch.eye:
        named = [kwargs[name] for name in ("n", "m") if name in kwargs]
        sizes = [*args, *named]
        sizes *= 2 if len(sizes) == 1 else 1  # a side alone is that of a square
    else:
        # What `full` fills with is no size.
        sizes = [*args[: 1 if func is torch.full else None], kwargs.get("size", ())]
    flat = [n for each in sizes for n in (each if isinstance(each, Sequence) else [each])]
    return math.prod(n for n in flat if isinstance(n, int))


def _unpack(manifest: Manifest, tensors: dict[str, Tensor]) -> Ensemble:
    columns = manifest.columns
    sizes = {modality: len(names) for modality, names in columns.items()}
    if sizes != manifest.config.get("inputs"):
        raise ValueError(
            f"the model reads {manifest.config.get('inputs')}, the columns are {sizes}"
        )
    scaler = Scaler(
        columns,
        {m: tensors[f"scaler.{m}.mean"].numpy() for m in columns},
        {m: tensors[f"scaler.{m}.std"].numpy() for m in columns},
    )
    for modality, size in sizes.items():
        for found in (scaler.mean[modality], scaler.std[modality]):
            if found.shape != (size,):
                raise ValueError(f"the scale of {modality} is {list(found.shape)}, not [{size}]")
    if manifest.members < 1:
        raise ValueError(f"expected at least one member, found {manifest.members}")
    stored = sum(tensor.numel() for tensor in tensors.values())
    members = []
    for n in range(manifest.members):
        prefix = f"{n}.model."
        state = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        # Drawing the weights must not move others' dice.
        with torch.random.fork_rng(devices=[]), _Room(max(ROOM * stored, 1 << 20)):
            model = build(manifest.model, **manifest.config)
        model.load_state_dict(state)
        scale = tensors[f"{n}.label_mean"], tensors[f"{n}.label_std"]
        members.append(Fitted(model.eval(), manifest.labels, *scale))
    return Ensemble(scaler, tuple(members))
