"""Faces found and false positives of the detector and of the frontal Haar cascade alone:

    python -m benchmarks.finding.page              # writes README.md from the record
    python -m benchmarks.finding.page --measure    # measures first; needs the data, ten minutes

The labelled images of the 69 people of `identity`. A face is found if a box overlaps it: IoU of at least
0.3 with 1.2 x the label box. Every other face that the detector reports is listed, because it may be one
without a label.
"""

import json
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks import pages
from checkpoint import find_checkpoint, load_checkpoint
from data_fetch import data_checksum
from data_load import load_split, shift_keypoints
from detector import DEFAULT_CHECKPOINT, HaarFaceDetector, KeypointDetector
from detector.predictor import MIN_CONFIDENCE, predict_keypoints
from files import write_json
from geometry import box_from_keypoints, box_iou, scale_box
from training.evaluation import count_boxes, first_matrices
from training.metrics import failure_rate, nme_per_face
from training.records import is_current, provenance, save_arrays

HERE = Path(__file__).parent
RECORD = HERE / "records" / "finding.json"
CHECKPOINT = f"{DEFAULT_CHECKPOINT}-identity"
SETTINGS = ((1.2, 2), (1.1, 5))  # scale factor, minimum of neighbours
MIN_IOU, BOX_SCALE = 0.3, 1.2


def measure(data) -> None:
    """Write the record: a row per method, other faces reported by the detector, and the NME of each image."""
    if is_current(RECORD):
        return
    model, config = load_checkpoint(CHECKPOINT)
    dataset = load_split(data.folder, "identity", "test")
    title = f"detector, confidence at least {MIN_CONFIDENCE:g}"
    largest, found, others = by_detector(model, config, dataset)
    rows, errors = [], {}

    def add(title: str, found: float, off: float, largest: np.ndarray) -> None:
        rows.append({"method": title, "found": found, "others": off})
        errors[title] = nme_per_face(largest, dataset.keypoints)

    add(title, found, len(others) / len(dataset), largest)
    for setting in SETTINGS:
        largest, found, off = by_cascade(model, config, dataset, setting)
        add(f"frontal cascade {setting[0]} / {setting[1]}", found, off, largest)
    save_arrays(RECORD.with_suffix(".npz"), **errors)
    about = provenance(
        "python -m benchmarks.finding.page --measure",
        checkpoint=find_checkpoint(CHECKPOINT),
        data=data_checksum(data.folder),
    )
    listed = {"checkpoint": CHECKPOINT, "images": len(dataset), "rows": rows, "others": others}
    write_json(RECORD, {**listed, "provenance": about})


def by_detector(model, config, dataset) -> tuple[np.ndarray, float, list[dict]]:
    """Keypoints (N, 68, 2) of the largest face of each image or NaN, share found, and the other faces."""
    detector = KeypointDetector(model, config)
    largest = np.full(dataset.keypoints.shape, np.nan, dtype=np.float32)
    hits, others = 0, []
    for index in tqdm(range(len(dataset)), desc="detector"):
        faces = detector(dataset.image(index))
        if faces:
            largest[index] = shift_keypoints(faces[0].keypoints, config.label_offset)
        label = scale_box(box_from_keypoints(dataset.keypoints[index]), BOX_SCALE)
        boxes = [scale_box(box_from_keypoints(face.keypoints), BOX_SCALE) for face in faces]
        on_face = [box_iou(box, label) >= MIN_IOU for box in boxes]
        hits += any(on_face)
        path = dataset.paths[index]
        for box, face, is_on_face in zip(boxes, faces, on_face, strict=True):
            if not is_on_face:
                name = f"{path.parent.name}/{path.name}"
                corners = [round(float(value), 1) for value in box]
                others.append({"image": name, "box": corners, "confidence": float(face.confidence)})
    return largest, hits / len(dataset), others


def by_cascade(model, config, dataset, setting) -> tuple[np.ndarray, float, float]:
    """Keypoints (N, 68, 2) in the largest box of the cascade, share found, other boxes per image."""
    cascade = HaarFaceDetector(*setting)
    found, off = count_boxes(dataset, cascade, MIN_IOU)
    matrices = first_matrices(dataset, "haar", config, cascade)
    have = [index for index, matrix in enumerate(matrices) if matrix is not None]
    largest = np.full(dataset.keypoints.shape, np.nan, dtype=np.float32)
    images = [dataset.image(index) for index in have]
    keypoints = predict_keypoints(model, config, images, [matrices[index] for index in have])
    largest[have] = shift_keypoints(keypoints, config.label_offset)
    return largest, found, off


# --- page -----------------------------------------------------------------------------------------


def table(rows: list[dict], errors: dict[str, np.ndarray]) -> str:
    """Markdown: a line per method."""
    cells = []
    for row in rows:
        nme = errors[row["method"]]
        shares = [f"{100 * row['found']:.2f}", f"{row['others']:.3f}"]
        figures = [f"{100 * np.nanmean(nme):.2f}", f"{100 * failure_rate(nme):.2f}"]
        cells.append([row["method"], *shares, *figures])
    return pages.markdown_table(["method", "found, %", "others per image", "NME, %", "FR@10, %"], cells)


def others_table(others: list[dict]) -> str:
    """Markdown: the faces that were reported away from labelled faces."""
    if not others:
        return "None."
    cells = [
        [other["image"], ", ".join(f"{value:.0f}" for value in other["box"]), f"{other['confidence']:.2f}"]
        for other in others
    ]
    return pages.markdown_table(["image", "box", "confidence"], cells)


TEXT = """# Finding faces

`{checkpoint}` on {images} labelled images of held-out people, by
`python -m benchmarks.finding.page`. *Found*: something is reported on the labelled face. *Others*:
what is reported elsewhere, per image. NME and FR@10 are those of the largest face. An image without
a face counts in FR@10 and is left out of the NME, so methods that find fewer faces have an easier
set of faces in their NME. The network gets the largest box of the frontal cascade, without a filter
by confidence.

{table}

Faces that the detector reports away from the labelled faces:

{others}
"""


def write_page() -> None:
    """Write README.md from the record."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    with np.load(RECORD.with_suffix(".npz"), allow_pickle=False) as stored:
        errors = dict(stored)
    text = TEXT.format(
        checkpoint=record["checkpoint"], images=record["images"],
        table=table(record["rows"], errors), others=others_table(record["others"]),
    )  # fmt: skip
    pages.write_if_changed(HERE / "README.md", text)


if __name__ == "__main__":
    pages.run_page(__doc__, write_page, measure)
