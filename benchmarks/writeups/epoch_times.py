"""How long an epoch of each recipe takes, relative to `naimishnet` in the same run:

    python -m benchmarks.epoch_times.page --time    # measures (minutes; let nothing else run)

Every round builds each network in turn and trains it a few steps, images from memory through
its own transform; the median over rounds counts. Steps of different batch sizes are no unit, so what
is compared is an epoch of `official`: 3462 images. Writes benchmarks/writeups/records/epoch_times.json, from
which benchmarks/writeups/page.py takes its column; without --time it prints what is stored.
"""

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import torch
from torch.utils.data import default_collate
from tqdm import tqdm

from checkpoint import CONFIG_FILE, SAVED_MODELS, load_config
from data_fetch import find_data
from data_load import load_split
from files import cv2, write_json
from training.loop import MovingAverage, build_optimizer, set_malloc_options
from training.losses import build_loss
from training.recipes import RECIPES, Recipe, get_recipe
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
    """For each recipe: seconds a step (median over rounds), steps and seconds an epoch."""
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
    """The reference, what ships, and every write-up."""
    shipped = [load_config(path.parent).recipe for path in sorted(SAVED_MODELS.glob(f"*/{CONFIG_FILE}"))]
    return list(dict.fromkeys([REFERENCE, *(name for name in shipped if name in RECIPES), *WRITEUPS]))


def store(steps: int = 5, rounds: int = 5) -> None:
    """Measure every recipe and write the file."""
    cv2.setNumThreads(1)
    set_malloc_options()  # as the training loop does
    dataset = load_split(find_data().folder, "official", "train", seed=0)
    rows = measure(recipes(), dataset, steps=steps, rounds=rounds)
    machine = f"{platform.system()} ({platform.machine()}), PyTorch {torch.__version__}"
    about = {"steps": steps, "rounds": rounds, "threads": torch.get_num_threads(), "machine": machine}
    STORED.parent.mkdir(parents=True, exist_ok=True)
    write_json(STORED, {**about, "reference": REFERENCE, "recipes": rows})


def ratios(stored: dict) -> dict[str, float]:
    """Recipe -> its time for an epoch over the reference's, of a stored measurement."""
    unit = stored["recipes"][stored["reference"]]["epoch"]
    return {name: row["epoch"] / unit for name, row in stored["recipes"].items()}


def main() -> None:
    """Measure where asked, then print what is stored."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--time", action="store_true", help="measure anew")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    if args.time:
        store(args.steps, args.rounds)
    if not STORED.exists():
        print(f"{STORED.name} is not there yet; measure with --time")
        return
    stored = json.loads(STORED.read_text())
    for name, ratio in ratios(stored).items():
        seconds = stored["recipes"][name]["epoch"]
        print(f"{name:28s} {seconds:7.1f} s an epoch, {ratio:6.2f} x {stored['reference']}")


if __name__ == "__main__":
    main()
