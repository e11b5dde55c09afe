"""Errors between predicted and true keypoints, and their summaries.

Everything here is NumPy on (N, 68, 2) keypoints in pixels of the original images.
An image on which no face was found has NaN predictions: it counts as infinitely
wrong in median, CED, AUC and failure rate, and is left out of the mean, which is
why `found` always stands beside `nme`. Values are fractions, not percent.
"""

import numpy as np

from geometry import box_from_keypoints, interocular_distance
from landmarks import CHIN, JAW_LEFT, JAW_RIGHT, NOSE_BASE_CENTRE, REGIONS

AUC_LIMIT = 0.08
FAILURE_LIMIT = 0.10
YAW_BINS = {"frontal": (0.0, 0.2), "half": (0.2, 0.5), "turned": (0.5, np.inf)}


def point_errors(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Euclidean distances (N, 68) in pixels between keypoints (N, 68, 2)."""
    predicted, true = np.asarray(predicted, np.float64), np.asarray(true, np.float64)
    if predicted.shape != true.shape:
        raise ValueError(f"predicted {predicted.shape} and true {true.shape} keypoints must agree in shape")
    return np.linalg.norm(predicted - true, axis=-1)


def label_box_size(keypoints: np.ndarray) -> np.ndarray:
    """sqrt(width x height) of the box around each face's keypoints (N, 68, 2), in pixels."""
    boxes = np.stack([box_from_keypoints(points) for points in keypoints])
    return np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))


def yaw_ratio(keypoints: np.ndarray) -> np.ndarray:
    """How far each face (N, 68, 2) is turned sideways: 0 frontal, about 1 profile; sign is direction.

    A measure on the labels alone: where the base of the nose lies between the two
    ends of the jaw, along the axis that is at a right angle to nose-base-to-chin.
    Negative: the nose is nearer to the right (image-left) end of the jaw.
    """
    points = np.asarray(keypoints, np.float64)
    right, left = points[:, JAW_RIGHT], points[:, JAW_LEFT]
    down = points[:, CHIN] - points[:, NOSE_BASE_CENTRE]
    axis = np.stack([down[:, 1], -down[:, 0]], axis=1)
    place = np.einsum("nd,nd->n", points[:, NOSE_BASE_CENTRE] - right, axis)
    length = np.einsum("nd,nd->n", left - right, axis)
    length = np.where(np.abs(length) < 1e-9, np.nan, length)
    return np.nan_to_num(2 * place / length - 1, nan=2.0)


def nme_per_face(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Normalised mean error (N,): mean distance over inter-ocular distance; NaN where not found."""
    return point_errors(predicted, true).mean(axis=1) / interocular_distance(true)


def ced(errors: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Cumulative error distribution: the share of faces with error <= each limit."""
    errors = np.sort(_missing_as_infinite(errors))
    return np.searchsorted(errors, limits, side="right") / len(errors)


def auc(errors: np.ndarray, limit: float = AUC_LIMIT) -> float:
    """Area under the CED up to `limit`, divided by `limit`: 1 is perfect. Exact, not by bins."""
    return float(np.clip(1 - _missing_as_infinite(errors) / limit, 0, 1).mean())


def failure_rate(errors: np.ndarray, limit: float = FAILURE_LIMIT) -> float:
    """Share of faces with error > limit; a face not found is a failure."""
    return float((_missing_as_infinite(errors) > limit).mean())


def _missing_as_infinite(errors) -> np.ndarray:
    errors = np.asarray(errors, dtype=np.float64)
    if errors.size == 0:
        raise ValueError("no faces to measure")
    return np.where(np.isnan(errors), np.inf, errors)


def bootstrap_interval(
    errors: np.ndarray, identities, *, draws: int = 2000, coverage: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Interval of the mean error when identities, not images, are drawn again.

    Images of one person are alike, so drawing images would make it too narrow.
    """
    errors, identities = np.asarray(errors, np.float64), np.asarray(identities)
    found = ~np.isnan(errors)
    if not found.any():
        return float("nan"), float("nan")
    _, person = np.unique(identities[found], return_inverse=True)
    sums, counts = np.bincount(person, errors[found]), np.bincount(person)
    picks = np.random.default_rng(seed).integers(len(sums), size=(draws, len(sums)))
    means = sums[picks].sum(axis=1) / counts[picks].sum(axis=1)
    tail = (1 - coverage) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def summarise(predicted: np.ndarray, true: np.ndarray, identities=None) -> dict:
    """All figures of a row: n, found, nme, nme_median, nme_box, auc_8, fr_10, regions, poses, interval."""
    distances = point_errors(predicted, true)  # (N, 68)
    scale = interocular_distance(true)
    errors = distances.mean(axis=1) / scale
    found = ~np.isnan(errors)

    def mean(values) -> float:
        return float(np.mean(values)) if len(values) else float("nan")

    turns = np.abs(yaw_ratio(true))
    poses = {}
    for name, (low, high) in YAW_BINS.items():
        inside = (turns >= low) & (turns < high)
        poses[name] = {"n": int(inside.sum()), "nme": mean(errors[inside & found])}
    figures = {
        "n": len(errors),
        "found": float(found.mean()),
        "nme": mean(errors[found]),
        "nme_median": float(np.median(_missing_as_infinite(errors))),
        "nme_box": mean((distances.mean(axis=1) / label_box_size(true))[found]),
        "auc_8": auc(errors),
        "fr_10": failure_rate(errors),
        "regions": {
            name: mean((distances[:, list(points)].mean(axis=1) / scale)[found])
            for name, points in REGIONS.items()
        },
        "poses": poses,
    }
    if identities is not None:
        figures["nme_interval"] = list(bootstrap_interval(errors, identities))
    return figures
