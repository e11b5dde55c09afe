"""Visibility of points: covers by hand, the head, and the shipped networks on covered photos."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.visibility.page import calibration
from checkpoint import CheckpointError, ModelConfig, load_checkpoint, save_checkpoint, shipped_networks
from data_load import load_split
from detector import Face, KeypointDetector
from detector.overlay import draw_faces
from detector.predictor import Estimates
from geometry import box_from_keypoints
from landmarks import FLIP_ORDER, REGIONS
from models import build_model
from training import visibility
from training.recipes import get_recipe
from training.uncertainty import TRAINING_SCENES, with_uncertainty
from training.visibility import FILLS, RandomCover, VisibilitySamples, covered_faces, with_visibility

SHIPPED = [folder.name for folder in shipped_networks() if load_checkpoint(folder)[1].has_visibility]


@pytest.fixture
def face_points():
    """68 points on a grid of 40 x 40 pixels in the middle of an image of 100 x 100."""
    rng = np.random.default_rng(0)
    points = rng.uniform(30, 70, (68, 2)).astype(np.float32)
    points[:4] = [[30, 30], [70, 30], [30, 70], [70, 70]]
    return points


@pytest.fixture
def small():
    torch.manual_seed(0)
    config = ModelConfig("heatmapnet", 32, {"width": 8}, keypoint_mean=15.5, keypoint_std=8.0, passes=2)
    return with_uncertainty(build_model("heatmapnet", input_size=32, width=8).eval(), config)


# --- covers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("fill", FILLS)
def test_hidden_points_are_those_whose_pixels_were_covered(face_points, fill):
    image = np.random.default_rng(1).integers(100, 156, (100, 100), dtype=np.uint8)
    scenes, counts = [np.full((80, 90), 255, np.uint8)], []
    for seed in range(40):
        changed, seen = visibility.cover(image, face_points, fill, scenes, np.random.default_rng(seed))
        x, y = np.rint(face_points).astype(int).T
        differs = changed[y, x] != image[y, x]
        assert changed.dtype == np.uint8
        # at the edge of a cover a part of the old pixel is left, and a fill may have the same gray
        assert (differs == ~seen).mean() > 0.8
        counts.append((~seen).sum())
    assert min(counts) < 10 < max(counts)


def test_a_cover_on_one_side_by_hand(face_points):
    class Middle:
        """Random numbers: the cover reaches from the middle of the points to the right."""

        uniform = staticmethod(lambda low, high: 0.0 if high == 360 else 0.5)

    mask = visibility._mask((100, 100), face_points, "side", Middle)
    middle = np.median(face_points[:, 0])
    np.testing.assert_array_equal(mask, np.broadcast_to(np.arange(100) > middle, (100, 100)))


def test_points_outside_the_image_are_not_seen(face_points):
    face_points[:3] = [[-0.6, 50], [-0.4, 50], [99.6, 50]]
    sample = {"image": np.zeros((100, 100), np.uint8), "keypoints": face_points}
    seen = RandomCover(TRAINING_SCENES[:1], p=0.0)(sample)["seen"]
    np.testing.assert_array_equal(np.flatnonzero(~seen), [0, 2])


def test_covers_depend_on_the_seed_alone(sample_folder):
    recipe = get_recipe("heatmapnet").override({"input_size": "32"})
    dataset = load_split(sample_folder, "official", "train", seed=0)
    dataset.transform = visibility.covered_transform(recipe, TRAINING_SCENES[:2])
    one, again, other = dataset[0], dataset[0], dataset[1]
    torch.testing.assert_close(one["image"], again["image"], rtol=0, atol=0)
    np.testing.assert_array_equal(one["seen"], again["seen"])
    assert one["image"].shape == (1, 32, 32)
    assert not np.array_equal(one["image"], other["image"])


# --- the head ---------------------------------------------------------------------------------


def samples(count=3000, seed=0):
    """The first feature of a point decides whether it is seen; of every other point, the other way round."""
    rng = np.random.default_rng(seed)
    local = rng.normal(size=(count, 68, 32)).astype(np.float32)
    sign = np.where(np.arange(68) % 2, 1, -1)
    seen = sign * local[..., 0] + 0.3 * rng.normal(size=(count, 68)) > -1
    shared = rng.normal(size=(count, 132)).astype(np.float32)
    return VisibilitySamples(*(torch.from_numpy(values) for values in (local, shared, seen)))


def test_the_head_changes_no_other_answer_and_is_saved_in_the_checkpoint(small, tmp_path):
    before, config = small
    model, new_config = with_visibility(before, config)
    torch.nn.init.normal_(model.visibility.weight)
    x = torch.rand(3, 1, 32, 32)
    *same, unknown = before.estimate(x)
    *answers, seen = model.estimate(x)
    for a, b in zip(same, answers, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert torch.isnan(unknown).all()
    assert seen.shape == (3, 68)
    assert ((seen > 0) & (seen < 1)).all()
    save_checkpoint(tmp_path / "mine", model, new_config)
    again, loaded = load_checkpoint(tmp_path / "mine")
    assert loaded.has_visibility
    torch.testing.assert_close(again.estimate(x)[3], seen)


def test_the_head_needs_the_one_for_confidence(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="visibility needs uncertainty"):
        build_model("heatmapnet", visibility=True)
    config = ModelConfig("heatmapnet", 32, {"width": 8}, keypoint_mean=15.5, keypoint_std=8.0)
    save_checkpoint(tmp_path / "plain", build_model("heatmapnet", input_size=32, width=8), config)
    monkeypatch.setattr(visibility, "find_data", lambda: pytest.fail("the data were looked for"))
    with pytest.raises(CheckpointError, match=r"run python -m training.uncertainty .*plain first"):
        visibility.run(visibility.parse_arguments([str(tmp_path / "plain"), "--calibrate"]))


def test_the_head_learns_what_decides_for_each_point(small):
    model, _ = with_visibility(*small)
    visibility.fit(model, samples(), steps=300)
    figures = visibility.visibility_figures(model, samples(500, seed=1))
    assert figures["auc"] > 0.95
    assert figures["points"] == 500 * 68


def values_of(model, found):
    with torch.no_grad():
        return model.visibility(found.local, found.shared).numpy()


def miscalibrated(values, seen):
    """Mean distance of the claimed from the true shares, over all points."""
    claimed, share, count = calibration(values, seen).T
    return np.abs(claimed - share) @ count / count.sum()


def test_calibration_repairs_values_that_are_too_sure(small):
    model, _ = with_visibility(*small)
    visibility.fit(model, samples(), steps=300)
    harder = samples(1000, seed=2)
    flipped = torch.rand(harder.seen.shape, generator=torch.Generator().manual_seed(0)) < 0.2
    harder = replace(harder, seen=harder.seen ^ flipped)
    before, seen = values_of(model, harder), harder.seen.numpy()
    visibility.set_calibration(model, visibility.calibrate(model, harder))
    after = values_of(model, harder)
    assert miscalibrated(after, seen) < 0.6 * miscalibrated(before, seen)
    assert after.mean() == pytest.approx(seen.mean(), abs=0.01)
    assert np.median(before[seen]) > np.median(after[seen])  # one label of five is wrong


def test_calibration_bins_by_hand():
    rows = calibration(np.array([0.05, 0.15, 0.12, 1.0]), np.array([False, True, False, True]))
    np.testing.assert_allclose(rows, [[0.05, 0, 1], [0.135, 0.5, 2], [1.0, 1, 1]])


def test_samples_are_crops_of_every_face(small, sample_folder):
    model, _ = with_visibility(*small)
    dataset = load_split(sample_folder, "official", "train", seed=0)
    recipe = get_recipe("heatmapnet").override({"input_size": "32"})
    found = covered_faces(model, recipe, dataset, dataset.keypoints, TRAINING_SCENES[:2], epochs=2)
    assert found.seen.shape == (2 * len(dataset), 68)
    assert found.local.shape[:2] == found.seen.shape
    assert 0.05 < (~found.seen).float().mean() < 0.4


# --- from the network to the face -------------------------------------------------------------------


def estimates(seed=0):
    rng = np.random.default_rng(seed)
    return Estimates(
        rng.uniform(0, 90, (2, 68, 2)),
        rng.uniform(size=2),
        rng.uniform(1, 2, (2, 68)),
        rng.uniform(size=(2, 68)),
    )


def test_flipped_answers_are_averaged_with_left_and_right_exchanged():
    one = estimates()
    flipped = one._replace(visibility=one.visibility[:, FLIP_ORDER])
    both = Estimates(*(np.concatenate(pair) for pair in zip(one, flipped, strict=True)))
    np.testing.assert_allclose(both.flips_averaged(91).visibility, one.visibility)


def test_a_point_outside_the_image_is_hidden_whatever_the_network_says():
    one = estimates()._replace(visibility=np.full((2, 68), 0.9, np.float32))
    one.keypoints[0, :4] = [[-0.6, 5], [-0.4, 5], [49.6, 5], [5, 29.4]]
    images = [np.zeros((30, 50), np.uint8), np.zeros((100, 100), np.uint8)]
    one.keypoints[0, 4:] = 10
    found = one.hidden_outside(images).visibility
    np.testing.assert_array_equal(np.flatnonzero(found[0] == 0), [0, 2])
    assert (found[1] == np.float32(0.9)).all()
    unknown = one._replace(visibility=np.full((2, 68), np.nan)).hidden_outside(images)
    assert np.isnan(unknown.visibility).all()


def test_hidden_points_are_drawn_hollow():
    points = np.stack(np.meshgrid(np.arange(20, 420, 50), np.arange(20, 470, 50)), axis=-1).reshape(-1, 2)
    points = points[:68].astype(np.float32)
    image = np.zeros((500, 500, 3), np.uint8)
    seen = np.full(68, 0.9, np.float32)
    face = Face(points, box_from_keypoints(points), 0.9, np.ones(68, np.float32), seen)
    covered = replace(face, visibility=np.where(np.arange(68) == 33, 0.1, seen))
    differs = (draw_faces(image, [face]) != draw_faces(image, [covered])).any(axis=-1)
    rows, columns = np.nonzero(differs)
    assert len(rows)
    assert np.abs(np.stack([columns, rows], axis=1) - points[33]).max() < 8


def test_a_hidden_point_of_a_small_face_is_a_ring_and_no_dot():
    points = np.random.default_rng(0).uniform(20, 80, (68, 2)).astype(np.float32)
    points[:, 0] = np.where(np.arange(68) < 67, 90, 30)  # the last point has no other near it
    points[67, 1] = 50
    face = Face(points, box_from_keypoints(points), 0.9, np.ones(68, np.float32), np.ones(68, np.float32))
    image = np.zeros((100, 100, 3), np.uint8)
    hidden = replace(face, visibility=np.where(np.arange(68) == 67, 0.1, face.visibility))
    dot, ring = (draw_faces(image, [one])[50, 30:33].astype(int) for one in (face, hidden))
    # magenta, unlike the white line and the black background, has more red than green
    assert dot[0, 0] - dot[0, 1] > 100
    assert ring[0, 0] - ring[0, 1] < 50
    assert ring[2, 0] - ring[2, 1] > 100


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("runtime", ["torch", "onnx", "onnx-int8"])
def test_a_covered_mouth_is_hidden_and_the_rest_is_seen(name, runtime, sample_photo):
    detector = KeypointDetector.from_pretrained(name, runtime=runtime)
    face = detector(sample_photo)[0]
    assert face.hidden.mean() < 0.1
    mouth = list(REGIONS["mouth"])
    left, top, right, bottom = box_from_keypoints(face.keypoints[mouth]).astype(int)
    covered = sample_photo.copy()
    covered[top - 5 : bottom + 6, left - 6 : right + 7] = (90, 140, 60)
    after = detector(covered, boxes_xyxy=[face.box_xyxy])[0]
    assert after.hidden[mouth].mean() > 0.8
    others = np.setdiff1d(np.arange(68), mouth)
    assert after.hidden[others].mean() < 0.2


def test_what_ships_estimates_visibility():
    assert set(SHIPPED) >= {
        "heatmapnet",
        "heatmapnet-small",
        "heatmapnet-identity",
        "heatmapnet-small-identity",
    }
