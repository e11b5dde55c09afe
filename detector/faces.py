"""Face detectors beside the Haar cascade.

    detector = KeypointDetector.from_pretrained(face_detector=YuNetFaceDetector("yunet.onnx"))

A face detector is anything that is called with an HxWx3 uint8 RGB image and returns
boxes (N, 4), left, top, right, bottom in pixels of it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from geometry import check_box
from opencv import cv2


class ReducedSearch:
    """Looks for faces on a smaller copy of large images, and gives boxes of the image itself.

    face_detector: what looks. shorter_side: of the copy, in pixels; smaller images stay as they are.
    The Haar cascade gains little: it skips small faces, and with them the pixels, by itself.
    """

    def __init__(self, face_detector: Callable[[np.ndarray], np.ndarray], shorter_side: int):
        if shorter_side < 1:
            raise ValueError(f"shorter_side must be at least 1 pixel, got {shorter_side}")
        self.face_detector, self.shorter_side = face_detector, shorter_side

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Boxes (N, 4) float64 of an HxWx3 uint8 RGB image."""
        height, width = image.shape[:2]
        factor = self.shorter_side / min(height, width)
        if factor >= 1:
            return self.face_detector(image)
        size_wh = round(width * factor), round(height * factor)
        boxes = self.face_detector(cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA))
        # edges of boxes, unlike centres of pixels, scale without the half pixel
        scale = np.array([width, height] * 2) / np.array(size_wh * 2)
        return np.asarray(boxes, dtype=np.float64).reshape(-1, 4) * scale


class FixedBoxes:
    """The same boxes for every image, for a camera or a data set where one knows where faces are.

    boxes_xyxy: (N, 4). Raises ValueError for a box that is not finite or has no area.
    """

    def __init__(self, boxes_xyxy: Sequence):
        self.boxes_xyxy = np.array([check_box(box) for box in boxes_xyxy]).reshape(-1, 4)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Boxes (N, 4) float64, whatever the image."""
        return self.boxes_xyxy.copy()


class YuNetFaceDetector:
    """Faces by YuNet, a small network that OpenCV runs; finds turned and covered faces, too.

    Wu, Peng and Yu, "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence
    Research 2023. The weights do not come with OpenCV: model_path is the file
    face_detection_yunet_*.onnx of OpenCV's model zoo, which you fetch.
    least_score: 0 to 1.
    shorter_side: larger images are searched on a copy reduced to this, in pixels, because the network
        knows faces of about 10 to 300 pixels.
    Raises FileNotFoundError or ValueError for a wrong file.
    """

    def __init__(self, model_path, least_score: float = 0.7, shorter_side: int = 480):
        if not Path(model_path).is_file():
            raise FileNotFoundError(
                f"no YuNet model at {model_path}; fetch face_detection_yunet_2023mar.onnx from OpenCV's "
                "model zoo (opencv_zoo on GitHub), or use the Haar cascade, which needs no file"
            )
        try:
            self._network = cv2.FaceDetectorYN.create(str(model_path), "", (320, 320), least_score)
        except cv2.error as error:
            raise ValueError(f"{model_path} is not a model that OpenCV can read: {error}") from error
        self._search = ReducedSearch(self._detect, shorter_side)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Boxes (N, 4) float64 of an HxWx3 uint8 RGB image, the largest first."""
        return self._search(image)

    def _detect(self, image: np.ndarray) -> np.ndarray:
        self._network.setInputSize((image.shape[1], image.shape[0]))
        _, found = self._network.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        if found is None:
            return np.zeros((0, 4))
        # each row: x, y, width, height, five points, score
        x, y, w, h = np.asarray(found, dtype=np.float64)[:, :4].T
        boxes = np.stack([x, y, x + w, y + h], axis=1)[(w > 0) & (h > 0)]
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        return boxes[np.argsort(-areas, kind="stable")]
