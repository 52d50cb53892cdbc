"""Recipes written out and compared, against the keys that the store really uses."""

from __future__ import annotations

import copy
import tomllib

import pytest

from extractors import BACKENDS
from pipeline.clip_run import make_key
from pipeline.recipe import RECIPES, build_recipe, load_recipe
from pipeline.settings import (
    STAGES,
    compare_recipes,
    explain_settings,
    list_settings,
    list_stages,
)


@pytest.fixture
def settings():
    return tomllib.loads((RECIPES / "embedded.toml").read_text())


def keys(recipe):
    """Under what the stages' results are kept, as ``process_clip`` asks for them."""
    words = make_key(recipe, None, "transcribe", "align")
    return {
        "words": words,
        "visual": [
            (key, words if looks == "words" else None)
            for key, looks in zip(recipe.track_keys("visual"), recipe.looks, strict=True)
        ],
        "acoustic": recipe.track_keys("acoustic"),
        "rows": make_key(recipe, None, *recipe.settings),
    }


@pytest.mark.parametrize("looks", ["all", "words"])
@pytest.mark.parametrize(
    ("step", "change"),
    [
        ("transcribe", {"beam": 1}),
        ("transcribe", {"batch_size": 7}),
        ("align", {"pad": 0.7}),
        ("language", {"layers": 2}),
        ("visual", {"fps": 5.0}),
        ("visual", {"hog": False}),
        ("acoustic", {"seed": 3}),
        ("acoustic", {"block": 3.0}),
        ("name", {}),
    ],
)
def test_what_is_made_anew_is_what_has_another_key(step, change, looks, settings):
    settings["visual"][0]["frames"] = looks
    other = copy.deepcopy(settings)
    if change:
        table = other[step]
        (table[0] if isinstance(table, list) else table).update(change)
    else:
        other["name"] = "other"
    before, after = build_recipe(settings), build_recipe(other)
    found = compare_recipes(before, after)
    (name, value) = next(iter(change.items()), ("name", "other"))
    assert [(one.name, one.after) for one in found] == [(name, value)]
    differing = [stage for stage in STAGES if keys(before)[stage] != keys(after)[stage]]
    assert list(list_stages(found)) == differing


def test_other_backends_and_more_of_them(settings):
    other = copy.deepcopy(settings)
    other["acoustic"] = [{"backend": "librosa"}]
    other["language"].append({"backend": "glove"})
    del other["timing"]
    before, after = build_recipe(settings), build_recipe(other)
    told = [(one.place, one.name, one.before, one.after) for one in compare_recipes(before, after)]
    assert told == [
        ("timing", "backend", "timing", None),
        ("language 3", "backend", None, "glove"),
        ("acoustic", "backend", "covarep", "librosa"),
    ]
    assert list_stages(compare_recipes(before, after)) == ("acoustic", "rows")
    assert compare_recipes(before, before) == []


def test_frames_of_words_only(settings):
    other = copy.deepcopy(settings)
    other["visual"][0]["frames"] = "words"
    found = compare_recipes(build_recipe(settings), build_recipe(other))
    assert [(one.place, one.name, one.before, one.after) for one in found] == [
        ("visual", "frames", "all", "words")
    ]
    assert list_stages(found) == ("visual", "rows")


def test_given_and_default_are_told_apart(settings):
    settings["visual"][0]["fps"] = 5.0
    found = {(one.place, one.name): one for one in list_settings(build_recipe(settings))}
    assert found["visual", "fps"].origin == "given"
    assert found["visual", "max_faces"].origin == "default"
    assert found["transcribe", "language"].origin == "given"  # what is the default anyway
    assert found["language 2", "adapter"].value == "mosi-language"
    assert found["transcribe", "threads"].stages == ()
    assert found["align", "pad"].stages == ("words", "rows")


def test_what_another_table_decides(settings):
    settings["transcribe"] = {"backend": "whisperx", "model": "somebody/tiny", "language": "de"}
    settings["align"] = {"backend": "wav2vec2"}
    found = {(one.place, one.name): one for one in list_settings(build_recipe(settings))}
    told = found["align", "language"]
    assert (told.value, told.origin) == ("de", "of [transcribe]")


@pytest.mark.parametrize(
    ("step", "name"),
    [
        (step, name)
        for step, lines in BACKENDS.items()
        for name, line in lines.items()
        if line.path.startswith("extractors.")  # not one of another test
    ],
)
def test_every_setting_of_every_backend_has_a_meaning(step, name):
    from dataclasses import fields

    backend = BACKENDS[step][name].load()
    meanings = explain_settings(backend)
    assert [entry.name for entry in fields(backend) if not meanings.get(entry.name)] == []


def test_meanings_are_read_whole():
    class Tool:
        """A tool.

        Attributes
        ----------
        size : of it, which
            is told on two lines: so.
        device, threads : do not matter.

        Notes
        -----
        other : nothing.
        """

    assert explain_settings(Tool) == {
        "size": "of it, which is told on two lines: so.",
        "device": "do not matter.",
        "threads": "do not matter.",
    }


def test_the_command(capfd, tmp_path):
    import json

    from flows.cli import main

    assert main(["recipe", "diff", "embedded", "paper", "--json", "-"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["made_anew"][0] == "words"
    assert "acoustic" not in told["made_anew"]  # COVAREP in both
    assert main(["recipe", "show", "embedded", "--json", "-"]) == 0
    shown = json.loads(capfd.readouterr().out)
    assert len(shown) == len(list_settings(load_recipe("embedded")))
    assert main(["recipe", "diff", "embedded"]) == 2
    assert "takes two recipes, got 1" in capfd.readouterr().err
    assert main(["recipe", "show", "papr"]) == 2
    assert "did you mean 'paper'" in capfd.readouterr().err
