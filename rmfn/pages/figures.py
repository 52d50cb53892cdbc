"""The main figures of a clip for a paper: PNG and SVG, drawn by matplotlib."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.whole import write_whole
from rmfn.explain import Explained
from rmfn.pages.timeline import Row

Draw = Callable[[], Any]

# Okabe & Ito's colours, which the colour-blind tell apart; dashes differ as well.
WARM, COLD, ACCENT, INK, GREY = "#D55E00", "#0072B2", "#0072B2", "#222222", "#999999"
TRACKS = {
    "acoustic": ("#009E73", "#E69F00", "#56B4E9"),
    "visual": ("#CC79A7", "#E69F00", "#0072B2"),
}
DASHES = ("-", "--", ":")
UTTERANCES = 6  # drawn word by word, at most
STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.fontsize": 7,
    "legend.frameon": False,
    # Text stays text in an SVG, and no date is in it: equal figures are equal files.
    "svg.fonttype": "none",
    "svg.hashsalt": "rmfn",
}


def write_figures(
    folder: str | Path,
    curves: Sequence[dict[str, Any]],
    rows: Sequence[Row],
    explained: Sequence[Explained],
    duration: float,
) -> list[Path]:
    """Write ``timeline``, ``words`` and, of a model with HIGHLIGHT, ``attention``.

    Parameters
    ----------
    curves : of `curves.describe_curve`, a label each; of several labels the name is added.
    rows : of `timeline.find_rows`.

    Returns
    -------
    The files.
    """
    made: dict[str, Draw] = {}
    for curve in curves:
        end = f"-{plain_name(curve['label'])}" if len(curves) > 1 else ""
        made[f"timeline{end}"] = partial(draw_timeline, curve, rows, duration)
        made[f"words{end}"] = partial(draw_words, curve, choose_utterances(curve))
    made["attention"] = partial(draw_attention, curves[0], explained, choose_utterances(curves[0]))
    return save_figures(folder, made)


def save_figures(folder: str | Path, made: Mapping[str, Draw]) -> list[Path]:
    """Draw {name: figure} in one style and write each as PNG and SVG; None is passed over."""
    import matplotlib

    target, files = Path(folder), []
    target.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(STYLE):
        for name, draw in made.items():
            if (figure := draw()) is not None:
                files += [_save(target / f"{name}.{form}", figure) for form in ("png", "svg")]
    return files


def choose_utterances(curve: dict[str, Any], count: int = UTTERANCES) -> list[int]:
    """The utterances with the strongest predictions, in order of time: a paper has no room for a
    hundred."""
    middle = sum(curve["span"]) / 2
    values = [abs(part["value"] - middle) for part in curve["utterances"]]
    return sorted(sorted(range(len(values)), key=lambda n: -values[n])[:count])


def draw_timeline(curve: dict[str, Any], rows: Sequence[Row], duration: float) -> Any:
    """The prediction of each utterance and after each word, then the measured tracks."""
    figure = open_figure((7.2, 2.2 + 1.0 * len(rows)))
    panels = figure.subplots(
        1 + len(rows), 1, sharex=True, squeeze=False, height_ratios=[2, *[1] * len(rows)]
    )[:, 0]
    first, place = panels[0], 0
    for part in curve["utterances"]:
        span = [part["start"], part["end"]]
        if part["interval"]:
            first.fill_between(
                span, *([bound] * 2 for bound in part["interval"]), color=ACCENT, alpha=0.15, lw=0
            )
        first.plot(span, [part["value"]] * 2, color=ACCENT, linewidth=2)
        ends = [word["end"] for word in part["words"]]
        arriving = curve["arriving"][place : place + len(ends)]
        first.plot(ends, arriving, "o:", color=INK, markersize=2.5, linewidth=0.8)
        place += len(ends)
    if curve["neutral"] is not None:
        first.axhline(curve["neutral"], color=GREY, linewidth=0.6)
    first.set_ylim(*curve["span"])
    first.set_title(f"Prediction: {curve['curve']}", loc="left")
    for panel, row in zip(panels[1:], rows, strict=True):
        for n, each in enumerate(row.curves):
            look = {"color": TRACKS[row.modality][n], "linestyle": DASHES[n], "linewidth": 0.9}
            panel.plot(each.times, each.values, label=each.label, **look)
        for start, end in row.unseen:
            panel.axvspan(start, end, color="#DDDDDD", linewidth=0)
        panel.set_title(f"{row.title.removesuffix(' °')}, {row.unit}", loc="left")
        if row.span:
            panel.set_ylim(*row.span)
        if len(row.curves) > 1:
            panel.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, borderaxespad=0)
    panels[-1].set_xlim(0, duration)
    panels[-1].set_xlabel("time, s")
    return figure


def draw_words(curve: dict[str, Any], chosen: Sequence[int]) -> Any:
    """How the predictions of the chosen utterances develop, and what each word contributes."""
    figure = open_figure((7.2, 1.9 * len(chosen)))
    panels = figure.subplots(len(chosen), 2, squeeze=False)
    known = [abs(value) for n in chosen for value in curve["effects"][n] if value == value]
    most = max(known, default=0.1) * 1.15
    for n, (left, right) in zip(chosen, panels, strict=True):
        prefixes, effects = curve["prefixes"][n], curve["effects"][n]
        at = np.arange(len(prefixes))
        left.plot(at, prefixes, "o-", color=ACCENT, markersize=3, linewidth=1.2)
        left.set_ylim(*curve["span"])
        right.bar(at, effects, color=[COLD if value < 0 else WARM for value in effects], width=0.65)
        right.set_ylim(-most, most)
        for panel in (left, right):
            panel.axhline(0, color=GREY, linewidth=0.6)
            _name_words(panel, curve["utterances"][n])
    panels[0, 0].set_title(f"{curve['curve']} as the words arrive", loc="left")
    panels[0, 1].set_title("with the word less without it", loc="left")
    return figure


def draw_attention(
    curve: dict[str, Any], explained: Sequence[Explained], chosen: Sequence[int]
) -> Any | None:
    """The first member's attention of each stage, unit by unit; an utterance a row."""
    from matplotlib.colors import TwoSlopeNorm

    seen = {n: each for n in chosen if (each := explained[n].attention) is not None}
    if not seen:
        return None
    first = next(iter(seen.values()))
    units, stages = first.weights.shape[-1], first.weights.shape[2]
    figure = open_figure((7.2, 0.6 + 1.9 * len(seen)))
    panels = figure.subplots(len(seen), stages, squeeze=False)
    shown = None
    for line, (n, each) in zip(panels, seen.items(), strict=True):
        for k, panel in enumerate(line):
            shown = panel.imshow(
                np.log2(each.weights[0, :, k].T * units),
                aspect="auto",
                cmap="PuOr_r",
                norm=TwoSlopeNorm(0, -1, 1),
                interpolation="nearest",
            )
            _name_words(panel, curve["utterances"][n])
            panel.set_yticks([])
            for part in list(each.parts.values())[1:]:
                panel.axhline(part.start - 0.5, color=INK, linewidth=0.8)
        middles = [(part.start + part.stop - 1) / 2 for part in each.parts.values()]
        line[0].set_yticks(middles, list(each.parts))
    for k, panel in enumerate(panels[0]):
        panel.set_title(f"Stage {k + 1}", loc="left")
    bar = figure.colorbar(shown, ax=panels, ticks=[-1, 0, 1], shrink=0.5, aspect=30)
    bar.ax.set_yticklabels(["×½", "even", "×2"])
    return figure


def _name_words(panel: Any, part: dict[str, Any]) -> None:
    names = [_literal(word["text"]) for word in part["words"]]
    panel.set_xticks(range(len(names)), names, rotation=45, ha="right")


def open_figure(size: tuple[float, float]) -> Any:
    """An empty figure of so many inches, that no window belongs to."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(path: Path, figure: Any) -> Path:
    written = io.BytesIO()
    metadata = {"Date": None} if path.suffix == ".svg" else {}
    figure.savefig(written, format=path.suffix[1:], dpi=200, metadata=metadata)
    write_whole(path, lambda file: file.write(written.getvalue()))
    return path


def _literal(text: str) -> str:
    """Matplotlib reads formulas between dollars; a word is a word."""
    return text.replace("$", r"\$")


def plain_name(name: str) -> str:
    """As a part of a file's name."""
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in name)
