"""The way from an image to keypoints: box, crop, network, and back into the image.

detector = KeypointDetector.from_pretrained()
faces = detector("photo.jpg")                        # or an array, or a Pillow image: see to_rgb
faces = detector(image, boxes_xyxy=[[10, 20, 90, 110]])    # your own face detector
faces_per_image = detector.detect_batch([image, other])    # the network runs over all faces at once
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch

from data_load import to_gray
from detector.haar import HaarFaceDetector
from detector.inputs import to_rgb
from detector.proposals import CascadeProposals, dispose
from detector.runtime import Estimates, OnnxRuntime, TorchRuntime
from geometry import (
    box_from_keypoints,
    box_side,
    check_box,
    check_keypoints,
    face_crop_matrix,
    image_box,
    invert,
    matrix_scale,
    mirror_points,
    square_crop_matrix,
    transform_points,
    warp,
)
from landmarks import MIRROR_ORDER
from models import KeypointNetwork
from training.checkpoint import ModelConfig, find_checkpoint, load_checkpoint, load_config

DEFAULT_CHECKPOINT = "heatmapnet"
BATCH = 64
LEAST_CONFIDENCE = 0.5
MOST_BOX_SIDE = 100  # times the image; larger boxes are mistakes, and leave nothing to see of the image
RUNTIMES = {"torch": "model.safetensors", "onnx": "model.onnx", "onnx-int8": "model-int8.onnx"}


@dataclass(frozen=True)
class Face:
    """One face in an image, everything in pixels of that image.

    keypoints: (68, 2) float32, (x, y), order of `landmarks.py`.
    box_xyxy: (4,) left, top, right, bottom; around the keypoints, or the box that was given.
    confidence: 0 to 1 that this is a face; NaN where the network does not estimate it.
    radius: (68,) how far each point may be off; NaN where the network does not estimate it.
    """

    keypoints: np.ndarray
    box_xyxy: np.ndarray
    confidence: float
    radius: np.ndarray


def check_boxes(boxes_xyxy, image: np.ndarray) -> list[np.ndarray]:
    """Boxes (N, 4) as a list of float64 arrays; ValueError for one that is no box or not on the image."""
    try:
        boxes = [np.asarray(box, dtype=np.float64) for box in boxes_xyxy]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"boxes must be (N, 4) numbers: left, top, right, bottom of each face; got {boxes_xyxy!r:.200}"
        ) from error
    edges, limit = image_box(image), MOST_BOX_SIDE * max(image.shape[:2])
    for box in map(check_box, boxes):
        if (box[2:] <= 0).any() or (box[:2] >= edges[2:]).any() or box_side(box) > limit:
            raise ValueError(
                f"box {box.tolist()} is not on the image, whose pixels are {edges.tolist()}, or is more than "
                f"{MOST_BOX_SIDE} times as large"
            )
    return boxes


def crops_to_batch(images: Sequence[np.ndarray], matrices, config: ModelConfig) -> np.ndarray:
    """What the network sees: (N, 1, S, S) float32 gray, each image warped by its 2x3 matrix."""
    size = config.input_size
    low, high = config.gray_range
    crops = [
        to_gray(warp(image, matrix, (size, size))) for image, matrix in zip(images, matrices, strict=True)
    ]
    return np.stack(crops)[:, None] * np.float32(high - low) + np.float32(low)


def look(network: Callable, config: ModelConfig, batch: np.ndarray, *, mirror: bool = False) -> Estimates:
    """What a runtime says of a batch of crops, in crop pixels.

    mirror: average with what it says of the mirrored crops.
    """
    # both at once: on a CPU one batch of two takes little longer than a batch of one
    crops = np.concatenate([batch, batch[..., ::-1]]) if mirror else batch
    keypoints, confidence, radius = network(crops)
    found = Estimates(
        keypoints * config.keypoint_std + config.keypoint_mean, confidence, radius * config.keypoint_std
    )
    if not mirror:
        return found
    seen, other = (Estimates(*values) for values in zip(*(np.split(part, 2) for part in found), strict=True))
    turned = mirror_points(other.keypoints, config.input_size)
    return Estimates(
        (seen.keypoints + turned) / 2,
        (seen.confidence + other.confidence) / 2,
        (seen.radius + other.radius[:, MIRROR_ORDER]) / 2,
    )


def find_faces(
    network, config: ModelConfig, images: Sequence[np.ndarray], matrices: Sequence[np.ndarray], looks: int = 0
) -> Estimates:
    """Keypoints, confidence and radius in image pixels, one face per image.

    network: a runtime (detector/runtime.py) or a PyTorch module.
    matrices: image-to-crop, where the first look goes. Each further look cuts a
        square around the keypoints of the look before.
    looks: how many; 0 for what the config says.
    """
    network = TorchRuntime(network) if isinstance(network, torch.nn.Module) else network
    found = Estimates.empty(len(images))
    for start in range(0, len(images), BATCH):
        part = slice(start, start + BATCH)
        values = _looks(network, config, images[part], list(matrices[part]), looks or config.looks)
        for whole, new in zip(found, values, strict=True):
            whole[part] = new
    return found


def find_keypoints(network, config: ModelConfig, images, matrices) -> np.ndarray:
    """Keypoints (N, 68, 2) in image pixels; see find_faces."""
    return find_faces(network, config, images, matrices).keypoints


def _looks(network, config: ModelConfig, images, matrices, looks: int) -> Estimates:
    seen = Estimates.empty(0)
    for number in range(looks):
        if number:
            matrices = [keypoints_matrix(points, config) for points in seen.keypoints]
        # The looks before the last one only have to say where the face is.
        mirror = config.mirror and number == looks - 1
        in_crops = look(network, config, crops_to_batch(images, matrices, config), mirror=mirror)
        points = [transform_points(p, invert(m)) for p, m in zip(in_crops.keypoints, matrices, strict=True)]
        scales = np.array([[matrix_scale(m)] for m in matrices], dtype=np.float32)
        seen = Estimates(np.stack(points), in_crops.confidence, in_crops.radius / scales)
    return seen


def keypoints_matrix(keypoints: np.ndarray, config: ModelConfig) -> np.ndarray:
    """Where a further look goes: the square around keypoints (68, 2) of the look before."""
    return face_crop_matrix(keypoints, config.crop_margin, config.input_size, upright=config.upright)


def box_matrix(box_xyxy, config: ModelConfig) -> np.ndarray:
    """Where the first look goes for a face detector's box."""
    return square_crop_matrix(box_xyxy, config.box_margin, config.input_size)


class KeypointDetector:
    """Finds faces and their keypoints.

    face_detector: called with an image, returns (N, 4) box_xyxy. By default lax Haar cascades
        (CascadeProposals) for a network that knows what is no face, else a strict one.
    least_confidence: faces found with less are left out; faces of given boxes never are.
    """

    def __init__(
        self,
        model: KeypointNetwork | Callable[[np.ndarray], Estimates],
        config: ModelConfig,
        face_detector: Callable[[np.ndarray], np.ndarray] | None = None,
        least_confidence: float = LEAST_CONFIDENCE,
    ):
        self.network = TorchRuntime(model) if isinstance(model, torch.nn.Module) else model
        self.config = config
        proposes = CascadeProposals if config.model_args.get("trust") else HaarFaceDetector
        self.face_detector = face_detector or proposes()
        self.least_confidence = least_confidence

    @classmethod
    def from_pretrained(
        cls,
        name: str = DEFAULT_CHECKPOINT,
        *,
        device: str = "cpu",
        runtime: str = "torch",
        face_detector: Callable[[np.ndarray], np.ndarray] | None = None,
        least_confidence: float = LEAST_CONFIDENCE,
    ) -> "KeypointDetector":
        """A checkpoint of saved_models/ by name, a checkpoint folder, or OWNER/NAME on the hub.

        runtime: 'torch', 'onnx' (the model.onnx beside the weights) or 'onnx-int8' (model-int8.onnx); the
            latter two run on the CPU.
        """
        if runtime not in RUNTIMES:
            raise ValueError(f"runtime must be one of {', '.join(RUNTIMES)}, got {runtime!r}")
        if runtime == "torch":
            model, config = load_checkpoint(name, device)
            return cls(model, config, face_detector, least_confidence)
        folder = find_checkpoint(name)
        network = OnnxRuntime(folder / RUNTIMES[runtime])
        return cls(network, load_config(folder), face_detector, least_confidence)

    def __call__(self, image, boxes_xyxy=None) -> list[Face]:
        """All faces of an image (anything that `to_rgb` takes), each once, the largest first.

        boxes_xyxy: (N, 4) to skip the face detector; one face per box, in their order. Boxes may reach
            beyond the image.
        """
        return self.detect_batch([image], None if boxes_xyxy is None else [boxes_xyxy])[0]

    def detect_batch(self, images: Iterable, boxes_xyxy: Sequence | None = None) -> list[list[Face]]:
        """The faces of several images: those that one call for each would give, but all go through the
        network together. Rounding may move a point by a few hundredths of a pixel.

        images: each anything that `to_rgb` takes. boxes_xyxy: for each image its (N, 4) boxes, or None to
            look for faces there.
        """
        images = [to_rgb(image) for image in images]
        given = [None] * len(images) if boxes_xyxy is None else list(boxes_xyxy)
        if len(given) != len(images):
            raise ValueError(f"{len(images)} images need as many lists of boxes, got {len(given)}")
        boxes_per_image = [
            check_boxes(self.face_detector(image) if boxes is None else boxes, image)
            for image, boxes in zip(images, given, strict=True)
        ]
        counts = [len(boxes) for boxes in boxes_per_image]
        boxes = [box for boxes in boxes_per_image for box in boxes]
        matrices = [box_matrix(box, self.config) for box in boxes]
        sources = [image for image, count in zip(images, counts, strict=True) for _ in range(count)]
        faces = iter(_to_faces(find_faces(self.network, self.config, sources, matrices), boxes))
        return [
            group if boxes is not None else dispose(group, self.least_confidence)
            for group, boxes in zip([list(islice(faces, count)) for count in counts], given, strict=True)
        ]

    def follow(self, image, keypoints) -> list[Face]:
        """The faces that were at `keypoints` (N, 68, 2) a moment ago: one look around each."""
        image = to_rgb(image)
        keypoints = [check_keypoints(points) for points in keypoints]
        matrices = [keypoints_matrix(points, self.config) for points in keypoints]
        boxes = [box_from_keypoints(points) for points in keypoints]
        found = find_faces(self.network, self.config, [image] * len(boxes), matrices, looks=1)
        return _to_faces(found, boxes)


def _to_faces(found: Estimates, boxes) -> list[Face]:
    return [
        Face(points, np.asarray(box), float(confidence), radius)
        for points, confidence, radius, box in zip(*found, boxes, strict=True)
    ]
