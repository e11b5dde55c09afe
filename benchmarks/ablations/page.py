"""The effect of each training choice: one base, one change per row, three seeds.

    python -m benchmarks.ablations.page                              # table and plot, from stored records
    python -m benchmarks.ablations.page --train                      # first trains what has no record yet
    python -m benchmarks.ablations.page --train --only loss_mse bn   # these rows
    python -m benchmarks.ablations.page --list                       # rows, and what is done

Everything is trained on the 222 people of `validation` and measured on its 56 other people (686 images).
An interrupted run goes on where it stopped. Rows, training and records: benchmarks/ablations/rows.py.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import plots
from benchmarks import pages
from benchmarks.ablations.rows import BASE, ROWS, Row, load, measure_row
from training.metrics import bootstrap_interval

PAGE, PLOT = (Path(__file__).with_name(name) for name in ("README.md", "ablations.png"))


@dataclass(frozen=True)
class Result:
    """One row measured in one view, over the seeds that are done; fractions.

    difference: of the NME to the base, and its 95 % interval (low, high).
    """

    row: Row
    view: str
    seeds: list[int]
    figures: list[dict]
    difference: tuple[float, float, float] | None

    @property
    def label(self) -> str:
        """The name of row and view in the plot."""
        name = self.row.name.replace("_", " ")
        return name if self.view == "whole" else f"{name}, {self.view}".replace("_", " ")

    @property
    def nme(self) -> list[float]:
        """One value per seed."""
        return [figures["nme"] for figures in self.figures]


def results() -> list[Result]:
    """The stored results, in the order of ROWS, one entry per view."""
    base = {seed: stored for seed in ROWS["base"].seeds if (stored := load(ROWS["base"], seed))}
    found = []
    for row in ROWS.values():
        runs = {seed: stored for seed in row.seeds if (stored := load(row, seed))}
        for view in row.views if runs else ():
            figures = [figures["figures"][view] for figures, _ in runs.values()]
            both = [seed for seed in runs if seed in base] if row.name != "base" else []
            pairs = [(runs[seed][1], base[seed][1]) for seed in both]
            difference = paired_difference(pairs, view) if pairs else None
            found.append(Result(row, view, list(runs), figures, difference))
    return found


def paired_difference(pairs: list[tuple[dict, dict]], view: str) -> tuple[float, float, float]:
    """Mean NME less the base's, and its 95 % interval over identities.

    pairs: for each seed the arrays of the row and of the base; the same faces in the same
        order. Faces that a view did not find are left out of both sides.
    Raises ValueError if the images differ.
    """
    for row, base in pairs:
        if not np.array_equal(row["paths"], base["paths"]):
            raise ValueError("these records are of different images; remove the older ones and run again")
    errors = np.mean([row[f"nme_{view}"] - base["nme_whole"] for row, base in pairs], axis=0)
    low, high = bootstrap_interval(errors, pairs[0][0]["identities"])
    return float(np.nanmean(errors)), low, high


def table(found: list[Result]) -> str:
    """The table as Markdown; rows that are not trained say so."""
    columns = ["row", "what is changed", "faces", "seeds", "NME, %", "by seed"]
    columns += ["less the base (95 % interval)", "median, %", "FR@10, %", "found, %"]
    lines = []
    for row in ROWS.values():
        of_row = [result for result in found if result.row.name == row.name]
        lines += [_line(result) for result in of_row]
        if not of_row:
            lines.append([row.name, row.change, " and ".join(row.views), "*not trained yet*", *["-"] * 6])
    return pages.markdown_table(columns, lines)


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
    cells = [row.name, row.change, result.view, seeds, f"{mean['nme']:.2f}", by_seed, difference]
    return [*cells, f"{mean['nme_median']:.2f}", f"{mean['fr_10']:.1f}", f"{mean['found']:.1f}"]


PAGE_TEXT = """# The effect of each choice

One base, one change per row. The base is `naimishnet` at 96 px, given the whole image (letterboxed), {epochs}
epochs, trained on the 222 people of `validation` and measured on its 56 other people (686 images), one pass
unless said, without `flip_tta`. It has a fifth of the paper's dropout, Wing loss, AdamW 1e-3 in one cycle and
averaged weights. A row changes what its second column says and nothing else. NME in percent of the distance
between the outer eye corners; lower is better.

```
python -m benchmarks.ablations.page --train     # trains what is missing, then writes this page
```

{table}

*By seed* shows the spread between runs. The interval of the difference is over people. It is paired: each
face is compared with itself under the base, and the mean is over the seeds that both have. `haar` and
`label_box` say where a row that is trained on face crops gets its crop when it is measured: from the
cascade (no label used; faces not found are left out of mean and difference, and are failures in FR@10) or
from the labels. With *3 passes* the same network runs three times; the second and third crops are squares
around the points of the pass before.
{plot}"""


def figure_of(found: list[Result]):
    """One bar per row and view, one dot per seed, a line at the base."""
    figure, axis = plots.new_figure(width=7, height=0.35 * len(found) + 1)
    means = [100 * float(np.mean(result.nme)) for result in found]
    # the number stands beside the name, since the dots are at the end of the bar
    names = [f"{result.label}  {mean:.2f} %" for result, mean in zip(found, means, strict=True)]
    plots.draw_bars(axis, dict(zip(names, means, strict=True)), fmt="")
    for name, mean, result in zip(names, means, found, strict=True):
        axis.plot([100 * value for value in result.nme], [name] * len(result.nme), "k.", markersize=4)
        if result.row.name == "base":
            axis.axvline(mean, color="black", linewidth=0.8, linestyle="--")
    axis.set_title("NME on people not seen in training; dots: seeds", fontsize=10)
    return figure


def write_page() -> None:
    """Write table and plot from stored records."""
    found = results()
    drawn = "\n![One bar per row](ablations.png)\n" if found else ""
    if found:
        plots.write_figure(figure_of(found), PLOT, dpi=100)
    pages.write_if_changed(PAGE, PAGE_TEXT.format(epochs=BASE.epochs, table=table(found), plot=drawn))


def main() -> None:
    """Train where asked; write the page after each run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--again", action="store_true", help="with --train: also rows that have a record")
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--mixed-precision", choices=("no", "fp16", "bf16"), default="no")
    args = parser.parse_args()
    # seeds in the outer loop, so that rows can be compared before all are done
    runs = [(ROWS[name], seed) for seed in range(3) for name in args.only if seed in ROWS[name].seeds]
    if args.list:
        for row, seed in runs:
            print(f"{row.name} seed {seed}: {'done' if load(row, seed) else 'to do'}")
        return
    if args.train:
        data = pages.real_data()
        for row, seed in runs:
            if args.again or load(row, seed) is None:
                print(f"== {row.name}, seed {seed}", flush=True)
                measure_row(row, seed, data, args.mixed_precision)
                write_page()
    write_page()


if __name__ == "__main__":
    main()
