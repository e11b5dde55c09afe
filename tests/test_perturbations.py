"""Images made worse for the robustness table: image, label, start square and error change together."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.peers.fit import BoxFit
from benchmarks.robustness import page as robustness
from benchmarks.robustness.perturbations import PERTURBATIONS
from data_load import FacialKeypointsDataset, load_split
from geometry import box_centre, box_from_keypoints, box_side, transform_points


@pytest.fixture(scope="module")
def faces(sample_folder) -> FacialKeypointsDataset:
    return load_split(sample_folder, "official", "train")


def dotted(keypoints: np.ndarray, side: int = 160) -> np.ndarray:
    """A black image with a white dot, three pixels wide, on each of a few keypoints."""
    image = np.zeros((side, side, 3), np.uint8)
    for x, y in np.rint(keypoints).astype(int):
        image[y - 1 : y + 2, x - 1 : x + 2] = 255
    return image


@pytest.mark.parametrize(
    ("name", "strength"), [("rotation", 30), ("rotation", -60), ("size", 50), ("size", 200)]
)
def test_image_and_label_move_together(name, strength):
    spots = np.array([(40.0, 50.0), (110.0, 60.0), (75.0, 130.0)])
    changed = PERTURBATIONS[name].apply(dotted(spots), spots, strength, np.random.default_rng(0))
    for x, y in transform_points(spots, changed.matrix):
        area = changed.image[round(y) - 3 : round(y) + 4, round(x) - 3 : round(x) + 4, 0].astype(float)
        ys, xs = np.mgrid[round(y) - 3 : round(y) + 4, round(x) - 3 : round(x) + 4]
        assert area.sum() > 200
        assert abs((area * xs).sum() / area.sum() - x) < 0.35
        assert abs((area * ys).sum() / area.sum() - y) < 0.35


def test_a_turn_is_counter_clockwise_and_loses_nothing():
    spots = np.array([(40.0, 80.0), (120.0, 80.0), (80.0, 150.0)])  # eyes level, chin below
    changed = PERTURBATIONS["rotation"].apply(dotted(spots), spots, 30, None)
    right, left, _ = transform_points(spots, changed.matrix)
    assert left[1] < right[1]  # what was on the right goes up
    np.testing.assert_allclose(np.rad2deg(np.arctan2(right[1] - left[1], left[0] - right[0])), 30, atol=0.1)
    corners = transform_points(np.array([(0, 0), (159, 0), (0, 159), (159, 159)]), changed.matrix)
    assert corners.min() >= 0
    assert corners.max() <= changed.image.shape[0] - 1


def test_the_face_gets_the_size_that_is_asked_for(faces):
    for pixels in (20, 150):
        changed = PERTURBATIONS["size"].apply(faces.image(0), faces.keypoints[0], pixels, None)
        moved = transform_points(faces.keypoints[0], changed.matrix)
        assert box_side(box_from_keypoints(moved)) == pytest.approx(pixels, rel=0.05)


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_the_unchanged_strength_changes_nothing_and_the_worst_does(name, faces):
    what = PERTURBATIONS[name]
    image, keypoints = faces.image(0), faces.keypoints[0]
    if what.unchanged is not None:
        assert what.unchanged in what.strengths
        same = what.apply(image, keypoints, what.unchanged, np.random.default_rng(0))
        assert same.image is image
        assert same.box_scale == 1
        np.testing.assert_array_equal(transform_points(keypoints, same.matrix), keypoints)
    for strength in (what.strengths[0], what.strengths[-1]):
        changed = what.apply(image, keypoints, strength, np.random.default_rng(0))
        assert changed.image.dtype == np.uint8
        assert changed.image.ndim == 3
        if strength != what.unchanged:
            assert changed.box_scale != 1 or not np.array_equal(changed.image, image)


def test_so_much_of_the_face_is_covered_as_is_said(faces):
    image = np.full((200, 200, 3), 7, np.uint8)
    keypoints = np.random.default_rng(0).uniform(60, 140, (68, 2))
    left, top, right, bottom = np.rint(box_from_keypoints(keypoints)).astype(int)
    sides = set()
    for seed in range(12):
        changed = PERTURBATIONS["cover"].apply(image, keypoints, 40, np.random.default_rng(seed)).image
        hidden = (changed != 7).any(axis=2)
        assert hidden[top:bottom, left:right].mean() == pytest.approx(0.4, abs=0.03)
        sides.add(
            (hidden[:, left].any(), hidden[:, right - 1].any(), hidden[top].any(), hidden[bottom - 1].any())
        )
    assert len(sides) == 4
    assert (image == 7).all()


def test_light_is_halved_and_noisy():
    image = np.full((64, 64, 3), 200, np.uint8)
    dark = PERTURBATIONS["light"].apply(image, None, 4, np.random.default_rng(0)).image
    light = (dark / 255.0) ** 2.2
    assert light.mean() == pytest.approx((200 / 255) ** 2.2 / 16, rel=0.02)
    photons = 1000 * (200 / 255) ** 2.2 / 16
    assert light.std() * 1000 == pytest.approx(np.sqrt(photons + 1), rel=0.1)


def test_a_cast_takes_what_it_says_from_the_channels():
    image = np.full((4, 4, 3), 100, np.uint8)
    tinted = PERTURBATIONS["cast"].apply(image, None, 80, np.random.default_rng(0)).image
    assert sorted(tinted[0, 0].tolist()) == [20, 60, 100]


def test_the_start_square_goes_along(faces):
    image, keypoints = faces.image(0), faces.keypoints[0]
    square = BoxFit(0.0, 0.0, 3.0).apply(keypoints)
    label_side = box_side(box_from_keypoints(keypoints))
    for name, strength, factor in (("rotation", 45, 1.0), ("crop", 1.5, 1.5), ("size", 40, 40 / label_side)):
        changed = PERTURBATIONS[name].apply(image, keypoints, strength, None)
        box = robustness.moved_box(square, changed)
        assert box_side(box) == pytest.approx(factor * box_side(square), rel=0.02)
        moved = transform_points(keypoints, changed.matrix)
        np.testing.assert_allclose(box_centre(box), moved.mean(axis=0), atol=1e-3)


def test_errors_are_measured_in_the_unchanged_image(faces, monkeypatch):
    monkeypatch.setattr(robustness, "stored_offset", lambda method: np.zeros((68, 2)))
    keypoints = faces.keypoints[:3]
    images = [faces.image(i) for i in range(3)]
    for name, strength in (("rotation", 60), ("size", 30)):
        changed = robustness.change_all(name, strength, images, keypoints)
        perfect = np.stack([transform_points(p, c.matrix) for p, c in zip(keypoints, changed, strict=True)])
        assert robustness.errors_of("dlib", robustness.NO_OFFSET, perfect, changed, keypoints).max() < 1e-4
        offset = replace(robustness.NO_OFFSET, label_offset=(0.1, 0.0))
        # labels that lie a tenth of the eye distance to the right of what was found
        shifted = robustness.errors_of("dlib", offset, perfect, changed, keypoints)
        np.testing.assert_allclose(shifted, 0.1, atol=1e-3)


def test_the_robustness_table_counts_missed_faces_as_wrong():
    errors = {
        "rotation/dlib": np.full((9, 5), 0.05),
        "rotation/ours": np.full((9, 5), 0.02),
    }
    errors["rotation/dlib"][0, :2] = np.nan
    errors["rotation/dlib"][1, :3] = np.nan
    lines = robustness.table(errors).splitlines()
    assert lines[4].startswith("| ours | 2.0 (0) |")  # ours come first
    assert lines[5].startswith("| dlib | 5.0 (40) | inf (60) |")
