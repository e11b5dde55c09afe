"""Filters that an expression starts: an open mouth, raised brows, a blink, a smile.

A trigger has two thresholds (hysteresis): it goes on at one, and off at another. Their distance is larger
than the noise of the points, so it does not flicker when a measure stays near a threshold.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from analysis.openings import brow_raise, eye_opening, mouth_opening
from detector.predictor import Face
from files import cv2
from filters.base import Filter, add_filter
from filters.effects import Hearts, Rainbow
from filters.make_up import Blush
from filters.warps import BigEyes
from geometry import interocular_distance
from landmarks import MOUTH_LEFT, MOUTH_RIGHT


def mouth_width(keypoints: np.ndarray) -> float:
    """Distance of the corners of the mouth over that of the outer eye corners; a smile widens it."""
    width = np.linalg.norm(keypoints[MOUTH_LEFT] - keypoints[MOUTH_RIGHT])
    return float(width / max(float(interocular_distance(keypoints)), 1e-6))


@dataclass(frozen=True)
class Trigger:
    """When an expression begins and ends.

    measure: from keypoints (68, 2) to a number. on, off: thresholds of the number, after `usual` is
        subtracted; with on > off high numbers switch on, with on < off low ones.
    usual: the number of a face at rest; in a video the median of the same person replaces it, once there is
        one. None for a measure that is the same for all people.
    min_s: the shortest time that it stays on, in seconds.
    """

    measure: Callable[[np.ndarray], float]
    on: float
    off: float
    usual: float | None = None
    min_s: float = 0.0

    def __post_init__(self):
        if self.on == self.off:
            raise ValueError(f"on and off must differ, or the trigger flickers at {self.on}")

    def is_beyond(self, value: float, threshold: float) -> bool:
        """True where the value is on the far side of a threshold, seen from rest."""
        return value >= threshold if self.on > self.off else value <= threshold


def _mouth(keypoints: np.ndarray) -> float:
    return float(mouth_opening(keypoints))


def _brows(keypoints: np.ndarray) -> float:
    return float(brow_raise(keypoints).mean())


def _eyes(keypoints: np.ndarray) -> float:
    return float(eye_opening(keypoints).mean())


#: Thresholds suit the points of the network, which show a mouth a little less open than it is. A smile with
#: teeth is about 0.2.
TRIGGERS = {
    "mouth_open": Trigger(_mouth, on=0.36, off=0.26),
    "brows_raised": Trigger(_brows, on=0.045, off=0.025, usual=0.29),
    "blink": Trigger(_eyes, on=-0.10, off=-0.06, usual=0.27, min_s=0.8),
    "smile": Trigger(mouth_width, on=0.07, off=0.04, usual=0.58),
}
REST_S, MIN_REST = 6.0, 15  # seconds, and number of frames, that the median of a person is taken over


@dataclass
class TriggerState:
    """A trigger of one face in a video."""

    trigger: Trigger
    is_on: bool = False
    since_s: float = -np.inf
    past: deque = field(default_factory=deque)

    def update(self, value: float, time_s: float) -> bool:
        """Take the measure at a time, in seconds; True while the expression lasts. NaN changes nothing."""
        if not np.isfinite(value):
            return self.is_on
        value -= self._usual(value, time_s)
        if not self.is_on and self.trigger.is_beyond(value, self.trigger.on):
            self.is_on, self.since_s = True, time_s
        elif self.is_on and not self.trigger.is_beyond(value, self.trigger.off):
            self.is_on = time_s - self.since_s < self.trigger.min_s
        return self.is_on

    def _usual(self, value: float, time_s: float) -> float:
        if self.trigger.usual is None:
            return 0.0
        self.past.append((time_s, value))
        while self.past[0][0] < time_s - REST_S:
            self.past.popleft()
        enough = len(self.past) >= MIN_REST
        return float(np.median([value for _, value in self.past])) if enough else self.trigger.usual


class Triggered(Filter):
    """A filter that an expression switches on; it comes and goes in a fifth of a second.

    effect: the filter. trigger: one of `TRIGGERS`. In a single image it is either there or not.
    """

    fade_s, forget_s = 0.2, 5.0

    def __init__(self, effect: Filter, trigger: str):
        self.effect, self.trigger = effect, TRIGGERS[trigger]
        self.needs_faces = effect.needs_faces
        self._states: dict[int, TriggerState] = {}
        self._amounts: dict[int, tuple[float, float]] = {}  # id -> time of the last frame, opacity

    def paint_all(self, image, faces, time_s) -> None:
        """Update the trigger of every face, and paint the effect as far as it has faded in."""
        for face, number in faces:
            amount = self._amount(face, number, time_s)
            if amount >= 1:
                self.effect.try_paint(image, face)
            elif amount > 0:
                painted = image.copy()
                self.effect.try_paint(painted, face)
                cv2.addWeighted(painted, amount, image, 1 - amount, 0, dst=image)

    def _amount(self, face: Face, number: int, time_s: float | None) -> float:
        value = self.trigger.measure(face.keypoints)
        if time_s is None:
            return float(TriggerState(self.trigger).update(value, 0.0))
        last_s, amount = self._amounts.get(number, (-np.inf, 0.0))
        if time_s - last_s > self.forget_s or number not in self._states:
            self._states[number], last_s = TriggerState(self.trigger), time_s
        step = (time_s - last_s) / self.fade_s
        is_on = self._states[number].update(value, time_s)
        amount = float(np.clip(amount + (step if is_on else -step), 0, 1))
        self._amounts[number] = time_s, amount
        return amount


add_filter("rainbow", lambda: Triggered(Rainbow(), "mouth_open"))
add_filter("surprise", lambda: Triggered(BigEyes(strength=0.5), "brows_raised"))
add_filter("hearts", lambda: Triggered(Hearts(), "blink"))
add_filter("shy", lambda: Triggered(Blush(strength=0.58), "smile"))
