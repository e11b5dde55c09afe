"""Training of the face finder:

    python train.py --recipe face_finder --split identity

The scenes are composites of the split's training images (training/composites.py). After each epoch the finder
searches new scenes without faces; those on which it is most often wrong, the hard negatives, are mixed into
the next epoch. Only (seed, epoch, index) and the weights decide the random numbers, so a run that was killed
and resumed gives the same weights as one without interruption.
"""

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from checkpoint import FinderConfig, check_fields, rule, same_rule, save_checkpoint
from data_load import load_split
from detector.face_finders import peak_boxes
from files import remove_leftovers, run_lock
from models import FaceFinder
from training.composites import CompositeScenes
from training.loop import (
    STATE_FILE,
    MovingAverage,
    RunLog,
    TrainingError,
    build_optimizer,
    learning_rate_at,
    load_state,
    rows_checksum,
    save_state,
    seed_from,
    set_malloc_options,
)
from training.recipes import Recipe, with_field

HISTORY_FIELDS = ("epoch", "learning_rate", "loss", "score_loss", "box_loss", "false_positives", "seconds")


@dataclass(frozen=True)
class FinderRecipe:
    """A face finder and its training.

    width: of FaceFinder. scene_size: side of the scenes in pixels, a multiple of 32.
    steps_per_epoch, epochs, batch_size: length of the training, and scenes per step.
    hard_share: share of the scenes that are hard negatives. hard_pool: scenes without faces that are searched
        after each epoch; a tenth of them is kept.
    long_side, min_score: how the finder is used afterwards; see FinderConfig.
    The other fields are those of Recipe.
    """

    name: str = "face_finder"
    width: int = field(default=20, metadata=rule(int, low=4, high=128))
    scene_size: int = field(default=256, metadata=rule(int, low=64, high=1024))
    batch_size: int = field(default=32, metadata=rule(int, low=1, high=1024))
    steps_per_epoch: int = field(default=100, metadata=rule(int, low=1, high=100_000))
    epochs: int = field(default=30, metadata=rule(int, low=1, high=100_000))
    hard_share: float = field(default=0.1, metadata=rule(float, low=0, high=0.9))
    hard_pool: int = field(default=320, metadata=rule(int, low=0, high=100_000))
    labels: str = field(default="debiased", metadata=same_rule(Recipe, "labels"))
    optimizer: str = field(default="adamw", metadata=same_rule(Recipe, "optimizer"))
    weight_decay: float = field(default=1e-4, metadata=same_rule(Recipe, "weight_decay"))
    learning_rate: float = field(default=3e-3, metadata=same_rule(Recipe, "learning_rate"))
    schedule: str = field(default="one_cycle", metadata=same_rule(Recipe, "schedule"))
    ema_decay: float = field(default=0.998, metadata=same_rule(Recipe, "ema_decay"))
    long_side: int = field(default=320, metadata=same_rule(FinderConfig, "long_side"))
    min_score: float = field(default=0.15, metadata=same_rule(FinderConfig, "min_score"))

    def __post_init__(self):
        """Raises ValueError for a value that its field may not have."""
        check_fields(self)
        if self.scene_size % FaceFinder.multiple:
            raise ValueError(f"scene_size must be a multiple of {FaceFinder.multiple}; got {self.scene_size}")

    def config(self, **more) -> FinderConfig:
        """The config of a checkpoint that this recipe has trained. more: its other fields."""
        return FinderConfig(
            model_args={"width": self.width},
            long_side=self.long_side,
            min_score=self.min_score,
            recipe=self.name,
            **more,
        )


    def override(self, changes: dict) -> "FinderRecipe":
        """A copy with changed fields, by name; a value may be text, as on a command line.

        Raises ValueError for an unknown field, or a value that a field may not have.
        """
        recipe = self
        for name, value in changes.items():
            recipe = with_field(recipe, name, value)
        return recipe


FINDER_RECIPES = {"face_finder": FinderRecipe()}


# --- loss ------------------------------------------------------------------------------------------


def score_loss(logits: torch.Tensor, heat: torch.Tensor) -> torch.Tensor:
    """The focal loss of CornerNet (Law and Deng, ECCV 2018) for scores at cells, per face.

    logits, heat: (B, h, w). heat is 1 at centres; below 1 a cell is background, and the nearer it is to 1 the
    less it counts. Cells below 0 are left out.
    """
    score, centre = torch.sigmoid(logits), heat >= 1
    log_yes, log_no = F.logsigmoid(logits), F.logsigmoid(-logits)
    yes = (1 - score) ** 2 * log_yes * centre
    no = (1 - heat).clamp(0, 1) ** 4 * score**2 * log_no * ((heat >= 0) & ~centre)
    return -(yes + no).sum() / centre.sum().clamp_min(1)


def box_loss(maps: torch.Tensor, box: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Mean distance of offsets and log sides from those of the faces, weighted by cell.

    maps, box: (B, 3, h, w). weight: (B, h, w). Offsets count in sides of the face, so that small and large
    faces have the same weight.
    """
    side = box[:, 2].exp()
    error = (maps[:, :2] - box[:, :2]).abs().sum(dim=1) / side + (maps[:, 2] - box[:, 2]).abs()
    return (error * weight).sum() / weight.sum().clamp_min(1)


# --- hard negatives ---------------------------------------------------------------------------------


class MixedScenes(Dataset):
    """Scenes, of which the last ones are replaced by hard negatives.

    scenes: the composites. hard: images (1, S, S) without faces. share: of the scenes that `hard` replaces.
    """

    def __init__(self, scenes: CompositeScenes, hard: list[torch.Tensor], share: float):
        self.scenes, self.hard = scenes, hard
        self.count = round(share * len(scenes)) if hard else 0

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        # spread over the epoch: every batch holds some of them
        if not self.count or index * self.count // len(self) == (index + 1) * self.count // len(self):
            return self.scenes[index]
        image = self.hard[index % len(self.hard)]
        cells = image.shape[-1] // FaceFinder.stride
        empty = torch.zeros(cells, cells)
        return {"image": image, "heat": empty, "box": torch.zeros(3, cells, cells), "weight": empty.clone()}


@torch.inference_mode()
def find_hard(
    model: FaceFinder, empty: CompositeScenes, min_score: float
) -> tuple[list[torch.Tensor], float]:
    """Images of scenes without faces on which the finder is most sure of one, and its boxes per scene."""
    images, highest, boxes = [], [], 0
    model.eval()
    for batch in DataLoader(empty, 32):
        scores, found = model(batch["image"].to(memory_format=torch.channels_last))
        maps = zip(scores.numpy(), found.numpy(), strict=True)
        boxes += sum(len(peak_boxes(*own, min_score)[1]) for own in maps)
        highest += scores.amax(dim=(1, 2)).tolist()
        images += list(batch["image"])
    order = np.argsort(highest)[::-1][: max(len(images) // 10, 1)]
    return [images[index] for index in order], boxes / max(len(images), 1)


# --- training ---------------------------------------------------------------------------------------


def train_finder(
    recipe: FinderRecipe,
    data_folder,
    *,
    split: str = "official",
    run_folder="runs/face_finder",
    seed: int = 0,
    resume: bool = False,
    data_checksum: str = "",
    trained_on: str | None = None,
    num_workers: int = 0,
    progress: bool = True,
) -> tuple[FaceFinder, FinderConfig, list[dict]]:
    """Train a face finder on composites of the split's training images, and save RUN_FOLDER/checkpoint.

    Arguments and errors are those of `training.loop.train`. Returns the averaged network in eval mode, its
    config, and a row per epoch with HISTORY_FIELDS.
    """
    set_malloc_options()
    folder = Path(run_folder)
    with run_lock(folder):
        for place in (folder, folder / "checkpoint"):
            remove_leftovers(place)
        if not resume and (folder / STATE_FILE).exists():
            raise TrainingError(f"{folder} holds a run already; resume it (--resume) or remove it")

        dataset = load_split(data_folder, split, "train", seed=seed, cache_bytes=0)
        labels = "raw" if trained_on == "sample" else recipe.labels
        length = recipe.steps_per_epoch * recipe.batch_size
        scenes = CompositeScenes(dataset, recipe.scene_size, length, seed, labels=labels)
        empty = scenes.without_faces(recipe.hard_pool)

        torch.manual_seed(seed)
        model = FaceFinder(recipe.width).to(memory_format=torch.channels_last)
        optimizer = build_optimizer(recipe, model)
        average = MovingAverage(model, recipe.ema_decay)
        settings = {"recipe": asdict(recipe), "split": split, "seed": seed}
        settings["training_rows"] = rows_checksum(dataset)
        settings = json.loads(json.dumps(settings))
        history: list[dict] = []
        if resume and (folder / STATE_FILE).exists():
            history = load_state(folder, settings, model, average, optimizer, HISTORY_FIELDS)

        bar = tqdm(total=recipe.epochs, initial=len(history), unit="epoch", disable=not progress)
        with bar, RunLog(folder, history, HISTORY_FIELDS) as log:
            for epoch in range(len(history) + 1, recipe.epochs + 1):
                start = time.perf_counter()
                scenes.epoch = empty.epoch = epoch
                hard, false_positives = find_hard(average.model, empty, recipe.min_score)
                torch.manual_seed(seed_from(seed, epoch))
                batches = DataLoader(
                    MixedScenes(scenes, hard, recipe.hard_share), recipe.batch_size, num_workers=num_workers
                )
                model.train()
                sums = np.zeros(2)
                for number, batch in enumerate(batches):
                    step = (epoch - 1) * recipe.steps_per_epoch + number
                    rate = learning_rate_at(step, recipe.steps_per_epoch * recipe.epochs, recipe)
                    for group in optimizer.param_groups:
                        group["lr"] = rate
                    maps = model.maps(batch["image"].to(memory_format=torch.channels_last))
                    parts = (
                        score_loss(maps[:, 0], batch["heat"]),
                        box_loss(maps[:, 1:], batch["box"], batch["weight"]),
                    )
                    loss = parts[0] + parts[1]
                    if not torch.isfinite(loss):
                        raise TrainingError(
                            f"the loss is {loss.item()} in epoch {epoch}, step {number + 1}; "
                            f"lower the learning rate ({recipe.learning_rate})"
                        )
                    optimizer.zero_grad(set_to_none=True)
                    loss.backward()
                    optimizer.step()
                    average.update(model)
                    sums += [part.item() for part in parts]
                means = sums / recipe.steps_per_epoch
                values = (epoch, rate, means.sum(), *means, false_positives, time.perf_counter() - start)
                row = dict(zip(HISTORY_FIELDS, map(float, values), strict=True)) | {"epoch": epoch}
                history.append(row)
                save_state(folder, settings, model, average, optimizer, history)
                log.add(history)
                bar.set_postfix_str(
                    f"loss {row['loss']:.3f}, {false_positives:.2f} false positives", refresh=False
                )
                bar.update()

        config = recipe.config(
            seed=seed, data_checksum=data_checksum, trained_on=trained_on or split, epochs=len(history)
        )
        save_checkpoint(folder / "checkpoint", average.model, config)
        return average.model.eval(), config, history
