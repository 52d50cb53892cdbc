"""The search for settings: Optuna over the ranges of the published random searches.

Only the validation error is looked at. Segments of the split "test" are dropped before anything
sees them, so that no choice made here can depend on them.

::

    runs/tuned/
        trials.journal   every trial, as Optuna keeps it: a rerun goes on where a killed one stopped
        search.json      on which data, from which plan
        plan.json        the best settings, for `rmfn train --plan`

The plan as given is measured first: what is drawn has to be better than that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any

from pipeline.errors import DatasetError
from rmfn.baselines import list_settings
from rmfn.dataset import Dataset, Target, find_targets, hash_dataset
from rmfn.plans import save_plan
from rmfn.runs import begin_or_go_on
from rmfn.train_dataset import Plan, cross_validate_dataset, train_dataset
from rmfn.unseen import OnProgress

if TYPE_CHECKING:
    import optuna

JOURNAL, SEARCH, PLAN = "trials.journal", "search.json", "plan.json"
STUDY, GIVEN = "rmfn", "given"
FOLDS = 3

# Ranges of the public searches for MFN (its test_mosi.py), whose LSTMs RMFN shares.
LANGUAGE_UNITS = (32, 64, 88, 128, 156, 256)
OTHER_UNITS = (8, 16, 32, 48, 64, 80)
BATCHES = (32, 64, 128, 256)
RATES = (1e-3, 2e-3, 5e-3, 8e-3, 1e-2)
WIDTHS = (32, 64, 128, 256)
DROPOUTS = (0.0, 0.2, 0.5, 0.7)
# What small data sets need beside those.
DECAYS = (0.0, 1e-4, 1e-2, 1e-1)
INPUT_DROPOUTS = (0.0, 0.2, 0.5)
# RMFN's own; a width of 0 is an affine map.
MODEL_RANGES: dict[str, tuple[Any, ...]] = {
    "head": WIDTHS,
    "dropout": DROPOUTS,
    "input_dropout": INPUT_DROPOUTS,
    "stages": (1, 2, 3, 4),
    "fuse": (64, 128, 256, 300, 400),
    "summary": WIDTHS,
    "map_hidden": (0, *WIDTHS),
    "summarize_hidden": (0, *WIDTHS),
    "attention_scale": ("literal", "mean1"),
    "attention_gain": (1.0, "learned"),
    # of the models beside it
    "attentions": (1, 2, 3, 4),
    "attention_hidden": WIDTHS,
    "reduce": WIDTHS,
    "memory": (64, 128, 256, 300, 400),
    "update_hidden": WIDTHS,
    "gate_hidden": WIDTHS,
}
TRAINING_RANGES: dict[str, tuple[Any, ...]] = {
    "batch": BATCHES,
    "lr": RATES,
    "weight_decay": DECAYS,
}
HIDDEN = "hidden."  # before a modality's name


@dataclass(frozen=True)
class Trial:
    """One setting that was tried.

    Attributes
    ----------
    number : from 1, of those that came to an end; 0 is the plan as given.
    error : of the validation (``measure_error``); None if the training failed.
    settings : {name: value} as drawn (``draw_settings``).
    seconds : wall time.
    failed : why, if it did.
    """

    number: int
    error: float | None
    settings: dict[str, Any]
    seconds: float
    failed: str = ""


@dataclass(frozen=True)
class Tuned:
    """What a search found.

    Attributes
    ----------
    plan : the best settings, as one would train with them.
    best : the trial that they are of.
    given : what the plan reaches as it was given.
    trials : all that were drawn, the best first.
    how : on what the error was measured.
    """

    plan: Plan
    best: Trial
    given: Trial
    trials: tuple[Trial, ...]
    how: str


def tune(
    dataset: Dataset,
    out: str | Path,
    trials: int,
    plan: Plan | None = None,
    timeout: float | None = None,
    on_trial: Callable[[Trial], None] | None = None,
    on_progress: OnProgress | None = None,
) -> Tuned:
    """Search for the settings with the lowest validation error.

    Parameters
    ----------
    dataset : its split "test" is dropped first. With splits "train" and "valid" and without
        ``plan.folds`` every setting is trained on the one and scored on the other; otherwise by
        cross-validation over what is left.
    out : the search's folder; if there was one before, with the same data and plan, it goes on.
    trials : how many settings shall be drawn in all, those of earlier runs counted.
    plan : what is not searched for: model, targets, modalities, seeds, epochs, folds.
    timeout : seconds after which no new trial is begun.
    on_trial : called after each, the plan as given first.

    Raises
    ------
    DatasetError : nothing but test is there, ``out`` holds another search, or no trial succeeded.
    """
    import optuna

    seen = drop_test(dataset)
    plan = plan or Plan()
    targets = plan.targets or find_targets(seen, list(seen.labels))
    plan = replace(plan, targets=targets)
    folder = Path(out)
    folds = _count_folds(seen, plan)
    _begin(folder, seen, plan, folds)
    study = _open_study(folder)

    def measure(plan: Plan) -> float:
        return measure_error(_validate(seen, plan, folds, on_progress), targets)

    def objective(trial: optuna.Trial) -> float:
        drawn = apply_settings(plan, draw_settings(trial, plan, seen))
        try:
            return measure(drawn)
        except DatasetError:
            raise
        except ValueError as e:
            # The loss of a wild setting may become infinite; that is an answer, too.
            trial.set_user_attr("failed", str(e))
            raise optuna.TrialPruned(str(e)) from e

    def told(*_: Any) -> None:
        # After every trial, so that a killed search leaves what it found.
        _save_best(study, plan, folder)
        if on_trial is not None:
            on_trial([_describe_given(study), *_list_finished(study)][-1])

    if GIVEN not in study.user_attrs:
        began, error, failed = perf_counter(), None, ""
        try:
            error = measure(plan)
        except DatasetError:
            raise
        except ValueError as e:
            failed = str(e)
        seconds = perf_counter() - began
        study.set_user_attr(GIVEN, {"error": error, "seconds": seconds, "failed": failed})
        told()
    left = trials - len(_list_finished(study))
    if left > 0:
        study.optimize(objective, n_trials=left, timeout=timeout, callbacks=[told])
    best, found = _save_best(study, plan, folder)
    if best.error is None:
        raise DatasetError(f"{folder}: no trial has succeeded: {best.failed}")
    done = sorted(
        _list_finished(study), key=lambda trial: math.inf if trial.error is None else trial.error
    )
    how = (
        f"{folds}-fold cross-validation, {len(seen)} segments"
        if folds
        else f"trained on train, scored on valid, {len(seen.of_split('valid'))} segments"
    )
    how = f"{how}, seeds {' '.join(map(str, plan.seeds))}"
    return Tuned(found, best, _describe_given(study), tuple(done), how)


def count_trials(out: str | Path) -> int:
    """How many settings a search has tried to the end; 0 if there is none."""
    return len(_list_finished(_open_study(Path(out)))) if (Path(out) / JOURNAL).is_file() else 0


def drop_test(dataset: Dataset) -> Dataset:
    """The data set without its split "test".

    Raises
    ------
    DatasetError : nothing else is there.
    """
    rows = [n for n, split in enumerate(dataset.splits) if split != "test"]
    if not rows:
        raise DatasetError(
            f"{dataset.name}: all segments are of the split test, and settings are not chosen on it"
        )
    return dataset.take(rows)


def draw_settings(trial: optuna.Trial, plan: Plan, dataset: Dataset) -> dict[str, Any]:
    """{name: value} of all that the plan's model has."""
    modalities = plan.modalities or [m for m, names in dataset.columns.items() if names]
    ranges: dict[str, Sequence[Any]] = {
        f"{HIDDEN}{m}": LANGUAGE_UNITS if m == "language" else OTHER_UNITS for m in modalities
    }
    known = list_settings(plan.model)
    ranges |= {name: values for name, values in MODEL_RANGES.items() if name in known}
    ranges |= TRAINING_RANGES
    return {name: trial.suggest_categorical(name, values) for name, values in ranges.items()}


def apply_settings(plan: Plan, drawn: dict[str, Any]) -> Plan:
    """The plan with what `draw_settings` gave."""
    return replace(
        plan,
        hidden={n.removeprefix(HIDDEN): v for n, v in drawn.items() if n.startswith(HIDDEN)},
        settings=replace(plan.settings, **{n: v for n, v in drawn.items() if n in TRAINING_RANGES}),
        model_settings={
            **plan.model_settings,
            **{n: v for n, v in drawn.items() if n in MODEL_RANGES},
        },
    )


def measure_error(report: dict[str, Any], targets: Sequence[Target]) -> float:
    """The mean over the targets of the mean absolute error, or of the share of wrong classes."""
    errors = [
        report[target.name]["mae"]
        if target.kind == "regression"
        else 1 - report[target.name]["accuracy"]
        for target in targets
        if target.name in report
    ]
    return sum(errors) / len(errors)


def _validate(
    dataset: Dataset, plan: Plan, folds: int, on_progress: OnProgress | None
) -> dict[str, Any]:
    """{target: metrics} on segments that the models were not trained on."""
    if folds:
        return cross_validate_dataset(dataset, replace(plan, folds=folds, rotate=True), on_progress)
    with TemporaryDirectory(prefix="rmfn-") as scratch:
        plan = replace(plan, folds=0, rotate=False)
        return train_dataset(dataset, plan, Path(scratch) / "model", on_progress).metrics["valid"]


def _count_folds(dataset: Dataset, plan: Plan) -> int:
    given = dataset.of_split("train") and dataset.of_split("valid")
    return plan.folds or (0 if given else FOLDS)


def _begin(folder: Path, dataset: Dataset, plan: Plan, folds: int) -> None:
    """Say what is searched, or see that it is what was searched here before."""
    wanted = {"data": hash_dataset(dataset), "folds": folds, "plan": asdict(plan)}
    begin_or_go_on(folder / SEARCH, wanted, "a search", "is no search")


def _open_study(folder: Path) -> optuna.Study:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
    study = optuna.create_study(storage=storage, study_name=STUDY, load_if_exists=True)
    # A search that goes on must not draw again what it drew at its beginning.
    study.sampler = optuna.samplers.TPESampler(seed=len(study.trials), multivariate=True)
    return study


def _list_finished(study: optuna.Study) -> list[Trial]:
    """Those that ran to their end; what a kill left is not counted."""
    from optuna.trial import TrialState

    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    return [
        Trial(
            number,
            trial.value,
            dict(trial.params),
            trial.duration.total_seconds() if trial.duration else 0.0,
            trial.user_attrs.get("failed", ""),
        )
        for number, trial in enumerate(ended, 1)
    ]


def _describe_given(study: optuna.Study) -> Trial:
    return Trial(0, settings={}, **study.user_attrs[GIVEN])


def _save_best(study: optuna.Study, plan: Plan, folder: Path) -> tuple[Trial, Plan]:
    """Write down the plan with the best settings, which may be as it was given."""
    tried = [_describe_given(study), *_list_finished(study)]
    errors = [math.inf if trial.error is None else trial.error for trial in tried]
    best = tried[errors.index(min(errors))]
    found = apply_settings(plan, best.settings) if best.number else plan
    save_plan(found, folder / PLAN)
    return best, found
