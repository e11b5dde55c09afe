"""Hiding faces in an image."""

from collections.abc import Iterable

import numpy as np

from files import cv2, to_rgb
from landmarks import check_keypoints
from sample_faces.head import Shape, canonical_head, forehead_points

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
