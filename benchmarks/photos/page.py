"""Errors and openings on photos of another origin, with hand-made points, beside MediaPipe:

    python -m benchmarks.photos.page                                  # writes README.md and the figure
    python -m benchmarks.photos.page --measure                        # measures ours first
    python -m benchmarks.photos.page --measure --environment FOLDER   # and MediaPipe (see benchmarks/peers)

The photos are in the folder that KEYPOINTS_PHOTOS_68 names. They are not in this repository. Every method
starts from the box around the hand-made points. Only figures are stored, no photos and no points.
"""

import json
from pathlib import Path

import numpy as np

import plots
from benchmarks import pages
from benchmarks.finding.scenes import photos_with_points
from benchmarks.ibug_labels.mesh import keypoints_of_mesh
from benchmarks.peers.fit import mesh_crop, mesh_in_image
from benchmarks.peers.report import versions
from benchmarks.peers.worker import MESH_POINTS, Worker
from checkpoint import find_checkpoint, load_checkpoint, load_model_config
from detector.predictor import predict
from evaluate import BASELINE_CONFIG, BASELINES, measure_photos
from files import write_json
from geometry import box_from_keypoints, interocular_distance
from landmarks import REGIONS
from sample_faces import canonical_head
from training.evaluation import first_matrices
from training.metrics import point_errors
from training.photos import SHUT_EYE, photo_figures
from training.records import is_current, provenance

HERE = Path(__file__).parent
RECORDS = HERE / "records"
OURS = ("constant", "naimishnet", "heatmapnet-small", "heatmapnet")
METHODS = (*OURS, "MediaPipe")
RENEW = "python -m benchmarks.photos.page --measure"
ARROW_SCALE = 4  # the offsets are a few percent of a face: drawn as they are they would be dots


def record_of(method: str) -> Path:
    """The path of a method's record."""
    return RECORDS / f"{method}.json"


def measure(data, environment: Path | None = None) -> None:
    """Write the records that are not current. environment: a virtual environment with MediaPipe, or None."""
    try:
        photos = photos_with_points()
    except FileNotFoundError as error:
        print(f"photos are not measured: {error}")
        return
    folder = photos.paths[0].parent
    for name in OURS:
        if is_current(record_of(name)):
            continue
        figures = measure_photos(name, folder, progress=True)
        del figures["photos"]  # a path of this machine
        figures["held"] = share_held(name, photos)
        is_baseline = name in BASELINES
        about = provenance(
            RENEW,
            checkpoint=None if is_baseline else find_checkpoint(name),
            config=BASELINE_CONFIG if is_baseline else None,
            seed=figures["seed"],
        )
        write_json(record_of(name), {**figures, "provenance": about})
    if environment:
        figures = photo_figures(by_mediapipe(environment / "bin" / "python", photos), photos.keypoints)
        about = provenance(f"{RENEW} --environment FOLDER") | {"peers": versions(["MediaPipe"])}
        write_json(record_of("MediaPipe"), {**figures, "provenance": about})


def share_held(name: str, photos) -> float | None:
    """Share of the points that lie within their radius; None for a method without one."""
    if name in BASELINES or not load_model_config(find_checkpoint(name)).has_uncertainty:
        return None
    model, config = load_checkpoint(name)
    images = [photos.image(index) for index in range(len(photos))]
    found = predict(model, config, images, first_matrices(photos, "label_box", config))
    return float((point_errors(found.keypoints, photos.keypoints) <= found.radius).mean())


def by_mediapipe(python: Path, photos) -> np.ndarray:
    """Keypoints (N, 68, 2) of MediaPipe in crops around the points; NaN where it finds no face."""
    found = []
    with Worker(python, "mediapipe", "static") as worker:
        for index in range(len(photos)):
            crop, matrix = mesh_crop(photos.image(index), box_from_keypoints(photos.keypoints[index]))
            mesh = mesh_in_image(worker.ask(crop).points, matrix)
            found.append(np.full((MESH_POINTS, 3), np.nan) if mesh is None else mesh)
    return keypoints_of_mesh(np.stack(found))


# --- page -----------------------------------------------------------------------------------------


def errors_table(rows: dict[str, dict]) -> str:
    """Markdown: a line per method, errors in percent of the inter-ocular distance."""
    cells = []
    for method, row in rows.items():
        figures = [row["nme"], row["inner_51"], *(row["regions"][region] for region in REGIONS)]
        rates = [f"{100 * row['fr_10']:.1f}", f"{100 * row['found']:.1f}"]
        cells.append([method, *(f"{100 * value:.2f}" for value in figures), *rates])
    return pages.markdown_table(["method", "NME", "inner 51", *REGIONS, "FR@10", "found"], cells)


def openings_table(rows: dict[str, dict]) -> str:
    """Markdown: a line per method, predicted against true openings."""
    cells = [[method, *(_number(row[part][name]) for part, name in OPENINGS)] for method, row in rows.items()]
    return pages.markdown_table(["method", *(f"{part}: {name}" for part, name in OPENINGS)], cells)


OPENINGS = (
    ("eyes", "correlation"), ("eyes", "slope"), ("eyes", "shut"),
    ("mouth", "correlation"), ("mouth", "slope"),
)  # fmt: skip


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.2f}"


def _side(percent: float, positive: str, negative: str) -> str:
    return f"{abs(percent):.1f} % {positive if percent > 0 else negative}"


def draw(rows: dict[str, dict]):
    """The figure: the mean offset of each point, as an arrow on the drawn head."""
    shape = canonical_head()[:, :2]
    unit = interocular_distance(shape)
    methods = [method for method in ("naimishnet", "heatmapnet", "MediaPipe") if method in rows]
    figure, axes = plots.new_figure(1, len(methods), width=3.6, height=3.9)
    for axis, method in zip(np.atleast_1d(axes), methods, strict=True):
        steps = ARROW_SCALE * unit * np.array(rows[method]["offset"])
        plots.draw_shape(axis, shape, title=f"{method}, {ARROW_SCALE} times as long")
        how = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.005}
        axis.quiver(*shape.T, *steps.T, color=plots.PREDICTED_COLOUR, **how)
    return figure


TEXT = """# Photos of another origin

{n} photos with hand-made points (the training parts of HELEN and LFPW, with iBUG's 68 points), by
`python -m benchmarks.photos.page`. Nothing was trained on them. Every method starts from the box around the
points. The points are those that each method gives, not moved to where the labels of our data set lie.

*MediaPipe* answers with a mesh of 468 points. The 68 are read from it along its own lids, lips, brows, nose
and jaw (`benchmarks/ibug_labels/mesh.py`). dlib is not in the table: it was trained on these photos.

## Errors

In percent of the inter-ocular distance. *Inner 51*: without the jaw. The regions are NME, too.

{errors}

The radius of a point is meant to hold the true point in 90 % of cases. Here it holds {held}
([uncertainty](../uncertainty/README.md)).

## Eyes and mouths that open and shut

The opening is height over width: of the eye (`analysis.openings.eye_opening`) and of the inner lips
(`mouth_opening`). Correlation and slope of predicted against true openings, over all eyes and mouths; 1 and 1
would be perfect. *Shut*: the mean predicted opening of the {n_shut} eyes whose true opening is below
{limit:.2f}.

{openings}

## Where the points lie

The mean of predicted minus true for each point, in the frame of the face.

![Mean offset of each point](offsets.png)

In percent of the inter-ocular distance, the points of `heatmapnet` lie on average {right} and {down} of
where people put them, those of `naimishnet` {old_right} and {old_down}. `naimishnet` was trained on the
labels of the data set as they are. These were made by a machine, lie elsewhere, and show hardly any shut eye.
`heatmapnet` and `heatmapnet-small` were trained further on labels that were moved to where people put the
points, with eyes that are closed and mouths that are opened by a warp of the image
([data](../../data/README.md), [LOG](../../LOG.md)).
"""


def write_page() -> None:
    """Write README.md and offsets.png from the records."""
    rows = {
        method: json.loads(record_of(method).read_text(encoding="utf-8"))
        for method in METHODS
        if record_of(method).is_file()
    }
    ours = rows["heatmapnet"]
    right, down = 100 * np.mean(ours["offset"], axis=0)
    old_right, old_down = 100 * np.mean(rows["naimishnet"]["offset"], axis=0)
    held = [f"{100 * row['held']:.1f} % (`{name}`)" for name, row in rows.items() if row.get("held")]
    text = TEXT.format(
        n=ours["n"], held=" and ".join(held), errors=errors_table(rows), openings=openings_table(rows),
        n_shut=ours["eyes"]["n_shut"], limit=SHUT_EYE,
        right=_side(right, "right", "left"), down=_side(down, "below", "above"),
        old_right=_side(old_right, "right", "left"), old_down=_side(old_down, "below", "above"),
    )  # fmt: skip
    pages.write_if_changed(HERE / "README.md", text)
    plots.write_figure(draw(rows), HERE / "offsets.png")


if __name__ == "__main__":
    pages.run_page(__doc__, write_page, measure, peers="MediaPipe")
