"""Faces in a video: from any source of frames to a table of keypoints and an annotated video.

    summary = track_video(detector, "clip.mp4", "faces.mp4", "faces.csv")    # or a folder, or webcam:0

How faces are followed: tracker.py. What a source may be: frames.py. What is written:
video.py. Frames are read, looked at and written one by one, so that memory does not
grow with the length.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from detector.predictor import KeypointDetector
from video.frames import Frame, FrameSource, open_frames, read_frames
from video.tracker import FaceTracker, TrackedFace
from video.writer import (
    TableWriter,
    TrackedFrame,
    VideoWriter,
    check_video_name,
    open_table,
    open_video,
)

__all__ = ["FaceTracker", "TrackedFace", "VideoSummary", "read_frames", "track_frames", "track_video"]


@dataclass(frozen=True)
class VideoSummary:
    """How it went.

    frames: how many there were, damaged ones counted. damaged: how many of them could not be read.
    with_faces: in how many a face was seen. ids: how many ids were given.
    seconds: from the first frame to the last. video, table: what was written, or None.
    """

    frames: int
    damaged: int
    with_faces: int
    ids: int
    seconds: float
    video: Path | None = None
    table: Path | None = None

    @property
    def frames_per_second(self) -> float:
        """Frames a second of the whole loop, with reading, drawing and writing."""
        return self.frames / self.seconds


def track_frames(tracker: FaceTracker, frames: Iterable[Frame]) -> Iterator[TrackedFrame]:
    """Follow faces through frames, lazily: for your own loop, with what you like to do with each."""
    for frame in frames:
        yield TrackedFrame(*frame, tracker(frame.image, frame.time_s))


def track_video(
    detector: KeypointDetector,
    source,
    output_video=None,
    output_table=None,
    *,
    progress: bool = True,
    frames_per_second: float | None = None,
    max_frames: int | None = None,
    **tracker_settings,
) -> VideoSummary:
    """Follow the faces of a video; write them into a copy of it and into a table.

    source: what `open_frames` takes: a video file, a folder of images, a camera, a stream.
    output_video: an .mp4, .mov, .mkv or .avi file with the faces drawn in, at the source's rate; where frames
        are damaged or do not come evenly, the picture before stands longer.
    output_table: a CSV file, one row per face and frame: frame, time_s, face (its id), confidence (empty
        where unknown), x0, y0 to x67, y67. Both files are written beside and then renamed.
    progress: a bar with frames a second, on standard error.
    frames_per_second: of a folder of images. max_frames: end after this many.
    tracker_settings: what `FaceTracker` takes (smooth, min_confidence, redetect_every, ...).
    A camera or stream also ends with Ctrl-C; what was seen until then is kept.
    A source without a frame gives a table without rows, and no video.
    Raises FileNotFoundError, ValueError or OSError for a source or an output that is none.
    """
    tracker = FaceTracker(detector, **tracker_settings)
    if max_frames is not None and max_frames < 1:
        raise ValueError(f"max_frames must be at least 1, got {max_frames}")
    video_path = None if output_video is None else check_video_name(output_video)
    opened = open_frames(source, frames_per_second)
    with closing(opened.frames), ExitStack() as files:
        outputs: list[TableWriter | VideoWriter] = []
        if output_table is not None:
            outputs.append(files.enter_context(open_table(output_table)))
        if video_path is not None:
            outputs.append(files.enter_context(open_video(video_path, opened.frames_per_second)))
        counts = _run(tracker, opened, outputs, progress, max_frames)
    has_picture = counts["frames"] > counts["damaged"]
    table_path = None if output_table is None else Path(output_table)
    return VideoSummary(**counts, video=video_path if has_picture else None, table=table_path)


def _run(tracker, opened: FrameSource, outputs, progress: bool, max_frames: int | None) -> dict:
    """The loop; gives the counts of a `VideoSummary`."""
    counts = {"frames": 0, "damaged": 0, "with_faces": 0, "ids": 0}
    total = min((n for n in (opened.count, max_frames) if n), default=None)
    start = time.perf_counter()
    try:
        with tqdm(total=total, desc=opened.name, unit=" frames", disable=not progress) as bar:
            for seen in track_frames(tracker, opened.frames):
                for output in outputs:
                    output.write(seen)
                counts["frames"] += 1
                counts["damaged"] += seen.image is None
                counts["with_faces"] += bool(seen.faces)
                counts["ids"] = max([counts["ids"], *(tracked.id + 1 for tracked in seen.faces)])
                bar.update()
                if counts["frames"] == max_frames:
                    break
    except KeyboardInterrupt:
        if not opened.is_live:
            raise
    return {**counts, "seconds": time.perf_counter() - start}
