"""The drawn head: its 68 points in 3-D, their projection, and what is painted where they are."""

from dataclasses import replace

import numpy as np
import pytest

from files import cv2
from landmarks import (
    CHIN,
    FLIP_ORDER,
    GROUPS,
    JAW_LEFT,
    JAW_RIGHT,
    LEFT_EYE_OUTER,
    LOWER_LIP_BOTTOM,
    NOSE_TIP,
    OUTER_EYE_CORNERS,
    RIGHT_EYE_OUTER,
    UPPER_LIP_TOP,
)
from sample_faces import (
    canonical_head,
)
from sample_faces.canvas import Canvas, spline
from sample_faces.head import FRONT_Z, Expression, Shape, View, fit_view, head_points, project_head
from sample_faces.painter import HAIRLINES, Light, Look, Painter

GREEN = (0, 255, 0)
FLAT_LIGHT = Light(ambient=1.0, strength=0.0)
BALD = Look(skin=(230.0, 180.0, 150.0), lips=(150.0, 40.0, 50.0), hair_style="bald")


def paint(expression=None, *, look=BALD, yaw=0.0, pitch=0.0, roll=0.0, side=150.0, size=300):
    """A face without camera noise on plain green: (image, keypoints)."""
    expression = expression or Expression()
    centre = (size / 2 - 0.5, 0.55 * size)
    view = fit_view(Shape(), expression, View(yaw, pitch, roll), side, centre)
    background = np.full((size, size, 3), GREEN, np.uint8)
    image = Painter(background, Shape(), expression, view, look).paint(FLAT_LIGHT)
    return image, project_head(Shape(), expression, view)


def pixel(image, point) -> np.ndarray:
    x, y = np.rint(point).astype(int)
    return image[y, x].astype(int)


def mean_colour(image, polygon) -> np.ndarray:
    mask = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.rint(polygon).astype(np.int32)], 255)
    return image[mask > 0].mean(axis=0)


# --- the head --------------------------------------------------------------------------


def test_canonical_head_is_symmetric_and_measured_in_eye_distances():
    head = canonical_head()
    assert head.shape == (68, 3)
    assert head.dtype == np.float64
    np.testing.assert_array_equal(head[FLIP_ORDER] * [-1, 1, 1], head)
    right, left = head[RIGHT_EYE_OUTER], head[LEFT_EYE_OUTER]
    np.testing.assert_allclose(left - right, [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose((left + right)[:2], 0, atol=1e-12)


def test_canonical_head_has_its_parts_in_the_right_order():
    head = canonical_head()
    centre_y = {name: head[list(indices), 1].mean() for name, indices in GROUPS.items()}
    assert centre_y["right_brow"] < centre_y["right_eye"] < centre_y["nose_base"] < centre_y["outer_lips"]
    assert head[CHIN, 1] == head[:, 1].max()  # y is down
    assert head[NOSE_TIP, 2] == head[:, 2].max()  # z is towards the viewer
    assert head[list(GROUPS["right_eye"]), 0].max() < 0  # the person's right is on the left


@pytest.mark.parametrize("expression", [Expression(mouth_open=1.0), Expression(smile=1.0)])
def test_lips_stay_in_order(expression):
    for shape in (Shape(), Shape(lip_thickness=0.56), Shape(lip_thickness=1.44)):
        head = head_points(shape, expression)
        outer, inner = head[list(GROUPS["outer_lips"])], head[list(GROUPS["inner_lips"])]
        middle_of_inner = [inner[2, 1], inner[6, 1]]  # upper and lower lip, between the corners
        assert head[UPPER_LIP_TOP, 1] < middle_of_inner[0] < middle_of_inner[1] < head[LOWER_LIP_BOTTOM, 1]
        assert outer[0, 0] < inner[0, 0] < inner[4, 0] < outer[6, 0]


def eye_gap(expression) -> float:
    """Height of the right eye's opening in the middle, in units."""
    outer, upper_a, upper_b, inner, lower_b, lower_a = head_points(Shape(), expression)[
        list(GROUPS["right_eye"])
    ]
    assert outer[0] < upper_a[0] < upper_b[0] < inner[0]
    return float((lower_a[1] + lower_b[1] - upper_a[1] - upper_b[1]) / 2)


def test_eyes_close_without_crossing():
    assert eye_gap(Expression()) == pytest.approx(0.123)
    assert 0 <= eye_gap(Expression(eyes_closed=1.0)) < 0.01


def test_expression_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"mouth_open must be 0 to 1, got 1\.5"):
        Expression(mouth_open=1.5)


@pytest.mark.parametrize(
    ("view", "point", "pixels"),
    [
        (View(yaw=30), (0, 0, 1), (0.5, 0)),  # towards the viewer goes right
        (View(pitch=30), (0, 0, 1), (0, 0.5)),  # ... and down
        (View(roll=90), (1, 0, 0), (0, -1)),  # right goes up: counter-clockwise on the screen
        (View(scale=40, offset_xy=(7, 9)), (1, 2, 3), (47, 89)),
    ],
)
def test_projection_by_hand(view, point, pixels):
    np.testing.assert_allclose(view.project(np.array(point, float)), pixels, atol=1e-12)
    np.testing.assert_allclose(view.flat(view.unproject(pixels)), pixels, atol=1e-12)


def test_visible_edge_by_hand():
    # Two points beside the head's middle, 1 behind its front, and one below: half circles at 45 degrees
    # reach out sqrt(cos^2 + sin^2) = 1 from a centre that has moved by z * sin 45.
    points = np.array([[-1, 0, FRONT_Z - 1], [1, 0, FRONT_Z - 1], [0, 1, FRONT_Z]])
    edge = View(yaw=45).visible_edge(points)
    shift = (FRONT_Z - 1) * np.sqrt(0.5)
    assert edge[1, 0] == pytest.approx(shift + 1.0)
    # On the near side nothing hides the point itself: -cos 45 + z sin 45.
    assert edge[0, 0] == pytest.approx(shift - np.sqrt(0.5))
    np.testing.assert_allclose(View().visible_edge(points), points[:, :2], atol=1e-12)


def test_yaw_pitch_and_roll_move_the_face_the_stated_way():
    def keypoints(**angles):
        return project_head(Shape(), Expression(), View(**angles, scale=100))

    def nose_between_ears(points):
        left, right = points[JAW_LEFT, 0], points[JAW_RIGHT, 0]
        return (points[NOSE_TIP, 0] - right) / (left - right)

    assert nose_between_ears(keypoints()) == pytest.approx(0.5)
    assert nose_between_ears(keypoints(yaw=25)) > 0.65
    assert nose_between_ears(keypoints(yaw=-25)) < 0.35
    assert keypoints(pitch=15)[NOSE_TIP, 1] > keypoints()[NOSE_TIP, 1] > keypoints(pitch=-15)[NOSE_TIP, 1]
    rolled = keypoints(roll=20)
    assert rolled[LEFT_EYE_OUTER, 1] < rolled[RIGHT_EYE_OUTER, 1]


@pytest.mark.parametrize("yaw", [-45, 45])
def test_jaw_of_a_turned_face_follows_the_cheek_and_not_the_hidden_ear(yaw):
    view = View(yaw=yaw)
    points = head_points(Shape(), Expression())
    seen, hidden = project_head(Shape(), Expression(), view), view.project(points)
    far_ear, far_eye = (JAW_LEFT, LEFT_EYE_OUTER) if yaw > 0 else (JAW_RIGHT, RIGHT_EYE_OUTER)
    outwards = np.sign(yaw)
    assert outwards * seen[far_ear, 0] > outwards * seen[far_eye, 0]
    assert outwards * hidden[far_ear, 0] < outwards * hidden[far_eye, 0]  # the rigid point would be inside


# --- what is painted -------------------------------------------------------------------


def test_spline_passes_through_its_points():
    points = np.array([[0, 0], [3, 1], [4, 5], [9, 2]], float)
    np.testing.assert_allclose(spline(points, steps=6)[::6], points, atol=1e-12)


@pytest.mark.parametrize("factor", [3, 4])
def test_canvas_fills_pixels_on_the_grid_of_geometry(factor):
    # The square over pixels 2, 3 and 4 in both directions; an edge may spill by one enlarged pixel.
    canvas = Canvas(np.zeros((8, 8, 3), np.uint8), factor)
    canvas.fill(np.array([[1.5, 1.5], [4.5, 1.5], [4.5, 4.5], [1.5, 4.5]]), (255, 255, 255))
    image = canvas.shrink()[..., 0] / 255
    assert (image[2:5, 2:5] == 1).all()
    image[2:5, 2:5] = 0
    assert image.max() <= 1.01 / factor


def edge_offset(image, inside_point, point) -> float:
    """Distance from `point` to the green background, in pixels along the ray from inside."""
    direction = (point - inside_point) / np.linalg.norm(point - inside_point)
    steps = np.arange(-4, 4.01, 0.1)
    x, y = (point + steps[:, None] * direction).T.astype(np.float32)
    along = cv2.remap(image, x[None], y[None], cv2.INTER_LINEAR)[0].astype(float)
    background = (np.abs(along - GREEN).sum(axis=1) < 0.5 * np.abs(along[0] - GREEN).sum()).argmax()
    return float(steps[background])


@pytest.mark.parametrize("angles", [{}, {"yaw": 35.0}, {"yaw": -35.0}, {"roll": 15.0, "pitch": 10.0}])
def test_jaw_keypoints_lie_on_the_painted_edge(angles):
    image, keypoints = paint(**angles)
    jaw = keypoints[list(GROUPS["jaw"])]
    far_side = jaw[:8] if angles.get("yaw", 0) < 0 else jaw[9:]
    # Between the ear and the neck, where the skin meets the background.
    eyes, chin = keypoints[list(OUTER_EYE_CORNERS)].mean(axis=0), keypoints[CHIN]
    height = (far_side - eyes) @ (chin - eyes) / ((chin - eyes) ** 2).sum()
    checked = far_side[(height > 0.35) & (height < 0.7)]
    assert len(checked) >= 2
    offsets = [edge_offset(image, keypoints[NOSE_TIP], point) for point in checked]
    assert np.abs(offsets).max() < 0.6, offsets


def test_lips_differ_from_the_skin_around_them():
    image, keypoints = paint()
    inner = keypoints[list(GROUPS["inner_lips"])]
    bottom = keypoints[LOWER_LIP_BOTTOM]
    lip = pixel(image, (bottom + inner[6]) / 2)
    skin = pixel(image, bottom + 0.4 * (keypoints[CHIN] - bottom))
    np.testing.assert_allclose(lip, BALD.lips, atol=12)
    assert skin[1] - lip[1] > 60


def test_open_mouth_is_dark_below_the_teeth_and_closed_mouth_is_not():
    image, keypoints = paint(Expression(mouth_open=0.8))
    inner = keypoints[list(GROUPS["inner_lips"])]
    assert pixel(image, 0.25 * inner[2] + 0.75 * inner[6]).max() < 80
    assert pixel(image, 0.85 * inner[2] + 0.15 * inner[6]).min() > 150


@pytest.mark.parametrize("side", ["right", "left"])
def test_eyes_have_a_dark_pupil_between_whites_and_a_lid_when_closed(side):
    image, keypoints = paint(side=180.0)
    eye = keypoints[list(GROUPS[f"{side}_eye"])]
    pupil = pixel(image, eye.mean(axis=0)).mean()
    whites = [pixel(image, 0.72 * corner + 0.28 * eye.mean(axis=0)).mean() for corner in (eye[0], eye[3])]
    assert min(whites) > pupil + 60
    image, keypoints = paint(Expression(eyes_closed=1.0), side=180.0)
    eye = keypoints[list(GROUPS[f"{side}_eye"])]
    assert pixel(image, eye.mean(axis=0)).max() < 110  # the line of the lashes
    lid = pixel(image, eye.mean(axis=0) - [0, 6])
    assert lid[0] > lid[2] + 15  # skin, not white


def test_brows_are_dark_below_their_keypoints():
    image, keypoints = paint()
    for side in ("right", "left"):
        middle = keypoints[list(GROUPS[f"{side}_brow"])][2]
        assert pixel(image, middle + np.array([0, 2.5])).max() < pixel(image, middle - [0, 3]).max() - 80


def test_brows_are_seen_on_skin_of_the_colour_of_the_hair():
    image, keypoints = paint(look=replace(BALD, skin=(110.0, 75.0, 50.0), hair=(150.0, 105.0, 70.0)))
    middle = keypoints[list(GROUPS["right_brow"])][2]
    assert pixel(image, middle + np.array([0, 2.5])).sum() < pixel(image, middle - [0, 3]).sum() - 60


@pytest.mark.parametrize("style", ["bald", *HAIRLINES])
def test_hair_is_on_top_and_leaves_the_face_free(style):
    image, keypoints = paint(look=replace(BALD, hair_style=style, hair=(20.0, 20.0, 200.0)), side=120)
    brows = keypoints[list(GROUPS["right_brow"] + GROUPS["left_brow"])].mean(axis=0)
    crown = pixel(image, brows - 0.65 * (keypoints[CHIN] - brows))
    assert (crown[2] > crown[0] + 50) == (style != "bald")
    nose_and_chin = mean_colour(image, keypoints[[RIGHT_EYE_OUTER, LEFT_EYE_OUTER, CHIN]])
    assert nose_and_chin[0] > nose_and_chin[2] + 30


def test_beard_and_glasses_are_painted():
    plain, keypoints = paint()
    bearded, _ = paint(look=replace(BALD, beard=0.8))
    bottom = keypoints[LOWER_LIP_BOTTOM]
    below_lip = bottom + 0.5 * (keypoints[CHIN] - bottom)
    assert pixel(bearded, below_lip).sum() < pixel(plain, below_lip).sum() - 150
    spectacled, _ = paint(look=replace(BALD, glasses="round"))
    changed = np.argwhere((spectacled != plain).any(axis=2))
    eyes = keypoints[list(OUTER_EYE_CORNERS), 1]
    assert len(changed) > 200
    assert abs(changed[:, 0].mean() - eyes.mean()) < 10


def test_light_from_the_left_brightens_the_left_cheek():
    background = np.full((200, 200, 3), GREEN, np.uint8)
    view = fit_view(Shape(), Expression(), View(), 100.0, (100, 110))
    painter = Painter(background, Shape(), Expression(), view, BALD)
    image = painter.paint(Light(direction=(-0.8, 0.0, 0.6)))
    left, right = (pixel(image, view.project(np.array([x, 0.45, 0.0]))).sum() for x in (-0.6, 0.6))
    assert left > right + 60
