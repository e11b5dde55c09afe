"""Errors between predicted and true keypoints, and the figures of a set of faces.

Everything here is NumPy on keypoints (N, 68, 2) in pixels of the original images. A face that was
not found has NaN predictions. It counts as infinitely wrong in the median, the CED, the AUC and the
failure rate, and is left out of the mean, so `found` always stands beside `nme`. Values are
fractions, not percent.

To add a metric, add a line to METRICS. It is then in `summarise`, in what `evaluate.py` prints, in
new records, and after `make tables` in the stored records, the model cards and benchmarks/results/.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from geometry import FaceFrame, box_from_keypoints, interocular_distance
from landmarks import CHIN, INNER_51, JAW_LEFT, JAW_RIGHT, NOSE_BASE_CENTRE, REGIONS

AUC_LIMIT = 0.08
FAILURE_LIMIT = 0.10
YAW_BINS = {"frontal": (0.0, 0.2), "half": (0.2, 0.5), "turned": (0.5, np.inf)}


def point_errors(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Euclidean distances (N, 68) in pixels between keypoints (N, 68, 2).

    Raises ValueError if the shapes differ.
    """
    predicted, true = np.asarray(predicted, np.float64), np.asarray(true, np.float64)
    if predicted.shape != true.shape:
        raise ValueError(f"predicted {predicted.shape} and true {true.shape} keypoints must agree in shape")
    return np.linalg.norm(predicted - true, axis=-1)


def label_box_size(keypoints: np.ndarray) -> np.ndarray:
    """sqrt(width x height) (N,) in pixels of the box around each face's keypoints (N, 68, 2)."""
    boxes = np.stack([box_from_keypoints(points) for points in keypoints])
    return np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))


def yaw_ratio(keypoints: np.ndarray) -> np.ndarray:
    """A measure (N,) of how far each face (N, 68, 2) is turned sideways: 0 frontal, about 1 profile.

    It is the position of the base of the nose between the two ends of the jaw, along the axis at a
    right angle to the line from nose base to chin. Negative: the nose is nearer to the right
    (image-left) end of the jaw. 2 where the axis cannot be computed.
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
    """Cumulative error distribution: the share of faces with an error of at most each limit."""
    errors = np.sort(_missing_as_infinite(errors))
    return np.searchsorted(errors, limits, side="right") / len(errors)


def auc(errors: np.ndarray, limit: float = AUC_LIMIT) -> float:
    """Area under the CED up to `limit`, divided by `limit`: 1 is perfect. Exact, not by bins."""
    return float(np.clip(1 - _missing_as_infinite(errors) / limit, 0, 1).mean())


def failure_rate(errors: np.ndarray, limit: float = FAILURE_LIMIT) -> float:
    """Share of faces with an error above `limit`; a face that was not found is a failure."""
    return float((_missing_as_infinite(errors) > limit).mean())


def area_under_roc(values: np.ndarray, is_positive: np.ndarray) -> float:
    """Share of all pairs of a positive and a negative in which the positive one has the larger value.

    values, is_positive (bool): arrays of one shape. Equal values count half. NaN unless there are both.
    """
    negative, positive = np.sort(values[~is_positive]), values[is_positive]
    if not len(negative) or not len(positive):
        return float("nan")
    places = np.searchsorted(negative, positive, "left") + np.searchsorted(negative, positive, "right")
    return float(places.mean() / 2 / len(negative))


def _missing_as_infinite(errors) -> np.ndarray:
    errors = np.asarray(errors, dtype=np.float64)
    if errors.size == 0:
        raise ValueError("no faces to measure")
    return np.where(np.isnan(errors), np.inf, errors)


def bootstrap_interval(
    errors: np.ndarray, identities, *, draws: int = 2000, coverage: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Interval (low, high) of the mean error by resampling identities, not images.

    errors: (N,), NaN where not found. identities: the person of each.
    Images of one person are alike, so resampling images would give too narrow an interval.
    Returns NaN twice if no face was found.
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


# --- offsets per point ---------------------------------------------------------------------------


def steps_in_face(steps: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """Steps of points (N, K, 2) in pixels, in the frame of each face and in its inter-ocular distances.

    keypoints: (N, 68, 2) of the faces. x leads to the person's left (the right of the image), y down.
    """
    frame = FaceFrame.of(keypoints)
    return frame.turn_into(steps) * (frame.unit / interocular_distance(keypoints))[:, None, None]


def fit_offset(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Mean of true - predicted, (68, 2), in the frames of the predicted faces that were found."""
    found = ~np.isnan(predicted[:, 0, 0])
    if not found.any():
        raise ValueError("an offset needs at least one face that was found, got none")
    frame = FaceFrame.of(predicted[found])
    return frame.turn_into(true[found] - predicted[found]).mean(axis=0)


def add_offset(predicted: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Predicted keypoints (N, 68, 2) with the offset of `fit_offset` added."""
    return (predicted + FaceFrame.of(predicted).turn_out_of(offset)).astype(np.float32)


# --- all figures of a set of faces --------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """Predicted and true keypoints (N, 68, 2) of a set of faces, and what metrics are computed from."""

    predicted: np.ndarray
    true: np.ndarray

    @cached_property
    def distances(self) -> np.ndarray:
        """Distance (N, 68) in pixels between predicted and true points."""
        return point_errors(self.predicted, self.true)

    @cached_property
    def interocular(self) -> np.ndarray:
        """Distance (N,) in pixels between the outer eye corners."""
        return interocular_distance(self.true)

    @cached_property
    def errors(self) -> np.ndarray:
        """NME (N,) of each face; NaN where not found."""
        return self.distances.mean(axis=1) / self.interocular

    @cached_property
    def box_errors(self) -> np.ndarray:
        """Mean distance (N,) over the size of the label box; NaN where not found."""
        return self.distances.mean(axis=1) / label_box_size(self.true)

    @cached_property
    def found(self) -> np.ndarray:
        """True (N,) for each face that was found."""
        return ~np.isnan(self.errors)

    @property
    def inner_51(self) -> float:
        """NME of the points without the jaw."""
        return self.mean(self.distances[:, list(INNER_51)].mean(axis=1) / self.interocular)

    def mean(self, values: np.ndarray) -> float:
        """Mean of `values` (N,) over the faces that were found; NaN if there are none."""
        return float(values[self.found].mean()) if self.found.any() else float("nan")


class Metric(NamedTuple):
    """title: its column in tables. digits: after the point, in percent. of: computes the fraction."""

    title: str
    digits: int
    of: Callable[[Measured], float]


#: The metrics of every row, in the order of the tables.
METRICS = {
    "nme": Metric("NME", 2, lambda faces: faces.mean(faces.errors)),
    "nme_median": Metric("median", 2, lambda faces: float(np.median(_missing_as_infinite(faces.errors)))),
    "nme_box": Metric("over box size", 2, lambda faces: faces.mean(faces.box_errors)),
    "auc_8": Metric("AUC@8", 1, lambda faces: auc(faces.errors)),
    "fr_10": Metric("FR@10", 1, lambda faces: failure_rate(faces.errors)),
    "found": Metric("found", 1, lambda faces: float(faces.found.mean())),
}


def summarise(predicted: np.ndarray, true: np.ndarray, identities=None) -> dict:
    """All figures of a set of faces: n, METRICS, regions, poses, and nme_interval if identities are given.

    predicted, true: keypoints (N, 68, 2) in pixels; predicted is NaN where no face was found.
    identities: the person of each face.
    """
    faces = Measured(predicted, true)
    turns = np.abs(yaw_ratio(true))
    poses = {}
    for name, (low, high) in YAW_BINS.items():
        inside = (turns >= low) & (turns < high)
        values = faces.errors[inside & faces.found]
        poses[name] = {"n": int(inside.sum()), "nme": float(values.mean()) if len(values) else float("nan")}
    figures = {
        "n": len(faces.errors),
        **{name: metric.of(faces) for name, metric in METRICS.items()},
        "regions": {
            name: faces.mean(faces.distances[:, list(points)].mean(axis=1) / faces.interocular)
            for name, points in REGIONS.items()
        },
        "poses": poses,
    }
    if identities is not None:
        figures["nme_interval"] = list(bootstrap_interval(faces.errors, identities))
    return figures


def percent(figures: dict, name: str) -> str:
    """A figure of METRICS as tables show it: in percent, with its interval if there is one."""
    digits = METRICS[name].digits
    text = f"{100 * figures[name]:.{digits}f}"
    if f"{name}_interval" not in figures:
        return text
    low, high = figures[f"{name}_interval"]
    return f"{text} ({100 * low:.{digits}f} to {100 * high:.{digits}f})"


def headings(names=METRICS) -> list[str]:
    """Column titles of metrics whose cells are made by `percent`."""
    notes = {"nme": " (95 % interval)"}
    return [f"{METRICS[name].title}, %{notes.get(name, '')}" for name in names]
