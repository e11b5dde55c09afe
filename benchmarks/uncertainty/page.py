"""Confidence and radius, checked on held-out people:

    python -m benchmarks.uncertainty.page              # writes README.md and the figure from the record
    python -m benchmarks.uncertainty.page --measure    # measures first; needs the data, a few minutes

Faces: the labelled images of the 69 people of `identity`. No faces: boxes beside those faces, false
positives of permissive cascades, and places in photos without people. The heads for confidence and
radius were fitted on none of these.
"""

import json
from pathlib import Path

import numpy as np

import plots
from benchmarks import pages
from checkpoint import find_checkpoint, load_checkpoint
from data_fetch import data_checksum
from data_load import load_split, to_labels
from detector import DEFAULT_CHECKPOINT
from detector.predictor import MIN_CONFIDENCE, box_matrix, predict
from files import write_json
from geometry import interocular_distance
from landmarks import REGIONS
from training.evaluation import first_matrices
from training.metrics import point_errors
from training.records import is_current, provenance, save_arrays
from training.uncertainty import COVERAGE, TEST_SCENES, no_face_boxes, still_off

HERE = Path(__file__).parent
RECORD = HERE / "records" / "uncertainty.json"
CHECKPOINT = f"{DEFAULT_CHECKPOINT}-identity"
CONFIDENCE_BINS = ((0.0, 0.5), (0.5, 0.9), (0.9, 0.99), (0.99, 1.0))
BINS_OF_RADIUS = 10


def measure(data) -> None:
    """Write the record.

    Errors and radii (N, 68) in pixels, confidence and NME (N,) of the faces, confidence (M,) of no faces.
    """
    if is_current(RECORD):
        return
    model, config = load_checkpoint(CHECKPOINT)
    dataset = load_split(data.folder, "identity", "test")
    images = [dataset.image(index) for index in range(len(dataset))]
    found = predict(model, config, images, first_matrices(dataset, "whole", config))
    errors = point_errors(to_labels(found.keypoints, config), dataset.keypoints)
    images, boxes, faces = no_face_boxes(dataset, TEST_SCENES, config.trained_on)
    others = predict(model, config, images, [box_matrix(box, config) for box in boxes])
    save_arrays(
        RECORD.with_suffix(".npz"),
        errors=_to_thousandths(errors),
        radius=_to_thousandths(found.radius),
        confidence=found.confidence,
        nme=errors.mean(axis=1) / interocular_distance(dataset.keypoints),
        person=np.unique(dataset.identities, return_inverse=True)[1].astype(np.int32),
        no_face_confidence=others.confidence[still_off(others.keypoints, faces)],
    )
    about = provenance(
        "python -m benchmarks.uncertainty.page --measure",
        checkpoint=find_checkpoint(CHECKPOINT),
        data=data_checksum(data.folder),
    )
    write_json(RECORD, {"checkpoint": CHECKPOINT, "provenance": about})


def _to_thousandths(pixels: np.ndarray) -> np.ndarray:
    return np.rint(pixels * 1000).astype(np.int32)


# --- page -----------------------------------------------------------------------------------------


def by_radius(errors: np.ndarray, radius: np.ndarray, bins: int = BINS_OF_RADIUS) -> np.ndarray:
    """Points in bins of equal count, by radius: mean radius, COVERAGE quantile of the error, share held.

    errors, radius: (N, 68), pixels. A point is held if its error is at most its radius. Returns (bins, 3).
    """
    order = np.argsort(radius, axis=None, kind="stable")
    rows = []
    for part in np.array_split(order, bins):
        error, claimed = errors.flat[part], radius.flat[part]
        rows.append((claimed.mean(), np.quantile(error, COVERAGE), (error <= claimed).mean()))
    return np.array(rows)


def held_across_halves(errors: np.ndarray, radius: np.ndarray, person: np.ndarray) -> tuple[float, float]:
    """Shares of points held on one half of the people with a factor of the radius from the other half.

    errors, radius: (N, 68), pixels. person: (N,) number of each face's person; even and odd are the halves.
    """
    shares = []
    for test in (person % 2 == 0, person % 2 == 1):
        factor = np.quantile(errors[~test] / radius[~test], COVERAGE)
        shares.append(float((errors[test] <= factor * radius[test]).mean()))
    return shares[0], shares[1]


def draw(rows: np.ndarray, confidence: np.ndarray, nme: np.ndarray, others: np.ndarray):
    """The figure: error against radius, confidence of faces and of no faces, NME against confidence."""
    figure, axes = plots.new_figure(1, 3, width=4.2, height=3.4)
    first, second, *_ = plots.SERIES_COLOURS
    axes[0].plot(rows[:, 0], rows[:, 1], "o-", color=first)
    top = rows[:, :2].max() * 1.05
    axes[0].plot([0, top], [0, top], color=plots.GUIDE_COLOUR, linewidth=1)
    axes[0].set(xlabel="radius, px", ylabel=f"{COVERAGE:.0%} of the errors are below, px")
    edges = np.linspace(0, 1, 21)
    for values, label, colour in ((confidence, "faces", first), (others, "no faces", second)):
        weights = np.full(len(values), 1 / len(values))
        axes[1].hist(values, edges, weights=weights, alpha=0.6, label=label, color=colour)
    axes[1].set(xlabel="confidence", ylabel="share", yscale="log")
    axes[1].legend()
    axes[2].scatter(confidence, 100 * nme, s=6, alpha=0.5, color=first)
    axes[2].set(xlabel="confidence of a face", ylabel="NME, %")
    return figure


def radius_table(rows: np.ndarray) -> str:
    """Markdown: the rows of `by_radius`."""
    head = ["mean radius, px (a tenth of all points per row)", f"{COVERAGE:.0%} of the errors are below, px"]
    cells = [[f"{mean:.1f}", f"{error:.1f}", f"{100 * held:.1f}"] for mean, error, held in rows]
    return pages.markdown_table([*head, "held, %"], cells)


def region_table(errors: np.ndarray, radius: np.ndarray) -> str:
    """Markdown: mean radius and share of points held, by region of the face."""
    cells = []
    for region, points in REGIONS.items():
        error, claimed = errors[:, list(points)], radius[:, list(points)]
        cells.append([region, f"{claimed.mean():.1f}", f"{100 * (error <= claimed).mean():.1f}"])
    return pages.markdown_table(["region", "mean radius, px", "held, %"], cells)


def confidence_table(confidence: np.ndarray, nme: np.ndarray) -> str:
    """Markdown: number and NME of faces in bins of confidence."""
    cells = []
    for low, high in CONFIDENCE_BINS:
        inside = (confidence >= low) & ((confidence < high) | (high == 1.0))
        value = f"{100 * nme[inside].mean():.2f}" if inside.any() else "-"
        cells.append([f"{low:g} to {high:g}", str(inside.sum()), value])
    return pages.markdown_table(["confidence", "faces", "NME, %"], cells)


TEXT = """# Confidence and radius on held-out people

`{checkpoint}` on {count} labelled images of held-out people, by
`python -m benchmarks.uncertainty.page`. The network has three factors that scale confidence and radius. They
were fitted on these people, because a network makes smaller errors on people whom it was trained on. Which
checks nothing was fitted for is said below.

![Error against radius, confidence of faces and of no faces, NME against confidence](uncertainty.png)

## Radius

The radius of a point is meant to hold its label in {coverage:.0%} of cases. Over all people it holds
{held:.1f} %. (The fit moves the labels to where the network puts its points, and has 90 % by construction.
Here the points are moved to the labels.) With a factor fitted on one half of the people, it holds
**{half:.1f} %** of the points of the other half, and {other_half:.1f} % the other way round. On [photos of
another origin](../photos/README.md) it was not fitted at all.

{radius}

{regions}

## Confidence

At the threshold of {threshold:g}, {kept:.1f} % of the faces are kept, and {passed:.1f} % of {others}
places that are no labelled face. Some of these places may show a face that has no label.

{confidence}
"""


def write_page() -> None:
    """Write README.md and uncertainty.png from the record."""
    checkpoint = json.loads(RECORD.read_text(encoding="utf-8"))["checkpoint"]
    with np.load(RECORD.with_suffix(".npz"), allow_pickle=False) as stored:
        errors, radius, person = stored["errors"] / 1000, stored["radius"] / 1000, stored["person"]
        confidence, nme, others = stored["confidence"], stored["nme"], stored["no_face_confidence"]
    rows = by_radius(errors, radius)
    half, other_half = (100 * share for share in held_across_halves(errors, radius, person))
    text = TEXT.format(
        checkpoint=checkpoint, count=len(nme), threshold=MIN_CONFIDENCE, coverage=COVERAGE,
        held=100 * (errors <= radius).mean(), kept=100 * (confidence >= MIN_CONFIDENCE).mean(),
        passed=100 * (others >= MIN_CONFIDENCE).mean(), others=len(others),
        half=half, other_half=other_half, radius=radius_table(rows), regions=region_table(errors, radius),
        confidence=confidence_table(confidence, nme),
    )  # fmt: skip
    pages.write_if_changed(HERE / "README.md", text)
    plots.write_figure(draw(rows, confidence, nme, others), HERE / "uncertainty.png", dpi=100)


if __name__ == "__main__":
    pages.run_page(__doc__, write_page, measure)
