"""The inputs of detect.py (images, patterns, folders, videos, cameras), and faces in many images.

Folders are read while they are listed, so that any number of files fits into memory.
"""

import errno
import glob
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing import parent_process
from pathlib import Path
from threading import Thread

import numpy as np

from detector.outputs import CAMERA, VIDEO_SUFFIXES, output_path, overlay_name
from detector.overlay import draw_faces, encode_image
from detector.predictor import Face, KeypointDetector, check_boxes
from detector.results import ImageFaces
from files import IMAGE_SUFFIXES, atomic_path, cv2, to_rgb

SORTED_AT_ONCE = 10_000


def is_video(name: str) -> bool:
    """True for a camera (webcam:0), a stream (rtsp://...) and a file that ends like a video."""
    if CAMERA.fullmatch(name) or "://" in name:
        return True
    return Path(name).suffix.lower() in VIDEO_SUFFIXES and not os.path.isdir(name)


def expand_globs(inputs: Iterable[str]) -> tuple[list[str], list[str]]:
    """The inputs with patterns (*, ?, [], **) replaced by what they match, and the patterns without a match.

    A name that exists is not a pattern.
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
    inputs: Iterable[str],
    report: Callable[[str, str], None],
    *,
    note: Callable[[str], None] = lambda text: None,
    skip_folder=None,
    is_result: Callable[[str], bool] = lambda path: False,
) -> Iterator[str]:
    """Paths of images, lazily: of a folder the images below it (by their ending), else the input itself.

    report: called with an input that gives no image, and what is wrong with it. note: called with what the
        user should know besides. skip_folder: not entered, because it holds results. is_result: true for
        paths that are results, which are left out.
    """
    skipped = None if skip_folder is None else os.path.realpath(skip_folder)
    for item in inputs:
        if not os.path.isdir(item):
            if is_result(item):
                report(item, "this is a result of the same output folder")
            else:
                yield item
            continue
        images = videos = 0
        for path in _walk(item, report, skipped):
            if not path.lower().endswith(IMAGE_SUFFIXES):
                videos += 1
            elif not is_result(path):
                images += 1
                yield path
        if videos:
            note(
                f"{item}: {videos} videos in this folder were left out; to track faces in videos, name them "
                f"one by one or by a pattern ('{os.path.join(item, '*.mp4')}')"
            )
        if not images:
            report(item, f"no image in this folder (files ending in {', '.join(IMAGE_SUFFIXES)})")


def _walk(folder: str, report: Callable[[str, str], None], skipped: str | None) -> Iterator[str]:
    """Images and videos of a folder, then of the folders in it; without hidden ones and links to folders."""
    folders = []
    try:
        with os.scandir(folder) as entries:
            for entry in _sorted_in_blocks(entries):
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif entry.name.lower().endswith((*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)):
                    yield entry.path
    except OSError as error:
        report(folder, f"the folder cannot be read: {error.strerror}")
    for inner in folders:
        if os.path.realpath(inner) != skipped:
            yield from _walk(inner, report, skipped)


def _sorted_in_blocks(entries: Iterable[os.DirEntry]) -> Iterator[os.DirEntry]:
    """Entries sorted by name; those of a very large folder in blocks, to save memory."""
    entries = iter(entries)
    while block := list(islice(entries, SORTED_AT_ONCE)):
        yield from sorted(block, key=lambda entry: entry.name)


def common_base(inputs: Iterable[str]) -> Path:
    """The deepest folder that holds all inputs; the output keeps the folders below it.

    Of an input that is a folder, that folder counts; of a file, the folder that it is in.
    """
    folders = [
        os.path.abspath(item if os.path.isdir(item) else os.path.dirname(item) or ".") for item in inputs
    ]
    return Path(os.path.commonpath(folders) if folders else ".")


# --- detecting ----------------------------------------------------------------------------------


MAX_PIXEL_BYTES = 64 * 2**20  # of images that wait for the network
AHEAD = 2  # images that each worker may have read ahead
MAX_WORKERS = 8
#: What reading, searching or drawing an image may raise without ending a run over many.
ERRORS_OF_AN_IMAGE = (OSError, ValueError, OverflowError, MemoryError, cv2.error)


def available_cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def workers_for(cores: int) -> int:
    """The number of processes that should search a long list of images.

    0 means that this process searches, on all cores through OpenCV's threads; further processes search on one
    core each. On two cores, 0 is the fastest with ONNX Runtime, 1.3 to 2.1 times as fast as 1 or 2 processes
    (benchmarks/detecting/README.md). More cores were not measured.
    """
    return min(cores, MAX_WORKERS) if cores > 2 else 0


@dataclass(frozen=True)
class SearchedImage:
    """An image and the boxes that the face detector proposes; with an error neither."""

    path: str
    image: np.ndarray | None = None
    boxes_xyxy: list[np.ndarray] | None = None
    error: str = ""


class ImageSearch:
    """Images and their proposed boxes, indexed by path."""

    def __init__(self, face_detector: Callable[[np.ndarray], np.ndarray]):
        self.face_detector = face_detector

    def __getitem__(self, path: str) -> SearchedImage:
        try:
            image = to_rgb(path)
            return SearchedImage(path, image, check_boxes(self.face_detector(image), image))
        except ERRORS_OF_AN_IMAGE as error:
            return SearchedImage(path, error=_message(error))


def check_not_input(target: Path, path: str) -> None:
    """Raises ValueError where a result would replace the input that it was made from."""
    if target.exists() and os.path.exists(path) and os.path.samefile(target, path):
        raise ValueError(f"{target} would be replaced by its own result; name another folder with --output")


@dataclass(frozen=True)
class Drawing:
    """Writes images with the faces drawn in below `folder`, in the folders that they have below `base`.

    draw: from an image (H, W, 3) uint8 RGB and its faces to the image that is written.
    """

    folder: Path
    base: Path
    draw: Callable[[np.ndarray, list[Face]], np.ndarray] = draw_faces

    def save(self, path: str, image: np.ndarray, faces: list[Face]) -> None:
        """Write the image with its faces drawn in; a kind that cannot be written becomes PNG.

        Raises ValueError or OSError for an image that cannot be drawn or written.
        """
        target = output_path(self.folder, overlay_name(path, self.base))
        check_not_input(target, path)
        data = encode_image(self.draw(image, faces), target.suffix)
        with atomic_path(target) as temporary:
            temporary.write_bytes(data)


#: Errors of one file's name or place, after which other files can still be written.
ERRORS_OF_ONE_FILE = frozenset(
    (errno.ENAMETOOLONG, errno.EINVAL, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ELOOP, errno.EILSEQ)
)


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
    drawing: also write images with the faces drawn in, before the list comes out.
    An image that cannot be read, or drawn, comes out with its `error`. Faces are those that
    `detector(image)` gives, up to a few hundredths of a pixel.
    """
    for group in _in_groups(_search(paths, detector.face_detector, workers), batch):
        yield [
            item if isinstance(item, ImageFaces) else _finish(*item, drawing)
            for item in _detect_group(detector, group)
        ]


def _detect_group(
    detector: KeypointDetector, group: list[SearchedImage]
) -> list[ImageFaces | tuple[SearchedImage, list[Face]]]:
    """Each image with its faces, or its error."""
    readable = [item for item in group if not item.error]
    try:
        images, boxes = [item.image for item in readable], [item.boxes_xyxy for item in readable]
        faces_per_image = iter(detector.detect_batch(images, boxes, filter_boxes=True))
    except ERRORS_OF_AN_IMAGE as error:
        if len(readable) > 1:  # one of them is to blame
            return [found for item in group for found in _detect_group(detector, [item])]
        return [ImageFaces(item.path, error=item.error or _message(error)) for item in group]
    return [
        ImageFaces(item.path, error=item.error) if item.error else (item, next(faces_per_image))
        for item in group
    ]


def _finish(item: SearchedImage, faces: list[Face], drawing: Drawing | None) -> ImageFaces:
    assert item.image is not None  # or it would have no faces
    height, width = item.image.shape[:2]
    if drawing is not None:
        try:
            drawing.save(item.path, item.image, faces)
        except ERRORS_OF_AN_IMAGE as error:
            if isinstance(error, OSError) and error.errno not in ERRORS_OF_ONE_FILE:
                raise
            return ImageFaces(item.path, error=f"the faces cannot be drawn into it: {_message(error)}")
    return ImageFaces(item.path, (width, height), faces)


def _message(error: Exception) -> str:
    return str(error) or type(error).__name__


def _search(paths: Iterable[str], face_detector: Callable, workers: int) -> Iterator[SearchedImage]:
    """The images of the paths with their boxes, in order; from a DataLoader of PyTorch if there are workers.

    Raises ImportError for workers where PyTorch is not installed.
    """
    search = ImageSearch(face_detector)
    if not workers:
        return map(search.__getitem__, paths)
    try:
        from torch.utils.data import DataLoader
    except ImportError as error:
        raise ImportError(f"worker processes need PyTorch ({error}); use --workers 0") from error
    loader = DataLoader(
        search,
        batch_size=None,
        sampler=paths,
        num_workers=workers,
        prefetch_factor=AHEAD,
        collate_fn=_as_it_is,
        worker_init_fn=_prepare_worker,
    )
    with _without_opencv_threads():
        return iter(loader)


@contextmanager
def _without_opencv_threads() -> Iterator[None]:
    """A block in which OpenCV has one thread: a forked process would wait for threads that it lacks."""
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
    # PyTorch's workers notice that the main process was killed, but then wait for it to take an image.
    if (main_process := parent_process()) is not None:
        main_process.join()
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
