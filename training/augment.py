"""The training augmentations: one warp for all geometry, then contrast, brightness, blur and occlusion.

Rotation, scale, shift, flip and the crop to the network's input are composed into one 2x3 matrix, and the
pixels are resampled once: each further resampling would blur the image and lose its corners.

Random numbers come from the sample (`data_load.rng_of`). A run that makes them from (seed, epoch, index) can
be repeated exactly.
"""

from dataclasses import dataclass, field

import numpy as np

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
from landmarks import FLIP_ORDER

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
    """The transforms of a training sample before Normalize: crop, gray, contrast, blur, occlusion.

    Arguments as for RandomAffineCrop. Transforms whose strength is 0 are left out.
    """
    aug = augmentation
    steps = [RandomAffineCrop(size, crop_mode, crop_scale, aug), ToGray()]
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
