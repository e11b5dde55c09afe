"""The rows of benchmarks/ablations/page.py: their training, their measurement and their records.

    benchmarks/ablations/records/ROW-SEED.json    figures in each view, the recipe, the training
    benchmarks/ablations/records/ROW-SEED.npz     the error of each face in each view

Runs are in runs/; an interrupted one goes on where it stopped. A record of another recipe, or without all
of its row's views, counts as missing.
"""

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from checkpoint import ModelConfig
from data_fetch import data_checksum
from files import write_json
from training.augment import NO_AUGMENTATION, Augmentation
from training.evaluation import CheckpointPredictor, ConstantPredictor, evaluate
from training.loop import train
from training.metrics import nme_per_face
from training.recipes import Recipe
from training.records import provenance, save_arrays

ROOT = Path(__file__).parents[2]
RECORDS = Path(__file__).parent / "records"
SPLIT = "validation"

CONSTANT = "constant"
BASE = Recipe(
    "ablation-base",
    model="naimishnet",
    model_args={"dropout": 0.2},
    input_size=96,
    crop_mode="whole",
    augmentation=Augmentation(
        rotation_deg=10.0,
        scale=0.17,
        shift=0.05,
        flip_prob=0.5,
        contrast=0.2,
        brightness=0.08,
        blur_prob=0.0,
        occlusion_prob=0.0,
    ),
    gray_range=(0.0, 1.0),
    loss="wing",
    optimizer="adamw",
    learning_rate=1e-3,
    schedule="one_cycle",
    ema_decay=0.999,
    epochs=30,
)


# How a row is measured: the faces axis, and the number of passes.
VIEWS = {
    "whole": ("whole", 1),
    "haar": ("haar", 1),
    "haar, 3 passes": ("haar", 3),
    "label_box": ("label_box", 1),
}


@dataclass(frozen=True)
class Row:
    """One change to the base: fields of `Recipe`, the VIEWS it is measured in, its seeds."""

    name: str
    change: str
    fields: dict
    views: tuple[str, ...] = ("whole",)
    seeds: tuple[int, ...] = (0, 1, 2)

    @property
    def recipe(self) -> Recipe:
        """The base with the change made."""
        return replace(BASE, name=f"ablation-{self.name}", **self.fields)


ROWS = {
    row.name: row
    for row in [
        Row(CONSTANT, "no training: the mean face", {}, ("whole", "haar", "label_box"), seeds=(0,)),
        Row("base", "none: Wing loss, augmentation, whole image, gray in [0, 1]", {}),
        # `Normalize` gives [0, 1]; stretched to [0, 1/255] it is divided by 255 a second time
        Row(
            "divided_twice", "gray divided by 255 twice, as most forks run it", {"gray_range": (0.0, 1 / 255)}
        ),
        Row("loss_mse", "MSE", {"loss": "mse"}),
        Row("loss_smooth_l1", "SmoothL1", {"loss": "smooth_l1"}),
        Row("no_augmentation", "no augmentation", {"augmentation": NO_AUGMENTATION}),
        Row(
            "face_crop",
            "face crop: 1.5 x the label box in training, 1.33 x the cascade's box",
            {"crop_mode": "face", "crop_scale": 1.5, "box_scale": 1.33},
            views=("haar", "haar, 3 passes", "label_box"),
        ),
        Row("bn", "batch norm", {"model_args": {"dropout": 0.2, "batch_norm": True}}),
        Row(
            "224px",
            "224 px",
            {"input_size": 224, "keypoint_mean": 111.5, "keypoint_std": 56.0},
            seeds=(0,),
        ),
    ]
}


# --- training and measuring ----------------------------------------------------------------------


def stem_of(row: Row, seed: int) -> Path:
    """The path of a run's record without the ending."""
    return RECORDS / f"{row.name}-{seed}"


def load(row: Row, seed: int) -> tuple[dict, dict[str, np.ndarray]] | None:
    """The stored figures and per-face errors of a run; None if there is none of its recipe and views."""
    stem = stem_of(row, seed)
    files = stem.with_name(stem.name + ".json"), stem.with_name(stem.name + ".npz")
    if not all(path.is_file() for path in files):
        return None
    figures = json.loads(files[0].read_text())
    if figures["recipe"] != row.recipe.as_json() or not set(row.views) <= set(figures["figures"]):
        return None
    with np.load(files[1], allow_pickle=False) as stored:
        return figures, {name: stored[name] for name in stored.files}


def measure_row(row: Row, seed: int, data, mixed_precision: str) -> None:
    """Train, or go on training, measure and store one run; the constant predictor needs no training."""
    if row.name == CONSTANT:
        config = row.recipe.config(trained_on=SPLIT)
        store(row, seed, ConstantPredictor, config, data, {})
        return
    run = train(
        row.recipe,
        data.folder,
        split=SPLIT,
        run_folder=ROOT / "runs" / f"ablation-{row.name}-{seed}",
        seed=seed,
        resume=True,
        data_checksum=data_checksum(data.folder),
        trained_on="sample" if data.is_sample else SPLIT,
        mixed_precision=mixed_precision,
    )
    training = {"mixed_precision": mixed_precision, "training_nme": run.history[-1]["nme"]}
    training["minutes"] = sum(epoch["seconds"] for epoch in run.history) / 60
    predictor = partial(CheckpointPredictor, run.model)
    store(row, seed, predictor, run.config, data, training, run.folder / "checkpoint")


def store(
    row: Row, seed: int, predictor_of, config: ModelConfig, data, training: dict, checkpoint=None
) -> None:
    """Measure in each of the row's views, and write both files.

    predictor_of: called with the config of a view, returns the predictor to measure.
    training: further fields of the record. checkpoint: the folder with the weights, if there are any.
    """
    figures, errors = {}, {}
    for view in row.views:
        faces, passes = VIEWS[view]
        evaluation = evaluate(predictor_of(replace(config, passes=passes)), data.folder, SPLIT, faces)
        figures[view] = evaluation.figures
        errors[f"nme_{view}"] = nme_per_face(evaluation.predicted, evaluation.true)
    stem = stem_of(row, seed)
    names = {"paths": np.array(evaluation.paths), "identities": np.array(evaluation.identities)}
    save_arrays(stem.with_name(stem.name + ".npz"), **names, **errors)
    about = {"row": row.name, "change": row.change, "seed": seed, "sample": data.is_sample, **training}
    about |= {"figures": figures, "recipe": row.recipe.as_json()}
    renew = f"python -m benchmarks.ablations.page --train --only {row.name}"
    checksum = data_checksum(data.folder)
    note = provenance(renew, checkpoint=checkpoint, config=config, data=checksum, seed=seed)
    write_json(stem.with_name(stem.name + ".json"), {**about, "provenance": note})
