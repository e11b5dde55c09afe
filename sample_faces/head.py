"""The head behind the synthetic sample: 68 points in 3-D, built from a few numbers.

This module has no pixels and no random numbers: `people.py` draws the numbers
from a seed, and `painter.py` paints the projected head.

Convention: x to the right in the image of a frontal face (the person's left),
y down, z towards the viewer (right, down and towards the viewer make a
left-handed frame). The unit is the distance between the outer eye corners of
the canonical head, about 90 mm, and the origin is the middle between them.
Angles are in degrees: yaw > 0 moves the nose to the right of the image,
pitch > 0 moves it down, roll > 0 turns the face counter-clockwise on the screen.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from landmarks import FLIP_ORDER, GROUPS, NUM_KEYPOINTS

EAR_Z = -0.52  # depth of the jaw line's upper ends
FRONT_Z = 0.25  # depth of chin and forehead in the middle of the face


@dataclass(frozen=True)
class Shape:
    """The shape of a person's head: factors around 1, unless a comment says otherwise."""

    face_width: float = 1.0
    face_height: float = 1.0
    jaw_exponent: float = 2.4  # of the superellipse; 2 is an oval, 3 a square jaw
    jaw_taper: float = 0.04  # how much narrower the chin is, as a share of the width
    eye_spacing: float = 1.0
    eye_width: float = 1.0
    eye_height: float = 1.0
    eye_tilt: float = 0.0  # how far the outer corner is raised, in units
    brow_height: float = 1.0
    brow_arch: float = 1.0
    nose_length: float = 1.0
    nose_width: float = 1.0
    nose_depth: float = 1.0
    mouth_width: float = 1.0
    lip_thickness: float = 1.0
    forehead: float = 1.0


@dataclass(frozen=True)
class Expression:
    """The expression in one frame, each number from 0 to 1 (brow_raise from -1 to 1)."""

    mouth_open: float = 0.0
    eyes_closed: float = 0.0
    smile: float = 0.0
    brow_raise: float = 0.0

    def __post_init__(self):
        for name, low in (("mouth_open", 0), ("eyes_closed", 0), ("smile", 0), ("brow_raise", -1)):
            if not low <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be {low} to 1, got {getattr(self, name)}")


def canonical_head() -> np.ndarray:
    """The average head, neutral and facing the viewer, as (68, 3) float64 points (x, y, z).

    x to the right in the image, y down, z towards the viewer; the unit is the
    distance between the outer eye corners, whose middle is the origin. Exactly
    symmetric: negating x and applying FLIP_ORDER gives the same array.
    """
    return head_points(Shape(), Expression())


def head_points(shape: Shape, expression: Expression) -> np.ndarray:
    """The 68 points (68, 3) float64 of a head with this shape and expression, facing the viewer."""
    points = np.zeros((NUM_KEYPOINTS, 3))
    points[list(GROUPS["jaw"])] = _jaw(shape, expression)
    points[list(GROUPS["right_brow"])] = _right_brow(shape, expression)
    points[list(GROUPS["nose_bridge"])] = _nose_bridge(shape)
    points[list(GROUPS["nose_base"])] = _nose_base(shape)
    points[list(GROUPS["right_eye"])] = _right_eye(shape, expression)
    points[list(GROUPS["outer_lips"])] = _lips(shape, expression, inner=False)
    points[list(GROUPS["inner_lips"])] = _lips(shape, expression, inner=True)
    flipped = points[FLIP_ORDER] * [-1.0, 1.0, 1.0]
    for group in ("left_brow", "left_eye"):
        points[list(GROUPS[group])] = flipped[list(GROUPS[group])]
    # The mean with its own flipped copy removes the last rounding differences of the two halves.
    return (points + points[FLIP_ORDER] * [-1.0, 1.0, 1.0]) / 2


def _columns(x, y, z) -> np.ndarray:
    return np.stack(np.broadcast_arrays(x, y, z), axis=-1).astype(np.float64)


def _jaw(shape: Shape, expression: Expression) -> np.ndarray:
    """17 points from the right ear over the chin to the left ear, equally spaced on the outline."""
    angle = np.linspace(0.0, np.pi, 721)
    power = 2.0 / shape.jaw_exponent
    cos, drop = np.cos(angle), np.sin(angle).clip(0.0) ** power
    x = -0.83 * shape.face_width * np.sign(cos) * np.abs(cos) ** power * (1.0 - shape.jaw_taper * drop)
    y = 1.28 * shape.face_height * drop
    length = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    stops = np.linspace(0.0, length[-1], len(GROUPS["jaw"]))
    x, y, drop = (np.interp(stops, length, values) for values in (x, y, drop))
    z = EAR_Z + (FRONT_Z - EAR_Z) * drop**2
    return _columns(x, y + 0.24 * expression.mouth_open * drop**3, z)


def _right_brow(shape: Shape, expression: Expression) -> np.ndarray:
    """5 points along the upper edge, from the temple to the nose."""
    along = np.linspace(0.0, 1.0, len(GROUPS["right_brow"]))
    x = (-0.65 + 0.44 * along) * (0.5 + 0.5 * shape.eye_spacing)
    arch = 0.10 * shape.brow_arch * np.sin(np.pi * (0.05 + 0.75 * along))
    y = -0.15 - 0.08 * shape.brow_height - arch - 0.08 * expression.brow_raise
    return _columns(x, y, -0.12 + 0.30 * np.sqrt(along))


def _nose_bridge(shape: Shape) -> np.ndarray:
    """4 points from between the eyes to the tip."""
    along = np.linspace(0.0, 1.0, len(GROUPS["nose_bridge"]))
    return _columns(0.0, 0.41 * shape.nose_length * along, 0.18 + 0.36 * shape.nose_depth * along**1.3)


def _nose_base(shape: Shape) -> np.ndarray:
    """5 points below the nostrils."""
    across = np.linspace(-1.0, 1.0, len(GROUPS["nose_base"]))
    y = 0.41 * shape.nose_length + 0.085 + 0.03 * (1.0 - across**2)
    return _columns(0.15 * shape.nose_width * across, y, 0.26 + 0.10 * shape.nose_depth * (1.0 - across**2))


def _right_eye(shape: Shape, expression: Expression) -> np.ndarray:
    """6 points: outer corner, upper lid, inner corner, lower lid."""
    across = np.array([-1.0, -0.36, 0.36, 1.0, 0.36, -0.36])
    upper = np.array([0.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    lower = np.array([0.0, 0.0, 0.0, 0.0, 1.0, 1.0])
    closed = expression.eyes_closed
    squeeze = 1.0 - 0.35 * expression.smile
    y_upper = shape.eye_height * (-0.075 * (1.0 - closed) + 0.030 * closed)
    y_lower = shape.eye_height * (0.048 * squeeze * (1.0 - closed) + 0.034 * closed)
    y = upper * y_upper + lower * y_lower + shape.eye_tilt * (across - 1.0) / 2
    x = -0.345 * shape.eye_spacing + 0.155 * shape.eye_width * across
    return _columns(x, y, 0.015 + 0.035 * across + 0.05 * (1.0 - across**2))


def _lips(shape: Shape, expression: Expression, *, inner: bool) -> np.ndarray:
    """12 outer or 8 inner points: right corner, upper lip, left corner, lower lip."""
    if inner:
        across = np.array([-0.92, -0.34, 0.0, 0.34, 0.92, 0.34, 0.0, -0.34])
        above = np.array([0.0, 0.006, 0.003, 0.006, 0.0, 0.0, 0.0, 0.0])
        below = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.006, 0.009, 0.006])
    else:
        across = np.array([-1.0, -0.62, -0.22, 0.0, 0.22, 0.62, 1.0, 0.66, 0.30, 0.0, -0.30, -0.66])
        above = np.array([0.0, 0.058, 0.095, 0.078, 0.095, 0.058, 0.0] + [0.0] * 5) * shape.lip_thickness
        below = np.array([0.0] * 7 + [0.068, 0.112, 0.120, 0.112, 0.068]) * shape.lip_thickness
    thinner, bend = 1.0 - 0.25 * expression.smile, 1.0 - across**2
    # The corners follow the opening jaw a little, so that an open mouth is an O and not a slit.
    opening = expression.mouth_open * np.where(below > 0, 0.07 + 0.23 * bend, 0.07 - 0.11 * bend)
    corners = 0.075 * expression.smile * across**2
    y = 0.41 * shape.nose_length + 0.35 + below * thinner - above * thinner + opening - corners
    width = 0.29 * shape.mouth_width * (1.0 + 0.16 * expression.smile - 0.12 * expression.mouth_open)
    return _columns(width * across, y, 0.20 + 0.19 * bend)


# --- from the head to the image --------------------------------------------------------


@dataclass(frozen=True)
class View:
    """Weak perspective: rotate, drop z, multiply by `scale` (pixels per unit), add `offset_xy`."""

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    scale: float = 1.0
    offset_xy: tuple[float, float] = (0.0, 0.0)

    @cached_property
    def turn(self) -> np.ndarray:
        """(3, 3) rotation by yaw, then pitch: everything that happens out of the image plane."""
        angles = np.deg2rad([self.yaw, self.pitch])
        (cy, cp), (sy, sp) = np.cos(angles), np.sin(angles)
        yaw = np.array([[cy, 0.0, sy], [0.0, 1.0, 0.0], [-sy, 0.0, cy]])
        pitch = np.array([[1.0, 0.0, 0.0], [0.0, cp, sp], [0.0, -sp, cp]])
        return pitch @ yaw

    @cached_property
    def in_plane(self) -> np.ndarray:
        """(2, 2) matrix of roll and scale."""
        angle = np.deg2rad(self.roll)
        return self.scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])

    def flat(self, points) -> np.ndarray:
        """Points (..., 2) of the turned head, in units, as pixels of the image."""
        return np.asarray(points) @ self.in_plane.T + self.offset_xy

    def project(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) of the head as pixels (..., 2) of the image."""
        return self.flat((np.asarray(points) @ self.turn.T)[..., :2])

    def unproject(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) as units in the plane of the image: the inverse of `flat`."""
        return (np.asarray(pixels) - self.offset_xy) @ np.linalg.inv(self.in_plane).T

    def visible_edge(self, points: np.ndarray) -> np.ndarray:
        """The outline points (N, 3) as pixels (N, 2), each moved to the visible edge of the head.

        On a turned head the far side of the jaw is hidden behind the cheek, and people who
        mark faces follow the edge of the cheek instead. Here the surface
        between an outline point and the middle of the face is a quarter of an
        ellipse, centre + x cos(t) + depth sin(t), and the edge is where that
        reaches furthest outwards.
        """
        points = np.asarray(points, dtype=np.float64)
        height = np.abs(points[:, 1]).max()
        outwards = points[:, :2] / np.square([np.abs(points[:, 0]).max(), height])
        across = np.outer(points[:, 0], self.turn[:2, 0])
        forward = np.outer(FRONT_Z - points[:, 2], self.turn[:2, 2])
        t = np.arctan2((outwards * forward).sum(axis=1), (outwards * across).sum(axis=1)).clip(0.0, np.pi / 2)
        centre = (points * [0.0, 1.0, 1.0]) @ self.turn.T
        return self.flat(centre[:, :2] + across * np.cos(t)[:, None] + forward * np.sin(t)[:, None])


def forehead_points(shape: Shape, count: int = 13) -> np.ndarray:
    """The upper outline of the face (count, 3), from the left temple over the hairline to the right one."""
    angle = np.linspace(0.0, np.pi, count + 2)[1:-1]
    x = 0.83 * shape.face_width * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** 0.75
    up = np.sin(angle) ** 0.75
    return _columns(x, -0.82 * shape.forehead * up, EAR_Z + (FRONT_Z - 0.1 - EAR_Z) * up**2)


def project_head(shape: Shape, expression: Expression, view: View) -> np.ndarray:
    """The 68 keypoints (68, 2) float64 in pixels, the jaw on the visible edge of the face."""
    points = head_points(shape, expression)
    keypoints = view.project(points)
    jaw = list(GROUPS["jaw"])
    keypoints[jaw] = view.visible_edge(points[jaw])
    return keypoints


def fit_view(shape: Shape, expression: Expression, view: View, side: float, centre_xy) -> View:
    """`view` scaled and moved so that the keypoints' box has the area side x side and this centre."""
    still = View(view.yaw, view.pitch, view.roll)
    keypoints = project_head(shape, expression, still)
    low, high = keypoints.min(axis=0), keypoints.max(axis=0)
    scale = side / float(np.sqrt(np.prod(high - low)))
    offset = np.asarray(centre_xy, dtype=np.float64) - scale * (low + high) / 2
    return View(view.yaw, view.pitch, view.roll, scale, (float(offset[0]), float(offset[1])))
