"""Frames of a video, a folder of images or a camera, with their times; a damaged frame does not end them.

    for frame in read_frames("clip.mp4"):         # or a folder, 0, "webcam:0", an address with ://
        frame.index, frame.time_s, frame.image    # image is None where a frame is damaged

Frames are read one by one.
"""

import math
import os
import re
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from detector.outputs import CAMERA
from files import IMAGE_SUFFIXES, cv2, to_rgb

FRAMES_PER_SECOND = 25.0  # where a source does not say
GIVE_UP_AFTER = 100  # frames in a row that cannot be read are the end
PAUSE_S = 0.01  # before a camera is asked again


class Frame(NamedTuple):
    """One frame: index from 0, time in seconds, image HxWx3 uint8 RGB, or None if it could not be read."""

    index: int  # type: ignore[assignment]  # hides the method of tuples
    time_s: float
    image: np.ndarray | None


@dataclass(frozen=True)
class FrameSource:
    """An opened source.

    name: for messages. frames: an iterator over the frames. frames_per_second: as the source says.
    count: number of frames that the source announces, None if unknown. is_live: true for a camera or stream.
    """

    name: str
    frames: Generator[Frame, None, None]
    frames_per_second: float
    count: int | None = None
    is_live: bool = False


def open_frames(source, frames_per_second: float | None = None) -> FrameSource:
    """Open a video file, a folder of images, a camera (0, "0", "webcam:0") or a stream ("rtsp://...").

    source: a path may begin with `~`, the home folder.
    frames_per_second: of a folder, whose images have no times; 25 by default.
    Images of a folder are sorted by name, numbers in names by value. Times count from the first frame and
    always increase; they are those of the file, or the clock's for a camera. A damaged frame has no image.
    Raises FileNotFoundError, ValueError for a file without video or a folder without images, and OSError for
    a camera that does not open.
    """
    if frames_per_second is not None and not (math.isfinite(frames_per_second) and frames_per_second > 0):
        raise ValueError(f"frames_per_second must be above 0, got {frames_per_second}")
    text = os.path.expanduser(source if isinstance(source, os.PathLike) else str(source))
    camera = CAMERA.fullmatch(f"webcam:{text}" if text.isdecimal() else text)
    if camera and not Path(text).exists():
        return _open_camera(int(camera["index"]))
    if Path(text).is_dir():
        return _open_folder(Path(text), frames_per_second or FRAMES_PER_SECOND)
    return _open_video(text)


def read_frames(source, frames_per_second: float | None = None) -> Generator[Frame, None, None]:
    """The frames of a source; see `open_frames`."""
    return open_frames(source, frames_per_second).frames


# --- a folder of images --------------------------------------------------------------------


def _by_number(path: Path) -> list:
    """The key by which frame2 comes before frame10."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts] + [(-1, path.name)]


def _open_folder(folder: Path, frames_per_second: float) -> FrameSource:
    paths = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
    paths = sorted((path for path in paths if not path.name.startswith(".")), key=_by_number)
    if not paths:
        endings = ", ".join(IMAGE_SUFFIXES)
        raise ValueError(f"there is no image in {folder}: a folder of frames needs files ending in {endings}")
    return FrameSource(folder.name, _folder_frames(paths, frames_per_second), frames_per_second, len(paths))


def _folder_frames(paths: list[Path], frames_per_second: float) -> Generator[Frame, None, None]:
    for index, path in enumerate(paths):
        try:
            image = to_rgb(path)
        except (OSError, ValueError, MemoryError, cv2.error):
            image = None
        yield Frame(index, index / frames_per_second, image)


# --- a video -----------------------------------------------------------------------------------


def _open_video(text: str) -> FrameSource:
    is_stream = "://" in text
    if not is_stream:
        _check_file(Path(text))
    capture = cv2.VideoCapture(text)
    if not capture.isOpened():
        raise ValueError(
            f"{text} holds no video that OpenCV can read: it is of another kind, has no frames, or was cut "
            "off while it was written"
        )
    rate = capture.get(cv2.CAP_PROP_FPS)
    rate = rate if math.isfinite(rate) and 0 < rate <= 1000 else FRAMES_PER_SECOND
    announced = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    count = round(announced) if math.isfinite(announced) and announced > 0 else None
    return FrameSource(Path(text).name, _video_frames(capture, rate), rate, count, is_stream)


def _check_file(path: Path) -> None:
    if not path.exists():
        raise FileNotFoundError(
            f"there is no video at {path}; give a file, a folder of images, or webcam:0 for the first camera"
        )
    if path.is_file() and not path.stat().st_size:
        raise ValueError(f"{path} is empty (0 bytes)")


def _read(capture) -> np.ndarray | None:
    try:
        read, image = capture.read()
    except cv2.error:  # some decoders raise on damaged data
        return None
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if read else None


def _video_frames(capture, frames_per_second: float) -> Generator[Frame, None, None]:
    index, last_s, failed = 0, -1 / frames_per_second, 0
    start_s = None
    try:
        while failed < GIVE_UP_AFTER:
            image = _read(capture)
            if image is None:  # damaged, or the end
                failed += 1
                continue
            file_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            start_s = file_s if start_s is None else start_s
            # one step per missing frame, unless the file has a time
            time_s = last_s + (failed + 1) / frames_per_second
            if math.isfinite(file_s) and file_s - start_s > last_s:
                time_s = file_s - start_s
            step_s = (time_s - last_s) / (failed + 1)
            for number in range(failed):
                yield Frame(index + number, last_s + (number + 1) * step_s, None)
            yield Frame(index + failed, time_s, image)
            index, last_s, failed = index + failed + 1, time_s, 0
    finally:
        capture.release()


# --- a camera ------------------------------------------------------------------------------------


def _open_camera(index: int) -> FrameSource:
    capture = cv2.VideoCapture(index)
    if not capture.isOpened():
        raise OSError(
            f"camera {index} does not open: is one connected, does another program use it, is it allowed?"
        )
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # a frame that waited would be late
    rate = capture.get(cv2.CAP_PROP_FPS)
    rate = rate if math.isfinite(rate) and 0 < rate <= 1000 else FRAMES_PER_SECOND
    return FrameSource(f"webcam:{index}", _camera_frames(capture), rate, None, True)


def _camera_frames(capture) -> Generator[Frame, None, None]:
    index, start_s, last_s, failed = 0, None, -math.inf, 0
    try:
        while failed < GIVE_UP_AFTER:
            image = _read(capture)
            now_s = time.monotonic()
            start_s = now_s if start_s is None else start_s
            time_s = max(now_s - start_s, math.nextafter(last_s, math.inf))
            yield Frame(index, time_s, image)
            index, last_s = index + 1, time_s
            failed = failed + 1 if image is None else 0
            if image is None:
                time.sleep(PAUSE_S)
    finally:
        capture.release()
