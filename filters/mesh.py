"""The face as a mesh of triangles: the map by which the pixels of one face are moved onto another."""

from functools import lru_cache

import numpy as np

from analysis.privacy import forehead
from files import cv2
from landmarks import GROUPS, NUM_KEYPOINTS
from sample_faces.head import canonical_head

CELL = 4  # pixels between two nodes of the grid on which the map is computed


def face_points(keypoints: np.ndarray) -> np.ndarray:
    """The corners (N, 2) float64 of the mesh: 68 keypoints, then the upper outline of the forehead.

    Raises ValueError where the keypoints lie on one line.
    """
    return np.concatenate([np.asarray(keypoints, dtype=np.float64), forehead(keypoints)])


@lru_cache(maxsize=1)
def triangles() -> np.ndarray:
    """Indices (T, 3) into `face_points`: the Delaunay triangulation of the canonical face from the front."""
    points = face_points(canonical_head()[:, :2] * 200 + 400)
    plane = cv2.Subdiv2D((0, 0, 1000, 1000))
    plane.insert(points.astype(np.float32).tolist())
    corners = np.asarray(plane.getTriangleList()).reshape(-1, 3, 2)
    inside = ((corners >= 0) & (corners < 1000)).all(axis=(1, 2))
    distance = np.linalg.norm(corners[inside][:, :, None] - points, axis=-1)
    found = distance.argmin(axis=-1)
    found = found[distance.min(axis=-1).max(axis=-1) < 0.5]
    inner = set(GROUPS["inner_lips"])
    order = [not set(triangle) <= inner for triangle in found.tolist()]
    found = found[np.argsort(order, kind="stable")]  # the gap of the mouth is behind the lips
    found.setflags(write=False)
    return found


def mesh_map(source: np.ndarray, target: np.ndarray, shape_hw) -> np.ndarray:
    """For every pixel of a window where to read in the source: (h, w, 2) float32, for cv2.remap.

    source, target: (N, 2) of `face_points`, in pixels of the source and of the window. The map is affine in
    each triangle; around the mesh it continues the nearest triangle for a few pixels, and farther out it is
    far outside of every image.
    """
    which = np.zeros(node_places(shape_hw).shape[:2], np.uint8)
    nodes = np.rint(np.clip(target / CELL, -1e4, 1e4) * 256).astype(np.int32)
    found = triangles()
    corners = target[found]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    good = np.abs(area) > 0.5
    folded = area * _upright() < 0  # on the far side of a turned head; what is upright is in front of them
    for index in [*np.flatnonzero(good & folded).tolist(), *np.flatnonzero(good & ~folded).tolist()]:
        cv2.fillConvexPoly(which, nodes[found[index]], index + 1, cv2.LINE_8, 8)
    matrices = np.zeros((len(found) + 1, 2, 3), np.float32)
    matrices[0, :, 2] = -1e4
    ends = np.stack([first[good], second[good]], axis=2)  # columns
    read = source[found[good]]
    into = np.stack([read[:, 1] - read[:, 0], read[:, 2] - read[:, 0]], axis=2)
    linear = into @ np.linalg.inv(ends)
    matrices[1:][good, :, :2] = linear
    matrices[1:][good, :, 2] = read[:, 0] - (linear @ corners[good, 0, :, None])[..., 0]
    which = _spread(which)
    places, chosen = node_places(shape_hw), matrices[which]
    nodes_xy = chosen[..., 0] * places[..., :1] + chosen[..., 1] * places[..., 1:] + chosen[..., 2]
    return from_nodes(nodes_xy, shape_hw)


def node_places(shape_hw) -> np.ndarray:
    """Places (R, C, 2) float32, (x, y), of the nodes of a grid that covers a window, CELL pixels apart."""
    rows, columns = (np.arange(-(-side // CELL) + 1, dtype=np.float32) * CELL for side in shape_hw)
    return np.stack(np.meshgrid(columns, rows), axis=-1)


def from_nodes(values: np.ndarray, shape_hw) -> np.ndarray:
    """Values (R, C, 2) float32 at `node_places`, interpolated for every pixel: (h, w, 2)."""
    matrix = np.array([[CELL, 0.0, 0.0], [0.0, CELL, 0.0]])
    flags, border = cv2.INTER_LINEAR, cv2.BORDER_REPLICATE
    return cv2.warpAffine(values, matrix, shape_hw[::-1], flags=flags, borderMode=border)


def _spread(which: np.ndarray) -> np.ndarray:
    """The grid of triangles, with its empty nodes next to the mesh given to a neighbour, twice."""
    for _ in range(2):
        which = np.where(which == 0, cv2.dilate(which, np.ones((3, 3), np.uint8)), which)
    return which


@lru_cache(maxsize=1)
def _upright() -> np.ndarray:
    """The sign (T,) of the area of each triangle on the canonical face."""
    corners = face_points(canonical_head()[:, :2] * 200)[triangles()]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return np.sign(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])


#: Number of corners of the mesh that are no keypoints.
FOREHEAD = slice(NUM_KEYPOINTS, None)
