"""Train a network by a recipe:

    python train.py --recipe naimishnet --split identity --run runs/naimishnet-identity

Run the same line with --resume to go on after an interruption. `--set FIELD=VALUE`
changes the recipe, `--minutes 75` ends with the last whole epoch that fits, `--export FOLDER`
writes the finished checkpoint there too.
"""

import argparse
import sys
from pathlib import Path

from checkpoint import save_checkpoint
from data_fetch import DataError, data_checksum, find_data
from data_load import SPLITS
from training.loop import TrainingError, train
from training.recipes import RECIPES, get_recipe


def parse_arguments(arguments=None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", required=True, help=f"one of: {', '.join(sorted(RECIPES))}")
    parser.add_argument("--split", choices=SPLITS, default="official")
    parser.add_argument("--run", help="run folder (default runs/RECIPE-SPLIT-SEED)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="go on from the last whole epoch")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--validate", type=float, default=0.0, help="share of identities held out")
    parser.add_argument("--minutes", type=float, help="begin no epoch that would end later than this")
    parser.add_argument("--data", choices=("real", "sample"), default="real")
    parser.add_argument("--mixed-precision", choices=("no", "fp16", "bf16"), default="no")
    parser.add_argument("--workers", type=int, default=0, help="processes that load images")
    parser.add_argument("--export", help="also write the checkpoint into this folder")
    parser.add_argument("--half", action="store_true", help="export weights as float16")
    return parser.parse_args(arguments)


def main(arguments=None) -> int:
    """Train, and return the exit code."""
    args = parse_arguments(arguments)
    try:
        changes = dict(item.split("=", 1) for item in args.set)
        recipe = get_recipe(args.recipe).override(changes)
        data = find_data(force_sample=args.data == "sample")
        run = train(
            recipe,
            data.folder,
            split=args.split,
            run_folder=args.run or f"runs/{recipe.name}-{args.split}-{args.seed}",
            seed=args.seed,
            resume=args.resume,
            validate=args.validate,
            minutes=args.minutes,
            data_checksum=data_checksum(data.folder),
            trained_on="sample" if data.is_sample else args.split,
            mixed_precision=args.mixed_precision,
            num_workers=args.workers,
        )
    except (ValueError, TrainingError, DataError) as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. Run the same line with --resume to go on.", file=sys.stderr)
        return 130
    if args.export:
        save_checkpoint(Path(args.export), run.model, run.config, half=args.half)
    last = run.history[-1]
    stopped_early = f" of {recipe.epochs} (capped)" if run.config.stopped_early else ""
    epochs = f"{len(run.history)}{stopped_early} epochs"
    print(f"{run.folder / 'checkpoint'}: {epochs}, training NME {100 * last['nme']:.2f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
