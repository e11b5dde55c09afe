"""Filters are placed at their landmarks, on heads of known geometry."""

import json

import numpy as np
import pytest
from turned_head import POSES, coverage, face, project

import landmarks
from filters.apply import ART, paint, placements
from filters.fit import fit_affine, fold, landmark_point, unforeshorten
from geometry import flip_keypoints, transform_points

CATALOGUE = json.loads((ART / "filters.json").read_text(encoding="utf-8"))
FITTED = [(name, part) for name, parts in CATALOGUE.items() for part in parts if "anchors" in part]
FITTED_IDS = [part["art"] for _, part in FITTED]


def matrices(name, keypoints):
    return dict(placements(name, keypoints))


def at(point, matrix):
    return transform_points(np.asarray(point, dtype=np.float64), matrix)


def seen_at(matrix, position):
    """The place in the image of a disc that is painted around a pixel position of a drawing."""
    rows, columns = np.mgrid[-20:21, -20:21]
    disc = np.clip(13 - np.hypot(rows, columns), 0, 1).astype(np.float32)
    marker = np.stack([disc * 255] * 3 + [disc], axis=-1)
    offset = matrix[:, 2] + matrix[:, :2] @ (np.asarray(position) - 20)
    image = np.zeros((1200, 1200, 3), np.uint8)
    paint(image, marker, np.column_stack([matrix[:, :2], offset]))
    light = image[..., 0].astype(float)
    ys, xs = np.mgrid[:1200, :1200]
    return np.array([(xs * light).sum(), (ys * light).sum()]) / light.sum()


@pytest.mark.parametrize(("name", "part"), FITTED, ids=FITTED_IDS)
@pytest.mark.parametrize("pose", [p for p in POSES if "yaw" not in p], ids=str)
def test_anchors_land_on_their_landmarks(name, part, pose):
    keypoints = face(**pose)
    matrix = matrices(name, keypoints)[part["art"]]
    for landmark, position in part["anchors"].items():
        np.testing.assert_allclose(at(position, matrix), landmark_point(keypoints, landmark), atol=0.05)


@pytest.mark.parametrize(("name", "part"), FITTED, ids=FITTED_IDS)
@pytest.mark.parametrize("pose", POSES, ids=str)
def test_the_pin_is_painted_on_its_landmark(name, part, pose):
    keypoints = face(**{"centre": (600.0, 600.0), **pose})
    found = seen_at(matrices(name, keypoints)[part["art"]], part["pin"]["at"])
    np.testing.assert_allclose(found, landmark_point(keypoints, part["pin"]["on"]), atol=0.5)


@pytest.mark.parametrize(("name", "part"), FITTED, ids=FITTED_IDS)
def test_in_a_flipped_image_right_stays_right(name, part):
    keypoints = flip_keypoints(face(yaw=25, roll=10, centre=(500.0, 600.0)), 1200)
    matrix = matrices(name, keypoints)[part["art"]]
    assert np.linalg.det(matrix[:, :2]) > 0
    found = seen_at(matrix, part["pin"]["at"])
    np.testing.assert_allclose(found, landmark_point(keypoints, part["pin"]["on"]), atol=0.5)


@pytest.mark.parametrize("yaw", [-40, 40])
def test_the_front_of_the_glasses_runs_back_from_the_nose_to_the_plane_of_the_eyes(yaw):
    keypoints = face(yaw=yaw)
    placed = matrices("sunglasses", keypoints)
    temples = project(np.array([[-88, 1.5, 0], [88, 1.5, 0]]), yaw=yaw)
    widths = []
    for side, temple in zip(("right", "left"), temples, strict=True):
        part = next(p for p in CATALOGUE["sunglasses"] if p["art"] == f"sunglasses_{side}.png")
        matrix = placed[part["art"]]
        np.testing.assert_allclose(at(part["pin"]["fixed"], matrix), temple, atol=0.5)
        widths.append(np.linalg.norm(matrix[:, 0]))
    near, far = widths if yaw > 0 else widths[::-1]
    # by hand: half a front is 88 units wide and 14 deep, and 40 degrees show
    # 88 cos + 14 sin = 76.4 of the near half and 88 cos - 14 sin = 58.4 of the far one
    assert near / far == pytest.approx(76.4 / 58.4, rel=0.01)


@pytest.mark.parametrize(
    ("yaw", "ears"), [(0, {"JAW_RIGHT", "JAW_LEFT"}), (40, {"JAW_RIGHT"}), (-40, {"JAW_LEFT"})]
)
def test_only_arms_in_sight_are_drawn_and_they_end_above_the_ear(yaw, ears):
    keypoints = face(yaw=yaw)
    arms = [matrix for art, matrix in placements("sunglasses", keypoints) if art == "sunglasses_arm.png"]
    end = CATALOGUE["sunglasses"][0]["end"]["at"]
    ends = sorted(at(end, matrix)[0] for matrix in arms)
    expected = sorted(landmark_point(keypoints, ear)[0] for ear in ears)
    np.testing.assert_allclose(ends, expected, atol=0.01)


def test_an_arm_starts_where_the_front_ends():
    keypoints = face(yaw=30, roll=15)
    placed = placements("sunglasses", keypoints)
    arm, front = placed[0][1], dict(placed)["sunglasses_right.png"]
    for own, on_front in CATALOGUE["sunglasses"][0]["hinge"]:
        np.testing.assert_allclose(at(own, arm), at(on_front, front), atol=0.01)


@pytest.mark.parametrize("pose", [p for p in POSES if p.get("scale", 1) >= 0.8], ids=str)
@pytest.mark.parametrize(("name", "below_pin"), [("sunglasses", -12.5), ("moustache", 1.0)])
def test_halves_meet_without_a_gap(name, below_pin, pose):
    keypoints = face(**pose)
    hidden = coverage((600, 640), keypoints, name)
    placed = matrices(name, keypoints)
    for side, sign in (("right", -1), ("left", 1)):  # from 5 units beside the joint to the joint
        part = next(p for p in CATALOGUE[name] if p["art"] == f"{name}_{side}.png")
        strip = np.column_stack([np.linspace(5 * sign, 0, 20), np.full(20, below_pin)]) * 4
        for x, y in np.rint(at(part["pin"]["at"] + strip, placed[part["art"]])).astype(int):
            assert hidden[y, x] > 0.98


def test_a_round_thing_keeps_its_size_on_a_turned_head():
    straight, turned = (matrices("party_hat", face(yaw=yaw))["party_hat.png"] for yaw in (0, 40))
    np.testing.assert_allclose(turned[:, :2], straight[:, :2], atol=0.01)
    flat = matrices("dog", face(yaw=40))["dog_ears.png"] @ [1, 0, 0]
    assert np.linalg.norm(flat) * 1.6 == pytest.approx(np.cos(np.deg2rad(40)), rel=0.01)


def test_unforeshorten_by_hand():
    # a plane 2 pixels to the unit, turned so that its width shrinks to half
    np.testing.assert_allclose(unforeshorten(np.array([[1.0, 0], [0, 2.0]])), [[2, 0], [0, 2]])
    # the same, tipped, on a head lying on its side: down on the head is left in the image
    np.testing.assert_allclose(unforeshorten(np.array([[0, -1.0], [2.0, 0]])), [[0, -2], [2, 0]], atol=1e-12)


def test_fit_affine_recovers_a_matrix_and_refuses_a_line():
    matrix = np.array([[0.5, -0.2, 7.0], [0.3, 1.1, -4.0]])
    points = np.array([[0, 0], [10, 1], [3, 12], [-4, 5]])
    np.testing.assert_allclose(fit_affine(points, points @ matrix[:, :2].T + matrix[:, 2]), matrix)
    with pytest.raises(ValueError, match="one line"):
        fit_affine([[0, 0], [1, 1], [2, 2]], [[0, 0], [1, 1], [2, 3]])


def test_fold_moves_one_point_and_leaves_the_other():
    folded = fold(np.eye(2, 3), np.array([10.0, 4.0]), np.array([3.0, -2.0]), np.array([0.0, 4.0]))
    np.testing.assert_allclose(
        at([[10, 4], [0, 4], [5, 4], [10, 9]], folded), [[13, 2], [0, 4], [6.5, 3], [13, 7]]
    )


def test_landmark_names_resolve_through_the_scheme():
    points = np.random.default_rng(0).uniform(0, 100, (68, 2))
    np.testing.assert_array_equal(landmark_point(points, "CHIN"), points[landmarks.CHIN])
    eye = points[list(landmarks.GROUPS["left_eye"])].mean(axis=0)
    np.testing.assert_allclose(landmark_point(points, "left_eye"), eye)
    np.testing.assert_allclose(
        landmark_point(points, ["left_eye", "CHIN"]), (eye + points[landmarks.CHIN]) / 2
    )


@pytest.mark.parametrize("name", ["EAR", "NUM_KEYPOINTS", "FLIP_ORDER", "np", "INNER_51"])
def test_other_names_are_refused(name):
    with pytest.raises(ValueError, match=f"unknown landmark '{name}'"):
        landmark_point(np.zeros((68, 2)), name)
