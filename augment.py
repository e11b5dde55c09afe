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
from geometry import (
    box_centre,
    box_from_keypoints,
    box_side,
    crop_matrix,
    image_box,
    transform_points,
    warp,
)
from landmarks import MIRROR_ORDER
from opencv import cv2


@dataclass(frozen=True)
class Augmentation:
    """How strongly training samples are varied. All zero: not at all."""

    rotation_deg: float = 15.0  # standard deviation
    scale: float = 0.12  # standard deviation of ln(scale)
    shift: float = 0.07  # standard deviation, as a share of the crop's side
    flip: float = 0.5  # probability
    wide: float = 0.0  # share of samples cut much wider, for the first look at a whole image
    wide_range: tuple[float, float] = (1.2, 3.0)  # factors on the side of such a cut
    gain: float = 0.25  # standard deviation of ln(contrast)
    offset: float = 0.1  # standard deviation of brightness, as a share of white
    blur: float = 0.2  # probability
    occlusion: float = 0.3  # probability of one covering rectangle


NO_AUGMENTATION = Augmentation(0.0, 0.0, 0.0, 0.0, 0.0, (1.0, 1.0), 0.0, 0.0, 0.0, 0.0)


class FaceWarp:
    """Cut a square of `size` pixels out of the image, varied by `augmentation`, in one warp.

    frame: 'whole' starts from the whole image, letterboxed to a square; 'face' from
    `margin` times the larger side of the box around the sample's keypoints.
    """

    def __init__(
        self,
        size: int,
        frame: str = "whole",
        margin: float = 1.35,
        augmentation: Augmentation = NO_AUGMENTATION,
    ):
        if frame not in ("whole", "face"):
            raise ValueError(f"frame must be 'whole' or 'face', got {frame!r}")
        self.size, self.frame, self.margin, self.augmentation = size, frame, margin, augmentation

    def matrix(self, sample: dict, rng: np.random.Generator, mirror: bool) -> np.ndarray:
        """The image-to-crop matrix for this sample, random numbers drawn from rng."""
        aug = self.augmentation
        if self.frame == "whole":
            box, side = image_box(sample["image"]), box_side(image_box(sample["image"]))
        else:
            box = box_from_keypoints(sample["keypoints"])
            side = self.margin * box_side(box)
        side *= np.exp(rng.normal(0.0, aug.scale))
        if rng.random() < aug.wide:
            side *= rng.uniform(*aug.wide_range)
        centre = box_centre(box) + rng.normal(0.0, aug.shift, size=2) * side
        angle = rng.normal(0.0, aug.rotation_deg)
        return crop_matrix(centre, side, self.size, rotation_deg=angle, mirror=mirror)

    def __call__(self, sample: dict) -> dict:
        rng = rng_of(sample)
        mirror = bool(rng.random() < self.augmentation.flip)
        matrix = self.matrix(sample, rng, mirror)
        image = warp(sample["image"], matrix, (self.size, self.size))
        keypoints = transform_points(sample["keypoints"], matrix)
        return {**sample, "image": image, "keypoints": keypoints[MIRROR_ORDER] if mirror else keypoints}


class RandomGainOffset:
    """Contrast about the mean gray and brightness of a uint8 image; probability one."""

    def __init__(self, gain: float = 0.25, offset: float = 0.1):
        self.gain, self.offset = gain, offset

    def __call__(self, sample: dict) -> dict:
        rng, image = rng_of(sample), sample["image"]
        gain = np.exp(rng.normal(0.0, self.gain))
        offset = rng.normal(0.0, self.offset) * 255
        levels = np.arange(256, dtype=np.float32)
        middle = cv2.mean(image)[0]
        table = np.clip((levels - middle) * gain + middle + offset, 0, 255).astype(np.uint8)
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

    def __init__(self, p: float = 0.3, largest: float = 0.4):
        self.p, self.largest = p, largest

    def __call__(self, sample: dict) -> dict:
        rng = rng_of(sample)
        if rng.random() >= self.p:
            return sample
        image = sample["image"].copy()
        height, width = image.shape[:2]
        box_h, box_w = (rng.uniform(0.1, self.largest, size=2) * (height, width)).astype(int) + 1
        top, left = rng.integers(height - box_h + 1), rng.integers(width - box_w + 1)
        patch = image[top : top + box_h, left : left + box_w]
        if rng.random() < 0.5:
            patch[:] = rng.integers(256)
        else:
            patch[:] = rng.integers(256, size=patch.shape, dtype=np.uint8)
        return {**sample, "image": image}


def training_steps(size: int, frame: str, margin: float, augmentation: Augmentation) -> list:
    """The transforms of a training sample up to Normalize: the warp, then light, blur and occlusion."""
    aug = augmentation
    steps = [FaceWarp(size, frame, margin, aug), ToGrayBytes()]
    if aug.gain or aug.offset:
        steps.append(RandomGainOffset(aug.gain, aug.offset))
    if aug.blur:
        steps.append(RandomBlur(aug.blur))
    if aug.occlusion:
        steps.append(RandomOcclusion(aug.occlusion))
    return steps


class ToGrayBytes:
    """HxWx3 uint8 RGB to HxW uint8, so that what follows touches a third of the bytes."""

    def __call__(self, sample: dict) -> dict:
        return {**sample, "image": cv2.cvtColor(sample["image"], cv2.COLOR_RGB2GRAY)}


class StretchGray:
    """Gray in [0, 1] to [low, high], the range that a network's config names."""

    def __init__(self, low: float = 0.0, high: float = 1.0):
        self.low, self.high = low, high

    def __call__(self, sample: dict) -> dict:
        if (self.low, self.high) == (0.0, 1.0):
            return sample
        image = sample["image"] * np.float32(self.high - self.low) + np.float32(self.low)
        return {**sample, "image": image}
