"""Visibility of points, checked on covered faces of held-out people:

    python -m benchmarks.visibility.page              # writes README.md and the figure from the record
    python -m benchmarks.visibility.page --measure    # measures first; needs the data, ten minutes

Faces: the labelled images of the 69 people of `identity`, as they are and covered in five ways. The network
starts from the whole image. The photos for the covers are none of those that the head was fitted with. Where
KEYPOINTS_PHOTOS_68 names the photos with hand-made points, the share of points that are called hidden is
counted on them, too.
"""

import json
from pathlib import Path

import numpy as np

import plots
from benchmarks import pages
from benchmarks.finding.scenes import photos_with_points
from checkpoint import find_checkpoint, load_checkpoint
from data_fetch import data_checksum
from data_load import load_split, to_labels
from detector import DEFAULT_CHECKPOINT
from detector.predictor import VISIBLE_FROM, predict
from files import cv2, write_json
from geometry import interocular_distance
from landmarks import REGIONS
from training.evaluation import first_matrices
from training.metrics import area_under_roc, point_errors
from training.records import is_current, provenance, save_arrays
from training.uncertainty import TEST_SCENES
from training.visibility import FILLS, cover, gray_scenes

HERE = Path(__file__).parent
RECORDS = HERE / "records"
CHECKPOINTS = (f"{DEFAULT_CHECKPOINT}-identity", "heatmapnet-small-identity")
SEED, BINS = 0, 10


def record_of(name: str) -> Path:
    """The path of a checkpoint's record."""
    return RECORDS / f"{name}.json"


def measure(data) -> None:
    """Write the records that are not current.

    Of F fills and N images: visibility (F, N, 68) and clean_visibility (N, 68) in thousandths, seen
    (F, N, 68) bool, error (F, N, 68) in thousandths of the inter-ocular distance.
    """
    for name in CHECKPOINTS:
        if not is_current(record_of(name)):
            measure_checkpoint(name, data)


def measure_checkpoint(name: str, data) -> None:
    """Write the record of one checkpoint."""
    model, config = load_checkpoint(name)
    dataset = load_split(data.folder, "identity", "test")
    starts = first_matrices(dataset, "whole", config)
    gray = [cv2.cvtColor(dataset.image(index), cv2.COLOR_RGB2GRAY) for index in range(len(dataset))]
    scenes, unit = gray_scenes(TEST_SCENES), interocular_distance(dataset.keypoints)[:, None]
    visibility, seen, error = [], [], []
    for number, fill in enumerate(FILLS):
        covered = [
            cover(image, points, fill, scenes, np.random.default_rng([SEED, number, index]))
            for index, (image, points) in enumerate(zip(gray, dataset.keypoints, strict=True))
        ]
        found = predict(model, config, [image for image, _ in covered], starts)
        visibility.append(_to_thousandths(found.visibility))
        seen.append(np.stack([points for _, points in covered]))
        errors = point_errors(to_labels(found.keypoints, config), dataset.keypoints) / unit
        error.append(_to_thousandths(errors))
    clean = predict(model, config, gray, starts).visibility
    save_arrays(
        record_of(name).with_suffix(".npz"),
        visibility=np.stack(visibility), seen=np.stack(seen), error=np.stack(error),
        clean_visibility=_to_thousandths(clean),
    )  # fmt: skip
    about = provenance(
        "python -m benchmarks.visibility.page --measure",
        checkpoint=find_checkpoint(name),
        data=data_checksum(data.folder),
        seed=SEED,
    )
    on_photos = hidden_on_photos(model, config)
    write_json(record_of(name), {"checkpoint": name, "hidden_on_photos": on_photos, "provenance": about})


def hidden_on_photos(model, config) -> float | None:
    """Share of points of the photos with hand-made points that a network calls hidden; None without them."""
    try:
        photos = photos_with_points()
    except FileNotFoundError as error:
        print(f"photos are not measured: {error}")
        return None
    images = [photos.image(index) for index in range(len(photos))]
    found = predict(model, config, images, first_matrices(photos, "label_box", config))
    return float((found.visibility < VISIBLE_FROM).mean())


def _to_thousandths(values: np.ndarray) -> np.ndarray:
    return np.rint(values * 1000).clip(0, 60_000).astype(np.uint16)


# --- page -----------------------------------------------------------------------------------------


def load(name: str) -> dict:
    """The arrays of a record as shares, and `hidden_on_photos`."""
    with np.load(record_of(name).with_suffix(".npz"), allow_pickle=False) as stored:
        arrays = {key: stored[key] / 1000 for key in ("visibility", "error", "clean_visibility")}
        arrays["seen"] = stored["seen"]
    stored = json.loads(record_of(name).read_text(encoding="utf-8"))
    return {**arrays, "hidden_on_photos": stored["hidden_on_photos"]}


def told(visibility: np.ndarray, seen: np.ndarray) -> list[str]:
    """Cells: hidden points, AUC, seen points that are called seen and hidden ones called hidden, percent."""
    return [
        f"{100 * (~seen).mean():.1f}",
        f"{area_under_roc(visibility, seen):.3f}",
        f"{100 * (visibility[seen] >= VISIBLE_FROM).mean():.1f}",
        f"{100 * (visibility[~seen] < VISIBLE_FROM).mean():.1f}",
    ]


TOLD = ["hidden points, %", "AUC", "seen points called seen, %", "hidden points called hidden, %"]


def fill_table(rows: dict[str, dict]) -> str:
    """Markdown: a line per network and way of covering."""
    cells = []
    for name, row in rows.items():
        pairs = zip(FILLS, row["visibility"], row["seen"], strict=True)
        cells += [[name, fill, *told(visibility, seen)] for fill, visibility, seen in pairs]
        cells.append([name, "**all**", *told(row["visibility"], row["seen"])])
    return pages.markdown_table(["network", "covered with", *TOLD], cells)


def region_table(row: dict) -> str:
    """Markdown: a line per region of the face, with the errors of seen and of hidden points."""
    cells = []
    for region, points in REGIONS.items():
        visibility, seen, error = (row[key][..., list(points)] for key in ("visibility", "seen", "error"))
        errors = [f"{100 * error[part].mean():.1f}" for part in (seen, ~seen)]
        cells.append([region, *told(visibility, seen), *errors])
    return pages.markdown_table(["region", *TOLD, "error of seen points, %", "of hidden ones, %"], cells)


def calibration(visibility: np.ndarray, seen: np.ndarray, bins: int = BINS) -> np.ndarray:
    """(B, 3): mean visibility, share that is seen and number of points, of bins of equal width."""
    place = np.minimum((visibility * bins).astype(int), bins - 1)
    rows = [(visibility[place == b].mean(), seen[place == b].mean(), (place == b).sum())
            for b in range(bins) if (place == b).any()]  # fmt: skip
    return np.array(rows)


def draw(rows: dict[str, dict]):
    """The figure: calibration and ROC curves of each network."""
    figure, axes = plots.new_figure(1, 2, width=4.4, height=3.6)
    axes[0].plot([0, 100], [0, 100], color=plots.GUIDE_COLOUR, linewidth=1)
    for (name, row), colour in zip(rows.items(), plots.SERIES_COLOURS, strict=False):
        visibility, seen = row["visibility"].ravel(), row["seen"].ravel()
        claimed, share, _ = calibration(visibility, seen).T
        axes[0].plot(100 * claimed, 100 * share, "o-", color=colour, label=name, markersize=4)
        limits = np.linspace(0, 1.001, 201)
        caught, wrong = (
            np.searchsorted(np.sort(visibility[part]), limits) / part.sum() for part in (~seen, seen)
        )
        axes[1].plot(100 * wrong, 100 * caught, color=colour, label=name)
    axes[0].set(xlabel="visibility, %", ylabel="points that are seen, %")
    axes[1].set(xlabel="seen points called hidden, %", ylabel="hidden points called hidden, %")
    axes[1].set_xlim(0, 40)
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8, loc="lower right")
    return figure


TEXT = """# Which points are hidden

`Face.visibility` says for each point, from 0 to 1, whether it can be seen: nothing covers it and it lies in
the image. Checked on {count} labelled images of held-out people by `python -m benchmarks.visibility.page`. A
rectangle, an ellipse or one side of each image is covered, so it is known exactly which points are hidden.
The photos that cover faces here are none of those that were used in fitting. Each network finds the points
of the covered image itself, from the whole image; nothing tells it where they are.

![Calibration and ROC curves](visibility.png)

{fills}

AUC is the area under the ROC curve: the share of all pairs of a seen and a hidden point in which the seen one
has the larger visibility. The limit for the other two columns is {limit:g}. A part of the same photo is the
hardest to tell: it has the colours and the light of the face.

## Regions

`{first}`, all covers. Errors are in percent of the inter-ocular distance.

{regions}

## Faces that nothing was put on

{clean}

The images of the data set and these photos have hands, hair and microphones of their own, which nobody has
labelled, and some faces reach beyond the image. On the twelve photos of another origin on which `heatmapnet`
calls the most points hidden these are, by eye: points beyond the image, under beards, a collar, a hand and
hair, and wrongly a screwed-up nose, a brow and a cheek that nothing covers.

## What it does not say

- A turned head hides points of its own: the far cheek, the far corner of an eye. The labels do not say
  which, so nothing was learned about them, and such points count as seen.
- The visibility is scaled on covers like these, where about every fifth point is hidden. Where fewer are, a
  value of 0.5 means less than an even chance that the point is hidden.
- Glasses and beards were not used as covers.
"""


def clean_table(rows: dict[str, dict]) -> str:
    """Markdown: share of points called hidden on images without a cover."""
    cells = []
    for name, row in rows.items():
        on_photos = row["hidden_on_photos"]
        share = 100 * (row["clean_visibility"] < VISIBLE_FROM).mean()
        cells.append([name, f"{share:.1f}", "-" if on_photos is None else f"{100 * on_photos:.1f}"])
    head = ["network", "held-out people: called hidden, %", "photos of another origin: called hidden, %"]
    return pages.markdown_table(head, cells)


def write_page() -> None:
    """Write README.md and visibility.png from the records."""
    rows = {name: load(name) for name in CHECKPOINTS}
    text = TEXT.format(
        count=rows[CHECKPOINTS[0]]["seen"].shape[1], fills=fill_table(rows), limit=VISIBLE_FROM,
        first=CHECKPOINTS[0], regions=region_table(rows[CHECKPOINTS[0]]), clean=clean_table(rows),
    )  # fmt: skip
    pages.write_if_changed(HERE / "README.md", text)
    plots.write_figure(draw(rows), HERE / "visibility.png", dpi=100)


if __name__ == "__main__":
    pages.run_page(__doc__, write_page, measure)
