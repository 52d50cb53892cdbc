"""The commands that bring data sets in and take them out: ``rmfn import`` and ``rmfn export``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from flows.arguments import add_json, new_folder, wrote_json

IMPORT = """\
formats:
  csd     computational sequences of the CMU Multimodal SDK (HDF5). Give the files of one corpus:
          the words, the labels (their intervals are the segments) and one or more a modality. What
          a file holds is told by its name, or said before it: visual=FILE. Each word gets the mean
          of the frames that overlap it, weighted by how long they do.
  misa    MISA's pickles, a file a split: list of ((ids, visual, acoustic, words), label, id)
  mmsa    an MMSA pickle: {train, valid, test: {raw_text, text, vision, audio, ...}}
  mfn     HDF5 arrays of 20 steps: text_train_emb.h5, audio_train.h5, video_train.h5, y_train.h5
  timed   timed transcripts, a JSON object a line: id, vid, words, w_start, w_end, label, split

Pickles are read without running anything: what they hold beside numpy arrays, numbers, text, lists
and dictionaries is refused by its name. Rows of zeros that stand for "not seen" become missing.

examples:
  rmfn import csd MOSI_Words.csd MOSI_COVAREP.csd MOSI_Facet.csd MOSI_Labels.csd --out mosi \\
      --recipe embedded --shares 70 10 20
  rmfn import misa train.pkl dev.pkl test.pkl --out mosi --recipe embedded
  rmfn import mmsa unaligned_50.pkl --out mosi
  rmfn import mfn mmmo/*.h5 --out mmmo --scale 1 5
  rmfn import timed segments.jsonl --out mosi-words

Afterwards the folder is a data set that pandas reads (segments.parquet, words.parquet), that
`rmfn export` writes in other formats, and that a model learns from.
"""

EXPORT = """\
formats:
  csd       a folder of computational sequences: words, labels, a file a modality, aligned to words
  mmsa      one pickle as MMSA reads it (numpy and plain Python only), aligned to words
  textgrid  words for Praat; from a store, or from the JSON of rmfn predict or rmfn align

What a format has no place for is said, and kept in an entry that other programs pass over, so that
`rmfn import` of a csd or mmsa export gives back the data set as it was.

examples:
  rmfn export mosi --format csd --out mosi-csd
  rmfn export mosi --format mmsa --out mosi.pkl
  rmfn export features --format textgrid --out grids
  rmfn export talk.json --format textgrid --out talk.TextGrid
"""

FORMATS = ("csd", "misa", "mmsa", "mfn", "timed")


def add_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the two commands to the parser."""
    made = command("import", _import, "read a published corpus into a data set")
    made.epilog, made.formatter_class = IMPORT, argparse.RawDescriptionHelpFormatter
    made.add_argument("format", choices=FORMATS, metavar="FORMAT", help=", ".join(FORMATS))
    made.add_argument("files", nargs="+", metavar="FILE", help="for csd also ROLE=FILE")
    made.add_argument(
        "--out", type=new_folder, required=True, metavar="DIR", help="the data set's folder"
    )
    made.add_argument("--name", default="", help="what people call it")
    made.add_argument(
        "--labels", nargs="+", default=(), metavar="NAME", help="what the label columns are called"
    )
    made.add_argument(
        "--scale",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="of the labels; one outside of it is an error (csd, misa, mmsa, timed: -3 3)",
    )
    made.add_argument(
        "--recipe",
        metavar="NAME|FILE.toml",
        help="make language columns, and timing where words have times, from the words "
        "(timed: always, with embedded)",
    )
    made.add_argument(
        "--splits", metavar="FILE.json", help='{"train": [videos], "valid": ..., "test": ...}'
    )
    made.add_argument(
        "--shares",
        nargs=3,
        type=float,
        metavar=("TRAIN", "VALID", "TEST"),
        help="make splits of these sizes, every video whole in one",
    )
    made.add_argument("--seed", type=int, default=0, metavar="N", help="of --shares (default: 0)")
    made.add_argument(
        "--allow-missing",
        action="store_true",
        help="read NaN and infinite features as not measured",
    )
    made.add_argument(
        "--sizes",
        nargs=3,
        type=int,
        metavar=("LANGUAGE", "ACOUSTIC", "VISUAL"),
        help="columns of each in an X file of mfn",
    )
    add_json(made, "write the table here")

    made = command("export", _export, "write a data set or words in the format of others")
    made.epilog, made.formatter_class = EXPORT, argparse.RawDescriptionHelpFormatter
    made.add_argument("source", metavar="DATASET|STORE|FILE.json")
    made.add_argument("--format", required=True, choices=("csd", "mmsa", "textgrid"))
    made.add_argument("--out", required=True, metavar="PATH", help="folder or file to write")
    made.add_argument(
        "--label", metavar="NAME", help="mmsa: what becomes regression_labels (default: the first)"
    )


def _import(options: argparse.Namespace) -> int:
    from flows.display import results, screen, show_rows
    from flows.run import open_recipe
    from rmfn.dataset import check_splits, hash_dataset, save_dataset
    from rmfn.overview import describe_dataset
    from rmfn.splits import give_splits, group_segments, make_splits

    if options.splits and options.shares:  # mistakes are told before any work
        raise ValueError("say either --splits or --shares")
    recipe = open_recipe(options.recipe) if options.recipe else None
    with screen.status(f"reading {options.format}"):
        dataset = _read(options)
    if recipe is not None and options.format != "timed":
        from rmfn.word_features import add_word_features

        with screen.status("making columns from the words"):
            dataset = add_word_features(dataset, recipe.provenance)
    if options.splits:
        dataset = replace(dataset, splits=give_splits(options.splits, dataset.videos))
    if options.shares:
        groups = group_segments(dataset.videos, dataset.speakers)
        dataset = replace(dataset, splits=make_splits(groups, options.shares, options.seed))
    check_splits(dataset)
    if not dataset.columns:
        raise ValueError(
            "there are words and labels, but no features: give files of a modality, or --recipe "
            "embedded to make language and timing columns from the words"
        )
    save_dataset(dataset, options.out)
    rows = describe_dataset(dataset)
    if options.json != "-":
        show_rows(f"{dataset.name}: {dataset.source}", rows)
    if not wrote_json(options.json, {row["what"]: row["found"] for row in rows}):
        results.print(f"written: {options.out} (hash {hash_dataset(dataset)[:12]})")
    return 0


def _read(options: argparse.Namespace) -> Any:
    """The data set that the files hold."""
    from rmfn.corpora import Wanted

    sizes = options.sizes and dict(
        zip(("language", "acoustic", "visual"), options.sizes, strict=True)
    )
    wanted = Wanted(
        options.name,
        tuple(options.labels),
        tuple(options.scale) if options.scale else None,
        options.allow_missing,
        sizes,
    )
    if options.format in ("mmsa", "timed") and len(options.files) > 1:
        raise ValueError(f"{options.format}: expected one file, found {len(options.files)}")
    if options.format == "timed":
        return _read_timed(options.files[0], options.recipe or "embedded", wanted)
    if options.format == "csd":
        from rmfn.corpora_csd import dataset_from_csd

        return dataset_from_csd(options.files, wanted)
    if options.format == "mfn":
        from rmfn.corpora_hdf5 import dataset_from_mfn

        return dataset_from_mfn(options.files, wanted)
    from rmfn.corpora_pickles import dataset_from_misa, dataset_from_mmsa

    if options.format == "misa":
        return dataset_from_misa(options.files, wanted)
    return dataset_from_mmsa(options.files[0], wanted)


def _read_timed(path: str, recipe: str, wanted: Any) -> Any:
    from flows.run import open_recipe
    from rmfn.dataset import find_targets
    from rmfn.timed import SENTIMENT, find_word_steps, make_timed_dataset

    target = replace(SENTIMENT, name=wanted.labels[0] if wanted.labels else SENTIMENT.name)
    if wanted.scale:
        target = replace(target, low=wanted.scale[0], high=wanted.scale[1], threshold=None)
    steps = find_word_steps(open_recipe(recipe).provenance)
    dataset = make_timed_dataset(path, steps, target)
    find_targets(dataset, [target.name])  # sees that the labels are on their scale
    return replace(dataset, name=wanted.name or dataset.name)


def _export(options: argparse.Namespace) -> int:
    from flows.display import results
    from rmfn.exports import export_csd, export_mmsa, export_textgrids

    if options.format == "textgrid":
        written, losses = export_textgrids(options.source, options.out)
    else:
        from rmfn.dataset import load_dataset

        dataset = load_dataset(options.source)
        if options.format == "csd":
            written = export_csd(dataset, options.out)
            losses = ["scores and coverage, speakers, splits, column names and scales"]
        else:
            losses = export_mmsa(dataset, options.out, options.label)
            written = [Path(options.out)]
    for path in written:
        results.print(f"written: {path}")
    kept = "" if options.format == "textgrid" else " (kept in the entry 'rmfn')"
    for loss in losses:
        results.print(f"not part of the format{kept}: {loss}", style="dim")
    return 0
