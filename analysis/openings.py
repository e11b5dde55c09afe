"""Openings of eyes and mouth, height of the brows, and blinks in a video.

The functions take keypoints (..., 68, 2): one face or all frames of a video. A frame without a face is NaN
and gives NaN. "Right" and "left" are the person's.

These are measures of geometry, not of emotion. All of them also change when the head turns: use them together
with `head_pose`, and compare a person with the same person at another time, not with other people.
"""

from itertools import pairwise

import numpy as np

from landmarks import (
    GROUPS,
    INNER_LIP_PAIRS,
    INNER_MOUTH_LEFT,
    INNER_MOUTH_RIGHT,
    LEFT_EYE_INNER,
    LEFT_EYE_OUTER,
    LEFT_LID_PAIRS,
    NUM_KEYPOINTS,
    RIGHT_EYE_INNER,
    RIGHT_EYE_OUTER,
    RIGHT_LID_PAIRS,
)


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
    """Mean distance of the pairs over the distance of the corners; NaN where the corners are one point."""
    height = np.mean([_distance(points, upper, lower) for upper, lower in pairs], axis=0)
    width = _distance(points, corner, other_corner)
    return height / np.where(width > 0, width, np.nan)


def eye_opening(keypoints) -> np.ndarray:
    """Eye aspect ratio (..., 2) of the right and the left eye: about 0.3 open, 0.1 or less closed.

    It is the height of the eye over its width.

    keypoints: (..., 68, 2).

    Limits: an open eye has 0.2 in one person and 0.4 in another. On a head turned by 30 degrees the ratio of
    the far eye, whose width is foreshortened, is a third too high; that of the near eye hardly changes.
    Looking down lowers the lids and the ratio. In a face 200 pixels wide an open eye is about 15 pixels
    high, so small errors of the keypoints matter.

    Raises ValueError for keypoints of another shape, or infinite ones.
    Source: Soukupova and Cech, "Real-Time Eye Blink Detection using Facial Landmarks", CVWW 2016.
    """
    points = _check_faces(keypoints)
    right = _opening(points, RIGHT_LID_PAIRS, RIGHT_EYE_OUTER, RIGHT_EYE_INNER)
    left = _opening(points, LEFT_LID_PAIRS, LEFT_EYE_OUTER, LEFT_EYE_INNER)
    return np.stack([right, left], axis=-1)


def mouth_opening(keypoints) -> np.ndarray:
    """Height over width of the gap between the lips (...): near 0 closed, 0.5 and more wide open.

    It is the eye aspect ratio on the inner lips, with their three pairs of points.

    keypoints: (..., 68, 2).

    Limits: speech opens the mouth like a yawn, for a shorter time. A smile widens it and lowers the ratio; a
    turned head raises the ratio. Teeth and beards hide the inner lips.

    Raises ValueError for keypoints of another shape, or infinite ones.
    """
    return _opening(_check_faces(keypoints), INNER_LIP_PAIRS, INNER_MOUTH_RIGHT, INNER_MOUTH_LEFT)


def brow_raise(keypoints) -> np.ndarray:
    """Height (..., 2) of the right and the left brow above its eye, over the inter-ocular distance.

    It is measured at a right angle to the line through the outer eye corners: about 0.3 at rest. Raised
    brows add 0.05 to 0.1, a frown subtracts as much. The brows of people at rest differ by more than that, so
    subtract the median of the same person.

    keypoints: (..., 68, 2).

    Limits: yaw of 30 degrees shortens the inter-ocular distance and adds 0.05, as much as raised brows; pitch
    of 20 degrees subtracts nearly as much.

    Raises ValueError for keypoints of another shape, or infinite ones.
    """
    points = _check_faces(keypoints)
    across = points[..., LEFT_EYE_OUTER, :] - points[..., RIGHT_EYE_OUTER, :]
    square = (across**2).sum(axis=-1, keepdims=True)
    # a vector that points up on the face, of length 1 / inter-ocular distance
    up = across[..., ::-1] * [1, -1] / np.where(square > 0, square, np.nan)
    heights = []
    for brow, outer, inner in (
        ("right_brow", RIGHT_EYE_OUTER, RIGHT_EYE_INNER),
        ("left_brow", LEFT_EYE_OUTER, LEFT_EYE_INNER),
    ):
        eye = (points[..., outer, :] + points[..., inner, :]) / 2
        heights.append(((points[..., list(GROUPS[brow]), :].mean(axis=-2) - eye) * up).sum(axis=-1))
    return np.stack(heights, axis=-1)


# --- blinks -------------------------------------------------------------------------------------


def blinks(
    openings,
    fps: float,
    *,
    closed: float = 0.75,
    min_s: float = 0.06,
    max_s: float = 0.5,
    window_s: float = 3.0,
    bridge_s: float = 0.1,
) -> list[tuple[int, int]]:
    """Blinks in a video, in order: (first frame, frame after the last one) with closed eyes.

    openings: (T,) or (T, 2) of `eye_opening`, one row per frame; the two eyes are averaged. NaN where there
        was no face.
    fps: frames per second.
    closed: eyes are closed below this share of their usual opening, the upper quartile of the `window_s`
        seconds around the frame. On 29 drawn videos with 58 blinks, 0.75 finds 57 from the points of
        `heatmapnet` and none that is not there; 0.65 finds 53, and 0.85 finds 9 that are not there.
    min_s, max_s: shortest and longest blink in seconds; shorter is noise, longer is closed eyes.
    window_s: length of the window for the usual opening, in seconds.
    bridge_s: gaps without a face up to this length, in seconds, are filled with a straight line.

    Closed eyes at the beginning or end of the recording or of a longer gap are no blink, because their
    duration is unknown.

    Limits: below 15 frames per second blinks fall between frames. A quick look down counts as a blink.
    Keypoints that jump by a fifth of the eye's height from frame to frame must be smoothed first.

    Raises ValueError for openings of another shape, or fps that is not a positive number.
    Source: a threshold relative to person and time, in place of the learned classifier of Soukupova and
    Cech, "Real-Time Eye Blink Detection using Facial Landmarks", CVWW 2016.
    """
    series = _one_series(openings)
    if not (np.isfinite(fps) and fps > 0):
        raise ValueError(f"fps must be a positive number of frames per second, got {fps!r}")
    series = _bridge(series, round(bridge_s * fps))
    shut = series < closed * _open_level(series, round(window_s * fps / 2))
    found = []
    for start, end in _runs(shut):
        seen_whole = start > 0 and end < len(series) and not np.isnan(series[[start - 1, end]]).any()
        if seen_whole and min_s <= (end - start) / fps <= max_s:
            found.append((start, end))
    return found


def _one_series(openings) -> np.ndarray:
    """(T,) from (T,) or (T, 2): the mean of the eyes that are not NaN."""
    values = np.asarray(openings, dtype=np.float64)
    if values.ndim == 1:
        return values
    if values.ndim != 2 or values.shape[1] != 2:
        raise ValueError(f"openings must have shape (T,) or (T, 2), one row per frame, got {values.shape}")
    seen = ~np.isnan(values)
    return np.where(seen, values, 0).sum(axis=1) / np.where(seen.any(axis=1), seen.sum(axis=1), np.nan)


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """(start, end) of each run of True, end exclusive."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def _bridge(series: np.ndarray, longest: int) -> np.ndarray:
    """The series with gaps of up to `longest` NaN frames between two values filled by a straight line."""
    filled = series.copy()
    known = np.flatnonzero(~np.isnan(series))
    for before, after in pairwise(known):
        if 1 < after - before <= longest + 1:
            filled[before : after + 1] = np.linspace(series[before], series[after], after - before + 1)
    return filled


def _open_level(series: np.ndarray, reach: int) -> np.ndarray:
    """Usual opening (T,) around each frame: upper quartile of the values within `reach` frames."""
    level = np.full(len(series), np.nan)
    for frame in range(len(series)):
        around = series[max(0, frame - reach) : frame + reach + 1]
        known = around[~np.isnan(around)]
        if known.size:
            level[frame] = np.quantile(known, 0.75)
    return level
