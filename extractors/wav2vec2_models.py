"""wav2vec 2.0 networks that hear letters: which there are for which language, and what they hear.

Baevski, Zhou, Mohamed & Auli, "wav2vec 2.0: a framework for self-supervised learning of speech
representations", NeurIPS 2020, trained on transcribed speech by connectionist temporal
classification. The models are those that WhisperX takes, as the Hugging Face hub has them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.threads import few_threads, pick_device
from extractors.weights import Weights, WeightsDamaged, locate_weights

RATE = 16000  # Hz
PIECE = 20.0  # s heard at once: the network's memory grows with the square of it
CONTEXT = 1.0  # s that it hears besides, before and after, and that is thrown away

# Language -> repository, whose page states its licence.
MODELS = {
    "ar": "jonatasgrosman/wav2vec2-large-xlsr-53-arabic",
    "ca": "softcatala/wav2vec2-large-xlsr-catala",
    "cs": "comodoro/wav2vec2-xls-r-300m-cs-250",
    "da": "saattrupdan/wav2vec2-xls-r-300m-ftspeech",
    "de": "jonatasgrosman/wav2vec2-large-xlsr-53-german",
    "el": "jonatasgrosman/wav2vec2-large-xlsr-53-greek",
    "en": "facebook/wav2vec2-base-960h",
    "es": "jonatasgrosman/wav2vec2-large-xlsr-53-spanish",
    "eu": "stefan-it/wav2vec2-large-xlsr-53-basque",
    "fa": "jonatasgrosman/wav2vec2-large-xlsr-53-persian",
    "fi": "jonatasgrosman/wav2vec2-large-xlsr-53-finnish",
    "fr": "jonatasgrosman/wav2vec2-large-xlsr-53-french",
    "gl": "ifrz/wav2vec2-large-xlsr-galician",
    "he": "imvladikon/wav2vec2-xls-r-300m-hebrew",
    "hi": "theainerd/Wav2Vec2-large-xlsr-hindi",
    "hr": "classla/wav2vec2-xls-r-parlaspeech-hr",
    "hu": "jonatasgrosman/wav2vec2-large-xlsr-53-hungarian",
    "id": "cahya/wav2vec2-large-xlsr-indonesian",
    "it": "jonatasgrosman/wav2vec2-large-xlsr-53-italian",
    "ja": "jonatasgrosman/wav2vec2-large-xlsr-53-japanese",
    "ka": "xsway/wav2vec2-large-xlsr-georgian",
    "ko": "kresnik/wav2vec2-large-xlsr-korean",
    "lv": "jimregan/wav2vec2-large-xlsr-latvian-cv",
    "ml": "gvs/wav2vec2-large-xlsr-malayalam",
    "nl": "jonatasgrosman/wav2vec2-large-xlsr-53-dutch",
    "nn": "NbAiLab/nb-wav2vec2-1b-nynorsk",
    "no": "NbAiLab/nb-wav2vec2-1b-bokmaal-v2",
    "pl": "jonatasgrosman/wav2vec2-large-xlsr-53-polish",
    "pt": "jonatasgrosman/wav2vec2-large-xlsr-53-portuguese",
    "ro": "gigant/romanian-wav2vec2",
    "ru": "jonatasgrosman/wav2vec2-large-xlsr-53-russian",
    "sk": "comodoro/wav2vec2-xls-r-300m-sk-cv8",
    "sl": "anton-l/wav2vec2-large-xlsr-53-slovenian",
    "sv": "KBLab/wav2vec2-large-voxrex-swedish",
    "te": "anuragshas/wav2vec2-large-xlsr-53-telugu",
    "tl": "Khalsuu/filipino-wav2vec2-l-xls-r-300m-official",
    "tr": "mpoyraz/wav2vec2-xls-r-300m-cv7-turkish",
    "uk": "Yehor/wav2vec2-xls-r-300m-uk-with-small-lm",
    "ur": "kingabzpro/wav2vec2-large-xls-r-300m-Urdu",
    "vi": "nguyenvulebinh/wav2vec2-base-vi-vlsp2020",
    "zh": "jonatasgrosman/wav2vec2-large-xlsr-53-chinese-zh-cn",
}
SAFETENSORS, PICKLED = "model.safetensors", "pytorch_model.bin"
# What every repository of the table has; the pickled file is read as weights and nothing else.
_FILES = ("config.json", "vocab.json", "preprocessor_config.json", "tokenizer_config.json*",
          "special_tokens_map.json*")  # fmt: skip


@dataclass(frozen=True)
class Listener:
    """A network ready to hear.

    Attributes
    ----------
    run : float32 samples at ``RATE`` -> float32 [frames, C], log probabilities.
    letters : lower-case letter -> column.
    blank, separator : columns of "nothing new" and of the space between words (None: it has none).
    stride, field : samples from one frame to the next, and looked at by one.
    """

    run: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    letters: dict[str, int]
    blank: int
    separator: int | None
    stride: int
    field: int

    @property
    def edge(self) -> float:
        """Seconds from the start to the boundary before frame 0: each speaks for its middle."""
        return (self.field - self.stride) / 2 / RATE

    def hear(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Log probabilities [frames, C + 1] of any length of sound.

        The last column is that of whatever is likeliest in each frame.
        """
        if len(samples) < self.field:
            samples = np.pad(samples, (0, self.field - len(samples)))
        count = (len(samples) - self.field) // self.stride + 1
        piece, context = (round(s * RATE / self.stride) for s in (PIECE, CONTEXT))
        parts = []
        for first in range(0, count, piece):
            low, high = max(0, first - context), min(count, first + piece + context)
            heard = self.run(samples[low * self.stride : (high - 1) * self.stride + self.field])
            parts.append(heard[first - low : min(first + piece, count) - low])
        found = np.concatenate(parts)
        return np.hstack([found, found.max(axis=1, keepdims=True)])


def describe_model(model: str | None, language: str) -> Weights:
    """A model by the name of its repository, by its folder, or the usual one of a language.

    Raises
    ------
    ValueError : none is given, and none is known for the language.
    """
    if model is None and language not in MODELS:
        raise ValueError(
            f"no wav2vec2 aligner is known for the language {language!r}; known are: "
            f"{', '.join(MODELS)}. For another name a model that hears its letters in the recipe: "
            f'[align] model = "OWNER/NAME" of the Hugging Face hub, or a folder'
        )
    name = model or MODELS[language]
    short = Path(name).name
    what = f"wav2vec2 {short}, {language} (forced alignment)"
    folder = Path(name).expanduser()
    if folder.is_dir() or name.startswith((".", "/", "~")) or name.count("/") != 1:
        check = PICKLED if (folder / PICKLED).exists() else SAFETENSORS
        check = SAFETENSORS if (folder / SAFETENSORS).exists() else check
        return Weights(f"wav2vec2-{short}", what, check=check, path=name)
    english = name == MODELS["en"]
    check = SAFETENSORS if english or model is not None else PICKLED
    licence = "Apache-2.0" if english else ""
    return Weights(short, what, licence, check=check, repo=name, files=(*_FILES, check))


def load_model(weights: Weights, device: str, threads: int) -> Listener:
    """Read a model of the transformers library; nothing is downloaded.

    Raises
    ------
    WeightsMissing : it is not on this machine.
    WeightsDamaged : it is no network that hears letters.
    """
    folder = locate_weights(weights)
    import torch
    from transformers import AutoModelForCTC, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor
    from transformers.utils.logging import set_verbosity_error

    set_verbosity_error()  # that a weight used in training alone is missing is not news
    try:
        tokenizer = Wav2Vec2CTCTokenizer.from_pretrained(folder, local_files_only=True)
        extract = Wav2Vec2FeatureExtractor.from_pretrained(folder, local_files_only=True)
        model, report = AutoModelForCTC.from_pretrained(
            folder, local_files_only=True, output_loading_info=True
        )
        stride = int(np.prod(model.config.conv_stride))
        field = _find_field(model.config.conv_kernel, model.config.conv_stride)
    except Exception as e:  # the libraries have many words for "this is something else"
        raise WeightsDamaged(f"{weights.name}: {folder} is no wav2vec2 model: {e}") from e
    if absent := [key for key in report["missing_keys"] if key.startswith("lm_head")]:
        # It would be filled with random numbers, and so would the times be.
        raise WeightsDamaged(
            f"{weights.name}: {folder} has no {', '.join(absent)}: it was not trained to hear "
            f"letters; name one that was, such as {MODELS['en']}"
        )
    letters = _find_letters(tokenizer)
    if not letters or extract.sampling_rate != RATE:
        raise WeightsDamaged(
            f"{weights.name}: {folder}: expected letters heard at {RATE} Hz, found "
            f"{len(letters)} letters at {extract.sampling_rate} Hz"
        )
    device = pick_device(device)
    model = model.eval().to(device)

    def run(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        values = extract(samples, sampling_rate=RATE, return_tensors="pt").input_values
        with few_threads(threads), torch.inference_mode():
            logits = model(values.to(device)).logits[0].float()
            found: Any = torch.log_softmax(logits, dim=-1).cpu().numpy()
        return found

    space = tokenizer.get_vocab().get(tokenizer.word_delimiter_token)
    return Listener(run, letters, tokenizer.pad_token_id, space, stride, field)


def _find_letters(tokenizer: Any) -> dict[str, int]:
    """Lower-case letters to columns; where both cases are there, the small one."""
    beside = {*tokenizer.all_special_tokens, tokenizer.word_delimiter_token}
    vocabulary = {
        token: column
        for token, column in tokenizer.get_vocab().items()
        if len(token) == 1 and token not in beside
    }
    capitals = {token.lower(): column for token, column in vocabulary.items()}
    return {**capitals, **{t: c for t, c in vocabulary.items() if t == t.lower()}}


def _find_field(kernels: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """Samples that one frame of a stack of convolutions looks at."""
    field, step = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        field += (kernel - 1) * step
        step *= stride
    return field
