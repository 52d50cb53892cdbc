"""What the doctor says of a machine that lacks something, and what to type about it."""

from __future__ import annotations

import ctypes

import pytest

from flows.doctor import examine
from pipeline.recipe import RECIPES, build_recipe, load_recipe


def absent(*arguments, **settings):
    raise FileNotFoundError("not here")


def missing(lines):
    return {line["what"]: line["mend"] for line in lines if line["state"] != "ok"}


@pytest.mark.parametrize(
    ("library", "package"), [("libEGL.so.1", "libegl1"), ("libGLESv2.so.2", "libgles2")]
)
def test_a_library_that_the_face_tracker_loads(library, package, monkeypatch):
    load = ctypes.CDLL

    def cdll(name, *arguments):
        if name == library:
            raise OSError(f"{name}: cannot open shared object file")
        return load(name, *arguments)

    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", cdll)
    assert missing(examine(load_recipe("embedded")))[library] == f"apt-get install {package}"
    # Who measures no face needs none of it.
    import tomllib

    settings = tomllib.loads((RECIPES / "embedded.toml").read_text())
    del settings["visual"]
    assert library not in [line["what"] for line in examine(build_recipe(settings))]


def test_the_papers_recipe_lists_every_model_that_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HOME", str(tmp_path))
    found = missing(examine(load_recipe("paper")))
    assert {name.split(":")[0] for name in found} == {"whisper-large-v3", "glove.840B.300d"}


def test_a_backend_that_is_not_installed(monkeypatch):
    import tomllib
    from importlib.metadata import PackageNotFoundError, version

    def no_opensmile(name):
        if name == "opensmile":
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr("flows.doctor.version", no_opensmile)
    settings = tomllib.loads((RECIPES / "embedded.toml").read_text())
    settings["acoustic"] = [{"backend": "opensmile"}]
    assert missing(examine(build_recipe(settings)))["opensmile"] == "pip install opensmile"


def test_a_model_of_two_backends_is_told_once():
    recipe = load_recipe("embedded")
    assert [backend.__class__.__name__ for backend in recipe.language] == ["MiniLM", "MiniLM"]
    told = [line["what"] for line in examine(recipe)]
    assert len(set(told)) == len(told)
