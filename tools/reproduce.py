"""Everything from the images: training, weights, records, tables.

    make reproduce DRY=1                   # prints the plan: steps, expected time, what is done
    make reproduce                         # runs what is not done; interrupted, it goes on where it stopped
    make reproduce ARGS="--only ship"      # steps whose name begins so
    make measure                           # only weights to records, then the tables

A step is one or more commands. When they have succeeded, runs/reproduced/STEP.json is written, and the
step is skipped from then on; remove the file to run it again. Training goes on from the last whole epoch.
Weights in saved_models/ are replaced. Other machines give other weights, within the spread that
benchmarks/seeds/ shows.

dlib and MediaPipe are measured only with --environment FOLDER (see benchmarks/peers/page.py).
"""

import argparse
import itertools
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.ablations.rows import CONSTANT
from benchmarks.ablations.rows import ROWS as ABLATIONS
from benchmarks.ablations.rows import stem_of as ablation_stem
from benchmarks.search.page import BASE as SEARCH_BASE
from benchmarks.search.page import ROWS as SEARCH_ROWS
from benchmarks.seeds.page import RECIPE as RECIPE_OF_SEEDS
from benchmarks.seeds.page import SEEDS
from benchmarks.writeups import epoch_times
from benchmarks.writeups.rows import SPLITS, Row, writeup_rows
from checkpoint import FINDER
from files import write_json
from tools.tables import page_modules
from training.recipes import STARTS_FROM, get_recipe

ROOT = Path(__file__).resolve().parents[1]
DONE = ROOT / "runs" / "reproduced"
#: Checkpoints in saved_models/ -> recipe; each also as NAME-identity.
SHIPPED = {
    "naimishnet": "naimishnet",
    "heatmapnet": "heatmapnet_ibug",
    "heatmapnet-small": "heatmapnet_small_ibug",
}
WITH_UNCERTAINTY = ("heatmapnet", "heatmapnet-small")
PRECISION = ("--mixed-precision", "bf16")
WRITEUP_MINUTES = 75
WITH_PEERS = ("robustness", "photos", "groups")  # pages that also measure dlib or MediaPipe


@dataclass(frozen=True)
class Step:
    """Commands that run one after the other. minutes: expected on two CPU cores; None if not known.

    always: run every time, since the commands themselves skip what is current.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    minutes: float | None = None
    always: bool = False

    @property
    def lines(self) -> list[str]:
        """The commands as one would type them."""
        return ["python " + shlex.join(command) for command in self.commands]


# --- the plan -----------------------------------------------------------------------------------


def plan(environment: Path | None = None) -> list[Step]:
    """All steps in order. environment: the folder with dlib and MediaPipe, or None to leave them out."""
    steps = []
    if environment:
        for labels in ("pseudo_labels", "ibug_labels"):
            make = ("-m", f"benchmarks.{labels}.make", "--environment", str(environment))
            steps.append(Step(labels, (make,)))
    return [
        *steps,
        *_training_steps(),
        *_ship_steps(),
        *_finder_steps(),
        *_writeup_steps(),
        *_choice_steps(),
        *measure_steps(environment),
    ]


def _train(recipe: str, split: str, seed: int, *more: str) -> tuple[str, ...]:
    run = ("train.py", "--recipe", recipe, "--split", split, "--seed", str(seed))
    if recipe in STARTS_FROM:
        run = (*run, "--start-from", f"runs/{STARTS_FROM[recipe]}-{split}-{seed}/checkpoint")
    else:
        run = (*run, *PRECISION)
    return (*run, "--resume", *more)


def _training_steps() -> Iterable[Step]:
    """Runs of what ships, each after the run that it starts from, and further seeds of one of these."""
    for last in SHIPPED.values():
        for recipe in filter(None, (STARTS_FROM.get(last), last)):
            for split, seed in itertools.product(SPLITS, SEEDS if recipe == RECIPE_OF_SEEDS else (0,)):
                command = _train(recipe, split, seed)
                yield Step(f"train {recipe}-{split}-{seed}", (command,), _minutes(recipe))


def _ship_steps() -> Iterable[Step]:
    """From runs to saved_models/: float16 weights, the two heads, ONNX files."""
    for base, recipe in SHIPPED.items():
        for split in ("identity", "official"):  # the held-out one first: it gives the factors
            folder = f"saved_models/{base}" + ("-identity" if split == "identity" else "")
            commands = [_train(recipe, split, 0, "--export", folder, "--half")]
            if base in WITH_UNCERTAINTY:
                how = ("--calibrate", "--report") if split == "identity" else ("--calibration",)
                for head in ("uncertainty", "visibility"):
                    factors = f"runs/{base}-{head}.json"
                    commands.append(("-m", f"training.{head}", folder, *how, factors, "--half"))
                commands.append(("export_onnx.py", folder))
            yield Step(f"ship {Path(folder).name}", tuple(commands), 20 if base in WITH_UNCERTAINTY else 1)


def _finder_steps() -> Iterable[Step]:
    """The face finders: training, float16 weights, ONNX files."""
    for split in SPLITS:
        folder = f"saved_models/{FINDER}" + ("-identity" if split == "identity" else "")
        train = ("train.py", "--recipe", FINDER, "--split", split, "--resume", "--workers", "1")
        commands = ((*train, "--export", folder, "--half"), ("export_onnx.py", folder))
        yield Step(f"ship {Path(folder).name}", commands, 40)


def _writeup_steps() -> Iterable[Step]:
    for split in SPLITS:
        for row in writeup_rows(split):
            command = _train(row.label, split, 0, "--minutes", str(WRITEUP_MINUTES))
            yield Step(f"train {row.label}-{split}-0", (command,), _writeup_minutes(row))


def _choice_steps() -> Iterable[Step]:
    """The rows of benchmarks/search and benchmarks/ablations, on `validation`."""
    for name, row in SEARCH_ROWS.items():
        command = ("-m", "benchmarks.search.page", "--train", "--again", "--only", name, *PRECISION)
        epochs = row.recipe.epochs / SEARCH_BASE.epochs
        yield Step(f"search {name}", (command,), _scaled(_minutes("heatmapnet"), epochs / 4))
    for name, row in ABLATIONS.items():
        command = ("-m", "benchmarks.ablations.page", "--train", "--again", "--only", name, *PRECISION)
        stored = [_json(ablation_stem(row, seed)).get("minutes", 0) for seed in row.seeds]
        yield Step(f"ablation {name}", (command,), 1 if name == CONSTANT else sum(stored))


def measure_steps(environment: Path | None = None) -> list[Step]:
    """Weights to records, for every page that is measured, then the tables."""
    steps = []
    names = [module.__name__ for module in page_modules() if hasattr(module, "measure")]
    # the results first: other pages use the records of what ships
    for name in sorted(names, key=lambda name: "results" not in name):
        short = name.split(".")[1]
        steps.append(Step(f"measure {short}", (("-m", name, "--measure"),), always=True))
    if environment:
        where = ("--environment", str(environment))
        commands = [("-m", "benchmarks.peers.page", *where), ("-m", "benchmarks.speed.chain", *where)]
        commands += [("-m", f"benchmarks.{name}.page", "--measure", *where) for name in WITH_PEERS]
        steps.append(Step("measure dlib and MediaPipe", tuple(commands)))
    return [*steps, Step("tables", (("-m", "tools.tables"),), 1, always=True)]


# --- expected times, from the records -----------------------------------------------------------


def _minutes(recipe: str) -> float | None:
    """Minutes that a training takes, from the stored time of an epoch (float32, two threads)."""
    stored = json.loads(epoch_times.STORED.read_text())["recipes"] if epoch_times.STORED.is_file() else {}
    measured = STARTS_FROM.get(recipe, recipe)  # the same network
    return stored[measured]["epoch"] * get_recipe(recipe).epochs / 60 if measured in stored else None


def _writeup_minutes(row: Row) -> float | None:
    training = row.training()
    return training["minutes"] if training else _minutes(row.label)


def _scaled(minutes: float | None, factor: float) -> float | None:
    return None if minutes is None else minutes * factor


def _json(stem: Path) -> dict:
    path = stem.with_name(stem.name + ".json")
    return json.loads(path.read_text()) if path.is_file() else {}


# --- running it ---------------------------------------------------------------------------------


def is_done(step: Step) -> bool:
    """True if the step has been run with these commands."""
    path = _done_file(step)
    return not step.always and path.is_file() and json.loads(path.read_text())["commands"] == step.lines


def _done_file(step: Step) -> Path:
    return DONE / f"{step.name.replace(' ', '-')}.json"


def describe(steps: list[Step]) -> str:
    """The plan as text: each step with its state, expected time and commands, and the time left."""
    lines = []
    for step in steps:
        state = "done" if is_done(step) else "each time" if step.always else "to do"
        lines.append(f"{state:9}  {_time(step.minutes):>8}  {step.name}")
        lines += [f"{'':23}{line}" for line in step.lines]
    left = sum(step.minutes or 0 for step in steps if not is_done(step))
    unknown = sum(step.minutes is None for step in steps if not is_done(step))
    return "\n".join([*lines, f"left: about {_time(left)}, and {unknown} steps of unknown length"])


def _time(minutes: float | None) -> str:
    if minutes is None:
        return "?"
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def run(steps: list[Step]) -> int:
    """Run what is not done, in order; stops at the first command that fails and returns its exit code."""
    for number, step in enumerate(steps, 1):
        if is_done(step):
            continue
        start = time.perf_counter()
        for command, line in zip(step.commands, step.lines, strict=True):
            print(f"[{number}/{len(steps)}] {step.name}: {line}", flush=True)
            code = subprocess.run([sys.executable, *command], cwd=ROOT, check=False).returncode
            if code:
                print(f"{step.name} failed (exit code {code}); run again to go on from here", file=sys.stderr)
                return code
        if not step.always:
            minutes = (time.perf_counter() - start) / 60
            write_json(_done_file(step), {"commands": step.lines, "minutes": minutes})
    return 0


def main(arguments=None) -> int:
    """Print or run the plan, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dry-run", action="store_true", help="print the plan and run nothing")
    parser.add_argument("--measure", action="store_true", help="only weights to records, then the tables")
    parser.add_argument("--only", default="", metavar="NAME", help="steps whose name begins so")
    parser.add_argument("--environment", type=Path, help="folder with dlib and MediaPipe")
    args = parser.parse_args(arguments)
    steps = measure_steps(args.environment) if args.measure else plan(args.environment)
    steps = [step for step in steps if step.name.startswith(args.only)]
    if args.dry_run:
        print(describe(steps))
        return 0
    return run(steps)


if __name__ == "__main__":
    sys.exit(main())
