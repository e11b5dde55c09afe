"""Faces found and false positives of the detector, with our face finder and with cascades:

    python -m benchmarks.finding.page              # writes README.md from the records
    python -m benchmarks.finding.page --measure    # measures first; needs the data, half an hour

The labelled images of the 69 people of `identity`, and photos with hand-made points in larger scenes
(benchmarks/finding/scenes.py), which need a folder of such photos. A face is found if a box overlaps it: IoU
of at least 0.3 with 1.2 x the label box. Every other face that the detector reports is listed, because it
may be one without a label.
"""

import json
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks import pages
from benchmarks.finding import stability
from benchmarks.finding.hard import SMALL_PX, measure_hard
from benchmarks.finding.scenes import (
    BOX_SCALE,
    FACTORS,
    MIN_IOU,
    SCENES_RUNTIMES,
    measure_scenes,
    photos_with_points,
)
from checkpoint import FINDER, RUNTIMES, WEIGHTS_FILE, find_checkpoint, load_checkpoint
from data_fetch import data_checksum
from data_load import load_split, to_labels
from detector import DEFAULT_CHECKPOINT, HaarFaceDetector, KeypointDetector, MultiCascadeDetector
from detector.face_finders import HELD_OUT_FINDER, default_face_finder
from detector.predictor import predict_keypoints
from files import write_json
from geometry import box_from_keypoints, box_iou, scale_box
from training.evaluation import count_boxes, first_matrices
from training.metrics import failure_rate, nme_per_face
from training.records import is_current, provenance, save_arrays

HERE = Path(__file__).parent
RECORD, SCENES_RECORD = HERE / "records" / "finding.json", HERE / "records" / "scenes.json"
HARD_RECORD, HARD_RUNTIME = HERE / "records" / "hard.json", "onnx-int8"
CHECKPOINT = f"{DEFAULT_CHECKPOINT}-identity"
SETTINGS = ((1.2, 2), (1.1, 5))  # scale factor, minimum of neighbours


def measure(data) -> None:
    """Write the records that are not current. Without photos with hand-made points, those of photos stay."""
    if not is_current(RECORD):
        measure_identity(data)
    try:
        photos = photos_with_points()
    except FileNotFoundError as error:
        print(f"photos and scenes are not measured: {error}")
        return
    if not is_current(stability.RECORD):
        stability.measure_all(data, photos)
    if not is_current(HARD_RECORD):
        places = find_checkpoint(DEFAULT_CHECKPOINT), find_checkpoint(FINDER)
        files = [place / RUNTIMES[HARD_RUNTIME] for place in places]
        about = provenance("python -m benchmarks.finding.page --measure", checkpoint=places[0], files=files)
        rows = measure_hard(DEFAULT_CHECKPOINT, HARD_RUNTIME, photos)
        write_json(HARD_RECORD, {"rows": rows, "provenance": about})
    if not is_current(SCENES_RECORD):
        rows, median_px = measure_scenes(DEFAULT_CHECKPOINT, photos)
        folder = find_checkpoint(DEFAULT_CHECKPOINT)
        places = folder, find_checkpoint(FINDER)
        files = [place / RUNTIMES[runtime] for place in places for runtime in SCENES_RUNTIMES]
        about = provenance("python -m benchmarks.finding.page --measure", checkpoint=folder, files=files)
        stored = {"checkpoint": DEFAULT_CHECKPOINT, "rows": rows, "median_px": median_px}
        write_json(SCENES_RECORD, {**stored, "provenance": about})


def measure_identity(data) -> None:
    """Write the record: a row per method, other faces reported by the detector, and the NME of each image."""
    model, config = load_checkpoint(CHECKPOINT)
    dataset = load_split(data.folder, "identity", "test")
    rows, errors, listed = [], {}, {}

    def add(title: str, found: float, off: float, largest: np.ndarray) -> None:
        rows.append({"method": title, "found": found, "others": off})
        errors[title] = nme_per_face(largest, dataset.keypoints)

    for title, face_detector in {
        "detector": default_face_finder("identity"),
        "detector with cascades": MultiCascadeDetector(),
    }.items():
        largest, found, listed[title] = by_detector(model, config, dataset, face_detector)
        add(title, found, len(listed[title]) / len(dataset), largest)
    for setting in SETTINGS:
        largest, found, off = by_cascade(model, config, dataset, setting)
        add(f"frontal cascade {setting[0]} / {setting[1]}", found, off, largest)
    save_arrays(RECORD.with_suffix(".npz"), **errors)
    about = provenance(
        "python -m benchmarks.finding.page --measure",
        checkpoint=find_checkpoint(CHECKPOINT),
        data=data_checksum(data.folder),
        files=[find_checkpoint(HELD_OUT_FINDER) / WEIGHTS_FILE],
    )
    stored = {"checkpoint": CHECKPOINT, "images": len(dataset), "rows": rows, "others": listed["detector"]}
    write_json(RECORD, {**stored, "provenance": about})


def by_detector(model, config, dataset, face_detector) -> tuple[np.ndarray, float, list[dict]]:
    """Keypoints (N, 68, 2) of the largest face of each image or NaN, share found, and the other faces."""
    detector = KeypointDetector(model, config, face_detector)
    largest = np.full(dataset.keypoints.shape, np.nan, dtype=np.float32)
    hits, others = 0, []
    for index in tqdm(range(len(dataset)), desc="detector"):
        faces = detector(dataset.image(index))
        if faces:
            largest[index] = faces[0].keypoints
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
    return to_labels(largest, config), hits / len(dataset), others


def by_cascade(model, config, dataset, setting) -> tuple[np.ndarray, float, float]:
    """Keypoints (N, 68, 2) in the largest box of the cascade, share found, other boxes per image."""
    cascade = HaarFaceDetector(*setting)
    found, off = count_boxes(dataset, cascade, MIN_IOU)
    matrices = first_matrices(dataset, "haar", config, cascade)
    have = [index for index, matrix in enumerate(matrices) if matrix is not None]
    largest = np.full(dataset.keypoints.shape, np.nan, dtype=np.float32)
    images = [dataset.image(index) for index in have]
    keypoints = predict_keypoints(model, config, images, [matrices[index] for index in have])
    largest[have] = to_labels(keypoints, config)
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


def scenes_table(rows: list[dict]) -> str:
    """Markdown: a line per method, with the photos at each size."""
    titles = {1: "as it is", 2: "at 1/2", 4: "at 1/4"}
    cells = []
    for method in dict.fromkeys(row["method"] for row in rows):
        own = {row["factor"]: row for row in rows if row["method"] == method}
        figures = [(f"{100 * own[f]['found']:.1f}", f"{own[f]['others']:.3f}") for f in FACTORS]
        cells.append([method, *(cell for pair in figures for cell in pair)])
    head = [f"{what}, {titles[f]}" for f in FACTORS for what in ("found, %", "others")]
    return pages.markdown_table(["method", *head], cells)


def hard_table(rows: list[dict]) -> str:
    """Markdown: a line per case."""
    cells = []
    for row in rows:
        nme = "-" if row["nme"] is None else f"{100 * row['nme']:.1f}"
        figures = [f"{100 * row['found']:.1f}", f"{row['others']:.2f}", nme]
        cells.append([row["case"], str(row["faces"]), *figures])
    return pages.markdown_table(["face", "faces", "found, %", "others per image", "NME, %"], cells)


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

A face finder proposes boxes, the keypoint network finds keypoints in each, and its confidence decides which
are reported. *Detector* uses our own face finder, a network that was trained on drawn scenes with faces of
the training images (`training/composites.py`); here it is the held-out one. *Detector with cascades* takes
OpenCV's frontal and profile cascades instead, on the image and on its flipped copy.

`{checkpoint}` on {images} labelled images of held-out people, by
`python -m benchmarks.finding.page`. *Found*: something is reported on the labelled face. *Others*:
what is reported elsewhere, per image. NME and FR@10 are those of the largest face. An image without
a face counts in FR@10 and is left out of the NME, so methods that find fewer faces have an easier
set of faces in their NME. The network gets the largest box of the frontal cascade, without a filter
by confidence.

{table}

Faces that the detector reports away from the labelled faces:

{others}

## Photos of another origin, and small faces

329 photos with hand-made points and one marked face each, in `{scenes_checkpoint}`. *At 1/2* and *at 1/4*:
the photo at this size on a background without people, 640 x 480 pixels; the median face is then {half} and
{quarter} px wide. *Others* are boxes per image that are not on the marked face. They are faces of a second
person: all 31 of `onnx-int8` on the photos as they are (looked at on 27 November 2026). Nothing was trained
on these photos, but the lowest score of a box was chosen on them. The backgrounds are those on which the
confidence was calibrated.

{scenes}

## Hard faces

The same photos, changed, in `onnx-int8`. *Tilted*: rotated to one side or the other. *{small} px*: the larger
side of the box around the points, on a background of 640 x 480. *Cut by the edge*: a quarter of the face is
outside of the image. *Mask*: a plain area over mouth, chin and half of the nose. *Sunglasses*: the filter of
this repository. *Turned*: photos with a yaw ratio of 0.5 or more. *40 faces*: photos side by side;
`long_side` is the larger side of the copy that is searched, 320 by default. NME is that of the faces that
are found, in percent.

{hard}

The detector loses most at 20 px, which are 10 px in the searched copy, and behind a mask. Search a larger
copy for small faces.

## How far an answer moves when the image changes a little

Several boxes often lead to the same face, and the network answers slightly differently for each. An answer
should not depend on which one is reported. Every fourth of these images, and every eighth of 329 photos with
hand-made points (`photos`), is copied four times. A copy is shifted by up to 11 px and saved as JPEG with a
quality of 70 to 97. The boxes are those of the face finder. The move is the mean distance between the points
of a copy, shifted back, and those of the image, in percent of the inter-ocular distance. NME is against the
points of the data set, to which the answers are not moved (`data_load.to_labels`).

{stability}

`KeypointDetector` works as the last rule says. Its first pass goes over all boxes. Then and after each
further pass, of the answers for one face the one with the smallest expected error is kept: the smallest mean
radius relative to the face. The first rule is the one that was used before.
"""


def write_page() -> None:
    """Write README.md from the record."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    with np.load(RECORD.with_suffix(".npz"), allow_pickle=False) as stored:
        errors = dict(stored)
    scenes = json.loads(SCENES_RECORD.read_text(encoding="utf-8"))
    text = TEXT.format(
        scenes=scenes_table(scenes["rows"]), scenes_checkpoint=scenes["checkpoint"],
        half=scenes["median_px"] // 2, quarter=scenes["median_px"] // 4,
        checkpoint=record["checkpoint"], images=record["images"],
        table=table(record["rows"], errors), others=others_table(record["others"]),
        stability=stability.stability_table(), small=SMALL_PX,
        hard=hard_table(json.loads(HARD_RECORD.read_text(encoding="utf-8"))["rows"]),
    )  # fmt: skip
    pages.write_if_changed(HERE / "README.md", text)


if __name__ == "__main__":
    pages.run_page(__doc__, write_page, measure)
