"""A detector that knows where people are, for tests of tracking: number of the frame in, faces out."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from detector import Face
from geometry import box_centre, box_from_keypoints, scale_box
from landmarks import NUM_KEYPOINTS
from sample_faces import canonical_head
from video.tracker import FaceTracker, face_distance

SHAPE = canonical_head()[:, :2]
SHAPE = (SHAPE - (SHAPE.min(axis=0) + SHAPE.max(axis=0)) / 2) / np.ptp(SHAPE, axis=0).max()
SIZE_WH = (320, 240)
# Face sizes.
EXACT_WITHIN = 0.2
COVERED, HIDDEN = 0.9, 0.4
FPS = 30
#: For tests that hold with a network that says how sure it is, and with one that does not.
KNOWN = pytest.mark.parametrize("confidence", [None, 0.9], ids=["unknown", "confident"])


def person(x: float, y: float, size: float = 60.0) -> np.ndarray:
    """Keypoints (68, 2) of a face of that many pixels around a place."""
    return (SHAPE * size + (x, y)).astype(np.float32)


def still(number):
    return person(100, 120)


def walker(number):
    return person(60 + 4 * number, 120)


def frame(number: int, size_wh=SIZE_WH) -> np.ndarray:
    """An image that says which frame of the scene it is."""
    image = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    image[...] = number
    return image


class Scene:
    """Stands in for a KeypointDetector.

    people: functions of the frame's number that give keypoints, or None while someone is away; who
        is nearer to the camera comes first and hides the others.
    confidence: of everything found, a number or a function of the frame's number; None is unknown.
    reach: how far off a face may be for the network to find it, in face sizes.
    covered: from what distance on someone in front covers a part of a face, in face sizes.
    """

    def __init__(
        self,
        people: Sequence[Callable[[int], np.ndarray | None]],
        confidence: float | Callable[[int], float] | None = None,
        *,
        reach: float = 0.45,
        noise: float = 0.0,
        covered: float = COVERED,
    ):
        self.people, self.confidence, self.reach, self.noise = people, confidence, reach, noise
        self.covered = covered
        self.rng = np.random.default_rng(0)
        self.searched, self.followed, self.boxes_looked_at = [], [], 0

    def visible(self, number: int) -> list[np.ndarray]:
        """The answers of a network for each face of which about half is to be seen.

        Of one that another begins to cover, it makes a mixture of both.
        """
        seen = []
        for where in self.people:
            points = where(number)
            if points is None:
                continue
            front = min(seen, key=lambda other: face_distance(points, other), default=None)
            apart = math.inf if front is None else face_distance(points, front)
            if apart > HIDDEN:
                drawn = max(0.0, (self.covered - apart) / self.covered)
                seen.append(points if front is None else points + drawn * (front - points))
        return seen

    def face_detector(self, image: np.ndarray) -> np.ndarray:
        """Boxes a little larger than the faces."""
        number = int(image[0, 0, 0])
        self.searched.append(number)
        return np.array(
            [scale_box(box_from_keypoints(points), 1.2) for points in self.visible(number)]
        ).reshape(-1, 4)

    def detect_batch(self, images, boxes_xyxy, *, filter_boxes: bool) -> list[list[Face]]:
        """The face nearest to each box, for a single image."""
        (image,), (boxes_xyxy,) = images, boxes_xyxy
        number = int(image[0, 0, 0])
        self.boxes_looked_at += len(boxes_xyxy)
        middles = [box_centre(box) for box in boxes_xyxy]
        nearest = [
            min(self.visible(number), key=lambda p: np.linalg.norm(box_centre(box_from_keypoints(p)) - m))
            for m in middles
        ]
        assert filter_boxes
        return [[self._face(points, number) for points in nearest]]

    def follow(self, image: np.ndarray, keypoints: np.ndarray) -> list[Face]:
        """The face within reach of each place; where there is none, what a network draws: a smaller one."""
        number = int(image[0, 0, 0])
        assert keypoints.shape[1:] == (NUM_KEYPOINTS, 2)
        self.followed.append(number)
        faces = []
        for points in keypoints:
            near = min(self.visible(number), key=lambda p: face_distance(p, points), default=None)
            off = math.inf if near is None else face_distance(near, points)
            if off < self.reach:
                # one look at a face far off the middle of the crop only leads towards it
                left = max(0.0, off - EXACT_WITHIN) / self.reach
                faces.append(self._face(near + left * (points - near), number))
            else:
                middle = points.mean(axis=0)
                faces.append(self._face(middle + 0.6 * (points - middle), number, is_face=False))
        return faces

    def _face(self, points: np.ndarray, number: int, *, is_face: bool = True) -> Face:
        confidence = self.confidence(number) if callable(self.confidence) else self.confidence
        if not is_face and confidence is not None:
            confidence = 0.1
        noisy = points + self.rng.normal(0, 1, points.shape) * self.noise
        box = box_from_keypoints(noisy)
        return Face(noisy.astype(np.float32), box, confidence, np.full(NUM_KEYPOINTS, np.nan, np.float32))


def follow(scene, numbers, *, damaged=(), fps=FPS, **settings):
    """For each frame its faces, as {id: TrackedFace}."""
    tracker = FaceTracker(scene, **settings)
    seen = []
    for number in numbers:
        image = None if number in damaged else frame(number)
        seen.append({tracked.id: tracked for tracked in tracker(image, number / fps)})
    return seen


def ids(seen):
    return [sorted(faces) for faces in seen]
