"""Results as files: JSON, CSV, COCO keypoints and iBUG `.pts`.

    write_results(found, "faces.json", "coco")     # or 'json', 'csv'; for 'pts' a folder
    found = read_results("faces.json")             # the format is recognised by the content

Files are written item by item, so that any number of images fits into memory, and appear when they are
whole. Precision and units: detector/results.py. Names of .pts files: detector/outputs.py.
"""

import csv
import errno
import json
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import count, pairwise
from pathlib import Path
from typing import TextIO

import numpy as np

from detector.outputs import files_below, output_path, pts_image, pts_names
from detector.predictor import CONFIDENCE_DECIMALS, Face, rounded
from detector.results import (
    COLUMNS,
    ImageFaces,
    from_dict,
    from_rows,
    make_face,
    to_dict,
    to_rows,
)
from files import atomic_path, read_pts
from geometry import box_from_keypoints
from landmarks import CLOSED_GROUPS, GROUPS, NUM_KEYPOINTS, check_keypoints

FORMATS = ("json", "csv", "coco", "pts")
PTS_ORIGIN = 1  # these files count pixels from 1


def write_results(
    found: Iterable[ImageFaces],
    path,
    format: str = "json",
    *,
    base=None,
    report: Callable[[str, str], None] | None = None,
) -> None:
    """Write results to a file; with 'pts' to a folder, one file per face.

    found: iterated more than once (an iterator is made a list).
    format: 'json' keeps everything; 'coco' leaves out images that could not be read; 'csv' has one row per
        face; 'pts' holds keypoints alone: a.jpg.pts is the first face of a.jpg, a.jpg.face1.pts its second,
        in the folders of the images below `base` (by default their common folder).
    report: called with an image and what is wrong where its .pts files cannot be written; without it, that
        is an error.
    A file, or a folder of .pts files, that was at `path` is replaced.
    Raises ValueError for a path at which there is anything else.
    """
    found = list(found) if isinstance(found, Iterator) else found
    path = Path(path)
    _check_replaceable(path, format)
    if format == "pts":
        with atomic_path(path) as folder:
            base = common_folder(found) if base is None else Path(base)
            _write_pts_folder(found, folder, base, report)
        return
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):  # names of files may be no text
        write_text(found, file, format)


def _check_replaceable(path: Path, format: str) -> None:
    if format != "pts":
        if path.is_dir():
            raise ValueError(f"{path} is a folder, which a file of results does not replace")
    elif path.is_dir():
        other = next((file for file in files_below(path) if file.suffix != ".pts"), None)
        if other is not None:
            raise ValueError(f"{path} holds {other.name}, and only a folder of .pts files is replaced")
    elif path.exists():
        raise ValueError(f"{path} is a file, which a folder of .pts files does not replace")


def write_text(found: Iterable[ImageFaces], file: TextIO, format: str) -> None:
    """Write results as 'json', 'csv' or 'coco' to an open text file (coco: iterates `found` twice)."""
    writers = {"json": _write_json, "csv": _write_csv, "coco": write_coco}
    if format not in writers:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    writers[format](found, file)


def read_results(path) -> list[ImageFaces]:
    """Results from a file that `write_results` wrote, or a folder of .pts files.

    .pts files hold neither the image's size nor boxes: the box is the smallest around the keypoints.
    a.jpg.pts is the face of a.jpg, b.pts that of an image named b.
    Raises FileNotFoundError, or ValueError for a file that holds no results.
    """
    path = Path(path)
    if path.is_dir():
        return _read_pts_folder(path)
    if not path.is_file():
        raise FileNotFoundError(f"no results at {path}")
    if path.suffix == ".pts":
        return [_read_pts_file(path, pts_image(path.name)[0])]
    try:
        if path.suffix == ".csv":
            return _read_csv(path)
        values = json.loads(path.read_text(encoding="utf-8"))
        return read_coco(values) if isinstance(values, dict) else [from_dict(item) for item in values]
    except (ValueError, TypeError, csv.Error) as error:
        raise ValueError(f"{path} does not hold results: {error}") from error


# --- JSON and CSV --------------------------------------------------------------------------


def _write_json(found: Iterable[ImageFaces], file: TextIO) -> None:
    file.write("[")
    for number, image in enumerate(found):
        file.write((",\n" if number else "\n") + json.dumps(to_dict(image), allow_nan=False))
    file.write("\n]\n")


def _write_csv(found: Iterable[ImageFaces], file: TextIO) -> None:
    plain = csv.writer(file, lineterminator="\n")
    quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    plain.writerow(COLUMNS)
    for row in to_rows(found):
        # Python quotes a carriage return by itself only from 3.13 on
        (quoted if "\r" in row[0] else plain).writerow(row)


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
    with atomic_path(Path(path)) as temporary:
        temporary.write_text(text, encoding="ascii")


def common_folder(found: Iterable[ImageFaces]) -> Path:
    """The deepest folder that holds all images; the working folder where there are none."""
    common = None
    for image in found:
        folder = os.path.dirname(os.path.abspath(image.image))
        common = folder if common is None else os.path.commonpath([common, folder])
    return Path(common or ".")


def _write_pts_folder(
    found: Iterable[ImageFaces], folder: Path, base: Path, report: Callable[[str, str], None] | None
) -> None:
    folder.mkdir(parents=True)
    for image in found:
        names = pts_names(image.image, base, len(image.faces))
        try:
            for name, face in zip(names, image.faces, strict=True):
                target = output_path(folder, name)
                if target.exists():
                    raise ValueError(f"{image.image} is there twice, perhaps in two spellings")
                write_pts(target, face.keypoints)
        except OSError as error:
            if report is None or error.errno != errno.ENAMETOOLONG:
                raise
            report(image.image, f"its .pts file cannot be written: {error.strerror}")


def _read_pts_file(path: Path, image: str) -> ImageFaces:
    keypoints = read_pts(path, PTS_ORIGIN)
    return ImageFaces(image, None, [make_face(keypoints, box_from_keypoints(keypoints))])


def _read_pts_folder(folder: Path) -> list[ImageFaces]:
    named = [(*pts_image(path.relative_to(folder).as_posix()), path) for path in folder.rglob("*.pts")]
    images: dict[str, ImageFaces] = {}
    for name, _, path in sorted(named):
        faces = _read_pts_file(path, name).faces
        images.setdefault(name, ImageFaces(name)).faces.extend(faces)
    return list(images.values())


# --- COCO ---------------------------------------------------------------------------------------


HIDDEN, VISIBLE = 1, 2  # COCO's v of a point that has a place
CATEGORY_ID = 1


def category() -> dict:
    """The category 'face': names of the 68 keypoints, and which ones are joined by a line (from 1)."""
    names = [f"{group}_{place}" for group, indices in GROUPS.items() for place in range(len(indices))]
    lines = []
    for group, indices in GROUPS.items():
        path = [*indices, indices[0]] if group in CLOSED_GROUPS else indices
        lines += [[a + 1, b + 1] for a, b in pairwise(path)]
    return {
        "id": CATEGORY_ID,
        "name": "face",
        "supercategory": "person",
        "keypoints": names,
        "skeleton": lines,
    }


def write_coco(found: Iterable[ImageFaces], file: TextIO) -> None:
    """Write images and faces, one item per line. pycocotools and CVAT ("COCO Keypoints 1.0") read it.

    found: iterated twice (images, then faces), so it must not be an iterator. Images
        that could not be read are left out; ids count from 1.
    """
    file.write('{"info": {"description": "68 facial keypoints, iBUG 300-W order"}, "licenses": [],\n')
    file.write(f'"categories": [{json.dumps(category())}],\n"images": [')
    readable = ((number, image) for number, image in enumerate(found, start=1) if not image.error)
    _write_items(file, (_image_item(number, image) for number, image in readable))
    file.write('],\n"annotations": [')
    ids = count(1)
    faces = ((number, face) for number, image in enumerate(found, start=1) for face in image.faces)
    _write_items(file, (_annotation(next(ids), number, face) for number, face in faces))
    file.write("]}\n")


def _write_items(file: TextIO, items: Iterable[dict]) -> None:
    for number, item in enumerate(items):
        file.write((",\n" if number else "\n") + json.dumps(item, allow_nan=False))
    file.write("\n")


def _image_item(image_id: int, image: ImageFaces) -> dict:
    if image.size_wh is None:
        raise ValueError(f"COCO needs the size of every image, and that of {image.image!r} is unknown")
    width, height = image.size_wh
    return {"id": image_id, "file_name": image.image, "width": int(width), "height": int(height)}


def _annotation(annotation_id: int, image_id: int, face: Face) -> dict:
    left, top, right, bottom = np.asarray(face.box_xyxy, dtype=np.float64)
    flags = np.where(face.hidden, HIDDEN, VISIBLE).tolist()
    triples = [[x, y, flag] for (x, y), flag in zip(rounded(face.keypoints), flags, strict=True)]
    item = {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": CATEGORY_ID,
        "iscrowd": 0,
        "bbox": rounded([left, top, right - left, bottom - top]),
        "area": rounded((right - left) * (bottom - top)),
        "segmentation": [],  # CVAT asks for the field
        "num_keypoints": NUM_KEYPOINTS,
        "keypoints": [value for triple in triples for value in triple],
    }
    if face.confidence is not None:
        item["score"] = rounded(face.confidence, CONFIDENCE_DECIMALS)
    if np.isfinite(face.radius).all():
        item["radius"] = rounded(face.radius)
    if np.isfinite(face.visibility).all():
        item["visibility"] = rounded(face.visibility)
    return item


def read_coco(values: dict) -> list[ImageFaces]:
    """Images and faces of a COCO file's object; annotations need 68 keypoints, all of them labelled."""
    try:
        images = {
            item["id"]: ImageFaces(str(item["file_name"]), (int(item["width"]), int(item["height"])))
            for item in values["images"]
        }
        for item in values["annotations"]:
            images[item["image_id"]].faces.append(_face_of(item))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a COCO file of keypoints: {error!r} is missing or wrong") from error
    return list(images.values())


def _face_of(item: dict) -> Face:
    triples = np.asarray(item["keypoints"], dtype=np.float64)
    if triples.shape != (3 * NUM_KEYPOINTS,):
        raise ValueError(
            f"annotation {item['id']} has {triples.size} keypoint values, expected 3 x {NUM_KEYPOINTS}"
        )
    triples = triples.reshape(-1, 3)
    if not triples[:, 2].all():
        raise ValueError(f"annotation {item['id']} has keypoints without a place (v = 0)")
    left, top, width, height = item["bbox"]
    box = [left, top, left + width, top + height]
    return make_face(triples[:, :2], box, item.get("score"), item.get("radius"), item.get("visibility"))
