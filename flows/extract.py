"""The flow ``extract-dataset``: the features of a folder of clips into a store, a task a clip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import State, flow, get_run_logger, task, unmapped
from prefect.artifacts import create_table_artifact
from prefect.states import Failed
from prefect.task_runners import ThreadPoolTaskRunner

from flows import run
from flows.batch import extract_clips, list_files
from flows.predict import STAGE, USER_ERRORS, TypedText, check_path, check_text
from pipeline.store import Store

SHOWN = ("path", "status", "words", "face_share", "seconds", "stage", "reason")


@task(name="extract", task_run_name="{path}", **STAGE)
def extract_clip(path: str, recipe: str, store: str) -> Any:
    """Put one clip's stages into the store. Returns its record; a failed state holds one too."""
    record = extract_clips([Path(path)], run.open_recipe(recipe), Store(store))[0]
    if record["status"] == "failed":
        return Failed(message=record["reason"], data=record)
    return record


@flow(
    name="extract-dataset",
    # A clip's own stages already share the cores.
    task_runner=ThreadPoolTaskRunner(max_workers=1),  # type: ignore[arg-type]
    validate_parameters=False,
    persist_result=True,
    result_serializer="json",
)
def extract_dataset(
    videos: TypedText, store: TypedText, recipe: TypedText = run.DEFAULT_RECIPE
) -> Any:
    """Put the features of many clips into a store; a rerun does only what is missing.

    Parameters
    ----------
    videos : a clip or a folder of clips, in the serving machine's file system.
    store : the folder in which features are kept.
    recipe : name or path of a recipe.

    Returns
    -------
    {"clips": a record each, as ``rmfn extract --json`` writes}. A clip that fails is reported in
    its task, in the log and in the table ``extract-dataset-clips``, and the others go on; the run
    fails only if all do.
    """
    try:
        clips = list_files([check_path(videos, "videos")])
        records = extract_all(clips, check_text("recipe", recipe), check_text("store", store))
        if all(record["status"] == "failed" for record in records):
            raise ValueError(f"{videos}: none of the {len(records)} clips could be processed")
    except USER_ERRORS as error:
        return explain(error)
    return {"clips": records}


def extract_all(clips: Sequence[Path], recipe: str, store: str) -> list[dict[str, Any]]:
    """Within a flow: a task a clip, then the table of what became of them.

    Raises
    ------
    RecipeError, WeightsMissing, DatasetError : nothing can be extracted; told before any work.
    """
    run.open_recipe(recipe)
    Store(store)
    if not clips:
        return []
    paths = [str(path) for path in clips]
    states = extract_clip.map(paths, unmapped(recipe), unmapped(store), return_state=True)
    records = [_read_record(path, state) for path, state in zip(paths, states, strict=True)]
    for record in records:
        if record["status"] == "failed":
            get_run_logger().warning("%s", record["reason"])
    create_table_artifact(
        key="extract-dataset-clips",
        table=[{name: record[name] for name in SHOWN} for record in records],
        description=f"What became of {len(records)} clips",
    )
    return records


def explain(error: Exception) -> State:
    """The failed state of a mistake that a person can put right: one line, here and in the log."""
    logger = get_run_logger()
    logger.debug("what failed", exc_info=True)
    logger.error("%s", error)
    return Failed(message=str(error), data=error)


def _read_record(path: str, state: State) -> dict[str, Any]:
    """A clip's record, whatever became of its task."""
    found = state.data if state.is_failed() else state.result()
    if isinstance(found, dict):
        return found
    # Beyond bad input: the disk is full, say. The others may still be lucky.
    record = dict.fromkeys(SHOWN, None)
    return {**record, "path": path, "id": None, "status": "failed", "reason": state.message or ""}
