"""Faces drawn into an image."""

from collections.abc import Iterable

import numpy as np

from detector.predictor import Face
from files import cv2
from landmarks import CLOSED_GROUPS, GROUPS

LINE_RGB, POINT_RGB, BOX_RGB = (255, 255, 255), (255, 0, 255), (255, 208, 0)
MAX_SIDE = {".jpg": 65_500, ".jpeg": 65_500, ".webp": 16_383}  # pixels that these kinds of files can hold
FRACTION_BITS = 4  # OpenCV draws at fractions of a pixel, given as integers


def draw_faces(image: np.ndarray, faces: Iterable[Face]) -> np.ndarray:
    """A copy of an HxWx3 uint8 RGB image with boxes, keypoints and the lines between them.

    The lines of a larger face are thicker, and hidden points are hollow. The confidence, where it is known,
    stands above the box.
    """
    drawn = image.copy()
    for face in faces:
        _draw_box(drawn, face)
        size = np.ptp(face.keypoints, axis=0).max()
        width = max(1, round(size / 150))
        for name, indices in GROUPS.items():
            path = _fixed(face.keypoints[list(indices)])
            cv2.polylines(drawn, [path], name in CLOSED_GROUPS, LINE_RGB, width, cv2.LINE_AA, FRACTION_BITS)
        for (x, y), hidden in zip(_fixed(face.keypoints), face.hidden, strict=True):
            # a ring of less than 2 pixels would be a dot
            radius = max(2.0 if hidden else 0.7, size / 100)
            style = max(1, round(size / 250)) if hidden else cv2.FILLED
            fixed = round(radius * 2**FRACTION_BITS)
            cv2.circle(drawn, (int(x), int(y)), fixed, POINT_RGB, style, cv2.LINE_AA, FRACTION_BITS)
    return drawn


def _fixed(points: np.ndarray) -> np.ndarray:
    # far outside the image OpenCV's integers would overflow
    return np.rint(np.clip(points, -1e5, 1e5) * 2**FRACTION_BITS).astype(np.int32)


def _draw_box(drawn: np.ndarray, face: Face) -> None:
    corners = _fixed(np.asarray(face.box_xyxy).reshape(2, 2) - 0.5)  # edges, on the grid of pixel centres
    width = max(1, round(max(drawn.shape[:2]) / 600))
    first, last = (tuple(map(int, corner)) for corner in corners)
    cv2.rectangle(drawn, first, last, BOX_RGB, width, cv2.LINE_AA, FRACTION_BITS)
    if face.confidence is not None:
        left, top = (value >> FRACTION_BITS for value in first)
        place = (left, max(top - 3 * width, 12 * width))
        text = f"{face.confidence:.2f}"
        cv2.putText(drawn, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45 * width, BOX_RGB, width, cv2.LINE_AA)


def encode_image(image: np.ndarray, suffix: str) -> bytes:
    """An HxWx3 uint8 RGB image as the bytes of an image file.

    suffix: the ending that says its kind, one of `outputs.WRITABLE_IMAGES`.
    Raises ValueError for an image that this kind of file cannot hold.
    """
    height, width = image.shape[:2]
    if max(height, width) <= MAX_SIDE.get(suffix.lower(), max(height, width)):
        done, data = cv2.imencode(suffix.lower(), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        if done:
            return data.tobytes()
    raise ValueError(f"an image of {width} x {height} pixels cannot be written as {suffix}")
