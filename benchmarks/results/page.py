"""All results of what ships: benchmarks/results/README.md, and the short table of the README.

    python -m benchmarks.results.page            # writes both from stored records
    python -m benchmarks.results.page --measure  # first measures every row that is not current

Rows: the baselines, and every checkpoint in saved_models/ on the split that it was trained for. Records
are in saved_models/*/records/ (evaluate.py --record).
"""

import sys
from pathlib import Path

import evaluate
from benchmarks import pages
from benchmarks.peers.report import RECORDS as PEERS
from checkpoint import load_config, shipped_networks
from training.metrics import METRICS, headings, percent
from training.records import is_current, load_record

PAGE = Path(__file__).with_name("README.md")
README = Path(__file__).parents[2] / "README.md"
MARK = "results"  # in README.md: <!-- results --> and <!-- end of results -->

#: The rows of the README: predictor -> what it is called there.
README_ROWS = {
    "constant": "constant (the mean face)",
    "naimishnet-identity": "`naimishnet-identity`",
    "heatmapnet-small-identity": "`heatmapnet-small-identity`",
    "heatmapnet-identity": "`heatmapnet-identity`",
}
README_PEERS = {
    "dlib-detector": "dlib, with its own face detector (trained on other labels)",
    "mediapipe-whole": "MediaPipe Face Mesh (trained on other labels)",
}
README_METRICS = ("nme", "fr_10")


def rows() -> list[tuple[str, str, str]]:
    """(checkpoint or baseline, split, faces) of every row, baselines first in each block."""
    trained_on = {folder.name: load_config(folder).trained_on for folder in shipped_networks()}
    table = []
    for split in ("identity", "official"):
        for faces in ("whole", "haar", "detector"):
            names = [name for name, trained in trained_on.items() if trained == split]
            table += [(name, split, faces) for name in [*evaluate.BASELINES, *names]]
    return table


def table() -> str:
    """The table of all rows, as Markdown."""
    columns = ["split x faces", "predictor", *headings(), "parameters / MACs per pass"]
    lines = []
    for name, split, faces in rows():
        row, _ = load_record(evaluate.record_stem(name, split, faces))
        figures = [percent(row, metric) for metric in METRICS]
        lines.append([pages.place(row), name, *figures, pages.size(row)])
    return pages.markdown_table(columns, lines)


def readme_table() -> str:
    """The table of the README: `identity` x `whole`, at most six rows."""
    lines = []
    for name, title in README_ROWS.items():
        row, _ = load_record(evaluate.record_stem(name, "identity", "whole"))
        lines.append([title, *(percent(row, metric) for metric in README_METRICS), pages.size(row)])
    for method, title in README_PEERS.items():
        row, _ = load_record(PEERS / f"identity-{method}")
        lines.append([title, *(percent(row["as_given"], metric) for metric in README_METRICS), "-"])
    return pages.markdown_table(["predictor", *headings(README_METRICS), "parameters / MACs per pass"], lines)


PAGE_TEXT = """# Results

```
python -m benchmarks.results.page --measure     # measures what is not current, then writes this page
python evaluate.py heatmapnet-identity --split identity --faces whole     # one row
```

NME is the mean distance between predicted and labelled points over the distance between the outer eye
corners. Lower is better. Splits, faces axes and the other metrics are described in
[benchmarks/README.md](../README.md).

**`identity` is the number to believe.** Nobody in its test images was trained on. `official`, the split
that the write-ups report, **leaks**: every person and every video of its test images is in its training
images. Copying the labels of the training image with the nearest pixels (`nearest`) shows how much this is
worth: it does far better there than on people who were not seen in training.

A checkpoint whose name ends in `-identity` was trained without the 69 test people of that split, the others
were trained on all training images. Each row is one training run (seed 0), and the intervals are over
people. For the spread between runs see [three seeds](../seeds/README.md).

{table}

The labels of this data set do not lie where people put the points: they are 2.75 % of the inter-ocular
distance too far right ([label_offset](../label_offset/README.md)), and elsewhere on eyelids, lips and brows.
`heatmapnet` puts its points where people do ([photos](../photos/README.md)). Only where they are compared
with these labels, as in this table, a fixed linear map moves them to where the labels lie
(`data_load.LabelMap`, fitted on people that no split tests).

`detector` for `heatmapnet` is what `KeypointDetector` does: our face finder proposes boxes, and faces are
filtered by confidence ([finding](../finding/README.md)). With `haar`, permissive cascades propose the boxes.
For the other rows `detector` is the largest box of the face finder with a score of at least 0.5, and `haar`
the largest box of a conservative cascade. The face finder was trained on the people of the same split.

See also: [beside dlib and MediaPipe](../peers/README.md), [robustness](../robustness/README.md), and
[the write-ups](../writeups/README.md).
"""


def write_page() -> None:
    """Write the page, and the table of the README between its marks."""
    pages.write_if_changed(PAGE, PAGE_TEXT.format(table=table()))
    readme = README.read_text(encoding="utf-8")
    pages.write_if_changed(README, pages.fill(readme, MARK, readme_table()))


def measure(data) -> None:
    """Measure every row whose record is missing or out of date."""
    for name, split, faces in rows():
        if is_current(evaluate.record_stem(name, split, faces).with_suffix(".json")):
            continue
        if evaluate.main([name, "--split", split, "--faces", faces, "--record"]):
            sys.exit(1)


if __name__ == "__main__":
    pages.run_page(__doc__, write_page, measure)
