"""Errors of the keypoints when the box is wrong, or when the face is partly outside the image:

    python -m benchmarks.box_error.page              # writes README.md and the figure from the record
    python -m benchmarks.box_error.page --measure    # measures first; needs the data, ten minutes on one core

Labelled test images of `identity`, the same fixed choice as in benchmarks/robustness. The right box is the
one that the Haar cascade gives on average for such labels (fitted on training images). It is
scaled and shifted, and images are cut off, with one, two and three passes of the network.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

import plots
from benchmarks import pages
from benchmarks.peers.fit import BoxFit, fit_box
from benchmarks.robustness.page import SEED, load_faces
from checkpoint import find_checkpoint, load_checkpoint
from data_fetch import data_checksum
from data_load import load_split, to_labels
from detector import DEFAULT_CHECKPOINT, HaarFaceDetector
from detector.predictor import MIN_CONFIDENCE, box_matrix, predict
from files import write_json
from geometry import (
    box_centre,
    box_from_keypoints,
    box_iou,
    box_side,
    image_box,
    interocular_distance,
    on_image,
    scale_box,
)
from training.metrics import failure_rate, point_errors
from training.records import is_current, provenance, save_arrays

HERE = Path(__file__).parent
RECORD = HERE / "records" / "box_error.json"
CHECKPOINT = f"{DEFAULT_CHECKPOINT}-identity"
FITTED_ON, MIN_IOU = 250, 0.3
PASSES = (1, 2, 3)
SCALES = (0.5, 0.6, 0.7, 0.85, 1.0, 1.15, 1.3, 1.5, 1.75, 2.0)
SHIFTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
CUTS = (0.1, 0.2, 0.3, 0.4, 0.5)
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


# --- boxes and cuts ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One face to measure.

    image: HxWx3. box_xyxy: in it. visible: (68,) bool, the label points that lie on the image.
    offset_xy: pixel of the original image at which this one begins.
    """

    image: np.ndarray
    box_xyxy: np.ndarray
    visible: np.ndarray
    offset_xy: tuple[int, int] = (0, 0)


def haar_boxes(dataset, indices) -> np.ndarray:
    """The largest box (N, 4) of the frontal cascade in each image, NaN where there is none."""
    cascade = HaarFaceDetector()
    found = [cascade(dataset.image(index)) for index in indices]
    return np.array([boxes[0] if len(boxes) else np.full(4, np.nan) for boxes in found])


def fit_right_box(data_folder) -> tuple[BoxFit, dict[str, float]]:
    """The map from labels to the box that the cascade gives on average, and the scatter of its boxes.

    The scatter holds standard deviations: `size` of the logarithm of the side, `sideways` and `up_down`
    of the centre, in sides of the box.
    """
    dataset = load_split(data_folder, "identity", "train")
    indices = np.random.default_rng(SEED).permutation(len(dataset))[:FITTED_ON]
    keypoints, boxes = dataset.keypoints[indices], haar_boxes(dataset, indices)
    fit = fit_box(keypoints, boxes)
    rows = []
    for points, box in zip(keypoints, boxes, strict=True):
        if not np.isnan(box).any() and box_iou(box, box_from_keypoints(points)) >= MIN_IOU:
            right = fit.apply(points)
            apart = (box_centre(box) - box_centre(right)) / box_side(right)
            rows.append([np.log(box_side(box) / box_side(right)), *apart])
    return fit, dict(zip(("size", "sideways", "up_down"), np.std(rows, axis=0).tolist(), strict=True))


def move_box(box_xyxy: np.ndarray, direction, share: float) -> np.ndarray:
    """A box shifted by a share of its side."""
    return box_xyxy + np.tile(direction, 2) * share * box_side(box_xyxy)


def cut_image(image: np.ndarray, keypoints: np.ndarray, direction, share: float) -> tuple[np.ndarray, tuple]:
    """An image without `share` of the label box on one side, and the pixel (x, y) at which it begins."""
    left, top, right, bottom = box_from_keypoints(keypoints)
    width, height = right - left, bottom - top
    x0, y0, x1, y1 = image_box(image).astype(int)
    x0 = round(left + share * width) if direction[0] < 0 else x0
    x1 = round(right - share * width) if direction[0] > 0 else x1
    y0 = round(top + share * height) if direction[1] < 0 else y0
    y1 = round(bottom - share * height) if direction[1] > 0 else y1
    return np.ascontiguousarray(image[y0:y1, x0:x1]), (x0, y0)


def cut_case(image, keypoints, box_xyxy, direction, share: float, *, clip: bool) -> Case:
    """A face that is partly outside the image. clip: end the box at the edge of the image."""
    part, offset = cut_image(image, keypoints, direction, share)
    box = box_xyxy - np.tile(offset, 2)
    if clip:
        edges = image_box(part)
        box = np.concatenate([np.maximum(box[:2], edges[:2]), np.minimum(box[2:], edges[2:])])
    return Case(part, box, on_image(keypoints - offset, part), offset)


def all_cases(images, keypoints, right_boxes) -> dict[str, list[Case]]:
    """Name ('scale/1.3', 'shift/left/0.3', 'cut/left/0.3' ...) -> a case for each face."""
    everything = np.ones(keypoints.shape[1], bool)
    faces = list(zip(images, keypoints, right_boxes, strict=True))
    cases = {
        f"scale/{scale}": [Case(image, scale_box(box, scale), everything) for image, _, box in faces]
        for scale in SCALES
    }
    for name, direction in DIRECTIONS.items():
        for share in SHIFTS[1:]:
            cases[f"shift/{name}/{share}"] = [
                Case(image, move_box(box, direction, share), everything) for image, _, box in faces
            ]
        for share in CUTS:
            for title, clip in (("cut", False), ("clipped", True)):
                cases[f"{title}/{name}/{share}"] = [
                    cut_case(*face, direction, share, clip=clip) for face in faces
                ]
    return cases


# --- measuring -----------------------------------------------------------------------------------


def errors_of(model, config, cases: list[Case], keypoints: np.ndarray, passes: int) -> np.ndarray:
    """NME on the visible points, and confidence, as an array (2, N)."""
    matrices = [box_matrix(case.box_xyxy, config) for case in cases]
    found = predict(model, config, [case.image for case in cases], matrices, passes=passes)
    offsets = np.array([case.offset_xy for case in cases], dtype=np.float32)[:, None]
    points = to_labels(found.keypoints + offsets, config)
    visible = np.stack([case.visible for case in cases])
    distances = np.where(visible, point_errors(points, keypoints), 0)
    nme = distances.sum(axis=1) / visible.sum(axis=1) / interocular_distance(keypoints)
    return np.stack([nme, found.confidence]).astype(np.float32)


def measure(data) -> None:
    """Write the record: for each case and number of passes the NME and confidence (2, N) of the faces."""
    if is_current(RECORD):
        return
    model, config = load_checkpoint(CHECKPOINT)
    fit, scatter = fit_right_box(data.folder)
    names, images, keypoints = load_faces(data.folder)
    cases = all_cases(images, keypoints, [fit.apply(points) for points in keypoints])
    arrays = {
        f"{title}/{passes}": errors_of(model, config, part, keypoints, passes)
        for title, part in tqdm(cases.items(), desc="boxes")
        for passes in PASSES
    }
    save_arrays(RECORD.with_suffix(".npz"), **arrays)
    row = {"checkpoint": CHECKPOINT, "passes": config.passes, "box": fit._asdict(), "scatter": scatter}
    about = provenance(
        "python -m benchmarks.box_error.page --measure",
        checkpoint=find_checkpoint(CHECKPOINT),
        data=data_checksum(data.folder),
        seed=SEED,
    )
    write_json(RECORD, {**row, "seed": SEED, "faces": names, "provenance": about})


# --- page ----------------------------------------------------------------------------------------


def pooled(arrays: dict, kind: str, value: float, passes: int) -> np.ndarray:
    """NME and confidence (2, N x directions) of one kind of error; value 0 is the right box."""
    if kind == "scale" or value == 0:
        return arrays[f"scale/{value or 1.0}/{passes}"]
    return np.concatenate([arrays[f"{kind}/{name}/{value}/{passes}"] for name in DIRECTIONS], axis=1)


def figures(values: np.ndarray) -> str:
    """'NME (FR@10)' in percent of values (2, N)."""
    return f"{100 * values[0].mean():.2f} ({100 * failure_rate(values[0]):.0f})"


def headings(kind: str, values) -> list[str]:
    """The columns of a table; the first is empty."""
    return ["", *(f"{value:g}" if kind == "scale" else f"{100 * value:.0f} %" for value in values)]


def passes_of(count: int) -> str:
    """'1 pass', '2 passes'."""
    return f"{count} pass{'es' if count > 1 else ''}"


def table(arrays: dict, kind: str, values, shown: int) -> str:
    """Markdown: NME (FR@10) for each number of passes, and the share of faces kept with `shown` passes."""
    cells = []
    for passes in PASSES:
        title = f"**{passes_of(passes)}**" if passes == shown else passes_of(passes)
        cells.append([title, *(figures(pooled(arrays, kind, value, passes)) for value in values)])
    kept = [(pooled(arrays, kind, value, shown)[1] >= MIN_CONFIDENCE).mean() for value in values]
    cells.append(["kept, %", *(f"{100 * share:.0f}" for share in kept)])
    return pages.markdown_table(headings(kind, values), cells)


def direction_table(arrays: dict, kind: str, values, passes: int) -> str:
    """Markdown: NME (FR@10) for each direction."""
    cells = [
        [name, *(figures(arrays[f"{kind}/{name}/{value}/{passes}"]) for value in values)]
        for name in DIRECTIONS
    ]
    return pages.markdown_table(headings(kind, values), cells)


PANELS = {
    "scale": ("size of the box, times the right one", SCALES),
    "shift": ("shift of the box, % of its side", SHIFTS),
    "cut": ("cut off the face, %", (0.0, *CUTS)),
}


def draw(arrays: dict):
    """The figure: NME and FR@10 against each kind of error."""
    figure, axes = plots.new_figure(2, 3, width=3.6, height=2.6)
    for column, (kind, (label, values)) in enumerate(PANELS.items()):
        shown = values if kind == "scale" else [100 * value for value in values]
        for colour, passes in zip(plots.SERIES_COLOURS, PASSES, strict=False):
            parts = [pooled(arrays, kind, value, passes)[0] for value in values]
            lines = [part.mean() for part in parts], [failure_rate(part) for part in parts]
            for row, line in enumerate(lines):
                axis = axes[3 * row + column]
                axis.plot(
                    shown, [100 * value for value in line], "o-", ms=3, color=colour, label=passes_of(passes)
                )
        for row, (what, top) in enumerate((("NME, %", 20), ("faces with more than 10 %, %", 100))):
            axis = axes[3 * row + column]
            axis.set_ylim(0, top)
            axis.grid(alpha=0.3)
            axis.tick_params(labelsize=8)
            axis.set_xlabel(label, fontsize=8)
            axis.set_ylabel(what if column == 0 else "", fontsize=8)
            if kind == "scale":
                axis.set_xscale("log")
                ticks = (0.5, 0.7, 1.0, 1.3, 2.0)
                axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks], minor=False)
                axis.minorticks_off()
    axes[0].legend(fontsize=8)
    return figure


TEXT = """# Wrong boxes

`{checkpoint}` on {count} labelled test images of held-out people (`identity`; a fixed random choice,
seed {seed}), by `python -m benchmarks.box_error.page`. NME in percent of the inter-ocular distance,
in brackets FR@10: the share of faces with more than 10 %. In bold the number of passes that the
checkpoint is set to. *Kept*: faces with a confidence of at least {threshold:g}, which the detector
would report.

The right box is the square that the Haar cascade gives on average, fitted on {fitted} training
images. The boxes of the cascade scatter about it: {size:.0f} % in size, {sideways:.0f} % of their
side sideways, {up_down:.0f} % up and down (standard deviations, where it finds the face).

**{headline}**

![NME and FR@10 against size and shift of the box, and against the share cut off](box_error.png)

## Boxes that are too small or too large

Columns: side of the box, divided by the side of the right one.

{scale}

## Shifted boxes

Columns: shift in percent of the side. All four directions together:

{shift}

By direction, with {passes} passes:

{shift_directions}

## Faces partly outside the image

Columns: share of the label box that lies outside the image, at the left, right, top or bottom.
Errors of the points that are still on the image. The box is the right one of the whole face, and
reaches beyond the image:

{cut}

By direction, with {passes} passes; left is the left of the image:

{cut_directions}

The box ends at the edge of the image, as in face detectors that clip their boxes:

{clipped}
"""


def headline(arrays: dict, passes: int) -> str:
    """A sentence: the NME with the right box, and its change with boxes that are wrong by 30 %."""
    right = pooled(arrays, "scale", 1.0, passes)[0].mean()
    costs = [
        round(100 * (pooled(arrays, kind, value, passes)[0].mean() - right), 2) + 0.0  # no -0.00
        for kind, value in (("scale", 1.3), ("scale", 0.7), ("shift", 0.3))
    ]
    return (
        f"With the right box the NME is {100 * right:.2f} %. A box 30 % too large changes it by "
        f"{costs[0]:+.2f}, one 30 % too small by {costs[1]:+.2f}, one shifted by 30 % of its side by "
        f"{costs[2]:+.2f} ({passes} passes)."
    )


def write_page() -> None:
    """Write README.md and box_error.png from the record."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    with np.load(RECORD.with_suffix(".npz"), allow_pickle=False) as stored:
        arrays = dict(stored)
    passes = record["passes"]
    text = TEXT.format(
        checkpoint=record["checkpoint"], count=len(record["faces"]), seed=record["seed"],
        threshold=MIN_CONFIDENCE, fitted=FITTED_ON, passes=passes, headline=headline(arrays, passes),
        scale=table(arrays, "scale", SCALES, passes),
        shift=table(arrays, "shift", SHIFTS, passes),
        shift_directions=direction_table(arrays, "shift", SHIFTS[1:], passes),
        cut=table(arrays, "cut", (0.0, *CUTS), passes),
        cut_directions=direction_table(arrays, "cut", CUTS, passes),
        clipped=table(arrays, "clipped", CUTS, passes),
        **{name: 100 * value for name, value in record["scatter"].items()},
    )  # fmt: skip
    pages.write_if_changed(HERE / "README.md", text)
    plots.write_figure(draw(arrays), HERE / "box_error.png")


if __name__ == "__main__":
    pages.run_page(__doc__, write_page, measure)
