"""Ours beside dlib and MediaPipe: error, time, memory, size.

    python -m benchmarks.peers.page                              # table and plot again, from stored records
    python -m benchmarks.peers.page --environment FOLDER         # measure everything
    python -m benchmarks.peers.page --steps ours --checkpoints heatmapnet heatmapnet-small

The peers live in an environment of their own (Python 3.11, CMake, a C++ compiler; Linux), made by:

    python3.11 -m venv FOLDER
    FOLDER/bin/python -m pip install -r benchmarks/peers/requirements.txt

Steps: `peers` (their predictions; their raw answers are kept in runs/peers/ and asked for
once), `ours` (the predictions of checkpoints: NAME-identity on `identity`, NAME on `official`),
`speed` (all in turn on the same faces, one CPU). What was measured is stored in
benchmarks/peers/records/, from which peers.md and peers.png are written.
"""

import argparse
import platform
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

ROOT = Path(__file__).parents[2]
from benchmarks.peers import report, speed
from benchmarks.peers.fit import (
    Fitted,
    RidgeMap,
    add_offset,
    fit_box,
    fit_offset,
    mesh_crop,
    mesh_in_image,
    pick_vertices,
    save_arrays,
)
from benchmarks.peers.report import FITTED, RECORDS, SPLITS
from benchmarks.peers.worker import Worker
from checkpoint import CheckpointError, find_checkpoint, load_checkpoint, load_config
from data_fetch import find_data
from data_load import FacialKeypointsDataset, load_split
from detector.predictor import RUNTIMES, OnnxRuntime
from geometry import box_from_keypoints
from landmarks import INNER_51, OUTER_EYE_CORNERS
from training.evaluation import CheckpointPredictor, Evaluation, first_matrices
from training.metrics import interocular_distance, point_errors, summarise
from training.records import save_record

ANSWERS = ROOT / "runs" / "peers"
STEPS = ("peers", "ours", "speed")
EVERY_THIRD = slice(None, None, 3)  # of the training images: one frame of three settles an offset


def load_parts(data_folder) -> dict[str, FacialKeypointsDataset]:
    """'training' (the 278 people, on which all is fitted), and the test part of each split."""
    tests = {split: load_split(data_folder, split, "test") for split in SPLITS}
    return {"training": load_split(data_folder, "identity", "train")} | tests


# --- the peers' answers ------------------------------------------------------------------------


def ask_all(worker: Worker, dataset, ask, name: str) -> dict[str, np.ndarray]:
    """Points (N, K, D) and boxes (N, 4) of all images, NaN where no face was found; stored in ANSWERS.

    ask: called with (worker, image, keypoints), returns (points or None, box or None).
    """
    path = ANSWERS / f"{name}.npz"
    if path.is_file():
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored)
    rows = [ask(worker, dataset.image(i), dataset.keypoints[i]) for i in tqdm(range(len(dataset)), desc=name)]
    shape = next(points.shape for points, _ in rows if points is not None)
    points = np.stack([np.full(shape, np.nan) if p is None else p for p, _ in rows]).astype(np.float32)
    boxes = np.array([[np.nan] * 4 if box is None else box for _, box in rows])
    save_arrays(path, points=points, boxes=boxes)
    return {"points": points, "boxes": boxes}


def _ask_detector(worker, image, keypoints):
    answer = worker.ask(image)
    return answer.points, answer.box_xyxy


def _ask_box(box_fit):
    def ask(worker, image, keypoints):
        return worker.ask(image, box_fit.apply(keypoints)).points, None

    return ask


def _ask_whole(worker, image, keypoints):
    return worker.ask(image).points, None


def _ask_crop(worker, image, keypoints):
    crop, matrix = mesh_crop(image, box_from_keypoints(keypoints))
    return mesh_in_image(worker.ask(crop).points, matrix), None


def predict_peers(python: Path, parts: dict) -> dict[str, dict[str, np.ndarray]]:
    """method -> part -> keypoints (N, 68, 2); what is fitted on the way goes into FITTED."""

    def answers(method, argument, ask, name):
        with Worker(python, method, argument) as worker:
            return {part: ask_all(worker, data, ask, f"{name}-{part}") for part, data in parts.items()}

    true = parts["training"].keypoints
    found = answers("dlib", "detector", _ask_detector, "dlib-detector")
    box = fit_box(true, found["training"]["boxes"])
    boxed = answers("dlib", "box", _ask_box(box), "dlib-box")
    whole = answers("mediapipe", "static", _ask_whole, "mediapipe-whole")
    crop = answers("mediapipe", "static", _ask_crop, "mediapipe-crop")

    vertices = pick_vertices(crop["training"]["points"], true)
    corners = vertices[list(OUTER_EYE_CORNERS)]
    ridge = RidgeMap.fit(crop["training"]["points"], true, corners)
    Fitted(box, vertices, ridge).save(FITTED)
    ways = {
        "dlib-detector": (found, lambda points: points),
        "dlib-box": (boxed, lambda points: points),
        "mediapipe-whole": (whole, lambda meshes: meshes[:, vertices, :2]),
        "mediapipe-crop": (crop, lambda meshes: meshes[:, vertices, :2]),
        "mediapipe-ridge": (crop, ridge),
    }
    return {
        name: {part: to_68(given[part]["points"]) for part in parts} for name, (given, to_68) in ways.items()
    }


# --- ours -------------------------------------------------------------------------------------


def load_predictor(name: str, runtime: str) -> CheckpointPredictor:
    """A checkpoint by one of detector.pipeline's runtimes; CheckpointError where a file is missing."""
    if runtime == "torch":
        return CheckpointPredictor(*load_checkpoint(name))
    folder = find_checkpoint(name)
    return CheckpointPredictor(OnnxRuntime(folder / RUNTIMES[runtime]), load_config(folder))


def predict_whole(predictor: CheckpointPredictor, dataset, name: str) -> np.ndarray:
    """Keypoints (N, 68, 2) from whole images."""
    matrices = first_matrices(dataset, "whole", predictor.config)
    parts = []
    for start in tqdm(range(0, len(dataset), 64), desc=name):
        these = range(start, min(start + 64, len(dataset)))
        parts.append(predictor.predict([dataset.image(i) for i in these], [matrices[i] for i in these]))
    return np.concatenate(parts)


def measure_ours(parts: dict, base: str, runtime: str) -> None:
    """Store the records of one checkpoint and runtime on both splits; says so where there is none."""
    method = base if runtime == "torch" else f"{base}.{runtime}"
    whole = parts["training"]
    fitting = FacialKeypointsDataset.from_paths(whole.paths[EVERY_THIRD], whole.keypoints[EVERY_THIRD])
    parts = parts | {"training": fitting}
    for split in SPLITS:
        name = f"{base}-identity" if split == "identity" else base
        try:
            predictor = load_predictor(name, runtime)
        except CheckpointError as error:
            print(f"left out: {name} by {runtime} on {split} ({error})")
            continue
        predicted = {
            part: predict_whole(predictor, parts[part], f"{name} {runtime} {part}")
            for part in ("training", split)
        }
        note = {"checkpoint": name, "runtime": runtime, "leak": split == "official"}
        store(parts, split, method, predicted, note)


# --- records ------------------------------------------------------------------------------------


def all_figures(predicted: np.ndarray, dataset: FacialKeypointsDataset) -> dict:
    """`summarise`, and the error of the points without the jaw, as a share of the inter-ocular distance."""
    true = dataset.keypoints
    inner = point_errors(predicted, true)[:, list(INNER_51)].mean(axis=1) / interocular_distance(true)
    return summarise(predicted, true, dataset.identities) | {"inner_51": float(np.nanmean(inner))}


def store(parts: dict, split: str, method: str, predicted: dict, note: dict) -> None:
    """Fit the offset on the training part, measure with and without it on `split`, write the record."""
    offset = fit_offset(predicted["training"], parts["training"].keypoints)
    dataset, given = parts[split], predicted[split]
    row = {"method": method, "split": split, **note, "offset": offset.tolist()}
    row["as_given"] = all_figures(given, dataset)
    row["without_offset"] = all_figures(add_offset(given, offset), dataset)
    paths = [f"{path.parent.name}/{path.name}" for path in dataset.paths]
    evaluation = Evaluation({}, paths, dataset.identities, given, dataset.keypoints)
    save_record(RECORDS / f"{split}-{method}", row, evaluation)


def machine() -> str:
    """System and processor, for the table."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{platform.system()} ({platform.machine()}, {model or platform.processor()})"


def parse_arguments(arguments=None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--environment", type=Path, help="the folder with dlib and MediaPipe")
    parser.add_argument("--checkpoints", nargs="+", default=["heatmapnet", "heatmapnet-small"])
    parser.add_argument("--steps", nargs="+", choices=STEPS, help="default: all, given an environment")
    args = parser.parse_args(arguments)
    args.steps = args.steps or (STEPS if args.environment else ())
    needs_peers = {"peers", "speed"} & set(args.steps)
    if needs_peers and not (args.environment and (args.environment / "bin" / "python").exists()):
        parser.error(f"step {' and '.join(needs_peers)} needs --environment FOLDER; see above how to make it")
    return args


def main(arguments=None) -> None:
    """Do the steps that are asked for, then write table and plot."""
    args = parse_arguments(arguments)
    if args.steps:
        data = find_data()
        if data.is_sample:
            sys.exit("peers.py compares on real faces: set KEYPOINTS_DATA to the data set")
        parts = load_parts(data.folder)
    if "peers" in args.steps:
        for method, predicted in predict_peers(args.environment / "bin" / "python", parts).items():
            for split in SPLITS:
                # only the ridge map has learnt from people who are tested on `official`
                leak = split == "official" and method == "mediapipe-ridge"
                store(parts, split, method, predicted, {"leak": leak})
    if "ours" in args.steps:
        for base in args.checkpoints:
            for runtime in ("torch", "onnx-int8"):
                measure_ours(parts, base, runtime)
    if "speed" in args.steps:
        python = args.environment / "bin" / "python"
        speed.measure(python, parts["identity"], args.checkpoints, machine())
    report.write()


if __name__ == "__main__":
    main()
