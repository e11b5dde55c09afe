"""Solids: models of ours made of flat pieces, and how they are painted onto a head.

Coordinates are those of `head_frame.py`.
"""

from dataclasses import dataclass

import numpy as np

from files import cv2
from filters.apply import over
from filters.base import Window
from filters.head_frame import HeadFrame

#: Direction to the light, from the upper left of the image and the front.
LIGHT = np.array([-0.35, -0.75, 0.75]) / np.linalg.norm([-0.35, -0.75, 0.75])
SUBPIXEL_BITS = 4
#: Pieces with less opacity are behind all others.
CLEAR = 0.5


NAMES = ("corners", "colours", "alpha", "gloss", "closed")


@dataclass(frozen=True)
class Solid:
    """Four-sided pieces of a model.

    corners: (N, 4, 3), going around. colours: (N, 3) RGB 0 to 255. alpha: (N,) opacity 0 to 1.
    gloss: (N,) strength of the reflected light, 0 to 1. closed: (N,) True for
        pieces of a closed surface, whose corners go around clockwise as seen from outside; they are hidden
        from behind.
    """

    corners: np.ndarray
    colours: np.ndarray
    alpha: np.ndarray
    gloss: np.ndarray
    closed: np.ndarray

    def __add__(self, other: "Solid") -> "Solid":
        return Solid(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in NAMES))

    def part(self, which: np.ndarray) -> "Solid":
        """The pieces where `which` (N,) is True."""
        return Solid(*(getattr(self, name)[which] for name in NAMES))

    def flipped(self) -> "Solid":
        """The same on the other side of the face."""
        return Solid((self.corners * [-1, 1, 1])[:, ::-1], self.colours, self.alpha, self.gloss, self.closed)


def surface(grid, colours, *, alpha=1.0, gloss=0.0, closed: bool = False) -> Solid:
    """Pieces of a grid of points (R, C, 3); colours: one for all, or (R - 1, C - 1, 3)."""
    grid = np.asarray(grid, dtype=np.float64)
    corners = np.stack([grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]], axis=2).reshape(-1, 4, 3)
    count = len(corners)
    shape = (grid.shape[0] - 1, grid.shape[1] - 1)
    return Solid(
        corners,
        np.broadcast_to(colours, (*shape, 3)).reshape(count, 3).astype(np.float64),
        np.broadcast_to(alpha, shape).reshape(count).astype(np.float64),
        np.full(count, float(gloss)),
        np.full(count, closed),
    )


def tube(path, radius, colours, *, sides: int = 6, gloss: float = 0.0, flat: float = 1.0) -> Solid:
    """A tube around a line (N, 3).

    radius: of the tube, a number or (N,). flat: its extent in depth as a share of the radius.
    """
    path = np.asarray(path, dtype=np.float64)
    along = np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    # a direction across the tube that does not jump; most lines run across the face, so depth will do
    depth = np.where(np.abs(along[:, 2:]) > 0.8, [[0.0, 1.0, 0.0]], [[0.0, 0.0, 1.0]])
    across = np.cross(along, depth)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    depth = np.cross(across, along)
    angle = np.linspace(2 * np.pi, 0, sides + 1)[None, :, None]
    thick = np.broadcast_to(radius, len(path))[:, None, None]
    ring = np.cos(angle) * across[:, None] + flat * np.sin(angle) * depth[:, None]
    return surface(path[:, None] + thick * ring, colours, gloss=gloss, closed=True)


def paint_solid(image: np.ndarray, head: HeadFrame, solid: Solid, *, shadow: float = 0.0) -> None:
    """Paint a solid onto the image, in place; the ellipsoid of the head hides what is behind it.

    shadow: darkness of the shadow on what is below the solid, 0 to 1.
    """
    pixels = head.project(solid.corners.reshape(-1, 3)).reshape(-1, 4, 2)
    window = Window(image, pixels.reshape(-1, 2), margin=0.12 * head.size)
    if window.empty:
        return
    seen = _seen(solid, pixels)
    solid, pixels = solid.part(seen), pixels[seen]
    layer = _layer(head, solid, pixels - window.corner_xy, window)
    if shadow:
        _cast_shadow(window, layer[..., 3], _silhouette(window, head), head.size, shadow)
    window.pixels[:] = over(layer, window.pixels)


def _layer(head: HeadFrame, solid: Solid, pixels: np.ndarray, window: Window) -> np.ndarray:
    """The solid in the window: (h, w, 4) uint8, RGB premultiplied by alpha."""
    height, width = window.pixels.shape[:2]
    zoom = 3 if width * height < 40_000 else 2 if width * height < 1_500_000 else 1
    middles = solid.corners.mean(axis=1)
    colours = np.column_stack([_shaded(head, solid, middles) * solid.alpha[:, None], 255 * solid.alpha])
    colours = np.clip(np.rint(colours), 0, 255).astype(int)
    fixed = np.rint(((pixels + 0.5) * zoom - 0.5) * 2**SUBPIXEL_BITS).clip(-1e8, 1e8).astype(np.int32)
    layer = np.zeros((height * zoom, width * zoom, 4), np.uint8)
    behind = head.behind_head(middles)
    # clear glass first, so that it does not cut into its rim; then what is farther away
    order = np.lexsort((-head.distance(middles), solid.alpha >= CLEAR))
    _fill(layer, order[behind[order]], fixed, colours)
    edge = ((head.silhouette() - window.corner_xy + 0.5) * zoom - 0.5) * 2**SUBPIXEL_BITS
    edge = np.rint(edge.clip(-1e8, 1e8)).astype(np.int32)
    cv2.fillConvexPoly(layer, edge, (0, 0, 0, 0), cv2.LINE_8, SUBPIXEL_BITS)
    _fill(layer, order[~behind[order]], fixed, colours)
    if zoom > 1:
        layer = cv2.resize(layer, (width, height), interpolation=cv2.INTER_AREA)
    return layer


def _fill(layer: np.ndarray, order: np.ndarray, fixed: np.ndarray, colours: np.ndarray) -> None:
    for corners, colour in zip(fixed[order], colours[order].tolist(), strict=True):
        cv2.fillConvexPoly(layer, corners, colour, cv2.LINE_8, SUBPIXEL_BITS)


def _seen(solid: Solid, pixels: np.ndarray) -> np.ndarray:
    """True (N,) for pieces that are not turned away."""
    first, second = pixels[:, 2] - pixels[:, 0], pixels[:, 3] - pixels[:, 1]
    area = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    return ~solid.closed | (area > 0)


def _shaded(head: HeadFrame, solid: Solid, middles: np.ndarray) -> np.ndarray:
    """Colours (N, 3) in the light, which is fixed to the camera: they change when the head turns."""
    first, second = (solid.corners[:, 2] - solid.corners[:, 0], solid.corners[:, 3] - solid.corners[:, 1])
    normal = np.cross(first, second)
    normal /= np.maximum(np.sqrt(np.einsum("ij,ij->i", normal, normal)), 1e-9)[:, None]
    view = head.towards_camera(middles)
    normal *= np.where((normal * view).sum(axis=1) < 0, -1, 1)[:, None]  # the side that is seen
    rotation = head.pose.rotation * np.array([1, 1, -1]) * np.array([[1], [1], [-1]])
    light = LIGHT @ rotation
    diffuse = np.clip(normal @ light, 0, 1)
    half = light + view
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    shine = solid.gloss * np.clip((normal * half).sum(axis=1), 0, 1) ** 24
    lit = solid.colours * (0.45 + 0.62 * diffuse)[:, None]
    return lit + (255 - lit) * np.clip(shine, 0, 1)[:, None]


def _silhouette(window: Window, head: HeadFrame) -> np.ndarray:
    mask = np.zeros(window.pixels.shape[:2], np.uint8)
    cv2.fillConvexPoly(
        mask, np.rint(head.silhouette() - window.corner_xy).clip(-1e6, 1e6).astype(np.int32), 255
    )
    return mask


def _cast_shadow(window: Window, alpha: np.ndarray, skin: np.ndarray, size: float, strength: float):
    """Darken the skin (h, w), 0 or 255, a little below the alpha (h, w) uint8 of a layer."""
    move, blur = 0.05 * size, max(0.03 * size, 0.5)
    small = cv2.resize(alpha, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    matrix = np.array([[1.0, 0.0, 0.05 * move], [0.0, 1.0, 0.25 * move]])
    small = cv2.GaussianBlur(cv2.warpAffine(small, matrix, small.shape[::-1]), (0, 0), max(blur / 4, 0.3))
    dark = cv2.resize(small, alpha.shape[::-1], interpolation=cv2.INTER_LINEAR)
    light = 255 - cv2.multiply(dark, skin, scale=strength / 255)
    light = cv2.cvtColor(light, cv2.COLOR_GRAY2RGB)
    window.pixels[:] = cv2.multiply(np.ascontiguousarray(window.pixels), light, scale=1 / 255)
