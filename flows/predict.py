"""The flow ``predict-video``: one clip from file to prediction, a Prefect task a stage.

The tasks talk through the store: each takes a path and leaves its result there, and a stage that
the store already has is not done again (so Prefect's own caching stays off).
"""

from __future__ import annotations

import logging
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from prefect import State, flow, get_run_logger, task
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import TerminationSignal
from prefect.futures import wait
from prefect.states import Failed
from prefect.task_runners import ThreadPoolTaskRunner

from extractors.weights import WeightsMissing
from flows import run
from flows.display import describe_spread, describe_value
from flows.places import TypedText, check_named, check_new, check_path, check_place
from flows.served import end_with_server, give_up
from pipeline.errors import ClipError

# What a person can put right: told in one line. Anything else is a defect and keeps its traceback.
USER_ERRORS = (ClipError, WeightsMissing, ValueError, OSError)

end_with_server()


def is_news(record: logging.LogRecord) -> bool:
    """False for Prefect's traceback of an error that was already told in one line."""
    error = record.exc_info[1] if record.exc_info else None
    return record.levelno < logging.ERROR or not isinstance(error, USER_ERRORS)


for runs in ("prefect.flow_runs", "prefect.task_runs"):
    logging.getLogger(runs).addFilter(is_news)


def is_transient(task: Any, task_run: Any, state: State) -> bool:
    """Whether trying again may help: a network disk, memory; never bad input."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, OSError | MemoryError) and not isinstance(
        error, FileNotFoundError | PermissionError
    )


STAGE: dict[str, Any] = {
    "cache_policy": NO_CACHE,
    "persist_result": False,
    "retries": 2,
    "retry_delay_seconds": [2, 10],
    "retry_condition_fn": is_transient,
}


@task(name="speech", **STAGE)
def find_words(path: str, recipe: str, store: str, transcript: str | None) -> float:
    """Recognise and align into the store. Returns the seconds it took."""
    started = time.perf_counter()
    run.find_clip_words(path, recipe, store, transcript)
    return time.perf_counter() - started


@task(name="track", task_run_name="{modality}", **STAGE)
def track(path: str, modality: str, recipe: str, store: str, transcript: str | None) -> float:
    """Measure one modality at frame rate into the store. Returns the seconds it took."""
    started = time.perf_counter()
    run.track_clip(path, modality, recipe, store, transcript)
    return time.perf_counter() - started


@task(name="predict", **STAGE)
def predict(
    path: str,
    recipe: str,
    model: str | None,
    transcript: str | None,
    store: str,
    report: str | None,
    embed_video: bool,
) -> dict[str, Any]:
    """Put the stored stages together and predict: a small record that fits in JSON, and a page."""
    return run.predict_clip(
        path,
        recipe=recipe,
        model=model,
        transcript=transcript,
        store=store,
        report=report,
        embed_video=embed_video,
    )


@flow(
    name="predict-video",
    task_runner=ThreadPoolTaskRunner(max_workers=3),  # type: ignore[arg-type]
    # A number for a path is explained below, in one line; pydantic's error would take five.
    validate_parameters=False,
    # As JSON, not as a pickle: read with `flow_run.state.result()` or any text editor.
    persist_result=True,
    result_serializer="json",
)
def predict_video(
    path: TypedText,
    recipe: TypedText = run.DEFAULT_RECIPE,
    model: TypedText | None = None,
    transcript: TypedText | None = None,
    store: TypedText | None = None,
    report: TypedText | None = None,
    embed_video: bool = False,
) -> Any:
    """Predict what is expressed in a video of a person talking.

    Parameters
    ----------
    path : the video or sound file, in the serving machine's file system.
    recipe : name or path of a recipe.
    model : folder of a checkpoint, or the name of a shipped one.
    transcript : file with what is said; without it the speech is recognised.
    store : folder where finished stages are kept; without it they are thrown away at the end.
    report : HTML file to write, a page to look at.
    embed_video : put the video into that page instead of a link to it.

    Returns
    -------
    The record of `flows.run.predict_clip`. On bad input, a failed state whose message is one line
    for a person. Artifacts go with the run: the table ``predict-video-utterances``, the report
    ``predict-video-quality`` and, if a page was written, the link ``predict-video-page``.
    """
    started = time.perf_counter()
    logger = get_run_logger()
    try:
        clip = check_path(path)
        checks = {
            "model": (model, check_named),
            "transcript": (transcript, check_place),
            "store": (store, check_new),
            "report": (report, check_new),
        }
        paths = {
            name: check(value, name)
            for name, (value, check) in checks.items()
            if value not in (None, "")
        }
        recipe = check_named(recipe, "recipe")
        _check_before_work(clip, recipe, paths.get("model"), paths.get("transcript"))
        with _keep_in(paths.get("store")) as folder:
            result = _run_stages(
                str(clip),
                recipe,
                paths.get("model"),
                paths.get("transcript"),
                folder,
                paths.get("report"),
                embed_video,
            )
    except (TerminationSignal, KeyboardInterrupt):
        give_up()
        raise
    except USER_ERRORS as error:
        logger.debug("what failed", exc_info=True)
        logger.error("%s", error)
        return Failed(message=str(error), data=error)
    result["seconds"]["total"] = time.perf_counter() - started
    create_table_artifact(
        key="predict-video-utterances",
        table=tabulate_utterances(result),
        description=f"Predictions for {clip}",
    )
    create_markdown_artifact(
        key="predict-video-quality",
        markdown=report_quality(result),
        description=f"How far to trust the predictions for {clip}",
    )
    if "report" in paths:
        page = Path(paths["report"]).absolute()
        create_link_artifact(
            key="predict-video-page", link=page.as_uri(), description=f"The page of {clip}"
        )
        logger.info("written: %s", page)
    for warning in result["quality"]["warnings"]:
        logger.warning("%s", warning)
    logger.info("%s: %s", clip.name, describe_overall(result))
    return result


def tabulate_utterances(result: dict[str, Any]) -> list[dict[str, Any]]:
    """One row an utterance: its time, its words, each label with its interval."""
    rows = []
    for utterance in result["utterances"]:
        row = {
            "start": f"{utterance['start']:.2f}",
            "end": f"{utterance['end']:.2f}",
            "text": utterance["text"],
        }
        for label, predicted in utterance["prediction"].items():
            row[label] = describe_value(predicted)
            spread = "probabilities" if "probabilities" in predicted else "interval"
            row[f"{label} {spread}"] = describe_spread(predicted)
        rows.append(row)
    return rows


def report_quality(result: dict[str, Any]) -> str:
    """The quality report as Markdown: the overall value, the warnings, then every measure."""
    quality = result["quality"]
    measures = {
        **{name: quality[name] for name in quality if name not in ("notes", "warnings")},
        **quality["notes"],
    }
    lines = [
        f"# {Path(result['clip']['path']).name}",
        "",
        f"**Overall:** {describe_overall(result)}",
        "",
        *([f"- {warning}" for warning in quality["warnings"]] or ["No warnings."]),
        "",
        "| measure | value |",
        "|---|---|",
        *(f"| {name.replace('_', ' ')} | {_show(value)} |" for name, value in measures.items()),
        "",
        "| stage | seconds |",
        "|---|---|",
        *(f"| {stage} | {seconds:.1f} |" for stage, seconds in result["seconds"].items()),
    ]
    return "\n".join(lines)


def describe_overall(result: dict[str, Any]) -> str:
    """The clip's values in one line."""
    return ", ".join(
        f"{label} {describe_value(found)} ({describe_spread(found)})"
        for label, found in result["overall"].items()
    )


def _check_before_work(clip: Path, recipe: str, model: str | None, transcript: str | None) -> None:
    """Read all that the user named; a mistake must not cost a minute of work."""
    from pipeline.clip import open_clip

    open_clip(clip)
    # Also loads the recipe once, before three threads ask for it at the same time.
    made = run.open_recipe(recipe)
    run.check_recipe(run.find_model(model), made)
    run.open_transcript(transcript)


def _run_stages(
    clip: str,
    recipe: str,
    model: str | None,
    transcript: str | None,
    store: str,
    report: str | None,
    embed_video: bool,
) -> dict[str, Any]:
    """Sound and picture side by side, then the prediction from what they left in the store."""
    speech = find_words.submit(clip, recipe, store, transcript)
    before = [speech] if "words" in run.open_recipe(recipe).looks else []
    stages = {
        "speech": speech,
        "visual": track.submit(
            *(clip, "visual", recipe, store, transcript), return_state=False, wait_for=before
        ),
        "acoustic": track.submit(clip, "acoustic", recipe, store, transcript),
    }
    wait(list(stages.values()))
    seconds = {name: stage.result() for name, stage in stages.items()}
    result = predict(clip, recipe, model, transcript, store, report, embed_video)
    # What the record itself timed came after these.
    return {**result, "seconds": {**seconds, **result["seconds"]}}


def _keep_in(store: str | None) -> Any:
    """The folder for finished stages: the user's, or one that goes away with the run."""
    if store is not None:
        return nullcontext(store)
    return tempfile.TemporaryDirectory(prefix="rmfn-", ignore_cleanup_errors=True)


def _show(value: Any) -> str:
    if value is None:
        return "does not apply"
    return f"{value:.3g}" if isinstance(value, float) else str(value).replace("|", "\\|")
