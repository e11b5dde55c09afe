"""From image to keypoints: geometry with a network of known answers, filtering, threads, files, bad input."""

import io
import multiprocessing
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from stub_detector import CONFIG as STUB_CONFIG
from stub_detector import ring_network
from torch import nn

from checkpoint import SAVED_MODELS, CheckpointError, ModelConfig
from detector import Face, KeypointDetector, predict_keypoints
from detector.face_finders import FixedBoxes
from detector.predictor import (
    RUNTIMES,
    TorchRuntime,
    box_matrix,
    crops_to_batch,
    filter_faces,
    same_face,
)
from geometry import box_from_keypoints, crop_matrix, face_distance, flip_image, whole_image_matrix
from landmarks import FLIP_ORDER
from sample_faces import canonical_head


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
        # spread the points a little, symmetric under flipping, so that their box has an area
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
    # the crop and its flipped copy go in one call, because two calls of one crop take twice as long
    assert model.calls == passes
    assert model.crops == passes + flip_tta  # only in the last pass


def test_proposals_that_are_no_face_cost_one_crop():
    boxes = [[10, 10, 60, 60], [100, 20, 140, 60], [40, 80, 120, 160]]
    crops = []

    def network(batch):
        """The crop of the last box, the darkest, is no face: its confidence is below the limit."""
        crops.append(len(batch))
        answer = ring_network(batch)
        return answer._replace(confidence=np.where(batch.mean(axis=(1, 2, 3)) < 0.1, 0.05, 0.9))

    image = np.full((200, 240, 3), 128, np.uint8)
    image[70:, :150] = 0
    config = replace(STUB_CONFIG, model_args={"uncertainty": True}, passes=2, flip_tta=True)
    finder = FixedBoxes(boxes)
    assert len(KeypointDetector(network, config, finder)(image)) == 2
    assert crops == [3, 3, 4]  # boxes of any finder: the second answers are filtered, flips in the last pass
    crops.clear()
    finder.min_first_confidence = 0.1
    assert len(KeypointDetector(network, config, finder)(image)) == 2
    assert crops == [3, 2, 4]


def test_further_passes_repair_a_bad_start():
    image = blob_image(150.0, 80.0)
    start = crop_matrix((125, 95), 160, 64)
    errors = []
    for passes in (1, 3):
        config = replace(CONFIG, passes=passes)
        found = predict_keypoints(FindsTheBlob(config), config, [image], [start])
        errors.append(np.linalg.norm(found[0].mean(axis=0) - [150, 80]))
    assert errors[1] < 0.6


def test_a_flipped_image_gives_flipped_points():
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

    fields = ("rotation_deg", "scale", "shift", "flip_prob", "contrast", "brightness")
    still = {f"augmentation.{field}": "0" for field in fields}
    recipe = get_recipe("naimishnet").override({**still, "crop_mode": "whole"})
    dataset = load_split(sample_folder, "official", "train", recipe.transform(), seed=0)
    config = recipe.config()
    image = dataset.image(3)
    matrix = whole_image_matrix(image.shape[:2], config.input_size)
    batch = crops_to_batch([image], [matrix], config)
    np.testing.assert_allclose(batch[0], dataset[3]["image"], rtol=0, atol=2 / 255)
    points = dataset[3]["keypoints"].numpy() * config.keypoint_std + config.keypoint_mean
    back = (points + 0.5) * max(image.shape[:2]) / config.input_size
    assert np.isfinite(back).all()


# --- which answers are reported -----------------------------------------------------------------


HEAD = canonical_head()[:, :2]


def keypoints_at(x, y, side):
    shape = (HEAD - HEAD.min(axis=0)) / np.ptp(HEAD, axis=0).max()
    return (shape * side + [x, y]).astype(np.float32)


def face_at(x, y, side, confidence, radius=1.0):
    points = keypoints_at(x, y, side)
    return Face(points, box_from_keypoints(points), confidence, np.full(68, radius, np.float32))


def test_same_face_by_hand():
    one, beside = keypoints_at(50, 50, 100), np.float32([90, 0])
    assert same_face(one, one + np.float32([14, 0]))
    assert not same_face(one, one + beside)
    # a box within the other is the same face, however far apart the points are
    inside = keypoints_at(75, 75, 40)
    assert same_face(one, inside)
    assert not same_face(one, inside + beside)


def test_each_face_is_reported_once():
    found = [
        face_at(300, 40, 60, 0.8),
        face_at(10, 10, 100, 0.7, radius=3.0),
        face_at(12, 11, 100, 0.9),  # the same face, with a smaller radius
        face_at(200, 200, 80, 0.2),  # no face
        face_at(35, 40, 55, 0.6),  # a part of the first one
        face_at(11, 12, 100, 0.3, radius=0.1),  # no face, and certain of its points
    ]
    kept = filter_faces(found, 0.5)
    assert [item.confidence for item in kept] == [0.9, 0.8]  # the larger one first
    assert filter_faces([], 0.5) == []


def test_of_two_confident_answers_the_one_with_the_smaller_radius_is_reported():
    good, bad = face_at(10, 10, 100, 0.97, radius=3.4), face_at(14, 10, 100, 0.997, radius=5.2)
    (kept,) = filter_faces([bad, good], 0.5)
    assert kept.confidence == 0.97
    # in face sizes: 3 px are more for a face of 60 than 4 px for one of 100
    small, large = face_at(30, 30, 60, 0.9, radius=3.0), face_at(10, 10, 100, 0.9, radius=4.0)
    (kept,) = filter_faces([small, large], 0.5)
    assert kept.radius[0] == 4
    # below a confidence of 0.5 an answer only counts where there is no better one
    doubtful = face_at(11, 12, 100, 0.3, radius=0.1)
    (kept,) = filter_faces([doubtful, good], 0.1)
    assert kept.confidence == 0.97
    assert len(filter_faces([doubtful], 0.1)) == 1


def test_a_face_that_was_found_has_the_box_around_its_keypoints():
    found = face_at(10, 20, 80, 0.9)
    (kept,) = filter_faces([replace(found, box_xyxy=np.array([60.0, 60.0, 75.0, 75.0]))], 0.5)
    np.testing.assert_array_equal(kept.box_xyxy, box_from_keypoints(found.keypoints))


def test_unknown_confidence_is_kept():
    found = [face_at(x, y, 80, float("nan")) for x, y in ((10, 10), (12, 11), (300, 40))]
    assert [face.confidence for face in found] == [None] * 3
    assert len(filter_faces(found, 0.5)) == 2


def test_faces_are_equal_if_all_their_values_are_and_survive_pickle():
    one = face_at(10, 20, 80, 0.9)
    assert one == face_at(10, 20, 80, 0.9)
    assert pickle.loads(pickle.dumps(one)) == one
    unknown = replace(one, confidence=None, radius=np.full(68, np.nan, np.float32))
    assert pickle.loads(pickle.dumps(unknown)) == unknown
    moved = one.keypoints + np.float32(0.001)
    others = [unknown, replace(one, keypoints=moved), replace(one, box_xyxy=one.box_xyxy + 1), "a face"]
    assert one not in others
    assert one in [*others, face_at(10, 20, 80, 0.9)]


@pytest.mark.parametrize("face_detector", ["finder", "haar"])
@pytest.mark.parametrize("runtime", ["torch", "onnx", "onnx-int8"])
def test_a_pickled_detector_gives_the_same_answers(runtime, face_detector, sample_photo):
    detector = KeypointDetector.from_pretrained(
        "heatmapnet-small", runtime=runtime, threads=1, face_detector=face_detector
    )
    again = pickle.loads(pickle.dumps(detector))
    assert len(detector(sample_photo)) == 1
    assert again(sample_photo) == detector(sample_photo)


def test_a_detector_works_in_another_process(sample_photo):
    detector = KeypointDetector.from_pretrained("heatmapnet-small", threads=1)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(detector, sample_photo).result() == detector(sample_photo)


# --- ONNX files ---------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """The smallest shipped checkpoint, to be damaged."""
    for name in ("config.json", RUNTIMES["onnx"]):
        shutil.copy(SAVED_MODELS / "heatmapnet-small" / name, tmp_path)
    return tmp_path


def cut(path, share):
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


@pytest.mark.parametrize("share", [0, 0.3, 0.999])
def test_a_cut_onnx_file_is_refused(folder, share):
    cut(folder / "model.onnx", share)
    with pytest.raises(CheckpointError, match=r"model\.onnx .*make it: python export_onnx\.py"):
        KeypointDetector.from_pretrained(folder, runtime="onnx")


def test_an_onnx_file_that_is_none_is_refused(folder):
    (folder / "model.onnx").write_bytes(np.random.default_rng(0).bytes(10_000))
    with pytest.raises(CheckpointError, match=r"model\.onnx is damaged or belongs to other weights"):
        KeypointDetector.from_pretrained(folder, runtime="onnx")


def test_an_onnx_file_of_another_input_size_is_refused(folder):
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"input_size": 96', '"input_size": 128'))
    with pytest.raises(CheckpointError, match="is not the network of this checkpoint"):
        KeypointDetector.from_pretrained(folder, runtime="onnx")


def test_an_onnx_file_of_another_network_is_refused(folder):
    shutil.copy(SAVED_MODELS / "heatmapnet" / "model.onnx", folder / "model.onnx")
    with pytest.raises(CheckpointError, match="damaged or belongs to other weights"):
        KeypointDetector.from_pretrained(folder, runtime="onnx")


# --- the shipped checkpoint ------------------------------------------------------------------


@pytest.fixture(scope="module")
def detector():
    return KeypointDetector.from_pretrained()


@pytest.fixture
def one_torch_thread():
    """Several callers with several threads each are slow on few cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_torch_thread")
def test_threads_get_the_answers_of_serial_calls(detector, sample_photo):
    images = [sample_photo[step : step + 200, 130:330] for step in range(6)]
    serial = [detector(image) for image in images]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(detector, images))
    assert sum(map(len, serial)) >= len(images)
    assert_same(serial, together)


@pytest.mark.usefixtures("one_torch_thread")
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_runtimes_give_threads_the_answers_of_serial_calls(runtime, sample_photo):
    detector = KeypointDetector.from_pretrained("heatmapnet-small", runtime=runtime)

    def detect(step):  # the face finder, then the network
        return detector(sample_photo[step : step + 200, 130:330])

    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(detect, range(24)))
    assert all(len(faces) == 1 for faces in together)
    assert_same([detect(step) for step in range(24)], together)


def assert_same(faces_per_image, others):
    for faces, other_faces in zip(faces_per_image, others, strict=True):
        for a, b in zip(faces, other_faces, strict=True):
            np.testing.assert_array_equal(a.keypoints, b.keypoints)
            assert a.confidence == b.confidence


def test_five_lines_on_a_sample_photo(detector, sample_photo):
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


def test_boxes_of_another_face_finder_can_be_filtered(detector, sample_photo):
    boxes = [[165, 50, 280, 165], [175, 70, 310, 205], [380, 300, 500, 420]]  # the face twice, and none
    plain, one, two = detector.detect_batch([sample_photo] * 3, [boxes, boxes[:1], boxes[1:]])
    (filtered,), (first,), (second,) = detector.detect_batch(
        [sample_photo] * 3, [boxes, boxes[:1], boxes[1:]], filter_boxes=True
    )
    assert len(plain) == 3
    np.testing.assert_array_equal(filtered.box_xyxy, box_from_keypoints(filtered.keypoints))
    # one more pass brings answers together that started from different boxes
    assert face_distance(first.keypoints, second.keypoints) < 0.005
    assert face_distance(first.keypoints, second.keypoints) < face_distance(
        one[0].keypoints, two[0].keypoints
    )


def test_keypoints_move_with_the_photo(detector, sample_photo):
    box = np.array([150.0, 40, 300, 210])
    shifted = np.roll(sample_photo, (30, 20), axis=(0, 1))
    one = detector(sample_photo, boxes_xyxy=[box])[0].keypoints
    two = detector(shifted, boxes_xyxy=[box + [20, 30, 20, 30]])[0].keypoints
    np.testing.assert_allclose(two - one, np.tile([20, 30], (68, 1)), atol=0.5)


def test_the_scale_of_the_first_crop_comes_from_the_config():
    config = replace(CONFIG, box_scale=2.0)
    matrix = box_matrix([10, 20, 40, 50], config)  # side 30, so the crop shows 60
    assert matrix[0, 0] == pytest.approx(64 / 60)
    batch = crops_to_batch([np.zeros((100, 100, 3), np.uint8)], [matrix], config)
    assert batch.shape == (1, 1, 64, 64)
    assert TorchRuntime(FindsTheBlob(config))(batch).keypoints.shape == (1, 68, 2)


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        ("nowhere.jpg", FileNotFoundError, "no image at nowhere.jpg"),
        (Path(__file__).parent, ValueError, "tests is a folder, not an image"),
        (__file__, ValueError, r"test_detector\.py holds text, not an image"),
        (b"text", ValueError, "the file of 4 bytes holds text, not an image"),
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


@pytest.mark.parametrize(
    "single", [np.zeros((30, 40, 3), np.uint8), np.zeros((30, 40), np.uint8), "a.jpg", b"JPEG", io.BytesIO()]
)
def test_a_single_image_is_no_batch(detector, single):
    with pytest.raises(TypeError, match="takes a list of images"):
        detector.detect_batch(single)


def test_bad_boxes_are_named(detector, sample_photo):
    with pytest.raises(ValueError, match="right > left"):
        detector(sample_photo, boxes_xyxy=[[10, 10, 5, 20]])
    with pytest.raises(ValueError, match="not on the image"):
        detector(sample_photo, boxes_xyxy=[[600, 10, 700, 20]])
    for no_boxes in (5, [10, 20, 90, 110], "box", [["a", 1, 2, 3]], np.zeros((2, 3))):
        with pytest.raises(ValueError, match="box"):
            detector(sample_photo, boxes_xyxy=no_boxes)
