"""Numbers one can trust: held-out videos, spread over seeds, intervals, constants beside them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from extractors import BACKENDS
from pipeline.errors import DatasetError, RecipeMismatch
from pipeline.sequence import AlignedSequence
from rmfn.checkpoint import Conformal
from rmfn.corpora import make_sequences, read_timed, split_videos
from rmfn.metrics import bootstrap, score, score_constants
from rmfn.model import RMFNConfig
from rmfn.predict import Predictor
from rmfn.train import Epoch, TrainSettings, fit_ensemble


def cross_validate(
    config: RMFNConfig,
    settings: TrainSettings,
    columns: dict[str, tuple[str, ...]],
    sequences: Sequence[AlignedSequence],
    labels: Sequence[Sequence[float]],
    videos: Sequence[str],
    seeds: Sequence[int],
    folds: int = 5,
    on_epoch: Callable[[int, Epoch], None] | None = None,
) -> NDArray[np.float64]:
    """Predict every sequence by models that saw nothing of its video, not even to stop.

    Parameters
    ----------
    labels : [n, outputs]
    on_epoch : called with the running number of the training (folds x seeds of them) and the epoch.

    Returns
    -------
    [seeds, n, outputs] in the units of the labels.
    """
    out = np.full((len(seeds), len(sequences), config.outputs), np.nan)
    for fold, test in enumerate(split_videos(videos, folds, seed=0)):
        rest = sorted(set(range(len(sequences))) - set(test))

        def report(place: int, epoch: Epoch, fold: int = fold) -> None:
            if on_epoch is not None:
                on_epoch(fold * len(seeds) + place, epoch)

        ensemble = fit_ensemble(
            config,
            settings,
            columns,
            [sequences[n] for n in rest],
            [labels[n] for n in rest],
            [videos[n] for n in rest],
            seeds,
            report,
        )
        out[:, test] = ensemble.predict_each([sequences[n] for n in test]).numpy()
    return out


def calibrate(
    predictions: ArrayLike, labels: ArrayLike, videos: Sequence[str], coverage: float = 0.8
) -> Conformal:
    """The half-width of intervals from predictions of unseen videos, and how well it holds.

    Parameters
    ----------
    predictions, labels : [n, outputs]
    coverage : the share of labels that shall lie within.

    Returns
    -------
    The widths from all n; ``measured`` is the coverage of widths set on nine tenths of the videos
    and tried on the last tenth, over all tenths.
    """
    errors = abs(np.asarray(predictions, float) - np.asarray(labels, float))
    inside = np.zeros_like(errors, dtype=bool)
    for part in split_videos(videos, min(10, len(set(videos))), seed=0):
        rest = sorted(set(range(len(errors))) - set(part))
        inside[part] = errors[part] <= _conformal_quantile(errors[rest], coverage)
    return Conformal(
        coverage,
        tuple(_conformal_quantile(errors, coverage).tolist()),
        tuple(inside.mean(0).tolist()),
        len(errors),
    )


def _conformal_quantile(errors: NDArray[np.float64], coverage: float) -> NDArray[np.float64]:
    """The ceil((n+1) coverage)-th smallest of each column (infinite if there are too few)."""
    rank = math.ceil((len(errors) + 1) * coverage)
    if rank > len(errors):
        return np.full(errors.shape[1], np.inf)
    return np.sort(errors, axis=0)[rank - 1]


def summarise(
    runs: ArrayLike, labels: ArrayLike, videos: Sequence[str], draws: int = 1000
) -> dict[str, Any]:
    """One label's numbers from predictions of several seeds.

    Parameters
    ----------
    runs : [seeds, n]
    labels : [n]

    Returns
    -------
    The metrics of the mean over the seeds, with ``interval`` {metric: [low, high]} (95 %, drawing
    videos) and ``seeds`` {metric: [mean, standard deviation over single seeds]}.
    """
    runs = np.asarray(runs, float)
    together = runs.mean(0)
    single = [score(run, labels) for run in runs]
    return {
        **score(together, labels),
        "interval": _intervals(together, labels, videos, draws),
        "seeds": {
            name: [
                float(np.mean([s[name] for s in single])),
                float(np.std([s[name] for s in single], ddof=1)) if len(single) > 1 else 0.0,
            ]
            for name in single[0]
            if name != "n"
        },
    }


def evaluate(
    predictor: Predictor,
    sequences: Sequence[AlignedSequence],
    labels: ArrayLike,
    videos: Sequence[str],
    draws: int = 1000,
) -> dict[str, Any]:
    """Score a checkpoint on labelled sequences.

    Parameters
    ----------
    labels : [n, outputs]
    draws : of the bootstrap; 0 leaves the intervals out.

    Returns
    -------
    {label: {n, mae, corr, a2, f1, a7, ..., "interval": {metric: [low, high]}, "covered": share of
    labels inside the predicted intervals, "constants": {predictor: metrics}}}, fractions.
    """
    y = np.asarray(labels, float)
    predicted = predictor.predict_values(sequences)
    report = {}
    for n, label in enumerate(predictor.manifest.labels):
        conformal = predictor.manifest.conformal
        known = predictor.manifest.constants[label.name]
        report[label.name] = {
            **score(predicted[:, n], y[:, n]),
            "covered": float((abs(predicted[:, n] - y[:, n]) <= conformal.half_width[n]).mean()),
            "interval": _intervals(predicted[:, n], y[:, n], videos, draws),
            "constants": score_constants(known, y[:, n]),
        }
    return report


def _intervals(
    predictions: ArrayLike, labels: ArrayLike, videos: Sequence[str], draws: int
) -> dict[str, list[float]]:
    """{metric: [low, high]}, 95 %; empty without draws."""
    if not draws:
        return {}
    found = bootstrap(predictions, labels, videos, draws=draws)
    return {name: list(edges) for name, edges in found.items() if name != "n"}


def evaluate_timed(model: str | Path, timed: str | Path, draws: int = 1000) -> dict[str, Any]:
    """Score a checkpoint folder on a file of timed transcripts (``rmfn.corpora.read_timed``).

    Returns
    -------
    As ``evaluate``.

    Raises
    ------
    CheckpointError : the folder is not a checkpoint.
    DatasetError : the file cannot be read or a segment has no label.
    RecipeMismatch : the model reads more than words and their times can tell.
    """
    predictor = Predictor.load(model)
    segments = read_timed(timed)
    labels = []
    for segment in segments:
        if segment.label is None:
            raise DatasetError(f"{timed}: segment {segment.id!r} has no label to be scored against")
        labels.append([segment.label])
    sequences = make_sequences(segments, *load_word_backends(predictor.manifest.features))
    return evaluate(predictor, sequences, labels, [segment.video for segment in segments], draws)


def load_word_backends(features: dict[str, Any]) -> tuple[list[Any], Any]:
    """The language backends and the timing backend that made a checkpoint's columns.

    Parameters
    ----------
    features : ``Manifest.features``.

    Raises
    ------
    RecipeMismatch : the columns were made by other steps too.
    """
    if set(features) != {"language", "timing"}:
        raise RecipeMismatch(
            f"the model reads features of {', '.join(sorted(features))}; timed transcripts give "
            "language and word timing only"
        )

    def construct(step: str, made: dict[str, Any]) -> Any:
        return BACKENDS[step][made["backend"]].load()(**made["settings"])

    return (
        [construct("language", made) for made in features["language"]],
        construct("timing", features["timing"]),
    )
