"""Faces found in photos with hand-made points, and in larger scenes that these photos are pasted into.

Each photo is searched as it is, and at 1/2 and 1/4 of its size at a random place of a background without
people, 640 x 480 pixels. The backgrounds are photos of scikit-image. No network was trained on them; the
confidence was calibrated on boxes of the same photos (training/uncertainty.py).
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data_load import FacialKeypointsDataset, background_photo
from detector import KeypointDetector, NetworkFaceFinder
from files import cv2
from geometry import box_from_keypoints, box_iou, resize_matrix, scale_box, transform_points
from training.uncertainty import TEST_SCENES

#: Names a folder of images with .pts files, which are not in this repository.
PHOTOS_VARIABLE = "KEYPOINTS_PHOTOS_68"
SIZE_WH = (640, 480)
FACTORS = (1, 2, 4)
SCENES_RUNTIMES = ("onnx", "onnx-int8")
MIN_IOU, BOX_SCALE = 0.3, 1.2


def photos_with_points() -> FacialKeypointsDataset:
    """The photos in the folder that PHOTOS_VARIABLE names.

    Raises FileNotFoundError where it names none.
    """
    folder = os.environ.get(PHOTOS_VARIABLE, "")
    if not Path(folder).is_dir() or not folder:
        raise FileNotFoundError(
            f"photos with hand-made points are needed: set {PHOTOS_VARIABLE} to a folder of images with .pts "
            f"files beside them; it is {folder!r}"
        )
    return FacialKeypointsDataset.from_pts(folder, cache_bytes=0)


def scene(image: np.ndarray, keypoints: np.ndarray, factor: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The photo at 1/factor of its size on a background, and its keypoints (68, 2) there.

    factor 1: the photo itself.
    """
    if factor == 1:
        return image, keypoints
    shape_hw = tuple(max(side // factor, 1) for side in image.shape[:2])
    small = cv2.resize(image, shape_hw[::-1], interpolation=cv2.INTER_AREA)
    canvas, offset = paste_at_random(small, seed)
    points = transform_points(keypoints, resize_matrix(image.shape[:2], shape_hw))
    return canvas, points + offset


def paste_at_random(image: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The image on a background of SIZE_WH without people, and the place (2,) of its first pixel there."""
    rng = np.random.default_rng(seed)
    ground = background_photo(TEST_SCENES[seed % len(TEST_SCENES)])
    canvas = cv2.resize(ground, SIZE_WH, interpolation=cv2.INTER_AREA)
    height, width = image.shape[:2]
    left, top = rng.integers(np.array(SIZE_WH) - [width, height] + 1)
    canvas[top : top + height, left : left + width] = image
    return canvas, np.float32([left, top])


def count(find: Callable[[np.ndarray], np.ndarray], photos, factor: int, title: str) -> dict:
    """Shares of the photos whose face is among the boxes that `find` gives, and other boxes per image."""
    found = others = 0
    for index in tqdm(range(len(photos)), desc=f"{title}, 1/{factor}"):
        image, points = scene(photos.image(index), photos.keypoints[index], factor, index)
        label = scale_box(box_from_keypoints(points), BOX_SCALE)
        hits = [box_iou(box, label) >= MIN_IOU for box in find(image)]
        found += any(hits)
        others += len(hits) - sum(hits)
    return {"method": title, "factor": factor, "found": found / len(photos), "others": others / len(photos)}


def reported(detector: KeypointDetector) -> Callable[[np.ndarray], np.ndarray]:
    """The boxes of the faces that a detector reports, BOX_SCALE times the box around their keypoints."""
    return lambda image: [scale_box(face.box_xyxy, BOX_SCALE) for face in detector(image)]


def measure_scenes(checkpoint: str, photos: FacialKeypointsDataset) -> tuple[list[dict], int]:
    """A row per method and factor, and the median width in pixels of the faces in the photos.

    Methods: the detector with each face finder, and the boxes of ours alone.
    """
    rows = []
    methods = {
        f"detector, {runtime}": reported(KeypointDetector.from_pretrained(checkpoint, runtime=runtime))
        for runtime in SCENES_RUNTIMES
    }
    methods["boxes of the face finder"] = NetworkFaceFinder.from_pretrained(runtime=SCENES_RUNTIMES[0])
    methods["detector with cascades"] = reported(
        KeypointDetector.from_pretrained(checkpoint, runtime=SCENES_RUNTIMES[0], face_detector="haar")
    )
    for title, find in methods.items():
        rows += [count(find, photos, factor, title) for factor in FACTORS]
    return rows, round(float(np.median(np.ptp(photos.keypoints[..., 0], axis=1))))
