"""How errors grow when pictures get worse, ours beside dlib and MediaPipe:

    python -m benchmarks.robustness.page                                # table and plot again, from the record
    python -m benchmarks.robustness.page --environment FOLDER           # the peers (environment: see peers.py)
    python -m benchmarks.robustness.page --checkpoints heatmapnet-identity
    python -m benchmarks.robustness.page --checkpoints heatmapnet-identity --only rotation size

Labelled test images of `identity`, a fixed random choice, each changed by every perturbation of
comparison/perturbations.py in every strength. dlib and ours start from the same square, the size of
dlib's detector boxes, MediaPipe from 1.9 x the label box. Answers are taken back into the
unchanged image, each method's mean offset per point (stored by peers.py) is removed, and the error
is measured there. Writes benchmarks/robustness/README.md and .png.
"""

import argparse
import json
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from tqdm import tqdm

ROOT = Path(__file__).parents[2]
import plots
from benchmarks.peers.fit import Fitted, add_offset, mesh_crop, mesh_in_image, save_arrays, square_box
from benchmarks.peers.report import FITTED, RECORDS, replace_file
from benchmarks.peers.worker import MESH_POINTS, Worker
from benchmarks.robustness.perturbations import PERTURBATIONS, Changed
from checkpoint import load_checkpoint
from data_fetch import find_data
from data_load import load_split, shift_keypoints
from detector import predict_keypoints
from detector.predictor import box_matrix
from files import write_json
from geometry import box_centre, box_from_keypoints, box_side, invert, matrix_scale, transform_points
from training.metrics import failure_rate, nme_per_face
from training.records import load_record

HERE = Path(__file__).parent
RECORD = HERE / "records" / "robustness"
FACES, SEED = 150, 0
NO_OFFSET = (0.0, 0.0)
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
    """A square as it lies in the changed image: moved and scaled along, never turned."""
    centre = transform_points(box_centre(box_xyxy)[None], changed.matrix)[0]
    return square_box(centre, box_side(box_xyxy) * matrix_scale(changed.matrix) * changed.box_scale)


def detector_boxes(fitted: Fitted, changed: list[Changed], keypoints) -> list[np.ndarray]:
    """What dlib's face detector would give on average for each face, taken along."""
    return [moved_box(fitted.box.apply(p), one) for p, one in zip(keypoints, changed, strict=True)]


def change_all(name: str, strength: float, images, keypoints) -> list[Changed]:
    """Every face in one strength; a face meets the same random numbers in all strengths."""
    change = PERTURBATIONS[name].apply
    return [
        change(image, points, strength, np.random.default_rng([SEED, number]))
        for number, (image, points) in enumerate(zip(images, keypoints, strict=True))
    ]


# --- methods: called with changed images and the labels before, answer in changed pixels -------------


def peer_methods(python: Path, fitted: Fitted, stack: ExitStack) -> dict:
    """Asks dlib and MediaPipe in their own environment; one call for both ways to read the mesh."""
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
    """A checkpoint from the box that dlib gets too."""
    model, config = load_checkpoint(name)

    def by_us(changed, keypoints) -> dict:
        matrices = [box_matrix(box, config) for box in detector_boxes(fitted, changed, keypoints)]
        return {name: predict_keypoints(model, config, [c.image for c in changed], matrices)}

    return by_us, config.label_offset


def errors_of(method: str, label_offset, answers: np.ndarray, changed, keypoints) -> np.ndarray:
    """NME (N,) in the unchanged images, NaN where no face was found."""
    back = [transform_points(p, invert(c.matrix)) for p, c in zip(answers, changed, strict=True)]
    points = shift_keypoints(np.stack(back), label_offset)
    return nme_per_face(add_offset(points, stored_offset(method)), keypoints)


def stored_offset(method: str) -> np.ndarray:
    """The mean offset per point that peers.py fitted for a method."""
    stem = RECORDS / f"identity-{PEERS.get(method, method.removesuffix('-identity'))}"
    if not stem.with_name(stem.name + ".json").is_file():
        raise SystemExit(f"no {stem.name} in {stem.parent}: measure it with benchmarks/peers/page.py first")
    row, _ = load_record(stem)
    return np.array(row["offset"])


def measure(methods: dict, names: list[str], images, keypoints) -> None:
    """Run methods (name -> (function, label offset)) on perturbations `names` and add to the record."""
    for name in names:
        strengths = PERTURBATIONS[name].strengths
        rows: dict[str, list] = {}
        for strength in tqdm(strengths, desc=name):
            changed = change_all(name, strength, images, keypoints)
            for function, offset in methods.values():
                for method, answers in function(changed, keypoints).items():
                    errors = errors_of(method, offset, answers, changed, keypoints)
                    rows.setdefault(method, []).append(errors.astype(np.float32))
        add_to_record({f"{name}/{method}": np.stack(errors) for method, errors in rows.items()})


# --- record, table, plot ----------------------------------------------------------------------------


def load_errors() -> dict[str, np.ndarray]:
    """'perturbation/method' -> NME (strengths, faces)."""
    path = RECORD.with_suffix(".npz")
    if not path.is_file():
        return {}
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)


def add_to_record(arrays: dict[str, np.ndarray]) -> None:
    """Put results into the stored ones, over older ones of the same name."""
    save_arrays(RECORD.with_suffix(".npz"), **(load_errors() | arrays))


def methods_in(errors: dict) -> list[str]:
    """Ours first, then the peers."""
    stored = {name.partition("/")[2] for name in errors}
    return sorted(stored - set(PEERS)) + [name for name in PEERS if name in stored]


def middle(errors: np.ndarray) -> np.ndarray:
    """Median NME of each strength; a face that was not found counts as infinitely wrong."""
    return np.median(np.where(np.isnan(errors), np.inf, errors), axis=1)


def table(errors: dict) -> str:
    """Markdown: median NME and share of failures, a block for each perturbation."""
    blocks = []
    for name, what in PERTURBATIONS.items():
        cells = " | ".join(f"{strength:g}" for strength in what.strengths)
        lines = [
            f"## {what.title}",
            "",
            f"| {what.axis} | {cells} |",
            "|" + "---|" * (len(what.strengths) + 1),
        ]
        for method in methods_in(errors):
            values = errors.get(f"{name}/{method}")
            if values is not None:
                pairs = zip(middle(values), map(failure_rate, values), strict=True)
                shown = [f"{100 * median:.1f} ({100 * failed:.0f})" for median, failed in pairs]
                lines.append(f"| {method} | {' | '.join(shown)} |")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def draw(errors: dict) -> bytes:
    """Small multiples: median NME against strength."""
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
    return plots.figure_png(figure, dpi=90)


TEXT = """# When pictures get worse

{faces} labelled test images of people whom nobody trained on (`identity`; a fixed random choice, seed
{seed}), each changed in every strength. dlib and ours start from the same square around the labels, of the
kind that dlib's detector gives; MediaPipe, which has a detector inside, from the square of 1.9 x the label
box. These squares go along with the change, but are not turned. Each method's mean offset per point is
removed, as in [peers.md](peers.md); **dlib and MediaPipe were not trained on these labels**, the ridge map
was. Errors are in percent of the inter-ocular distance of the unchanged face: median over faces (a face that
is not found counts as infinitely wrong), in brackets the share of faces with more than 10 %. Medians lie a
little below the means of other tables.

The start from labels tells dlib and ours where the face is, so where a picture shows nothing any more they
still answer with something like a mean face, while MediaPipe's detector finds none. dlib answers in whole
pixels, which is a good part of its error on the smallest faces. Covered faces are measured on all 68 points,
also on those that nobody can see.

![Median error against the strength of each perturbation](robustness.png)

{table}
"""


def write() -> None:
    """Write robustness.md and .png from the record."""
    errors = load_errors()
    if not errors:
        raise SystemExit("nothing measured yet: pass --environment FOLDER, --checkpoints NAME, or both")
    note = json.loads(RECORD.with_suffix(".json").read_text())
    text = TEXT.format(faces=len(note["faces"]), seed=note["seed"], table=table(errors))
    replace_file(HERE / "README.md", text.encode())
    replace_file(HERE / "robustness.png", draw(errors))


def parse_arguments(arguments=None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--environment", type=Path, help="measure dlib and MediaPipe, which are there")
    parser.add_argument(
        "--checkpoints", nargs="+", default=[], help="measure these of ours (-identity twins)"
    )
    parser.add_argument("--only", nargs="+", choices=PERTURBATIONS, default=list(PERTURBATIONS))
    return parser.parse_args(arguments)


def measure_some(environment: Path | None, checkpoints: list[str], names: list[str]) -> None:
    """Run the peers of an environment and checkpoints on perturbations `names`."""
    data, fitted = find_data(), Fitted.load(FITTED)
    if data.is_sample:
        raise SystemExit("robustness.py compares on real faces: set KEYPOINTS_DATA to the data set")
    faces, images, keypoints = load_faces(data.folder)
    write_json(RECORD.with_suffix(".json"), {"seed": SEED, "faces": faces})
    with ExitStack() as stack:
        methods = {name: our_method(name, fitted) for name in checkpoints}
        if environment:
            methods |= peer_methods(environment / "bin" / "python", fitted, stack)
        measure(methods, names, images, keypoints)


def main(arguments=None) -> None:
    """Measure what is asked for, then write table and plot."""
    args = parse_arguments(arguments)
    if args.environment or args.checkpoints:
        measure_some(args.environment, args.checkpoints, args.only)
    write()


if __name__ == "__main__":
    main()
