"""Pseudo-labels: keypoints for each training image, from a face mesh not trained on these labels.

    python -m benchmarks.pseudo_labels.make --environment FOLDER     # as for benchmarks/peers/page.py

MediaPipe's face mesh runs on each training face in three crops and on their flipped copies. A ridge
regression maps the mesh to labels without their offset (data_load.py). Nobody's pseudo-labels come from a
map that was fitted on them or, for a split, on its test people: people that `validation` trains on are
mapped in folds among themselves, those it tests by a map of the people it trains on, and those that
`identity` tests by a map of the other 278. Wrong labels get less weight: each round weighs a face by how
well the previous map fitted it. Writes data/pseudo_labels.npz.
"""

import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.peers.fit import RidgeMap, mesh_crop, mesh_in_image, pick_vertices
from benchmarks.peers.worker import Worker
from data_fetch import find_data
from data_load import (
    LABEL_OFFSET,
    PSEUDO_LABELS_FILE,
    load_split,
    shift_keypoints,
    split_table,
    training_labels,
)
from geometry import box_from_keypoints, flip_image, flip_keypoints, interocular_distance
from landmarks import OUTER_EYE_CORNERS
from training.records import save_arrays

MARGINS = (1.5, 1.9, 2.4)
ROUNDS, FOLDS = 3, 5


def ask_meshes(python, dataset) -> tuple[np.ndarray, np.ndarray]:
    """Meshes (N, 6, 468, 3), NaN where not found, and labels (N, 6, 68, 2): three crops, then flipped."""
    meshes = np.full((len(dataset), 2 * len(MARGINS), 468, 3), np.nan, dtype=np.float32)
    debiased = shift_keypoints(dataset.keypoints, [-v for v in LABEL_OFFSET])
    labels = np.repeat(debiased[:, None], meshes.shape[1], axis=1)
    worker = Worker(python, "mediapipe", "static")
    try:
        for index in tqdm(range(len(dataset)), desc="face mesh"):
            image, box = dataset.image(index), box_from_keypoints(dataset.keypoints[index])
            left, _, right, _ = box
            width = image.shape[1]
            flipped_box = np.array([width - right, box[1], width - left, box[3]])
            views = [(image, box, margin) for margin in MARGINS]
            views += [(flip_image(image), flipped_box, margin) for margin in MARGINS]
            labels[index, len(MARGINS) :] = flip_keypoints(debiased[index], width)
            for view, (pixels, around, margin) in enumerate(views):
                crop, matrix = mesh_crop(pixels, around, margin)
                mesh = mesh_in_image(worker.ask(crop).points, matrix)
                if mesh is not None:
                    meshes[index, view] = mesh
    finally:
        worker.close()
    return meshes, labels


def robust_map(meshes: np.ndarray, labels: np.ndarray, eye_corners) -> RidgeMap:
    """A ridge map from all views (N, 6, ...) in which badly fitting faces count less."""
    meshes, labels = meshes.reshape(-1, 468, 3), labels.reshape(-1, 68, 2)
    found = ~np.isnan(meshes[:, 0, 0])
    meshes, labels = meshes[found], labels[found]
    weight = np.ones(len(meshes))
    for _ in range(ROUNDS):
        ridge = RidgeMap.fit(meshes, labels, eye_corners, weight=weight)
        error = np.linalg.norm(ridge(meshes) - labels, axis=2).mean(axis=1) / interocular_distance(labels)
        weight = 1 / np.maximum(error / np.median(error), 1) ** 2
    return ridge


def pseudo_labels(ridge: RidgeMap, meshes: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Keypoints (N, 68, 2): the mean over all views that found the face, flipped ones flipped back."""
    flat = ridge(np.nan_to_num(meshes.reshape(-1, 468, 3))).reshape(*meshes.shape[:2], 68, 2)
    for index, width in enumerate(widths):
        flat[index, len(MARGINS) :] = flip_keypoints(flat[index, len(MARGINS) :], width)
    flat[np.isnan(meshes[:, :, 0, 0])] = np.nan
    return np.nanmean(flat, axis=1)


def nested_pseudo_labels(meshes, labels, widths, roles: np.ndarray, eye_corners) -> np.ndarray:
    """Keypoints (N, 68, 2), each by a map fitted without that person and without a split's test people.

    roles: -2 tested by `identity`, -1 tested by `validation`, 0 and more: the fold of the others.
    """
    result = np.zeros((len(meshes), 68, 2), dtype=np.float32)
    jobs = [(roles > -2, roles == -2), (roles >= 0, roles == -1)]
    jobs += [((roles >= 0) & (roles != fold), roles == fold) for fold in range(FOLDS)]
    for fitted, judged in jobs:
        ridge = robust_map(meshes[fitted], labels[fitted], eye_corners)
        result[judged] = pseudo_labels(ridge, meshes[judged], widths[judged])
    return result


def roles_of(identities: list[str]) -> np.ndarray:
    """The role (N,) of each person in the splits, or the fold; see nested_pseudo_labels."""
    table = split_table(identities).set_index("identity")
    roles = []
    for name in identities:
        row = table.loc[name]
        learns = row["position"] % FOLDS
        tested = -2 if row["identity_split"] == "test" else -1
        roles.append(learns if row["validation"] == "train" else tested)
    return np.array(roles)


def write(names: list[str], keypoints: np.ndarray) -> None:
    """Write the file that `data_load.training_labels` reads; keypoints in hundredths of a pixel."""
    hundredths = np.rint(keypoints * 100).astype(np.int32)
    save_arrays(PSEUDO_LABELS_FILE, names=np.array(names), keypoints=hundredths)


def main() -> None:
    """Run the mesh, fit, write; print the mean distance from the labels and from the stored file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--environment", required=True, help="folder of a venv with benchmarks/peers/requirements.txt"
    )
    parser.add_argument("--compare", action="store_true", help="write nothing, only compare with the file")
    args = parser.parse_args()
    dataset = load_split(find_data().folder, "official", "train")
    meshes, labels = ask_meshes(Path(args.environment) / "bin" / "python", dataset)
    plain = len(MARGINS) // 2
    corners = pick_vertices(meshes[:, plain], labels[:, plain])[list(OUTER_EYE_CORNERS)]
    widths = np.array([dataset.image(index).shape[1] for index in range(len(dataset))])
    keypoints = nested_pseudo_labels(meshes, labels, widths, roles_of(dataset.identities), corners)
    before = training_labels(dataset, "blended", 1.0) if PSEUDO_LABELS_FILE.is_file() else None
    size = interocular_distance(dataset.keypoints)[:, None]
    for title, others in (("labels without their offset", labels[:, 0]), ("the stored file", before)):
        if others is not None:
            apart = np.linalg.norm(keypoints - others, axis=2) / size
            print(f"mean distance from {title}: {100 * apart.mean():.2f} % of the inter-ocular distance")
    if not args.compare:
        write([path.name for path in dataset.paths], keypoints)


if __name__ == "__main__":
    main()
