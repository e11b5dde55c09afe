"""What keypoints say about a face: where it looks, whether eyes and mouth are open, brows, blinks.

Numbers about geometry, and no more: an open mouth is not yet surprise. Everything
that moves here also moves when the head turns, so read the measures beside
`head_pose`, and compare a person with themselves rather than with others.

The measures take keypoints (..., 68, 2), one face or all frames of a video; a
frame without a face is NaN and gives NaN. "Right" and "left" are the person's.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from geometry import check_keypoints
from landmarks import (
    CHIN,
    GROUPS,
    INNER_LIP_PAIRS,
    INNER_MOUTH_LEFT,
    INNER_MOUTH_RIGHT,
    JAW_LEFT,
    JAW_RIGHT,
    LEFT_EYE_INNER,
    LEFT_EYE_OUTER,
    LEFT_LID_PAIRS,
    MOUTH_LEFT,
    MOUTH_RIGHT,
    NOSE_TIP,
    NUM_KEYPOINTS,
    RIGHT_EYE_INNER,
    RIGHT_EYE_OUTER,
    RIGHT_LID_PAIRS,
)
from opencv import cv2
from sample_faces.head import View, canonical_head

#: Points that keep their place on the head whatever the face does: corners of the
#: eyes, the nose, and, for the long lever they give, the ends of the jaw, the chin
#: and the corners of the mouth. Lids, lips and brows move too much.
POSE_POINTS = (
    *(RIGHT_EYE_OUTER, RIGHT_EYE_INNER, LEFT_EYE_INNER, LEFT_EYE_OUTER),
    *GROUPS["nose_bridge"],
    *GROUPS["nose_base"],
    *(MOUTH_RIGHT, MOUTH_LEFT, JAW_RIGHT, CHIN, JAW_LEFT),
)

#: The head that everybody gets: (68, 3), axes and unit of `sample_faces/head.py`.
HEAD = canonical_head()
HEAD.setflags(write=False)

#: How far from the face the camera is taken to be, in head units (about 90 mm): 1.1 m.
CAMERA_DISTANCE = 12.0
#: How often the jaw is put back where the pose found so far would have it.
JAW_ROUNDS = 3

#: From the axes of `sample_faces/head.py` (z to the viewer) to those of OpenCV (z into the scene).
AWAY_FROM_VIEWER = np.array([1.0, 1.0, -1.0])

# --- head pose ---------------------------------------------------------------------------


@dataclass(frozen=True)
class HeadPose:
    """How a head is turned.

    Convention: degrees; 0, 0, 0 looks straight into the camera. yaw > 0 turns the nose
        to the right of the image (the person's left), pitch > 0 moves it down, roll > 0
        turns the face counter-clockwise on the screen. Yaw is applied first, then
        pitch, then roll. The same signs as `sample_faces.draw_face`; other packages
        have others.
    rotation: (3, 3), translation: (3,), camera: (3, 3): a point p of the head is seen at
        camera @ (rotation @ p + translation), in OpenCV's axes: x right, y down, z away from
        the viewer. The unit is the distance between the outer eye corners.
    """

    yaw_deg: float
    pitch_deg: float
    roll_deg: float
    rotation: np.ndarray
    translation: np.ndarray
    camera: np.ndarray

    def project(self, head_points) -> np.ndarray:
        """Pixels (N, 2) where points (N, 3) of the canonical head, z towards the viewer, are seen."""
        points = np.asarray(head_points, dtype=np.float64) * AWAY_FROM_VIEWER
        seen = (points @ self.rotation.T + self.translation) @ self.camera.T
        return seen[:, :2] / seen[:, 2:]

    def axes(self, length: float = 0.8) -> np.ndarray:
        """To draw, (4, 2) pixels: tip of the nose; from it `length` to the person's left, down, forward."""
        arms = length * np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
        return self.project(HEAD[NOSE_TIP] + arms)


def head_pose(keypoints, camera=None, jaw_on_edge: float = 0.5) -> HeadPose:
    """Yaw, pitch and roll by fitting the canonical head to the points of POSE_POINTS.

    keypoints: (68, 2) pixels. camera: (3, 3) intrinsic matrix, where it is known; angles
        are then against the camera's axes. Without one, the camera is taken to stand
        1.1 m away and to look straight at this face, so that cropping, moving or
        resizing the image changes nothing; only the angles mean something then, not
        the distance.
    jaw_on_edge: where the keypoints have the far side of a turned jaw: 0 on the jaw
        itself, hidden behind the cheek (points projected from 3-D), 1 on the edge of the cheek
        that can be seen (people's marks, `sample_faces`). The labels that our
        networks learn from lie between.

    Limits: everybody gets the same head, so that a long nose or a receding chin reads
    as pitch. Seen from afar and with exact points, the canonical head is right to 4
    degrees with yaw to 60 and pitch to 30, other people with an expression to 7 with yaw
    to 45. Where jaw_on_edge is wrong by one half, yaw may be 11 degrees off. Noise of
    5 % of the inter-ocular distance in each coordinate makes errors of 3 degrees on
    average and of 15 at worst (tests/test_measure.py).

    Raises ValueError for wrong keypoints, or for some that no head can have.
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
    """Keypoints with the jaw moved from the edge that is seen at this pose to where it is on the head."""
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
    return tuple(float(angle) for angle in np.rad2deg([yaw, pitch, roll]))


# --- openings ----------------------------------------------------------------------------


def _check_faces(keypoints) -> np.ndarray:
    points = np.asarray(keypoints, dtype=np.float64)
    if points.shape[-2:] != (NUM_KEYPOINTS, 2):
        raise ValueError(f"keypoints must have shape (..., {NUM_KEYPOINTS}, 2), got {points.shape}")
    if np.isinf(points).any():
        raise ValueError("keypoints must be numbers (NaN where there was no face), got infinity")
    return points


def _distance(points: np.ndarray, a: int, b: int) -> np.ndarray:
    return np.linalg.norm(points[..., a, :] - points[..., b, :], axis=-1)


def _opening(points: np.ndarray, pairs, corner: int, other_corner: int) -> np.ndarray:
    """Mean distance of the pairs over the distance of the corners; NaN where the corners coincide."""
    height = np.mean([_distance(points, upper, lower) for upper, lower in pairs], axis=0)
    width = _distance(points, corner, other_corner)
    return height / np.where(width > 0, width, np.nan)


def eye_opening(keypoints) -> np.ndarray:
    """Eye aspect ratio of (right, left) eye: (..., 2), about 0.3 open and 0.1 or less closed.

    Height over width of the lids' outline: Soukupova and Cech, "Real-Time Eye Blink
    Detection using Facial Landmarks", CVWW 2016. NaN for a frame of NaN.

    Limits: an open eye is 0.2 for one person and 0.4 for another. On a head turned by 30
    degrees the eye that is farther away is foreshortened and reads a third more, the near
    one hardly anything. Looking down lowers the lids, and the ratio with them. In a face
    200 pixels wide an open eye is about 15 pixels high: small errors in the points show.
    """
    points = _check_faces(keypoints)
    right = _opening(points, RIGHT_LID_PAIRS, RIGHT_EYE_OUTER, RIGHT_EYE_INNER)
    left = _opening(points, LEFT_LID_PAIRS, LEFT_EYE_OUTER, LEFT_EYE_INNER)
    return np.stack([right, left], axis=-1)


def mouth_opening(keypoints) -> np.ndarray:
    """Height of the gap between the lips over its width: (...), near 0 shut, 0.5 and more wide open.

    The eye aspect ratio's idea on the inner lips, with their three pairs of points.

    Limits: speech opens the mouth as a yawn does, only shorter; a smile widens it and
    lowers the ratio; a turned head raises it. Teeth and beards hide the inner lips.
    """
    return _opening(_check_faces(keypoints), INNER_LIP_PAIRS, INNER_MOUTH_RIGHT, INNER_MOUTH_LEFT)


def brow_raise(keypoints) -> np.ndarray:
    """Height of the (right, left) brow above its eye over the inter-ocular distance: (..., 2).

    Measured at a right angle to the line of the outer eye corners. About 0.3 at rest;
    raising the brows adds about 0.05 to 0.1, a frown takes as much away. People's brows
    at rest differ by more than that: subtract the same person's median.

    Limits: a head turned by 30 degrees has a shorter inter-ocular distance, which adds
    0.05, as much as raised brows do; pitch of 20 takes nearly as much away.
    """
    points = _check_faces(keypoints)
    across = points[..., LEFT_EYE_OUTER, :] - points[..., RIGHT_EYE_OUTER, :]
    square = (across**2).sum(axis=-1, keepdims=True)
    # upwards on the face, and 1 / inter-ocular distance long
    up = across[..., ::-1] * [1, -1] / np.where(square > 0, square, np.nan)
    heights = []
    for brow, outer, inner in (
        ("right_brow", RIGHT_EYE_OUTER, RIGHT_EYE_INNER),
        ("left_brow", LEFT_EYE_OUTER, LEFT_EYE_INNER),
    ):
        eye = (points[..., outer, :] + points[..., inner, :]) / 2
        heights.append(((points[..., list(GROUPS[brow]), :].mean(axis=-2) - eye) * up).sum(axis=-1))
    return np.stack(heights, axis=-1)


# --- blinks ------------------------------------------------------------------------------


def blinks(
    openings,
    fps: float,
    *,
    closed: float = 0.65,
    shortest_s: float = 0.06,
    longest_s: float = 0.5,
    window_s: float = 3.0,
    bridge_s: float = 0.1,
) -> list[tuple[int, int]]:
    """Blinks in a video: (first frame, frame after the last) with the eyes shut, in order.

    openings: (T,) or (T, 2) from `eye_opening`, one row a frame; both eyes are averaged.
        NaN where there was no face.
    fps: frames a second. closed: shut means below this share of how far the eyes are
        open around that time (the upper quartile of `window_s` seconds).
    shortest_s, longest_s: shorter is noise, longer is closed eyes.
    bridge_s: a gap without a face up to this long is filled in with a straight line.

    Eyes that are shut when the recording or a longer gap begins or ends do not count:
    nobody saw how long. Limits: below 15 frames a second blinks fall between the
    frames; a quick look down is counted as a blink; keypoints that jump by a fifth of
    an eye's height from frame to frame need smoothing first.

    Soukupova and Cech (2016) learn the shape of a blink; this is their simple rival, a
    threshold, but relative to the person and the moment.
    """
    series = _one_series(openings)
    if not (np.isfinite(fps) and fps > 0):
        raise ValueError(f"fps must be a positive number of frames a second, got {fps!r}")
    series = _bridge(series, round(bridge_s * fps))
    shut = series < closed * _open_level(series, round(window_s * fps / 2))
    found = []
    for start, end in _runs(shut):
        seen_whole = start > 0 and end < len(series) and not np.isnan(series[[start - 1, end]]).any()
        if seen_whole and shortest_s <= (end - start) / fps <= longest_s:
            found.append((start, end))
    return found


def _one_series(openings) -> np.ndarray:
    """(T,) from (T,) or (T, 2): the mean of the eyes that were seen."""
    values = np.asarray(openings, dtype=np.float64)
    if values.ndim == 1:
        return values
    if values.ndim != 2 or values.shape[1] != 2:
        raise ValueError(f"openings must have shape (T,) or (T, 2), one row a frame, got {values.shape}")
    seen = ~np.isnan(values)
    return np.where(seen, values, 0).sum(axis=1) / np.where(seen.any(axis=1), seen.sum(axis=1), np.nan)


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """(start, end) of each run of True, end exclusive."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def _bridge(series: np.ndarray, longest: int) -> np.ndarray:
    """The series with gaps of up to `longest` frames of NaN between two values filled by a straight line."""
    filled = series.copy()
    known = np.flatnonzero(~np.isnan(series))
    for before, after in pairwise(known):
        if 1 < after - before <= longest + 1:
            filled[before : after + 1] = np.linspace(series[before], series[after], after - before + 1)
    return filled


def _open_level(series: np.ndarray, reach: int) -> np.ndarray:
    """How far open the eyes are around each frame: upper quartile of what is known within `reach` frames."""
    level = np.full(len(series), np.nan)
    for frame in range(len(series)):
        around = series[max(0, frame - reach) : frame + reach + 1]
        known = around[~np.isnan(around)]
        if known.size:
            level[frame] = np.quantile(known, 0.75)
    return level
