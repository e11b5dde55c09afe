"""Whether eyes and mouth are open, brows raised, and blinks in a video.

The measures take keypoints (..., 68, 2), one face or all frames of a video; a frame
without a face is NaN and gives NaN. "Right" and "left" are the person's.
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


# --- blinks -------------------------------------------------------------------------------------


def blinks(
    openings,
    fps: float,
    *,
    closed: float = 0.65,
    min_s: float = 0.06,
    max_s: float = 0.5,
    window_s: float = 3.0,
    bridge_s: float = 0.1,
) -> list[tuple[int, int]]:
    """Blinks in a video: (first frame, frame after the last) with the eyes shut, in order.

    openings: (T,) or (T, 2) from `eye_opening`, one row a frame; both eyes are averaged.
        NaN where there was no face.
    fps: frames a second. closed: shut means below this share of how far the eyes are
        open around that time (the upper quartile of `window_s` seconds).
    min_s, max_s: shorter is noise, longer is closed eyes.
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
        if seen_whole and min_s <= (end - start) / fps <= max_s:
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
