"""Faces by OpenCV's Haar cascade.

Viola and Jones, "Rapid Object Detection using a Boosted Cascade of Simple
Features", CVPR 2001. The cascade files come with the opencv-python wheel.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from files import cv2
from geometry import box_iou, check_box, flip_image


class HaarFaceDetector:
    """Boxes of frontal faces. Call it with an image, get (N, 4) box_xyxy, the largest first.

    scale_factor: step between the sizes that are searched; nearer to 1 finds more, slower.
    min_neighbors: how many raw hits make a face; fewer finds more, with more false positives.
    min_share: smallest face, as a share of the image's shorter side.
    """

    def __init__(
        self,
        scale_factor: float = 1.1,
        min_neighbors: int = 5,
        min_share: float = 0.1,
        cascade: str = "haarcascade_frontalface_default.xml",
    ):
        path = Path(cascade) if Path(cascade).is_file() else Path(cv2.data.haarcascades) / cascade
        self._cascade = cv2.CascadeClassifier(str(path))
        if self._cascade.empty():
            raise FileNotFoundError(f"{path} is no Haar cascade; OpenCV's are in {cv2.data.haarcascades}")
        self.scale_factor, self.min_neighbors, self.min_share = scale_factor, min_neighbors, min_share

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Boxes (N, 4) float64, left, top, right, bottom in pixels, of an HxWx3 uint8 RGB image."""
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        least = max(20, round(self.min_share * min(gray.shape)))
        found = self._cascade.detectMultiScale(
            gray, self.scale_factor, self.min_neighbors, minSize=(least, least)
        )
        if len(found) == 0:
            return np.zeros((0, 4))
        x, y, w, h = np.asarray(found, dtype=np.float64).T
        boxes = np.stack([x, y, x + w, y + h], axis=1)
        return boxes[np.argsort(-(w * h), kind="stable")]


FRONTAL, PROFILE = "haarcascade_frontalface_default.xml", "haarcascade_profileface.xml"


class MultiCascadeDetector:
    """Boxes (N, 4) box_xyxy that may be faces: frontal and profile cascade, both ways round.

    scale_factor, min_neighbors, min_share: as in HaarFaceDetector; lax by default.
    most: no more boxes than this, so that a picture full of patterns stays quick.
    """

    def __init__(
        self, scale_factor: float = 1.1, min_neighbors: int = 2, min_share: float = 0.1, max_boxes: int = 48
    ):
        self.cascades = [
            HaarFaceDetector(scale_factor, min_neighbors, min_share, name) for name in (FRONTAL, PROFILE)
        ]
        self.max_boxes = max_boxes

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Boxes of an HxWx3 uint8 RGB image."""
        return self._search(image, (False, True))

    def search(self, image: np.ndarray, flipped: bool) -> np.ndarray:
        """The same for half the work, the image one way round only: for a video, each way in turn."""
        return self._search(image, (flipped,))

    def _search(self, image: np.ndarray, ways: Sequence[bool]) -> np.ndarray:
        views = {flipped: flip_image(image) if flipped else image for flipped in ways}
        found: list[np.ndarray] = []
        for cascade in self.cascades:
            for flipped, view in views.items():
                boxes = cascade(view)
                found += list(_flip_boxes(boxes, image.shape[1]) if flipped else boxes)
        return merge_boxes(found)[: self.max_boxes]


def _flip_boxes(boxes: np.ndarray, width: int) -> np.ndarray:
    left, top, right, bottom = boxes.T
    return np.stack([width - right, top, width - left, bottom], axis=1)


def merge_boxes(boxes: Sequence[np.ndarray], min_iou: float = 0.6) -> np.ndarray:
    """Means of groups of boxes (N, 4) that overlap, those found most often first.

    A box joins the first group whose first box it overlaps by min_iou.
    """
    groups: list[list[np.ndarray]] = []
    for box in boxes:
        group = next((g for g in groups if box_iou(g[0], box) >= min_iou), None)
        if group is None:
            groups.append([box])
        else:
            group.append(box)
    groups.sort(key=len, reverse=True)
    return np.array([np.mean(group, axis=0) for group in groups]).reshape(-1, 4)


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
    min_score: 0 to 1.
    shorter_side: larger images are searched on a copy reduced to this, in pixels, because the network
        knows faces of about 10 to 300 pixels.
    Raises FileNotFoundError or ValueError for a wrong file.
    """

    def __init__(self, model_path, min_score: float = 0.7, shorter_side: int = 480):
        if not Path(model_path).is_file():
            raise FileNotFoundError(
                f"no YuNet model at {model_path}; fetch face_detection_yunet_2023mar.onnx from OpenCV's "
                "model zoo (opencv_zoo on GitHub), or use the Haar cascade, which needs no file"
            )
        try:
            self._network = cv2.FaceDetectorYN.create(str(model_path), "", (320, 320), min_score)
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
