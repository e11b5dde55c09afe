"""Face detectors beside the Haar cascade: whose boxes, in whose pixels."""

import numpy as np
import pytest

from detector.face_finders import FixedBoxes, ReducedSearch, YuNetFaceDetector
from files import cv2


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
