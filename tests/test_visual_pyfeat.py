"""py-feat's real code on models whose answers are planted: loading, columns, batches, speakers."""

from __future__ import annotations

import os
import shutil
import sys
import tomllib
import weakref
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from extractors import BACKENDS, pyfeat_models, weights
from extractors.pyfeat_models import MODELS, check_types, import_feat, locate_models
from extractors.types import FeatureTrack, Frame, Segment, Transcript, Word
from extractors.visual_mediapipe import MediaPipe
from extractors.visual_pyfeat import PyFeat
from extractors.visual_shape import normalise_landmarks
from extractors.weights import WeightsDamaged, WeightsMissing
from pipeline.clip import open_clip
from pipeline.errors import RecipeError, RecipeMismatch
from pipeline.media import read_frames
from pipeline.process import process_clip
from pipeline.recipe import RECIPES, build_recipe, describe_backend, require_features
from pipeline.store import Store
from tests.conftest import ROOT
from tests.pyfeat_maker import EMOTIONS, LARGE, SMALL, UNITS, draw, face_shape, make_models

BOTH = pytest.mark.parametrize("version", ["v1", "v2"])
HEAD, OTHER = (LARGE, 5, 5), (SMALL, 15, 5)


def column(track: FeatureTrack, name: str) -> np.ndarray:
    (at,) = [i for i, n in enumerate(track.names) if n.split(".", 1)[1] == name]
    return track.values[:, at]


def columns(track: FeatureTrack, prefix: str) -> np.ndarray:
    return track.values[:, [n.split(".", 1)[1].startswith(prefix) for n in track.names]]


def at_rate(images, rate: float = 10.0) -> list[Frame]:
    return [Frame(image, i / rate) for i, image in enumerate(images)]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Made models of both detectors, in a folder that ``RMFN_WEIGHTS`` may name."""
    with pytest.MonkeyPatch.context() as patch:
        # As on a machine without FFmpeg's libraries.
        patch.setitem(sys.modules, "torchcodec.decoders", None)
        import_feat()
    return make_models(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def backends(made) -> dict[str, PyFeat]:
    return {version: PyFeat(detector=version, path=str(made)) for version in MODELS}


@pytest.fixture
def nowhere(tmp_path, monkeypatch) -> Path:
    """A machine that has none of the models; where its hub's cache is."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("RMFN_WEIGHTS", raising=False)
    monkeypatch.setattr(weights, "_find_inside", lambda place: tmp_path / place)
    return tmp_path


# Without models


@BOTH
@pytest.mark.parametrize("landmarks", [True, False])
def test_names_are_unique_and_need_no_model(version, landmarks):
    names = PyFeat(detector=version, landmarks=landmarks).names
    assert len(set(names)) == len(names) == {"v1": 42, "v2": 96}[version] + 136 * landmarks
    assert sum(".au" in name for name in names) == 20
    assert sum(".emotion." in name for name in names) == 7
    assert sum(".blendshape." in name for name in names) == 52 * (version == "v2")


def test_two_detectors_side_by_side_have_no_name_in_common():
    assert not set(PyFeat(detector="v1").names) & set(PyFeat(detector="v2").names)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"detector": "v3"}, "detector must be one of v1, v2"),
        ({"fps": 0}, "fps must be positive"),
        ({"max_faces": 0}, "max_faces must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"confidence": 1.0}, "confidence must lie between 0 and 1"),
    ],
)
def test_senseless_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        PyFeat(**settings)


@BOTH
def test_all_that_is_missing_is_said_before_any_work(version, nowhere):
    with pytest.raises(WeightsMissing) as caught:
        PyFeat(detector=version)(at_rate([draw()]))
    lines = str(caught.value).splitlines()
    assert len(lines) == len(MODELS[version])
    for line, model in zip(lines, MODELS[version], strict=True):
        assert line.startswith(f"{model.name} ({model.what}) is missing; looked at: ")
        assert str(nowhere / "hub/models--py-feat--") in line
        assert str(nowhere / "feat/resources/models--py-feat--") in line
        assert "rmfn weights fetch" in line
        assert model.licence in line


@pytest.mark.parametrize("place", ["RMFN_WEIGHTS", "hub", "feat/resources", "path"])
def test_models_are_found_where_users_put_them(place, nowhere, monkeypatch):
    """In a folder of the user's, in the cache of the hub, and where py-feat itself puts them."""
    model = MODELS["v1"][-1]
    settings = PyFeat()
    if place in ("RMFN_WEIGHTS", "path"):
        folder = nowhere / "mine" / model.name
        if place == "path":
            settings = PyFeat(path=str(nowhere / "mine"))
        else:
            monkeypatch.setenv("RMFN_WEIGHTS", str(nowhere / "mine"))
    else:
        cached = nowhere / place / f"models--{model.repo.replace('/', '--')}"
        folder = cached / "snapshots/abc"
        (cached / "refs").mkdir(parents=True)
        (cached / "refs/main").write_text("abc")
    folder.mkdir(parents=True)
    for file in model.files:
        (folder / file).write_text("numbers")
    (found,) = locate_models(settings.weights[-1:]).values()
    assert found == folder


def test_ffmpeg_is_not_needed(monkeypatch):
    """py-feat's reader of video files is a name while it is imported, and nothing afterwards."""
    monkeypatch.delitem(sys.modules, "torchcodec", raising=False)
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)  # cannot be imported
    with pyfeat_models._reader_if_missing():
        from torchcodec.decoders import VideoDecoder
    assert VideoDecoder is None
    assert "torchcodec" not in sys.modules


def test_what_hinders_the_import_is_said(monkeypatch):
    monkeypatch.delitem(sys.modules, "feat", raising=False)
    monkeypatch.setattr(pyfeat_models.sys, "path", [])
    with pytest.raises(ImportError, match=r"py-feat cannot be imported .*pip install py-feat=="):
        import_feat()


def test_no_picture_is_kept_longer_than_its_batch(monkeypatch):
    """Memory does not grow with the length of a clip."""
    made: list[weakref.ref] = []
    most = 0

    class Picture(np.ndarray):
        """Plain arrays cannot be counted."""

    def film():
        nonlocal most
        for i in range(300):
            image = np.zeros((4, 4, 3), np.uint8).view(Picture)
            made.append(weakref.ref(image))
            most = max(most, sum(one() is not None for one in made))
            yield Frame(image, i / 30)
            del image

    monkeypatch.setattr(PyFeat, "_look", lambda self, images: [[] for _ in images])
    track = PyFeat(batch_size=8)(film())
    assert len(track.times) == 300
    assert most <= 8 + 2


@pytest.mark.parametrize(("side", "expected"), [(16, [8, 8, 4]), (1280, [2] * 10)])
def test_batches_hold_fewer_pictures_if_these_are_large(side, expected, monkeypatch):
    seen = []

    def look(self, images):
        seen.append(len(images))
        return [[]] * len(images)

    monkeypatch.setattr(PyFeat, "_look", look)
    PyFeat()(at_rate([np.zeros((side, side, 3), np.uint8)] * 20))
    assert seen == expected


# The files


def test_a_file_that_would_run_something_is_not_read(tmp_path):
    import subprocess

    import skops.io

    skops.io.dump([subprocess.Popen], tmp_path / "trees.skops")
    with pytest.raises(WeightsDamaged, match=r"would load subprocess\.Popen"):
        check_types(tmp_path / "trees.skops")
    (tmp_path / "trees.skops").write_bytes(b"no archive")
    with pytest.raises(WeightsDamaged, match="is not a skops file"):
        check_types(tmp_path / "trees.skops")


def test_the_trees_that_py_feat_reads_pass(made):
    check_types(made / "pyfeat-units/xgb_au_classifier_v2.skops")


def copy_models(made: Path, folder: Path, version: str) -> Path:
    for model in MODELS[version]:
        shutil.copytree(made / model.name, folder / model.name, copy_function=os.link)
    return folder


def test_a_damaged_file_is_said(made, tmp_path):
    folder = copy_models(made, tmp_path, "v2")
    file = folder / "pyfeat-multitask/face_multitask_v28.safetensors"
    file.unlink()
    with pytest.raises(WeightsMissing, match=r"no such file: .*face_multitask_v28"):
        PyFeat(detector="v2", path=str(folder))(at_rate([draw()]))
    file.write_bytes(b"half of it")
    with pytest.raises(WeightsDamaged, match=r"py-feat cannot load its models .*pyfeat-multitask"):
        PyFeat(detector="v2", path=str(folder))(at_rate([draw()]))


def test_a_gaze_network_that_is_another_is_refused(made, backends, tmp_path):
    """py-feat would take it, and give any gaze."""
    from safetensors.torch import save_file
    from torch import zeros

    model = backends["v1"]._loaded.gaze_detector.model
    pyfeat_models._check_gaze(made / "pyfeat-gaze/l2cs_gaze360_resnet50.safetensors", model)
    save_file({"conv1.weight": zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsDamaged, match=r"lacks bn1\.bias"):
        pyfeat_models._check_gaze(tmp_path / "other.safetensors", model)


def test_loading_leaves_gradients_on_and_the_hub_alone(backends):
    import huggingface_hub
    import torch
    from feat import detector

    for backend in backends.values():
        assert backend._loaded
    assert torch.is_grad_enabled()
    real = huggingface_hub.file_download.hf_hub_download
    assert huggingface_hub.hf_hub_download is detector.hf_hub_download is real


# What is measured


def again(backend: PyFeat, **settings) -> PyFeat:
    """With other settings and the same models."""
    other = replace(backend, **settings)
    vars(other)["_loaded"] = backend._loaded
    return other


def film() -> list[Frame]:
    """A head that is there and moves, with another beside it, which stays when it goes."""
    return at_rate([draw(HEAD), draw((LARGE, 6, 5), OTHER), draw(OTHER), draw()])


@pytest.fixture(scope="module")
def seen(backends) -> dict[str, FeatureTrack]:
    return {version: backend(film()) for version, backend in backends.items()}


@BOTH
def test_the_speaker_has_the_rows_and_is_missing_when_away(version, seen):
    track = seen[version]
    assert track.observed.tolist() == [True, True, False, False]
    assert column(track, "faces").tolist() == [1, 2, 1, 0]
    assert column(track, "face_present").tolist() == [1, 1, 0, 0]
    assert np.isfinite(track.values[track.observed]).all()
    assert np.isnan(track.values[~track.observed][:, 2:]).all()
    assert track.notes["frames_with_speaker"] == 2
    assert np.allclose(track.times, np.arange(4) / 10)


@BOTH
def test_the_box_is_around_the_landmarks_of_the_face(version, seen):
    box = columns(seen[version], "box.")[seen[version].observed] * (320, 192, 320, 192)
    crop = 1.2 * LARGE  # which py-feat cuts out around the face
    for (x, y), found in zip([(88, 88), (104, 88)], box, strict=True):
        corner = (x, y) + crop * (face_shape().min(axis=0) - 0.5)
        assert np.allclose(found[:2], corner, atol=4)
        assert np.allclose(found[2:], crop * np.ptp(face_shape(), axis=0), atol=6)


@BOTH
def test_landmarks_are_a_face_in_the_right_order(version, seen):
    points = columns(seen[version], "landmark.")[seen[version].observed].reshape(-1, 68, 2)
    expected = normalise_landmarks(face_shape().astype(np.float32))
    assert abs(points - expected).mean() < 0.1
    assert abs(points - expected).max() < 0.4


def test_what_is_planted_in_the_first_detectors_models_is_found(seen):
    track = seen["v1"]
    there = track.observed
    units = columns(track, "au")[there]
    assert [n for n in track.names if ".au" in n] == [f"pyfeat.au{int(unit):02}" for unit in UNITS]
    assert np.allclose(units, np.array(UNITS, float) / 50, atol=0.02)
    assert np.allclose(columns(track, "emotion.")[there], EMOTIONS, atol=1e-4)
    # Planted to the person's right, so here to the picture's left.
    assert np.allclose(column(track, "gaze_yaw")[there], -60, atol=1)
    assert np.allclose(column(track, "gaze_pitch")[there], -20, atol=1)
    # Of py-feat's network (pitch .1, roll .2, yaw .3 rad) py-feat makes (-.1, -.3, .2).
    assert np.allclose(np.radians(column(track, "pitch")[there]), -0.1, atol=1e-4)
    assert np.allclose(np.radians(column(track, "roll")[there]), 0.3, atol=1e-4)
    assert np.allclose(np.radians(column(track, "yaw")[there]), -0.2, atol=1e-4)
    assert np.allclose(columns(track, "position.")[there], (1, 2, 3), atol=1e-4)


def test_the_second_detectors_values_are_in_their_ranges(seen):
    track = seen["v2"]
    there = track.observed
    emotions = columns(track, "emotion.")[there]
    assert np.allclose(emotions.sum(axis=1), 1, atol=1e-4)
    for prefix, low in (("au", 0), ("blendshape.", 0), ("emotion.", 0), ("valence", -1)):
        values = columns(track, prefix)[there]
        assert ((values >= low) & (values <= 1)).all(), prefix


@BOTH
def test_the_numbers_are_those_of_py_feats_own_detect(version, backends, seen):
    import torch

    image = draw((LARGE, 6, 5), OTHER)
    theirs = backends[version]._loaded.detect(
        torch.from_numpy(image).permute(2, 0, 1)[None], data_type="tensor", progress_bar=False
    )
    theirs = theirs.iloc[int(np.argmax(theirs["FaceRectWidth"]))]
    ours = {name.split(".", 1)[1]: value for name, value in zip(
        seen[version].names, seen[version].values[1], strict=True
    )}  # fmt: skip
    for name, source in backends[version]._sources.items():
        turned = np.degrees if name in ("pitch", "yaw", "roll", "gaze_pitch", "gaze_yaw") else abs
        assert abs(ours[name]) == pytest.approx(abs(turned(theirs[source])), abs=1e-3), name
    points = np.array([(theirs[f"x_{i}"], theirs[f"y_{i}"]) for i in range(68)], np.float32)
    shape = normalise_landmarks(points).ravel()
    assert np.allclose(columns(seen[version], "landmark.")[1], shape, atol=1e-2)


@BOTH
def test_the_size_of_a_batch_changes_nothing(version, backends, seen):
    track = again(backends[version], batch_size=1)(film())
    assert track.names == seen[version].names
    assert np.allclose(track.values, seen[version].values, rtol=1e-3, atol=1e-3, equal_nan=True)


def test_no_frames_and_no_faces(backends):
    assert backends["v2"]([]).values.shape == (0, 232)
    track = backends["v2"](at_rate([draw()] * 3))
    assert not track.observed.any()
    assert column(track, "faces").tolist() == [0, 0, 0]
    assert track.notes["frames_with_faces"] == 0


def test_of_many_faces_the_largest_are_taken(backends):
    two = at_rate([draw(HEAD, OTHER)])
    track = again(backends["v2"], max_faces=1)(two)
    assert column(track, "faces") == 1
    tall = 1.2 * LARGE * np.ptp(face_shape(), axis=0)[1]
    assert column(track, "box.height") * 192 == pytest.approx(tall, abs=6)
    assert column(again(backends["v2"], min_face=0.5)(two), "faces") == 1
    assert column(again(backends["v2"], min_face=0.9)(two), "faces") == 0


def test_a_picture_that_changes_its_size_is_followed(backends):
    track = backends["v2"](at_rate([draw(HEAD), draw(HEAD, height=224, width=352), draw(HEAD)]))
    assert column(track, "faces").tolist() == [1, 1, 1]
    tall = column(track, "box.height") * (192, 224, 192)
    assert np.ptp(tall) < 3
    assert tall[0] == pytest.approx(1.2 * LARGE * np.ptp(face_shape(), axis=0)[1], abs=6)


def test_fewer_frames_are_looked_at_if_asked(backends):
    track = again(backends["v2"], fps=2)(at_rate([draw()] * 10))
    assert np.allclose(track.times, [0, 0.5])


def test_settings_only_leave_columns_out(backends):
    whole, one = backends["v2"], at_rate([draw(HEAD)])
    whole, less = whole(one), again(whole, landmarks=False)(one)
    kept = [whole.names.index(name) for name in less.names]
    assert np.allclose(whole.values[:, kept], less.values, atol=1e-4)


@pytest.fixture
def loaded(backends):
    """The first detector, to spoil: put right afterwards."""
    detector = backends["v1"]._loaded
    spoilt = (detector.emotion_detector.fc[1], detector.landmark_detector.output_layer.bn)
    kept = [module.bias.detach().clone() for module in spoilt]
    yield spoilt
    for module, bias in zip(spoilt, kept, strict=True):
        module.bias.data.copy_(bias)


def test_what_a_network_cannot_tell_is_missing_alone(backends, loaded):
    loaded[0].bias.data.fill_(np.nan)
    track = backends["v1"](at_rate([draw(HEAD)]))
    assert track.observed.all()
    assert np.isnan(columns(track, "emotion.")).all()
    rest = [not name.startswith("pyfeat.emotion.") for name in track.names]
    assert np.isfinite(track.values[:, rest]).all()


@pytest.mark.parametrize("spoil", [np.nan, 0.5])
def test_a_face_without_a_shape_is_none_and_no_reason_to_fail(spoil, backends, loaded):
    """Landmarks that are nowhere, or all in one place."""
    loaded[1].bias.data.fill_(spoil)
    weight = loaded[1].weight.detach().clone()
    loaded[1].weight.data.zero_()
    try:
        track = backends["v1"](at_rate([draw(HEAD), draw()]))
    finally:
        loaded[1].weight.data.copy_(weight)
    assert column(track, "faces").tolist() == [0, 0]
    assert not track.observed.any()


# In recipes


def test_other_features_than_the_models_are_refused_by_name(made):
    def describe(backend: str, **settings):
        table = {"backend": backend, **settings}
        return describe_backend("visual", table, BACKENDS["visual"][backend].load()(**settings))

    first, second = (describe("pyfeat", detector=v, path=str(made)) for v in MODELS)
    assert {"pyfeat-units", "pyfeat-gaze"} <= set(first["weights"])
    with pytest.raises(RecipeMismatch, match="'mediapipe' for visual, the recipe has pyfeat"):
        require_features("mosi", {"visual": [describe("mediapipe")]}, {"visual": [first]})
    with pytest.raises(RecipeMismatch, match=r"pyfeat' settings detector = 'v1', .* has 'v2'"):
        require_features("mosi", {"visual": [first]}, {"visual": [second]})
    beside = {"visual": [describe("mediapipe"), second, first]}
    require_features("mosi", {"visual": [first]}, beside)


def test_what_does_not_change_numbers_does_not_make_another_recipe():
    assert PyFeat(device="cuda", threads=4, batch_size=64) == PyFeat() != PyFeat(detector="v2")


def make_film(path: Path) -> Path:
    """Two seconds with a click and a head, which is gone for the last half second."""
    import av

    with av.open(str(path), "w") as out:
        video, audio = out.add_stream("libx264", rate=4), out.add_stream("aac", rate=16000)
        video.width, video.height, video.pix_fmt = 320, 192, "yuv444p"
        for i in range(8):
            image = draw((LARGE, 5 + i % 2, 5)) if i < 6 else draw()
            out.mux(video.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        out.mux(video.encode())
        sound = np.zeros((1, 32000), np.float32)
        sound[0, 16000:16100] = 0.9
        block = av.AudioFrame.from_ndarray(sound, "fltp", "mono")
        block.sample_rate = 16000
        out.mux(audio.encode(block))
        out.mux(audio.encode())
    return path


@dataclass(frozen=True)
class Said:
    """Hears three words and puts one in each half second but the first."""

    def __call__(self, audio, transcript=None):
        if transcript is None:
            return Transcript((Segment("one two three", 0.5, 2.0),))
        return tuple(
            Word(text, i / 2 + 0.5, i / 2 + 1.0, 0.9) for i, text in enumerate(transcript.tokens)
        )


def test_tools_of_a_modality_stand_side_by_side(made, tmp_path):
    """Through the whole pipeline: each measures in a process of its own and decodes anew."""
    tables = {
        "name": "both",
        "transcribe": {"backend": "whisperx"},
        "align": {"backend": "pocketsphinx"},
        "visual": [
            {"backend": "mediapipe", "fps": 2, "hog": False},
            {"backend": "pyfeat", "detector": "v2", "path": str(made), "fps": 2},
        ],
        "acoustic": [{"backend": "librosa"}, {"backend": "covarep"}],
    }
    recipe = replace(build_recipe(tables), transcribe=Said(), align=Said())
    store = Store(tmp_path / "store")
    done = process_clip(make_film(tmp_path / "film.mp4"), recipe, store=store)
    for modality in ("visual", "acoustic"):
        first, second = getattr(recipe, modality)
        features = done.sequence.features[modality]
        assert features.names == (*first.names, *second.names)
        assert features.values.shape == (3, len(features.names))
        assert [track.names for track in done.tracks[modality]] == [first.names, second.names]
    visual = done.sequence.features["visual"]
    rows = visual.values[:, len(recipe.visual[0].names) :]
    assert np.isfinite(rows[:2]).all()  # the words that were said while the head was there
    assert np.isnan(rows[2, 2:]).all()
    assert rows[:, :2].tolist() == [[1, 1], [1, 1], [0, 0]]
    again = process_clip(tmp_path / "film.mp4", recipe, store=store)
    assert not {"visual", "acoustic"} & set(again.seconds)
    assert np.array_equal(again.sequence.features["visual"].values, visual.values, equal_nan=True)


def test_columns_of_one_name_cannot_stand_side_by_side():
    tables = tomllib.loads((RECIPES / "embedded.toml").read_text())
    tables["visual"] *= 2
    with pytest.raises(RecipeError, match=r"\[\[visual\]\] give columns .*'mediapipe.face_present"):
        build_recipe(tables)


# The true models


@BOTH
def test_a_natural_face_is_followed_with_the_true_models(version):
    """Runs where they are: ``rmfn weights fetch`` of a recipe that names py-feat brings them."""
    backend = PyFeat(detector=version, fps=5)
    try:
        locate_models(backend.weights)
    except WeightsMissing as missing:
        pytest.skip(f"py-feat's own models are not on this machine: {missing}")
    frames = list(read_frames(open_clip(ROOT / "sample_videos/turning.mp4")))
    track, other = backend(frames), MediaPipe(fps=5)(frames)
    assert track.observed.mean() > 0.9
    both = track.observed & other.observed
    for angle in ("yaw", "pitch", "roll"):
        pair = column(track, angle)[both], column(other, angle)[both]
        assert np.corrcoef(*pair)[0, 1] > 0.6, angle
    assert abs(columns(track, "landmark.")[both] - columns(other, "landmark.")[both]).mean() < 0.2
    assert np.allclose(columns(track, "emotion.")[track.observed].sum(axis=1), 1, atol=1e-3)
