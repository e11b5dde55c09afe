"""The pixel convention, checked by painting a pixel at a keypoint and finding it again."""

import numpy as np
import pytest

import geometry as g
from landmarks import FLIP_ORDER, GROUPS, check_keypoints


def painted(shape_hw, x, y, radius=2):
    """Black float image with a bright, symmetric blob centred at the whole pixel (x, y)."""
    image = np.zeros(shape_hw, np.float32)
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            image[y + dy, x + dx] = radius + 1 - max(abs(dx), abs(dy))
    return image


def centroid(image):
    ys, xs = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.array([(xs * image).sum(), (ys * image).sum()]) / image.sum()


def test_resize_follows_the_convention_by_hand():
    # twice as large: pixel 0 covers [-0.5, 0.5) and becomes [-0.5, 1.5), centred at 0.5
    matrix = g.resize_matrix((10, 20), (20, 40))
    np.testing.assert_allclose(g.transform_points([[0, 0], [19, 9]], matrix), [[0.5, 0.5], [38.5, 18.5]])


def test_whole_image_box_has_the_middle_of_the_pixel_grid():
    image = np.zeros((4, 6, 3), np.uint8)
    np.testing.assert_array_equal(g.image_box(image), [0, 0, 6, 4])
    np.testing.assert_array_equal(g.box_centre(g.image_box(image)), [2.5, 1.5])


def test_box_from_keypoints_covers_their_pixels():
    np.testing.assert_array_equal(g.box_from_keypoints([[3, 5], [7, 6]]), [3, 5, 8, 7])


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("rotation", [0, 30, -90, 180])
@pytest.mark.parametrize("side", [40, 80, 33.3])
def test_crop_moves_pixels_and_points_alike(flip, rotation, side):
    matrix = g.crop_matrix((52.3, 47.8), side, 64, rotation_deg=rotation, flip=flip)
    for x, y in [(50, 50), (45, 40), (58, 52)]:
        crop = g.warp(painted((100, 110), x, y), matrix, (64, 64))
        expected = g.transform_points([[x, y]], matrix)[0]
        np.testing.assert_allclose(centroid(crop), expected, atol=0.06)


@pytest.mark.parametrize("side", [150, 310, 700])
def test_strong_shrinking_keeps_the_place_and_the_light(side):
    # anti-aliased: the mean gray of a fine checkerboard survives, and the blob stays in place
    matrix = g.crop_matrix((200, 200), side, 48)
    image = painted((401, 401), 230, 180, radius=20)
    crop = g.warp(image, matrix, (48, 48))
    np.testing.assert_allclose(centroid(crop), g.transform_points([[230, 180]], matrix)[0], atol=0.1)
    board = (np.indices((400, 400)).sum(0) % 2).astype(np.float32)
    inner = g.warp(board, g.crop_matrix((199.5, 199.5), 300, 48), (48, 48))
    assert abs(inner - 0.5).max() < 0.2


def test_positive_rotation_is_counter_clockwise_on_the_screen():
    matrix = g.crop_matrix((10, 10), 21, 21, rotation_deg=90)
    right_of_centre = g.transform_points([[15, 10]], matrix)[0]
    np.testing.assert_allclose(right_of_centre, [10, 5], atol=1e-5)  # it went up


def test_mirrored_crop_is_the_mirrored_image_of_the_crop():
    rng = np.random.default_rng(0)
    image = rng.integers(256, size=(60, 60), dtype=np.uint8)
    plain = g.warp(image, g.crop_matrix((29.5, 29.5), 60, 60), (60, 60))
    mirrored = g.warp(image, g.crop_matrix((29.5, 29.5), 60, 60, flip=True), (60, 60))
    np.testing.assert_array_equal(mirrored, g.flip_image(plain))


def test_invert_and_compose_lead_back():
    first = g.crop_matrix((12, 30), 55, 96, rotation_deg=17, flip=True)
    points = np.random.default_rng(1).uniform(0, 100, (68, 2)).astype(np.float32)
    back = g.transform_points(g.transform_points(points, first), g.invert(first))
    np.testing.assert_allclose(back, points, atol=1e-3)
    second = g.resize_matrix((96, 96), (224, 224))
    both = g.transform_points(points, g.compose(second, first))
    np.testing.assert_allclose(both, g.transform_points(g.transform_points(points, first), second), atol=1e-3)


def test_similarity_finds_a_known_map_and_refuses_a_single_point():
    points = np.random.default_rng(2).uniform(0, 50, (20, 2))
    angle, scale = np.deg2rad(40), 1.7
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    known = np.column_stack([linear, [3, -8]])
    found = g.similarity_matrix(points, points @ linear.T + [3, -8])
    np.testing.assert_allclose(found, known, atol=1e-9)
    # a mirrored shape is not reached by turning it
    mirrored = points * [-1, 1]
    rest = g.transform_points(points, g.similarity_matrix(points, mirrored)) - mirrored
    assert np.abs(rest).max() > 1
    with pytest.raises(ValueError, match="all the same"):
        g.similarity_matrix(np.ones((5, 2)), points[:5])


def test_mirrored_keypoints_swap_sides():
    points = np.zeros((68, 2), np.float32)
    points[36] = 30, 40  # outer corner of the right eye, in a 100-pixel-wide image
    mirrored = g.flip_keypoints(points, 100)
    np.testing.assert_array_equal(mirrored[45], [69, 40])
    np.testing.assert_array_equal(g.flip_keypoints(mirrored, 100), points)


def test_mirror_order_is_its_own_inverse_and_keeps_the_middle():
    np.testing.assert_array_equal(FLIP_ORDER[FLIP_ORDER], np.arange(68))
    fixed = np.flatnonzero(np.arange(68) == FLIP_ORDER)
    np.testing.assert_array_equal(fixed, [8, 27, 28, 29, 30, 33, 51, 57, 62, 66])


def test_iou_and_scale_by_hand():
    assert g.box_iou([0, 0, 2, 2], [1, 0, 3, 2]) == pytest.approx(1 / 3)
    assert g.box_iou([0, 0, 1, 1], [5, 5, 6, 6]) == 0
    np.testing.assert_allclose(g.scale_box([0, 0, 10, 20], 1.2), [-1, -2, 11, 22])


@pytest.mark.parametrize(
    ("view", "corners"),
    [
        # an image 100 wide and 50 high into 50 px
        ("letterbox", [[-0.25, 12.25], [49.25, 36.75]]),
        ("stretch", [[-0.25, 0.0], [49.25, 49.0]]),
    ],
)
def test_whole_image_views_by_hand(view, corners):
    matrix = g.whole_image_matrix((50, 100), 50, view)
    np.testing.assert_allclose(g.transform_points([[0, 0], [99, 49]], matrix), corners, atol=1e-5)


def test_crop_view_is_rescale_then_center_crop():
    # 500 x 1000: the shorter side becomes 250, the middle 224 remain
    matrix = g.whole_image_matrix((500, 1000), 224, "crop")
    np.testing.assert_allclose(g.transform_points([[499.5, 249.5]], matrix), [[111.5, 111.5]], atol=1e-4)
    assert g.matrix_scale(matrix) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "box", [[0, 0, 0, 5], [5, 0, 1, 5], [0, 0, float("nan"), 5], [1, 2, 3], "face", [0, 0, np.inf, 1]]
)
def test_bad_boxes_are_named(box):
    with pytest.raises(ValueError, match="box|could not convert"):
        g.check_box(box)


def test_bad_view_keypoints_and_crops_are_named():
    with pytest.raises(ValueError, match="letterbox"):
        g.whole_image_matrix((5, 5), 5, "zoom")
    with pytest.raises(ValueError, match=r"\(68, 2\), got \(5, 2\)"):
        check_keypoints(np.zeros((5, 2)))
    with pytest.raises(ValueError, match="finite"):
        check_keypoints(np.full((68, 2), np.nan))
    with pytest.raises(ValueError, match="positive side"):
        g.crop_matrix((0, 0), 0, 96)


def upright_face() -> np.ndarray:
    """68 points of a drawn face that stands upright: both eyes on one line, the mouth below their middle."""
    points = np.random.default_rng(0).uniform(60, 140, (68, 2))
    for group, (x, y) in {"right_eye": (80, 80), "left_eye": (120, 80), "outer_lips": (100, 125)}.items():
        rows = list(GROUPS[group])
        points[rows] += np.array([x, y]) - points[rows].mean(axis=0)
    return points


@pytest.mark.parametrize("degrees", [0, 20, -35, 90, 179, -120])
def test_roll_is_the_angle_that_a_face_was_turned_by(degrees):
    turned = g.transform_points(upright_face(), g.crop_matrix((100, 100), 50, 50, rotation_deg=degrees))
    assert g.face_roll(turned) == pytest.approx(degrees, abs=1e-3)
    # a head that is turned away has its eyes near to each other, which changes nothing here
    narrow = upright_face() * [0.2, 1]
    turned = g.transform_points(narrow, g.crop_matrix((20, 100), 50, 50, rotation_deg=degrees))
    assert g.face_roll(turned) == pytest.approx(degrees, abs=1e-3)


def test_roll_of_points_that_are_all_one():
    assert g.face_roll(np.full((68, 2), 7.0)) == 0.0


@pytest.mark.parametrize("degrees", [0, 25, -70, 150])
def test_an_upright_crop_shows_every_turned_face_alike(degrees):
    face = upright_face()
    expected = g.transform_points(face, g.square_crop_matrix(g.box_from_keypoints(face), 1.35, 96))
    turned = g.transform_points(face, g.crop_matrix((90, 110), 100, 300, rotation_deg=degrees))
    matrix = g.face_crop_matrix(turned, 1.35, 96, align_roll=True)
    # a box is one pixel larger than its points, whatever their scale: up to 0.5 pixels here
    np.testing.assert_allclose(g.transform_points(turned, matrix), expected, atol=0.6)
    plain = g.face_crop_matrix(turned, 1.35, 96, align_roll=False)
    np.testing.assert_array_equal(plain, g.square_crop_matrix(g.box_from_keypoints(turned), 1.35, 96))
