"""Hidden faces keep nothing but a few means, and everything else stays."""

from types import SimpleNamespace

import numpy as np
import pytest

import landmarks
from analysis import blur_faces, face_outline
from detector.face_finders import HaarFaceDetector
from files import cv2
from geometry import box_centre, box_side
from sample_faces import canonical_head
from sample_faces.head import Shape, View, forehead_points


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


def test_a_hidden_face_is_not_found(sample_photo):
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
