"""A clip through the pipeline, with backends so simple that the answer is known beforehand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from threading import Event
from threading import enumerate as enumerate_threads

import numpy as np
import pytest

from extractors.types import Audio, FeatureTrack, Frame, Segment, Transcript, Word
from extractors.weights import WeightsMissing
from pipeline.clip import open_clip
from pipeline.errors import AlignmentFailed, ClipError, MediaError, NoSpeech
from pipeline.media import read_frames
from pipeline.pooling import pool
from pipeline.process import find_spans, process_clip
from pipeline.recipe import Recipe
from pipeline.store import Store
from tests.conftest import ROOT, group_lives
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


@dataclass(frozen=True)
class Niceness:
    """Of the process that measures."""

    names: tuple[str, ...] = ("toy.niceness",)

    def __call__(self, frames: Iterable[Frame]) -> FeatureTrack:
        times = np.array([frame.time for frame in frames])
        nice = os.getpriority(os.PRIO_PROCESS, 0)
        return FeatureTrack(np.full((len(times), 1), nice, np.float32), times, self.names)


class ToyRecipe(Recipe):
    """The tables know nothing of these backends, so they are described here."""

    @property
    def provenance(self):
        single = {step: repr(getattr(self, step)) for step in ("transcribe", "align", "timing")}
        several = ("language", "visual", "acoustic")
        return {
            **single,
            **{step: [repr(made) for made in getattr(self, step)] for step in several},
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


@dataclass(frozen=True)
class HearsFrench(SaysThree):
    """A language to be heard first."""

    language: str = "auto"
    heard: str | None = "fr"

    def detect_language(self, audio):
        return self.heard

    def __call__(self, audio, language):
        assert language == "fr"
        return super().__call__(audio)


@dataclass(frozen=True)
class FrenchOnly(OneASecond):
    def prepare(self, language):
        if language != "fr":
            raise ValueError(f"no aligner for {language!r}")


def test_the_language_that_was_heard_is_kept_with_the_clip(clip, tmp_path):
    recipe = make_recipe(transcribe=HearsFrench(), align=FrenchOnly())
    store = Store(tmp_path / "store")
    for _ in range(2):  # made, and found again
        processed = process_clip(clip, recipe, store=store)
        assert processed.quality.notes["language"] == "fr"
    assert "detect language" not in processed.seconds
    told = []

    @dataclass(frozen=True)
    class Tells(FrenchOnly):
        def __call__(self, audio, transcript):
            told.append(transcript.language)
            return super().__call__(audio, transcript)

    # A transcript that is given has the language that is heard.
    given = Transcript((Segment("alpha beta"),))
    process_clip(clip, make_recipe(transcribe=HearsFrench(), align=Tells()), given)
    assert told == ["fr"]
    assert "language" not in process_clip(clip, make_recipe()).quality.notes


@pytest.mark.parametrize(
    ("heard", "error", "message"),
    [
        ("sw", AlignmentFailed, "no aligner for 'sw'"),
        (None, NoSpeech, "no speech was found to hear its language from"),
    ],
)
def test_a_language_that_cannot_be_aligned_is_refused_before_recognition(
    clip, heard, error, message
):
    class MustNotRun(HearsFrench):
        def __call__(self, audio, language):
            raise AssertionError("recognised although it cannot be aligned")

    recipe = make_recipe(transcribe=MustNotRun(heard=heard), align=FrenchOnly())
    with pytest.raises(error, match=message) as caught:
        process_clip(clip, recipe)
    assert caught.value.clip == str(clip)


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


@dataclass(frozen=True)
class NeverEnds:
    names: tuple[str, ...] = ("toy.x",)

    def __call__(self, frames):
        next(iter(frames))
        time.sleep(600)


@dataclass(frozen=True)
class Crashes:
    """As a native library does: the process is gone."""

    names: tuple[str, ...] = ("toy.x",)

    def __call__(self, frames):
        print("about to crash", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)


@dataclass(frozen=True)
class Refuses:
    names: tuple[str, ...] = ("toy.x",)

    def __call__(self, frames):
        raise WeightsMissing("the toy model is missing; install it with: pip install toy")


def test_a_failure_ends_the_other_stages(clip):
    """Nobody waits for the picture when there is nobody to put its rows to."""

    def fails(audio):
        time.sleep(1)
        raise MediaError("the sound broke")

    started = time.monotonic()
    with pytest.raises(MediaError, match="the sound broke"):
        process_clip(clip, make_recipe(transcribe=fails, visual=(NeverEnds(),)))
    assert time.monotonic() - started < 60


def test_nobody_waits_for_a_recognition_when_another_stage_has_failed(clip):
    """Nor is what it wrote down aligned then."""
    go_on, aligned = Event(), []

    def takes_long(audio):
        go_on.wait(30)
        return SaysThree()(audio)

    def align(audio, transcript):
        aligned.append(transcript)
        return OneASecond()(audio, transcript)

    with pytest.raises(WeightsMissing, match="toy model"):
        process_clip(clip, make_recipe(transcribe=takes_long, align=align, visual=(Refuses(),)))
    assert not go_on.is_set()
    threads = [thread for thread in enumerate_threads() if thread.name.startswith("stage")]
    assert threads  # the recognition goes on: nobody can end it
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert aligned == []


def test_backends_of_one_modality_are_one_stage_and_kept_each_by_itself(clip, tmp_path):
    store, log = Store(tmp_path / "store"), tmp_path / "log"
    one, other = Slow("toy.one", str(log), 0.4), Slow("toy.other", str(log), 0.3)
    process_clip(clip, make_recipe(acoustic=(one,)), store=store)
    both = process_clip(clip, make_recipe(acoustic=(other, one)), store=store)
    assert log.read_text().split() == ["toy.one", "toy.other"]  # the first not again
    assert [track.names for track in both.tracks["acoustic"]] == [("toy.other",), ("toy.one",)]
    assert process_clip(clip, make_recipe(acoustic=(one, other))).seconds["acoustic"] >= 0.7


def test_a_process_that_was_asked_to_be_nice_stays_so(clip):
    code = f"""
import os
from tests.test_process import *
mine = os.nice(15)
if __name__ == "__main__":
    track, = process_clip({str(clip)!r}, make_recipe(visual=(Niceness(),))).tracks["visual"]
    print(int(track.values[0, 0]) - mine)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert said.stdout.split() == ["0"], said.stderr


def test_a_native_crash_names_the_clip_and_costs_nothing_else(clip):
    with pytest.raises(
        ClipError, match=r"clip\.mp4.*visual.*crashed.*signal 11.*about to"
    ) as caught:
        process_clip(clip, make_recipe(visual=(Crashes(),)))
    assert caught.value.stage == "visual"
    assert len(process_clip(clip, make_recipe()).sequence.words) == 3


def test_an_error_keeps_its_type_and_words_across_processes(clip):
    with pytest.raises(WeightsMissing, match="pip install toy"):
        process_clip(clip, make_recipe(visual=(Refuses(),)))


@dataclass(frozen=True)
class Counting:
    """Counts the calls of a backend, in a file: tracks are measured in another process."""

    backend: str
    log: str
    score: float | None = 0.9

    @property
    def names(self):
        return globals()[self.backend]().names

    def __call__(self, *arguments):
        with open(self.log, "a") as log:
            log.write(f"{self.backend} ")
        backend = (
            OneASecond(self.score) if self.backend == "OneASecond" else globals()[self.backend]()
        )
        return backend(*arguments)


@dataclass(frozen=True)
class Slow:
    """Takes its time, and notes that it was called."""

    name: str
    log: str
    pause: float

    @property
    def names(self):
        return (self.name,)

    def __call__(self, audio: Audio) -> FeatureTrack:
        with open(self.log, "a") as log:
            log.write(f"{self.name} ")
        time.sleep(self.pause)
        return Loudness(self.names)(audio)


def run_counted(log, clip, store, transcript=None, score=0.9):
    """The backends that were called, and what came of it."""
    log.write_text("")
    recipe = make_recipe(
        transcribe=Counting("SaysThree", str(log)),
        align=Counting("OneASecond", str(log), score),
        visual=(Counting("Brightness", str(log)),),
        acoustic=(Counting("Loudness", str(log)),),
    )
    processed = process_clip(clip, recipe, transcript, store)
    return sorted(log.read_text().split()), processed


def test_a_store_does_only_what_is_missing(clip, tmp_path):
    store, log = Store(tmp_path / "store"), tmp_path / "log"
    called, first = run_counted(log, clip, store)
    assert called == ["Brightness", "Loudness", "OneASecond", "SaysThree"]
    called, second = run_counted(log, clip, store)
    assert called == []
    assert second.quality == first.quality
    for modality, rows in first.sequence.features.items():
        np.testing.assert_array_equal(rows.values, second.sequence.features[modality].values)
    assert run_counted(log, clip, store, score=0.5)[0] == ["OneASecond", "SaysThree"]
    said = Transcript((Segment("four five"),))
    assert run_counted(log, clip, store, said)[0] == ["OneASecond"]


def test_the_quality_of_a_clip_is_kept_with_its_rows(clip, tmp_path):
    store, log = Store(tmp_path / "store"), tmp_path / "log"
    quality = run_counted(log, clip, store)[1].quality
    (kept,) = [s for s in store.stages(store.clips()[0]) if s.startswith("sequence-")]
    where = (store.clips()[0], "sequence", kept.partition("-")[2])
    assert json.loads(store.read_notes(*where)["quality"]) == quality.to_json()
    assert quality.notes["audio_level"] < 0
    # Rows of a time when it was not kept are made again, and nothing else is.
    notes = {n: text for n, text in store.read_notes(*where).items() if n != "quality"}
    rows = store.get_sequence(*where[::2])
    store.put_sequence(where[2], rows, notes)
    assert run_counted(log, clip, store)[0] == []
    assert json.loads(store.read_notes(*where)["quality"]) == quality.to_json()


@dataclass(frozen=True)
class OneShort:
    """An aligner that finds words with long pauses, of which one holds no frame."""

    def __call__(self, audio: Audio, transcript: Transcript) -> tuple[Word, ...]:
        return (
            Word("one", 0.30, 0.90, 0.9),
            Word("two", 1.501, 1.502, 0.9),
            Word("three", 2.60, 2.95, 0.9),
        )


def test_only_the_frames_of_words_are_looked_at_if_the_recipe_says_so(clip, tmp_path):
    """The rows are those of all frames, and the track holds what was looked at."""
    store = Store(tmp_path / "store")
    parts = {"align": OneShort()}
    whole = process_clip(clip, make_recipe(**parts), store=store)
    recipe = replace(
        make_recipe(**parts), settings={"align": None, "visual": [{"frames": "words"}]}
    )
    part = process_clip(clip, recipe, store=store)
    for name in ("values", "coverage"):
        np.testing.assert_array_equal(
            getattr(part.sequence.features["visual"], name),
            getattr(whole.sequence.features["visual"], name),
        )
    assert part.sequence.features["visual"].coverage.tolist() == [1, 1, 1]
    all_times = whole.tracks["visual"][0].times
    spans = [(0.05, 1.15), (1.251, 1.752), (2.35, 3.2)]
    wanted = [t for t in all_times if any(start <= t < end for start, end in spans)]
    np.testing.assert_array_equal(part.tracks["visual"][0].times, wanted)
    assert len(wanted) < 0.85 * len(all_times)
    # Kept beside those of all frames, and known again.
    kept = [s for s in store.stages(part.clip.id) if s.startswith("track.visual-")]
    assert len(kept) == 2
    again = process_clip(clip, recipe, store=store)
    assert "visual" not in again.seconds
    np.testing.assert_array_equal(again.tracks["visual"][0].times, wanted)


@pytest.mark.slow
def test_a_face_is_followed_alike_when_only_the_frames_of_words_are_looked_at():
    """Two words of the sample with 1.6 s between them, where nothing is looked at."""
    from extractors.visual_mediapipe import MediaPipe

    sample = open_clip(ROOT / "sample_videos" / "happy.mp4")
    words = (Word("one", 0.6, 1.0), Word("two", 2.6, 3.0))
    backend = MediaPipe(hog=False)
    tracks = [
        backend(read_frames(sample, within=spans))
        for spans in ([(0.0, 3.3)], find_spans(words, sample.video[0].fps))
    ]
    assert len(tracks[1].times) < 0.6 * len(tracks[0].times)
    whole, part = (pool(track, words) for track in tracks)
    np.testing.assert_array_equal(whole.coverage, [1, 1])
    np.testing.assert_array_equal(part.coverage, [1, 1])
    for group, limit in (("au", 0.02), ("landmark", 0.01), ("gaze", 0.5), ("box", 0.002)):
        here = [n for n, name in enumerate(whole.names) if name.startswith(f"mediapipe.{group}")]
        np.testing.assert_allclose(part.values[:, here], whole.values[:, here], atol=limit)


def test_words_that_cannot_be_found_stop_the_face_that_waits_for_them(clip):
    recipe = replace(
        make_recipe(transcribe=SaysThree("")), settings={"visual": [{"frames": "words"}]}
    )
    with pytest.raises(NoSpeech, match="no speech was found"):
        process_clip(clip, recipe)


def test_spans_join_where_they_meet():
    words = [Word(t, a, b) for t, a, b in (("b", 1.4, 2.0), ("a", 0.1, 1.0), ("c", 3.0, 3.1))]
    spans = find_spans(tuple(words), None)
    np.testing.assert_allclose(spans, [(-0.15, 2.25), (2.75, 3.35)])
    slow = find_spans(tuple(words), 4.0)  # two frames are half a second
    np.testing.assert_allclose(slow, [(-0.4, 3.6)])
    assert find_spans((), 25.0) == []


def test_a_damaged_stage_is_done_again(clip, tmp_path):
    store, log = Store(tmp_path / "store"), tmp_path / "log"
    run_counted(log, clip, store)
    for track in store.folder.rglob("track.visual-*.parquet"):
        track.write_bytes(track.read_bytes()[:100])
    assert run_counted(log, clip, store)[0] == ["Brightness"]


def test_progress_tells_start_and_end_of_every_stage(clip):
    told: dict[str, list] = {}
    process_clip(clip, make_recipe(), progress=lambda s, x: told.setdefault(s, []).append(x))
    for stage, shares in told.items():
        assert shares[0] is None, stage
        assert shares[-1] == 1.0
    between = told["visual"][1:-1]
    assert between == sorted(between)
    assert between
    assert all(0 <= share < 1 for share in between)


def test_a_child_ends_with_its_parent_and_leaves_no_folder(clip, tmp_path):
    """Even if the parent had no chance to say goodbye."""
    code = (
        "import os, sys, threading\n"
        "from pipeline.apart import measure_apart\n"
        "from pipeline.clip import open_clip\n"
        "from tests.test_process import NeverEnds\n"
        "arguments = (NeverEnds(), open_clip(sys.argv[1]), 'visual')\n"
        "told = threading.Event()\n"
        "threading.Thread(target=measure_apart, daemon=True,\n"
        "    args=(*arguments, lambda share: told.set(), threading.Event())).start()\n"
        "told.wait(60)\n"
        "os._exit(9)\n"
    )
    left = tmp_path / "tmp"
    left.mkdir()
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(clip)],
        cwd=ROOT, env={**os.environ, "TMPDIR": str(left)}, start_new_session=True,
    )  # fmt: skip
    assert parent.wait(timeout=90) == 9
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and group_lives(parent.pid):
        time.sleep(0.1)
    assert not group_lives(parent.pid)
    # (The tests' own setting up leaves Prefect's home there.)
    assert not [path for path in left.glob("rmfn-*") if "prefect" not in path.name]
