"""Files written of a video: the table of keypoints, and the video with the faces drawn in.

    with open_table("faces.csv") as table, open_video("faces.mp4", 25) as video:
        for seen in track_frames(tracker, frames):
            table.write(seen)
            video.write(seen)

Both files appear when the block ends without an error.
"""

import csv
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np

from detector.overlay import draw_faces
from detector.predictor import CONFIDENCE_DECIMALS, DECIMALS
from detector.results import POINT_COLUMNS
from files import atomic_path, cv2
from geometry import warp
from video.tracker import TrackedFace

#: One row per face and frame. Confidence is empty where it is unknown.
COLUMNS = ("frame", "time_s", "face", "confidence", *POINT_COLUMNS)
CODECS = {".mp4": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
MAX_PAUSE_S = 5.0  # a longer gap in the times is left out
LABEL_RGB = (255, 208, 0)


class TrackedFrame(NamedTuple):
    """A frame and the faces in it, sorted by id; a damaged frame has neither image nor faces."""

    index: int  # type: ignore[assignment]  # hides the method of tuples
    time_s: float
    image: np.ndarray | None
    faces: list[TrackedFace]


#: From a frame with an image to the picture (H, W, 3) uint8 RGB that is written of it.
Draw = Callable[[TrackedFrame], np.ndarray]


# --- table ---------------------------------------------------------------------------------


class TableWriter:
    """Rows of `COLUMNS` into an open text file."""

    def __init__(self, file: TextIO):
        self._rows = csv.writer(file, lineterminator="\n")
        self._rows.writerow(COLUMNS)

    def write(self, seen: TrackedFrame) -> None:
        """One row for each face of the frame."""
        for tracked in seen.faces:
            confidence = tracked.face.confidence
            known = "" if confidence is None else round(confidence, CONFIDENCE_DECIMALS)
            points = np.round(tracked.face.keypoints.astype(np.float64), DECIMALS).ravel()
            self._rows.writerow([seen.index, round(seen.time_s, 6), tracked.id, known, *points.tolist()])


@contextmanager
def open_table(path) -> Iterator[TableWriter]:
    """A CSV file with `COLUMNS`; a file at `path` is replaced."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        yield TableWriter(file)


# --- video -----------------------------------------------------------------------------------


def draw_tracked(image: np.ndarray, faces: Iterable[TrackedFace]) -> np.ndarray:
    """A copy of an HxWx3 uint8 RGB image with the faces drawn in, each with its id below the box."""
    faces = list(faces)
    drawn = draw_faces(image, [tracked.face for tracked in faces])
    scale = max(1.0, min(image.shape[:2]) / 480)
    for tracked in faces:
        left, _, _, bottom = np.clip(tracked.face.box_xyxy, -1e5, 1e5)
        place = round(float(left)), round(float(bottom + 15 * scale))
        width = max(1, round(scale))
        for colour, line in (((0, 0, 0), 3 * width), (LABEL_RGB, width)):  # dark around, to be read anywhere
            label = f"face {tracked.id}", place, cv2.FONT_HERSHEY_SIMPLEX, 0.5 * scale, colour, line
            cv2.putText(drawn, *label, cv2.LINE_AA)
    return drawn


def draw_frame(seen: TrackedFrame) -> np.ndarray:
    """The picture of a frame that has an image, with its faces drawn in."""
    assert seen.image is not None
    return draw_tracked(seen.image, seen.faces)


def check_video_name(path) -> Path:
    """The path of a video to write.

    Raises ValueError for an ending other than .mp4, .mov, .mkv and .avi.
    """
    path = Path(path)
    if path.suffix.lower() not in CODECS:
        raise ValueError(f"the annotated video must end in {', '.join(CODECS)}; got {path.name}")
    return path


class VideoWriter:
    """Frames at a constant rate, into a file that is opened with the first frame.

    A frame's place follows from its time: where frames are missing, the one before is repeated; of two
    frames for one place the first is kept. A frame of another size than the first is scaled into that size,
    with black at two sides.
    """

    def __init__(self, path: Path, frames_per_second: float, draw: Draw = draw_frame):
        self.path, self.frames_per_second, self.draw = path, frames_per_second, draw
        self.count = 0
        self._start_s = 0.0
        self._file: cv2.VideoWriter | None = None
        self._last: np.ndarray | None = None

    def write(self, seen: TrackedFrame) -> None:
        """Draw the faces in and append; a damaged frame is left out."""
        if seen.image is None:
            return
        file = self._file = self._file or self._open(seen.image, seen.time_s)
        missing = round((seen.time_s - self._start_s) * self.frames_per_second) - self.count
        if missing > MAX_PAUSE_S * self.frames_per_second:
            self._start_s += missing / self.frames_per_second
            missing = 0
        if missing < 0:
            return
        picture = self._fit(self.draw(seen))
        for _ in range(missing):
            self._append(file, picture if self._last is None else self._last)
        self._append(file, picture)

    def _open(self, image: np.ndarray, time_s: float) -> cv2.VideoWriter:
        self.size_wh = image.shape[1], image.shape[0]
        codec = cv2.VideoWriter.fourcc(*CODECS[self.path.suffix.lower()])
        file = cv2.VideoWriter(str(self.path), codec, self.frames_per_second, self.size_wh)
        self._start_s = time_s
        if not file.isOpened():
            raise OSError(
                f"OpenCV cannot write the video {self.path.name}: the folder cannot be written to, or this "
                f"build of OpenCV lacks the encoder {CODECS[self.path.suffix.lower()]}; try another ending"
            )
        return file

    def _fit(self, picture: np.ndarray) -> np.ndarray:
        shape_wh, size_wh = np.array(picture.shape[1::-1]), np.array(self.size_wh)
        if (shape_wh == size_wh).all():
            return picture
        scale = (size_wh / shape_wh).min()
        middle = (size_wh - 1) / 2 - scale * (shape_wh - 1) / 2
        return warp(picture, np.column_stack([scale * np.eye(2), middle]), self.size_wh)

    def _append(self, file: cv2.VideoWriter, picture: np.ndarray) -> None:
        file.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        self._last = picture
        self.count += 1

    def release(self) -> None:
        """Close the file without a check."""
        if self._file is not None:
            self._file.release()

    def close(self) -> None:
        """Close the file and read it back.

        Raises OSError if it cannot be read.
        """
        if self._file is None:
            return
        self._file.release()
        check = cv2.VideoCapture(str(self.path))
        readable = check.isOpened() and check.read()[0]
        check.release()
        if not readable:
            raise OSError(
                f"the video {self.path.name} was written and cannot be read back: is the disk full, or are "
                f"{self.size_wh[0]} x {self.size_wh[1]} pixels too few or too many for its encoder?"
            )


class _NoFrame(Exception):  # noqa: N818 (it ends a block, and is no error)
    """Nothing was written."""


@contextmanager
def open_video(path, frames_per_second: float, draw: Draw = draw_frame) -> Iterator[VideoWriter]:
    """A video file; a file at `path` is replaced, unless no frame came.

    draw: from a `TrackedFrame` with an image to the picture that is written.

    path: .mp4, .mov, .mkv (MPEG-4) or .avi (Motion JPEG). Its sides are even numbers of pixels: an odd
        last row or column is cut off.
    """
    path = check_video_name(path)
    with suppress(_NoFrame), atomic_path(path) as temporary:
        writer = VideoWriter(temporary, frames_per_second, draw)
        try:
            yield writer
            writer.close()
        finally:
            writer.release()
        if not writer.count:
            raise _NoFrame
