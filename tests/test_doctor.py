"""What the doctor says of a machine that lacks something, and what to type about it."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
import tomllib
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from extractors.weights import WEIGHTS, WeightsMissing
from flows import machine
from flows.doctor import examine, examine_libraries, examine_models, list_backends, require
from flows.packages import examine_packages, list_installed
from pipeline.recipe import RECIPES, build_recipe, load_recipe
from tests.hub import plant

ROOT = str(Path(__file__).parent.parent)


@pytest.fixture
def settings():
    return tomllib.loads((RECIPES / "embedded.toml").read_text())


def missing(lines):
    return {line["what"]: line["mend"] for line in lines if line["state"] != "ok"}


@pytest.mark.parametrize(
    ("library", "package"), [("libEGL.so.1", "libegl1"), ("libGLESv2.so.2", "libgles2")]
)
def test_a_library_that_the_face_tracker_loads(library, package, settings, monkeypatch):
    load = ctypes.CDLL

    def cdll(name, *arguments):
        if name == library:
            raise OSError(f"{name}: cannot open shared object file")
        return load(name, *arguments)

    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", cdll)
    found = missing(examine_libraries(list_backends(load_recipe("embedded"))))
    assert found[library] == f"apt-get install {package}"
    # Who measures no face needs none of it.
    del settings["visual"]
    assert examine_libraries(list_backends(build_recipe(settings))) == []


@pytest.fixture
def no_models(tmp_path, monkeypatch):
    """The home of a user who has fetched nothing."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RMFN_WEIGHTS", raising=False)
    return tmp_path


def test_every_model_that_is_missing_is_told_with_all_that_is_known_of_it(no_models):
    lines = {line["what"]: line for line in examine_models(load_recipe("paper"), "paper")}
    bad = {what: line for what, line in lines.items() if line["state"] != "ok"}
    assert {"whisper-large-v3", "glove.840B.300d"} <= set(bad)
    assert {(line["state"], line["mend"]) for line in bad.values()} == {
        ("missing", "rmfn weights fetch paper")
    }
    whisper = bad["whisper-large-v3"]
    assert "3.1 GB, MIT" in whisper["found"]
    assert "looked at: ~/hub/models--Systran--faster-whisper-large-v3" in whisper["found"]
    assert "looked at: ~/rmfn-weights/glove.840B.300d" in bad["glove.840B.300d"]["found"]
    looked = [str(no_models / "hub/models--Systran--faster-whisper-large-v3")]
    assert whisper["model"]["looked_at"] == looked
    assert whisper["model"]["sha256"] == WEIGHTS["whisper-large-v3"].sha256
    assert lines["whisperx-vad"]["model"]["size"] == 17719103


WHISPER = {"model.bin": b"a model", "config.json": b"{}", "tokenizer.json": b"{}"}


def test_models_in_the_hubs_cache_are_hashed(no_models, settings):
    settings["transcribe"]["model"] = "somebody/tiny"
    recipe = build_recipe(settings)
    folder = plant(no_models / "hub", "somebody/tiny", WHISPER)

    def state():
        line = examine_models(recipe, "mine.toml")[0]
        return line["state"], line["found"], line["mend"]

    assert state()[0] == "ok"
    assert state()[1].endswith(f"; ~/{folder.relative_to(no_models)}")
    (folder / "model.bin").resolve().write_bytes(b"b model")
    assert (state()[0], state()[2]) == ("wrong", "rmfn weights fetch mine.toml")
    assert "has sha256" in state()[1]
    require(build_recipe(settings), "mine.toml")  # which does not read gigabytes at every start
    (folder / "config.json").unlink()  # a download that did not get to its end
    assert state()[0] == "missing"
    with pytest.raises(WeightsMissing, match=r"(?s)missing: whisper-.*weights fetch mine\.toml"):
        require(build_recipe(settings), "mine.toml")


def test_a_model_that_is_not_the_tables(no_models, monkeypatch):
    plant(no_models / "hub", "Systran/faster-whisper-large-v3", WHISPER)
    lines = {line["what"]: line for line in examine_models(load_recipe("paper"), "paper")}
    assert lines["whisper-large-v3"]["state"] == "wrong"
    assert "expected 69f74147e333" in lines["whisper-large-v3"]["found"]
    monkeypatch.setenv("RMFN_WEIGHTS", str(no_models))
    (no_models / "face-landmarker").write_bytes(b"not the model")
    lines = {line["what"]: line for line in examine_models(load_recipe("embedded"), "embedded")}
    assert lines["face-landmarker"]["state"] == "wrong"
    assert lines["face-landmarker"]["mend"].startswith(f"remove {no_models / 'face-landmarker'}")


def test_a_table_of_words_that_was_damaged(no_models):
    from extractors.word_vectors import import_table

    folder = no_models / "rmfn-weights/glove.840B.300d"
    folder.mkdir(parents=True)
    (no_models / "table.txt").write_text("good 1 2\nfilm 3 4\n")
    import_table(no_models / "table.txt", folder)

    def state():
        lines = examine_models(load_recipe("paper"), "paper")
        return next(line["state"] for line in lines if line["what"] == "glove.840B.300d")

    assert state() == "ok"
    data = bytearray((folder / "vectors.npy").read_bytes())
    data[-1] ^= 1
    (folder / "vectors.npy").write_bytes(data)
    assert state() == "wrong"


def test_a_backend_that_is_not_installed(settings, monkeypatch):
    everything = list_installed()
    left = {name: found for name, found in everything.items() if name != "opensmile"}
    monkeypatch.setattr("flows.packages.list_installed", lambda: left)
    settings["acoustic"] = [{"backend": "opensmile"}]
    assert missing(examine_packages(["opensmile"]))["opensmile"] == "pip install opensmile"
    with pytest.raises(WeightsMissing, match=r"(?s)opensmile: not installed.*pip install opensm"):
        require(build_recipe(settings), "x")
    require(load_recipe("embedded"), "embedded")  # who does not name it does not miss it


def test_a_model_of_two_backends_is_told_once():
    recipe = load_recipe("embedded")
    assert [backend.__class__.__name__ for backend in recipe.language] == ["MiniLM", "MiniLM"]
    told = [line["what"] for line in examine(recipe, "embedded")]
    assert len(set(told)) == len(told)


def install(site, name, version, *requires):
    """A distribution that has nothing but its metadata."""
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    lines = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"]
    lines += [f"Requires-Dist: {requirement}\n" for requirement in requires]
    (folder / "METADATA").write_text("".join(lines))


def states(*names, path):
    lines = examine_packages(names, list_installed([str(site) for site in path]))
    return {line["what"]: (line["state"], line["mend"]) for line in lines}


def test_versions_that_do_not_go_together(tmp_path):
    install(tmp_path, "ears", "1.0", "arrays>=2,<3", "torchcodec>=9", "gone[x]>=1; extra == 'x'")
    install(tmp_path, "eyes", "1.0", "arrays!=2.5", "deep>=1")
    install(tmp_path, "deep", "1.0", "absent>=4")
    install(tmp_path, "arrays", "3.1")
    found = states("ears", "eyes", path=[tmp_path])
    assert found == {
        "ears": ("ok", ""),
        "eyes": ("ok", ""),
        "arrays": ("wrong", 'pip install "arrays!=2.5,<3,>=2"'),
        "absent": ("missing", 'pip install "absent>=4"'),  # two steps away
    }
    shutil.rmtree(tmp_path / "arrays-3.1.dist-info")
    install(tmp_path, "arrays", "2.4")
    install(tmp_path, "absent", "4.0")
    assert states("ears", "eyes", path=[tmp_path]) == {"ears": ("ok", ""), "eyes": ("ok", "")}
    assert states("ears", path=[tmp_path]) == {"ears": ("ok", "")}


def test_a_package_that_is_there_twice(tmp_path):
    install(tmp_path / "first", "arrays", "1.0")
    install(tmp_path / "second", "arrays", "2.0")
    path = [tmp_path / "first", tmp_path / "second"]
    (line,) = examine_packages(["arrays"], list_installed([str(site) for site in path]))
    assert line["state"] == "wrong"
    assert f"1.0 in {path[0]}, 2.0 in {path[1]}" in line["found"]
    assert states("arrays", path=path[:1]) == {"arrays": ("ok", "")}


def test_two_packages_with_the_same_module(tmp_path):
    install(tmp_path, "opencv-python-headless", "5.0")
    install(tmp_path, "opencv-contrib-python", "4.9")
    ((state, mend),) = states("opencv-python-headless", path=[tmp_path]).values()
    assert state == "wrong"
    assert mend.startswith("pip uninstall -y opencv-contrib-python && pip install --force")


def test_this_environment_is_without_conflicts():
    for name in ("embedded", "paper"):
        recipe = load_recipe(name)
        bad = [line for line in examine(recipe, name) if line["state"] != "ok"]
        assert not [line for line in bad if "model" not in line], name


ASK = """
import json
from dataclasses import replace
from flows.doctor import examine_libraries, list_backends
from pipeline.recipe import load_recipe

backends = list_backends(load_recipe("embedded"))
decoder = replace(backends[0][0], libraries=(("libavcodec.so.999", "libavcodec-extra"),))
told = [examine_libraries(backends), examine_libraries([(decoder, None)])]
print(json.dumps([{line["what"]: line["state"] for line in lines} for lines in told]))
"""


def test_ffmpegs_libraries_are_asked_for_by_who_needs_them_alone(tmp_path):
    """With and without, in a process whose libraries are looked for in a folder of ours."""
    import _ctypes

    def ask():
        ran = subprocess.run(
            [sys.executable, "-c", ASK], capture_output=True, text=True, timeout=300, check=True,
            env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)},
        )  # fmt: skip
        return json.loads(ran.stdout)

    plain, needy = ask()
    assert needy == {"libavcodec.so.999": "missing"}
    assert not [name for name in plain if "av" in name]
    shutil.copy(_ctypes.__file__, tmp_path / "libavcodec.so.999")  # any library will do
    assert ask()[1] == {"libavcodec.so.999": "ok"}


def test_folders_that_cannot_be_written_and_disks_that_are_full(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(machine.tempfile, "gettempdir", lambda: str(tmp_path / "file"))
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000_000)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda folder: usage)
    lines = {line["what"]: line for line in machine.examine_machine([], [])}
    assert lines["disk, this folder"]["state"] == "wrong"
    assert lines["disk, this folder"]["mend"] == f"free 2.0 GB in {tmp_path}"
    assert "cannot be written to" in lines["disk, temporary files"]["found"]
    assert lines["memory"]["state"] in ("ok", "wrong")


def test_room_for_the_models_that_are_missing(no_models, monkeypatch):
    models = examine_models(load_recipe("paper"), "paper")
    need = sum(line["model"]["size"] or 0 for line in models if line["state"] == "missing") / 1e9
    assert need > 5
    usage = shutil.disk_usage(no_models)._replace(free=5_000_000_000)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda folder: usage)
    lines = {line["what"]: line for line in machine.examine_machine([], models)}
    assert lines["disk, fetched models"]["mend"] == f"free {need:.1f} GB in {no_models}"
    here = examine_models(load_recipe("embedded"), "embedded")
    lines = {line["what"] for line in machine.examine_machine([], here)}
    assert "disk, fetched models" not in lines


def test_graphics_count_only_for_a_recipe_that_wants_them(settings, monkeypatch):
    settings["transcribe"]["device"] = "cuda"
    wants = [build_recipe(settings).transcribe]
    monkeypatch.setattr(machine, "list_graphics", lambda: [])
    mend = missing(machine.examine_machine(wants, []))["graphics"]
    assert mend.startswith("install NVIDIA's driver")
    free = [load_recipe("embedded").transcribe]
    assert "graphics" not in missing(machine.examine_machine(free, []))
    monkeypatch.setattr(machine, "list_graphics", lambda: ["H200 with 143771 MiB"])
    assert "graphics" not in missing(machine.examine_machine(wants, []))


def test_prefects_server_counts_only_if_one_is_named(monkeypatch):
    def told():
        return next(
            line for line in machine.examine_machine([], []) if line["what"] == "Prefect server"
        )

    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    assert told()["state"] == "ok"
    with listening(200) as url:
        monkeypatch.setenv("PREFECT_API_URL", url)
        assert (told()["state"], told()["found"]) == ("ok", f"{url} answers")
    assert (told()["state"], told()["mend"]) == (
        "wrong",
        "start it, or type: unset PREFECT_API_URL",
    )
    with listening(503) as url:
        monkeypatch.setenv("PREFECT_API_URL", url)
        assert told()["state"] == "wrong"


@contextmanager
def listening(status):
    """A server on a free port that answers ``/health`` with a status."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status if self.path == "/api/health" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/api"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


PREDICT = """
import sys
from flows.cli import main
status = main(sys.argv[1:])
heavy = {"torch", "whisperx", "prefect", "mediapipe", "gensim", "cv2", "librosa", "pyannote"}
print(status, *sorted(heavy & sys.modules.keys()))
"""


@pytest.mark.parametrize(
    "command", [["predict"], ["extract", "--store", "s"], ["batch", "--predict", "--store", "s"]]
)
def test_a_machine_that_is_not_ready_is_told_before_anything_is_loaded(command, tmp_path):
    (tmp_path / "talk.mp4").write_text("not even looked at")
    name, *more = command
    ran = subprocess.run(
        [sys.executable, "-c", PREDICT, name, "talk.mp4", *more, "--recipe", "paper"],
        capture_output=True, text=True, timeout=300, check=True, cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path), "HF_HOME": str(tmp_path), "PYTHONPATH": ROOT},
    )  # fmt: skip
    assert ran.stdout.split() == ["2"], ran.stdout + ran.stderr
    error = "error: this machine is not ready for the recipe paper\n"
    lines = ran.stderr.partition(error)[2].splitlines()
    for model in ("whisper-large-v3: Whisper large-v3", "glove.840B.300d: GloVe 840B"):
        assert [line for line in lines if line.startswith(f"  missing: {model}")]
    assert lines[-2:] == [
        "what mends it: rmfn weights fetch paper",
        "everything that it needs: rmfn doctor --recipe paper",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["talk.mp4"]
