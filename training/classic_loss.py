"""The loss that write-ups of this exercise print, for any predictor.

    losses = classic_losses(CheckpointPredictor(model, config), data_folder, "official")
    losses["centre"]["mse"]          # of (p - 100) / 50 in 224-pixel crops, as `Normalize` scales them

The loss depends on the crop. `Rescale(250)` keeps the aspect, so `RandomCrop(224)` moves the face by up
to 26 pixels and by more along the longer side; `CenterCrop(224)` leaves it in the middle. The same mean
shape in every image has more than twice the loss under a random crop. A figure is therefore always given
with its crop. Here the crop is the image: predictors get it as a whole image, and nothing else.
"""

from functools import cached_property

import numpy as np
import torch
from torchvision.transforms import Compose

from data_load import (
    CenterCrop,
    FacialKeypointsDataset,
    Normalize,
    RandomCrop,
    Rescale,
    load_split,
    to_labels,
)
from geometry import whole_image_matrix
from training.losses import build_loss

SIZE = 224
CROPS = {"random": RandomCrop, "centre": CenterCrop}
LOSSES = ("mse", "smooth_l1")


class ClassicCrops:
    """A data set after Rescale and a crop: `image(i)`, `keypoints` (N, 68, 2) in crop pixels.

    dataset: FacialKeypointsDataset, its transform unused.
    crop: 'random' or 'centre'; a random one depends on (seed, draw, index) alone.
    rescale: 250 keeps the aspect as the exercise does; (250, 250) stretches.
    Raises ValueError for another crop.
    """

    def __init__(self, dataset, crop: str, *, seed: int = 0, draw: int = 0, rescale=250):
        if crop not in CROPS:
            raise ValueError(f"crop must be one of {', '.join(CROPS)}, got {crop!r}")
        transform = Compose([Rescale(rescale), CROPS[crop](SIZE)])
        self._crops = FacialKeypointsDataset.from_paths(
            dataset.paths, dataset.keypoints, transform, seed=seed
        )
        self._crops.image = dataset.image  # both share the cache of decoded images
        self._crops.set_epoch(draw)
        self.identities = dataset.identities

    @cached_property
    def keypoints(self) -> np.ndarray:
        """(N, 68, 2) in crop pixels; computed on first use, since a trained network is not fitted."""
        return np.stack([self._crops[i]["keypoints"] for i in range(len(self))])

    def __len__(self) -> int:
        return len(self._crops)

    def image(self, index: int) -> np.ndarray:
        """The crop, 224x224x3 uint8 RGB."""
        return self._crops[index]["image"]


def normalised_loss(name: str, predicted: np.ndarray, true: np.ndarray) -> float:
    """The loss called `name` between keypoints (N, 68, 2) in crop pixels, as (p - 100) / 50."""
    scale = Normalize()
    pair = [torch.from_numpy((np.asarray(k, np.float64) - scale.mean) / scale.std) for k in (predicted, true)]
    return float(build_loss(name)(*pair))


def all_losses(predicted: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Each of the losses that the write-ups use."""
    return {name: normalised_loss(name, predicted, true) for name in LOSSES}


def predict_crops(predictor, crops: ClassicCrops) -> np.ndarray:
    """Keypoints (N, 68, 2) in crop pixels, each crop given as a whole image."""
    matrix = whole_image_matrix((SIZE, SIZE), predictor.config.input_size)
    parts = []
    for start in range(0, len(crops), 64):
        images = [crops.image(i) for i in range(start, min(start + 64, len(crops)))]
        parts.append(predictor.predict(images, [matrix] * len(images)))
    return to_labels(np.concatenate(parts), predictor.config)


def classic_losses(
    predictor, data_folder, split: str, *, seed: int = 0, draws: int = 3
) -> dict[str, dict[str, float]]:
    """{'random' | 'centre': {'mse', 'smooth_l1'}} on the test part of a split.

    Baselines are fitted on its training part, under the same crop. Random crops are drawn `draws`
    times and averaged: four very long images make one draw differ from the next by a twentieth.
    """
    train, test = (load_split(data_folder, split, part) for part in ("train", "test"))
    losses = {}
    for crop in CROPS:
        predictor.fit(ClassicCrops(train, crop, seed=seed), "whole")
        drawn = [
            ClassicCrops(test, crop, seed=seed, draw=draw) for draw in range(draws if crop == "random" else 1)
        ]
        values = [all_losses(predict_crops(predictor, crops), crops.keypoints) for crops in drawn]
        losses[crop] = {name: float(np.mean([v[name] for v in values])) for name in LOSSES}
    return losses


# --- predictors that do not use the image ---------------------------------------------------


class _Blank:
    """A data set of black images: crops of keypoints depend on the image sizes alone."""

    def __init__(self, dataset: FacialKeypointsDataset):
        self.paths, self.keypoints, self.identities = dataset.paths, dataset.keypoints, dataset.identities
        self._shapes = [dataset.image(i).shape[:2] for i in range(len(dataset))]

    def __len__(self) -> int:
        return len(self.paths)

    def image(self, index: int) -> np.ndarray:
        """Black, in the size of the image."""
        return np.zeros(self._shapes[index], dtype=np.uint8)


def losses_without_looking(data_folder, split: str, *, draws: int = 10) -> list[dict]:
    """The MSE of two predictors that do not use the image: the training mean shape, and all zeros.

    All zeros is the output of an untrained network: all points at pixel (100, 100).
    Returns rows with `aspect` ('kept' or 'stretched'), `crop`, and for each predictor `train` and
    `test`, (mean, standard deviation) over `draws` random crops of every image.
    """
    parts = [_Blank(load_split(data_folder, split, part, cache_bytes=0)) for part in ("train", "test")]
    rows = []
    for aspect, rescale in (("kept", 250), ("stretched", (250, 250))):
        for crop in CROPS:
            values = []
            for draw in range(draws if crop == "random" else 1):
                shapes = [ClassicCrops(part, crop, draw=draw, rescale=rescale).keypoints for part in parts]
                values.append(_without_looking(*shapes))
            spread = {
                key: [float(f([v[key] for v in values])) for f in (np.mean, np.std)] for key in values[0]
            }
            rows.append({"aspect": aspect, "crop": crop, **spread})
    return rows


def _without_looking(train: np.ndarray, test: np.ndarray) -> dict[str, float]:
    """MSE of the training mean shape and of zero, on both parts."""
    guesses = {"constant": train.mean(axis=0), "zero": np.full(2, Normalize().mean)}
    return {
        f"{name}_{part}": normalised_loss("mse", np.broadcast_to(guess, true.shape), true)
        for name, guess in guesses.items()
        for part, true in (("train", train), ("test", test))
    }
