"""The way from an image to keypoints: box, crop, network, and back into the image.

detector = KeypointDetector.from_pretrained()
faces = detector("photo.jpg")                        # or an array, or a Pillow image: see to_rgb
faces = detector(image, boxes_xyxy=[[10, 20, 90, 110]])    # your own face detector
faces_per_image = detector.detect_batch([image, other])    # the network runs over all faces at once
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from checkpoint import CheckpointError, ModelConfig, find_checkpoint, load_checkpoint, load_config
from detector.face_finders import HaarFaceDetector, MultiCascadeDetector
from files import to_gray, to_rgb
from geometry import (
    box_from_keypoints,
    box_side,
    check_box,
    face_crop_matrix,
    flip_keypoints,
    image_box,
    invert,
    matrix_scale,
    square_crop_matrix,
    transform_points,
    warp,
)
from landmarks import FLIP_ORDER, NUM_KEYPOINTS, check_keypoints
from models import KeypointNetwork

# --- runtimes -----------------------------------------------------------------------------------


ONNX_OUTPUTS = ("keypoints", "confidence", "radius")


class Estimates(NamedTuple):
    """Of N faces: keypoints (N, 68, 2) (x, y), confidence (N,) 0 to 1, radius (N, 68).

    Keypoints and radius are in one unit: that of the network, of the crop or of the image.
    Confidence and radius are NaN where the network does not estimate them.
    """

    keypoints: np.ndarray
    confidence: np.ndarray
    radius: np.ndarray

    @classmethod
    def empty(cls, count: int) -> "Estimates":
        """For `count` faces, all NaN."""
        shapes = ((count, NUM_KEYPOINTS, 2), (count,), (count, NUM_KEYPOINTS))
        return cls(*(np.full(shape, np.nan, dtype=np.float32) for shape in shapes))


class TorchRuntime:
    """A PyTorch network; any module that returns (N, 68, 2) will do."""

    def __init__(self, model: torch.nn.Module):
        self.model = model.eval()

    @torch.inference_mode()
    def __call__(self, batch: np.ndarray) -> Estimates:
        device = next(self.model.parameters()).device
        images = torch.from_numpy(batch).to(device)
        if not hasattr(self.model, "estimate"):
            keypoints = self.model(images).float().cpu().numpy()
            return Estimates.empty(len(batch))._replace(keypoints=keypoints)
        return Estimates(*(values.float().cpu().numpy() for values in self.model.estimate(images)))


class OnnxRuntime:
    """An .onnx file made by export_onnx.py; needs the package onnxruntime.

    threads: how many CPU threads one call may use; 0 leaves it to ONNX Runtime.
    """

    def __init__(self, path, threads: int = 0):
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError(
                "runtime='onnx' needs ONNX Runtime: pip install onnxruntime, or use runtime='torch'"
            ) from error
        if not Path(path).is_file():
            raise CheckpointError(f"there is no {path}; make it: python export_onnx.py {Path(path).parent}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def __call__(self, batch: np.ndarray) -> Estimates:
        return Estimates(*self.session.run(ONNX_OUTPUTS, {"images": batch}))


# --- which answers stay -------------------------------------------------------------------------


def same_face(keypoints_a: np.ndarray, keypoints_b: np.ndarray, share: float = 0.15) -> bool:
    """Whether two sets of keypoints (68, 2) are so near that they are one face.

    share: the largest mean distance, as a share of the smaller face's side.
    """
    side = min(box_side(box_from_keypoints(points)) for points in (keypoints_a, keypoints_b))
    return bool(np.linalg.norm(keypoints_a - keypoints_b, axis=1).mean() <= share * side)


def filter_faces(faces: list, min_confidence: float) -> list:
    """Which of the faces of one image stay: confident enough, each once, the largest first.

    Of several answers for one face the most confident stays. Faces whose confidence is
    unknown (NaN) are kept, and only merged. The box of each becomes the one around its keypoints:
    the proposal that won may have been any box from which the network found the face.
    """
    left = [face for face in faces if not face.confidence < min_confidence]
    left.sort(key=lambda face: -np.nan_to_num(face.confidence))
    kept: list = []
    for face in left:
        if not any(_one_face(face.keypoints, other.keypoints) for other in kept):
            kept.append(face)
    kept = [replace(face, box_xyxy=box_from_keypoints(face.keypoints)) for face in kept]
    return sorted(kept, key=lambda face: -box_side(face.box_xyxy))


def _one_face(a: np.ndarray, b: np.ndarray) -> bool:
    """The same keypoints, or one box half inside of the other, as those of two people hardly ever are."""
    return same_face(a, b) or _inside(box_from_keypoints(a), box_from_keypoints(b)) > 0.5


def _inside(a: np.ndarray, b: np.ndarray) -> float:
    """Share of the smaller box that the other one covers."""
    width, height = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    smaller = min(np.prod(a[2:] - a[:2]), np.prod(b[2:] - b[:2]))
    return max(width, 0.0) * max(height, 0.0) / smaller


DEFAULT_CHECKPOINT = "heatmapnet"
BATCH = 64
MIN_CONFIDENCE = 0.5
MAX_BOX_SIDE = 100  # times the image; larger boxes are mistakes, and leave nothing to see of the image
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
    edges, limit = image_box(image), MAX_BOX_SIDE * max(image.shape[:2])
    for box in map(check_box, boxes):
        if (box[2:] <= 0).any() or (box[:2] >= edges[2:]).any() or box_side(box) > limit:
            raise ValueError(
                f"box {box.tolist()} is not on the image, whose pixels are {edges.tolist()}, or is more than "
                f"{MAX_BOX_SIDE} times as large"
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


def run_pass(
    network: Callable, config: ModelConfig, batch: np.ndarray, *, flip_tta: bool = False
) -> Estimates:
    """What a runtime says of a batch of crops, in crop pixels.

    mirror: average with what it says of the mirrored crops.
    """
    # both at once: on a CPU one batch of two takes little longer than a batch of one
    crops = np.concatenate([batch, batch[..., ::-1]]) if flip_tta else batch
    keypoints, confidence, radius = network(crops)
    found = Estimates(
        keypoints * config.keypoint_std + config.keypoint_mean, confidence, radius * config.keypoint_std
    )
    if not flip_tta:
        return found
    seen, other = (Estimates(*values) for values in zip(*(np.split(part, 2) for part in found), strict=True))
    turned = flip_keypoints(other.keypoints, config.input_size)
    return Estimates(
        (seen.keypoints + turned) / 2,
        (seen.confidence + other.confidence) / 2,
        (seen.radius + other.radius[:, FLIP_ORDER]) / 2,
    )


def predict(
    network,
    config: ModelConfig,
    images: Sequence[np.ndarray],
    matrices: Sequence[np.ndarray],
    passes: int = 0,
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
        values = _passes(network, config, images[part], list(matrices[part]), passes or config.passes)
        for whole, new in zip(found, values, strict=True):
            whole[part] = new
    return found


def predict_keypoints(network, config: ModelConfig, images, matrices) -> np.ndarray:
    """Keypoints (N, 68, 2) in image pixels; see predict."""
    return predict(network, config, images, matrices).keypoints


def _passes(network, config: ModelConfig, images, matrices, passes: int) -> Estimates:
    seen = Estimates.empty(0)
    for number in range(passes):
        if number:
            matrices = [keypoints_matrix(points, config) for points in seen.keypoints]
        # The looks before the last one only have to say where the face is.
        flip_tta = config.flip_tta and number == passes - 1
        in_crops = run_pass(network, config, crops_to_batch(images, matrices, config), flip_tta=flip_tta)
        points = [transform_points(p, invert(m)) for p, m in zip(in_crops.keypoints, matrices, strict=True)]
        scales = np.array([[matrix_scale(m)] for m in matrices], dtype=np.float32)
        seen = Estimates(np.stack(points), in_crops.confidence, in_crops.radius / scales)
    return seen


def keypoints_matrix(keypoints: np.ndarray, config: ModelConfig) -> np.ndarray:
    """Where a further look goes: the square around keypoints (68, 2) of the look before."""
    return face_crop_matrix(keypoints, config.crop_scale, config.input_size, align_roll=config.align_roll)


def box_matrix(box_xyxy, config: ModelConfig) -> np.ndarray:
    """Where the first look goes for a face detector's box."""
    return square_crop_matrix(box_xyxy, config.box_scale, config.input_size)


class KeypointDetector:
    """Finds faces and their keypoints.

    face_detector: called with an image, returns (N, 4) box_xyxy. By default lax Haar cascades
        (MultiCascadeDetector) for a network that knows what is no face, else a strict one.
    min_confidence: faces found with less are left out; faces of given boxes never are.
    """

    def __init__(
        self,
        model: KeypointNetwork | Callable[[np.ndarray], Estimates],
        config: ModelConfig,
        face_detector: Callable[[np.ndarray], np.ndarray] | None = None,
        min_confidence: float = MIN_CONFIDENCE,
    ):
        self.network = TorchRuntime(model) if isinstance(model, torch.nn.Module) else model
        self.config = config
        proposes = MultiCascadeDetector if config.model_args.get("uncertainty") else HaarFaceDetector
        self.face_detector = face_detector or proposes()
        self.min_confidence = min_confidence

    @classmethod
    def from_pretrained(
        cls,
        name: str = DEFAULT_CHECKPOINT,
        *,
        device: str = "cpu",
        runtime: str = "torch",
        face_detector: Callable[[np.ndarray], np.ndarray] | None = None,
        min_confidence: float = MIN_CONFIDENCE,
    ) -> "KeypointDetector":
        """A checkpoint of saved_models/ by name, a checkpoint folder, or OWNER/NAME on the hub.

        runtime: 'torch', 'onnx' (the model.onnx beside the weights) or 'onnx-int8' (model-int8.onnx); the
            latter two run on the CPU.
        """
        if runtime not in RUNTIMES:
            raise ValueError(f"runtime must be one of {', '.join(RUNTIMES)}, got {runtime!r}")
        if runtime == "torch":
            model, config = load_checkpoint(name, device)
            return cls(model, config, face_detector, min_confidence)
        folder = find_checkpoint(name)
        network = OnnxRuntime(folder / RUNTIMES[runtime])
        return cls(network, load_config(folder), face_detector, min_confidence)

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
        faces = iter(_to_faces(predict(self.network, self.config, sources, matrices), boxes))
        return [
            group if boxes is not None else filter_faces(group, self.min_confidence)
            for group, boxes in zip([list(islice(faces, count)) for count in counts], given, strict=True)
        ]

    def follow(self, image, keypoints) -> list[Face]:
        """The faces that were at `keypoints` (N, 68, 2) a moment ago: one look around each."""
        image = to_rgb(image)
        keypoints = [check_keypoints(points) for points in keypoints]
        matrices = [keypoints_matrix(points, self.config) for points in keypoints]
        boxes = [box_from_keypoints(points) for points in keypoints]
        found = predict(self.network, self.config, [image] * len(boxes), matrices, passes=1)
        return _to_faces(found, boxes)


def _to_faces(found: Estimates, boxes) -> list[Face]:
    return [
        Face(points, np.asarray(box), float(confidence), radius)
        for points, confidence, radius, box in zip(*found, boxes, strict=True)
    ]
