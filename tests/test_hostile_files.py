"""A file from elsewhere is at worst refused: it runs nothing, reads nothing else, takes no memory.

Each test makes what somebody with bad intentions would, and looks that it is refused in words, with
the error of its kind. Memory is watched: none of these files may be unpacked to be refused.
"""

from __future__ import annotations

import ast
import collections
import copy
import hashlib
import json
import os
import pickle
import resource
import struct
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import save

from extractors.types import FeatureTrack, Word
from pipeline.errors import DatasetError
from pipeline.limits import Limits, examine_store
from pipeline.records import LARGEST, read_json
from pipeline.store import Store, open_store, read_track, write_track
from pipeline.transcripts import read_transcript
from pipeline.whole import open_whole
from rmfn.checkpoint import CheckpointError, _Room, load_checkpoint, save_checkpoint
from rmfn.corpora import read_timed
from rmfn.corpora_hdf5 import dataset_from_mfn
from rmfn.csd_files import read_csd
from rmfn.dataset import load_dataset, save_dataset
from rmfn.safe_pickle import load_pickle
from tests.conftest import ROOT
from tests.trained import make_dataset, make_untrained

PACKAGES = ("extractors", "pipeline", "rmfn", "flows", "benchmarks")
DEEP = "[" * 100_000


@pytest.fixture(autouse=True)
def frugal():
    """None of it takes memory to be refused."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 500, f"{grown:.0f} MB"


# What the code itself may not do

# file: the names of `pickle` that it uses, and why that is safe
PICKLES = {
    "pipeline/isolation.py": {"dumps", "loads"},  # an exception of its own, in the same process
    "rmfn/safe_pickle.py": {"Unpickler"},  # names no code
    "rmfn/exports.py": {"dumps"},  # writes one, of plain values
}
SERIALISERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
FORBIDDEN = {
    "eval", "exec", "compile", "__import__",
    "os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput",
    "pandas.read_pickle", "pd.read_pickle", "torch.save", "torch.jit.load", "yaml.load",
    "yaml.unsafe_load", "yaml.full_load", "shutil.unpack_archive", "tempfile.mktemp",
    "KeyedVectors.load", "Word2Vec.load",  # gensim's own files are pickles
}  # fmt: skip


def find_unsafe(source: str, file: str = "x.py") -> list[str]:
    """What a module does that could run what it was given."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {(node.module or "").split(".")[0]}
            if names & SERIALISERS:
                found.append(f"line {node.lineno}: from {node.module} import ...")
        else:
            names = set()
        if (names & SERIALISERS) - ({"pickle"} if file in PICKLES else set()):
            found.append(f"line {node.lineno}: imports {', '.join(names & SERIALISERS)}")
        used = isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pickle"
        if used and node.attr not in PICKLES.get(file, set()):
            found.append(f"line {node.lineno}: pickle.{node.attr}")
        if isinstance(node, ast.Call):
            called, said = ast.unparse(node.func), {k.arg: k.value for k in node.keywords}
            if called in FORBIDDEN:
                found.append(f"line {node.lineno}: {called}")
            if called == "torch.load" and "weights_only=True" not in ast.unparse(node):
                found.append(f"line {node.lineno}: torch.load without weights_only")
            for name in ("shell", "allow_pickle", "trust_remote_code"):
                if name in said and ast.unparse(said[name]) != "False":
                    found.append(f"line {node.lineno}: {name}")
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_can_run_what_it_is_given(package):
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    unsafe = {}
    for file in files:
        name = str(file.relative_to(ROOT))
        if found := find_unsafe(file.read_text(encoding="utf-8"), name):
            unsafe[name] = found
    assert not unsafe


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import joblib",
        "eval('1')",
        "import torch; torch.load('x')",
        "import torch; torch.load('x', weights_only=False)",
        "import numpy; numpy.load('x', allow_pickle=True)",
        "import subprocess; subprocess.run('x', shell=True)",
        "import os; os.system('x')",
        "KeyedVectors.load('x')",
    ],
)
def test_that_would_be_seen(source):
    assert find_unsafe(source)


# Pickles


class Malicious:
    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


ARRAY = b"cnumpy\nndarray\n"
RECONSTRUCT = b"cnumpy._core.multiarray\n_reconstruct\n(" + ARRAY + b"(I0\ntS'b'\ntR"


def describe_array(shape: bytes, kind: bytes, values: bytes, order: bytes = b"S'|'\n") -> bytes:
    """A pickle of an array with any words: protocol 0, by hand."""
    made = b"cnumpy\ndtype\n(S'" + kind + b"'\nI00\nI01\ntR(I3\n" + order + b"NNNI-1\nI-1\nI0\ntb"
    return RECONSTRUCT + b"(I1\n" + shape + made + b"I00\n" + values + b"tb."


def test_an_array_described_by_hand_is_read(tmp_path):
    path = write(tmp_path / "a.pkl", describe_array(b"(I3\nt", b"u1", b"S'abc'\n"))
    assert load_pickle(path).tolist() == [97, 98, 99]
    assert copy.deepcopy(load_pickle(path)).tolist() == [97, 98, 99]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        # numpy would take the eight bytes for the address of an object
        (describe_array(b"(I1\nt", b"O8", b"S'aaaaaaaa'\n"), "with other values"),
        (describe_array(b"(I9\nt", b"O8", b"(lNa"), "with other values"),
        (describe_array(b"(I1000000000000\nt", b"f4", b"S'abcd'\n"), "with other values"),
        (describe_array(b"(I-1\nI-4\nt", b"u1", b"S'abcd'\n"), "with other values"),
        # nothing, a million million times
        (describe_array(b"(I1000000000000\nt", b"S0", b"S''\n"), "with other values"),
        (describe_array(b"(I1\nt", b"M8[s]", b"S'abcdefgh'\n"), "array of datetime64"),
        (ARRAY + b"((I100000\nI100000\nttR.", r"calls numpy\.ndarray"),
        (b"cnumpy._core.numeric\n_frombuffer\n(dS'x'\nNsb.", "changes a function"),
        (b"\x80\x02Nr\xff\xff\xff\x7f.", "numbers a part 2147483647"),
        (b"\x80\x04\x8e\x00\x00\x00\x00\x10\x00\x00\x00abc.", "not a whole pickle"),
        (b"]q\x00h\x00a.", "a part that holds itself"),
    ],
)  # fmt: skip
def test_pickles_that_lie_of_arrays(tmp_path, content, said):
    with pytest.raises(DatasetError, match=said):
        load_pickle(write(tmp_path / "a.pkl", content))


def test_a_structured_array_and_a_code_object_are_refused(tmp_path):
    records = np.zeros(2, dtype=[("a", "O"), ("b", "f4")])
    with pytest.raises(DatasetError, match=r"it holds an array of .*, which is not read"):
        load_pickle(write(tmp_path / "a.pkl", pickle.dumps(records)))
    content = pickle.dumps(np.float64(1)).replace(b"f8", b"O8")
    with pytest.raises(DatasetError, match="it holds a single object"):
        load_pickle(write(tmp_path / "b.pkl", content))


def test_a_pickle_that_grows_when_it_is_copied_is_refused(tmp_path):
    part: list = [0.0] * 10
    for _ in range(30):
        part = [part] * 10
    path = write(tmp_path / "a.pkl", pickle.dumps({"train": part}))
    assert path.stat().st_size < 10_000
    with pytest.raises(
        DatasetError, match=r"comes to 1\.11e\+31 bytes, more than 100 times its size"
    ):
        load_pickle(path)


@pytest.mark.parametrize(
    "call",
    [os.system, subprocess.check_output, open, getattr, pickle.loads, collections.Counter, np.load],
)
def test_imports_are_refused_by_name(tmp_path, call):
    mark = tmp_path / "was here"
    path = write(tmp_path / "a.pkl", pickle.dumps(Malicious(call, f"touch {mark}")))
    with pytest.raises(DatasetError, match=f"{call.__name__}, which is not read"):
        load_pickle(path)
    assert not mark.exists()


# Checkpoints


@pytest.fixture
def checkpoint(tmp_path):
    save_checkpoint(*make_untrained(1), tmp_path / "model")
    return tmp_path / "model"


def put_weights(folder: Path, header: bytes, body: bytes = b"", size: int | None = None) -> None:
    """Weights with any header, and the manifest that vouches for them."""
    content = struct.pack("<Q", len(header) if size is None else size) + header + body
    (folder / "weights.safetensors").write_bytes(content)
    edit(folder, weights_sha256=hashlib.sha256(content).hexdigest())


def edit(folder: Path, **changes) -> None:
    manifest = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**manifest, **changes}))


def tensor(*offsets: int, shape=(2,), dtype="F32") -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    ("header", "size"),
    [
        ({"a": tensor(0, 8), "b": tensor(4, 12)}, None),  # one on the other
        ({"a": tensor(0, 8), "b": tensor(12, 20)}, None),  # a hole
        ({"a": tensor(0, 1 << 60, shape=(1 << 58,))}, None),
        ({"a": tensor(0, 8, shape=(1 << 62, 1 << 62))}, None),
        ({"a": tensor(8, 0)}, None),
        ({"a": tensor(-8, 0)}, None),
        ({"a": tensor(0, 8, dtype="object")}, None),
        ({"a": tensor(0, 8)}, 1 << 40),
        ({"a": tensor(0, 8)}, (1 << 64) - 1),
        ({}, None),
    ],
)
def test_weights_whose_header_lies(checkpoint, header, size):
    put_weights(checkpoint, json.dumps(header).encode(), bytes(24), size)
    with pytest.raises(CheckpointError, match=r"weights\.safetensors does not fit model\.json"):
        load_checkpoint(checkpoint)


def test_weights_with_a_header_that_is_no_header(checkpoint):
    for header in (DEEP.encode(), b" " * 1000, b'{"a":' * 5000, b"\x80\x04N.", b"\xff" * 64):
        put_weights(checkpoint, header)
        with pytest.raises(CheckpointError, match="does not fit"):
            load_checkpoint(checkpoint)


def test_weights_with_a_huge_header(checkpoint):
    many = {f"tensor {n}": tensor(0, 0, shape=(0,)) for n in range(20_000)}
    put_weights(checkpoint, json.dumps(many).encode())
    with pytest.raises(CheckpointError, match="does not fit"):
        load_checkpoint(checkpoint)
    put_weights(checkpoint, b"{}" + b" " * (20 << 20))
    with pytest.raises(CheckpointError, match="header says that it has 20971522 bytes"):
        load_checkpoint(checkpoint)


def test_weights_larger_than_the_memory(checkpoint):
    os.truncate(checkpoint / "weights.safetensors", 1 << 43)  # takes no room on the disk
    with pytest.raises(CheckpointError, match="more than half of this machine's memory"):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden": {"language": 200_000, "acoustic": 2}},
        {"head": 1 << 40},
        {"fuse": 1 << 33, "stages": 5},
        {"stages": 1 << 40},
        {"summary": -5},
        {"head": "many"},
    ],
)
def test_settings_that_ask_for_any_memory(checkpoint, changes):
    config = json.loads((checkpoint / "model.json").read_text())["config"]
    edit(checkpoint, config={**config, **changes})
    with pytest.raises(CheckpointError, match=r"does not fit model\.json"):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize("states", [[40_000], [1 << 30]])
def test_a_hidden_markov_model_that_asks_for_any_memory(checkpoint, states):
    inputs = {"language": 1, "acoustic": 1}
    config = {"inputs": inputs, "hidden": inputs, "outputs": 1}
    columns = {"language": ["a"], "acoustic": ["b"]}
    scale = {f"scaler.{m}.{what}": np.ones(1, "f4") for m in columns for what in ("mean", "std")}
    weights = save(scale)
    (checkpoint / "weights.safetensors").write_bytes(weights)
    edit(
        checkpoint,
        model="thmm",
        columns=columns,
        config={**config, "states": states, "components": 1},
        weights_sha256=hashlib.sha256(weights).hexdigest(),
    )
    with pytest.raises(CheckpointError, match="settings ask for more than"):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (lambda: torch.eye(30), 900),
        (lambda: torch.eye(n=30), 900),
        (lambda: torch.eye(30, 20), 600),
        (lambda: torch.eye(30, m=20), 600),
        (lambda: torch.full((30, 20), 0), 600),
        (lambda: torch.full(size=(30, 20), fill_value=7), 600),
        (lambda: torch.zeros(30, 20), 600),
        (lambda: torch.linspace(-1, 1, 600), 600),
        (lambda: torch.linspace(0, 1, steps=600), 600),
    ],
)
def test_every_value_that_a_model_makes_is_counted(make, count):
    with _Room(count) as room:
        make()
    assert room.left == 0
    with pytest.raises(ValueError, match="ask for more than"), _Room(count - 1):
        make()


@pytest.mark.parametrize(
    "changes", [{"labels": []}, {"members": 0}, {"members": 1 << 60}, {"metrics": {"a": 3}}]
)
def test_manifests_without_what_is_needed(checkpoint, changes):
    edit(checkpoint, **changes)
    with pytest.raises(CheckpointError, match=r"model\.json"):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize("content", [DEEP, "9" * 5_000_000, '{"a":' * 50_000, "\0" * 9, "NaN"])
def test_manifests_that_are_json_bombs(checkpoint, content):
    (checkpoint / "model.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"model\.json"):
        load_checkpoint(checkpoint)


def test_what_is_no_file_is_not_waited_for(checkpoint):
    for name in ("model.json", "weights.safetensors"):
        (checkpoint / name).rename(checkpoint / "kept")
        os.mkfifo(checkpoint / name)
        with pytest.raises(CheckpointError, match=rf"{name}|not a file"):
            load_checkpoint(checkpoint)
        (checkpoint / name).unlink()
        (checkpoint / "kept").rename(checkpoint / name)
    load_checkpoint(checkpoint)


# JSON


def test_json_of_any_kind_is_a_value_error(tmp_path):
    path = tmp_path / "a.json"
    for content in (DEEP, '{"a":' * 100_000, "9" * 10_000, "", "\0", '"\ud800'):
        path.write_text(content, errors="surrogatepass")
        with pytest.raises(ValueError, match=r"\w"):
            read_json(path)
    os.truncate(path, LARGEST + 1)
    with pytest.raises(ValueError, match="larger than 64 MB"):
        read_json(path)


def test_transcripts_and_corpora_of_json_bombs(tmp_path):
    path = write(tmp_path / "a.json", DEEP.encode())
    with pytest.raises(ValueError, match=r"a\.json: expected JSON, found it nested too deeply"):
        read_transcript(path)
    with pytest.raises(DatasetError, match="line 1: not a timed transcript: nested too deeply"):
        read_timed(path)


# Stores and data sets

TRACK = FeatureTrack(np.ones((3, 2), np.float32), np.arange(3.0), ("a.x", "a.y"))


def write_parquet(path: Path, columns: dict, said: dict, **settings) -> None:
    table = pa.table(columns).replace_schema_metadata(said)
    pq.write_table(table, path, **{"use_dictionary": False, **settings})


def test_rows_that_inflate_are_refused_before_they_are_read(tmp_path):
    path = tmp_path / "a.parquet"
    rows, width = 1 << 16, 1 << 20  # four million megabytes, if they were there
    kind = pa.list_(pa.float32(), width)
    said = {"names": json.dumps(["a"]), "notes": "{}"}
    schema = pa.schema({"time": pa.float64(), "values": kind}, metadata=said)
    with pq.ParquetWriter(path, schema, use_dictionary=False) as writer:
        empty = pa.FixedSizeListArray.from_arrays(pa.array([], pa.float32()), width)
        writer.write_table(pa.table([pa.array([], pa.float64()), empty], schema=schema))
    assert path.stat().st_size < 10_000
    with pytest.raises(DatasetError, match="not a feature track"):
        read_track(path)

    times = np.zeros(rows)
    write_parquet(path, {"time": times}, said, compression="zstd")
    assert path.stat().st_size < 100_000
    found = pq.ParquetFile(path).metadata
    assert found.num_rows == rows
    with pytest.raises(DatasetError, match="not a feature track"):
        read_track(path)


def test_a_table_that_says_it_is_larger_than_the_memory(tmp_path, monkeypatch):
    path = tmp_path / "a.parquet"
    write_track(path, TRACK)
    read_track(path)
    monkeypatch.setattr("os.sysconf", lambda name: 8)  # a machine of 64 bytes
    with pytest.raises(DatasetError, match=r"says that it holds .*more than half of this machine"):
        read_track(path)


def test_a_long_text_in_a_dictionary_is_refused(tmp_path):
    store = Store(tmp_path)
    words = [Word("x", n, n + 1.0) for n in range(4)]
    store.put_words("ab12", "k1", words)
    path = store.path("ab12", "words", "k1")
    table = pq.read_table(path)
    many = pa.concat_tables([table] * 100).set_column(0, "text", pa.array(["x" * 10_000] * 400))
    pq.write_table(many, path, use_dictionary=True)
    assert path.stat().st_size < 30_000
    assert store.get_words("ab12", "k1") is None


@pytest.mark.parametrize(
    "said",
    [
        {"names": DEEP, "notes": "{}"},
        {"names": "3", "notes": "{}"},
        {"names": '{"a": 1}', "notes": "{}"},
        {"names": "[1, 2]", "notes": "{}"},
        {"names": '["a", "b"]', "notes": "[]"},
        {"names": '["a", "b"]', "notes": DEEP},
        {"names": json.dumps(["a"] * 100_000), "notes": "{}"},
        {"names": '["a", "b"]'},
        {},
    ],
)
def test_metadata_of_any_kind_is_damage(tmp_path, said):
    store = Store(tmp_path)
    store.put_track("ab12", "visual", "k1", TRACK)
    path = store.path("ab12", "track.visual", "k1")
    table = pq.read_table(path)
    named = {"clip_id": "ab12", "stage": "track.visual", "key": "k1"}
    pq.write_table(table.replace_schema_metadata({**named, **said}), path, use_dictionary=False)
    assert store.get_track("ab12", "visual", "k1") is None


@pytest.mark.parametrize("change", ["null text", "numbers for text", "no score", "times as text"])
def test_words_of_another_kind_are_damage(tmp_path, change):
    store = Store(tmp_path)
    store.put_words("ab12", "k1", [Word("hello", 0.0, 1.0, 0.5)])
    path = store.path("ab12", "words", "k1")
    table = pq.read_table(path)
    columns = {
        "null text": ("text", pa.array([None], pa.string())),
        "numbers for text": ("text", pa.array([1.0])),
        "no score": ("score", pa.array([True])),
        "times as text": ("start", pa.array(["0.0"])),
    }
    name, values = columns[change]
    table = table.set_column(table.schema.get_field_index(name), name, values)
    pq.write_table(table, path, use_dictionary=False)
    assert store.get_words("ab12", "k1") is None


@pytest.mark.parametrize("name", ["..", "../x", "a/b", "/etc", "", ".", "a\0b", "a\nb", "é", "a b"])
def test_names_that_lead_out_of_a_store(tmp_path, name):
    store = Store(tmp_path / "store")
    for parts in ((name, "words", "k"), ("ab12", name, "k"), ("ab12", "words", name)):
        with pytest.raises(ValueError, match="cannot be part of a file name in a store"):
            store.path(*parts)


def test_a_store_with_links_and_strange_names(tmp_path):
    """They are passed over, and nothing is written or removed behind a link."""
    store = Store(tmp_path / "store")
    store.put_words("ab12", "k1", [Word("hello", 0.0, 1.0)])
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "words-k1.parquet").write_bytes(store.path("ab12", "words", "k1").read_bytes())
    write(outside / ".precious.tmp", b"mine")
    os.utime(outside / ".precious.tmp", (0, 0))
    (tmp_path / "store" / "linked").symlink_to(outside)
    for name in ("a b", "\udcff", "-rf"):
        (tmp_path / "store" / name).mkdir()
        (tmp_path / "store" / name / "words-k1.parquet").write_bytes(b"x")
    (tmp_path / "store" / "ab12" / "no stage.parquet").write_bytes(b"x")
    os.mkfifo(tmp_path / "store" / "ab12" / "words-pipe.parquet")
    assert store.clips() == ["ab12"]
    assert store.stages("ab12") == ["words-k1", "words-pipe"]
    assert store.get_words("ab12", "pipe") is None
    assert store.read_notes("ab12", "words", "pipe") == {}
    for call in (store.get_words, lambda *where: store.put_words(*where, [Word("x", 0.0, 1.0)])):
        with pytest.raises(DatasetError, match="linked: a link; expected a folder"):
            call("linked", "k1")
    assert (outside / ".precious.tmp").exists()


def test_the_quality_of_a_store_with_bombs_for_notes(tmp_path):
    store = Store(tmp_path)
    said = {"clip_id": "ab12", "stage": "sequence", "key": "k", "names": "{}"}
    for key, notes in {"k1": DEEP, "k2": "[]", "k3": "3"}.items():
        (tmp_path / "ab12").mkdir(exist_ok=True)
        path = store.path("ab12", "sequence", key)
        write_parquet(
            path, {"text": ["a"]}, {**said, "key": key, "quality": notes, "recipe": notes}
        )
    assert {clip["status"] for clip in examine_store(store, Limits())} == {"unknown"}


def test_a_mark_of_a_store_that_is_a_bomb(tmp_path):
    for content in (DEEP, "[]", '{"format": {}}', "9" * 10_000):
        (tmp_path / "store.json").write_text(content)
        with pytest.raises(DatasetError, match=r"store\.json: expected format"):
            open_store(tmp_path)


def test_a_data_set_with_bombs(tmp_path):
    folder = tmp_path / "corpus"
    save_dataset(make_dataset(), folder)
    load_dataset(folder)
    good = json.loads((folder / "dataset.json").read_text())
    for changes in ({"columns": []}, {"columns": {"language": 3}}, {"targets": 3}, {"labels": [3]}):
        (folder / "dataset.json").write_text(json.dumps({**good, **changes}))
        with pytest.raises(DatasetError, match="damaged, make it again"):
            load_dataset(folder)
    (folder / "dataset.json").write_text(DEEP)
    with pytest.raises(DatasetError, match="nested too deeply"):
        load_dataset(folder)


# HDF5


def test_hdf5_that_leads_to_other_files(tmp_path):
    """It could show a file of its reader's as features, which are then sent back as a data set."""
    secret = write(tmp_path / "secret", b"secret!!" * 4)
    times = np.array([[0.0, 1.0]])
    with h5py.File(tmp_path / "outside.h5", "w") as file:
        file["video/features"], file["video/intervals"] = np.ones((1, 2)), times
    cases = {
        "link": lambda data: data.__setitem__("b", h5py.ExternalLink("outside.h5", "video")),
        "soft link": lambda data: data.__setitem__("b", h5py.SoftLink(data.name)),
        "values": lambda data: data.create_dataset(
            "b/features", (1, 8), "f4", external=[(str(secret), 0, 32)]
        ),
        "size": lambda data: data.create_dataset(
            "b/features", (1 << 30, 1 << 10), "f4", chunks=(1, 1024)
        ),
    }
    said = {
        "link": "b is a link, which is not followed",
        "soft link": "b is a link, which is not followed",
        "values": "its values lie in another file",
        "size": r"says that it holds 4\.4e\+03 GB",
    }
    for name, add in cases.items():
        path = tmp_path / f"{name}.csd"
        with h5py.File(path, "w") as file:
            data = file.create_group("root/data")
            data["a/features"], data["a/intervals"] = np.ones((1, 2)), times
            add(data)
            if name in ("values", "size"):
                data["b/intervals"] = times
        with pytest.raises(DatasetError, match=said[name]):
            read_csd(path)


def test_an_array_of_hdf5_that_is_larger_than_the_memory(tmp_path):
    path = tmp_path / "audio_train.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data", (1 << 20, 1 << 10, 1 << 10), "f4", chunks=(1, 32, 32))
    assert path.stat().st_size < 100_000
    with pytest.raises(DatasetError, match="more than half of this machine's memory"):
        dataset_from_mfn([path])


# Devices and pipes


def test_devices_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        with pytest.raises(OSError, match="not a file"):
            open_whole(tmp_path / name)


def test_the_command_refuses_in_one_line(checkpoint):
    """As a user meets it: a model from elsewhere with a bomb for settings."""
    (checkpoint / "model.json").write_text(DEEP)
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "predict", "nothing.mp4", "--model", str(checkpoint)],
        capture_output=True, text=True, timeout=120, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.strip() == (
        f"error: {checkpoint / 'model.json'}: cannot be read as a model: nested too deeply, which "
        "no such file is"
    )


# Pages


def test_pages_put_text_into_html_as_text_only():
    """Nothing in a template or a script of a page takes text for HTML."""
    folder = ROOT / "rmfn" / "pages"
    unsafe = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "|safe", "| safe")
    files = [*folder.rglob("*.html"), *folder.rglob("*.js")]
    assert files
    found = {
        str(file.name): [name for name in unsafe if name in file.read_text()]
        for file in files
        if any(name in file.read_text() for name in unsafe)
    }
    assert not found
    # What is marked as HTML is the page's own code, and data that `embed` has escaped.
    marked = [f.name for f in folder.glob("*.py") if "Markup(" in f.read_text()]
    assert marked == ["page.py"]


def test_text_from_outside_cannot_leave_a_page_s_script():
    from rmfn.pages.page import embed, render_page

    hostile = "</script><script>alert(1)</script><!--<img src=x onerror=alert(1)>\u2028 & \"'"
    data = {"words": [hostile], hostile: {"name": hostile}}
    embedded = embed(data)
    assert not set(embedded) & set("<>&\u2028")
    assert json.loads(embedded) == data
    report = {"clips": [], "recipe": hostile, "model": None, "seconds": 0.0}
    failed = {"path": hostile, "status": "failed", "stage": hostile, "reason": hostile}
    page = render_page(
        "folder.html",
        hostile,
        data=data,
        report={**report, "clips": [failed]},
        labels=[],
        spans={},
        rows=[],
        failed=[failed],
        describe_value=str,
        describe_spread=str,
    )
    assert "alert(1)" in page
    assert "<script>alert" not in page
    assert "<img src=x" not in page
