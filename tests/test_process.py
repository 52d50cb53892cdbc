"""A clip through the pipeline, with backends so simple that the answer is known beforehand."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pytest

from extractors.types import Audio, FeatureTrack, Frame, Segment, Transcript, Word
from pipeline.errors import AlignmentFailed, MediaError, NoSpeech
from pipeline.process import process_clip
from pipeline.recipe import Recipe
from pipeline.store import Store
from tests.media_maker import make_clip

TOKENS = ("one", "two", "three")  # a second each: the flash and the click at 1.6 s are in "two"


@dataclass(frozen=True)
class SaysThree:
    """A recogniser that always hears the same."""

    text: str = " ".join(TOKENS)

    def __call__(self, audio: Audio) -> Transcript:
        return Transcript((Segment(self.text, 0.0, 3.0),) if self.text else ())


@dataclass(frozen=True)
class OneASecond:
    """An aligner that gives every token a second."""

    score: float | None = 0.9

    def __call__(self, audio: Audio, transcript: Transcript) -> tuple[Word, ...]:
        return tuple(
            Word(token, float(n), n + 1.0, self.score) for n, token in enumerate(transcript.tokens)
        )


@dataclass(frozen=True)
class Brightness:
    names: tuple[str, ...] = ("toy.brightness",)

    def __call__(self, frames: Iterable[Frame]) -> FeatureTrack:
        rows = [(frame.time, frame.image.mean() / 255) for frame in frames]
        return FeatureTrack(
            np.array([[value] for _, value in rows], np.float32).reshape(-1, 1),
            np.array([time for time, _ in rows]),
            self.names,
        )


@dataclass(frozen=True)
class Loudness:
    names: tuple[str, ...] = ("toy.peak",)

    def __call__(self, audio: Audio) -> FeatureTrack:
        size = audio.rate // 100
        blocks = audio.samples[: len(audio.samples) // size * size].reshape(-1, size)
        times = (np.arange(len(blocks)) + 0.5) / 100
        return FeatureTrack(abs(blocks).max(axis=1, keepdims=True), times, self.names)


@dataclass(frozen=True)
class Letters:
    names: tuple[str, ...] = ("toy.letters",)

    def __call__(self, utterances):
        return [np.array([[len(t)] for t in tokens], np.float32) for tokens in utterances]


@dataclass(frozen=True)
class Seconds:
    names: tuple[str, ...] = ("toy.seconds",)

    def __call__(self, utterances):
        return [np.array([[w.end - w.start] for w in words], np.float32) for words in utterances]


class ToyRecipe(Recipe):
    """The tables know nothing of these backends, so they are described here."""

    @property
    def provenance(self):
        return {
            step: repr(getattr(self, step))
            for step in ("transcribe", "align", "language", "visual", "acoustic", "timing")
        }


def make_recipe(**changes):
    parts = {
        "transcribe": SaysThree(),
        "align": OneASecond(),
        "language": (Letters(),),
        "visual": (Brightness(),),
        "acoustic": (Loudness(),),
        "timing": Seconds(),
        **changes,
    }
    return ToyRecipe(name="toy", settings=dict.fromkeys(parts), **parts)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4")


def test_flash_and_click_land_in_the_word_that_was_spoken_then(clip):
    processed = process_clip(clip, make_recipe())
    rows = processed.sequence.features
    assert [word.text for word in processed.sequence.words] == list(TOKENS)
    assert rows["visual"].values[:, 0].argmax() == 1
    assert rows["acoustic"].values[:, 0].argmax() == 1
    assert rows["visual"].values[[0, 2], 0] == pytest.approx(16 / 255, abs=0.005)
    np.testing.assert_array_equal(rows["language"].values[:, 0], [3, 3, 5])
    assert rows["acoustic"].names == ("toy.peak", "toy.seconds")
    np.testing.assert_allclose(rows["acoustic"].values[:, 1], 1.0)
    assert set(processed.seconds) == {
        "decode sound", "transcribe", "align", "visual", "acoustic", "language",
    }  # fmt: skip


def test_sound_alone_has_the_same_rows_and_nan_faces(clip, tmp_path):
    import av

    alone = tmp_path / "alone.wav"
    with av.open(str(clip)) as source, av.open(str(alone), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=48000)
        for frame in source.decode(audio=0):
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    features = process_clip(alone, make_recipe()).sequence.features
    both = process_clip(clip, make_recipe()).sequence.features
    np.testing.assert_allclose(
        features["acoustic"].values, both["acoustic"].values, atol=0.02, rtol=0.02
    )
    assert np.isnan(features["visual"].values).all()
    assert (features["visual"].coverage == 0).all()
    assert features["visual"].names == ("toy.brightness",)


def test_a_transcript_is_taken_instead_of_recognition(clip):
    def must_not_run(audio):
        raise AssertionError("recognised although the transcript was given")

    given = Transcript((Segment("alpha beta"),))
    processed = process_clip(clip, make_recipe(transcribe=must_not_run), given)
    assert [word.text for word in processed.sequence.words] == ["alpha", "beta"]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"transcribe": SaysThree(text="")}, NoSpeech, "no speech was found in 3.0 s"),
        ({"align": OneASecond(score=None)}, AlignmentFailed, "none of the 3 words"),
    ],
)
def test_no_words_is_an_error_that_names_the_clip(clip, changes, error, message):
    with pytest.raises(error, match=message) as caught:
        process_clip(clip, make_recipe(**changes))
    assert caught.value.clip == str(clip)


def test_a_failure_stops_the_other_stages(clip):
    """The picture is not read to its end when there is nobody to put its rows to."""
    failed = threading.Event()

    def fails(audio):
        failed.set()
        raise MediaError("the sound broke")

    def endless(frames):
        seen = 0
        for _ in frames:
            failed.wait(10)
            seen += 1
        return FeatureTrack(
            np.zeros((0, 1), np.float32), np.zeros(0), ("toy.x",), notes={"n": seen}
        )

    read = []

    def counting(frames):
        def count():
            for frame in frames:
                read.append(frame.time)
                yield frame

        return endless(count())

    with pytest.raises(MediaError, match="the sound broke"):
        process_clip(clip, make_recipe(transcribe=fails, visual=(counting,)))
    assert len(read) < 75


class Counting:
    """Counts the calls of a backend."""

    def __init__(self, backend):
        self.backend, self.calls, self.names = backend, 0, getattr(backend, "names", ())

    def __repr__(self):
        return repr(self.backend)

    def __call__(self, *arguments):
        self.calls += 1
        return self.backend(*arguments)


def counted(**changes):
    return make_recipe(
        **{
            "transcribe": Counting(SaysThree()),
            "align": Counting(OneASecond()),
            "visual": (Counting(Brightness()),),
            "acoustic": (Counting(Loudness()),),
            **changes,
        }
    )


def calls(recipe):
    stages = (recipe.transcribe, recipe.align, *recipe.visual, *recipe.acoustic)
    return [stage.calls for stage in stages]


def test_a_store_does_only_what_is_missing(clip, tmp_path):
    store = Store(tmp_path / "store")
    first = process_clip(clip, counted(), store=store)
    again = counted()
    second = process_clip(clip, again, store=store)
    assert calls(again) == [0, 0, 0, 0]
    assert second.quality == first.quality
    for modality, rows in first.sequence.features.items():
        np.testing.assert_array_equal(rows.values, second.sequence.features[modality].values)
    other_aligner = counted(align=Counting(OneASecond(score=0.5)))
    process_clip(clip, other_aligner, store=store)
    assert calls(other_aligner) == [1, 1, 0, 0]
    with_transcript = counted()
    process_clip(clip, with_transcript, Transcript((Segment("four five"),)), store)
    assert calls(with_transcript) == [0, 1, 0, 0]


def test_a_damaged_stage_is_done_again(clip, tmp_path):
    store = Store(tmp_path / "store")
    process_clip(clip, counted(), store=store)
    for track in store.folder.rglob("track.visual-*.parquet"):
        track.write_bytes(track.read_bytes()[:100])
    recipe = counted()
    process_clip(clip, recipe, store=store)
    assert calls(recipe) == [0, 0, 1, 0]


def test_progress_tells_start_and_end_of_every_stage(clip):
    told: dict[str, list] = {}
    process_clip(clip, make_recipe(), progress=lambda s, x: told.setdefault(s, []).append(x))
    for stage, shares in told.items():
        assert shares[0] is None, stage
        assert shares[-1] == 1.0
    between = told["visual"][1:-1]
    assert between == sorted(between)
    assert len(between) == 75
