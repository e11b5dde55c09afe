"""Time from a photo to its keypoints, beside MediaPipe and dlib:

    python -m benchmarks.speed.chain --environment FOLDER      # measures; FOLDER as for benchmarks/peers

Two photos of 640 x 480 pixels with one face each. Every method is in a process of its own. All processes
share one CPU and take turns, so that other work on the machine slows all of them alike. What counts is the
processor time of the second call on a photo. There is a record for each kind of processor (INT8_FLAGS of
training/records.py): networks in 8 bits are fast only where it has instructions for them.
"""

import argparse
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.peers.report import versions
from benchmarks.peers.worker import Worker
from checkpoint import RUNTIMES, load_checkpoint
from data_load import sample_photos
from detector import KeypointDetector
from files import cv2, write_json
from models import count_macs
from training.records import provenance

RECORDS = Path(__file__).parent / "records"
RENEW = "python -m benchmarks.speed.chain --environment FOLDER"
ROUNDS, WARM, SIZE_WH = 30, 1, (640, 480)
CHECKPOINTS = ("heatmapnet", "heatmapnet-small")
PEERS = {"MediaPipe": ("mediapipe", "static"), "dlib": ("dlib", "detector")}


def photos() -> list[np.ndarray]:
    """The sample photos, 640 x 480: the upper part at full width, filled up at the sides."""
    images = []
    for photo in sample_photos().values():
        height, width = photo.shape[:2]
        part = photo[: round(width * 0.9)] if height > width else photo
        scale = SIZE_WH[1] / part.shape[0]
        image = cv2.resize(part, (round(part.shape[1] * scale), SIZE_WH[1]), interpolation=cv2.INTER_AREA)
        room = max(SIZE_WH[0] - image.shape[1], 0)
        image = cv2.copyMakeBorder(image, 0, 0, room // 2, room - room // 2, cv2.BORDER_REPLICATE)
        images.append(image[:, : SIZE_WH[0]])
    return images


def methods() -> dict[str, tuple[str, str]]:
    """Title -> arguments of the worker, ours."""
    chains = {
        f"{name}, {runtime}": ("chain", f"{name}:{runtime}:finder")
        for name in CHECKPOINTS
        for runtime in RUNTIMES
    }
    return chains | {f"{name}, onnx, cascades": ("chain", f"{name}:onnx:haar") for name in CHECKPOINTS}


def measure(python, peers: list[str]) -> None:
    """Time everything and write the record of this kind of processor.

    python: that of the peers. peers: which of PEERS.
    """
    free = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(free)})  # the workers inherit it
    cv2.setNumThreads(1)
    try:
        with ExitStack() as stack:
            workers = {t: stack.enter_context(Worker(python, *PEERS[t])) for t in peers}
            workers |= {
                t: stack.enter_context(Worker(sys.executable, *what)) for t, what in methods().items()
            }
            times = {title: [] for title in workers}
            for image in tqdm(photos() * (ROUNDS // 2), desc="chain"):
                for title, worker in workers.items():
                    answer = worker.ask(image, warm=WARM)
                    if answer.points is None:
                        raise RuntimeError(f"{title} found no face")
                    times[title].append(answer.cpu_ms)
            rows = {
                title: {"cpu_ms": float(np.median(values)), "memory_mb": sum(_memory(workers[title]))}
                for title, values in times.items()
            }
    finally:
        os.sched_setaffinity(0, free)
    stages = {
        f"{name}, {runtime}, {faces}": measure_stages(name, runtime, faces)
        for name in CHECKPOINTS
        for runtime, faces in (("onnx-int8", "haar"), ("onnx-int8", "finder"))
    }
    stored = {"rows": rows, "stages": stages, "calls": ROUNDS, "macs": macs()}
    about = provenance(RENEW)
    path = RECORDS / f"chain-{about['machine']['int8'].replace(' ', '-')}.json"
    write_json(path, {**stored, "provenance": about | {"peers": versions(peers)}})


def macs() -> dict[str, int]:
    """Multiply-adds of a pass of each network: the time depends on these, not on the weights."""
    return {name: count_macs(load_checkpoint(name)[0]) for name in CHECKPOINTS}


class Timed:
    """Calls a function and adds up the processor time that it takes."""

    def __init__(self, function):
        self.function, self.seconds = function, 0.0

    def __call__(self, *arguments):
        start = time.process_time()
        answer = self.function(*arguments)
        self.seconds += time.process_time() - start
        return answer

    def __getattr__(self, name):  # a face finder tells the detector how to treat its boxes
        return getattr(self.function, name)


def measure_stages(name: str, runtime: str, face_detector: str) -> dict[str, float]:
    """Processor time in ms per photo: the search for faces, the keypoint network, everything else."""
    detector = KeypointDetector.from_pretrained(name, runtime=runtime, threads=1, face_detector=face_detector)
    search, network = Timed(detector.face_detector), Timed(detector.network)
    timed = KeypointDetector(network, detector.config, search)
    images = photos()
    for image in images:
        timed(image)
    search.seconds = network.seconds = 0.0
    start = time.process_time()
    for image in images * (ROUNDS // 2):
        timed(image)
    calls = len(images) * (ROUNDS // 2)
    parts = {"search": search.seconds, "network": network.seconds}
    parts["rest"] = time.process_time() - start - sum(parts.values())
    return {part: 1000 * seconds / calls for part, seconds in parts.items()}


def _memory(worker: Worker) -> tuple[float, float]:
    footprint = worker.footprint()
    return footprint["libraries"], footprint["work"]


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--environment", type=Path, required=True, help="the folder with dlib and MediaPipe")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS), help="default: both")
    args = parser.parse_args()
    measure(args.environment / "bin" / "python", args.peers)


if __name__ == "__main__":
    main()
