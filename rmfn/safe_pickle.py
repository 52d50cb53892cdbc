"""Pickles of others, read without running anything that they bring along.

A pickle is a program: the usual loader imports and calls whatever it names. Peers publish corpora
so, and these hold numpy arrays in lists and dictionaries; here nothing else can be named. numpy
itself trusts what a pickle says of an array, so that a wrong word would have it read foreign memory
as objects: arrays and their types are made here, of what was checked.
"""

from __future__ import annotations

import math
import os
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from pipeline.errors import DatasetError
from pipeline.whole import open_whole

KINDS = "?biufcSUO"  # of arrays: truths, numbers, texts, objects
LARGEST_EXPANSION = 100  # of what a pickle holds, to its size: it can name one part many times


def load_pickle(path: str | Path) -> Any:
    """Read a pickle of numpy arrays, numbers, text, lists, tuples, sets and dictionaries.

    Raises
    ------
    DatasetError : it names anything else, such as a torch tensor; or is no whole pickle; or would
        take far more memory than its size.
    """
    try:
        with open_whole(Path(path)) as file:
            size = os.fstat(file.fileno()).st_size
            _refuse_room(file, size)
            file.seek(0)
            # Python 2 wrote arrays as text; latin1 gives their bytes back.
            found = _Unpickler(file, encoding="latin1").load()
        _refuse_bomb(found, size)
        return found
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


def _refuse_room(file: IO[bytes], size: int) -> None:
    """The loader makes room for as many remembered parts as a pickle says there are."""
    for operation, argument, _ in pickletools.genops(file):
        if operation.name.endswith("PUT") and int(argument or 0) > size:
            raise DatasetError(f"it numbers a part {argument}, more than it has bytes")


def _refuse_bomb(found: Any, size: int) -> None:
    """Lists of lists of the same list hold more than any memory once somebody copies them."""
    counted: dict[int, float] = {}  # bytes that a part and all within it come to
    open_parts: set[int] = set()
    waiting = [(found, False)]
    while waiting:
        part, seen = waiting.pop()
        inner = _list_inner(part)
        if seen or not inner:
            own = part.nbytes if isinstance(part, np.ndarray) else 1
            counted[id(part)] = own + sum(counted[id(each)] for each in inner)
            open_parts.discard(id(part))
        elif id(part) in open_parts:
            raise DatasetError("it holds a part that holds itself")
        elif id(part) not in counted:
            open_parts.add(id(part))
            waiting.append((part, True))
            waiting += [(each, False) for each in inner]
    if counted[id(found)] > LARGEST_EXPANSION * max(size, 10_000):
        raise DatasetError(
            f"what it holds comes to {counted[id(found)]:.3g} bytes, more than "
            f"{LARGEST_EXPANSION} times its size"
        )


def _list_inner(part: Any) -> list[Any]:
    if isinstance(part, dict):
        return [*part.keys(), *part.values()]
    if isinstance(part, list | tuple | set | frozenset):
        return list(part)
    if isinstance(part, np.ndarray) and part.dtype.hasobject:
        return list(part.flat)
    return []


class _Kind:
    """Stands for numpy's type of an array's values: ``dtype("f4")``."""

    def __init__(self, name: str, *_: Any):
        self.dtype = np.dtype(name)
        if self.dtype.kind not in KINDS:
            raise DatasetError(f"it holds an array of {self.dtype}, which is not read")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, order, inner, names, fields = state[:5]
        if inner is not None or names is not None or fields is not None:
            raise DatasetError("it holds an array of records, which is not read")
        self.dtype = self.dtype.newbyteorder(order)


class _Array(np.ndarray):
    """Stands for numpy's arrays until the pickle has said what is in one."""

    _filled = False

    def __new__(cls, *_: Any) -> _Array:
        raise DatasetError("it calls numpy.ndarray, which is not done: expected an array's values")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if self._filled:  # numpy would let go of memory that others may still look at
            raise DatasetError("it says twice what is in an array")
        self._filled = True
        shape, kind, fortran, values = state[-4:]
        # A copy of an array that was read says its type as numpy does.
        dtype = kind.dtype if isinstance(kind, _Kind) else kind
        count = math.prod(shape)
        values = values.encode("latin1") if isinstance(values, str) else values
        if dtype.hasobject:
            whole = isinstance(values, list) and len(values) == count
        else:
            whole = isinstance(values, bytes) and len(values) == count * dtype.itemsize
            whole = whole and (dtype.itemsize > 0 or count == 0)
        if not whole or any(n < 0 for n in shape):
            raise DatasetError(f"it holds an array of {list(shape)} {dtype} with other values")
        super().__setstate__((1, shape, dtype, bool(fortran), values))  # type: ignore[arg-type]

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Written again it is numpy's own."""
        return self.view(np.ndarray).__reduce_ex__(protocol)


class _Call:
    """A function that a pickle may call, and can do nothing else to."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]):
        self._call = call

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise DatasetError("it changes a function, which is not done")


def _begin_array(*_: Any) -> np.ndarray:
    return np.ndarray.__new__(_Array, (0,), np.int8)


def _make_scalar(kind: _Kind, value: bytes | str) -> Any:
    if kind.dtype.hasobject:
        raise DatasetError("it holds a single object as numpy's, which is not read")
    value = value.encode("latin1") if isinstance(value, str) else value
    return np.frombuffer(_require_bytes(value), dtype=kind.dtype, count=1)[0]


def _from_buffer(buffer: Any, kind: _Kind, shape: Any, order: Any, *_: Any) -> Any:
    if kind.dtype.hasobject or not kind.dtype.itemsize:
        raise DatasetError("it holds objects as bytes, which are not read")
    values = np.frombuffer(_require_bytes(buffer), dtype=kind.dtype)
    return values.reshape(shape, order=order).copy(order="K")


def _require_bytes(buffer: Any) -> Any:
    """Another array's memory could be let go of while it is looked at."""
    if not isinstance(buffer, bytes | bytearray):
        raise DatasetError(f"it takes a {type(buffer).__name__} for bytes, which is not done")
    return buffer


def _to_bytes(text: str, encoding: str = "") -> bytes:
    """How Python 3 writes bytes for Python 2; no other codec is run."""
    if encoding != "latin1":
        raise DatasetError(f"it names the codec {encoding!r}, which is not run")
    return text.encode("latin1")


def _list_allowed() -> dict[tuple[str, str], Any]:
    allowed: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Kind,
        ("_codecs", "encode"): _Call(_to_bytes),
    }
    for core in ("numpy.core", "numpy._core"):  # numpy 1 and 2
        allowed[core + ".multiarray", "_reconstruct"] = _Call(_begin_array)
        allowed[core + ".multiarray", "scalar"] = _Call(_make_scalar)
        allowed[core + ".numeric", "_frombuffer"] = _Call(_from_buffer)
    for module in ("builtins", "__builtin__"):  # Python 3 and 2
        allowed |= {(module, each.__name__): each for each in (set, frozenset, complex)}
    return allowed


_ALLOWED = _list_allowed()
