"""Measuring the whole way from image to keypoints on a split.

    evaluation = evaluate(CheckpointPredictor(model, config), data_folder, "identity", "whole")
    evaluation.figures["nme"]

split: who is tested (data_load.py). faces: how the network learns where the face is: 'whole' (it gets
the whole image), 'haar' (Haar cascades, no label used; of several faces the largest is scored), 'detector'
(the same with our own face finder, as `KeypointDetector.from_pretrained` works) or 'label_box' (a square
from the labels). The protocols: benchmarks/README.md.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from tqdm import tqdm

from checkpoint import ModelConfig
from data_load import FacialKeypointsDataset, load_split, to_labels
from detector.face_finders import HaarFaceDetector, build_face_detector, default_face_finder
from detector.predictor import KeypointDetector, box_matrix, crops_to_batch, predict_keypoints
from geometry import (
    box_from_keypoints,
    box_iou,
    box_side,
    invert,
    scale_box,
    square_crop_matrix,
    transform_points,
    whole_image_matrix,
)
from landmarks import NUM_KEYPOINTS
from models import KeypointNetwork
from training.records import Evaluation

FACES = ("whole", "haar", "detector", "label_box")
SEARCHED = ("haar", "detector")  # those that search for the face
SURE_SCORE = 0.5  # of a box that is taken without the filter by confidence
DETECTOR_BATCH = 16  # images that are decoded at once


SPLITS_BY_PEOPLE = ("official", "identity", "validation")  # from all training people to the fewest


class LeakError(ValueError):
    """The checkpoint was trained on the people that the split tests."""


def first_matrices(
    dataset: FacialKeypointsDataset, faces: str, config: ModelConfig, face_detector: Callable | None = None
) -> list[np.ndarray | None]:
    """Image-to-crop matrix (2, 3) of the first pass on each image; None where no face was found.

    faces: one of FACES. face_detector: for 'haar' and 'detector', in place of HaarFaceDetector.
    Raises ValueError for another `faces`.
    """
    if faces not in FACES:
        raise ValueError(f"faces must be one of {', '.join(FACES)}, got {faces!r}")
    detector = (face_detector or HaarFaceDetector()) if faces in SEARCHED else None
    matrices: list[np.ndarray | None] = []
    for index in range(len(dataset)):
        image = dataset.image(index)
        if faces == "whole":
            matrices.append(whole_image_matrix(image.shape[:2], config.input_size, config.whole_view))
        elif faces == "label_box":
            box = box_from_keypoints(dataset.keypoints[index])
            matrices.append(square_crop_matrix(box, config.crop_scale, config.input_size))
        else:
            largest = max(detector(image), key=box_side, default=None)
            matrices.append(None if largest is None else box_matrix(largest, config))
    return matrices


class CheckpointPredictor:
    """A trained network, or a runtime, as a predictor to measure.

    finds_faces: True if the network estimates a confidence, which then filters boxes.
    """

    def __init__(self, model: KeypointNetwork | Callable, config: ModelConfig):
        self.model, self.config = model, config
        self.finds_faces = config.has_uncertainty

    def fit(self, dataset, faces: str, face_detector: Callable | None = None) -> None:
        """Does nothing: the network is trained already."""

    def predict(self, images, matrices) -> np.ndarray:
        """Keypoints (N, 68, 2) in image pixels, as the network gives them."""
        return predict_keypoints(self.model, self.config, images, matrices)

    def largest_faces(self, images, detector: KeypointDetector) -> np.ndarray:
        """Keypoints (N, 68, 2) of the largest face that a detector finds, NaN where it finds none."""
        found = np.full((len(images), NUM_KEYPOINTS, 2), np.nan, dtype=np.float32)
        for index, faces in enumerate(detector.detect_batch(images)):
            if faces:
                found[index] = faces[0].keypoints
        return found


class ConstantPredictor:
    """A baseline: the mean shape of the training images, in the crop that the network would get."""

    finds_faces = False

    def __init__(self, config: ModelConfig):
        self.config = config

    def fit(self, dataset: FacialKeypointsDataset, faces: str, face_detector: Callable | None = None) -> None:
        """Learn the mean shape in crop pixels. face_detector: as for `first_matrices`."""
        matrices = first_matrices(dataset, faces, self.config, face_detector)
        self._fit([(index, matrix) for index, matrix in enumerate(matrices) if matrix is not None], dataset)

    def _fit(self, crops: list[tuple[int, np.ndarray]], dataset: FacialKeypointsDataset) -> None:
        """crops: (index in the data set, image-to-crop matrix) of each face that was found."""
        self.shapes = np.stack([transform_points(dataset.keypoints[i], matrix) for i, matrix in crops])
        self.mean = self.shapes.mean(axis=0)

    def predict(self, images, matrices) -> np.ndarray:
        """The mean shape, moved into each image."""
        return np.stack([transform_points(self.mean, invert(matrix)) for matrix in matrices])


class NearestPredictor(ConstantPredictor):
    """A baseline: the keypoints of the training image with the nearest pixels.

    Crops of 32 px are compared, after removing each one's mean and contrast.
    """

    def __init__(self, config: ModelConfig):
        super().__init__(replace(config, input_size=32))

    def _fit(self, crops, dataset) -> None:
        super()._fit(crops, dataset)
        self.pixels = self._pixels([dataset.image(i) for i, _ in crops], [matrix for _, matrix in crops])

    def _pixels(self, images, matrices) -> np.ndarray:
        flat = crops_to_batch(images, matrices, self.config).reshape(len(images), -1)
        flat = flat - flat.mean(axis=1, keepdims=True)
        return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)

    def predict(self, images, matrices) -> np.ndarray:
        """The nearest training image's shape, moved into each image."""
        # both sides have unit length, so the nearest one has the largest product
        nearest = (self._pixels(images, matrices) @ self.pixels.T).argmax(axis=1)
        return np.stack(
            [transform_points(self.shapes[k], invert(m)) for k, m in zip(nearest, matrices, strict=True)]
        )


def evaluate(predictor, data_folder, split: str, faces: str, *, progress: bool = False) -> Evaluation:
    """Measure a predictor on the test part of a split, after fitting baselines on its training part.

    Its points are moved to where the labels lie (`data_load.to_labels`) before they are compared.
    faces: one of FACES. With 'haar' and 'detector', a network that estimates a confidence is measured as
    KeypointDetector runs it: permissive cascades or our face finder propose boxes, and faces are filtered by
    confidence. Another predictor gets the largest box of a conservative cascade, or of the face finder with a
    score of at least SURE_SCORE.
    Raises LeakError for 'detector' on 'validation': no face finder was trained without these people.
    """
    face_detector = _face_detector(split, faces, predictor.finds_faces)
    predictor.fit(load_split(data_folder, split, "train"), faces, face_detector)
    dataset = load_split(data_folder, split, "test")
    if faces in SEARCHED and predictor.finds_faces:
        predicted = _by_detector(predictor, dataset, face_detector, faces if progress else None)
    else:
        predicted = predict_dataset(predictor, dataset, faces, face_detector, progress=progress)
    paths = [f"{path.parent.name}/{path.name}" for path in dataset.paths]
    moved = to_labels(predicted, predictor.config)
    return Evaluation(paths, dataset.identities, moved, dataset.keypoints, predicted)


def _face_detector(split: str, faces: str, filtered: bool) -> Callable | None:
    """The face detector that `faces` stands for. filtered: its boxes are filtered by confidence."""
    if faces not in SEARCHED:
        return None
    if faces == "haar":
        return build_face_detector("haar", filtered=filtered)
    if split == "validation":
        raise LeakError(
            "the face finder was trained on people that 'validation' tests; take --faces haar, or --split "
            "identity, for which there is a held-out face finder"
        )
    finder = default_face_finder(split)
    if not filtered:
        finder.min_score = SURE_SCORE
    return finder


def predict_dataset(
    predictor, dataset, faces: str, face_detector: Callable | None = None, *, progress: bool = False
) -> np.ndarray:
    """Keypoints (N, 68, 2) of a predictor on a data set, NaN where there is no box.

    faces, face_detector: as for `first_matrices`.
    """
    matrices = first_matrices(dataset, faces, predictor.config, face_detector)
    predicted = np.full(dataset.keypoints.shape, np.nan, dtype=np.float32)
    found = [index for index, matrix in enumerate(matrices) if matrix is not None]
    for start in tqdm(range(0, len(found), 64), disable=not progress, desc=faces):
        part = found[start : start + 64]
        predicted[part] = predictor.predict([dataset.image(i) for i in part], [matrices[i] for i in part])
    return predicted


def _by_detector(predictor, dataset, face_detector, title: str | None) -> np.ndarray:
    detector = KeypointDetector(predictor.model, predictor.config, face_detector)
    starts = range(0, len(dataset), DETECTOR_BATCH)
    batches = [range(len(dataset))[start : start + DETECTOR_BATCH] for start in starts]
    found = [
        predictor.largest_faces([dataset.image(index) for index in batch], detector)
        for batch in tqdm(batches, disable=title is None, desc=title)
    ]
    return np.concatenate(found)


def people_known(trained_on: str, started_from: str = "") -> str:
    """The split whose training people a network has seen: the widest of both; '' for people of no split."""
    return next((split for split in SPLITS_BY_PEOPLE if split in (trained_on, started_from)), "")


def knows_tested(known: str, split: str) -> bool:
    """True if training on the people of `known` has seen people of the test part of `split`.

    Training on `official` has seen everybody, training on `identity` the people of `validation`. Of the test
    part of `official`, whose people are always known, nothing is said.
    """
    order = SPLITS_BY_PEOPLE
    return split in order and known in order[: order.index(split)]


def check_leak(trained_on: str, split: str, allow: bool, started_from: str = "") -> bool:
    """True if a checkpoint has seen people of the test part of `split`.

    trained_on, started_from: of its config. A row of `official` always leaks: its test videos are the
    training videos.
    Raises LeakError if it leaks, is not `official`, and `allow` is False.
    """
    if split == "official":
        return True
    known = people_known(trained_on, started_from)
    leaks = knows_tested(known, split)
    if leaks and not allow:
        how = "trained on" if known == trained_on else "started from weights that were trained on"
        raise LeakError(
            f"{how} {known!r}, this checkpoint knows the people that {split!r} tests: its figures would mean "
            f"nothing. Measure one that was trained without them (train.py --split {split}; of what ships: "
            "NAME-identity), or on images of your own (--pts, --csv), or pass --allow-leak (marked)"
        )
    return leaks


def count_boxes(
    dataset: FacialKeypointsDataset, face_detector: Callable, min_iou: float = 0.3
) -> tuple[float, float]:
    """Recall and false positives of a face detector on images with one labelled face each.

    Returns the share of images with a box on the face (IoU of at least `min_iou` with
    1.2 x the label box), and the mean number of other boxes per image.
    """
    hits, others = 0, 0
    for index in range(len(dataset)):
        face = scale_box(box_from_keypoints(dataset.keypoints[index]), 1.2)
        overlaps = [box_iou(box, face) for box in face_detector(dataset.image(index))]
        on_face = sum(overlap >= min_iou for overlap in overlaps)
        hits += on_face > 0
        others += len(overlaps) - on_face
    return hits / len(dataset), others / len(dataset)
