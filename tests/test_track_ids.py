"""Whose id is whose: faces that cross, leave and come back keep theirs."""

import numpy as np
import pytest
import skimage.data
from scene import COVERED, FPS, KNOWN, Scene, follow, ids, person, still

from benchmarks.tracking.scenes import add_noise, cut_out_faces, lay_over
from detector import KeypointDetector
from files import cv2
from geometry import box_centre, box_from_keypoints
from video.tracker import FaceTracker, face_distance


def middle(tracked):
    return box_centre(box_from_keypoints(tracked.measured))


# --- two faces -------------------------------------------------------------------------------


@KNOWN
@pytest.mark.parametrize("speed", [3, 9])
@pytest.mark.parametrize("lower", [0, 15])
@pytest.mark.parametrize("right_in_front", [False, True])
def test_faces_that_cross_keep_their_ids(confidence, speed, lower, right_in_front):
    def to_right(n):
        return person(50 + speed * n, 120)

    def to_left(n):
        return person(270 - speed * n, 120 + lower)

    people = [to_left, to_right] if right_in_front else [to_right, to_left]
    count = 220 // speed
    scene = Scene(people, confidence, noise=0.2)
    seen = follow(scene, range(count))
    assert ids(seen)[0] == ids(seen)[-1] == [0, 1]
    assert any(len(faces) == 1 for faces in seen)  # they did hide each other
    assert not any(set(faces) - {0, 1} for faces in seen)
    right_mover = min(seen[0], key=lambda number: middle(seen[0][number])[0])
    for number, faces in enumerate(seen):
        if face_distance(to_right(number), to_left(number)) < COVERED:
            continue
        for key, tracked in faces.items():
            x = (to_right if key == right_mover else to_left)(number).mean(axis=0)[0]
            assert abs(tracked.measured.mean(axis=0)[0] - x) < 10, number


def test_who_was_hidden_for_long_is_expected_on_the_other_side():
    # farther from where it was seen last than a face may be that comes back, but where it was heading
    scene = Scene([lambda n: person(160, 120), lambda n: person(60 + 2 * n, 120)])
    seen = follow(scene, range(100), lost_after=5)
    assert [0] in ids(seen)
    assert ids(seen)[0] == ids(seen)[-1] == [0, 1]


@KNOWN
def test_hair_that_covers_a_face_early_does_not_slow_it_down(confidence):
    # Both cover a part of each other's points before these come near. A hidden face is found again
    # without a search only if it is still thought to move as it did before.
    people = [lambda n: person(270 - 3 * n, 120), lambda n: person(50 + 3 * n, 120)]
    scene = Scene(people, confidence, covered=1.25)
    seen = follow(scene, range(70), redetect_every=1000, search_every=1000)
    assert [0] in ids(seen) or [1] in ids(seen)
    assert ids(seen)[-1] == [0, 1]


def test_faces_side_by_side_both_stay():
    scene = Scene([lambda n: person(100, 120), lambda n: person(156, 120)])
    assert ids(follow(scene, range(35))) == [[0, 1]] * 35


# --- leaving and coming back -----------------------------------------------------------------


def leaves_and_returns(back_at, place=(100, 120), size=60.0):
    return Scene([lambda n: still(n) if n < 10 else None if n < back_at else person(*place, size)])


def first_back(seen):
    return next(faces for faces in seen[11:] if faces)


@pytest.mark.parametrize(
    ("back_at", "place", "size", "expected"),
    [
        (70, (100, 120), 60, 0),  # two seconds later in the same place
        (70, (140, 120), 60, 0),  # two thirds of its size away
        (70, (180, 120), 60, 1),  # too far
        (70, (100, 120), 120, 1),  # too large
        (200, (100, 120), 60, 1),  # too late
    ],
)
def test_who_comes_back_soon_and_near_gets_the_id_again(back_at, place, size, expected):
    seen = follow(leaves_and_returns(back_at, place, size), range(back_at + 5))
    assert list(first_back(seen)) == [expected]
    assert list(seen[-1]) == [expected]


def test_coming_back_does_not_slide_in_from_the_old_place():
    seen = follow(leaves_and_returns(70, (140, 120)), range(80))
    np.testing.assert_array_equal(first_back(seen)[0].face.keypoints, person(140, 120))


def test_leaving_over_the_edge_and_coming_back():
    def walk(n):
        x = 290 + 3 * n if n < 30 else 290 + 3 * (60 - n)
        return person(x, 120) if x < 340 else None

    seen = follow(Scene([walk]), range(60))
    assert [] in ids(seen)
    assert ids(seen)[-1] == [0]


# --- the shipped checkpoint --------------------------------------------------------------------


def test_two_real_faces_that_cross_keep_their_ids():
    faces = cut_out_faces()
    background = cv2.resize(skimage.data.coffee(), (640, 480)).astype(np.float32)
    tracker, rng = FaceTracker(KeypointDetector.from_pretrained()), np.random.default_rng(0)
    owners = []
    for number in range(48):
        places = [(200 + 5 * number, 215), (440 - 5 * number, 255)]
        image = background
        for face, place in zip(faces, places, strict=True):  # the second one in front
            image = lay_over(image, face, *place)
        found = tracker(add_noise(image, 4, rng), number / FPS)
        middles = {tracked.id: tracked.measured.mean(axis=0)[0] for tracked in found}
        owners.append({key: int(np.argmin([abs(x - p[0]) for p in places])) for key, x in middles.items()})
    assert sorted(owners[0]) == [0, 1]
    assert owners[-1] == owners[0]
    assert any(len(seen) == 1 for seen in owners)
