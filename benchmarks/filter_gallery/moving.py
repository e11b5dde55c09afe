"""A photo whose face turns and changes its expression: its pixels move as the points of a head would.

It is a warp of one photo, no video: what was not seen in the photo cannot appear. It is good for small
angles.
"""

from dataclasses import replace

import numpy as np
from scipy.interpolate import RBFInterpolator

from analysis.head_pose import head_pose
from files import cv2
from geometry import interocular_distance
from landmarks import GROUPS, INNER_LIP_PAIRS, NUM_KEYPOINTS
from sample_faces.canvas import closed_curve
from sample_faces.head import Expression, Shape, View, forehead_points, head_points

PIVOT = np.array([0.0, 0.55, -0.75])  # the point of the head that does not move
GRID = 6  # pixels between two nodes of the map
#: Of closed eyes; more would fold the warp, because the eyes of the photo are less open than the model's.
CLOSED = 0.65
CAVITY, TEETH = (58, 22, 26), (226, 218, 208)


def _control_points(expression: Expression) -> np.ndarray:
    """Points (N, 3) of the canonical head: keypoints, forehead, and the outline of the hair."""
    angle = np.linspace(0.15 * np.pi, -1.15 * np.pi, 17)
    hair = np.column_stack([1.12 * np.cos(angle), -0.15 + 1.15 * np.sin(angle), np.full(17, -0.75)])
    return np.concatenate([head_points(Shape(), expression), forehead_points(Shape()), hair])


def moved(image, keypoints, *, yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0, expression=None):
    """The photo with the head turned by angles in degrees, and its keypoints (68, 2).

    image: (H, W, 3) uint8 RGB. keypoints: (68, 2). expression: of `sample_faces`, added to that of the photo.
    """
    keypoints, expression = np.asarray(keypoints, dtype=np.float64), expression or Expression()
    expression = replace(expression, eyes_closed=CLOSED * expression.eyes_closed)
    pose, unit = head_pose(keypoints), float(interocular_distance(keypoints))
    before = View(pose.yaw_deg, pose.pitch_deg, pose.roll_deg, unit / np.cos(np.deg2rad(pose.yaw_deg)))
    after = View(before.yaw + yaw, before.pitch + pitch, before.roll + roll, before.scale)
    rest, new = _control_points(Expression()), _control_points(expression)
    shift = after.project(new - PIVOT) - before.project(rest - PIVOT)
    hair = before.project(rest[NUM_KEYPOINTS:])
    own = np.concatenate(
        [keypoints, hair + keypoints.mean(axis=0) - before.project(rest[:NUM_KEYPOINTS]).mean(axis=0)]
    )
    target = own + shift
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)[:, None]
    still = keypoints.mean(axis=0) + unit * np.hstack([2.3 * np.cos(angle), 0.1 + 2.3 * np.sin(angle)])
    places, values = np.concatenate([target, still]), np.concatenate([own - target, np.zeros_like(still)])
    field = RBFInterpolator(places, values, kernel="thin_plate_spline", smoothing=0.5)
    height, width = image.shape[:2]
    y, x = np.mgrid[0 : height + GRID : GRID, 0 : width + GRID : GRID].astype(np.float64)
    nodes = np.column_stack([x.ravel(), y.ravel()])
    inside = np.linalg.norm(nodes - still.mean(axis=0), axis=1) / (2.3 * unit)
    delta = field(nodes) * np.clip((1 - inside) / 0.15, 0, 1)[:, None]
    source = (nodes + delta).reshape(*x.shape, 2).astype(np.float32)
    matrix = np.array([[GRID, 0.0, 0.0], [0.0, GRID, 0.0]])
    source = cv2.warpAffine(
        source, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    result = cv2.remap(image, source, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    points = target[:NUM_KEYPOINTS]
    if expression.mouth_open > 0:
        _open_mouth(result, points, unit, min(1.0, 4 * expression.mouth_open))
    return result, points.astype(np.float32)


def _open_mouth(image: np.ndarray, points: np.ndarray, unit: float, share: float) -> None:
    """Draw the inside of an open mouth, with a row of teeth, in place."""
    lips = points[list(GROUPS["inner_lips"])]
    upper = np.array([points[a] for a, _ in INNER_LIP_PAIRS])
    outline = closed_curve(lips)
    teeth = np.concatenate([upper - np.array([0, 0.05]) * unit, (upper + np.array([0, 0.055]) * unit)[::-1]])
    mask = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.rint(outline * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    inside = np.full_like(image, CAVITY)
    cv2.fillPoly(inside, [np.rint(teeth * 16).astype(np.int32)], TEETH, cv2.LINE_AA, 4)
    inside = cv2.GaussianBlur(inside, (0, 0), 0.012 * unit)
    alpha = cv2.GaussianBlur(mask, (0, 0), 0.012 * unit).astype(np.float32)[..., None] / 255 * share
    image[:] = np.rint(image * (1 - alpha) + inside * alpha).astype(np.uint8)
