"""Faces found and false positives: Haar proposes, the network disposes.

    python -m benchmarks.finding.page [CHECKPOINT]

On the labelled images of the 69 people of `identity`: the chain that KeypointDetector is, beside the frontal
cascade alone at the two usual settings, whose largest box the same network then gets. A face is
found if a box overlaps it (IoU of at least 0.3 with 1.2 x the label box). Everything else
that is reported is listed, to be looked at: it may be a face without a label. Writes
benchmarks/finding/README.md; needs the data.
"""

import sys
from pathlib import Path

import numpy as np

from benchmarks.peers.report import replace_file
from checkpoint import load_checkpoint
from data_fetch import find_data
from data_load import load_split, shift_keypoints
from detector import DEFAULT_CHECKPOINT, HaarFaceDetector, KeypointDetector
from detector.predictor import MIN_CONFIDENCE, predict_keypoints
from geometry import box_from_keypoints, box_iou, scale_box
from training.evaluation import count_boxes, first_matrices
from training.metrics import summarise

PAGE = Path(__file__).with_name("README.md")
SETTINGS = ((1.2, 2), (1.1, 5))


def by_chain(model, config, dataset):
    """Largest face (N, 68, 2) of each image or NaN, share found, and all others: (image, box, confidence)."""
    detector = KeypointDetector(model, config)
    largest = np.full(dataset.keypoints.shape, np.nan, dtype=np.float32)
    hits, others = 0, []
    for index in range(len(dataset)):
        faces = detector(dataset.image(index))
        if faces:
            largest[index] = shift_keypoints(faces[0].keypoints, config.label_offset)
        label = scale_box(box_from_keypoints(dataset.keypoints[index]), 1.2)
        boxes = [scale_box(box_from_keypoints(face.keypoints), 1.2) for face in faces]
        on_face = [box_iou(box, label) >= 0.3 for box in boxes]
        hits += any(on_face)
        path = dataset.paths[index]
        off = [item for item, on in zip(zip(boxes, faces, strict=True), on_face, strict=True) if not on]
        others += [(f"{path.parent.name}/{path.name}", box, face.confidence) for box, face in off]
    return largest, hits / len(dataset), others


def by_cascade(model, config, dataset, setting) -> tuple[np.ndarray, float, float]:
    """The network's answer in the largest box (N, 68, 2), share found, other boxes an image."""
    cascade = HaarFaceDetector(*setting)
    found, off = count_boxes(dataset, cascade)
    matrices = first_matrices(dataset, "haar", config, cascade)
    have = [index for index, matrix in enumerate(matrices) if matrix is not None]
    largest = np.full(dataset.keypoints.shape, np.nan, dtype=np.float32)
    images = [dataset.image(index) for index in have]
    answers = predict_keypoints(model, config, images, [matrices[index] for index in have])
    largest[have] = shift_keypoints(answers, config.label_offset)
    return largest, found, off


def row(title: str, found: float, off: float, largest, dataset) -> str:
    """One line of the table."""
    figures = summarise(largest, dataset.keypoints, dataset.identities)
    errors = " | ".join(f"{100 * figures[key]:.2f}" for key in ("nme", "fr_10"))
    return f"| {title} | {100 * found:.2f} | {off:.3f} | {errors} |"


def candidates(others) -> str:
    """The list of what was reported off the labelled faces."""
    if not others:
        return "none"
    lines = ["| image | box | confidence |", "|---|---|---|"]
    for name, box, confidence in others:
        corners = ", ".join(f"{value:.0f}" for value in box)
        lines.append(f"| {name} | {corners} | {confidence:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and write the page."""
    name = sys.argv[1] if len(sys.argv) > 1 else f"{DEFAULT_CHECKPOINT}-identity"
    model, config = load_checkpoint(name)
    dataset = load_split(find_data().folder, "identity", "test")
    largest, found, others = by_chain(model, config, dataset)
    title = f"chain, confidence at least {MIN_CONFIDENCE:g}"
    lines = [row(title, found, len(others) / len(dataset), largest, dataset)]
    for setting in SETTINGS:
        alone, found, off = by_cascade(model, config, dataset, setting)
        lines.append(row(f"frontal cascade {setting[0]} / {setting[1]}", found, off, alone, dataset))
    table = "\n".join(lines)
    text = f"""# Finding faces

{len(dataset)} labelled images of people nobody trained on, `{name}`, by `python -m benchmarks.finding.page`.
*Found*: something on the labelled face. *Others*: what is reported elsewhere, an image. NME and FR@10 of
the largest face.

| | found, % | others an image | NME, % | FR@10, % |
|---|---|---|---|---|
{table}

What the chain reports off the labelled faces:

{candidates(others)}
"""
    replace_file(PAGE, text.encode())


if __name__ == "__main__":
    main()
