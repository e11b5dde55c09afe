"""Faces that are hard to find: tilted, turned, small, cut by the edge, covered, and many in one image.

Each case makes an image and the keypoints of its faces from a photo with hand-made points.
"""

from collections.abc import Callable, Iterator

import numpy as np
from tqdm import tqdm

from benchmarks.finding.scenes import BOX_SCALE, MIN_IOU, paste_at_random
from benchmarks.robustness.perturbations import resize, rotate
from checkpoint import FINDER
from data_load import FacialKeypointsDataset
from detector import KeypointDetector, NetworkFaceFinder
from files import cv2
from filters import apply_filter
from geometry import (
    box_centre,
    box_from_keypoints,
    box_iou,
    box_side,
    crop_matrix,
    interocular_distance,
    scale_box,
    transform_points,
    warp,
)
from landmarks import GROUPS
from training.metrics import YAW_BINS, yaw_ratio

Faces = tuple[np.ndarray, np.ndarray]  # an image, HxWx3 uint8 RGB, and the keypoints (N, 68, 2) of its faces
SMALL_PX = 20
CROWD_GRID, CROWD_WH, CROWD_ZOOM = (5, 8), (1280, 960), 2.0
EDGE_SHARE = 0.75  # of the face's width stays in the image
MASK_RGB = (150, 190, 215)
LONG_SIDE = 640


def tilted(degrees: float) -> Callable[[np.ndarray, np.ndarray, int], Faces]:
    """The image rotated by so many degrees, to one side and to the other in turn."""

    def case(image: np.ndarray, keypoints: np.ndarray, number: int) -> Faces:
        changed = rotate(image, keypoints, degrees if number % 2 else -degrees, None)
        return changed.image, transform_points(keypoints, changed.matrix)[None]

    return case


def small(image: np.ndarray, keypoints: np.ndarray, number: int) -> Faces:
    """The photo so small that the face has SMALL_PX, in a scene of 640 x 480."""
    changed = resize(image, keypoints, SMALL_PX, None)
    scene, offset = paste_at_random(changed.image, number)
    return scene, (transform_points(keypoints, changed.matrix) + offset)[None]


def at_the_edge(image: np.ndarray, keypoints: np.ndarray, number: int) -> Faces:
    """The image cut off so that EDGE_SHARE of the face's width is left."""
    left, _, right, _ = box_from_keypoints(keypoints)
    return np.ascontiguousarray(image[:, : int(left + EDGE_SHARE * (right - left))]), keypoints[None]


def masked(image: np.ndarray, keypoints: np.ndarray, number: int) -> Faces:
    """Mouth, chin and the lower half of the nose behind a plain mask."""
    jaw = keypoints[list(GROUPS["jaw"])[2:-2]]
    outline = np.concatenate([jaw, keypoints[[GROUPS["nose_bridge"][2]]]])
    covered = image.copy()
    cv2.fillPoly(covered, [np.rint(outline).astype(np.int32)], MASK_RGB, cv2.LINE_AA)
    return covered, keypoints[None]


def in_sunglasses(image: np.ndarray, keypoints: np.ndarray, number: int) -> Faces:
    """The face with dark glasses."""
    return apply_filter(image, keypoints, "sunglasses"), keypoints[None]


def unchanged(image: np.ndarray, keypoints: np.ndarray, number: int) -> Faces:
    """The photo as it is."""
    return image, keypoints[None]


CASES: dict[str, Callable[[np.ndarray, np.ndarray, int], Faces]] = {
    "as it is": unchanged,
    "tilted by 15°": tilted(15), "tilted by 30°": tilted(30), "tilted by 45°": tilted(45),
    f"{SMALL_PX} px": small, "cut by the edge": at_the_edge, "mask": masked, "sunglasses": in_sunglasses,
}  # fmt: skip


def crowds(photos: FacialKeypointsDataset) -> Iterator[Faces]:
    """Images of 40 faces each, the photos side by side."""
    rows, columns = CROWD_GRID
    size_wh = CROWD_WH[0] // columns, CROWD_WH[1] // rows
    for start in range(0, len(photos) - rows * columns + 1, rows * columns):
        canvas, faces = np.zeros((CROWD_WH[1], CROWD_WH[0], 3), np.uint8), []
        for place in range(rows * columns):
            image, keypoints = photos.image(start + place), photos.keypoints[start + place]
            box = box_from_keypoints(keypoints)
            matrix = crop_matrix(box_centre(box), CROWD_ZOOM * box_side(box), min(size_wh))
            left, top = (place % columns) * size_wh[0], (place // columns) * size_wh[1]
            tile = warp(image, matrix, (min(size_wh),) * 2, border_value=None)
            canvas[top : top + len(tile), left : left + len(tile)] = tile
            faces.append(transform_points(keypoints, matrix) + np.float32([left, top]))
        yield canvas, np.stack(faces)


def count(detector: KeypointDetector, scenes, title: str) -> dict:
    """The row of a case: faces, shares found, other faces per image, and the NME of what is found."""
    faces = found = others = images = 0
    errors = []
    for image, keypoints in tqdm(scenes, desc=title):
        answers = detector(image)
        boxes = [scale_box(face.box_xyxy, BOX_SCALE) for face in answers]
        used = set()
        for true in keypoints:
            label = scale_box(box_from_keypoints(true), BOX_SCALE)
            overlaps = [box_iou(box, label) for box in boxes]
            best = int(np.argmax(overlaps)) if overlaps else -1
            if best >= 0 and overlaps[best] >= MIN_IOU:
                used.add(best)
                found += 1
                distance = np.linalg.norm(answers[best].keypoints - true, axis=1).mean()
                errors.append(distance / interocular_distance(true))
        faces, images, others = faces + len(keypoints), images + 1, others + len(boxes) - len(used)
    nme = float(np.mean(errors)) if errors else None
    return {"case": title, "faces": faces, "found": found / faces, "others": others / images, "nme": nme}


def measure_hard(checkpoint: str, runtime: str, photos: FacialKeypointsDataset) -> list[dict]:
    """A row per case, with the detector that ships; of the crowd also with a larger copy for the search."""
    detector = KeypointDetector.from_pretrained(checkpoint, runtime=runtime)
    every = range(len(photos))
    rows = [
        count(detector, (make(photos.image(i), photos.keypoints[i], i) for i in every), title)
        for title, make in CASES.items()
    ]
    turned = [i for i in every if abs(yaw_ratio(photos.keypoints[[i]])[0]) >= YAW_BINS["turned"][0]]
    scenes = (unchanged(photos.image(i), photos.keypoints[i], i) for i in turned)
    rows.append(count(detector, scenes, "turned heads, as they are"))
    rows.append(count(detector, crowds(photos), "40 faces in 1280 x 960"))
    finder = NetworkFaceFinder.from_pretrained(FINDER, runtime=runtime, long_side=LONG_SIDE)
    closer = KeypointDetector.from_pretrained(checkpoint, runtime=runtime, face_detector=finder)
    rows.append(count(closer, crowds(photos), f"40 faces, long_side={LONG_SIDE}"))
    return rows
