"""The time of a training epoch of each recipe, relative to `naimishnet` in the same run:

    python -m benchmarks.writeups.page --time    # measures for some minutes; let nothing else run

Every round builds each network in turn and trains it a few steps, with images from memory and its own
transform; the median over rounds counts. Batch sizes differ, so an epoch of `official` (3462 images)
is compared and not a step. The record is benchmarks/writeups/records/epoch_times.json.
"""

import statistics
import time
from pathlib import Path

import torch
from torch.utils.data import default_collate
from tqdm import tqdm

from checkpoint import load_config, shipped_networks
from data_fetch import data_checksum, find_data
from data_load import load_split
from files import cv2, write_json
from training.loop import MovingAverage, build_optimizer, set_malloc_options
from training.losses import build_loss
from training.recipes import RECIPES, Recipe, get_recipe
from training.records import provenance
from training.writeups import WRITEUPS

STORED = Path(__file__).parent / "records" / "epoch_times.json"
REFERENCE = "naimishnet"


def seconds_per_step(recipe: Recipe, dataset, steps: int, clock=time.perf_counter) -> float:
    """Mean time of a training step, loading included, after one step to warm up."""
    dataset.transform = recipe.transform()
    torch.manual_seed(0)
    model = recipe.build_model().to(memory_format=torch.channels_last).train()
    optimizer, loss = build_optimizer(recipe, model), build_loss(recipe.loss)
    average = MovingAverage(model, recipe.ema_decay) if recipe.ema_decay else None
    start = 0.0
    for number in range(steps + 1):
        if number == 1:
            start = clock()
        picked = range(number * recipe.batch_size, (number + 1) * recipe.batch_size)
        batch = default_collate([dataset[i % len(dataset)] for i in picked])
        optimizer.zero_grad(set_to_none=True)
        loss(model(batch["image"]), batch["keypoints"]).backward()
        optimizer.step()
        if average:
            average.update(model)
    return (clock() - start) / steps


def measure(names, dataset, *, steps: int, rounds: int, clock=time.perf_counter) -> dict[str, dict]:
    """For each recipe: seconds per step (median over rounds), steps and seconds per epoch."""
    seconds = {name: [] for name in names}
    for _ in range(rounds):
        for name in tqdm(names):
            seconds[name].append(seconds_per_step(get_recipe(name), dataset, steps, clock))
    rows = {}
    for name, values in seconds.items():
        per_step, per_epoch = statistics.median(values), len(dataset) // get_recipe(name).batch_size
        rows[name] = {"step": per_step, "steps_per_epoch": per_epoch, "epoch": per_step * per_epoch}
    return rows


def recipes() -> list[str]:
    """Names: the reference, the recipes of what ships, and every write-up."""
    shipped = [load_config(folder).recipe for folder in shipped_networks()]
    return list(dict.fromkeys([REFERENCE, *(name for name in shipped if name in RECIPES), *WRITEUPS]))


def store(steps: int = 5, rounds: int = 5) -> None:
    """Measure every recipe and write the file."""
    cv2.setNumThreads(1)
    set_malloc_options()  # as the training loop does
    data = find_data()
    dataset = load_split(data.folder, "official", "train", seed=0)
    rows = measure(recipes(), dataset, steps=steps, rounds=rounds)
    about = {"steps": steps, "rounds": rounds, "threads": torch.get_num_threads(), "reference": REFERENCE}
    renew = "python -m benchmarks.writeups.page --time"
    note = provenance(renew, data=data_checksum(data.folder), seed=0)
    write_json(STORED, {**about, "recipes": rows, "provenance": note})


def ratios(stored: dict) -> dict[str, float]:
    """Recipe -> its time for an epoch over the reference's, from a stored measurement."""
    unit = stored["recipes"][stored["reference"]]["epoch"]
    return {name: row["epoch"] / unit for name, row in stored["recipes"].items()}
