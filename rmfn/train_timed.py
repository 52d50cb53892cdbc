"""From a file of timed transcripts to a checkpoint folder: what ``rmfn train --timed`` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import DatasetError
from pipeline.recipe import load_recipe
from pipeline.sequence import AlignedSequence
from rmfn.card import write_card
from rmfn.checkpoint import Label, Manifest, refuse_foreign, save_checkpoint
from rmfn.corpora import LabelledSegment, make_sequences, read_timed
from rmfn.evaluate import calibrate, cross_validate, load_word_backends, summarise
from rmfn.metrics import find_constants, score_constants
from rmfn.model import RMFNConfig
from rmfn.train import Epoch, TrainSettings, fit_ensemble

SENTIMENT = Label("sentiment", -3.0, 3.0)


@dataclass(frozen=True)
class TimedPlan:
    """What is learned and how.

    Attributes
    ----------
    label : its name, and the scale on which it was given.
    recipe : whose language and timing steps make the features.
    hidden : LSTHM units.
    model : further fields of ``RMFNConfig``.
    settings : of every training.
    seeds : one model each; the checkpoint is their mean.
    folds : of the cross-validation by video.
    coverage : of the prediction intervals.
    """

    label: Label = SENTIMENT
    recipe: str = "embedded"
    hidden: dict[str, int] = field(default_factory=lambda: {"language": 64, "acoustic": 16})
    model: dict[str, Any] = field(
        default_factory=lambda: {
            "attention_scale": "mean1",
            "forget_bias": 1.0,
            "dropout": 0.5,
            "input_dropout": 0.5,
        }
    )
    settings: TrainSettings = field(
        default_factory=lambda: TrainSettings(
            epochs=16, patience=4, batch=64, lr=2e-3, weight_decay=0.1
        )
    )
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    folds: int = 5
    coverage: float = 0.8


@dataclass(frozen=True)
class Progress:
    """Where a long training stands: the epoch of which of all trainings."""

    run: int
    runs: int
    what: str
    epoch: Epoch


@dataclass(frozen=True)
class _Corpus:
    segments: list[LabelledSegment]
    sequences: list[AlignedSequence]
    labels: list[list[float]]
    videos: list[str]
    columns: dict[str, tuple[str, ...]]
    features: dict[str, Any]

    def of_split(self, split: str) -> list[int]:
        return [n for n, segment in enumerate(self.segments) if segment.split == split]


def train_timed(
    timed: str | Path,
    out: str | Path,
    plan: TimedPlan | None = None,
    name: str | None = None,
    trained_on: str = "",
    card: str = "",
    on_progress: Callable[[Progress], None] | None = None,
) -> Manifest:
    """Cross-validate, calibrate the intervals, train on all segments, write the checkpoint.

    Parameters
    ----------
    timed : labelled transcripts (``rmfn.corpora.read_timed``); segments of the split "test" are
        left out.
    out : the checkpoint's folder; it also becomes the name.
    trained_on : a line for people, by default what the file says of itself.
    card : a model card; the measured numbers are put after it, in the place of any it has, so that
        a checkpoint's own README serves.

    Returns
    -------
    The manifest written, with the metrics of the cross-validation and, where the file has the
    splits "train" and "dev", of a training on the one scored on the other.

    Raises
    ------
    DatasetError : the file cannot be read, lacks labels, or has too few videos.
    CheckpointError : ``out`` holds something that is no checkpoint.
    """
    plan = plan or TimedPlan()
    refuse_foreign(out)  # now, not after the training
    corpus = _read_corpus(timed, plan)
    train, dev = corpus.of_split("train"), corpus.of_split("dev")
    with_dev = len({corpus.videos[n] for n in train}) > 1 and bool(dev)
    steps = [(plan.folds * len(plan.seeds), "cross-validation")]
    steps += [(len(plan.seeds), "train, for dev")] if with_dev else []
    steps += [(len(plan.seeds), "all")]
    progress = _Counter(steps, on_progress)

    metrics, runs = _cross_validate(corpus, plan, progress)
    conformal = calibrate(runs.mean(0), corpus.labels, corpus.videos, plan.coverage)
    # Few segments give infinite widths; the whole scale says the same.
    scale = plan.label.high - plan.label.low
    conformal = replace(
        conformal, half_width=tuple(min(width, scale) for width in conformal.half_width)
    )
    if with_dev:
        metrics["dev"] = _score_dev(corpus, plan, train, dev, progress)
    ensemble = fit_ensemble(
        _configure(corpus, plan),
        plan.settings,
        corpus.columns,
        corpus.sequences,
        corpus.labels,
        corpus.videos,
        plan.seeds,
        progress,
    )
    manifest = Manifest(
        name=name or Path(out).name,
        trained_on=trained_on or f"{len(corpus.labels)} segments of {Path(timed).name}",
        labels=(plan.label,),
        config=_configure(corpus, plan),
        columns=corpus.columns,
        members=len(plan.seeds),
        features=corpus.features,
        conformal=conformal,
        constants={plan.label.name: find_constants([row[0] for row in corpus.labels])},
        splits={
            "train": sorted(set(corpus.videos)),
            **{f"held out {n}": list(videos) for n, videos in enumerate(ensemble.held_out)},
        },
        training={"settings": asdict(plan.settings), "seeds": list(plan.seeds)},
        metrics=metrics,
        versions={package: version(package) for package in ("torch", "transformers", "rmfn")},
    )
    return save_checkpoint(manifest, ensemble, out, write_card(manifest, card))


def cross_validate_timed(
    timed: str | Path,
    plan: TimedPlan | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:
    """Only the cross-validation: {label: metrics} as ``train_timed`` measures them."""
    plan = plan or TimedPlan()
    corpus = _read_corpus(timed, plan)
    progress = _Counter([(plan.folds * len(plan.seeds), "cross-validation")], on_progress)
    metrics, _ = _cross_validate(corpus, plan, progress)
    return {plan.label.name: metrics["cross-validation"]}


class _Counter:
    """Turns the (place, epoch) of one stage's trainings into a running number over all stages."""

    def __init__(
        self, stages: Sequence[tuple[int, str]], on_progress: Callable[[Progress], None] | None
    ):
        self.stages, self.on_progress, self.stage = list(stages), on_progress, 0

    def __call__(self, place: int, epoch: Epoch) -> None:
        if self.on_progress is not None:
            before = sum(count for count, _ in self.stages[: self.stage])
            total = sum(count for count, _ in self.stages)
            self.on_progress(Progress(before + place, total, self.stages[self.stage][1], epoch))

    def advance(self) -> None:
        self.stage += 1


def _read_corpus(timed: str | Path, plan: TimedPlan) -> _Corpus:
    segments = [segment for segment in read_timed(timed) if segment.split != "test"]
    if not segments:
        raise DatasetError(
            f"{timed}: all segments are of the split test, which is not learned from"
        )
    labels = []
    for segment in segments:
        if segment.label is None:
            raise DatasetError(f"{timed}: segment {segment.id!r} has no label to learn from")
        if not plan.label.low <= segment.label <= plan.label.high:
            raise DatasetError(
                f"{timed}: segment {segment.id!r} has the label {segment.label}, expected "
                f"{plan.label.low} to {plan.label.high}"
            )
        labels.append([segment.label])
    provenance = load_recipe(plan.recipe).provenance
    features = {step: provenance[step] for step in ("language", "timing")}
    sequences = make_sequences(segments, *load_word_backends(features))
    columns = {m: rows.names for m, rows in sequences[0].features.items()}
    return _Corpus(segments, sequences, labels, [s.video for s in segments], columns, features)


def _configure(corpus: _Corpus, plan: TimedPlan) -> RMFNConfig:
    inputs = {modality: len(names) for modality, names in corpus.columns.items()}
    return RMFNConfig(inputs, plan.hidden, **plan.model)


def _cross_validate(
    corpus: _Corpus, plan: TimedPlan, progress: _Counter
) -> tuple[dict[str, Any], np.ndarray]:
    """The metrics, and the clipped predictions of unseen videos [seeds, n, 1]."""
    runs = cross_validate(
        _configure(corpus, plan),
        plan.settings,
        corpus.columns,
        corpus.sequences,
        corpus.labels,
        corpus.videos,
        plan.seeds,
        plan.folds,
        progress,
    )
    progress.advance()
    runs = np.clip(runs, plan.label.low, plan.label.high)
    how = f"{plan.folds}-fold cross-validation by video over all segments"
    return {"cross-validation": _report(how, runs, corpus, range(len(corpus.labels)))}, runs


def _score_dev(
    corpus: _Corpus, plan: TimedPlan, train: list[int], dev: list[int], progress: _Counter
) -> dict[str, Any]:
    ensemble = fit_ensemble(
        _configure(corpus, plan),
        plan.settings,
        corpus.columns,
        [corpus.sequences[n] for n in train],
        [corpus.labels[n] for n in train],
        [corpus.videos[n] for n in train],
        plan.seeds,
        progress,
    )
    progress.advance()
    runs = ensemble.predict_each([corpus.sequences[n] for n in dev]).numpy()
    runs = np.clip(runs, plan.label.low, plan.label.high)
    return _report("trained on the split train alone, scored on dev", runs, corpus, dev, train)


def _report(
    how: str,
    runs: np.ndarray,
    corpus: _Corpus,
    scored: Sequence[int],
    learned: Sequence[int] | None = None,
) -> dict[str, Any]:
    labels = np.array([corpus.labels[n][0] for n in scored])
    known = [corpus.labels[n][0] for n in (learned if learned is not None else scored)]
    return {
        "how": how,
        **summarise(runs[:, :, 0], labels, [corpus.videos[n] for n in scored]),
        "constants": score_constants(find_constants(known), labels),
    }
