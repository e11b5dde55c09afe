"""Fits the head that estimates confidence and radius of a trained heatmap network.

    python -m training.uncertainty heatmapnet-identity --calibrate
    python -m training.uncertainty heatmapnet --calibration saved_models/heatmapnet-identity/uncertainty.json

The weights of the keypoint network stay as they are. The head (`UncertaintyHead` in models.py) learns from
crops of the training people: on a face, the error of each point; on anything else, that it is no face. The
crops without a face are those of the last pass, started where a face finder or a cascade errs, and at random
on the background of the images and on photos without people.

On people it was trained on the network makes smaller errors than on others. `--calibrate` therefore scales
confidence and radius on the held-out people of the split, and writes the factors to uncertainty.json in the
checkpoint folder, or to `--report FILE`. A checkpoint trained on everybody has no held-out people:
`--calibration` gives it the factors of the held-out checkpoint.
"""

import argparse
import json
import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader

from checkpoint import CheckpointError, ModelConfig, find_checkpoint, load_checkpoint, save_checkpoint
from data_fetch import DataError, find_data
from data_load import (
    FacialKeypointsDataset,
    background_photo,
    labels_in_scheme,
    load_split,
    training_labels,
)
from detector.face_finders import HaarFaceDetector, NetworkFaceFinder, default_finder_name
from detector.predictor import BATCH, box_matrix, crops_to_batch, keypoints_matrix, predict_keypoints
from files import write_json
from geometry import box_from_keypoints, box_iou, invert, matrix_scale, scale_box, transform_points
from models import build_model
from training.evaluation import first_matrices
from training.recipes import Recipe, get_recipe

COVERAGE = 0.9  # share of the points that lie within their radius
#: Photos without a face that come with scikit-image. No photo is in both lists.
TRAINING_SCENES = (
    "brick", "cell", "coffee", "grass", "gravel", "immunohistochemistry", "page", "retina", "rocket", "text",
)  # fmt: skip
SCENE_BOXES = 100
MIN_FINDER_SCORE = 0.02  # lower than in use, since it errs seldom on images that it was trained on
TEST_SCENES = ("chelsea", "clock", "coins", "hubble_deep_field", "moon")


@dataclass(frozen=True)
class UncertaintySamples:
    """N crops that the head learns from.

    inputs: (N, C + 68), see `UncertaintyHead.inputs`. is_face: (N,) bool.
    errors: (N, 68) distances to the labels in the unit of the network; NaN for no face.
    """

    inputs: torch.Tensor
    is_face: torch.Tensor
    errors: torch.Tensor

    def __add__(self, other: "UncertaintySamples") -> "UncertaintySamples":
        pairs = ((self.inputs, other.inputs), (self.is_face, other.is_face), (self.errors, other.errors))
        return UncertaintySamples(*(torch.cat(pair) for pair in pairs))

    def to(self, device) -> "UncertaintySamples":
        """The same samples on a PyTorch device."""
        return UncertaintySamples(*(v.to(device) for v in (self.inputs, self.is_face, self.errors)))


def check_device(name: str) -> None:
    """Raises ValueError for a PyTorch device that cannot be used here."""
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from error


def device_of(model) -> torch.device:
    """The device that the weights of a network are on."""
    return next(model.parameters()).device


def with_head(model, config: ModelConfig, head: str):
    """The same network with an unfitted head, and its config. head: 'uncertainty' or 'visibility'.

    Raises ValueError for weights that are not all of this network.
    """
    config = replace(config, model_args={**config.model_args, head: True})
    new = build_model(config.model, input_size=config.input_size, **config.model_args)
    missing = new.load_state_dict(model.state_dict(), strict=False).missing_keys
    if any(not name.startswith(f"{head}.") for name in missing):
        raise ValueError(f"these weights lack {missing}")
    return new.to(device_of(model)).eval(), config


def with_uncertainty(model, config: ModelConfig):
    """`with_head` for confidence and radius."""
    return with_head(model, config, "uncertainty")


# --- samples ----------------------------------------------------------------------------------


@torch.inference_mode()
def augmented_faces(
    model, recipe: Recipe, dataset: FacialKeypointsDataset, epochs: int = 2
) -> UncertaintySamples:
    """Crops of faces as the last pass gets them, with the recipe's light, blur and occlusion.

    dataset: the training part of a split with raw labels. Errors are those to its debiased labels, or to
        labels where people put the points, if the recipe trains on such.
    """
    labels = "ibug" if recipe.labels == "ibug" else "debiased"
    labelled = FacialKeypointsDataset.from_paths(
        dataset.paths,
        training_labels(dataset, labels, recipe.pseudo_label_share),
        face_transform(recipe),
        cache_bytes=0,
        seed=dataset.seed,
    )
    inputs, errors = [], []
    for epoch in range(1, epochs + 1):
        labelled.set_epoch(epoch)
        for batch in DataLoader(labelled, 64):
            keypoints, seen, _ = model.head_inputs(batch["image"].to(device_of(model)))
            inputs.append(seen.cpu())
            errors.append((keypoints.cpu() - batch["keypoints"]).norm(dim=-1))
    inputs, errors = torch.cat(inputs), torch.cat(errors)
    return UncertaintySamples(inputs, torch.ones(len(inputs), dtype=torch.bool), errors)


def face_transform(recipe: Recipe, **changes):
    """The recipe's transform, with crops as tight as those of the last pass.

    changes: further fields of its augmentation.
    """
    mild = replace(recipe.augmentation, wide_crop_prob=0.0, scale=0.06, shift=0.03, **changes)
    return replace(recipe, augmentation=mild).transform()


def found_faces(model, config: ModelConfig, dataset: FacialKeypointsDataset, starts) -> UncertaintySamples:
    """Crops of faces of the last pass. starts: matrices (2, 3) from each image to its first crop."""
    images = [dataset.image(index) for index in range(len(dataset))]
    keypoints, inputs, matrices = _last_pass(model, config, images, starts)
    true = labels_in_scheme(dataset, config)
    scale = np.array([matrix_scale(m) for m in matrices]) / config.keypoint_std
    errors = np.linalg.norm(keypoints - true, axis=-1) * scale[:, None]
    is_face = torch.ones(len(images), dtype=torch.bool)
    return UncertaintySamples(inputs, is_face, torch.from_numpy(errors.astype(np.float32)))


def no_faces(
    model, config: ModelConfig, dataset: FacialKeypointsDataset, scenes, seed: int = 0
) -> UncertaintySamples:
    """Crops of the last pass where the first one was on no face.

    scenes: names of photos of skimage.data without a face.
    """
    images, boxes, faces = no_face_boxes(dataset, scenes, config.trained_on, seed)
    keypoints, inputs, _ = _last_pass(model, config, images, [box_matrix(box, config) for box in boxes])
    inputs = inputs[torch.from_numpy(still_off(keypoints, faces))]
    is_face = torch.zeros(len(inputs), dtype=torch.bool)
    return UncertaintySamples(inputs, is_face, torch.full((len(inputs), keypoints.shape[1]), math.nan))


def no_face_boxes(
    dataset: FacialKeypointsDataset, scenes, trained_on: str, seed: int = 0
) -> tuple[list, list, list]:
    """Images, a box without a face on each (box_xyxy), and the box of the image's face or None.

    The boxes are false positives of the face finder and of a permissive cascade, random boxes beside the
    labelled face, and both kinds on photos without a face.
    trained_on: of the keypoint network; the face finder is the one that goes with it.
    """
    rng = np.random.default_rng(seed)
    finder = NetworkFaceFinder.from_pretrained(default_finder_name(trained_on), min_score=MIN_FINDER_SCORE)
    images, boxes, faces = _background(dataset, finder, rng)
    for name in scenes:
        scene = background_photo(name)
        found = [*finder(scene), *(_random_box(scene.shape[:2], rng) for _ in range(SCENE_BOXES))]
        images += [scene] * len(found)
        boxes += found
        faces += [None] * len(found)
    return images, boxes, faces


def still_off(keypoints: np.ndarray, faces: list) -> np.ndarray:
    """(N,) bool: True for answers (N, 68, 2) that are not on the labelled face."""
    return np.array(
        [
            face is None or box_iou(box_from_keypoints(points), face) < 0.15
            for points, face in zip(keypoints, faces, strict=True)
        ]
    )


def _background(dataset: FacialKeypointsDataset, finder, rng) -> tuple[list, list, list]:
    """Images, boxes beside the face, and the box of the face."""
    permissive = HaarFaceDetector(1.1, 1)
    images, boxes, faces = [], [], []
    for index in range(len(dataset)):
        image = dataset.image(index)
        face = scale_box(box_from_keypoints(dataset.keypoints[index]), 1.2)
        tried = [*finder(image), *permissive(image), *(_random_box(image.shape[:2], rng) for _ in range(4))]
        off = [box for box in tried if box_iou(box, face) < 0.1][:3]
        images += [image] * len(off)
        boxes += off
        faces += [face] * len(off)
    return images, boxes, faces


def _random_box(shape_hw, rng) -> np.ndarray:
    side = min(shape_hw) * rng.uniform(0.15, 0.7)
    left, top = rng.uniform(0, 1, 2) * (shape_hw[1] - side, shape_hw[0] - side)
    return np.array([left, top, left + side, top + side])


@torch.inference_mode()
def _last_pass(model, config: ModelConfig, images, starts):
    """Keypoints (N, 68, 2) in image pixels, head inputs (N, C + 68) and image-to-crop matrices, last pass."""
    matrices = list(starts)
    if config.passes > 1:
        before = replace(config, passes=config.passes - 1, flip_tta=False)
        matrices = [
            keypoints_matrix(points, config) for points in predict_keypoints(model, before, images, starts)
        ]
    found, inputs = [], []
    for start in range(0, len(images), BATCH):
        part = slice(start, start + BATCH)
        crops = torch.from_numpy(crops_to_batch(images[part], matrices[part], config))
        keypoints, seen, _ = model.head_inputs(crops.to(device_of(model)))
        inputs.append(seen.cpu())
        in_crops = keypoints.cpu().numpy() * config.keypoint_std + config.keypoint_mean
        found += [transform_points(p, invert(m)) for p, m in zip(in_crops, matrices[part], strict=True)]
    return np.stack(found), torch.cat(inputs), matrices


# --- fitting -----------------------------------------------------------------------------------


def fit(model, samples: UncertaintySamples, *, steps: int = 2000, seed: int = 0) -> None:
    """Fit the head of `model` in place: cross entropy for confidence, quantile loss for the radius.

    The quantile (pinball) loss of the logarithm makes the radius the distance within which
    a point lies with probability COVERAGE (Koenker and Bassett, Econometrica 1978).
    """
    head, samples = model.uncertainty, samples.to(device_of(model))
    head.input_mean.copy_(samples.inputs.mean(dim=0))
    head.input_std.copy_(samples.inputs.std(dim=0).clamp_min(1e-3))
    head.logit_scale.fill_(1.0), head.logit_shift.zero_(), head.radius_scale.fill_(1.0)
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    for layer in (head.body[0], head.body[2]):
        layer.reset_parameters()
    optimizer = torch.optim.AdamW(head.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    faces, others = samples.is_face.nonzero()[:, 0], (~samples.is_face).nonzero()[:, 0]
    for _ in range(steps):
        pick = [
            group[torch.randint(len(group), (256,), generator=generator).to(group.device)]
            for group in (faces, others)
        ]
        logit, log_radius = head.raw(samples.inputs[torch.cat(pick)])
        target = torch.cat([torch.ones(256), torch.zeros(256)]).to(logit.device)
        loss = F.binary_cross_entropy_with_logits(logit, target)
        loss = loss + pinball(samples.errors[pick[0]].clamp_min(1e-4).log(), log_radius[:256])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def pinball(true: torch.Tensor, quantile: torch.Tensor, coverage: float = COVERAGE) -> torch.Tensor:
    """Mean quantile loss; smallest where a share `coverage` of `true` is below `quantile`."""
    above = true - quantile
    return torch.maximum(coverage * above, (coverage - 1) * above).mean()


@torch.no_grad()
def calibrate(model, samples: UncertaintySamples) -> dict[str, float]:
    """Factors with which confidence and radius are right on these samples.

    radius_scale brings the coverage of the radius to COVERAGE. logit_scale and logit_shift are Platt's
    logistic fit (1999), in which faces and other crops have the same total weight.
    """
    samples = samples.to(device_of(model))
    logit, log_radius = model.uncertainty.raw(samples.inputs)
    ratio = samples.errors[samples.is_face] / log_radius[samples.is_face].exp()
    with torch.enable_grad():
        is_face = samples.is_face
        weight = torch.where(is_face, 0.5 / is_face.sum(), 0.5 / (~is_face).sum())
        scale, shift = platt(logit, is_face, weight)
    return {
        "radius_scale": float(ratio.flatten().quantile(COVERAGE)),
        "logit_scale": scale,
        "logit_shift": shift,
    }


def platt(logit: torch.Tensor, is_true: torch.Tensor, weight: torch.Tensor) -> tuple[float, float]:
    """Scale and shift with which sigmoid(logit * scale + shift) is the share that is true.

    logit, is_true (bool), weight: (N,).
    """
    # two numbers are fitted: no work for an accelerator
    logit, is_true, weight = logit.cpu(), is_true.cpu(), weight.cpu()
    scale, shift = torch.ones((), requires_grad=True), torch.zeros((), requires_grad=True)
    optimizer = torch.optim.LBFGS([scale, shift], max_iter=100, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        # a small penalty keeps the fit finite where a limit parts the true from the others
        each = F.binary_cross_entropy_with_logits(logit * scale + shift, is_true.float(), reduction="none")
        value = (weight * each).sum() + 1e-3 * ((scale - 1) ** 2 + shift**2)
        value.backward()
        return value

    optimizer.step(loss)
    return scale.item(), shift.item()


FACTORS = ("radius_scale", "logit_scale", "logit_shift")


@torch.no_grad()
def set_calibration(model, calibration: dict[str, float]) -> None:
    """Write the factors of `calibrate` into the head."""
    for name in FACTORS:
        getattr(model.uncertainty, name).fill_(calibration[name])


def calibration_of(model) -> dict[str, float]:
    """The factors that are in the head, as `set_calibration` takes them."""
    return {name: getattr(model.uncertainty, name).item() for name in FACTORS}


@torch.inference_mode()
def uncertainty_figures(model, samples: UncertaintySamples) -> dict[str, float]:
    """Figures on these samples, as shares 0 to 1, and the numbers of samples.

    coverage: points of faces within their radius. faces_above_half, others_above_half: crops with a
    confidence above 0.5.
    """
    samples = samples.to(device_of(model))
    confidence, radius = model.uncertainty(samples.inputs)
    faces = samples.is_face
    return {
        "coverage": float((samples.errors[faces] <= radius[faces]).float().mean()),
        "faces_above_half": float((confidence[faces] > 0.5).float().mean()),
        "others_above_half": float((confidence[~faces] > 0.5).float().mean()),
        "faces": int(faces.sum()),
        "others": int((~faces).sum()),
    }


# --- command line -------------------------------------------------------------------------------


def parse_arguments(
    arguments=None, description: str = __doc__, report: str = "uncertainty.json"
) -> argparse.Namespace:
    """The arguments of the command line of a head. report: the name of the file with its factors."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", help="folder, or name in saved_models/")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--calibrate", action="store_true", help="fit the factors on the held-out people")
    how.add_argument("--calibration", metavar="FILE", help=f"take the factors of another {report}")
    parser.add_argument("--report", metavar="FILE", help="with --calibrate: where to write the factors")
    parser.add_argument("--device", default="cpu", help="PyTorch device, such as cuda; default: cpu")
    parser.add_argument("--half", action="store_true", help="store weights as float16")
    return parser.parse_args(arguments)


def read_calibration(path, factors=FACTORS) -> dict:
    """The content of a file that `--calibrate` wrote.

    Raises ValueError for a file without these factors, OSError for one that cannot be read.
    """
    try:
        report = json.loads(Path(path).read_text(encoding="utf-8"))
        whole = all(isinstance(report[name], int | float) for name in factors)
    except (ValueError, TypeError, KeyError):
        whole = False
    if not whole:
        raise ValueError(f"{path} must be a JSON object with the numbers {', '.join(factors)}")
    return report


def test_samples(model, config, data_folder, split: str):
    """Samples of the held-out people of the split, and of scenes that the head was not fitted on."""
    dataset = load_split(data_folder, split, "test")
    starts = first_matrices(dataset, "whole", config)
    return found_faces(model, config, dataset, starts) + no_faces(model, config, dataset, TEST_SCENES)


def run(args: argparse.Namespace) -> dict:
    """Fit the head, calibrate it, save the checkpoint; returns the content of uncertainty.json.

    Raises CheckpointError for a checkpoint that is missing or is no heatmap network, ValueError for a
    calibration file without the three factors.
    """
    check_device(args.device)
    folder = find_checkpoint(args.checkpoint)
    plain, plain_config = load_checkpoint(folder, args.device)
    if not hasattr(plain, "head_inputs"):
        raise CheckpointError(
            f"{plain_config.model!r} has no heatmaps, which a head for confidence and radius needs"
        )
    calibration = None if args.calibrate else read_calibration(args.calibration)
    data = find_data()
    model, config = with_uncertainty(plain, plain_config)
    recipe = get_recipe(config.recipe)
    dataset = load_split(data.folder, config.trained_on, "train", seed=config.seed)
    fit(model, augmented_faces(model, recipe, dataset) + no_faces(model, config, dataset, TRAINING_SCENES))
    if calibration is None:
        samples = test_samples(model, config, data.folder, config.trained_on)
        before = uncertainty_figures(model, samples)
        calibration = calibrate(model, samples)
        set_calibration(model, calibration)
        report = {**calibration, "before": before, "after": uncertainty_figures(model, samples)}
        write_json(args.report or folder / "uncertainty.json", report)
    else:
        report = calibration
        set_calibration(model, calibration)
    save_checkpoint(folder, model, config, half=args.half)
    return report


def main(arguments=None) -> int:
    """Fit, print the report, and return the exit code."""
    try:
        print(json.dumps(run(parse_arguments(arguments)), indent=2))
    except (ValueError, OSError, DataError) as error:
        print(f"training.uncertainty: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
