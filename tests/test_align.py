"""Aligned crops agree for one head however it was photographed; hidden faces keep nothing but a few means."""

from types import SimpleNamespace

import numpy as np
import pytest

import landmarks
from analysis.alignment import align_face, face_template, five_points
from analysis.privacy import blur_faces, face_outline
from detector.face_finders import HaarFaceDetector
from files import cv2
from geometry import box_centre, box_side, transform_points
from sample_faces import canonical_head, draw_face
from sample_faces.head import Expression, Shape, View, forehead_points


def face(*, scale=30.0, offset_xy=(80.0, 60.0), **angles):
    """The canonical head, seen from afar."""
    return View(scale=scale, offset_xy=offset_xy, **angles).project(canonical_head()).astype(np.float32)


def noise(shape_hw=(150, 160), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape_hw, 3), dtype=np.uint8)


def inside(outline, shape_hw, grow=0.0):
    """Pixels (H, W) whose centre is inside the outline, or at most `grow` pixels outside."""
    rows, columns = np.indices(shape_hw)
    places = zip(columns.ravel().tolist(), rows.ravel().tolist(), strict=True)
    distances = [cv2.pointPolygonTest(outline, place, True) for place in places]
    return np.reshape(distances, shape_hw) >= -grow


# --- alignment -----------------------------------------------------------------------------


def test_five_points_by_hand():
    points = np.zeros((68, 2))
    points[landmarks.RIGHT_EYE_OUTER], points[landmarks.RIGHT_EYE_INNER] = (10, 20), (20, 22)
    points[landmarks.LEFT_EYE_INNER], points[landmarks.LEFT_EYE_OUTER] = (40, 20), (54, 20)
    points[landmarks.NOSE_TIP] = (30, 40)
    points[landmarks.MOUTH_RIGHT], points[landmarks.MOUTH_LEFT] = (18, 60), (44, 61)
    np.testing.assert_allclose(five_points(points), [[15, 21], [47, 20], [30, 40], [18, 60], [44, 61]])


def test_the_template_is_a_symmetric_face_that_fills_the_crop():
    template = face_template(112)
    mirrored = [111, 0] + template[[1, 0, 2, 4, 3]] * [-1, 1]
    np.testing.assert_allclose(template, mirrored, atol=1e-9)
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


def test_a_network_may_bring_its_own_template():
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


# --- privacy -------------------------------------------------------------------------------


@pytest.mark.parametrize("angles", [{}, {"yaw": 40}, {"yaw": -40, "roll": 70}, {"pitch": 20}], ids=str)
def test_the_outline_holds_all_points_and_the_forehead(angles):
    view = View(scale=30.0, offset_xy=(80.0, 60.0), **angles)
    outline = face_outline(face(**angles))
    for points in (face(**angles), view.project(forehead_points(Shape()))):
        for point in points.tolist():
            assert cv2.pointPolygonTest(outline, point, True) > -0.5
    brows = face(**angles)[list(landmarks.REGIONS["brows"])].mean(axis=0)
    up, eyes = view.project(np.array([[0.0, -1, 0], [0, 0, 0]]))
    hair = brows + 0.9 * (up - eyes)
    assert cv2.pointPolygonTest(outline, hair.tolist(), True) < 0


@pytest.mark.parametrize("style", ["blur", "pixelate"])
def test_inside_the_outline_only_means_are_left(style):
    """Of many different images, what is hidden spans no more dimensions than there are cells."""
    outline = inside(face_outline(face()), (150, 160), grow=3)
    hidden = [blur_faces(noise(seed=seed), [face()], 3, style)[..., 0][outline] for seed in range(60)]
    spectrum = np.linalg.svd(np.array(hidden, float) - np.mean(hidden, axis=0), compute_uv=False)
    # 3 cells along the face, and the margin: at most 4 x 4. Beyond that, rounding to whole numbers,
    # 0.29 on average, which gives singular values up to about 0.29 x (sqrt(pixels) + sqrt(images)).
    assert spectrum[16] < 0.29 * (np.sqrt(outline.sum()) + np.sqrt(60)) * 1.2
    assert spectrum[3] > 5 * spectrum[16]


def test_one_cell_leaves_one_colour():
    hidden = blur_faces(noise(), [face()], cells=1)
    assert len(np.unique(hidden[inside(face_outline(face()), (150, 160), grow=3)], axis=0)) == 1


@pytest.mark.parametrize("style", ["blur", "pixelate"])
@pytest.mark.parametrize(
    "offset_xy", [(80, 60), (0, 60), (80, -35), (158, 148), (-25, 70), (-60, 60)], ids=str
)
def test_a_face_at_the_edge_is_hidden_as_far_as_it_is_in_the_image(style, offset_xy):
    """Hair-thin detail inside the grown outline is gone, and far from it nothing is touched."""
    stripes = np.zeros((150, 160, 3), np.uint8)
    stripes[:, ::2] = 255
    before, keypoints = stripes.copy(), face(offset_xy=offset_xy)
    hidden = blur_faces(stripes, [keypoints], style=style)
    np.testing.assert_array_equal(stripes, before)
    outline, side = face_outline(keypoints), 2.2 * 30
    contrast = np.abs(np.diff(hidden[..., 0].astype(int), axis=1))
    covered = inside(outline, (150, 160), grow=0.08 * side)
    assert contrast[covered[:, 1:] & covered[:, :-1]].max(initial=0) < 90  # squares half a stripe apart
    assert np.median(contrast[covered[:, 1:] & covered[:, :-1]]) < 20 if covered.any() else True
    far = ~inside(outline, (150, 160), grow=0.2 * side)
    np.testing.assert_array_equal(hidden[far], stripes[far])
    assert covered.any() == (offset_xy != (-60, 60))


def test_faces_wholly_outside_or_none_change_nothing():
    image = noise()
    for faces in ([], [face(offset_xy=(900.0, -300.0))]):
        hidden = blur_faces(image, faces)
        np.testing.assert_array_equal(hidden, image)
        assert hidden is not image


def test_the_edge_fades_outside_of_the_face():
    """A gray face on white: no step, and the fading lies beyond the outline."""
    image, keypoints = np.full((150, 160, 3), 255, np.uint8), face()
    cv2.fillConvexPoly(image, np.rint(face_outline(keypoints)).astype(np.int32), (60, 60, 60))
    original = image.astype(int)
    hidden = blur_faces(image, [keypoints], cells=1).astype(int)
    mean = hidden[60, 80, 0]
    row = hidden[60, :, 0]
    fading = (row != mean) & (row != 255)
    assert 4 <= fading.sum() <= 12
    assert (original[60, fading, 0] == 255).all()
    assert np.abs(np.diff(row)).max() < 0.6 * (255 - mean)


def test_detected_faces_and_arrays_of_keypoints_are_both_taken():
    image, both = noise(), np.stack([face(scale=15.0), face(scale=12.0, offset_xy=(120.0, 100.0))])
    expected = blur_faces(image, list(both))
    np.testing.assert_array_equal(blur_faces(image, both), expected)
    np.testing.assert_array_equal(blur_faces(image, [SimpleNamespace(keypoints=k) for k in both]), expected)
    assert (expected != image).any(axis=-1)[95:110, 115:125].mean() > 0.95


def test_nobody_finds_the_face_of_a_photo_any_more(sample_photo):
    find = HaarFaceDetector()
    box = find(sample_photo)[0]
    # the cascade's box spans about 1.9 head units, its middle lies 0.4 below the eyes
    scale = box_side(box) / 1.9
    keypoints = face(scale=scale, offset_xy=tuple(box_centre(box) - [0, 0.4 * scale]))
    for style in ("blur", "pixelate"):
        hidden = blur_faces(sample_photo, [keypoints], style=style)
        sharpened = cv2.addWeighted(hidden, 4.0, cv2.GaussianBlur(hidden, (0, 0), scale / 4), -3.0, 0)
        assert len(find(hidden)) == len(find(sharpened)) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cells": 0}, "cells must be a whole number from 1 to 16"),
        ({"cells": 40}, "more shows the face"),
        ({"cells": 2.5}, "cells must be"),
        ({"style": "gauss"}, "style must be one of blur, pixelate"),
    ],
)
def test_wrong_settings_are_refused_even_without_a_face(options, message):
    with pytest.raises(ValueError, match=message):
        blur_faces(noise(), [], **options)


def test_faces_that_cannot_be_placed_are_an_error_and_never_left_visible():
    for bad in (np.full((68, 2), 50.0), np.column_stack([np.arange(68.0), np.zeros(68)])):
        with pytest.raises(ValueError, match="no face to outline"):
            blur_faces(noise(), [bad])
    with pytest.raises(ValueError, match=r"shape \(68, 2\)"):
        blur_faces(noise(), face())  # one face, not in a list
    with pytest.raises(ValueError, match="finite"):
        blur_faces(noise(), [np.full((68, 2), np.nan)])
