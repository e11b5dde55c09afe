"""Effects for triggers (triggers.py): a rainbow out of the mouth, hearts on the eyes."""

import numpy as np

from detector.predictor import Face
from filters.base import Filter, Window, to_bytes
from filters.fit import check_face
from filters.head_frame import HeadFrame
from filters.solid import paint_solid, surface
from landmarks import GROUPS, INNER_MOUTH_LEFT, INNER_MOUTH_RIGHT

INNER_LIPS = list(GROUPS["inner_lips"])
BANDS = [(228, 58, 66), (242, 140, 48), (250, 214, 70), (92, 188, 90), (60, 140, 220), (116, 84, 190)]


class Rainbow(Filter):
    """A band of six colours that leaves the mouth, bends down and fades."""

    length, steps, alpha = 1.7, 40, 0.92  # in distances of the outer eye corners

    def paint(self, image: np.ndarray, face: Face) -> None:
        """A bent surface, as wide as the mouth, at the place where the mouth is seen."""
        head, points = HeadFrame(face), check_face(face.keypoints)
        mouth = points[INNER_LIPS].mean(axis=0)
        width = np.linalg.norm(points[INNER_MOUTH_LEFT] - points[INNER_MOUTH_RIGHT]) / head.size
        origin = np.array([0.0, 0.78, 0.26])
        down = head.project(np.stack([origin, origin + np.array([0.0, 1.0, 0.0])]))
        origin[1] += (mouth - down[0]) @ (down[1] - down[0]) / head.size**2
        along = np.linspace(0, 1, self.steps)
        across = np.linspace(-0.5, 0.5, len(BANDS) + 1)
        y = self.length * along**1.35
        z = 0.42 * np.sin(np.minimum(along * 2.2, 1) * np.pi / 2)
        wide = max(width, 0.3) * (0.78 + 0.35 * along)
        grid = origin + np.stack(
            [wide[:, None] * across, np.broadcast_to(y[:, None], (self.steps, len(across))),
             np.broadcast_to(z[:, None], (self.steps, len(across)))], axis=-1,
        )  # fmt: skip
        fade = (
            self.alpha
            * np.clip((1 - along[1:]) / 0.45, 0, 1)[:, None]
            * np.clip(along[1:] / 0.06, 0, 1)[:, None]
        )
        paint_solid(image, head, surface(grid, np.array(BANDS, np.float64)[None], alpha=fade), shadow=0.2)


class Hearts(Filter):
    """A red heart on each eye."""

    colour, size = (226, 30, 62), 0.21  # half the width, in distances of the outer eye corners

    def paint(self, image: np.ndarray, face: Face) -> None:
        """Two hearts on the plane of the face, lighter at their upper left."""
        points, head = check_face(face.keypoints), HeadFrame(face)
        angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
        outline = np.column_stack(
            [16 * np.sin(angle) ** 3,
             2 - 13 * np.cos(angle) + 5 * np.cos(2 * angle) + 2 * np.cos(3 * angle) + np.cos(4 * angle)]
        ) / 17  # fmt: skip
        for name, side in (("right_eye", -1), ("left_eye", 1)):
            flat = np.column_stack([self.size * outline + [side * 0.345, 0], np.full(60, 0.14)])
            pixels = head.project(flat)
            pixels += points[list(GROUPS[name])].mean(axis=0) - pixels.mean(axis=0)
            window = Window(image, pixels, margin=0.05 * head.size)
            if window.empty:
                continue
            shadow = window.mask(pixels + np.array([0, 0.03]) * head.size, blur=0.02 * head.size)
            window.blend(np.zeros_like(window.pixels), np.float32(0.3) * shadow)
            window.blend(self._shaded(window, pixels), window.mask(pixels))

    def _shaded(self, window: Window, pixels: np.ndarray) -> np.ndarray:
        y, x = np.mgrid[: window.pixels.shape[0], : window.pixels.shape[1]]
        low, high = pixels.min(axis=0) - window.corner_xy, pixels.max(axis=0) - window.corner_xy
        u, v = (x - low[0]) / max(high[0] - low[0], 1), (y - low[1]) / max(high[1] - low[1], 1)
        light = 0.75 * np.exp(-(((u - 0.28) / 0.13) ** 2 + ((v - 0.27) / 0.12) ** 2)) - 0.35 * np.clip(
            v, 0, 1
        )
        base = np.array(self.colour, np.float32)
        lit = np.where(
            light[..., None] > 0, base + light[..., None] * (255 - base), base * (1 + light[..., None])
        )
        return to_bytes(lit)
