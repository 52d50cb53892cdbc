"""What a person is told, from words and tracks whose faults are planted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from extractors.types import FeatureTrack, Word, WordFeatures
from pipeline.clip import AudioStream, Clip, VideoStream, open_clip
from pipeline.clip_run import ClipRun
from pipeline.process import find_words
from pipeline.quality import count_repeated, describe_words, measure_quality
from pipeline.recipe import load_recipe
from pipeline.sequence import AlignedSequence
from tests.conftest import shared

SOUND = AudioStream(0, "aac", 48000, 2, "stereo", 0.0, 10.0, None, True)
PICTURE = VideoStream(1, "h264", 640, 480, 25.0, 1.0, 0.0, 10.0, True)
CLIP = Clip("ab12", Path("talk.mp4"), 10.0, "mov,mp4", 0.0, (SOUND,), (PICTURE,))


def make_words(scores, guessed=()):
    return tuple(
        Word(f"w{n}", float(n), n + 0.8, score, n in guessed) for n, score in enumerate(scores)
    )


def make_sequence(words, language=None, voiced=None, coverage=None, measure="covarep.vuv"):
    count = len(words)
    ones = np.ones(count, np.float32)
    language = np.ones((count, 2), np.float32) if language is None else language
    return AlignedSequence(
        "ab12",
        words,
        {
            "language": WordFeatures(language, ones, ("toy.0", "toy.1")),
            "visual": WordFeatures(
                np.ones((count, 1), np.float32), ones if coverage is None else coverage, ("toy.x",)
            ),
            "acoustic": WordFeatures(
                np.ones((count, 1), np.float32) if voiced is None else voiced, ones, (measure,)
            ),
        },
    )


def make_face(observed, **notes):
    observed = np.asarray(observed, bool)
    return FeatureTrack(
        np.where(observed, 1.0, np.nan).astype(np.float32)[:, None],
        np.arange(len(observed)) / 25,
        ("toy.x",),
        observed,
        notes,
    )


def warn(sequence, face, clip=CLIP):
    tracks = {"visual": (face,) if face else (), "acoustic": ()}
    return " | ".join(measure_quality(clip, sequence, tracks).warnings)


GOOD = make_words([0.9] * 8)


def test_a_good_clip_has_no_warning():
    quality = measure_quality(
        CLIP, make_sequence(GOOD), {"visual": (make_face([True] * 10),), "acoustic": ()}
    )
    assert quality.warnings == ()
    assert quality.face_share == 1.0
    assert quality.speech_share == pytest.approx(8 * 0.8 / 10)


@pytest.mark.parametrize("measure", ["covarep.vuv", "praat.voiced"])
def test_words_are_counted(measure):
    words = make_words([0.9, None, 0.5, None], guessed=(2,))
    language = np.ones((4, 2), np.float32)
    language[3] = np.nan
    voiced = np.array([[1.0], [0.5], [np.nan], [0.0]], np.float32)
    found = describe_words(
        make_sequence(words, language, voiced, np.float32([1, 1, 0, 0]), measure)
    )
    assert found == {
        "words": 4,
        "interpolated": 2,
        "guessed": 1,
        "repeated": 0,
        "without_vector": 1,
        "aligner_score": pytest.approx(0.7),
        "voiced_share": pytest.approx(0.5),
        "face_share": pytest.approx(0.5),
    }


@pytest.mark.parametrize(
    ("words", "face", "said"),
    [
        (make_words([0.1] * 8), make_face([True]), "fit the sound badly"),
        (make_words([0.9, None] * 4), make_face([True]), "4 of 8 words could not be aligned"),
        (make_words([0.9]), make_face([True]), "only 8% of the clip is speech"),
        (make_words([0.9] * 8, (0, 3, 5)), make_face([True]), "3 of 8 words are not in the"),
        (GOOD, make_face([True], audio_level=-55.2), "loud parts are 55 dB below full scale"),
        (GOOD, make_face([False] * 5), "no face was found"),
        (GOOD, make_face([True] + [False] * 4), "in only 20% of the frames"),
        (GOOD, make_face([True], other_persons=2), "2 other faces were seen"),
        (GOOD, make_face([True], video_truncated=True), "cut short"),
        (GOOD, make_face([True], video_errors=3), "3 broken packets"),
        (GOOD, make_face([True], audio_gap_seconds=1.5), "1.5 s of sound are missing"),
        (GOOD, make_face([True], audio_overlap_seconds=2.0), "2.0 s of sound claim a time"),
        (GOOD, make_face([True], frames_dropped=7), "7 pictures"),
        (GOOD, make_face([True], longest_freeze=3.0), "stands still for up to 3.0 s"),
    ],
)
def test_each_fault_is_told(words, face, said):
    assert said in warn(make_sequence(words), face)


def test_what_fits_but_not_well_is_told_by_the_aligners_own_measure():
    words, tracks = make_sequence(make_words([0.7] * 8)), {"visual": (make_face([True]),)}
    (told,) = measure_quality(CLIP, words, tracks, good_score=0.85).warnings
    assert "aligner score 0.70, not 0.85 or more" in told
    assert not measure_quality(CLIP, words, tracks, good_score=0.6).warnings


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "clear"),
    [("googlework_manyfaces_french_35s.mp4", False), ("mosi_Oz06ZWiO20M_6.mp4", True)],
)
def test_another_language_under_an_english_recipe_is_told(name, clear):
    recipe = load_recipe("embedded")
    run = ClipRun(open_clip(shared(f"clips/{name}")), recipe)
    words = AlignedSequence(run.clip.id, find_words(run), {})
    quality = measure_quality(run.clip, words, {}, recipe.align.GOOD_SCORE)
    assert any("another language" in warning for warning in quality.warnings) != clear


def test_sound_alone_and_several_sound_tracks_are_told():
    alone = Clip("ab12", Path("talk.wav"), 10.0, "wav", 0.0, (SOUND,), ())
    assert "no picture" in warn(make_sequence(GOOD), None, alone)
    two = Clip("ab12", Path("talk.mkv"), 10.0, "matroska", 0.0, (SOUND, SOUND), (PICTURE,))
    assert "one of 2 sound tracks" in warn(make_sequence(GOOD), make_face([True]), two)


def say(text, **settings):
    words = [
        Word(token, n * 0.5, n * 0.5 + 0.45, settings.get("score", 0.9))
        for n, token in enumerate(text.split())
    ]
    return make_sequence(tuple(words), voiced=settings.get("voiced"))


PHRASE = "Thank you for watching, please subscribe to my channel."


@pytest.mark.parametrize(
    ("text", "repeated"),
    [
        (f"{PHRASE} " * 5, 45),
        (f"{PHRASE} " * 2, 0),  # twice is said
        (f"Hello everyone. {PHRASE} {PHRASE.upper()} {PHRASE.replace(',', '')} Bye!", 27),
        (f"{PHRASE} " * 3 + "Thank you for", 30),  # cut off in the middle
        ("you " * 30, 30),
        ("No, no, no, I said so.", 3),
        ("la la la di da la la la di da la la la di da", 15),
        ("one two three four five six seven eight nine ten", 0),
        ("... ... ...", 3),
        ("word", 0),
        ("", 0),
    ],
)
def test_repetition_is_counted(text, repeated):
    assert count_repeated(text.split()) == repeated


def test_repetition_is_found_where_it_was_planted():
    """Against a plain search: every word is of a phrase that stands there three times on end."""
    random = np.random.default_rng(0)
    for _ in range(300):
        texts = [str(x) for x in random.integers(0, 3, random.integers(0, 25))]
        found = set()
        for start in range(len(texts)):
            for length in range(1, len(texts) // 3 + 1):
                parts = [texts[start + n * length :][:length] for n in range(3)]
                if parts[0] == parts[1] == parts[2] and len(parts[2]) == length:
                    end = start + 3 * length
                    while end < len(texts) and texts[end] == texts[end - length]:
                        end += 1
                    found |= set(range(start, end))
        assert count_repeated(texts) == len(found), texts


def test_what_was_heard_into_music_is_told():
    assert "45 of 45 words are a phrase said again and again" in warn(say(f"{PHRASE} " * 5), None)
    assert "again and again" not in warn(say("No, no, no, I said so yesterday, did I not?"), None)


def test_words_over_noise_are_told():
    noise = np.full((8, 1), 0.05, np.float32)
    said = warn(make_sequence(GOOD, voiced=noise), make_face([True]))
    assert "only 5% of the words' sound is voiced (speech has more than 20%)" in said
    unknown = make_sequence(GOOD, voiced=np.full((8, 1), np.nan, np.float32))
    assert warn(unknown, make_face([True])) == ""


@pytest.mark.slow
def test_a_transcript_in_another_language_is_told():
    """English is heard, the transcript is French: neither the sound nor the dictionary has it."""
    from extractors.align_pocketsphinx import Sphinx
    from extractors.types import Segment, Transcript
    from tests.speech_maker import speak

    audio, _ = speak("I really enjoyed this movie, and the acting was wonderful.")
    french = "Aujourd'hui, nous sommes heureux d'accueillir nos voisins malgré le temps pluvieux."
    align = Sphinx()
    right = align(audio, Transcript((Segment("I really enjoyed this movie, and the acting was "
                                             "wonderful."),)))  # fmt: skip
    wrong = align(audio, Transcript((Segment(french),)))
    assert "is this the transcript of this clip" not in warn(make_sequence(right), None)
    assert "not in the aligner's dictionary" not in warn(make_sequence(right), None)
    said = warn(make_sequence(wrong), None)
    assert "not in the aligner's dictionary" in said
    assert "is this the transcript of this clip" in said or "could not be aligned" in said
