"""Reading what is on disk: images by content, keypoints from CSV and `.pts` files."""

import os
from pathlib import Path

import numpy as np

from geometry import check_keypoints
from landmarks import NUM_KEYPOINTS
from opencv import cv2

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


def read_image(path) -> np.ndarray:
    """An image file as HxWx3 uint8 RGB, decoded by content and never by its ending.

    The data set's files are PNG named .jpg, with an alpha channel that is dropped
    here. Photos come out upright (EXIF orientation is applied), 16-bit as 8-bit.
    Raises FileNotFoundError, or ValueError for a file that is no image.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no image at {path}; check the path, or that the data are in place")
    # Not cv2.imread: it fails on non-ASCII paths under Windows.
    data = np.fromfile(path, dtype=np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        raise ValueError(f"{path} ({data.size} bytes) is not an image that OpenCV can decode")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_pts(path, origin: int = 1) -> np.ndarray:
    """Keypoints (68, 2) from an iBUG `.pts` file.

    These files count pixels from 1 (they come from Matlab), which `origin` takes
    off; pass origin=0 for files written from 0.
    """
    text = Path(path).read_text()
    try:
        body = text[text.index("{") + 1 : text.index("}")]
        points = np.array([line.split() for line in body.strip().splitlines()], dtype=np.float32)
    except ValueError as error:
        raise ValueError(f"{path} is not a .pts file: expected lines 'x y' between braces") from error
    if points.shape != (NUM_KEYPOINTS, 2):
        raise ValueError(f"{path} holds points of shape {points.shape}, expected ({NUM_KEYPOINTS}, 2)")
    return check_keypoints(points) - np.float32(origin)


def read_keypoints_csv(csv_file) -> tuple[list[str], np.ndarray]:
    """File names and keypoints (N, 68, 2) of a CSV: name, x0, y0, x1, y1, ... x67, y67."""
    import pandas as pd  # start-up time that only tables need

    csv_file = Path(csv_file)
    if not csv_file.is_file():
        raise FileNotFoundError(f"no keypoints file at {csv_file}")
    frame = pd.read_csv(csv_file)
    expected = 1 + 2 * NUM_KEYPOINTS
    if frame.shape[1] != expected:
        raise ValueError(
            f"{csv_file} has {frame.shape[1]} columns, expected {expected}: "
            f"the file name, then x and y of {NUM_KEYPOINTS} keypoints"
        )
    values = frame.iloc[:, 1:].apply(pd.to_numeric, errors="coerce").to_numpy(np.float32)
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        raise ValueError(f"{csv_file}, row {int(bad.argmax()) + 2}: a coordinate is missing or not a number")
    return frame.iloc[:, 0].astype(str).tolist(), values.reshape(-1, NUM_KEYPOINTS, 2)


def free_photos() -> dict[str, np.ndarray]:
    """Two photos in the public domain, one face each, that come with packages used here anyway.

    'astronaut': Eileen Collins, by NASA, from scikit-image. 'hopper': Grace Hopper, by
    the US Navy, from matplotlib's sample data. HxWx3 uint8 RGB.
    """
    import skimage.data
    from matplotlib.cbook import get_sample_data

    with get_sample_data("grace_hopper.jpg") as file:
        hopper = read_image(file.name)
    return {"astronaut": skimage.data.astronaut(), "hopper": hopper}


def photos_folder() -> Path:
    """Where the reader's own photos are: KEYPOINTS_PHOTOS, else photos/ in the repository; may not exist."""
    return Path(__file__).parent / (os.environ.get("KEYPOINTS_PHOTOS") or "photos")


def find_photos() -> dict[str, np.ndarray]:
    """The reader's own photos: every image in `photos_folder`, by name without its ending.

    Empty where there is no such folder; a file that is no image is an error.
    """
    folder = photos_folder()
    if not folder.is_dir():
        return {}
    paths = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES]
    return {path.stem: read_image(path) for path in paths}
