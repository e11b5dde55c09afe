"""Filters that move pixels: larger eyes, a narrower face."""

import numpy as np

from detector.predictor import Face
from filters.base import Filter, Window, register, remap, trust
from filters.fit import check_face
from filters.mesh import CELL, from_nodes, node_places
from geometry import interocular_distance
from landmarks import (
    CHIN,
    GROUPS,
    LEFT_EYE_INNER,
    LEFT_EYE_OUTER,
    NOSE_TOP,
    RIGHT_EYE_INNER,
    RIGHT_EYE_OUTER,
)


def pull(window: Window, shift) -> None:
    """Replace each pixel by the one at its place plus a shift, in place.

    shift: function from coordinates (..., 2) in the image to shifts (..., 2) in pixels; it is smooth, and
        zero near the border of the window. Pixels whose shift is zero keep their value.
    """
    shape_hw = window.pixels.shape[:2]
    places = node_places(shape_hw)
    source = from_nodes((places + shift(places + window.corner_xy)).astype(np.float32), shape_hw)
    pixels = np.ascontiguousarray(window.pixels)
    window.pixels[:] = remap(pixels, source)


def bump(distance: np.ndarray) -> np.ndarray:
    """1 at distance 0, falling smoothly to 0 at distance 1 and beyond."""
    return np.clip(1 - distance**2, 0, 1) ** 2


@register("big_eyes")
class BigEyes(Filter):
    """Enlarges the eyes; the skin around them gives way.

    strength: share by which the middle is enlarged, below 0.6.
    """

    reach = 1.05  # radius of the change, in widths of the eye

    def __init__(self, strength: float = 0.4):
        self.strength = strength

    def paint(self, image: np.ndarray, face: Face) -> None:
        """Both eyes; the farther one of a turned head is narrower, and its change too."""
        points = check_face(face.keypoints)
        unit = float(interocular_distance(points))
        for name, outer, inner in (
            ("right_eye", RIGHT_EYE_OUTER, RIGHT_EYE_INNER),
            ("left_eye", LEFT_EYE_OUTER, LEFT_EYE_INNER),
        ):
            middle = (points[outer] + points[inner]) / 2
            radius = self.reach * max(float(np.linalg.norm(points[outer] - points[inner])), 0.15 * unit)
            window = Window(image, np.array([middle]), margin=radius + 2 * CELL)
            strength = self.strength * trust(face, GROUPS[name])
            if not window.empty and strength:
                pull(window, lambda place, m=middle, r=radius, s=strength: self._shift(place - m, r, s))

    @staticmethod
    def _shift(offset: np.ndarray, radius: float, strength: float) -> np.ndarray:
        far = np.linalg.norm(offset, axis=-1, keepdims=True) / radius
        return -strength * bump(far) * offset


@register("slim_face")
class SlimFace(Filter):
    """Makes cheeks and jaw narrower; the background beside the face is stretched."""

    strength = 0.14  # share of the width

    def paint(self, image: np.ndarray, face: Face) -> None:
        """Pull both sides of the jaw towards the line from the nose to the chin."""
        points = check_face(face.keypoints).astype(np.float64)
        jaw = points[list(GROUPS["jaw"])]
        top, down = points[NOSE_TOP], points[CHIN] - points[NOSE_TOP]
        length = float(np.linalg.norm(down))
        down = down / max(length, 1e-6)
        across = np.array([-down[1], down[0]])  # to the person's right, on the left of the image
        side = (jaw - top) @ across
        right, left = max(side.max(), 0.1 * length), max(-side.min(), 0.1 * length)
        corners = top + np.array(
            [[a, d] for a in (1.6 * right, -1.6 * left) for d in (-0.35 * length, 1.5 * length)]
        ) @ [
            across,
            down,
        ]
        window = Window(image, corners, margin=2 * CELL)
        strength = self.strength * trust(face, GROUPS["jaw"])
        if window.empty or not strength:
            return

        def shift(place: np.ndarray) -> np.ndarray:
            a, d = (place - top) @ across, (place - top) @ down / length
            width = np.where(a > 0, right, left)
            outward = np.abs(a) / width
            amount = bump((d - 0.55) / 0.85) * bump(np.clip((outward - 0.75) / 0.85, -1, 1)) * (outward > 0)
            amount *= np.clip(outward / 0.5, 0, 1) ** 2
            return (strength * amount * width * np.sign(a))[..., None] * across

        pull(window, shift)
