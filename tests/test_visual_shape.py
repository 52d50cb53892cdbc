"""Geometry and look of a face against planted truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from extractors.visual_shape import (
    ACTION_UNITS,
    BLENDSHAPES,
    MESH_TO_68,
    action_units,
    cut_face,
    describe_gradients,
    describe_look,
    gaze_angles,
    head_angles,
    normalise_landmarks,
    reduce_mesh,
)


@pytest.fixture
def points() -> np.ndarray:
    """68 points that lie like a face's, in pixels."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (68, 2))
    points[36:42] = (-0.5, -0.4) + 0.1 * rng.uniform(-1, 1, (6, 2))
    points[42:48] = (0.5, -0.4) + 0.1 * rng.uniform(-1, 1, (6, 2))
    points[48:60] = (0.0, 0.6) + 0.2 * rng.uniform(-1, 1, (12, 2))
    return (points * 80 + (300, 200)).astype(np.float32)


def turn(degrees: float) -> np.ndarray:
    """Clockwise in a picture whose y points down."""
    a = np.radians(degrees)
    return np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])


@pytest.mark.parametrize(("degrees", "scale", "shift"), [(30, 1, 0), (-75, 2.5, 40), (0, 0.3, -90)])
def test_position_scale_and_roll_leave_no_trace(points, degrees, scale, shift):
    moved = (scale * points @ turn(degrees).T + shift).astype(np.float32)
    np.testing.assert_allclose(
        normalise_landmarks(moved), normalise_landmarks(points), rtol=0, atol=1e-3
    )


def test_normalised_eyes_are_level_and_the_right_way_up(points):
    shape = normalise_landmarks((points @ turn(160).T).astype(np.float32))
    right, left = shape[36:42].mean(axis=0), shape[42:48].mean(axis=0)
    assert left[1] == pytest.approx(right[1], abs=1e-4)
    assert left[0] > right[0]
    assert shape[48:60, 1].mean() > right[1]


def test_normalised_scale_is_that_of_nose_and_eye_corners(points):
    rigid = normalise_landmarks(points)[[*range(27, 36), 36, 39, 42, 45]]
    np.testing.assert_allclose(rigid.mean(axis=0), 0, atol=1e-5)
    assert np.sqrt((rigid**2).sum(axis=1).mean()) == pytest.approx(1, abs=1e-5)


def test_points_that_coincide_give_no_nan():
    assert np.isfinite(normalise_landmarks(np.full((68, 2), 7, dtype=np.float32))).all()


def test_the_68_points_are_mirror_images_of_each_other():
    """A face model that is symmetric in x: the map's left and right must agree in y and z."""
    # Pairs of the mesh that mirror each other, from the published map alone.
    mirror = [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31]
    mirror += [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    mirror += [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
    assert [len(MESH_TO_68[i]) for i in mirror] == [len(p) for p in MESH_TO_68]
    assert len(MESH_TO_68) == 68
    assert len({p for pair in MESH_TO_68 for p in pair}) == len(
        {p for i in mirror for p in MESH_TO_68[i]}
    )


def test_two_mesh_points_are_averaged():
    mesh = np.arange(478 * 2, dtype=np.float32).reshape(478, 2)
    np.testing.assert_array_equal(reduce_mesh(mesh)[3], (mesh[132] + mesh[58]) / 2)
    np.testing.assert_array_equal(reduce_mesh(mesh)[30], mesh[4])


@pytest.mark.parametrize("angles", [(0, 0, 0), (20, 0, 0), (0, -35, 0), (0, 0, 50), (-15, 40, -25)])
def test_head_angles_undo_a_rotation_made_by_scipy(angles):
    pitch, yaw, roll = angles
    # y up, z to the viewer: to look up is to turn about x by a negative angle, to tilt clockwise
    # about z likewise.
    rotation = Rotation.from_euler("YXZ", [yaw, -pitch, -roll], degrees=True).as_matrix()
    assert head_angles(rotation.astype(np.float32)) == pytest.approx(angles, abs=1e-3)


def test_yaw_points_where_the_nose_points():
    rotation = Rotation.from_euler("Y", 30, degrees=True).as_matrix()
    nose = rotation @ (0, 0, 1)
    assert nose[0] > 0  # to the picture's right
    assert head_angles(rotation)[1] == pytest.approx(30, abs=1e-4)


def eyes(yaw: float, pitch: float, head: Rotation) -> np.ndarray:
    """A mesh with eyes only, of a head that is turned: millimetres, x right, y down, z away."""
    mesh = np.zeros((478, 3))
    look = Rotation.from_euler("YX", [yaw, -pitch], degrees=True)
    for x, iris, corners in ((-32.0, 468, (33, 133)), (32.0, 473, (362, 263))):
        ball = np.array([x, 30.0, 0.0])
        corner = np.array([15.0, 0.0, 0.0])
        mesh[corners[0]], mesh[corners[1]] = ball - corner, ball + corner
        mesh[iris] = ball + 12 * look.apply((0, 0, 1))
        for i, edge in enumerate(((5.85, 0, 0), (0, 5.85, 0), (-5.85, 0, 0), (0, -5.85, 0))):
            mesh[iris + 1 + i] = mesh[iris] + edge
    return (head.apply(mesh) * (1, -1, -1)).astype(np.float32)


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (20, 0), (-25, 5), (0, 15), (10, -20)])
def test_gaze_is_the_angle_the_eyes_were_turned_by(yaw, pitch):
    found = gaze_angles(eyes(yaw, pitch, Rotation.identity()), np.eye(3, dtype=np.float32))
    # Both planted turns mix a little: the angle's sine is x / r, not its tangent.
    assert found == pytest.approx((pitch, yaw), abs=2.0)


def test_gaze_in_the_head_does_not_change_with_the_head():
    head = Rotation.from_euler("YX", [25, -10], degrees=True)
    still = gaze_angles(eyes(15, 5, Rotation.identity()), np.eye(3, dtype=np.float32))
    turned = gaze_angles(eyes(15, 5, head), head.as_matrix().astype(np.float32))
    # The iris's width is measured in the picture, where a turned head narrows it.
    assert turned == pytest.approx(still, abs=3.0)


def test_action_units_are_means_of_left_and_right():
    assert len(BLENDSHAPES) == len(set(BLENDSHAPES)) == 52
    shapes = np.zeros(52, dtype=np.float32)
    shapes[BLENDSHAPES.index("mouthSmileLeft")] = 0.4
    shapes[BLENDSHAPES.index("jawOpen")] = 0.7
    units = dict(zip(ACTION_UNITS, action_units(shapes), strict=True))
    assert units.pop("au12") == pytest.approx(0.2)
    assert units.pop("au26") == pytest.approx(0.7)
    assert not any(units.values())


def test_every_shape_of_the_correspondence_exists():
    assert {s for shapes in ACTION_UNITS.values() for s in shapes} <= set(BLENDSHAPES)


def face_picture() -> tuple[np.ndarray, np.ndarray]:
    """A picture with different blobs at eyes, nose and mouth, and landmarks that point at them."""
    import cv2

    image = np.full((400, 500, 3), 120, np.uint8)
    places = {"right": (200, 150), "left": (280, 150), "nose": (240, 195), "mouth": (240, 240)}
    for (x, y), value in zip(places.values(), (10, 250, 200, 40), strict=True):
        cv2.circle(image, (x, y), 14, (value, value, value), -1)
    image = cv2.GaussianBlur(image, (0, 0), 3)
    points = np.zeros((68, 2), dtype=np.float32)
    points[36:42], points[42:48], points[48:] = places["right"], places["left"], places["mouth"]
    points[:36] = places["nose"]
    return image, points


@pytest.mark.parametrize(("degrees", "scale"), [(0, 1), (35, 1), (-120, 1), (0, 2.2), (15, 0.5)])
def test_the_aligned_face_is_the_same_wherever_it_was(degrees, scale):
    import cv2

    image, points = face_picture()
    matrix = cv2.getRotationMatrix2D((240, 195), degrees, scale)
    matrix[:, 2] += (60, 30)
    moved = cv2.warpAffine(image, matrix, (700, 600), borderValue=(120, 120, 120))
    there = (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    reference = cut_face(image, points).astype(float)
    found = cut_face(moved, there).astype(float)
    assert reference.shape == (48, 48)
    assert np.abs(found - reference).mean() < 3
    assert np.corrcoef(found.ravel(), reference.ravel())[0, 1] > 0.99


def test_the_aligned_face_has_its_eyes_level_above_the_mouth():
    face = cut_face(*face_picture())
    row = face[16].astype(int)
    assert row[:24].min() < 60  # the dark eye, on the picture's left
    assert row[24:].max() > 200
    assert face[16:, 20:28].min() < 90  # the mouth below


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (7, 5)])
def test_a_face_at_the_edge_or_outside_is_still_cut(size):
    points = face_picture()[1]
    image = np.full((*size, 3), 90, np.uint8)
    for shift in (0, -1000, 1000):
        face = cut_face(image, points + shift)
        assert (face == 90).all()


def test_gradients_are_those_of_scikit_image():
    hog = pytest.importorskip("skimage.feature").hog
    noise = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
    edge = noise // 8
    edge[:, 20:] += 200  # so strong that its cells are clipped, the others not
    for face in (edge, noise, np.roll(edge, 7).T.copy()):
        expected = hog(
            face.astype(float),
            orientations=9,
            pixels_per_cell=(12, 12),
            cells_per_block=(4, 4),
            block_norm="L2-Hys",
        )
        np.testing.assert_allclose(describe_gradients(face), expected, atol=1e-5)


def test_gradients_know_direction_but_not_sign_or_contrast():
    ramp = np.tile(np.arange(48, dtype=np.uint8) * 2, (48, 1))
    across, back, steep = describe_gradients(ramp), describe_gradients(ramp[:, ::-1]), None
    steep = describe_gradients(ramp * 2)
    np.testing.assert_allclose(across, steep, atol=1e-4)
    np.testing.assert_allclose(across, back, atol=1e-4)
    assert across.reshape(16, 9)[:, 0].min() > 0.2
    assert describe_gradients(ramp.T.copy()).reshape(16, 9)[:, 4].min() > 0.2


def test_gradients_of_nothing_are_zero():
    assert (describe_gradients(np.full((48, 48), 33, np.uint8)) == 0).all()


def test_a_look_outlasts_light_but_not_another_face():
    rng = np.random.default_rng(1)
    coarse = rng.integers(40, 160, (6, 6)).astype(np.uint8)
    face = np.kron(coarse, np.ones((8, 8), np.uint8))
    other = np.kron(rng.integers(40, 160, (6, 6)).astype(np.uint8), np.ones((8, 8), np.uint8))
    look = describe_look(face)
    assert look @ look == pytest.approx(1, abs=1e-5)
    assert look @ describe_look((face * 1.3 + 20).astype(np.uint8)) > 0.99
    assert look @ describe_look(other) < 0.6
    assert np.isfinite(describe_look(np.zeros((48, 48), np.uint8))).all()
