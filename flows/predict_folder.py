"""The flow ``predict-folder``: features and predictions of every clip in a folder."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows import run
from flows.batch import Asked
from flows.extract import explain, put_folders_through
from flows.places import TypedText, check_named, check_new, check_path
from flows.predict import USER_ERRORS


@flow(
    name="predict-folder",
    validate_parameters=False,
    persist_result=True,
    result_serializer="json",
)
def predict_folder(
    path: TypedText,
    store: TypedText,
    recipe: TypedText = run.DEFAULT_RECIPE,
    model: TypedText | None = None,
    workers: int | None = None,
    timeout: float | None = None,
    retry_failed: bool = False,
    report: TypedText | None = None,
) -> Any:
    """Predict what is expressed in every video of a folder; a rerun does only what is missing.

    Parameters
    ----------
    path : a clip or a folder of clips, in the serving machine's file system.
    store : the folder in which all that is finished is kept; ``report.json``, ``predictions.csv``
        and ``predictions.parquet`` are written there.
    recipe : name or path of a recipe.
    model : folder of a checkpoint, or the name of a shipped one.
    workers : clips side by side, by default one a core.
    timeout : seconds a clip may take.
    retry_failed : clips that failed before are tried again.
    report : folder for a page of every clip and an index of them; the link
        ``predict-folder-pages`` leads there.

    Returns
    -------
    The report, as ``rmfn batch --predict --json`` writes it. A clip that fails is reported in the
    log and in the table ``predict-folder-clips``, and the others go on; the run fails only if all
    do.
    """
    try:
        places = [check_path(path)]
        chosen = run.find_model(check_named(model, "model") if model not in (None, "") else None)
        pages = check_new(report, "report") if report not in (None, "") else None
        asked = Asked(check_named(recipe, "recipe"), check_new(store, "store"), str(chosen), pages)
        return put_folders_through(
            places, asked, "predict-folder",
            workers=workers, limit=timeout, retry_failed=retry_failed,
        )  # fmt: skip
    except USER_ERRORS as error:
        return explain(error)
