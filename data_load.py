"""The data set as PyTorch samples, its splits and labels, and the classic transforms.

    transform = Compose([Rescale(250), RandomCrop(224), Normalize(), ToTensor()])
    dataset = FacialKeypointsDataset("data/training_frames_keypoints.csv", "data/training", transform)
    dataset[0]["image"].shape, dataset[0]["keypoints"].shape      # (1, 224, 224), (68, 2)

A sample is {'image': HxWx3 uint8 RGB, 'keypoints': (68, 2) float32 (x, y) pixels}.
A transform takes a sample and returns a new one; `torchvision.transforms.Compose`
chains them. The pixel convention is that of `geometry.py`.
"""

import csv
import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from files import IMAGE_SUFFIXES, cv2, read_image, read_pts, to_gray, to_rgb
from geometry import FaceFrame, interocular_distance, resize_matrix, transform_points
from landmarks import FLIP_ORDER, GROUPS, NUM_KEYPOINTS

DATA_FOLDER = Path(__file__).parent / "data"
SPLITS_FILE = DATA_FOLDER / "splits.csv"
PSEUDO_LABELS_FILE = DATA_FOLDER / "pseudo_labels.npz"
IBUG_LABELS_FILE = DATA_FOLDER / "ibug_labels.npz"
LABEL_MAP_FILE = DATA_FOLDER / "label_map.npz"
DEFAULT_CACHE_BYTES = 2**30
MAX_COORDINATE = 1e6  # pixels; no image is so large

# --- files --------------------------------------------------------------------------------------


def read_keypoints_csv(csv_file, skipped: list | None = None) -> tuple[list[str], np.ndarray]:
    """File names and keypoints (N, 68, 2) float32 in pixels from a CSV.

    csv_file: a first row of column names, then one row per image: file name, x0, y0, x1, y1, ... x67, y67.
    skipped: if given, a wrong row is left out, and its file name and what is wrong are added to this list.
    Warns of file names that are listed more than once.
    Raises FileNotFoundError, or ValueError with row and column for a file without the row of names, a row
    of another length, a coordinate that is no finite number or lies far outside any image, and for a face
    whose points are all at one place.
    """
    csv_file = Path(csv_file)
    if not csv_file.is_file():
        raise FileNotFoundError(f"no keypoints file at {csv_file}")
    try:
        with csv_file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream)
            rows = [(reader.line_num, row) for row in reader if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{csv_file} is not a CSV file: {error}") from error
    if not rows:
        raise ValueError(f"{csv_file} is empty")
    _check_row_of_names(csv_file, rows[0][1])
    if skipped is not None:
        rows[1:] = [row for row in rows[1:] if not _is_skipped(*row, skipped)]
    names = [row[0] for _, row in rows[1:]]
    places = [f"{csv_file}, row {number}" for number, _ in rows[1:]]
    keypoints = _keypoints_of_rows(places, [row for _, row in rows[1:]])
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        shown = ", ".join(twice[:3])
        warnings.warn(f"{csv_file} lists {len(twice)} images more than once: {shown}", stacklevel=2)
    return names, keypoints.astype(np.float32)


def _keypoints_of_rows(places: list[str], rows: list[list[str]]) -> np.ndarray:
    """Keypoints (N, 68, 2) of N rows. places: their names for errors. Raises ValueError for a wrong row."""
    values = [_coordinates(place, row) for place, row in zip(places, rows, strict=True)]
    keypoints = np.array(values, dtype=np.float64).reshape(-1, NUM_KEYPOINTS, 2)
    wild = np.argwhere(~(np.abs(keypoints) <= MAX_COORDINATE).reshape(len(places), -1))  # NaN as well
    if len(wild):
        row, column = wild[0]
        raise ValueError(
            f"{places[row]}, column {column + 2}: {values[row][column]} is no coordinate in an image"
        )
    _check_faces(keypoints, places)
    return keypoints


def _is_skipped(number: int, row: list[str], skipped: list) -> bool:
    """True for a wrong row; its file name and what is wrong are then added to `skipped`."""
    place = f"row {number}"
    try:
        _keypoints_of_rows([place], [row])
    except ValueError as error:
        skipped.append((f"{row[0]} ({place})", str(error).removeprefix(place).lstrip(" ,:")))
        return True
    return False


def _check_row_of_names(csv_file: Path, row: list[str]) -> None:
    """Raise ValueError if the first row is not one of 137 column names but holds an image already."""
    _check_length(f"{csv_file}, row 1", row)
    cells = [cell.strip() for cell in row[1:]]
    numbered = cells == [str(column) for column in range(len(cells))]  # the names in the public files
    if not numbered and sum(map(_is_number, cells)) > len(cells) / 2:
        raise ValueError(
            f"{csv_file}, row 1 holds keypoints of {row[0]!r}, but must hold the names of the columns; "
            "put a row of names above it"
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _check_length(place: str, row: list[str]) -> None:
    expected = 1 + 2 * NUM_KEYPOINTS
    if len(row) != expected:
        raise ValueError(
            f"{place} has {len(row)} columns, expected {expected}: "
            f"the file name, then x and y of {NUM_KEYPOINTS} keypoints, with commas between them"
        )


def _coordinates(place: str, row: list[str]) -> list[float]:
    """The 136 numbers of one row. `place` names file and row in errors; columns count from 1."""
    _check_length(place, row)
    if not row[0].strip():
        raise ValueError(f"{place}, column 1: the file name is missing")
    try:
        return list(map(float, row[1:]))
    except ValueError:
        column = next(column for column, cell in enumerate(row[1:], start=2) if not _is_number(cell))
        raise ValueError(f"{place}, column {column}: {row[column - 1]!r} is not a number") from None


def _check_faces(keypoints: np.ndarray, places: list[str], shape_hw=(np.inf, np.inf)) -> None:
    """Raise ValueError if a face's points are all at one place, or one is more than a face outside the image.

    keypoints: (N, 68, 2). places: N names for the error. shape_hw: the image, where it is known.
    The size of a face is 3 times the median distance from its middle, which single wild points do not
    change and which is about the side of the box around all points.
    """
    if not len(keypoints):
        return
    distances = np.linalg.norm(keypoints - np.median(keypoints, axis=1, keepdims=True), axis=2)
    flat = distances.max(axis=1) == 0
    if flat.any():
        raise ValueError(f"{places[flat.argmax()]}: all {NUM_KEYPOINTS} points are at one place")
    reach = 3 * np.median(distances, axis=1)[:, None, None]
    wrong = (keypoints < -reach) | (keypoints > np.array(shape_hw[::-1]) - 1 + reach)
    if wrong.any():
        face, point, axis = np.argwhere(wrong)[0]
        size = f" of {shape_hw[1]} x {shape_hw[0]} pixels" if np.isfinite(shape_hw).all() else ""
        raise ValueError(
            f"{places[face]}, column {2 + 2 * point + axis}: {'xy'[axis]} of point {point} is "
            f"{keypoints[face, point, axis]:g}, more than a face outside the image{size}"
        )


def sample_photos() -> dict[str, np.ndarray]:
    """Two photos in the public domain, one face each, as HxWx3 uint8 RGB by name.

    'astronaut': Eileen Collins, by NASA, comes with scikit-image. 'hopper': Grace Hopper, by the US Navy,
    comes with matplotlib.
    """
    import skimage.data  # takes long to import
    from matplotlib.cbook import get_sample_data

    hopper = read_image(str(get_sample_data("grace_hopper.jpg", asfileobj=False)))
    return {"astronaut": skimage.data.astronaut(), "hopper": hopper}


def background_photo(name: str) -> np.ndarray:
    """A photo without people that comes with scikit-image, such as 'brick', as HxWx3 uint8 RGB."""
    import skimage.data  # takes long to import

    return to_rgb(getattr(skimage.data, name)())


def photos_folder() -> Path:
    """The folder of the user's own photos: KEYPOINTS_PHOTOS, else photos/ here; it may not exist."""
    return Path(__file__).parent / (os.environ.get("KEYPOINTS_PHOTOS") or "photos")


def find_photos() -> dict[str, np.ndarray]:
    """The images in `photos_folder`, HxWx3 uint8 RGB, by file name without its ending.

    Names that differ only in their ending keep it. Empty where there is no such folder.
    Raises ValueError for a file that is no image.
    """
    folder = photos_folder()
    if not folder.is_dir():
        return {}
    paths = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES]
    count = Counter(path.stem for path in paths)
    return {path.stem if count[path.stem] == 1 else path.name: read_image(path) for path in paths}


# --- the data set -------------------------------------------------------------------------------


class FacialKeypointsDataset(Dataset):
    """Images with 68 keypoints each; index it for {'image', 'keypoints'} samples.

    csv_file: a keypoints CSV (`read_keypoints_csv`); file names are relative to root_dir.
    transform: called with each sample, may return anything.
    paths, keypoints: image paths and their keypoints (N, 68, 2), in place of csv_file and root_dir.
    cache_bytes: decoded images stay in memory (uint8) up to this many bytes, 0 for none.
    seed: None for fresh random numbers at each access. A number makes random
        transforms depend on (seed, epoch, index) alone, so that a training run
        can be repeated or continued exactly; see `set_epoch`.
    Raises ValueError for keypoints of the wrong shape or not finite, and, when an image is decoded for the
    first time, for a point that is more than a face outside of it.
    """

    def __init__(
        self,
        csv_file=None,
        root_dir=None,
        transform: Callable | None = None,
        *,
        paths: Sequence | None = None,
        keypoints=None,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        seed: int | None = None,
    ):
        if (csv_file is None) == (paths is None):
            raise TypeError("give either csv_file and root_dir, or paths and keypoints")
        if csv_file is not None:
            names, keypoints = read_keypoints_csv(csv_file)
            paths = [Path(root_dir or "") / name for name in names]
        self.paths = [Path(path) for path in paths or ()]
        self.keypoints = np.asarray(keypoints, dtype=np.float32)
        expected = (len(self.paths), NUM_KEYPOINTS, 2)
        if self.keypoints.shape != expected:
            raise ValueError(
                f"{len(self.paths)} images need keypoints {expected}, got {self.keypoints.shape}"
            )
        if not np.isfinite(self.keypoints).all():
            raise ValueError("keypoints must be finite numbers, got NaN or infinity")
        self.transform = transform
        self.seed, self.epoch = seed, 0
        self._cache: dict[int, np.ndarray] = {}
        self._cache_room = cache_bytes
        self._is_checked = np.zeros(len(self.paths), dtype=bool)

    @classmethod
    def from_paths(cls, paths: Sequence, keypoints, transform: Callable | None = None, **options):
        """The data set of image paths and keypoints (N, 68, 2) in the same order."""
        return cls(None, None, transform, paths=paths, keypoints=keypoints, **options)

    @classmethod
    def from_pts(cls, folder, transform: Callable | None = None, *, origin: int = 1, **options):
        """The data set of a folder of images, each with a `.pts` file of the same name beside it.

        origin: see `read_pts`.
        Raises FileNotFoundError if there is none, ValueError for a file that is not 68 points.
        """
        folder = Path(folder)
        paths = [
            path
            for path in sorted(folder.glob("*"))
            if path.suffix.lower() in IMAGE_SUFFIXES and path.with_suffix(".pts").is_file()
        ]
        if not paths:
            raise FileNotFoundError(f"no image with a .pts file beside it in {folder}")
        keypoints = [read_pts(path.with_suffix(".pts"), origin) for path in paths]
        return cls.from_paths(paths, np.stack(keypoints), transform, **options)

    def __len__(self) -> int:
        return len(self.paths)

    def image(self, index: int) -> np.ndarray:
        """The decoded image, HxWx3 uint8 RGB, read-only when it comes from memory."""
        if index in self._cache:
            return self._cache[index]
        image = read_image(self.paths[index])
        if not self._is_checked[index]:
            if np.ptp(self.keypoints[index], axis=0).any():
                _check_faces(self.keypoints[[index]], [f"the row of {self.paths[index]}"], image.shape[:2])
            self._is_checked[index] = True
        if image.nbytes <= self._cache_room:
            image.setflags(write=False)
            self._cache[index] = image
            self._cache_room -= image.nbytes
        return image

    def set_epoch(self, epoch: int) -> None:
        """Choose the random numbers of the next epoch (needs `seed`)."""
        self.epoch = epoch

    def __getitem__(self, index):
        index = range(len(self))[int(index)]  # negative indices, and IndexError past the end
        sample = {"image": self.image(index), "keypoints": self.keypoints[index].copy()}
        if self.transform is None:
            sample["image"] = sample["image"].copy()
            return sample
        if self.seed is not None:
            sample["rng"] = np.random.default_rng([self.seed, self.epoch, index])
        sample = self.transform(sample)
        if isinstance(sample, dict):
            sample.pop("rng", None)
        return sample

    @property
    def identities(self) -> list[str]:
        """The identity on each image: the file name up to its last underscore."""
        return [identity_of(path.name) for path in self.paths]


def identity_of(name: str) -> str:
    """The identity in a file name: `Abdullah_Gul_31.jpg` is `Abdullah_Gul`. Without '_', the whole name."""
    return Path(name).stem.rpartition("_")[0] or Path(name).stem


# --- splits ------------------------------------------------------------------------------

SPLITS = ("official", "identity", "validation")


def assign_splits(identities):
    """The side of each split that each identity is on, for any set of identities.

    Returns a DataFrame with one row per identity, in the order of the SHA-256 of the names: identity,
    position (from 1), validation and identity_split ('train', 'test' or ''). Of 347 identities
    the first 69 are tested on and the next 56 validated on; other numbers are divided in the same proportion.
    """
    import pandas as pd  # takes long to import, and only tables need it

    names = sorted(set(identities), key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    last_test, last_validation = round(len(names) * 69 / 347), round(len(names) * 125 / 347)
    rows = []
    for position, name in enumerate(names, start=1):
        tests, validates = position <= last_test, last_test < position <= last_validation
        validation = "" if tests else ("test" if validates else "train")
        rows.append((name, position, validation, "test" if tests else "train"))
    return pd.DataFrame(rows, columns=["identity", "position", "validation", "identity_split"])


def split_table(identities):
    """The rows of `SPLITS_FILE` if it has all identities, else those of `assign_splits`."""
    import pandas as pd

    committed = pd.read_csv(SPLITS_FILE, keep_default_na=False)
    known = set(committed["identity"])
    return committed if set(identities) <= known else assign_splits(identities)


def load_split(data_folder, split: str, part: str, transform=None, **options) -> FacialKeypointsDataset:
    """One part ('train' or 'test') of a split ('official', 'identity' or 'validation').

    data_folder: laid out as `data/README.md` says. options: those of `FacialKeypointsDataset`.
    Training parts hold training images only. The test part of `official` is the
    770 labelled test images; of the other two it is every labelled image of the
    held-out identities. Images are told apart by their paths, never by their base names: all
    770 test names exist in training/ as well, with other content.
    Raises ValueError for an unknown split or part, and what `read_keypoints_csv` raises.
    """
    if split not in SPLITS or part not in ("train", "test"):
        raise ValueError(f"split must be one of {SPLITS} and part train or test, got {split!r}, {part!r}")
    paths: list[Path] = []
    parts = []
    for folder in ("training", "test"):
        names, points = read_keypoints_csv(Path(data_folder) / f"{folder}_frames_keypoints.csv")
        paths += [Path(data_folder) / folder / name for name in names]
        parts.append(points)
    keypoints = np.concatenate(parts)
    in_training = np.array([path.parent.name == "training" for path in paths])
    if split == "official":
        keep = in_training if part == "train" else ~in_training
    else:
        identities = [identity_of(path.name) for path in paths]
        column = "validation" if split == "validation" else "identity_split"
        of_identity = split_table(identities).set_index("identity")[column]
        keep = np.array([of_identity[identity] == part for identity in identities])
        keep &= in_training | (part == "test")
    chosen = np.flatnonzero(keep)
    return FacialKeypointsDataset.from_paths(
        [paths[i] for i in chosen], keypoints[chosen], transform, **options
    )


# --- labels -------------------------------------------------------------------------------------

#: (x, y) shift of the labels against the marked facial features, as a share of the inter-ocular distance.
LABEL_OFFSET = (0.0275, 0.0)
LABELS = ("raw", "debiased", "blended", "ibug")
#: Groups whose points in IBUG_LABELS_FILE count alone: labels hardly show how far eyes and lips are open.
MOVING_GROUPS = ("right_eye", "left_eye", "outer_lips", "inner_lips")


def shift_keypoints(keypoints: np.ndarray, offset_xy) -> np.ndarray:
    """Keypoints (..., 68, 2) moved by offset_xy times each face's inter-ocular distance."""
    step = interocular_distance(keypoints)[..., None, None] * np.asarray(offset_xy, dtype=np.float32)
    return (keypoints + step).astype(np.float32)


class LabelMap(NamedTuple):
    """Where the labels of this data set lie, against where people put the iBUG points.

    Both are measured on training images, in the frame of each face (`geometry.FaceFrame`), without the shift
    LABEL_OFFSET. Source of the iBUG points: `benchmarks/ibug_labels`.

    offset: (68, 2), mean of iBUG point - label, in the frame of the labels.
    mean: (136,), mean shape of the iBUG points. bias: (136,), mean of label - iBUG point.
    weights: (136, 136), label - iBUG point - bias for a shape - mean.
    """

    offset: np.ndarray
    mean: np.ndarray
    bias: np.ndarray
    weights: np.ndarray

    @classmethod
    def load(cls, path=LABEL_MAP_FILE) -> "LabelMap":
        """The map in `data/label_map.npz`."""
        with np.load(path, allow_pickle=False) as stored:
            return cls(*(stored[name].astype(np.float64) for name in cls._fields))

    @classmethod
    def fit(cls, labels: np.ndarray, ibug: np.ndarray, strength: float = 1.0) -> "LabelMap":
        """The map between labels and iBUG points (N, 68, 2) px; a ridge regression of this strength.

        Each face counts as it is and flipped, so the map is symmetric.
        """
        frame, apart = FaceFrame.of(labels), ibug - labels
        offset = _with_flipped(frame.turn_into(apart)).mean(axis=0)
        frame = FaceFrame.of(ibug)
        shapes = _with_flipped(frame.into(ibug)).reshape(-1, 2 * NUM_KEYPOINTS)
        steps = _with_flipped(frame.turn_into(-apart)).reshape(shapes.shape)
        mean, bias = shapes.mean(axis=0), steps.mean(axis=0)
        square = (shapes - mean).T @ (shapes - mean) + strength * np.eye(len(mean))
        return cls(offset, mean, bias, np.linalg.solve(square, (shapes - mean).T @ (steps - bias)))

    def to_ibug(self, labels: np.ndarray) -> np.ndarray:
        """Labels (N, 68, 2) px, without LABEL_OFFSET, moved by the mean offset of each point."""
        return (labels + FaceFrame.of(labels).turn_out_of(self.offset)).astype(np.float32)

    def to_labels(self, keypoints: np.ndarray) -> np.ndarray:
        """iBUG points (N, 68, 2) px moved to where labels without LABEL_OFFSET lie. NaN stays NaN."""
        frame = FaceFrame.of(keypoints)
        shapes = frame.into(keypoints).reshape(-1, 2 * NUM_KEYPOINTS)
        steps = (shapes - self.mean) @ self.weights + self.bias
        return (keypoints + frame.turn_out_of(steps.reshape(-1, NUM_KEYPOINTS, 2))).astype(np.float32)


def _with_flipped(points: np.ndarray) -> np.ndarray:
    """Points (N, 68, 2) in FaceFrames, and after them those of the flipped faces."""
    return np.concatenate([points, points[:, FLIP_ORDER] * [-1, 1]])


def to_labels(keypoints: np.ndarray, config) -> np.ndarray:
    """Keypoints (N, 68, 2) px of a network, moved to where the labels of this data set lie.

    config: of the network (ModelConfig). Only errors against these labels need this.
    """
    if config.scheme == "ibug":
        keypoints = LabelMap.load().to_labels(keypoints)
    return shift_keypoints(keypoints, config.label_offset)


def labels_in_scheme(dataset, config) -> np.ndarray:
    """The labels (N, 68, 2) px of a data set, moved to where a network with this config puts its points."""
    debiased = shift_keypoints(dataset.keypoints, [-v for v in config.label_offset])
    return LabelMap.load().to_ibug(debiased) if config.scheme == "ibug" else debiased


def training_labels(dataset, labels: str, share: float = 0.5) -> np.ndarray:
    """The keypoints (N, 68, 2) to train on, image pixels.

    labels: 'raw' (as in the CSV), 'debiased' (LABEL_OFFSET taken out), 'blended' (debiased, then `share` of
        the way to the pseudo-labels in `data/pseudo_labels.npz`) or 'ibug' (debiased, moved to where people
        put the points, and `blend`ed with the points in `data/ibug_labels.npz`).
    Raises ValueError for an unknown word, or an image that has no pseudo-label.
    """
    if labels not in LABELS:
        raise ValueError(f"labels must be one of {', '.join(LABELS)}, got {labels!r}")
    if labels == "raw":
        return dataset.keypoints
    debiased = shift_keypoints(dataset.keypoints, [-v for v in LABEL_OFFSET])
    if labels == "debiased":
        return debiased
    if labels == "ibug":
        moved = LabelMap.load().to_ibug(debiased)
        return blend(moved, stored_labels(IBUG_LABELS_FILE, dataset.paths), share)
    return debiased + np.float32(share) * (stored_labels(PSEUDO_LABELS_FILE, dataset.paths) - debiased)


def blend(moved: np.ndarray, others: np.ndarray, share: float) -> np.ndarray:
    """Labels and other points (N, 68, 2) averaged; `share`, 0 to 1, is the weight of the others.

    moved: labels, moved to where people put the points. In MOVING_GROUPS the weight is 1.
    """
    shares = np.full((NUM_KEYPOINTS, 1), share, dtype=np.float32)
    shares[[index for group in MOVING_GROUPS for index in GROUPS[group]]] = 1
    return moved + shares * (others - moved)


def stored_labels(file: Path, paths) -> np.ndarray:
    """Keypoints (N, 68, 2) px of training images, by their paths, from a file in `data/` that has them.

    Raises ValueError for an image that it lacks.
    """
    with np.load(file, allow_pickle=False) as stored:
        row_of = {str(name): row for row, name in enumerate(stored["names"])}
        keypoints = stored["keypoints"].astype(np.float32) / 100
    unknown = [path.name for path in paths if path.parent.name != "training" or path.name not in row_of]
    if unknown:
        raise ValueError(
            f"{file.name} has no pseudo-labels of {len(unknown)} images "
            f"({', '.join(unknown[:3])}); it has those of the training images of this data set. "
            "Use labels=debiased, or labels=raw"
        )
    return keypoints[[row_of[path.name] for path in paths]]


# --- transforms ----------------------------------------------------------------------------


def rng_of(sample: dict) -> np.random.Generator:
    """The sample's own random generator, or a fresh one seeded by PyTorch.

    NumPy's global generator is copied into every worker process of a DataLoader,
    which then all draw the same numbers; PyTorch's is seeded anew in each.
    """
    rng = sample.get("rng")
    return rng if rng is not None else np.random.default_rng(int(torch.randint(2**62, (1,))))


def _pair(value, name: str) -> tuple[int, int]:
    """(height, width) from an int or a pair."""
    pair = (value, value) if isinstance(value, int | np.integer) else tuple(value)
    if len(pair) != 2 or any(int(v) != v or v < 1 for v in pair):
        raise ValueError(f"{name} must be a positive int or (height, width), got {value!r}")
    return int(pair[0]), int(pair[1])


class Rescale:
    """Resize the image. An int sets the shorter side and keeps the aspect; a pair is (height, width)."""

    def __init__(self, output_size):
        self.output_size = output_size
        self._pair = _pair(output_size, "output_size")

    def new_shape(self, shape_hw) -> tuple[int, int]:
        """The (height, width) that an image of shape_hw gets."""
        if not isinstance(self.output_size, int | np.integer):
            return self._pair
        factor = self.output_size / min(shape_hw)
        return round(shape_hw[0] * factor), round(shape_hw[1] * factor)

    def __call__(self, sample: dict) -> dict:
        image = sample["image"]
        shape = image.shape[:2]
        new_shape = self.new_shape(shape)
        shrinks = new_shape[0] < shape[0]
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        resized = cv2.resize(image, new_shape[::-1], interpolation=method)
        keypoints = transform_points(sample["keypoints"], resize_matrix(shape, new_shape))
        return {**sample, "image": resized, "keypoints": keypoints}


class _Crop:
    """A window of (height, width) out of the image; subclasses choose where."""

    def __init__(self, output_size):
        self.output_size = _pair(output_size, "output_size")

    def _offset(self, room_hw, sample) -> tuple[int, int]:
        raise TypeError("use RandomCrop or CenterCrop")

    def __call__(self, sample: dict) -> dict:
        height, width = sample["image"].shape[:2]
        new_height, new_width = self.output_size
        room = height - new_height, width - new_width
        if min(room) < 0:
            raise ValueError(
                f"cannot cut {new_height}x{new_width} out of an image of {height}x{width} pixels; "
                "use Rescale first"
            )
        top, left = self._offset(room, sample)
        image = sample["image"][top : top + new_height, left : left + new_width]
        keypoints = sample["keypoints"] - np.array([left, top], dtype=np.float32)
        return {**sample, "image": image, "keypoints": keypoints}


class RandomCrop(_Crop):
    """Cut a window at random; every offset that fits, the last one too, is equally likely."""

    def _offset(self, room_hw, sample):
        rng = rng_of(sample)
        return int(rng.integers(room_hw[0] + 1)), int(rng.integers(room_hw[1] + 1))


class CenterCrop(_Crop):
    """Cut the window out of the middle (half a pixel up and left where it cannot be exact)."""

    def _offset(self, room_hw, sample):
        return room_hw[0] // 2, room_hw[1] // 2


class Normalize:
    """Grayscale in [0, 1] and keypoints (p - mean) / std.

    image in: HxW, HxWx1 or HxWx3; uint8 (0 to 255), uint16 (0 to 65535) or float in
    [0, 1]. Out: HxW float32. A float image is not divided again: dividing twice is
    why most forks of this exercise train on images in [0, 0.004].
    keypoints: mean and std are in pixels of the image that comes in; 100 and 50 are
    the defaults of the exercise, for crops of 224.
    """

    def __init__(self, mean: float = 100.0, std: float = 50.0):
        if not std > 0:
            raise ValueError(f"std must be positive, got {std}")
        self.mean, self.std = float(mean), float(std)

    def __call__(self, sample: dict) -> dict:
        keypoints = (sample["keypoints"] - np.float32(self.mean)) / np.float32(self.std)
        return {**sample, "image": to_gray(sample["image"]), "keypoints": keypoints}

    def inverse_keypoints(self, keypoints_norm):
        """Pixels again, from an array or a tensor (..., 2)."""
        return keypoints_norm * self.std + self.mean

    def inverse(self, sample: dict) -> dict:
        """The sample back in pixels: image uint8 gray HxW, keypoints in pixels."""
        image = np.asarray(sample["image"], dtype=np.float32).squeeze()
        image = np.clip(np.rint(image * 255), 0, 255).astype(np.uint8)
        keypoints = np.asarray(self.inverse_keypoints(sample["keypoints"]), dtype=np.float32)
        return {**sample, "image": image, "keypoints": keypoints}


class ToTensor:
    """NumPy to PyTorch: image HxW or HxWxC to float32 (C, H, W), keypoints to float32 (68, 2)."""

    def __call__(self, sample: dict) -> dict:
        image = np.asarray(sample["image"])
        image = image[None] if image.ndim == 2 else image.transpose(2, 0, 1)
        return {
            **sample,
            "image": torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32)),
            "keypoints": torch.from_numpy(np.ascontiguousarray(sample["keypoints"], dtype=np.float32)),
        }
