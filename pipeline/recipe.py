"""A recipe says how features are made; equal recipes give equal numbers.

It is a TOML file that names one backend a step with its settings. Types and unknown keys are
checked here and nowhere else.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from extractors import BACKENDS
from extractors.weights_hash import identify_weights
from pipeline.errors import RecipeError, RecipeMismatch

RECIPES = Path(__file__).parent / "recipes"

# Steps that take exactly one backend, and modalities that take several side by side.
STEPS = ("transcribe", "align", "timing")
MANY = ("language", "visual", "acoustic")
OPTIONAL = ("timing", "language", "visual", "acoustic")
# Which frames a visual backend gets is settled before it is called: the usual way, and the others.
FRAMES = ("all", "words")


@dataclass(frozen=True)
class Recipe:
    """The constructed backends of one way of making features.

    Attributes
    ----------
    name : what people call it.
    transcribe : Audio -> Transcript.
    align : (Audio, Transcript) -> words with times.
    language : each utterances of tokens -> [N, D] an utterance.
    visual : each frames -> FeatureTrack.
    acoustic : each Audio -> FeatureTrack.
    timing : utterances of Words -> [N, D] an utterance, or None.
    settings : the file as read, for records.
    """

    name: str
    transcribe: Any
    align: Any
    language: tuple[Any, ...]
    visual: tuple[Any, ...]
    acoustic: tuple[Any, ...]
    timing: Any
    settings: dict[str, Any]

    @property
    def backends(self) -> tuple[Any, ...]:
        """All that make columns."""
        timing = () if self.timing is None else (self.timing,)
        return (*self.language, *self.visual, *self.acoustic, *timing)

    @property
    def looks(self) -> tuple[str, ...]:
        """For each visual backend the frames that it gets: of the whole clip, or of its words."""
        return tuple(table.get("frames", FRAMES[0]) for table in self.settings.get("visual") or ())

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """Settings, package versions and weight hashes of every step, ready for JSON."""
        described: dict[str, Any] = {"name": self.name}
        for step in (*STEPS, *MANY):
            made = [describe_backend(step, *pair) for pair in self.tables(step)]
            if step in MANY:
                described[step] = made
            elif made:
                described[step] = made[0]
        return described

    def tables(self, step: str) -> list[tuple[dict[str, Any], Any]]:
        """A step's tables as they are written, each with the backend that was made of it."""
        found, backends = self.settings.get(step) or [], getattr(self, step)
        if step in STEPS:
            found, backends = ([found], [backends]) if found else ([], [])
        return list(zip(found, backends, strict=True))

    def key(self, *steps: str) -> str:
        """A short hash of all that the named steps' numbers depend on."""
        return _hash({step: self.provenance.get(step) for step in steps})

    def track_keys(self, modality: str) -> list[str]:
        """As `key`, for each backend of a modality by itself, whatever stands beside it."""
        return [_hash({modality: [made]}) for made in self.provenance[modality]]


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Read a recipe by the name of a shipped one or by the path of a TOML file.

    Raises
    ------
    RecipeError : no such recipe, not TOML, an unknown step, backend or setting, a wrong type.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = RECIPES / f"{name_or_path}.toml"
    if not path.is_file():
        shipped = sorted(recipe.stem for recipe in RECIPES.glob("*.toml"))
        beside = [str(found) for found in Path(name_or_path).parent.glob("*.toml")]
        close = difflib.get_close_matches(str(name_or_path), [*shipped, *beside], n=1)
        raise RecipeError(
            f"no recipe {str(name_or_path)!r}"
            + (f"; did you mean {close[0]!r}?" if close else "")
            + f" (expected: the path of a .toml file, or one of {', '.join(shipped)})"
        )
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not a TOML file: {error}") from error
    return build_recipe(settings, str(path))


def build_recipe(settings: dict[str, Any], source: str = "recipe") -> Recipe:
    """Construct the backends that ``settings`` (a parsed recipe file) names.

    Raises
    ------
    RecipeError : as `load_recipe`; ``source`` is named in the message.
    """
    _refuse_unknown(settings, ("name", *STEPS, *MANY), source, "step")
    for step in ("name", *STEPS, *MANY):
        if step not in settings and step not in OPTIONAL:
            raise RecipeError(f"{source}: [{step}] is missing")
    built: dict[str, Any] = {}
    for step in STEPS:
        built[step] = _construct(step, settings[step], source) if step in settings else None
    built["align"] = _match_language(built["transcribe"], built["align"], settings, source)
    for step in MANY:
        tables = settings.get(step, [])
        if not isinstance(tables, list):
            raise RecipeError(
                f"{source}: write [[{step}]], not [{step}]: a modality may have several"
            )
        built[step] = tuple(_construct(step, table, source) for table in tables)
        _refuse_twins(step, [name for backend in built[step] for name in backend.names], source)
    return Recipe(name=str(settings["name"]), settings=settings, **built)


def _refuse_twins(step: str, names: list[str], source: str) -> None:
    """Columns side by side are told apart by their names."""
    if twins := [name for name, count in Counter(names).items() if count > 1]:
        raise RecipeError(
            f"{source}: two backends of [[{step}]] give columns of the same names, such as "
            f"{twins[0]!r}: only one of them can be kept"
        )


def _construct(step: str, table: Any, source: str) -> Any:
    from pydantic import TypeAdapter, ValidationError

    if not isinstance(table, dict) or not isinstance(table.get("backend"), str):
        raise RecipeError(f"{source}: [{step}] must be a table with a key 'backend', a name")
    settings = {key: value for key, value in table.items() if key != "backend"}
    if step == "visual" and settings.pop("frames", FRAMES[0]) not in FRAMES:
        raise RecipeError(
            f"{source}: [visual] frames = {table['frames']!r}: expected one of {', '.join(FRAMES)}"
        )
    _refuse_unknown({table["backend"]: None}, BACKENDS[step], source, f"backend of [{step}]")
    backend = BACKENDS[step][table["backend"]].load()
    known = [entry.name for entry in fields(backend) if entry.init]
    _refuse_unknown(settings, known, source, f"setting of [{step}] backend {table['backend']!r}")
    try:
        return TypeAdapter(backend).validate_python(settings)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or table["backend"]
        raise RecipeError(
            f"{source}: [{step}] {where} = {first['input']!r}: {first['msg']}"
        ) from error


def _match_language(transcribe: Any, align: Any, settings: Mapping[str, Any], source: str) -> Any:
    """The aligner takes the language that is written down, or is refused before any work."""
    language = getattr(transcribe, "language", None)
    if language is None or not hasattr(align, "require_language"):
        return align
    try:
        if hasattr(align, "language") and "language" not in settings["align"]:
            align = replace(align, language=language)
        if language != "auto":
            align.require_language(language)
    except ValueError as error:
        raise RecipeError(f"{source}: [align] {error}") from error
    return align


def _refuse_unknown(found: Any, known: Any, source: str, what: str) -> None:
    for key in found:
        if key not in known:
            close = difflib.get_close_matches(str(key), [str(name) for name in known], n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
            raise RecipeError(f"{source}: unknown {what}: {key!r}; {hint}")


def _hash(part: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()[:12]


def describe_backend(step: str, table: Any, backend: Any) -> dict[str, Any]:
    line = BACKENDS[step][table["backend"]]
    # Defaults are written out, so that a changed default is a changed recipe.
    settings = {
        entry.name: getattr(backend, entry.name)
        for entry in fields(backend)
        if entry.init and entry.compare
    }
    if (looks := table.get("frames", FRAMES[0])) != FRAMES[0]:
        settings["frames"] = looks
    return {
        "backend": table["backend"],
        "settings": settings,
        "versions": {package: _version(package) for package in line.packages},
        "weights": {
            weights.name: identify_weights(weights) for weights in line.list_weights(backend)
        },
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def require_features(
    model: str, features: Mapping[str, Any], provenance: Mapping[str, Any]
) -> None:
    """See that a recipe makes features as those were made that a model was trained on.

    Parameters
    ----------
    model : its name, for the message.
    features : step -> the backend or backends, as in ``Recipe.provenance``.
    provenance : ``Recipe.provenance``. Further backends beside those needed are fine, other package
        versions too.

    Raises
    ------
    RecipeMismatch : a step is missing or set otherwise; the first difference is named.
    """
    for step, needed in features.items():
        found = provenance.get(step) or []
        offered = found if isinstance(found, list) else [found]
        for made in needed if isinstance(needed, list) else [needed]:
            _require_backend(model, step, made, offered)


def _require_backend(
    model: str, step: str, made: dict[str, Any], offered: list[dict[str, Any]]
) -> None:
    same = [backend for backend in offered if backend["backend"] == made["backend"]]
    if not same:
        names = ", ".join(backend["backend"] for backend in offered) or "nothing"
        raise RecipeMismatch(
            f"the model {model!r} was trained with {made['backend']!r} for {step}, "
            f"the recipe has {names}"
        )

    def differ(backend: dict[str, Any]) -> int:
        return sum(
            made[part].get(key) != backend[part].get(key)
            for part in ("settings", "weights")
            for key in {*made[part], *backend[part]}
        )

    closest = min(same, key=differ)  # the same tool may be there twice, set otherwise
    for part in ("settings", "weights"):
        wanted, got = made[part], closest[part]
        for key in sorted({*wanted, *got}):
            if wanted.get(key) != got.get(key):
                raise RecipeMismatch(
                    f"the model {model!r} was trained with {step} backend {made['backend']!r} "
                    f"{part} {key} = {wanted.get(key)!r}, the recipe has {got.get(key)!r}"
                )
