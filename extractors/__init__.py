"""Sound, pictures and words in; values with times out. One file a tool.

The tables name every backend: what a recipe may ask for, which class does it, and which packages
and weights its numbers depend on. Adding one is one file and one line here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

from extractors.weights import WEIGHTS, Weights


@dataclass(frozen=True)
class Backend:
    """One line of the tables.

    Attributes
    ----------
    path : ``module:Class``, imported only when a recipe names the backend.
    packages : distributions whose versions may change the numbers.
    weights : names in ``extractors.weights.WEIGHTS``, of a backend without a property ``weights``.
    libraries : of the system, that wheels take for granted: (file, its Debian package).
    """

    path: str
    packages: tuple[str, ...]
    weights: tuple[str, ...] = ()
    libraries: tuple[tuple[str, str], ...] = ()

    def load(self) -> type[Any]:
        module, name = self.path.split(":")
        return getattr(import_module(module), name)

    def list_weights(self, backend: Any) -> tuple[Weights, ...]:
        """The models that a backend needs as it is set, whether they are there or not.

        How a backend says so, the docstring of ``extractors.weights`` tells.
        """
        if hasattr(backend, "weights"):
            return backend.weights
        own = getattr(backend, "path", None)
        return tuple(replace(WEIGHTS[name], path=own) for name in self.weights)


BACKENDS: dict[str, dict[str, Backend]] = {
    "transcribe": {
        "whisperx": Backend(
            "extractors.speech_whisperx:WhisperX",
            ("whisperx", "faster-whisper", "ctranslate2", "pyannote-audio", "torch", "soxr"),
            ("whisper-tiny.en", "whisperx-vad"),
        ),
    },
    "align": {
        "pocketsphinx": Backend(
            "extractors.align_pocketsphinx:Sphinx",
            ("pocketsphinx", "wetext", "phonemizer-fork", "espeakng-loader", "soxr"),
            ("sphinx-en-us",),
        ),
        "wav2vec2": Backend(
            "extractors.align_wav2vec2:Wav2Vec2",
            ("transformers", "torch", "wetext", "num2words", "soxr"),
        ),
    },
    "language": {
        "minilm": Backend(
            "extractors.language_minilm:MiniLM", ("transformers", "torch"), ("minilm",)
        ),
        "glove": Backend("extractors.language_glove:GloVe", ("gensim",), ("glove-6b-50d",)),
    },
    "visual": {
        "mediapipe": Backend(
            "extractors.visual_mediapipe:MediaPipe",
            ("mediapipe", "opencv-python-headless", "av"),
            ("face-landmarker",),
            (("libEGL.so.1", "libegl1"), ("libGLESv2.so.2", "libgles2")),
        ),
        "pyfeat": Backend(
            "extractors.visual_pyfeat:PyFeat",
            ("py-feat", "torch", "torchvision", "timm", "xgboost", "scikit-learn", "av"),
        ),
    },
    "acoustic": {
        "covarep": Backend("extractors.acoustic_covarep:Covarep", ("numpy", "scipy", "soxr", "av")),
        "librosa": Backend(
            "extractors.acoustic_librosa:Librosa", ("librosa", "praat-parselmouth", "soxr", "av")
        ),
        "opensmile": Backend(
            "extractors.acoustic_opensmile:OpenSmile", ("opensmile", "soxr", "av")
        ),
    },
    "timing": {
        "timing": Backend("extractors.word_timing:WordTiming", ()),
    },
}
