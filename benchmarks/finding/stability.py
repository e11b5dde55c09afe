"""Moves of the answer for a face when the image is shifted and saved again as JPEG.

Each image gets copies: shifted by up to MAX_SHIFT pixels in x and y, then saved with a JPEG quality of 70 to
97. The move of a copy is the mean distance between its keypoints, shifted back, and those of the unchanged
image, in inter-ocular distances. Face finder and network are those of KeypointDetector. Several boxes often
lead to the same face; the rows of the table are rules for which of their answers is reported.

`measure_all` writes records/stability.json, and `stability_table()` makes the table from it.
"""

import json
from pathlib import Path

import numpy as np

from benchmarks.pages import markdown_table, write_if_changed
from checkpoint import WEIGHTS_FILE, find_checkpoint
from data_fetch import data_checksum
from data_load import FacialKeypointsDataset, load_split
from detector import DEFAULT_CHECKPOINT, Face, KeypointDetector
from detector.face_finders import HELD_OUT_FINDER
from detector.predictor import filter_faces, same_face
from files import cv2
from geometry import face_distance, interocular_distance
from training.records import provenance

CHECKPOINT = f"{DEFAULT_CHECKPOINT}-identity"
RECORD = Path(__file__).parent / "records" / "stability.json"
MAX_SHIFT, QUALITIES, COPIES = 11, (70, 97), 4
LIMITS = (0.02, 0.05)
#: Every fourth image of the split is measured, and every eighth photo: photos are larger.
STEPS = {"identity": 4, "photos": 8}


def shifted_copy(image: np.ndarray, shift_xy: tuple[int, int], quality: int) -> np.ndarray:
    """The image (H, W, 3) moved by whole pixels, edges repeated, after JPEG compression."""
    matrix = np.array([[1.0, 0, shift_xy[0]], [0, 1, shift_xy[1]]])
    moved = cv2.warpAffine(
        image, matrix, image.shape[1::-1], flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
    )
    bgr = cv2.cvtColor(moved, cv2.COLOR_RGB2BGR)
    coded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.cvtColor(cv2.imdecode(coded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def most_confident(faces: list[Face], min_confidence: float) -> list[Face]:
    """The rule before this measurement: of several answers for one face the most confident one."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.confidence):
        known = any(same_face(face.keypoints, other.keypoints) for other in kept)
        if face.confidence >= min_confidence and not known:
            kept.append(face)
    return kept


def answers(detector: KeypointDetector, image: np.ndarray) -> dict[str, list[Face]]:
    """The faces that each rule reports; all rules choose from the answers for the same boxes."""
    boxes = [detector.face_detector(image)]
    (faces,) = detector.detect_batch([image], boxes)
    (reported,) = detector.detect_batch([image], boxes, filter_boxes=True)
    return {
        "the most confident": most_confident(faces, detector.min_confidence),
        "the smallest expected error": filter_faces(faces, detector.min_confidence),
        "the smallest expected error, chosen after each pass": reported,
    }


def nearest(faces: list[Face], keypoints: np.ndarray) -> np.ndarray | None:
    """Keypoints (68, 2) of the face on the labelled one, None where there is none."""
    points = min((face.keypoints for face in faces), key=lambda p: face_distance(p, keypoints), default=None)
    return None if points is None or face_distance(points, keypoints) > 0.5 else points


def measure(detector: KeypointDetector, dataset: FacialKeypointsDataset, step: int, seed: int = 0) -> dict:
    """For each rule {'moves', 'errors', 'missed'} over every `step`-th image of a data set.

    moves: of each copy, in inter-ocular distances. errors: of each answer against the labels.
    missed: copies without an answer on them or on their unchanged image.
    """
    rng, rules = np.random.default_rng(seed), {}
    for index in range(0, len(dataset), step):
        image, true = dataset.image(index), dataset.keypoints[index]
        scale = float(interocular_distance(true))
        before = {rule: nearest(faces, true) for rule, faces in answers(detector, image).items()}
        for _ in range(COPIES):
            shift = rng.integers(-MAX_SHIFT, MAX_SHIFT + 1, 2)
            copy = shifted_copy(image, tuple(shift), int(rng.integers(QUALITIES[0], QUALITIES[1] + 1)))
            for rule, faces in answers(detector, copy).items():
                row = rules.setdefault(rule, {"moves": [], "errors": [], "missed": 0})
                points = nearest(faces, true + shift)
                if points is None or before[rule] is None:
                    row["missed"] += 1
                    continue
                row["moves"].append(_mean_distance(points - shift, before[rule], scale))
                row["errors"].append(_mean_distance(points - shift, true, scale))
    return rules


def _mean_distance(keypoints: np.ndarray, other: np.ndarray, scale: float) -> float:
    return round(float(np.linalg.norm(keypoints - other, axis=1).mean()) / scale, 5)


def stability_table(record: dict | None = None) -> str:
    """Markdown table of a record, by default the stored one: shares of moved answers by images and rule.

    Copies without an answer are counted as missed and not among the moves.
    """
    record = record or json.loads(RECORD.read_text(encoding="utf-8"))
    columns = ["images", "reported answer", "copies", "missed"]
    columns += [f"moved by more than {100 * limit:.0f} %, %" for limit in LIMITS]
    columns += ["largest move, %", "NME, %"]
    rows = []
    for name, measured in record["sets"].items():
        for rule, row in measured.items():
            moves = np.array(row["moves"])
            shares = [f"{100 * (moves > limit).mean():.2f}" for limit in LIMITS]
            copies = len(moves) + row["missed"]
            error = f"{100 * np.mean(row['errors']):.2f}"
            rows.append(
                [name, rule, str(copies), str(row["missed"]), *shares, f"{100 * moves.max():.1f}", error]
            )
    return markdown_table(columns, rows)


def measure_all(data, photos: FacialKeypointsDataset) -> None:
    """Write the record. data: from `find_data`. photos: photos with hand-made points."""
    detector = KeypointDetector.from_pretrained(CHECKPOINT, runtime="torch")
    sets = {
        "identity": measure(detector, load_split(data.folder, "identity", "test"), STEPS["identity"]),
        "photos": measure(detector, photos, STEPS["photos"]),
    }
    about = provenance(
        "python -m benchmarks.finding.page --measure",
        checkpoint=find_checkpoint(CHECKPOINT),
        data=data_checksum(data.folder),
        files=[find_checkpoint(HELD_OUT_FINDER) / WEIGHTS_FILE],
    )
    record = {"checkpoint": CHECKPOINT, "max_shift": MAX_SHIFT, "qualities": QUALITIES, "sets": sets}
    # thousands of numbers, so not one per line
    write_if_changed(RECORD, json.dumps({**record, "provenance": about}) + "\n")
