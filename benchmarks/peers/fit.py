"""Fits on training images, for methods that were not trained on these labels.

Other methods were trained on other labels of the same 68 points, which mark other places on the
face. So the mean offset per point of each method is fitted on training images, in the frame of the
face, and removed. A face mesh has 468 other points; it gets the mesh point nearest to each of the 68,
or a linear map (`RidgeMap`). Faces that were not found are NaN everywhere.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from geometry import (
    FaceFrame,
    box_centre,
    box_from_keypoints,
    box_iou,
    box_side,
    interocular_distance,
    invert,
    matrix_scale,
    square_crop_matrix,
    transform_points,
    warp,
)
from training.records import save_arrays

MIN_IOU = 0.3
MESH_MARGIN, MESH_SIZE = 1.9, 256  # MediaPipe's crop: times the label box, pixels


# --- the box that a predictor gets -------------------------------------------------------------


class BoxFit(NamedTuple):
    """A map from labels to the box of a face detector, in units of the points' mean distance to their centre.

    The centre and spread of all points predict such a box far better than the label box does: in
    turned faces the label box includes a part of the jaw that is not visible.
    """

    shift_x: float
    shift_y: float
    scale: float

    def apply(self, keypoints: np.ndarray) -> np.ndarray:
        """The square box_xyxy that the detector would give for keypoints (68, 2)."""
        centre, unit = centre_and_spread(keypoints)
        return square_box(centre + unit * np.array([self.shift_x, self.shift_y]), self.scale * unit)


def centre_and_spread(keypoints: np.ndarray) -> tuple[np.ndarray, float]:
    """Mean of points (68, 2), and their mean distance to it."""
    points = np.asarray(keypoints, dtype=np.float64)
    centre = points.mean(axis=0)
    return centre, float(np.linalg.norm(points - centre, axis=1).mean())


def square_box(centre_xy, side: float) -> np.ndarray:
    """box_xyxy of a square around a coordinate."""
    centre = np.asarray(centre_xy, dtype=np.float64) + 0.5  # from pixel centres to edges
    return np.concatenate([centre - side / 2, centre + side / 2])


def fit_box(keypoints: np.ndarray, detector_boxes: np.ndarray) -> BoxFit:
    """The mean way from labels (N, 68, 2) to a detector's boxes (N, 4), NaN where not found.

    Boxes that are not on the face (IoU with the label box below 0.3) do not count.
    """
    rows = []
    for points, found in zip(keypoints, detector_boxes, strict=True):
        if not np.isnan(found).any() and box_iou(box_from_keypoints(points), found) >= MIN_IOU:
            centre, unit = centre_and_spread(points)
            rows.append([*(box_centre(found) - centre) / unit, np.log(box_side(found) / unit)])
    if not rows:
        raise ValueError("no detector box lies on a labelled face, so no way from one to the other fits")
    shift_x, shift_y, log_scale = np.mean(rows, axis=0)
    return BoxFit(float(shift_x), float(shift_y), float(np.exp(log_scale)))


# --- from a mesh to the 68 points ---------------------------------------------------------------


def mesh_crop(image: np.ndarray, box_xyxy, margin: float = MESH_MARGIN) -> tuple[np.ndarray, np.ndarray]:
    """The square crop that MediaPipe gets for a label box, and the image-to-crop matrix."""
    matrix = square_crop_matrix(box_xyxy, margin, MESH_SIZE)
    return warp(image, matrix, (MESH_SIZE, MESH_SIZE)), matrix


def mesh_in_image(mesh: np.ndarray | None, matrix: np.ndarray) -> np.ndarray | None:
    """Mesh points (M, 3) of a crop in pixels of the image; depth is scaled along."""
    if mesh is None:
        return None
    depth = mesh[:, 2:] / matrix_scale(matrix)
    return np.concatenate([transform_points(mesh[:, :2], invert(matrix)), depth], axis=1)


def pick_vertices(meshes: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """Indices (68,) of the mesh points (N, M, 2 or 3) that are nearest to each of the 68 on average."""
    found = ~np.isnan(meshes[:, 0, 0])
    meshes, keypoints = meshes[found, :, :2], keypoints[found]
    scale = interocular_distance(keypoints)[:, None]
    picks = []
    for point in range(keypoints.shape[1]):
        far = np.linalg.norm(meshes - keypoints[:, point, None], axis=2) / scale
        picks.append(int(far.mean(axis=0).argmin()))
    return np.array(picks)


class RidgeMap(NamedTuple):
    """A linear map from a face mesh to 68 points, both in the mesh's own frame.

    eye_corners: the two mesh points on a horizontal line in the frame.
    mean_in (3M,), mean_out (136,), weights (3M, 136).
    """

    eye_corners: tuple[int, int]
    mean_in: np.ndarray
    mean_out: np.ndarray
    weights: np.ndarray

    @classmethod
    def fit(
        cls, meshes: np.ndarray, keypoints: np.ndarray, eye_corners, strength: float = 3.0, weight=None
    ) -> "RidgeMap":
        """Ridge regression from meshes (N, M, 3) to keypoints (N, 68, 2), all in image pixels.

        weight: of each face (N,); 1 by default.
        """
        found = ~np.isnan(meshes[:, 0, 0])
        weight = np.ones(found.sum()) if weight is None else np.asarray(weight)[found]
        frame, given = cls._features(meshes[found], eye_corners)
        wanted = frame.into(keypoints[found]).reshape(len(given), -1)
        mean_in = np.average(given, axis=0, weights=weight)
        mean_out = np.average(wanted, axis=0, weights=weight)
        given = given - mean_in
        weighted = given * weight[:, None]
        square = weighted.T @ given + strength * np.eye(given.shape[1])
        weights = np.linalg.solve(square, weighted.T @ (wanted - mean_out))
        return cls(tuple(int(v) for v in eye_corners), mean_in, mean_out, weights)

    def __call__(self, meshes: np.ndarray) -> np.ndarray:
        """Keypoints (N, 68, 2) float32 in image pixels."""
        frame, given = self._features(meshes, self.eye_corners)
        mapped = (given - self.mean_in) @ self.weights + self.mean_out
        return frame.out_of(mapped.reshape(len(meshes), -1, 2)).astype(np.float32)

    @staticmethod
    def _features(meshes: np.ndarray, eye_corners) -> tuple[FaceFrame, np.ndarray]:
        meshes = np.asarray(meshes, dtype=np.float64)
        frame = FaceFrame.of(meshes[..., :2], eye_corners)
        depth = meshes[..., 2] - meshes[..., 2].mean(axis=1, keepdims=True)
        flat = frame.into(meshes[..., :2]).reshape(len(meshes), -1)
        return frame, np.concatenate([flat, depth / frame.unit[:, None]], axis=1)


# --- what is stored -----------------------------------------------------------------------------


class Fitted(NamedTuple):
    """All fits on training images: dlib's box, and the maps from MediaPipe's mesh to the 68 points."""

    box: BoxFit
    vertices: np.ndarray  # (68,) indices of mesh points
    ridge: RidgeMap

    def save(self, path) -> None:
        """Write an .npz; weights as float16, which moves points by about 0.01 px."""
        save_arrays(
            path,
            box=np.array(self.box),
            vertices=self.vertices,
            eye_corners=np.array(self.ridge.eye_corners),
            mean_in=self.ridge.mean_in.astype(np.float32),
            mean_out=self.ridge.mean_out.astype(np.float32),
            weights=self.ridge.weights.astype(np.float16),
        )

    @classmethod
    def load(cls, path) -> "Fitted":
        """The inverse of `save`."""
        if not Path(path).is_file():
            raise FileNotFoundError(
                f"there is no {path}: run python -m benchmarks.peers.page --environment FOLDER --steps peers"
            )
        with np.load(path, allow_pickle=False) as stored:
            box = BoxFit(*stored["box"].tolist())
            ridge = RidgeMap(
                tuple(stored["eye_corners"].tolist()),
                stored["mean_in"],
                stored["mean_out"],
                stored["weights"].astype(np.float64),
            )
            return cls(box, stored["vertices"], ridge)
