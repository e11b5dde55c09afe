"""Hiding faces in an image: blurred or pixelated, so that the face cannot be recognised."""

from collections.abc import Iterable

import numpy as np

from files import cv2, to_rgb
from landmarks import check_keypoints
from sample_faces.head import Shape, canonical_head, forehead_points

#: Points of the canonical head and of its forehead with a 1 appended, (N, 4).
HEAD, FOREHEAD = (
    np.insert(points, 3, 1, axis=1) for points in (canonical_head(), forehead_points(Shape(forehead=1.15)))
)
STYLES = {"blur": cv2.INTER_CUBIC, "pixelate": cv2.INTER_NEAREST}

#: Widths around the outline, as shares of the face's height: fully hidden (because of the ears, the hairline
#: and errors of the points), and fading into the image.
GROWN, FADE = 0.1, 0.05


def face_outline(keypoints) -> np.ndarray:
    """Convex outline (N, 2) float32, in pixels, of the whole face, including the forehead.

    keypoints: (68, 2).

    Raises ValueError for wrong keypoints, or if they lie in one pixel or on one line.
    """
    points = check_keypoints(keypoints)
    if not (np.ptp(points, axis=0) >= 1).all():
        raise ValueError("the keypoints lie in one pixel or on one line: there is no face to outline")
    return cv2.convexHull(np.concatenate([points, forehead(points)]).astype(np.float32))[:, 0]


def forehead(keypoints) -> np.ndarray:
    """The upper outline (13, 2) of a face in pixels, from the left temple over the hairline to the right one.

    keypoints: (68, 2). They end at the brows. The forehead is that of the canonical head, made a little
    higher because hairlines differ, seen through the affine camera that fits the keypoints best.
    """
    camera = np.linalg.lstsq(HEAD, keypoints, rcond=None)[0]  # (4, 2)
    return FOREHEAD @ camera


def blur_faces(image: np.ndarray, faces: Iterable, cells: int = 5, style: str = "blur") -> np.ndarray:
    """A copy of the image with the faces made unrecognisable.

    image: HxWx3 uint8 RGB, or anything else that `files.to_rgb` takes.
    faces: faces of the detector, or keypoints (N, 68, 2); they may lie partly or wholly outside the image.
    cells: a face is replaced by the mean colours of about cells x cells squares, 1 to 16; fewer hide more.
    style: "blur" draws these means as a smooth picture, "pixelate" as squares. Both contain the same
        information. A Gaussian blur can be sharpened again; from the means the pixels cannot be computed.

    Returns HxWx3 uint8 RGB.

    Limits: only the given faces are hidden. Hair, ears, clothes and surroundings stay visible, and people
    can be recognised by them. Somebody with photos of a few candidates can blur those in the same way and
    compare (McPherson et al., "Defeating Image Obfuscation with Deep Learning", 2016), and the frames of a
    video together contain more than one frame. With cells=1 only the mean colour is left. Thumbnails and
    metadata of the original file are not touched.

    Example:

        hidden = blur_faces(image, detector(image))

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
    """Replace the inside of the outline by means over `cells` squares along its longer side, in place."""
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
    # the fading edge, which mixes in the original, lies outside the grown outline
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
    """Distance (H, W) in pixels of each pixel to a convex outline (N, 2); negative inside.

    It is the largest of the distances to the lines along the edges; outside a corner this is a little less
    than the true distance.
    """
    ys, xs = np.mgrid[: shape_hw[0], : shape_hw[1]].astype(np.float32)
    farthest = np.full(shape_hw, -np.inf, dtype=np.float32)
    centre = outline.mean(axis=0)
    for (x, y), along in zip(outline, np.roll(outline, -1, axis=0) - outline, strict=True):
        normal = np.array([along[1], -along[0]]) / np.linalg.norm(along)
        normal *= np.sign(normal @ ((x, y) - centre))  # away from the middle
        np.maximum(farthest, (xs - x) * normal[0] + (ys - y) * normal[1], out=farthest)
    return farthest
