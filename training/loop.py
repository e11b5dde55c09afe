"""The training loop.

    run = train(get_recipe("naimishnet"), data_folder, split="identity", run_folder="runs/mine")

One loop for CPU, CUDA, mixed precision and several processes, by Hugging Face
Accelerate (`accelerate launch train.py ...`). A run folder holds history.csv,
TensorBoard logs, state.pt (to resume from) and, in the end, checkpoint/.

Nothing random depends on what happened before: the order of an epoch comes from
(seed, epoch), an image's augmentation from (seed, epoch, index), dropout from
(seed, epoch). So a run that was killed and resumed ends with the same weights,
bit for bit on CPU, as one that was not.
"""

import copy
import csv
import ctypes
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration
from torch.utils.data import DataLoader, Sampler, Subset
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from checkpoint import ModelConfig, save_checkpoint
from data_load import FacialKeypointsDataset, load_split, training_labels
from landmarks import NUM_KEYPOINTS, OUTER_EYE_CORNERS
from models import KeypointNetwork
from training.losses import build_loss
from training.recipes import Recipe

HISTORY_FIELDS = ("epoch", "learning_rate", "loss", "nme", "validation_loss", "validation_nme", "seconds")


class TrainingError(RuntimeError):
    """Training cannot go on: the loss is not finite, or a run folder does not fit."""


@dataclass
class TrainResult:
    """What training leaves: the network that ships, its config, one dict per epoch, the folder."""

    model: KeypointNetwork
    config: ModelConfig
    history: list[dict]
    folder: Path


class EpochSampler(Sampler):
    """All indices in an order that depends on (seed, epoch) alone."""

    def __init__(self, length: int, seed: int):
        self.length, self.seed, self.epoch = length, seed, 0

    def order(self) -> np.ndarray:
        """The permutation of this epoch."""
        return np.random.default_rng([self.seed, self.epoch, 0x5EED]).permutation(self.length)

    def __iter__(self):
        return iter(self.order().tolist())

    def __len__(self) -> int:
        return self.length


def batch_nme(predicted: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Sum over a batch of the NME; the same in any unit, so normalised keypoints will do."""
    right, left = OUTER_EYE_CORNERS
    distance = (predicted - true).norm(dim=-1).mean(dim=1)
    return (distance / (true[:, right] - true[:, left]).norm(dim=-1).clamp_min(1e-6)).sum()


def split_by_identity(dataset: FacialKeypointsDataset, share: float) -> tuple[list[int], list[int]]:
    """Indices to train and to validate on; whole identities are held out, `share` of them."""
    identities = np.array(dataset.identities)
    names = sorted(set(identities))
    picked = np.random.default_rng(0).permutation(names)[: round(share * len(names))]
    held = np.isin(identities, picked)
    return np.flatnonzero(~held).tolist(), np.flatnonzero(held).tolist()


def train(
    recipe: Recipe,
    data_folder,
    *,
    split: str = "official",
    run_folder="runs/latest",
    seed: int = 0,
    resume: bool = False,
    validate: float = 0.0,
    minutes: float | None = None,
    data_checksum: str = "",
    trained_on: str | None = None,
    mixed_precision: str = "no",
    num_workers: int = 0,
    on_epoch: Callable[[dict, KeypointNetwork], None] | None = None,
    progress: bool = True,
    accelerator: Accelerator | None = None,
) -> TrainResult:
    """Train by `recipe` on the training part of `split`, and save runs/.../checkpoint.

    validate: share of the training identities held out and measured after each
        epoch (never images of the split's test part).
    resume: go on from the last whole epoch in run_folder; without it, the folder must be new or empty.
    minutes: training time, resumed epochs included, after which no further epoch is begun that would
        not fit; the config then says how many epochs were done, and `capped`.
    on_epoch: called after each epoch with its history row and the network that would ship.
    Raises TrainingError for a loss that is not finite, naming the batch, and for a
    run folder that does not belong to this recipe; ValueError for `minutes` that make no sense.
    """
    recipe.check_minutes(minutes)
    set_malloc_options()
    return _Trainer(
        recipe, data_folder, split, Path(run_folder), seed, validate, data_checksum, trained_on,
        accelerator or build_accelerator(mixed_precision), num_workers,
    ).run(resume, on_epoch, progress, minutes)  # fmt: skip


def build_accelerator(mixed_precision: str = "no") -> Accelerator:
    """Batches are split among the processes, so that several train on what one would train on."""
    loading = DataLoaderConfiguration(split_batches=True)
    return Accelerator(mixed_precision=mixed_precision, dataloader_config=loading)


class _Trainer:
    """One run; the state between epochs."""

    def __init__(
        self, recipe, data_folder, split, folder, seed, validate, checksum, trained_on, accelerator, workers
    ):
        self.recipe, self.folder, self.seed, self.split = recipe, folder, seed, split
        self.accelerator = accelerator
        sample = trained_on == "sample"  # drawn faces, whose keypoints are exact
        if sample:
            recipe = replace(recipe, labels="raw")
        self.config = recipe.config(seed=seed, data_checksum=checksum, trained_on=trained_on or split)
        self.identity = {"recipe": asdict(recipe), "split": split, "seed": seed, "validate": validate}
        dataset = load_split(data_folder, split, "train", recipe.transform(), seed=seed)
        if not sample:
            dataset.keypoints = training_labels(dataset, recipe.labels, recipe.pseudo_label_share)
        self.dataset = dataset
        self.train_indices, self.held_indices = split_by_identity(dataset, validate)
        if len(self.train_indices) < recipe.batch_size:
            raise TrainingError(
                f"{len(self.train_indices)} training images are fewer than one batch of {recipe.batch_size}"
            )
        self.sampler = EpochSampler(len(self.train_indices), seed)
        loader = DataLoader(
            Subset(dataset, self.train_indices), recipe.batch_size, sampler=self.sampler,
            drop_last=True, num_workers=workers,
        )  # fmt: skip
        torch.manual_seed(seed)
        # Channels last is the layout that convolutions on CPU and CUDA are fastest in.
        model = recipe.build_model().to(memory_format=torch.channels_last)
        start_at_mean_shape(model, dataset, self.train_indices)
        optimizer = build_optimizer(recipe, model)
        self.loss = build_loss(recipe.loss)
        model = model.to(accelerator.device)
        self.average = MovingAverage(model, recipe.ema_decay) if recipe.ema_decay else None
        self.model, self.optimizer, self.loader = accelerator.prepare(model, optimizer, loader)
        self.steps_per_epoch = len(self.train_indices) // recipe.batch_size
        self.history: list[dict] = []

    @property
    def shipped(self) -> KeypointNetwork:
        """The network that would be saved now."""
        raw = self.accelerator.unwrap_model(self.model)
        return self.average.model if self.average else raw

    def run(self, resume: bool, on_epoch, progress: bool, minutes: float | None) -> TrainResult:
        self._open_folder(resume)
        main = self.accelerator.is_main_process
        bar = tqdm(
            total=self.recipe.epochs, initial=len(self.history), unit="epoch", disable=not (progress and main)
        )
        writer = SummaryWriter(str(self.folder / "tensorboard")) if main else None
        try:
            while len(self.history) < self.recipe.epochs and self._has_time(minutes):
                row = self._epoch(len(self.history) + 1)
                self.history.append(row)
                if main:
                    self._save_state()
                    self._log(row, writer, bar)
                if on_epoch is not None and main:
                    on_epoch(row, self.shipped)
                self.accelerator.wait_for_everyone()
        finally:
            bar.close()
            if writer:
                writer.close()
        done = len(self.history)
        self.config = replace(self.config, epochs=done, stopped_early=done < self.recipe.epochs)
        if main:
            save_checkpoint(self.folder / "checkpoint", self.shipped, self.config)
        self.accelerator.wait_for_everyone()
        return TrainResult(self.shipped.eval(), self.config, self.history, self.folder)

    def _epoch(self, epoch: int) -> dict:
        start = time.perf_counter()
        self.dataset.set_epoch(epoch)
        self.sampler.epoch = epoch
        torch.manual_seed(seed_from(self.seed, epoch, self.accelerator.process_index))
        self.model.train()
        total_steps = self.steps_per_epoch * self.recipe.epochs
        sums = torch.zeros(3, device=self.accelerator.device)  # loss x faces, NME, faces
        for number, batch in enumerate(self.loader):
            step = (epoch - 1) * self.steps_per_epoch + number
            rate = learning_rate_at(step, total_steps, self.recipe)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            sums += self._step(batch, epoch, number)
        loss, nme = self._means(sums)
        row = {"epoch": epoch, "learning_rate": rate, "loss": loss, "nme": nme}
        row["validation_loss"], row["validation_nme"] = self._validate()
        seconds = torch.tensor(time.perf_counter() - start, device=self.accelerator.device)
        row["seconds"] = self.accelerator.reduce(seconds, "mean").item()  # all processes stop as one
        return row

    def _has_time(self, minutes: float | None) -> bool:
        """Whether an epoch as long as the last one still fits; the first one always does."""
        spent = [row["seconds"] for row in self.history]
        return minutes is None or not spent or sum(spent) + spent[-1] <= 60 * minutes

    def _step(self, batch, epoch: int, number: int) -> torch.Tensor:
        images, true = batch["image"], batch["keypoints"]
        with self.accelerator.autocast():
            predicted = self.model(images)
        predicted = predicted.float()
        loss = self.loss(predicted, true)
        if not torch.isfinite(loss):
            self._stop_at(epoch, number, loss.item())
        self.optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        self.optimizer.step()
        if self.average:
            self.average.update(self.accelerator.unwrap_model(self.model))
        return self._sums(loss.detach(), predicted.detach(), true)

    @staticmethod
    def _sums(loss: torch.Tensor, predicted: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
        """Loss times faces, sum of NME, faces."""
        faces = torch.tensor(float(len(true)), device=true.device)
        return torch.stack([loss * faces, batch_nme(predicted, true), faces])

    def _stop_at(self, epoch: int, number: int, loss: float):
        size = self.recipe.batch_size
        picked = self.sampler.order()[number * size : (number + 1) * size]
        names = [self.dataset.paths[self.train_indices[i]].name for i in picked]
        raise TrainingError(
            f"the loss is {loss} in epoch {epoch}, batch {number + 1} of {self.steps_per_epoch} "
            f"({', '.join(names[:4])}, ... {len(names)} images). Check these labels, or lower the "
            f"learning rate ({self.recipe.learning_rate})."
        )

    def _means(self, sums: torch.Tensor) -> tuple[float, float]:
        sums = self.accelerator.reduce(sums, "sum")
        loss, nme, faces = sums.tolist()
        return loss / faces, nme / faces

    @torch.no_grad()
    def _validate(self) -> tuple[float, float]:
        if not self.held_indices:
            return math.nan, math.nan
        self.dataset.set_epoch(0)  # the same crops after every epoch, so that the curve is comparable
        model = self.shipped.eval()
        sums = torch.zeros(3)
        for batch in DataLoader(Subset(self.dataset, self.held_indices), self.recipe.batch_size):
            images, true = (batch[k].to(self.accelerator.device) for k in ("image", "keypoints"))
            predicted = model(images).float()
            sums += self._sums(self.loss(predicted, true), predicted, true).cpu()
        loss, nme, faces = sums.tolist()
        return loss / faces, nme / faces

    # --- the run folder ---------------------------------------------------------------

    def _open_folder(self, resume: bool) -> None:
        state_file = self.folder / "state.pt"
        if not resume:
            if state_file.exists():
                raise TrainingError(f"{self.folder} holds a run already; resume it (--resume) or remove it")
            self.folder.mkdir(parents=True, exist_ok=True)
        elif state_file.exists():
            self._load_state(state_file)
        else:
            self.folder.mkdir(parents=True, exist_ok=True)

    def _save_state(self) -> None:
        state = {
            "run": json.dumps(self.identity, sort_keys=True),
            "model": self.accelerator.unwrap_model(self.model).state_dict(),
            "average": self.average.model.state_dict() if self.average else {},
            "average_steps": self.average.steps if self.average else 0,
            "optimizer": self.optimizer.state_dict(),
            "history": self.history,
        }
        beside = self.folder / f".state.pt.{os.getpid()}"
        torch.save(state, beside)
        os.replace(beside, self.folder / "state.pt")

    def _load_state(self, path: Path) -> None:
        state = torch.load(path, map_location="cpu", weights_only=True)
        mine, theirs = json.dumps(self.identity, sort_keys=True), state["run"]
        if mine != theirs:
            raise TrainingError(f"{path} belongs to another run:\n{theirs}\nand this is\n{mine}")
        self.accelerator.unwrap_model(self.model).load_state_dict(state["model"])
        if self.average:
            self.average.model.load_state_dict(state["average"])
            self.average.steps = state["average_steps"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.history = state["history"]

    def _log(self, row: dict, writer: SummaryWriter, bar) -> None:
        with open(self.folder / "history.csv", "w", newline="") as file:
            table = csv.DictWriter(file, HISTORY_FIELDS)
            table.writeheader()
            table.writerows(self.history)
        for name in HISTORY_FIELDS[1:]:
            if not math.isnan(row[name]):
                writer.add_scalar(name, row[name], row["epoch"])
        bar.set_postfix_str(f"loss {row['loss']:.4f}, NME {100 * row['nme']:.2f} %", refresh=False)
        bar.update()


# --- optimiser, learning rate, averaged weights -------------------------------------------------


def seed_from(*numbers: int) -> int:
    """One seed out of several numbers, the same on every machine."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def learning_rate_at(step: int, total_steps: int, recipe: Recipe) -> float:
    """The learning rate of a step: constant, or one cycle (30 % cosine warm-up, then cosine to ~0)."""
    peak = recipe.learning_rate
    if recipe.schedule == "constant":
        return peak
    if recipe.schedule != "one_cycle":
        raise ValueError(f"schedule must be 'constant' or 'one_cycle', got {recipe.schedule!r}")
    warm_up = 0.3 * total_steps
    if step < warm_up:
        low, share = peak / 25, step / warm_up
        return low + (peak - low) * (1 - math.cos(math.pi * share)) / 2
    share = (step - warm_up) / max(total_steps - warm_up, 1)
    return peak * (1 + math.cos(math.pi * share)) / 2 + 1e-7


def build_optimizer(recipe: Recipe, model: torch.nn.Module) -> torch.optim.Optimizer:
    """Adam or AdamW over all parameters."""
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    if recipe.optimizer not in kinds:
        raise ValueError(f"optimizer must be one of {', '.join(kinds)}, got {recipe.optimizer!r}")
    return kinds[recipe.optimizer](
        model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )


def set_malloc_options() -> bool:
    """Let this process reuse the memory of freed tensors; whether the C library can (glibc, so Linux).

    glibc gives blocks of more than 32 MB back to the system when they are freed and gets them anew, page by
    page, in the next step: a third of the time of a step with images of 224 pixels, and more (LOG.md).
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # other C libraries; Windows has no CDLL(None)
        return False
    trim_threshold, mmap_max = -1, -4  # their numbers in malloc.h
    return bool(set_option(mmap_max, 0) and set_option(trim_threshold, 2**31 - 1))


class MovingAverage:
    """Exponential moving average of weights and buffers, over fewer steps at the start."""

    def __init__(self, model: torch.nn.Module, decay: float):
        self.decay, self.steps = decay, 0
        self.model = copy.deepcopy(model).eval()

    @torch.no_grad()
    def update(self, model: torch.nn.Module) -> None:
        """One step toward `model`."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for average, new in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            if average.is_floating_point():
                average.lerp_(new, 1 - decay)
            else:
                average.copy_(new)


def start_at_mean_shape(model: KeypointNetwork, dataset, indices: list[int], count: int = 200) -> None:
    """Set the bias of a dense output to the mean keypoints of some training samples.

    The network then starts as the constant predictor and spends no epochs on becoming it.
    """
    last = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear)][-1:]
    if not last or last[0].out_features != 2 * NUM_KEYPOINTS:
        return
    step = max(len(indices) // count, 1)
    shapes = torch.stack([dataset[i]["keypoints"] for i in indices[::step]])
    with torch.no_grad():
        last[0].weight.mul_(0.1)
        last[0].bias.copy_(shapes.mean(dim=0).flatten())
