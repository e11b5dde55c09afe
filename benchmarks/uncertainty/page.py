"""Do confidence and radius keep their word on people nobody trained on?

    python -m benchmarks.uncertainty.page [CHECKPOINT]

The whole chain on the labelled images of the 69 people of `identity`, and on what is no face: boxes beside
those faces, false positives of a lax cascade, and photos without people that the head was not
fitted on. Writes benchmarks/uncertainty/README.md and benchmarks/uncertainty/uncertainty.png; needs the data.
"""

import sys
from pathlib import Path

import numpy as np

import plots
from benchmarks.peers.report import replace_file
from checkpoint import load_checkpoint
from data_fetch import find_data
from data_load import load_split, shift_keypoints
from detector import DEFAULT_CHECKPOINT
from detector.predictor import MIN_CONFIDENCE, box_matrix, predict
from geometry import interocular_distance
from landmarks import REGIONS
from training.evaluation import first_matrices
from training.uncertainty import COVERAGE, TEST_SCENES, no_face_boxes, still_off

PAGE = Path(__file__).with_name("README.md")


def measure(name: str, folder):
    """Errors and radii (N, 68) px, confidence (N,), NME (N,) of faces; confidence (M,) of no faces."""
    model, config = load_checkpoint(name)
    dataset = load_split(folder, "identity", "test")
    images = [dataset.image(index) for index in range(len(dataset))]
    seen = predict(model, config, images, first_matrices(dataset, "whole", config))
    answers = shift_keypoints(seen.keypoints, config.label_offset)
    errors = np.linalg.norm(answers - dataset.keypoints, axis=2)
    nme = errors.mean(axis=1) / interocular_distance(dataset.keypoints)
    images, boxes, faces = no_face_boxes(dataset, TEST_SCENES)
    others = predict(model, config, images, [box_matrix(box, config) for box in boxes])
    return errors, seen.radius, seen.confidence, nme, others.confidence[still_off(others.keypoints, faces)]


def by_radius(errors, radius, bins: int = 10) -> np.ndarray:
    """Rows (bins, 3): mean radius, the observed COVERAGE quantile of the error, observed coverage."""
    order = np.argsort(radius, axis=None)
    rows = []
    for part in np.array_split(order, bins):
        error, claimed = errors.flat[part], radius.flat[part]
        rows.append((claimed.mean(), np.quantile(error, COVERAGE), (error <= claimed).mean()))
    return np.array(rows)


def draw(rows, confidence, nme, others, path: Path) -> None:
    """Three panels: radius against error, confidence of faces and others, NME against confidence."""
    figure, axes = plots.new_figure(1, 3, width=4.2, height=3.4)
    axes[0].plot(rows[:, 0], rows[:, 1], "o-")
    top = rows[:, :2].max() * 1.05
    axes[0].plot([0, top], [0, top], color="gray", linewidth=1)
    axes[0].set(xlabel="radius claimed (px)", ylabel=f"{COVERAGE:.0%} of the errors are below (px)")
    edges = np.linspace(0, 1, 21)
    for values, label in ((confidence, "faces"), (others, "no faces")):
        weights = np.full(len(values), 1 / len(values))
        axes[1].hist(values, edges, weights=weights, alpha=0.6, label=label)
    axes[1].set(xlabel="confidence", ylabel="share", yscale="log")
    axes[1].legend()
    axes[2].scatter(confidence, 100 * nme, s=6, alpha=0.5)
    axes[2].set(xlabel="confidence of a face", ylabel="NME (%)")
    figure.savefig(path, dpi=100)


def confidence_rows(confidence, nme) -> str:
    """NME of faces in bins of confidence."""
    lines = []
    for low, high in ((0.0, 0.5), (0.5, 0.9), (0.9, 0.99), (0.99, 1.0)):
        inside = (confidence >= low) & ((confidence < high) | (high == 1.0))
        value = f"{100 * nme[inside].mean():.2f}" if inside.any() else "-"
        lines.append(f"| {low:g} to {high:g} | {inside.sum()} | {value} |")
    return "\n".join(lines)


def report(name: str, errors, radius, confidence, nme, others) -> str:
    """The page as markdown."""
    rows = by_radius(errors, radius)
    table = "\n".join(f"| {a:.1f} | {b:.1f} | {100 * c:.1f} |" for a, b, c in rows)
    regions = "\n".join(
        f"| {region} | {radius[:, list(points)].mean():.1f} | "
        f"{100 * (errors[:, list(points)] <= radius[:, list(points)]).mean():.1f} |"
        for region, points in REGIONS.items()
    )
    kept, passed = (confidence >= MIN_CONFIDENCE).mean(), (others >= MIN_CONFIDENCE).mean()
    return f"""# Confidence and radius, claimed and observed

`{name}` on {len(nme)} labelled images of people nobody trained on, by `python -m benchmarks.uncertainty.page`. Scale and
threshold were set on the people of `validation`, with a twin that does not know them, never on these.

![]({PAGE.stem}.png)

**Radius** claims to hold the label of a point in {COVERAGE:.0%} of cases. Observed:
**{100 * (errors <= radius).mean():.1f} %**.

| radius claimed, px (tenths of all points) | {COVERAGE:.0%} of the errors below, px | held, % |
|---|---|---|
{table}

| region | mean radius, px | held, % |
|---|---|---|
{regions}

**Confidence**, at the threshold of {MIN_CONFIDENCE:g}: {100 * kept:.1f} % of the faces stay, and
{100 * passed:.1f} % of {len(others)} places that are no face (some of which may be faces without a label).

| confidence | faces | NME, % |
|---|---|---|
{confidence_rows(confidence, nme)}
"""


def main() -> None:
    """Measure, draw and write."""
    name = sys.argv[1] if len(sys.argv) > 1 else f"{DEFAULT_CHECKPOINT}-identity"
    values = measure(name, find_data().folder)
    draw(by_radius(*values[:2]), *values[2:], PAGE.with_suffix(".png"))
    replace_file(PAGE, report(name, *values).encode())


if __name__ == "__main__":
    main()
