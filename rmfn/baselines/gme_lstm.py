"""GME-LSTM(A): words fused one by one, a gate deciding whether a modality is heard at each.

Chen, Wang, Liang, Baltrušaitis, Zadeh & Morency, Multimodal Sentiment Analysis with Word-Level
Fusion and Reinforcement Learning, ICMI 2017. Language is always heard; for every other modality

    π_t^m = σ(C_m(x_t^m))                       the gate controller
    g_t^m ~ Bernoulli(π_t^m) in training;  1 if π_t^m > 1/2, else 0, in use
    h_t   = LSTM([x_t^l, g_t^m * x_t^m, ..])
    a     = softmax(w·h_t) over the words       temporal attention, the (A)
    y     = head(Σ_t a_t h_t)

A gate has no derivative: the controllers learn by REINFORCE (Williams 1992). The loss L of an
example is paid by all of its gates together, less what is usual, a moving average b of the loss:

    ∇ E[L] = E[(L - b) ∇ log P(g)]

The paper trains controllers and the rest in turns; here both learn from the same batches. Left open
here: C_m has one hidden layer; gates begin mostly open (π about .73). Without a modality of the
name "language" all have gates.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from rmfn.lsthm import make_head, pack

UNGATED = "language"


@dataclass(frozen=True)
class GMELSTMConfig:
    """Sizes.

    Attributes
    ----------
    inputs : features a word of each modality, {modality: d_m}.
    hidden : {modality: units}; the one LSTM gets their sum, so that sizes compare with RMFN's.
    gate_hidden : units of the hidden layer of each controller.
    memory : share of the old value that b keeps at every batch.
    head, outputs, dropout, input_dropout : as RMFN's.
    """

    inputs: dict[str, int]
    hidden: dict[str, int]
    gate_hidden: int = 16
    memory: float = 0.9
    head: int = 32
    outputs: int = 1
    dropout: float = 0.0
    input_dropout: float = 0.0


class GMELSTM(nn.Module):
    """``model(features, lengths)``: words in, one prediction a sequence out [B, outputs]."""

    usual: Tensor

    def __init__(self, config: GMELSTMConfig):
        super().__init__()
        self.config = config
        units = sum(config.hidden.values())
        gated = [m for m in config.inputs if m != UNGATED]
        self.control = nn.ModuleDict(
            {m: make_head(config.inputs[m], config.gate_hidden, 1, 0.0) for m in gated}
        )
        for m in gated:
            nn.init.ones_(self.control[m][-1].bias)  # type: ignore[index]
        self.lstm = nn.LSTM(sum(config.inputs.values()), units)
        self.attend = nn.Linear(units, 1, bias=False)
        self.head = make_head(units, config.head, config.outputs, config.dropout)
        self.input_dropout = nn.Dropout(config.input_dropout)
        # b starts at about what a constant loses, whatever the target
        self.register_buffer("usual", torch.ones(()))
        self.log_probability: Tensor | None = None  # of the gates of the last training batch [B]

    def forward(self, features: dict[str, Tensor], lengths: Tensor) -> Tensor:
        """Predict; arguments as RMFN's."""
        words = pack(features, lengths, self.config.inputs)
        heard: list[Tensor] = []
        log_p = torch.zeros(sum(words.sizes), device=words.order.device)  # of each word's gates
        for m, x in words.rows.items():
            x = self.input_dropout(x)
            if m in self.control:
                logit = self.control[m](x)  # [P, 1]
                if self.training:
                    gate = torch.bernoulli(torch.sigmoid(logit.detach()))
                    lost = F.binary_cross_entropy_with_logits(logit, gate, reduction="none")
                    log_p = log_p - lost[:, 0]
                else:
                    gate = (logit > 0).to(x)
                x = gate * x
            heard.append(x)
        sizes = torch.tensor(words.sizes)
        states, _ = self.lstm(PackedSequence(torch.cat(heard, dim=1), sizes))
        padded, ends = pad_packed_sequence(states)  # [N, B, units]
        ended = (torch.arange(len(padded))[:, None] >= ends).to(padded.device)
        score = self.attend(padded).squeeze(2).masked_fill(ended, -torch.inf)
        if self.training:
            row = torch.cat([torch.arange(b) for b in words.sizes]).to(log_p.device)
            total = log_p.new_zeros(len(lengths)).index_add(0, row, log_p)
            self.log_probability = total[words.back]
        return self.head((score.softmax(0)[:, :, None] * padded).sum(0)[words.back])

    def surrogate(self, losses: Tensor) -> Tensor:
        """What is added to the loss so that its gradient holds that of the expected loss.

        Parameters
        ----------
        losses : [B] of the examples of the training batch just run, without gradient; 0 = its
            label was not given.
        """
        assert self.log_probability is not None, "there is no training batch that was just run"
        given = losses > 0
        scalar = ((losses - self.usual) * self.log_probability)[given].mean()
        self.usual.lerp_(losses[given].mean(), 1 - self.config.memory)
        self.log_probability = None
        return scalar
