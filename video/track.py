"""Faces in a video: from any source of frames to a table of keypoints and a video with the faces drawn in.

    summary = track_video(detector, "clip.mp4", "faces.mp4", "faces.csv")    # or a folder, or webcam:0

Sources of frames: frames.py. How faces are followed: tracker.py. What is written: writer.py. Frames are
read, tracked and written one by one, so that memory does not grow with the length.
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
    Draw,
    TableWriter,
    TrackedFrame,
    VideoWriter,
    check_video_name,
    draw_frame,
    open_table,
    open_video,
)

__all__ = ["FaceTracker", "TrackedFace", "VideoSummary", "read_frames", "track_frames", "track_video"]


@dataclass(frozen=True)
class VideoSummary:
    """Counts of a video, and what was written.

    frames: number of frames, damaged ones included. damaged: number of those that could not be read.
    with_faces: number of frames in which a face was seen. ids: number of ids that were given.
    seconds: time from the first frame to the last. video, table: the files written, or None.
    announced: number of frames that the source says it has; None where it does not say, and where
        `max_frames` ended the video.
    """

    frames: int
    damaged: int
    with_faces: int
    ids: int
    seconds: float
    video: Path | None = None
    table: Path | None = None
    announced: int | None = None

    @property
    def frames_per_second(self) -> float:
        """Frames per second of the whole loop, with reading, drawing and writing."""
        return self.frames / self.seconds

    @property
    def is_cut(self) -> bool:
        """True where clearly fewer frames could be read than are announced; one or two are often missing."""
        return self.announced is not None and self.announced - self.frames > max(2, 0.02 * self.announced)


def track_frames(tracker: FaceTracker, frames: Iterable[Frame]) -> Iterator[TrackedFrame]:
    """Each frame with its faces, lazily: for a loop of your own."""
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
    draw: Draw = draw_frame,
    **tracker_settings,
) -> VideoSummary:
    """Follow the faces of a video; write a table of them, and a copy of the video with the faces drawn in.

    source: what `open_frames` takes: a video file, a folder of images, a camera, a stream.
    output_video: an .mp4, .mov, .mkv or .avi file with the faces drawn in, at the source's rate; where frames
        are damaged or do not come evenly, the frame before is shown longer.
    output_table: a CSV file, one row per face and frame: frame, time_s, face (its id), confidence (empty
        where unknown), x0, y0 to x67, y67. Both files appear when they are whole.
    progress: a bar with frames per second, on standard error.
    frames_per_second: of a folder of images. max_frames: end after this many.
    draw: from a `TrackedFrame` to the picture that is written into the video.
    tracker_settings: what `FaceTracker` takes (smooth, min_confidence, redetect_every, ...).
    A camera or stream also ends with Ctrl-C; the frames until then are kept.
    A source without a frame gives a table without rows, and no video.
    Raises FileNotFoundError, ValueError or OSError for a source that cannot be read and an output that cannot
    be written.
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
            outputs.append(files.enter_context(open_video(video_path, opened.frames_per_second, draw)))
        counts = _run(tracker, opened, outputs, progress, max_frames)
    has_picture = counts["frames"] > counts["damaged"]
    table_path = None if output_table is None else Path(output_table)
    video_path = video_path if has_picture else None
    announced = None if max_frames else opened.count
    return VideoSummary(**counts, video=video_path, table=table_path, announced=announced)


def _run(tracker, opened: FrameSource, outputs, progress: bool, max_frames: int | None) -> dict:
    """Track and write all frames; returns the counts of a `VideoSummary`."""
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
