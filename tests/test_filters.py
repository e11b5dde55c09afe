"""Filters are painted without fringes, and change nothing outside of the drawing."""

import json
from itertools import pairwise

import numpy as np
import pytest
import skimage.data
from PIL import Image
from turned_head import coverage, face, noise

import landmarks
from filters import apply_filter, apply_filter_to_faces, apply_filter_to_video, list_filters
from filters.apply import ART, load_art, paint, premultiply
from filters.draw_art import drawings
from filters.fit import landmark_point
from geometry import flip_image, flip_keypoints

CATALOGUE = json.loads((ART / "filters.json").read_text(encoding="utf-8"))
FITTED = [(name, part) for name, parts in CATALOGUE.items() for part in parts if "anchors" in part]


# --- painting ----------------------------------------------------------------------------


def test_the_colour_of_clear_pixels_does_not_show():
    turn = np.deg2rad(20)
    matrix = 0.41 * np.array([[np.cos(turn), -np.sin(turn), 40], [np.sin(turn), np.cos(turn), 20]])
    results = []
    for hidden in (0, 255):
        rgba = np.full((40, 40, 4), (hidden, hidden, hidden, 0), np.uint8)
        rgba[8:32, 8:32] = 255
        image = np.full((60, 60, 3), 255, np.uint8)
        image[:, 22:] = 100
        paint(image, premultiply(rgba), matrix)
        results.append(image)
        assert image[:, :22].min() >= 254  # white on white has no dark fringe
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("axis", [0, 1])
def test_stripes_shrunk_along_one_axis_only_become_even_grey(axis):
    rgba = np.full((160, 160, 4), 255, np.uint8)
    np.moveaxis(rgba, axis, 0)[np.arange(160) % 16 < 8, :, :3] = 0
    scale = np.ones(2)
    scale[1 - axis] = 1 / 16
    image = np.zeros((170, 170, 3), np.uint8)
    paint(image, premultiply(rgba), np.column_stack([np.diag(scale), [4.3, 4.3]]))
    width, height = (160 * scale).astype(int)  # 160 and 10
    inside = image[7 : 4 + height - 3, 7 : 4 + width - 3]
    assert inside.size > 900
    assert abs(inside.astype(float) - 127.5).max() <= 2


@pytest.mark.parametrize("name", list_filters())
def test_outside_of_the_drawing_nothing_changes(name):
    keypoints, image = face(yaw=20, roll=-12), noise((600, 640))
    before = image.copy()
    painted = apply_filter(image, keypoints, name)
    hidden = coverage((600, 640), keypoints, name)
    np.testing.assert_array_equal(painted[hidden == 0], image[hidden == 0])
    assert (hidden > 0.9).sum() > 1000
    np.testing.assert_array_equal(image, before)
    assert painted.dtype == np.uint8
    assert not np.shares_memory(painted, image)


def test_opacity_is_a_blend_and_zero_is_a_copy():
    keypoints, image = face(), noise((600, 640))
    full, half = (apply_filter(image, keypoints, opacity=opacity).astype(float) for opacity in (1.0, 0.5))
    one_part_deep = coverage((600, 640), keypoints, "dog") > 0
    dog, dog_half = (apply_filter(image, keypoints, "dog", opacity=o).astype(float) for o in (1.0, 0.5))
    assert abs(dog_half - (dog + image) / 2)[one_part_deep].max() <= 1
    assert abs(half - image).sum() < abs(full - image).sum()
    np.testing.assert_array_equal(apply_filter(image, keypoints, opacity=0.0), image)


@pytest.mark.parametrize("name", list_filters())
def test_turning_the_image_turns_the_filter(name):
    keypoints, image = face(yaw=15, roll=8), noise((600, 640))
    turned = np.stack([keypoints[:, 1], image.shape[1] - 1 - keypoints[:, 0]], axis=1)  # rot90: to the left
    difference = apply_filter(np.rot90(image), turned, name).astype(float) - np.rot90(
        apply_filter(image, keypoints, name)
    )
    assert abs(difference).mean() < 0.05
    assert abs(difference).max() <= 12


@pytest.mark.parametrize("name", list_filters())
def test_flipping_the_face_flips_the_outline(name):
    keypoints = face(yaw=15, roll=8)
    hidden = coverage((600, 640), keypoints, name)
    flipped = coverage((600, 640), flip_keypoints(keypoints, 640), name)
    assert abs(flipped - hidden[:, ::-1]).sum() < 0.03 * hidden.sum()


@pytest.mark.parametrize("name", list_filters())
@pytest.mark.parametrize("move", [(-320, 0), (300, 0), (0, -290), (40, 330)])
def test_a_filter_partly_outside_is_cut_off(name, move):
    large, keypoints = noise((1400, 1440)), face(roll=10)
    corner = np.array([400, 400])
    part = apply_filter(large[400:1000, 400:1040], keypoints + move, name)
    whole = apply_filter(large, keypoints + move + corner, name)
    difference = abs(part.astype(int) - whole[400:1000, 400:1040])
    # OpenCV rounds where it samples to 1/32 pixel, and the window starts elsewhere
    assert difference.max() <= 255 / 32
    assert difference.mean() < 0.05


@pytest.mark.parametrize("move", [(-5000, 0), (5000, 5000), (0, -1e6), (1e9, 0)])
def test_wholly_outside_changes_nothing(move):
    image = noise((60, 80))
    np.testing.assert_array_equal(apply_filter(image, face() * 0.1 + move, "dog"), image)


def test_a_face_larger_than_the_image_fills_it():
    keypoints = face(scale=100, centre=(3600.0, 0.0))  # the right eye in the middle
    assert coverage((50, 50), keypoints, "sunglasses").min() > 0.6


def test_a_face_seen_exactly_edge_on_leaves_no_smear():
    keypoints = np.repeat(np.linspace(0, 200, 68)[:, None], 2, axis=1) + 50  # all on a diagonal
    image = noise((300, 300))
    np.testing.assert_array_equal(apply_filter(image, keypoints, "moustache"), image)


# --- several faces and frames --------------------------------------------------------------


def test_the_filter_of_the_nearer_face_is_on_top_in_any_order():
    near, far = face(scale=1.4), face(scale=0.9, centre=(300.0, 280.0))
    image = noise((600, 640))
    expected = apply_filter(apply_filter(image, far), near)
    np.testing.assert_array_equal(apply_filter_to_faces(image, [near, far]), expected)
    np.testing.assert_array_equal(apply_filter_to_faces(image, np.stack([far, near])), expected)
    assert (expected != apply_filter(apply_filter(image, near), far)).any()


def test_no_faces_give_a_copy():
    image = noise((20, 30))
    painted = apply_filter_to_faces(image, [])
    np.testing.assert_array_equal(painted, image)
    assert not np.shares_memory(painted, image)


def test_video_goes_frame_by_frame():
    frames = [noise((200, 200), seed) for seed in range(3)]
    faces = [[face(scale=0.5, centre=(100.0, 80.0))], [], [face(scale=0.4, centre=(90.0, 90.0), roll=20)] * 2]
    read = []

    def camera():
        for number, frame in enumerate(frames):
            read.append(number)
            yield frame

    film = apply_filter_to_video(camera(), faces, "moustache")
    np.testing.assert_array_equal(next(film), apply_filter_to_faces(frames[0], faces[0], "moustache"))
    assert read == [0]
    for frame, keypoints, painted in zip(frames[1:], faces[1:], film, strict=True):
        np.testing.assert_array_equal(painted, apply_filter_to_faces(frame, keypoints, "moustache"))
    with pytest.raises(ValueError, match="shorter"):
        list(apply_filter_to_video(frames, faces[:2]))


# --- wrong input ---------------------------------------------------------------------------


def test_a_degenerate_face_is_refused():
    image, eyes_in_one_place = noise((100, 100)), face()
    right, left = landmarks.OUTER_EYE_CORNERS
    eyes_in_one_place[left] = eyes_in_one_place[right]
    for keypoints in (np.full((68, 2), 50.0), eyes_in_one_place, face(scale=0.001)):
        with pytest.raises(ValueError, match="degenerate face: the outer eye corners are"):
            apply_filter(image, keypoints)


@pytest.mark.parametrize("keypoints", [np.zeros((5, 2)), np.zeros((1, 68, 2)), np.full((68, 2), np.nan)])
def test_wrong_keypoints_are_refused(keypoints):
    with pytest.raises(ValueError, match="keypoints must"):
        apply_filter(noise((100, 100)), keypoints)


@pytest.mark.parametrize("faces", [[], [face()]])
def test_an_unknown_filter_lists_the_known_ones(faces):
    with pytest.raises(
        ValueError, match="unknown filter 'wig'; known: sunglasses, moustache, dog, party_hat"
    ):
        apply_filter_to_faces(noise((50, 50)), faces, "wig")


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((50, 50), np.uint8),
        np.zeros((50, 50, 4), np.uint8),
        np.zeros((50, 50, 3), np.float32),
        np.zeros((0, 50, 3), np.uint8),
    ],
    ids=["gray", "rgba", "float", "empty"],
)
def test_a_wrong_image_says_what_was_expected(image):
    with pytest.raises(ValueError, match=r"\(H, W, 3\) uint8 RGB.*got shape \(\d+, 50"):
        apply_filter(image, face())


@pytest.mark.parametrize("opacity", [-0.1, 1.5, np.nan])
def test_opacity_outside_its_range_is_refused(opacity):
    with pytest.raises(ValueError, match="opacity must be from 0 to 1"):
        apply_filter(noise((50, 50)), face(), opacity=opacity)


# --- the drawings --------------------------------------------------------------------------


def test_the_script_draws_the_committed_pixels():
    drawn = drawings()
    assert sorted(drawn) == sorted(path.name for path in ART.glob("*.png"))
    for name, picture in drawn.items():
        with Image.open(ART / name) as image:
            committed = np.asarray(image)
        # premultiplied, because the colour of a nearly clear pixel means nothing; 1 for a processor
        # that rounds the blur differently
        difference = np.abs(premultiply(picture) - premultiply(committed)) * (1, 1, 1, 255)
        assert difference.max() <= 1.01, name


@pytest.mark.parametrize("path", sorted(ART.glob("*.png")), ids=lambda path: path.name)
def test_drawings_are_small_and_have_soft_edges(path):
    assert path.stat().st_size < 60 * 1024
    with Image.open(path) as image:
        assert image.mode == "RGBA"
        assert max(image.size) <= 512
        alpha = np.asarray(image)[..., 3]
    assert alpha.min() == 0
    assert alpha.max() == 255
    assert len(np.unique(alpha)) > 100
    assert all((alpha[a] < 255).mean() > 0.5 for a in (0, -1))


def test_every_drawing_is_used_and_every_entry_is_complete():
    parts = [part for filter_parts in CATALOGUE.values() for part in filter_parts]
    assert {part["art"] for part in parts} == {path.name for path in ART.glob("*.png")}
    for name, part in FITTED:
        assert part["fit"] in ("flat", "round")
        assert len(part["anchors"]) >= 3, name
    for first, second in pairwise(part["anchors"] for _, part in FITTED):
        assert first.keys() == second.keys()
    assert not load_art("dog_nose.png").flags.writeable


# --- a photo ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def astronaut():
    """The photo and 68 points placed on it by hand: eye corners and mouth to about 2 pixels."""
    return skimage.data.astronaut(), face(scale=0.665, roll=2.3, yaw=-2, centre=(224.7, 101.2))


@pytest.mark.parametrize("name", list_filters())
def test_every_filter_fits_the_astronaut(name, astronaut):
    image, keypoints = astronaut
    changed = (apply_filter(image, keypoints, name) != image).any(axis=-1)
    ys, xs = np.nonzero(changed)
    assert changed.sum() > 400
    assert 130 < xs.min() < xs.max() < 320
    assert ys.max() < 175


def test_sunglasses_hide_the_eyes_and_a_moustache_does_not(astronaut):
    image, keypoints = astronaut
    for eye in ("right_eye", "left_eye"):
        x, y = np.rint(landmark_point(keypoints, eye)).astype(int)
        window = (slice(y - 5, y + 6), slice(x - 8, x + 9))
        assert apply_filter(image, keypoints, "sunglasses")[window].mean() < 0.6 * image[window].mean()
        np.testing.assert_array_equal(apply_filter(image, keypoints, "moustache")[window], image[window])


def test_a_flipped_photo_gets_the_flipped_glasses(astronaut):
    image, keypoints = astronaut
    flipped = apply_filter(flip_image(image), flip_keypoints(keypoints, image.shape[1]))
    back = flip_image(flipped).astype(float)
    assert abs(back - apply_filter(image, keypoints)).mean() < 0.3  # but for the reflections
