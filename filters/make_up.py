"""Filters that colour skin and lips and keep their texture: make-up, and a beard."""

from functools import lru_cache

import numpy as np

from detector.predictor import Face
from files import cv2
from filters.base import Filter, Window, register, remap, trust
from filters.draw_art import beard_hairs
from filters.fit import check_face
from filters.head_frame import HeadFrame
from filters.mesh import face_points, mesh_map
from geometry import face_size, interocular_distance
from landmarks import GROUPS, INNER_LIP_PAIRS, JAW_LEFT, JAW_RIGHT
from sample_faces.canvas import closed_curve, spline

OUTER_LIPS, INNER_LIPS, JAW = (list(GROUPS[name]) for name in ("outer_lips", "inner_lips", "jaw"))
LIPS, NOSE = OUTER_LIPS + INNER_LIPS, list(GROUPS["nose_base"])


def tinted(pixels: np.ndarray, colour, lightness: float) -> np.ndarray:
    """`pixels` (h, w, 3) uint8 RGB in another colour; light and shade stay.

    lightness: share by which the brightness moves to that of the colour, 0 to 1.
    """
    ycc = cv2.cvtColor(pixels, cv2.COLOR_RGB2YCrCb)
    target = cv2.cvtColor(np.array([[colour]], np.uint8), cv2.COLOR_RGB2YCrCb)[0, 0].astype(np.float64)
    if lightness:
        step = lightness * (target[0] - float(np.median(ycc[..., 0])))
        ycc[..., 0] = cv2.add(ycc[..., 0], step)
    ycc[..., 1:] = target[1:]
    return cv2.cvtColor(ycc, cv2.COLOR_YCrCb2RGB)


@register("lipstick")
class Lipstick(Filter):
    """Colours the lips: the inside of their outer outline without that of the inner one."""

    colour, strength = (178, 22, 56), 0.72

    def paint(self, image: np.ndarray, face: Face) -> None:
        """Tint the lips; teeth and the inside of an open mouth keep their colour."""
        points = check_face(face.keypoints)
        window = Window(image, points[OUTER_LIPS], margin=0.05 * face_size(points))
        if window.empty:
            return
        blur = 0.008 * face_size(points)
        inner = closed_curve(points[INNER_LIPS])
        gap = np.mean([np.linalg.norm(points[a] - points[b]) for a, b in INNER_LIP_PAIRS])
        holes = [inner] if gap > 2.5 * blur else []  # between closed lips is no hole
        share = window.mask(closed_curve(points[OUTER_LIPS]), holes=holes, blur=blur)
        window.blend(
            tinted(window.pixels, self.colour, 0.35), share * np.float32(self.strength * trust(face, LIPS))
        )


AROUND_CHEEKS = [*GROUPS["right_eye"], *GROUPS["left_eye"], *OUTER_LIPS, JAW_RIGHT, JAW_LEFT]
BLUSH_CELL = 4  # pixels between two places at which the soft spots are computed


@register("blush")
class Blush(Filter):
    """Red cheeks, fainter on a cheek that is turned away."""

    colour = (214, 84, 92)
    cheek, reach = np.array([0.50, 0.46, 0.02]), np.array([0.30, 0.17, 0.18])  # place and size on the head

    def __init__(self, strength: float = 0.5):
        self.strength = strength

    def paint(self, image: np.ndarray, face: Face) -> None:
        """Two soft spots, in perspective, inside the outline of the face."""
        head, points = HeadFrame(face), check_face(face.keypoints)
        window = Window(image, points[AROUND_CHEEKS], margin=0.1 * head.size)
        if window.empty:
            return
        height, width = window.pixels.shape[:2]
        y, x = np.mgrid[:height:BLUSH_CELL, :width:BLUSH_CELL].astype(np.float32)
        share = np.zeros(y.shape, np.float32)
        for side in (-1, 1):
            place = self.cheek * [side, 1, 1]
            # the spot rises from the middle of the cheek to the temple
            ends = place + self.reach * [[side, -0.55, -0.8], [0.25 * side, 1, 0.1]]
            middle, *ends = head.project(np.vstack([place, ends])) - window.corner_xy
            along = np.linalg.inv(np.column_stack([end - middle for end in ends]))
            u, v = (row[0] * (x - middle[0]) + row[1] * (y - middle[1]) for row in along.astype(np.float32))
            seen = np.clip((head.facing(place) - 0.1) / 0.5, 0, 1)
            share += np.float32(seen * self.strength) * np.exp(-np.minimum(1.6 * (u * u + v * v), 40))
        share = cv2.resize(share, (width, height), interpolation=cv2.INTER_LINEAR)
        outline = cv2.convexHull(points.astype(np.float32))[:, 0]
        share *= window.mask(outline, blur=0.02 * head.size)
        window.blend(tinted(window.pixels, self.colour, 0.0), share)


@register("brows")
class Brows(Filter):
    """Fuller brows: a tapering band of short hairs below the points, darker and no less structured."""

    colour, strength, width = (46, 30, 22), 0.62, 0.075

    def paint(self, image: np.ndarray, face: Face) -> None:
        """Draw the hairs of both brows."""
        points = check_face(face.keypoints)
        unit = float(interocular_distance(points))
        for name in ("right_brow", "left_brow"):
            brow = list(GROUPS[name])
            window = Window(image, points[brow], margin=0.2 * unit)
            if window.empty:
                continue
            share = self._hairs(window, points, name, unit) * self.strength * trust(face, brow)
            window.blend(np.full_like(window.pixels, self.colour), share.astype(np.float32))

    def _hairs(self, window: Window, points: np.ndarray, name: str, unit: float) -> np.ndarray:
        """Share (h, w) of the hairs; from the outer end to the inner one they get thicker and steeper."""
        line = spline(points[list(GROUPS[name])], steps=11)
        line = line if name == "right_brow" else line[::-1]  # starts at the temple
        eye = points[list(GROUPS[name.replace("brow", "eye")])].mean(axis=0)
        down = (eye - line.mean(axis=0)) / np.linalg.norm(eye - line.mean(axis=0))
        out = line[0] - line[-1]
        out /= max(np.linalg.norm(out), 1e-6)
        along = np.linspace(0, 1, len(line))
        thick = self.width * unit * np.interp(along, [0, 0.35, 0.9, 1], [0.25, 0.8, 1, 0.7])
        rng = np.random.default_rng(len(name))
        lower = np.array([0.85, 0.45, 0.05])[:, None] + 0.3 * rng.random((3, len(line)))
        roots = line + (lower * thick)[..., None] * down
        tips = roots + thick[:, None] * (
            out * (1.1 - 0.5 * along)[:, None] - down * (0.25 + 0.55 * along)[:, None]
        )
        ends = np.stack([roots, tips], axis=2).reshape(-1, 2, 2) - window.corner_xy
        mask = np.zeros(window.pixels.shape[:2], np.uint8)
        fixed = np.rint(ends.clip(-1e5, 1e5) * 16).astype(np.int32)
        cv2.polylines(mask, list(fixed), False, 190, max(1, round(unit / 110)), cv2.LINE_AA, 4)
        soft = cv2.GaussianBlur(mask, (0, 0), max(0.012 * unit, 0.4))
        return np.maximum(mask * np.float32(0.55), soft) * np.float32(1 / 255)


@register("make_up")
class MakeUp(Filter):
    """Lip colour, blush and brows together."""

    def paint(self, image: np.ndarray, face: Face) -> None:
        """One after the other."""
        for part in (Blush(), Brows(), Lipstick()):
            part.paint(image, face)


@register("beard")
class Beard(Filter):
    """A short beard on jaw, chin and upper lip: a drawing of hairs that moves with the mesh of the face."""

    strength = 0.92

    def paint(self, image: np.ndarray, face: Face) -> None:
        """Warp the hairs onto the face and leave out the lips."""
        points = check_face(face.keypoints)
        hairs, drawn = _beard()
        target = face_points(points)
        window = Window(image, points[JAW + NOSE], margin=0.04 * face_size(points))
        if window.empty:
            return
        map_xy = mesh_map(drawn, target - window.corner_xy, window.pixels.shape[:2])
        layer = remap(hairs, map_xy, cv2.BORDER_CONSTANT)
        blur = 0.012 * face_size(points)
        lips = window.mask(closed_curve(points[OUTER_LIPS]), blur=blur)
        outline = cv2.convexHull(target.astype(np.float32))[:, 0]
        share = layer[..., 3].astype(np.float32) / 255 * (1 - lips) * window.mask(outline, blur=1.0)
        # the light of the skin stays, so that the shaded side of the face is darker
        skin = cv2.cvtColor(window.pixels, cv2.COLOR_RGB2GRAY)
        covered = skin[::4, ::4][share[::4, ::4] > 0.3]
        usual = max(float(np.median(covered)), 1.0) if covered.size else 128.0
        light = cv2.convertScaleAbs(np.maximum(skin, np.uint8(min(0.1 * usual, 255))), None, 70 / usual, 58)
        lit = cv2.multiply(layer[..., :3].copy(), cv2.cvtColor(light, cv2.COLOR_GRAY2RGB), scale=1 / 128)
        window.blend(lit, share * np.float32(self.strength * trust(face, JAW)))


BEARD_SCALE = 220  # pixels per unit of the drawing


@lru_cache(maxsize=1)
def _beard() -> tuple[np.ndarray, np.ndarray]:
    """Hairs (H, W, 4) uint8 RGBA on the canonical face seen from the front, and its mesh points in pixels."""
    return beard_hairs(BEARD_SCALE)
