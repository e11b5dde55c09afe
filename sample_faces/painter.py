"""Paints the heads of `head.py` in flat colours with smooth edges, then adds light."""

from dataclasses import dataclass

import numpy as np

from files import cv2
from landmarks import GROUPS
from sample_faces.canvas import (
    SUBPIXEL_BITS,
    Canvas,
    Colour,
    closed_curve,
    lower_edge,
    mix,
    spline,
    upper_edge,
)
from sample_faces.head import Expression, Shape, View, forehead_points, head_points, project_head

BROW_LINE = -0.38  # about where the brows are, in head units
#: Lower edge of the hair from the right temple to the left: 0 is the hairline, 1 the brow line.
HAIRLINES = {
    "short": (0.8, 0.25, 0.04, 0.0, 0.04, 0.25, 0.8),
    "fringe": (1.0, 0.75, 0.66, 0.62, 0.6, 0.7, 1.0),
    "side": (0.95, 0.55, 0.3, 0.12, 0.0, 0.3, 0.9),
    "long": (1.1, 0.6, 0.2, 0.0, 0.2, 0.6, 1.1),
}


@dataclass(frozen=True)
class Look:
    """Colours, hair, beard and glasses of a person."""

    skin: Colour = (224.0, 172.0, 138.0)
    hair: Colour = (70.0, 45.0, 30.0)
    lips: Colour = (190.0, 95.0, 90.0)
    iris: Colour = (90.0, 60.0, 35.0)
    clothes: Colour = (60.0, 80.0, 120.0)
    hair_style: str = "short"  # bald or one of HAIRLINES
    hair_volume: float = 1.06  # size of the hair over the size of the skull
    brow_thickness: float = 1.0
    beard: float = 0.0  # opacity, 0 to 1
    glasses: str = "none"  # none, round or square


@dataclass(frozen=True)
class Light:
    """Direction the light comes from (unit vector, z towards the viewer), its strength and colour."""

    direction: Colour = (0.0, -0.35, 0.94)
    ambient: float = 0.72
    strength: float = 0.42
    tint: Colour = (1.0, 1.0, 1.0)


class Painter:
    """One head on one background; `paint()` gives the image."""

    def __init__(
        self, background, shape: Shape, expression: Expression, view: View, look: Look, gaze=(0.0, 0.0)
    ):
        self.canvas = Canvas(background, factor=4 if max(background.shape[:2]) <= 200 else 3)
        self.shape, self.expression, self.view, self.look, self.gaze = shape, expression, view, look, gaze
        self.head = head_points(shape, expression)
        keypoints = project_head(shape, expression, view)
        self.parts = {name: keypoints[list(indices)] for name, indices in GROUPS.items()}
        self.jaw = spline(self.parts["jaw"])
        forehead = view.visible_edge(forehead_points(shape))
        self.face = np.concatenate([self.jaw, spline(forehead)])
        self.shadow = mix(look.skin, (60.0, 20.0, 15.0), 0.45)
        self.dark = mix(look.skin, (25.0, 8.0, 5.0), 0.75)
        self.brow = mix(look.hair, (30.0, 20.0, 15.0), 0.35)
        if abs(np.mean(self.brow) - np.mean(look.skin)) < 35.0:  # brows must be visible
            self.brow = mix(look.skin, (20.0, 12.0, 10.0), 0.6)

    def paint(self, light: Light) -> np.ndarray:
        """The finished image, (H, W, 3) uint8."""
        self._hair_behind()
        self._neck_and_shoulders()
        self._skull_and_ears()
        self._face()
        self._beard()
        self._hair_in_front()
        for side in ("right", "left"):
            self._eye(side)
            self._brow(side)
        self._nose()
        self._mouth()
        self._glasses()
        return self._lit(self.canvas.shrink(), light)

    # --- helpers ----------------------------------------------------------------------

    def _near(self, x, y, z=0.0) -> np.ndarray:
        """Points given in head units, as pixels."""
        return self.view.project(np.stack(np.broadcast_arrays(x, y, z), axis=-1))

    def _oval(self, centre, radius_xy, angles=None) -> np.ndarray:
        angles = np.linspace(0.0, 2 * np.pi, 32, endpoint=False) if angles is None else angles
        x, y, z = centre
        return self._near(x + radius_xy[0] * np.cos(angles), y + radius_xy[1] * np.sin(angles), z)

    def _disc(self, centre, radius: float, colour: Colour, inside: np.ndarray) -> None:
        self.canvas.fill(self._oval(centre, (radius, radius)), colour, 1.0, inside)

    def _step(self, x: float, y: float) -> np.ndarray:
        """A step in head units, in the plane of the image, as pixels (2,)."""
        return self.view.flat([x, y]) - self.view.flat([0.0, 0.0])

    def _skull(self, grown: float) -> np.ndarray:
        """Outline (N, 2) of the skull, an ellipsoid, `grown` times its size."""
        radii = grown * np.array([0.88 * self.shape.face_width, 1.0, 1.0])
        spread = (self.view.turn * radii)[:2]
        angle = np.linspace(0.0, 2 * np.pi, 64, endpoint=False)
        ring = np.linalg.cholesky(spread @ spread.T) @ np.stack([np.cos(angle), np.sin(angle)])
        centre = np.array([0.0, -0.26, -0.68]) @ self.view.turn.T
        return self.view.flat(ring.T + centre[:2])

    def _upright(self, points, centre=(0.0, 0.0, -0.7)) -> np.ndarray:
        """Points (N, 2) around a place in the head that turn with it only by half of its roll."""
        half = View(0.0, 0.0, self.view.roll / 2, self.view.scale)
        return half.flat(np.asarray(points)) + self.view.project(np.asarray(centre))

    # --- parts, from back to front ----------------------------------------------------

    def _hair_behind(self) -> None:
        if self.look.hair_style == "long":
            y = np.linspace(-0.9, 1.7, 14)
            bulge = np.sin(np.linspace(0.5, 3.0, len(y))) ** 0.4  # round at the crown and at the tips
            x = 1.06 * self.look.hair_volume * self.shape.face_width * bulge
            outline = np.concatenate([np.stack([-x, y], 1), np.stack([x, y], 1)[::-1]])
            self.canvas.fill(self._upright(outline), mix(self.look.hair, (0, 0, 0), 0.2))

    def _neck_and_shoulders(self) -> None:
        chin, neck = 1.25 * self.shape.face_height, 0.52 * self.shape.face_width
        right_half = np.array([(-neck, 0.5), (-neck, chin + 0.42), (-1.1, chin + 1.1)])
        outline = np.concatenate([right_half, right_half[::-1] * [-1.0, 1.0]])
        self.canvas.fill(self._upright(outline), mix(self.look.skin, self.shadow, 0.75))
        right_half = np.array([(0.0, 0.85), (-0.62, 0.5), (-1.5, 0.75), (-1.95, 1.3), (-2.1, 6.0)])
        outline = np.concatenate([right_half, right_half[::-1] * [-1.0, 1.0]]) + np.array([0.0, chin])
        self.canvas.fill(self._upright(outline), self.look.clothes)

    def _skull_and_ears(self) -> None:
        if self.look.hair_style == "bald":
            self.canvas.fill(self._skull(1.0), self.look.skin)
        else:
            self.canvas.fill(self._skull(self.look.hair_volume), self.look.hair)
        if self.look.hair_style == "long":
            return
        angle = np.linspace(0.0, 2 * np.pi, 24, endpoint=False)
        for side in (-1.0, 1.0):
            for size, colour in ((1.0, mix(self.look.skin, self.shadow, 0.25)), (0.55, self.shadow)):
                along, up = size * np.cos(angle), size * np.sin(angle)
                x = side * (0.86 * self.shape.face_width - 0.07 * along)
                self.canvas.fill(self._near(x, 0.13 + 0.25 * up, -0.56 + 0.15 * along), colour)

    def _face(self) -> None:
        self.canvas.fill(self.face, self.look.skin)
        width = 0.022 * self.view.scale
        self.canvas.line(self.jaw, self.shadow, 2 * width, 0.8, inside=self.face)
        cheek = mix(self.look.skin, (220.0, 90.0, 80.0), 0.5)
        for side in (-1.0, 1.0):
            self.canvas.fill(self._oval((side * 0.45, 0.42, 0.1), (0.16, 0.11)), cheek, 0.18, self.face)

    def _beard(self) -> None:
        if self.look.beard <= 0:
            return
        count = len(self.jaw)
        lower_jaw = self.jaw[int(0.14 * count) : int(0.86 * count)]
        lips, base = self.parts["outer_lips"], self.parts["nose_base"]
        middle = base.mean(axis=0)
        corner_left, corner_right = lips[len(lips) // 2], lips[0]
        # From the left end of the jaw over the cheek and below the nose to the right end.
        edge = np.array(
            [
                0.45 * lower_jaw[-1] + 0.55 * (1.25 * corner_left - 0.25 * corner_right),
                0.6 * base[-1] + 0.4 * corner_left,
                0.75 * middle + 0.25 * lips[len(lips) // 4],
                0.6 * base[0] + 0.4 * corner_right,
                0.45 * lower_jaw[0] + 0.55 * (1.25 * corner_right - 0.25 * corner_left),
            ]
        )
        self.canvas.fill(np.concatenate([lower_jaw, spline(edge)]), self.brow, self.look.beard, self.face)

    def _hair_in_front(self) -> None:
        if self.look.hair_style == "bald":
            return
        heights = HAIRLINES[self.look.hair_style]
        ring = forehead_points(self.shape, len(heights))[::-1]
        low = ring * [0.97, 1.0, 1.0] + [0.0, 0.0, 0.05]
        top = -0.82 * self.shape.forehead
        low[:, 1] = np.maximum(ring[:, 1], top + (BROW_LINE - top) * np.array(heights))
        upper = spline(self.view.visible_edge(ring * [1.02, 1.05, 1.0]))
        lower = spline(self.view.visible_edge(low))
        self.canvas.fill(np.concatenate([upper, lower[::-1]]), self.look.hair)
        self._strands(upper, lower)

    def _strands(self, upper: np.ndarray, lower: np.ndarray) -> None:
        parting = 0.25 if self.look.hair_style == "side" else 0.0
        crown = self.view.project(np.array([parting, -1.15, -0.45]))
        for index in range(2, len(lower) - 2, 3):
            shine = (255.0, 245.0, 230.0) if index % 2 else (0.0, 0.0, 0.0)
            strand = spline(np.array([lower[index], 0.55 * upper[index] + 0.45 * crown, crown]))
            self.canvas.line(strand, mix(self.look.hair, shine, 0.3), 0.018 * self.view.scale, 0.22)

    def _eye(self, side: str) -> None:
        points, scale, canvas = self.parts[f"{side}_eye"], self.view.scale, self.canvas
        outline, middle = closed_curve(points), points.mean(axis=0)
        canvas.fill(middle + (outline - middle) * 1.55 + self._step(0.0, -0.03), self.shadow, 0.22)
        canvas.fill(outline, (232.0, 226.0, 220.0))
        sign = -1.0 if side == "right" else 1.0
        x = sign * 0.345 * self.shape.eye_spacing + 0.05 * self.gaze[0]
        y = self.head[list(GROUPS[f"{side}_eye"])][:, 1].mean() - 0.008 + 0.03 * self.gaze[1]
        radius = 0.072 * (0.5 + 0.5 * self.shape.eye_width)
        self._disc((x, y, 0.06), radius, self.look.iris, outline)
        self._disc((x, y, 0.06), radius / 2, (12.0, 10.0, 10.0), outline)
        self._disc((x + 0.02, y - 0.022, 0.06), 0.016, (255.0, 255.0, 255.0), outline)
        canvas.line(lower_edge(points), self.dark, 0.014 * scale, 0.6)
        canvas.line(upper_edge(points), (25.0, 15.0, 12.0), 0.034 * scale, 0.95)

    def _brow(self, side: str) -> None:
        points = self.parts[f"{side}_brow"]
        down = self._step(0.0, 1.0)
        # The groups run in opposite directions: the right brow starts at the temple, the left at the nose.
        thickness = np.array([0.35, 0.8, 1.0, 1.0, 0.85])
        thickness = (thickness if side == "right" else thickness[::-1]) * 0.075 * self.look.brow_thickness
        lower = points + thickness[:, None] * down
        self.canvas.fill(np.concatenate([spline(points), spline(lower)[::-1]]), self.brow, 0.92)

    def _nose(self) -> None:
        scale, base, bridge = self.view.scale, self.parts["nose_base"], self.parts["nose_bridge"]
        width, length = self.shape.nose_width, self.shape.nose_length
        tip = self._oval(self.head[list(GROUPS["nose_bridge"])][-1], (0.09 * width, 0.08))
        # On a turned face the nose covers what is behind it, and may reach beyond the cheek.
        hull = cv2.convexHull(np.concatenate([bridge, tip, base]).astype(np.float32))[:, 0]
        self.canvas.fill(hull, self.look.skin)
        away = -1.0 if self.view.yaw < 0 else 1.0  # the side that turns from the viewer is in shadow
        wing = self._near(away * 0.19 * width, 0.43 * length, 0.2)
        side = [*bridge, base[0 if away < 0 else -1], wing, self._near(away * 0.1, 0.05, 0.1)]
        self.canvas.fill(np.array(side), mix(self.look.skin, self.shadow, 0.45), 0.8)
        light = tuple(min(255.0, 1.15 * v + 8.0) for v in self.look.skin)
        self.canvas.line(bridge, light, 0.075 * scale * width, 0.55)
        self.canvas.fill(tip, light, 0.55)
        self._nostrils(width, length)
        self.canvas.line(spline(base), self.shadow, 0.02 * scale, 0.9)
        self.canvas.line(bridge, self.shadow, 0.012 * scale, 0.5)

    def _nostrils(self, width: float, length: float) -> None:
        for sign in (-1.0, 1.0):
            centre = (sign * 0.12 * width, 0.415 * length + 0.03, 0.28)
            wing = self._oval(centre, (sign * 0.065 * width, 0.075), np.linspace(-1.9, 1.2, 12))
            self.canvas.line(wing, self.shadow, 0.02 * self.view.scale, 0.8)
            nostril = self._oval((sign * 0.075 * width, 0.41 * length + 0.083, 0.33), (0.042 * width, 0.022))
            self.canvas.fill(nostril, self.dark, 0.95)

    def _mouth(self) -> None:
        outer, inner, scale = self.parts["outer_lips"], self.parts["inner_lips"], self.view.scale
        gap = closed_curve(inner)
        self.canvas.fill(closed_curve(outer), self.look.lips)
        upper = np.concatenate([upper_edge(outer), upper_edge(inner)[::-1]])
        self.canvas.fill(upper, mix(self.look.lips, (60.0, 10.0, 15.0), 0.3))
        self.canvas.fill(gap, (60.0, 16.0, 20.0))
        if self.expression.mouth_open > 0.12:
            teeth = np.concatenate([upper_edge(inner), upper_edge(inner)[::-1] + self._step(0.0, 0.075)])
            self.canvas.fill(teeth, (238.0, 234.0, 225.0), 0.95, gap)
        self.canvas.line(upper_edge(inner), (70.0, 20.0, 22.0), 0.016 * scale, 0.8)

    def _glasses(self) -> None:
        if self.look.glasses == "none":
            return
        power = 1.0 if self.look.glasses == "round" else 0.45
        angle = np.linspace(0.0, 2 * np.pi, 41)
        x = 0.20 * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** power
        y = 0.165 * np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** power
        width, frame = 0.028 * self.view.scale, (35.0, 30.0, 32.0)
        centre_x = 0.36 * self.shape.eye_spacing
        for sign in (-1.0, 1.0):
            lens = self._near(sign * centre_x + x, 0.03 + y, 0.2)
            self.canvas.fill(lens, (200.0, 215.0, 225.0), 0.10)
            self.canvas.line(lens, frame, width)
            if sign * self.view.yaw <= 12:  # the far side's arm is behind the head
                x_ends = sign * np.array([centre_x + 0.2, 0.86 * self.shape.face_width])
                self.canvas.line(self._near(x_ends, 0.0, [0.2, -0.5]), frame, width)
        self.canvas.line(self._near(np.array([-1.0, 1.0]) * (centre_x - 0.2), -0.02, 0.22), frame, width)

    # --- light ------------------------------------------------------------------------

    def _lit(self, image: np.ndarray, light: Light) -> np.ndarray:
        """The image with a round head's shading, eye sockets, and the light's colour."""
        height, width = image.shape[:2]
        grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
        place = self.view.unproject(grid).astype(np.float32)
        head = self._head_mask(image.shape[:2])
        shade = 1.0 + head * (self._roundness(place, light) * self._relief(place) - 1.0)
        return np.clip(image * shade[..., None] * np.array(light.tint, np.float32), 0, 255).astype(np.uint8)

    def _head_mask(self, shape_hw) -> np.ndarray:
        mask = np.zeros(shape_hw, np.uint8)
        for outline in (self.face, self._skull(1.0)):
            corners = np.round(outline * 2**SUBPIXEL_BITS).astype(np.int32)
            cv2.fillPoly(mask, [corners], 255, cv2.LINE_AA, SUBPIXEL_BITS)
        return mask.astype(np.float32) / 255.0

    def _roundness(self, place: np.ndarray, light: Light) -> np.ndarray:
        """Brightness of an egg in this light, around 1."""
        outline = self.view.unproject(self.face)
        low, high = outline.min(axis=0), outline.max(axis=0)
        normal = ((place - (low + high) / 2) / ((high - low) / 2)).astype(np.float32) * np.float32(0.9)
        depth = np.sqrt(np.maximum(1.0 - (normal**2).sum(axis=-1), 0.0))
        x, y, z = light.direction
        facing = np.maximum(normal[..., 0] * x + normal[..., 1] * y + depth * z, 0.0)
        return light.ambient + light.strength * facing

    def _relief(self, place: np.ndarray) -> np.ndarray:
        """Soft dark and bright spots: sockets dark, forehead, nose and cheeks bright."""
        length, mouth = 0.41 * self.shape.nose_length, 0.41 * self.shape.nose_length + 0.35
        eye = 0.345 * self.shape.eye_spacing
        spots = [  # place on the head, extent, amount
            ((-eye, -0.03, 0.05), (0.20, 0.11), -0.30),
            ((eye, -0.03, 0.05), (0.20, 0.11), -0.30),
            ((0.0, 0.20, 0.3), (0.08, 0.22), 0.10),
            ((0.0, length + 0.14, 0.3), (0.14, 0.05), -0.12),
            ((0.0, mouth + 0.20, 0.3), (0.16, 0.05), -0.10),
            ((-0.46, 0.36, 0.08), (0.19, 0.15), 0.12),
            ((0.46, 0.36, 0.08), (0.19, 0.15), 0.12),
            ((0.0, -0.52, 0.2), (0.40, 0.18), 0.08),
        ]
        total = np.ones(place.shape[:2], np.float32)
        for centre, extent, amount in spots:
            middle = (np.asarray(centre) @ self.view.turn.T)[:2]
            distance = ((place - middle.astype(np.float32)) / np.array(extent, np.float32)) ** 2
            total += np.float32(amount) * np.exp(-distance.sum(axis=-1))
        return total
