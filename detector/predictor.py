"""From an image to keypoints: boxes, crops, the network, and back into the image.

    detector = KeypointDetector.from_pretrained()
    faces = detector("photo.jpg")                              # a path, an array or a Pillow image
    faces = detector(image, boxes_xyxy=[[10, 20, 90, 110]])    # boxes of another face detector
    faces_per_image = detector.detect_batch([image, other])    # all faces go through the network together

The way of an image: `KeypointDetector.__call__`, `detect_batch`, `predict`, the runtime, the network.
"""

import importlib.util
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from checkpoint import (
    RUNTIMES,
    CheckpointError,
    ModelConfig,
    find_checkpoint,
    load_checkpoint,
    load_model_config,
    open_onnx,
)
from detector.face_finders import build_face_detector
from files import cv2, to_gray, to_rgb
from geometry import (
    box_from_keypoints,
    box_overlap,
    box_side,
    check_box,
    face_crop_matrix,
    face_distance,
    face_size,
    flip_keypoints,
    image_box,
    invert,
    matrix_scale,
    on_image,
    square_crop_matrix,
    transform_points,
    warp,
)
from landmarks import FLIP_ORDER, NUM_KEYPOINTS, check_keypoints

if TYPE_CHECKING:
    import torch

    from models import KeypointNetwork

DEFAULT_CHECKPOINT = "heatmapnet"
MIN_CONFIDENCE = 0.5
VISIBLE_FROM = 0.5  # a point with less visibility is hidden
BATCH = 64  # crops in one call of the network
SAME_DISTANCE, SAME_OVERLAP = 0.15, 0.5  # of two answers for one face; see `same_face`
MAX_BOX_SIDE = 100  # in sides of the image: a larger box is a mistake, and its crop shows next to nothing
ONNX_OUTPUTS = ("keypoints", "confidence", "radius", "visibility")
DECIMALS, CONFIDENCE_DECIMALS = 3, 4  # of results that are written


def rounded(values, decimals: int = DECIMALS) -> list:
    """Numbers as nested lists of floats, rounded to `decimals`."""
    return np.round(np.asarray(values, dtype=np.float64), decimals).tolist()


@dataclass(frozen=True, eq=False)
class Face:
    """One face in an image; all coordinates in pixels of that image.

    Two faces are equal if all their values are.

    keypoints: (68, 2) float32, (x, y), in the order of `landmarks.py`.
    box_xyxy: (4,) left, top, right, bottom: the box around the keypoints, or the box that was given.
    confidence: 0 to 1, that this is a face; None where the network does not estimate it. NaN becomes None.
    radius: (68,) float32, for each point the radius that holds the true point 90 % of the time; NaN where
        the network does not estimate it.
    visibility: (68,) float32, 0 to 1, that the point is neither covered nor outside the image; NaN where the
        network does not estimate it, and by default.
    """

    keypoints: np.ndarray
    box_xyxy: np.ndarray
    confidence: float | None
    radius: np.ndarray
    visibility: np.ndarray = None  # type: ignore[assignment]  # becomes an array

    def __post_init__(self):
        if self.confidence is not None and np.isnan(self.confidence):
            object.__setattr__(self, "confidence", None)
        if self.visibility is None:
            object.__setattr__(self, "visibility", np.full(NUM_KEYPOINTS, np.nan, np.float32))

    def __eq__(self, other) -> bool:
        if not isinstance(other, Face):
            return NotImplemented
        return self.confidence == other.confidence and all(
            np.array_equal(getattr(self, name), getattr(other, name), equal_nan=True)
            for name in ("keypoints", "box_xyxy", "radius", "visibility")
        )

    __hash__ = None  # type: ignore[assignment]  # arrays may change

    def is_below(self, limit: float) -> bool:
        """True if the confidence is known and lower than `limit`."""
        return self.confidence is not None and self.confidence < limit

    @property
    def hidden(self) -> np.ndarray:
        """(68,) bool: the points whose visibility is known and below 0.5."""
        return self.visibility < VISIBLE_FROM  # False for NaN

    def to_dict(self) -> dict:
        """Values for JSON: {'box_xyxy', 'confidence', 'keypoints', 'radius', 'visibility'}.

        Coordinates and visibility are rounded to 3 decimals, confidence to 4. What is unknown is None.
        `detector.results.make_face(**values)` is the inverse.
        """
        unknown = self.confidence is None
        return {
            "box_xyxy": rounded(self.box_xyxy),
            "confidence": None if unknown else rounded(self.confidence, CONFIDENCE_DECIMALS),
            "keypoints": rounded(self.keypoints),
            "radius": rounded(self.radius) if np.isfinite(self.radius).all() else None,
            "visibility": rounded(self.visibility) if np.isfinite(self.visibility).all() else None,
        }


class Estimates(NamedTuple):
    """Answers of a network for N faces: keypoints (N, 68, 2), confidence (N,), radius and visibility (N, 68).

    Keypoints (x, y) and radius have the same unit: that of the network, pixels of the crop or pixels of
    the image. Confidence and visibility are 0 to 1. What the network does not estimate is NaN; a runtime may
    leave out the visibility.
    """

    keypoints: np.ndarray
    confidence: np.ndarray
    radius: np.ndarray
    visibility: np.ndarray = None  # type: ignore[assignment]  # `in_crops` makes it an array

    @classmethod
    def empty(cls, count: int) -> "Estimates":
        """Answers for `count` faces, all NaN."""
        shapes = ((count, NUM_KEYPOINTS, 2), (count,), (count, NUM_KEYPOINTS), (count, NUM_KEYPOINTS))
        return cls(*(np.full(shape, np.nan, dtype=np.float32) for shape in shapes))

    def in_crops(self, config: ModelConfig) -> "Estimates":
        """The same answers in pixels of the crops, from the unit of the network."""
        keypoints = self.keypoints * config.keypoint_std + config.keypoint_mean
        visibility = np.full_like(self.radius, np.nan) if self.visibility is None else self.visibility
        return Estimates(keypoints, self.confidence, self.radius * config.keypoint_std, visibility)

    def flips_averaged(self, width: int) -> "Estimates":
        """Answers for N crops from those for N crops and then their N flipped copies, in crop pixels."""
        plain, flipped = (Estimates(*half) for half in zip(*(np.split(v, 2) for v in self), strict=True))
        return Estimates(
            (plain.keypoints + flip_keypoints(flipped.keypoints, width)) / 2,
            (plain.confidence + flipped.confidence) / 2,
            (plain.radius + flipped.radius[:, FLIP_ORDER]) / 2,
            (plain.visibility + flipped.visibility[:, FLIP_ORDER]) / 2,
        )

    def in_images(self, matrices: Sequence[np.ndarray]) -> "Estimates":
        """The same answers in pixels of the images; matrices (2, 3) lead from each image to its crop."""
        keypoints = [transform_points(p, invert(m)) for p, m in zip(self.keypoints, matrices, strict=True)]
        scales = np.array([[matrix_scale(m)] for m in matrices], dtype=np.float32)
        return Estimates(np.stack(keypoints), self.confidence, self.radius / scales, self.visibility)

    def hidden_outside(self, images: Sequence[np.ndarray]) -> "Estimates":
        """The same answers in pixels of N images; the visibility of a point outside its image is 0."""
        inside = np.array(
            [on_image(points, image) for points, image in zip(self.keypoints, images, strict=True)]
        )
        known = np.isfinite(self.visibility)
        return self._replace(visibility=np.where(known & ~inside, np.float32(0), self.visibility))


# --- runtimes: crops to answers -----------------------------------------------------------------


class TorchRuntime:
    """Runs a PyTorch network on the device of its weights.

    model: any module that takes (N, 1, S, S) and returns keypoints (N, 68, 2). If it has a method
        `estimate`, that one is called and also returns confidence, radius and visibility.
    """

    def __init__(self, model: "torch.nn.Module"):
        self.model = model.eval()

    def __call__(self, batch: np.ndarray) -> Estimates:
        """Crops (N, 1, S, S) float32 to answers in the unit of the network."""
        import torch

        with torch.inference_mode():
            device = next(self.model.parameters()).device
            images = torch.from_numpy(batch).to(device)
            if not hasattr(self.model, "estimate"):
                keypoints = self.model(images).float().cpu().numpy()
                return Estimates.empty(len(batch))._replace(keypoints=keypoints)
            return Estimates(*(values.float().cpu().numpy() for values in self.model.estimate(images)))


def _as_runtime(network) -> Callable[[np.ndarray], Estimates]:
    """A runtime for a PyTorch network; any other callable is one already."""
    return TorchRuntime(network) if hasattr(network, "state_dict") else network


class OnnxRuntime:
    """Runs an ONNX file made by export_onnx.py on the CPU; needs the package onnxruntime.

    Pickle keeps the path, from which the file is loaded again.

    threads: number of CPU threads of one call; 0 leaves it to ONNX Runtime.
    config: of the checkpoint that the file belongs to. With one, the file must have its input size, and
        the SHA-256 that the config has for a file of this name.

    Raises CheckpointError for a file that is missing, damaged or of another network, ImportError where
    ONNX Runtime is not installed.
    """

    def __init__(self, path, threads: int = 0, config: ModelConfig | None = None):
        path = Path(path)
        self._arguments = path, threads, config
        self.session = open_onnx(path, threads, check=config is not None)
        outputs = {value.name for value in self.session.get_outputs()}
        self.outputs = [name for name in ONNX_OUTPUTS if name in outputs]
        size = None if config is None else config.input_size
        self._check_shapes(path, size, config is not None and config.has_visibility)

    def _check_shapes(self, path: Path, size: int | None, has_visibility: bool) -> None:
        """CheckpointError unless the file has the input and outputs of export_onnx.py.

        Files of release 0.2.0 and before have no visibility.
        """
        values = [*self.session.get_inputs(), *self.session.get_outputs()]
        # the first dimension is free, and None stands for any size
        found = {value.name: (value.type, *value.shape[1:]) for value in values}
        side = size or (found.get("images") or [None])[-1]
        shapes = {
            "images": (1, side, side),
            "keypoints": (NUM_KEYPOINTS, 2),
            "confidence": (),
            "radius": (NUM_KEYPOINTS,),
        }
        if has_visibility or "visibility" in found:
            shapes["visibility"] = (NUM_KEYPOINTS,)
        expected = {name: ("tensor(float)", *shape) for name, shape in shapes.items()}
        if found != expected:
            raise CheckpointError(
                f"{path} is not the network of this checkpoint: its inputs and outputs are {found}, expected "
                f"{expected}; make it again: python export_onnx.py {path.parent}"
            )

    def __call__(self, batch: np.ndarray) -> Estimates:
        """Crops (N, 1, S, S) float32 to answers in the unit of the network."""
        return Estimates(*self.session.run(self.outputs, {"images": batch}))

    def __reduce__(self):
        return OnnxRuntime, self._arguments


# --- from images and crops to keypoints ---------------------------------------------------------


def box_matrix(box_xyxy, config: ModelConfig) -> np.ndarray:
    """Matrix (2, 3) from the image to the crop of the first pass, around a face detector's box."""
    return square_crop_matrix(box_xyxy, config.box_scale, config.input_size)


def keypoints_matrix(keypoints: np.ndarray, config: ModelConfig) -> np.ndarray:
    """Matrix (2, 3) from the image to the crop of a further pass, around keypoints (68, 2) in the image."""
    return face_crop_matrix(keypoints, config.crop_scale, config.input_size, align_roll=config.align_roll)


def crops_to_batch(images: Sequence[np.ndarray], matrices, config: ModelConfig) -> np.ndarray:
    """Input of the network: each image warped by its matrix (2, 3); (N, 1, S, S) float32, gray."""
    size = config.input_size
    low, high = config.gray_range
    crops = [
        to_gray(warp(image, matrix, (size, size))) for image, matrix in zip(images, matrices, strict=True)
    ]
    return np.stack(crops)[:, None] * np.float32(high - low) + np.float32(low)


def predict(
    network,
    config: ModelConfig,
    images: Sequence[np.ndarray],
    matrices: Sequence[np.ndarray],
    passes: int = 0,
    flip: bool = True,
) -> Estimates:
    """Keypoints, confidence, radius and visibility, in image pixels, one face per image.

    network: a runtime or a PyTorch module.
    images: N images, HxWx3 uint8 RGB or HxW gray; an image with two faces is listed twice.
    matrices: N matrices (2, 3) from the image to the crop of the first pass. The crop of each further pass
        is the square around the keypoints of the pass before.
    passes: number of passes; 0 for that of the config.
    flip: average the last pass with that of the flipped crop, where the config says so (flip_tta).
    """
    network = _as_runtime(network)
    passes = passes or config.passes
    found = Estimates.empty(len(images))
    for start in range(0, len(images), BATCH):
        part = slice(start, start + BATCH)
        to_crops, answers = list(matrices[part]), Estimates.empty(0)
        for number in range(passes):
            if number:
                to_crops = [keypoints_matrix(points, config) for points in answers.keypoints]
            crops = crops_to_batch(images[part], to_crops, config)
            # the passes before the last one only have to tell where the face is
            if flip and config.flip_tta and number == passes - 1:
                # in one call, because a CPU takes little longer for two crops than for one
                both = network(np.concatenate([crops, crops[..., ::-1]]))
                answers = both.in_crops(config).flips_averaged(config.input_size)
            else:
                answers = network(crops).in_crops(config)
            answers = answers.in_images(to_crops).hidden_outside(images[part])
        for values, new in zip(found, answers, strict=True):
            values[part] = new
    return found


def predict_keypoints(network, config: ModelConfig, images, matrices) -> np.ndarray:
    """Keypoints (N, 68, 2) in image pixels; the arguments are those of `predict`."""
    return predict(network, config, images, matrices).keypoints


# --- which answers are reported -----------------------------------------------------------------


def same_face(keypoints: np.ndarray, other: np.ndarray) -> bool:
    """True if two answers (68, 2) for one image belong to the same face.

    Their points are on average at most 0.15 face sizes apart, or one box covers more than half of the
    other, which the faces of two people hardly ever do.
    """
    if face_distance(keypoints, other) <= SAME_DISTANCE:
        return True
    return box_overlap(box_from_keypoints(keypoints), box_from_keypoints(other)) > SAME_OVERLAP


def expected_error(face: Face) -> float:
    """Mean radius of a face's points in face sizes; 0 where the radius is unknown (NaN)."""
    return float(np.nan_to_num(face.radius.mean() / face_size(face.keypoints)))


def filter_faces(faces: Iterable[Face], min_confidence: float) -> list[Face]:
    """The faces of one image that are reported: confident enough, each once, the largest first.

    Of several answers for one face the one with the smallest expected error stays, among those with a
    confidence of at least 0.5 if there are any. Confidence tells faces from other things and is above 0.9
    for good and bad answers alike; the radius tells good answers from bad ones
    (benchmarks/finding/README.md). Faces of unknown confidence are only merged. The box of each becomes the
    one around its keypoints, because the network may have found the face from any box nearby.
    """
    left = [face for face in faces if not face.is_below(min_confidence)]
    left.sort(key=lambda face: (face.is_below(MIN_CONFIDENCE), expected_error(face)))
    kept: list[Face] = []
    for face in left:
        if not any(same_face(face.keypoints, other.keypoints) for other in kept):
            kept.append(face)
    kept = [replace(face, box_xyxy=box_from_keypoints(face.keypoints)) for face in kept]
    return sorted(kept, key=lambda face: -box_side(face.box_xyxy))


# --- the detector -------------------------------------------------------------------------------


def check_boxes(boxes_xyxy, image: np.ndarray) -> list[np.ndarray]:
    """Boxes (N, 4) as a list of float64 arrays (4,).

    Raises ValueError for something that is no box, is wholly outside the image, or is more than
    MAX_BOX_SIDE times as large as the image.
    """
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


def choose_runtime(folder: Path, device: str = "cpu") -> str:
    """The runtime that 'auto' stands for: 'onnx' where it can be used, else 'torch'.

    It can be used on the CPU, where ONNX Runtime is installed and the checkpoint folder has its file.
    """
    has_onnx = importlib.util.find_spec("onnxruntime") is not None
    return "onnx" if has_onnx and str(device) == "cpu" and (folder / RUNTIMES["onnx"]).is_file() else "torch"


class KeypointDetector:
    """Finds faces and their 68 keypoints.

    model: a PyTorch network or a runtime. config: its config.
    face_detector: called with an image, returns boxes (N, 4) box_xyxy (detector/face_finders.py). If its
        boxes are close around faces, give it a `min_first_confidence`, as NetworkFaceFinder has. By default
        cascades, which need no weights: MultiCascadeDetector where the network estimates confidence and can
        filter its boxes, else HaarFaceDetector.
    min_confidence: faces with less confidence are not reported, 0 to 1. Faces of given boxes always are.

    Threads: one detector may be used by several threads at once; each gets the answers that it would get
    alone. This holds for the face finders and runtimes of this package; a face_detector of your own must
    allow it. Do not change attributes or weights meanwhile. A `FaceTracker` belongs to one thread.
    Processes: a detector can be pickled. ONNX files are then loaded again from where they are.
    """

    def __init__(
        self,
        model: "KeypointNetwork | Callable[[np.ndarray], Estimates]",
        config: ModelConfig,
        face_detector: Callable[[np.ndarray], np.ndarray] | None = None,
        min_confidence: float = MIN_CONFIDENCE,
    ):
        self.network = _as_runtime(model)
        self.config = config
        self.name = config.model
        self.face_detector = face_detector or build_face_detector("haar", filtered=config.has_uncertainty)
        self.min_confidence = min_confidence

    @classmethod
    def from_pretrained(
        cls,
        name: str = DEFAULT_CHECKPOINT,
        *,
        device: str = "cpu",
        runtime: str = "auto",
        threads: int = 0,
        face_detector: str | Callable[[np.ndarray], np.ndarray] | None = None,
        min_confidence: float = MIN_CONFIDENCE,
    ) -> "KeypointDetector":
        """A detector with the weights of a checkpoint.

        name: a checkpoint of saved_models/, a checkpoint folder, or OWNER/NAME on the hub.
        device: 'cpu', 'cuda' or another PyTorch device; only for runtime='torch'.
        runtime: 'torch', 'onnx' (model.onnx beside the weights), 'onnx-int8' (model-int8.onnx) or 'auto':
            'onnx' where it can be used, else 'torch' (`choose_runtime`). The ONNX runtimes use the CPU.
        threads: CPU threads of one call of an ONNX runtime; 0 leaves it to ONNX Runtime. For 'torch' use
            `torch.set_num_threads`.
        face_detector: a function as in KeypointDetector, 'finder' (our own face finder, with the same
            runtime), 'haar' (cascades) or 'yunet' (YuNet, downloaded when it is first used). By default
            'finder' where the network estimates confidence and can filter its boxes, else 'haar'.
        min_confidence: as in KeypointDetector.

        Example:

            detector = KeypointDetector.from_pretrained()
            for face in detector("photo.jpg"):
                print(face.confidence, face.keypoints[30])    # the tip of the nose, (x, y) in pixels

        Raises ValueError for an unknown runtime or face detector, CheckpointError (a ValueError) for a
        checkpoint that is missing or damaged, ImportError where ONNX Runtime is not installed.
        """
        if runtime not in ("auto", *RUNTIMES):
            raise ValueError(f"runtime must be one of auto, {', '.join(RUNTIMES)}, got {runtime!r}")
        folder = find_checkpoint(name)
        runtime = choose_runtime(folder, device) if runtime == "auto" else runtime
        network: KeypointNetwork | OnnxRuntime
        if runtime == "torch":
            try:
                import torch  # noqa: F401 (for load_checkpoint)
            except ImportError as error:
                raise ImportError(
                    f"{folder} has no {RUNTIMES['onnx']}, or another runtime was asked for, and PyTorch is "
                    "not installed: pip install torch safetensors, or run export_onnx.py where it is"
                ) from error
            network, config = load_checkpoint(folder, device)
        else:
            config = load_model_config(folder)
            network = OnnxRuntime(folder / RUNTIMES[runtime], threads, config)
        if face_detector is None:
            face_detector = "finder" if config.has_uncertainty else "haar"
        if isinstance(face_detector, str):
            face_detector = build_face_detector(
                face_detector,
                filtered=config.has_uncertainty,
                trained_on=config.trained_on,
                runtime=runtime,
                device=device,
                threads=threads,
            )
        detector = cls(network, config, face_detector, min_confidence)
        detector.name = f"{name}, {runtime}"
        return detector

    def __repr__(self) -> str:
        return f"KeypointDetector({self.name}, face_detector={type(self.face_detector).__name__})"

    def __call__(self, image, boxes_xyxy=None) -> list[Face]:
        """All faces of an image, each once, the largest first.

        image: HxWx3 uint8 RGB, a path (`~` is the home folder), the bytes of a file, an open binary file, a
            Pillow image, or what else `files.to_rgb` takes.
        boxes_xyxy: (N, 4) boxes of faces, which may reach beyond the image. No face is looked for then,
            and there is one answer per box, in their order.

        Raises FileNotFoundError, TypeError or ValueError for what is no image, ValueError for wrong boxes.
        """
        return self.detect_batch([image], None if boxes_xyxy is None else [boxes_xyxy])[0]

    def detect_batch(
        self, images: Iterable, boxes_xyxy: Sequence | None = None, *, filter_boxes: bool = False
    ) -> list[list[Face]]:
        """The faces of several images, which go through the network together.

        The answers are those of one call per image; rounding may move a point by a few hundredths of a
        pixel.

        images: each as in `__call__`.
        boxes_xyxy: for each image its boxes (N, 4), or None where faces are to be looked for.
        filter_boxes: treat given boxes as those of a face finder: some may be no face, or the same one.

        Raises the errors of `__call__`, TypeError for a single image, and ValueError unless there are as
        many lists of boxes as images.
        """
        single = str | os.PathLike | Image.Image | bytes | bytearray | memoryview
        if isinstance(images, single) or hasattr(images, "read") or getattr(images, "ndim", 4) < 4:
            raise TypeError("detect_batch takes a list of images; for a single one call detector(image)")
        images = [to_rgb(image) for image in images]
        given = [None] * len(images) if boxes_xyxy is None else list(boxes_xyxy)
        if len(given) != len(images):
            raise ValueError(f"{len(images)} images need as many lists of boxes, got {len(given)}")
        boxes_per_image = [
            check_boxes(self.face_detector(image) if boxes is None else boxes, image)
            for image, boxes in zip(images, given, strict=True)
        ]
        images = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images]
        searched = [number for number, boxes in enumerate(given) if filter_boxes or boxes is None]
        left = list(boxes_per_image)
        for number in searched:
            left[number] = []
        faces_per_image = self._predict(images, self._box_matrices(left), left)
        found = self._search(
            [images[number] for number in searched], [boxes_per_image[number] for number in searched]
        )
        for number, faces in zip(searched, found, strict=True):
            faces_per_image[number] = faces
        return faces_per_image

    def _search(self, images: list[np.ndarray], boxes_per_image: list[list]) -> list[list[Face]]:
        """The faces of each image, of those that its boxes lead to.

        Where the network estimates confidence, there is one pass more than for given boxes, and the answers
        are filtered after each pass, so that few go through the last ones. After the first pass this is done
        only if the face detector has a `min_first_confidence`: the first answer for a loose box says little.
        """
        matrices = self._box_matrices(boxes_per_image)
        if not self.config.has_uncertainty:
            faces_per_image = self._predict(images, matrices, boxes_per_image)
            return [filter_faces(faces, self.min_confidence) for faces in faces_per_image]
        first: float | None = getattr(self.face_detector, "min_first_confidence", None)
        for number in range(self.config.passes + 1):
            is_last = number == self.config.passes
            faces_per_image = self._predict(images, matrices, boxes_per_image, passes=1, flip=is_last)
            limit = self.min_confidence if number else first
            if limit is not None:
                limit = min(limit, self.min_confidence)
                faces_per_image = [filter_faces(faces, limit) for faces in faces_per_image]
            boxes_per_image = [[face.box_xyxy for face in faces] for faces in faces_per_image]
            matrices = self._keypoint_matrices([[face.keypoints for face in own] for own in faces_per_image])
        return faces_per_image

    def follow(self, image, keypoints) -> list[Face]:
        """The faces that were at `keypoints` (N, 68, 2) in the frame before: one pass around each.

        Raises ValueError for wrong keypoints, and the errors of `__call__` for what is no image.
        """
        keypoints = [check_keypoints(points) for points in keypoints]
        boxes = [box_from_keypoints(points) for points in keypoints]
        gray = cv2.cvtColor(to_rgb(image), cv2.COLOR_RGB2GRAY)
        return self._predict([gray], self._keypoint_matrices([keypoints]), [boxes], passes=1)[0]

    def _box_matrices(self, boxes_per_image: list[list]) -> list[list[np.ndarray]]:
        return [[box_matrix(box, self.config) for box in boxes] for boxes in boxes_per_image]

    def _keypoint_matrices(self, keypoints_per_image: list[list]) -> list[list[np.ndarray]]:
        return [[keypoints_matrix(points, self.config) for points in own] for own in keypoints_per_image]

    def _predict(
        self, images, matrices_per_image, boxes_per_image, passes: int = 0, flip: bool = True
    ) -> list[list[Face]]:
        """The faces of each image: `predict` from its matrices (2, 3), one for each of its boxes."""
        sources = [image for image, own in zip(images, matrices_per_image, strict=True) for _ in own]
        matrices = [matrix for own in matrices_per_image for matrix in own]
        found = predict(self.network, self.config, sources, matrices, passes, flip)
        return _to_faces(found, boxes_per_image)


def _to_faces(found: Estimates, boxes_per_image: Sequence[Sequence]) -> list[list[Face]]:
    """The faces of each image; one box_xyxy per answer, in the same order."""
    answers = zip(*found, strict=True)
    return [
        [
            Face(points, np.asarray(box), float(confidence), radius, visibility)
            for box, (points, confidence, radius, visibility) in zip(boxes, answers, strict=False)
        ]
        for boxes in boxes_per_image
    ]
