"""What is done to the pixels of a face: aligned for recognition, or hidden for privacy."""

from collections.abc import Iterable

import numpy as np

from detector.inputs import to_rgb
from geometry import check_keypoints, similarity_matrix, warp
from landmarks import (
    LEFT_EYE_INNER,
    LEFT_EYE_OUTER,
    MOUTH_LEFT,
    MOUTH_RIGHT,
    NOSE_TIP,
    RIGHT_EYE_INNER,
    RIGHT_EYE_OUTER,
)
from opencv import cv2
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

    image: HxWx3 uint8 RGB, or what else `detector/inputs.py` reads. keypoints: (68, 2) pixels of it,
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

STYLES = {"blur": cv2.INTER_CUBIC, "pixelate": cv2.INTER_NEAREST}
#: How far, as a share of the face's height, everything is hidden around the outline (for ears and
#: hair line, and for points that are a little off), and how far the edge then fades.
GROWN, FADE = 0.1, 0.05


def face_outline(keypoints) -> np.ndarray:
    """Convex outline (N, 2) float32, in pixels, of the whole face, forehead included.

    The 68 points end at the brows. The forehead of the canonical head, a little high
    (hairlines differ), is put where the affine camera puts it that fits the points best.
    """
    points = check_keypoints(keypoints)
    if not (np.ptp(points, axis=0) >= 1).all():
        raise ValueError("the keypoints lie in one pixel or on one line: there is no face to outline")
    head, forehead = canonical_head(), forehead_points(Shape(forehead=1.15))
    camera = np.linalg.lstsq(np.insert(head, 3, 1, axis=1), points, rcond=None)[0]  # (4, 2)
    above = np.insert(forehead, 3, 1, axis=1) @ camera
    return cv2.convexHull(np.concatenate([points, above]).astype(np.float32))[:, 0]


def blur_faces(image: np.ndarray, faces: Iterable, cells: int = 5, style: str = "blur") -> np.ndarray:
    """The image with faces made unrecognisable; the input is not changed.

    image: as for `align_face`. faces: what the detector returned, or keypoints (N, 68, 2);
        faces partly or wholly outside the image are fine.
    cells: what is left of a face is the mean colour of about cells x cells squares;
        fewer hide more. style: "blur" draws these means as a smooth picture,
        "pixelate" as squares. Both hold the same information: unlike a Gaussian blur,
        which can be sharpened again, the means let nobody compute back what was averaged.

    Limits: only faces that were found are hidden. Hair, ears, clothes and surroundings
    stay, and people are known by them. Somebody who has pictures of a few candidates can
    blur those alike and compare (McPherson et al., "Defeating Image Obfuscation with Deep
    Learning", 2016), and many frames of a video tell more than one: where that matters,
    cells=1 leaves nothing but the mean colour. The original's thumbnail and metadata are
    not ours to clean.
    Raises ValueError for a wrong image, keypoints, cells or style.
    """
    if style not in STYLES:
        raise ValueError(f"style must be one of {', '.join(STYLES)}, got {style!r}")
    if not isinstance(cells, int | np.integer) or not 1 <= cells <= 16:
        raise ValueError(f"cells must be a whole number from 1 to 16 (more shows the face), got {cells!r}")
    hidden = to_rgb(image).copy()
    for face in faces:
        _hide(hidden, face_outline(getattr(face, "keypoints", face)), cells, STYLES[style])
    return hidden


def _hide(image: np.ndarray, outline: np.ndarray, cells: int, interpolation: int) -> None:
    """Replace what is inside the outline by means over `cells` squares along its longer side, in place."""
    side = float(np.ptp(outline, axis=0).max())
    reach = (GROWN + FADE) * side
    limit = np.array(image.shape[1::-1])
    left, top = np.clip(np.floor(outline.min(axis=0) - reach), 0, limit).astype(int)
    right, bottom = np.clip(np.ceil(outline.max(axis=0) + reach) + 1, 0, limit).astype(int)
    if left >= right or top >= bottom:
        return
    window = image[top:bottom, left:right]
    means = _means(window, max(side / cells, 2.0), interpolation)
    distance = _distance_outside(outline - (left, top), window.shape[:2])
    # Wholly replaced up to the grown outline: the fading edge, which mixes in the original, lies beyond it.
    share = np.clip((reach - distance) / (FADE * side), 0, 1)[..., None]
    window[:] = np.rint(window + share * (means.astype(np.float32) - window))


def _means(window: np.ndarray, block: float, interpolation: int) -> np.ndarray:
    """The window (h, w, 3) as means over squares of about `block` pixels, drawn at its own size."""
    height, width = window.shape[:2]
    grid = max(1, int(width / block)), max(1, int(height / block))
    return cv2.resize(
        cv2.resize(window, grid, interpolation=cv2.INTER_AREA), (width, height), interpolation=interpolation
    )


def _distance_outside(outline: np.ndarray, shape_hw) -> np.ndarray:
    """How far (H, W) each pixel lies outside a convex outline (N, 2); negative inside.

    The largest of the distances to the lines along its edges; beyond a corner that is
    a little less than the true distance.
    """
    ys, xs = np.mgrid[: shape_hw[0], : shape_hw[1]].astype(np.float32)
    farthest = np.full(shape_hw, -np.inf, dtype=np.float32)
    centre = outline.mean(axis=0)
    for (x, y), along in zip(outline, np.roll(outline, -1, axis=0) - outline, strict=True):
        normal = np.array([along[1], -along[0]]) / np.linalg.norm(along)
        normal *= np.sign(normal @ ((x, y) - centre))  # away from the middle
        np.maximum(farthest, (xs - x) * normal[0] + (ys - y) * normal[1], out=farthest)
    return farthest
