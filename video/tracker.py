"""Faces followed from frame to frame, each with an id.

    tracker = FaceTracker(KeypointDetector.from_pretrained())
    for frame, time_s in camera:
        for tracked in tracker(frame, time_s):
            tracked.id, tracked.face.keypoints

A face that is known costs one pass of the network per frame, at the place that its motion predicts.
A frame is searched for new faces at intervals, and when a known face is missing.

An id stands for a place and a size that change steadily; nobody is recognised. Two faces that cross
keep their ids if they go on as they went; two that meet, hide each other and turn back may swap them.
A face that was lost gets its id back if, soon enough, one of its size is found where it was lost or
where it was heading; another person who sits down there gets that id too.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from detector.predictor import Face, KeypointDetector
from files import to_rgb
from geometry import box_centre, box_from_keypoints, box_side, face_distance, face_size, image_box
from video.smoothing import KeypointSmoother, OneEuroSettings

REDETECT_EVERY = 30  # frames between searches with cascades, which take longer than everything else
REMEMBER_S = 5.0  # seconds for which a lost face keeps its id
MIN_INSIDE = 0.5  # share of the keypoints that lie in the image
# Distances in face sizes.
SAME_FACE = 0.3  # faces nearer to each other than this are one
SAME_HEAD = 0.7  # heads side by side have their middles farther apart than this
REACH, REACH_AGAIN = 0.5, 1.0  # how far from where it was expected a face may be; one that was missing
# Near another face the network's answer moves towards that face and is a mixture of both.
CROWDED, CROWDED_REACH = 1.0, 0.2
# A head with its hair is wider than its keypoints. At this distance it may cover some keypoints of another
# face, which then seem to stand still; the velocity from before is more accurate.
COVERING = 1.3
# Where there is no face, a network answers with a smaller one (0.4 to 0.9 of the size before, on photos and
# noise). Where the confidence is known, the limit only has to exclude gross errors.
SIZE_CHANGE, SIZE_CHANGE_IF_CONFIDENT, SIZE_CHANGE_AGAIN = 1.33, 2.0, 1.5


@dataclass(frozen=True)
class TrackedFace:
    """A face with the id that it has for as long as it is followed.

    id: 0, 1, ... in the order in which faces were first seen.
    face: a `Face` with smoothed keypoints and the box around them.
    measured: (68, 2) keypoints in pixels before smoothing.
    """

    id: int
    face: Face
    measured: np.ndarray


class _Track:
    """The state of one face: where it was seen last, its motion and its smoother."""

    def __init__(self, track_id: int, smoothing: OneEuroSettings | None):
        self.id, self.smoothing = track_id, smoothing

    def start(self, face: Face, time_s: float) -> None:
        """Begin without a past: for a face that is new or was found again."""
        self.motion = Motion(face.keypoints, time_s)
        self.smoother = KeypointSmoother(self.smoothing) if self.smoothing else None
        self._see(face, time_s)

    def follow(self, face: Face, time_s: float, *, steady: bool) -> None:
        self.motion.update(face.keypoints, time_s, steady=steady)
        self._see(face, time_s)

    def _see(self, face: Face, time_s: float) -> None:
        self.face, self.seen_s, self.missed = face, time_s, 0
        points = face.keypoints
        self.smooth = self.smoother(points, time_s) if self.smoother else points

    def expected(self, time_s: float) -> np.ndarray:
        return self.motion.place(self.face.keypoints, time_s)

    def match_cost(self, face: Face, expected: np.ndarray, reach: float) -> float:
        """The cost of taking a face for this one: up to 1 within `reach`; infinite if its size is far off."""
        most = SIZE_CHANGE if face.confidence is None else SIZE_CHANGE_IF_CONFIDENT
        if size_change(face.keypoints, expected) > most:
            return math.inf
        return face_distance(face.keypoints, expected) / reach

    def reid_cost(self, face: Face, time_s: float) -> float:
        """The cost for a face that was missing: from where it was seen or is expected, the nearer one."""
        if size_change(face.keypoints, self.face.keypoints) > SIZE_CHANGE_AGAIN:
            return math.inf
        places = self.face.keypoints, self.expected(time_s)
        return min(face_distance(face.keypoints, place) for place in places) / REACH_AGAIN

    def result(self) -> TrackedFace:
        face = replace(self.face, keypoints=self.smooth, box_xyxy=box_from_keypoints(self.smooth))
        return TrackedFace(self.id, face, self.face.keypoints)


class FaceTracker:
    """Call it with each frame of a video and its time; it returns the faces that are seen in the frame.

    detector: finds faces, and follows them (`KeypointDetector.follow`).
    redetect_every: frames between searches for new faces while all known ones are seen; None takes
        `redetect_every` of the face detector, or 30. If the face detector has a method `search`, each search
        takes the image or the flipped image, in turn.
    search_every: frames between searches while no face is known, or one is missing.
    min_confidence: a face with less is dropped, 0 to 1. Where the network does not
        estimate it (NaN), a face is dropped when its size jumps or it leaves the image.
    lost_after: frames for which a missing face is looked for where it was heading.
    remember_s: seconds after which a face that was lost cannot get its id back.
    smooth: true for smoothed keypoints in `TrackedFace.face`. smoothing: settings of the filter.
    Raises ValueError for settings out of range.
    """

    def __init__(
        self,
        detector: KeypointDetector,
        *,
        redetect_every: int | None = None,
        search_every: int = 3,
        min_confidence: float = 0.5,
        lost_after: int = 30,
        remember_s: float = REMEMBER_S,
        smooth: bool = True,
        smoothing: OneEuroSettings | None = None,
    ):
        if redetect_every is None:
            redetect_every = max(
                getattr(detector.face_detector, "redetect_every", REDETECT_EVERY), search_every
            )
        if not 1 <= search_every <= redetect_every:
            raise ValueError(
                "frames between searches must be 1 <= search_every <= redetect_every, got "
                f"{search_every} and {redetect_every}"
            )
        if not 0 <= min_confidence <= 1:
            raise ValueError(f"min_confidence must be from 0 to 1, got {min_confidence}")
        if lost_after < 0 or not remember_s >= 0:
            raise ValueError(
                f"lost_after and remember_s must not be below 0, got {lost_after} and {remember_s}"
            )
        self.detector = detector
        self.redetect_every, self.search_every = redetect_every, search_every
        self.min_confidence, self.lost_after, self.remember_s = min_confidence, lost_after, remember_s
        self.smoothing = (smoothing or OneEuroSettings()) if smooth else None
        self.reset()

    def reset(self) -> None:
        """Forget all faces, before another video; ids begin at 0 again."""
        self._next_id, self._time_s = 0, -math.inf
        self._new_scene(None)

    def _new_scene(self, shape: tuple | None) -> None:
        self._tracks: list[_Track] = []
        self._lost: list[_Track] = []
        self._shape, self._since_search, self._flipped = shape, self.redetect_every, True

    def __call__(self, frame, time_s: float) -> list[TrackedFace]:
        """The faces in a frame, sorted by id.

        frame: an image (anything that `to_rgb` takes), or None for one that could not be read.
        time_s: its time in seconds, from any moment on; must increase.
        A frame of another size than the one before is taken for a new scene.
        Raises ValueError for a time that does not increase.
        """
        if not (math.isfinite(time_s) and time_s > self._time_s):
            raise ValueError(f"time must increase: {time_s} s follows {self._time_s} s; or reset() first")
        self._time_s = time_s
        self._since_search += 1
        for track in self._tracks:
            track.missed += 1
        if frame is not None:
            image = to_rgb(frame)
            if self._shape != image.shape:
                self._new_scene(image.shape)
            self._follow(image)
            self._search(image)
        self._drop([track.missed > self.lost_after for track in self._tracks])
        self._lost = [track for track in self._lost if self._time_s - track.seen_s <= self.remember_s]
        return [track.result() for track in self._tracks if track.missed == 0]

    # --- one frame -----------------------------------------------------------------------

    def _follow(self, image: np.ndarray) -> None:
        """Run the network where each known face should be, and give the faces found to the tracks."""
        outside = [share_inside(points, image) < MIN_INSIDE for points in self._expected(self._tracks)]
        self._drop(outside)
        if not self._tracks:
            return
        expected = self._expected(self._tracks)
        faces = [
            face for face in self.detector.follow(image, np.stack(expected)) if self._is_face(face, image)
        ]
        nearest = [_nearest(points, expected) for points in expected]
        reaches = [CROWDED_REACH if apart < CROWDED else REACH for apart in nearest]
        known = list(zip(self._tracks, expected, reaches, strict=True))
        costs = [[track.match_cost(face, points, reach) for track, points, reach in known] for face in faces]
        rows = _distinct(faces, [min(row) for row in costs])
        for row, column in match([costs[row] for row in rows]):
            steady = nearest[column] < COVERING
            self._tracks[column].follow(faces[rows[row]], self._time_s, steady=steady)

    def _search(self, image: np.ndarray) -> None:
        """Search for faces that are missing, lost or new, if it is time to."""
        seen = [track.face.keypoints for track in self._tracks if track.missed == 0]
        missing = self._expected([track for track in self._tracks if track.missed])
        # A search would not find a face behind another one, but a mixture of both.
        hidden = [points for points in missing if near_any(points, seen, CROWDED)]
        urgent = not seen or len(hidden) < len(missing)
        if self._since_search < (self.search_every if urgent else self.redetect_every):
            return
        self._since_search = 0
        taken = seen + hidden
        boxes = [box for box in self._propose(image, urgent) if not _is_taken(box, taken)]
        # filtered after each pass, so that a box without a face costs one pass
        faces = self.detector.detect_batch([image], [boxes], filter_boxes=True)[0] if boxes else []
        faces = [face for face in faces if self._is_face(face, image)]
        faces = [faces[row] for row in _distinct(faces, [0.0] * len(faces))]
        faces = [face for face in faces if not near_any(face.keypoints, taken, SAME_FACE)]
        for face, track in self._known(faces):
            if track is None:
                track = _Track(self._next_id, self.smoothing)
                self._next_id += 1
            track.start(face, self._time_s)
            self._lost = [other for other in self._lost if other is not track]
            self._tracks = [other for other in self._tracks if other is not track] + [track]
        self._tracks.sort(key=lambda track: track.id)

    def _propose(self, image: np.ndarray, urgent: bool) -> np.ndarray:
        """Boxes that may be faces; unless it is urgent, of the image and of the flipped image in turn."""
        search = getattr(self.detector.face_detector, "search", None)
        if urgent or search is None:
            return self.detector.face_detector(image)
        self._flipped = not self._flipped
        return search(image, self._flipped)

    def _expected(self, tracks: list[_Track]) -> list[np.ndarray]:
        return [track.expected(self._time_s) for track in tracks]

    def _known(self, faces: list[Face]) -> list[tuple[Face, _Track | None]]:
        """Each found face with the missing or lost track that it continues, or None."""
        known = [track for track in self._tracks if track.missed] + self._lost
        tracks: list[_Track | None] = [None] * len(faces)
        for row, column in match(
            [[track.reid_cost(face, self._time_s) for track in known] for face in faces]
        ):
            tracks[row] = known[column]
        return list(zip(faces, tracks, strict=True))

    def _drop(self, leaves: list[bool]) -> None:
        """Move the tracks that leave to the lost ones."""
        self._lost += [track for track, leave in zip(self._tracks, leaves, strict=True) if leave]
        self._tracks = [track for track, leave in zip(self._tracks, leaves, strict=True) if not leave]

    def _is_face(self, face: Face, image: np.ndarray) -> bool:
        if not np.isfinite(face.keypoints).all() or face.is_below(self.min_confidence):
            return False
        return share_inside(face.keypoints, image) >= MIN_INSIDE


def _nearest(keypoints: np.ndarray, faces: list[np.ndarray]) -> float:
    """Distance to the nearest other one of `faces` (each (68, 2)); infinite where there is none."""
    others = (other for other in faces if other is not keypoints)
    return min((face_distance(keypoints, other) for other in others), default=math.inf)


def _distinct(faces: list[Face], costs: list[float]) -> list[int]:
    """Indices of one face per place: the most confident one, then the one with the lowest cost."""
    rows = sorted(range(len(faces)), key=lambda row: (-(faces[row].confidence or 0), costs[row]))
    kept: list[int] = []
    for row in rows:
        if not near_any(faces[row].keypoints, [faces[other].keypoints for other in kept], SAME_FACE):
            kept.append(row)
    return kept


def _is_taken(box_xyxy: np.ndarray, taken: list[np.ndarray]) -> bool:
    """True for a face detector's box around a known face: near its centre, and at most twice as large."""
    for keypoints in taken:
        apart = np.linalg.norm(box_centre(box_xyxy) - box_centre(box_from_keypoints(keypoints)))
        size = face_size(keypoints)
        if apart < SAME_HEAD * size and box_side(box_xyxy) <= 2 * size:
            return True
    return False


# --- distances, motion, assignment --------------------------------------------------------------


def size_change(keypoints: np.ndarray, other: np.ndarray) -> float:
    """Size of the larger of two faces (68, 2) over that of the smaller one; at least 1."""
    ratio = face_size(keypoints) / face_size(other)
    return max(ratio, 1 / ratio)


def share_inside(keypoints: np.ndarray, image: np.ndarray) -> float:
    """Share of the keypoints (68, 2) that lie on the image, 0 to 1."""
    edges = image_box(image)
    return float(((keypoints >= edges[:2]) & (keypoints < edges[2:])).all(axis=1).mean())


def near_any(keypoints: np.ndarray, others: Sequence[np.ndarray], reach: float) -> bool:
    """True if one of the `others` (each (68, 2)) is nearer than `reach` face sizes."""
    return any(face_distance(keypoints, other) < reach for other in others)


def match(costs) -> list[tuple[int, int]]:
    """Pairs (row, column) with the least sum of costs (R, C); pairs that cost more than 1 are not made.

    The Hungarian method (Kuhn 1955). In the sum, a pair that costs more than 1 counts as 2 at most, so that
    two pairs are preferred to a single cheaper one.
    """
    costs = np.asarray(costs, dtype=np.float64)
    if not costs.size:
        return []
    return [(row, column) for row, column in assign(np.minimum(costs, 2.0)) if costs[row, column] <= 1]


def assign(costs: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (row, column) with the least sum of finite costs (R, C), as many as the shorter side; by row.

    The Hungarian method by shortest augmenting paths (Jonker and Volgenant, "A Shortest Augmenting Path
    Algorithm for Dense and Sparse Linear Assignment Problems", Computing 1987). SciPy has it too, but
    tracking would then need SciPy.
    """
    if costs.shape[0] > costs.shape[1]:
        return sorted((row, column) for column, row in assign(costs.T))
    rows, columns = costs.shape
    row_price, column_price = np.zeros(rows), np.zeros(columns)
    row_of = np.full(columns, -1)  # the row that each column has
    for start in range(rows):
        distance, previous = np.full(columns, np.inf), np.full(columns, -1)
        done, row, column, reached = np.zeros(columns, bool), start, -1, 0.0
        while True:  # the nearest column, until one is free
            through = reached + costs[row] - row_price[row] - column_price
            nearer = ~done & (through < distance)
            distance[nearer], previous[nearer] = through[nearer], column
            column = int(np.where(done, np.inf, distance).argmin())
            reached, done[column] = distance[column], True
            if row_of[column] < 0:
                break
            row = row_of[column]
        visited = done & (row_of >= 0)
        row_price[start] += reached
        row_price[row_of[visited]] += reached - distance[visited]
        column_price[visited] -= reached - distance[visited]
        while column >= 0:  # each column on the path gets the row of the one before
            before = previous[column]
            row_of[column] = start if before < 0 else row_of[before]
            column = before
    return sorted((int(row), int(column)) for column, row in enumerate(row_of) if row >= 0)


class Motion:
    """Motion of a face: centre and size of its box, and the velocity of the centre.

    An alpha-beta filter (Kalata, "The Tracking Index", 1984) whose gain grows with the distance between
    the measured and the predicted centre: noise moves the next crop little, a turn of the head moves it at
    once. A crop that moved with the noise would feed the noise back into the network.
    """

    MIN_GAIN, GAIN_PER_SIZE, SIZE_GAIN = 0.2, 20.0, 0.2

    def __init__(self, keypoints: np.ndarray, time_s: float):
        box = box_from_keypoints(keypoints)
        self.centre, self.sides = box_centre(box), box[2:] - box[:2]
        self.velocity, self.time_s = np.zeros(2), time_s  # pixels per second

    def update(self, keypoints: np.ndarray, time_s: float, *, steady: bool = False) -> None:
        """Update with keypoints (68, 2) seen at time_s, later than before; `steady` keeps the velocity."""
        box, step_s = box_from_keypoints(keypoints), time_s - self.time_s
        expected = self.centre + self.velocity * step_s
        error = box_centre(box) - expected
        gain = self.MIN_GAIN + self.GAIN_PER_SIZE * np.linalg.norm(error) / self.sides.max()
        gain = min(gain, 1.0)
        self.centre = expected + gain * error
        if not steady:
            self.velocity = self.velocity + gain**2 / (2 - gain) / step_s * error
        self.sides = self.sides * ((box[2:] - box[:2]) / self.sides) ** self.SIZE_GAIN
        self.time_s = time_s

    def place(self, keypoints: np.ndarray, time_s: float) -> np.ndarray:
        """Keypoints (68, 2) moved and scaled to where the face should be at time_s."""
        box = box_from_keypoints(keypoints)
        # A box is one pixel larger than the spread of its points.
        scale = (self.sides - 1) / np.maximum(box[2:] - box[:2] - 1, 1e-6)
        centre = self.centre + self.velocity * (time_s - self.time_s)
        return ((keypoints - box_centre(box)) * scale + centre).astype(np.float32)
