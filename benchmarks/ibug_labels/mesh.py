"""The 68 keypoints in MediaPipe's face mesh, and where hand-made points lie beside them.

Each group of the scheme is a curve through points of the mesh. Keypoints are at equal steps along it, as the
scheme defines them (Sagonas et al., iBUG 300-W, 2013). The London set then says how far the hand-drawn curves
of 102 frontal faces lie from those of the mesh (`london_offset`). Nothing here is fitted on labels of the
data set.
"""

import numpy as np

from benchmarks.groups.london import along
from geometry import FaceFrame
from landmarks import FLIP_ORDER, GROUPS, NUM_KEYPOINTS

MESH_POINTS = 468
#: Curves through the mesh, by indices of its points. A pair stands for the middle between two points.
JAW_RIGHT_HALF = (127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152)  # from the ear to the chin
JAW_LEFT_HALF = (152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454, 356)
RIGHT_BROW = ((70, 46), 63, 105, 66, (107, 55))  # the upper edge, from the outer to the inner end
LEFT_BROW = ((336, 285), 296, 334, 293, (300, 276))
NOSE_BRIDGE = (168, 6, 197, 195, 5, 4)  # down to the tip
NOSE_BASE = (98, 97, 2, 326, 327)
RIGHT_UPPER_LID = (33, 246, 161, 160, 159, 158, 157, 173, 133)
RIGHT_LOWER_LID = (133, 155, 154, 153, 145, 144, 163, 7, 33)
LEFT_UPPER_LID = (362, 398, 384, 385, 386, 387, 388, 466, 263)
LEFT_LOWER_LID = (263, 249, 390, 373, 374, 380, 381, 382, 362)
UPPER_LIP_RIGHT, UPPER_LIP_LEFT = (61, 185, 40, 39, 37), (267, 269, 270, 409, 291)
UPPER_LIP_TOP = (0,)
LOWER_LIP_LEFT, LOWER_LIP_RIGHT = (291, 375, 321, 405, 314, 17), (17, 84, 181, 91, 146, 61)
INNER_LIPS = (78, 82, 13, 312, 308, 317, 14, 87)

HALVES, THIRDS, QUARTERS, EIGHTHS = (np.linspace(0, 1, count) for count in (3, 4, 5, 9))
#: Groups whose London offset counts across the curve alone: along it the two schemes divide it differently.
ACROSS = {"jaw": False, "right_eye": True, "left_eye": True, "outer_lips": True}  # True: a closed curve
#: Groups whose London offset counts whole.
WHOLE = ("right_brow", "left_brow", "nose_base")


def keypoints_of_mesh(meshes: np.ndarray) -> np.ndarray:
    """Keypoints (N, 68, 2) in meshes (N, 468, 2 or 3) of MediaPipe, both in pixels; NaN where a mesh is."""
    keypoints = np.full((len(meshes), NUM_KEYPOINTS, 2), np.nan)
    for index, mesh in enumerate(meshes):
        if np.isfinite(mesh).all():
            keypoints[index] = _keypoints_of(np.asarray(mesh, dtype=np.float64)[:, :2])
    return keypoints


def _keypoints_of(mesh: np.ndarray) -> np.ndarray:
    """Keypoints (68, 2) of one mesh (468, 2)."""

    def on(curve, shares) -> np.ndarray:
        return along(np.stack([np.mean(mesh[np.atleast_1d(point)], axis=0) for point in curve]), shares)

    parts = {
        "jaw": (on(JAW_RIGHT_HALF, EIGHTHS), on(JAW_LEFT_HALF, EIGHTHS[1:])),
        "right_brow": (on(RIGHT_BROW, QUARTERS),),
        "left_brow": (on(LEFT_BROW, QUARTERS),),
        "nose_bridge": (on(NOSE_BRIDGE, THIRDS),),
        "nose_base": (mesh[list(NOSE_BASE)],),
        "right_eye": (on(RIGHT_UPPER_LID, THIRDS), on(RIGHT_LOWER_LID, THIRDS[1:3])),
        "left_eye": (on(LEFT_UPPER_LID, THIRDS), on(LEFT_LOWER_LID, THIRDS[1:3])),
        "outer_lips": (
            on(UPPER_LIP_RIGHT, HALVES), mesh[list(UPPER_LIP_TOP)], on(UPPER_LIP_LEFT, HALVES),
            on(LOWER_LIP_LEFT, THIRDS[1:]), on(LOWER_LIP_RIGHT, THIRDS[1:3]),
        ),
        "inner_lips": (mesh[list(INNER_LIPS)],),
    }  # fmt: skip
    keypoints = np.empty((NUM_KEYPOINTS, 2))
    for group, values in parts.items():
        keypoints[list(GROUPS[group])] = np.concatenate(values)
    return keypoints


def london_offset(meshes: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """Offset (68, 2) from the mesh's keypoints to hand-made ones, symmetric, in the mesh's FaceFrame.

    meshes: (N, 468, 2 or 3). keypoints: (N, 68, 2), NaN for points that are not defined. Both in pixels.
    Eyes, lips and jaw take the part across their curve, brows and nose base the whole offset, and inner lips
    the mean of the outer ones. The nose bridge has none: the two schemes begin it at other places.
    """
    ours = keypoints_of_mesh(meshes)
    frame = FaceFrame.of(ours)
    steps = frame.turn_into(keypoints - ours)
    defined = np.isfinite(steps).any(axis=(0, 2))
    full = np.zeros((NUM_KEYPOINTS, 2))
    full[defined] = np.nanmean(steps[:, defined], axis=0)
    full = symmetric(full)
    shape = np.nanmean(frame.into(ours), axis=0)
    offset = np.zeros((NUM_KEYPOINTS, 2))
    for group in WHOLE:
        offset[list(GROUPS[group])] = full[list(GROUPS[group])]
    for group, closed in ACROSS.items():
        picked = list(GROUPS[group])
        offset[picked] = across_curve(full[picked], shape[picked], closed)
    offset[list(GROUPS["inner_lips"])] = offset[list(GROUPS["outer_lips"])].mean(axis=0)
    return offset


def symmetric(offset: np.ndarray) -> np.ndarray:
    """The mean of an offset (68, 2) in the frame of the face and of the flipped one."""
    return (offset + offset[FLIP_ORDER] * [-1, 1]) / 2


def across_curve(offset: np.ndarray, curve: np.ndarray, closed: bool) -> np.ndarray:
    """The part of an offset (K, 2) at a right angle to a curve (K, 2).

    closed: the curve's last point leads to its first; the offset of its two corners then counts whole.
    """
    around = np.roll(curve, -1, axis=0) - np.roll(curve, 1, axis=0)
    tangent = around if closed else np.gradient(curve, axis=0)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    part = (offset * normal).sum(axis=1, keepdims=True) * normal
    if closed:
        corners = [0, len(curve) // 2]
        part[corners] = offset[corners]
    return part


def move_in_face(keypoints: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Keypoints (N, 68, 2) moved by an offset (68, 2) in the FaceFrame of each face."""
    return keypoints + FaceFrame.of(keypoints).turn_out_of(offset)
