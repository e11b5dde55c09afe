"""Augmentations: pixels and points stay together, and randomness is repeatable."""

import numpy as np
import pytest

from analysis.openings import eye_opening, mouth_opening
from geometry import box_from_keypoints
from landmarks import CHIN, GROUPS
from sample_faces import canonical_head
from training.augment import (
    NO_AUGMENTATION,
    Augmentation,
    RandomAffineCrop,
    RandomBlur,
    RandomBrightnessContrast,
    RandomEyelids,
    RandomMouth,
    RandomOcclusion,
    RescaleIntensity,
    move_eyelids,
    open_mouth,
    training_steps,
)

STRONG = Augmentation(rotation_deg=40, scale=0.3, shift=0.1, flip_prob=0.5, wide_crop_prob=0.5)


def painted_sample(seed=0, places=((70, 60), (90, 110), (120, 80))):
    """A sample with three blobs of their own gray at keypoints 36, 45 and 8."""
    image = np.zeros((180, 200, 3), np.uint8)
    keypoints = np.random.default_rng(seed).uniform(60, 120, (68, 2)).astype(np.float32)
    for index, (x, y), gray in zip((36, 45, 8), places, (90, 170, 250), strict=True):
        image[y - 3 : y + 4, x - 3 : x + 4] = gray
        keypoints[index] = x, y
    return {"image": image, "keypoints": keypoints}


@pytest.mark.parametrize("crop_mode", ["whole", "face"])
@pytest.mark.parametrize("seed", range(12))
def test_painted_pixels_are_found_at_their_keypoints(crop_mode, seed):
    # index 8 (the chin) is its own mirror image, so its blob must be there with or without a flip
    sample = painted_sample()
    out = RandomAffineCrop(160, crop_mode, 1.6, STRONG)({**sample, "rng": np.random.default_rng(seed)})
    bright = out["image"][..., 0].astype(float) * (out["image"][..., 0] > 200)  # only the chin is this bright
    x, y = out["keypoints"][8]
    if bright.any() and min(x, y) > 12 and max(x, y) < 147:
        ys, xs = np.mgrid[:160, :160]
        centre = (xs * bright).sum() / bright.sum(), (ys * bright).sum() / bright.sum()
        np.testing.assert_allclose(centre, (x, y), atol=0.6)
    again = RandomAffineCrop(160, crop_mode, 1.6, STRONG)({**sample, "rng": np.random.default_rng(seed)})
    np.testing.assert_array_equal(again["keypoints"], out["keypoints"])


def test_painted_pixels_are_inside_for_most_draws():
    # guards the test above: its condition must hold often
    sample = painted_sample()
    inside = 0
    for seed in range(12):
        out = RandomAffineCrop(160, "whole", 1.6, STRONG)({**sample, "rng": np.random.default_rng(seed)})
        x, y = out["keypoints"][8]
        inside += (out["image"] > 200).any() and min(x, y) > 12 and max(x, y) < 147
    assert inside >= 6


def test_flip_swaps_the_indices():
    sample = painted_sample()
    flip_only = Augmentation(0, 0, 0, 1.0, 0, (1.0, 1.0), 0, 0, 0, 0)
    plain = RandomAffineCrop(200, "whole", augmentation=NO_AUGMENTATION)(dict(sample))
    flipped = RandomAffineCrop(200, "whole", augmentation=flip_only)(dict(sample))
    np.testing.assert_array_equal(flipped["image"], plain["image"][:, ::-1])
    np.testing.assert_allclose(flipped["keypoints"][45, 0], 199 - plain["keypoints"][36, 0], atol=1e-3)
    np.testing.assert_allclose(flipped["keypoints"][45, 1], plain["keypoints"][36, 1], atol=1e-3)


def test_without_augmentation_the_face_fills_its_share():
    sample = painted_sample()
    out = RandomAffineCrop(96, "face", 1.5)(sample)
    left, top, right, bottom = box_from_keypoints(out["keypoints"]) + 0.5 * np.array([1, 1, -1, -1])
    assert max(right - left, bottom - top) == pytest.approx(96 / 1.5, rel=0.03)
    assert (left + right) / 2 == pytest.approx(47.5, abs=0.6)


def test_rotation_spread_is_as_stated():
    # the angle of the line between two keypoints, over many draws
    settings = Augmentation(rotation_deg=15, scale=0, shift=0, flip_prob=0, wide_crop_prob=0)
    sample = painted_sample()
    angles = []
    for seed in range(400):
        out = RandomAffineCrop(96, "whole", augmentation=settings)(
            {**sample, "rng": np.random.default_rng(seed)}
        )
        before, after = (s["keypoints"][45] - s["keypoints"][36] for s in (sample, out))
        turn = np.arctan2(after[1], after[0]) - np.arctan2(before[1], before[0])
        angles.append(np.rad2deg((turn + np.pi) % (2 * np.pi) - np.pi))
    assert np.std(angles) == pytest.approx(15, rel=0.15)
    assert abs(np.mean(angles)) < 3


@pytest.mark.parametrize(
    "step",
    [RandomBrightnessContrast(0.3, 0.2), RandomBlur(1.0), RandomOcclusion(1.0), RescaleIntensity(-1.0, 1.0)],
)
def test_light_changes_move_nothing_and_leave_the_input(step):
    image = np.random.default_rng(0).integers(256, size=(64, 64), dtype=np.uint8)
    if isinstance(step, RescaleIntensity):
        image = image.astype(np.float32) / 255
    sample = {"image": image.copy(), "keypoints": np.zeros((68, 2), np.float32)}
    out = step({**sample, "rng": np.random.default_rng(3)})
    np.testing.assert_array_equal(sample["image"], image)
    np.testing.assert_array_equal(out["keypoints"], sample["keypoints"])
    assert out["image"].shape == image.shape
    assert out["image"].dtype == image.dtype
    assert (out["image"] != image).any()


def test_occlusion_covers_one_rectangle_of_bounded_size():
    image = np.full((100, 100), 7, np.uint8)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        out = RandomOcclusion(1.0, 0.4)({"image": image, "keypoints": None, "rng": rng})
        rows, columns = np.nonzero(out["image"] != 7)
        if len(rows):
            assert rows.max() - rows.min() <= 41
            assert columns.max() - columns.min() <= 41


@pytest.mark.parametrize(
    "values",
    [{"flip_prob": 2}, {"rotation_deg": float("nan")}, {"wide_crop_range": (3.0, 1.0)}, {"scale": "1"}],
)
def test_a_strength_out_of_range_is_named(values):
    [name] = values
    with pytest.raises(ValueError, match=rf"augmentation.{name} must be "):
        Augmentation(**values)


def test_steps_are_left_out_where_their_strength_is_zero():
    assert len(training_steps(96, "whole", 1.0, NO_AUGMENTATION)) == 2
    assert len(training_steps(96, "whole", 1.0, Augmentation())) == 5


def test_unknown_crop_mode_is_named():
    with pytest.raises(ValueError, match="one of whole, face; got 'half'"):
        RandomAffineCrop(96, "half")


# --- eyelids and mouth -----------------------------------------------------------------------------


def face_sample(roll_deg=20.0):
    """A face of 200 px, tilted, whose pixels are brighter the further down they are in the face."""
    shape = canonical_head()[:, :2]
    shape = 200 * (shape - shape.mean(axis=0)) / np.ptp(shape[:, 1])
    angle = np.radians(roll_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    keypoints = (shape @ turn.T + 160).astype(np.float32)
    places = np.stack(np.meshgrid(np.arange(320), np.arange(320)), axis=-1) - 160.0
    down = places @ turn[:, 1]
    image = np.repeat(np.clip(128 + down / 2, 0, 255)[..., None], 3, axis=2).astype(np.uint8)
    return {"image": image, "keypoints": keypoints}


def gray_at(image, points):
    """The gray value of the pixel nearest to each point (N, 2)."""
    x, y = np.rint(points).astype(int).T
    return image[y, x, 0].astype(float)


@pytest.mark.parametrize("factor", [0.0, 0.3, 1.0, 1.3])
def test_the_lids_move_with_their_pixels(factor):
    sample = face_sample()
    image, keypoints = sample["image"].copy(), sample["keypoints"].copy()
    for eye in ("right_eye", "left_eye"):
        move_eyelids(image, keypoints, list(GROUPS[eye]), factor)
    before = eye_opening(sample["keypoints"])
    np.testing.assert_allclose(eye_opening(keypoints), factor * before, atol=0.02)
    others = np.setdiff1d(np.arange(68), [37, 38, 40, 41, 43, 44, 46, 47])
    np.testing.assert_array_equal(keypoints[others], sample["keypoints"][others])
    if factor > 0.2:  # lids that meet hide what was between them
        lids = [37, 38, 43, 44]
        was, now = gray_at(sample["image"], sample["keypoints"][lids]), gray_at(image, keypoints[lids])
        np.testing.assert_allclose(now, was, atol=1.5)  # 1 px down the face is half a gray value
    changed = np.argwhere((image != sample["image"]).any(axis=2))[:, ::-1]
    if factor == 1.0:
        assert len(changed) == 0 or np.abs(image.astype(int) - sample["image"]).max() <= 1
    else:
        eyes = sample["keypoints"][[*GROUPS["right_eye"], *GROUPS["left_eye"]]]
        assert np.linalg.norm(changed[:, None] - eyes, axis=2).min(axis=1).max() < 30


def test_the_mouth_opens_by_the_gap_and_the_chin_follows():
    sample = face_sample()
    keypoints = sample["keypoints"]
    inner = list(GROUPS["inner_lips"])
    keypoints[inner[5:]] = keypoints[[inner[3], inner[2], inner[1]]]  # shut
    assert mouth_opening(keypoints) < 0.01
    image, moved = sample["image"].copy(), keypoints.copy()
    open_mouth(image, moved, gap=0.4, dark=0.1, teeth=False)
    width = float(np.linalg.norm(moved[inner[4]] - moved[inner[0]]))
    middle = float(np.linalg.norm(moved[inner[6]] - moved[inner[2]]))
    assert middle == pytest.approx(0.4 * width, abs=0.02 * width)
    upper = [*range(17, 55), *inner[:5]]  # brows, nose, eyes, upper lip and corners stay
    np.testing.assert_array_equal(moved[upper], keypoints[upper])
    fall = np.linalg.norm(moved[CHIN] - keypoints[CHIN])
    assert 0.1 * middle < fall < middle
    gap = (moved[inner[6]] + moved[inner[2]]) / 2
    assert gray_at(image, gap[None])[0] < 0.2 * gray_at(sample["image"], gap[None])[0]
    lip = moved[[57]] + (moved[[57]] - moved[[66]]) * 0.5  # below the lower lip: its own pixels moved along
    assert gray_at(image, lip)[0] == pytest.approx(gray_at(sample["image"], keypoints[[57]])[0], abs=8)


def test_eyes_and_mouth_change_as_often_as_asked_and_leave_the_input():
    sample = face_sample()
    before = {name: value.copy() for name, value in sample.items()}
    for step in (RandomEyelids(0.3), RandomMouth(0.3)):
        sample["keypoints"] = before["keypoints"].copy()
        inner = list(GROUPS["inner_lips"])
        sample["keypoints"][inner[5:]] = sample["keypoints"][[inner[3], inner[2], inner[1]]]
        given = sample["keypoints"].copy()
        results = [step({**sample, "rng": np.random.default_rng(seed)}) for seed in range(200)]
        changed = np.mean([(result["keypoints"] != given).any() for result in results])
        assert 0.2 < changed < 0.4
        np.testing.assert_array_equal(sample["image"], before["image"])
        np.testing.assert_array_equal(sample["keypoints"], given)


@pytest.mark.parametrize("place", [0.0, -300.0, 2000.0])
def test_a_face_at_the_edge_or_outside_or_flat_is_no_error(place):
    sample = face_sample()
    image, keypoints = sample["image"].copy(), sample["keypoints"] * (1 if place else 0) + np.float32(place)
    for eye in ("right_eye", "left_eye"):
        move_eyelids(image, keypoints, list(GROUPS[eye]), 0.1)
    open_mouth(image, keypoints, 0.4, 0.2, teeth=True)
    assert np.isfinite(keypoints).all()


def test_an_open_mouth_stays_as_it_is():
    sample = face_sample()
    sample["keypoints"][[65, 66, 67]] += [0, 25]
    assert mouth_opening(sample["keypoints"]) > RandomMouth.SHUT
    result = RandomMouth(1.0)({**sample, "rng": np.random.default_rng(0)})
    np.testing.assert_array_equal(result["image"], sample["image"])
