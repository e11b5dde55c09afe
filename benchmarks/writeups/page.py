"""The tables of benchmarks/writeups/README.md, from stored records (no weights, no images):

    python -m benchmarks.writeups.page              # rewrites the tables
    python -m benchmarks.writeups.page --measure    # first measures what is trained and not measured yet
    python -m benchmarks.writeups.page --constant   # first redoes the losses of predictors that never look
    python -m benchmarks.writeups.page --time       # first times an epoch of each recipe

Rows: both baselines, every write-up, and what ships. What is not trained says so. The text between
the tables is written by hand. Where things are stored: benchmarks/writeups/rows.py.
"""

import argparse
import json
from pathlib import Path

import torch

from benchmarks.peers.report import replace_file
from benchmarks.writeups import epoch_times
from benchmarks.writeups.rows import (
    SPLITS,
    WITHOUT_LOOKING,
    Row,
    all_rows,
    measure,
    our_rows,
    store_without_looking,
    writeup_rows,
)
from checkpoint import SAVED_MODELS, ModelConfig, load_config
from data_fetch import find_data
from landmarks import REGIONS
from models import build_model, count_macs, count_parameters
from training.augment import Augmentation
from training.loop import set_malloc_options
from training.recipes import RECIPES, Recipe
from training.writeups import WRITEUPS

PAGE = Path(__file__).with_name("README.md")
NOT_TRAINED, NOT_MEASURED = "*not trained yet*", "*not measured yet*"


def as_table(columns: list[str], rows: list[list[str]]) -> str:
    """Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


# --- the tables ------------------------------------------------------------------------------


def networks_table() -> str:
    """Size, time and length of each recipe."""
    times = json.loads(epoch_times.STORED.read_text()) if epoch_times.STORED.exists() else None
    ratios = epoch_times.ratios(times) if times else {}
    rows = []
    for official, identity in zip(*(writeup_rows(split) for split in SPLITS), strict=True):
        recipe, printed = RECIPES[official.label], WRITEUPS[official.label].printed_losses
        rows.append(
            [
                official.label,
                *_size(recipe),
                f"{ratios[recipe.name]:.1f}" if recipe.name in ratios else NOT_MEASURED,
                _length(official, recipe),
                _length(identity, recipe),
                f"{printed[0]} / {printed[1]}" if printed else "none",
            ]
        )
    columns = [
        "recipe",
        "network",
        "input, px",
        "parameters",
        "multiply-adds",
        "time of an epoch, x naimishnet",
    ]
    columns += ["epochs on official", "epochs on identity", "printed loss, training / test"]
    return as_table(columns, rows + [_our_size(row, ratios) for row in our_rows("official")])


def _size(recipe: Recipe | ModelConfig) -> list[str]:
    with torch.device("meta"):  # shapes without numbers: one network alone has 152 million
        model = build_model(recipe.model, input_size=recipe.input_size, **recipe.model_args)
        parameters, macs = count_parameters(model) / 1e6, count_macs(model) / 1e6
    return [recipe.model, str(recipe.input_size), f"{parameters:.1f} M", f"{macs:.0f} M"]


def _our_size(row: Row, ratios: dict) -> list[str]:
    config = load_config(SAVED_MODELS / row.name)
    time = f"{ratios[config.recipe]:.1f}" if config.recipe in ratios else NOT_MEASURED
    return [f"{row.label} (ours)", *_size(config), time, *[str(config.epochs)] * 2, "none"]


def _length(row: Row, recipe: Recipe) -> str:
    training = row.training()
    if training is None:
        return f"{NOT_TRAINED} (0 of {recipe.epochs})"
    stopped_early = f" of {recipe.epochs}, capped" if training["stopped_early"] else ""
    return f"{training['epochs']}{stopped_early} ({training['minutes']:.0f} min)"


def measured_table() -> str:
    """Errors, and the loss under both crops, of every row on both splits."""
    columns = ["split x faces", "predictor", "NME, % (95 % interval)", "median", "AUC@8", "FR@10"]
    columns += ["MSE, random crop", "MSE, centre crop", "SmoothL1, random crop", "SmoothL1, centre crop"]
    rows = [_measured(row) for split in SPLITS for row in all_rows(split)]
    return as_table(columns, rows)


def _measured(row: Row) -> list[str]:
    record, losses = row.record(), row.losses()
    cells = [_place(row), row.label]
    if record is None:
        cells += [_missing(row)] + ["-"] * 3
    else:
        low, high = (100 * edge for edge in record["nme_interval"])
        cells += [f"{100 * record['nme']:.2f} ({low:.2f} to {high:.2f})", f"{100 * record['nme_median']:.2f}"]
        cells += [f"{100 * record[key]:.1f}" for key in ("auc_8", "fr_10")]
    if losses is None:
        return cells + ["-" if record is None else NOT_MEASURED] * 4
    return cells + [
        f"{losses[crop][loss]:.3f}" for loss in ("mse", "smooth_l1") for crop in ("random", "centre")
    ]


def _missing(row: Row) -> str:
    """What stands where there is no record: a network that ships is trained in any case."""
    return NOT_TRAINED if row.label in WRITEUPS else NOT_MEASURED


def _place(row: Row) -> str:
    return f"{row.split} x whole" + (" (leaks)" if row.split == "official" else "")


def regions_table() -> str:
    """NME by region of the face, of every row on both splits."""
    rows = []
    for row in (row for split in SPLITS for row in all_rows(split)):
        record = row.record()
        values = [f"{100 * record['regions'][name]:.2f}" for name in REGIONS] if record else None
        rows.append([_place(row), row.label, *(values or [_missing(row), *["-"] * (len(REGIONS) - 1)])])
    return as_table(["split x faces", "predictor", *REGIONS], rows)


def stated_table() -> str:
    """What each write-up states, and what stands in."""
    rows = [
        [name, entry.source, _fields(entry.states), _fields(entry.stands_in), entry.note]
        for name, entry in WRITEUPS.items()
    ]
    return as_table(["recipe", "write-up", "stated", "stands in", "note"], rows)


def _fields(fields: dict) -> str:
    return ", ".join(f"{name} {_value(value)}" for name, value in fields.items())


def _value(value) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {inner}" for name, inner in value.items())
    if isinstance(value, Augmentation):
        return (
            f"(turned, {value.rotation_deg:g} degrees (sigma); {value.flip_prob:.0%} mirrored; other light)"
        )
    return str(value)


def losses_table() -> str:
    """The losses that 003 prints, between those of predictors that never look at the image."""
    rows = []
    for name, entry in WRITEUPS.items():
        if entry.printed_losses:
            rows.append([f"**printed**, {name}", "not said", "not said", *map(str, entry.printed_losses)])
    if not WITHOUT_LOOKING.exists():
        return as_table(_LOSS_COLUMNS, [*rows, [NOT_MEASURED, *["-"] * 4]])
    names = {"constant": "always the mean face", "zero": "always zero (untrained)"}
    for guess, label in names.items():
        for stored in json.loads(WITHOUT_LOOKING.read_text())["rows"]:
            values = [_with_spread(*stored[f"{guess}_{part}"]) for part in ("train", "test")]
            rows.append([label, stored["aspect"], stored["crop"], *values])
    return as_table(_LOSS_COLUMNS, rows)


_LOSS_COLUMNS = ["predictor", "aspect", "224-pixel crop", "MSE, 3462 training images", "MSE, 770 test images"]


def _with_spread(mean: float, deviation: float) -> str:
    return f"{mean:.3f}" + (f" ± {deviation:.3f}" if deviation else "")


# --- the page ----------------------------------------------------------------------------------

TABLES = {
    "networks": networks_table,
    "measured": measured_table,
    "regions": regions_table,
    "stated": stated_table,
    "losses": losses_table,
}


def fill(page: str, name: str, content: str) -> str:
    """The page with `content` between the two marks of `name`; ValueError where they are missing."""
    start, end = (
        f"<!-- {name}: benchmarks/writeups/page.py writes up to the next mark -->",
        f"<!-- end of {name} -->",
    )
    if page.count(start) != 1 or page.count(end) != 1:
        raise ValueError(f"the page must have the marks {start!r} and {end!r} once each")
    before, rest = page.split(start)
    return f"{before}{start}\n{content}\n{end}{rest.split(end)[1]}"


def main() -> None:
    """Measure where asked, then rewrite the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--again", action="store_true", help="with --measure: also what is stored already")
    parser.add_argument("--constant", action="store_true")
    parser.add_argument("--time", action="store_true")
    args = parser.parse_args()
    if args.time:
        epoch_times.store()
    data = find_data() if args.constant or args.measure else None
    if data and data.is_sample:
        parser.error("this is the synthetic sample; rows of drawn faces would mean nothing")
    if args.constant:
        store_without_looking(data.folder)
    if args.measure:
        set_malloc_options()
        for row in (row for split in SPLITS for row in all_rows(split)):
            print(f"{row.name}: {', '.join(measure(row, data, args.again)) or 'nothing to do'}", flush=True)
    page = PAGE.read_text()
    for name, table in TABLES.items():
        page = fill(page, name, table())
    replace_file(PAGE, page.encode())


if __name__ == "__main__":
    main()
