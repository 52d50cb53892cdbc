"""The paper's own questions: how many stages, is fusion needed, is HIGHLIGHT, is MARN as good?

All models are trained and scored under one protocol with the settings of one plan, over several
seeds, with the best constants and the paper's own numbers beside them.

::

    runs/ablation/
        question.json             data, protocol, plan
        rmfn-r3/0.json            one model, one seed: its metrics
        table.json, table.md      all of it
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from pipeline.errors import DatasetError
from rmfn.dataset import Dataset, Target, find_targets, hash_dataset
from rmfn.evaluate import evaluate_dataset
from rmfn.metrics import name_rounded
from rmfn.runs import write_whole
from rmfn.splits import SPLITS
from rmfn.tasks import find_threshold
from rmfn.train_dataset import OnProgress, Plan, Progress, cross_validate_dataset, train_dataset
from rmfn.tune import list_settings

QUESTIONS = (
    "rmfn-r1",
    "rmfn-r2",
    "rmfn-r3",
    "rmfn-r4",
    "rmfn-no-mfp",
    "rmfn-no-highlight",
    "marn",
)
TITLES = {
    "rmfn": "RMFN",
    "rmfn-r1": "RMFN, K = 1",
    "rmfn-r2": "RMFN, K = 2",
    "rmfn-r3": "RMFN, K = 3",
    "rmfn-r4": "RMFN, K = 4",
    "rmfn-no-mfp": "RMFN, no MFP",
    "rmfn-no-highlight": "RMFN, no HIGHLIGHT",
    "marn": "MARN",
    "mfn": "MFN",
    "ef-lstm": "EF-LSTM",
}
# Liang et al. 2018, tables 1 and 2: CMU-MOSI, its test split; a2, f1 and a7 as fractions.
PUBLISHED: dict[str, dict[str, float]] = {
    "rmfn-r1": {"a2": 0.755, "f1": 0.755, "a7": 0.351, "mae": 0.997, "corr": 0.653},
    "rmfn-r2": {"a2": 0.764, "f1": 0.764, "a7": 0.345, "mae": 0.967, "corr": 0.642},
    "rmfn-r3": {"a2": 0.784, "f1": 0.780, "a7": 0.383, "mae": 0.922, "corr": 0.681},
    "rmfn-r4": {"a2": 0.760, "f1": 0.760, "a7": 0.360, "mae": 0.999, "corr": 0.640},
    "rmfn-no-mfp": {"a2": 0.765, "f1": 0.765, "a7": 0.308, "mae": 0.998, "corr": 0.582},
    "rmfn-no-highlight": {"a2": 0.779, "f1": 0.779, "a7": 0.359, "mae": 0.952, "corr": 0.666},
    "marn": {"a2": 0.771, "f1": 0.770, "a7": 0.347, "mae": 0.968, "corr": 0.625},
}
PAPER = "CMU-MOSI's test split, GloVe, Facet and COVAREP features"

QUESTION = "question.json"
FOLDS = 5


@dataclass(frozen=True)
class Answer:
    """One model under the protocol.

    Attributes
    ----------
    model : its name.
    seeds : {seed: {target: metrics}}
    """

    model: str
    seeds: dict[int, dict[str, Any]]

    def spread(self, target: str, metric: str) -> tuple[float, float] | None:
        """Mean and standard deviation (ddof 1) over the seeds; None if it has no such metric."""
        found = [report[target].get(metric) for report in self.seeds.values() if target in report]
        values = np.array([value for value in found if value is not None and value == value])
        if not len(values):
            return None
        return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else math.nan


@dataclass(frozen=True)
class Answers:
    """What was found.

    Attributes
    ----------
    protocol : a line for people.
    targets : what was predicted.
    models : in the order asked.
    constants : {target: {name: metrics}} of who looks at nothing.
    """

    data: str
    protocol: str
    targets: tuple[Target, ...]
    models: tuple[Answer, ...]
    constants: dict[str, dict[str, Any]]


def ablate(
    dataset: Dataset,
    out: str | Path,
    models: Sequence[str] = QUESTIONS,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    plan: Plan | None = None,
    on_progress: Callable[[str, int, Progress], None] | None = None,
) -> Answers:
    """Train and score every model with every seed; what is in ``out`` already is not done again.

    With splits "train", "valid" and "test", and without ``plan.folds``, the protocol is the
    official one: learn from train, stop on valid, score on test. Otherwise it is cross-validation
    by speaker or video over train and valid, or over everything where there is no split "train".

    Parameters
    ----------
    plan : the settings of all models; those that a model does not have are left out for it.

    Raises
    ------
    DatasetError : ``out`` holds the answers to another question; or as `train_dataset`.
    ValueError : no such model, or no seed.
    """
    plan = plan or Plan()
    if not seeds:
        raise ValueError("say at least one seed")
    for model in models:
        list_settings(model)  # refuses an unknown one, before any work
    dataset, folds, protocol = choose_protocol(dataset, plan)
    targets = plan.targets or find_targets(dataset, list(dataset.labels))
    plan = replace(plan, targets=targets)
    folder = Path(out)
    _begin(folder, dataset, replace(plan, folds=folds))
    answers: list[Answer] = []
    constants: dict[str, Any] = {}
    for model in models:
        found = {}
        for seed in seeds:
            file = folder / model / f"{seed}.json"
            if not file.exists():
                told = None if on_progress is None else partial(on_progress, model, seed)
                report = _score(dataset, _choose_settings(plan, model, seed), folds, told)
                write_whole(file, (json.dumps(_finite(report), indent=1) + "\n").encode())
            report = json.loads(file.read_text(encoding="utf-8"))
            found[seed] = {target: each["metrics"] for target, each in report.items()}
            constants = constants or {t: each["constants"] for t, each in report.items()}
        answers.append(Answer(model, found))
    result = Answers(dataset.name, protocol, tuple(targets), tuple(answers), constants)
    write_whole(folder / "table.md", tabulate(result).encode())
    write_whole(folder / "table.json", (json.dumps(asdict(result), indent=1) + "\n").encode())
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


def tabulate(answers: Answers) -> str:
    """Mean ± standard deviation over the seeds as Markdown, constants and the paper beside."""
    lines = [f"{answers.data}: {answers.protocol}.", ""]
    for target in answers.targets:
        lines += [*_tabulate_target(answers, target), ""]
    counts = sorted({len(answer.seeds) for answer in answers.models})
    seeds = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    lines.append(
        f"Ours: mean ± standard deviation over seeds ({seeds}), all models with the same settings. "
        f"The paper's are of other data or features ({PAPER}): they show which way its answer "
        "went, and cannot be compared with ours number by number."
    )
    return "\n".join(lines) + "\n"


def _tabulate_target(answers: Answers, target: Target) -> list[str]:
    if target.kind == "regression":
        metrics = ["mae", "corr", "a2", "f1", name_rounded(target.low, target.high)]
    else:
        metrics = ["accuracy", "f1", "f1_macro"]
    lines = []
    if target.kind == "regression":
        lines = [f"A2 and F1 count at least {find_threshold(target):g} as positive.", ""]
    lines += [
        f"| {target.name} | {' | '.join(map(_title, metrics))} | paper: {_PAPER_TITLES} |",
        f"|{'---|' * (len(metrics) + 2)}",
    ]
    for answer in answers.models:
        cells = [_show(answer.spread(target.name, metric)) for metric in metrics]
        published = PUBLISHED.get(answer.model)
        beside = " / ".join(_short(published[m]) for m in _PAPER_METRICS) if published else ""
        title = TITLES.get(answer.model, answer.model)
        lines.append(f"| {title} | {' | '.join(cells)} | {beside} |")
    for name, scores in answers.constants.get(target.name, {}).items():
        cells = ["-" if scores.get(m) is None else _short(scores[m]) for m in metrics]
        lines.append(f"| constant {name} | {' | '.join(cells)} | |")
    return lines


_PAPER_METRICS = ("mae", "corr", "a2", "f1", "a7")
_PAPER_TITLES = "MAE / Corr / A2 / F1 / A7"


def _title(metric: str) -> str:
    known = {"mae": "MAE", "corr": "Corr", "f1_macro": "F1 macro"}
    return known.get(metric, metric.upper() if len(metric) < 3 else metric)


def _short(value: float) -> str:
    """Three decimals; below 1 without the zero before the point, as the literature has it."""
    return f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.3f}"


def _show(spread: tuple[float, float] | None) -> str:
    if spread is None:
        return "-"
    mean, deviation = spread
    return _short(mean) if math.isnan(deviation) else f"{_short(mean)} ± {_short(deviation)}"


def _choose_settings(plan: Plan, model: str, seed: int) -> Plan:
    known = list_settings(model)
    own = {name: value for name, value in plan.model_settings.items() if name in known}
    return replace(plan, model=model, seeds=(seed,), model_settings=own)


def _score(
    dataset: Dataset, plan: Plan, folds: int, on_progress: OnProgress | None
) -> dict[str, Any]:
    """{target: {"metrics": ..., "constants": ...}} of one model."""
    if folds:
        plan = replace(plan, folds=folds, rotate=True)
        report = cross_validate_dataset(dataset, plan, on_progress)
    else:
        with TemporaryDirectory(prefix="rmfn-") as scratch:
            model = Path(scratch) / "model"
            train_dataset(dataset, replace(plan, rotate=False), model, on_progress)
            report = evaluate_dataset(model, dataset, "test", draws=0)
    return {
        target: {
            "metrics": {m: v for m, v in found.items() if isinstance(v, int | float)},
            "constants": found["constants"],
        }
        for target, found in report.items()
    }


def _begin(folder: Path, dataset: Dataset, plan: Plan) -> None:
    """Say what is asked, or see that it is what was asked here before."""
    asked = replace(plan, seeds=(), model="")  # these may be added to later
    wanted = json.loads(json.dumps({"data": hash_dataset(dataset), "plan": asdict(asked)}))
    file = folder / QUESTION
    if not file.exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise DatasetError(f"{folder} is there and holds something else; it is left as it is")
        write_whole(file, (json.dumps(wanted, indent=1) + "\n").encode())
        return
    found = json.loads(file.read_text(encoding="utf-8"))
    for part in wanted:
        if found.get(part) != wanted[part]:
            raise DatasetError(
                f"{folder} holds answers with another {part}; say another folder, or remove it"
            )


def _finite(value: Any) -> Any:
    """JSON has no NaN: what is undefined (a constant's correlation) becomes null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
