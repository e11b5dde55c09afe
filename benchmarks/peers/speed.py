"""Time per face on one CPU, memory and size, all methods in turn on the same faces.

Every method is in a process of its own. All processes share one CPU and take turns, so that other
work on the machine slows all of them alike. Each is called twice on a face before the call that
counts. Only the call itself is timed, by the clock and by the CPU time of the process.
"""

import os
import sys
import time
from collections import defaultdict
from contextlib import ExitStack

import numpy as np
from tqdm import tqdm

from benchmarks.peers.fit import Fitted, mesh_crop
from benchmarks.peers.report import FITTED, SPEED, versions
from benchmarks.peers.worker import Worker
from checkpoint import CheckpointError, find_checkpoint
from detector.predictor import RUNTIMES
from files import cv2, write_json
from geometry import box_from_keypoints
from training.records import provenance

FACES, ROUNDS, SEED, WARM = 30, 5, 0, 2


def ours(checkpoints: list[str]) -> dict[str, tuple[str, str]]:
    """'NAME:RUNTIME' -> arguments of the worker; prints a line for a file that is missing."""
    methods = {}
    for name in checkpoints:
        for runtime, file in RUNTIMES.items():
            try:
                there = (find_checkpoint(name) / file).is_file()
            except CheckpointError:
                there = False
            if there:
                methods[f"{name}:{runtime}"] = ("ours", f"{name}:{runtime}")
            else:
                print(f"not timed: {name} by {runtime}, there is no {file}")
    return methods


def measure(python, dataset, checkpoints: list[str]) -> None:
    """Time everything on faces of `dataset` and write SPEED."""
    fitted = Fitted.load(FITTED)
    chosen = np.random.default_rng(SEED).choice(len(dataset), min(FACES, len(dataset)), replace=False)
    faces = [(dataset.image(i), dataset.keypoints[i]) for i in sorted(chosen)]
    peers = {
        "dlib:box": ("dlib", "box"), "dlib:detector": ("dlib", "detector"),
        "mediapipe:static": ("mediapipe", "static"), "mediapipe:tracked": ("mediapipe", "tracked"),
    }  # fmt: skip
    free = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(free)})  # the workers inherit it
    cv2.setNumThreads(1)
    try:
        with ExitStack() as stack:
            workers = {name: stack.enter_context(Worker(python, *what)) for name, what in peers.items()} | {
                name: stack.enter_context(Worker(sys.executable, *what))
                for name, what in ours(checkpoints).items()
            }
            times = take_turns(workers, faces, fitted)
            rows = {name: middle(values) for name, values in times.items()}
            for name, worker in workers.items():
                rows[name] |= worker.footprint()
    finally:
        os.sched_setaffinity(0, free)
    about = provenance("python -m benchmarks.peers.page --environment FOLDER --steps speed", seed=SEED)
    kind = about["machine"]
    machine = f"{kind['system']} ({kind['architecture']}, {kind['processor']})"
    stored = {"machine": machine, "faces": len(faces), "rounds": ROUNDS, "rows": rows}
    write_json(SPEED, {**stored, "provenance": about | {"peers": versions()}})


def take_turns(workers: dict[str, Worker], faces, fitted: Fitted) -> dict[str, list[tuple[float, float]]]:
    """name -> (wall ms, CPU ms) of each face and round; 'crop' and 'ridge' are timed here."""
    times = defaultdict(list)
    for image, keypoints in tqdm(faces * ROUNDS, desc="speed"):
        box, label_box = fitted.box.apply(keypoints), box_from_keypoints(keypoints)
        timed, (crop, _) = clocked(lambda: mesh_crop(image, label_box))  # noqa: B023  called at once
        times["crop"].append(timed)
        for name, worker in workers.items():
            answer = worker.ask(crop if name.startswith("mediapipe") else image, box, warm=WARM)
            times[name].append((answer.wall_ms, answer.cpu_ms))
            if name == "mediapipe:static" and answer.points is not None:
                mesh = answer.points[None]
                times["ridge"].append(clocked(lambda: fitted.ridge(mesh))[0])  # noqa: B023  called at once
    return times


def clocked(call) -> tuple[tuple[float, float], object]:
    """((wall ms, CPU ms), result) of a call, warmed up as the workers are."""
    for _ in range(WARM):
        call()
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return (1000 * wall, 1000 * cpu), result


def middle(values: list[tuple[float, float]]) -> dict[str, float]:
    """Medians."""
    wall, cpu = np.median(np.array(values), axis=0)
    return {"wall_ms": float(wall), "cpu_ms": float(cpu)}
