"""The training augmentations: one warp for all geometry, then changes of light.

Rotation, scale, shift, flip and the cut to the network's input are composed into
one 2x3 matrix, and the pixels are drawn once: a chain of resamplings would blur
the image a little at every step and lose its corners.

Random numbers come from the sample (`data_load.rng_of`), so a run that draws them
from (seed, epoch, index) can be repeated exactly.
"""

from dataclasses import dataclass

import numpy as np

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


@dataclass(frozen=True)
class Augmentation:
    """How strongly training samples are varied. All zero: not at all."""

    rotation_deg: float = 15.0  # standard deviation
    scale: float = 0.12  # standard deviation of ln(scale)
    shift: float = 0.07  # standard deviation, as a share of the crop's side
    flip_prob: float = 0.5  # probability
    wide_crop_prob: float = 0.0  # share of samples cut much wider, for the first look at a whole image
    wide_crop_range: tuple[float, float] = (1.2, 3.0)  # factors on the side of such a cut
    contrast: float = 0.25  # standard deviation of ln(contrast)
    brightness: float = 0.1  # standard deviation of brightness, as a share of white
    blur_prob: float = 0.2  # probability
    occlusion_prob: float = 0.3  # probability of one covering rectangle


NO_AUGMENTATION = Augmentation(0.0, 0.0, 0.0, 0.0, 0.0, (1.0, 1.0), 0.0, 0.0, 0.0, 0.0)


class RandomAffineCrop:
    """Cut a square of `size` pixels out of the image, varied by `augmentation`, in one warp.

    frame: 'whole' starts from the whole image, letterboxed to a square; 'face' from
    `margin` times the larger side of the box around the sample's keypoints.
    """

    def __init__(
        self,
        size: int,
        crop_mode: str = "whole",
        crop_scale: float = 1.35,
        augmentation: Augmentation = NO_AUGMENTATION,
    ):
        if crop_mode not in ("whole", "face"):
            raise ValueError(f"frame must be 'whole' or 'face', got {crop_mode!r}")
        self.size, self.crop_mode, self.crop_scale, self.augmentation = (
            size,
            crop_mode,
            crop_scale,
            augmentation,
        )

    def matrix(self, sample: dict, rng: np.random.Generator, flip: bool) -> np.ndarray:
        """The image-to-crop matrix for this sample, random numbers drawn from rng."""
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
    """Contrast about the mean gray and brightness of a uint8 image; probability one."""

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
    """With probability p, a Gaussian blur of up to `sigma` pixels."""

    def __init__(self, p: float = 0.2, sigma: float = 1.5):
        self.p, self.sigma = p, sigma

    def __call__(self, sample: dict) -> dict:
        rng = rng_of(sample)
        if rng.random() >= self.p:
            return sample
        sigma = rng.uniform(0.3, self.sigma)
        return {**sample, "image": cv2.GaussianBlur(sample["image"], (0, 0), sigma)}


class RandomOcclusion:
    """With probability p, one rectangle of up to `largest` of the side, in a random gray or noise."""

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
    """The transforms of a training sample up to Normalize: the warp, then light, blur and occlusion."""
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
    """HxWx3 uint8 RGB to HxW uint8, so that what follows touches a third of the bytes."""

    def __call__(self, sample: dict) -> dict:
        return {**sample, "image": cv2.cvtColor(sample["image"], cv2.COLOR_RGB2GRAY)}


class RescaleIntensity:
    """Gray in [0, 1] to [low, high], the range that a network's config names."""

    def __init__(self, low: float = 0.0, high: float = 1.0):
        self.low, self.high = low, high

    def __call__(self, sample: dict) -> dict:
        if (self.low, self.high) == (0.0, 1.0):
            return sample
        image = sample["image"] * np.float32(self.high - self.low) + np.float32(self.low)
        return {**sample, "image": image}
