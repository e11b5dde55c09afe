"""The training loop.

    run = train(get_recipe("naimishnet"), data_folder, split="identity", run_folder="runs/mine")

One loop for CPU, CUDA, mixed precision and several processes, with Hugging Face Accelerate
(`accelerate launch train.py ...`). A run folder holds history.csv, TensorBoard logs, state.pt (to resume
from) and, in the end, checkpoint/.

Random numbers depend only on (seed, epoch) for the order of the images and for dropout, and on (seed, epoch,
index) for an image's augmentation. On CPU, a run that was killed and resumed gives the same weights, bit for
bit, as a run without interruption.
"""

import copy
import csv
import ctypes
import hashlib
import json
import math
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration
from torch.utils.data import DataLoader, Sampler, Subset
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from checkpoint import (
    WEIGHTS_FILE,
    ModelConfig,
    Rule,
    find_checkpoint,
    load_checkpoint,
    save_checkpoint,
    sha256_of,
    shown,
)
from data_load import FacialKeypointsDataset, load_split, training_labels
from detector import __version__
from files import atomic_path, one_line, remove_leftovers, run_lock
from landmarks import NUM_KEYPOINTS, OUTER_EYE_CORNERS
from models import KeypointNetwork
from training.crops import crop_problem, whole_image_scale
from training.evaluation import knows_tested, people_known
from training.own_network import copy_model_file, model_file_of, note_model_file
from training.recipes import Recipe

HISTORY_FIELDS = ("epoch", "learning_rate", "loss", "nme", "validation_loss", "validation_nme", "seconds")
STATE_FILE, HISTORY_FILE = "state.pt", "history.csv"
MIN_LIMIT = 4  # images of a dry run
SHOWN = 3  # differences between two settings that a message names
WHY_NOT_EXTENDED = (
    "Epochs can be changed in a run with schedule=constant, to no fewer than are done; this one has "
    "schedule={schedule}; done: {done}. Train anew in another --run"
)


class TrainingError(RuntimeError):
    """Training cannot go on: the loss is not finite, or the run folder cannot be used."""


@dataclass
class TrainResult:
    """The result of a training.

    model: the network with the averaged weights, or the last ones if the recipe averages none; in eval mode.
    config: its config. history: one dict per epoch, with HISTORY_FIELDS. folder: the run folder.
    """

    model: KeypointNetwork
    config: ModelConfig
    history: list[dict]
    folder: Path


def train(
    recipe: Recipe,
    data_folder=None,
    *,
    split: str = "official",
    dataset: FacialKeypointsDataset | None = None,
    split_by: str = "identity",
    run_folder="runs/latest",
    seed: int = 0,
    resume: bool = False,
    validate: float = 0.0,
    minutes: float | None = None,
    limit: int | None = None,
    data_checksum: str = "",
    trained_on: str | None = None,
    mixed_precision: str = "no",
    num_workers: int = 0,
    start_from: str | None = None,
    on_epoch: Callable[[dict, KeypointNetwork], None] | None = None,
    progress: bool = True,
    accelerator: Accelerator | None = None,
) -> TrainResult:
    """Train by `recipe` on the training part of `split`, and save RUN_FOLDER/checkpoint.

    dataset: images of your own, in place of the data_folder and its split (training/own_data.py). Their
        labels are taken as they are ('raw'), and batches are made smaller where there are few images.
    split_by: 'identity' or 'random': what is held out together, people or single images.
    run_folder: must be new or empty, unless `resume` is set. No other process may train in it.
    resume: go on after the last whole epoch in run_folder, if there is one. With a constant schedule, the
        recipe may have more epochs than before.
    validate: share of the training identities (or images) to hold out and to measure after each epoch. Images
        of the split's test part are never used.
    minutes: time limit, with resumed epochs. An epoch that would not end within it is not begun.
    limit: train on so many images only, and validate on as many at most: a dry run.
    data_checksum, trained_on: for the config; trained_on is `split`, or 'own' for a dataset, if not given.
        'sample' stands for the synthetic sample: its keypoints are exact, so its labels stay 'raw'.
    mixed_precision: 'no', 'fp16' or 'bf16'. num_workers: processes that load images, 0 for none.
    start_from: a checkpoint, by folder or name; training starts with its weights in place of random ones. It
        must have the recipe's network, and must not know the people that `split` tests.
    on_epoch: called after each epoch with its history row and the network that would be saved now.
    progress: if true, a bar shows epoch, step, images per second and the time left.
    accelerator: in place of one for `mixed_precision`.
    Warns of a recipe whose training crops and later passes do not fit together (training/crops.py).
    Raises ValueError for a value that makes no sense; TrainingError for a loss that is not finite, and for a
    run folder that is in use, damaged, not writable, or of another recipe, split, seed or data.
    """
    check_options(
        recipe,
        seed=seed,
        validate=validate,
        num_workers=num_workers,
        minutes=minutes,
        limit=limit,
        mixed_precision=mixed_precision,
    )
    if (data_folder is None) == (dataset is None):
        raise ValueError("give data_folder, or a dataset of your own")
    if split_by not in SPLITTERS:
        raise ValueError(f"split_by must be one of {', '.join(SPLITTERS)}; got {split_by!r}")
    set_malloc_options()
    accelerator = accelerator or build_accelerator(mixed_precision)
    device, main, folder = accelerator.device, accelerator.is_main_process, Path(run_folder)
    if dataset is not None:
        split = trained_on = "own"
    if trained_on in ("sample", "own"):
        recipe = replace(recipe, labels="raw")

    with run_lock(folder) if main else nullcontext():
        for place in (folder, folder / "checkpoint"):
            remove_leftovers(place)
        if not resume and (folder / STATE_FILE).exists():
            raise TrainingError(f"{folder} holds a run already; resume it (--resume) or remove it")

        # data
        own = dataset is not None
        dataset = copy.copy(dataset) if own else load_split(data_folder, split, "train")
        dataset.transform, dataset.seed = recipe.transform(), seed
        dataset.keypoints = training_labels(dataset, recipe.labels, recipe.pseudo_label_share)
        train_indices, validation_indices = SPLITTERS[split_by](dataset, validate)
        if limit:
            train_indices, validation_indices = (
                some_of(train_indices, limit),
                some_of(validation_indices, limit),
            )
        if own or limit:
            recipe = with_fitting_batches(recipe, len(train_indices))
        if main and train_indices:
            problem = crop_problem(recipe, whole_image_scale(dataset, train_indices))
            if problem:
                warnings.warn(problem, stacklevel=2)
        steps_per_epoch = len(train_indices) // recipe.batch_size
        if not steps_per_epoch:
            raise TrainingError(
                f"{len(train_indices)} training images are fewer than one batch of {recipe.batch_size}"
            )
        sampler = EpochSampler(len(train_indices), seed)
        loader = DataLoader(
            Subset(dataset, train_indices),
            recipe.batch_size,
            sampler=sampler,
            drop_last=True,
            num_workers=num_workers,
        )

        # network, loss, optimiser
        torch.manual_seed(seed)
        # Convolutions are fastest with channels last, on CPU and CUDA.
        model = recipe.build_model().to(memory_format=torch.channels_last)
        known = load_initial_weights(model, start_from, split) if start_from else ""
        if not start_from:
            start_at_mean_shape(model, dataset, train_indices)
        loss_function = recipe.build_loss()
        optimizer = build_optimizer(recipe, model)
        model = model.to(device)
        average = MovingAverage(model, recipe.ema_decay) if recipe.ema_decay else None
        model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
        network = accelerator.unwrap_model(model)
        result = average.model if average else network  # averaged or last weights

        # earlier epochs
        history: list[dict] = []
        settings = {"recipe": recipe.as_json(), "split": split, "seed": seed, "validate": validate}
        settings["training_rows"] = rows_checksum(dataset)
        if start_from:
            settings["start_from"] = sha256_of(find_checkpoint(start_from) / WEIGHTS_FILE)
        # only where they are set: runs from before have no such settings
        settings |= {"split_by": split_by} if split_by != "identity" else {}
        settings |= {"limit": limit} if limit else {}
        model_file = model_file_of(recipe.model, recipe.loss)
        settings |= {"model_file": model_file.sha256} if model_file else {}
        if resume and (folder / STATE_FILE).exists():
            history = load_state(folder, settings, network, average, optimizer)
        if main:
            note_model_file(model_file, folder)

        images = steps_per_epoch * recipe.batch_size
        bar = progress_bar(recipe.epochs * images, len(history) * images, progress and main)
        with bar, RunLog(folder, history) if main else nullcontext() as log:
            for epoch in range(len(history) + 1, recipe.epochs + 1):
                if not has_time(history, minutes):
                    break
                start = time.perf_counter()
                dataset.set_epoch(epoch)
                sampler.epoch = epoch
                torch.manual_seed(seed_from(seed, epoch, accelerator.process_index))
                model.train()
                sums = torch.zeros(3, device=device)  # see batch_sums
                for number, batch in enumerate(loader):
                    step = (epoch - 1) * steps_per_epoch + number
                    rate = learning_rate_at(step, steps_per_epoch * recipe.epochs, recipe)
                    for group in optimizer.param_groups:
                        group["lr"] = rate
                    with accelerator.autocast():
                        predicted = model(batch["image"])  # (B, 68, 2)
                    predicted = predicted.float()
                    loss = loss_function(predicted, batch["keypoints"])
                    if not torch.isfinite(loss):
                        picked = sampler.order()[number * recipe.batch_size :][: recipe.batch_size]
                        names = [dataset.paths[train_indices[index]].name for index in picked]
                        raise TrainingError(
                            f"the loss is {loss.item()} in epoch {epoch}, batch {number + 1} of "
                            f"{steps_per_epoch} ({', '.join(names[:4])}, ... {len(names)} images). Check "
                            f"these labels, or lower the learning rate ({recipe.learning_rate})"
                        )
                    optimizer.zero_grad(set_to_none=True)
                    accelerator.backward(loss)
                    optimizer.step()
                    if average:
                        average.update(network)
                    place = f"epoch {epoch}/{recipe.epochs}, step {number + 1}/{steps_per_epoch}"
                    bar.set_description_str(place, refresh=False)
                    bar.update(recipe.batch_size)
                    sums += batch_sums(loss.detach(), predicted.detach(), batch["keypoints"])

                loss, nme = means(accelerator.reduce(sums, "sum"))
                row = {"epoch": epoch, "learning_rate": rate, "loss": loss, "nme": nme}
                row["validation_loss"], row["validation_nme"] = measure(
                    result, loss_function, dataset, validation_indices, recipe.batch_size, device
                )
                seconds = torch.tensor(time.perf_counter() - start, device=device)
                # the mean over all processes, so that all of them stop after the same epoch
                row["seconds"] = accelerator.reduce(seconds, "mean").item()
                history.append(row)
                if main:
                    save_state(folder, settings, network, average, optimizer, history)
                    log.add(history)
                    bar.set_postfix_str(f"loss {loss:.4f}, NME {100 * nme:.2f} %")
                    if on_epoch is not None:
                        on_epoch(row, result)
                accelerator.wait_for_everyone()

        config = recipe.config(seed=seed, data_checksum=data_checksum, trained_on=trained_on or split)
        done = {"epochs": len(history), "stopped_early": len(history) < recipe.epochs}
        config = replace(config, started_from=known, images=len(train_indices), version=__version__, **done)
        if main:
            save_checkpoint(folder / "checkpoint", result, config)
            copy_model_file(model_file, folder / "checkpoint")
        accelerator.wait_for_everyone()
        return TrainResult(result.eval(), config, history, folder)


def check_options(
    recipe: Recipe,
    *,
    seed: int,
    validate: float,
    num_workers: int,
    minutes: float | None,
    limit: int | None = None,
    mixed_precision: str = "no",
) -> None:
    """Check the values with which `train` is called.

    Raises ValueError, which names the value and its range, or the part of the recipe that cannot be built.
    """
    rules = {
        "seed": (seed, Rule(int, low=0, high=2**32 - 1)),
        "validate": (validate, Rule(float, low=0, high=0.9)),
        "num_workers": (num_workers, Rule(int, low=0, high=256)),
        "limit": (MIN_LIMIT if limit is None else limit, Rule(int, low=MIN_LIMIT, high=10**9)),
    }
    for name, (value, rule) in rules.items():
        if not rule.accepts(value):
            raise ValueError(f"{name} must be {rule.expected}; got {shown(value)}")
    if mixed_precision == "fp16" and not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        raise ValueError("mixed_precision fp16 needs a GPU; on a CPU use bf16, or no for float32")
    recipe.check_minutes(minutes)
    recipe.check()


def build_accelerator(mixed_precision: str = "no") -> Accelerator:
    """An Accelerator that splits each batch among the processes, so that the batch size stays the same.

    mixed_precision: 'no', 'fp16' or 'bf16'.
    """
    loading = DataLoaderConfiguration(split_batches=True)
    return Accelerator(mixed_precision=mixed_precision, dataloader_config=loading)


def load_initial_weights(model: KeypointNetwork, start_from: str, split: str) -> str:
    """Copy the weights of a checkpoint into a network of the same kind. Its heads (heads.py) are left out.

    Returns the split whose training people they know, '' for none.
    Raises CheckpointError for a checkpoint that cannot be read; TrainingError for another network, and for a
    checkpoint that was trained on people that `split` tests.
    """
    other, config = load_checkpoint(start_from)
    known = people_known(config.trained_on, config.started_from)
    if knows_tested(known, split):
        raise TrainingError(
            f"{start_from} was trained on {known!r}, which has people that {split!r} tests; start from a "
            f"checkpoint that was trained on {split!r}"
        )
    heads = ("uncertainty.", "visibility.")
    weights = {k: v for k, v in other.state_dict().items() if not k.startswith(heads)}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise TrainingError(
            f"{start_from} holds {config.model} {config.model_args} of {config.input_size} px, which is not "
            f"the network of this recipe; take its recipe {config.recipe}, or set model and input_size"
        ) from error
    return known


# --- batches and their errors ---------------------------------------------------------------------


class EpochSampler(Sampler):
    """All indices below `length`, in an order that depends on (seed, epoch) alone. Set `epoch` first."""

    def __init__(self, length: int, seed: int):
        self.length, self.seed, self.epoch = length, seed, 0

    def order(self) -> np.ndarray:
        """The permutation (length,) of this epoch."""
        return np.random.default_rng([self.seed, self.epoch, 0x5EED]).permutation(self.length)

    def __iter__(self):
        return iter(self.order().tolist())

    def __len__(self) -> int:
        return self.length


def split_by_identity(dataset: FacialKeypointsDataset, share: float) -> tuple[list[int], list[int]]:
    """Indices to train on and indices to validate on. `share` of the identities are in the second list."""
    identities = np.array(dataset.identities)
    names = sorted(set(identities))
    picked = np.random.default_rng(0).permutation(names)[: round(share * len(names))]
    held = np.isin(identities, picked)
    return np.flatnonzero(~held).tolist(), np.flatnonzero(held).tolist()


def split_at_random(dataset: FacialKeypointsDataset, share: float) -> tuple[list[int], list[int]]:
    """Indices to train on and indices to validate on. `share` of the images are in the second list."""
    order = np.random.default_rng(0).permutation(len(dataset))
    held = round(share * len(dataset))
    return sorted(order[held:].tolist()), sorted(order[:held].tolist())


def some_of(indices: list[int], count: int) -> list[int]:
    """At most `count` of the indices, the same ones each time, in their order."""
    return sorted(np.random.default_rng(0).permutation(indices)[:count].tolist())


SPLITTERS = {"identity": split_by_identity, "random": split_at_random}


def with_fitting_batches(recipe: Recipe, images: int) -> Recipe:
    """The recipe with batches so small that an epoch has at least four, or of 4 images for fewer than 16."""
    return replace(recipe, batch_size=min(recipe.batch_size, max(images // 4, 4)))


def batch_nme(predicted: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Sum of the NME over a batch of keypoints (B, 68, 2), in any unit."""
    right, left = OUTER_EYE_CORNERS
    distance = (predicted - true).norm(dim=-1).mean(dim=1)
    return (distance / (true[:, right] - true[:, left]).norm(dim=-1).clamp_min(1e-6)).sum()


def batch_sums(loss: torch.Tensor, predicted: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Three sums over a batch: loss times faces, NME, faces."""
    faces = torch.tensor(float(len(true)), device=true.device)
    return torch.stack([loss * faces, batch_nme(predicted, true), faces])


def means(sums: torch.Tensor) -> tuple[float, float]:
    """Mean loss and mean NME from the sums of `batch_sums`."""
    loss, nme, faces = sums.tolist()
    return loss / faces, nme / faces


@torch.no_grad()
def measure(
    model: KeypointNetwork, loss_function, dataset: FacialKeypointsDataset, indices, batch_size: int, device
) -> tuple[float, float]:
    """Mean loss and mean NME over images of a data set, by index; NaN for no indices."""
    if not indices:
        return math.nan, math.nan
    dataset.set_epoch(0)  # the same crops after every epoch, so that epochs can be compared
    model.eval()
    sums = torch.zeros(3)
    for batch in DataLoader(Subset(dataset, indices), batch_size):
        images, true = batch["image"].to(device), batch["keypoints"].to(device)
        predicted = model(images).float()
        sums += batch_sums(loss_function(predicted, true), predicted, true).cpu()
    return means(sums)


# --- the run folder -------------------------------------------------------------------------------


def rows_checksum(dataset: FacialKeypointsDataset) -> str:
    """16 hex digits over the file names and keypoints of a data set, in their order."""
    digest = hashlib.sha256("\n".join(path.name for path in dataset.paths).encode())
    digest.update(np.ascontiguousarray(dataset.keypoints, dtype=np.float32).tobytes())
    return digest.hexdigest()[:16]


def save_state(folder: Path, settings: dict, network, average, optimizer, history: list[dict]) -> None:
    """Write state.pt, from which `load_state` goes on. Raises TrainingError if it cannot be written."""
    state = {
        "settings": json.dumps(settings, sort_keys=True),
        "model": network.state_dict(),
        "average": average.model.state_dict() if average else {},
        "average_steps": average.steps if average else 0,
        "optimizer": optimizer.state_dict(),
        "history": history,
    }
    path = folder / STATE_FILE
    try:
        with atomic_path(path) as temporary:
            torch.save(state, temporary)
    except (OSError, RuntimeError) as error:  # PyTorch reports a full disk as RuntimeError
        raise TrainingError(f"{path} cannot be written: {one_line(str(error))}") from error


def load_state(
    folder: Path, settings: dict, network, average, optimizer, fields: tuple[str, ...] = HISTORY_FIELDS
) -> list[dict]:
    """Put the weights of state.pt into network, average and optimiser, and return its history.

    fields: the values of each row of the history.
    Raises TrainingError if state.pt is damaged, or belongs to a run with other settings. More epochs are no
    other setting where the schedule is constant.
    """
    path = folder / STATE_FILE
    damaged = f"{path} is damaged; remove {folder} and train again, or use another --run"
    if not path.is_file():
        raise TrainingError(f"{path} is no regular file")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        theirs, done = json.loads(state["settings"]), len(state["history"])
    except Exception as error:  # the reader raises a family of unrelated types
        raise TrainingError(damaged) from error
    changed = differences(theirs, settings)
    if changed and not extends(theirs, settings, done):
        more = f"; and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
        why = ". Take the former values, or train anew in another --run"
        if len(changed) == 1 and "epochs" in changed[0]:
            why = f". {WHY_NOT_EXTENDED.format(schedule=settings['recipe']['schedule'], done=done)}"
        elif theirs.get("model_file") and settings.get("model_file"):
            why += f". {folder / 'checkpoint'} has a copy of the file that was trained"
        raise TrainingError(
            f"{folder} belongs to a run with other settings: {'; '.join(changed[:SHOWN])}{more}{why}"
        )
    try:
        network.load_state_dict(state["model"])
        if average:
            average.model.load_state_dict(state["average"])
            average.steps = state["average_steps"]
        optimizer.load_state_dict(state["optimizer"])
        return [{name: row[name] for name in fields} for row in state["history"]]
    except Exception as error:
        raise TrainingError(damaged) from error


def extends(before: dict, now: dict, done: int) -> bool:
    """True if two settings differ in the epochs alone, and the run can go on to the new number of them."""
    recipe = now["recipe"]
    same = {**before, "recipe": {**before["recipe"], "epochs": recipe["epochs"]}} == now
    return same and recipe["schedule"] == "constant" and recipe["epochs"] >= done


def differences(before: dict, now: dict, prefix: str = "") -> list[str]:
    """One text per field that two settings do not share, with both values."""
    texts = []
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            texts += differences(old, new, f"{prefix}{name}.")
        elif old != new:
            texts.append(f"{prefix}{name} was {shown(old)} and is now {shown(new)}")
    return texts


def has_time(history: list[dict], minutes: float | None) -> bool:
    """True if one more epoch, as long as the last one, ends within `minutes`; true for the first one."""
    spent = [row["seconds"] for row in history]
    return minutes is None or not spent or sum(spent) + spent[-1] <= 60 * minutes


def progress_bar(total: int, done: int, shown: bool) -> tqdm:
    """A bar that counts images over all epochs, with images per second and the time left."""
    seconds = 0.1 if sys.stderr.isatty() else 30.0  # a log file keeps every line
    return tqdm(total=total, initial=done, unit=" images", disable=not shown, mininterval=seconds)


class RunLog:
    """history.csv and the TensorBoard logs of a run folder; a context manager.

    history: rows of earlier epochs. history.csv is written anew from it: a killed run may lack the last row.
    fields: names of the columns, the epoch first.
    """

    def __init__(self, folder: Path, history: list[dict], fields: tuple[str, ...] = HISTORY_FIELDS):
        self.path, self.fields = folder / HISTORY_FILE, fields
        self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=len(history) + 1)
        if history:
            self._write(history)

    def __enter__(self):
        return self

    def __exit__(self, *_error) -> None:
        self.writer.close()

    def add(self, history: list[dict]) -> None:
        """Write the last row of `history`."""
        self._write(history)
        row = history[-1]
        for name in self.fields[1:]:
            if not math.isnan(row[name]):
                self.writer.add_scalar(name, row[name], row["epoch"])

    def _write(self, history: list[dict]) -> None:
        with atomic_path(self.path) as temporary, open(temporary, "w", newline="") as file:
            table = csv.DictWriter(file, self.fields)
            table.writeheader()
            table.writerows(history)


# --- optimiser, learning rate, averaged weights -------------------------------------------------


def seed_from(*numbers: int) -> int:
    """One seed from several numbers, the same on every machine."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def learning_rate_at(step: int, total_steps: int, recipe: Recipe) -> float:
    """The learning rate of a step, 0 to total_steps - 1.

    Schedule 'constant': the recipe's rate. 'one_cycle': a cosine from 1/25 of it up to it in 30 % of the
    steps, then a cosine down to almost 0 (Smith and Topin, "Super-Convergence", 2017).
    """
    peak = recipe.learning_rate
    if recipe.schedule == "constant":
        return peak
    warm_up = 0.3 * total_steps
    if step < warm_up:
        low, share = peak / 25, step / warm_up
        return low + (peak - low) * (1 - math.cos(math.pi * share)) / 2
    share = (step - warm_up) / max(total_steps - warm_up, 1)
    return peak * (1 + math.cos(math.pi * share)) / 2 + 1e-7


def build_optimizer(recipe: Recipe, model: torch.nn.Module) -> torch.optim.Optimizer:
    """Adam or AdamW over all parameters, by `recipe.optimizer`."""
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    return kinds[recipe.optimizer](
        model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )


def set_malloc_options() -> bool:
    """Let this process keep the memory of freed tensors for the next ones. Returns false if it cannot.

    Only glibc can, so only Linux. It returns freed blocks of more than 32 MB to the system and requests them
    again, page by page, in the next step. With images of 224 pixels that takes a third of a step's time, or
    more (LOG.md).
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # other C libraries; Windows has no CDLL(None)
        return False
    trim_threshold, mmap_max = -1, -4  # their numbers in malloc.h
    return bool(set_option(mmap_max, 0) and set_option(trim_threshold, 2**31 - 1))


class MovingAverage:
    """Exponential moving average of the weights and buffers of a network, in `model`.

    decay: of the average, below 1. The first steps use less: (1 + steps) / (10 + steps).
    """

    def __init__(self, model: torch.nn.Module, decay: float):
        self.decay, self.steps = decay, 0
        self.model = copy.deepcopy(model).eval()

    @torch.no_grad()
    def update(self, model: torch.nn.Module) -> None:
        """Move the average one step toward the weights of `model`."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for average, new in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            if average.is_floating_point():
                average.lerp_(new, 1 - decay)
            else:
                average.copy_(new)


def start_at_mean_shape(model: KeypointNetwork, dataset, indices: list[int], count: int = 200) -> None:
    """Set the bias of a dense output layer to the mean keypoints of about `count` training samples.

    The network then starts near the constant predictor. Networks without a dense output stay as they are.
    """
    last = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear)][-1:]
    if not last or last[0].out_features != 2 * NUM_KEYPOINTS:
        return
    step = max(len(indices) // count, 1)
    shapes = torch.stack([dataset[i]["keypoints"] for i in indices[::step]])
    with torch.no_grad():
        last[0].weight.mul_(0.1)
        last[0].bias.copy_(shapes.mean(dim=0).flatten())
