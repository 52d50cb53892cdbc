"""What several commands take and write alike: the data, what is predicted, a record as JSON."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any


class Output(str):
    """A file or folder that a command was told to write, looked at before any work."""


def new_file(text: str) -> Output:
    """A file to write, for ``type=`` of an argument; "-" is stdout, ``s3://...`` is not looked at.

    Raises
    ------
    argparse.ArgumentTypeError : it is a folder, or no folder can hold it.
    """
    if text != "-" and Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text}: expected a file to write, found a folder")
    return _see_room(text)


def new_folder(text: str) -> Output:
    """A folder to make or to write into, for ``type=`` of an argument.

    Raises
    ------
    argparse.ArgumentTypeError : it is a file, or no folder can hold it.
    """
    if Path(text).is_file():
        raise argparse.ArgumentTypeError(f"{text}: expected a folder, found a file")
    return _see_room(text)


def _see_room(text: str) -> Output:
    """See that the nearest folder above that is there can be written to."""
    if text != "-" and "://" not in text:
        parent = Path(text).expanduser().absolute().parent
        while not os.path.lexists(parent):
            parent = parent.parent
        if not parent.is_dir():
            raise argparse.ArgumentTypeError(f"{text}: {parent} is a file, not a folder")
        if not os.access(parent, os.W_OK):
            raise argparse.ArgumentTypeError(f"{text}: no permission to write to {parent}")
    return Output(text)


def refuse_replacing(options: argparse.Namespace) -> None:
    """See that no file is to be written over one that is to be read.

    Raises
    ------
    ValueError : one is.
    """
    given = [
        (name, text)
        for name, value in vars(options).items()
        for text in (value if isinstance(value, list) else [value])
        if isinstance(text, str) and os.path.isfile(text)
    ]
    read = [(name, text) for name, text in given if not isinstance(text, Output)]
    written = [(name, text) for name, text in given if isinstance(text, Output)]
    for (out, target), (source, file) in product(written, read):
        if os.path.samefile(target, file):
            raise ValueError(
                f"--{out} {target}: this is the {source} that is to be read; it would be lost"
            )


def explain(parser: argparse.ArgumentParser, text: str) -> None:
    """Put a text with its own line breaks under the options."""
    parser.epilog, parser.formatter_class = text, argparse.RawDescriptionHelpFormatter


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """How features are made."""
    parser.add_argument(
        "--recipe",
        default="embedded",
        metavar="NAME|FILE.toml",
        help="how features are made (default: embedded)",
    )


def add_data(parser: argparse.ArgumentParser, required: bool = False) -> None:
    """The three ways to say on what data; ``flows.collect.open_data`` opens it."""
    data = parser.add_argument_group("the data (one of them)")
    one = data.add_mutually_exclusive_group(required=required)
    one.add_argument("--store", metavar="DIR", help="features of rmfn extract; needs --labels")
    one.add_argument("--data", metavar="DIR", help="a data set, such as rmfn import makes")
    one.add_argument(
        "--timed",
        metavar="FILE.jsonl",
        help="a segment a line: id, vid, label, words, w_start, w_end, split",
    )
    data.add_argument("--labels", metavar="FILE.csv", help="with --store: what people said")


def add_adapted(parser: argparse.ArgumentParser) -> None:
    """Whether a model may learn from what knows labels already."""
    parser.add_argument(
        "--keep-adapted",
        action="store_true",
        help="of --store, read the columns minilm-adapted too; their encoder knows the labels of "
        "CMU-MOSI's train and dev segments: with those among the videos all numbers are too good",
    )


def add_limits(parser: argparse.ArgumentParser, flag: bool = False) -> None:
    """Limits on the quality of clips; ``open_limits`` reads them."""
    group = parser.add_argument_group("the quality asked for (rmfn quality --help tells of it)")
    group.add_argument(
        "--quality", metavar="FILE", help="limits, as TOML or JSON: tables flag and reject"
    )
    group.add_argument(
        "--reject",
        nargs="+",
        action="extend",
        default=[],
        metavar="MEASURE=X",
        help="reject what is beyond, such as face_share=0.5 aligner_score=0.4",
    )
    if flag:
        group.add_argument(
            "--flag",
            nargs="+",
            action="extend",
            default=[],
            metavar="MEASURE=X",
            help="flag what is beyond; off for never",
        )


def open_limits(file: str | None, reject: Sequence[str], flag: Sequence[str] = ()) -> Any:
    """The limits that a person names; None if none are.

    Raises
    ------
    ValueError : they cannot be read.
    """
    from pipeline.limits import Limits, read_limits, read_pairs

    if not (file or reject or flag):
        return None
    limits = read_limits(file) if file else Limits()
    return limits.but(read_pairs(flag), read_pairs(reject))


def add_target(parser: argparse.ArgumentParser) -> None:
    """What is predicted; ``rmfn.targets.find_targets`` reads it."""
    parser.add_argument(
        "--target",
        action="append",
        default=[],
        metavar="LABEL",
        help="label column to learn; may be given several times. Its kind or scale may follow: "
        "sentiment:-3:3, happy:binary, mood:classes (default: the only column there is); after the "
        "scale what A2 and F1 count as positive: sentiment:1:5:3 is 3 and more (default: the "
        "middle of the scale and more)",
    )


def add_json(parser: argparse.ArgumentParser, text: str) -> None:
    """Where the record goes; `wrote_json` writes it."""
    parser.add_argument("--json", type=new_file, metavar="FILE", help=f"{text}; - for stdout")


def wrote_json(file: str | None, record: Any) -> bool:
    """Write the record where it was asked for; True if to stdout, which then holds nothing else."""
    from flows.display import results
    from pipeline.records import to_json, write_json

    if file == "-":
        print(to_json(record))
        return True
    if file:
        write_json(file, record)
        results.print(f"written: {file}")
    return False
