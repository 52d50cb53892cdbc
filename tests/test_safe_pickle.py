"""Pickles hold data or are refused by the name of what they hold."""

from __future__ import annotations

import collections
import os
import pickle

import numpy as np
import pytest

from pipeline.errors import DatasetError
from rmfn.safe_pickle import load_pickle
from tests.conftest import shared


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_data_comes_back(tmp_path, protocol):
    data = {
        "array": np.arange(6, dtype=np.float32).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "text": np.array(["ä", "bc"], dtype=object),
        "fixed": np.array(["ä", "bc"]),
        "scalar": np.float64(1.5),
        "plain": [1, 2.5, "x", b"\xff", None, True, (3, {4}), 1j],
    }
    path = tmp_path / "data.pkl"
    path.write_bytes(pickle.dumps(data, protocol))
    back = load_pickle(path)
    for name in ("array", "fortran", "text", "fixed"):
        assert np.array_equal(back[name], data[name])
        assert back[name].dtype == data[name].dtype
    assert (back["scalar"], back["plain"]) == (1.5, data["plain"])


@pytest.mark.parametrize("module", ["numpy.core", "numpy._core"])
def test_both_numpys_are_read(tmp_path, module):
    there = pickle.dumps(np.arange(3), 0)
    name = np.zeros(1).__reduce__()[0].__module__.rsplit(".", 1)[0].encode()
    assert name + b".multiarray" in there
    path = tmp_path / "data.pkl"
    path.write_bytes(there.replace(name + b".multiarray", module.encode() + b".multiarray"))
    assert load_pickle(path).tolist() == [0, 1, 2]


class Malicious:
    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


def test_nothing_is_run(tmp_path):
    mark = tmp_path / "was here"
    path = tmp_path / "data.pkl"
    path.write_bytes(pickle.dumps([np.zeros(3), Malicious(os.system, f"touch '{mark}'")]))
    with pytest.raises(DatasetError, match=r"data\.pkl: it holds posix\.system, which is not read"):
        load_pickle(path)
    path.write_bytes(pickle.dumps([Malicious(eval, f"open({str(mark)!r}, 'w')")]))
    with pytest.raises(DatasetError, match=r"it holds builtins\.eval"):
        load_pickle(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (getattr, r"builtins\.getattr"),
        (np.load, r"numpy\.load"),
        (np.testing.assert_equal, r"numpy\.testing.*assert_equal"),
        (collections.OrderedDict, r"collections\.OrderedDict"),
        (bytearray, r"builtins\.bytearray"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_only_what_is_listed_is_admitted(tmp_path, call, name, protocol):
    path = tmp_path / "data.pkl"
    path.write_bytes(pickle.dumps(Malicious(call), protocol).replace(b"__builtin__", b"builtins"))
    with pytest.raises(DatasetError, match=f"it holds {name}"):
        load_pickle(path)


def test_a_name_cannot_be_smuggled_in_with_dots(tmp_path):
    path = tmp_path / "data.pkl"
    # protocol 4 resolves dots in names: numpy's ndarray must not lead anywhere
    path.write_bytes(b"\x80\x04\x8c\x05numpy\x8c\x16ndarray.__reduce_ex__.x\x93.")
    with pytest.raises(DatasetError, match=r"it holds|not a whole pickle"):
        load_pickle(path)
    path.write_bytes(b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.")
    with pytest.raises(DatasetError, match=r"it holds numpy\.ndarray\.tofile"):
        load_pickle(path)


def test_tensors_and_codecs_are_refused(tmp_path):
    import torch

    path = tmp_path / "data.pkl"
    path.write_bytes(pickle.dumps({"text": torch.zeros(2)}))
    with pytest.raises(DatasetError, match=r"it holds torch\._utils.*with \.numpy\(\)"):
        load_pickle(path)
    import codecs

    path.write_bytes(pickle.dumps(Malicious(codecs.encode, "x", "zip")))
    with pytest.raises(DatasetError, match="it names the codec 'zip', which is not run"):
        load_pickle(path)


ARRAY = (
    b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntRp0\n"  # part 0
    b"(I1\n(I64\ntcnumpy\ndtype\n(S'u1'\nI00\nI01\ntRp1\n"  # part 1, its kind
    b"(I3\nS'|'\nNNNI-1\nI-1\nI0\ntbI00\nS'" + b"a" * 64 + b"'\ntb"
)
ANOTHER_STATE = b"(I1\n(I1\ntg1\nI00\nS'b'\ntb"
VIEW = b"cnumpy._core.numeric\n_frombuffer\n(g0\ng1\n(I64\ntS'C'\ntR"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        # a view of an array, whose memory a second state would then let go of
        (b"(" + ARRAY + VIEW + b"g0\n" + ANOTHER_STATE + b"t.", "takes a _Array for bytes"),
        (b"(" + ARRAY + VIEW + b"t.", "takes a _Array for bytes"),
        (ARRAY + ANOTHER_STATE + b".", "says twice what is in an array"),
        (
            ARRAY + b"0cnumpy._core.multiarray\nscalar\n(g1\ng0\ntR.",
            "takes a _Array for bytes",
        ),
    ],
)
def test_memory_of_an_array_cannot_be_read_after_it_is_gone(tmp_path, content, said):
    path = tmp_path / "data.pkl"
    path.write_bytes(ARRAY + b".")
    assert load_pickle(path).tolist() == [97] * 64
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=said):
        load_pickle(path)


def test_an_array_is_its_own(tmp_path):
    path = tmp_path / "data.pkl"
    path.write_bytes(pickle.dumps(np.arange(3), 5))
    found = load_pickle(path)
    assert found.flags.owndata
    assert found.flags.writeable


@pytest.mark.parametrize(
    "content", [b"", b"not a pickle", pickle.dumps(np.zeros(9))[:-20], b"Px\n."]
)
def test_what_is_no_pickle(tmp_path, content):
    path = tmp_path / "data.pkl"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"not a whole pickle|outside of the file"):
        load_pickle(path)
    with pytest.raises(DatasetError, match="cannot be read"):
        load_pickle(tmp_path / "nothing.pkl")


def test_a_published_one():
    assert len(load_pickle(shared("data/mosi_dev/dev.pkl"))) == 229
