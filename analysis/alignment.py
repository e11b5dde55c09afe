"""What is done to the pixels of a face: aligned for recognition, or hidden for privacy."""

import numpy as np

from files import to_rgb
from geometry import similarity_matrix, warp
from landmarks import (
    LEFT_EYE_INNER,
    LEFT_EYE_OUTER,
    MOUTH_LEFT,
    MOUTH_RIGHT,
    NOSE_TIP,
    RIGHT_EYE_INNER,
    RIGHT_EYE_OUTER,
    check_keypoints,
)
from sample_faces.head import Shape, canonical_head, forehead_points

# --- alignment -----------------------------------------------------------------------------


def five_points(keypoints) -> np.ndarray:
    """Right eye, left eye, tip of the nose, right and left corner of the mouth: (5, 2) of points (68, 2).

    An eye is the middle of its corners, which stay when it blinks.
    """
    points = np.asarray(keypoints, dtype=np.float64)
    right = (points[RIGHT_EYE_OUTER] + points[RIGHT_EYE_INNER]) / 2
    left = (points[LEFT_EYE_OUTER] + points[LEFT_EYE_INNER]) / 2
    return np.stack([right, left, points[NOSE_TIP], points[MOUTH_RIGHT], points[MOUTH_LEFT]])


def face_template(size: int) -> np.ndarray:
    """Where `five_points` of the canonical head lie, (5, 2) pixels, when its face fills size x size pixels.

    The face is what lies between hairline and chin; it is a little narrower than high.
    """
    head = canonical_head()[:, :2]
    outline = np.concatenate([head, forehead_points(Shape())[:, :2]])
    low, high = outline.min(axis=0), outline.max(axis=0)
    scale = size / (high - low).max()
    return (five_points(head) - (low + high) / 2) * scale + (size - 1) / 2


def align_face(
    image: np.ndarray, keypoints, size: int = 112, template_points=None
) -> tuple[np.ndarray, np.ndarray]:
    """An upright crop with the eyes, nose and mouth where they are in every such crop.

    image: HxWx3 uint8 RGB, or what else `files.py` reads. keypoints: (68, 2) pixels of it,
        also outside.
    template_points: (5, 2), where right eye, left eye, tip of the nose, right and left corner of the
        mouth go, in pixels of the crop; by default `face_template(size)`. A recognition
        network wants the template that it was trained with.

    Returns the crop (size, size, 3) uint8, black where the image ends, and the matrix
    (2, 3) from the image to it: rotation, scale and shift (no shear, so that faces keep
    their proportions), nearest to the template in least squares.
    Limits: it undoes roll, size and place, but a turned or tipped head stays so.
    Raises ValueError for a wrong image, size or template, and when the five points coincide.
    """
    if not isinstance(size, int | np.integer) or size < 8:
        raise ValueError(f"size must be a whole number of 8 pixels or more, got {size!r}")
    target = face_template(size) if template_points is None else np.asarray(template_points, dtype=np.float64)
    if target.shape != (5, 2) or not np.isfinite(target).all():
        raise ValueError(f"template_points must be 5 points (x, y) in pixels of the crop, got {target!r}")
    matrix = similarity_matrix(five_points(check_keypoints(keypoints)), target)
    return warp(to_rgb(image), matrix, (size, size)), matrix


# --- privacy -------------------------------------------------------------------------------
