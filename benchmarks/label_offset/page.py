"""The shift of the data set's labels to the right, measured with flipped images:

    python -m benchmarks.label_offset.page              # writes README.md from the record
    python -m benchmarks.label_offset.page --measure    # measures first; needs the data, a few minutes

The network runs on an image and on its horizontal flip; the second prediction is flipped back, and the
two are averaged. An error to one side that the network makes on both cancels in this average. The
distance from the average to the labels that remains is an error of the labels. Measured on
training images of the people that `validation` trains on.
"""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks import pages
from checkpoint import find_checkpoint, load_checkpoint
from data_fetch import data_checksum
from data_load import LABEL_OFFSET, load_split
from detector import DEFAULT_CHECKPOINT
from files import write_json
from geometry import interocular_distance
from landmarks import OUTER_EYE_CORNERS, REGIONS
from training.evaluation import CheckpointPredictor, first_matrices
from training.records import is_current, provenance, save_arrays

HERE = Path(__file__).parent
RECORD = HERE / "records" / "label_offset.json"
CHECKPOINT = f"{DEFAULT_CHECKPOINT}-identity"
MIN_TURN = 0.15  # of the inter-ocular distance, from the middle of the eyes to the nose


def measure(data) -> None:
    """Write the record: per image the mean offset of all points and each region, size and turn of the face.

    Offsets (N, 2) are labels minus averaged predictions, divided by the inter-ocular distance.
    """
    if is_current(RECORD):
        return
    model, config = load_checkpoint(CHECKPOINT)
    config = replace(config, flip_tta=True, label_offset=(0.0, 0.0))
    dataset = load_split(data.folder, "validation", "train")
    images = [dataset.image(index) for index in range(len(dataset))]
    found = CheckpointPredictor(model, config).predict(images, first_matrices(dataset, "whole", config))
    labels = dataset.keypoints
    size = interocular_distance(labels)
    offsets = (labels - found) / size[:, None, None]
    right, left = OUTER_EYE_CORNERS
    nose = labels[:, list(REGIONS["nose"])].mean(axis=1)[:, 0]
    regions = {name: offsets[:, list(points)].mean(axis=1) for name, points in REGIONS.items()}
    save_arrays(
        RECORD.with_suffix(".npz"),
        size=size,
        turn=(nose - (labels[:, right, 0] + labels[:, left, 0]) / 2) / size,
        all=offsets.mean(axis=1),
        **regions,
    )
    about = provenance(
        "python -m benchmarks.label_offset.page --measure",
        checkpoint=find_checkpoint(CHECKPOINT),
        data=data_checksum(data.folder),
    )
    write_json(RECORD, {"checkpoint": CHECKPOINT, "provenance": about})


# --- page -----------------------------------------------------------------------------------------


def groups(size: np.ndarray, turn: np.ndarray) -> dict[str, np.ndarray]:
    """row -> (N,) bool, the images that belong to it: by size of the face and by its turn."""
    edges = np.quantile(size, [0, 0.25, 0.5, 0.75, 1])
    rows = {
        f"eyes {low:.0f} to {high:.0f} px apart": (size >= low) & (size <= high)
        for low, high in pairwise(edges)
    }
    rows["turned to the left of the image"] = turn < -MIN_TURN
    rows["facing the camera"] = abs(turn) <= MIN_TURN
    rows["turned to the right of the image"] = turn > MIN_TURN
    return rows


def cells(title: str, offsets: np.ndarray) -> list[str]:
    """One row of the table; offsets: (N, 2)."""
    x, y = np.median(offsets, axis=0)  # a few labels are wrong, which would move the mean
    error = offsets[:, 0].std() / np.sqrt(len(offsets))
    return [title, str(len(offsets)), f"{100 * x:+.2f} ± {100 * error:.2f}", f"{100 * y:+.2f}"]


TEXT = """# The labels lie too far to the right

Labels minus predictions, as the median over images in percent of the inter-ocular distance; positive
is to the right and down. ± is the standard error of the mean. `{checkpoint}`, which was trained with
flipped images, runs on each image and on its flip, and both predictions are averaged. Images: the
people that `validation` trains on. By `python -m benchmarks.label_offset.page`.

{table}

An error of the network to one side cancels in the average, so the x column shows an error of the
labels. It has the same sign for every size, turn and region of the face, and lies between {low:.2f} and
{high:.2f} %. `data_load.LABEL_OFFSET` is {offset:.2f} %; it was first measured with a public face mesh in
place of this network. Recipes whose labels are not `raw` train without it.

`{checkpoint}` was trained on labels that were moved to where people put the points. So the y column shows how
far below that the labels lie: they are too low everywhere but on the brows, and on the nose most. Before
predictions are compared with labels, `evaluate.py` moves them by a map that holds both
(`data_load.to_labels`). `KeypointDetector` does not. Where its points lie on the photos of others:
[photos](../photos/README.md).
"""


def write_page() -> None:
    """Write README.md from the record."""
    checkpoint = json.loads(RECORD.read_text(encoding="utf-8"))["checkpoint"]
    with np.load(RECORD.with_suffix(".npz"), allow_pickle=False) as stored:
        arrays = dict(stored)
    rows = [cells("all", arrays["all"])]
    members = groups(arrays["size"], arrays["turn"])
    rows += [cells(title, arrays["all"][inside]) for title, inside in members.items()]
    rows += [cells(region, arrays[region]) for region in REGIONS]
    table = pages.markdown_table(["images", "n", "x", "y"], rows)
    offsets = [float(row[2].partition(" ")[0]) for row in rows]
    text = TEXT.format(
        checkpoint=checkpoint, table=table, offset=100 * LABEL_OFFSET[0], low=min(offsets), high=max(offsets)
    )
    pages.write_if_changed(HERE / "README.md", text)


if __name__ == "__main__":
    pages.run_page(__doc__, write_page, measure)
