"""What did each choice buy? One base, one change a row, three seeds:

    python benchmarks/ablations.py                              # table and plot, from stored records
    python benchmarks/ablations.py --train                      # trains what has no record yet
    python benchmarks/ablations.py --train --only loss_mse bn   # these rows
    python benchmarks/ablations.py --list                       # rows, and what is done

Everything is trained on the 222 people of `validation` and measured on its 56 others (686 images). An
interrupted run goes on where it stopped. Each row and seed leaves ROW-SEED.json (figures, recipe) and
ROW-SEED.npz (the error of each face) in benchmarks/records/ablations/; runs lie in runs/.
"""

import argparse
import json
import os
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import plots
from augment import NO_AUGMENTATION, Augmentation
from benchmarks.comparison.report import replace_file
from data_fetch import data_checksum, find_data
from detector.evaluation import CheckpointPredictor, evaluate
from training.checkpoint import write_json
from training.loop import Run, train
from training.metrics import bootstrap_interval, nme_per_face
from training.recipes import Recipe

RECORDS = Path(__file__).parent / "records" / "ablations"
PAGE, PLOT = (Path(__file__).with_suffix(end) for end in (".md", ".png"))
SPLIT = "validation"

BASE = Recipe(
    "ablation-base",
    model="naimishnet",
    model_args={"dropout": 0.2},
    input_size=96,
    frame="whole",
    augmentation=Augmentation(
        rotation_deg=10.0, scale=0.17, shift=0.05, flip=0.5, gain=0.2, offset=0.08, blur=0.0, occlusion=0.0
    ),
    gray_range=(0.0, 1.0),
    loss="wing",
    optimizer="adamw",
    learning_rate=1e-3,
    schedule="one_cycle",
    ema_decay=0.999,
    epochs=30,
)


@dataclass(frozen=True)
class Row:
    """One change to the base: fields of `Recipe`, the views it is measured in, its seeds."""

    name: str
    change: str
    fields: dict
    faces: tuple[str, ...] = ("whole",)
    seeds: tuple[int, ...] = (0, 1, 2)

    @property
    def recipe(self) -> Recipe:
        """The base with the change made."""
        return replace(BASE, name=f"ablation-{self.name}", **self.fields)


ROWS = {
    row.name: row
    for row in [
        Row("base", "none: Wing loss, augmentation, whole frame, gray in [0, 1]", {}),
        # `Normalize` gives [0, 1]; stretched to [0, 1/255] it is divided by 255 a second time
        Row(
            "divided_twice", "gray divided by 255 twice, as most forks run it", {"gray_range": (0.0, 1 / 255)}
        ),
        Row("loss_mse", "MSE", {"loss": "mse"}),
        Row("loss_smooth_l1", "SmoothL1", {"loss": "smooth_l1"}),
        Row("no_augmentation", "no augmentation", {"augmentation": NO_AUGMENTATION}),
        Row(
            "face_crop",
            "face crop: 1.5 x the label box in training, 1.33 x the cascade's box",
            {"frame": "face", "margin": 1.5, "box_margin": 1.33},
            faces=("haar", "label_box"),
        ),
        Row("bn", "batch norm", {"model_args": {"dropout": 0.2, "batch_norm": True}}),
        Row(
            "224px",
            "224 px",
            {"input_size": 224, "keypoint_mean": 111.5, "keypoint_std": 56.0},
            seeds=(0,),
        ),
    ]
}


# --- training and measuring ----------------------------------------------------------------------


def stem_of(row: Row, seed: int) -> Path:
    """Where a run's record is, without the ending."""
    return RECORDS / f"{row.name}-{seed}"


def load(row: Row, seed: int) -> tuple[dict, dict[str, np.ndarray]] | None:
    """The stored figures and per-face errors of a run; None where there is none of its present recipe."""
    stem = stem_of(row, seed)
    files = stem.with_name(stem.name + ".json"), stem.with_name(stem.name + ".npz")
    if not all(path.is_file() for path in files):
        return None
    figures = json.loads(files[0].read_text())
    if figures["recipe"] != _as_json(row.recipe):
        return None
    with np.load(files[1], allow_pickle=False) as stored:
        return figures, {name: stored[name] for name in stored.files}


def _as_json(recipe: Recipe) -> dict:
    return json.loads(json.dumps(asdict(recipe)))


def train_row(row: Row, seed: int, data, mixed_precision: str) -> None:
    """Train, or go on training, measure and store one run."""
    run = train(
        row.recipe,
        data.folder,
        split=SPLIT,
        run_folder=ROOT / "runs" / f"ablation-{row.name}-{seed}",
        seed=seed,
        resume=True,
        data_checksum=data_checksum(data.folder),
        trained_on="sample" if data.is_sample else SPLIT,
        mixed_precision=mixed_precision,
    )
    store(row, seed, run, data, mixed_precision)


def store(row: Row, seed: int, run: Run, data, mixed_precision: str) -> None:
    """Measure a finished run in each of its row's views, and write both files."""
    figures, errors = {}, {}
    predictor = CheckpointPredictor(run.model, run.config)
    for faces in row.faces:
        evaluation = evaluate(predictor, data.folder, SPLIT, faces)
        figures[faces] = evaluation.figures
        errors[f"nme_{faces}"] = nme_per_face(evaluation.predicted, evaluation.true).astype(np.float32)
    stem = stem_of(row, seed)
    stem.parent.mkdir(parents=True, exist_ok=True)
    beside = stem.with_name(f".{stem.name}.{os.getpid()}.npz")
    names = {"paths": np.array(evaluation.paths), "identities": np.array(evaluation.identities)}
    np.savez_compressed(beside, **names, **errors)
    os.replace(beside, stem.with_name(stem.name + ".npz"))
    about = {"row": row.name, "change": row.change, "seed": seed, "sample": data.is_sample}
    about |= {"mixed_precision": mixed_precision, "training_nme": run.history[-1]["nme"]}
    about["minutes"] = sum(epoch["seconds"] for epoch in run.history) / 60
    write_json(
        stem.with_name(stem.name + ".json"), {**about, "figures": figures, "recipe": _as_json(row.recipe)}
    )


# --- the table and the plot --------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """One row in one view, over the seeds that are done; fractions."""

    row: Row
    faces: str
    seeds: list[int]
    figures: list[dict]
    difference: tuple[float, float, float] | None  # to the base, and its interval

    @property
    def label(self) -> str:
        """Row and view, as a plot names them."""
        name = self.row.name.replace("_", " ")
        return name if self.faces == "whole" else f"{name}, {self.faces}"

    @property
    def nme(self) -> list[float]:
        """One value a seed."""
        return [figures["nme"] for figures in self.figures]


def results() -> list[Result]:
    """What is stored, in the order of ROWS, one entry a view."""
    base = {seed: stored for seed in ROWS["base"].seeds if (stored := load(ROWS["base"], seed))}
    found = []
    for row in ROWS.values():
        runs = {seed: stored for seed in row.seeds if (stored := load(row, seed))}
        for faces in row.faces if runs else ():
            figures = [figures["figures"][faces] for figures, _ in runs.values()]
            both = [seed for seed in runs if seed in base] if row.name != "base" else []
            pairs = [(runs[seed][1], base[seed][1]) for seed in both]
            difference = paired_difference(pairs, faces) if pairs else None
            found.append(Result(row, faces, list(runs), figures, difference))
    return found


def paired_difference(pairs: list[tuple[dict, dict]], faces: str) -> tuple[float, float, float]:
    """Mean NME less the base's, and its 95 % interval over identities.

    pairs: for each seed the arrays of the row and of the base; the same faces in the same
        order. Faces that a view did not find are left out of both sides.
    """
    for row, base in pairs:
        if not np.array_equal(row["paths"], base["paths"]):
            raise ValueError("these records are of different images; remove the older ones and run again")
    errors = np.mean([row[f"nme_{faces}"] - base["nme_whole"] for row, base in pairs], axis=0)
    low, high = bootstrap_interval(errors, pairs[0][0]["identities"])
    return float(np.nanmean(errors)), low, high


def table(found: list[Result]) -> str:
    """Markdown; rows that are not trained say so."""
    columns = [
        "row",
        "what is changed",
        "faces",
        "seeds",
        "NME, %",
        "by seed",
        "less the base (95 % interval)",
    ]
    columns += ["median", "FR@10", "found, %"]
    lines = [columns, ["---"] * len(columns)]
    for row in ROWS.values():
        of_row = [result for result in found if result.row.name == row.name]
        lines += [_line(result) for result in of_row]
        if not of_row:
            lines.append([row.name, row.change, " and ".join(row.faces), "*not trained yet*", *["-"] * 6])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _line(result: Result) -> list[str]:
    row = result.row
    seeds = f"{len(result.seeds)}" + ("" if len(result.seeds) == len(row.seeds) else f" of {len(row.seeds)}")
    mean = {
        key: 100 * np.mean([f[key] for f in result.figures])
        for key in ("nme", "nme_median", "fr_10", "found")
    }
    by_seed = ", ".join(f"{100 * value:.2f}" for value in result.nme)
    difference = "-"
    if result.difference:
        middle, low, high = (100 * value for value in result.difference)
        difference = f"{middle:+.2f} ({low:+.2f} to {high:+.2f})"
    cells = [row.name, row.change, result.faces, seeds, f"{mean['nme']:.2f}", by_seed, difference]
    return [*cells, f"{mean['nme_median']:.2f}", f"{mean['fr_10']:.1f}", f"{mean['found']:.1f}"]


PAGE_TEXT = """# What did each choice buy?

One base, one change a row: `naimishnet` at 96 px, given the whole frame (letterboxed), {epochs} epochs,
trained on the 222 people of `validation` and measured on its 56 others (686 images), one look, no averaging
with the mirrored image. The base has a fifth of the paper's dropout, Wing loss, AdamW 1e-3 in one cycle and
averaged weights; a row changes what its second column says and nothing else. NME in percent of the distance
between the outer eye corners, lower is better.

```
python benchmarks/ablations.py --train     # trains what is missing, then writes this page
```

{table}

*By seed* is the spread between runs. The interval of the difference is over people: paired, each face against
itself under the base, mean over the seeds that both have. `haar` and `label_box` say where a row that is
trained on face crops gets its crop when it is measured: from the cascade (no label used; faces not found are
left out of mean and difference, and are failures in FR@10) or from the labels.
{plot}"""


def figure_of(found: list[Result]):
    """One bar a row, one dot a seed, a line where the base is."""
    figure, axis = plots.new_figure(width=7, height=0.42 * len(found) + 1)
    means = {result.label: 100 * float(np.mean(result.nme)) for result in found}
    plots.draw_bars(axis, means, fmt="%.2f %%")
    for result in found:
        axis.plot([100 * value for value in result.nme], [result.label] * len(result.nme), "k.", markersize=4)
        if result.row.name == "base":
            axis.axvline(means[result.label], color="black", linewidth=0.8, linestyle="--")
    axis.set_title("NME on people not seen in training; dots: seeds", fontsize=10)
    return figure


def write_page() -> None:
    """Table and plot from what is stored."""
    found = results()
    drawn = "\n![One bar a row](ablations.png)\n" if found else ""
    if found:
        replace_file(PLOT, plots.figure_png(figure_of(found), dpi=100))
    text = PAGE_TEXT.format(epochs=BASE.epochs, table=table(found), plot=drawn)
    replace_file(PAGE, text.encode())


def main() -> None:
    """Train where asked; write the page after each run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--mixed-precision", choices=("no", "fp16", "bf16"), default="no")
    args = parser.parse_args()
    # seeds in the outer loop: however far it gets, rows can be compared
    runs = [(ROWS[name], seed) for seed in range(3) for name in args.only if seed in ROWS[name].seeds]
    if args.list:
        for row, seed in runs:
            print(f"{row.name} seed {seed}: {'done' if load(row, seed) else 'to do'}")
        return
    if args.train:
        data = find_data()
        if data.is_sample:
            parser.error("this is the embedded sample; rows of drawn faces would mean nothing")
        for row, seed in runs:
            if load(row, seed) is None:
                print(f"== {row.name}, seed {seed}", flush=True)
                train_row(row, seed, data, args.mixed_precision)
                write_page()
    write_page()


if __name__ == "__main__":
    main()
