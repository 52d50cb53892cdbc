"""What a person sees in the terminal: a line a stage, tables, warnings."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

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


def show_prediction(record: dict[str, Any], scales: dict[str, tuple[float, float]]) -> None:
    """The utterances with their predictions, the clip as a whole, and the warnings."""
    clip, quality = record["clip"], record["quality"]
    for label in record["overall"]:
        low, high = scales.get(label, (-1.0, 1.0))
        table = Table(title=f"{label}, from {low:+g} to {high:+g}", title_justify="left")
        table.add_column("time [s]", justify="right", no_wrap=True)
        table.add_column("utterance", overflow="fold", ratio=1)
        table.add_column(label, justify="right", no_wrap=True)
        table.add_column("interval", justify="center", no_wrap=True)
        table.add_column("", no_wrap=True)
        for part in record["utterances"]:
            found = part["prediction"][label]
            table.add_row(
                f"{part['start']:.1f} - {part['end']:.1f}",
                Text(part["text"]),
                f"{found['value']:+.2f}",
                "[{:+.1f}, {:+.1f}]".format(*found["interval"]).replace("[", "\\["),
                draw_bar(found["value"], low, high),
            )
        table.add_section()
        whole = record["overall"][label]
        table.add_row(
            f"{clip['duration']:.1f}",
            Text("whole clip (weighted by duration)", style="bold"),
            f"[bold]{whole['value']:+.2f}[/]",
            "[{:+.1f}, {:+.1f}]".format(*whole["interval"]).replace("[", "\\["),
            draw_bar(whole["value"], low, high),
        )
        results.print(table)
    results.print(describe_quality(quality), style="dim")
    for warning in quality["warnings"]:
        results.print(Text(f"warning: {warning}", style="yellow"))


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


def show_clips(records: list[dict[str, Any]]) -> None:
    """What became of each clip of a batch, and why some failed."""
    rows = [
        {
            "clip": Path(record["path"]).name,
            "status": record["status"],
            "words": record["words"],
            "face": None if record["face_share"] is None else f"{record['face_share']:.0%}",
            "seconds": f"{record['seconds']:.1f}",
            "why": (record["reason"] or "").removeprefix(f"{record['path']}: "),
        }
        for record in records
    ]
    done = sum(record["status"] == "done" for record in records)
    show_rows(f"{done} of {len(records)} clips done", rows)


def show_rows(title: str, rows: list[dict[str, Any]]) -> None:
    """Any list of flat records as a table, columns in the order of the first."""
    table = Table(title=title, title_justify="left")
    for name in rows[0] if rows else ():
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_format(value)) for value in row.values()))
    results.print(table)


def _format(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
