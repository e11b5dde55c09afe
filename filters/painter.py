"""Pictures that detect.py writes: a filter on every face, boxes and keypoints, or both."""

from dataclasses import dataclass

import numpy as np

from detector.overlay import draw_faces
from detector.predictor import Face
from filters.base import Filter
from video.writer import TrackedFrame, draw_tracked


@dataclass(frozen=True)
class Painter:
    """Paints the filter first, then with `marks` the boxes and keypoints; both may be left out."""

    filter: Filter | None = None
    marks: bool = False

    def __call__(self, image: np.ndarray, faces: list[Face]) -> np.ndarray:
        """The picture (H, W, 3) uint8 RGB of an image with these faces."""
        painted = self.filter(image, faces) if self.filter else image
        return draw_faces(painted, faces) if self.marks else painted

    def frame(self, seen: TrackedFrame) -> np.ndarray:
        """The picture of a frame of a video that has an image."""
        assert seen.image is not None
        painted = seen.image
        if self.filter:
            faces, ids = [tracked.face for tracked in seen.faces], [tracked.id for tracked in seen.faces]
            painted = self.filter(painted, faces, time_s=seen.time_s, ids=ids)
        return draw_tracked(painted, seen.faces) if self.marks else painted
