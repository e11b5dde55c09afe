"""Face finders: boxes in pixels of the image, from cascades, YuNet, fixed boxes and reduced copies."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from detector.face_finders import (
    FixedBoxes,
    HaarFaceDetector,
    MultiCascadeDetector,
    ReducedSearch,
    YuNetFaceDetector,
    merge_boxes,
)
from files import cv2
from geometry import box_iou, flip_image

# --- Haar cascades ------------------------------------------------------------------------------


def test_haar_gives_edges_largest_first(sample_photo):
    boxes = HaarFaceDetector(1.05, 1, min_share=0.02)(sample_photo)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    assert len(boxes) >= 1
    assert (np.diff(areas) <= 0).all()
    assert any(b[0] < 221 < b[2] and b[1] < 120 < b[3] for b in HaarFaceDetector()(sample_photo))
    assert HaarFaceDetector()(np.zeros((64, 64, 3), np.uint8)).shape == (0, 4)


def test_a_file_that_is_no_cascade_is_named():
    with pytest.raises(FileNotFoundError, match="nothing.xml is no Haar cascade"):
        HaarFaceDetector(cascade="nothing.xml")


def test_merge_by_hand():
    boxes = [[0, 0, 10, 10], [100, 0, 110, 10], [1, 0, 11, 10], [99, 0, 109, 10], [100, 1, 110, 11]]
    merged = merge_boxes([np.array(box, float) for box in boxes])
    # the group of three first, as the mean of its boxes
    np.testing.assert_allclose(merged, [[299 / 3, 1 / 3, 329 / 3, 31 / 3], [0.5, 0, 10.5, 10]])
    assert merge_boxes([]).shape == (0, 4)


@pytest.mark.parametrize("flipped", [False, True])
def test_the_face_of_a_sample_photo_is_among_the_boxes(sample_photo, flipped):
    image = flip_image(sample_photo) if flipped else sample_photo
    truth = [512 - 291, 60, 512 - 170, 185] if flipped else [170, 60, 291, 185]
    boxes = MultiCascadeDetector()(image)
    assert max(box_iou(box, truth) for box in boxes) > 0.4
    assert (boxes[:, 0] >= 0).all()
    assert (boxes[:, 2] <= 512).all()


def test_the_image_and_its_flipped_copy_together_are_the_whole_search(sample_photo):
    finder, width = MultiCascadeDetector(), sample_photo.shape[1]
    halves = [finder.search(sample_photo, flipped) for flipped in (False, True)]
    left, top, right, bottom = finder.search(flip_image(sample_photo), False).T
    np.testing.assert_allclose(halves[1], np.stack([width - right, top, width - left, bottom], axis=1))
    whole = finder(sample_photo)
    assert 0 < len(whole) <= len(halves[0]) + len(halves[1])
    for box in np.concatenate(halves):
        assert max(box_iou(box, other) for other in whole) > 0.6
    assert all(max(box_iou(box, other) for other in np.concatenate(halves)) > 0.6 for box in whole)


def test_max_boxes_is_a_limit(sample_photo):
    assert len(MultiCascadeDetector(1.1, 1, 0.05, max_boxes=3)(sample_photo[:300])) == 3


def test_threads_get_the_boxes_of_serial_calls(sample_photo):
    images = [sample_photo[step : step + 200, 130:330] for step in range(12)]
    finder = MultiCascadeDetector()
    serial = [finder(image) for image in images]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(finder, images))
    for a, b in zip(serial, together, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_face_finder_can_be_sent_to_another_process(sample_photo):
    finder = MultiCascadeDetector()
    received = pickle.loads(pickle.dumps(finder))
    np.testing.assert_array_equal(received(sample_photo), finder(sample_photo))


# --- fixed boxes and reduced copies -------------------------------------------------------------


def test_fixed_boxes_are_the_same_for_every_image_and_cannot_be_changed_from_outside():
    detector = FixedBoxes([[1, 2, 11, 12], [0, 0, 5, 5]])
    detector(np.zeros((9, 9, 3), np.uint8))[:] = 0
    np.testing.assert_array_equal(detector(np.zeros((2, 2, 3), np.uint8)), [[1, 2, 11, 12], [0, 0, 5, 5]])
    assert FixedBoxes([])(np.zeros((9, 9, 3), np.uint8)).shape == (0, 4)
    with pytest.raises(ValueError, match="right > left"):
        FixedBoxes([[5, 0, 5, 9]])


def bright_box(image):
    """Edges of what is bright: a face detector whose answer is known."""
    rows, columns = (np.flatnonzero((image[..., 0] > 127).any(axis=axis)) for axis in (1, 0))
    return np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], dtype=np.float64)


@pytest.mark.parametrize("shape", [(400, 900), (900, 400), (100, 2000)])
def test_a_reduced_search_gives_boxes_of_the_image(shape):
    image = np.zeros((*shape, 3), np.uint8)
    image[20:80, 100:180] = 255
    seen = []

    def watching(picture):
        seen.append(picture.shape[:2])
        return bright_box(picture)

    (box,) = ReducedSearch(watching, 100)(image)
    assert min(seen[0]) == 100
    assert max(seen[0]) == round(max(shape) * 100 / min(shape))
    np.testing.assert_allclose(box, [100, 20, 180, 80], atol=min(shape) / 100)  # a pixel of the copy


def test_small_images_are_searched_as_they_are_and_nothing_found_is_nothing():
    image = np.zeros((50, 60, 3), np.uint8)
    assert ReducedSearch(lambda picture: [picture], 50)(image)[0] is image
    assert ReducedSearch(lambda _: [], 20)(image).shape == (0, 4)
    with pytest.raises(ValueError, match="at least 1 pixel, got 0"):
        ReducedSearch(bright_box, 0)


# --- YuNet --------------------------------------------------------------------------------------


class FakeYuNet:
    """Answers as OpenCV's class does: rows of x, y, w, h, five points, score, in pixels of its input."""

    def __init__(self, rows):
        self.rows, self.seen = rows, None

    def setInputSize(self, size_wh):
        self.size_wh = size_wh

    def detect(self, bgr):
        assert bgr.shape[1::-1] == self.size_wh
        self.seen = bgr
        return 1, None if self.rows is None else np.array(self.rows, dtype=np.float32)


@pytest.fixture
def yunet(tmp_path, monkeypatch):
    def build(rows):
        fake = FakeYuNet(rows)
        monkeypatch.setattr(cv2.FaceDetectorYN, "create", lambda *_: fake)
        (tmp_path / "model.onnx").touch()
        return YuNetFaceDetector(tmp_path / "model.onnx", shorter_side=100), fake

    return build


def test_yunet_boxes_are_edges_of_the_image_the_largest_first(yunet):
    points_and_score = [0] * 10 + [0.9]
    detector, fake = yunet([[10, 20, 5, 6, *points_and_score], [30, 40, 20, 30, *points_and_score]])
    image = np.zeros((200, 300, 3), np.uint8)
    image[..., 0] = 200  # red
    np.testing.assert_allclose(detector(image), [[60, 80, 100, 140], [20, 40, 30, 52]])  # twice as large
    assert fake.seen.shape == (100, 150, 3)
    assert fake.seen[0, 0].tolist() == [0, 0, 200]  # BGR


def test_yunet_without_a_face_and_with_a_box_without_area(yunet):
    image = np.zeros((80, 90, 3), np.uint8)
    assert yunet(None)[0](image).shape == (0, 4)
    assert yunet([[1, 2, 0, 5] + [0] * 11])[0](image).shape == (0, 4)


def test_a_missing_or_wrong_yunet_model_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no YuNet model at .*nowhere.onnx; fetch"):
        YuNetFaceDetector(tmp_path / "nowhere.onnx")
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises(ValueError, match=r"text.onnx is not a model"):
        YuNetFaceDetector(tmp_path / "text.onnx")
