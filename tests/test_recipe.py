"""Recipes: what is accepted, what is refused and how, and what counts as a change."""

from __future__ import annotations

import copy
import tomllib

import pytest
from hypothesis import given
from hypothesis import settings as bounds
from hypothesis import strategies as st

from extractors import BACKENDS
from extractors.weights import WEIGHTS, WeightsMissing
from pipeline.errors import RecipeError, RecipeMismatch
from pipeline.recipe import RECIPES, build_recipe, load_recipe, require_features


@pytest.fixture
def settings():
    return tomllib.loads((RECIPES / "embedded.toml").read_text())


def changed(settings, step, **values):
    settings = copy.deepcopy(settings)
    table = settings[step]
    (table[0] if isinstance(table, list) else table).update(values)
    return settings


def test_every_shipped_recipe_loads_by_name():
    for path in RECIPES.glob("*.toml"):
        recipe = load_recipe(path.stem)
        assert recipe.name == path.stem
        assert all(hasattr(backend, "names") for backend in (*recipe.visual, *recipe.acoustic))


def test_every_backend_of_the_tables_exists_and_names_known_weights():
    for step, backends in BACKENDS.items():
        for name, backend in backends.items():
            assert backend.load().__name__, f"{step} {name}"
            assert set(backend.weights) <= set(WEIGHTS)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda s: s.update(transcrib=s.pop("transcribe")),
            "unknown step.*'transcrib'.*transcribe",
        ),
        (lambda s: s["transcribe"].update(modle="x"), "unknown setting.*'modle'.*'model'"),
        (lambda s: s["align"].update(backend="pocketsphynx"), "unknown backend.*'pocketsphinx'"),
        (lambda s: s["align"].pop("backend"), r"\[align\] must be a table with a key 'backend'"),
        (lambda s: s.pop("align"), r"\[align\] is missing"),
        (lambda s: s.update(visual={"backend": "mediapipe"}), r"write \[\[visual\]\]"),
        (lambda s: s["visual"][0].update(fps="often"), r"\[visual\] fps = 'often'"),
        (lambda s: s["visual"][0].update(frames="some"), r"frames = 'some': expected one of all, "),
        (lambda s: s["acoustic"][0].update(frames="words"), r"unknown setting.*'frames'"),
    ],
)
def test_mistakes_are_named(settings, edit, message):
    edit(settings)
    with pytest.raises(RecipeError, match=message):
        build_recipe(settings, "my.toml")


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(("backend", "model", "frames", "device", "x")), inner, max_size=3
        ),
    ),
    max_leaves=6,
)


@given(
    st.lists(
        st.tuples(
            st.sampled_from((*tomllib.loads((RECIPES / "embedded.toml").read_text()), "timing")),
            st.one_of(st.none(), st.sampled_from(("backend", "frames", "model", "max_side", "x"))),
            values,
        ),
        min_size=1,
        max_size=3,
    )
)
@bounds(max_examples=150)
def test_whatever_a_recipe_says_it_is_built_or_refused(edits):
    changed = tomllib.loads((RECIPES / "embedded.toml").read_text())
    for step, key, value in edits:
        table = changed.get(step)
        table = table[0] if isinstance(table, list) and table else table
        if key is None or not isinstance(table, dict):
            changed[step] = value
        else:
            table[key] = value
    try:
        assert build_recipe(changed, "a.toml").key("align")
    except RecipeError:
        with pytest.raises(RecipeError, match=r"^a\.toml: "):
            build_recipe(changed, "a.toml")


def test_the_file_is_named(tmp_path):
    path = tmp_path / "broken.toml"
    path.write_text("name = ")
    with pytest.raises(RecipeError, match=r"broken\.toml: not a TOML file"):
        load_recipe(path)
    for typed, meant in (("embeded", "embedded"), (str(tmp_path / "brokn.toml"), str(path))):
        with pytest.raises(RecipeError, match=f"no recipe {typed!r}; did you mean {meant!r}"):
            load_recipe(typed)
    with pytest.raises(RecipeError, match=r"no recipe 'x' \(expected: .* one of embedded, paper\)"):
        load_recipe("x")


def test_a_key_changes_with_its_own_steps_only(settings):
    plain = build_recipe(settings)
    other = build_recipe(changed(settings, "visual", fps=5.0))
    assert other.key("visual") != plain.key("visual")
    assert other.key("transcribe", "align") == plain.key("transcribe", "align")
    assert other.key("acoustic") == plain.key("acoustic")


@pytest.fixture
def paper(tmp_path, monkeypatch):
    """The paper's recipe on a machine without Whisper large-v3 and GloVe 840B."""

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tomllib.loads((RECIPES / "paper.toml").read_text())


def test_the_papers_recipe_says_what_is_missing_before_any_work(paper, tmp_path):
    with pytest.raises(
        WeightsMissing, match=r"large-v3 .* is missing; looked at: .*hub/models--Sys"
    ):
        build_recipe(paper).key("transcribe", "align")
    (tmp_path / "whisper").mkdir()
    (tmp_path / "whisper/model.bin").write_text("a model")
    paper["transcribe"]["model"] = str(tmp_path / "whisper")
    expected = r"glove\.840B\.300d .* is missing; looked at: .*rmfn weights fetch"
    with pytest.raises(WeightsMissing, match=expected):
        build_recipe(paper).provenance  # noqa: B018
    assert build_recipe(paper).acoustic == (BACKENDS["acoustic"]["covarep"].load()(),)
    assert len(build_recipe(paper).language[0].names) == 300


def test_another_file_at_the_same_place_is_another_recipe(paper, tmp_path):
    (tmp_path / "rmfn-weights/glove.840B.300d").mkdir(parents=True)
    (tmp_path / "whisper").mkdir()
    del paper["visual"]  # which is not here either
    paper["transcribe"]["model"] = str(tmp_path / "whisper")
    keys = []
    for table, model in (("a", "a"), ("b", "a"), ("b", "b")):
        (tmp_path / "rmfn-weights/glove.840B.300d/SHA256SUMS").write_text(table)
        (tmp_path / "whisper/model.bin").write_text(model)
        recipe = build_recipe(paper)
        keys.append((recipe.key("language"), recipe.key("transcribe")))
    (first, second, third) = keys
    assert first[0] != second[0] == third[0]
    assert first[1] == second[1] != third[1]


def test_a_default_written_out_is_the_same_recipe(settings):
    default = build_recipe(settings).transcribe.language
    assert build_recipe(changed(settings, "transcribe", language=default)).key(
        "transcribe"
    ) == build_recipe(settings).key("transcribe")


def test_looking_at_other_frames_is_another_recipe_for_the_face_alone(settings):
    plain, words = build_recipe(settings), build_recipe(changed(settings, "visual", frames="words"))
    assert (plain.looks, words.looks) == (("all",), ("words",))
    assert build_recipe(changed(settings, "visual", frames="all")).key("visual") == plain.key(
        "visual"
    )
    assert words.key("visual") != plain.key("visual")
    assert words.key("transcribe", "align", "acoustic") == plain.key(
        "transcribe", "align", "acoustic"
    )
    assert words.visual == plain.visual  # the backend itself knows nothing of it
    features = {"visual": plain.provenance["visual"]}
    with pytest.raises(RecipeMismatch, match=r"settings frames = None, the recipe has 'words'"):
        require_features("m", features, words.provenance)


def test_the_aligner_takes_the_language_that_is_written_down(settings):
    settings["transcribe"].update(model="large-v3", language="de")
    settings["align"] = {"backend": "wav2vec2"}
    assert build_recipe(settings).align.language == "de"
    settings["transcribe"]["language"] = "auto"
    assert build_recipe(settings).align.language == "auto"


@pytest.mark.parametrize(
    ("language", "align", "message"),
    [
        ("de", {"backend": "pocketsphinx"}, "pocketsphinx aligns English only.*'de'.*wav2vec2"),
        ("sw", {"backend": "wav2vec2"}, "no wav2vec2 aligner is known for .*'sw'; known are: ar"),
        ("de", {"backend": "wav2vec2", "language": "fr"}, "language is 'fr'.* the speech is 'de'"),
    ],
)
def test_a_language_that_nobody_aligns_is_refused_at_once(settings, language, align, message):
    settings["transcribe"].update(model="large-v3", language=language)
    settings["align"] = align
    with pytest.raises(RecipeError, match=rf"my\.toml: \[align\] {message}"):
        build_recipe(settings, "my.toml")
