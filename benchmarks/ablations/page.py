"""What did each choice buy? One base, one change a row, three seeds:

    python -m benchmarks.ablations.page                              # table and plot, from stored records
    python -m benchmarks.ablations.page --train                      # trains what has no record yet
    python -m benchmarks.ablations.page --train --only loss_mse bn   # these rows
    python -m benchmarks.ablations.page --list                       # rows, and what is done

Everything is trained on the 222 people of `validation` and measured on its 56 others (686 images). An
interrupted run goes on where it stopped. Rows, training and records: benchmarks/ablations/rows.py.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import plots
from benchmarks.ablations.rows import BASE, ROWS, Row, load, measure_row
from benchmarks.peers.report import replace_file
from data_fetch import find_data
from training.metrics import bootstrap_interval

PAGE, PLOT = (Path(__file__).with_name(name) for name in ("README.md", "ablations.png"))


@dataclass(frozen=True)
class Result:
    """One row in one view, over the seeds that are done; fractions."""

    row: Row
    view: str
    seeds: list[int]
    figures: list[dict]
    difference: tuple[float, float, float] | None  # to the base, and its interval

    @property
    def label(self) -> str:
        """Row and view, as a plot names them."""
        name = self.row.name.replace("_", " ")
        return name if self.view == "whole" else f"{name}, {self.view}".replace("_", " ")

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
    """
    for row, base in pairs:
        if not np.array_equal(row["paths"], base["paths"]):
            raise ValueError("these records are of different images; remove the older ones and run again")
    errors = np.mean([row[f"nme_{view}"] - base["nme_whole"] for row, base in pairs], axis=0)
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
            lines.append([row.name, row.change, " and ".join(row.views), "*not trained yet*", *["-"] * 6])
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
    cells = [row.name, row.change, result.view, seeds, f"{mean['nme']:.2f}", by_seed, difference]
    return [*cells, f"{mean['nme_median']:.2f}", f"{mean['fr_10']:.1f}", f"{mean['found']:.1f}"]


PAGE_TEXT = """# What did each choice buy?

One base, one change a row: `naimishnet` at 96 px, given the whole frame (letterboxed), {epochs} epochs,
trained on the 222 people of `validation` and measured on its 56 others (686 images), one look unless said, no
averaging with the mirrored image. The base has a fifth of the paper's dropout, Wing loss, AdamW 1e-3 in one
cycle and averaged weights; a row changes what its second column says and nothing else. NME in percent of the
distance between the outer eye corners, lower is better.

```
python -m benchmarks.ablations.page --train     # trains what is missing, then writes this page
```

{table}

*By seed* is the spread between runs. The interval of the difference is over people: paired, each face against
itself under the base, mean over the seeds that both have. `haar` and `label_box` say where a row that is
trained on face crops gets its crop when it is measured: from the cascade (no label used; faces not found are
left out of mean and difference, and are failures in FR@10) or from the labels. With *3 looks* the same
network looks again, twice, at the square around its own answer.
{plot}"""


def figure_of(found: list[Result]):
    """One bar a row and view, one dot a seed, a line where the base is."""
    figure, axis = plots.new_figure(width=7, height=0.35 * len(found) + 1)
    means = [100 * float(np.mean(result.nme)) for result in found]
    # the number stands beside the name: at the end of the bar are the dots
    names = [f"{result.label}  {mean:.2f} %" for result, mean in zip(found, means, strict=True)]
    plots.draw_bars(axis, dict(zip(names, means, strict=True)), fmt="")
    for name, mean, result in zip(names, means, found, strict=True):
        axis.plot([100 * value for value in result.nme], [name] * len(result.nme), "k.", markersize=4)
        if result.row.name == "base":
            axis.axvline(mean, color="black", linewidth=0.8, linestyle="--")
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
            parser.error("this is the synthetic sample; rows of drawn faces would mean nothing")
        for row, seed in runs:
            if load(row, seed) is None:
                print(f"== {row.name}, seed {seed}", flush=True)
                measure_row(row, seed, data, args.mixed_precision)
                write_page()
    write_page()


if __name__ == "__main__":
    main()
