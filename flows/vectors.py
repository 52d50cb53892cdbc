"""The command ``rmfn vectors import``: a published table of word vectors, made fast to open."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from flows.arguments import add_json, explain, new_folder

if TYPE_CHECKING:
    from extractors.word_vectors import Imported

FOLDER = Path("~/rmfn-weights")
ENDINGS = (".gz", ".zip", ".txt", ".vec", ".bin")

VECTORS_TEXT = """\
examples:
  rmfn vectors import glove.840B.300d.txt            into ~/rmfn-weights/glove.840B.300d, where the
                                                     recipe paper looks for it
  rmfn vectors import GoogleNews-vectors-negative300.bin.gz --out vectors/google-news
  rmfn vectors import cc.fr.300.vec.gz               fastText's

It reads GloVe's text, word2vec's text and binary, fastText's .vec; also packed by gzip, or alone in
a zip file. A recipe names the folder that is made:

  [[language]]
  backend = "glove"
  path = "vectors/google-news"
  size = 300

Words with spaces in them are kept, as GloVe 840B has them; of a word that comes twice the first,
which is the more frequent, counts. A line that is not a word and as many numbers as the others have
is refused by its number, unless --skip-broken leaves such lines out. The folder appears whole or
not at all, and nothing in it is a pickle.
"""


def add_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    vectors = command("vectors", _import, "make a table of word vectors fast to open")
    explain(vectors, VECTORS_TEXT)
    vectors.add_argument("action", choices=["import"])
    vectors.add_argument("table", metavar="TABLE", help="the file as it was published")
    vectors.add_argument(
        "--out",
        type=new_folder,
        metavar="DIR",
        help=f"the folder to make (default: {FOLDER}/ and the table's name)",
    )
    vectors.add_argument(
        "--skip-broken", action="store_true", help="leave broken lines out, and count them"
    )
    add_json(vectors, "write what came of it")


def _import(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from flows.arguments import wrote_json
    from flows.display import results, show_warnings

    source = Path(options.table).expanduser()
    folder = Path(options.out) if options.out else FOLDER / strip_endings(source.name)
    done = import_vectors(source, folder.expanduser(), options.skip_broken)
    if options.json != "-":
        results.print(describe(done), soft_wrap=True)
        show_warnings([f"left out: {line}" for line in done.first_broken])
        results.print(f"written: {folder}", soft_wrap=True)
    wrote_json(options.json, {**asdict(done), "folder": str(folder)})
    return 0


def strip_endings(name: str) -> str:
    """ "cc.fr.300.vec.gz" -> "cc.fr.300"."""
    while (path := Path(name)).suffix in ENDINGS:
        name = path.stem
    return name


def import_vectors(source: Path, folder: Path, skip_broken: bool = False) -> Imported:
    """`extractors.word_vectors.import_table` with a bar, into a folder that appears whole.

    Raises
    ------
    ValueError : it is no table, or the folder holds something else than one.
    OSError : it cannot be read, or the folder not written.
    """
    from extractors.word_vectors import ABOUT, import_table
    from flows.display import show_bytes
    from pipeline.whole import replace_folder

    if folder.exists() and not (folder / ABOUT).is_file():
        raise ValueError(f"{folder} is there and is no table of word vectors: name another --out")
    with show_bytes(source.name) as tell, replace_folder(folder) as fresh:
        return import_table(source, fresh, skip_broken, tell)


def describe(done: Imported) -> str:
    """One line: what form, how many words, what was special."""
    counts = {
        "words with spaces": done.with_spaces,
        "repeated and left out": done.repeated,
        "broken and left out": done.broken,
    }
    return ", ".join(
        [
            f"{done.source}: {done.form}, {done.words} words of {done.size} values",
            *(f"{what}: {count}" for what, count in counts.items() if count),
        ]
    )
