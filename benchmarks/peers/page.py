"""Ours beside dlib and MediaPipe: error, time, memory, size.

    python -m benchmarks.peers.page                              # table and plot, from stored records
    python -m benchmarks.peers.page --measure                    # first measures ours where not current
    python -m benchmarks.peers.page --environment FOLDER         # measures everything
    python -m benchmarks.peers.page --steps ours --checkpoints heatmapnet heatmapnet-small

The peers are in an environment of their own (Python 3.11, CMake, a C++ compiler; Linux), made by:

    python3.11 -m venv FOLDER
    FOLDER/bin/python -m pip install -r benchmarks/peers/requirements.txt

Steps: `peers` (their predictions; their raw answers are kept in runs/peers/ and asked for
once), `ours` (the predictions of checkpoints: NAME-identity on `identity`, NAME on `official`),
`speed` (all in turn on the same faces, one CPU). Records are in benchmarks/peers/records/.
"""

import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks import pages
from benchmarks.peers import speed
from benchmarks.peers.fit import (
    Fitted,
    RidgeMap,
    fit_box,
    mesh_crop,
    mesh_in_image,
    pick_vertices,
)
from benchmarks.peers.report import FITTED, RECORDS, SPLITS, all_figures, versions, write_page
from benchmarks.peers.worker import Worker
from checkpoint import CheckpointError, find_checkpoint, load_checkpoint, load_config
from data_fetch import data_checksum
from data_load import FacialKeypointsDataset, load_split, to_labels
from detector.predictor import RUNTIMES, OnnxRuntime
from geometry import box_from_keypoints
from landmarks import OUTER_EYE_CORNERS
from training.evaluation import CheckpointPredictor, first_matrices
from training.metrics import fit_offset
from training.records import Evaluation, is_current, provenance, save_arrays, save_record

ROOT = Path(__file__).parents[2]
ANSWERS = ROOT / "runs" / "peers"
STEPS = ("peers", "ours", "speed")
CHECKPOINTS = ("heatmapnet", "heatmapnet-small")
OUR_RUNTIMES = ("torch", "onnx-int8")
EVERY_THIRD = slice(None, None, 3)  # of the training images, which are three frames of each video


def load_parts(data_folder) -> dict[str, FacialKeypointsDataset]:
    """'training' (the images of the 278 people, used for all fits), and the test part of each split."""
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
    """method -> part -> keypoints (N, 68, 2); the fits that this needs are stored in FITTED."""

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
    """A checkpoint in one of RUNTIMES. Raises CheckpointError if a file is missing."""
    if runtime == "torch":
        return CheckpointPredictor(*load_checkpoint(name))
    folder = find_checkpoint(name)
    return CheckpointPredictor(OnnxRuntime(folder / RUNTIMES[runtime]), load_config(folder))


def predict_whole(predictor: CheckpointPredictor, dataset, name: str) -> np.ndarray:
    """Keypoints (N, 68, 2) from whole images, moved to where labels lie."""
    matrices = first_matrices(dataset, "whole", predictor.config)
    parts = []
    for start in tqdm(range(0, len(dataset), 64), desc=name):
        these = range(start, min(start + 64, len(dataset)))
        parts.append(predictor.predict([dataset.image(i) for i in these], [matrices[i] for i in these]))
    return to_labels(np.concatenate(parts), predictor.config)


def measure_ours(parts: dict, base: str, runtime: str, data, split: str) -> None:
    """Store the record of one checkpoint and runtime on a split; prints a line if there is no such file."""
    method = _method(base, runtime)
    whole = parts["training"]
    fitting = FacialKeypointsDataset.from_paths(whole.paths[EVERY_THIRD], whole.keypoints[EVERY_THIRD])
    parts = parts | {"training": fitting}
    name = f"{base}-identity" if split == "identity" else base
    try:
        predictor = load_predictor(name, runtime)
    except CheckpointError as error:
        print(f"left out: {name} by {runtime} on {split} ({error})")
        return
    predicted = {
        part: predict_whole(predictor, parts[part], f"{name} {runtime} {part}")
        for part in ("training", split)
    }
    note = {"checkpoint": name, "runtime": runtime, "leak": split == "official"}
    about = provenance(
        f"python -m benchmarks.peers.page --steps ours --checkpoints {base}",
        checkpoint=find_checkpoint(name),
        weights=RUNTIMES[runtime],
        data=data_checksum(data.folder),
        seed=predictor.config.seed,
    )
    store(parts, split, method, predicted, note, about)


def _method(base: str, runtime: str) -> str:
    return base if runtime == "torch" else f"{base}.{runtime}"


# --- records ------------------------------------------------------------------------------------


def store(parts: dict, split: str, method: str, predicted: dict, note: dict, about: dict) -> None:
    """Fit the offset on the training part, measure with and without it on `split`, write the record.

    predicted: part -> keypoints. note: further fields of the record. about: its provenance.
    """
    offset = fit_offset(predicted["training"], parts["training"].keypoints)
    dataset = parts[split]
    paths = [f"{path.parent.name}/{path.name}" for path in dataset.paths]
    evaluation = Evaluation(paths, dataset.identities, predicted[split], dataset.keypoints)
    row = {"method": method, "split": split, **note, "offset": offset.tolist()}
    row |= all_figures(evaluation.predicted, evaluation.true, evaluation.identities, offset)
    save_record(RECORDS / f"{split}-{method}", row, evaluation, about)


def parse_arguments(arguments=None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--environment", type=Path, help="the folder with dlib and MediaPipe")
    parser.add_argument("--checkpoints", nargs="+", default=CHECKPOINTS)
    parser.add_argument("--measure", action="store_true", help="step ours, for records that are not current")
    parser.add_argument("--steps", nargs="+", choices=STEPS, help="default: all, given an environment")
    args = parser.parse_args(arguments)
    args.steps = args.steps or (STEPS if args.environment else ())
    needs_peers = {"peers", "speed"} & set(args.steps)
    if needs_peers and not (args.environment and (args.environment / "bin" / "python").exists()):
        parser.error(f"step {' and '.join(needs_peers)} needs --environment FOLDER; see above how to make it")
    return args


def measure(data, checkpoints=CHECKPOINTS, again: bool = False) -> None:
    """Measure our checkpoints whose records are missing or out of date; `again`: all of them."""
    wanted = [
        (base, runtime, split)
        for base in checkpoints
        for runtime in OUR_RUNTIMES
        for split in SPLITS
        if again or not is_current(RECORDS / f"{split}-{_method(base, runtime)}.json")
    ]
    parts = load_parts(data.folder) if wanted else {}
    for base, runtime, split in wanted:
        measure_ours(parts, base, runtime, data, split)


def measure_peers(python: Path, data) -> None:
    """Measure dlib and MediaPipe, which are in another environment."""
    parts = load_parts(data.folder)
    for method, predicted in predict_peers(python, parts).items():
        for split in SPLITS:
            # only the ridge map was fitted on people who are tested on `official`
            leak = split == "official" and method == "mediapipe-ridge"
            renew = "python -m benchmarks.peers.page --environment FOLDER --steps peers"
            about = provenance(renew, data=data_checksum(data.folder)) | {"peers": versions()}
            store(parts, split, method, predicted, {"leak": leak}, about)


def main(arguments=None) -> None:
    """Do the steps that are asked for, then write table and plot."""
    args = parse_arguments(arguments)
    data = pages.real_data() if args.steps or args.measure else None
    if "peers" in args.steps:
        measure_peers(args.environment / "bin" / "python", data)
    if "ours" in args.steps or args.measure:
        measure(data, args.checkpoints, again="ours" in args.steps)
    if "speed" in args.steps:
        faces = load_split(data.folder, "identity", "test")
        speed.measure(args.environment / "bin" / "python", faces, args.checkpoints)
    write_page()


if __name__ == "__main__":
    main()
