"""The flow ``retrain``: new videos with labels, a candidate, a comparison, the better one stays."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import ThreadPoolTaskRunner

from flows import run
from flows.collect import find_labelled, retrain_model
from flows.extract import explain, extract_all
from flows.places import TypedText, check_named, check_new, check_path, check_texts
from flows.predict import USER_ERRORS
from flows.train import log_progress


@task(name="train-and-compare", cache_policy=NO_CACHE, persist_result=False)
def train_and_compare(
    videos: str,
    labels: str | None,
    store: str,
    records: list[dict[str, Any]],
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Train the next version on what was extracted and decide on it. Returns the decision."""
    from rmfn.plans import load_plan
    from rmfn.retrain import Rule

    return retrain_model(
        find_labelled(videos, labels, settings["into"], settings["targets"]),
        records,
        store,
        settings["recipe"],
        settings["into"],
        settings["targets"],
        load_plan(settings["plan"]) if settings["plan"] else None,
        Rule(settings["accept"], settings["margin"]),
        log_progress(),
        settings["keep_adapted"],
    )


@flow(
    name="retrain",
    # A clip's own stages already share the cores.
    task_runner=ThreadPoolTaskRunner(max_workers=1),  # type: ignore[arg-type]
    validate_parameters=False,
    persist_result=True,
    result_serializer="json",
)
def retrain(
    videos: TypedText,
    store: TypedText,
    into: TypedText,
    labels: TypedText | None = None,
    recipe: TypedText = run.DEFAULT_RECIPE,
    target: TypedText | list[str] | None = None,
    plan: TypedText | None = None,
    accept: TypedText = "better",
    margin: float | None = None,
    keep_adapted: bool = False,
) -> Any:
    """Train a model again with new videos, and use the new version only if it is the better one.

    Parameters
    ----------
    videos : folder of clips, in the serving machine's file system.
    store : the folder in which features are kept; what is missing is extracted.
    into : the folder of the model's versions; ``rmfn predict --model`` takes it.
    labels : by default ``labels.csv`` in the folder of clips.
    recipe : name or path of a recipe.
    target : the label to learn, or a list of them; by default those of the version in use.
    plan : a file of settings, such as ``rmfn tune`` writes.
    accept : "better" takes the candidate if the whole 95 % interval of the paired difference in
        error, on segments from which no version learns, is below 0; "not-worse" if it is below
        ``margin``.
    margin : in the unit of the error; by default a hundredth of the label's scale.
    keep_adapted : read the columns minilm-adapted too, whose encoder knows the labels of CMU-MOSI's
        train and dev segments; a version in use that reads them keeps them in any case.

    Returns
    -------
    The decision, as the version's ``decision.json`` holds it, and ``clips``, a record each. Two
    artifacts go with the run: ``retrain-decision`` and ``extract-dataset-clips``. A clip that fails
    is reported, and the others go on.
    """
    from rmfn.plans import check_plan, load_plan
    from rmfn.retrain import Rule, describe_decision

    try:
        Rule(accept, margin)  # type: ignore[arg-type]  # refuses others, before any work
        folder = check_path(videos, "videos")
        file = str(check_path(labels, "labels")) if labels else None
        keep, recipe = check_new(store, "store"), check_named(recipe, "recipe")
        into = check_new(into, "into")
        targets, given = check_texts("target", target), check_path(plan, "plan") if plan else None
        if given:
            check_plan(load_plan(given))  # now, not after the extraction
        settings = {
            "recipe": recipe,
            "into": into,
            "targets": targets,
            "plan": str(given) if given else None,
            "accept": accept,
            "margin": margin,
            "keep_adapted": keep_adapted,
        }
        clips = find_labelled(folder, file, into, targets).clips
        records = extract_all(clips, recipe, keep)
        decision = train_and_compare(str(folder), file, keep, records, settings)
    except USER_ERRORS as error:
        return explain(error)
    create_markdown_artifact(
        key="retrain-decision",
        markdown=describe_decision(decision),
        description=f"Version {decision['version']} of {settings['into']}",
    )
    get_run_logger().info("%s: %s", decision["version"], decision["why"])
    return {**decision, "clips": records}
