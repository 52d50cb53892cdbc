"""EF-LSTM, early fusion: one LSTM over all modalities' features of a word side by side.

The usual simplest recurrent comparator (Hochreiter & Schmidhuber 1997 on concatenated features);
``layers`` and ``bidirectional`` make it the literature's EF-SLSTM, EF-BLSTM and EF-SBLSTM.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from rmfn.lsthm import make_head, pack


@dataclass(frozen=True)
class EFLSTMConfig:
    """Sizes.

    Attributes
    ----------
    inputs : features a word of each modality, {modality: d_m}.
    hidden : {modality: units}; the one LSTM gets their sum, so that sizes compare with RMFN's.
    layers : LSTMs on top of each other.
    bidirectional : a second LSTM reads from the end.
    head, outputs, dropout, input_dropout : as RMFN's; ``dropout`` is also between layers.
    """

    inputs: dict[str, int]
    hidden: dict[str, int]
    layers: int = 1
    bidirectional: bool = False
    head: int = 32
    outputs: int = 1
    dropout: float = 0.0
    input_dropout: float = 0.0


class EFLSTM(nn.Module):
    """``model(features, lengths)``: words in, one prediction a sequence out [B, outputs]."""

    def __init__(self, config: EFLSTMConfig):
        super().__init__()
        self.config = config
        units = sum(config.hidden.values())
        self.lstm = nn.LSTM(
            sum(config.inputs.values()),
            units,
            config.layers,
            dropout=config.dropout if config.layers > 1 else 0.0,
            bidirectional=config.bidirectional,
        )
        read = 2 * units if config.bidirectional else units
        self.head = make_head(read, config.head, config.outputs, config.dropout)
        self.input_dropout = nn.Dropout(config.input_dropout)

    def forward(self, features: dict[str, Tensor], lengths: Tensor) -> Tensor:
        """Predict; arguments as RMFN's."""
        words = pack(features, lengths, self.config.inputs)
        rows = self.input_dropout(torch.cat(list(words.rows.values()), dim=1))
        _, (h, _) = self.lstm(PackedSequence(rows, torch.tensor(words.sizes)))
        # The last layer's states, of each direction where it ended: [directions, B, units]
        last = h[-2:] if self.config.bidirectional else h[-1:]
        return self.head(torch.cat(list(last), dim=1)[words.back])
