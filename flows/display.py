"""What a person sees in the terminal: a line a stage, tables, warnings."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from rmfn.wording import describe_spread, describe_value

if TYPE_CHECKING:
    from rmfn.unseen import OnProgress
    from rmfn.unseen import Progress as Now

# Progress and warnings go to stderr, so that stdout holds results only.
screen = Console(stderr=True, highlight=False)
# A file or a pipe has no width of its own: what a wide terminal shows.
results = Console(highlight=False, width=None if sys.stdout.isatty() else 110)

BAR = 21


@contextmanager
def show_stages() -> Iterator[Any]:
    """A progress callback that draws one line a stage."""
    columns = (
        SpinnerColumn(finished_text="[green]✓[/]"),
        TextColumn("{task.description:<14}"),
        BarColumn(bar_width=30),
        TimeElapsedColumn(),
    )
    # Drawn seldom: every drawing takes the interpreter from the work that it shows.
    with Progress(*columns, console=screen, refresh_per_second=4) as bars:
        lines: dict[str, Any] = {}

        def progress(stage: str, share: float | None) -> None:
            if stage not in lines:
                lines[stage] = bars.add_task(stage, total=None)
            if share is not None:
                bars.update(lines[stage], total=1.0, completed=share)

        yield progress


@contextmanager
def show_bar(unit: str, total: int | None) -> Iterator[Callable[..., None]]:
    """A bar; the callable takes how many are done, a line, and the total if only known now."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=screen, refresh_per_second=2) as bars:
        line = bars.add_task("making ready", total=total)

        def tell(done: int, text: str, of: int | None = total) -> None:
            bars.update(line, completed=done, total=of, description=text)

        yield tell
        bars.update(line, description="done")


@contextmanager
def show_trainings() -> Iterator[OnProgress]:
    """A bar of trainings; at the end of it all are done."""
    with show_bar("trainings", None) as tell:
        runs = 0

        def on_progress(now: Now) -> None:
            nonlocal runs
            runs = now.runs
            tell(now.run, now.describe(), runs)  # as many are done as the one at work has before it

        yield on_progress
        if runs:
            tell(runs, "done", runs)


@contextmanager
def show_bytes(text: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar for what is read or fetched; the callable takes how many bytes, and of how many."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        DownloadColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=screen, refresh_per_second=2) as bars:
        line = bars.add_task(text, total=None)
        yield lambda done, total: bars.update(line, completed=done, total=total)


def show_prediction(record: dict[str, Any], scales: dict[str, tuple[float, float]]) -> None:
    """The utterances with their predictions, the clip as a whole, and the warnings."""
    clip, quality = record["clip"], record["quality"]
    for label, overall in record["overall"].items():
        bounds = scales.get(label, (-1.0, 1.0))
        classes = "probabilities" in overall
        title = label if classes else "{}, from {:+g} to {:+g}".format(label, *bounds)
        table = Table(title=title, title_justify="left")
        table.add_column("time [s]", justify="right", no_wrap=True)
        table.add_column("utterance", overflow="fold", ratio=1)
        table.add_column(label, justify="right", no_wrap=True)
        table.add_column("probabilities" if classes else "interval", justify="center")
        if not classes:
            table.add_column("", no_wrap=True)
        for part in record["utterances"]:
            table.add_row(
                f"{part['start']:.1f} - {part['end']:.1f}",
                Text(part["text"]),
                *_show_cells(part["prediction"][label], bounds),
            )
        table.add_section()
        table.add_row(
            f"{clip['duration']:.1f}",
            Text("whole clip (weighted by duration)", style="bold"),
            *_show_cells(overall, bounds, style="bold"),
        )
        results.print(table)
    results.print(describe_quality(quality), style="dim")
    for warning in quality["warnings"]:
        results.print(Text(f"warning: {warning}", style="yellow"))


def _show_cells(
    found: dict[str, Any], bounds: tuple[float, float], style: str = ""
) -> list[Text | str]:
    value = Text(describe_value(found), style=style)
    if "probabilities" in found:
        return [value, Text(describe_spread(found))]
    interval = "[{:+.1f}, {:+.1f}]".format(*found["interval"])
    return [value, Text(interval), draw_bar(found["value"], *bounds)]


def draw_bar(value: float, low: float, high: float) -> str:
    """A bar from the middle of the scale to the value, in characters that any font has."""
    place = round((min(max(value, low), high) - low) / (high - low) * (BAR - 1))
    middle = (BAR - 1) // 2
    first, last = sorted((place, middle))
    return "".join(
        "┼" if at == middle else "█" if first <= at <= last else "·" for at in range(BAR)
    )


def describe_quality(quality: dict[str, Any]) -> str:
    """One line: how many words, how well they were placed, how much face and voice there was."""
    parts = [f"{quality['words']} words"]
    if quality["interpolated"]:
        parts.append(f"{quality['interpolated']} interpolated")
    if quality["aligner_score"] is not None:
        parts.append(f"aligner score {quality['aligner_score']:.2f}")
    if quality["face_share"] is not None:
        parts.append(f"face in {quality['face_share']:.0%} of frames")
    if quality["voiced_share"] is not None:
        parts.append(f"{quality['voiced_share']:.0%} voiced")
    parts.append(f"speech in {quality['speech_share']:.0%} of the clip")
    return "quality: " + ", ".join(parts)


def show_words(words: list[dict[str, Any]]) -> None:
    """Word times as a table."""
    table = Table()
    for name in ("start [s]", "end [s]", "score"):
        table.add_column(name, justify="right")
    table.add_column("word")
    for word in words:
        score = "interpolated" if word["score"] is None else f"{word['score']:.2f}"
        table.add_row(f"{word['start']:.3f}", f"{word['end']:.3f}", score, Text(word["text"]))
    results.print(table)


def show_rows(title: str, rows: list[dict[str, Any]]) -> None:
    """Any list of flat records as a table, columns in the order of the first."""
    table = Table(title=title, title_justify="left")
    for name in rows[0] if rows else ():
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_format(value)) for value in row.values()))
    results.print(table)


def show_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Cells that are text already: names to the left, numbers to the right."""
    table = Table(title=title, title_justify="left", box=SIMPLE, pad_edge=False, padding=(0, 0))
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    results.print(table)


def show_warnings(warnings: Sequence[str]) -> None:
    """On the error stream: results stay as they are."""
    for warning in warnings:
        screen.print(Text(f"warning: {warning}", style="yellow"), soft_wrap=True)


def _format(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
