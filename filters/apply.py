"""Applies filters: drawings that turn, shrink and foreshorten with the face they are placed on.

`art/filters.json` lists the drawings of each filter, from back to front, with the place of each on a face;
`fit.py` computes the matrix from drawing to image. A new filter is a PNG and an entry in that file, without
changes here.
"""

import json
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from files import cv2
from filters.fit import check_face, fit_hinged, fit_part
from geometry import box_from_keypoints, box_side, compose, invert, resize_matrix, transform_points, warp

ART = Path(__file__).parent / "art"
#: A drawing that covers fewer pixels of the image than this is not painted.
MIN_AREA = 0.1


@lru_cache(maxsize=1)
def _catalogue() -> dict:
    return json.loads((ART / "filters.json").read_text(encoding="utf-8"))


@lru_cache(maxsize=32)
def load_art(name: str) -> np.ndarray:
    """A drawing of `art/` by file name: (H, W, 4) float32, premultiplied RGB in [0, 255], alpha in [0, 1].

    The array is read-only, because every caller gets the same one.
    """
    with Image.open(ART / name) as picture:
        art = premultiply(np.asarray(picture.convert("RGBA")))
    art.setflags(write=False)
    return art


def premultiply(rgba: np.ndarray) -> np.ndarray:
    """RGBA (H, W, 4) uint8 with straight alpha as (H, W, 4) float32: RGB times alpha, alpha in [0, 1].

    Averages of straight colours contain the arbitrary colour of transparent pixels, which leaves a dark
    fringe. Premultiplied, a transparent pixel has no weight.
    """
    art = rgba.astype(np.float32)
    art[..., 3] /= 255
    art[..., :3] *= art[..., 3:]
    return art


def list_filters() -> list[str]:
    """Names of all filters."""
    return list(_catalogue())


def _parts(filter_name: str) -> list[dict]:
    if filter_name not in _catalogue():
        raise ValueError(f"unknown filter {filter_name!r}; known: {', '.join(list_filters())}")
    return _catalogue()[filter_name]


def placements(filter_name: str, keypoints: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """(drawing, matrix) of every visible part of a filter on a face, from back to front.

    filter_name: one of `list_filters()`. keypoints: (68, 2), (x, y), pixels of the image.

    Returns file names of `art/` and matrices (2, 3) from pixels of the drawing to pixels of the image.
    Raises ValueError for an unknown name, wrong keypoints, or a degenerate face.
    """
    parts, points = _parts(filter_name), check_face(keypoints)
    carriers = {part["art"]: fit_part(part, points) for part in parts if "anchors" in part}
    placed = []
    for part in parts:
        hinged = "hinge" in part
        matrix = fit_hinged(part, points, carriers[part["carrier"]]) if hinged else carriers[part["art"]]
        if matrix is not None:
            placed.append((part["art"], matrix))
    return placed


def _shrink(art: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The drawing averaged down along each axis that the matrix shrinks, and the matrix for it.

    On a turned head the width shrinks more than the height; one common factor would blur one axis or alias
    the other.
    """
    height, width = art.shape[:2]
    scale_x, scale_y = np.minimum(np.linalg.norm(matrix[:, :2], axis=0), 1)
    new_shape = (max(1, round(height * scale_y)), max(1, round(width * scale_x)))
    if new_shape == (height, width):
        return art, matrix
    small = cv2.resize(art, new_shape[::-1], interpolation=cv2.INTER_AREA)
    return small, compose(matrix, invert(resize_matrix((height, width), new_shape)))


def _footprint(art: np.ndarray, matrix: np.ndarray, image: np.ndarray) -> tuple[int, int, int, int]:
    """Pixels of the image that the drawing can touch: left, top, right, bottom, exclusive."""
    (height, width), (image_height, image_width) = art.shape[:2], image.shape[:2]
    corners = np.array([[-1, -1], [width, -1], [-1, height], [width, height]], dtype=np.float64)
    spread = transform_points(corners, matrix)
    limit = (image_width, image_height)
    left, top = np.clip(np.floor(spread.min(axis=0)), 0, limit)
    right, bottom = np.clip(np.ceil(spread.max(axis=0)) + 1, 0, limit)
    return int(left), int(top), int(right), int(bottom)


def paint(image: np.ndarray, art: np.ndarray, matrix: np.ndarray, opacity: float = 1.0) -> None:
    """Paint a drawing onto the image, in place; parts outside the image are cut off.

    image: (H, W, 3) uint8 RGB. art: (h, w, 4) float32, premultiplied (see `load_art`).
    matrix: (2, 3), from pixels of the drawing to pixels of the image. opacity: 0 to 1.
    """
    if abs(np.linalg.det(matrix[:, :2])) * art.shape[0] * art.shape[1] < MIN_AREA:
        return  # seen edge-on, with a matrix that the warp cannot invert
    art, matrix = _shrink(art, matrix)
    left, top, right, bottom = _footprint(art, matrix, image)
    if left >= right or top >= bottom:
        return
    to_window = matrix - np.array([[0, 0, left], [0, 0, top]])
    # in bytes, because most of the time goes into the pixels of the window
    packed = np.rint(art * np.array([1, 1, 1, 255], np.float32)).astype(np.uint8)
    layer = warp(packed, to_window, (right - left, bottom - top))
    window = image[top:bottom, left:right]
    painted = over(layer, window)
    window[:] = painted if opacity == 1 else cv2.addWeighted(painted, opacity, window, 1 - opacity, 0)


def over(layer: np.ndarray, below: np.ndarray) -> np.ndarray:
    """A layer (h, w, 4) uint8, RGB premultiplied by alpha, on pixels (h, w, 3) uint8."""
    clear = cv2.cvtColor(255 - layer[..., 3], cv2.COLOR_GRAY2RGB)
    return cv2.add(cv2.multiply(np.ascontiguousarray(below), clear, scale=1 / 255), layer[..., :3].copy())


def check_image(image) -> np.ndarray:
    array = np.asarray(image)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or array.size == 0:
        raise ValueError(
            f"image must be (H, W, 3) uint8 RGB in [0, 255], got shape {array.shape} and dtype "
            f"{array.dtype}; convert it first"
        )
    return array


def apply_filter(
    image: np.ndarray, keypoints: np.ndarray, filter_name: str = "sunglasses", opacity: float = 1.0
) -> np.ndarray:
    """A copy of the image with a filter on one face.

    image: (H, W, 3) uint8 RGB.
    keypoints: (68, 2), (x, y), pixels of the image; they may lie outside of it.
    filter_name: one of `list_filters()`.
    opacity: 0 (invisible) to 1 (as drawn).

    Example:

        image = apply_filter(image, faces[0].keypoints, "dog")

    Raises ValueError for a wrong image, keypoints, name or opacity, and for a degenerate face, whose outer
    eye corners are less than a pixel apart.
    """
    return apply_filter_to_faces(image, [keypoints], filter_name, opacity)


def apply_filter_to_faces(
    image: np.ndarray,
    faces_keypoints: Iterable[np.ndarray],
    filter_name: str = "sunglasses",
    opacity: float = 1.0,
) -> np.ndarray:
    """A copy of the image with a filter on every face.

    faces_keypoints: (N, 68, 2) or a list of (68, 2), possibly empty. The other arguments are those of
        `apply_filter`.

    Small faces are painted first, because they are farther away and the filters of nearer faces cover
    them. Faces of the same size are painted in the given order.

    Raises the errors of `apply_filter`.
    """
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity must be from 0 to 1, got {opacity}")
    _parts(filter_name)  # a wrong name is an error even without a face
    painted = check_image(image).copy()
    faces = [check_face(face) for face in faces_keypoints]
    for face in sorted(faces, key=lambda face: box_side(box_from_keypoints(face))):
        for art, matrix in placements(filter_name, face):
            paint(painted, load_art(art), matrix, opacity)
    return painted


def apply_filter_to_video(
    frames: Iterable[np.ndarray],
    keypoints_per_frame: Iterable[Iterable[np.ndarray]],
    filter_name: str = "sunglasses",
    opacity: float = 1.0,
) -> Iterator[np.ndarray]:
    """The frames of a video with a filter on every face, one frame at a time.

    frames: images (H, W, 3) uint8 RGB; any iterable, read when the result is.
    keypoints_per_frame: for each frame its faces, (N, 68, 2) or a list of (68, 2). A frame without faces
        comes out as a copy. The other arguments are those of `apply_filter`.

    Raises the errors of `apply_filter`, and ValueError where one of the two iterables is shorter.
    """
    for image, faces in zip(frames, keypoints_per_frame, strict=True):
        yield apply_filter_to_faces(image, faces, filter_name, opacity)
