"""Do the labels lie on what they mark? A mirror tells, left and right at least:

    python -m benchmarks.label_offset.page [CHECKPOINT]

The answer of a network to an image and, mirrored back, its answer to the mirrored image are
averaged. Whatever the network believes about left and right cancels; what remains
between this average and the labels is in the labels. Measured on training images of the people that
`validation` trains on. Writes benchmarks/label_offset/README.md; needs the data.
"""

import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.peers.report import replace_file
from checkpoint import load_checkpoint
from data_fetch import find_data
from data_load import LABEL_OFFSET, load_split
from detector import DEFAULT_CHECKPOINT
from geometry import interocular_distance
from landmarks import OUTER_EYE_CORNERS, REGIONS
from training.evaluation import CheckpointPredictor, first_matrices


def offsets(name: str, folder) -> tuple[np.ndarray, np.ndarray]:
    """Labels minus mirror-averaged answers (N, 68, 2), over the inter-ocular distance; labels (N, 68, 2)."""
    model, config = load_checkpoint(name)
    config = replace(config, flip_tta=True, label_offset=(0.0, 0.0))
    dataset = load_split(folder, "validation", "train")
    images = [dataset.image(index) for index in range(len(dataset))]
    found = CheckpointPredictor(model, config).predict(images, first_matrices(dataset, "whole", config))
    labels = dataset.keypoints
    return (labels - found) / interocular_distance(labels)[:, None, None], labels


def groups(labels: np.ndarray) -> dict[str, np.ndarray]:
    """Which images belong to a row: by size of the face, and by which way it is turned."""
    size = interocular_distance(labels)
    right, left = OUTER_EYE_CORNERS
    nose = labels[:, list(REGIONS["nose"])].mean(axis=1)[:, 0]
    turn = (nose - (labels[:, right, 0] + labels[:, left, 0]) / 2) / size
    edges = np.quantile(size, [0, 0.25, 0.5, 0.75, 1])
    rows = {
        f"eyes {low:.0f} to {high:.0f} px apart": (size >= low) & (size <= high)
        for low, high in pairwise(edges)
    }
    rows["turned to the left of the image"] = turn < -0.15
    rows["facing the camera"] = abs(turn) <= 0.15
    rows["turned to the right of the image"] = turn > 0.15
    return rows


def report(name: str, folder) -> str:
    """The page as markdown."""
    values, labels = offsets(name, folder)
    each = values.mean(axis=1)

    def row(title: str, picked: np.ndarray) -> str:
        # the median over images is not moved by the few wrong labels
        x, y = np.median(picked, axis=0)
        error = picked[:, 0].std() / np.sqrt(len(picked))
        return f"| {title} | {len(picked)} | {100 * x:+.2f} ± {100 * error:.2f} | {100 * y:+.2f} |"

    lines = [row("all", each)]
    lines += [row(title, each[inside]) for title, inside in groups(labels).items()]
    lines += [row(region, values[:, list(points)].mean(axis=1)) for region, points in REGIONS.items()]
    table = "\n".join(lines)
    return f"""# Labels minus answers that know no left and right

Median over images, in percent of the inter-ocular distance, positive to the right and down; ± is the
standard error of the mean. `{name}` (trained with mirrored images), `validation`'s training people, by
`python -m benchmarks.label_offset.page`.

| images | n | x | y |
|---|---|---|---|
{table}

The labels lie to the right of what they mark, by about the same share of every face, wherever it looks and
whichever part of it: it is a shift of the labels, not a habit of faces. `data_load.LABEL_OFFSET` is
{100 * LABEL_OFFSET[0]:.2f} % (first measured with a public face mesh in place of our network). It is
taken out before training, and `evaluate.py` adds it to answers before it compares them with labels;
`KeypointDetector` never does, so on a photo the points lie where they belong. The y column says nothing
about the labels: a network
trained on labels that are all too high answers too high.
"""


def main() -> None:
    """Measure and write the page."""
    name = sys.argv[1] if len(sys.argv) > 1 else f"{DEFAULT_CHECKPOINT}-identity"
    page = Path(__file__).with_name("README.md")
    replace_file(page, report(name, find_data().folder).encode())


if __name__ == "__main__":
    main()
