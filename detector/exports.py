"""Results as files: JSON, CSV, COCO keypoints and iBUG `.pts`.

    write_results(found, "faces.json", "coco")     # or 'json', 'csv'; for 'pts' a folder
    found = read_results("faces.json")             # the format shows in the content

Files are written beside and then renamed, item by item, so that any number of images
fits into memory. Precision and units: detector/results.py.
"""

import csv
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from data_files import read_pts
from detector.coco import read_coco, write_coco
from detector.results import COLUMNS, ImageFaces, from_plain, from_rows, make_face, to_plain, to_rows
from geometry import box_from_keypoints, check_keypoints

FORMATS = ("json", "csv", "coco", "pts")
PTS_ORIGIN = 1  # these files count pixels from 1
FURTHER_FACE = re.compile(r"(?P<stem>.+)\.face(?P<number>[0-9]+)")


def write_results(found: Iterable[ImageFaces], path, format: str = "json", *, base=None) -> None:
    """Write results to a file; with 'pts' to a folder, one file a face.

    found: iterated more than once (an iterator is made a list).
    'json' keeps everything; 'coco' leaves out unreadable images; 'csv' has one row per face;
    'pts' holds keypoints alone: a.pts is the first face of a.jpg, a.face1.pts its second, in
    the folders of the images below `base` (by default their common folder). If an a.png lies
    beside the a.jpg, its file is a.png.pts. What was at `path` is replaced.
    """
    found = list(found) if isinstance(found, Iterator) else found
    path = Path(path)
    if format == "pts":
        with beside(path) as folder:
            _write_pts_folder(found, folder, common_folder(found) if base is None else Path(base))
        return
    with (
        beside(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):  # names of files may be no text
        write_text(found, file, format)


def write_text(found: Iterable[ImageFaces], file: TextIO, format: str) -> None:
    """Write results as 'json', 'csv' or 'coco' to an open text file (coco: iterates `found` twice)."""
    writers = {"json": _write_json, "csv": _write_csv, "coco": write_coco}
    if format not in writers:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    writers[format](found, file)


def read_results(path) -> list[ImageFaces]:
    """Results from a file that `write_results` wrote, or a folder of .pts files.

    .pts files say neither the image's ending and size nor boxes: the image is named without
    ending, and the box is the smallest around the keypoints.
    Raises FileNotFoundError, or ValueError for anything else.
    """
    path = Path(path)
    if path.is_dir():
        return _read_pts_folder(path)
    if not path.is_file():
        raise FileNotFoundError(f"no results at {path}")
    if path.suffix == ".pts":
        return [_pts_image(path, path.stem)]
    try:
        if path.suffix == ".csv":
            return _read_csv(path)
        values = json.loads(path.read_text(encoding="utf-8"))
        return read_coco(values) if isinstance(values, dict) else [from_plain(item) for item in values]
    except (ValueError, TypeError, csv.Error) as error:
        raise ValueError(f"{path} does not hold results: {error}") from error


@contextmanager
def beside(path) -> Iterator[Path]:
    """A path beside `path`, which replaces it (file or folder) once the block has succeeded."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    new, old = (path.with_name(f".{path.name}.{kind}.{os.getpid()}") for kind in ("new", "old"))
    try:
        yield new
        if path.is_dir():  # a folder with content cannot be replaced in one step
            os.replace(path, old)
        os.replace(new, path)
        _remove(old)
    finally:
        _remove(new)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


# --- JSON and CSV --------------------------------------------------------------------------


def _write_json(found: Iterable[ImageFaces], file: TextIO) -> None:
    file.write("[")
    for number, image in enumerate(found):
        file.write((",\n" if number else "\n") + json.dumps(to_plain(image), allow_nan=False))
    file.write("\n]\n")


def _write_csv(found: Iterable[ImageFaces], file: TextIO) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(to_rows(found))


def _read_csv(path: Path) -> list[ImageFaces]:
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = csv.reader(file)
        return list(from_rows(next(rows, []), rows))


# --- .pts ----------------------------------------------------------------------------------


def write_pts(path, keypoints) -> None:
    """Keypoints (68, 2) in pixels as an iBUG .pts file, which counts from 1; `read_pts` is the inverse."""
    points = check_keypoints(keypoints).astype("float64") + PTS_ORIGIN
    lines = [f"{x:.3f} {y:.3f}" for x, y in points]
    text = "\n".join(["version: 1", f"n_points: {len(points)}", "{", *lines, "}", ""])
    with beside(Path(path)) as temporary:
        temporary.write_text(text, encoding="ascii")


def common_folder(found: Iterable[ImageFaces]) -> Path:
    """The deepest folder that holds all images; the working folder where there are none."""
    common = None
    for image in found:
        folder = os.path.dirname(os.path.abspath(image.image))
        common = folder if common is None else os.path.commonpath([common, folder])
    return Path(common or ".")


def _write_pts_folder(found: Iterable[ImageFaces], folder: Path, base: Path) -> None:
    folder.mkdir(parents=True)
    for image in found:
        name = place_below(folder, image.image, base)
        paths = _pts_paths(name.with_suffix(""), len(image.faces))
        if any(path.exists() for path in paths):
            paths = _pts_paths(name, len(image.faces))
        for path, face in zip(paths, image.faces, strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_pts(path, face.keypoints)


def _pts_paths(stem: Path, count: int) -> list[Path]:
    further = [""] + [f".face{number}" for number in range(1, count)]
    return [stem.with_name(f"{stem.name}{ending}.pts") for ending in further[:count]]


def place_below(folder: Path, image: str, base: Path) -> Path:
    """Where what belongs to an image goes: the image's path from `base` on, below `folder`."""
    relative = Path(os.path.relpath(os.path.abspath(image), os.path.abspath(base)))
    return folder / Path(*[part for part in relative.parts if part != os.pardir])


def _pts_image(path: Path, name: str) -> ImageFaces:
    keypoints = read_pts(path, PTS_ORIGIN)
    return ImageFaces(name, None, [make_face(keypoints, box_from_keypoints(keypoints))])


def _read_pts_folder(folder: Path) -> list[ImageFaces]:
    images: dict[str, ImageFaces] = {}
    for path in sorted(folder.rglob("*.pts"), key=lambda path: (path.parent, *_pts_order(path))):
        name = path.relative_to(folder).with_suffix("").as_posix()
        further = FURTHER_FACE.fullmatch(name)
        image = _pts_image(path, further["stem"] if further else name)
        images.setdefault(image.image, image)
        if images[image.image] is not image:
            images[image.image].faces.extend(image.faces)
    return list(images.values())


def _pts_order(path: Path) -> tuple[str, int]:
    """Faces of one image in their order: a.pts, a.face2.pts, a.face10.pts."""
    further = FURTHER_FACE.fullmatch(path.stem)
    return (further["stem"], int(further["number"])) if further else (path.stem, 0)
