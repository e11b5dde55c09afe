"""Fits the head that estimates which keypoints can be seen (`VisibilityHead` in heads.py).

    python -m training.visibility heatmapnet-identity --calibrate
    python -m training.visibility heatmapnet --calibration saved_models/heatmapnet-identity/visibility.json

The network must have its head for confidence and radius (training/uncertainty.py). Its weights stay as they
are. The new head learns from faces of the training people on which a part is covered, so it is known exactly
which points are hidden. `--calibrate` scales its answers on covered faces of the held-out people of the
split, and writes the two factors to visibility.json in the checkpoint folder, or to `--report FILE`.
`--calibration` takes the factors of the held-out checkpoint, for a network that was trained on everybody.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader

from checkpoint import CheckpointError, ModelConfig, find_checkpoint, load_checkpoint, save_checkpoint
from data_fetch import find_data
from data_load import (
    FacialKeypointsDataset,
    Normalize,
    background_photo,
    labels_in_scheme,
    load_split,
    rng_of,
    training_labels,
)
from detector.predictor import VISIBLE_FROM
from files import cv2, run_command, write_json
from geometry import box_from_keypoints, box_side, on_image
from training.metrics import area_under_roc
from training.recipes import Recipe, get_recipe
from training.uncertainty import (
    TEST_SCENES,
    TRAINING_SCENES,
    check_device,
    device_of,
    face_transform,
    parse_arguments,
    platt,
    read_calibration,
    with_head,
)

EPOCHS = 4  # covered copies of each training image
FACTORS = ("logit_scale", "logit_shift")
#: What a face is covered with, and how often.
FILLS = {"gray": 0.2, "noise": 0.1, "part of the photo": 0.2, "other photo": 0.4, "end of the image": 0.1}


# --- covered faces --------------------------------------------------------------------------------


class RandomCover:
    """With probability p, cover a part of the face in a gray image; the sample gets `seen` (68,) bool.

    A point is seen if it lies in the image and nothing covers it. In three of ten cases there is a second
    cover.

    scenes: names of photos of skimage.data without a face, for the fill 'other photo'.
    """

    def __init__(self, scenes: Sequence[str], p: float = 0.75):
        self.scenes, self.p = gray_scenes(scenes), p

    def __call__(self, sample: dict) -> dict:
        rng = rng_of(sample)
        image, keypoints = sample["image"], sample["keypoints"]
        seen = on_image(keypoints, image)
        for probability in (self.p, 0.3):
            if rng.random() >= probability:
                break
            fill = str(rng.choice(list(FILLS), p=list(FILLS.values())))
            image, now_seen = cover(image, keypoints, fill, self.scenes, rng)
            seen &= now_seen
        return {**sample, "image": image, "seen": seen}


def gray_scenes(names: Sequence[str]) -> list[np.ndarray]:
    """Photos of skimage.data, HxW uint8."""
    return [cv2.cvtColor(background_photo(name), cv2.COLOR_RGB2GRAY) for name in names]


def cover(
    image: np.ndarray, keypoints: np.ndarray, fill: str, scenes: Sequence[np.ndarray], rng
) -> tuple[np.ndarray, np.ndarray]:
    """A copy of a gray image (H, W) uint8 with one part of the face covered, and the points seen (68,) bool.

    keypoints: (68, 2) px. fill: one of FILLS. scenes: gray photos (H, W) for 'other photo'.
    The cover is a rectangle or an ellipse of 0.13 to 0.7 face sizes, or all on one side of a line. 'end of
    the image' is always the latter, and black, as crops are beyond the image.
    """
    is_end = fill == "end of the image"
    kind = "side" if is_end else str(rng.choice(["rectangle", "ellipse", "side"], p=[0.4, 0.3, 0.3]))
    mask = _mask(image.shape, keypoints, kind, rng)
    soft = mask if is_end else cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.3, 1.5))
    filled = image + soft * (_filling(image, keypoints, fill, scenes, rng) - image)
    seen = on_image(keypoints, image)
    x, y = np.rint(keypoints[seen]).astype(int).T
    seen[seen] = mask[y, x] < 0.5
    return np.rint(filled).clip(0, 255).astype(np.uint8), seen


def _mask(shape_hw, keypoints: np.ndarray, kind: str, rng) -> np.ndarray:
    """(H, W) float32: 1 where the face is covered."""
    mask = np.zeros(shape_hw, np.float32)
    angle = rng.uniform(0, 360)
    if kind == "side":
        across = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
        limit = np.quantile(keypoints @ across, rng.uniform(0.4, 1.0))
        rows, columns = np.mgrid[: shape_hw[0], : shape_hw[1]]
        mask[columns * across[0] + rows * across[1] > limit] = 1
        return mask
    centre = rng.uniform(keypoints.min(axis=0), keypoints.max(axis=0)).tolist()
    sides = (rng.uniform(0.13, 0.7, 2) * box_side(box_from_keypoints(keypoints))).tolist()
    if kind == "ellipse":
        cv2.ellipse(mask, (centre, sides, angle), 1.0, cv2.FILLED)
    else:
        cv2.fillPoly(mask, [np.rint(cv2.boxPoints((centre, sides, angle))).astype(np.int32)], 1.0)
    return mask


def _filling(image: np.ndarray, keypoints: np.ndarray, fill: str, scenes, rng) -> np.ndarray:
    """(H, W) float64: what the cover shows, at every pixel of the image."""
    height, width = image.shape
    if fill == "end of the image":
        return np.zeros((height, width))
    if fill == "gray":
        return np.full((height, width), float(rng.integers(256)))
    if fill == "noise":
        return rng.integers(256, size=(height, width)).astype(np.float64)
    if fill == "part of the photo":  # skin, hair and clothes of the same light
        factor = rng.uniform(1.5, 4)
        left, top = rng.uniform(0, 1, 2) * (width - width / factor, height - height / factor)
        matrix = np.array([[factor, 0, -left * factor], [0, factor, -top * factor]])
        return cv2.warpAffine(image, matrix, (width, height)).astype(np.float64)
    scene = scenes[rng.integers(len(scenes))]
    face = box_side(box_from_keypoints(keypoints))
    # a part of the scene per face size, repeated as far as the image reaches
    part = int(min(rng.uniform(0.4, 1.6) * face, min(scene.shape)))
    top, left = rng.integers(scene.shape[0] - part + 1), rng.integers(scene.shape[1] - part + 1)
    side = max(round(1.4 * face), 1)
    tile = cv2.resize(scene[top : top + part, left : left + part], (side, side), interpolation=cv2.INTER_AREA)
    tiled = np.tile(tile, (-(-height // side), -(-width // side)))[:height, :width].astype(np.float64)
    return (tiled * rng.uniform(0.5, 1.3) + rng.uniform(-30, 30)).clip(0, 255)


# --- samples --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class VisibilitySamples:
    """N faces that the head learns from.

    local: (N, 68, L) and shared: (N, G), see `HeatmapNet.head_inputs`. seen: (N, 68) bool.
    """

    local: torch.Tensor
    shared: torch.Tensor
    seen: torch.Tensor


@torch.inference_mode()
def covered_faces(
    model, recipe: Recipe, dataset: FacialKeypointsDataset, keypoints, scenes, epochs: int = EPOCHS
) -> VisibilitySamples:
    """Crops of covered faces as the last pass gets them, with the recipe's light and blur.

    keypoints: (N, 68, 2), where the network puts the points of the data set's N images. scenes: as for
    RandomCover. epochs: number of crops of each image.
    """
    covered = FacialKeypointsDataset.from_paths(
        dataset.paths, keypoints, covered_transform(recipe, scenes), cache_bytes=0, seed=dataset.seed or 0
    )
    local, shared, seen = [], [], []
    for epoch in range(1, epochs + 1):
        covered.set_epoch(epoch)
        for batch in DataLoader(covered, 64):
            _, face, points = model.head_inputs(batch["image"].to(device_of(model)))
            local.append(points.half().cpu())  # as float32 they would take gigabytes
            shared.append(face.cpu())
            seen.append(batch["seen"])
    return VisibilitySamples(torch.cat(local), torch.cat(shared), torch.cat(seen))


def covered_transform(recipe: Recipe, scenes):
    """The recipe's transform with crops as tight as those of the last pass, and RandomCover."""
    from torchvision.transforms import Compose

    steps = face_transform(recipe, occlusion_prob=0.0).transforms
    place = next(i for i, step in enumerate(steps) if isinstance(step, Normalize))
    return Compose([*steps[:place], RandomCover(scenes), *steps[place:]])


# --- fitting --------------------------------------------------------------------------------------


def with_visibility(model, config: ModelConfig):
    """`with_head` for visibility."""
    return with_head(model, config, "visibility")


def fit(model, samples: VisibilitySamples, *, steps: int = 1500, batch: int = 128, seed: int = 0) -> None:
    """Fit the head of `model` in place by cross entropy."""
    head, device = model.visibility, device_of(model)
    part = samples.local[:: max(len(samples.local) // 2000, 1)].float()
    head.local_mean.copy_(part.mean(dim=(0, 1)))
    head.local_std.copy_(part.std(dim=(0, 1)).clamp_min(1e-3))
    head.shared_mean.copy_(samples.shared.mean(dim=0))
    head.shared_std.copy_(samples.shared.std(dim=0).clamp_min(1e-3))
    head.logit_scale.fill_(1.0), head.logit_shift.zero_()
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    head.from_local.reset_parameters(), head.from_shared.reset_parameters()
    with torch.no_grad():
        head.offset.normal_(0, 0.1), head.weight.normal_(0, 0.1), head.bias.zero_()
    optimizer = torch.optim.AdamW(head.parameters(), lr=2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        pick = torch.randint(len(samples.seen), (batch,), generator=generator)
        logit = head.raw(samples.local[pick].float().to(device), samples.shared[pick].to(device))
        loss = F.binary_cross_entropy_with_logits(logit, samples.seen[pick].float().to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


@torch.inference_mode()
def logits(model, samples: VisibilitySamples) -> torch.Tensor:
    """Logits (N, 68) before calibration, on the CPU."""
    parts = zip(samples.local.split(256), samples.shared.split(256), strict=True)
    device = device_of(model)
    return torch.cat([model.visibility.raw(a.float().to(device), b.to(device)).cpu() for a, b in parts])


def calibrate(model, samples: VisibilitySamples) -> dict[str, float]:
    """Factors with which visibility is right on these samples: Platt's logistic fit (1999)."""
    logit, seen = logits(model, samples).flatten().clone(), samples.seen.flatten()
    scale, shift = platt(logit, seen, torch.full_like(logit, 1 / len(logit)))
    return {"logit_scale": scale, "logit_shift": shift}


@torch.no_grad()
def set_calibration(model, calibration: dict[str, float]) -> None:
    """Write the factors of `calibrate` into the head."""
    for name in FACTORS:
        getattr(model.visibility, name).fill_(calibration[name])


def visibility_figures(model, samples: VisibilitySamples) -> dict[str, float]:
    """Area under the ROC curve, and the shares of seen and of hidden points that are told as such."""
    head = model.visibility
    shown = torch.sigmoid(logits(model, samples) * head.logit_scale.cpu() + head.logit_shift.cpu()).numpy()
    seen = samples.seen.numpy()
    return {
        "auc": area_under_roc(shown, seen),
        "seen_told": float((shown[seen] >= VISIBLE_FROM).mean()),
        "hidden_told": float((shown[~seen] < VISIBLE_FROM).mean()),
        "points": int(seen.size),
        "hidden": int((~seen).sum()),
    }


# --- command line ---------------------------------------------------------------------------------


REPORT = "visibility.json"  # the factors, in the checkpoint folder


def run(args: argparse.Namespace) -> dict:
    """Fit the head, calibrate it, save the checkpoint; returns the content of visibility.json.

    Raises CheckpointError for a checkpoint that is missing or has no head for confidence and radius,
    ValueError for a calibration file without the two factors.
    """
    check_device(args.device)
    folder = find_checkpoint(args.checkpoint)
    plain, plain_config = load_checkpoint(folder, args.device)
    if not plain_config.has_uncertainty:
        raise CheckpointError(
            f"{folder} does not estimate confidence; run python -m training.uncertainty {folder} first"
        )
    calibration = None if args.calibrate else read_calibration(args.calibration, FACTORS)
    data = find_data()
    model, config = with_visibility(plain, plain_config)
    recipe = get_recipe(config.recipe)
    dataset = load_split(data.folder, config.trained_on, "train", seed=config.seed)
    labels = "ibug" if recipe.labels == "ibug" else "debiased"
    keypoints = training_labels(dataset, labels, recipe.pseudo_label_share)
    fit(model, covered_faces(model, recipe, dataset, keypoints, TRAINING_SCENES))
    if calibration is None:
        people = load_split(data.folder, config.trained_on, "test", seed=config.seed)
        samples = covered_faces(model, recipe, people, labels_in_scheme(people, config), TEST_SCENES)
        calibration = calibrate(model, samples)
        set_calibration(model, calibration)
        report = {**calibration, "held_out": visibility_figures(model, samples)}
        write_json(args.report or folder / REPORT, report)
    else:
        report = calibration
        set_calibration(model, calibration)
    save_checkpoint(folder, model, config, half=args.half)
    return report


def main(arguments=None) -> int:
    """Fit, print the report, and return the exit code."""
    args = parse_arguments(arguments, __doc__, REPORT)

    def fit_and_print() -> int:
        print(json.dumps(run(args), indent=2))
        return 0

    return run_command("training.visibility", fit_and_print)


if __name__ == "__main__":
    sys.exit(main())
