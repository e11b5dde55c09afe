"""The spread of the headline figures over training runs: the same recipe with three seeds.

    python train.py --recipe heatmapnet --split identity --seed 1    # 25 minutes, one core; also 2, official
    python -m benchmarks.seeds.page --measure            # measures what is trained
    python -m benchmarks.seeds.page                      # writes the page from stored records

What ships goes on from the weights of seed 0 with other labels (recipe `heatmapnet_ibug`). For `haar`, a run
first gets the confidence and radius outputs (training/uncertainty.py), with the calibration factors of what
ships: none were fitted for the single seeds.
"""

import itertools
import shutil
import tempfile
from pathlib import Path

import numpy as np

import evaluate
from benchmarks import pages
from checkpoint import load_checkpoint
from data_fetch import data_checksum
from detector import DEFAULT_CHECKPOINT
from files import write_json
from training import uncertainty
from training.metrics import bootstrap_interval, failure_rate, nme_per_face
from training.records import is_current, load_record, provenance, save_record
from training.seeds import mean_and_spread, mean_where_found
from training.uncertainty import calibration_of

ROOT = Path(__file__).parents[2]
RECORDS = Path(__file__).parent / "records"
PAGE = Path(__file__).with_name("README.md")
RECIPE, SEEDS = "heatmapnet", (0, 1, 2)
SHIPPED_RECIPE = "heatmapnet_ibug"  # goes on from seed 0
SHIPPED = {"identity": f"{DEFAULT_CHECKPOINT}-identity", "official": DEFAULT_CHECKPOINT}
ROWS = [(split, faces) for split in SHIPPED for faces in ("whole", "haar")]


def stem_of(split: str, faces: str, seed: int) -> Path:
    """The path of a row's record without its ending.

    All `haar` rows are measured alike, with the rule for overlapping answers before 2026-11-26: the weights
    are not in the repository, so the rows cannot be measured again.
    """
    return RECORDS / f"{split}-{faces}-{seed}"


def with_outputs(split: str, seed: int) -> Path:
    """A copy of a run's checkpoint with confidence and radius outputs; made on first use."""
    run = ROOT / "runs" / f"{RECIPE}-{split}-{seed}"
    folder = run / "with_uncertainty"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=run) as temporary:
            copy, factors = Path(temporary) / "checkpoint", Path(temporary) / "factors.json"
            shutil.copytree(run / "checkpoint", copy)
            write_json(factors, calibration_of(load_checkpoint(SHIPPED[split])[0]))
            uncertainty.run(uncertainty.parse_arguments([str(copy), "--calibration", str(factors)]))
            copy.rename(folder)
    return folder


def measure(data) -> None:
    """Measure what is trained on this machine and has no current record."""
    for (split, faces), seed in itertools.product(ROWS, SEEDS):
        plain = ROOT / "runs" / f"{RECIPE}-{split}-{seed}" / "checkpoint"
        stem = stem_of(split, faces, seed)
        if not plain.exists() or is_current(stem.with_suffix(".json")):
            continue
        checkpoint = with_outputs(split, seed) if faces == "haar" else plain
        row, evaluation = evaluate.measure(str(checkpoint), split, faces, data, progress=True)
        row["checkpoint"] = f"{RECIPE}, seed {seed}"  # not a path of this machine
        renew = f"python train.py --recipe {RECIPE} --split {split} --seed {seed}, then make measure"
        about = provenance(renew, checkpoint=checkpoint, data=data_checksum(data.folder), seed=seed)
        save_record(stem, row, evaluation, about)


def load(split: str, faces: str) -> dict[int, tuple[dict, dict]]:
    """seed -> (row, arrays) of each stored record."""
    stems = {seed: stem_of(split, faces, seed) for seed in SEEDS}
    return {seed: load_record(stem) for seed, stem in stems.items() if stem.with_suffix(".json").is_file()}


def cells(split: str, faces: str) -> list[str]:
    """The cells of one row: each seed, mean and SD, the interval of the mean, the averaged predictions."""
    stored = load(split, faces)
    row = [f"{split} x {faces}" + (" (leaks)" if split == "official" else "")]
    row += [f"{100 * stored[s][0]['nme']:.2f}" if s in stored else "*not trained yet*" for s in SEEDS]
    if len(stored) < len(SEEDS):
        return [*row, *["-"] * 5]
    arrays = [arrays for _, arrays in stored.values()]
    true, people = arrays[0]["true"], arrays[0]["identities"]
    errors = np.stack([nme_per_face(a["predicted"], true) for a in arrays])
    low, high = bootstrap_interval(mean_where_found(errors), people)
    row.append(mean_and_spread([figures["nme"] for figures, _ in stored.values()]))
    row.append(f"{100 * low:.2f} to {100 * high:.2f}")
    row.append(mean_and_spread([figures["fr_10"] for figures, _ in stored.values()]))
    together = nme_per_face(np.mean([a["predicted"] for a in arrays], axis=0), true)
    return [*row, f"{100 * np.nanmean(together):.2f}", f"{100 * failure_rate(together):.1f}"]


def table() -> str:
    """A row for each split and faces axis, as Markdown."""
    columns = ["split x faces", *(f"seed {s}" for s in SEEDS)]
    columns += ["NME: mean ± SD", "95 % interval over people", "FR@10: mean ± SD"]
    columns += ["mean of the three predictions: NME", "FR@10"]
    return pages.markdown_table(columns, [cells(*row) for row in ROWS])


PAGE_TEXT = """# Three seeds

Recipe `{recipe}`, trained three times. What ships as `{default}` and `{default}-identity` goes on from
seed 0, with recipe `{shipped}`, which was trained once. The seeds differ in first weights, order of the
images and crops. The data are the same. NME in percent of the distance between the outer eye corners. The
interval is of the mean over the three networks, by resampling people. SD is the sample standard deviation
between the three runs.

```
python train.py --recipe {recipe} --split identity --seed 1     # also seed 2, and both on official
python -m benchmarks.seeds.page --measure      # measures what is trained, then writes this page
```

{table}

For the last two columns the points of the three networks are averaged. That takes three times the work.
The `haar` rows were measured before the choice between several answers for a face changed
([finding](../finding/README.md)). The results of what ships: [results](../results/README.md).
"""


def write_page() -> None:
    """Write the page from stored records."""
    text = PAGE_TEXT.format(
        recipe=RECIPE, default=DEFAULT_CHECKPOINT, shipped=SHIPPED_RECIPE, table=table()
    )
    pages.write_if_changed(PAGE, text)


if __name__ == "__main__":
    pages.run_page(__doc__, write_page, measure)
