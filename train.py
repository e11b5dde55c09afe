"""Train a network by a recipe:

    python train.py --recipe naimishnet --split identity --run runs/naimishnet-identity

The run folder then holds checkpoint/, history.csv, TensorBoard logs and state.pt. To go on after an
interruption, run the same line with --resume.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from checkpoint import save_checkpoint
from data_fetch import data_checksum, find_data
from data_load import SPLITS
from files import run_command
from training.finder import FINDER_RECIPES, FinderRecipe, train_finder
from training.loop import check_options, train
from training.own_network import copy_model_file, load_model_file
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
        default="official",
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
    add(
        "--validate",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of the training people, 0 to 0.9, to leave out and measure after each epoch (default 0)",
    )
    add(
        "--minutes",
        type=float,
        help="time limit: begin no epoch that would end later; needs schedule=constant",
    )
    add(
        "--data",
        choices=("real", "sample"),
        default="real",
        help="'sample': train on the synthetic sample, drawn faces that need no download",
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


def run(args: argparse.Namespace) -> int:
    """Train, save, print one line, and return the exit code."""
    if args.model_file:
        load_model_file(args.model_file)
    if args.recipe in FINDER_RECIPES:
        return run_finder(args, FINDER_RECIPES[args.recipe].override(changes_of(args.set)))
    recipe = get_recipe(args.recipe).override(changes_of(args.set))
    options = {"seed": args.seed, "validate": args.validate, "num_workers": args.workers}
    check_options(recipe, minutes=args.minutes, **options)
    run_folder = args.run or f"runs/{recipe.name}-{args.split}-{args.seed}"
    for folder in filter(None, (run_folder, args.export)):
        check_writable(folder)
    data = find_data(force_sample=args.data == "sample")
    result = train(
        recipe,
        data.folder,
        split=args.split,
        run_folder=run_folder,
        resume=args.resume,
        minutes=args.minutes,
        data_checksum=data_checksum(data.folder),
        trained_on="sample" if data.is_sample else args.split,
        mixed_precision=args.mixed_precision,
        **options,
    )
    if args.export:
        save_checkpoint(args.export, result.model, result.config, half=args.half)
        copy_model_file(recipe.model, args.export)
    epochs = f"{len(result.history)} epochs"
    if result.config.stopped_early:
        epochs = f"{len(result.history)} of {recipe.epochs} epochs (stopped early)"
    nme = 100 * result.history[-1]["nme"]
    print(f"{result.folder / 'checkpoint'}: {epochs}, training NME {nme:.2f} %")
    return 0


def run_finder(args: argparse.Namespace, recipe: FinderRecipe) -> int:
    """Train a face finder, save, print one line, and return the exit code."""
    refused = {"--validate": args.validate, "--minutes": args.minutes}
    refused["--mixed-precision"] = args.mixed_precision != "no"
    for option in (name for name, value in refused.items() if value):
        raise ValueError(f"{option} is not for the face finder; leave it out")
    run_folder = args.run or f"runs/{recipe.name}-{args.split}-{args.seed}"
    for folder in filter(None, (run_folder, args.export)):
        check_writable(folder)
    data = find_data(force_sample=args.data == "sample")
    model, config, history = train_finder(
        recipe,
        data.folder,
        split=args.split,
        run_folder=run_folder,
        seed=args.seed,
        resume=args.resume,
        data_checksum=data_checksum(data.folder),
        trained_on="sample" if data.is_sample else args.split,
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
