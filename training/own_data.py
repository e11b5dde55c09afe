"""Your own images with keypoints: what can be used of them, and what cannot and why.

    data = read_csv("faces.csv", "images/")        # or read_pts_folder("photos/")
    print(data.table())
    train(recipe, dataset=data.dataset, validate=0.2, split_by=data.split_by)

Every image is opened once, so that a damaged file stops the reading and not the third epoch.
"""

import csv
import filecmp
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data_load import FacialKeypointsDataset, read_keypoints_csv
from files import IMAGE_SUFFIXES, atomic_path, one_line, read_pts
from landmarks import NUM_KEYPOINTS

MIN_IMAGES = 20
MIN_PEOPLE = 5  # fewer names are not people: IMG_0001, IMG_0002
SHOWN = 3  # names in a line of the table
PARTS_FILE = "parts.csv"  # in a run folder: which of the user's images were trained on


@dataclass
class OwnData:
    """Images that can be used, and (name, reason) of those that cannot."""

    dataset: FacialKeypointsDataset
    skipped: list[tuple[str, str]]

    @property
    def people(self) -> int:
        """The number of different identities, which are the names up to the last '_'."""
        return len(set(self.dataset.identities))

    @property
    def split_by(self) -> str:
        """'identity' where the names tell at least MIN_PEOPLE people, else 'random'."""
        return "identity" if self.people >= MIN_PEOPLE else "random"

    def table(self) -> str:
        """What was read and what was skipped, one line per reason."""
        lines = [f"read     {len(self.dataset):6} images, {self.people} different names before the last '_'"]
        lines.append(f"skipped  {len(self.skipped):6}")
        names_of = defaultdict(list)
        for name, reason in self.skipped:
            names_of[reason].append(name)
        for reason, names in sorted(names_of.items(), key=lambda item: -len(item[1])):
            more = ", ..." if len(names) > SHOWN else ""
            lines.append(f"         {len(names):6} {reason}: {', '.join(names[:SHOWN])}{more}")
        return "\n".join(lines)

    def check(self, split_by: str, min_images: int = MIN_IMAGES) -> None:
        """Raise ValueError for fewer than min_images images, and for names that do not tell people apart."""
        if len(self.dataset) < min_images:
            raise ValueError(
                f"{len(self.dataset)} images can be used, {len(self.skipped)} cannot; at least "
                f"{min_images} are needed"
            )
        if split_by == "identity" and self.people < MIN_PEOPLE:
            raise ValueError(
                f"the names up to the last '_' give {self.people} people, and a split by identity needs at "
                f"least {MIN_PEOPLE}; rename the files as PERSON_NUMBER, or use --split-by random"
            )


def read_own_data(csv_file=None, images=None, pts=None, *, progress: bool = False) -> OwnData:
    """The data of a CSV (`read_csv`) or of a folder with .pts files (`read_pts_folder`).

    Raises ValueError for both or neither.
    """
    if (csv_file is None) == (pts is None) or (images is not None and csv_file is None):
        raise ValueError("give a CSV file with its folder of images, or a folder of images with .pts files")
    return read_pts_folder(pts, progress=progress) if pts else read_csv(csv_file, images, progress=progress)


def read_csv(csv_file, images=None, *, progress: bool = False) -> OwnData:
    """The images in a keypoints CSV (`data_load.read_keypoints_csv`).

    images: the folder that file names are relative to; that of the CSV if not given.
    Raises FileNotFoundError for no CSV or folder, ValueError for a CSV without a row of column names.
    """
    folder = Path(images) if images is not None else Path(csv_file).parent
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder of images at {folder}")
    skipped: list[tuple[str, str]] = []
    names, keypoints = read_keypoints_csv(csv_file, skipped)
    hint = "" if images is not None else " (--images names another folder)"
    missing = f"there is no such image in {folder}{hint}"
    return _opened([folder / name for name in names], list(keypoints), skipped, progress, missing)


def read_pts_folder(folder, *, progress: bool = False) -> OwnData:
    """The images of a folder, each with a .pts file of the same name beside it (`files.read_pts`).

    Raises FileNotFoundError if there is no such folder, or no such image in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder of images with .pts files at {folder}")
    paths, keypoints, skipped = [], [], []
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    if not any(path.with_suffix(".pts").is_file() for path in images):
        raise FileNotFoundError(f"no image with a .pts file beside it in {folder}")
    stems = {path.stem for path in images}
    skipped += [
        (p.name, "no image beside the .pts file") for p in files if p.suffix == ".pts" and p.stem not in stems
    ]
    for path in images:
        points = path.with_suffix(".pts")
        if not points.is_file():
            skipped.append((path.name, "no .pts file beside the image"))
            continue
        try:
            keypoints.append(read_pts(points))
            paths.append(path)
        except (OSError, ValueError) as error:
            skipped.append((points.name, _reason(error, points)))
    return _opened(paths, keypoints, skipped, progress)


def _opened(
    paths: Sequence[Path], keypoints: Sequence, skipped: list, progress: bool, missing: str = "no such image"
) -> OwnData:
    """The data of the images that can be decoded and hold their points. missing: what is said of no image."""
    every = np.array(keypoints, dtype=np.float32).reshape(-1, NUM_KEYPOINTS, 2)
    dataset = FacialKeypointsDataset.from_paths(paths, every)
    kept = []
    for index, path in enumerate(tqdm(paths, "read", disable=not progress)):
        try:
            dataset.image(index)
            kept.append(index)
        except FileNotFoundError:
            skipped.append((path.name, missing))
        except (OSError, ValueError) as error:
            skipped.append((path.name, _reason(error, path)))
    if len(kept) == len(paths):
        return OwnData(dataset, skipped)
    usable = FacialKeypointsDataset.from_paths([paths[index] for index in kept], every[kept])
    return OwnData(usable, skipped)


def _reason(error: Exception, path: Path) -> str:
    """The text of an error without the file's name, so that equal reasons are counted together."""
    text = one_line(getattr(error, "strerror", None) or str(error))
    for name in (str(path), path.name):
        text = text.replace(f"the row of {name}", "its row").replace(name, "the file")
    return text


def write_parts(path, dataset: FacialKeypointsDataset, held_out: Sequence[int]) -> None:
    """Write a CSV with the file of each image and its part, 'train' or 'held_out'."""
    held = set(held_out)
    with atomic_path(path) as temporary:
        rows = [f'"{p}",{"held_out" if i in held else "train"}' for i, p in enumerate(dataset.paths)]
        temporary.write_text("\n".join(["file,part", *rows]) + "\n", encoding="utf-8")


def images_trained_on(checkpoint, paths: Sequence[Path]) -> int:
    """How many of these images the run of a checkpoint folder was trained on, by its parts.csv.

    A copy of the same name and content counts, too, where the original is still there.
    """
    file = Path(checkpoint).parent / PARTS_FILE
    if not file.is_file():
        return 0
    with file.open(newline="", encoding="utf-8") as stream:
        trained = [Path(row["file"]) for row in csv.DictReader(stream) if row["part"] == "train"]
    of_name = defaultdict(list)
    for path in trained:
        of_name[path.name].append(path)
    return sum(any(_is_same(path, other) for other in of_name[path.name]) for path in paths)


def _is_same(path: Path, other: Path) -> bool:
    if path.resolve() == other.resolve():
        return True
    return other.is_file() and filecmp.cmp(path, other, shallow=False)
