"""The README's table of results, from stored records (no weights, no images):

    python -m benchmarks.results.page            # writes it into README.md
    python -m benchmarks.results.page --measure  # first measures every row anew (needs the data)

Rows are the baselines and every checkpoint in saved_models/ on the split that it was made for.
"""

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
import evaluate
from checkpoint import SAVED_MODELS, load_config
from training.records import load_record

START, END = "<!-- results:", "<!-- end of results -->"


def rows() -> list[tuple[str, str, str]]:
    """(checkpoint or baseline, split, faces), baselines first in each block."""
    folders = [path.parent for path in sorted(SAVED_MODELS.glob("*/config.json"))]
    trained_on = {folder.name: load_config(folder).trained_on for folder in folders}
    table = []
    for split in ("identity", "official"):
        for faces in ("whole", "haar"):
            names = [name for name, trained in trained_on.items() if trained == split]
            table += [(name, split, faces) for name in [*evaluate.BASELINES, *names]]
    return table


def line(name: str, split: str, faces: str) -> str:
    """One row of the table."""
    stored, _ = load_record(evaluate.record_stem(name, split, faces))
    interval = "{:.2f} to {:.2f}".format(*(100 * edge for edge in stored["nme_interval"]))
    percent = {key: f"{100 * stored[key]:.2f}" for key in ("nme", "nme_median", "nme_box")}
    percent |= {key: f"{100 * stored[key]:.1f}" for key in ("auc_8", "fr_10", "found")}
    size = f"{stored['params'] / 1e6:.1f} M / {stored['macs'] / 1e6:.0f} M"
    cells = [f"{split} x {faces}" + (" (leaks)" if stored["leak"] else ""), name]
    cells += [f"{percent.pop('nme')} ({interval})", *percent.values(), size if stored["params"] else "-"]
    return f"| {' | '.join(cells)} |"


def table() -> str:
    """The whole table as markdown."""
    columns = [
        "split x faces", "predictor", "NME, % (95 % interval)", "median", "over box size", "AUC@8", "FR@10",
        "found, %", "parameters / multiply-adds a look",
    ]  # fmt: skip
    head = f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}"
    return "\n".join([head, *(line(*row) for row in rows())])


def main() -> None:
    """Measure where asked, then rewrite the README between its two marks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", action="store_true")
    if parser.parse_args().measure:
        for name, split, faces in rows():
            if evaluate.main([name, "--split", split, "--faces", faces, "--record"]):
                sys.exit(1)
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text().partition(START)
    mark, _, rest = rest.partition("\n")
    after = rest.partition(END)[2]
    beside = readme.with_name(".README.md")
    beside.write_text(f"{before}{START}{mark}\n{table()}\n{END}{after}")
    os.replace(beside, readme)


if __name__ == "__main__":
    main()
