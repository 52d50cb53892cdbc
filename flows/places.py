"""Parameters of served flows: what a person typed as a path, a name or a list of them.

All are checked before any work: the kind of the value, whether it is there, and whether the run may
go there (`pipeline.roots`).
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import WithJsonSchema

from pipeline.roots import find_refusal

# `--param path=2018` arrives as a number. The schema lets it pass, so that the flow itself can say
# what to do about it.
TypedText = Annotated[str, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number"}]})]

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


def check_text(name: str, value: Any) -> str:
    """A parameter that must be text; says how to write one that JSON takes for something else."""
    if isinstance(value, str) and value:
        return value
    raise ValueError(
        f"parameter {name} must be text, got {value!r} ({type(value).__name__}): values of --param "
        f"""are read as JSON, so quote it twice: --param {name}='"{value}"'"""
    )


def check_texts(name: str, value: Any) -> list[str]:
    """A parameter that is a text, a list of them, or nothing."""
    if value in (None, ""):
        return []
    return [check_text(name, each) for each in (value if isinstance(value, list) else [value])]


def check_path(path: Any, name: str = "path") -> Path:
    """The absolute path of a file or folder that a parameter names.

    Raises
    ------
    ValueError : it is no text, or the run may not go there, or there is no such file; names the
        absolute path looked for.
    """
    text = check_text(name, path)
    refuse_outside(text, name)
    given = Path(text).expanduser()
    if given.exists() or given.is_absolute():
        return given.absolute()
    raise ValueError(
        f"{given.absolute()}: no such file. A relative path is looked for in the folder in which "
        f"`rmfn serve` was started, {Path.cwd()}; give the absolute path"
    )


def check_place(place: Any, name: str) -> str:
    """As `check_path`; what is elsewhere (``s3://bucket/features``) stays as it is written."""
    text = check_text(name, place)
    if "://" not in text:
        return str(check_path(text, name))
    refuse_outside(text, name)
    return text


def check_new(place: Any, name: str) -> str:
    """As `check_place`, of what need not be there yet."""
    text = check_text(name, place)
    refuse_outside(text, name)
    return text if "://" in text else str(Path(text).expanduser().absolute())


def check_named(named: Any, name: str) -> str:
    """What is a name (of what ships) or a path, as it is written: a recipe, a model.

    A name leads nowhere; but a folder of that name in this one would be taken for it.
    """
    text = check_text(name, named)
    if not _NAME.fullmatch(text) or os.path.lexists(text):
        refuse_outside(text, name)
    return text


def refuse_outside(place: str, name: str) -> None:
    """See that the run may go to a place.

    Raises
    ------
    ValueError : it may not.
    """
    if refusal := find_refusal(place):
        raise ValueError(f"parameter {name}: {refusal}")
