"""Less jitter without lag: the One-Euro filter on keypoints.

    smooth = KeypointSmoother()
    steady = smooth(keypoints, time_s)      # (68, 2) in, (68, 2) out, once per frame

Casiez, Roussel, Vogel, "1 € Filter: A Simple Speed-based Low-pass Filter for Noisy
Input in Interactive Systems", CHI 2012. A low-pass filter either trembles or lags;
this one is slow while a point rests, where one sees trembling, and fast while it
moves, where one sees lag.
"""

import math
from dataclasses import dataclass

import numpy as np

from geometry import box_from_keypoints, box_side
from landmarks import OUTER_EYE_CORNERS, check_keypoints

#: Inter-ocular distance over the larger side of the box around the keypoints, of a face from the front.
FRONTAL_SHARE = 0.5


@dataclass(frozen=True)
class OneEuroSettings:
    """How much is smoothed.

    resting_hz: cut-off frequency of a point at rest. Lower trembles less, and a slow motion starts later.
    gain: by how many Hz the cut-off rises per unit a second of speed; the unit is what
        `OneEuroFilter` is told, for keypoints the inter-ocular distance. Higher lags less.
    speed_hz: cut-off frequency of the speed itself, which decides how soon a motion is noticed.

    The defaults were chosen on two photos, still with pixel noise and moving with a known
    motion (benchmarks/tracking/README.md).
    """

    resting_hz: float = 0.5
    gain: float = 16.0
    speed_hz: float = 2.0

    def __post_init__(self):
        if not (self.resting_hz > 0 and self.speed_hz > 0 and self.gain >= 0):
            raise ValueError(f"resting_hz and speed_hz must be above 0, gain at least 0; got {self}")


def _weight(cutoff_hz, step_s: float):
    """Weight of the new value in a first-order low-pass filter, 0 to 1."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff_hz * step_s))


class OneEuroFilter:
    """Filters arrays of any one shape, each number by itself, with steps of time of any length."""

    def __init__(self, settings: OneEuroSettings | None = None):
        self.settings = settings or OneEuroSettings()
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next values come out as they go in."""
        self._time_s, self._raw, self._smooth, self._speed = -math.inf, None, None, 0.0

    def __call__(self, values: np.ndarray, time_s: float, unit: float = 1.0) -> np.ndarray:
        """The filtered values (float64, same shape) at time_s, in seconds.

        unit: what speeds are measured in, in the units of `values`.
        Raises ValueError for values that are not finite or change shape, a time that
        does not increase, and a unit that is not above 0.
        """
        values = np.asarray(values, dtype=np.float64)
        self._check(values, time_s, unit)
        if self._raw is None:
            self._time_s, self._raw, self._smooth = time_s, values, values
            return values.copy()
        step_s = time_s - self._time_s
        speed = (values - self._raw) / step_s
        self._speed = self._speed + _weight(self.settings.speed_hz, step_s) * (speed - self._speed)
        cutoff_hz = self.settings.resting_hz + self.settings.gain * np.abs(self._speed) / unit
        self._smooth = self._smooth + _weight(cutoff_hz, step_s) * (values - self._smooth)
        self._time_s, self._raw = time_s, values
        return self._smooth.copy()

    def _check(self, values: np.ndarray, time_s: float, unit: float) -> None:
        if not np.isfinite(values).all():
            raise ValueError("values to smooth must be finite numbers, got NaN or infinity")
        if self._raw is not None and values.shape != self._raw.shape:
            raise ValueError(
                f"values of shape {values.shape} follow values of shape {self._raw.shape}; "
                "use another filter, or reset()"
            )
        if not (math.isfinite(time_s) and time_s > self._time_s):
            raise ValueError(f"time must increase: {time_s} s follows {self._time_s} s")
        if not unit > 0:
            raise ValueError(f"the unit of speed must be above 0, got {unit}")


def eye_distance(keypoints: np.ndarray) -> float:
    """Inter-ocular distance in pixels, of a turned face the one that it would have from the front.

    The distance as seen shrinks as a head turns, to nothing in profile; the box around the
    keypoints (68, 2) does not, so half of its larger side is the least.
    """
    right, left = (keypoints[index] for index in OUTER_EYE_CORNERS)
    side = box_side(box_from_keypoints(keypoints))
    return max(float(np.linalg.norm(right - left)), FRONTAL_SHARE * side)


class KeypointSmoother:
    """One-Euro on the 136 coordinates of one face; speeds count in inter-ocular distances a second.

    The same settings therefore do the same to a small and a large face.
    """

    def __init__(self, settings: OneEuroSettings | None = None):
        self._filter = OneEuroFilter(settings)

    def __call__(self, keypoints: np.ndarray, time_s: float) -> np.ndarray:
        """Smoothed keypoints (68, 2) float32 in pixels; times must increase."""
        points = check_keypoints(keypoints)
        return self._filter(points, time_s, eye_distance(points)).astype(np.float32)
