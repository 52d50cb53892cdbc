"""What the command line and the Prefect flows call: a path in, records that fit in JSON out."""

from __future__ import annotations

import hashlib
import time
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extractors.types import Transcript
from flows.doctor import require
from pipeline.assemble import ProcessedClip
from pipeline.clip import open_clip
from pipeline.clip_run import ClipRun, Progress, ignore_progress
from pipeline.errors import RecipeMismatch
from pipeline.process import find_words, process_clip, track_modality
from pipeline.quality import describe_words
from pipeline.recipe import Recipe, load_recipe, require_features
from pipeline.records import read_json
from pipeline.store import Store

if TYPE_CHECKING:
    from rmfn.predict import Predictor

DEFAULT_RECIPE = "embedded"
DEFAULT_MODEL = "mosi-language"


@lru_cache(maxsize=4)
def open_recipe(name_or_path: str) -> Recipe:
    """`load_recipe`, once a process: the models that its backends load stay loaded.

    Raises
    ------
    WeightsMissing : this machine lacks something that the recipe needs; the message has the
        doctor's lines.
    """
    made = load_recipe(name_or_path)
    require(made, name_or_path)
    return made


def open_transcript(path: str | None) -> Transcript | None:
    """The user's transcript, if there is one."""
    from pipeline.transcripts import read_transcript

    return None if path is None else read_transcript(path)


def find_clip_words(path: str, recipe: str, store: str, transcript: str | None = None) -> str:
    """Stage of a flow: recognise and align into the store. Returns the clip's id."""
    run = _open_run(path, recipe, store, transcript)
    find_words(run)
    return run.clip.id


def track_clip(
    path: str, modality: str, recipe: str, store: str, transcript: str | None = None
) -> str:
    """Stage of a flow: measure one modality at frame rate into the store. Returns the clip's id.

    Where the recipe wants only the frames of words, those are found first, unless they are stored.
    """
    run = _open_run(path, recipe, store, transcript)
    track_modality(run, modality, partial(find_words, run))
    return run.clip.id


def predict_clip(
    path: str | Path,
    *,
    recipe: str = DEFAULT_RECIPE,
    model: str | None = None,
    transcript: str | Transcript | None = None,
    store: str | None = None,
    progress: Progress = ignore_progress,
    report: str | Path | None = None,
    embed_video: bool = False,
    figures: str | Path | None = None,
) -> dict[str, Any]:
    """Predict one clip.

    Parameters
    ----------
    path : video or sound file.
    recipe : name or path of a recipe.
    model : folder of a checkpoint, or the name of a shipped one.
    transcript : what is said, or a file with it; without it the speech is recognised.
    store : folder where finished stages are kept and found again.
    report : where to write the clip's page (`rmfn.pages.clip`).
    embed_video : put the video into the page instead of a link to it.
    figures : folder for the page's main figures as PNG and SVG; without ``report`` too.

    Returns
    -------
    ``clip``, ``recipe``, ``model``, ``utterances`` (text, times, words, prediction, quality),
    ``overall`` (duration-weighted), ``quality`` and ``seconds`` a stage.

    Raises
    ------
    ClipError, RecipeError, RecipeMismatch, WeightsMissing, ValueError : see `process_clip`.
    """
    # Reading what the user named comes first: a misspelt recipe must not cost a minute of work.
    said = transcript if isinstance(transcript, Transcript) else open_transcript(transcript)
    made = open_recipe(recipe)
    folder = find_model(model)
    check_recipe(folder, made)
    started = time.perf_counter()
    processed = process_clip(path, made, said, None if store is None else Store(store), progress)
    progress("predict", None)
    predictor = _load_predictor(folder, identify_model(folder))
    record = describe_prediction(processed, predictor, made.provenance)
    progress("predict", 1.0)
    record["seconds"]["total"] = time.perf_counter() - started
    if report is not None or figures is not None:
        from rmfn.pages.clip import write_clip_page

        card = folder / "README.md"
        write_clip_page(
            report,
            record,
            processed,
            predictor,
            made,
            card=card.read_text(encoding="utf-8") if card.is_file() else "",
            embed_video=embed_video,
            figures=figures,
            progress=progress,
        )
    return record


def describe_prediction(
    processed: ProcessedClip, predictor: Predictor, provenance: dict[str, Any]
) -> dict[str, Any]:
    """Predict a processed clip: the record of `predict_clip`.

    Parameters
    ----------
    provenance : ``Recipe.provenance`` of the recipe that made the features.
    """
    from rmfn.predict_clip import describe_model, predict_utterances, weigh_utterances

    predicted = predict_utterances(predictor, processed.sequence, processed.utterances)
    spans = [_describe_utterance(processed, utterance) for utterance in processed.utterances]
    return {
        "clip": {
            "id": processed.clip.id,
            "path": str(processed.clip.path),
            "duration": processed.clip.duration,
        },
        "recipe": provenance,
        "model": describe_model(predictor),
        "utterances": [
            {**span, "prediction": prediction}
            for span, prediction in zip(spans, predicted, strict=True)
        ],
        "overall": weigh_utterances(predicted, [span["end"] - span["start"] for span in spans]),
        "quality": processed.quality.to_json(),
        "seconds": dict(processed.seconds),
    }


def find_model(name_or_path: str | None) -> Path:
    """The folder of a checkpoint, of a shipped one by its name, or of the version in use of a
    model that ``rmfn retrain`` keeps.

    Raises
    ------
    ValueError : there is no such folder.
    """
    import rmfn
    from rmfn.registry import Registry

    if name_or_path and (version := Registry(Path(name_or_path)).current()) is not None:
        return version
    shipped = Path(rmfn.__file__).parent / "checkpoints"
    for folder in (Path(name_or_path or DEFAULT_MODEL), shipped / (name_or_path or DEFAULT_MODEL)):
        if (folder / "model.json").is_file():
            return folder
    names = ", ".join(sorted(folder.parent.name for folder in shipped.glob("*/model.json")))
    raise ValueError(
        f"{name_or_path}: no checkpoint (a folder with model.json) and not one of those that ship: "
        f"{names}"
    )


def identify_model(folder: Path) -> str:
    """A short hash of a checkpoint: its ``model.json``, which knows the hash of the weights."""
    return hashlib.sha256((folder / "model.json").read_bytes()).hexdigest()[:12]


@lru_cache(maxsize=2)
def _load_predictor(folder: Path, model: str) -> Any:
    """A checkpoint, read once a process as long as it stays the same."""
    from rmfn.predict import Predictor

    return Predictor.load(folder)


def check_recipe(model: Path, recipe: Recipe) -> None:
    """See, before any work, that a recipe makes what a model reads as the model knows it.

    Raises
    ------
    RecipeMismatch : it does not; names the first column missing, or the first setting that differs.
    ValueError : the model cannot be read.
    """
    file = model / "model.json"
    try:
        manifest = read_json(file)
        columns, features = dict(manifest["columns"]), dict(manifest["features"])
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise ValueError(f"{file}: cannot be read as a model: {e}") from e
    made = {name for backend in recipe.backends for name in backend.names}
    for modality, names in columns.items():
        if missing := [name for name in names if name not in made]:
            raise RecipeMismatch(
                f"the model {model.name} reads {len(missing)} {modality} columns that the recipe "
                f"{recipe.name!r} does not make, the first is {missing[0]!r}"
            )
    require_features(model.name, features, recipe.provenance)


def describe_word(word: Any) -> dict[str, Any]:
    return {"text": word.text, "start": word.start, "end": word.end, "score": word.score}


def _describe_utterance(processed: ProcessedClip, utterance: range) -> dict[str, Any]:
    part = processed.sequence.between(utterance.start, utterance.stop)
    return {
        "text": " ".join(word.text for word in part.words),
        "start": part.words[0].start,
        "end": part.words[-1].end,
        "words": [describe_word(word) for word in part.words],
        "quality": describe_words(part),
    }


def _open_run(path: str, recipe: str, store: str, transcript: str | None = None) -> ClipRun:
    said = open_transcript(transcript)
    return ClipRun(open_clip(path), open_recipe(recipe), said, Store(store))
