"""Changes that make an image with one labelled face worse, each in several strengths.

    changed = PERTURBATIONS["rotation"].apply(image, keypoints, 30, np.random.default_rng(0))
    changed.image, changed.matrix, changed.box_scale

`matrix` maps the image to the changed one: labels are moved by it, and keypoints are mapped back by its
inverse. Strengths that depend on the face are shares of the larger side of its label box.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from files import cv2
from geometry import box_centre, box_from_keypoints, box_side, crop_matrix, image_box, resize_matrix, warp

IDENTITY = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
GAMMA = 2.2
PHOTONS, READ_NOISE = 1000.0, 1.0  # of white at full light; standard deviation in electrons
CAST_SHARES = (0.0, 0.5, 1.0)  # of the strength, that the three channels lose


class Changed(NamedTuple):
    """A changed image, HxWx3 uint8 RGB.

    matrix: 2x3, from the unchanged image. box_scale: factor on the box that methods start from.
    """

    image: np.ndarray
    matrix: np.ndarray = IDENTITY
    box_scale: float = 1.0


def rotate(image: np.ndarray, keypoints: np.ndarray, degrees: float, rng) -> Changed:
    """The whole image rotated counter-clockwise, on a black canvas that holds all of it."""
    height, width = image.shape[:2]
    side = int(np.ceil(np.hypot(height, width)))
    matrix = crop_matrix(box_centre(image_box(image)), side, side, rotation_deg=degrees)
    return Changed(warp(image, matrix, (side, side)), matrix)


def resize(image: np.ndarray, keypoints: np.ndarray, pixels: float, rng) -> Changed:
    """The image resized so that the larger side of the label box has `pixels`."""
    factor = pixels / box_side(box_from_keypoints(keypoints))
    height, width = image.shape[:2]
    shape = (max(1, round(height * factor)), max(1, round(width * factor)))
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return Changed(
        cv2.resize(image, shape[::-1], interpolation=method), resize_matrix((height, width), shape)
    )


def blur(image: np.ndarray, keypoints: np.ndarray, percent: float, rng) -> Changed:
    """Gaussian blur with a standard deviation of `percent` of the face."""
    sigma = percent / 100 * box_side(box_from_keypoints(keypoints))
    return Changed(cv2.GaussianBlur(image, (0, 0), sigma))


def darken(image: np.ndarray, keypoints: np.ndarray, stops: float, rng) -> Changed:
    """Light halved `stops` times, then the photon noise of a sensor; the image is not brightened again."""
    light = (image / 255.0) ** GAMMA * 0.5**stops * PHOTONS
    seen = (rng.poisson(light) + rng.normal(0.0, READ_NOISE, light.shape)) / PHOTONS
    return Changed(np.rint(255 * np.clip(seen, 0, 1) ** (1 / GAMMA)).astype(np.uint8))


def cover(image: np.ndarray, keypoints: np.ndarray, percent: float, rng) -> Changed:
    """`percent` of the label box hidden behind a smooth coloured pattern that comes from a random side."""
    left, top, right, bottom = box_from_keypoints(keypoints)
    beyond, share = 0.2 * max(right - left, bottom - top), percent / 100
    edges = [left - beyond, top - beyond, right + beyond, bottom + beyond]
    side = int(rng.integers(4))  # the pattern covers the box from this edge on
    low, high = (left, right) if side % 2 == 0 else (top, bottom)
    edges[(side + 2) % 4] = low + share * (high - low) if side < 2 else high - share * (high - low)
    height, width = image.shape[:2]
    x0, y0, x1, y1 = np.clip(np.rint(edges).astype(int), 0, (width, height, width, height))
    pattern = rng.integers(0, 256, (3, 3, 3)).astype(np.uint8)
    image = image.copy()
    if x1 > x0 and y1 > y0:
        image[y0:y1, x0:x1] = cv2.resize(pattern, (x1 - x0, y1 - y0), interpolation=cv2.INTER_CUBIC)
    return Changed(image)


def tint(image: np.ndarray, keypoints: np.ndarray, percent: float, rng) -> Changed:
    """Coloured light: one channel stays, one loses half of `percent`, one `percent`, in random order."""
    gains = 1 - percent / 100 * rng.permutation(CAST_SHARES)
    return Changed(np.rint(image * gains).astype(np.uint8))


def compress(image: np.ndarray, keypoints: np.ndarray, quality: float, rng) -> Changed:
    """The image after JPEG compression of this quality."""
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    return Changed(np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]))


def crop_looser(image: np.ndarray, keypoints: np.ndarray, factor: float, rng) -> Changed:
    """The same image; the box that methods start from is `factor` times as large."""
    return Changed(image, box_scale=factor)


@dataclass(frozen=True)
class Perturbation:
    """One kind of change.

    title, axis: the heading and the label of the axis. strengths: in the order of the axis.
    change: (image, keypoints, strength, rng) -> Changed. unchanged: the strength that changes nothing.
    """

    title: str
    axis: str
    strengths: tuple[float, ...]
    change: Callable
    unchanged: float | None = None
    scale: str = "linear"

    def apply(self, image: np.ndarray, keypoints: np.ndarray, strength: float, rng) -> Changed:
        """The image changed in this strength; keypoints: (68, 2), of its face."""
        if strength == self.unchanged:
            return Changed(image)
        return self.change(image, keypoints, strength, rng)


PERTURBATIONS = {
    "rotation": Perturbation(
        "Rotated image", "degrees, counter-clockwise", (-60, -45, -30, -15, 0, 15, 30, 45, 60), rotate, 0
    ),
    "size": Perturbation(
        "Size of the face",
        "larger side of the label box, px",
        (20, 28, 40, 60, 80, 120, 200),
        resize,
        scale="log",
    ),
    "blur": Perturbation("Blur", "sigma, % of the face", (0, 1, 2, 3, 4, 6, 8), blur, 0),
    "light": Perturbation("Low light, with its noise", "stops less light", (0, 2, 4, 5, 6, 7, 8), darken, 0),
    "cover": Perturbation("Partly covered face", "% of the label box", (0, 10, 20, 30, 40, 50, 60), cover, 0),
    "cast": Perturbation(
        "Coloured light", "% that the weakest channel loses", (0, 20, 40, 60, 80, 95), tint, 0
    ),
    "jpeg": Perturbation(
        "JPEG", "quality (100: not compressed)", (2, 5, 10, 20, 40, 70, 100), compress, 100, "log"
    ),
    "crop": Perturbation(
        "Tight and loose boxes", "x the usual box", (0.6, 0.8, 1.0, 1.25, 1.5, 2.0), crop_looser, 1.0
    ),
}
