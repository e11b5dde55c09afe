"""Errors on images that were made worse, beside dlib and MediaPipe:

    python -m benchmarks.robustness.page                                  # writes README.md and the figure
    python -m benchmarks.robustness.page --measure                        # measures our checkpoint first
    python -m benchmarks.robustness.page --measure --environment FOLDER   # and the peers (benchmarks/peers)
    python -m benchmarks.robustness.page --measure --only rotation size

Labelled test images of `identity`, a fixed random choice, each changed by every perturbation of
perturbations.py in every strength. dlib and ours start from the same square, of the size of the boxes of
dlib's detector; MediaPipe starts from 1.9 x the label box. The keypoints are mapped back to the unchanged
image, the mean offset per point of each method (stored by benchmarks/peers) is removed, and the error is
measured there.
"""

import argparse
import json
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from tqdm import tqdm

import plots
from benchmarks import pages
from benchmarks.peers.fit import Fitted, mesh_crop, mesh_in_image, square_box
from benchmarks.peers.report import FITTED, RECORDS
from benchmarks.peers.worker import MESH_POINTS, Worker
from benchmarks.robustness.perturbations import PERTURBATIONS, Changed
from checkpoint import ModelConfig, find_checkpoint, load_checkpoint
from data_fetch import data_checksum
from data_load import load_split, to_labels
from detector import DEFAULT_CHECKPOINT, predict_keypoints
from detector.predictor import box_matrix
from files import write_json
from geometry import box_centre, box_from_keypoints, box_side, invert, matrix_scale, transform_points
from training.metrics import add_offset, failure_rate, nme_per_face
from training.records import is_current, load_record, provenance, save_arrays

HERE = Path(__file__).parent
RECORD = HERE / "records" / "robustness.json"
CHECKPOINT = f"{DEFAULT_CHECKPOINT}-identity"
FACES, SEED = 150, 0
NO_OFFSET = ModelConfig(model="peer", input_size=96)  # its points are compared as they are
PEERS = {"dlib": "dlib-box", "MediaPipe": "mediapipe-crop", "MediaPipe + ridge map": "mediapipe-ridge"}


# --- faces and boxes ---------------------------------------------------------------------------


def load_faces(data_folder) -> tuple[list[str], list[np.ndarray], np.ndarray]:
    """Names, images and keypoints of the chosen test images."""
    dataset = load_split(data_folder, "identity", "test")
    labelled = [i for i, path in enumerate(dataset.paths) if path.parent.name == "test"]
    chosen = np.random.default_rng(SEED).permutation(labelled)[:FACES]
    names = [f"test/{dataset.paths[i].name}" for i in chosen]
    return names, [dataset.image(i) for i in chosen], dataset.keypoints[chosen]


def moved_box(box_xyxy: np.ndarray, changed: Changed) -> np.ndarray:
    """A square in the changed image: moved and scaled with it, but not rotated."""
    centre = transform_points(box_centre(box_xyxy)[None], changed.matrix)[0]
    return square_box(centre, box_side(box_xyxy) * matrix_scale(changed.matrix) * changed.box_scale)


def detector_boxes(fitted: Fitted, changed: list[Changed], keypoints) -> list[np.ndarray]:
    """The box that dlib's face detector gives on average for each face, moved with the change."""
    return [moved_box(fitted.box.apply(p), one) for p, one in zip(keypoints, changed, strict=True)]


def change_all(name: str, strength: float, images, keypoints) -> list[Changed]:
    """Every face in one strength; a face gets the same random numbers in all strengths."""
    change = PERTURBATIONS[name].apply
    return [
        change(image, points, strength, np.random.default_rng([SEED, number]))
        for number, (image, points) in enumerate(zip(images, keypoints, strict=True))
    ]


# --- methods: changed images and the labels before the change -> keypoints in the changed images ----


def peer_methods(python: Path, fitted: Fitted, stack: ExitStack) -> dict:
    """dlib and MediaPipe, run by a Python that has them; both readings of the mesh come from one call."""
    dlib = stack.enter_context(Worker(python, "dlib", "box"))
    mesh = stack.enter_context(Worker(python, "mediapipe", "static"))

    def by_dlib(changed, keypoints) -> dict:
        boxes = detector_boxes(fitted, changed, keypoints)
        points = [dlib.ask(one.image, box).points for one, box in zip(changed, boxes, strict=True)]
        return {"dlib": np.stack(points)}

    def by_mesh(changed, keypoints) -> dict:
        meshes = []
        for one, points in zip(changed, keypoints, strict=True):
            crop, matrix = mesh_crop(one.image, moved_box(box_from_keypoints(points), one))
            found = mesh_in_image(mesh.ask(crop).points, matrix)
            meshes.append(np.full((MESH_POINTS, 3), np.nan) if found is None else found)
        meshes = np.stack(meshes)
        return {"MediaPipe": meshes[:, fitted.vertices, :2], "MediaPipe + ridge map": fitted.ridge(meshes)}

    return {"dlib": (by_dlib, NO_OFFSET), "MediaPipe": (by_mesh, NO_OFFSET)}


def our_method(name: str, fitted: Fitted):
    """A checkpoint, started from the box that dlib gets too."""
    model, config = load_checkpoint(name)

    def by_us(changed, keypoints) -> dict:
        matrices = [box_matrix(box, config) for box in detector_boxes(fitted, changed, keypoints)]
        return {name: predict_keypoints(model, config, [c.image for c in changed], matrices)}

    return by_us, config


def errors_of(method: str, config, predicted: np.ndarray, changed, keypoints) -> np.ndarray:
    """NME (N,) in the unchanged images, NaN where no face was found."""
    back = [transform_points(p, invert(c.matrix)) for p, c in zip(predicted, changed, strict=True)]
    points = to_labels(np.stack(back), config)
    return nme_per_face(add_offset(points, stored_offset(method)), keypoints)


def stored_offset(method: str) -> np.ndarray:
    """The mean offset per point (68, 2) that benchmarks/peers fitted for a method."""
    stem = RECORDS / f"identity-{PEERS.get(method, method.removesuffix('-identity'))}"
    if not stem.with_name(stem.name + ".json").is_file():
        raise SystemExit(
            f"no {stem.name} in {stem.parent}: measure it first: python -m benchmarks.peers.page"
        )
    row, _ = load_record(stem)
    return np.array(row["offset"])


def measure(data, names=None, environment: Path | None = None) -> None:
    """Add the errors of our checkpoint on the perturbations `names` to the record.

    names: None for all, unless the record is current. environment: a folder of a virtual environment with
    dlib and MediaPipe, to measure these too.
    """
    if names is None and environment is None and is_current(RECORD):
        return
    fitted = Fitted.load(FITTED)
    faces, images, keypoints = load_faces(data.folder)
    with ExitStack() as stack:
        methods = {CHECKPOINT: our_method(CHECKPOINT, fitted)}
        if environment:
            methods |= peer_methods(environment / "bin" / "python", fitted, stack)
        for name in names or PERTURBATIONS:
            add_to_record(measure_perturbation(name, methods, images, keypoints))
    about = provenance(
        "python -m benchmarks.robustness.page --measure",
        checkpoint=find_checkpoint(CHECKPOINT),
        data=data_checksum(data.folder),
        seed=SEED,
    )
    write_json(RECORD, {"seed": SEED, "faces": faces, "provenance": about})


def measure_perturbation(name: str, methods: dict, images, keypoints) -> dict[str, np.ndarray]:
    """'perturbation/method' -> NME (strengths, faces). methods: name -> (function, label offset)."""
    rows: dict[str, list] = {}
    for strength in tqdm(PERTURBATIONS[name].strengths, desc=name):
        changed = change_all(name, strength, images, keypoints)
        for function, offset in methods.values():
            for method, predicted in function(changed, keypoints).items():
                errors = errors_of(method, offset, predicted, changed, keypoints)
                rows.setdefault(method, []).append(errors.astype(np.float32))
    return {f"{name}/{method}": np.stack(errors) for method, errors in rows.items()}


# --- record and page ----------------------------------------------------------------------------------


def load_errors() -> dict[str, np.ndarray]:
    """'perturbation/method' -> NME (strengths, faces)."""
    path = RECORD.with_suffix(".npz")
    if not path.is_file():
        return {}
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)


def add_to_record(arrays: dict[str, np.ndarray]) -> None:
    """Add results to the stored ones; they replace older ones of the same name."""
    save_arrays(RECORD.with_suffix(".npz"), **(load_errors() | arrays))


def methods_in(errors: dict) -> list[str]:
    """The stored methods: ours first, then the peers."""
    stored = {name.partition("/")[2] for name in errors}
    return sorted(stored - set(PEERS)) + [name for name in PEERS if name in stored]


def middle(errors: np.ndarray) -> np.ndarray:
    """The median NME of each strength; a face that was not found counts as an infinite error."""
    return np.median(np.where(np.isnan(errors), np.inf, errors), axis=1)


def table(errors: dict) -> str:
    """Markdown: median NME and share of failures, a block for each perturbation."""
    blocks = []
    for name, what in PERTURBATIONS.items():
        cells = []
        for method in methods_in(errors):
            values = errors.get(f"{name}/{method}")
            if values is not None:
                pairs = zip(middle(values), map(failure_rate, values), strict=True)
                cells.append(
                    [method, *(f"{100 * median:.1f} ({100 * failed:.0f})" for median, failed in pairs)]
                )
        head = [what.axis, *(f"{strength:g}" for strength in what.strengths)]
        blocks.append(f"## {what.title}\n\n{pages.markdown_table(head, cells)}")
    return "\n\n".join(blocks)


def draw(errors: dict):
    """The figure: median NME against strength, a panel for each perturbation."""
    figure, axes = plots.new_figure(2, 4, width=3.1, height=2.7)
    methods = methods_in(errors)
    for axis, (name, what) in zip(axes, PERTURBATIONS.items(), strict=True):
        for colour, method in zip(plots.SERIES_COLOURS, methods, strict=False):
            if f"{name}/{method}" in errors:
                median = 100 * middle(errors[f"{name}/{method}"])
                axis.plot(what.strengths, median, "o-", ms=3, color=colour, label=method)
        axis.set_xscale(what.scale)
        axis.set_title(what.title, fontsize=10)
        axis.set_xlabel(what.axis, fontsize=8)
        axis.set_ylim(0, 20)
        axis.grid(alpha=0.3)
        axis.tick_params(labelsize=8)
        if what.scale == "log":
            axis.set_xticks(what.strengths, [f"{strength:g}" for strength in what.strengths], minor=False)
            axis.minorticks_off()
    for axis in axes[::4]:
        axis.set_ylabel("median NME, %", fontsize=8)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9)
    return figure


TEXT = """# Images that get worse

{faces} labelled test images of held-out people (`identity`; a fixed random choice, seed {seed}),
each changed in every strength, by `python -m benchmarks.robustness.page`. dlib and ours start from
the same square around the labels, of the kind that dlib's detector gives. MediaPipe, which has a
face detector inside, starts from the square of 1.9 x the label box. The squares are moved and scaled
with the change, but not rotated. The mean offset per point of each method is removed, as in
[benchmarks/peers](../peers/README.md). **dlib and MediaPipe were not trained on these labels**; the
ridge map was.

Errors are in percent of the inter-ocular distance of the unchanged face: the median over faces,
where a face that is not found counts as an infinite error, and in brackets the share of faces with
more than 10 %. Medians are a little below the means of other tables.

The start from labels tells dlib and ours the place of the face. Where an image shows almost nothing,
they still predict something like a mean face, while MediaPipe's detector finds no face. dlib
predicts whole pixels, which is a large part of its error on the smallest faces. The errors of
covered faces are measured on all 68 points, hidden ones too.

![Median error against the strength of each perturbation](robustness.png)

{table}
"""


def write_page() -> None:
    """Write README.md and robustness.png from the record."""
    errors = load_errors()
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    text = TEXT.format(faces=len(record["faces"]), seed=record["seed"], table=table(errors))
    pages.write_if_changed(HERE / "README.md", text)
    plots.write_figure(draw(errors), HERE / "robustness.png")


def main(arguments=None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", action="store_true", help="first measure our checkpoint")
    parser.add_argument("--environment", type=Path, help="measure dlib and MediaPipe, installed there, too")
    parser.add_argument("--only", nargs="+", choices=PERTURBATIONS, help="measure these again")
    args = parser.parse_args(arguments)
    if args.measure:
        measure(pages.real_data(), args.only, args.environment)
    write_page()


if __name__ == "__main__":
    main()
