"""From a sequence of words to one vector, without a recurrence: averages and convolutions.

Nothing after a sequence's end is read, and no vector depends on the rest of its batch.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def average(
    features: dict[str, Tensor], lengths: Tensor, modalities: Iterable[str]
) -> dict[str, Tensor]:
    """The mean over each sequence's words, {modality: [B, d_m]}.

    Parameters
    ----------
    features : {modality: [B, N, d_m]}
    lengths : [B] words of each sequence, at least 1.
    """
    means = {}
    for m in modalities:
        x = features[m]
        ended = torch.arange(x.shape[1], device=x.device) >= lengths.to(x.device)[:, None]
        total = x.masked_fill(ended[:, :, None], 0).sum(1)
        means[m] = total / lengths.to(total)[:, None]
    return means


def average_all(features: dict[str, Tensor], lengths: Tensor, modalities: Iterable[str]) -> Tensor:
    """The averages of all modalities side by side, float64 [B, sum of d_m]."""
    modalities = list(modalities)
    doubled = {m: features[m].double() for m in modalities}
    return torch.cat(list(average(doubled, lengths, modalities).values()), dim=1)


class Convolution(nn.Module):
    """A convolution over words and the largest answer of each filter: [B, N, D] -> [B, units].

    The text-CNN of Kim (EMNLP 2014). A window may reach over either end, where it reads zeros, so
    that a sequence can be shorter than the window.
    """

    def __init__(self, read: int, units: int, width: int):
        super().__init__()
        self.width = width
        self.filters = nn.Conv1d(read, units, width, padding=width - 1)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Each filter's largest answer [B, units], at least 0."""
        step = torch.arange(x.shape[1] + self.width - 1, device=x.device)
        lengths = lengths.to(x.device)[:, None]
        x = x.masked_fill((step[: x.shape[1]] >= lengths)[:, :, None], 0)
        answers = self.filters(x.transpose(1, 2)).relu()  # [B, units, N + width - 1]
        # Windows beyond the end hold no word; 0 is the least that the others answer.
        return answers.masked_fill((step >= lengths + self.width - 1)[:, None], 0).amax(2)
