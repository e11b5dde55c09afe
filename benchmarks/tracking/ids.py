"""Ids of faces that cross, leave and come back, and in videos with damaged frames.

Cut-out faces of the sample photos over a background without faces, run through the real network. The
person at each place is known, so each id can be compared with the person that it stands
for. tests/test_track_ids.py tests the logic without a network.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import skimage.data

from benchmarks.tracking.scenes import FPS, MOTIONS, SIZE_WH, add_noise, cut_out_faces, lay_over, portraits
from detector import KeypointDetector
from files import cv2
from video.tracker import FaceTracker

NOISE = 4.0
ON_FACE = 60  # pixels from the centre of a face; faces are about 160 high
GONE = 100  # pixels outside the frame; nothing of the face is visible there
Places = list[tuple[float, float] | None]  # (x, y) of each person, None if absent


@dataclass(frozen=True)
class Outcome:
    """Counts of one run of a scene.

    swapped: persons whose id at the end belonged to another person before. renewed: persons with a new
    id at the end. lost: persons without an id at the end. strays: frames with a face where nobody is.
    ids: number of ids given.
    """

    swapped: int
    renewed: int
    lost: int
    strays: int
    ids: int


def judge(seen: list[dict[int, tuple[float, float]]], places: list[Places], start: int = 0) -> Outcome:
    """Compare the tracked faces with the persons' places.

    seen: {id: (x, y)} of each frame. places: of each frame. start: the frame in which everybody has an
    id; the last frame is the end.
    """
    owners = [_owners(faces, where) for faces, where in zip(seen, places, strict=True)]
    before, after = ({person: key for key, person in owners[n].items()} for n in (start, -1))
    here = [person for person, place in enumerate(places[-1]) if place is not None]
    known = {key for key, person in owners[start].items() if person is not None}
    changed = [p for p in here if p in after and p in before and after[p] != before[p]]
    return Outcome(
        swapped=sum(after[p] in known for p in changed),
        renewed=sum(after[p] not in known for p in changed),
        lost=sum(p not in after for p in here),
        strays=sum(None in faces.values() for faces in owners),
        ids=len({key for faces in seen for key in faces}),
    )


def _owners(faces: dict[int, tuple[float, float]], places: Places) -> dict[int, int | None]:
    """The person that each id stands for in a frame; None where nobody is."""
    owners = {}
    for key, (x, y) in faces.items():
        away = {p: np.hypot(x - at[0], y - at[1]) for p, at in enumerate(places) if at is not None}
        nearest = min(away, key=away.get, default=None)
        owners[key] = nearest if nearest is not None and away[nearest] < ON_FACE else None
    return owners


def track(detector: KeypointDetector, images: Iterable[np.ndarray | None]) -> list[dict]:
    """{id: centre of the keypoints} of each frame."""
    tracker = FaceTracker(detector)
    return [
        {tracked.id: tuple(tracked.measured.mean(axis=0)) for tracked in tracker(image, number / FPS)}
        for number, image in enumerate(images)
    ]


def render(places: list[Places], faces, seed: int) -> Iterator[np.ndarray]:
    """The frames of a scene; later persons are in front."""
    rng = np.random.default_rng(seed)
    background = cv2.resize(skimage.data.coffee(), SIZE_WH).astype(np.float32)
    for where in places:
        image = background
        for face, place in zip(faces, where, strict=True):
            image = image if place is None else lay_over(image, face, *place)
        yield add_noise(image, NOISE, rng)


# --- scenes --------------------------------------------------------------------------------------


def crossing(speed: float, lower: float) -> list[Places]:
    """Two persons, 240 pixels apart, change places at `speed` pixels per frame each; then they rest."""
    ways = [min(speed * n, 240.0) for n in range(round(240 / speed) + FPS // 2)]
    return [[(200 + way, 235 - lower / 2), (440 - way, 235 + lower / 2)] for way in ways]


def leaving(speed: float, away_s: float) -> list[Places]:
    """A person leaves over the left edge and comes back; for away_s seconds more than half is outside."""
    out = np.arange(200.0, -1, -speed)
    beyond = np.maximum(out[-1] - speed * np.arange(1, round(away_s * FPS / 2) + 1), -GONE)
    xs = [200.0] * 10 + [*out, *beyond, *beyond[::-1], *out[::-1]] + [200.0] * 10
    return [[None] if x == -GONE else [(x, 240.0)] for x in xs]


def crossings(detector, speed: float) -> list[Outcome]:
    """Runs of `crossing`: each face in front once, heads level and one lower."""
    faces, outcomes = cut_out_faces(), []
    for seed, (pair, lower) in enumerate((p, low) for p in (faces, faces[::-1]) for low in (0, 40)):
        places = crossing(speed, lower)
        outcomes.append(judge(track(detector, render(places, pair, seed)), places))
    return outcomes


def returns(detector, away_s: float, speeds) -> list[Outcome]:
    """Runs of `leaving`: each face at each speed."""
    outcomes = []
    for seed, (face, speed) in enumerate((f, s) for f in cut_out_faces() for s in speeds):
        places = leaving(speed, away_s)
        outcomes.append(judge(track(detector, render(places, [face], seed)), places))
    return outcomes


def damaged(detector, missing: int, motions: Iterable[str]) -> list[Outcome]:
    """Runs of a moving portrait in which `missing` frames in a row cannot be read, once per second."""
    outcomes = []
    for portrait in portraits().values():
        for name in motions:
            rng, images, places = np.random.default_rng(0), [], []
            for n in range(4 * FPS):
                pose = MOTIONS[name](n / FPS, 100.0)
                bad = n >= FPS and n % FPS < missing
                images.append(None if bad else portrait.frame(pose, NOISE, rng))
                places.append([(SIZE_WH[0] / 2 + pose.x, SIZE_WH[1] / 2 + pose.y)])
            outcomes.append(judge(track(detector, images), places))
    return outcomes
