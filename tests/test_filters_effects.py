"""Geometry of the filters on heads of known shape: solids, make-up, mesh, swap, warps, triggers."""

import numpy as np
import pytest
from test_filters_registry import face

from analysis.head_pose import HEAD
from files import cv2
from filters import Donor, create_filter
from filters.effects import Rainbow
from filters.head_frame import AXES, CENTRE, HeadFrame
from filters.make_up import Beard, Lipstick
from filters.mesh import face_points, mesh_map, triangles
from filters.rigid import CatEars, Glasses, TopHat
from filters.solid import paint_solid, surface, tube
from filters.swap import in_colours_of
from filters.triggers import TRIGGERS, Trigger, Triggered, TriggerState
from filters.warps import BigEyes, SlimFace, bump
from geometry import interocular_distance
from landmarks import GROUPS, JAW_LEFT, JAW_RIGHT, OUTER_EYE_CORNERS
from sample_faces.head import Expression

REST = Expression()
SKIN = (196, 150, 128)


def skin(shape_hw=(660, 680)):
    return np.full((*shape_hw, 3), SKIN, np.uint8)


def painted(filter_, *faces, image=None):
    """Where (H, W) a filter changes a plain image, and the result."""
    image = skin() if image is None else image
    result = filter_(image, list(faces))
    return (result != image).any(axis=-1), result


def inside(outline, shape_hw=(660, 680), grow=0):
    mask = np.zeros(shape_hw, np.uint8)
    cv2.fillPoly(mask, [np.rint(outline).astype(np.int32)], 1)
    if grow:
        kernel = np.ones((2 * abs(grow) + 1,) * 2, np.uint8)
        mask = cv2.dilate(mask, kernel) if grow > 0 else cv2.erode(mask, kernel)
    return mask > 0


# --- the head ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("yaw", "pitch", "roll"), [(0, 0, 0), (35, 0, 0), (-30, 12, 25), (10, -15, -80)])
def test_the_frame_is_on_the_eyes_and_as_large_as_the_face(yaw, pitch, roll):
    one = face(REST, yaw=yaw, pitch=pitch, roll=roll)
    head = HeadFrame(one)
    corners = list(OUTER_EYE_CORNERS)
    np.testing.assert_allclose(head.project(HEAD[corners]), one.keypoints[corners], atol=6)  # of 160 px
    assert head.size == pytest.approx(160, rel=0.06)
    assert abs(head.pose.yaw_deg - yaw) < 6
    twice = face(REST, yaw=yaw, pitch=pitch, roll=roll, scale=320.0)
    assert HeadFrame(twice).size == pytest.approx(2 * head.size, rel=0.01)


@pytest.mark.parametrize("yaw", [0, 40, -25])
def test_what_the_ellipsoid_hides_agrees_with_rays(yaw):
    """Rays from the camera to points around the head, against the polar plane and the silhouette."""
    head = HeadFrame(face(REST, yaw=yaw))
    rng = np.random.default_rng(0)
    points = CENTRE + AXES * rng.normal(size=(4000, 3)) * 1.2
    points = points[(((points - CENTRE) / AXES) ** 2).sum(axis=1) > 1.02]
    start, end = (head.camera - CENTRE) / AXES, (points - CENTRE) / AXES
    share = np.linspace(0, 1, 2000)[:, None, None]
    hit = (((start + share * (end - start)) ** 2).sum(axis=-1) < 1).any(axis=0)
    outline = head.silhouette(256).astype(np.float32)
    within = np.array([cv2.pointPolygonTest(outline, p.tolist(), False) > 0 for p in head.project(points)])
    predicted = within & head.behind_head(points)
    assert hit.mean() > 0.1
    assert (predicted == hit).mean() > 0.995


def test_facing_is_one_in_front_and_negative_behind():
    head = HeadFrame(face(REST))
    assert head.facing([0.0, 0.02, 0.28]) > 0.98
    assert head.facing([0.0, 0.02, -1.72]) < -0.9
    right, left = HeadFrame(face(REST, yaw=40)), HeadFrame(face(REST, yaw=-40))
    cheek = np.array([0.5, 0.4, 0.0])
    assert right.facing(cheek) < 0.7 < left.facing(cheek)
    assert right.facing(cheek) == pytest.approx(left.facing(cheek * [-1, 1, 1]), abs=0.02)


# --- solids -----------------------------------------------------------------------------------------


def test_the_light_is_above_and_a_piece_in_front_hides_one_behind():
    head, image = HeadFrame(face(REST, centre=(320, 320))), np.zeros((640, 640, 3), np.uint8)
    square = np.array([[[-0.3, -0.3, 0.5], [0.3, -0.3, 0.5]], [[-0.3, 0.3, 0.5], [0.3, 0.3, 0.5]]])
    red, blue = surface(square, (200, 0, 0)), surface(square - [0, 0, 0.2], (0, 0, 200))
    for order in (red + blue, blue + red):
        picture = image.copy()
        paint_solid(picture, head, order)
        assert picture[320, 320, 0] > 100
        assert picture[320, 320, 2] < 20
    up, down = image.copy(), image.copy()
    tipped = square + np.array([0, 0, 0.3]) * (square[..., 1:2] < 0) * [0, 0, -1]
    paint_solid(up, head, surface(tipped, (200, 200, 200)))
    tipped = square + np.array([0, 0, 0.3]) * (square[..., 1:2] > 0) * [0, 0, -1]
    paint_solid(down, head, surface(tipped, (200, 200, 200)))
    assert int(up[320, 320, 0]) > int(down[320, 320, 0]) + 20


def test_a_tube_is_as_thick_as_its_radius():
    head, picture = HeadFrame(face(REST, centre=(320, 320))), np.zeros((640, 640, 3), np.uint8)
    path = np.column_stack([np.linspace(-0.4, 0.4, 9), np.zeros(9), np.full(9, 0.4)])
    paint_solid(picture, head, tube(path, 0.1, (255, 255, 255), sides=24))
    thickness = (picture[:, 320].max(axis=-1) > 60).sum()
    assert thickness == pytest.approx(2 * 0.1 * head.size * 12 / (12 - 0.4), abs=3)


def arm_pixels(yaw):
    """Dark pixels of the glasses beyond hinges and rims: on the left and on the right of the front."""
    one = face(REST, yaw=yaw, centre=(340.0, 330.0))
    where, result = painted(Glasses(), one)
    dark = where & (result.max(axis=-1) < 90)
    edges = np.array([[side * x, 0.0, z] for side in (-1, 1) for x, z in ((0.70, 0.0), (0.67, 0.12))])
    at = HeadFrame(one).project(edges)[:, 0]
    columns = np.arange(dark.shape[1])
    return dark[:, columns < at.min() - 3].sum(), dark[:, columns > at.max() + 3].sum()


def test_the_far_arm_vanishes_behind_the_face_and_the_near_one_does_not():
    for yaw in (30, 45):
        near, far = arm_pixels(yaw)
        assert near > 300
        assert far == 0
        near, far = arm_pixels(-yaw)[::-1]
        assert near > 300
        assert far == 0
    left, right = arm_pixels(0)
    assert left == pytest.approx(right, rel=0.25)


def test_without_the_head_the_far_arm_would_be_seen():
    """The arm is there, and it is the ellipsoid that hides it."""
    one = face(REST, yaw=45, centre=(340.0, 330.0))
    head = HeadFrame(one)
    ear = head.project(np.array([[0.86, -0.03, -0.7]]))[0]
    outline = head.silhouette().astype(np.float32)
    assert head.behind_head(np.array([[0.86, -0.03, -0.7]])).all()
    assert cv2.pointPolygonTest(outline, ear.tolist(), False) > 0


def test_glasses_lie_on_the_eyes_and_turn_with_the_head():
    for roll in (0, 35):
        one = face(REST, roll=roll)
        where, _ = painted(Glasses(), one)
        for name in ("right_eye", "left_eye"):
            x, y = np.rint(one.keypoints[list(GROUPS[name])].mean(axis=0)).astype(int)
            assert where[y, x]
        x, y = np.rint(one.keypoints[list(GROUPS["outer_lips"])].mean(axis=0)).astype(int)
        assert not where[y, x]


def test_glasses_move_evenly_on_a_head_that_turns_evenly():
    """From frame to frame their middle goes as far as the frame before, to a fraction of a pixel."""
    yaws = np.arange(-40, 41, 2)
    middles = []
    for yaw in yaws:
        where, _ = painted(Glasses(), face(REST, yaw=float(yaw), centre=(340.0, 330.0)))
        rows, columns = np.nonzero(where)
        middles.append((columns.mean(), rows.mean()))
    steps = np.diff(middles, axis=0)
    assert np.abs(np.diff(steps, axis=0)).max() < 0.03 * 160  # of the eye distance
    assert np.ptp(np.array(middles)[:, 1]) < 0.05 * 160


@pytest.mark.parametrize("kind", [TopHat, CatEars])
def test_things_on_the_head_are_above_the_brows_and_scale(kind):
    small, large = (face(REST, scale=scale, centre=(340.0, 480.0)) for scale in (70.0, 140.0))
    first, second = (painted(kind(), one)[0] for one in (small, large))
    assert second.sum() == pytest.approx(4 * first.sum(), rel=0.12)  # thin hairs, soft shadows
    rows, columns = np.nonzero(second)
    brows = large.keypoints[list(GROUPS["right_brow"] + GROUPS["left_brow"])]
    assert np.median(rows) < brows[:, 1].min()
    assert columns.mean() == pytest.approx(340, abs=3)
    turned = np.nonzero(painted(kind(), face(REST, scale=140.0, centre=(340.0, 480.0), yaw=35))[0])[1]
    assert turned.mean() < columns.mean() - 10  # it is on top of the head, behind the face


# --- make-up ----------------------------------------------------------------------------------------


def test_lipstick_colours_the_lips_and_not_the_teeth():
    one = face(Expression(mouth_open=0.8))
    where, result = painted(Lipstick(), one)
    outer, inner = (one.keypoints[list(GROUPS[name])] for name in ("outer_lips", "inner_lips"))
    assert not (where & ~inside(outer, grow=9)).any()
    assert not (where & inside(inner, grow=-9)).any()
    lips = inside(outer, grow=-4) & ~inside(inner, grow=4)
    assert where[lips].all()
    red, green, _ = result[lips].mean(axis=0)
    assert red - green > SKIN[0] - SKIN[1] + 40


def test_lipstick_keeps_texture():
    one, image = face(REST), skin()
    image[:, ::2] -= 20
    lips = inside(one.keypoints[list(GROUPS["outer_lips"])], grow=-6)
    result = Lipstick()(image, [one]).astype(float).mean(axis=-1)
    step = abs(np.diff(result, axis=1))[lips[:, 1:]]
    assert step.mean() > 12  # of 20 before


def test_a_hidden_mouth_gets_no_lipstick():
    radius = np.full(68, 8.0)
    radius[list(GROUPS["outer_lips"] + GROUPS["inner_lips"])] = 80.0
    assert not painted(Lipstick(), face(REST, radius=radius))[0].any()
    assert painted(Lipstick(), face(REST, radius=np.full(68, 8.0)))[0].any()


def test_a_beard_is_below_the_nose_inside_the_face_and_not_on_the_lips():
    for yaw in (0, -30):
        one = face(REST, yaw=yaw)
        where, result = painted(Beard(), one)
        nose = one.keypoints[list(GROUPS["nose_base"])].mean(axis=0)[1]
        columns = np.arange(where.shape[1])
        middle = abs(columns - one.keypoints[list(GROUPS["outer_lips"]), 0].mean()) < 40
        assert np.nonzero(where[:, middle])[0].min() > nose  # beside it are whiskers
        assert np.nonzero(where)[0].min() > one.keypoints[list(OUTER_EYE_CORNERS), 1].max()
        hull = cv2.convexHull(face_points(one.keypoints).astype(np.float32))[:, 0]
        assert not (where & ~inside(hull, grow=4)).any()
        lips = inside(one.keypoints[list(GROUPS["outer_lips"])], grow=-6)
        assert abs(result[lips].astype(int) - SKIN).max() <= 40
        x, y = np.rint(one.keypoints[GROUPS["jaw"][8]] - [0, 12]).astype(int)
        assert result[y - 4 : y, x - 4 : x + 5].mean() < 0.6 * np.mean(SKIN)


def test_blush_is_fainter_on_the_cheek_that_is_turned_away():
    one = face(REST, yaw=35)
    _, result = painted(create_filter("blush"), one)
    change = abs(result.astype(float) - SKIN).sum(axis=-1)
    middle = one.keypoints[list(GROUPS["nose_bridge"])].mean(axis=0)[0]
    columns = np.arange(change.shape[1])
    assert change[:, columns < middle].sum() > 2 * change[:, columns > middle].sum()
    assert not (change[:, columns > one.keypoints[JAW_LEFT, 0] + 30] > 0).any()
    assert not (change[:, columns < one.keypoints[JAW_RIGHT, 0] - 30] > 0).any()


# --- mesh and swap ------------------------------------------------------------------------------------


def test_the_mesh_has_no_gap_and_no_overlap():
    points = face_points(HEAD[:, :2] * 200 + 300)
    area = 0.0
    for a, b, c in points[triangles()]:
        area += abs((b - a)[0] * (c - a)[1] - (b - a)[1] * (c - a)[0]) / 2
    hull = cv2.contourArea(cv2.convexHull(points.astype(np.float32)))
    assert area == pytest.approx(hull, rel=0.02)
    assert set(triangles().ravel().tolist()) == set(range(len(points)))


def test_the_map_of_a_shifted_face_is_a_shift_and_of_points_their_partners():
    source = face_points(face(REST, scale=120, centre=(200.0, 180.0)).keypoints)
    shifted = mesh_map(source, source + [31, -17], (400, 440))
    hull = cv2.convexHull((source + [31, -17]).astype(np.float32))[:, 0]
    within = inside(hull, (400, 440), grow=-5)
    y, x = np.nonzero(within)
    np.testing.assert_allclose(shifted[within], np.column_stack([x - 31, y + 17]), atol=0.02)
    other = face_points(face(Expression(smile=0.6), scale=140, centre=(220.0, 170.0), roll=10).keypoints)
    mapped = mesh_map(source, other, (420, 460))
    for index in (*GROUPS["nose_bridge"], *GROUPS["right_brow"]):
        x, y = np.rint(other[index]).astype(int)
        assert np.linalg.norm(mapped[y, x] - source[index]) < 2.5


def test_a_face_drawn_over_itself_changes_little():
    from data_load import sample_photos

    photo = sample_photos()["astronaut"]
    one = face(REST, scale=66.0, centre=(224.7, 107.0))
    swap = create_filter("face_swap", donor=Donor.of(photo, one))
    result = swap(photo, [one])
    assert abs(result.astype(int) - photo).mean(axis=-1)[80:170, 180:270].mean() < 3.0


def test_a_swap_brings_the_other_face_in_the_colours_of_the_place():
    dark, light = skin(), np.full((660, 680, 3), (90, 70, 60), np.uint8)
    one = face(REST)
    x, y = np.rint(one.keypoints[list(GROUPS["nose_bridge"])][-1]).astype(int)
    cv2.circle(light, (int(x), int(y)), 6, (20, 120, 20), -1)  # a mark on the nose of the donor
    result = create_filter("face_swap", donor=Donor.of(light, one))(dark, [one])
    green, red = result[y, x, 1].astype(int), result[y, x, 0].astype(int)
    assert green > red
    cheek = result[y, x + 60].astype(int)
    assert abs(cheek - SKIN).max() <= 6  # the colour is that of the skin below


def test_colours_are_matched_over_a_distance_and_details_stay():
    other, below = np.full((120, 120, 3), 60, np.uint8), np.full((120, 120, 3), 160, np.uint8)
    other[60] = 90
    matched = in_colours_of(other, below, np.ones((120, 120), np.float32), 20.0)
    assert abs(matched[20:40] - 160).max() < 4
    assert matched[60, 60, 0] - matched[50, 60, 0] == pytest.approx(30, abs=4)


# --- warps --------------------------------------------------------------------------------------------


def test_big_eyes_enlarge_a_ring_around_the_eye():
    one, image = face(REST), skin()
    centre = one.keypoints[list(GROUPS["right_eye"])][[0, 3]].mean(axis=0)
    cv2.circle(image, tuple(np.rint(centre).astype(int).tolist()), 16, (0, 0, 0), -1)
    where, result = painted(BigEyes(0.4), one, image=image)
    before, after = ((picture.max(axis=-1) < 80).sum() for picture in (image, result))
    assert 1.25 < np.sqrt(after / before) < 1 / (1 - 0.4)  # the limit of a point in the middle
    y, x = np.nonzero(where)
    assert np.hypot(x - centre[0], y - centre[1]).max() < 1.05 * 0.31 * 160 + 3


def test_slim_face_moves_the_jaw_inwards_and_leaves_the_eyes():
    one, image = face(REST), skin()
    jaw = one.keypoints[list(GROUPS["jaw"])]
    cv2.fillPoly(image, [np.rint(jaw).astype(np.int32)], (0, 0, 0))
    where, result = painted(SlimFace(), one, image=image)
    row = round(float(jaw[4, 1]))
    before, after = ((picture[row].max(axis=-1) < 80).sum() for picture in (image, result))
    assert 0.80 < after / before < 0.95
    assert abs(np.nonzero(result[row].max(axis=-1) < 80)[0].mean() - 320) < 1.5
    for name in ("right_eye", "left_eye"):
        x, y = np.rint(one.keypoints[list(GROUPS[name])].mean(axis=0)).astype(int)
        assert not where[y, x]


def test_a_bump_is_one_in_the_middle_and_zero_outside():
    np.testing.assert_allclose(bump(np.array([0.0, 0.5, 1.0, 3.0])), [1, 0.5625, 0, 0])


# --- triggers -----------------------------------------------------------------------------------------


def switches(states):
    return int(np.abs(np.diff(np.asarray(states, int))).sum())


def test_a_noisy_measure_near_the_threshold_does_not_flicker():
    """A ramp from shut to open and back, with noise; one threshold alone switches many times."""
    rng = np.random.default_rng(2)
    ramp = np.concatenate([np.linspace(0.05, 0.45, 150), np.linspace(0.45, 0.05, 150)])
    values = ramp + rng.normal(0, 0.025, 300)
    trigger = TRIGGERS["mouth_open"]
    state = TriggerState(trigger)
    states = [state.update(value, number / 25) for number, value in enumerate(values)]
    assert switches(values > trigger.on) > 6
    assert switches(states) == 2
    assert not states[0]
    assert states[149]
    assert not states[-1]


def test_a_constant_measure_between_the_thresholds_keeps_the_state():
    state = TriggerState(Trigger(float, on=1.0, off=0.5))
    assert [state.update(value, 0.0) for value in (0.9, 0.9, 1.1, 0.6, 0.9, 0.4, 0.6)] == [
        False, False, True, True, True, False, False,
    ]  # fmt: skip
    assert not state.update(np.nan, 1.0)
    with pytest.raises(ValueError, match="must differ"):
        Trigger(float, on=1.0, off=1.0)


def test_low_measures_trigger_and_last_at_least_their_time():
    state = TriggerState(Trigger(float, on=-1.0, off=-0.5, usual=0.0, min_s=0.8))
    times = np.arange(0, 1.5, 0.1)
    values = np.where((times > 0.15) & (times < 0.35), -1.2, 0.0)
    on = [state.update(value, time) for value, time in zip(values, times, strict=True)]
    assert np.flatnonzero(on).tolist() == [2, 3, 4, 5, 6, 7, 8, 9]


def test_brows_are_compared_with_the_same_persons_rest():
    """A person whose brows are always higher than the usual ones does not trigger; a rise does."""
    state = TriggerState(TRIGGERS["brows_raised"])
    rest = [state.update(0.38, number / 25) for number in range(75)]
    assert not any(rest[20:])
    assert state.update(0.44, 3.0)
    assert not state.update(0.385, 3.1)


@pytest.mark.parametrize(
    ("name", "expression"),
    [
        ("mouth_open", Expression(mouth_open=0.8)),
        ("brows_raised", Expression(brow_raise=1.0)),
        ("blink", Expression(eyes_closed=1.0)),
        ("smile", Expression(smile=1.0)),
    ],
)
def test_expressions_of_drawn_faces_start_their_trigger(name, expression):
    state = TriggerState(TRIGGERS[name])
    measure = TRIGGERS[name].measure
    for number in range(40):
        assert not state.update(measure(face(REST).keypoints), number / 25)
    assert state.update(measure(face(expression).keypoints), 1.7)


def test_an_effect_fades_in_for_each_face_by_itself():
    effect = Triggered(Rainbow(), "mouth_open")
    open_, shut = (
        face(Expression(mouth_open=0.9), centre=(160.0, 200.0), scale=90),
        face(REST, centre=(500.0, 200.0), scale=90),
    )
    image, amounts = skin((500, 680)), []
    for number in range(12):
        result = effect(image, [open_, shut], time_s=number / 20, ids=[4, 7])
        change = abs(result.astype(int) - image).sum(axis=-1)
        amounts.append(change[:, :330].sum())
        assert not change[:, 340:].any()
    assert amounts[0] == 0
    assert amounts[1] < amounts[2] < amounts[3]
    assert amounts[6] == amounts[-1]
    assert float(interocular_distance(open_.keypoints)) == pytest.approx(90, abs=1)
