"""The registry of filters by name, and the class that a new one is derived from.

    paint = create_filter("glasses")
    image = paint(image, faces)                                   # a copy
    for image, faces in video: paint(image, faces, time_s=..., ids=...)

How to write one: README.md.
"""

from collections.abc import Callable, Sequence

import numpy as np

from detector.predictor import Face
from files import cv2
from filters.apply import check_image
from geometry import face_size, interocular_distance

_REGISTRY: dict[str, Callable[..., "Filter"]] = {}

#: Radius of a point, in inter-ocular distances, up to which it is believed, and from which on it is not: a
#: hand, hair or a microphone hides it.
BELIEVED, HIDDEN = 0.15, 0.35


class Filter:
    """Changes the pixels of faces. A subclass defines `paint`, and is registered by name.

    needs_faces: the number of faces in one image below which the filter does nothing.
    """

    needs_faces = 1

    def paint(self, image: np.ndarray, face: Face) -> None:
        """Paint one face into `image`, (H, W, 3) uint8 RGB, in place; the face may lie partly outside.

        Raises ValueError for keypoints that the filter cannot be placed on.
        """
        raise NotImplementedError

    def __call__(
        self,
        image: np.ndarray,
        faces: Sequence[Face],
        *,
        time_s: float | None = None,
        ids: Sequence[int] | None = None,
    ) -> np.ndarray:
        """A copy of the image with the filter on every face.

        image: (H, W, 3) uint8 RGB. faces: of the detector, possibly none.
        time_s: of a frame in a video, in seconds; None for a single image. ids: one per face, the same for
            one person in all frames. Only filters that remember something read these two.

        Smaller faces are painted first, because they are farther away. A face whose keypoints no head has
        is left as it is, so that one wrong face does not end a video. Raises ValueError for a wrong image.
        """
        painted = check_image(image).copy()
        if len(faces) >= self.needs_faces:
            ids = range(len(faces)) if ids is None else ids
            self.paint_all(painted, sorted(zip(faces, ids, strict=True), key=_size), time_s)
        return painted

    def paint_all(self, image: np.ndarray, faces: list[tuple[Face, int]], time_s: float | None) -> None:
        """Paint all (face, id), in place, from the smallest to the largest."""
        for face, _ in faces:
            self.try_paint(image, face)

    def try_paint(self, image: np.ndarray, face: Face) -> bool:
        """Paint one face in place, unless nothing can be placed on it; True if it was painted."""
        try:
            self.paint(image, face)
        except ValueError:
            return False
        return True


def _size(item: tuple[Face, int]) -> float:
    return face_size(item[0].keypoints)


def register(name: str) -> Callable[[type], type]:
    """Decorator: makes a class without arguments known as `name`.

    Raises ValueError for a name that is taken.
    """

    def add(cls):
        add_filter(name, cls)
        return cls

    return add


def add_filter(name: str, make: Callable[..., Filter]) -> None:
    """Make a filter known by name. make: called without arguments for a new one.

    Raises ValueError for a name that is taken.
    """
    if name in _REGISTRY:
        raise ValueError(f"there is a filter {name!r} already; choose another name")
    _REGISTRY[name] = make


def filter_names() -> list[str]:
    """Names of all filters, drawings and others."""
    return sorted(_REGISTRY)


def create_filter(name: str, **arguments) -> Filter:
    """A new filter by name. Filters for videos remember faces, so every video needs one of its own.

    arguments: of the class of the filter; all have defaults.
    Raises ValueError for an unknown name.
    """
    if name not in _REGISTRY:
        raise ValueError(f"unknown filter {name!r}; known: {', '.join(filter_names())}")
    return _REGISTRY[name](**arguments)


# --- for filters that paint -----------------------------------------------------------------------


def trust(face: Face, indices: Sequence[int]) -> float:
    """1 where these points of a face are seen, 0 where something hides them, between on the way.

    It is computed from their median radius. A radius that is unknown counts as seen.
    """
    radius = np.asarray(face.radius)[list(indices)] / max(interocular_distance(face.keypoints), 1e-6)
    radius = radius[np.isfinite(radius)]
    if not radius.size:
        return 1.0
    return float(np.clip((HIDDEN - np.median(radius)) / (HIDDEN - BELIEVED), 0, 1))


class Window:
    """The part of an image around some points, for painting into.

    pixels: the view (h, w, 3) into the image; empty where the points lie outside. corner_xy: its first pixel.
    """

    def __init__(self, image: np.ndarray, points: np.ndarray, margin: float):
        limit = np.array(image.shape[1::-1])
        low = np.clip(np.floor(np.min(points, axis=0) - margin), 0, limit).astype(int)
        high = np.clip(np.ceil(np.max(points, axis=0) + margin) + 1, 0, limit).astype(int)
        self.corner_xy = low
        self.pixels = image[low[1] : high[1], low[0] : high[0]]

    @property
    def empty(self) -> bool:
        """True where no pixel of the image is near the points."""
        return self.pixels.size == 0

    def mask(self, *outlines: np.ndarray, blur: float = 0.0, holes: Sequence[np.ndarray] = ()) -> np.ndarray:
        """Share (h, w) float32, 0 to 1, of the inside of outlines (N, 2) without that of the holes.

        blur: standard deviation of the soft edge, in pixels; the edge lies inside as much as outside.
        """
        height, width = self.pixels.shape[:2]
        step = int(np.clip(blur / 1.5, 1, 8))  # a soft mask needs few pixels
        mask = np.zeros((-(-height // step), -(-width // step)), np.uint8)
        for group, value in ((outlines, 255), (holes, 0)):
            for outline in group:
                small = (outline - self.corner_xy + 0.5) / step - 0.5
                fixed = np.rint(np.clip(small, -1e5, 1e5) * 16).astype(np.int32)
                cv2.fillPoly(mask, [fixed], value, cv2.LINE_AA, 4)
        if blur > 0.3:
            mask = cv2.GaussianBlur(mask, (0, 0), blur / step)
        if step > 1:
            size_wh = (mask.shape[1] * step, mask.shape[0] * step)
            mask = cv2.resize(mask, size_wh, interpolation=cv2.INTER_LINEAR)[:height, :width]
        return mask * np.float32(1 / 255)

    def blend(self, other: np.ndarray, share: np.ndarray) -> None:
        """Mix `other` (h, w, 3) uint8 into the pixels; share (h, w) float32: 1 is `other`, 0 no change."""
        own = np.ascontiguousarray(self.pixels)
        self.pixels[:] = cv2.blendLinear(np.ascontiguousarray(other), own, share, 1 - share)


def remap(image: np.ndarray, map_xy: np.ndarray, border: int = cv2.BORDER_REPLICATE) -> np.ndarray:
    """The image sampled at places (h, w, 2) float32, (x, y) in pixels. border: one of cv2.BORDER_*."""
    no_second_map = np.empty(0, np.float32)
    return cv2.remap(image, map_xy, no_second_map, cv2.INTER_LINEAR, borderMode=border)


def to_bytes(values: np.ndarray) -> np.ndarray:
    """Numbers as uint8, rounded and cut to 0 to 255."""
    return cv2.convertScaleAbs(np.maximum(values, 0))
