"""Pickles of others, read without running anything that they bring along.

A pickle is a program: the usual loader imports and calls whatever it names. Peers publish corpora
so, and these hold numpy arrays in lists and dictionaries; here nothing else can be named.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import DatasetError


def load_pickle(path: str | Path) -> Any:
    """Read a pickle of numpy arrays, numbers, text, lists, tuples, sets and dictionaries.

    Raises
    ------
    DatasetError : it names anything else, such as a torch tensor, or is no whole pickle.
    """
    try:
        with open(path, "rb") as file:
            # Python 2 wrote arrays as text; latin1 gives their bytes back.
            return _Unpickler(file, encoding="latin1").load()
    except DatasetError as e:
        raise DatasetError(f"{path}: {e}") from e
    except OSError as e:
        raise DatasetError(f"{path}: cannot be read: {e}") from e
    except Exception as e:  # a broken pickle can raise nearly anything
        raise DatasetError(f"{path}: not a whole pickle: {type(e).__name__}: {e}") from e


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        found = _ALLOWED.get((module, name))
        if found is None:
            hint = "; turn tensors into arrays with .numpy()" if module.startswith("torch") else ""
            raise DatasetError(
                f"it holds {module}.{name}, which is not read: expected numpy arrays, numbers, "
                f"text, lists, tuples and dictionaries only{hint}"
            )
        return found

    def persistent_load(self, pid: Any) -> Any:
        raise DatasetError("it refers to something outside of the file, which is not read")


def _from_buffer(buffer: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> Any:
    """Stands for numpy's own, whose attributes a pickle could set."""
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order)


def _to_bytes(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes for Python 2; no other codec is run."""
    if encoding != "latin1":
        raise DatasetError(f"it names the codec {encoding!r}, which is not run")
    return text.encode("latin1")


def _list_allowed() -> dict[tuple[str, str], Callable[..., Any]]:
    array = np.zeros(1)
    reconstruct, scalar = array.__reduce__()[0], array[0].__reduce__()[0]
    allowed: dict[tuple[str, str], Callable[..., Any]] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): lambda text, encoding="": _to_bytes(text, encoding),
    }
    for core in ("numpy.core", "numpy._core"):  # numpy 1 and 2
        allowed[core + ".multiarray", "_reconstruct"] = reconstruct  # type: ignore[assignment]
        allowed[core + ".multiarray", "scalar"] = scalar
        allowed[core + ".numeric", "_frombuffer"] = _from_buffer
    for module in ("builtins", "__builtin__"):  # Python 3 and 2
        allowed |= {(module, each.__name__): each for each in (set, frozenset, complex)}
    return allowed


_ALLOWED = _list_allowed()
