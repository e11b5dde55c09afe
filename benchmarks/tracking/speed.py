"""Frames per second of `track_video` on videos with one and four faces, and the time of its parts."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.tracking.scenes import FPS, MOTIONS, SIZE_WH, portraits
from checkpoint import RUNTIMES, find_checkpoint
from detector import KeypointDetector
from detector.folder import available_cores
from files import cv2
from training.records import machine
from video.frames import read_frames
from video.track import track_video

FRAMES, ROUNDS, NOISE, EYES = 180, 3, 4.0, 100.0
MOTION = "slow sway (0.5 Hz)"


@dataclass
class Timed:
    """A callable that sums the CPU time of its calls."""

    call: Callable
    cpu_s: float = 0.0

    def __call__(self, *args):
        start = time.process_time()
        try:
            return self.call(*args)
        finally:
            self.cpu_s += time.process_time() - start

    def __getattr__(self, name):  # a face finder tells detector and tracker how to treat its boxes
        return getattr(self.call, name)


def write_clip(path: Path, faces: int) -> None:
    """Write a moving portrait as MPEG-4: one, or four of half the size."""
    portrait, rng = portraits()["astronaut"], np.random.default_rng(0)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, SIZE_WH)
    for n in range(FRAMES):
        frame = portrait.frame(MOTIONS[MOTION](n / FPS, EYES), NOISE, rng)
        if faces == 4:
            half = cv2.resize(frame, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
            frame = np.tile(half, (2, 2, 1))
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()


def load(name: str, runtime: str, threads: int) -> KeypointDetector | None:
    """The detector with this runtime and number of threads; None if the checkpoint has no file for it."""
    path = find_checkpoint(name) / RUNTIMES[runtime]
    if not path.is_file():
        print(f"not timed: {runtime}, there is no {path.name}; make it: python export_onnx.py {name}")
        return None
    return KeypointDetector.from_pretrained(name, runtime=runtime, threads=threads)


def run(detector: KeypointDetector, clip: Path, output: Path | None) -> dict[str, float]:
    """Milliseconds per frame: wall-clock time, and CPU time of everything, the network and the search."""
    network, search = Timed(detector.network), Timed(detector.face_detector)
    timed = KeypointDetector(network, detector.config, search)
    cpu_s = time.process_time()
    summary = track_video(timed, clip, output, progress=False)
    cpu_s = time.process_time() - cpu_s
    if summary.with_faces < FRAMES:
        raise SystemExit(f"the face was found in only {summary.with_faces} of {FRAMES} frames")
    parts = {"clock": summary.seconds, "cpu": cpu_s, "network": network.cpu_s, "search": search.cpu_s}
    return {name: 1000 * seconds / FRAMES for name, seconds in parts.items()}


def reading(clip: Path) -> float:
    """Milliseconds of CPU time to read one frame."""
    start = time.process_time()
    count = sum(frame.image is not None for frame in read_frames(clip))
    return 1000 * (time.process_time() - start) / count


def measure_speed(name: str, threads: int) -> dict:
    """Rows {runtime: {output: medians over the rounds}}, the time to read, and the machine.

    Outputs: 'plain', 'drawn' (the annotated video is written), 'four' (as 'plain', four faces).
    """
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    detectors = {runtime: load(name, runtime, threads) for runtime in RUNTIMES}
    detectors = {runtime: detector for runtime, detector in detectors.items() if detector}
    rounds: dict = {}
    with tempfile.TemporaryDirectory() as folder:
        clip, four, drawn = (Path(folder) / f"{name}.mp4" for name in ("clip", "four", "drawn"))
        write_clip(clip, 1)
        write_clip(four, 4)
        kinds = {"plain": (clip, None), "drawn": (clip, drawn), "four": (four, None)}
        for _ in tqdm(range(ROUNDS), desc="speed"):
            for runtime, detector in detectors.items():
                for kind, files in kinds.items():
                    rounds.setdefault(runtime, {}).setdefault(kind, []).append(run(detector, *files))
        read_ms = median(reading(clip) for _ in range(ROUNDS))
    rows = {runtime: {o: _medians(r) for o, r in outputs.items()} for runtime, outputs in rounds.items()}
    used = {"threads": threads, "cores": available_cores(), "cpu": machine()["processor"]}
    return {"rows": rows, "reading": read_ms, "machine": used}


def _medians(rows: list[dict]) -> dict:
    return {key: median(row[key] for row in rows) for key in rows[0]}
