"""Speech to text: known sentences come back, music stays silent, nothing is downloaded."""

from __future__ import annotations

import av
import numpy as np
import pytest

from extractors import speech_whisperx
from extractors.resampling import resample
from extractors.speech_whisperx import WhisperX, _cut_parts, _pad_chunks
from extractors.types import Audio, Segment, Transcript
from extractors.weights import WeightsMissing
from tests.conftest import shared
from tests.speech_maker import speak

RATE = 16000
SENTENCE = "The quick brown fox jumps over the lazy dog."


def test_chunks_are_padded_up_to_the_middle_of_a_pause():
    chunks = [{"start": 1.0, "end": 2.0}, {"start": 2.1, "end": 3.0}, {"start": 9.0, "end": 9.5}]
    seen = []

    def merge(segments, chunk_size, **settings):
        seen.append((segments, chunk_size, settings))
        return [dict(chunk) for chunk in chunks]

    padded = _pad_chunks(merge, 0.2)("speech", 30.0, onset=0.5)
    assert seen == [("speech", 29.6, {"onset": 0.5})]
    spans = [(chunk["start"], chunk["end"]) for chunk in padded]
    np.testing.assert_allclose(spans, [(0.8, 2.05), (2.05, 3.2), (8.8, 9.7)])


def test_no_chunks_stay_none():
    assert _pad_chunks(lambda segments, size: [], 0.2)(None, 30.0) == []


def test_a_chunk_at_the_beginning_is_not_padded_before_it():
    padded = _pad_chunks(lambda segments, size: [{"start": 0.1, "end": 1.0}], 0.2)(None, 30.0)
    assert padded[0]["start"] == 0.0


def test_long_sound_is_cut_into_parts_where_it_is_quiet(monkeypatch):
    """Noise for a minute, silent for 0.4 s around 8.5, 17.7, 26.6 ... s."""
    monkeypatch.setattr(speech_whisperx, "PART", 10.0)
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, 60 * RATE).astype(np.float32)
    pauses = [8.5, 17.7, 26.6, 35.8, 44.9, 54.1]
    for pause in pauses:
        noise[int((pause - 0.2) * RATE) : int((pause + 0.2) * RATE)] = 0
    parts = list(_cut_parts(Audio(noise, RATE)))
    bounds = [first for first, _ in parts]
    assert [last for _, last in parts] == [*bounds[1:], len(noise)]
    np.testing.assert_allclose(np.array(bounds) / RATE, [0.0, *pauses], atol=0.11)


@pytest.mark.slow
def test_the_times_of_a_later_part_are_those_of_the_recording(monkeypatch):
    monkeypatch.setattr(speech_whisperx, "PART", 8.0)
    sentence = resample(speak(SENTENCE)[0], RATE)
    pause = np.zeros(9 * RATE, np.float32)
    said = WhisperX()(Audio(np.concatenate([sentence, pause, sentence]), RATE))
    first, second = said.segments
    assert all("quick" in part.text and "lazy" in part.text for part in said.segments)
    assert second.start - first.start == pytest.approx(len(sentence) / RATE + 9, abs=0.5)
    assert second.end - first.end == pytest.approx(len(sentence) / RATE + 9, abs=0.5)


def test_what_does_not_change_the_text_does_not_change_the_recipe():
    assert WhisperX(batch_size=1, threads=7, device="cuda") == WhisperX()
    assert WhisperX(beam=1) != WhisperX()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"chunk": 31.0}, r"chunk must be in \(0, 30\] seconds, got 31"),
        ({"language": "fr"}, r"tiny\.en knows only English, but language is 'fr'"),
        ({"language": "auto"}, r"tiny\.en knows only English, but language is 'auto'"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        WhisperX(**settings)


def test_digital_silence_needs_no_model():
    whisper = WhisperX(model="/nowhere")
    assert whisper(Audio(np.zeros(RATE, np.float32), RATE)) == Transcript(())
    assert whisper(Audio(np.zeros(0, np.float32), RATE)) == Transcript(())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("large-v3", r"whisper-large-v3 .* is missing; looked at: .*weights fetch"),
        ("nosuch", r"'nosuch' is neither a folder nor one of: tiny"),
    ],
)
def test_a_model_that_is_not_here_is_named_and_not_downloaded(
    model, message, tmp_path, monkeypatch
):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    noise = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    with pytest.raises(WeightsMissing, match=message):
        WhisperX(model=model)(Audio(noise, RATE))


@pytest.fixture(scope="module")
def whisper():
    return WhisperX(threads=1)


def words_of(transcript):
    return "".join(c for c in " ".join(transcript.tokens).lower() if c.isalpha() or c == " ")


class Polyglot:
    """Hears French in anything, and writes down what it is told to; voice activity is the real."""

    def __init__(self, activity, text="Bonjour à tous."):
        self.vad_model, self.text, self.listened, self.asked = activity, text, [], []
        self.model = self
        self.is_multilingual = True

    def detect_language(self, audio, language_detection_segments):
        self.listened.append(audio)
        return "fr", 0.9, [("fr", 0.9)]

    def transcribe(self, samples, batch_size, chunk_size, language):
        self.asked.append(language)
        found = {"text": self.text, "start": 1.0, "end": 2.0, "avg_logprob": -0.1}
        return {"segments": [found]}


@pytest.mark.slow
def test_the_language_is_heard_from_speech_alone(whisper):
    auto = WhisperX(model="large-v3", language="auto")
    polyglot = auto.__dict__["_pipeline"] = Polyglot(whisper._pipeline.vad_model)
    sentence = speak(SENTENCE)[0]
    pause = np.zeros(6 * sentence.rate, np.float32)
    audio = Audio(np.concatenate([pause, sentence.samples, pause]), sentence.rate)
    assert auto.detect_language(audio) == "fr"
    assert len(polyglot.listened[0]) / RATE == pytest.approx(sentence.duration, abs=0.8)
    transcript = auto(audio, "de")  # what was heard before is not heard again
    assert (transcript.language, polyglot.asked, len(polyglot.listened)) == ("de", ["de"], 1)
    assert auto(audio) == Transcript((Segment("Bonjour à tous.", 1.0, 2.0),), "fr")
    # A language that is set is not listened for.
    assert WhisperX(model="large-v3", language="it").detect_language(audio) == "it"
    # No speech, no language.
    silence = Audio(np.zeros(RATE, np.float32), RATE)
    assert auto.detect_language(silence) is None
    assert auto(silence) == Transcript(())


@pytest.mark.slow
def test_a_language_without_spaces_has_a_token_a_character(whisper):
    chinese = WhisperX(model="large-v3", language="zh")
    chinese.__dict__["_pipeline"] = Polyglot(whisper._pipeline.vad_model, "我有25元。很好 OK吗")
    samples = np.full(RATE, 0.1, np.float32)
    tokens = chinese(Audio(samples, RATE)).tokens
    assert tokens == ["我", "有", "25", "元。", "很", "好", "OK", "吗"]


@pytest.mark.slow
def test_a_model_of_one_language_cannot_tell_languages_apart():
    from extractors.weights import locate_weights

    own = WhisperX(model=str(locate_weights("whisper-tiny.en")), language="auto")
    with pytest.raises(ValueError, match="knows only English: it cannot tell languages apart"):
        own.detect_language(speak(SENTENCE)[0])


@pytest.mark.slow
def test_a_sentence_comes_back_with_its_place(whisper, capfd):
    audio, _ = speak(SENTENCE)
    pause = np.zeros(2 * audio.rate, np.float32)
    transcript = whisper(Audio(np.concatenate([pause, audio.samples, pause]), audio.rate))
    # The synthetic voice is hard for the smallest model; the end is clear.
    assert words_of(transcript).endswith("over the lazy dog")
    assert len(transcript.segments) == 1
    assert transcript.segments[0].start == pytest.approx(2.0, abs=0.4)
    assert transcript.segments[0].end == pytest.approx(2.0 + audio.duration, abs=0.5)
    # Loading and running print nothing.
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err == ""


@pytest.mark.slow
def test_the_same_sound_gives_the_same_text_whatever_the_batch(whisper):
    pieces = []
    for text in (SENTENCE, "I really loved this movie.", "It costs twenty five dollars."):
        audio, _ = speak(text)
        pieces += [audio.samples, np.zeros(12 * audio.rate, np.float32)]
    long = Audio(np.concatenate(pieces), audio.rate)
    expected = whisper(long)
    assert len(expected.segments) > 1
    for batch in (1, 2):
        other = WhisperX(threads=1, batch_size=batch)
        other.__dict__["_pipeline"] = whisper._pipeline  # loads once
        assert other(long) == expected


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["noise", "music", "clicks", "short", "constant"])
def test_what_is_not_speech_has_no_words(whisper, kind):
    rng = np.random.default_rng(0)
    t = np.arange(12 * RATE) / RATE
    beat = np.exp(-((2 * t) % 1) * 20) * rng.normal(0, 0.5, len(t))
    chord = sum(0.1 * np.sin(2 * np.pi * f * t) for f in (220, 277, 330, 440))
    samples = {
        "noise": rng.normal(0, 0.1, len(t)),
        "music": np.clip(beat + chord, -1, 1),
        "clicks": np.where(np.arange(len(t)) % 8000 == 0, 0.9, 0.0),
        "short": rng.normal(0, 0.1, 10),
        "constant": np.full(len(t), 0.5),
    }[kind]
    assert whisper(Audio(samples.astype(np.float32), RATE)).segments == ()


@pytest.mark.slow
def test_natural_speech_with_long_pauses(whisper):
    path = shared("clips/autoeditor_noface_speech_pauses_42s.mp4")
    with av.open(str(path)) as container:
        rate = container.streams.audio[0].rate
        resampler = av.AudioResampler("flt", "mono", rate)
        frames = [g for f in container.decode(audio=0) for g in resampler.resample(f)]
        samples = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    transcript = whisper(Audio(samples.astype(np.float32), rate))
    text = words_of(transcript)
    assert text.startswith("hello this is an example video for your convenience and pleasure")
    # The speaker says: when the time reaches 40 seconds, I will say banana.
    assert words_of(Transcript(transcript.segments[-1:])) == "banana"
    assert transcript.segments[-1].start == pytest.approx(40, abs=0.5)
