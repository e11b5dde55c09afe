"""Any number of image files: read and searched by worker processes, keypoints in batches.

    for found in detect_paths(detector, paths, workers=4):     # lists of ImageFaces, in the order of paths
        journal.add(found)

Paths are taken as they are needed and images are dropped when their keypoints are
known, so memory does not grow with the number of files.
"""

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path
from threading import Thread

import numpy as np
from torch.utils.data import DataLoader, Dataset

from detector.exports import beside, place_below
from detector.inputs import to_rgb
from detector.overlay import draw_faces, encode_like
from detector.pipeline import Face, KeypointDetector, check_boxes
from detector.proposals import dispose
from detector.results import ImageFaces
from opencv import cv2

MOST_PIXEL_BYTES = 64 * 2**20  # of images that wait for the network
AHEAD = 2  # images that each worker may have read ahead
MOST_WORKERS = 8


def available_cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def workers_for(cores: int) -> int:
    """How many processes should search a long list of images.

    Without any, OpenCV spreads each search over the cores; a process searches on one. On two cores, none is
    as quick as two, and one takes 1.7 times as long (benchmarks/detecting.md). More cores were not measured.
    """
    return min(cores, MOST_WORKERS) if cores > 2 else 0


@dataclass(frozen=True)
class SearchedImage:
    """An image with its boxes, on the way to the network; with an error neither."""

    path: str
    image: np.ndarray | None = None
    boxes_xyxy: list[np.ndarray] | None = None
    error: str = ""


class ImageSearch(Dataset):
    """Reads images and looks for faces; indexed by path."""

    def __init__(self, face_detector: Callable[[np.ndarray], np.ndarray]):
        self.face_detector = face_detector

    def __getitem__(self, path: str) -> SearchedImage:
        try:
            image = to_rgb(path)
            return SearchedImage(path, image, check_boxes(self.face_detector(image), image))
        except (OSError, ValueError, MemoryError, cv2.error) as error:
            return SearchedImage(path, error=str(error) or type(error).__name__)


def check_not_input(target: Path, path: str) -> None:
    """ValueError where a result would replace what it was made from."""
    if target.exists() and os.path.exists(path) and os.path.samefile(target, path):
        raise ValueError(f"{target} would be replaced by its own result; name another folder with --output")


@dataclass(frozen=True)
class Drawing:
    """Where overlays go: below `folder`, in the folders that the images have below `base`."""

    folder: Path
    base: Path

    def save(self, path: str, image: np.ndarray, faces: list[Face]) -> None:
        """Write the image with its faces drawn in; formats that cannot be written become PNG."""
        place = place_below(self.folder, path, self.base)
        ending, data = encode_like(place.suffix, draw_faces(image, faces))
        target = place.with_name(place.name.removesuffix(place.suffix) + ending)
        check_not_input(target, path)
        with beside(target) as temporary:
            temporary.write_bytes(data)


def detect_paths(
    detector: KeypointDetector,
    paths: Iterable[str],
    *,
    workers: int = 0,
    batch: int = 32,
    drawing: Drawing | None = None,
) -> Iterator[list[ImageFaces]]:
    """Results in the order of the paths, in lists of those that were ready together.

    workers: processes that read images and look for faces; 0 does it here.
    batch: images that go through the network together; fewer if they are large.
    drawing: also write overlays; when a list comes out, its overlays are written.
    An image that cannot be read comes out with its `error`. Faces are those that
    `detector(image)` gives, up to a few hundredths of a pixel.
    """
    for group in _in_groups(_search(paths, detector.face_detector, workers), batch):
        readable = [item for item in group if not item.error]
        images, boxes = [item.image for item in readable], [item.boxes_xyxy for item in readable]
        proposed = iter(detector.detect_batch(images, boxes))
        found = []
        for item in group:
            if item.error:
                found.append(ImageFaces(item.path, error=item.error))
                continue
            faces = dispose(next(proposed), detector.least_confidence)
            height, width = item.image.shape[:2]
            found.append(ImageFaces(item.path, (width, height), faces))
            if drawing is not None:
                drawing.save(item.path, item.image, faces)
        yield found


def _search(paths: Iterable[str], face_detector: Callable, workers: int) -> Iterator[SearchedImage]:
    """Through a DataLoader, which hands out paths one at a time and keeps their order."""
    loader = DataLoader(
        ImageSearch(face_detector),
        batch_size=None,
        sampler=paths,
        num_workers=workers,
        prefetch_factor=AHEAD if workers else None,
        collate_fn=_as_it_is,
        worker_init_fn=_prepare_worker,
    )
    with _without_opencv_threads():
        return iter(loader)


@contextmanager
def _without_opencv_threads() -> Iterator[None]:
    """A forked process that inherits OpenCV's threads by name only waits for them for ever."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def _as_it_is(item: SearchedImage) -> SearchedImage:
    return item


def _prepare_worker(number: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the main process, which then stops them
    cv2.setNumThreads(1)
    Thread(target=_leave_with_the_main_process, daemon=True).start()


def _leave_with_the_main_process() -> None:
    """PyTorch's workers notice that the main process was killed, but then wait for it to take an image."""
    parent_process().join()
    os._exit(1)


def _in_groups(items: Iterator[SearchedImage], most: int) -> Iterator[list[SearchedImage]]:
    group: list[SearchedImage] = []
    pixel_bytes = 0
    for item in items:
        group.append(item)
        pixel_bytes += 0 if item.image is None else item.image.nbytes
        if len(group) >= most or pixel_bytes >= MOST_PIXEL_BYTES:
            yield group
            group, pixel_bytes = [], 0
    if group:
        yield group
