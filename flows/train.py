"""The flow ``train-model``: from a data set, or a store with labels, to a checkpoint folder."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from flows.arguments import open_limits
from flows.collect import choose_labels, open_data
from flows.extract import explain
from flows.places import (
    TypedText,
    check_new,
    check_path,
    check_place,
    check_text,
    check_texts,
)
from flows.predict import USER_ERRORS
from pipeline.records import to_json


@task(name="train", cache_policy=NO_CACHE, persist_result=False)
def train(
    out: str,
    sources: dict[str, Any],
    targets: list[str],
    plan: str | None,
    model_kind: str | None,
    keep_adapted: bool,
    quality: str | None,
    reject: list[str],
    replace: bool,
) -> dict[str, Any]:
    """Train into ``out``, or go on with what lies unfinished there. Returns what was measured."""
    from rmfn.card import describe
    from rmfn.checkpoint import refuse_taken
    from rmfn.plans import check_plan, load_plan
    from rmfn.targets import find_scales, name_columns
    from rmfn.train_dataset import Plan, train_dataset

    refuse_taken(out, resume=True, replace=replace)
    made = load_plan(plan) if plan else Plan()
    made = dataclasses.replace(made, model=model_kind or made.model)
    check_plan(made)
    dataset = open_data(
        **sources,
        columns=name_columns(targets),
        keep_adapted=keep_adapted,
        limits=open_limits(quality, reject),
        targets=find_scales(targets, made.targets) if "store" in sources else (),
    )
    made = dataclasses.replace(made, targets=choose_labels(dataset, targets, made.targets))
    manifest = train_dataset(dataset, made, out, log_progress(), resume=True)
    create_markdown_artifact(
        key="train-model-metrics",
        markdown=f"# {manifest.name}\n\nTrained on {manifest.trained_on}.\n\n{describe(manifest)}",
        description=f"What was measured of {out}",
    )
    return json.loads(to_json(manifest.metrics))


@flow(
    name="train-model",
    validate_parameters=False,
    persist_result=True,
    result_serializer="json",
)
def train_model(
    out: TypedText,
    data: TypedText | None = None,
    store: TypedText | None = None,
    labels: TypedText | None = None,
    target: TypedText | list[str] | None = None,
    plan: TypedText | None = None,
    model_kind: TypedText | None = None,
    keep_adapted: bool = False,
    quality: TypedText | None = None,
    reject: TypedText | list[str] | None = None,
    replace: bool = False,
) -> Any:
    """Train a model on labelled segments; a run that was killed goes on where it stopped.

    Parameters
    ----------
    out : the model's folder.
    data : a data set, such as ``rmfn import`` makes; or, in its place,
    store, labels : the features of ``rmfn extract`` (or ``extract-dataset``) and a labels.csv.
    target : the label to learn, or a list of them; by default the only one there is. Its kind or
        scale may follow: ``mood:-3:3``, ``happy:binary``, ``tone:classes``; after the
        scale what A2 and F1 count as positive: ``mood:1:5:3`` is 3 and more.
    plan : a file of settings, such as ``rmfn tune`` writes.
    model_kind : rmfn (the default), rmfn-r1 to rmfn-r4, rmfn-no-mfp, rmfn-no-highlight,
        rmfn-literal, or any other system of ``rmfn compare``.
    keep_adapted : of a store, read the columns minilm-adapted too, whose encoder knows the labels
        of CMU-MOSI's train and dev segments.
    quality, reject : limits on the quality of a store's segments, as of ``rmfn train``: a file, and
        what is said otherwise, such as ``["face_share=0.5"]``.
    replace : a finished model in ``out``, and all that lies beside it there, may go; else it is
        refused.

    Returns
    -------
    {"model": its folder, "metrics": {where: {label: metrics}}}, which the artifact
    ``train-model-metrics`` shows.
    """
    try:
        named = {"data": data, "store": store, "labels": labels, "quality": quality}
        sources = {
            name: check_place(value, name)
            for name, value in named.items()
            if value not in (None, "")
        }
        limits = sources.pop("quality", None)
        targets, rejected = check_texts("target", target), check_texts("reject", reject)
        file = str(check_path(plan, "plan")) if plan else None
        kind = check_text("model_kind", model_kind) if model_kind else None
        folder = check_new(out, "out")
        if not isinstance(replace, bool):  # "false" is text, and would be a yes
            raise ValueError(f"parameter replace must be true or false, got {replace!r}")
        metrics = train(
            *(folder, sources, targets, file, kind, keep_adapted, limits, rejected, replace)
        )
        return {"model": folder, "metrics": metrics}
    except USER_ERRORS as error:
        return explain(error)


def log_progress() -> Callable[[Any], None]:
    """A line in the run's log at the first epoch of every training, and after each tenth; and when
    an encoder begins to be adapted."""
    logger = get_run_logger()

    def told(now: Any) -> None:
        number = now.epoch.number if now.epoch else now.step
        if number == 1 or (now.epoch and number % 10 == 0):
            logger.info("training %d of %d, %s", now.run + 1, now.runs, now.describe())

    return told
