"""How far apart two faces are, where a face is heading, and which face is whose.

Lengths are in face sizes, so that they mean the same for a small and a large face.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from geometry import box_centre, box_from_keypoints, box_side, image_box


def face_size(keypoints: np.ndarray) -> float:
    """Larger side of the box around keypoints (68, 2), in pixels."""
    return box_side(box_from_keypoints(keypoints))


def face_distance(keypoints: np.ndarray, other: np.ndarray) -> float:
    """Mean distance between the points of two faces (68, 2), in sizes of the smaller one."""
    apart = np.linalg.norm(np.asarray(keypoints, dtype=np.float64) - other, axis=1).mean()
    return float(apart / min(face_size(keypoints), face_size(other)))


def size_change(keypoints: np.ndarray, other: np.ndarray) -> float:
    """How many times as large as the smaller one the larger one of two faces (68, 2) is."""
    ratio = face_size(keypoints) / face_size(other)
    return max(ratio, 1 / ratio)


def share_inside(keypoints: np.ndarray, image: np.ndarray) -> float:
    """Share of the keypoints (68, 2) that lie on the image, 0 to 1."""
    edges = image_box(image)
    return float(((keypoints >= edges[:2]) & (keypoints < edges[2:])).all(axis=1).mean())


def near_any(keypoints: np.ndarray, others: Sequence[np.ndarray], reach: float) -> bool:
    """Whether one of the `others` (each (68, 2)) is nearer than `reach`."""
    return any(face_distance(keypoints, other) < reach for other in others)


def match(costs: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (row, column) with the least sum of costs (R, C), none of them above 1.

    The Hungarian method (Kuhn 1955). A pair that is too dear is not made but counts as 2:
    two pairs, however dear, are better than one that is cheap.
    """
    rows, columns = linear_sum_assignment(np.minimum(costs, 2.0))
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if costs[r, c] <= 1]


class Motion:
    """Where a face is heading: centre and size of its box, and a steady velocity.

    An alpha-beta filter (Kalata, "The Tracking Index", 1984) whose gain grows with the
    surprise: noise moves the next crop little, a turn of the head at once. A crop
    that jumps with every answer would feed the noise back into the network.
    """

    LEAST_GAIN, GAIN_PER_SIZE, SIZE_GAIN = 0.2, 20.0, 0.2

    def __init__(self, keypoints: np.ndarray, time_s: float):
        box = box_from_keypoints(keypoints)
        self.centre, self.sides = box_centre(box), box[2:] - box[:2]
        self.velocity, self.time_s = np.zeros(2), time_s  # pixels a second

    def update(self, keypoints: np.ndarray, time_s: float, *, steady: bool = False) -> None:
        """Learn from keypoints (68, 2) seen at time_s, later than before; `steady` keeps the velocity."""
        box, step_s = box_from_keypoints(keypoints), time_s - self.time_s
        expected = self.centre + self.velocity * step_s
        surprise = box_centre(box) - expected
        gain = self.LEAST_GAIN + self.GAIN_PER_SIZE * np.linalg.norm(surprise) / self.sides.max()
        gain = min(gain, 1.0)
        self.centre = expected + gain * surprise
        if not steady:
            self.velocity = self.velocity + gain**2 / (2 - gain) / step_s * surprise
        self.sides = self.sides * ((box[2:] - box[:2]) / self.sides) ** self.SIZE_GAIN
        self.time_s = time_s

    def place(self, keypoints: np.ndarray, time_s: float) -> np.ndarray:
        """The shape of `keypoints` (68, 2) where the face should be at time_s."""
        box = box_from_keypoints(keypoints)
        # A box is one pixel larger than the spread of its points.
        scale = (self.sides - 1) / np.maximum(box[2:] - box[:2] - 1, 1e-6)
        centre = self.centre + self.velocity * (time_s - self.time_s)
        return ((keypoints - box_centre(box)) * scale + centre).astype(np.float32)
