"""Records to tables: writes every page, model card, README block and figure from stored records.

    make tables          # python -m tools.tables

Needs no GPU, no network, no data, and runs no network on images. Running it twice changes nothing; .ci/run
runs it and then `git diff --exit-code`. A record that does not match the weights, the config, the splits or
the data in this repository is an error; its line names the command that measures it again.
"""

import importlib
import json
import os
import sys
import time
from pathlib import Path
from types import ModuleType

os.environ.setdefault("MPLBACKEND", "Agg")

from checkpoint import CONFIG_FILE, SAVED_MODELS
from tools import model_cards
from training.records import note_in_config, problem, renew_figures

ROOT = Path(__file__).resolve().parents[1]


def record_files() -> list[Path]:
    """All records: the JSON files in the folders called `records`."""
    found = [*SAVED_MODELS.glob("**/records/*.json"), *ROOT.glob("benchmarks/*/records/**/*.json")]
    return sorted(found)


def problems(paths: list[Path]) -> list[str]:
    """A line for each record that is out of date; see `training.records.problem`."""
    lines = []
    for path in paths:
        about = json.loads(path.read_text(encoding="utf-8")).get("provenance")
        name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path
        line = problem(name, about) if about else ""
        lines += [line] if line else []
    return lines


def page_modules() -> list[ModuleType]:
    """The module page.py of every folder in benchmarks/, imported."""
    folders = sorted(path.parent.name for path in ROOT.glob("benchmarks/*/page.py"))
    return [importlib.import_module(f"benchmarks.{name}.page") for name in folders]


def renew_rows() -> None:
    """Compute the figures of all records of evaluate.py again from their points.

    So a new metric gets into stored records, and from there into the `measured` field of configs.
    """
    folders = [*SAVED_MODELS.glob("**/records"), ROOT / "benchmarks" / "seeds" / "records"]
    folders += (ROOT / "benchmarks" / "writeups" / "records").iterdir()
    for points in sorted(path for folder in folders for path in folder.glob("*.npz")):
        renew_figures(points.with_suffix(""))
    for config in sorted(SAVED_MODELS.glob(f"*/{CONFIG_FILE}")):
        for stem in model_cards.record_stems(config.parent):
            note_in_config(config.parent, json.loads(stem.with_suffix(".json").read_text(encoding="utf-8")))


def main() -> int:
    """Check the records, write everything, and return the exit code."""
    start = time.perf_counter()
    lines = problems(record_files())
    if lines:
        print("\n".join(lines), file=sys.stderr)
        return 1
    renew_rows()
    model_cards.write_cards()
    modules = page_modules()
    for module in modules:
        module.write_page()
    print(f"{len(modules)} pages and the model cards are up to date ({time.perf_counter() - start:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
