"""Every system of the paper's tables side by side: the same data, splits, validation rule, seeds,
scaling and metrics for all.

::

    runs/compare/
        question.json                data and plan
        rmfn/0.json                  one system, one seed: its predictions and what they cost
        table.md, .csv, .json        all of it
        plot.png
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.isolation import Done
from pipeline.records import to_json
from rmfn.baselines import MODELS, find_refusal, make_config
from rmfn.comparison import GUESS, Comparison, Scored, adjust_rows, make_row, score_guess
from rmfn.comparison_plot import draw
from rmfn.comparison_tables import tabulate, write_csv
from rmfn.dataset import Dataset, find_targets
from rmfn.job import Job, Plan, choose_settings, configure, prepare
from rmfn.runs import begin_or_go_on, write_whole
from rmfn.score_system import score_system
from rmfn.splits import SPLITS
from rmfn.systems import REFERENCE, TITLES, choose_systems
from rmfn.tasks import find_constants, read_labels, score_constants
from rmfn.workers import run_tasks

QUESTION, TABLE, FORMAT = "question.json", "table.json", "rmfn-compare/1"
FOLDS = 5

Task = tuple[str, int]  # a system and a seed


@dataclass(frozen=True)
class Told:
    """One system and seed that was just finished.

    Attributes
    ----------
    seconds : it took, by the clock.
    errors : {target: mean absolute error, or accuracy of classes}.
    failed : why there are none.
    done, total : how many are finished.
    left : seconds that the rest may take (`estimate_rest`), None before anything is known.
    untimed : systems that are still to come for the first time; the estimate knows nothing of them.
    """

    model: str
    seed: int
    seconds: float
    errors: dict[str, float]
    failed: str
    done: int
    total: int
    left: float | None
    untimed: int


def compare(
    dataset: Dataset,
    out: str | Path,
    models: Sequence[str] = ("all",),
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    plan: Plan | None = None,
    workers: int = 1,
    on_done: Callable[[Told], None] | None = None,
) -> Comparison:
    """Train and score every system with every seed; what is in ``out`` already is not done again.

    With splits "train", "valid" and "test", and without ``plan.folds``, the protocol is the
    official one: learn from train, stop on valid, score on test. Otherwise it is cross-validation
    by speaker or video over train and valid, or over everything where there is no split "train".

    Parameters
    ----------
    models : of ``rmfn.baselines.MODELS``, or groups of ``rmfn.systems``.
    plan : the settings of all systems; those that a system does not have are left out for it.
    workers : processes side by side, one thread each.
    on_done : called after each system and seed.

    Returns
    -------
    A row for every system: also for one that is not for these data, or that failed, with the
    reason.

    Raises
    ------
    DatasetError : ``out`` holds the answers to another question; or the data are not to be learned
        from.
    ValueError : no such system, or no seed.
    """
    plan = plan or Plan()
    names = choose_systems(models, tuple(MODELS))
    if not seeds:
        raise ValueError("say at least one seed")
    dataset, folds, protocol = choose_protocol(dataset, plan)
    targets = plan.targets or find_targets(dataset, list(dataset.labels))
    plan = replace(plan, targets=tuple(targets), folds=folds, rotate=bool(folds))
    job = prepare(dataset, choose_settings(plan, REFERENCE, 0))
    folder = Path(out)
    _begin(folder, job.hash, plan)
    twins, reasons = {}, {}
    for name in names:
        if reason := find_refusal(name, job.dataset.videos, job.dataset.speakers, [*job.columns]):
            reasons[name] = reason
        else:
            twins[name] = find_twin(name, job)
    # All systems once before any twice: what is there early is a whole table.
    tasks = list(dict.fromkeys((twin, seed) for seed in seeds for twin in twins.values()))
    failed = _run(folder, dataset, plan, tasks, workers, on_done)
    scored = job.dataset if folds else dataset.take(dataset.of_split("test"))
    found = Scored(scored, tuple(targets), read_labels(scored, targets))
    runs: dict[str, dict[int, Any]] = {}
    for name, twin in twins.items():
        each = ((seed, _read(folder, (twin, seed))) for seed in seeds)
        runs[name] = {seed: run for seed, run in each if run is not None}
        lost = [f"seed {seed}: {failed[twin, seed]}" for seed in seeds if (twin, seed) in failed]
        if lost:
            reasons[name] = "failed: " + "; ".join(lost)
    same = [name for name, twin in twins.items() if twin == find_twin(REFERENCE, job)]
    reference = REFERENCE if REFERENCE in same else (same or [""])[0]
    rows = adjust_rows(
        [
            make_row(name, runs.get(name, {}), found, runs.get(reference, {}), reasons.get(name))
            for name in names
        ],
        targets,
    )
    learned = job.labels if folds else job.labels[job.train]
    result = Comparison(
        dataset.name,
        "mosi" in f"{dataset.name} {dataset.source}".lower(),
        protocol,
        tuple(targets),
        TITLES.get(reference, reference),
        tuple(rows),
        {
            target.name: {
                **score_constants(
                    find_constants(learned[:, n], target), found.labels[:, n], target
                ),
                GUESS: score_guess(learned[:, n], found.labels[:, n], target),
            }
            for n, target in enumerate(targets)
        },
    )
    write_whole(folder / "table.md", tabulate(result).encode())
    write_whole(folder / "table.csv", write_csv(result).encode())
    write_whole(folder / TABLE, (to_json(asdict(result)) + "\n").encode())
    write_whole(folder / "plot.png", draw(result))
    return result


def choose_protocol(dataset: Dataset, plan: Plan) -> tuple[Dataset, int, str]:
    """The segments that take part, the folds (0 = the official splits), and a line for people."""
    counts = {split: len(dataset.of_split(split)) for split in SPLITS}
    if all(counts.values()) and not plan.folds:
        how = "official splits: {train} segments to learn from, {valid} to stop on, {test} scored"
        return dataset, 0, how.format(**counts)
    folds = plan.folds or FOLDS
    if counts["train"]:
        dataset = dataset.take([n for n, split in enumerate(dataset.splits) if split != "test"])
    dataset = replace(dataset, splits=("",) * len(dataset))
    by = "speaker" if all(dataset.speakers) else "video"
    return dataset, folds, (f"{folds}-fold cross-validation by {by} over {len(dataset)} segments")


def find_twin(model: str, job: Job) -> str:
    """The first of ``MODELS`` that is this very model under the plan: RMFN is RMFN with K = 3."""
    made = _configure(model, job)
    return next(
        name
        for name in MODELS
        if name == model or (made is not None and _configure(name, job) == made)
    )


def _configure(model: str, job: Job) -> tuple[type, Any] | None:
    """Two models with the same are the same; None if it cannot be made so."""
    own = replace(job, plan=choose_settings(job.plan, model, 0))
    try:
        return MODELS[model][1], make_config(model, **configure(own))
    except ValueError:
        return None  # told when it is trained


def _run(
    folder: Path,
    dataset: Dataset,
    plan: Plan,
    tasks: Sequence[Task],
    workers: int,
    on_done: Callable[[Told], None] | None,
) -> dict[Task, str]:
    """Do what is not done yet; returns what failed, and why."""
    times = {task: run["seconds"] for task in tasks if (run := _read(folder, task)) is not None}
    failed: dict[Task, str] = {}
    left = [task for task in tasks if task not in times]

    def done(what: Done) -> None:
        task: Task = what.task
        model, seed = task
        left.remove(task)
        if what.failed:
            failed[task] = what.failed
        else:
            times[task] = what.result["seconds"]
            text = json.dumps(what.result) + "\n"
            write_whole(_find_file(folder, task), text.encode())
        if on_done is not None:
            rest, untimed = estimate_rest(times, left, workers)
            errors = {} if what.failed else what.result["errors"]
            count = len(tasks) - len(left)
            said = times.get(task, 0.0), errors, what.failed
            on_done(Told(model, seed, *said, count, len(tasks), rest, untimed))

    run_tasks(score_system, (dataset, plan), list(left), workers, done)
    return failed


def estimate_rest(
    times: Mapping[Task, float], left: Sequence[Task], workers: int
) -> tuple[float | None, int]:
    """Seconds that the rest may take, and how many systems in it were never timed.

    A system takes what it took with other seeds on the average; one that was never timed what all
    did on the average, which may be far off.
    """
    known: dict[str, list[float]] = {}
    for (model, _), seconds in times.items():
        known.setdefault(model, []).append(seconds)
    untimed = len({model for model, _ in left} - known.keys())
    if not known:
        return (None if left else 0.0), untimed
    means = {model: float(np.mean(found)) for model, found in known.items()}
    usual = float(np.mean(list(means.values())))
    return sum(means.get(model, usual) for model, _ in left) / max(workers, 1), untimed


def _find_file(folder: Path, task: Task) -> Path:
    return folder / task[0] / f"{task[1]}.json"


def _read(folder: Path, task: Task) -> dict[str, Any] | None:
    file = _find_file(folder, task)
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def _begin(folder: Path, data: str, plan: Plan) -> None:
    """Say what is asked, or see that it is what was asked here before."""
    asked = asdict(replace(plan, seeds=(), model=""))  # these may be added to later
    wanted = {"format": FORMAT, "data": data, "plan": asked}
    begin_or_go_on(folder / QUESTION, wanted, "answers", "holds something else")
