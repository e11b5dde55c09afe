"""A frame of coordinates on the head of a face: where a point of the head is seen, and what hides it.

Coordinates are those of `sample_faces/head.py`: x to the right in the image of a frontal face, y down, z to
the viewer; the unit is the distance between the outer eye corners, whose middle is the origin.
"""

import numpy as np

from analysis.head_pose import AWAY_FROM_VIEWER, HEAD, head_pose
from detector.predictor import Face
from filters.fit import check_face
from geometry import matrix_scale, similarity_matrix, transform_points
from landmarks import (
    LEFT_EYE_INNER,
    LEFT_EYE_OUTER,
    NOSE_TOP,
    RIGHT_EYE_INNER,
    RIGHT_EYE_OUTER,
)

#: All people get one head shape, so its eyes are moved onto those of the face.
ANCHORS = [RIGHT_EYE_OUTER, RIGHT_EYE_INNER, NOSE_TOP, LEFT_EYE_INNER, LEFT_EYE_OUTER]

#: The head as an ellipsoid, without nose, ears and hair: centre and half axes.
CENTRE, AXES = np.array([0.0, 0.02, -0.72]), np.array([0.86, 1.22, 1.0])


class HeadFrame:
    """The head of one face in front of the camera.

    size: pixels per unit, at the eyes. camera: (3,) the place of the camera on the axes of the head.
    Raises ValueError for keypoints that no head in front of a camera has.
    """

    def __init__(self, face: Face):
        points = check_face(face.keypoints)
        self.pose = head_pose(points)
        anchors = self.pose.project(HEAD[ANCHORS])
        self._to_face = similarity_matrix(anchors, points[ANCHORS])
        scale = self.pose.camera[0, 0] / self.pose.translation[2]
        self.size = scale * matrix_scale(self._to_face)
        self.camera = -(self.pose.rotation.T @ self.pose.translation) * AWAY_FROM_VIEWER

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixels (N, 2) of points (N, 3) of the head."""
        return transform_points(self.pose.project(points), self._to_face)

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Distance (N,) of points (N, 3) of the head from the plane of the camera; larger is farther."""
        return (np.asarray(points) * AWAY_FROM_VIEWER) @ self.pose.rotation[2] + self.pose.translation[2]

    def towards_camera(self, points: np.ndarray) -> np.ndarray:
        """Unit vectors (N, 3) from points of the head to the camera."""
        ray = self.camera - np.asarray(points)
        return ray / np.linalg.norm(ray, axis=-1, keepdims=True)

    def facing(self, point) -> float:
        """Cosine between the normal of the skin at a point (3,) and the direction to the camera, -1 to 1."""
        normal = (np.asarray(point) - CENTRE) / AXES**2
        return float(normal / np.linalg.norm(normal) @ self.towards_camera(point))

    def behind_head(self, points: np.ndarray) -> np.ndarray:
        """True (N,) where points outside the ellipsoid lie behind its edge as seen from the camera.

        Such a point is hidden exactly where it is seen inside `silhouette`.
        """
        # the edge lies in the polar plane of the camera
        eye = (self.camera - CENTRE) / AXES
        return ((np.asarray(points) - CENTRE) / AXES) @ eye < 1

    def silhouette(self, count: int = 64) -> np.ndarray:
        """The edge (count, 2) of the ellipsoid in pixels."""
        eye = (self.camera - CENTRE) / AXES
        distance = np.linalg.norm(eye)
        along = eye / distance
        side = np.cross(along, [0.0, 1.0, 0.0])
        side /= np.linalg.norm(side)
        up = np.cross(side, along)
        angle = np.linspace(0, 2 * np.pi, count, endpoint=False)[:, None]
        ring = np.sqrt(1 - 1 / distance**2) * (np.cos(angle) * side + np.sin(angle) * up)
        return self.project((along / distance + ring) * AXES + CENTRE)
