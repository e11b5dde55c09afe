"""Fitting what a network says of its own answers: confidence and radius.

The keypoint network stays as it is; a small head (models.py) learns from crops of
the training people: where a face was cut out, how far off each point was; where
something else was, that it is no face. Negatives are what the whole chain ends up with
when it starts on the background of the images, or on photos without people.

The head has seen how well the network does on people it was trained on, which
flatters it. `calibrate` measures by how much, on people that a twin trained without
them does not know, and `set_calibration` puts it right.
"""

import argparse
import json
import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from skimage import data as skimage_data
from torch.nn import functional as F
from torch.utils.data import DataLoader

from checkpoint import CheckpointError, ModelConfig, find_checkpoint, load_checkpoint, save_checkpoint
from data_fetch import DataError, find_data
from data_load import LABEL_OFFSET, FacialKeypointsDataset, load_split, shift_keypoints, training_labels
from detector.face_finders import HaarFaceDetector
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
TEST_SCENES = ("chelsea", "clock", "coins", "hubble_deep_field", "moon")


@dataclass(frozen=True)
class UncertaintySamples:
    """What the head learns from: inputs (N, C + 68), is_face (N,) bool, errors (N, 68), NaN for no face.

    Errors are distances to the labels in the network's unit.
    """

    inputs: torch.Tensor
    is_face: torch.Tensor
    errors: torch.Tensor

    def __add__(self, other: "UncertaintySamples") -> "UncertaintySamples":
        pairs = ((self.inputs, other.inputs), (self.is_face, other.is_face), (self.errors, other.errors))
        return UncertaintySamples(*(torch.cat(pair) for pair in pairs))


def with_uncertainty(model, config: ModelConfig):
    """The same network with an unfitted head for confidence and radius, and the config that says so."""
    config = replace(config, model_args={**config.model_args, "uncertainty": True})
    new = build_model(config.model, input_size=config.input_size, **config.model_args)
    missing = new.load_state_dict(model.state_dict(), strict=False).missing_keys
    if any(not name.startswith("uncertainty.") for name in missing):
        raise ValueError(f"these weights lack {missing}")
    return new.eval(), config


# --- samples ----------------------------------------------------------------------------------


@torch.inference_mode()
def augmented_faces(
    model, recipe: Recipe, dataset: FacialKeypointsDataset, epochs: int = 2
) -> UncertaintySamples:
    """Faces as the last look sees them, with the recipe's light, blur and occlusion.

    dataset: the training part of a split, made with `face_transform(recipe)`.
    """
    labels = dataset.keypoints
    dataset.keypoints = training_labels(dataset, "debiased")
    inputs, errors = [], []
    for epoch in range(1, epochs + 1):
        dataset.set_epoch(epoch)
        for batch in DataLoader(dataset, 64):
            keypoints, seen = model.uncertainty_inputs(batch["image"])
            inputs.append(seen)
            errors.append((keypoints - batch["keypoints"]).norm(dim=-1))
    dataset.keypoints = labels
    inputs, errors = torch.cat(inputs), torch.cat(errors)
    return UncertaintySamples(inputs, torch.ones(len(inputs), dtype=torch.bool), errors)


def face_transform(recipe: Recipe):
    """The recipe's transform, with crops as tight as a last look has them."""
    mild = replace(recipe.augmentation, wide_crop_prob=0.0, scale=0.06, shift=0.03)
    return replace(recipe, augmentation=mild).transform()


def found_faces(model, config: ModelConfig, dataset: FacialKeypointsDataset, starts) -> UncertaintySamples:
    """Faces as the chain finds them. starts: image-to-crop matrices of the first looks."""
    images = [dataset.image(index) for index in range(len(dataset))]
    keypoints, inputs, matrices = _last_look(model, config, images, starts)
    true = shift_keypoints(dataset.keypoints, [-v for v in LABEL_OFFSET])
    scale = np.array([matrix_scale(m) for m in matrices]) / config.keypoint_std
    errors = np.linalg.norm(keypoints - true, axis=-1) * scale[:, None]
    is_face = torch.ones(len(images), dtype=torch.bool)
    return UncertaintySamples(inputs, is_face, torch.from_numpy(errors.astype(np.float32)))


def no_faces(
    model, config: ModelConfig, dataset: FacialKeypointsDataset, scenes, seed: int = 0
) -> UncertaintySamples:
    """What the chain ends up with where it starts on no face."""
    images, boxes, faces = no_face_boxes(dataset, scenes, seed)
    keypoints, inputs, _ = _last_look(model, config, images, [box_matrix(box, config) for box in boxes])
    inputs = inputs[torch.from_numpy(still_off(keypoints, faces))]
    is_face = torch.zeros(len(inputs), dtype=torch.bool)
    return UncertaintySamples(inputs, is_face, torch.full((len(inputs), keypoints.shape[1]), math.nan))


def no_face_boxes(dataset: FacialKeypointsDataset, scenes, seed: int = 0) -> tuple[list, list, list]:
    """Images, boxes on no face (box_xyxy), and each image's face box or None.

    Boxes are random ones beside the labelled face, false positives of a lax cascade, and
    random ones on photos without a face.
    """
    rng = np.random.default_rng(seed)
    images, boxes, faces = _background(dataset, rng)
    for name in scenes:
        scene = getattr(skimage_data, name)()
        scene = np.repeat(scene[..., None], 3, axis=2) if scene.ndim == 2 else scene[..., :3]
        images += [scene] * SCENE_BOXES
        boxes += [_random_box(scene.shape[:2], rng) for _ in range(SCENE_BOXES)]
        faces += [None] * SCENE_BOXES
    return images, boxes, faces


def still_off(keypoints: np.ndarray, faces: list) -> np.ndarray:
    """Which answers (N, 68, 2) did not wander onto the labelled face after all, (N,) bool."""
    return np.array(
        [
            face is None or box_iou(box_from_keypoints(points), face) < 0.15
            for points, face in zip(keypoints, faces, strict=True)
        ]
    )


def _background(dataset: FacialKeypointsDataset, rng) -> tuple[list, list, list]:
    """Images, boxes off the face, and the face's box: random ones and false positives of a lax cascade."""
    lax = HaarFaceDetector(1.1, 1)
    images, boxes, faces = [], [], []
    for index in range(len(dataset)):
        image = dataset.image(index)
        face = scale_box(box_from_keypoints(dataset.keypoints[index]), 1.2)
        tried = [*lax(image), *(_random_box(image.shape[:2], rng) for _ in range(4))]
        off = [box for box in tried if box_iou(box, face) < 0.1][:2]
        images += [image] * len(off)
        boxes += off
        faces += [face] * len(off)
    return images, boxes, faces


def _random_box(shape_hw, rng) -> np.ndarray:
    side = min(shape_hw) * rng.uniform(0.15, 0.7)
    left, top = rng.uniform(0, 1, 2) * (shape_hw[1] - side, shape_hw[0] - side)
    return np.array([left, top, left + side, top + side])


@torch.inference_mode()
def _last_look(model, config: ModelConfig, images, starts):
    """Keypoints (N, 68, 2) in image pixels, head inputs (N, C + 68), and matrices of the last look."""
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
        keypoints, seen = model.uncertainty_inputs(crops)
        inputs.append(seen)
        in_crops = keypoints.numpy() * config.keypoint_std + config.keypoint_mean
        found += [transform_points(p, invert(m)) for p, m in zip(in_crops, matrices[part], strict=True)]
    return np.stack(found), torch.cat(inputs), matrices


# --- fitting -----------------------------------------------------------------------------------


def fit(model, samples: UncertaintySamples, *, steps: int = 2000, seed: int = 0) -> None:
    """Fit the head of `model` in place: cross entropy for confidence, quantile loss for the radius.

    The quantile (pinball) loss of the logarithm makes the radius the distance within which
    a point lies with probability COVERAGE (Koenker and Bassett, Econometrica 1978).
    """
    head = model.uncertainty
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
        pick = [group[torch.randint(len(group), (256,), generator=generator)] for group in (faces, others)]
        logit, log_radius = head.raw(samples.inputs[torch.cat(pick)])
        target = torch.cat([torch.ones(256), torch.zeros(256)])
        loss = F.binary_cross_entropy_with_logits(logit, target)
        loss = loss + pinball(samples.errors[pick[0]].clamp_min(1e-4).log(), log_radius[:256])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def pinball(true: torch.Tensor, quantile: torch.Tensor, coverage: float = COVERAGE) -> torch.Tensor:
    """Mean quantile loss: least where a share `coverage` of `true` lies below `quantile`."""
    above = true - quantile
    return torch.maximum(coverage * above, (coverage - 1) * above).mean()


@torch.no_grad()
def calibrate(model, samples: UncertaintySamples) -> dict[str, float]:
    """What has to be set so that confidence and radius hold on these samples.

    radius_scale: the factor that brings the coverage to COVERAGE. logit_scale and
    logit_shift: Platt's logistic fit (1999), faces and others weighing alike.
    """
    logit, log_radius = model.uncertainty.raw(samples.inputs)
    ratio = samples.errors[samples.is_face] / log_radius[samples.is_face].exp()
    with torch.enable_grad():
        scale, shift = _platt(logit, samples.is_face)
    return {
        "radius_scale": float(ratio.flatten().quantile(COVERAGE)),
        "logit_scale": scale,
        "logit_shift": shift,
    }


def _platt(logit: torch.Tensor, is_face: torch.Tensor) -> tuple[float, float]:
    scale, shift = torch.ones((), requires_grad=True), torch.zeros((), requires_grad=True)
    weight = torch.where(is_face, 0.5 / is_face.sum(), 0.5 / (~is_face).sum())
    optimizer = torch.optim.LBFGS([scale, shift], max_iter=100, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        # a little pull to 1 keeps the fit finite where faces and others do not overlap
        each = F.binary_cross_entropy_with_logits(logit * scale + shift, is_face.float(), reduction="none")
        value = (weight * each).sum() + 1e-3 * ((scale - 1) ** 2 + shift**2)
        value.backward()
        return value

    optimizer.step(loss)
    return scale.item(), shift.item()


FACTORS = ("radius_scale", "logit_scale", "logit_shift")


@torch.no_grad()
def set_calibration(model, calibration: dict[str, float]) -> None:
    """Write what `calibrate` found into the head."""
    for name in FACTORS:
        getattr(model.uncertainty, name).fill_(calibration[name])


def calibration_of(model) -> dict[str, float]:
    """What `set_calibration` wrote."""
    return {name: getattr(model.uncertainty, name).item() for name in FACTORS}


@torch.inference_mode()
def uncertainty_figures(model, samples: UncertaintySamples) -> dict[str, float]:
    """Observed coverage of the radius, and how confidence separates faces from the rest."""
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


def parse_arguments(arguments=None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", help="folder, or name in saved_models/")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--calibrate", action="store_true", help="measure on the split's test people")
    how.add_argument("--calibration", help="a uncertainty.json to take over")
    parser.add_argument("--half", action="store_true", help="store weights as float16")
    return parser.parse_args(arguments)


def test_samples(model, config, data_folder, split: str):
    """Faces and no faces of people and scenes that the checkpoint does not know."""
    dataset = load_split(data_folder, split, "test")
    starts = first_matrices(dataset, "whole", config)
    return found_faces(model, config, dataset, starts) + no_faces(model, config, dataset, TEST_SCENES)


def run(args: argparse.Namespace) -> dict:
    """Fit, calibrate, save; returns what was set and measured."""
    folder = find_checkpoint(args.checkpoint)
    plain, plain_config = load_checkpoint(folder)
    if not hasattr(plain, "uncertainty_inputs"):
        raise CheckpointError(
            f"{plain_config.model!r} has no heatmaps, which a head for confidence and radius needs"
        )
    data = find_data()
    model, config = with_uncertainty(plain, plain_config)
    recipe = get_recipe(config.recipe)
    dataset = load_split(data.folder, config.trained_on, "train", face_transform(recipe), seed=config.seed)
    fit(model, augmented_faces(model, recipe, dataset) + no_faces(model, config, dataset, TRAINING_SCENES))
    if args.calibrate:
        samples = test_samples(model, config, data.folder, config.trained_on)
        before = uncertainty_figures(model, samples)
        calibration = calibrate(model, samples)
        set_calibration(model, calibration)
        report = {**calibration, "before": before, "after": uncertainty_figures(model, samples)}
        write_json(folder / "uncertainty.json", report)
    else:
        report = json.loads(Path(args.calibration).read_text())
        set_calibration(model, report)
    save_checkpoint(folder, model, config, half=args.half)
    return report


def main(arguments=None) -> int:
    """Run, print, and return the exit code."""
    try:
        print(json.dumps(run(parse_arguments(arguments)), indent=2))
    except (ValueError, OSError, DataError) as error:
        print(f"uncertainty.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
