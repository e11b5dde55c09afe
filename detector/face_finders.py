"""Face finders: called with an image, each returns boxes (N, 4) box_xyxy in pixels of that image.

    NetworkFaceFinder     our own small network, in saved_models/face_finder; the default
    HaarFaceDetector      one Haar cascade of OpenCV; the teaching example and the `haar` protocol
    MultiCascadeDetector  frontal and profile cascade on the image and its flipped copy, permissive settings
    YuNetFaceDetector     a small network that OpenCV runs; its weights are downloaded when it is first used
    FixedBoxes            the same boxes for every image
    ReducedSearch         another face finder, run on a smaller copy of large images

All of them may be called from several threads at once and sent to other processes with pickle.
`KeypointDetector(face_detector=...)` also takes any function of yours with the same signature.
"""

import ctypes
import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from checkpoint import (
    FINDER,
    RUNTIMES,
    CheckpointError,
    find_checkpoint,
    load_face_finder,
    load_finder_config,
    open_onnx,
    sha256_of,
)
from files import atomic_path, cv2, one_line
from geometry import box_iou, check_box, flip_image, image_box

HELD_OUT_FINDER = f"{FINDER}-identity"
MAX_BOXES, MAX_IOU = 100, 0.45
FINDER_OUTPUTS = ("scores", "boxes")
CELL_MULTIPLE = 32  # models.FaceFinder.multiple, which cannot be imported without PyTorch
#: YuNet's weights (MIT licence) in OpenCV's model zoo: address, SHA-256 and size in bytes.
YUNET_FILE = "face_detection_yunet_2023mar.onnx"
YUNET_URL = (
    "https://github.com/opencv/opencv_zoo/raw/82b38c8f98e7b52aa171400f3e4c722352d0669f/models/"
    f"face_detection_yunet/{YUNET_FILE}"
)
YUNET_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
YUNET_BYTES = 232589
FRONTAL, PROFILE = "haarcascade_frontalface_default.xml", "haarcascade_profileface.xml"


class _Pool:
    """Copies of an object that only one thread at a time may use.

    make: called without arguments for a new copy, whenever all others are in use.
    Pickle keeps `make` and drops the copies.
    """

    def __init__(self, make: Callable):
        self.make = make
        self.free = deque([make()])  # a deque because its append and pop are atomic

    @contextmanager
    def borrow(self) -> Iterator:
        try:
            item = self.free.pop()
        except IndexError:
            item = self.make()
        try:
            yield item
        finally:
            self.free.append(item)

    def __reduce__(self):
        return _Pool, (self.make,)


def _boxes_largest_first(xywh) -> np.ndarray:
    """Rows of (left, top, width, height) as boxes (N, 4) float64, the largest first, without empty ones."""
    x, y, w, h = np.asarray(xywh, dtype=np.float64).reshape(-1, 4).T
    boxes = np.stack([x, y, x + w, y + h], axis=1)
    order = np.argsort(-(w * h), kind="stable")
    return boxes[order][((w > 0) & (h > 0))[order]]


# --- Haar cascades ------------------------------------------------------------------------------


def _opencv_cascades() -> Path:
    return Path(cv2.data.haarcascades)  # type: ignore[attr-defined]  # the types of OpenCV lack it


def _load_cascade(path: str):
    cascade = cv2.CascadeClassifier(path)
    if cascade.empty():
        raise FileNotFoundError(f"{path} is no Haar cascade; OpenCV's are in {_opencv_cascades()}")
    return cascade


class HaarFaceDetector:
    """Boxes of faces by one Haar cascade.

    scale_factor: step between the face sizes that are searched; closer to 1 finds more and is slower.
    min_neighbors: raw hits that make a face; fewer find more faces and more false positives.
    min_share: side of the smallest face, as a share of the image's shorter side; never below 20 pixels.
    cascade: name of a cascade of OpenCV, or path of a file.

    Raises FileNotFoundError for a file that is no cascade.
    Source: Viola and Jones, "Rapid Object Detection using a Boosted Cascade of Simple Features", CVPR 2001.
    """

    def __init__(
        self,
        scale_factor: float = 1.1,
        min_neighbors: int = 5,
        min_share: float = 0.1,
        cascade: str = FRONTAL,
    ):
        path = Path(cascade) if Path(cascade).is_file() else _opencv_cascades() / cascade
        self._cascades = _Pool(partial(_load_cascade, str(path)))
        self.scale_factor, self.min_neighbors, self.min_share = scale_factor, min_neighbors, min_share

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Boxes (N, 4) float64 of an HxWx3 uint8 RGB image, the largest first."""
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        side = max(20, round(self.min_share * min(gray.shape)))
        with self._cascades.borrow() as cascade:
            found = cascade.detectMultiScale(
                gray, self.scale_factor, self.min_neighbors, minSize=(side, side)
            )
        return _boxes_largest_first(found)


class MultiCascadeDetector:
    """Boxes that may be faces: frontal and profile cascade, each on the image and on its flipped copy.

    The profile cascade knows one side only, and the frontal one finds slightly other faces in the flipped
    copy. The settings are permissive: there are false positives, which the network then filters.

    scale_factor, min_neighbors, min_share: as in HaarFaceDetector.
    max_boxes: limit for the number of boxes, for images full of patterns.
    """

    def __init__(
        self, scale_factor: float = 1.1, min_neighbors: int = 2, min_share: float = 0.1, max_boxes: int = 48
    ):
        self.cascades = [
            HaarFaceDetector(scale_factor, min_neighbors, min_share, name) for name in (FRONTAL, PROFILE)
        ]
        self.max_boxes = max_boxes

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Boxes (N, 4) float64 of an HxWx3 uint8 RGB image, those found most often first."""
        return self._search(image, (False, True))

    def search(self, image: np.ndarray, flipped: bool) -> np.ndarray:
        """Boxes of the image alone or of its flipped copy alone, in half the time.

        A video tracker alternates between the two. Boxes are in pixels of the image in both cases.
        """
        return self._search(image, (flipped,))

    def _search(self, image: np.ndarray, sides: Sequence[bool]) -> np.ndarray:
        views = {flipped: flip_image(image) if flipped else image for flipped in sides}
        found: list[np.ndarray] = []
        for cascade in self.cascades:
            for flipped, view in views.items():
                boxes = cascade(view)
                found += list(_flip_boxes(boxes, image.shape[1]) if flipped else boxes)
        return merge_boxes(found)[: self.max_boxes]


def _flip_boxes(boxes: np.ndarray, width: int) -> np.ndarray:
    left, top, right, bottom = boxes.T
    return np.stack([width - right, top, width - left, bottom], axis=1)


def merge_boxes(boxes: Sequence[np.ndarray], min_iou: float = 0.6) -> np.ndarray:
    """Means (N, 4) of groups of overlapping boxes, the largest group first.

    A box joins the first group whose first box it overlaps by at least min_iou.
    """
    groups: list[list[np.ndarray]] = []
    for box in boxes:
        group = next((g for g in groups if box_iou(g[0], box) >= min_iou), None)
        if group is None:
            groups.append([box])
        else:
            group.append(box)
    groups.sort(key=len, reverse=True)
    return np.array([np.mean(group, axis=0) for group in groups]).reshape(-1, 4)


# --- our own network ----------------------------------------------------------------------------


class _TorchFinder:
    """Runs a `models.FaceFinder` on the device of its weights."""

    def __init__(self, model):
        self.model = model.eval()

    def __call__(self, gray: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(1, 1, H, W) float32 to scores (1, h, w) and boxes (1, 4, h, w)."""
        import torch

        with torch.inference_mode():
            images = torch.from_numpy(gray).to(next(self.model.parameters()).device)
            return tuple(values.float().cpu().numpy() for values in self.model(images))


class _OnnxFinder:
    """Runs the ONNX file of a face finder on the CPU. Pickle keeps the path."""

    def __init__(self, path: Path, threads: int = 0):
        self.path, self.threads = path, threads
        self._open(threads)

    def _open(self, threads: int) -> None:
        self.session, self.process = open_onnx(self.path, threads), os.getpid()
        names = [value.name for value in (*self.session.get_inputs(), *self.session.get_outputs())]
        if names != ["images", *FINDER_OUTPUTS]:
            raise CheckpointError(
                f"{self.path} is no face finder: its inputs and outputs are {', '.join(names)}"
            )

    def __call__(self, gray: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(1, 1, H, W) float32 to scores (1, h, w) and boxes (1, 4, h, w)."""
        if os.getpid() != self.process:
            # A forked process lacks the threads of the session. To end it may wait for them for ever, so it
            # is never ended: it gets one reference more than there are.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.session))
            self._open(1)
        return tuple(self.session.run(FINDER_OUTPUTS, {"images": gray}))

    def __reduce__(self):
        return _OnnxFinder, (self.path, self.threads)


class NetworkFaceFinder:
    """Boxes that may be faces, by our own network (`models.FaceFinder`), in one pass over a reduced copy.

    Each box is the square around a face, 1.2 times as large as the larger side of the box around its
    keypoints. There are false positives, which the keypoint network then filters.

    network: called with gray images (1, 1, H, W) float32 in [0, 1], H and W multiples of 32; returns scores
        (1, h, w) and boxes (1, 4, h, w), box_xyxy in pixels of the input, as arrays.
    long_side: larger side of the copy, in pixels; smaller images are not enlarged. Faces below 9 px in the
        copy are not found: for many small faces in a large photo, take a larger one.
    min_score: cells with a lower score give no box, 0 to 1.
    max_boxes: limit for the number of boxes; those with the highest scores stay.

    Raises ValueError for values out of range.
    """

    redetect_every = 5  # frames between two searches of a video: a search takes a few milliseconds
    #: Its boxes are close around faces, so the first answer tells most of those that are none
    #: (benchmarks/finding/README.md): KeypointDetector drops answers with less confidence.
    min_first_confidence = 0.1

    def __init__(
        self,
        network: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
        long_side: int = 320,
        min_score: float = 0.15,
        max_boxes: int = MAX_BOXES,
    ):
        if long_side < CELL_MULTIPLE or not 0 <= min_score <= 1 or max_boxes < 1:
            raise ValueError(
                f"a face finder needs a long_side of at least {CELL_MULTIPLE}, a min_score from 0 to 1 and "
                f"max_boxes of at least 1; got {long_side}, {min_score} and {max_boxes}"
            )
        self.network, self.long_side = network, long_side
        self.min_score, self.max_boxes = min_score, max_boxes

    @classmethod
    def from_pretrained(
        cls, name: str = FINDER, *, runtime: str = "torch", device: str = "cpu", threads: int = 0, **changes
    ) -> "NetworkFaceFinder":
        """A face finder with the weights of a checkpoint.

        name: a checkpoint of saved_models/, a folder, or OWNER/NAME on the hub.
        runtime, device, threads: as for `KeypointDetector.from_pretrained`.
        changes: long_side, min_score or max_boxes in place of the checkpoint's.
        Raises ValueError for an unknown runtime, CheckpointError for a checkpoint that is missing, damaged or
        holds no face finder.
        """
        if runtime not in RUNTIMES:
            raise ValueError(f"runtime must be one of {', '.join(RUNTIMES)}, got {runtime!r}")
        network: _TorchFinder | _OnnxFinder
        if runtime == "torch":
            model, config = load_face_finder(name, device)
            network = _TorchFinder(model)
        else:
            folder = find_checkpoint(name)
            config = load_finder_config(folder)
            network = _OnnxFinder(folder / RUNTIMES[runtime], threads)
        return cls(network, **({"long_side": config.long_side, "min_score": config.min_score} | changes))

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Boxes (N, 4) float64 of an HxWx3 uint8 RGB image, those with the highest scores first."""
        return self.scored(image)[0]

    def scored(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (N, 4) float64 and their scores (N,), 0 to 1, the highest first."""
        gray, scale_xy = finder_input(image, self.long_side)
        scores, boxes = self.network(gray)
        boxes, scores = peak_boxes(scores[0], boxes[0], self.min_score)
        boxes = boxes / np.tile(scale_xy, 2)
        # a box may lie in the rows and columns that were added
        inside = (boxes[:, :2] < image_box(image)[2:]).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
        boxes, scores = boxes[inside], scores[inside]
        keep = suppress(boxes, scores)[: self.max_boxes]
        return boxes[keep], scores[keep]


def finder_input(image: np.ndarray, long_side: int) -> tuple[np.ndarray, np.ndarray]:
    """The input (1, 1, H, W) of a face finder, and its scale (x, y) relative to the image.

    The image, HxWx3 uint8 RGB, is reduced to `long_side`, and its last row and column are repeated until H
    and W are multiples of 32.
    """
    height, width = image.shape[:2]
    factor = min(1.0, long_side / max(height, width))
    new_w, new_h = max(round(width * factor), 1), max(round(height * factor), 1)
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    if (new_w, new_h) != (width, height):
        gray = cv2.resize(gray, (new_w, new_h), interpolation=cv2.INTER_AREA)
    more_h, more_w = -new_h % CELL_MULTIPLE, -new_w % CELL_MULTIPLE
    gray = cv2.copyMakeBorder(gray, 0, more_h, 0, more_w, cv2.BORDER_REPLICATE)
    return (gray.astype(np.float32) / 255)[None, None], np.array([new_w / width, new_h / height])


def peak_boxes(scores: np.ndarray, boxes: np.ndarray, min_score: float) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 4) float64 and scores (N,) of the cells that are the highest of their 3x3 neighbours.

    scores: (h, w). boxes: (4, h, w). Cells below min_score are left out. The highest score comes first.
    """
    peaks = (scores >= cv2.dilate(scores, np.ones((3, 3), np.uint8))) & (scores >= min_score)
    found, their = boxes[:, peaks].T.astype(np.float64), scores[peaks]
    order = np.argsort(-their, kind="stable")
    return found[order], their[order]


def suppress(boxes: np.ndarray, scores: np.ndarray, max_iou: float = MAX_IOU) -> list[int]:
    """Indices of the boxes (N, 4) that overlap no box of a higher score by more than max_iou.

    This is non-maximum suppression.
    """
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable"):
        if all(box_iou(boxes[index], boxes[other]) <= max_iou for other in kept):
            kept.append(int(index))
    return kept


def default_finder_name(trained_on: str) -> str:
    """The checkpoint of the face finder that goes with a keypoint network: trained on the same people.

    trained_on: of the keypoint network's config. Those of `identity` and `validation` get the held-out face
    finder, all others the one that knows everybody.
    """
    return HELD_OUT_FINDER if trained_on in ("identity", "validation") else FINDER


def default_face_finder(trained_on: str, runtime: str = "torch", device: str = "cpu", threads: int = 0):
    """The face finder of `default_finder_name`."""
    name = default_finder_name(trained_on)
    return NetworkFaceFinder.from_pretrained(name, runtime=runtime, device=device, threads=threads)


def build_face_detector(
    name: str,
    *,
    filtered: bool,
    trained_on: str = "own",
    runtime: str = "torch",
    device: str = "cpu",
    threads: int = 0,
) -> Callable[[np.ndarray], np.ndarray]:
    """The face detector called `name`: 'finder' is our own network, 'haar' OpenCV's cascades, or 'yunet'.

    filtered: the keypoint network filters boxes by confidence, so 'haar' may be permissive.
    trained_on, runtime, device, threads: as for `default_face_finder`.
    Raises ValueError for another name, and what YuNetFaceDetector raises.
    """
    if name == "yunet":
        return YuNetFaceDetector()
    if name == "finder":
        return default_face_finder(trained_on, runtime, device, threads)
    if name == "haar":
        return MultiCascadeDetector() if filtered else HaarFaceDetector()
    raise ValueError(
        f"face_detector must be 'finder', 'haar', 'yunet' or a function from image to boxes, got {name!r}"
    )


# --- YuNet --------------------------------------------------------------------------------------


def fetch_yunet(folder=None, *, seconds: float = 10.0) -> Path:
    """The file of YuNet's weights, downloaded (233 kB) unless it is there already.

    folder: where it is kept; by default facial-keypoints/ in XDG_CACHE_HOME or ~/.cache.
    seconds: how long to wait for the server, to connect and between two answers.
    Raises CheckpointError if no server answers, or what it sends is not the file with the known SHA-256.
    """
    if folder is None:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "facial-keypoints"
    path = Path(folder) / YUNET_FILE
    if path.is_file() and sha256_of(path) == YUNET_SHA256:
        return path
    content = _download_yunet(seconds)
    if (found := hashlib.sha256(content).hexdigest()) != YUNET_SHA256:
        raise CheckpointError(
            f"what {YUNET_URL} sends is not {YUNET_FILE}: its SHA-256 is {found}, expected {YUNET_SHA256}. "
            f"{YUNET_BY_HAND}"
        )
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return path


YUNET_BY_HAND = (
    "Or fetch the file in another way and name it: model_path=FILE, for detect.py --yunet-model FILE; "
    "face_detector='finder' and 'haar' need no download"
)


def _download_yunet(seconds: float) -> bytes:
    """What the server sends, at most one byte more than the file has."""
    import urllib.request  # requests is not part of an installation without PyTorch
    from http.client import HTTPException

    try:
        with urllib.request.urlopen(YUNET_URL, timeout=seconds) as answer:
            return answer.read(YUNET_BYTES + 1)
    except (OSError, HTTPException) as error:
        reason = one_line(str(error) or type(error).__name__)
        raise CheckpointError(
            f"{YUNET_FILE} could not be downloaded from {YUNET_URL}: {reason}. {YUNET_BY_HAND}"
        ) from error


def _load_yunet(path: str, min_score: float):
    try:
        return cv2.FaceDetectorYN.create(path, "", (320, 320), min_score)
    except cv2.error as error:
        raise ValueError(f"{path} is not a model that OpenCV can read: {error}") from error


class YuNetFaceDetector:
    """Boxes of faces by YuNet, a small network that OpenCV runs. It also finds turned and covered faces.

    model_path: a file face_detection_yunet_*.onnx of OpenCV's model zoo, which OpenCV does not contain. By
        default the file is downloaded once and checked (`fetch_yunet`).
    min_score: lowest score of a face, 0 to 1.
    shorter_side: images are reduced to this shorter side, in pixels, before the search, because the
        network knows faces of about 10 to 300 pixels.

    Raises FileNotFoundError where there is no file, ValueError for one that OpenCV cannot read, and what
    `fetch_yunet` raises.
    Source: Wu, Peng and Yu, "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research
    2023.
    """

    def __init__(self, model_path=None, min_score: float = 0.7, shorter_side: int = 480):
        path = fetch_yunet() if model_path is None else Path(os.path.expanduser(model_path))
        if not path.is_file():
            raise FileNotFoundError(
                f"no YuNet model at {path}; fetch {YUNET_FILE} from OpenCV's model zoo (opencv_zoo on "
                "GitHub), or give no model_path to have it downloaded"
            )
        self._networks = _Pool(partial(_load_yunet, str(path), min_score))
        self._search = ReducedSearch(self._detect, shorter_side)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Boxes (N, 4) float64 of an HxWx3 uint8 RGB image, the largest first."""
        return self._search(image)

    def _detect(self, image: np.ndarray) -> np.ndarray:
        with self._networks.borrow() as network:
            network.setInputSize((image.shape[1], image.shape[0]))
            _, found = network.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        # each row: x, y, width, height, five points, score
        return _boxes_largest_first([] if found is None else np.asarray(found)[:, :4])


# --- other ways to boxes ------------------------------------------------------------------------


class FixedBoxes:
    """The same boxes for every image, for a camera or a data set where it is known where the faces are.

    boxes_xyxy: (N, 4), left, top, right, bottom in pixels.
    Raises ValueError for a box that is not finite or has no area.
    """

    def __init__(self, boxes_xyxy: Sequence):
        self.boxes_xyxy = np.array([check_box(box) for box in boxes_xyxy]).reshape(-1, 4)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Boxes (N, 4) float64; the image is ignored."""
        return self.boxes_xyxy.copy()


class ReducedSearch:
    """A face finder that works on a reduced copy of large images and returns boxes of the image itself.

    face_detector: the face finder that gets the copy.
    shorter_side: of the copy, in pixels; smaller images are not reduced.

    Haar cascades gain little from it: for large faces they reduce the image themselves.
    Raises ValueError for a shorter_side below 1.
    """

    def __init__(self, face_detector: Callable[[np.ndarray], np.ndarray], shorter_side: int):
        if shorter_side < 1:
            raise ValueError(f"shorter_side must be at least 1 pixel, got {shorter_side}")
        self.face_detector, self.shorter_side = face_detector, shorter_side

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Boxes (N, 4) float64 of an HxWx3 uint8 RGB image."""
        height, width = image.shape[:2]
        factor = self.shorter_side / min(height, width)
        if factor >= 1:
            return self.face_detector(image)
        size_wh = round(width * factor), round(height * factor)
        boxes = self.face_detector(cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA))
        # edges of boxes, unlike centres of pixels, scale without the half pixel
        scale = np.array([width, height] * 2) / np.array(size_wh * 2)
        return np.asarray(boxes, dtype=np.float64).reshape(-1, 4) * scale
