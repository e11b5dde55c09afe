"""What `detect.py` was asked to look at: images, globs, folders, videos, cameras.

Folders are read as they are listed, so that any number of files fits into memory.
"""

import glob
import os
import re
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing import parent_process
from pathlib import Path
from threading import Thread

import numpy as np
from torch.utils.data import DataLoader, Dataset

from detector.formats import output_path
from detector.overlay import draw_faces, encode_like
from detector.predictor import Face, KeypointDetector, check_boxes
from detector.results import ImageFaces
from files import IMAGE_SUFFIXES, atomic_path, cv2, to_rgb

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv")
CAMERA = re.compile(r"webcam:[0-9]+")
SORTED_AT_ONCE = 10_000


def is_video(name: str) -> bool:
    """Whether an input is a camera (webcam:0), a stream (rtsp://...) or a file that ends like a video."""
    return bool(CAMERA.fullmatch(name)) or "://" in name or Path(name).suffix.lower() in VIDEO_SUFFIXES


def expand_globs(inputs: Iterable[str]) -> tuple[list[str], list[str]]:
    """The inputs with each pattern (*, ?, [], **) replaced by what it matches, and patterns without a match.

    A name that exists is no pattern, whatever is in it.
    """
    names, unmatched = [], []
    for item in inputs:
        if not glob.has_magic(item) or os.path.lexists(item):
            names.append(item)
            continue
        matches = sorted(glob.glob(item, recursive=True))
        names += matches
        if not matches:
            unmatched.append(item)
    return names, unmatched


def list_images(
    inputs: Iterable[str], report: Callable[[str, str], None], *, skip_folder=None
) -> Iterator[str]:
    """Paths of images, lazily: of a folder the images below it (by their ending), else the input itself.

    report: called with an input and what is wrong with it. skip_folder: not entered, because results
        of earlier runs are there.
    """
    skipped = None if skip_folder is None else os.path.realpath(skip_folder)
    for item in inputs:
        if not os.path.isdir(item):
            yield item
            continue
        empty = True
        for path in _walk(item, report, skipped):
            empty = False
            yield path
        if empty:
            report(item, f"no image in this folder (files ending in {', '.join(IMAGE_SUFFIXES)})")


def _walk(folder: str, report: Callable[[str, str], None], skipped: str | None) -> Iterator[str]:
    """Images of a folder, then those of its folders; hidden ones and links to folders are left out."""
    folders = []
    try:
        with os.scandir(folder) as entries:
            for entry in _sorted_in_blocks(entries):
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif entry.name.lower().endswith(IMAGE_SUFFIXES):
                    yield entry.path
    except OSError as error:
        report(folder, f"the folder cannot be read: {error.strerror}")
    for inner in folders:
        if os.path.realpath(inner) != skipped:
            yield from _walk(inner, report, skipped)


def _sorted_in_blocks(entries: Iterable[os.DirEntry]) -> Iterator[os.DirEntry]:
    """Sorted by name, except that a huge folder is sorted a block at a time to save memory."""
    entries = iter(entries)
    while block := list(islice(entries, SORTED_AT_ONCE)):
        yield from sorted(block, key=lambda entry: entry.name)


def common_base(inputs: Iterable[str]) -> Path:
    """The folder from which on paths of inputs are kept in the output: what all of them have in common.

    A folder counts itself, a file the folder that it is in.
    """
    folders = [
        os.path.abspath(item if os.path.isdir(item) else os.path.dirname(item) or ".") for item in inputs
    ]
    return Path(os.path.commonpath(folders) if folders else ".")


# --- detecting ----------------------------------------------------------------------------------


MAX_PIXEL_BYTES = 64 * 2**20  # of images that wait for the network
AHEAD = 2  # images that each worker may have read ahead
MAX_WORKERS = 8


def available_cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def workers_for(cores: int) -> int:
    """How many processes should search a long list of images.

    Without any, OpenCV spreads each search over the cores; a process searches on one. On two cores, none is
    as quick as two, and one takes 1.7 times as long (benchmarks/detecting/README.md). More cores were not measured.
    """
    return min(cores, MAX_WORKERS) if cores > 2 else 0


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
        place = output_path(self.folder, path, self.base)
        ending, data = encode_like(place.suffix, draw_faces(image, faces))
        target = place.with_name(place.name.removesuffix(place.suffix) + ending)
        check_not_input(target, path)
        with atomic_path(target) as temporary:
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
        faces_per_image = iter(detector.detect_batch(images, boxes, filter_boxes=True))
        found = []
        for item in group:
            if item.error:
                found.append(ImageFaces(item.path, error=item.error))
                continue
            faces = next(faces_per_image)
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
        if len(group) >= most or pixel_bytes >= MAX_PIXEL_BYTES:
            yield group
            group, pixel_bytes = [], 0
    if group:
        yield group
