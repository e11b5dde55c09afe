"""The One-Euro filter on keypoints: less jitter, with little lag.

    smooth = KeypointSmoother()
    steady = smooth(keypoints, time_s)      # (68, 2) in, (68, 2) out, once per frame

Casiez, Roussel, Vogel, "1 € Filter: A Simple Speed-based Low-pass Filter for Noisy
Input in Interactive Systems", CHI 2012. A low-pass filter whose cut-off frequency rises with
the speed: it smooths a point at rest strongly, where jitter shows, and a moving point
little, where lag shows.
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
    """Settings of the filter.

    resting_hz: cut-off frequency in Hz of a point at rest. A lower one gives less jitter, and slow motions
        start later.
    gain: rise of the cut-off frequency in Hz per unit of speed (`unit` of `OneEuroFilter` per second; for
        keypoints the inter-ocular distance per second). A higher one lags less.
    speed_hz: cut-off frequency in Hz of the measured speed. A higher one notices a motion sooner.

    The defaults were chosen on two photos, at rest with pixel noise and moving with a known motion
    (benchmarks/tracking/README.md).
    Raises ValueError for settings out of range.
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
    """The filter on arrays of one shape, each number by itself; the steps of time may differ."""

    def __init__(self, settings: OneEuroSettings | None = None):
        self.settings = settings or OneEuroSettings()
        self.reset()

    def reset(self) -> None:
        """Forget all values; the next ones come out unchanged."""
        self._time_s = -math.inf
        self._raw: np.ndarray | None = None
        self._smooth = np.zeros(0)
        self._speed: np.ndarray | float = 0.0

    def __call__(self, values: np.ndarray, time_s: float, unit: float = 1.0) -> np.ndarray:
        """The filtered values (float64, same shape) at time_s, in seconds.

        unit: the length, in units of `values`, in which speeds are measured.
        Raises ValueError for values that are not finite or change shape, a time that does not increase, and a
        unit that is not above 0.
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
    """Inter-ocular distance of keypoints (68, 2) in pixels, at least half of the larger side of their box.

    The distance shrinks to nothing when a head turns to profile; the box does not. Half of its side is
    the inter-ocular distance of a face from the front.
    """
    right, left = (keypoints[index] for index in OUTER_EYE_CORNERS)
    side = box_side(box_from_keypoints(keypoints))
    return max(float(np.linalg.norm(right - left)), FRONTAL_SHARE * side)


class KeypointSmoother:
    """The filter on the 136 coordinates of one face, with speeds in inter-ocular distances per second.

    The same settings have the same effect on small and large faces.
    """

    def __init__(self, settings: OneEuroSettings | None = None):
        self._filter = OneEuroFilter(settings)

    def __call__(self, keypoints: np.ndarray, time_s: float) -> np.ndarray:
        """Smoothed keypoints (68, 2) float32 in pixels; times must increase."""
        points = check_keypoints(keypoints)
        return self._filter(points, time_s, eye_distance(points)).astype(np.float32)
