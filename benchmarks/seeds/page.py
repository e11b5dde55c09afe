"""How much of the headline figures is chance: the same recipe with three seeds.

    python train.py --recipe heatmapnet --split identity --seed 1    # 25 minutes on one core; also 2, and official
    python -m benchmarks.seeds.page --measure                       # measures what is trained, writes the page
    python -m benchmarks.seeds.page                                 # the page again, from stored records

Seed 0 is what ships. For the rows that find faces themselves, a new seed first gets the confidence and
radius outputs, like what ships (uncertainty.py, with the factors of the shipped network).
"""

import argparse
import itertools
import shutil
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
import evaluate
from benchmarks.peers.report import replace_file
from checkpoint import load_checkpoint
from data_fetch import find_data
from detector import DEFAULT_CHECKPOINT
from files import write_json
from training import uncertainty as uncertainty
from training.metrics import bootstrap_interval, failure_rate, nme_per_face
from training.records import load_record, save_record
from training.uncertainty import calibration_of

RECORDS = Path(__file__).parent / "records"
PAGE = Path(__file__).with_name("README.md")
RECIPE, SEEDS = "heatmapnet", (0, 1, 2)
SHIPPED = {"identity": f"{DEFAULT_CHECKPOINT}-identity", "official": DEFAULT_CHECKPOINT}
ROWS = [(split, faces) for split in SHIPPED for faces in ("whole", "haar")]


def stem_of(split: str, faces: str, seed: int) -> Path:
    """Where a row's record is, without the ending; seed 0 is in the folder of what ships."""
    if seed == 0:
        return evaluate.record_stem(SHIPPED[split], split, faces)
    return RECORDS / f"{split}-{faces}-{seed}"


def with_outputs(split: str, seed: int) -> Path:
    """The checkpoint of a run with its confidence and radius outputs; the run itself stays as it is."""
    run = ROOT / "runs" / f"{RECIPE}-{split}-{seed}"
    folder = run / "with_uncertainty"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=run) as beside:
            copy, factors = Path(beside) / "checkpoint", Path(beside) / "factors.json"
            shutil.copytree(run / "checkpoint", copy)
            write_json(factors, calibration_of(load_checkpoint(SHIPPED[split])[0]))
            uncertainty.run(uncertainty.parse_arguments([str(copy), "--calibration", str(factors)]))
            copy.rename(folder)
    return folder


def measure(data) -> None:
    """Store what is trained and has no record yet."""
    for (split, faces), seed in itertools.product(ROWS, SEEDS[1:]):
        plain = ROOT / "runs" / f"{RECIPE}-{split}-{seed}" / "checkpoint"
        if _stored(split, faces, seed) or not plain.exists():
            continue
        checkpoint = with_outputs(split, seed) if faces == "haar" else plain
        row, evaluation = evaluate.measure(str(checkpoint), split, faces, data, progress=True)
        row["checkpoint"] = f"{RECIPE}, seed {seed}"  # not a path of this machine
        save_record(stem_of(split, faces, seed), row, evaluation)


def _stored(split: str, faces: str, seed: int) -> bool:
    return stem_of(split, faces, seed).with_suffix(".json").is_file()


def load(split: str, faces: str) -> dict[int, tuple[dict, dict]]:
    """seed -> (row, arrays) of what is stored."""
    return {s: load_record(stem_of(split, faces, s)) for s in SEEDS if _stored(split, faces, s)}


def cells(split: str, faces: str) -> list[str]:
    """One row: each seed, mean and spread, the interval of the mean, the three predictions averaged."""
    stored = load(split, faces)
    row = [f"{split} x {faces}" + (" (leaks)" if split == "official" else "")]
    row += [f"{100 * stored[s][0]['nme']:.2f}" if s in stored else "*not trained yet*" for s in SEEDS]
    if len(stored) < len(SEEDS):
        return [*row, *["-"] * 5]
    arrays = [arrays for _, arrays in stored.values()]
    true, people = arrays[0]["true"], arrays[0]["identities"]
    errors = np.stack([nme_per_face(a["predicted"], true) for a in arrays])
    low, high = bootstrap_interval(mean_where_found(errors), people)
    row.append(_mean_and_spread([figures["nme"] for figures, _ in stored.values()]))
    row.append(f"{100 * low:.2f} to {100 * high:.2f}")
    row.append(_mean_and_spread([figures["fr_10"] for figures, _ in stored.values()]))
    together = nme_per_face(np.mean([a["predicted"] for a in arrays], axis=0), true)
    return [*row, f"{100 * np.nanmean(together):.2f}", f"{100 * failure_rate(together):.1f}"]


def mean_where_found(errors: np.ndarray) -> np.ndarray:
    """(networks, faces) to (faces,): the mean over the networks that found the face; NaN where none did."""
    found = ~np.isnan(errors)
    means = np.nansum(errors, axis=0) / np.maximum(found.sum(axis=0), 1)
    return np.where(found.any(axis=0), means, np.nan)


def _mean_and_spread(values) -> str:
    return f"{100 * np.mean(values):.2f} ± {100 * np.std(values, ddof=1):.2f}"


def table() -> str:
    """Markdown: a row for each split and way to start."""
    columns = ["split x faces", *(f"seed {s}" + (" (ships)" if s == 0 else "") for s in SEEDS)]
    columns += ["NME: mean ± SD", "95 % interval over people", "FR@10: mean ± SD"]
    columns += ["mean of the three predictions: NME", "FR@10"]
    lines = [columns, ["---"] * len(columns), *(cells(*row) for row in ROWS)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


PAGE_TEXT = """# Three seeds

Recipe `{recipe}` (what ships as `{default}` and `{default}-identity`), trained three times: other first
weights, order and crops, the same data. NME in percent of the distance between the outer eye corners.
The interval is of the mean over the three networks, by drawing people again; the spread (sample standard
deviation) is that of training alone.

```
python -m benchmarks.seeds.page --measure     # measures runs/{recipe}-SPLIT-SEED, then writes this page
```

{table}

The last two columns average the points of all three networks, which costs three times the work.
"""


def write_page() -> None:
    """The page, from what is stored."""
    text = PAGE_TEXT.format(recipe=RECIPE, default=DEFAULT_CHECKPOINT, table=table())
    replace_file(PAGE, text.encode())


def main() -> None:
    """Measure where asked; write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", action="store_true")
    if parser.parse_args().measure:
        data = find_data()
        if data.is_sample:
            parser.error("this is the synthetic sample; its drawn faces say nothing about people")
        measure(data)
    write_page()


if __name__ == "__main__":
    main()
