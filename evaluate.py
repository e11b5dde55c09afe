"""Measure a checkpoint, or a baseline, on a split:

    python evaluate.py heatmapnet-identity --split identity --faces whole
    python evaluate.py constant --split identity --faces haar --json
    python evaluate.py heatmapnet --pts FOLDER
    python evaluate.py heatmapnet --csv faces.csv --images FOLDER

Baselines: `constant` (the mean shape of the training images) and `nearest` (the labels of the training
image with the nearest pixels). `--pts` (or `--photos`) and `--csv` measure on images of your own, in the box
around their points, and print which ones were skipped and why. `--record` stores figures and per-face
predictions in CHECKPOINT/records/, from which `make tables` makes tables and plots without weights. The
protocols: benchmarks/README.md.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch

from checkpoint import SAVED_MODELS, WEIGHTS_FILE, ModelConfig, find_checkpoint, load_checkpoint
from data_fetch import data_checksum, find_data
from data_load import SPLITS, FacialKeypointsDataset, load_split
from detector import DEFAULT_CHECKPOINT
from detector.face_finders import default_finder_name
from files import run_command
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
from training.metrics import METRICS, percent, summarise
from training.own_data import images_trained_on, read_own_data
from training.own_network import load_model_file
from training.photos import evaluate_photos, photo_figures
from training.records import Evaluation, note_in_config, provenance, save_record

BASELINES = {"constant": ConstantPredictor, "nearest": NearestPredictor}
UNSHIFTED = "  with the network's own points, not moved to where the labels lie: NME {:.2f} %"
# Baselines get the frames of the default checkpoint, so that rows can be compared.
BASELINE_CONFIG = ModelConfig(model="baseline", input_size=96)


def measure(
    name: str, split: str, faces: str, data, *, device="cpu", allow_leak: bool = False, progress: bool = False
):
    """Measure a checkpoint or baseline; returns the row (a dict, as --json prints it) and the Evaluation.

    name: a folder, a name in saved_models/, or one of BASELINES. data: from `find_data`.
    device: 'cpu', 'cuda' or 'mps'. Raises LeakError for a row that leaks, unless allowed.
    """
    predictor, about = load_predictor(name, device)
    row = {"checkpoint": name, "split": split, "faces": faces, **about, "sample": data.is_sample}
    # a baseline is fitted on the split itself
    trained_on, started_from = about.get("trained_on", split), about.get("started_from", "")
    row["leak"] = check_leak(trained_on, split, allow_leak, started_from)
    evaluation = evaluate(predictor, data.folder, split, faces, progress=progress)
    row["label_offset"] = list(predictor.config.label_offset)
    row["scheme"] = predictor.config.scheme
    row["nme_unshifted"] = summarise(evaluation.own, evaluation.true, evaluation.identities)["nme"]
    return row | evaluation.figures, evaluation


def load_predictor(name: str, device: str = "cpu") -> tuple:
    """The predictor of a checkpoint or baseline, and what a row says of it."""
    if name in BASELINES:
        predictor = BASELINES[name](BASELINE_CONFIG)
        about = {"model": name, "recipe": "", "seed": 0, "params": 0, "macs": 0}
    else:
        model, config = load_checkpoint(name, device)
        predictor = CheckpointPredictor(model, config)
        about = {"model": config.model, "recipe": config.recipe, "seed": config.seed}
        about |= {"trained_on": config.trained_on, "passes": config.passes, "flip_tta": config.flip_tta}
        about |= {"started_from": config.started_from} if config.started_from else {}
        about |= {"params": count_parameters(model), "macs": count_macs(model)}
    return predictor, {**about, "whole_view": predictor.config.whole_view}


def measure_photos(name: str, folder, *, photos=None, device: str = "cpu", progress: bool = False) -> dict:
    """The row of a checkpoint or baseline on a folder of photos, each with a .pts file beside it.

    photos: a FacialKeypointsDataset in place of the folder's photos; the row names `folder` all the same.
    A baseline is fitted on the training images of `official`. Raises FileNotFoundError where the folder holds
    no such photos, ValueError for a file that is not 68 points.
    """
    if photos is None:
        photos = FacialKeypointsDataset.from_pts(folder, cache_bytes=0)
    evaluation, about = predict_photos(name, photos, device=device, progress=progress)
    row = {"checkpoint": name, "photos": str(folder), "faces": "photos", "sample": False}
    trained = 0 if name in BASELINES else images_trained_on(find_checkpoint(name), photos.paths)
    row |= {"leak": trained > 0, "images_trained_on": trained}
    return {**row, **about, **photo_figures(evaluation.predicted, evaluation.true)}


def predict_photos(
    name: str, photos: FacialKeypointsDataset, *, device: str = "cpu", progress: bool = False
) -> tuple[Evaluation, dict]:
    """The predictions of a checkpoint or baseline on photos, and what `load_predictor` says of it."""
    predictor, about = load_predictor(name, device)
    if name in BASELINES:
        predictor.fit(load_split(find_data().folder, "official", "train"), "label_box")
    return evaluate_photos(predictor, photos, progress=progress), about


def record_provenance(row: dict, data) -> dict:
    """The provenance of a row that was measured just now; see `training.records`."""
    name = row["checkpoint"]
    renew = f"python evaluate.py {name} --split {row['split']} --faces {row['faces']} --record"
    if name in BASELINES:
        return provenance(renew, config=BASELINE_CONFIG, data=data_checksum(data.folder), seed=row["seed"])
    folder, files = find_checkpoint(name), []
    if row["faces"] == "detector":
        files = [find_checkpoint(default_finder_name(row["split"])) / WEIGHTS_FILE]
    return provenance(
        renew, checkpoint=folder, data=data_checksum(data.folder), seed=row["seed"], files=files
    )


def record_stem(name: str, split: str, faces: str) -> Path:
    """The path of a record without its ending, in the folder of the checkpoint or baseline."""
    folder = SAVED_MODELS / "baselines" / name if name in BASELINES else find_checkpoint(name)
    return folder / "records" / f"{split}-{faces}"


def describe(row: dict) -> str:
    """A row as text, in percent."""
    notes = {"leak": "LEAKS", "sample": "SYNTHETIC SAMPLE, not a result"}
    marks = [f"[{note}]" for key, note in notes.items() if row[key]]
    regions = [f"{name} {100 * value:.2f}" for name, value in row["regions"].items()]
    poses = [f"{name} {100 * pose['nme']:.2f} (n={pose['n']})" for name, pose in row["poses"].items()]
    place = row["photos"] if row["faces"] == "photos" else f"{row['split']} x {row['faces']}"
    lines = [
        f"{row['checkpoint']} on {place} {' '.join(marks)}",
        *(f"  {metric.title:14} {percent(row, name)} %" for name, metric in METRICS.items()),
        f"  faces          {row['n']}; interval: 95 %, by resampling people",
        f"  regions        {', '.join(regions)}",
        f"  poses          {', '.join(poses)}",
        *(_photo_lines(row) if row["faces"] == "photos" else [UNSHIFTED.format(100 * row["nme_unshifted"])]),
        f"  {row['params']:,} parameters, {row['macs'] / 1e6:.1f} M MACs per pass",
    ]
    return "\n".join(lines)


def _photo_lines(row: dict) -> list[str]:
    """What only photos with hand-made points have."""
    offset = 100 * np.mean(row["offset"], axis=0)
    openings = [
        f"{part} correlation {row[part]['correlation']:.2f}, slope {row[part]['slope']:.2f}"
        for part in ("eyes", "mouth")
    ]
    trained = [f"  trained on     {row['images_trained_on']} of these images"] if row["leak"] else []
    return [
        *trained,
        f"  inner 51       {100 * row['inner_51']:.2f} %",
        f"  openings       {'; '.join(openings)}",
        f"  shut eyes      {row['eyes']['n_shut']}, predicted opening {row['eyes']['shut']:.2f} on average",
        f"  mean offset    {offset[0]:+.2f} % to the right, {offset[1]:+.2f} % down",
    ]


def parse_arguments(arguments=None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = f"{DEFAULT_CHECKPOINT}-identity"
    parser.add_argument("checkpoint", nargs="?", default=default, help="folder, name, or a baseline")
    parser.add_argument("--split", choices=SPLITS, help="whose test images (default: identity)")
    parser.add_argument("--faces", choices=FACES, help="how each face is given (default: whole)")
    parser.add_argument(
        "--pts", "--photos", metavar="DIR", help="images of your own with .pts files (68 points) beside them"
    )
    parser.add_argument(
        "--csv", metavar="FILE", help="images of your own: a CSV of file name, x0, y0, ... x67, y67"
    )
    parser.add_argument("--images", metavar="DIR", help="the images of --csv (default: the CSV's folder)")
    parser.add_argument(
        "--model-file", metavar="FILE", help="the Python file that registers the checkpoint's network"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object (fractions, not percent)")
    parser.add_argument("--allow-leak", action="store_true", help="measure people seen in training; marked")
    parser.add_argument("--record", action="store_true", help="store figures and per-face predictions")
    kinds = {"choices": ("real", "sample"), "default": "real"}
    parser.add_argument("--data", **kinds, help="sample: drawn faces, for trying (default: real)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps (default cpu)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(arguments)
    own = args.pts or args.csv or args.images
    refused = {"--split": args.split, "--faces": args.faces, "--allow-leak": args.allow_leak}
    refused["--data"] = args.data == "sample"
    for option in (name for name, value in refused.items() if own and value):
        parser.error(
            f"{option} is for the data set; leave it out with images of your own, which are measured in the "
            "box around their points"
        )
    args.split, args.faces = args.split or "identity", args.faces or "whole"
    return args


def run(args: argparse.Namespace) -> int:
    """Measure, record where asked, print, and return the exit code."""
    set_malloc_options()
    if args.model_file:
        folders = [] if args.checkpoint in BASELINES else [find_checkpoint(args.checkpoint)]
        load_model_file(args.model_file, *folders)
    device = check_device(args.device)
    if args.pts or args.csv or args.images:
        if args.record:
            raise ValueError("--record stores measurements of a split; leave it out with --pts and --csv")
        own = read_own_data(args.csv, args.images, args.pts, progress=not args.json)
        print(own.table(), file=sys.stderr if args.json else sys.stdout)
        own.check("random", min_images=1)
        options = {"photos": own.dataset, "device": device, "progress": not args.json}
        row = measure_photos(args.checkpoint, args.csv or args.pts, **options)
        print(json.dumps(row) if args.json else describe(row))
        return 0
    data = find_data(force_sample=args.data == "sample")
    row, evaluation = measure(
        args.checkpoint,
        args.split,
        args.faces,
        data,
        device=device,
        allow_leak=args.allow_leak,
        progress=not args.json,
    )
    if args.record:
        stem = record_stem(args.checkpoint, args.split, args.faces)
        save_record(stem, row, evaluation, record_provenance(row, data))
        if args.checkpoint not in BASELINES and not (data.is_sample or args.allow_leak):
            note_in_config(find_checkpoint(args.checkpoint), row)
    print(json.dumps(row) if args.json else describe(row))
    return 0


def main(arguments=None) -> int:
    """Measure, print, and return the exit code."""
    args = parse_arguments(arguments)
    return run_command("evaluate.py", lambda: run(args), debug=args.debug)


def check_device(name: str) -> torch.device:
    """The PyTorch device called `name`. Raises ValueError if there is none on this machine."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"device {name!r} cannot be used ({reason}); use --device cpu") from error
    return device


if __name__ == "__main__":
    sys.exit(main())
