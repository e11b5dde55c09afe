"""Aligned crops of faces, as recognition networks take them."""

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


def five_points(keypoints) -> np.ndarray:
    """Right eye, left eye, tip of the nose, right and left corner of the mouth: (5, 2) of keypoints (68, 2).

    An eye is the middle of its two corners, because they do not move in a blink. "Right" and "left" are
    the person's.
    """
    points = np.asarray(keypoints, dtype=np.float64)
    right = (points[RIGHT_EYE_OUTER] + points[RIGHT_EYE_INNER]) / 2
    left = (points[LEFT_EYE_OUTER] + points[LEFT_EYE_INNER]) / 2
    return np.stack([right, left, points[NOSE_TIP], points[MOUTH_RIGHT], points[MOUTH_LEFT]])


def face_template(size: int) -> np.ndarray:
    """`five_points` of the canonical head, (5, 2) pixels, when its face fills a crop of size x size pixels.

    The face reaches from the hairline to the chin; it is a little narrower than high.
    """
    head = canonical_head()[:, :2]
    outline = np.concatenate([head, forehead_points(Shape())[:, :2]])
    low, high = outline.min(axis=0), outline.max(axis=0)
    scale = size / (high - low).max()
    return (five_points(head) - (low + high) / 2) * scale + (size - 1) / 2


def align_face(
    image: np.ndarray, keypoints, size: int = 112, template_points=None
) -> tuple[np.ndarray, np.ndarray]:
    """An upright crop of a face, with eyes, nose and mouth at the same place in every crop.

    image: HxWx3 uint8 RGB, or anything else that `files.to_rgb` takes.
    keypoints: (68, 2), (x, y), pixels of the image; they may lie outside of it.
    size: width and height of the crop in pixels, at least 8.
    template_points: (5, 2) pixels of the crop: the places of right eye, left eye, tip of the nose, right
        and left corner of the mouth; by default `face_template(size)`. A recognition network needs the
        template that it was trained with.

    Returns the crop (size, size, 3) uint8 RGB, black outside the image, and the matrix (2, 3) from the image
    to the crop: the rotation, scale and shift (no shear, so that faces keep their proportions) that bring
    the five points closest to the template in least squares.

    Limits: roll, size and place are the same in every crop; yaw and pitch are not corrected.

    Example:

        crop, matrix = align_face(image, faces[0].keypoints, size=112)

    Raises ValueError for a wrong image, keypoints, size or template, and where all five points are the
    same. Errors for files are those of `files.to_rgb`.
    """
    if not isinstance(size, int | np.integer) or size < 8:
        raise ValueError(f"size must be a whole number of 8 pixels or more, got {size!r}")
    target = face_template(size) if template_points is None else np.asarray(template_points, dtype=np.float64)
    if target.shape != (5, 2) or not np.isfinite(target).all():
        raise ValueError(f"template_points must be 5 points (x, y) in pixels of the crop, got {target!r}")
    matrix = similarity_matrix(five_points(check_keypoints(keypoints)), target)
    return warp(to_rgb(image), matrix, (size, size)), matrix
