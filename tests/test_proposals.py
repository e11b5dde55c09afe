"""Lax cascades, merging of boxes, and what the network throws out."""

from dataclasses import replace

import numpy as np
import pytest

from detector.face_finders import MultiCascadeDetector, merge_boxes
from detector.predictor import Face, filter_faces, same_face
from geometry import box_from_keypoints, box_iou, flip_image
from sample_faces import canonical_head

HEAD = canonical_head()[:, :2]


def keypoints(x, y, side):
    shape = (HEAD - HEAD.min(axis=0)) / np.ptp(HEAD, axis=0).max()
    return (shape * side + [x, y]).astype(np.float32)


def face(x, y, side, confidence):
    points = keypoints(x, y, side)
    return Face(points, box_from_keypoints(points), confidence, np.ones(68, np.float32))


def test_merge_by_hand():
    boxes = [[0, 0, 10, 10], [100, 0, 110, 10], [1, 0, 11, 10], [99, 0, 109, 10], [100, 1, 110, 11]]
    merged = merge_boxes([np.array(box, float) for box in boxes])
    # the group of three first, as the mean of its boxes
    np.testing.assert_allclose(merged, [[299 / 3, 1 / 3, 329 / 3, 31 / 3], [0.5, 0, 10.5, 10]])
    assert merge_boxes([]).shape == (0, 4)


def test_same_face_by_hand():
    one = keypoints(50, 50, 100)
    assert same_face(one, one + np.float32([14, 0]))
    assert not same_face(one, one + np.float32([16, 0]))
    # the smaller of the two decides: 9 px are little for a face of 100, much for one of 50
    small = keypoints(50, 50, 50)
    assert same_face(small, small + np.float32([7, 0]))
    assert not same_face(small, small + np.float32([9, 0]))


def test_dispose_keeps_each_face_once_and_no_more():
    found = [
        face(300, 40, 60, 0.8),
        face(10, 10, 100, 0.7),
        face(12, 11, 100, 0.9),  # the same face, seen better
        face(200, 200, 80, 0.2),  # no face
        face(35, 40, 55, 0.6),  # a part of the first one
    ]
    kept = filter_faces(found, 0.5)
    assert [item.confidence for item in kept] == [0.9, 0.8]  # the larger one first
    assert filter_faces([], 0.5) == []


def test_a_face_that_was_found_has_the_box_around_its_keypoints():
    found = face(10, 20, 80, 0.9)
    (kept,) = filter_faces([replace(found, box_xyxy=np.array([60.0, 60.0, 75.0, 75.0]))], 0.5)
    np.testing.assert_array_equal(kept.box_xyxy, box_from_keypoints(found.keypoints))


def test_unknown_confidence_is_kept():
    found = [face(x, y, 80, float("nan")) for x, y in ((10, 10), (12, 11), (300, 40))]
    assert len(filter_faces(found, 0.5)) == 2


@pytest.mark.parametrize("mirrored", [False, True])
def test_proposals_hold_the_face_of_a_free_photo(sample_photo, mirrored):
    image = flip_image(sample_photo) if mirrored else sample_photo
    truth = [512 - 291, 60, 512 - 170, 185] if mirrored else [170, 60, 291, 185]
    boxes = MultiCascadeDetector()(image)
    assert max(box_iou(box, truth) for box in boxes) > 0.4
    assert (boxes[:, 0] >= 0).all()
    assert (boxes[:, 2] <= 512).all()


def test_both_ways_in_turn_are_the_whole_search(sample_photo):
    proposals, width = MultiCascadeDetector(), sample_photo.shape[1]
    ways = [proposals.search(sample_photo, mirrored) for mirrored in (False, True)]
    left, top, right, bottom = proposals.search(flip_image(sample_photo), False).T
    np.testing.assert_allclose(ways[1], np.stack([width - right, top, width - left, bottom], axis=1))
    both = proposals(sample_photo)
    assert 0 < len(both) <= len(ways[0]) + len(ways[1])
    for box in np.concatenate(ways):
        assert max(box_iou(box, other) for other in both) > 0.6
    assert all(max(box_iou(box, other) for other in np.concatenate(ways)) > 0.6 for box in both)


def test_most_is_a_limit(sample_photo):
    assert len(MultiCascadeDetector(1.05, 1, 0.05, most=3)(sample_photo)) == 3
