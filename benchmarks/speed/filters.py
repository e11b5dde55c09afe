"""Time that each filter takes on one face:

    python -m benchmarks.speed.filters      # measures, on one CPU, in a minute

The face is a sample photo, enlarged so that the larger side of the box around its keypoints is SIDE pixels.
What counts is the processor time of painting one face into the image in place. Effects that an expression
starts are timed as if it had started. Other work on the machine makes all times longer; the record has the
load average of the minute before the end.
"""

import json
import os
import time
from pathlib import Path

import numpy as np

from benchmarks.filter_gallery.page import as_face, effect_of
from benchmarks.readme_figure.page import RECORD as POINTS
from data_load import sample_photos
from detector.predictor import Face
from files import cv2, write_json
from filters import Donor, Filter, create_filter, filter_names
from geometry import face_size, resize_matrix, transform_points
from training.records import provenance

RECORD = Path(__file__).parent / "records" / "filters.json"
SIDE, ROUNDS, WARM = 300, 60, 3


def scene() -> tuple[np.ndarray, Face, Donor]:
    """The enlarged photo, its face of SIDE pixels, and the face of the other photo to swap with."""
    stored, photos = json.loads(POINTS.read_text(encoding="utf-8"))["keypoints"], sample_photos()
    photo, points = photos["hopper"], np.array(stored["hopper"])
    scale = SIDE / face_size(points)
    size_wh = [round(side * scale) for side in photo.shape[1::-1]]
    image = cv2.resize(photo, size_wh, interpolation=cv2.INTER_CUBIC)
    points = transform_points(points, resize_matrix(photo.shape[:2], image.shape[:2]))
    return image, as_face(points), Donor.of(photos["astronaut"], as_face(stored["astronaut"]))


def to_time(name: str, donor: Donor) -> Filter:
    """The filter by name; face_swap with a donor, as in a video."""
    return create_filter(name, donor=donor) if name == "face_swap" else effect_of(name)


def measure() -> None:
    """Time all filters in turns, so that other work on the machine slows all alike, and write RECORD."""
    free, threads = os.sched_getaffinity(0), cv2.getNumThreads()
    os.sched_setaffinity(0, {max(free)})
    cv2.setNumThreads(1)
    try:
        image, face, donor = scene()
        filters = {name: to_time(name, donor) for name in filter_names()}
        times = {name: [] for name in filters}
        for _ in range(ROUNDS + WARM):
            for name, filter_ in filters.items():
                painted = image.copy()
                start = time.process_time()
                filter_.paint_all(painted, [(face, 0)], None)
                times[name].append(1000 * (time.process_time() - start))
    finally:
        os.sched_setaffinity(0, free)
        cv2.setNumThreads(threads)
    load = os.getloadavg()[0]
    cpu_ms = {name: float(np.median(values[WARM:])) for name, values in times.items()}
    about = provenance("python -m benchmarks.speed.filters")
    write_json(
        RECORD, {"side": SIDE, "calls": ROUNDS, "load": round(load, 1), "cpu_ms": cpu_ms, "provenance": about}
    )


if __name__ == "__main__":
    measure()
