"""Train a network by a recipe:

    python train.py --recipe naimishnet --split identity --run runs/naimishnet-identity
    python train.py --recipe naimishnet --data-csv faces.csv --images images/     # or --pts photos/

The run folder then holds checkpoint/, history.csv, TensorBoard logs and state.pt. To go on after an
interruption, run the same line with --resume.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from checkpoint import save_checkpoint
from data_fetch import data_checksum, find_data
from data_load import SPLITS, FacialKeypointsDataset
from files import run_command
from training.evaluation import CheckpointPredictor
from training.finder import FINDER_RECIPES, FinderRecipe, train_finder
from training.loop import SPLITTERS, TrainResult, check_options, rows_checksum, train
from training.own_data import read_own_data, write_parts
from training.own_network import copy_model_file, load_model_file
from training.photos import evaluate_photos
from training.recipes import RECIPES, get_recipe


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
        help="a Python file of your own that registers a network (CONTRIBUTING.md has a template); "
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
    """The images to train on: a split of the data set in `folder`, or a dataset of the user's own."""

    name: str
    folder: Path | None
    dataset: FacialKeypointsDataset | None
    checksum: str
    trained_on: str
    validate: float
    split_by: str = "identity"


def check_source(args: argparse.Namespace) -> None:
    """Raise ValueError for options that do not go together."""
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
        return Source(split, data.folder, None, data_checksum(data.folder), trained_on, args.validate or 0.0)
    own = read_own_data(args.data_csv, args.images, args.pts, progress=True)
    print(own.table())
    split_by = args.split_by or own.split_by
    own.check(split_by)
    if split_by == "none":
        return Source("own", None, own.dataset, rows_checksum(own.dataset), "own", 0.0)
    share = 0.2 if args.validate is None else args.validate
    return Source("own", None, own.dataset, rows_checksum(own.dataset), "own", share, split_by)


def run(args: argparse.Namespace) -> int:
    """Train, save, print one line, and return the exit code."""
    if args.model_file:
        load_model_file(args.model_file)
    if args.recipe in FINDER_RECIPES:
        return run_finder(args, FINDER_RECIPES[args.recipe].override(changes_of(args.set)))
    recipe = get_recipe(args.recipe).override(changes_of(args.set))
    if args.epochs is not None:
        recipe = recipe.override({"epochs": args.epochs})
    check_source(args)
    options = {"seed": args.seed, "num_workers": args.workers, "minutes": args.minutes}
    options |= {"limit": args.limit, "mixed_precision": args.mixed_precision}
    check_options(recipe, validate=args.validate or 0.0, **options)
    split = "own" if args.data_csv or args.pts else args.split or "official"
    run_folder = args.run or f"runs/{recipe.name}-{split}-{args.seed}"
    for folder in filter(None, (run_folder, args.export)):
        check_writable(folder)
    source = find_source(args)
    result = train(
        recipe,
        source.folder,
        dataset=source.dataset,
        split=source.name if source.folder else "official",
        split_by=source.split_by,
        run_folder=run_folder,
        resume=args.resume,
        validate=source.validate,
        data_checksum=source.checksum,
        trained_on=source.trained_on,
        **options,
    )
    if args.export:
        save_checkpoint(args.export, result.model, result.config, half=args.half)
        copy_model_file(recipe.model, args.export)
    epochs = f"{len(result.history)} epochs"
    if result.config.stopped_early:
        epochs = f"{len(result.history)} of {recipe.epochs} epochs (stopped early)"
    nme = 100 * result.history[-1]["nme"]
    print(f"{result.folder / 'checkpoint'}: {epochs}, training NME {nme:.2f} %{held_out_nme(result, source)}")
    return 0


def held_out_nme(result: TrainResult, source: Source) -> str:
    """The error on the held-out images of the user's own, for the last line; parts.csv gets their names."""
    if source.dataset is None or not source.validate:
        return ""
    trained, held = SPLITTERS[source.split_by](source.dataset, source.validate)
    write_parts(result.folder / "parts.csv", source.dataset, held)
    paths, keypoints = [source.dataset.paths[i] for i in held], source.dataset.keypoints[held]
    dataset = FacialKeypointsDataset.from_paths(paths, keypoints, cache_bytes=0)
    evaluation = evaluate_photos(CheckpointPredictor(result.model, result.config), dataset)
    return (
        f", NME {100 * evaluation.figures['nme']:.2f} % on {len(held)} held-out images (by "
        f"{source.split_by}, in the box around the points), after training on {len(trained)}"
    )


def run_finder(args: argparse.Namespace, recipe: FinderRecipe) -> int:
    """Train a face finder, save, print one line, and return the exit code."""
    refused = {"--validate": args.validate, "--minutes": args.minutes, "--data-csv": args.data_csv}
    refused |= {
        "--epochs": args.epochs,
        "--limit": args.limit,
        "--pts": args.pts,
        "--images": args.images,
        "--split-by": args.split_by,
    }
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


def main(arguments=None) -> int:
    """Train, and return the exit code."""
    args = parse_arguments(arguments)
    again = "Run the same line with --resume to go on."
    return run_command("train.py", lambda: run(args), debug=args.debug, interrupted=again)


if __name__ == "__main__":
    sys.exit(main())
