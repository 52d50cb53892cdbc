"""The typed errors as a user reads them: what, where, what was expected, what was found."""

from __future__ import annotations

import ast
import pickle
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from extractors.types import Audio, Segment, Transcript, Word
from pipeline import errors
from pipeline.clip import AudioStream, Clip, open_clip
from pipeline.clip_run import ClipRun
from pipeline.errors import ClipError
from pipeline.process import find_words
from pipeline.recipe import build_recipe, load_recipe, require_features
from pipeline.store import open_store
from pipeline.transcripts import read_beside
from rmfn.csd_files import read_csd
from rmfn.dataset import load_dataset
from tests.conftest import ROOT

SOUND = AudioStream(0, "aac", 48000, 2, "stereo", 0.0, 10.0, None, True)


def hear(clip: Clip, *texts: str) -> None:
    """Words of a clip by a recipe that hears these texts and can align none of their words."""
    heard = Transcript(tuple(map(Segment, texts)))
    recipe = SimpleNamespace(
        key=lambda *steps: "k",
        transcribe=lambda audio: heard,
        align=lambda audio, transcript: tuple(
            Word(token, float(n), n + 0.5) for n, token in enumerate(transcript.tokens)
        ),
    )
    run = ClipRun(clip, recipe)  # type: ignore[arg-type]
    run._sound = SimpleNamespace(audio=Audio(np.zeros(16000, np.float32), 16000))  # type: ignore[assignment]
    find_words(run)


def write(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def write_csd(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file["root/data/talk/features"] = np.zeros((2, 3))
        file["root/data/talk/intervals"] = np.array([[0.0, 1.0], [2.0, 1.5]])
    return path


def talk(audio=(SOUND,)) -> Clip:
    return Clip("ab12", Path("talk.mp4"), 10.0, "mp4", 0.0, audio, ())


MADE = {"backend": "glove", "settings": {"size": 300}, "weights": {}}
EXPECTED = "expected a video or sound file"

# what is done in a folder; the error; its text, with {folder} for the folder
CASES = [
    (
        lambda at: open_clip(at / "a.mp4"),
        "MediaError",
        f"{{folder}}/a.mp4: no such file; {EXPECTED}",
    ),
    (lambda at: open_clip(at), "MediaError", f"{{folder}}: a folder; {EXPECTED}"),
    (
        lambda at: open_clip(write(at / "a.mp4", "")),
        "MediaError",
        f"{{folder}}/a.mp4: empty file (0 bytes); {EXPECTED}",
    ),
    (
        lambda at: hear(talk(audio=())),
        "NoSpeech",
        "talk.mp4: there is no audio track, so no word can be heard or timed",
    ),
    (
        lambda at: hear(talk()),
        "NoSpeech",
        "talk.mp4: no speech was found in 10.0 s of sound; a transcript can be given instead",
    ),
    (
        lambda at: hear(talk(), "quite another", "text"),
        "AlignmentFailed",
        "talk.mp4: none of the 3 words of the transcript could be placed in the sound; is it the "
        "transcript of this clip?",
    ),
    (
        lambda at: read_beside(write(at / "talk.srt", "no times here").with_suffix(".mp4")),
        "ClipError",
        "{folder}/talk.srt: expected subtitles with times (a line with -->), found none",
    ),
    (
        lambda at: load_recipe(write(at / "mine.toml", "[transcribe")),
        "RecipeError",
        "{folder}/mine.toml: not a TOML file: Expected ']' at the end of a table declaration (at "
        "end of document)",
    ),
    (
        lambda at: build_recipe({"name": "mine", "langauge": []}, "mine.toml"),
        "RecipeError",
        "mine.toml: unknown step: 'langauge'; did you mean 'language'?",
    ),
    (
        lambda at: require_features("mood", {"language": [MADE]}, {"language": []}),
        "RecipeMismatch",
        "the model 'mood' was trained with 'glove' for language, the recipe has nothing",
    ),
    (
        lambda at: require_features(
            "mood", {"language": [MADE]}, {"language": [{**MADE, "settings": {"size": 50}}]}
        ),
        "RecipeMismatch",
        "the model 'mood' was trained with language backend 'glove' settings size = 300, the "
        "recipe has 50",
    ),
    (
        lambda at: open_store(at),
        "DatasetError",
        "{folder}: not a store; expected a folder that rmfn extract has made",
    ),
    (
        lambda at: load_dataset(at / "mosi"),
        "DatasetError",
        "{folder}/mosi: no such data set folder",
    ),
    (
        lambda at: read_csd(write_csd(at / "words.csd")),
        "DatasetError",
        "{folder}/words.csd: talk: expected intervals with start <= end, all of them finite; found "
        "2 to 1.5 in row 1",
    ),
]


@pytest.mark.parametrize(("do", "kind", "text"), CASES)
def test_what_a_user_reads(tmp_path, do, kind, text):
    with pytest.raises(getattr(errors, kind)) as caught:
        do(tmp_path)
    assert type(caught.value).__name__ == kind
    assert str(caught.value) == text.replace("{folder}", str(tmp_path))


def test_no_typed_error_is_left_out():
    """Each that the code raises stands in the table."""
    known = {name for name, kind in vars(errors).items() if isinstance(kind, type)}
    raised = set()
    for package in ("extractors", "pipeline", "rmfn", "flows"):
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                    raised.add(ast.unparse(node.exc.func))
    assert known & raised == {kind for _, kind, _ in CASES}


@pytest.mark.parametrize("kind", [kind for kind in vars(errors).values() if isinstance(kind, type)])
def test_an_error_comes_whole_out_of_another_process(kind):
    error = kind("talk.mp4: why", "talk.mp4") if issubclass(kind, ClipError) else kind("why")
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is kind
    assert str(back) == str(error)
    for name in ("clip", "stage"):
        assert getattr(back, name, None) == getattr(error, name, None)
    assert kind.__doc__
