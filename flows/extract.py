"""The flow ``extract-dataset``: the features of folders of clips into a store.

What it and ``predict-folder`` have in common is here: a batch as one task, whose workers are
processes of their own, with a progress artifact while it runs and a table when it ends.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from prefect import State, flow, get_run_logger, task
from prefect.artifacts import (
    create_link_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.states import Failed

from flows import run
from flows.batch import Asked, Told, run_batch
from flows.batch_command import describe_record, describe_told, tabulate_clips
from flows.batch_files import write_batch
from flows.places import TypedText, check_named, check_new, check_path
from flows.predict import STAGE, USER_ERRORS
from pipeline.store import Store

TELL_EVERY = 5.0  # s between two updates of the progress artifact


@task(name="batch", **STAGE)
def put_all_through(
    places: Sequence[str], asked: Asked, flow_name: str, **options: Any
) -> dict[str, Any]:
    """Put the clips through and keep the report. Returns it; a second try does what is missing."""
    report = run_batch(places, asked, on_told=_show_progress(flow_name), **options)
    write_batch(Store(asked.store), report, asked.pages)
    return report


@flow(
    name="extract-dataset",
    validate_parameters=False,
    persist_result=True,
    result_serializer="json",
)
def extract_dataset(
    videos: TypedText,
    store: TypedText,
    recipe: TypedText = run.DEFAULT_RECIPE,
    workers: int | None = None,
    timeout: float | None = None,
    retry_failed: bool = False,
) -> Any:
    """Put the features of many clips into a store; a rerun does only what is missing.

    Parameters
    ----------
    videos : a clip or a folder of clips, in the serving machine's file system.
    store : the folder in which features are kept.
    recipe : name or path of a recipe.
    workers : clips side by side, by default one a core.
    timeout : seconds a clip may take.
    retry_failed : clips that failed before are tried again.

    Returns
    -------
    The report, as ``rmfn extract --json`` writes it. A clip that fails is reported in the log and
    in the table ``extract-dataset-clips``, and the others go on; the run fails only if all do.
    """
    try:
        places = [check_path(videos, "videos")]
        asked = Asked(check_named(recipe, "recipe"), check_new(store, "store"))
        return put_folders_through(
            places, asked, "extract-dataset",
            workers=workers, limit=timeout, retry_failed=retry_failed,
        )  # fmt: skip
    except USER_ERRORS as error:
        return explain(error)


def put_folders_through(
    places: Sequence[Path], asked: Asked, flow_name: str, **options: Any
) -> dict[str, Any]:
    """Within a flow: the batch, then the table of what became of the clips.

    Parameters
    ----------
    options : of `flows.batch.run_batch`.

    Raises
    ------
    ValueError : there are no clips, none could be processed, recipe or model cannot be used.
    OSError, WeightsMissing : nothing can be done as things are.
    """
    report = put_all_through([str(place) for place in places], asked, flow_name, **options)
    clips = report["clips"]
    create_table_artifact(
        key=f"{flow_name}-clips",
        table=tabulate_clips(clips),
        description=f"What became of {len(clips)} clips",
    )
    if asked.pages is not None:
        index = Path(asked.pages).absolute() / "index.html"
        create_link_artifact(
            key=f"{flow_name}-pages", link=index.as_uri(), description="The pages of the clips"
        )
    if all(clip["status"] == "failed" for clip in clips):
        where = ", ".join(map(str, places[:3]))
        raise ValueError(f"{where}: none of the {len(clips)} clips could be processed")
    return report


def extract_all(clips: Sequence[Path], recipe: str, store: str) -> list[dict[str, Any]]:
    """Within a flow: the records of clips whose features another step of the flow needs."""
    if not clips:
        return []
    return put_folders_through(clips, Asked(recipe, store), "extract-dataset")["clips"]


def explain(error: Exception) -> State:
    """The failed state of a mistake that a person can put right: one line, here and in the log."""
    logger = get_run_logger()
    logger.debug("what failed", exc_info=True)
    logger.error("%s", error)
    return Failed(message=str(error), data=error)


def _show_progress(flow_name: str) -> Any:
    """Tell the log of every clip, and an artifact how far it is."""
    logger = get_run_logger()
    artifact = create_progress_artifact(
        progress=0.0, key=f"{flow_name}-progress", description="looking for videos"
    )
    last = 0.0

    def tell(told: Told) -> None:
        nonlocal last
        if told.record is not None and told.record["status"] != "reused":
            log = logger.warning if told.record["status"] == "failed" else logger.info
            log("%s", describe_record(told.record))
        if time.monotonic() - last > TELL_EVERY or told.finished == told.total:
            last = time.monotonic()
            done = f"{told.finished} of {told.total} clips, {describe_told(told)}"
            update_progress_artifact(
                cast(UUID, artifact), 100 * told.finished / told.total, description=done
            )

    return tell
