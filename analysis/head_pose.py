"""Head pose: yaw, pitch and roll of a face from its 68 keypoints."""

from dataclasses import dataclass

import numpy as np

from files import cv2
from landmarks import (
    CHIN,
    GROUPS,
    JAW_LEFT,
    JAW_RIGHT,
    LEFT_EYE_INNER,
    LEFT_EYE_OUTER,
    MOUTH_LEFT,
    MOUTH_RIGHT,
    NOSE_TIP,
    RIGHT_EYE_INNER,
    RIGHT_EYE_OUTER,
    check_keypoints,
)
from sample_faces.head import View, canonical_head

#: Points that hardly move with the expression: the corners of the eyes and the nose. The ends of the jaw,
#: the chin and the corners of the mouth move more, but they are far apart and make the angles precise.
#: Lids, lips and brows are left out.
POSE_POINTS = (
    *(RIGHT_EYE_OUTER, RIGHT_EYE_INNER, LEFT_EYE_INNER, LEFT_EYE_OUTER),
    *GROUPS["nose_bridge"],
    *GROUPS["nose_base"],
    *(MOUTH_RIGHT, MOUTH_LEFT, JAW_RIGHT, CHIN, JAW_LEFT),
)

#: The one head shape for all people: (68, 3), axes and unit of `sample_faces/head.py`.
HEAD = canonical_head()
HEAD.setflags(write=False)

#: Assumed distance of the camera from the face, in head units (about 90 mm): 1.1 m.
CAMERA_DISTANCE = 12.0
#: Place of the far side of a turned jaw; see `head_pose`.
JAW_ON_EDGE = 0.5
#: Number of times that the jaw is corrected with the pose found so far.
JAW_ROUNDS = 3

#: From the axes of `sample_faces/head.py` (z to the viewer) to those of OpenCV (z into the scene).
AWAY_FROM_VIEWER = np.array([1.0, 1.0, -1.0])


@dataclass(frozen=True)
class HeadPose:
    """The pose of a head in front of a camera.

    Convention: degrees; 0, 0, 0 looks straight into the camera. yaw > 0 turns the nose to the right of the
        image (the person's left), pitch > 0 moves it down, roll > 0 turns the face counter-clockwise on the
        screen. Yaw is applied first, then pitch, then roll. `sample_faces.draw_face` has the same signs;
        other packages have others.
    rotation: (3, 3), translation: (3,), camera: (3, 3): a point p of the head is seen at
        camera @ (rotation @ p + translation), in OpenCV's axes: x right, y down, z away from the viewer. The
        unit is the distance between the outer eye corners.
    """

    yaw_deg: float
    pitch_deg: float
    roll_deg: float
    rotation: np.ndarray
    translation: np.ndarray
    camera: np.ndarray

    def project(self, head_points) -> np.ndarray:
        """Pixels (N, 2) of points (N, 3) of the canonical head, whose z axis points to the viewer."""
        points = np.asarray(head_points, dtype=np.float64) * AWAY_FROM_VIEWER
        seen = (points @ self.rotation.T + self.translation) @ self.camera.T
        return seen[:, :2] / seen[:, 2:]

    def axes(self, length: float = 0.8) -> np.ndarray:
        """Three axes for a drawing, (4, 2) pixels: the tip of the nose, and from it the ends to the
        person's left, down and forward.

        length: of an axis, in distances between the outer eye corners.
        """
        arms = length * np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
        return self.project(HEAD[NOSE_TIP] + arms)


def head_pose(keypoints, camera=None, jaw_on_edge: float = JAW_ON_EDGE) -> HeadPose:
    """Yaw, pitch and roll of a face, by fitting a fixed 3-D head to the keypoints.

    keypoints: (68, 2), (x, y), pixels.
    camera: (3, 3) intrinsic matrix, if known; the angles are then relative to the camera's axes. Without one
        the camera is assumed to be 1.1 m away and to point at this face. Cropping, moving or resizing the
        image then changes nothing, and only the angles are meaningful, not the distance.
    jaw_on_edge: place of the keypoints on the far side of a turned jaw, 0 to 1. 0: on the jaw itself, hidden
        behind the cheek (points projected from 3-D). 1: on the visible edge of the cheek (points marked by
        people, `sample_faces`). The labels that the networks here are trained on lie between.

    Limits: everybody gets the same head shape, so a long nose or a receding chin is read as pitch. Seen from
    afar and with exact points the error is at most 4 degrees for the canonical head (yaw to 60, pitch to
    30) and 7 for other people with an expression (yaw to 45). With jaw_on_edge wrong by one half, yaw may
    be 11 degrees wrong. Noise of 5 % of the inter-ocular distance in each coordinate causes errors of 3
    degrees on average and 15 at most (tests/test_head_pose.py).

    Example:

        pose = head_pose(faces[0].keypoints)
        pose.yaw_deg, pose.pitch_deg, pose.roll_deg

    Raises ValueError for a wrong camera or jaw_on_edge, for wrong keypoints, and for keypoints that no head
    in front of a camera has.
    Source: SQPnP (Terzakis and Lourakis, ECCV 2020), refined by Levenberg-Marquardt.
    """
    if not 0 <= jaw_on_edge <= 1:
        raise ValueError(f"jaw_on_edge must be from 0 to 1, got {jaw_on_edge}")
    seen = check_keypoints(keypoints).astype(np.float64)
    camera = assumed_camera(seen) if camera is None else _check_camera(camera)
    pose = _fit_head(seen, camera)
    for _ in range(JAW_ROUNDS if jaw_on_edge else 0):
        pose = _fit_head(_jaw_put_back(seen, pose, jaw_on_edge), camera)
    return pose


def _fit_head(keypoints: np.ndarray, camera: np.ndarray) -> HeadPose:
    head = (HEAD * AWAY_FROM_VIEWER)[list(POSE_POINTS)]
    seen = keypoints[list(POSE_POINTS)]
    try:
        found, turn, shift = cv2.solvePnP(head, seen, camera, None, flags=cv2.SOLVEPNP_SQPNP)
        turn, shift = cv2.solvePnPRefineLM(head, seen, camera, None, turn, shift)
    except cv2.error:
        found = False  # OpenCV refuses points that all but coincide
    if not found or not np.isfinite([turn, shift]).all() or shift[2, 0] <= 0:
        raise ValueError("no head seen from the front of a camera has these keypoints; leave this face out")
    rotation = cv2.Rodrigues(turn)[0]
    return HeadPose(*_angles(rotation), rotation, shift[:, 0], camera)


def _jaw_put_back(keypoints: np.ndarray, pose: HeadPose, share: float) -> np.ndarray:
    """Keypoints with the jaw moved by a share of the way from the visible edge to its place on the head."""
    pixels_per_unit = pose.camera[0, 0] / pose.translation[2]
    view = View(pose.yaw_deg, pose.pitch_deg, pose.roll_deg, pixels_per_unit)
    jaw, moved = list(GROUPS["jaw"]), keypoints.copy()
    on_head = HEAD[jaw]
    moved[jaw] += share * (view.project(on_head) - view.visible_edge(on_head))
    return moved


def assumed_camera(keypoints: np.ndarray) -> np.ndarray:
    """Intrinsic matrix (3, 3) of a camera that looks at this face from CAMERA_DISTANCE."""
    pixels_per_unit = np.ptp(keypoints, axis=0).max() / np.ptp(HEAD[:, :2], axis=0).max()
    focal = CAMERA_DISTANCE * pixels_per_unit
    x, y = (keypoints.min(axis=0) + keypoints.max(axis=0)) / 2
    return np.array([[focal, 0.0, x], [0.0, focal, y], [0.0, 0.0, 1.0]])


def _check_camera(camera) -> np.ndarray:
    matrix = np.asarray(camera, dtype=np.float64)
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or not (np.diag(matrix) > 0).all():
        raise ValueError(
            f"camera must be a 3x3 matrix [[focal, 0, x], [0, focal, y], [0, 0, 1]] in pixels, got {camera!r}"
        )
    return matrix


def _angles(rotation: np.ndarray) -> tuple[float, float, float]:
    """Yaw, pitch and roll of rotation = roll @ pitch @ yaw, in OpenCV's axes."""
    yaw = np.arctan2(rotation[2, 0], rotation[2, 2])
    pitch = np.arcsin(np.clip(rotation[2, 1], -1.0, 1.0))
    roll = np.arctan2(rotation[0, 1], rotation[1, 1])
    yaw, pitch, roll = np.rad2deg([yaw, pitch, roll]).tolist()
    return yaw, pitch, roll
