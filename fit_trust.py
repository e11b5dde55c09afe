"""Give a trained heatmap network its confidence and radius outputs:

    python fit_trust.py runs/good-validation-0/checkpoint --calibrate
    python fit_trust.py saved_models/heatmapnet --calibration runs/good-validation-0/checkpoint/trust.json

The first line fits the head on the people that the checkpoint was trained on, measures on people
that it does not know, and writes trust.json. The second takes these factors over for a
checkpoint that was trained on more people, which leave none to measure on. Weights
and config are replaced in place; keypoints stay as they are.
"""

import argparse
import json
import sys
from pathlib import Path

from data_fetch import DataError, find_data
from data_load import load_split
from detector.evaluation import first_matrices
from detector.trust import (
    TEST_SCENES,
    TRAINING_SCENES,
    augmented_faces,
    calibrate,
    face_transform,
    fit,
    found_faces,
    no_faces,
    set_calibration,
    trust_figures,
    with_trust,
)
from training.checkpoint import CheckpointError, find_checkpoint, load_checkpoint, save_checkpoint, write_json
from training.recipes import get_recipe


def parse_arguments(arguments=None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", help="folder, or name in saved_models/")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--calibrate", action="store_true", help="measure on the split's test people")
    how.add_argument("--calibration", help="a trust.json to take over")
    parser.add_argument("--half", action="store_true", help="store weights as float16")
    return parser.parse_args(arguments)


def test_samples(model, config, data_folder, split: str):
    """Faces and no faces of people and scenes that the checkpoint does not know."""
    dataset = load_split(data_folder, split, "test")
    starts = first_matrices(dataset, "whole", config)
    return found_faces(model, config, dataset, starts) + no_faces(model, config, dataset, TEST_SCENES)


def run(args: argparse.Namespace) -> dict:
    """Fit, calibrate, save; returns what was set and measured."""
    folder = find_checkpoint(args.checkpoint)
    plain, plain_config = load_checkpoint(folder)
    if not hasattr(plain, "trust_inputs"):
        raise CheckpointError(f"{plain_config.model!r} has no heatmaps, which a trust head needs")
    data = find_data()
    model, config = with_trust(plain, plain_config)
    recipe = get_recipe(config.recipe)
    dataset = load_split(data.folder, config.trained_on, "train", face_transform(recipe), seed=config.seed)
    fit(model, augmented_faces(model, recipe, dataset) + no_faces(model, config, dataset, TRAINING_SCENES))
    if args.calibrate:
        samples = test_samples(model, config, data.folder, config.trained_on)
        before = trust_figures(model, samples)
        calibration = calibrate(model, samples)
        set_calibration(model, calibration)
        report = {**calibration, "before": before, "after": trust_figures(model, samples)}
        write_json(folder / "trust.json", report)
    else:
        report = json.loads(Path(args.calibration).read_text())
        set_calibration(model, report)
    save_checkpoint(folder, model, config, half=args.half)
    return report


def main(arguments=None) -> int:
    """Run, print, and return the exit code."""
    try:
        print(json.dumps(run(parse_arguments(arguments)), indent=2))
    except (ValueError, OSError, DataError) as error:
        print(f"fit_trust.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
