"""Word times against planted and hand-made ones; invariances; nothing is ever dropped."""

from __future__ import annotations

import json
import threading
from itertools import pairwise

import av
import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from extractors.align_pocketsphinx import Sphinx
from extractors.types import Audio, Segment, Transcript
from tests.conftest import shared
from tests.speech_maker import speak

SENTENCE = "I really loved this movie because the story was wonderful."
OTHER = "Seven engineers carried heavy boxes up nineteen stairs."
SPEECH = ("003", "010", "012", "015", "022", "023", "057")

aligner = Sphinx()  # one for all: it keeps no state between calls, which is itself tested


def plain(text):
    return Transcript((Segment(text),))


def starts(words):
    return np.array([word.start for word in words])


def check_words(words, tokens, duration):
    """What every alignment must fulfil, whatever comes in."""
    assert [word.text for word in words] == tokens
    edges = [edge for word in words for edge in (word.start, word.end)]
    assert all(a <= b for a, b in pairwise(edges))
    assert all(word.start < word.end for word in words)
    if words:
        assert words[0].start >= 0
        assert words[-1].end <= duration + 1e-9
    assert all(word.score is None or 0 <= word.score <= 1 for word in words)


def read_by_hand(name):
    path = shared(f"speech/emu_ae_msajc{name}.wav")
    with av.open(str(path)) as container:
        rate = container.streams.audio[0].rate
        samples = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    by_hand = json.loads(path.with_suffix(".words.json").read_text())
    return Audio(samples.astype(np.float32) / 32768, rate), by_hand


def text_of(by_hand):
    return " ".join(word["word"] for word in by_hand)


def test_synthetic_words_are_found_where_the_synthesiser_put_them():
    audio, truth = speak(SENTENCE)
    words = aligner(audio, plain(SENTENCE))
    check_words(words, SENTENCE.split(), audio.duration)
    errors = np.abs(starts(words) - truth)
    assert np.median(errors) < 0.02
    assert errors.max() < 0.08
    assert not any(word.guessed for word in words)


def test_words_timed_by_hand():
    errors = []
    for name in SPEECH:
        audio, by_hand = read_by_hand(name)
        words = aligner(audio, plain(text_of(by_hand)))
        errors += [word.start - hand["start"] for word, hand in zip(words, by_hand, strict=True)]
    errors = np.abs(errors)
    assert len(errors) == 54
    assert np.median(errors) <= 0.013
    assert np.mean(errors <= 0.050) >= 0.95


def test_silence_before_shifts_every_word_by_as_much():
    audio, _ = speak(SENTENCE)

    def align_after(seconds):
        pad = np.zeros(round(seconds * audio.rate), np.float32)
        return aligner(Audio(np.concatenate([pad, audio.samples]), audio.rate), plain(SENTENCE))

    # The sound itself begins with the first word, so some silence comes before it in both.
    expected = starts(align_after(0.2)) + 0.37
    np.testing.assert_allclose(starts(align_after(0.57)), expected, atol=0.012)


def test_silence_inside_shifts_only_what_follows():
    audio, truth = speak(SENTENCE)
    cut = 5  # the synthesiser says where "because" begins
    at = round(truth[cut] * audio.rate)
    gap = np.zeros(round(1.5 * audio.rate), np.float32)
    longer = Audio(np.concatenate([audio.samples[:at], gap, audio.samples[at:]]), audio.rate)
    before = starts(aligner(audio, plain(SENTENCE)))
    words = aligner(longer, plain(SENTENCE))
    np.testing.assert_allclose(starts(words)[:cut], before[:cut], atol=0.03)
    np.testing.assert_allclose(starts(words)[cut:], before[cut:] + 1.5, atol=0.03)
    # The pause belongs to no word.
    assert words[cut - 1].end < truth[cut] + 0.2
    assert words[cut].start > truth[cut] + 1.4


@pytest.mark.parametrize("rate", [16000, 20000, 44100, 48000])
def test_the_sampling_rate_does_not_matter(rate):
    audio, _ = speak(SENTENCE)
    resampled = soxr.resample(audio.samples, audio.rate, rate).astype(np.float32)
    words = aligner(Audio(resampled, rate), plain(SENTENCE))
    expected = aligner(audio, plain(SENTENCE))
    np.testing.assert_allclose(starts(words), starts(expected), atol=0.015)


def test_telephone_sound_is_aligned_too():
    audio, truth = speak(SENTENCE)
    narrow = soxr.resample(audio.samples, audio.rate, 8000).astype(np.float32)
    words = aligner(Audio(narrow, 8000), plain(SENTENCE))
    assert np.median(np.abs(starts(words) - truth)) < 0.04


def test_loudness_does_not_matter():
    audio, _ = speak(SENTENCE)
    quiet = Audio(audio.samples * np.float32(0.01), audio.rate)
    np.testing.assert_allclose(
        starts(aligner(quiet, plain(SENTENCE))), starts(aligner(audio, plain(SENTENCE))), atol=1e-3
    )


def test_rough_times_lead_to_the_same_words():
    audio, truth = speak(SENTENCE)
    first, second = " ".join(SENTENCE.split()[:5]), " ".join(SENTENCE.split()[5:])
    middle = float(truth[5])
    rough = Transcript(
        (
            Segment(first, 0.3, middle - 0.2),  # begins late, ends early
            Segment(second, middle + 0.15, audio.duration),
        )
    )
    np.testing.assert_allclose(
        starts(aligner(audio, rough)), starts(aligner(audio, plain(SENTENCE))), atol=0.03
    )


def test_numbers_are_found_as_they_are_said():
    audio, truth = speak("It costs twenty five dollars today")
    words = aligner(audio, plain("It costs $25 today."))
    check_words(words, ["It", "costs", "$25", "today."], audio.duration)
    assert words[2].start == pytest.approx(truth[2], abs=0.05)
    assert words[3].start == pytest.approx(truth[5], abs=0.05)


def test_what_is_not_spoken_takes_no_time_of_others():
    audio, _ = speak(SENTENCE)
    tokens = SENTENCE.split()
    silent = ["—", "...", "[upbeat", "music]", "(Laughter)", "😀"]
    dashed = [*tokens[:5], *silent[:2], *tokens[5:7], *silent[2:4], *tokens[7:], *silent[4:]]
    words = aligner(audio, plain(" ".join(dashed)))
    check_words(words, dashed, audio.duration)
    assert [word.score is None for word in words] == [t in silent for t in dashed]
    spoken = [word for word in words if word.score is not None]
    np.testing.assert_allclose(starts(spoken), starts(aligner(audio, plain(SENTENCE))), atol=0.003)


def test_guessed_words_are_marked():
    audio, _ = speak("I really loved the zorblat movie")
    words = aligner(audio, plain("I really loved the zorblat movie"))
    assert [word.guessed for word in words] == [False, False, False, False, True, False]


def test_scores_tell_the_right_transcript_from_a_wrong_one():
    for text, other in ((SENTENCE, OTHER), (OTHER, SENTENCE)):
        audio, _ = speak(text)
        right = np.median([word.score for word in aligner(audio, plain(text))])
        wrong = np.median([word.score or 0.0 for word in aligner(audio, plain(other))])
        assert right > 0.5 > 0.3 > wrong


def test_scores_tell_recordings_apart():
    read = [read_by_hand(name) for name in SPEECH]
    right, wrong = [], []
    for number, (audio, by_hand) in enumerate(read):
        other = read[(number + 1) % len(read)][1]
        right.append(np.median([w.score for w in aligner(audio, plain(text_of(by_hand)))]))
        wrong.append(np.median([w.score or 0.0 for w in aligner(audio, plain(text_of(other)))]))
    assert min(right) > 0.85
    assert max(wrong) < 0.6
    assert np.median(wrong) < 0.25


def test_a_long_text_without_times_is_followed():
    texts = [SENTENCE, OTHER, "We had a great time at the beach last summer."]
    rng = np.random.default_rng(0)
    pieces, truth, tokens, now = [], [], [], 0.0
    for number in range(30):
        audio, begins = speak(texts[number % 3])
        # Short pauses, but half a minute of loud noise at first and later half a minute of nothing.
        seconds, loudness = {0: (35, 0.05), 20: (30, 0.0)}.get(number, (rng.uniform(0, 2.5), 1e-4))
        gap = rng.normal(0, loudness, int(seconds * audio.rate)).astype(np.float32)
        now += len(gap) / audio.rate
        truth += list(now + begins)
        tokens += texts[number % 3].split()
        pieces += [gap, audio.samples]
        now += audio.duration
    whole = Audio(np.concatenate(pieces), audio.rate)
    assert whole.duration > 2 * aligner.window
    words = aligner(whole, plain(" ".join(tokens)))
    check_words(words, tokens, whole.duration)
    errors = np.abs(starts(words) - truth)
    assert np.median(errors) < 0.02
    assert np.mean(errors < 0.1) > 0.97


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=8),
    st.sampled_from([0.003, 0.05, 0.3, 3.0]),
)
def test_every_token_gets_a_word_whatever_it_is(texts, seconds):
    audio, _ = speak(SENTENCE)
    short = Audio(audio.samples[: int(seconds * audio.rate)], audio.rate)
    transcript = Transcript(tuple(Segment(text) for text in texts))
    check_words(aligner(short, transcript), transcript.tokens, short.duration)


rough_times = st.none() | st.tuples(st.floats(0, 9), st.floats(0, 9)).map(sorted)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([SENTENCE, "the", "—", "a 5 b"]), rough_times), max_size=5)
)
def test_every_token_gets_a_word_wherever_its_segment_claims_to_be(segments):
    audio, _ = speak(SENTENCE)
    transcript = Transcript(tuple(Segment(text, *(span or ())) for text, span in segments))
    check_words(aligner(audio, transcript), transcript.tokens, audio.duration)


@pytest.mark.parametrize("kind", ["silence", "noise", "tone"])
def test_words_that_nobody_says_still_get_times(kind):
    t = np.arange(3 * 16000) / 16000
    samples = {
        "silence": np.zeros(len(t)),
        "noise": np.random.default_rng(0).normal(0, 0.1, len(t)),
        "tone": 0.5 * np.sin(2 * np.pi * 440 * t),
    }[kind]
    words = aligner(Audio(samples.astype(np.float32), 16000), plain(SENTENCE))
    check_words(words, SENTENCE.split(), 3.0)
    assert np.median([word.score or 0.0 for word in words]) < 0.5


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ValueError, match="window must be at least 2 seconds, got 0"):
        Sphinx(window=0)
    with pytest.raises(ValueError, match="pad must not be negative, got -1"):
        Sphinx(pad=-1)


def test_no_words_and_no_sound():
    audio, _ = speak(SENTENCE)
    assert aligner(audio, Transcript(())) == ()
    with pytest.raises(ValueError, match="cannot align 10 words to a sound of length 0"):
        aligner(Audio(np.zeros(0, np.float32), 16000), plain(SENTENCE))


def test_one_aligner_serves_many_threads():
    expected = [aligner(speak(text)[0], plain(text)) for text in (SENTENCE, OTHER)]
    found: dict[int, tuple] = {}

    def align(number):
        text = (SENTENCE, OTHER)[number % 2]
        found[number] = aligner(speak(text)[0], plain(text))

    threads = [threading.Thread(target=align, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[n] for n in range(4)] == expected * 2
