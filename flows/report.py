"""``rmfn report``: the page of a training, or of a comparison."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from flows.arguments import add_data, explain, new_file, new_folder

if TYPE_CHECKING:
    from rmfn.pages.training import Found
    from rmfn.predict import Predictor
    from rmfn.segments import Segments

PAGE = "report.html"
OF_TRAININGS = ("figures", "data", "store", "labels", "timed", "split", "against", "videos")

REPORT = """\
One HTML file that needs nothing beside it and no network: learning curves, predicted against true,
which values are taken for each other, error by length and by coverage, calibration, what each
modality is worth, the segments it got most wrong, and what the model was made of. Of the folder of
a comparison (rmfn compare, ablate): every system with its interval, and the tables.

Without data the page has what the training measured of segments that its models had not seen. With
data the model is scored on them anew, as rmfn evaluate does, and without each modality too.

examples:
  rmfn report runs/a                                                    writes runs/a/report.html
  rmfn report runs/a --videos videos/                                   errors link to their moment
  rmfn report runs/a --store features --labels labels.csv --split test --out a.html
  rmfn report runs/a --data corpus --split test --against runs/b --figures figures/
  rmfn report runs/compare
"""


def add_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    made = command("report", _report, "a page to look at: of a training, or of a comparison")
    explain(made, REPORT)
    made.add_argument(
        "folder",
        metavar="DIR|NAME",
        help="a model's folder or shipped name, or a comparison's folder",
    )
    made.add_argument(
        "--out", type=new_file, metavar="FILE.html", help="the page (default: DIR/report.html)"
    )
    made.add_argument(
        "--figures",
        type=new_folder,
        metavar="DIR",
        help="the main figures of a training as PNG and SVG",
    )
    add_data(made)
    made.add_argument(
        "--split", choices=("train", "valid", "test"), help="of the data (default: all)"
    )
    made.add_argument("--against", metavar="DIR|NAME", help="with data: compare with another model")
    made.add_argument(
        "--videos",
        metavar="DIR",
        help="where the videos are, for links (default: beside --labels)",
    )


def _report(options: argparse.Namespace) -> int:
    from flows.display import results
    from rmfn.compare import QUESTION, TABLE

    beside = (
        Path(options.folder) / PAGE if Path(options.folder).is_dir() else f"{options.folder}-{PAGE}"
    )
    out = Path(options.out or beside)
    if any((Path(options.folder) / name).is_file() for name in (QUESTION, TABLE)):
        if said := [f"--{name}" for name in OF_TRAININGS if getattr(options, name)]:
            raise ValueError(
                f"{options.folder} is a comparison, whose page has all of it: {', '.join(said)} "
                f"{'is' if len(said) == 1 else 'are'} for the page of a training"
            )
        from rmfn.comparison import load_comparison
        from rmfn.pages.comparison import write_comparison_page

        write_comparison_page(out, load_comparison(Path(options.folder) / TABLE))
    else:
        _report_training(options, out)
    results.print(f"written: {out}", markup=False)
    if options.figures:
        results.print(f"written: {options.figures}", markup=False)
    return 0


def _report_training(options: argparse.Namespace, out: Path) -> None:
    from flows.run import find_model
    from rmfn.pages.training import find_kept, write_training_page
    from rmfn.predict import Predictor

    folder = Path(find_model(options.folder))
    predictor = Predictor.load(folder)
    manifest = predictor.manifest
    given = options.data or options.store or options.timed
    if not given and (options.split or options.against):
        raise ValueError(
            "--split and --against are of data: --data DIR, or --store DIR with --labels"
        )
    found = _evaluate(options, predictor) if given else find_kept(folder, manifest)
    beside = options.videos or (Path(options.labels).parent if options.labels else None)
    videos = {}
    if beside is not None and found.segments is not None:
        from flows.collect import find_videos

        files = find_videos(beside, set(found.segments.videos))
        videos = {name: paths[0] for name, paths in files.items()}
    write_training_page(out, folder, manifest, found, videos, options.figures)


def _evaluate(options: argparse.Namespace, predictor: Predictor) -> Found:
    """What `rmfn evaluate --ablate` finds."""
    from flows.collect import open_scored
    from flows.run import find_model
    from rmfn.evaluate import evaluate_dataset
    from rmfn.pages.training import Found
    from rmfn.predict import Predictor

    against = Predictor.load(find_model(options.against)) if options.against else None
    told: list[Segments] = []
    report = evaluate_dataset(
        predictor,
        open_scored(
            *(predictor.manifest, options.data, options.store, options.labels, options.timed)
        ),
        options.split,
        against=against,
        ablate=True,
        on_predicted=told.append,
    )
    return Found(told[0].how, report, told[0], evaluated=True)
