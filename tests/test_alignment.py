"""Aligned crops agree for one head, whatever its size, roll and place in the photo."""

import numpy as np
import pytest

import landmarks
from analysis import align_face, face_template, five_points
from files import cv2
from geometry import transform_points
from sample_faces import canonical_head, draw_face
from sample_faces.head import Expression, View


def face(*, scale=30.0, offset_xy=(80.0, 60.0), **angles):
    """The canonical head, seen from afar."""
    return View(scale=scale, offset_xy=offset_xy, **angles).project(canonical_head()).astype(np.float32)


def noise(shape_hw=(150, 160), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape_hw, 3), dtype=np.uint8)


def test_five_points_by_hand():
    points = np.zeros((68, 2))
    points[landmarks.RIGHT_EYE_OUTER], points[landmarks.RIGHT_EYE_INNER] = (10, 20), (20, 22)
    points[landmarks.LEFT_EYE_INNER], points[landmarks.LEFT_EYE_OUTER] = (40, 20), (54, 20)
    points[landmarks.NOSE_TIP] = (30, 40)
    points[landmarks.MOUTH_RIGHT], points[landmarks.MOUTH_LEFT] = (18, 60), (44, 61)
    np.testing.assert_allclose(five_points(points), [[15, 21], [47, 20], [30, 40], [18, 60], [44, 61]])


def test_the_template_is_a_symmetric_face_that_fills_the_crop():
    template = face_template(112)
    flipped = [111, 0] + template[[1, 0, 2, 4, 3]] * [-1, 1]
    np.testing.assert_allclose(template, flipped, atol=1e-9)
    # the head, 2.1 high from hairline (-0.82) to chin (1.28), fills 112 pixels: eyes 0.69 apart
    assert template[1, 0] - template[0, 0] == pytest.approx(0.69 / 2.1 * 112, rel=0.01)
    assert template[0, 1] == pytest.approx(0.82 / 2.1 * 112 - 0.5, abs=0.7)
    np.testing.assert_allclose(face_template(224), (template + 0.5) * 2 - 0.5)  # the grid's own resize


@pytest.mark.parametrize("roll", [0, 25, -140])
@pytest.mark.parametrize("scale", [30.0, 300.0])
def test_the_points_of_a_frontal_face_land_on_the_template(roll, scale):
    keypoints = face(roll=roll, scale=scale, offset_xy=(-20.0, 75.5))
    crop, matrix = align_face(noise(), keypoints, size=96)
    assert (crop.shape, crop.dtype) == ((96, 96, 3), np.uint8)
    np.testing.assert_allclose(five_points(transform_points(keypoints, matrix)), face_template(96), atol=0.01)
    linear = matrix[:, :2]  # rotation and scale: no shear, no mirror
    np.testing.assert_allclose(linear @ linear.T, np.linalg.det(linear) * np.eye(2), atol=1e-9)


def test_pixels_go_where_the_matrix_says():
    image, keypoints = np.zeros((150, 160, 3), np.uint8), face(roll=20, scale=50.0)
    mouth = np.rint(keypoints[landmarks.MOUTH_LEFT])
    cv2.circle(image, tuple(int(v) for v in mouth), 4, (255, 0, 0), -1)
    crop, matrix = align_face(image, keypoints, size=120)
    rows, columns = np.nonzero(crop[..., 0] > 127)
    np.testing.assert_allclose([columns.mean(), rows.mean()], transform_points(mouth, matrix), atol=0.5)
    np.testing.assert_allclose(transform_points(mouth, matrix), face_template(120)[4], atol=1.5)


def test_two_frames_of_one_person_look_alike_when_aligned():
    same = {"size_wh": (220, 220), "yaw": 0, "pitch": 0, "expression": Expression()}
    frames = [draw_face(np.random.default_rng(7), roll=roll, **same) for roll in (-18, 18)]
    crops = [align_face(image, keypoints, 64)[0][16:56, 14:50].astype(float) for image, keypoints in frames]
    raw = [cv2.resize(image, (64, 64))[16:56, 14:50].astype(float) for image, _ in frames]
    assert np.abs(crops[0] - crops[1]).mean() < 0.4 * np.abs(raw[0] - raw[1]).mean()


def test_another_template_can_be_given():
    own = np.array([[20.0, 30], [60, 30], [40, 45], [25, 65], [55, 65]])
    keypoints = face()
    source = five_points(keypoints)
    stretched = (source - source.mean(axis=0)) * 1.5 + own.mean(axis=0)
    _, matrix = align_face(noise(), keypoints, 80, stretched)
    np.testing.assert_allclose(five_points(transform_points(keypoints, matrix)), stretched, atol=0.01)


def test_bad_input_to_alignment_is_refused():
    with pytest.raises(ValueError, match="size must be a whole number"):
        align_face(noise(), face(), size=0)
    with pytest.raises(ValueError, match="template_points must be 5 points"):
        align_face(noise(), face(), template_points=np.zeros((4, 2)))
    with pytest.raises(ValueError, match="all the same"):
        align_face(noise(), np.full((68, 2), 9.0))
    with pytest.raises(ValueError, match=r"shape \(68, 2\)"):
        align_face(noise(), face()[:5])
