"""The way from an image to keypoints: box, crop, network, and back into the image.

detector = KeypointDetector.from_pretrained()
faces = detector(image)                              # HxWx3 uint8 RGB
faces = detector(image, boxes_xyxy=[[10, 20, 90, 110]])    # your own face detector
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from data_load import to_gray
from detector.haar import HaarFaceDetector
from geometry import (
    box_from_keypoints,
    check_box,
    invert,
    mirror_points,
    square_crop_matrix,
    transform_points,
    warp,
)
from landmarks import NUM_KEYPOINTS
from models import KeypointNetwork
from training.checkpoint import ModelConfig, load_checkpoint

DEFAULT_CHECKPOINT = "heatmapnet"
BATCH = 64


@dataclass(frozen=True)
class Face:
    """One face in an image, everything in pixels of that image.

    keypoints: (68, 2) float32, (x, y), order of `landmarks.py`.
    box_xyxy: (4,) box that the search started from, left, top, right, bottom.
    confidence: 0 to 1 that this is a face; NaN where the network does not estimate it.
    radius: (68,) how far each point may be off; NaN where the network does not estimate it.
    """

    keypoints: np.ndarray
    box_xyxy: np.ndarray
    confidence: float
    radius: np.ndarray


def check_image(image) -> np.ndarray:
    """The image as it is, or an error that says what was expected."""
    if not isinstance(image, np.ndarray):
        raise TypeError(f"an image must be a NumPy array (HxWx3 uint8 RGB), got {type(image).__name__}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(
            f"an image must be HxWx3 uint8 RGB in [0, 255], got shape {image.shape} of {image.dtype}"
        )
    return image


def crops_to_batch(images: Sequence[np.ndarray], matrices, config: ModelConfig) -> torch.Tensor:
    """What the network sees: (N, 1, S, S) float32 gray, each image warped by its 2x3 matrix."""
    size = config.input_size
    low, high = config.gray_range
    crops = [
        to_gray(warp(image, matrix, (size, size))) for image, matrix in zip(images, matrices, strict=True)
    ]
    return torch.from_numpy(np.stack(crops)[:, None] * np.float32(high - low) + np.float32(low))


@torch.inference_mode()
def keypoints_in_crops(model: KeypointNetwork, config: ModelConfig, batch: torch.Tensor) -> np.ndarray:
    """Keypoints (N, 68, 2) in crop pixels, averaged with those of the mirrored crops where config says so."""
    device = next(model.parameters()).device

    def run(images: torch.Tensor) -> np.ndarray:
        return model(images.to(device)).float().cpu().numpy() * config.keypoint_std + config.keypoint_mean

    keypoints = run(batch)
    if config.mirror:
        keypoints = (keypoints + mirror_points(run(batch.flip(-1)), config.input_size)) / 2
    return keypoints


def find_keypoints(
    model: KeypointNetwork, config: ModelConfig, images: Sequence[np.ndarray], matrices: Sequence[np.ndarray]
) -> np.ndarray:
    """Keypoints (N, 68, 2) in image pixels, one face per image.

    matrices: image-to-crop, where the first look goes. Each further look (config.looks)
        cuts a square around the keypoints of the look before.
    """
    found = np.zeros((len(images), NUM_KEYPOINTS, 2), dtype=np.float32)
    for start in range(0, len(images), BATCH):
        part = slice(start, start + BATCH)
        found[part] = _looks(model, config, images[part], list(matrices[part]))
    return found


def _looks(model, config: ModelConfig, images, matrices) -> np.ndarray:
    keypoints = _look(model, config, images, matrices)
    for _ in range(config.looks - 1):
        matrices = [
            square_crop_matrix(box_from_keypoints(points), config.crop_margin, config.input_size)
            for points in keypoints
        ]
        keypoints = _look(model, config, images, matrices)
    return keypoints


def _look(model, config: ModelConfig, images, matrices) -> np.ndarray:
    in_crops = keypoints_in_crops(model, config, crops_to_batch(images, matrices, config))
    return np.stack([transform_points(p, invert(m)) for p, m in zip(in_crops, matrices, strict=True)])


def box_matrix(box_xyxy, config: ModelConfig) -> np.ndarray:
    """Where the first look goes for a face detector's box."""
    return square_crop_matrix(box_xyxy, config.box_margin, config.input_size)


class KeypointDetector:
    """Finds faces and their keypoints.

    face_detector: called with an image, returns (N, 4) box_xyxy; Haar by default.
    """

    def __init__(
        self,
        model: KeypointNetwork,
        config: ModelConfig,
        face_detector: Callable[[np.ndarray], np.ndarray] | None = None,
    ):
        self.model, self.config = model.eval(), config
        self.face_detector = face_detector or HaarFaceDetector()

    @classmethod
    def from_pretrained(
        cls, name: str = DEFAULT_CHECKPOINT, *, device: str = "cpu", face_detector=None
    ) -> "KeypointDetector":
        """A checkpoint of saved_models/ by name, a checkpoint folder, or OWNER/NAME on the hub."""
        model, config = load_checkpoint(name, device)
        return cls(model, config, face_detector)

    def __call__(self, image: np.ndarray, boxes_xyxy=None) -> list[Face]:
        """All faces of an HxWx3 uint8 RGB image; with boxes_xyxy, one face per box, in their order."""
        image = check_image(image)
        boxes = self.face_detector(image) if boxes_xyxy is None else boxes_xyxy
        boxes = [check_box(box) for box in boxes]
        matrices = [box_matrix(box, self.config) for box in boxes]
        keypoints = find_keypoints(self.model, self.config, [image] * len(boxes), matrices)
        nothing = np.full(NUM_KEYPOINTS, np.nan, dtype=np.float32)
        return [
            Face(points, box, float("nan"), nothing.copy())
            for points, box in zip(keypoints, boxes, strict=True)
        ]
