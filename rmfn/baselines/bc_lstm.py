"""BC-LSTM, the bidirectional contextual LSTM: an utterance in the light of its video.

Poria, Cambria, Hazarika, Majumder, Zadeh & Morency, Context-Dependent Sentiment Analysis in
User-Generated Videos, ACL 2017. u counts the utterances of a video, in their order in time:

    e_u^m = extractor_m(words of u)             each utterance by itself
    c^m   = biLSTM_m(e_1^m, e_2^m, ..)          the modality's context
    c     = biLSTM(c^1 side by side, ..)        the hierarchical fusion
    y_u   = head(c_u)

Left open here: the paper's extractors (a CNN over word vectors, a 3D-CNN over frames, openSMILE
functionals) each start from raw data; here features of words are given, and each modality gets a
CNN over them. The paper trains extractors, unimodal contexts and fusion one after the other; here
all are trained end to end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rmfn.baselines.pool import Convolution
from rmfn.lsthm import make_head


@dataclass(frozen=True)
class BCLSTMConfig:
    """Sizes.

    Attributes
    ----------
    inputs : features a word of each modality, {modality: d_m}.
    hidden : filters of each modality's extractor, and units of its context in each direction; the
        fusing LSTM has their sum in each direction.
    width : words that a filter of the extractors sees.
    head, outputs, dropout, input_dropout : as RMFN's; ``dropout`` is also on what the LSTMs read.
    """

    inputs: dict[str, int]
    hidden: dict[str, int]
    width: int = 3
    head: int = 32
    outputs: int = 1
    dropout: float = 0.0
    input_dropout: float = 0.0


class BCLSTM(nn.Module):
    """``model(features, lengths, videos)``: one prediction an utterance out [B, outputs]."""

    reads_videos = True

    def __init__(self, config: BCLSTMConfig):
        super().__init__()
        self.config = config
        inputs, hidden, H = config.inputs, config.hidden, sum(config.hidden.values())
        self.extract = nn.ModuleDict(
            {m: Convolution(d, hidden[m], config.width) for m, d in inputs.items()}
        )
        self.context = nn.ModuleDict(
            {m: nn.LSTM(hidden[m], hidden[m], bidirectional=True) for m in inputs}
        )
        self.fuse = nn.LSTM(2 * H, H, bidirectional=True)
        self.head = make_head(2 * H, config.head, config.outputs, config.dropout)
        self.dropout = nn.Dropout(config.dropout)
        self.input_dropout = nn.Dropout(config.input_dropout)

    def forward(
        self, features: dict[str, Tensor], lengths: Tensor, videos: Tensor | None = None
    ) -> Tensor:
        """Predict.

        Parameters
        ----------
        features, lengths : as RMFN's, an utterance a row.
        videos : int [B], the same number = the same video, whose rows are in their order in time;
            None = each utterance is a video of its own.
        """
        if videos is None:
            videos = torch.arange(len(lengths), device=lengths.device)
        order = torch.argsort(videos, stable=True)  # a video's utterances side by side
        back = torch.argsort(order)
        counts = torch.unique_consecutive(videos[order], return_counts=True)[1].tolist()
        contexts = []
        for m, extract in self.extract.items():
            each = extract(self.input_dropout(features[m]), lengths)[order]
            contexts.append(self._run(self.context[m], each, counts))
        return self.head(self._run(self.fuse, torch.cat(contexts, dim=1), counts)[back])

    def _run(self, lstm: nn.Module, rows: Tensor, counts: list[int]) -> Tensor:
        """An LSTM over each video's rows, of which there are ``counts`` side by side."""
        # One by one: nothing is padded, and torch's packed LSTM is several times slower.
        return torch.cat([lstm(video)[0] for video in self.dropout(rows).split(counts)])

    @staticmethod
    def refuse(
        videos: Sequence[str], speakers: Sequence[str], modalities: Sequence[str]
    ) -> str | None:
        """Why it cannot be used with such data."""
        named = [video for video in videos if video]
        if len(set(named)) == len(named):
            return "every video is one segment: there is no context"
        return None
