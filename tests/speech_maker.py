"""Synthetic speech whose word times are known: espeak-ng says where it began each word."""

from __future__ import annotations

import ctypes
import threading
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from extractors.types import Audio

# speak_lib.h of espeak-ng
_SYNCHRONOUS = 2
_CHARACTERS_UTF8 = 1
_EVENT_END, _EVENT_WORD = 0, 1


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char_p),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)
_lock = threading.Lock()


@lru_cache(maxsize=1)
def _engine() -> tuple[ctypes.CDLL, int]:
    import espeakng_loader

    engine = ctypes.CDLL(espeakng_loader.get_library_path())
    path = espeakng_loader.get_data_path().encode()
    return engine, engine.espeak_Initialize(_SYNCHRONOUS, 0, path, 0)


@lru_cache(maxsize=32)
def speak(text: str) -> tuple[Audio, NDArray[np.float64]]:
    """Speech in US English and the start of each word in seconds."""
    pieces: list[NDArray[np.int16]] = []
    starts: list[float] = []

    def receive(samples, count, events):
        if count > 0:
            pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        number = 0
        while events[number].type != _EVENT_END:
            if events[number].type == _EVENT_WORD:
                starts.append(events[number].sample / rate)
            number += 1
        return 0

    with _lock:
        engine, rate = _engine()
        callback = _Callback(receive)
        engine.espeak_SetSynthCallback(callback)
        engine.espeak_SetVoiceByName(b"en-us")
        data = text.encode()
        engine.espeak_Synth(data, len(data) + 1, 0, 1, 0, _CHARACTERS_UTF8, None, None)
    samples = np.concatenate(pieces).astype(np.float32) / 32768
    return Audio(samples, rate), np.array(starts)
