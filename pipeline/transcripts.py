"""A transcript that the user brings: plain text, subtitles or timed words from a file.

| suffix        | read as                                                                  |
|---------------|--------------------------------------------------------------------------|
| .txt          | one segment a line, without times                                        |
| .srt, .vtt    | one segment a cue, with its times; tags, comments and what rolling       |
|               | captions show a second time are left out                                 |
| .json         | segments or words, with or without times; ``{"segments": [...]}``,       |
|               | ``{"words": [...]}``, ``{"utterances": [...]}``, ``{"text": "..."}`` or  |
|               | a list. ``rmfn align --json`` and Whisper's programs write such files    |

The tokens stay as they are written. Times, where there are any, need to be right only roughly.
"""

from __future__ import annotations

import html
import json
import logging
import os
import re
from pathlib import Path
from typing import Any

from extractors.types import Segment, Transcript
from pipeline.errors import ClipError
from pipeline.records import parse_json
from pipeline.roots import find_refusal

SUFFIXES = (".txt", ".srt", ".vtt", ".json")
LATEST = 86400.0  # s; times are of a recording, and nobody talks longer
# Words in a row belong to one segment until a pause as long as this (s).
PAUSE = 0.5

# Beside a video: those that know times go first.
PREFERRED = (".srt", ".vtt", ".json", ".txt")
# What `rmfn predict --json` writes: words that a machine heard.
_PREDICTED = {"clip", "recipe", "model", "utterances"}

_log = logging.getLogger(__name__)
_CUE_TIME = r"(?:\d+:)?\d{1,2}:\d{2}[,.]\d{1,3}"
_TIMING = re.compile(rf"\s*{_CUE_TIME}\s*-->\s*{_CUE_TIME}(?:\s.*)?")
_TAG = re.compile(r"<[^<>]*>")
_STAMP = re.compile(rf"<{_CUE_TIME}>")  # inside of a cue: when its next words are said


def find_transcript(video: str | Path) -> Path | None:
    """The transcript that lies beside a video, by its name.

    For ``clip.mp4`` these are, the first that is there: ``clip.mp4.srt``, ``.vtt``, ``.json``,
    ``.txt``, then ``clip.srt`` and so on. A JSON file is taken only if it holds a transcript that a
    person gave: anything else by that name (settings, labels, what ``rmfn predict`` wrote) is
    passed over with a warning. The others are not looked into: one that is broken is for
    `read_transcript` to refuse, not for the speech recognition to replace.
    """
    video = Path(video)
    for name in (video.name, video.stem):
        for suffix in PREFERRED:
            path = video.with_name(name + suffix)
            if (
                path != video
                and os.path.isfile(path)
                and (suffix != ".json" or _is_transcript(path))
            ):
                return path
    return None


def read_beside(video: str | Path) -> Transcript | None:
    """What `find_transcript` finds, read.

    Raises
    ------
    ClipError : it cannot be read.
    """
    path = find_transcript(video)
    try:
        return None if path is None else read_transcript(path)
    except ValueError as e:
        raise ClipError(str(e), str(video), "transcript") from e


def _is_transcript(path: Path) -> bool:
    try:
        read_transcript(path)
        content = parse_json(_read_text(path))
        if isinstance(content, dict) and content.keys() >= _PREDICTED:
            raise ValueError(f"{path}: it tells what rmfn predict heard")
    except ValueError as error:
        _log.warning("not taken as a transcript: %s", error)
        return False
    return True


def read_transcript(path: str | Path, language: str = "en") -> Transcript:
    """Read a transcript by the suffix of its file.

    Raises
    ------
    ValueError : the file is not there, not of a known kind, empty, or not what its suffix says.
    """
    path = Path(path).expanduser()
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(
            f"{path}: expected a transcript with a suffix out of {', '.join(SUFFIXES)}, "
            f"found {path.suffix or 'none'}"
        )
    text = _read_text(path)
    if suffix == ".txt":
        segments = [Segment(line) for line in text.splitlines()]
    elif suffix == ".json":
        segments = _read_json(text, path)
    else:
        segments = _read_subtitles(text, path)
    segments = [
        Segment(" ".join(segment.text.split()), segment.start, segment.end)
        for segment in segments
        if segment.text.strip()
    ]
    if not segments:
        raise ValueError(f"{path}: expected a transcript, found no words")
    if all(segment.start is not None for segment in segments):
        segments.sort(key=lambda segment: segment.start or 0.0)
    return Transcript(tuple(segments), language)


def _read_text(path: Path) -> str:
    if refusal := find_refusal(path):
        raise ValueError(refusal)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ValueError(f"{path}: no such transcript") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    encoding = "utf-8-sig"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{path}, line {line}: expected UTF-8 text, found the byte "
            f"0x{data[error.start]:02x}; save the file as UTF-8"
        ) from error
    if "\0" in text:
        raise ValueError(f"{path}: expected text, found binary data")
    return text


def _read_subtitles(text: str, path: Path) -> list[Segment]:
    import pysubs2

    text = text.replace("\r\n", "\n").replace("\r", "\n")
    timings = 0
    for number, line in enumerate(text.splitlines(), 1):
        if "-->" in line:
            timings += 1
            if not _TIMING.fullmatch(line):
                raise ValueError(
                    f"{path}, line {number}: expected times like 00:00:01,500 --> 00:00:04,000, "
                    f"found {line.strip()[:60]!r}"
                )
    if not timings:
        raise ValueError(f"{path}: expected subtitles with times (a line with -->), found none")
    # The dialect of the times (comma or dot) decides, not the suffix: people rename files.
    kind = "vtt" if text.lstrip().startswith("WEBVTT") else "srt"
    rolling = kind == "vtt" and _STAMP.search(text) is not None
    try:
        cues = pysubs2.SSAFile.from_string(
            _keep_cues(text) if kind == "vtt" else text, format_=kind
        )
    except Exception as error:  # the parser has no error of its own
        raise ValueError(f"{path}: cannot be read as subtitles: {error}") from error
    if len(cues) != timings:
        raise ValueError(
            f"{path}: expected {timings} cues (lines with -->), found {len(cues)} that can be "
            f"read; does one end before it starts?"
        )
    segments = []
    shown = ""
    for number, cue in enumerate(cues, 1):
        lines = [html.unescape(_TAG.sub("", line)) for line in cue.plaintext.splitlines()]
        lines = [" ".join(line.split()) for line in lines if line.strip()]
        if rolling and lines and lines[0] == shown:
            lines = lines[1:]  # still on the screen from the cue before
        shown = lines[-1] if lines else shown
        segments.append(
            _make_segment(
                " ".join(lines), cue.start / 1000, cue.end / 1000, f"{path}, cue {number}"
            )
        )
    return segments


def _keep_cues(text: str) -> str:
    """Of WebVTT the times and words alone, which is what pysubs2 can read of it.

    Blocks are parted by empty lines. One with times is a cue: what stands before its times is its
    name, what follows are its words, in which tags may hold times that pysubs2 would take for
    another cue's. One without times is a comment, a style or the file's head.
    """
    kept = ["WEBVTT"]
    for block in re.split(r"\n{2,}", text):
        lines = block.splitlines()
        place = next((n for n, line in enumerate(lines) if "-->" in line), None)
        if place is not None:
            kept.append("\n".join([lines[place], *(_TAG.sub("", it) for it in lines[place + 1 :])]))
    return "\n\n".join(kept) + "\n"


def _read_json(text: str, path: Path) -> list[Segment]:
    try:
        content = parse_json(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}, line {error.lineno}: expected JSON, found an error: {error.msg}"
        ) from error
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON, found it {error}") from error
    if isinstance(content, dict):
        for key in ("segments", "utterances"):
            if key in content:
                return _read_items(content[key], f"{path}, {key}")
        if "words" in content:
            return _join_words(_read_items(content["words"], f"{path}, words"))
        if isinstance(content.get("text"), str):
            return [Segment(line) for line in content["text"].splitlines()]
        raise ValueError(
            f'{path}: expected one of the keys "segments", "utterances", "words", "text", '
            f"found {', '.join(map(repr, content)) or 'none'}"
        )
    segments = _read_items(content, str(path))
    is_words = all(len(segment.text.split()) <= 1 for segment in segments)
    return _join_words(segments) if is_words else segments


def _read_items(items: Any, where: str) -> list[Segment]:
    if not isinstance(items, list):
        raise ValueError(f"{where}: expected a list, found {_name_type(items)}")
    segments = []
    for number, item in enumerate(items, 1):
        place = f"{where}, item {number}"
        if isinstance(item, str):
            segments.append(Segment(item))
            continue
        if not isinstance(item, dict):
            raise ValueError(
                f"{place}: expected text or an object with text, found {_name_type(item)}"
            )
        text = item.get("text", item.get("word"))
        if not isinstance(text, str):
            raise ValueError(f'{place}: expected the key "text" (or "word") with a text')
        segments.append(_make_segment(text, item.get("start"), item.get("end"), place))
    return segments


def _make_segment(text: str, start: Any, end: Any, place: str) -> Segment:
    if start is None and end is None:
        return Segment(text)
    for name, value in (("start", start), ("end", end)):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(
                f"{place}: expected {name} in seconds, found "
                f"{repr(value) if isinstance(value, str) else _name_type(value)}"
            )
        if not 0 <= value <= LATEST:
            raise ValueError(
                f"{place}: expected {name} >= 0 seconds and within a day, found {value!r:.20}"
            )
    if end < start:
        raise ValueError(f"{place}: expected an end after the start {start} s, found {end} s")
    return Segment(text, float(start), float(end))


def _join_words(words: list[Segment]) -> list[Segment]:
    """Words in a row to segments: cut at pauses, and where times begin or cease to be known."""
    joined: list[Segment] = []
    for word in words:
        last = joined[-1] if joined else None
        if last is None or (last.start is None) != (word.start is None):
            joined.append(word)
        elif last.end is None or word.start is None or word.end is None:
            joined[-1] = Segment(f"{last.text} {word.text}")
        elif last.end - PAUSE <= word.start <= last.end + PAUSE:
            joined[-1] = Segment(f"{last.text} {word.text}", last.start, max(last.end, word.end))
        else:
            joined.append(word)
    return joined


def _name_type(value: Any) -> str:
    if value is None:
        return "nothing"
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    return names.get(type(value), "a number")
