"""Following faces: motion, drop-outs, searching, frames good and damaged, the parts by hand."""

import itertools
import math

import numpy as np
import pytest
from scene import FPS, KNOWN, Scene, follow, frame, ids, person, still

from geometry import box_from_keypoints
from video.tracker import FaceTracker, Motion, assign, face_distance, match

# --- one face --------------------------------------------------------------------------------


@KNOWN
def test_a_face_keeps_its_id_and_is_searched_for_once_in_a_while(confidence):
    scene = Scene([lambda n: person(60 + 2 * n, 120)], confidence)
    seen = follow(scene, range(70))
    assert ids(seen) == [[0]] * 70
    assert scene.searched == [0, 30, 60]
    assert scene.followed == list(range(1, 70))
    assert scene.boxes_looked_at == 1  # a box on a known face costs no look of the network
    for number, faces in enumerate(seen):
        np.testing.assert_array_equal(faces[0].measured, person(60 + 2 * number, 120))


def test_prediction_follows_what_moves_farther_than_the_network_sees():
    # 0.25 face sizes a frame with a network that reaches 0.2; it starts slowly enough
    def run(n):
        speed = np.minimum(np.arange(1, n + 1), 15).sum()
        return person(40 + speed, 120)

    assert ids(follow(Scene([run], reach=0.2), range(24))) == [[0]] * 24


def test_what_is_reported_is_smoothed_and_can_be_left_as_it_is():
    noisy = {"people": [still], "noise": 0.3}
    smooth = follow(Scene(**noisy), range(60))
    plain = follow(Scene(**noisy), range(60), smooth=False)
    step = [
        np.abs(np.diff([faces[0].face.keypoints for faces in run[15:]], axis=0)).mean()
        for run in (smooth, plain)
    ]
    assert step[0] < 0.3 * step[1]
    for faces in plain:
        np.testing.assert_array_equal(faces[0].face.keypoints, faces[0].measured)
    for faces in smooth:
        np.testing.assert_array_equal(faces[0].face.box_xyxy, box_from_keypoints(faces[0].face.keypoints))


def test_a_crop_does_not_pass_the_noise_on():
    # of a still face whose measured place trembles, the expected place trembles less
    rng = np.random.default_rng(0)
    motion, places = Motion(still(0), 0.0), []
    for number in range(1, 200):
        motion.update(still(0) + rng.normal(0, 0.1, 2).astype(np.float32), number / FPS)
        places.append(motion.place(still(0), (number + 1) / FPS).mean(axis=0))
    assert np.std(places[50:], axis=0).max() < 0.6 * 0.1


@KNOWN
def test_a_drop_out_is_reported_as_none_and_the_id_stays(confidence):
    away = range(20, 26)
    scene = Scene([lambda n: None if n in away else person(60 + 3 * n, 120)], confidence)
    seen = follow(scene, range(40))
    assert ids(seen) == [[] if n in away else [0] for n in range(40)]
    # an urgent search when it is missed, then every third frame
    assert scene.searched == [0, 20, 23]


def test_a_face_is_dropped_when_confidence_falls():
    scene = Scene([still], lambda n: 0.4 if n >= 10 else 0.9)
    assert ids(follow(scene, range(14))) == [[0]] * 10 + [[]] * 4
    assert ids(follow(scene, range(14), min_confidence=0.3)) == [[0]] * 14
    assert ids(follow(Scene([still], 0.4), range(5))) == [[]] * 5


def test_size_that_jumps_is_no_face_unless_the_network_is_sure():
    def jump(n):
        return person(100, 120, 60 if n < 10 else 36)

    gone = follow(Scene([jump]), range(12), search_every=30)
    assert ids(gone)[10:] == [[], []]
    assert ids(follow(Scene([jump], 0.9), range(12), search_every=30))[10:] == [[0], [0]]


def test_nothing_that_is_mostly_outside_the_image():
    def leave(n):
        return person(280 + 4 * n, 120)

    seen = follow(Scene([leave]), range(30))
    last = max(n for n, faces in enumerate(seen) if faces)
    inside = [(leave(n)[:, 0] < 320).mean() for n in range(30)]
    assert inside[last] >= 0.5
    assert max(inside[last + 1 :]) < 0.5
    infinite = person(100, 100)
    infinite[3] = np.inf
    assert ids(follow(Scene([lambda n: infinite if n else still(n)]), range(2))) == [[0], []]


# --- searching -------------------------------------------------------------------------------


def test_who_comes_in_is_found():
    # alone: within three frames; beside another: at the next search
    alone = Scene([lambda n: None if n < 10 else still(n)])
    first = ids(follow(alone, range(20))).index([0])
    assert 10 <= first < 13
    beside = Scene([still, lambda n: None if n < 10 else person(240, 120)])
    assert ids(follow(beside, range(40))) == [[0]] * 30 + [[0, 1]] * 10


def test_while_nobody_is_missing_a_search_is_one_way_round_in_turn():
    scene = Scene([still, lambda n: None if 70 <= n < 75 else person(240, 120)])
    searches = []

    class BothWays:
        def __call__(self, image):
            searches.append((int(image[0, 0, 0]), "both"))
            return Scene.face_detector(scene, image)

        def search(self, image, mirrored):
            searches.append((int(image[0, 0, 0]), mirrored))
            return np.empty((0, 4))

    scene.face_detector = BothWays()
    assert ids(follow(scene, range(120)))[-1] == [0, 1]
    missing = [(n, way) for n, way in searches if 70 <= n <= 76]
    assert missing
    assert {way for _, way in missing} == {"both"}
    assert [search for search in searches if search not in missing][:3] == [
        (0, "both"),
        (30, False),
        (60, True),
    ]


def test_several_boxes_on_one_face_are_one_face():
    class SeesDouble(Scene):
        def face_detector(self, image):
            boxes = super().face_detector(image)
            return np.concatenate([boxes, boxes + 8, boxes[:0]])

    scene = SeesDouble([still, lambda n: person(230, 100)])
    assert ids(follow(scene, range(40), redetect_every=5)) == [[0, 1]] * 40


def test_a_search_every_frame_changes_no_ids():
    scene = Scene([lambda n: person(60 + n, 120), lambda n: person(250 - n, 60)])
    seen = follow(scene, range(40), redetect_every=1, search_every=1)
    assert ids(seen) == [[0, 1]] * 40
    assert len(scene.searched) == 40


# --- frames ----------------------------------------------------------------------------------


def test_damaged_frames_have_no_faces_and_cost_no_id():
    damaged = (0, 1, 12, 13, 14, 15)
    seen = follow(Scene([lambda n: person(60 + 4 * n, 120)]), range(25), damaged=damaged)
    assert ids(seen) == [[] if n in damaged else [0] for n in range(25)]


def test_any_frame_rate_and_uneven_times():
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.01, 0.2, 60))
    tracker = FaceTracker(Scene([lambda n: person(40 + 30 * times[n], 120)]))
    for number, time_s in enumerate(times):
        assert [tracked.id for tracked in tracker(frame(number), time_s)] == [0]


def test_another_size_is_another_scene():
    tracker = FaceTracker(Scene([still]))
    sizes = [(320, 240), (320, 240), (400, 240)]
    found = [[t.id for t in tracker(frame(n, size), n / FPS)] for n, size in enumerate(sizes)]
    assert found == [[0], [0], [1]]


def test_reset_counts_from_0_again():
    tracker = FaceTracker(Scene([still]))
    tracker(frame(0), 5.0)
    tracker.reset()
    assert [tracked.id for tracked in tracker(frame(1), 0.0)] == [0]


@pytest.mark.parametrize("time_s", [1.0, 0.5, math.nan, math.inf])
def test_time_must_increase(time_s):
    tracker = FaceTracker(Scene([still]))
    tracker(frame(0), 1.0)
    with pytest.raises(ValueError, match="time must increase"):
        tracker(frame(1), time_s)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"search_every": 0}, "search_every"),
        ({"redetect_every": 2}, "search_every <= redetect_every"),
        ({"min_confidence": 1.5}, "from 0 to 1"),
        ({"lost_after": -1}, "must not be below 0"),
        ({"remember_s": math.nan}, "must not be below 0"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        FaceTracker(Scene([]), **settings)


# --- the parts, by hand ----------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (2, 4), (4, 2), (4, 4), (5, 5)])
def test_the_assignment_is_the_cheapest_of_all(shape):
    rng = np.random.default_rng(0)
    for _ in range(30):
        costs = rng.random(shape).round(1)  # many equal ones
        pairs = assign(costs)
        assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == min(shape)
        wide = costs if shape[0] <= shape[1] else costs.T
        rows, columns = wide.shape
        every = itertools.permutations(range(columns), rows)
        cheapest = min(wide[range(rows), list(chosen)].sum() for chosen in every)
        assert sum(costs[pair] for pair in pairs) == pytest.approx(cheapest)


def test_matching_makes_as_many_pairs_as_it_can():
    # the nearest first (row 0, column 0) would leave row 1 without a partner
    assert match(np.array([[0.1, 0.3], [0.2, 5.0]])) == [(0, 1), (1, 0)]
    assert match(np.array([[0.5, math.inf]])) == [(0, 0)]
    assert match(np.array([[1.5], [math.inf]])) == []


def test_distance_counts_in_sizes_of_the_smaller_face():
    large, small = person(100, 100, 59), person(130, 100, 59)  # 60 pixels with the last one
    assert face_distance(large, small) == pytest.approx(0.5, abs=1e-4)
    assert face_distance(person(0, 0, 99), person(0, 0, 49)) == pytest.approx(
        np.linalg.norm(person(0, 0, 50), axis=1).mean() / 50, abs=1e-4
    )


def test_a_steady_motion_is_learnt_exactly():
    motion = Motion(still(0), 0.0)
    for number in range(1, 20):
        motion.update(still(0) + (6.0 * number, 0), number / FPS)
    np.testing.assert_allclose(motion.velocity, [6 * FPS, 0], rtol=0.03)
    np.testing.assert_allclose(motion.place(still(0), 20 / FPS), still(0) + (120, 0), atol=0.3)
    before = motion.velocity.copy()
    motion.update(still(0) + (200.0, 0), 20 / FPS, steady=True)
    np.testing.assert_array_equal(motion.velocity, before)


def test_size_is_learnt_slowly():
    motion = Motion(person(0, 0, 99), 0.0)
    motion.update(person(0, 0, 49), 1.0)
    np.testing.assert_allclose(motion.sides.max(), 100 * 0.5**0.2, rtol=1e-3)
