"""Head pose of heads whose geometry is known."""

import numpy as np
import pytest

import landmarks
import plots
from analysis import head_pose
from geometry import flip_keypoints
from sample_faces import canonical_head, draw_face, draw_identity
from sample_faces.head import Expression, Shape, View, head_points, project_head
from sample_faces.people import draw_expression

UNIT = 60.0  # inter-ocular distance in pixels of the heads below


def seen(points=None, *, yaw=0.0, pitch=0.0, roll=0.0, scale=UNIT, offset_xy=(160.0, 120.0)):
    """The canonical head, or other points (68, 3), seen from afar."""
    return View(yaw, pitch, roll, scale, offset_xy).project(canonical_head() if points is None else points)


def face(expression=None, shape=None, **view):
    return seen(head_points(shape or Shape(), expression or Expression()), **view)


def angles(keypoints, camera=None, jaw_on_edge=0.0):
    pose = head_pose(keypoints, camera, jaw_on_edge)
    return np.array([pose.yaw_deg, pose.pitch_deg, pose.roll_deg])


@pytest.mark.parametrize("yaw", [-60, -30, 0, 30, 60])
@pytest.mark.parametrize("pitch", [-30, -15, 0, 15, 30])
@pytest.mark.parametrize("roll", [-40, 0, 40])
def test_a_turned_head_is_measured_to_4_degrees(yaw, pitch, roll):
    expected = [yaw, pitch, roll]
    np.testing.assert_allclose(angles(seen(yaw=yaw, pitch=pitch, roll=roll)), expected, atol=3)
    on_edge = project_head(Shape(), Expression(), View(yaw, pitch, roll, UNIT))
    np.testing.assert_allclose(angles(on_edge, jaw_on_edge=1), expected, atol=4)


@pytest.mark.parametrize("pose", [(0, 0, 0), (35, -20, 15), (-50, 10, -100), (75, 25, 160)], ids=str)
def test_through_a_known_camera_the_pose_is_exact(pose):
    camera = np.array([[700.0, 0, 250], [0, 720.0, 180], [0, 0, 1]])
    view = View(*pose)
    turn = np.eye(3)
    turn[:2, :2] = view.in_plane
    points = canonical_head() @ (turn @ view.turn).T
    x, y, depth = points[:, 0] + 1.5, points[:, 1] - 0.7, 8.0 - points[:, 2]  # z is towards the viewer
    keypoints = np.column_stack([700 * x / depth + 250, 720 * y / depth + 180])
    found = head_pose(keypoints, camera, jaw_on_edge=0)
    np.testing.assert_allclose(angles(keypoints, camera), pose, atol=0.01)
    np.testing.assert_allclose(found.translation, [1.5, -0.7, 8.0], atol=0.001)
    np.testing.assert_allclose(found.project(canonical_head()), keypoints, atol=0.01)


def test_the_signs():
    """By hand: what moves in front of the plane of the eyes goes where the head turns."""
    straight = face()
    inner = list(landmarks.GROUPS["nose_bridge"] + landmarks.GROUPS["nose_base"])
    for step, axis in (((8, 0), 0), ((0, 8), 1)):  # nose to the right of the image; nose down
        moved = straight.copy()
        moved[inner] += step
        assert angles(moved)[axis] > 3
    right, left = landmarks.OUTER_EYE_CORNERS
    rolled = face(roll=20)
    assert rolled[left, 1] < rolled[right, 1]  # counter-clockwise: higher on the right of the image
    assert angles(rolled)[2] == pytest.approx(20, abs=0.5)


def test_rotation_takes_the_nose_where_the_angles_say():
    pose = head_pose(seen(yaw=90 - 1e-3), jaw_on_edge=0)
    # in OpenCV's axes the nose points along -z of the head, and to the right of the image when turned
    np.testing.assert_allclose(pose.rotation @ [0, 0, -1], [1, 0, 0], atol=0.05)
    np.testing.assert_allclose(pose.rotation @ pose.rotation.T, np.eye(3), atol=1e-9)


def test_in_a_flipped_image_yaw_and_roll_change_sign():
    keypoints = seen(yaw=25, pitch=-12, roll=8)
    np.testing.assert_allclose(
        angles(flip_keypoints(keypoints, 320)), angles(keypoints) * [-1, 1, -1], atol=0.05
    )


@pytest.mark.parametrize("view", [{"scale": 7.0}, {"scale": 900.0}, {"offset_xy": (-500.0, 2000.0)}], ids=str)
def test_size_and_place_in_the_image_do_not_matter(view):
    turned = {"yaw": 30, "pitch": 10, "roll": -15}
    np.testing.assert_allclose(angles(seen(**turned, **view)), angles(seen(**turned)), atol=0.05)


def points_on_the_head(shape, expression, view):
    return view.project(head_points(shape, expression))


def pose_errors(view_of, jaw_on_edge, noise):
    """Errors (N, 3) in degrees on drawn people with an expression, turned every way.

    noise: standard deviation of each coordinate, as a share of the inter-ocular distance.
    """
    rng, found = np.random.default_rng(1), []
    for _ in range(6):
        shape, expression = draw_identity(rng).shape, draw_expression(rng)
        for yaw in (-45, -20, 0, 20, 45):
            for pitch, roll in ((-20, 15), (0, 0), (20, -15)):
                keypoints = view_of(shape, expression, View(yaw, pitch, roll, UNIT))
                keypoints = keypoints + rng.normal(0, noise * UNIT, keypoints.shape)
                found.append(angles(keypoints, jaw_on_edge=jaw_on_edge) - [yaw, pitch, roll])
    return np.abs(found)


@pytest.mark.parametrize(
    ("view_of", "jaw_on_edge", "noise", "mean", "worst"),
    [
        (points_on_the_head, 0.0, 0.0, (2, 2.5, 1), (6, 6, 3)),
        (points_on_the_head, 0.0, 0.05, (3, 3, 2), (12, 12, 8)),  # the error of a network, point by point
        (project_head, 1.0, 0.0, (2.5, 3, 1), (7, 7, 3)),
        (project_head, 1.0, 0.05, (4, 4, 2), (12, 15, 8)),
        (points_on_the_head, 0.5, 0.0, (3, 3, 1), (11, 9, 4)),  # half wrong, either way
        (project_head, 0.5, 0.0, (5, 4, 1), (11, 9, 4)),
    ],
)
def test_people_of_other_shapes_with_an_expression(view_of, jaw_on_edge, noise, mean, worst):
    errors = pose_errors(view_of, jaw_on_edge, noise)
    assert (errors.mean(axis=0) <= mean).all(), errors.mean(axis=0)
    assert (errors.max(axis=0) <= worst).all(), errors.max(axis=0)


@pytest.mark.parametrize("yaw", [-30, 0, 30])
def test_a_rendered_face_is_turned_as_it_was_drawn(yaw):
    turned = {"yaw": yaw, "pitch": 5, "roll": -10}
    _, keypoints = draw_face(np.random.default_rng(3), size_wh=(120, 120), expression=Expression(), **turned)
    np.testing.assert_allclose(angles(keypoints, jaw_on_edge=1), [yaw, 5, -10], atol=6)


def test_axes_start_at_the_nose_and_point_left_down_and_out():
    keypoints = seen(yaw=40)
    nose, left, down, forward = head_pose(keypoints, jaw_on_edge=0).axes(length=1.0)
    np.testing.assert_allclose(nose, keypoints[landmarks.NOSE_TIP], atol=0.05 * UNIT)
    # seen from afar, a unit to the left keeps cos 40 of its length, a unit forward shows sin 40
    np.testing.assert_allclose(left - nose, [0.77 * UNIT, 0], atol=0.1 * UNIT)
    np.testing.assert_allclose(down - nose, [0, UNIT], atol=0.1 * UNIT)
    np.testing.assert_allclose(forward - nose, [0.64 * UNIT, 0], atol=0.1 * UNIT)


def test_keypoints_and_cameras_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="leave this face out"):
        head_pose(np.full((68, 2), 7.0))
    scattered = np.random.default_rng(37).uniform(0, 200, (68, 2))  # best explained from behind the camera
    with pytest.raises(ValueError, match="leave this face out"):
        head_pose(scattered)
    with pytest.raises(ValueError, match="finite"):
        head_pose(np.full((68, 2), np.nan))
    with pytest.raises(ValueError, match="jaw_on_edge must be from 0 to 1"):
        head_pose(seen(), jaw_on_edge=2)
    for camera in (700.0, np.eye(2), np.diag([700.0, -700.0, 1.0])):
        with pytest.raises(ValueError, match="camera must be a 3x3 matrix"):
            head_pose(seen(), camera)


def test_pose_and_series_are_drawn_where_they_are():
    _, (left, right) = plots.new_figure(1, 2)
    corners = np.array([[5.0, 6], [15, 6], [5, 16], [2, 3]])
    plots.draw_pose(left, corners)
    drawn = [line.get_xydata() for line in left.lines]
    np.testing.assert_array_equal(drawn, [[corners[0], tip] for tip in corners[1:]])
    plots.draw_over_time(right, [0, 0.04], {"right": [0.3, 0.1], "left": [0.3, np.nan]}, spans=[(0.02, 0.06)])
    np.testing.assert_array_equal(right.lines[1].get_xydata(), [[0, 0.3], [0.04, np.nan]])
    assert right.patches[0].get_x() == pytest.approx(0.02)
    assert right.patches[0].get_width() == pytest.approx(0.04)
