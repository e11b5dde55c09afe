"""The training augmentations: one warp for all geometry, then contrast, brightness, blur and occlusion.

Rotation, scale, shift, flip and the crop to the network's input are composed into one 2x3 matrix, and the
pixels are resampled once: each further resampling would blur the image and lose its corners.

Random numbers come from the sample (`data_load.rng_of`). A run that makes them from (seed, epoch, index) can
be repeated exactly.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from analysis.openings import mouth_opening
from checkpoint import check_fields, rule
from data_load import rng_of
from files import cv2
from geometry import (
    box_centre,
    box_from_keypoints,
    box_side,
    crop_matrix,
    image_box,
    transform_points,
    warp,
)
from landmarks import CHIN, FLIP_ORDER, GROUPS, INNER_MOUTH_LEFT, INNER_MOUTH_RIGHT

CROP_MODES = ("whole", "face")


@dataclass(frozen=True)
class Augmentation:
    """The strength of each random change. 0 turns a change off.

    rotation_deg: standard deviation of the angle, in degrees.
    scale: standard deviation of ln(scale of the crop).
    shift: standard deviation of the crop's shift in x and in y, as a share of its side.
    flip_prob: probability of a horizontal flip.
    wide_crop_prob, wide_crop_range: probability of a wider crop, as the first pass sees it, and the range of
        the factor on the crop's side.
    contrast: standard deviation of ln(contrast).
    brightness: standard deviation of the brightness, as a share of white.
    blur_prob: probability of a blur.
    occlusion_prob: probability of one rectangle that covers a part of the crop.
    eyelid_prob: probability that the eyes are closed or opened.
    mouth_prob: probability that a shut mouth is opened.
    """

    rotation_deg: float = field(default=15.0, metadata=rule(float, low=0, high=180))
    scale: float = field(default=0.12, metadata=rule(float, low=0, high=1))
    shift: float = field(default=0.07, metadata=rule(float, low=0, high=1))
    flip_prob: float = field(default=0.5, metadata=rule(float, low=0, high=1))
    wide_crop_prob: float = field(default=0.0, metadata=rule(float, low=0, high=1))
    wide_crop_range: tuple[float, float] = field(
        default=(1.2, 3.0), metadata=rule(float, count=2, order="<=", low=0.1, high=10)
    )
    contrast: float = field(default=0.25, metadata=rule(float, low=0, high=2))
    brightness: float = field(default=0.1, metadata=rule(float, low=0, high=1))
    blur_prob: float = field(default=0.2, metadata=rule(float, low=0, high=1))
    occlusion_prob: float = field(default=0.3, metadata=rule(float, low=0, high=1))
    eyelid_prob: float = field(default=0.0, metadata=rule(float, low=0, high=1))
    mouth_prob: float = field(default=0.0, metadata=rule(float, low=0, high=1))

    def __post_init__(self):
        """Raises ValueError for a value that its field may not have."""
        check_fields(self, "augmentation.")


NO_AUGMENTATION = Augmentation(0.0, 0.0, 0.0, 0.0, 0.0, (1.0, 1.0), 0.0, 0.0, 0.0, 0.0)


class RandomAffineCrop:
    """Crop a square out of the image with random rotation, scale, shift and flip, in one warp.

    size: side of the crop in pixels.
    crop_mode: the square before the random changes. 'whole': the whole image, letterboxed; 'face': around the
        sample's keypoints.
    crop_scale: side of a 'face' crop over the larger side of the box around the keypoints.
    augmentation: the strength of the changes.
    Raises ValueError for another crop_mode.
    """

    def __init__(
        self,
        size: int,
        crop_mode: str = "whole",
        crop_scale: float = 1.35,
        augmentation: Augmentation = NO_AUGMENTATION,
    ):
        if crop_mode not in CROP_MODES:
            raise ValueError(f"crop_mode must be one of {', '.join(CROP_MODES)}; got {crop_mode!r}")
        self.size, self.crop_mode, self.crop_scale = size, crop_mode, crop_scale
        self.augmentation = augmentation

    def matrix(self, sample: dict, rng: np.random.Generator, flip: bool) -> np.ndarray:
        """The image-to-crop matrix (2, 3) for this sample, with random numbers from rng."""
        aug = self.augmentation
        if self.crop_mode == "whole":
            box, side = image_box(sample["image"]), box_side(image_box(sample["image"]))
        else:
            box = box_from_keypoints(sample["keypoints"])
            side = self.crop_scale * box_side(box)
        side *= np.exp(rng.normal(0.0, aug.scale))
        if rng.random() < aug.wide_crop_prob:
            side *= rng.uniform(*aug.wide_crop_range)
        centre = box_centre(box) + rng.normal(0.0, aug.shift, size=2) * side
        angle = rng.normal(0.0, aug.rotation_deg)
        return crop_matrix(centre, side, self.size, rotation_deg=angle, flip=flip)

    def __call__(self, sample: dict) -> dict:
        rng = rng_of(sample)
        flip = bool(rng.random() < self.augmentation.flip_prob)
        matrix = self.matrix(sample, rng, flip)
        image = warp(sample["image"], matrix, (self.size, self.size))
        keypoints = transform_points(sample["keypoints"], matrix)
        return {**sample, "image": image, "keypoints": keypoints[FLIP_ORDER] if flip else keypoints}


class _Part(NamedTuple):
    """The part of an image around an eye or a mouth, with the place of its pixels in a frame of its own.

    window: rows and columns of the image. pixels: (h, w, 2) their coordinates in the image. x, y: (h, w) in
    the frame. corner: (2,) its origin in the image. axes: (2, 2), rows: its x and y axis.
    """

    window: tuple[slice, slice]
    pixels: np.ndarray
    x: np.ndarray
    y: np.ndarray
    corner: np.ndarray
    axes: np.ndarray

    @classmethod
    def of(cls, image: np.ndarray, corner, axes, extent: tuple[float, float, float]) -> "_Part | None":
        """The part from x = 0 to the width and from top to bottom of `extent`; None if it is outside."""
        width, top, bottom = extent
        reach = np.array([[0, top], [width, top], [0, bottom], [width, bottom]]) @ axes + corner
        left, above = np.maximum(np.floor(reach.min(axis=0)), 0).astype(int)
        right, below = np.ceil(reach.max(axis=0)).astype(int) + 1
        right, below = min(right, image.shape[1]), min(below, image.shape[0])
        if right - left < 2 or below - above < 2:
            return None
        pixels = np.stack(np.meshgrid(np.arange(left, right), np.arange(above, below)), axis=-1)
        x, y = np.moveaxis((pixels - corner) @ axes.T, -1, 0)
        return cls((slice(above, below), slice(left, right)), pixels, x, y, corner, axes)

    def pulled(self, image: np.ndarray, old_y: np.ndarray, changed: np.ndarray) -> np.ndarray:
        """Its pixels, where `changed` (h, w) taken from the height old_y (h, w) of their column."""
        places = np.stack([self.x, old_y], axis=-1) @ self.axes + self.corner
        source = np.where(changed[..., None], places, self.pixels).astype(np.float32)
        return cv2.remap(
            image, source[..., 0], source[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )


class RandomEyelids:
    """With probability p, close or open both eyes by a smooth warp of the image; the points move along.

    In half of the cases the eyes are nearly shut, with CLOSED times their height. In the others the factor is
    uniform from 0 to WIDEST. The upper lid moves, the lower one a little.
    """

    CLOSED, WIDEST = (0.02, 0.15), 1.3

    def __init__(self, p: float = 0.3):
        self.p = p

    def __call__(self, sample: dict) -> dict:
        rng = rng_of(sample)
        if rng.random() >= self.p:
            return sample
        factor = rng.uniform(*self.CLOSED) if rng.random() < 0.5 else rng.uniform(0, self.WIDEST)
        image, keypoints = sample["image"].copy(), sample["keypoints"].copy()
        for eye in ("right_eye", "left_eye"):
            move_eyelids(image, keypoints, list(GROUPS[eye]), factor)
        return {**sample, "image": image, "keypoints": keypoints}


def move_eyelids(image: np.ndarray, keypoints: np.ndarray, eye: list[int], factor: float) -> None:
    """Multiply the height of an eye by `factor` >= 0, in place: pixels and the four points of the lids.

    image: HxWx3 uint8. keypoints: (68, 2) px. eye: the six points of a group, from the corner at the left of
    the image over the upper lid to the other corner and back. An eye of no width or height stays as it is.

    In the frame of the eye's corners each column of pixels is stretched: between the lids by `factor`, above
    and below them so that the skin ends at the same place as before.
    """
    corner, along = keypoints[eye[0]].astype(np.float64), keypoints[eye[3]] - keypoints[eye[0]]
    width = float(np.linalg.norm(along))
    if width < 2:
        return
    axes = np.array([along, [-along[1], along[0]]]) / width  # rows: along the eye, and down
    local = (keypoints[eye] - corner) @ axes.T
    upper, lower = _lid(local[[1, 2]], width), _lid(local[[5, 4]], width)
    top, bottom = -0.55 * width, 0.4 * width  # the skin moves from here to the lids
    part = _Part.of(image, corner, axes, (width, top, bottom))
    if part is None:
        return
    x, y = part.x, part.y
    inside = (x > 0) & (x < width) & (y > top) & (y < bottom)
    u, v = upper(x), np.maximum(lower(x), upper(x) + 1e-3)
    new_u, new_v = _moved_lids(u, v, factor)
    old = np.where(
        y < new_u,
        top + (y - top) * (u - top) / np.maximum(new_u - top, 1e-3),
        np.where(
            y > new_v,
            bottom - (bottom - y) * (bottom - v) / np.maximum(bottom - new_v, 1e-3),
            u + (y - new_u) * (v - u) / np.maximum(new_v - new_u, 1e-3),
        ),
    )
    image[part.window] = part.pulled(image, old, inside)
    for indices, is_upper in (([1, 2], True), ([5, 4], False)):
        place = local[indices, 0]
        moved = _moved_lids(upper(place), np.maximum(lower(place), upper(place) + 1e-3), factor)
        height = moved[0] if is_upper else moved[1]
        keypoints[np.array(eye)[indices]] = np.stack([place, height], axis=1) @ axes + corner


def _moved_lids(upper, lower, factor: float) -> tuple:
    """Heights of both lids after the eye's height was multiplied by `factor`; the lower one moves a tenth."""
    change = (1 - factor) * (lower - upper)
    return upper + 0.9 * change, lower - 0.1 * change


def _lid(points: np.ndarray, width: float):
    """The height of a lid at a place along the eye, 0 to width, as a function: a cubic.

    It goes through both corners and through points (2, 2), which are ordered from left to right.
    """
    x = np.clip(points[:, 0], 0.05 * width, 0.95 * width)
    if abs(x[1] - x[0]) < 0.05 * width:
        x = np.array([1, 2]) * width / 3
    slope = points[:, 1] / (x * (width - x))
    tilt = (slope[1] - slope[0]) / (x[1] - x[0])
    return lambda place: place * (width - place) * (slope[0] + tilt * (place - x[0]))


class RandomMouth:
    """With probability p, open a mouth that is nearly shut; the points of lips and chin move along.

    The gap between the lips becomes 0.1 to 0.6 times as high as the mouth is wide. It is filled with a dark
    colour, in half of the cases with a bright strip for the upper teeth.
    """

    GAP, SHUT = (0.1, 0.6), 0.12

    def __init__(self, p: float = 0.2):
        self.p = p

    def __call__(self, sample: dict) -> dict:
        rng = rng_of(sample)
        if rng.random() >= self.p:
            return sample
        gap, dark, teeth = rng.uniform(*self.GAP), rng.uniform(0.1, 0.4), rng.random() < 0.5
        if mouth_opening(sample["keypoints"]) > self.SHUT:
            return sample
        image, keypoints = sample["image"].copy(), sample["keypoints"].copy()
        open_mouth(image, keypoints, gap, dark, teeth)
        return {**sample, "image": image, "keypoints": keypoints}


def open_mouth(image: np.ndarray, keypoints: np.ndarray, gap: float, dark: float, teeth: bool) -> None:
    """Open a shut mouth in place, in the frame of its inner corners: pixels, lower lip and chin.

    image: HxWx3 uint8. keypoints: (68, 2) px. gap: height of the opening over the width of the mouth.
    dark: colour of the opening over the mean colour of the lips. teeth: draw a bright strip.

    What lies below the line between the lips moves down, most in the middle of the mouth, and less further
    down: nothing at twice the distance of the chin. A mouth of no width stays as it is.
    """
    corner, other = keypoints[[INNER_MOUTH_RIGHT, INNER_MOUTH_LEFT]].astype(np.float64)
    along = other - corner
    width = float(np.linalg.norm(along))
    if width < 4:
        return
    axes = np.array([along, [-along[1], along[0]]]) / width  # rows: along the mouth, and down
    local = (keypoints - corner) @ axes.T
    inner = list(GROUPS["inner_lips"])
    line = _lid(local[[inner[1], inner[3]]] / 2 + local[[inner[7], inner[5]]] / 2, width)
    end = 2 * max(local[CHIN, 1], 0.5 * width)  # nothing moves from here on

    def drop(x):
        return gap * width * np.clip(1 - (2 * x / width - 1) ** 2, 0, None) ** 0.7

    part = _Part.of(image, corner, axes, (width, -0.2 * width, end))
    if part is None:
        return
    x, y = part.x, part.y
    middle, fall = line(x), drop(x)
    below_lip = (x > 0) & (x < width) & (y > middle + fall) & (y < end)
    in_gap = (x > 0) & (x < width) & (y > middle) & (y <= middle + fall)
    old = end - (end - y) * (end - middle) / np.maximum(end - middle - fall, 1)
    pulled = part.pulled(image, old, below_lip)
    lips = image[part.window][np.abs(y - middle) < 0.1 * width]
    colour = dark * (lips.mean(axis=0) if len(lips) else np.full(3, 100.0))
    pulled[in_gap] = colour
    if teeth:
        upper = in_gap & (y < middle + min(0.12 * width, 0.4 * gap * width))
        pulled[upper] = np.clip(colour * 2 + 110, 0, 255)
    image[part.window] = pulled
    lower = [*inner[5:8], *list(GROUPS["outer_lips"])[7:12], *range(CHIN - 3, CHIN + 4)]
    place, height = local[lower].T
    height = np.maximum(height, line(place))
    share = np.clip((end - height) / np.maximum(end - line(place), 1), 0, 1)
    moved = np.stack([place, height + share * drop(np.clip(place, 0, width))], axis=1)
    keypoints[lower] = moved @ axes + corner


class RandomBrightnessContrast:
    """Change contrast, about the mean gray, and brightness of a uint8 image.

    contrast, brightness: standard deviations, as in Augmentation.
    """

    def __init__(self, contrast: float = 0.25, brightness: float = 0.1):
        self.contrast, self.brightness = contrast, brightness

    def __call__(self, sample: dict) -> dict:
        rng, image = rng_of(sample), sample["image"]
        contrast = np.exp(rng.normal(0.0, self.contrast))
        brightness = rng.normal(0.0, self.brightness) * 255
        levels = np.arange(256, dtype=np.float32)
        middle = cv2.mean(image)[0]
        table = np.clip((levels - middle) * contrast + middle + brightness, 0, 255).astype(np.uint8)
        return {**sample, "image": cv2.LUT(image, table)}


class RandomBlur:
    """With probability p, a Gaussian blur with a standard deviation of 0.3 to `sigma` pixels."""

    def __init__(self, p: float = 0.2, sigma: float = 1.5):
        self.p, self.sigma = p, sigma

    def __call__(self, sample: dict) -> dict:
        rng = rng_of(sample)
        if rng.random() >= self.p:
            return sample
        sigma = rng.uniform(0.3, self.sigma)
        return {**sample, "image": cv2.GaussianBlur(sample["image"], (0, 0), sigma)}


class RandomOcclusion:
    """With probability p, cover one rectangle with a random gray or with noise.

    max_share: largest side of the rectangle over the side of the image.
    """

    def __init__(self, p: float = 0.3, max_share: float = 0.4):
        self.p, self.max_share = p, max_share

    def __call__(self, sample: dict) -> dict:
        rng = rng_of(sample)
        if rng.random() >= self.p:
            return sample
        image = sample["image"].copy()
        height, width = image.shape[:2]
        box_h, box_w = (rng.uniform(0.1, self.max_share, size=2) * (height, width)).astype(int) + 1
        top, left = rng.integers(height - box_h + 1), rng.integers(width - box_w + 1)
        patch = image[top : top + box_h, left : left + box_w]
        if rng.random() < 0.5:
            patch[:] = rng.integers(256)
        else:
            patch[:] = rng.integers(256, size=patch.shape, dtype=np.uint8)
        return {**sample, "image": image}


def training_steps(size: int, crop_mode: str, crop_scale: float, augmentation: Augmentation) -> list:
    """The transforms of a training sample before Normalize: eyelids, crop, gray, contrast, blur, occlusion.

    Arguments as for RandomAffineCrop. Transforms whose strength is 0 are left out.
    """
    aug = augmentation
    steps = [RandomEyelids(aug.eyelid_prob)] if aug.eyelid_prob else []
    steps += [RandomMouth(aug.mouth_prob)] if aug.mouth_prob else []
    steps += [RandomAffineCrop(size, crop_mode, crop_scale, aug), ToGray()]
    if aug.contrast or aug.brightness:
        steps.append(RandomBrightnessContrast(aug.contrast, aug.brightness))
    if aug.blur_prob:
        steps.append(RandomBlur(aug.blur_prob))
    if aug.occlusion_prob:
        steps.append(RandomOcclusion(aug.occlusion_prob))
    return steps


class ToGray:
    """HxWx3 uint8 RGB to HxW uint8 gray, so that the next transforms process a third of the bytes."""

    def __call__(self, sample: dict) -> dict:
        return {**sample, "image": cv2.cvtColor(sample["image"], cv2.COLOR_RGB2GRAY)}


class RescaleIntensity:
    """Gray values from [0, 1] to [low, high], the `gray_range` of a network's config."""

    def __init__(self, low: float = 0.0, high: float = 1.0):
        self.low, self.high = low, high

    def __call__(self, sample: dict) -> dict:
        if (self.low, self.high) == (0.0, 1.0):
            return sample
        image = sample["image"] * np.float32(self.high - self.low) + np.float32(self.low)
        return {**sample, "image": image}
