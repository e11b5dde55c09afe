"""Faces by OpenCV's Haar cascade.

Viola and Jones, "Rapid Object Detection using a Boosted Cascade of Simple
Features", CVPR 2001. The cascade files come with the opencv-python wheel.
"""

from pathlib import Path

import numpy as np

from opencv import cv2


class HaarFaceDetector:
    """Boxes of frontal faces. Call it with an image, get (N, 4) box_xyxy, the largest first.

    scale_factor: step between the sizes that are searched; nearer to 1 finds more, slower.
    min_neighbors: how many raw hits make a face; fewer finds more, with more false alarms.
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
