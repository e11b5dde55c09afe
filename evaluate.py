"""Measure a checkpoint, or a baseline, on a split:

    python evaluate.py heatmapnet-identity --split identity --faces whole
    python evaluate.py constant --split identity --faces haar --json

Baselines: `constant` (the training mean shape) and `nearest` (the training image
with the nearest pixels). `--record` stores figures and per-face errors in
CHECKPOINT/records/, from which tables and plots can be redone without weights.
"""

import argparse
import json
import sys
from pathlib import Path

from checkpoint import SAVED_MODELS, ModelConfig, find_checkpoint, load_checkpoint
from data_fetch import DataError, find_data
from data_load import SPLITS, shift_keypoints
from detector import DEFAULT_CHECKPOINT
from models import count_macs, count_parameters
from training.evaluation import (
    FACES,
    CheckpointPredictor,
    ConstantPredictor,
    NearestPredictor,
    check_leak,
    evaluate,
)
from training.loop import set_malloc_options
from training.metrics import summarise
from training.records import note_in_config, save_record

BASELINES = {"constant": ConstantPredictor, "nearest": NearestPredictor}
# Baselines get the frames of the default checkpoint, so that rows can be compared.
BASELINE_CONFIG = ModelConfig(model="baseline", input_size=96)


def measure(name: str, split: str, faces: str, data, *, allow_leak: bool = False, progress: bool = False):
    """The row (dict, as --json prints it) and the Evaluation behind it."""
    row = {"checkpoint": name, "split": split, "faces": faces}
    if name in BASELINES:
        predictor = BASELINES[name](BASELINE_CONFIG)
        row |= {"model": name, "recipe": "", "seed": 0, "leak": split == "official", "params": 0}
        row["macs"] = 0
    else:
        model, config = load_checkpoint(name)
        predictor = CheckpointPredictor(model, config)
        row |= {"model": config.model, "recipe": config.recipe, "seed": config.seed}
        row["leak"] = check_leak(config.trained_on, split, allow_leak)
        row["trained_on"] = config.trained_on
        row["params"], row["macs"] = count_parameters(model), count_macs(model)
        row["passes"], row["flip_tta"] = config.passes, config.flip_tta
    row["whole_view"] = predictor.config.whole_view
    row["sample"] = data.is_sample
    evaluation = evaluate(predictor, data.folder, split, faces, progress=progress)
    row["label_offset"] = list(predictor.config.label_offset)
    unshifted = shift_keypoints(evaluation.predicted, [-v for v in predictor.config.label_offset])
    row["nme_unshifted"] = summarise(unshifted, evaluation.true, evaluation.identities)["nme"]
    return row | evaluation.figures, evaluation


def record_stem(name: str, split: str, faces: str) -> Path:
    """Where a measurement is stored, without its ending: in the folder of the checkpoint or baseline."""
    folder = SAVED_MODELS / "baselines" / name if name in BASELINES else find_checkpoint(name)
    return folder / "records" / f"{split}-{faces}"


def describe(row: dict) -> str:
    """A row for people: percent, with what stands beside each figure."""
    notes = {"leak": "LEAKS", "sample": "SYNTHETIC SAMPLE, not a result"}
    marks = [note for key, note in notes.items() if row[key]]
    low, high = row["nme_interval"]
    lines = [
        f"{row['checkpoint']} on {row['split']} x {row['faces']} {' '.join(f'[{mark}]' for mark in marks)}",
        f"  NME      {100 * row['nme']:6.2f} %  (95 % interval over identities "
        f"{100 * low:.2f} to {100 * high:.2f}), found {100 * row['found']:.1f} % of {row['n']}",
        f"  without the labels' own shift (data_load.py): {100 * row['nme_unshifted']:.2f} %",
        f"  median   {100 * row['nme_median']:6.2f} %    over box size {100 * row['nme_box']:.2f} %",
        f"  AUC@8    {100 * row['auc_8']:6.1f} %    FR@10 {100 * row['fr_10']:.1f} %",
        "  regions  " + ", ".join(f"{name} {100 * value:.2f}" for name, value in row["regions"].items()),
        "  poses    "
        + ", ".join(f"{name} {100 * v['nme']:.2f} (n={v['n']})" for name, v in row["poses"].items()),
        f"  {row['params']:,} parameters, {row['macs'] / 1e6:.1f} M multiply-adds a look",
    ]
    return "\n".join(lines)


def parse_arguments(arguments=None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = f"{DEFAULT_CHECKPOINT}-identity"
    parser.add_argument("checkpoint", nargs="?", default=default, help="folder, name, or a baseline")
    parser.add_argument("--split", choices=SPLITS, default="identity")
    parser.add_argument("--faces", choices=FACES, default="whole")
    parser.add_argument("--json", action="store_true", help="print one JSON object (fractions, not percent)")
    parser.add_argument("--allow-leak", action="store_true")
    parser.add_argument("--record", action="store_true", help="store figures and per-face errors")
    parser.add_argument("--data", choices=("real", "sample"), default="real")
    return parser.parse_args(arguments)


def main(arguments=None) -> int:
    """Measure, print, and return the exit code."""
    args = parse_arguments(arguments)
    set_malloc_options()
    try:
        data = find_data(force_sample=args.data == "sample")
        row, evaluation = measure(
            args.checkpoint, args.split, args.faces, data, allow_leak=args.allow_leak, progress=not args.json
        )
        if args.record:
            save_record(record_stem(args.checkpoint, args.split, args.faces), row, evaluation)
            if args.checkpoint not in BASELINES and not (data.is_sample or args.allow_leak):
                note_in_config(find_checkpoint(args.checkpoint), row)
    except (ValueError, DataError) as error:
        print(f"evaluate.py: {error}", file=sys.stderr)
        return 1
    print(json.dumps(row) if args.json else describe(row))
    return 0


if __name__ == "__main__":
    sys.exit(main())
