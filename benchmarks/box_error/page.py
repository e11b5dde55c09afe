"""How errors grow when the box is wrong, or the face is half outside the image:

    python -m benchmarks.box_error.page [CHECKPOINT]     # measures, then writes
    python -m benchmarks.box_error.page --page           # the page again, from the record

Labelled test images of `identity`, the same fixed choice as in robustness.py. The right box is the one
that the Haar cascade gives on average for such labels (fitted on training images); it is made larger and
smaller and shifted, and images are cut off. With one, two and three looks. Writes
benchmarks/box_error/README.md, .png and records/box_error.json and .npz; needs the data. About ten minutes on one
core.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

ROOT = Path(__file__).parents[2]
import plots
from benchmarks.peers.fit import BoxFit, fit_box, save_arrays
from benchmarks.peers.report import replace_file
from benchmarks.robustness.page import SEED, load_faces
from checkpoint import load_checkpoint
from data_fetch import find_data
from data_load import load_split, shift_keypoints
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
    scale_box,
)
from training.metrics import failure_rate, point_errors

HERE = Path(__file__).parent
RECORD = HERE / "records" / "box_error"
FITTED_ON, MIN_IOU = 250, 0.3
PASSES = (1, 2, 3)
SCALES = (0.5, 0.6, 0.7, 0.85, 1.0, 1.15, 1.3, 1.5, 1.75, 2.0)
SHIFTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
CUTS = (0.1, 0.2, 0.3, 0.4, 0.5)
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


# --- boxes and cuts ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """An image, the box in it, and which label points (68, 2) are on it; offset_xy: where it begins."""

    image: np.ndarray
    box_xyxy: np.ndarray
    visible: np.ndarray
    offset_xy: tuple[int, int] = (0, 0)


def haar_boxes(dataset, indices) -> np.ndarray:
    """Largest box (N, 4) of the frontal cascade in each image, NaN where there is none."""
    cascade = HaarFaceDetector()
    found = [cascade(dataset.image(index)) for index in indices]
    return np.array([boxes[0] if len(boxes) else np.full(4, np.nan) for boxes in found])


def fit_right_box(data_folder) -> tuple[BoxFit, dict[str, float]]:
    """From labels to the box that the cascade gives on average; and how its own boxes scatter about it.

    size: standard deviation of the logarithm of the side. sideways, up_down: of the middle, in sides.
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
    """What is left of an image when `share` of the label box is cut off on one side, and where it begins."""
    left, top, right, bottom = box_from_keypoints(keypoints)
    width, height = right - left, bottom - top
    x0, y0, x1, y1 = image_box(image).astype(int)
    x0 = round(left + share * width) if direction[0] < 0 else x0
    x1 = round(right - share * width) if direction[0] > 0 else x1
    y0 = round(top + share * height) if direction[1] < 0 else y0
    y1 = round(bottom - share * height) if direction[1] > 0 else y1
    return np.ascontiguousarray(image[y0:y1, x0:x1]), (x0, y0)


def on_image(keypoints: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Which keypoints (68, 2) lie on an image, (68,) bool."""
    edges = image_box(image)
    return ((keypoints >= edges[:2]) & (keypoints < edges[2:])).all(axis=1)


def cut_case(image, keypoints, box_xyxy, direction, share: float, *, clip: bool) -> Case:
    """A face that is partly outside. clip: whether the box ends at the edge of the image."""
    rest, offset = cut_image(image, keypoints, direction, share)
    box = box_xyxy - np.tile(offset, 2)
    if clip:
        edges = image_box(rest)
        box = np.concatenate([np.maximum(box[:2], edges[:2]), np.minimum(box[2:], edges[2:])])
    return Case(rest, box, on_image(keypoints - offset, rest), offset)


def all_cases(images, keypoints, right_boxes) -> dict[str, list[Case]]:
    """'scale/1.3', 'shift/left/0.3', 'cut/left/0.3', 'clipped/left/0.3' -> a case for each face."""
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
    """(2, N): NME on the visible points, and confidence."""
    matrices = [box_matrix(case.box_xyxy, config) for case in cases]
    found = predict(model, config, [case.image for case in cases], matrices, passes=passes)
    offsets = np.array([case.offset_xy for case in cases], dtype=np.float32)[:, None]
    points = shift_keypoints(found.keypoints + offsets, config.label_offset)
    visible = np.stack([case.visible for case in cases])
    distances = np.where(visible, point_errors(points, keypoints), 0)
    nme = distances.sum(axis=1) / visible.sum(axis=1) / interocular_distance(keypoints)
    return np.stack([nme, found.confidence]).astype(np.float32)


def measure(name: str) -> None:
    """Run everything and write the record."""
    data = find_data()
    if data.is_sample:
        raise SystemExit("box_error.py measures on real faces: set KEYPOINTS_DATA to the data set")
    model, config = load_checkpoint(name)
    fit, scatter = fit_right_box(data.folder)
    names, images, keypoints = load_faces(data.folder)
    cases = all_cases(images, keypoints, [fit.apply(points) for points in keypoints])
    arrays = {
        f"{title}/{passes}": errors_of(model, config, part, keypoints, passes)
        for title, part in tqdm(cases.items(), desc="boxes")
        for passes in PASSES
    }
    save_arrays(RECORD.with_suffix(".npz"), **arrays)
    note = {"checkpoint": Path(name).name, "passes": config.passes, "box": fit._asdict(), "scatter": scatter}
    write_json(RECORD.with_suffix(".json"), note | {"seed": SEED, "faces": names})


# --- table, plot ---------------------------------------------------------------------------------


def pooled(arrays: dict, kind: str, value: float, passes: int) -> np.ndarray:
    """(2, N x directions) of a kind of error; no error at all is scale 1."""
    if kind == "scale" or value == 0:
        return arrays[f"scale/{value or 1.0}/{passes}"]
    return np.concatenate([arrays[f"{kind}/{name}/{value}/{passes}"] for name in DIRECTIONS], axis=1)


def figures(values: np.ndarray) -> str:
    """'NME (FR@10)' in percent of (2, N)."""
    return f"{100 * values[0].mean():.2f} ({100 * failure_rate(values[0]):.0f})"


def table(arrays: dict, kind: str, values, shown: int) -> str:
    """Markdown: NME (FR@10) for each number of looks, and how many faces would be kept."""
    cells = " | ".join(f"{value:g}" if kind == "scale" else f"{100 * value:.0f} %" for value in values)
    lines = [f"| | {cells} |", "|" + "---|" * (len(values) + 1)]
    for passes in PASSES:
        row = " | ".join(figures(pooled(arrays, kind, value, passes)) for value in values)
        title = f"{passes} pass{'es' if passes > 1 else ''}"
        lines.append(f"| {f'**{title}**' if passes == shown else title} | {row} |")
    kept = [(pooled(arrays, kind, value, shown)[1] >= MIN_CONFIDENCE).mean() for value in values]
    lines.append(f"| kept, % | {' | '.join(f'{100 * share:.0f}' for share in kept)} |")
    return "\n".join(lines)


def direction_table(arrays: dict, kind: str, values, passes: int) -> str:
    """Markdown: NME (FR@10) for each direction."""
    cells = " | ".join(f"{100 * value:.0f} %" for value in values)
    lines = [f"| | {cells} |", "|" + "---|" * (len(values) + 1)]
    for name in DIRECTIONS:
        row = " | ".join(figures(arrays[f"{kind}/{name}/{value}/{passes}"]) for value in values)
        lines.append(f"| {name} | {row} |")
    return "\n".join(lines)


PANELS = {
    "scale": ("size of the box, times the right one", SCALES),
    "shift": ("shift of the box, % of its side", SHIFTS),
    "cut": ("cut off the face, %", (0.0, *CUTS)),
}


def draw(arrays: dict) -> bytes:
    """NME and failures against each kind of error."""
    figure, axes = plots.new_figure(2, 3, width=3.6, height=2.6)
    for column, (kind, (label, values)) in enumerate(PANELS.items()):
        shown = values if kind == "scale" else [100 * value for value in values]
        for colour, passes in zip(plots.SERIES_COLOURS, PASSES, strict=False):
            parts = [pooled(arrays, kind, value, passes)[0] for value in values]
            lines = [part.mean() for part in parts], [failure_rate(part) for part in parts]
            for row, line in enumerate(lines):
                title = f"{passes} pass{'es' if passes > 1 else ''}"
                axis = axes[3 * row + column]
                axis.plot(shown, [100 * value for value in line], "o-", ms=3, color=colour, label=title)
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
    return plots.figure_png(figure, dpi=90)


TEXT = """# When the box is wrong

`{checkpoint}` on {count} labelled test images of people whom nobody trained on (`identity`; a fixed
random choice, seed {seed}), by `python -m benchmarks.box_error.page`. NME in percent of the inter-ocular
distance, in brackets FR@10, the share of faces with more than 10 %. In bold the number of looks that the
checkpoint comes with. *Kept*: faces that its confidence, at least {least:g}, would not throw out.

The right box is the square that the Haar cascade gives on average, fitted on {fitted} training images. The
cascade's own boxes scatter about it: {size:.0f} % in size, {sideways:.0f} % of their side sideways,
{up_down:.0f} % up and down (standard deviations, where it finds the face).

**{headline}**

![Error against size and shift of the box, and against what is cut off](box_error.png)

## Too small, too large

{scale}

## Shifted, all four directions together

{shift}

By direction, {passes} looks:

{shift_directions}

## Partly outside the image

The image ends where so much of the label box is cut off, left, right, above or below; errors of the points
that are still on it. The box is the right one of the whole face, and reaches beyond the image:

{cut}

By direction, {passes} looks; left is the left of the image:

{cut_directions}

The box ends at the edge of the image, as some face detectors clip it:

{clipped}
"""


def headline(arrays: dict, passes: int) -> str:
    """What 30 % costs."""
    right = pooled(arrays, "scale", 1.0, passes)[0].mean()
    costs = [
        round(100 * (pooled(arrays, kind, value, passes)[0].mean() - right), 2) + 0.0  # no -0.00
        for kind, value in (("scale", 1.3), ("scale", 0.7), ("shift", 0.3))
    ]
    return (
        f"With the right box the NME is {100 * right:.2f} %. A box 30 % too large changes it by "
        f"{costs[0]:+.2f}, one 30 % too small by {costs[1]:+.2f}, one shifted by 30 % of its side by "
        f"{costs[2]:+.2f} ({passes} looks)."
    )


def write() -> None:
    """Write box_error.md and .png from the record."""
    if not RECORD.with_suffix(".json").is_file():
        raise SystemExit("nothing measured yet: run it without --page")
    note = json.loads(RECORD.with_suffix(".json").read_text())
    with np.load(RECORD.with_suffix(".npz"), allow_pickle=False) as stored:
        arrays = dict(stored)
    passes = note["passes"]
    text = TEXT.format(
        checkpoint=note["checkpoint"], count=len(note["faces"]), seed=note["seed"],
        least=MIN_CONFIDENCE, fitted=FITTED_ON, passes=passes, headline=headline(arrays, passes),
        scale=table(arrays, "scale", SCALES, passes),
        shift=table(arrays, "shift", SHIFTS, passes),
        shift_directions=direction_table(arrays, "shift", SHIFTS[1:], passes),
        cut=table(arrays, "cut", (0.0, *CUTS), passes),
        cut_directions=direction_table(arrays, "cut", CUTS, passes),
        clipped=table(arrays, "clipped", CUTS, passes),
        **{name: 100 * value for name, value in note["scatter"].items()},
    )  # fmt: skip
    replace_file(HERE / "README.md", text.encode())
    replace_file(HERE / "box_error.png", draw(arrays))


def main(arguments=None) -> None:
    """Measure, unless only the page is asked for, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", nargs="?", default=f"{DEFAULT_CHECKPOINT}-identity")
    parser.add_argument("--page", action="store_true", help="write the page again from the record")
    args = parser.parse_args(arguments)
    if not args.page:
        measure(args.checkpoint)
    write()


if __name__ == "__main__":
    main()
