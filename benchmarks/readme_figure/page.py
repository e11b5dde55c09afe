"""The picture at the top of the README, drawn from the two sample photos:

python -m benchmarks.readme_figure.page              # draws it from the record
python -m benchmarks.readme_figure.page --measure    # detects the keypoints first
"""

import json
from pathlib import Path

import numpy as np

import plots
from benchmarks import pages
from checkpoint import FINDER, RUNTIMES, find_checkpoint
from data_load import sample_photos
from detector import DEFAULT_CHECKPOINT, KeypointDetector
from files import write_json
from filters import apply_filter
from geometry import crop_matrix, transform_points, warp
from training.records import is_current, provenance

HERE = Path(__file__).parent
RECORD = HERE / "records" / "readme_figure.json"
SIZE = 420  # pixels of a panel before it is drawn
RUNTIME = "onnx"
CROPS = {"astronaut": ((228, 130), 270), "hopper": ((262, 205), 400)}  # centre (x, y) and side, pixels


def measure(_data=None) -> None:
    """Write the record: the keypoints (68, 2) of each photo, rounded to hundredths of a pixel."""
    if is_current(RECORD):
        return
    detector = KeypointDetector.from_pretrained(DEFAULT_CHECKPOINT, runtime=RUNTIME)
    keypoints = {
        name: np.round(detector(photo)[0].keypoints.astype(float), 2).tolist()
        for name, photo in sample_photos().items()
    }
    places = find_checkpoint(DEFAULT_CHECKPOINT), find_checkpoint(FINDER)
    files = [place / RUNTIMES[RUNTIME] for place in places]
    about = provenance(
        "python -m benchmarks.readme_figure.page --measure", checkpoint=places[0], files=files
    )
    write_json(RECORD, {"checkpoint": DEFAULT_CHECKPOINT, "keypoints": keypoints, "provenance": about})


def draw(keypoints: dict[str, np.ndarray]):
    """The figure: each photo with its keypoints, and with sunglasses."""
    figure, axes = plots.new_figure(1, 4, width=3, height=3)
    for number, (name, photo) in enumerate(sample_photos().items()):
        matrix = crop_matrix(*CROPS[name], SIZE)
        filtered = apply_filter(photo, keypoints[name])
        before, after = (warp(image, matrix, (SIZE, SIZE)) for image in (photo, filtered))
        points = transform_points(keypoints[name], matrix)
        plots.draw_face(axes[2 * number], before, predicted=points, origin="sample photo", size=12)
        plots.draw_image(axes[2 * number + 1], after, origin="sample photo")
    return figure


def write_page() -> None:
    """Write readme_figure.png from the record."""
    stored = json.loads(RECORD.read_text(encoding="utf-8"))["keypoints"]
    keypoints = {name: np.array(points, dtype=np.float32) for name, points in stored.items()}
    plots.write_figure(draw(keypoints), HERE / "readme_figure.png", dpi=80)


if __name__ == "__main__":
    pages.run_page(__doc__, write_page, measure)
