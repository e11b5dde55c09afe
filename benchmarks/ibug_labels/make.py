"""Pseudo-labels: where people would put the 68 points on each training image.

    python -m benchmarks.ibug_labels.make --environment FOLDER     # as for benchmarks/peers/page.py

The labels of the data set lie elsewhere, and hardly show how far eyes are open. MediaPipe's face mesh runs on
each training face in three crops and on their flipped copies. `mesh.py` reads the 68 points from it, and
moves them by their offset from the hand-drawn points of the London set (the folder that KEYPOINTS_LONDON
names). Nothing of it is fitted on labels, so nobody's pseudo-labels depend on a test person. Writes
data/ibug_labels.npz, and data/label_map.npz: the way from these points to the labels and back, fitted on
people that no split tests.
"""

import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.groups.london import london_people
from benchmarks.ibug_labels.mesh import MESH_POINTS, keypoints_of_mesh, london_offset, move_in_face
from benchmarks.peers.fit import mesh_crop, mesh_in_image
from benchmarks.peers.worker import Worker
from data_fetch import find_data
from data_load import (
    IBUG_LABELS_FILE,
    LABEL_MAP_FILE,
    LabelMap,
    blend,
    load_split,
    split_table,
    stored_labels,
    training_labels,
)
from geometry import box_from_keypoints, flip_image, flip_keypoints
from training.metrics import nme_per_face
from training.records import save_arrays

MARGINS = (1.5, 1.9, 2.4)
MAX_APART = 0.15  # of the inter-ocular distance, on average over a face


def ask_meshes(python, dataset) -> np.ndarray:
    """Meshes (N, 6, 468, 3) in pixels, NaN where not found: in three crops, then in the flipped image."""
    meshes = np.full((len(dataset), 2 * len(MARGINS), MESH_POINTS, 3), np.nan, dtype=np.float32)
    with Worker(python, "mediapipe", "static") as worker:
        for index in tqdm(range(len(dataset)), desc="face mesh"):
            image, box = dataset.image(index), box_from_keypoints(dataset.keypoints[index])
            left, top, right, bottom = box
            width = image.shape[1]
            flipped_box = np.array([width - right, top, width - left, bottom])
            views = [(image, box, margin) for margin in MARGINS]
            views += [(flip_image(image), flipped_box, margin) for margin in MARGINS]
            for view, (pixels, around, margin) in enumerate(views):
                crop, matrix = mesh_crop(pixels, around, margin)
                mesh = mesh_in_image(worker.ask(crop).points, matrix)
                if mesh is not None:
                    meshes[index, view] = mesh
    return meshes


def pseudo_labels(meshes: np.ndarray, widths: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Keypoints (N, 68, 2): the mean over all views that found the face, flipped ones flipped back.

    meshes: as from `ask_meshes`. widths: of the images (N,). offset: from `london_offset`.
    """
    flat = keypoints_of_mesh(meshes.reshape(-1, *meshes.shape[2:])).reshape(*meshes.shape[:2], -1, 2)
    for index, width in enumerate(widths):
        flat[index, len(MARGINS) :] = flip_keypoints(flat[index, len(MARGINS) :], width)
    return move_in_face(np.nanmean(flat, axis=1), offset)


def london_meshes(python) -> tuple[np.ndarray, np.ndarray]:
    """Meshes (N, 468, 3) and hand-made keypoints (N, 68, 2) of the people of the London set."""
    people = london_people()
    with Worker(python, "mediapipe", "static") as worker:
        meshes = []
        for person in people:
            known = person.keypoints[~np.isnan(person.keypoints[:, 0])]
            crop, matrix = mesh_crop(person.image(), box_from_keypoints(known))
            mesh = mesh_in_image(worker.ask(crop).points, matrix)
            meshes.append(np.full((MESH_POINTS, 3), np.nan) if mesh is None else mesh)
    return np.stack(meshes), np.stack([person.keypoints for person in people])


def fit_label_map(dataset, pseudo: np.ndarray, share: float = 0.5) -> LabelMap:
    """The map between labels and iBUG points, from the people that no split tests.

    Faces on which label and pseudo-label are further apart than MAX_APART are left out: one of both is wrong.
    """
    debiased = training_labels(dataset, "debiased")
    apart = nme_per_face(pseudo, debiased)
    table = split_table(dataset.identities).set_index("identity")["validation"]
    kept = np.array([table[name] == "train" for name in dataset.identities]) & (apart < MAX_APART)
    to_pseudo = LabelMap.fit(debiased[kept], pseudo[kept])
    moved = to_pseudo.to_ibug(debiased[kept])
    targets = blend(moved, pseudo[kept], share)
    return LabelMap.fit(debiased[kept], targets)._replace(offset=to_pseudo.offset)


def write(names: list[str], keypoints: np.ndarray, label_map: LabelMap) -> None:
    """Write the files that `data_load.training_labels` reads; keypoints in hundredths of a pixel."""
    hundredths = np.rint(keypoints * 100).astype(np.int32)
    save_arrays(IBUG_LABELS_FILE, names=np.array(names), keypoints=hundredths)
    save_arrays(LABEL_MAP_FILE, **{k: v.astype(np.float32) for k, v in label_map._asdict().items()})


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
    python = Path(args.environment) / "bin" / "python"
    offset = london_offset(*london_meshes(python))
    meshes = ask_meshes(python, dataset)
    widths = np.array([dataset.image(index).shape[1] for index in range(len(dataset))])
    keypoints = pseudo_labels(meshes, widths, offset)
    others = {"labels without their offset": training_labels(dataset, "debiased")}
    if IBUG_LABELS_FILE.is_file():
        others["the stored file"] = stored_labels(IBUG_LABELS_FILE, dataset.paths)
    for title, points in others.items():
        apart = 100 * np.mean(nme_per_face(keypoints, points))
        print(f"mean distance from {title}: {apart:.2f} % of the inter-ocular distance")
    if not args.compare:
        write([path.name for path in dataset.paths], keypoints, fit_label_map(dataset, keypoints))


if __name__ == "__main__":
    main()
