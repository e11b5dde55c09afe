"""benchmarks/tracking and box_error: known motions, lags, ids and boxes give the figures they must give."""

import math
from itertools import pairwise

import numpy as np
import pytest

from benchmarks.box_error import page as box_error
from benchmarks.tracking import ids, scenes, steadiness
from benchmarks.tracking.scenes import FPS, MOTIONS, SIZE_WH, SUDDEN_STOP, Pose, portraits
from geometry import box_centre, box_from_keypoints, box_side, transform_points

SHAPE = np.random.default_rng(1).uniform(-50, 50, (68, 2))


# --- scenes --------------------------------------------------------------------------------------


def test_the_middle_of_the_face_comes_to_the_place_of_the_pose():
    portrait = portraits()["astronaut"]
    centre = np.array([portrait.centre_xy])
    placed = transform_points(centre, portrait.matrix(Pose(x=30, y=-20, rotation_deg=25, zoom=0.8)))[0]
    np.testing.assert_allclose(placed, [319.5 + 30, 239.5 - 20], atol=1e-3)


def test_a_frame_shows_the_photo_where_the_matrix_says():
    portrait = portraits()["hopper"]
    pose = Pose(x=-40, y=10, rotation_deg=-15, zoom=1.2)
    frame = portrait.frame(pose, 0, np.random.default_rng(0))
    assert frame.shape == (SIZE_WH[1], SIZE_WH[0], 3)
    inside = [(250, 180), (262, 205), (280, 230)]
    for x, y in inside:
        at = np.rint(transform_points(np.array([[x, y]], float), portrait.matrix(pose))[0]).astype(int)
        assert abs(frame[at[1], at[0]].astype(int) - portrait.photo[y, x]).max() < 25


def test_a_sudden_stop_moves_then_rests_then_goes_back():
    x = [MOTIONS[SUDDEN_STOP](t, 100).x for t in (0.0, 0.3, 0.6, 0.99, 1.0, 1.3, 1.6, 1.9)]
    np.testing.assert_allclose(x, [-90, 0, 90, 90, 90, 0, -90, -90], atol=1e-6)


def test_there_and_back_has_one_speed():
    x = [scenes.there_and_back(2, 1)(t, 100).x for t in (0, 0.25, 0.5, 1, 1.5, 2)]
    np.testing.assert_allclose(x, [0, 50, 100, 0, -100, 0], atol=1e-6)


# --- steadiness ------------------------------------------------------------------------------------


def test_jitter_of_a_point_that_jumps_to_and_fro():
    keypoints = np.tile(SHAPE, (10, 1, 1))
    keypoints[::2, :, 0] += 2  # one pixel to either side of the mean, two from frame to frame
    figures = steadiness.jitter(keypoints, 50)
    assert figures == pytest.approx({"step": 2, "step_share": 0.04, "spread": 1, "spread_share": 0.02})


def moving(times, lag=0.0):
    return SHAPE + np.stack([[[80 * math.sin(2 * math.pi * (t - lag)), 0]] for t in times])


@pytest.mark.parametrize("lag", [-0.02, 0.0, 0.035, 0.1])
def test_a_lag_is_found(lag):
    times = np.arange(90) / FPS
    noise = np.random.default_rng(0).normal(0, 1, (90, 68, 2))
    assert steadiness.fit_lag(moving(times, lag) + noise, moving, times) == pytest.approx(lag, abs=0.002)


def test_a_face_that_is_not_seen_is_counted_and_left_out():
    keypoints = moving(np.arange(60) / FPS)
    keypoints[30:33] = np.nan
    figures = steadiness.lag_figures(keypoints, moving, 50.0)
    assert figures["lost"] == 3
    assert figures["error"] == pytest.approx(0, abs=1e-9)


def test_time_to_rest_after_stops():
    true = np.zeros((120, 68, 2))
    late = true.copy()
    for stop in (18, 48, 78):
        late[stop : stop + 5, :, 0] = 3.0  # five frames 3 px off, with eyes 100 px apart
    assert steadiness.rest_after_stop(late, true, 100) == pytest.approx(5 / FPS)
    assert steadiness.rest_after_stop(late / 2, true, 100) == 0  # 1.5 px is near enough


# --- ids ---------------------------------------------------------------------------------------------


def places(*xs):
    return [[None if x is None else (x, 100) for x in frame] for frame in xs]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ([{0: (100, 100), 1: (400, 100)}, {0: (150, 100), 1: (350, 100)}], (0, 0, 0, 0, 2)),
        ([{0: (100, 100), 1: (400, 100)}, {1: (150, 100), 0: (350, 100)}], (2, 0, 0, 0, 2)),
        ([{0: (100, 100), 1: (400, 100)}, {0: (150, 100), 2: (350, 100)}], (0, 1, 0, 0, 3)),
        ([{0: (100, 100), 1: (400, 100)}, {0: (150, 100)}], (0, 0, 1, 0, 2)),
        ([{0: (100, 100), 1: (400, 100)}, {0: (150, 100), 1: (350, 300)}], (0, 0, 1, 1, 2)),
    ],
)
def test_what_became_of_the_ids(seen, expected):
    outcome = ids.judge(seen, places((100, 400), (150, 350)))
    assert (outcome.swapped, outcome.renewed, outcome.lost, outcome.strays, outcome.ids) == expected


def test_who_is_away_is_not_missed_but_a_face_there_is_a_stray():
    outcome = ids.judge([{0: (100, 100)}, {0: (100, 100)}, {}], places((100,), (None,), (None,)))
    assert (outcome.lost, outcome.strays) == (0, 1)


def test_those_who_cross_change_places():
    scene = ids.crossing(8, 40)
    assert scene[0] == [(200, 215), (440, 255)]
    assert scene[29:31] == [[(432, 215), (208, 255)], [(440, 215), (200, 255)]]
    assert scene[-1] == scene[30]


@pytest.mark.parametrize("speed", [4, 12])
def test_who_leaves_is_more_than_half_outside_as_long_as_said(speed):
    scene = ids.leaving(speed, 2)
    assert sum(place is None or place[0] < 0 for (place,) in scene) == 2 * FPS
    assert scene[0] == scene[-1] == [(200, 240)]
    steps = [b[0][0] - a[0][0] for a, b in pairwise(scene) if a[0] and b[0]]
    assert max(np.abs(steps)) <= speed


# --- boxes -------------------------------------------------------------------------------------------


def test_a_box_moves_by_a_share_of_its_side():
    moved = box_error.move_box(np.array([10.0, 20, 50, 60]), box_error.DIRECTIONS["up"], 0.25)
    np.testing.assert_array_equal(moved, [10, 10, 50, 50])


@pytest.mark.parametrize("direction", box_error.DIRECTIONS.values(), ids=box_error.DIRECTIONS)
@pytest.mark.parametrize("clip", [False, True])
def test_a_cut_takes_its_share_of_the_face(direction, clip):
    image = np.random.default_rng(0).integers(0, 255, (200, 240, 3), dtype=np.uint8)
    grid = np.stack(np.meshgrid(np.linspace(70, 169, 17), np.linspace(50, 149, 4)), axis=-1).reshape(68, 2)
    box = box_from_keypoints(grid)
    case = box_error.cut_case(image, grid, box, direction, 0.3, clip=clip)
    x0, y0 = case.offset_xy
    height, width = case.image.shape[:2]
    np.testing.assert_array_equal(case.image, image[y0 : y0 + height, x0 : x0 + width])
    margin = 70 if direction[0] else 50  # of image beside the face
    assert 200 - height + 240 - width == margin + 30
    left_over = grid[case.visible] - case.offset_xy
    assert ((left_over >= 0) & (left_over < [width, height])).all()
    # the points that are gone are those within 30 of the side's 100 pixels
    axis = 0 if direction[0] else 1
    low, high = box[axis], box[axis + 2]
    gone = grid[:, axis] < low + 30 if sum(direction) < 0 else grid[:, axis] >= high - 30
    np.testing.assert_array_equal(case.visible, ~gone)
    inside = (case.box_xyxy[:2] >= 0).all() and (case.box_xyxy[2:] <= [width, height]).all()
    assert inside == clip
    if not clip:
        assert box_side(case.box_xyxy) == box_side(box)
        np.testing.assert_array_equal(box_centre(case.box_xyxy) + case.offset_xy, box_centre(box))
