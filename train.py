"""Train a network by a recipe:

    python train.py --recipe naimishnet --split identity --run runs/naimishnet-identity
    python train.py --recipe naimishnet --data-csv faces.csv --images images/     # or --pts photos/

The run folder then holds checkpoint/, history.csv, TensorBoard logs and state.pt. To go on after an
interruption, run the same line with --resume.
"""

import argparse
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

from checkpoint import save_checkpoint
from data_fetch import DataLocation, data_checksum, find_data
from data_load import SPLITS, FacialKeypointsDataset
from evaluate import measure, record_provenance, record_stem
from files import atomic_path, run_command, write_json
from training.evaluation import CheckpointPredictor
from training.finder import FINDER_RECIPES, FinderRecipe, train_finder
from training.loop import SPLITTERS, TrainResult, check_options, rows_checksum, train
from training.own_data import PARTS_FILE, read_own_data, write_parts
from training.own_network import copy_model_file, load_model_file, model_file_of
from training.photos import evaluate_photos
from training.recipes import RECIPES, Recipe, get_recipe
from training.records import Evaluation, save_record
from training.seeds import combine, table

WITH_PLACE = warnings.formatwarning


def parse_arguments(arguments=None) -> argparse.Namespace:
    """The arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    names = sorted([*RECIPES, *FINDER_RECIPES])
    add(
        "--model-file",
        metavar="FILE",
        help="a Python file of your own with a network, a loss or a recipe (CONTRIBUTING.md has templates); "
        "--set model=NAME then takes it, and --recipe a recipe that the file adds to RECIPES",
    )
    add("--recipe", required=True, help=f"network and training settings: {', '.join(names)}")
    add(
        "--split",
        choices=SPLITS,
        help="the images to train on: 'identity' and 'validation' leave some people out for tests; "
        "'official' is all training images (default)",
    )
    add("--run", metavar="FOLDER", help="run folder, new or empty (default runs/RECIPE-SPLIT-SEED)")
    add("--seed", type=int, default=0, help="random seed, 0 or more (default 0)")
    add(
        "--seeds",
        type=int,
        nargs="+",
        metavar="N",
        help="train with each of these seeds in turn, into FOLDER-N, measure them, and write mean and spread "
        "into FOLDER-seeds (FOLDER: that of --run, or runs/RECIPE-SPLIT)",
    )
    add("--resume", action="store_true", help="go on after the last whole epoch in the run folder")
    add(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="change a field of the recipe, such as epochs=3, augmentation.rotation_deg=0 or "
        "model_args.dropout=0.1; can be given several times",
    )
    add("--epochs", type=int, metavar="N", help="as --set epochs=N; with --resume, more epochs than before")
    add("--limit", type=int, metavar="N", help="a dry run: train on N images, 4 or more")
    add(
        "--validate",
        type=float,
        metavar="SHARE",
        help="share of the training people, 0 to 0.9, to leave out and measure after each epoch (default "
        "0; 0.2 of your own data)",
    )
    add(
        "--minutes",
        type=float,
        help="time limit: begin no epoch that would end later; needs schedule=constant",
    )
    add(
        "--data",
        choices=("real", "sample"),
        help="'sample': train on the synthetic sample, drawn faces that need no download",
    )
    add(
        "--data-csv",
        metavar="FILE",
        help="your own images: a CSV with a row of column names, then rows of file name, x0, y0, ... y67",
    )
    add("--images", metavar="DIR", help="the images of --data-csv (default: the folder of the CSV)")
    add("--pts", metavar="DIR", help="your own images: a folder with a .pts file (68 points) beside each")
    add(
        "--split-by",
        choices=("identity", "random", "none"),
        help="what --validate holds out of your own images: people (the name up to the last '_'), single "
        "images, or nothing (default: people where the names tell at least 5)",
    )
    add(
        "--mixed-precision",
        choices=("no", "fp16", "bf16"),
        default="no",
        help="number format of the network's forward pass: float32 (no, default) or 16 bits",
    )
    add(
        "--start-from",
        metavar="CHECKPOINT",
        help="start with the weights of this checkpoint, a folder or a name in saved_models/, instead of "
        "random ones",
    )
    add("--workers", type=int, default=0, help="extra processes that load images (default 0)")
    add("--export", metavar="FOLDER", help="also write the finished checkpoint into this folder")
    add("--half", action="store_true", help="with --export: store the weights as float16, half the size")
    add("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(arguments)


def changes_of(settings: list[str]) -> dict[str, str]:
    """Values by field from texts FIELD=VALUE. Raises ValueError for a text without '=' or without a field."""
    changes = {}
    for text in settings:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise ValueError(f"--set needs FIELD=VALUE, such as epochs=3; got {text!r}")
        changes[name] = value
    return changes


def check_writable(folder) -> None:
    """Raise ValueError if no file can be written into a folder. The folder is made if it is missing."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"the folder {folder} cannot be written ({reason})") from error


@dataclass
class Source:
    """The images to train on: a split of the data set `data`, or a dataset of the user's own."""

    name: str
    data: DataLocation | None
    dataset: FacialKeypointsDataset | None
    checksum: str
    trained_on: str
    validate: float
    split_by: str = "identity"

    def held_out(self) -> FacialKeypointsDataset | None:
        """The images of the user's own that are not trained on, if there are any."""
        if self.dataset is None or not self.validate:
            return None
        held = self.held_indices()
        paths = [self.dataset.paths[index] for index in held]
        return FacialKeypointsDataset.from_paths(paths, self.dataset.keypoints[held], cache_bytes=0)

    def held_indices(self) -> list[int]:
        """Indices of the images of the user's own that are not trained on."""
        if not self.validate:
            return []
        return SPLITTERS[self.split_by](self.dataset, self.validate)[1]


def check_source(args: argparse.Namespace) -> None:
    """Raise ValueError for options that do not go together."""
    if args.seeds and (args.export or len(set(args.seeds)) < len(args.seeds)):
        raise ValueError("--seeds takes different numbers, and no --export, which is one checkpoint")
    if args.data_csv or args.pts:
        refused = {"--split": args.split, "--data": args.data}
        for option in (name for name, value in refused.items() if value):
            raise ValueError(f"{option} is for the data set; leave it out with --data-csv and --pts")
        if args.split_by == "none" and args.validate:
            raise ValueError("--validate holds images out; leave it out with --split-by none")
    else:
        only_own = {"--images": args.images, "--split-by": args.split_by}
        for option in (name for name, value in only_own.items() if value):
            raise ValueError(f"{option} is for your own data; give --data-csv or --pts too")


def find_source(args: argparse.Namespace) -> Source:
    """The images that the options name. Prints a table of the user's own ones."""
    if not (args.data_csv or args.pts):
        split, data = args.split or "official", find_data(force_sample=args.data == "sample")
        trained_on = "sample" if data.is_sample else split
        return Source(split, data, None, data_checksum(data.folder), trained_on, args.validate or 0.0)
    own = read_own_data(args.data_csv, args.images, args.pts, progress=True)
    print(own.table())
    split_by = args.split_by or own.split_by
    own.check(split_by)
    if split_by == "none":
        return Source("own", None, own.dataset, rows_checksum(own.dataset), "own", 0.0)
    share = 0.2 if args.validate is None else args.validate
    return Source("own", None, own.dataset, rows_checksum(own.dataset), "own", share, split_by)


def run(args: argparse.Namespace) -> int:
    """Train, save, print one line per run, and return the exit code."""
    if args.model_file:
        load_model_file(args.model_file)
    changes = changes_of(args.set)
    if args.epochs is not None:
        if "epochs" in changes:
            raise ValueError("--epochs and --set epochs= say the same; leave one out")
        changes["epochs"] = args.epochs
    if args.recipe in FINDER_RECIPES:
        return run_finder(args, FINDER_RECIPES[args.recipe].override(changes))
    recipe = get_recipe(args.recipe).override(changes)
    check_source(args)
    options = {"num_workers": args.workers, "minutes": args.minutes, "limit": args.limit}
    options["mixed_precision"] = args.mixed_precision
    seeds = args.seeds or [args.seed]
    for seed in seeds:
        check_options(recipe, seed=seed, validate=args.validate or 0.0, **options)
    split = "own" if args.data_csv or args.pts else args.split or "official"
    base = args.run or f"runs/{recipe.name}-{split}"
    folders = {seed: Path(args.run if args.run and not args.seeds else f"{base}-{seed}") for seed in seeds}
    for folder in filter(None, (*folders.values(), args.export)):
        check_writable(folder)
    source = find_source(args)
    results = {seed: run_seed(args, recipe, source, seed, folders[seed], options) for seed in seeds}
    if args.seeds:
        print(write_seeds(Path(f"{base}-seeds"), results, source))
    return 0


def run_seed(args, recipe: Recipe, source: Source, seed: int, run_folder: Path, options: dict) -> TrainResult:
    """Train with one seed, save, and print one line."""
    result = train(
        recipe,
        source.data and source.data.folder,
        dataset=source.dataset,
        split=source.name if source.data else "official",
        split_by=source.split_by,
        run_folder=run_folder,
        seed=seed,
        resume=args.resume,
        validate=source.validate,
        data_checksum=source.checksum,
        trained_on=source.trained_on,
        start_from=args.start_from,
        **options,
    )
    if args.export:
        save_checkpoint(args.export, result.model, result.config, half=args.half)
        copy_model_file(model_file_of(recipe.model, recipe.loss), args.export)
    epochs = f"{len(result.history)} epoch{'s' if len(result.history) > 1 else ''}"
    if result.config.stopped_early:
        epochs = f"{len(result.history)} of {recipe.epochs} epochs (stopped early)"
    if args.limit:
        epochs += f" of a dry run on {args.limit} images"
    line = f"{result.folder / 'checkpoint'}: {epochs}, training NME {100 * result.history[-1]['nme']:.2f} %"
    if source.dataset is not None:
        write_parts(result.folder / PARTS_FILE, source.dataset, source.held_indices())
    if dataset := source.held_out():
        nme = evaluate_photos(CheckpointPredictor(result.model, result.config), dataset).figures["nme"]
        line += f", NME {100 * nme:.2f} % on {len(dataset)} held-out images (by {source.split_by})"
    print(line)
    return result


def write_seeds(folder: Path, results: dict[int, TrainResult], source: Source) -> str:
    """Measure the runs, write seeds.json and seeds.md into a folder, and return the table.

    A split is measured on its test part, given whole images, and each run gets its record, from which
    compare.py works. The user's own images are measured where they were held out.
    """
    evaluations = {}
    for seed, result in results.items():
        if source.data:
            evaluations[seed] = measure_run(str(result.folder / "checkpoint"), source)
        elif dataset := source.held_out():
            evaluations[seed] = evaluate_photos(CheckpointPredictor(result.model, result.config), dataset)
    record = combine(evaluations, {seed: result.history[-1]["nme"] for seed, result in results.items()})
    leaks = " This split leaks: every person in it was trained on." if source.name == "official" else ""
    sample = " Synthetic sample, not a result." if source.trained_on == "sample" else ""
    text = f"{table(record)}{leaks}{sample}"
    folder.mkdir(parents=True, exist_ok=True)
    about = {"measured_on": source.name, "trained_on": source.trained_on, "leak": bool(leaks)}
    write_json(folder / "seeds.json", {**about, **record})
    with atomic_path(folder / "seeds.md") as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    return f"{text}\n{folder / 'seeds.json'}"


def measure_run(checkpoint: str, source: Source) -> Evaluation:
    """The evaluation of a run on the test part of its split, given whole images; its record is stored."""
    row, evaluation = measure(checkpoint, source.name, "whole", source.data, allow_leak=True, progress=True)
    save_record(
        record_stem(checkpoint, source.name, "whole"), row, evaluation, record_provenance(row, source.data)
    )
    return evaluation


def run_finder(args: argparse.Namespace, recipe: FinderRecipe) -> int:
    """Train a face finder, save, print one line, and return the exit code."""
    refused = {"--validate": args.validate, "--minutes": args.minutes, "--seeds": args.seeds}
    refused |= {"--start-from": args.start_from}
    refused |= {"--limit": args.limit, "--data-csv": args.data_csv, "--pts": args.pts}
    refused |= {"--images": args.images, "--split-by": args.split_by}
    refused["--mixed-precision"] = args.mixed_precision != "no"
    for option in (name for name, value in refused.items() if value):
        raise ValueError(f"{option} is not for the face finder; leave it out")
    split = args.split or "official"
    run_folder = args.run or f"runs/{recipe.name}-{split}-{args.seed}"
    for folder in filter(None, (run_folder, args.export)):
        check_writable(folder)
    data = find_data(force_sample=args.data == "sample")
    model, config, history = train_finder(
        recipe,
        data.folder,
        split=split,
        run_folder=run_folder,
        seed=args.seed,
        resume=args.resume,
        data_checksum=data_checksum(data.folder),
        trained_on="sample" if data.is_sample else split,
        num_workers=args.workers,
    )
    if args.export:
        save_checkpoint(args.export, model, config, half=args.half)
    print(
        f"{Path(run_folder) / 'checkpoint'}: {len(history)} epochs, loss {history[-1]['loss']:.3f}, "
        f"{history[-1]['false_positives']:.2f} false positives per image without faces"
    )
    return 0


def one_line_warning(message, category, *place) -> str:
    """Our own warnings without the line of code, which says nothing to the user; others as usual."""
    return (
        f"train.py: warning: {message}\n"
        if category is UserWarning
        else WITH_PLACE(message, category, *place)
    )


def main(arguments=None) -> int:
    """Train, and return the exit code."""
    args = parse_arguments(arguments)
    again = "Run the same line with --resume to go on."
    warnings.formatwarning = one_line_warning
    try:
        return run_command("train.py", lambda: run(args), debug=args.debug, interrupted=again)
    finally:
        warnings.formatwarning = WITH_PLACE


if __name__ == "__main__":
    sys.exit(main())
