"""The rows of benchmarks/writeups/README.md: their checkpoints, their records, and how these are made.

A row's checkpoint is in saved_models/NAME if it ships, else in the run folder that
`train.py --recipe RECIPE --split SPLIT` makes. Its records:

    saved_models/NAME/records/SPLIT-whole.{json,npz}           of one that ships (evaluate.py --record)
    benchmarks/writeups/records/NAME/SPLIT-whole.{json,npz}    of one that is too large to ship
    benchmarks/writeups/records/NAME/SPLIT-losses.json         classic losses of either
    benchmarks/writeups/records/NAME/training.json             recipe, epochs, time, training loss

Losses of other weights, and a training of another recipe, count as missing.
"""

import csv
import json
from dataclasses import dataclass, replace
from pathlib import Path

import evaluate
from checkpoint import (
    CONFIG_FILE,
    SAVED_MODELS,
    WEIGHTS_FILE,
    ModelConfig,
    load_checkpoint,
    load_config,
    shipped_networks,
)
from data_fetch import data_checksum
from files import write_json
from training.classic_loss import classic_losses, losses_without_looking
from training.evaluation import CheckpointPredictor
from training.recipes import get_recipe
from training.records import is_current, load_record, provenance, save_record, sha256_of
from training.writeups import WRITEUPS

ROOT = Path(__file__).parents[2]
RECORDS = Path(__file__).parent / "records"
WITHOUT_LOOKING = RECORDS / "without_looking.json"
RUNS = ROOT / "runs"
HISTORY = "history.csv"
IN_CROP = "-crop"
SPLITS = ("official", "identity")


@dataclass(frozen=True)
class Row:
    """One predictor on one split: `label` in tables, `name` of its checkpoint."""

    label: str
    name: str
    split: str

    @property
    def baseline(self) -> str:
        """'constant' or 'nearest' if this is one of them, in either view; else empty."""
        name = self.label.removesuffix(IN_CROP)
        return name if name in evaluate.BASELINES else ""

    @property
    def run_folder(self) -> Path:
        """The run folder that train.py makes for a write-up."""
        return RUNS / f"{self.label}-{self.split}-0"

    @property
    def checkpoint(self) -> Path:
        """The folder with its weights: in saved_models/ if it ships, else in its run."""
        shipped = SAVED_MODELS / self.name
        return shipped if (shipped / CONFIG_FILE).is_file() else self.run_folder / "checkpoint"

    @property
    def folder(self) -> Path:
        """The folder of its own records."""
        return RECORDS / self.name

    def stem(self) -> Path:
        """The path of its record without the ending."""
        folder = self.folder
        if self.label in evaluate.BASELINES:
            folder = SAVED_MODELS / "baselines" / self.label / "records"
        elif self.checkpoint.parent == SAVED_MODELS:
            folder = self.checkpoint / "records"
        return folder / f"{self.split}-whole"

    def record(self) -> dict | None:
        """The stored figures, or None."""
        stem = self.stem()
        there = all(stem.with_name(stem.name + end).is_file() for end in (".json", ".npz"))
        return load_record(stem)[0] if there else None

    def losses(self) -> dict | None:
        """The stored classic losses, or None if there are none of these weights."""
        weights, path = self.weights(), self.losses_file()
        stored = json.loads(path.read_text()) if path.is_file() else None
        return None if stored and weights and stored["provenance"]["weights"] != weights else stored

    def losses_file(self) -> Path:
        """The file of its losses. A baseline has one for both views, since the crop is the whole image."""
        return RECORDS / (self.baseline or self.name) / f"{self.split}-losses.json"

    def training(self) -> dict | None:
        """The stored facts of a write-up's training, or None if there are none of its present recipe."""
        path = self.folder / "training.json"
        stored = json.loads(path.read_text()) if path.is_file() and self.label in WRITEUPS else None
        return stored if stored and stored["recipe"] == get_recipe(self.label).as_json() else None

    def weights(self) -> str:
        """SHA-256 of the weights; empty for a baseline, and if they are not on this machine."""
        path = self.checkpoint / WEIGHTS_FILE
        return sha256_of(path) if path.is_file() else ""

    def provenance(self, data) -> dict:
        """The provenance of a measurement made now."""
        renew = "make measure"
        checksum = data_checksum(data.folder)
        if self.baseline:
            return provenance(renew, config=self.config, data=checksum, seed=0)
        if self.label in WRITEUPS:
            renew = f"python train.py --recipe {self.label} --split {self.split}, then make measure"
        return provenance(renew, checkpoint=self.checkpoint, data=checksum, seed=0)

    @property
    def config(self) -> ModelConfig:
        """The config of a baseline, in its view."""
        view = "crop" if self.label.endswith(IN_CROP) else evaluate.BASELINE_CONFIG.whole_view
        return replace(evaluate.BASELINE_CONFIG, whole_view=view)


def baseline_rows(split: str) -> list[Row]:
    """The two predictors that need no training, in the view of our networks and in the write-ups'."""
    names = [f"{name}{view}" for view in ("", IN_CROP) for name in evaluate.BASELINES]
    return [Row(name, name, split) for name in names]


def writeup_rows(split: str) -> list[Row]:
    """One row for each write-up."""
    suffix = "" if split == "official" else f"-{split}"
    return [Row(name, f"{name}{suffix}", split) for name in WRITEUPS]


def our_rows(split: str) -> list[Row]:
    """The networks that ship and are trained on this split."""
    rows = []
    for folder in shipped_networks():
        config, name = load_config(folder), folder.name
        if config.trained_on == split and config.recipe not in WRITEUPS:
            rows.append(Row(name.removesuffix(f"-{split}"), name, split))
    return rows


def all_rows(split: str) -> list[Row]:
    """Baselines first, then the write-ups, then ours."""
    return baseline_rows(split) + writeup_rows(split) + our_rows(split)


# --- measuring -----------------------------------------------------------------------------


def measure_row(row: Row, data) -> list[str]:
    """Store what is not current of a row; returns the kinds of what was written.

    Does nothing if the row's network is not on this machine. Records of what ships and of the
    baselines are not written here but by evaluate.py --record.
    """
    if not row.baseline and not (row.checkpoint / CONFIG_FILE).is_file():
        return []
    written = []
    row.folder.mkdir(parents=True, exist_ok=True)
    if row.stem().parent == row.folder and not is_current(row.stem().with_suffix(".json")):
        _record(row, data)
        written.append("record")
    if row.losses() is None or not is_current(row.losses_file()):
        losses = classic_losses(_predictor(row), data.folder, row.split)
        write_json(row.losses_file(), {**losses, "provenance": row.provenance(data)})
        written.append("losses")
    if (row.run_folder / HISTORY).is_file() and row.training() is None:
        write_json(row.folder / "training.json", training_of(row))
        written.append("training")
    return written


def _record(row: Row, data) -> None:
    """Measure on whole images and store figures and per-face predictions."""
    if row.baseline:
        evaluation = evaluate.evaluate(_predictor(row), data.folder, row.split, "whole")
        figures = {"split": row.split, "faces": "whole", "leak": row.split == "official"}
        figures |= evaluation.figures
    else:
        figures, evaluation = evaluate.measure(str(row.checkpoint), row.split, "whole", data)
    save_record(row.stem(), {**figures, "checkpoint": row.name}, evaluation, row.provenance(data))


def _predictor(row: Row):
    if not row.baseline:
        return CheckpointPredictor(*load_checkpoint(row.checkpoint))
    return evaluate.BASELINES[row.baseline](row.config)


def training_of(row: Row) -> dict:
    """Recipe, epochs, stopped early or not, minutes, and the last training loss, from the run folder."""
    with open(row.run_folder / HISTORY, newline="") as file:
        history = list(csv.DictReader(file))
    recipe = get_recipe(row.label).as_json()
    return {
        "recipe": recipe,
        "split": row.split,
        "epochs": len(history),
        "stopped_early": len(history) < recipe["epochs"],
        "minutes": sum(float(line["seconds"]) for line in history) / 60,
        "loss": float(history[-1]["loss"]),
    }


def store_without_looking(data_folder) -> None:
    """Store the losses of predictors that do not use the image, on the official split."""
    about = provenance(
        "python -m benchmarks.writeups.page --measure", data=data_checksum(data_folder), seed=0
    )
    rows = losses_without_looking(data_folder, "official")
    write_json(WITHOUT_LOOKING, {"split": "official", "rows": rows, "provenance": about})
