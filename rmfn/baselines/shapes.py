"""Buffers whose shapes come from the data: they take those of what is loaded into them."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


def take_shapes(model: nn.Module) -> None:
    """Let ``load_state_dict`` bring tensors of any shape for the model's own buffers.

    A model that learns how many states, trees or support vectors it has registers them empty; a
    checkpoint of it is read into a fresh model. Buffers of its parts (submodules) are not touched.
    """
    model.register_load_state_dict_pre_hook(_take)


def _take(model: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    for name, buffer in model.named_buffers(recurse=False):
        found = state.get(prefix + name)
        if found is not None and found.shape != buffer.shape:
            setattr(model, name, buffer.new_empty(found.shape))
