"""The face backend on pictures whose truth is planted: turned, mirrored, hidden, side by side."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pytest

from extractors.types import FeatureTrack, Frame
from extractors.visual_detector import load_library
from extractors.visual_mediapipe import MediaPipe, pick_frames
from extractors.visual_speaker import is_cut, shrink
from extractors.weights import WeightsMissing, locate_weights
from tests.conftest import ROOT, shared

CLIP = ROOT / "sample_videos" / "turning.mp4"


def column(track: FeatureTrack, name: str) -> np.ndarray:
    return track.values[:, track.names.index(f"mediapipe.{name}")]


def columns(track: FeatureTrack, prefix: str) -> np.ndarray:
    return track.values[:, [n.startswith(f"mediapipe.{prefix}") for n in track.names]]


def at_rate(images: Iterable[np.ndarray], rate: float = 25.0) -> list[Frame]:
    return [Frame(image, i / rate) for i, image in enumerate(images)]


def decode(path, limit: int | None = None) -> list[Frame]:
    av = pytest.importorskip("av")
    with av.open(str(path)) as file:
        frames = []
        for picture in file.decode(video=0):
            frames.append(Frame(picture.to_ndarray(format="rgb24"), float(picture.time)))
            if limit is not None and len(frames) == limit:
                break
    return frames


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    """A frontal face with room around it, [480, 640, 3]."""
    image = decode(CLIP, 1)[0].image
    return np.ascontiguousarray(image)


@pytest.fixture(scope="module")
def turning() -> list[Frame]:
    return decode(CLIP, 50)


@pytest.fixture(scope="module")
def seen(turning) -> FeatureTrack:
    return MediaPipe()(turning)


def warp(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    import cv2

    height, width = image.shape[:2]
    return cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)


# Without the model


@pytest.mark.parametrize(
    ("fps", "expected"),
    [(None, range(25)), (25, range(25)), (5, range(0, 25, 5)), (100, range(25)), (1, [0])],
)
def test_the_frames_nearest_to_the_grid_are_taken(fps, expected):
    frames = at_rate([np.zeros((1, 1, 3), np.uint8)] * 25)
    assert [f.time for f in pick_frames(frames, fps)] == [i / 25 for i in expected]


def test_irregular_frames_are_each_taken_once_and_are_the_nearest():
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.exponential(0.04, 400))
    frames = [Frame(np.zeros((1, 1, 3), np.uint8), float(t)) for t in times]
    taken = np.array([f.time for f in pick_frames(frames, 10)])
    assert (np.diff(taken) > 0).all()
    grid = np.arange(0, times[-1], 0.1)
    nearest = np.unique(times[np.abs(times[:, None] - grid).argmin(axis=0)])
    np.testing.assert_array_equal(taken, nearest)


def test_frames_that_do_not_go_forward_are_left_out():
    frames = [Frame(np.zeros((1, 1, 3), np.uint8), t) for t in (0.0, 0.04, 0.04, 0.02, 0.08)]
    assert [f.time for f in pick_frames(frames, None)] == [0.0, 0.04, 0.08]


def test_names_are_unique_and_need_no_model():
    names = MediaPipe(path="/nowhere").names
    assert len(names) == len(set(names)) == 366
    assert names[:2] == ("mediapipe.face_present", "mediapipe.faces")
    assert len(MediaPipe(hog=False).names) == 366 - 144
    assert len(MediaPipe(landmarks=False, hog=False).names) == 366 - 144 - 136


def test_no_frames_give_an_empty_track():
    track = MediaPipe(path="/nowhere")([])
    assert track.values.shape == (0, 366)
    assert track.notes["frames_with_speaker"] == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fps": 0}, "fps must be positive"),
        ({"max_faces": 0}, "max_faces must be at least 1"),
        ({"look_around": -0.1}, "look_around must not be negative"),
    ],
)
def test_senseless_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MediaPipe(**settings)


def test_a_missing_model_is_said(portrait):
    with pytest.raises(WeightsMissing, match=r"face-landmarker .* is missing; looked at: /nowhere"):
        MediaPipe(path="/nowhere")([Frame(portrait, 0.0)])


# With the model


@pytest.mark.slow
def test_a_file_that_is_no_model_is_said(portrait, tmp_path):
    file = tmp_path / "face.task"
    file.write_bytes(b"not a model")
    with pytest.raises(WeightsMissing, match=r"face\.task cannot be read as a MediaPipe face"):
        MediaPipe(path=str(file))([Frame(portrait, 0.0)])


@pytest.mark.slow
def test_every_frame_has_its_row_at_its_own_time(seen, turning):
    np.testing.assert_array_equal(seen.times, [f.time for f in turning])
    assert seen.observed.all()
    assert np.isfinite(seen.values).all()
    assert (column(seen, "faces") == 1).all()


@pytest.mark.slow
def test_the_same_clip_twice_is_the_same_to_the_bit(seen, turning):
    again = MediaPipe()(turning)
    np.testing.assert_array_equal(again.values, seen.values)


@pytest.mark.slow
@pytest.mark.parametrize(("degrees", "scale", "shift"), [(20, 1, (0, 0)), (-15, 0.7, (60, 40))])
def test_a_turned_picture_has_the_same_shape_and_its_roll_says_so(portrait, degrees, scale, shift):
    import cv2

    matrix = cv2.getRotationMatrix2D((300, 220), -degrees, scale)  # OpenCV turns anticlockwise
    matrix[:, 2] += shift
    still = MediaPipe()(at_rate([portrait] * 3))
    moved = MediaPipe()(at_rate([warp(portrait, matrix)] * 3))
    shape, there = columns(still, "landmark.")[-1], columns(moved, "landmark.")[-1]
    assert np.abs(shape - there).mean() < 0.03  # of a face about 4 wide
    roll = column(moved, "roll")[-1] - column(still, "roll")[-1]
    assert roll == pytest.approx(degrees, abs=2.5)
    hog = [columns(t, "hog.")[-1] for t in (still, moved)]
    assert np.corrcoef(*hog)[0, 1] > 0.9
    assert column(moved, "au12")[-1] == pytest.approx(column(still, "au12")[-1], abs=0.12)


@pytest.mark.slow
def test_a_mirrored_picture_has_mirrored_features(turning, seen):
    mirrored = MediaPipe()([Frame(f.image[:, ::-1], f.time) for f in turning])
    for name in ("yaw", "roll", "gaze_yaw"):
        straight, mirror = column(seen, name), column(mirrored, name)
        assert np.abs(straight + mirror).mean() < (3.0 if name == "gaze_yaw" else 1.5), name
    assert np.corrcoef(column(seen, "yaw"), column(mirrored, "yaw"))[0, 1] < -0.98
    assert np.abs(column(seen, "pitch") - column(mirrored, "pitch")).mean() < 2
    units = [columns(t, "au") for t in (seen, mirrored)]
    assert np.abs(units[0] - units[1]).mean() < 0.03
    left, right = column(seen, "blendshape.mouthSmileLeft"), "blendshape.mouthSmileRight"
    assert np.abs(left - column(mirrored, right)).mean() < 0.08
    order = [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31]
    order += [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    order += [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
    shape = columns(seen, "landmark.").reshape(-1, 68, 2)
    flipped = columns(mirrored, "landmark.").reshape(-1, 68, 2)[:, order] * (-1, 1)
    assert np.abs(shape - flipped).mean() < 0.06


@pytest.mark.slow
def test_pictures_without_a_face_keep_their_rows(portrait):
    grey = np.full_like(portrait, 128)
    track = MediaPipe()(at_rate([grey] * 5))
    assert not track.observed.any()
    assert (column(track, "face_present") == 0).all()
    assert (column(track, "faces") == 0).all()
    assert np.isnan(track.values[:, 2:]).all()


@pytest.mark.slow
def test_a_face_that_is_hidden_for_a_while_is_missing_just_then(turning):
    frames = list(turning)
    for i in range(15, 35):
        frames[i] = Frame(np.full_like(frames[i].image, 128), frames[i].time)
    track = MediaPipe()(frames)
    expected = np.ones(50, dtype=bool)
    expected[15:35] = False
    np.testing.assert_array_equal(track.observed, expected)
    assert np.isnan(track.values[15:35, 2:]).all()
    assert track.notes["speaker_found_again"] == 1
    assert track.notes["other_persons"] == 0


@pytest.fixture(scope="module")
def two_persons(turning) -> list[tuple[np.ndarray, np.ndarray]]:
    """Frames of two different persons: the talking sample and another real face, silent."""
    other = decode(shared("clips/may_newyear_5s.mp4"), 1)[0].image
    return [(f.image[40:440, 120:520], other[20:420, 60:460]) for f in turning]


def beside(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.hstack([left, right]))


@pytest.mark.slow
def test_of_two_faces_the_one_that_talks_is_followed(two_persons):
    for flip in (False, True):
        images = [beside(*(pair[::-1] if flip else pair)) for pair in two_persons]
        track = MediaPipe()(at_rate(images))
        assert track.observed.mean() > 0.95
        assert (column(track, "faces") == 2).mean() > 0.9
        assert track.notes["other_persons"] == 1
        middle = column(track, "box.x") + column(track, "box.width") / 2
        assert ((middle > 0.5) == flip)[track.observed].all()


@pytest.mark.slow
def test_while_the_speaker_is_away_the_row_is_missing_though_another_is_there(two_persons):
    images = []
    for i, (speaker, other) in enumerate(two_persons):
        images.append(beside(np.full_like(speaker, 128) if 20 <= i < 40 else speaker, other))
    track = MediaPipe()(at_rate(images))
    away = ~track.observed
    assert away[20:40].all()
    assert not away[:20].any()
    assert (column(track, "faces")[20:40] == 1).all()
    middle = column(track, "box.x") + column(track, "box.width") / 2
    assert (middle[track.observed] < 0.5).all()


@pytest.mark.slow
def test_who_joins_is_seen_within_the_time_that_a_search_may_take(two_persons):
    """The other comes out of a blur: nothing that looks like a cut."""
    import cv2

    images = [
        beside(left, right if 10 <= i < 30 else cv2.GaussianBlur(right, (0, 0), 30))
        for i, (left, right) in enumerate(two_persons)
    ]
    assert not any(is_cut(shrink(a), shrink(b)) for a, b in pairwise(images))
    faces = column(MediaPipe(look_around=0.2)(at_rate(images)), "faces")
    assert (faces[:10] == 1).all()
    assert (faces[15:30] == 2).all()
    assert (faces[30:] == 1).all()


@pytest.mark.slow
def test_a_cut_to_another_person_in_the_same_place_is_not_the_same_person(two_persons):
    images = [pair[0] if i < 30 else pair[1] for i, pair in enumerate(two_persons)]
    track = MediaPipe()(at_rate([np.ascontiguousarray(image) for image in images]))
    assert track.observed[:30].all()
    assert not track.observed[31:].any()
    assert column(track, "faces")[32:].min() == 1
    assert track.notes["other_persons"] == 1


@pytest.mark.slow
def test_a_cut_between_two_persons_of_one_studio_does_not_mix_them():
    """The two most alike of the natural clips: same room, light and place."""
    first = decode(shared("clips/grid_lbax4n.mpg"), 40)
    second = decode(shared("clips/grid_pwij3p.mpg"), 25)
    track = MediaPipe()(at_rate([f.image for f in first + second]))
    assert track.observed[:40].all()
    assert not track.observed[42:].any()
    assert track.notes["other_persons"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1, 1), (1, 640), (480, 1), (8, 2000), (2, 2), (3, 5)])
def test_pictures_too_small_or_odd_for_a_face_have_none(size):
    track = MediaPipe()(at_rate([np.full((*size, 3), 200, np.uint8)] * 2))
    assert track.values.shape == (2, 366)
    assert not track.observed.any()


@pytest.mark.slow
def test_a_picture_that_changes_its_size_is_followed(portrait):
    import cv2

    small = cv2.resize(portrait, (320, 240), interpolation=cv2.INTER_AREA)
    wide = cv2.copyMakeBorder(portrait, 0, 0, 200, 200, cv2.BORDER_REPLICATE)
    track = MediaPipe()(at_rate([portrait] * 4 + [small] * 4 + [wide] * 4))
    assert track.observed.all()
    # Where a face is looked for moves its smile by up to .08; one in the wrong place by far more.
    assert np.ptp(column(track, "au12")) < 0.12


@pytest.mark.slow
@pytest.mark.parametrize("max_faces", [1, 4])
def test_what_is_measured_does_not_lag_behind_the_picture(portrait, max_faces):
    """A head that jumps from side to side stands where it is at once, not halfway."""
    left, right = (warp(portrait, np.float32([[1, 0, dx], [0, 1, 0]])) for dx in (-3, 3))
    track = MediaPipe(max_faces=max_faces)(at_rate([left, right] * 8))
    middle = column(track, "box.x") + column(track, "box.width") / 2
    moved = np.abs(np.diff(middle)) * portrait.shape[1]
    np.testing.assert_allclose(moved[4:], 6, atol=1.5)  # smoothed it would be 3.4


@pytest.mark.slow
def test_nothing_of_the_shot_before_a_cut_is_left(portrait):
    """Bit for bit, though the face of the first shot is nearly where the second one's is."""
    dark = (warp(portrait, np.float32([[0.9, 0, 10], [0, 0.9, 0]])) * 0.5).astype(np.uint8)
    after = MediaPipe()(at_rate([dark] * 5 + [portrait] * 3)).values[5:]
    np.testing.assert_array_equal(after, MediaPipe()(at_rate([portrait] * 3)).values)


@pytest.mark.slow
def test_one_frame_is_enough(portrait):
    track = MediaPipe()([Frame(portrait, 12.5)])
    assert track.observed.tolist() == [True]
    assert track.times.tolist() == [12.5]


@pytest.mark.slow
def test_frames_less_than_a_millisecond_apart_are_all_seen(portrait):
    frames = [Frame(portrait, 0.0002 * i) for i in range(8)]
    track = MediaPipe()(frames)
    assert track.observed.all()
    assert len(track.times) == 8


@pytest.mark.slow
def test_fewer_frames_give_the_same_rows_where_they_are(turning, seen):
    track = MediaPipe(fps=5)(turning)
    np.testing.assert_allclose(track.times, np.arange(0, 2, 0.2), atol=1e-6)
    # The face is looked for around the last one seen, so rows differ by a breath.
    at = np.searchsorted(seen.times, track.times - 1e-6)
    for name, least in (("yaw", 1.5), ("au12", 0.1)):
        assert np.abs(column(track, name) - column(seen, name)[at]).max() < least


@pytest.mark.slow
def test_settings_only_leave_columns_out(turning, seen):
    few = MediaPipe(hog=False, landmarks=False)(turning[:10])
    kept = [seen.names.index(name) for name in few.names]
    np.testing.assert_array_equal(few.values, seen.values[:10, kept])


@pytest.mark.slow
def test_a_broken_decoder_is_heard(portrait):
    def frames():
        yield Frame(portrait, 0.0)
        raise OSError("the file ends here")

    with pytest.raises(OSError, match="the file ends here"):
        MediaPipe()(frames())


@pytest.mark.slow
def test_memory_holds_no_pictures(portrait):
    """Frames are let go as soon as they are measured: at most a few are alive at a time."""
    import weakref

    alive: set[int] = set()
    most = 0

    def frames():
        nonlocal most
        for i in range(30):
            image = portrait.copy()
            weakref.finalize(image, alive.discard, i)
            alive.add(i)
            most = max(most, len(alive))
            yield Frame(image, i / 25)
            del image

    MediaPipe()(frames())
    assert most <= 4


@pytest.mark.slow
def test_no_python_code_opens_a_connection(portrait, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert MediaPipe()([Frame(portrait, 0.0)]).observed.all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "least"),
    [("grid_bbaf2n.mpg", 1.0), ("may_newyear_5s.mp4", 1.0), ("mosi_Oz06ZWiO20M_6.mp4", 0.99)],
)
def test_natural_talkers_are_followed_throughout(name, least):
    track = MediaPipe()(decode(shared(f"clips/{name}"), 75))
    assert track.observed.mean() >= least
    assert column(track, "box.height").min() > 0.2


@pytest.mark.slow
def test_a_clip_with_no_face_has_none():
    track = MediaPipe(fps=5)(decode(shared("clips/autoeditor_noface_speech_pauses_42s.mp4"), 150))
    assert not track.observed.any()


@pytest.mark.slow
def test_a_missing_system_library_is_named(portrait, monkeypatch):
    from mediapipe.tasks.python.core import mediapipe_c_bindings

    def fail():
        raise OSError("libEGL.so.1: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(mediapipe_c_bindings, "load_raw_library", fail)
    with pytest.raises(ImportError, match=r"libEGL\.so\.1.*apt-get install libegl1"):
        MediaPipe()([Frame(portrait, 0.0)])


@pytest.mark.slow
def test_the_error_stream_keeps_what_is_not_chatter(portrait, capfd):
    import os

    from extractors.visual_detector import _without_chatter

    MediaPipe()([Frame(portrait, 0.0)])
    assert capfd.readouterr().err == ""
    with _without_chatter():
        os.write(2, b"W0000 00:00:1 1 file.cc:1] chatter\nsomething broke\n")
    assert capfd.readouterr().err == "something broke\n"


@pytest.mark.slow
def test_the_library_gets_no_certificates_to_report_with():
    library = load_library(locate_weights("face-landmarker"), 1, 0.5)
    assert library.options.base_options.to_ctypes().ca_bundle_path == b"/dev/null"
