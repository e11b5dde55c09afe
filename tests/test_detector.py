"""From image to keypoints: the geometry with a network that is known to be right, and bad input."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from checkpoint import ModelConfig
from detector import DEFAULT_CHECKPOINT, HaarFaceDetector, KeypointDetector, predict_keypoints
from detector.predictor import TorchRuntime, box_matrix, crops_to_batch, run_pass
from geometry import crop_matrix, flip_image, whole_image_matrix
from landmarks import FLIP_ORDER


class FindsTheBlob(nn.Module):
    """A network whose 68 points all sit on the brightest region of its input, in the config's scaling."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config, self.calls, self.crops = config, 0, 0
        self.anchor = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        self.calls += 1
        self.crops += len(x)
        low, high = self.config.gray_range
        weight = ((x[:, 0] - low) / (high - low)).clamp_min(0) ** 2
        ys, xs = torch.meshgrid(*[torch.arange(float(s)) for s in x.shape[2:]], indexing="ij")
        total = weight.sum(dim=(1, 2)).clamp_min(1e-9)
        place = torch.stack([(weight * axis).sum(dim=(1, 2)) / total for axis in (xs, ys)], dim=1)
        # spread the points a little, symmetric under mirroring, so that their box has an area
        ring = torch.linspace(-6, 6, 68)
        ring = (ring - ring[torch.from_numpy(FLIP_ORDER.copy())]) / 2
        points = place[:, None, :] + torch.stack([ring, ring.abs() - ring.abs().mean()], dim=1)
        return (points - self.config.keypoint_mean) / self.config.keypoint_std


def blob_image(x, y, shape_hw=(200, 240)):
    ys, xs = np.mgrid[: shape_hw[0], : shape_hw[1]]
    glow = 255 * np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / (2 * 9.0**2))
    return np.repeat(glow.astype(np.uint8)[..., None], 3, axis=2)


CONFIG = ModelConfig(
    model="blob", input_size=64, keypoint_mean=20, keypoint_std=7, crop_scale=5.0, gray_range=(-1.0, 1.0)
)


@pytest.mark.parametrize("view", ["letterbox", "stretch"])
@pytest.mark.parametrize(("passes", "flip_tta"), [(1, False), (1, True), (3, False), (3, True)])
def test_points_come_back_in_image_pixels(view, passes, flip_tta):
    config = replace(CONFIG, passes=passes, flip_tta=flip_tta)
    model = FindsTheBlob(config)
    image = blob_image(150.0, 80.0)
    found = predict_keypoints(model, config, [image], [whole_image_matrix((200, 240), 64, view)])
    assert found.shape == (1, 68, 2)
    np.testing.assert_allclose(np.median(found[0], axis=0), [150, 80], atol=2.5)
    # a mirrored look asks once for both crops, because two calls of one crop take twice as long as one of two
    assert model.calls == passes
    assert model.crops == passes + flip_tta  # only the last look is mirrored


def test_further_looks_repair_a_bad_start():
    image = blob_image(150.0, 80.0)
    start = crop_matrix((125, 95), 160, 64)
    errors = []
    for passes in (1, 3):
        config = replace(CONFIG, passes=passes)
        found = predict_keypoints(FindsTheBlob(config), config, [image], [start])
        errors.append(np.linalg.norm(found[0].mean(axis=0) - [150, 80]))
    assert errors[1] < 0.6


def test_mirrored_image_gives_mirrored_points():
    config = replace(CONFIG, flip_tta=True)
    image = blob_image(60.0, 90.0)
    matrix = whole_image_matrix(image.shape[:2], 64)
    plain = predict_keypoints(FindsTheBlob(config), config, [image], [matrix])[0]
    flipped = predict_keypoints(FindsTheBlob(config), config, [flip_image(image)], [matrix])[0]
    flipped[:, 0] = 240 - 1 - flipped[:, 0]
    np.testing.assert_allclose(flipped[FLIP_ORDER], plain, atol=1e-2)


def test_batches_give_what_single_images_give():
    config = replace(CONFIG, passes=2)
    images = [blob_image(100 + i, 90) for i in range(70)]  # more than one batch
    matrices = [whole_image_matrix((200, 240), 64)] * 70
    together = predict_keypoints(FindsTheBlob(config), config, images, matrices)
    alone = predict_keypoints(FindsTheBlob(config), config, images[66:67], matrices[:1])
    np.testing.assert_allclose(together[66], alone[0], atol=1e-4)
    assert predict_keypoints(FindsTheBlob(config), config, [], []).shape == (0, 68, 2)


def test_training_and_detection_prepare_pixels_alike(sample_folder):
    # the same crop through the training transform and through the detector is the same tensor
    from data_load import load_split
    from training.recipes import get_recipe

    still = {f"augmentation.{f}": "0" for f in ("rotation_deg", "scale", "shift", "flip", "gain", "offset")}
    recipe = get_recipe("naimishnet").override({**still, "frame": "whole"})
    dataset = load_split(sample_folder, "official", "train", recipe.transform(), seed=0)
    config = recipe.config()
    image = dataset.image(3)
    matrix = whole_image_matrix(image.shape[:2], config.input_size)
    batch = crops_to_batch([image], [matrix], config)
    np.testing.assert_allclose(batch[0], dataset[3]["image"], rtol=0, atol=2 / 255)
    points = dataset[3]["keypoints"].numpy() * config.keypoint_std + config.keypoint_mean
    back = (points + 0.5) * max(image.shape[:2]) / config.input_size
    assert np.isfinite(back).all()


# --- the shipped checkpoint ------------------------------------------------------------------


@pytest.fixture(scope="module")
def detector():
    return KeypointDetector.from_pretrained()


def test_five_lines_on_a_free_photo(detector, sample_photo):
    faces = detector(sample_photo)
    assert len(faces) == 1
    face = faces[0]
    assert face.keypoints.shape == (68, 2)
    assert face.keypoints.dtype == np.float32
    assert face.radius.shape == (68,)
    # both eyes, nose and mouth of the astronaut, read off the photo by eye
    for index, place in {36: (194, 101), 45: (256, 105), 30: (225, 127), 8: (220, 177)}.items():
        assert np.linalg.norm(face.keypoints[index] - place) < 10, index


def test_torch_hub_loads_the_detector_from_any_folder(tmp_path):
    root = Path(__file__).parent.parent
    script = f"""
import skimage.data, torch
detector = torch.hub.load({str(root)!r}, "keypoint_detector", source="local", trust_repo=True)
print(detector(skimage.data.astronaut())[0].keypoints.shape)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "(68, 2)", done.stderr


def test_boxes_can_be_given_and_keep_their_order(detector, sample_photo):
    boxes = [[0, 0, 512, 512], [150, 40, 300, 210]]
    faces = detector(sample_photo, boxes_xyxy=boxes)
    np.testing.assert_array_equal([face.box_xyxy for face in faces], boxes)
    assert detector(sample_photo, boxes_xyxy=[]) == []


def test_keypoints_move_with_the_photo(detector, sample_photo):
    box = np.array([150.0, 40, 300, 210])
    shifted = np.roll(sample_photo, (30, 20), axis=(0, 1))
    one = detector(sample_photo, boxes_xyxy=[box])[0].keypoints
    two = detector(shifted, boxes_xyxy=[box + [20, 30, 20, 30]])[0].keypoints
    np.testing.assert_allclose(two - one, np.tile([20, 30], (68, 1)), atol=0.5)


def test_haar_gives_edges_largest_first(sample_photo):
    boxes = HaarFaceDetector(1.05, 1, min_share=0.02)(sample_photo)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    assert len(boxes) >= 1
    assert (np.diff(areas) <= 0).all()
    assert HaarFaceDetector()(np.zeros((64, 64, 3), np.uint8)).shape == (0, 4)
    assert detector_finds(sample_photo, (221, 120))


def detector_finds(image, point):
    boxes = HaarFaceDetector()(image)
    return any(b[0] < point[0] < b[2] and b[1] < point[1] < b[3] for b in boxes)


def test_margin_of_the_first_crop_comes_from_the_config():
    config = replace(CONFIG, box_scale=2.0)
    matrix = box_matrix([10, 20, 40, 50], config)  # side 30, so the crop shows 60
    assert matrix[0, 0] == pytest.approx(64 / 60)
    batch = crops_to_batch([np.zeros((100, 100, 3), np.uint8)], [matrix], config)
    assert batch.shape == (1, 1, 64, 64)
    assert run_pass(TorchRuntime(FindsTheBlob(config)), config, batch).keypoints.shape == (1, 68, 2)


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        ("nowhere.jpg", FileNotFoundError, "no image at nowhere.jpg"),
        ([[0, 0], [0, 0]], TypeError, "NumPy array.*got list"),
        (np.zeros((10, 10), np.int64), ValueError, "int64"),
        (np.full((10, 10, 3), 2.0), ValueError, "floats from 2 to 2"),
        (np.zeros((0, 10, 3), np.uint8), ValueError, r"\(0, 10, 3\)"),
        (np.zeros((10, 10, 5), np.uint8), ValueError, r"\(10, 10, 5\)"),
    ],
)
def test_what_is_no_image_is_named(detector, image, error, message):
    with pytest.raises(error, match=message):
        detector(image)


def test_bad_boxes_and_cascades_are_named(detector, sample_photo):
    with pytest.raises(ValueError, match="right > left"):
        detector(sample_photo, boxes_xyxy=[[10, 10, 5, 20]])
    with pytest.raises(ValueError, match="not on the image"):
        detector(sample_photo, boxes_xyxy=[[600, 10, 700, 20]])
    for no_boxes in (5, [10, 20, 90, 110], "box", [["a", 1, 2, 3]], np.zeros((2, 3))):
        with pytest.raises(ValueError, match="box"):
            detector(sample_photo, boxes_xyxy=no_boxes)
    with pytest.raises(FileNotFoundError, match="no Haar cascade"):
        HaarFaceDetector(cascade="nothing.xml")
    assert DEFAULT_CHECKPOINT
