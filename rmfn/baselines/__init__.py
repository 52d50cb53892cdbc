"""Every model that can be trained, by name.

All are called ``model(features, lengths) -> [B, outputs]``, take sequences of different lengths,
read no padding, and predict each sequence as if it were alone (a model that ``reads_videos`` gets
those as a third argument, and predicts each video so). All have ``model.config``, a frozen
dataclass with at least ``inputs``, ``hidden`` and ``outputs``; one with ``classes`` is told there
how many classes each target has, 0 for a regression. What else a model may have stands at
``rmfn.train.fit``; ``refuse(videos, speakers, modalities)`` gives a reason why it is not for such
data, or None.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from torch import nn

from rmfn.baselines.bc_lstm import BCLSTM, BCLSTMConfig
from rmfn.baselines.c_mkl import CMKL, CMKLConfig
from rmfn.baselines.df import DF, DFConfig
from rmfn.baselines.ef_lstm import EFLSTM, EFLSTMConfig
from rmfn.baselines.forest import Forest, ForestConfig
from rmfn.baselines.gme_lstm import GMELSTM, GMELSTMConfig
from rmfn.baselines.hcrf import FAMILY, HCRF, HCRFConfig
from rmfn.baselines.marn import MARN, MARNConfig
from rmfn.baselines.mfn import MFN, MFNConfig
from rmfn.baselines.mv_lstm import MVLSTM, MVLSTMConfig
from rmfn.baselines.sal_cnn import SALCNN, SALCNNConfig
from rmfn.baselines.svm import SVM, SVMConfig
from rmfn.baselines.tfn import TFN, TFNConfig
from rmfn.baselines.thmm import THMM, THMMConfig
from rmfn.model import RMFN, RMFNConfig

# name: configuration, model, and the settings that make it what its name says
MODELS: dict[str, tuple[type, type[nn.Module], dict[str, Any]]] = {
    "rmfn": (RMFNConfig, RMFN, {}),
    "rmfn-r1": (RMFNConfig, RMFN, {"stages": 1}),
    "rmfn-r2": (RMFNConfig, RMFN, {"stages": 2}),
    "rmfn-r3": (RMFNConfig, RMFN, {"stages": 3}),
    "rmfn-r4": (RMFNConfig, RMFN, {"stages": 4}),
    "rmfn-no-mfp": (RMFNConfig, RMFN, {"multistage": False}),
    "rmfn-no-highlight": (RMFNConfig, RMFN, {"highlight": False}),
    "rmfn-literal": (RMFNConfig, RMFN, {"attention_scale": "literal"}),
    "marn": (MARNConfig, MARN, {}),
    "mfn": (MFNConfig, MFN, {}),
    "gme-lstm": (GMELSTMConfig, GMELSTM, {}),
    "tfn": (TFNConfig, TFN, {}),
    "bc-lstm": (BCLSTMConfig, BCLSTM, {}),
    "mv-lstm": (MVLSTMConfig, MVLSTM, {}),
    "ef-lstm": (EFLSTMConfig, EFLSTM, {}),
    "ef-slstm": (EFLSTMConfig, EFLSTM, {"layers": 2}),
    "ef-blstm": (EFLSTMConfig, EFLSTM, {"bidirectional": True}),
    "ef-sblstm": (EFLSTMConfig, EFLSTM, {"layers": 2, "bidirectional": True}),
    "sal-cnn": (SALCNNConfig, SALCNN, {}),
    "df": (DFConfig, DF, {}),
    "svm": (SVMConfig, SVM, {"units": 0}),
    "svm-md": (SVMConfig, SVM, {"units": 32}),
    "rf": (ForestConfig, Forest, {}),
    "c-mkl": (CMKLConfig, CMKL, {}),
    **{name: (HCRFConfig, HCRF, structure) for name, structure in FAMILY.items()},
    "thmm": (THMMConfig, THMM, {}),
}


def build(
    name: str, inputs: dict[str, int], hidden: dict[str, int], outputs: int = 1, **settings: Any
) -> nn.Module:
    """A model with fresh weights, drawn from torch's global generator.

    Parameters
    ----------
    name : a key of ``MODELS``.
    inputs : features a word of each modality, {modality: d_m}.
    hidden : units of each modality, {modality: H_m}, the same modalities in the same order.
    outputs : values predicted.
    settings : any other field of the model's configuration, such as ``dropout``.

    Raises
    ------
    ValueError : no such model, a setting that it does not have or that its name already says, or
        modalities that differ.
    """
    config = make_config(name, inputs, hidden, outputs, **settings)
    return MODELS[name][1](config)


def make_config(
    name: str, inputs: dict[str, int], hidden: dict[str, int], outputs: int = 1, **settings: Any
) -> Any:
    """The configuration of what `build` makes; two models with equal ones are the same model."""
    known = list_settings(name)
    config, _, said = MODELS[name]
    if unknown := sorted(settings.keys() - known):
        raise ValueError(f"{name} has no setting {unknown[0]!r}; it has {', '.join(sorted(known))}")
    if list(inputs) != list(hidden):
        raise ValueError(
            f"inputs and hidden must name the same modalities in the same order, got "
            f"{list(inputs)} and {list(hidden)}"
        )
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}  # of JSON
    return config(inputs=inputs, hidden=hidden, outputs=outputs, **(settings | said))


def list_settings(model: str) -> set[str]:
    """The settings that a model has and that its name does not already say.

    Raises
    ------
    ValueError : no such model.
    """
    if model not in MODELS:
        raise ValueError(f"there is no model {model!r}; there are {', '.join(MODELS)}")
    config, _, said = MODELS[model]
    return {field.name for field in fields(config)} - said.keys()


def find_refusal(
    name: str, videos: Sequence[str], speakers: Sequence[str], modalities: Sequence[str]
) -> str | None:
    """Why a model's definition asks for more than some data have; None if it does not.

    Parameters
    ----------
    videos, speakers : of each segment; "" where not known.
    """
    model = MODELS[name][1] if name in MODELS else None
    refuse = getattr(model, "refuse", None)
    return None if refuse is None else refuse(videos, speakers, modalities)
