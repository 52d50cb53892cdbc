"""``rmfn weights fetch`` against a small hub of our own on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import zipfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread

import pytest

from extractors.language_glove import GloVe
from tests.hub import REVISION

ROOT = str(Path(__file__).parent.parent)
MODEL = bytes(range(256)) * 4000  # 1 MB
WHISPER = {
    "model.bin": MODEL,
    "config.json": b"{}",
    "tokenizer.json": b"{}",
    "vocabulary.txt": b"a",
    "README.md": b"not asked for",
}
RECIPE = """
name = "mine"
[transcribe]
backend = "whisperx"
model = "somebody/tiny"
[align]
backend = "pocketsphinx"
"""


@contextmanager
def hub(repositories, spoil=lambda name, data: data):
    """Speaks as much of the Hugging Face hub's language as its client needs.

    ``spoil`` changes what is sent, not what is said of it. Gives the address, and a list that every
    request for a file's bytes is put on: its name and the byte from which it was asked for.
    """
    asked: list[tuple[str, int]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            listed = re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/main", self.path)
            if listed and listed[1] in repositories:
                names = [{"rfilename": name} for name in repositories[listed[1]]]
                told = {"id": listed[1], "sha": REVISION, "siblings": names}
                return self.answer(200, json.dumps(told).encode(), {})
            path = re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", self.path)
            data = repositories.get(path[1], {}).get(path[2]) if path else None
            if data is None:
                return self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})
            about = {
                "X-Repo-Commit": REVISION,
                "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
                "Accept-Ranges": "bytes",
            }
            status, first = 200, 0
            if begun := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
                status, first = 206, int(begun[1])
                about["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
            if self.command == "GET":
                asked.append((path[2], first))
            return self.answer(status, spoil(path[2], data)[first:], about)

        def answer(self, status, data, headers):
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def rmfn(tmp_path):
    """``rmfn weights``, in a home of its own; the recipe mine.toml is there."""
    (tmp_path / "mine.toml").write_text(RECIPE)

    def run(address, action="fetch"):
        home = {"HOME": str(tmp_path), "HF_HOME": str(tmp_path / "hf"), "PYTHONPATH": ROOT}
        ran = subprocess.run(
            [sys.executable, "-m", "flows.cli", "weights", action, "mine.toml", "--json", "-"],
            capture_output=True, text=True, timeout=300, cwd=tmp_path,
            env={**os.environ, **home, "HF_ENDPOINT": address, "NO_PROXY": "127.0.0.1"},
        )  # fmt: skip
        lines = {line["what"]: line for line in json.loads(ran.stdout)}
        return ran.returncode, lines, ran.stderr

    return run


def blobs(tmp_path, repo="somebody--tiny"):
    return tmp_path / f"hf/hub/models--{repo}/blobs"


def test_a_download_that_broke_goes_on_where_it_stopped(tmp_path, rmfn):
    with hub({"somebody/tiny": WHISPER}) as (address, asked):
        status, lines, _ = rmfn(address, "list")
        assert (status, lines["whisper-tiny"]["state"], asked) == (1, "missing", [])
        blobs(tmp_path).mkdir(parents=True)
        begun = blobs(tmp_path) / f"{hashlib.sha256(MODEL).hexdigest()}.incomplete"
        begun.write_bytes(MODEL[:600_000])
        status, lines, said = rmfn(address)
        assert (status, lines["whisper-tiny"]["state"]) == (0, "ok"), said
        assert ("model.bin", 600_000) in asked
        assert "README.md" not in dict(asked)  # only what the recipe needs
        folder = Path(lines["whisper-tiny"]["model"]["place"])
        assert (folder / "model.bin").read_bytes() == MODEL
        assert lines["whisper-tiny"]["model"]["sha256"] == hashlib.sha256(MODEL).hexdigest()
        # What is there and whole is not fetched again; what was damaged since is.
        asked.clear()
        assert rmfn(address)[0] == 0
        assert asked == []
        (folder / "model.bin").resolve().write_bytes(MODEL[::-1])
        assert rmfn(address, "list")[1]["whisper-tiny"]["state"] == "wrong"
        assert rmfn(address)[0] == 0
        assert asked == [("model.bin", 0)]
        assert (folder / "model.bin").read_bytes() == MODEL


def test_what_comes_with_another_hash_is_refused_and_removed(tmp_path, rmfn):
    def spoil(name, data):
        return data[:-1] + b"?" if name == "model.bin" else data

    with hub({"somebody/tiny": WHISPER}, spoil) as (address, _):
        status, lines, said = rmfn(address)
        assert (status, lines["whisper-tiny"]["state"]) == (1, "missing")
        assert f"model.bin of {address}/somebody/tiny came with another hash" in " ".join(
            said.split()
        )
        kept = [path.read_bytes() for path in blobs(tmp_path).iterdir()]
        assert not [data for data in kept if len(data) == len(MODEL)]
    with hub({"somebody/tiny": WHISPER}) as (address, _):
        assert rmfn(address)[0] == 0  # nothing stands in the way of the right one


def test_another_model_under_a_known_name_is_refused(tmp_path, rmfn):
    """The table of weights knows the hash of large-v3, whatever a hub says."""
    (tmp_path / "mine.toml").write_text(RECIPE.replace("somebody/tiny", "large-v3"))
    with hub({"Systran/faster-whisper-large-v3": WHISPER}) as (address, _):
        status, lines, said = rmfn(address)
    assert (status, lines["whisper-large-v3"]["state"]) == (1, "missing")
    assert "model.bin" in said
    assert "another hash" in said


def test_word_vectors_are_fetched_and_made_ready_in_one_go(tmp_path, rmfn):
    table = '[[language]]\nbackend = "glove"\npath = "~/words/glove.840B.300d"\nsize = 3\n'
    (tmp_path / "mine.toml").write_text(RECIPE + table)
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("glove.840B.300d.txt", "good 1 2 3\n. . . 4 5 6\nfilm 7 8 9\n")
    glove = {"glove.840B.300d.zip": packed.getvalue(), "glove.6B.zip": b"not asked for"}
    with hub({"stanfordnlp/glove": glove}) as (address, asked):
        status, lines, said = rmfn(address)
    # The one cannot be had, the other is fetched all the same.
    assert (status, lines["whisper-tiny"]["state"]) == (1, "missing")
    assert "whisper-tiny cannot be fetched" in said
    assert "there is no such repository, or it asks for a login" in " ".join(said.split())
    assert lines["glove.840B.300d"]["state"] == "ok", said
    assert dict(asked).keys() == glove.keys() - {"glove.6B.zip"}
    folder = tmp_path / "words/glove.840B.300d"
    assert GloVe(path=str(folder), size=3)([["film"]])[0].tolist() == [[7, 8, 9]]


def test_a_hub_that_does_not_answer(tmp_path, rmfn):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    status, lines, said = rmfn(f"http://127.0.0.1:{port}")
    assert (status, lines["whisper-tiny"]["state"]) == (1, "missing")
    warning = " ".join(said.split())
    address = f"http://127.0.0.1:{port}/somebody/tiny"
    assert f"whisper-tiny cannot be fetched from {address}: no connection (" in warning
    assert "Traceback" not in said
    assert lines["whisper-tiny"]["mend"] == "rmfn weights fetch mine.toml"
