"""Time from a photo to its keypoints: README.md from the record of benchmarks/speed/chain.py.

python -m benchmarks.speed.page
"""

import json
from pathlib import Path

from benchmarks import pages
from benchmarks.speed.chain import RECORD

PAGE = Path(__file__).with_name("README.md")

TEXT = """# From a photo to its keypoints

Two photos of 640 x 480 pixels with one face each, by `python -m benchmarks.speed.chain`. Median processor
time of {calls} calls, one thread, without reading the file. All methods take turns on one CPU of
{machine}.
*MediaPipe* is its face detector and face mesh; *dlib*, where it is in the table, its HOG face detector on
the doubled image and its 68 points ({peers}). *cascades* are OpenCV's Haar cascades, which
were used before there was a face finder.

{rows}

Memory is the most that the process needed beyond Python and NumPy, with its libraries.

## Where the time goes

Processor time in ms per photo. *Search*: from the photo to boxes. *Network*: all passes of the keypoint
network. *Rest*: crops, and everything between.

{stages}
"""


def rows_table(rows: dict[str, dict]) -> str:
    """Markdown: a line per method."""
    base = rows["MediaPipe"]["cpu_ms"]
    cells = [
        [title, f"{row['cpu_ms']:.1f}", f"{row['cpu_ms'] / base:.2f}", f"{row['memory_mb']:.0f}"]
        for title, row in rows.items()
    ]
    return pages.markdown_table(["method", "CPU ms", "x MediaPipe", "memory, MB"], cells)


def stages_table(stages: dict[str, dict]) -> str:
    """Markdown: a line per chain."""
    parts = ("search", "network", "rest")
    cells = [
        [title, *(f"{row[part]:.1f}" for part in parts), f"{sum(row.values()):.1f}"]
        for title, row in stages.items()
    ]
    return pages.markdown_table(["chain", *parts, "sum"], cells)


def write_page() -> None:
    """Write README.md from the record."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    about = record["provenance"]
    machine = about["machine"]
    text = TEXT.format(
        calls=record["calls"],
        machine=f"{machine['system']} ({machine['architecture']}, {machine['processor']})",
        peers=about["peers"],
        rows=rows_table(record["rows"]),
        stages=stages_table(record["stages"]),
    )
    pages.write_if_changed(PAGE, text)


if __name__ == "__main__":
    pages.run_page(__doc__, write_page)
