"""Compare predictors face by face, from stored records alone, or on photos with hand-made points:

    python compare.py heatmapnet-identity heatmapnet-small-identity --split identity --faces whole
    python compare.py constant naimishnet-identity heatmapnet-identity --output reports/mine
    python compare.py heatmapnet heatmapnet-small --photos FOLDER

Every other predictor is compared with the first one on the same faces. A predictor is a checkpoint's folder
or name, a baseline (constant, nearest), or the path of a record without its ending. A record is made by
`python evaluate.py NAME --split S --faces F --record`. With `--photos`, a folder of images with `.pts` files
beside them, checkpoints and baselines run on the box around each photo's points. Results go to
reports/compare/ (or --output): README.md, ced.png, faces.csv and, where the images are at hand,
differences.png with the ten faces that differ most. Do not publish that picture of the data set's images.
"""

import argparse
import csv
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import plots
from benchmarks.pages import markdown_table, write_if_changed
from checkpoint import CONFIG_FILE, find_checkpoint, load_model_config
from data_fetch import DataError, find_data
from data_load import SPLITS, FacialKeypointsDataset
from evaluate import BASELINES, predict_photos, record_stem
from files import atomic_path, read_image
from geometry import box_from_keypoints, square_crop_matrix, transform_points, warp
from landmarks import REGIONS
from training.evaluation import FACES, LeakError, check_leak
from training.metrics import YAW_BINS, bootstrap_interval, ced, nme_per_face, point_errors, yaw_ratio
from training.own_network import load_model_file
from training.records import load_record

SHOWN_FACES = 10
SHOWN_SCALE, SHOWN_SIZE = 2.0, 240  # side of a shown crop over the label box; its pixels
CED_LIMITS = np.linspace(0, 0.12, 241)


@dataclass(frozen=True)
class Predictor:
    """The stored predictions of one predictor.

    name: for tables. row: the stored figures. paths, identities: of each face. predicted, true: (N, 68, 2) in
    pixels of the image; predicted is NaN where no face was found.
    """

    name: str
    row: dict
    paths: list[str]
    identities: np.ndarray
    predicted: np.ndarray
    true: np.ndarray

    @property
    def errors(self) -> np.ndarray:
        """NME (N,) of each face as a fraction, NaN where no face was found."""
        return nme_per_face(self.predicted, self.true)


def short_name(checkpoint: str) -> str:
    """The name of a checkpoint in tables: of its run, where the folder is RUN/checkpoint."""
    path = Path(checkpoint)
    return path.parent.name if path.name == "checkpoint" and path.parent.name else path.name


def load_predictor(name: str, split: str, faces: str) -> Predictor:
    """The record of a predictor.

    Raises ValueError that says how to make it if there is none, or why it would mean nothing.
    """
    stem = Path(name)
    if not stem.with_name(stem.name + ".npz").is_file():
        stem = record_stem(name, split, faces)
    if not stem.with_name(stem.name + ".npz").is_file():
        if name not in BASELINES:
            config = load_model_config(find_checkpoint(name))
            try:
                check_leak(config.trained_on, split, False, config.started_from)
            except LeakError as error:
                raise ValueError(f"{name}: {str(error).partition(', or pass')[0]}") from error
        raise ValueError(
            f"there is no record of {name!r} on {split} x {faces}; make it with: "
            f"python evaluate.py {name} --split {split} --faces {faces} --record"
        )
    row, arrays = load_record(stem)
    paths = [str(path) for path in arrays["paths"]]
    title = str(row.get("checkpoint") or row.get("method") or stem.name)
    return Predictor(short_name(title), row, paths, arrays["identities"], arrays["predicted"], arrays["true"])


def run_on_photos(name: str, photos: FacialKeypointsDataset, folder: Path) -> Predictor:
    """The predictions of a checkpoint or baseline on photos in `folder`; each photo counts as one person."""
    evaluation, about = predict_photos(name, photos, progress=True)
    paths = [path.relative_to(folder).as_posix() for path in photos.paths]
    return Predictor(short_name(name), about, paths, np.array(paths), evaluation.predicted, evaluation.true)


def aligned(predictors: list[Predictor]) -> list[Predictor]:
    """The predictors on the faces that all of them have, in the order of the first one.

    Raises ValueError if they have no face in common, or different labels for a face.
    """
    common = set(predictors[0].paths).intersection(*(predictor.paths for predictor in predictors[1:]))
    if not common:
        raise ValueError("these records have no face in common: they are of different splits")
    order = [path for path in predictors[0].paths if path in common]
    picked = []
    for one in predictors:
        place = {path: index for index, path in enumerate(one.paths)}
        rows = [place[path] for path in order]
        values = (one.identities[rows], one.predicted[rows], one.true[rows])
        picked.append(Predictor(one.name, one.row, order, *values))
    for one in picked[1:]:
        if not np.allclose(one.true, picked[0].true, atol=0.01):
            raise ValueError(f"{one.name} was measured with other labels than {picked[0].name}")
    return picked


# --- what is compared ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """A predictor against the first one, over the faces that both found; fractions.

    faces: how many. mean, low, high: NME less the first one's, with its 95 % interval over people.
    better: share of faces with a smaller error.
    """

    faces: int
    mean: float
    low: float
    high: float
    better: float


def difference(first: Predictor, other: Predictor) -> Difference:
    """The paired difference of `other` less `first`. Raises ValueError if no face was found by both."""
    change = other.errors - first.errors
    both = ~np.isnan(change)
    if not both.any():
        raise ValueError(f"{first.name} and {other.name} have found no face in common")
    low, high = bootstrap_interval(change, first.identities)
    return Difference(
        int(both.sum()), float(change[both].mean()), low, high, float((change[both] < 0).mean())
    )


def summary_table(predictors: list[Predictor]) -> str:
    """Markdown: NME, found, and the paired difference to the first predictor."""
    rows = []
    for number, one in enumerate(predictors):
        errors = one.errors
        cells = [one.name, _percent(np.nanmean(errors)), f"{100 * (~np.isnan(errors)).mean():.1f}"]
        if number:
            change = difference(predictors[0], one)
            cells.append(f"{100 * change.mean:+.2f} ({100 * change.low:+.2f} to {100 * change.high:+.2f})")
            cells += [f"{100 * change.better:.0f}", str(change.faces)]
        else:
            cells += ["-"] * 3
        rows.append(cells)
    columns = [
        "predictor",
        "NME, %",
        "found, %",
        "NME minus that of the first row (95 % interval over people)",
    ]
    return markdown_table([*columns, "faces where it beats the first row, %", "faces"], rows)


def regions_table(predictors: list[Predictor]) -> str:
    """Markdown: NME by region of the face, over the faces that a predictor found."""
    rows = []
    for one in predictors:
        share = point_errors(one.predicted, one.true)
        scale = share.mean(axis=1) / one.errors
        regions = [share[:, list(points)].mean(axis=1) / scale for points in REGIONS.values()]
        rows.append([one.name, *(_percent(np.nanmean(values)) for values in regions)])
    return markdown_table(["predictor", *REGIONS], rows)


def yaw_table(predictors: list[Predictor]) -> str:
    """Markdown: NME by the yaw ratio of the labels."""
    turned = np.abs(yaw_ratio(predictors[0].true))
    bins = {name: (turned >= low) & (turned < high) for name, (low, high) in YAW_BINS.items()}
    columns = ["predictor", *(f"{name} ({inside.sum()} faces)" for name, inside in bins.items())]
    rows = []
    for one in predictors:
        values = [np.nanmean(one.errors[inside]) if inside.any() else np.nan for inside in bins.values()]
        rows.append([one.name, *map(_percent, values)])
    return markdown_table(columns, rows)


def _percent(value: float) -> str:
    return "-" if np.isnan(value) else f"{100 * value:.2f}"


def most_different(predictors: list[Predictor], count: int = SHOWN_FACES) -> list[int]:
    """The faces (indices) on which errors of the predictors lie farthest apart, the farthest first.

    A face that only some of them found comes before all others.
    """
    errors = np.stack([np.where(np.isnan(one.errors), np.inf, one.errors) for one in predictors])
    low, high = errors.min(axis=0), errors.max(axis=0)
    spread = np.where(np.isinf(low), 0.0, high - np.where(np.isinf(low), 0.0, low))
    return [int(index) for index in np.argsort(-spread, kind="stable")[:count]]


# --- files -----------------------------------------------------------------------------------------


def write_faces(predictors: list[Predictor], path: Path) -> None:
    """Write a CSV, one row per face: path, person, yaw ratio, and the NME of every predictor in percent."""
    turned = yaw_ratio(predictors[0].true)
    errors = [one.errors for one in predictors]
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", "person", "yaw_ratio", *(one.name for one in predictors)])
        for index, image in enumerate(predictors[0].paths):
            values = ["" if np.isnan(e[index]) else f"{100 * e[index]:.3f}" for e in errors]
            writer.writerow([image, predictors[0].identities[index], f"{turned[index]:.3f}", *values])


def draw_ced(predictors: list[Predictor], title: str):
    """The cumulative error distributions as a figure."""
    figure, axis = plots.new_figure(width=6.5, height=4.2)
    series = {one.name: (CED_LIMITS, ced(one.errors, CED_LIMITS)) for one in predictors}
    plots.draw_ced(axis, series, title)
    return figure


def draw_differences(predictors: list[Predictor], data_folder: Path):
    """The faces that differ most, one row per predictor: labels green, predictions magenta."""
    picked = most_different(predictors)
    panels = []
    for one in predictors:
        for column, index in enumerate(picked):
            matrix = square_crop_matrix(box_from_keypoints(one.true[index]), SHOWN_SCALE, SHOWN_SIZE)
            crop = warp(read_image(data_folder / one.paths[index]), matrix, (SHOWN_SIZE, SHOWN_SIZE))
            error = one.errors[index]
            said = "not found" if np.isnan(error) else f"{100 * error:.1f} %"
            panel = {"image": crop, "keypoints": transform_points(one.true[index], matrix), "size": 4}
            if not np.isnan(error):
                panel["predicted"] = transform_points(one.predicted[index], matrix)
            panels.append({**panel, "title": f"{one.name}\n{said}" if column == 0 else said})
    return plots.face_grid(panels, columns=len(picked))


SHEET = """The faces on which the predictors differ most, a row for each predictor, with their NME. Green: the
points that are compared with. Magenta: predicted points."""


def write_comparison(predictors: list[Predictor], title: str, output: Path, data_folder: Path | None) -> str:
    """Write all files into `output`; returns the text of README.md."""
    parts = [f"# {title}", summary_table(predictors), "By region of the face, NME in percent:"]
    parts += [regions_table(predictors), "By yaw ratio of the head, NME in percent:", yaw_table(predictors)]
    parts.append("![Cumulative error distributions](ced.png)")
    if data_folder is not None:
        parts += [SHEET, "![The faces that differ most](differences.png)"]
    parts.append("Each face, its NME in percent: [faces.csv](faces.csv).")
    text = "\n\n".join(parts) + "\n"
    write_faces(predictors, output / "faces.csv")
    write_if_changed(output / "ced.png", plots.figure_png(draw_ced(predictors, title)))
    if data_folder is not None:
        write_if_changed(
            output / "differences.png", plots.figure_png(draw_differences(predictors, data_folder))
        )
    write_if_changed(output / "README.md", text)
    return text


def find_images(predictors: list[Predictor]) -> Path | None:
    """The folder of the data set if it is on this machine and has the compared images, else None."""
    try:
        folder = find_data(download=False).folder
    except DataError:
        return None
    return folder if all((folder / path).is_file() for path in predictors[0].paths) else None


def _from_records(args: argparse.Namespace) -> tuple[list[Predictor], str, Path | None]:
    """The predictors, a title, and the folder of their images if it is there."""
    split, faces = args.split or "identity", args.faces or "whole"
    predictors = aligned([load_predictor(name, split, faces) for name in args.predictors])
    leak = " (leaks)" if split == "official" else ""
    people = len(set(predictors[0].identities))
    title = (
        f"Split {split}{leak}, faces given as {faces}: {len(predictors[0].paths)} faces of {people} people"
    )
    return predictors, title, find_images(predictors)


def _from_photos(args: argparse.Namespace) -> tuple[list[Predictor], str, Path]:
    photos = FacialKeypointsDataset.from_pts(args.photos, cache_bytes=0)
    predictors = [run_on_photos(name, photos, args.photos) for name in args.predictors]
    title = f"{len(photos)} photos of {args.photos.name}, each counted as one person"
    return predictors, title, args.photos


def parse_arguments(arguments=None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "predictors", nargs="+", metavar="NAME", help="checkpoint, baseline, or record without ending"
    )
    parser.add_argument("--split", choices=SPLITS, help="default: identity")
    parser.add_argument("--faces", choices=FACES, help="default: whole")
    parser.add_argument(
        "--photos", type=Path, metavar="FOLDER", help="measure on these photos with .pts files instead"
    )
    parser.add_argument(
        "--model-file", metavar="FILE", help="the Python file that registers a checkpoint's network"
    )
    parser.add_argument("--output", type=Path, help="folder for the results (default: reports/compare)")
    args = parser.parse_args(arguments)
    if args.photos and (args.split or args.faces):
        parser.error("--photos measures in the box around the points; leave out --split and --faces")
    if len(args.predictors) < 2:
        parser.error("name two predictors or more")
    return args


def main(arguments=None) -> int:
    """Compare, print the tables, and return the exit code."""
    args = parse_arguments(arguments)
    try:
        if args.model_file:
            folders = [Path(name) for name in args.predictors if (Path(name) / CONFIG_FILE).is_file()]
            load_model_file(args.model_file, *folders)
        predictors, title, images = _from_photos(args) if args.photos else _from_records(args)
        output = args.output or plots.reports_folder() / "compare"
        text = write_comparison(predictors, title, output, images)
    except (ValueError, OSError, DataError) as error:
        print(f"compare.py: {error}", file=sys.stderr)
        return 1
    print(text)
    print(f"{output}: {', '.join(sorted(path.name for path in output.iterdir()))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
