"""The tables of benchmarks/writeups/README.md, from stored records (no weights, no images):

    python -m benchmarks.writeups.page              # writes the tables
    python -m benchmarks.writeups.page --measure    # first measures what is trained and not current
    python -m benchmarks.writeups.page --time       # first times an epoch of each recipe

Rows: the baselines, every write-up, and what ships. A row that is not trained says so. The text between
the tables is written by hand. Records and how they are made: benchmarks/writeups/rows.py.
"""

import argparse
import json
from pathlib import Path

import torch

from benchmarks import pages
from benchmarks.pages import markdown_table
from benchmarks.writeups import epoch_times
from benchmarks.writeups.rows import (
    SPLITS,
    WITHOUT_LOOKING,
    Row,
    all_rows,
    measure_row,
    our_rows,
    store_without_looking,
    writeup_rows,
)
from checkpoint import SAVED_MODELS, ModelConfig, load_config
from landmarks import REGIONS
from models import build_model, count_macs, count_parameters
from training.augment import Augmentation
from training.loop import set_malloc_options
from training.metrics import headings, percent
from training.recipes import RECIPES, Recipe
from training.records import is_current
from training.writeups import WRITEUPS

PAGE = Path(__file__).with_name("README.md")
NOT_TRAINED, NOT_MEASURED = "*not trained yet*", "*not measured yet*"
WRITEUP_003 = "writeup_003"
METRICS = ("nme", "nme_median", "auc_8", "fr_10")


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
        "MACs",
        "time of an epoch, x naimishnet",
    ]
    columns += ["epochs on official", "epochs on identity", "printed loss, training / test"]
    return markdown_table(columns, rows + [_our_size(row, ratios) for row in our_rows("official")])


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
    stopped_early = f" of {recipe.epochs}, stopped early" if training["stopped_early"] else ""
    return f"{training['epochs']}{stopped_early} ({training['minutes']:.0f} min)"


def measured_table() -> str:
    """Errors, and the loss under both crops, of every row on both splits."""
    columns = ["split x faces", "predictor", *headings(METRICS)]
    columns += ["MSE, random crop", "MSE, centre crop", "SmoothL1, random crop", "SmoothL1, centre crop"]
    rows = [_measured(row) for split in SPLITS for row in all_rows(split)]
    return markdown_table(columns, rows)


def _measured(row: Row) -> list[str]:
    record, losses = row.record(), row.losses()
    cells = [_place(row), row.label]
    if record is None:
        cells += [_missing(row)] + ["-"] * (len(METRICS) - 1)
    else:
        cells += [percent(record, name) for name in METRICS]
    if losses is None:
        return cells + ["-" if record is None else NOT_MEASURED] * 4
    return cells + [
        f"{losses[crop][loss]:.3f}" for loss in ("mse", "smooth_l1") for crop in ("random", "centre")
    ]


def _missing(row: Row) -> str:
    """The cell of a row without a record; a network that ships is trained in any case."""
    return NOT_TRAINED if row.label in WRITEUPS else NOT_MEASURED


def _place(row: Row) -> str:
    return pages.place({"split": row.split, "faces": "whole", "leak": row.split == "official"})


def regions_table() -> str:
    """NME by region of the face, of every row on both splits."""
    rows = []
    for row in (row for split in SPLITS for row in all_rows(split)):
        record = row.record()
        values = [f"{100 * record['regions'][name]:.2f}" for name in REGIONS] if record else None
        rows.append([_place(row), row.label, *(values or [_missing(row), *["-"] * (len(REGIONS) - 1)])])
    return markdown_table(["split x faces", "predictor", *REGIONS], rows)


def stated_table() -> str:
    """The settings that each write-up states, and those that we chose."""
    rows = [
        [name, entry.source, _fields(entry.states), _fields(entry.stands_in), entry.note]
        for name, entry in WRITEUPS.items()
    ]
    return markdown_table(["recipe", "write-up", "stated", "ours", "note"], rows)


def _fields(fields: dict) -> str:
    return ", ".join(f"{name} {_value(value)}" for name, value in fields.items())


def _value(value) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {inner}" for name, inner in value.items())
    if isinstance(value, Augmentation):
        return (
            f"(rotation {value.rotation_deg:g} degrees (sigma); {value.flip_prob:.0%} flipped; contrast and "
            "brightness)"
        )
    return str(value)


def losses_table() -> str:
    """The losses that 003 prints, beside those of predictors that do not use the image."""
    rows = []
    for name, entry in WRITEUPS.items():
        if entry.printed_losses:
            rows.append([f"**printed**, {name}", "not said", "not said", *map(str, entry.printed_losses)])
    if not WITHOUT_LOOKING.exists():
        return markdown_table(_LOSS_COLUMNS, [*rows, [NOT_MEASURED, *["-"] * 4]])
    names = {"constant": "always the mean face", "zero": "always zero (untrained)"}
    for guess, label in names.items():
        for stored in json.loads(WITHOUT_LOOKING.read_text())["rows"]:
            values = [_with_spread(*stored[f"{guess}_{part}"]) for part in ("train", "test")]
            rows.append([label, stored["aspect"], stored["crop"], *values])
    return markdown_table(_LOSS_COLUMNS, rows)


def rates_table() -> str:
    """The two learning rates of write-up 003 and the mean face: losses, and NME."""
    lines = []
    for split in SPLITS:
        for row in all_rows(split):
            record, losses, training = row.record(), row.losses(), row.training()
            if (row.label.startswith(WRITEUP_003) or row.label == "constant") and record and losses:
                trained = f"{training['loss']:.3f}" if training else "-"
                cells = [_place(row), row.label, trained, f"{losses['random']['mse']:.3f}"]
                lines.append([*cells, percent(record, "nme")])
    columns = ["split x faces", "predictor", "MSE, training", "MSE, test", *headings(["nme"])]
    return markdown_table(columns, lines)


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
    "rates": rates_table,
}


def write_page() -> None:
    """Write the tables of the page between their marks."""
    page = PAGE.read_text(encoding="utf-8")
    for name, table in TABLES.items():
        page = pages.fill(page, name, table())
    pages.write_if_changed(PAGE, page)


def measure(data) -> None:
    """Measure what is trained on this machine and has no current record."""
    set_malloc_options()
    if not is_current(WITHOUT_LOOKING):
        store_without_looking(data.folder)
    for row in (row for split in SPLITS for row in all_rows(split)):
        print(f"{row.name}: {', '.join(measure_row(row, data)) or 'nothing to do'}", flush=True)


def main() -> None:
    """Measure where asked, then write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--time", action="store_true", help="time an epoch of each recipe (minutes)")
    args = parser.parse_args()
    if args.time:
        epoch_times.store()
    if args.measure:
        measure(pages.real_data())
    write_page()


if __name__ == "__main__":
    main()
