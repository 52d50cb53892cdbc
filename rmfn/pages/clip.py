"""The page of a clip: the video with its words, the prediction as it came about, every origin."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from extractors.types import FeatureTrack
from pipeline.assemble import ProcessedClip
from pipeline.clip_run import Progress, ignore_progress
from pipeline.media import read_audio
from pipeline.recipe import Recipe
from pipeline.stills import read_stills
from rmfn.explain import Explained, explain_utterance
from rmfn.pages.attention import summarise_attention
from rmfn.pages.curves import describe_curve
from rmfn.pages.faces import choose_moments, describe_faces, draw_units
from rmfn.pages.page import render_page, write_page
from rmfn.pages.tables import (
    describe_measured,
    describe_origins,
    describe_reading,
    describe_scores,
    tabulate,
)
from rmfn.pages.timeline import Row, draw_timeline, find_rows, measure_level
from rmfn.pages.video import show_clip
from rmfn.predict import Predictor
from rmfn.wording import describe_spread, describe_value


def write_clip_page(
    path: str | Path | None,
    record: dict[str, Any],
    processed: ProcessedClip,
    predictor: Predictor,
    recipe: Recipe,
    *,
    card: str = "",
    embed_video: bool = False,
    figures: str | Path | None = None,
    progress: Progress = ignore_progress,
) -> None:
    """Write the page of a clip that was predicted.

    Parameters
    ----------
    path : the HTML file; None writes the figures only.
    record : of `flows.run.predict_clip`; the page's numbers are these.
    processed, predictor, recipe : what the record was made of.
    card : the model's card, Markdown.
    embed_video : put the video into the file instead of a link to it.
    figures : folder for the main figures as PNG and SVG; None makes none.

    Raises
    ------
    OSError : the page cannot be written.
    """
    progress("report", None)
    parts = [processed.sequence.between(part.start, part.stop) for part in processed.utterances]
    explained = []
    for part in parts:
        explained.append(explain_utterance(predictor, recipe, part))
        progress("report", 0.9 * len(explained) / len(parts))
    clip, targets = processed.clip, predictor.manifest.labels
    curves = [describe_curve(record, explained, n, targets) for n in range(len(targets))]
    level = measure_level(read_audio(clip)) if clip.has_audio else None
    rows = find_rows(processed.tracks, level)
    if path is not None:
        stills = []
        if (face := find_face(processed)) is not None:
            moments = face.times[choose_moments(face)].tolist()
            stills = describe_faces(face, read_stills(clip, moments))
        page = render_clip_page(
            record,
            processed,
            predictor,
            explained,
            curves,
            rows,
            stills,
            show_clip(clip, Path(path), embed_video),
            card,
        )
        write_page(path, page)
    if figures is not None:
        from rmfn.pages.figures import write_figures

        write_figures(figures, curves, rows, explained, clip.duration)
    progress("report", 1.0)


def render_clip_page(
    record: dict[str, Any],
    processed: ProcessedClip,
    predictor: Predictor,
    explained: Sequence[Explained],
    curves: Sequence[dict[str, Any]],
    rows: Sequence[Row],
    stills: Sequence[dict[str, Any]],
    media: dict[str, Any],
    card: str = "",
) -> str:
    """The page as text, from all that is on it.

    Parameters
    ----------
    explained : of each utterance.
    curves : of each label (`curves.describe_curve`).
    rows : of the time line (`timeline.find_rows`).
    stills : of `faces.describe_faces`.
    media : of `video.show_clip`.
    """
    name = Path(record["clip"]["path"]).name
    words = [word for part in record["utterances"] for word in part["words"]]
    timelines = [
        draw_timeline(rows if n == 0 else [], curve, words, record["clip"]["duration"])
        for n, curve in enumerate(curves)
    ]
    face = find_face(processed)
    units = None if face is None else draw_units(face)
    attention = summarise_attention(explained)
    shown = ("label", "curve", "span", "neutral", "unit", "signed")
    data = {
        "record": record,
        "media": media,
        "labels": [{key: curve[key] for key in shown} for curve in curves],
        "predictions": [_first_row(figure) for figure in timelines],
        "utterances": [
            {
                "prefixes": [curve["prefixes"][n] for curve in curves],
                "effect": [curve["effects"][n] for curve in curves],
                "whole": [curve["wholes"][n] for curve in curves],
                "blank": [curve["blanks"][n] for curve in curves],
            }
            for n in range(len(explained))
        ],
        "attention": None if attention is None else attention["drawn"],
    }
    figures = {"timeline": timelines[0], **({} if units is None else {"units": units})}
    return render_page(
        "clip.html",
        name,
        data=data,
        figures=figures,
        styles=("clip.css",),
        scripts=("clip.js",),
        name=name,
        record=record,
        curves=curves,
        rows=rows,
        media=media,
        stills=stills,
        has_units=units is not None,
        seen=face is not None and bool(face.observed.any()),
        attention=attention,
        reads=describe_reading(processed, predictor),
        agrees=all(curve["agrees"] for curve in curves),
        measured=describe_measured(record, processed),
        origins=describe_origins(record["recipe"]),
        scores=describe_scores(record["model"], predictor.manifest.labels),
        **tabulate(record, attention),
        card=card,
        describe_value=describe_value,
        describe_spread=describe_spread,
        clock=_clock,
    )


def find_face(processed: ProcessedClip) -> FeatureTrack | None:
    """The first visual track that has frames."""
    return next((track for track in processed.tracks.get("visual", ()) if len(track.times)), None)


def _first_row(figure: dict[str, Any]) -> dict[str, Any]:
    """What changes in the time line when another label is chosen."""
    axis = {key: value for key, value in figure["layout"]["yaxis"].items() if key != "domain"}
    shapes = [shape for shape in figure["layout"]["shapes"] if shape["name"] == "neutral"]
    return {"data": figure["data"][:4], "yaxis": axis, "shapes": shapes}


def _clock(seconds: float) -> str:
    """0:07.4, 12:03.0"""
    tenths = round(seconds * 10)
    return f"{tenths // 600}:{tenths // 10 % 60:02d}.{tenths % 10}"
