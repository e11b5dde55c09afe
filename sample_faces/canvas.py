"""An enlarged image to draw smooth shapes on, in the pixels of the image it becomes.

Everything is drawn larger and shrunk by averaging, so that outlines agree with
their keypoints to a fraction of a pixel. OpenCV also fills the large pixels that
an outline touches, half a large pixel too many. Its anti-aliasing adds more
and is not used, because the shrinking does the same. Colours are RGB, 0 to 255.
"""

import numpy as np

from files import cv2
from geometry import resize_matrix, transform_points

SUBPIXEL_BITS = 4  # OpenCV draws polygons on a grid of 1/16 pixel
Colour = tuple[float, float, float]


def mix(colour_a, colour_b, share_b: float) -> Colour:
    """The colour between two colours; share_b 0 is colour_a, 1 is colour_b."""
    a, b = np.asarray(colour_a, dtype=np.float64), np.asarray(colour_b, dtype=np.float64)
    red, green, blue = (a + (b - a) * share_b).tolist()
    return red, green, blue


def spline(points: np.ndarray, steps: int = 6) -> np.ndarray:
    """A smooth open curve (Catmull-Rom) through all points (N, 2)."""
    points = np.asarray(points, dtype=np.float64)
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    before, start, end, after = padded[:-3], padded[1:-2], padded[2:-1], padded[3:]
    t = np.linspace(0.0, 1.0, steps, endpoint=False)[:, None, None]
    curve = start + t * (end - before) / 2
    curve = curve + t**2 * (2 * before - 5 * start + 4 * end - after) / 2
    curve = curve + t**3 * (3 * start - before - 3 * end + after) / 2
    return np.concatenate([curve.transpose(1, 0, 2).reshape(-1, 2), points[-1:]])


def upper_edge(points: np.ndarray) -> np.ndarray:
    """Smooth curve corner to corner over the upper lid or lip of a closed group."""
    return spline(points[: len(points) // 2 + 1])


def lower_edge(points: np.ndarray) -> np.ndarray:
    """Smooth curve back to the first corner along the lower lid or lip of a closed group."""
    return spline(np.concatenate([points[len(points) // 2 :], points[:1]]))


def closed_curve(points: np.ndarray) -> np.ndarray:
    """Outline of a closed group: its first point and the one halfway are sharp corners."""
    return np.concatenate([upper_edge(points), lower_edge(points)])


class Canvas:
    """An enlarged image; shapes are given in pixels of the small one."""

    def __init__(self, background: np.ndarray, factor: int):
        self.shape_hw = background.shape[:2]
        height, width = self.shape_hw
        self.factor = factor
        self.matrix = resize_matrix(self.shape_hw, (height * factor, width * factor))
        large_wh = (width * factor, height * factor)
        self.pixels = cv2.resize(background, large_wh, interpolation=cv2.INTER_LINEAR)

    def _corners(self, points: np.ndarray, origin=(0, 0)) -> np.ndarray:
        large = transform_points(points, self.matrix) - origin
        return np.round(large * 2**SUBPIXEL_BITS).astype(np.int32)

    def fill(self, points: np.ndarray, colour, alpha: float = 1.0, inside: np.ndarray | None = None) -> None:
        """Fill a polygon (N, 2); `alpha` below 1 lets through, `inside` is a polygon that clips it."""
        if alpha >= 1.0 and inside is None:
            cv2.fillPoly(self.pixels, [self._corners(points)], colour, cv2.LINE_8, SUBPIXEL_BITS)
        else:
            self._blend(points, colour, alpha, inside, width=None)

    def line(self, points: np.ndarray, colour, width: float, alpha: float = 1.0, inside=None) -> None:
        """Draw an open line through points (N, 2), `width` in pixels of the small image."""
        self._blend(points, colour, alpha, inside, width=max(1, round(width * self.factor)))

    def _blend(self, points, colour, alpha, inside, width) -> None:
        large = transform_points(points, self.matrix)
        margin = 2 + (width or 0)
        low = np.maximum(np.floor(large.min(axis=0)).astype(int) - margin, 0)
        high = np.minimum(np.ceil(large.max(axis=0)).astype(int) + margin, self.pixels.shape[1::-1])
        if (high <= low).any():
            return
        mask = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
        if width is None:
            cv2.fillPoly(mask, [self._corners(points, low)], 255, cv2.LINE_8, SUBPIXEL_BITS)
        else:
            corners = [self._corners(points, low)]
            cv2.polylines(mask, corners, False, 255, width, cv2.LINE_AA, SUBPIXEL_BITS)
        if inside is not None:
            window = np.zeros_like(mask)
            cv2.fillPoly(window, [self._corners(inside, low)], 255, cv2.LINE_8, SUBPIXEL_BITS)
            mask = cv2.min(mask, window)
        weight = (mask.astype(np.float32) * (alpha / 255.0))[..., None]
        patch = self.pixels[low[1] : high[1], low[0] : high[0]]
        patch[:] = np.rint(patch + weight * (np.asarray(colour, np.float32) - patch))

    def shrink(self) -> np.ndarray:
        """The image at its own size."""
        return cv2.resize(self.pixels, self.shape_hw[::-1], interpolation=cv2.INTER_AREA)
