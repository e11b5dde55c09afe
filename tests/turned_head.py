"""68 keypoints of a head of known geometry, seen from any side, for the tests of filters/."""

import numpy as np

import landmarks
from filters import apply_filter


def ring(count, centre, radius_x, radius_y):
    """Points around an ellipse, clockwise on the screen, from its left end."""
    angle = np.pi + np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.column_stack([centre[0] + radius_x * np.cos(angle), centre[1] + radius_y * np.sin(angle)])


def row(start, end, count):
    return np.linspace(start, end, count)


def head():
    """(68, 3): x, y in face units (see filters/draw_art.py), z to the camera; eyes and mouth at z = 0."""
    turn = np.linspace(0, np.pi, 17)
    jaw = np.column_stack([-87 * np.cos(turn), 0.5 + 124 * np.sin(turn), -38 + 33 * np.sin(turn)])
    brow = row((-66, -18, -5), (-21, -21, 13), 5)
    eye = ring(6, (-36, 0), 14, 6)
    eye[:, 1] += (eye[:, 0] + 36) / 28  # the outer corner half a unit higher, the inner one lower
    lips = {"outer_lips": ring(12, (0, 74), 29.5, 8), "inner_lips": ring(8, (0, 74), 22, 3)}
    deep = {
        "jaw": jaw,
        "right_brow": brow,
        "left_brow": brow[::-1] * (-1, 1, 1),
        "nose_bridge": row((0, 1.5, 14), (0, 40.5, 25), 4),
        "nose_base": row((-15, 52, 14), (15, 52, 14), 5),
    }
    points = np.zeros((landmarks.NUM_KEYPOINTS, 3))
    for name, outline in {"right_eye": eye, **lips}.items():
        points[list(landmarks.GROUPS[name]), :2] = outline
    for name, outline in deep.items():
        points[list(landmarks.GROUPS[name])] = outline
    left_eye = list(landmarks.GROUPS["left_eye"])
    points[left_eye] = (points * (-1, 1, 1))[landmarks.FLIP_ORDER][left_eye]
    return points


def project(points, *, yaw=0.0, roll=0.0, scale=1.0, centre=(320.0, 300.0)):
    """Head coordinates (N, 3) to the image (N, 2) as seen from afar.

    yaw > 0 turns the nose to the right of the image; roll > 0 is clockwise on the screen.
    """
    yaw, roll = np.deg2rad([yaw, roll])
    x = points[:, 0] * np.cos(yaw) + points[:, 2] * np.sin(yaw)
    y = points[:, 1]
    turned = np.column_stack([x * np.cos(roll) - y * np.sin(roll), x * np.sin(roll) + y * np.cos(roll)])
    return turned * scale + centre


def face(**pose):
    return project(head(), **pose).astype(np.float32)


POSES = [
    {},
    {"scale": 0.3, "centre": (100.25, 60.5)},
    {"scale": 2.6},
    {"roll": 30},
    {"roll": -115, "scale": 0.8},
    {"yaw": 40},
    {"yaw": -40, "roll": 30, "scale": 1.7},
]


def noise(shape_hw, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape_hw, 3), dtype=np.uint8)


def coverage(shape_hw, keypoints, name, **how):
    """Share (H, W) of every pixel that the filter hides, 0 to 1: 1 minus the rest of white minus black."""
    black, white = np.zeros((*shape_hw, 3), np.uint8), np.full((*shape_hw, 3), 255, np.uint8)
    left = apply_filter(white, keypoints, name, **how).astype(float) - apply_filter(
        black, keypoints, name, **how
    )
    return 1 - left.mean(axis=-1) / 255
